//! The program `stage0-full`.
#![no_std]
#![no_main]

fly::entry!(
    stage0::full::main,
    bytes = stage0::full::ROOM,
    words = stage0::WORDS
);
