//! The program `stage1-init`.
#![no_std]
#![no_main]

fly::entry!(
    stage1_init::run,
    bytes = stage1_init::BYTES,
    words = stage1_init::WORDS
);
