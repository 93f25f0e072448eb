//! The program `stage1-machine`: the init of a machine.
#![no_std]
#![no_main]

fly::entry!(
    stage1_init::run_machine,
    bytes = stage1_init::BYTES,
    words = stage1_init::WORDS
);
