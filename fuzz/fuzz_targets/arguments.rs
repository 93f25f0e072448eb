//! A command line: words that end with zero bytes. What is accepted lowers to a
//! plan that is valid and can be printed, or to an error.
#![no_main]

use std::ffi::CStr;

use fly::{
    near::nearest,
    options::{self, Request},
    plan::{Builder, print},
    text::Line,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    data.push(0);
    let words: Vec<&CStr> = data
        .split_inclusive(|byte| *byte == 0)
        .map(|word| CStr::from_bytes_with_nul(word).expect("one zero byte, at its end"))
        .collect();
    for word in words.iter().take(4) {
        let _ = nearest(word.to_bytes(), options::NAMES);
    }
    let Ok(Request::Start(options)) = options::parse(words.iter().copied()) else {
        return;
    };
    let mut bytes = vec![0; 1 << 16];
    let mut plan = Builder::new(&mut bytes);
    if options
        .lower(&mut plan, [c"A=1", c"PATH=/bin"].into_iter())
        .is_err()
    {
        return;
    }
    if let Ok(plan) = plan.finish() {
        for step in plan.steps().records() {
            print::write(&step, &mut Line::new(-1));
        }
    }
});
