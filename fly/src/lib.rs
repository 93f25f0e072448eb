//! fly: one program into one root: mounts, root switch, credentials, exec.
//!
//! The lowest of Kickstage's three stages. [`plan`] describes a start as flat,
//! checked steps; [`launch`] carries them out; [`sys`] holds the raw calls and
//! all `unsafe`. The program `fly` and the two stages above are callers of
//! this library, and so can other launchers be: no_std, no allocator.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod capability;
pub mod error;
pub mod launch;
pub mod lower;
pub mod near;
pub mod options;
pub mod packed;
pub mod plan;
pub mod signal;
pub mod supervise;
pub mod text;
pub mod timings;
pub mod user;

#[allow(unsafe_code)]
pub mod sys;
