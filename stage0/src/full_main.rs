//! The program `stage0-full`.
#![no_std]
#![no_main]

fly::entry!(
    stage0::full::main,
    bytes = stage0::BYTES,
    words = stage0::WORDS
);
