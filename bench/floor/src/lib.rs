//! Floor programs: what a start costs if nothing is checked.
//!
//! Each program in `src/bin` makes the system calls of one kind of start, by
//! hand, in the cheapest order that does the same work: no option is parsed,
//! no error is told, no plan is built. The harness in `bench/` holds the
//! product beside them; the difference is the price of the product's own code.
//!
//! Nothing here uses the product's code: a floor made of the code it judges
//! would judge nothing. Only the linker script is shared, and the instructions of
//! the default system call filter, which are data.
#![no_std]

pub mod confine;
pub mod default;
pub mod gate;
pub mod init;
pub mod mounts;
pub mod process;
pub mod sealed;
pub mod signals;
pub mod start;
pub mod sys;
