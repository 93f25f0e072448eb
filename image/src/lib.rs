//! Whole root file systems: reproducible archives that a kernel unpacks as its first root,
//! and tar archives of the roots of pods.

pub mod archive;
pub mod export;
pub mod tree;
pub mod whole;
