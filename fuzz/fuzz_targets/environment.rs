//! A file of variables, as --env-file reads it. What is accepted gives a list of
//! variables, each of which has a name, and one value.
#![no_main]

use std::{collections::HashSet, env, ffi::CString, fs, path::PathBuf, sync::LazyLock};

use fly::{
    options::{self, Request},
    plan::{Builder, Kind},
};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| env::temp_dir().join("variables"));

fuzz_target!(|data: &[u8]| {
    fs::write(&*FILE, data).expect("a file");
    let file = CString::new(FILE.to_str().expect("UTF-8")).expect("no zero byte");
    let words = [c"--env-file", &file, c"/", c"/bin/true"];
    let Ok(Request::Start(options)) = options::parse(words.into_iter()) else {
        panic!("these are options");
    };
    let mut bytes = vec![0; 1 << 18];
    let mut plan = Builder::new(&mut bytes);
    let environment = [c"A=1", c"PATH=/bin"];
    if options.lower(&mut plan, environment.into_iter()).is_err() {
        return;
    }
    let Ok(plan) = plan.finish() else {
        return;
    };
    let last = plan.steps().records().last().expect("a step");
    assert!(last.is(Kind::Exec));
    let mut names = HashSet::new();
    // The path and the one argument.
    for variable in last.list.iter().skip(2) {
        let text = variable.to_bytes();
        let end = text.iter().position(|byte| *byte == b'=');
        let name = &text[..end.expect("NAME=VALUE")];
        assert!(!name.is_empty() && names.insert(name), "{variable:?}");
    }
});
