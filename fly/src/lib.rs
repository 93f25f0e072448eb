//! fly: one program into one root: mounts, root switch, credentials, exec.
//!
//! The lowest of Kickstage's three stages. [`plan`] describes a start as flat,
//! checked steps; [`launch`] carries them out; [`sys`] holds the raw calls and
//! all `unsafe`. The program `fly` and the two stages above are callers of
//! this library, and so can other launchers be: no_std, no allocator, no features.
//!
//! A start is made of three parts:
//!
//! - [`plan::Builder`] takes the steps in the order in which they are to be done, into
//!   memory of the caller's. [`options::parse`] makes them of a command line, which
//!   is how all that `fly` can is asked for, `--confine` among it.
//! - [`plan::Builder::finish`] checks them: a [`plan::Plan`] is a start that makes sense.
//! - [`launch::Launcher`] does them. Without a step that makes a process it returns
//!   only if it failed; with one, [`launch::Running::wait`] waits for its end.
//!
//! `examples/chroot_runner.rs` and `examples/confined_runner.rs` are two launchers.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod beside;
pub mod capability;
pub mod command;
pub mod error;
pub mod json;
pub mod launch;
pub mod lower;
pub mod near;
pub mod options;
pub mod packed;
pub mod plan;
pub mod seccomp;
pub mod signal;
pub mod squeezed;
pub mod supervise;
pub mod text;
pub mod timings;
pub mod user;

#[allow(unsafe_code)]
pub mod sys;
