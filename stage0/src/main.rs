//! The program `stage0`.
#![no_std]
#![no_main]

fly::entry!(stage0::main, bytes = stage0::BYTES, words = stage0::WORDS);
