//! Initramfs images: reproducible archives that a kernel unpacks as its first root.

pub mod archive;
pub mod tree;
