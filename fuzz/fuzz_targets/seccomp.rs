//! A profile in JSON. What is accepted compiles to a filter that gives each call
//! without conditions what the profile says.
#![no_main]

use fly::{
    capability,
    seccomp::{
        MAX_BYTES, action,
        compile::compile,
        examine::{Call, outcome},
        profile::{Context, Profile},
    },
};
use libfuzzer_sys::fuzz_target;

const CONTEXT: Context = Context {
    capabilities: capability::DEFAULT,
    kernel: (6, 18),
};

fuzz_target!(|data: &[u8]| {
    let mut profile = Box::new(Profile::default());
    if profile.read(data, &CONTEXT).is_err() {
        return;
    }
    let Some(program) = compile(&profile) else {
        return;
    };
    let mut bytes = vec![0; MAX_BYTES];
    let filter = program.write(&mut bytes).expect("room for the longest");
    assert_eq!(filter.len() % 8, 0);
    for number in [0, 1, 2, 41, 56, 59, 101, 165, 231, 257, 435, 450] {
        let found = outcome(filter, &Call::new(u32::from(number), [Some(0); 6]));
        // Behind the last call that a profile names, what it refuses is unknown to it.
        let unknown = action::ERRNO | 38;
        if !profile.has_conditions(number) && found.verdicts() != [unknown] {
            assert_eq!(found.verdicts(), [profile.verdict(number)], "call {number}");
        }
        assert_eq!(found.verdicts().len(), 1, "call {number}");
    }
});
