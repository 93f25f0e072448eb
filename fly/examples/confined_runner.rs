//! A confined runner: `confined_runner ROOT PROGRAM [ARGUMENT...]`.
//!
//! The options of `fly` say what is wanted, and are lowered to a plan; the caller
//! waits for the program and has its exit code.

use std::{env, ffi::CString, os::unix::ffi::OsStringExt, process};

use fly::{
    error::{Error, FAILURE, FLY_TEXTS, What},
    launch::{Launcher, ROOM},
    options::{self, Request},
    plan::Builder,
};

const OPTIONS: [&str; 6] = [
    "--confine",
    "--unshare-all",
    "--die-with-parent",
    "--ro",
    "--tmpfs",
    "/tmp",
];

fn main() {
    let words = env::args_os().skip(1).map(OsStringExt::into_vec);
    let words = OPTIONS.iter().map(|word| (*word).into()).chain(words);
    let words: Vec<CString> = words.flat_map(CString::new).collect();
    let code = run(&words).unwrap_or_else(|error| {
        error.print("confined_runner", FLY_TEXTS);
        FAILURE
    });
    process::exit(code);
}

fn run(words: &[CString]) -> Result<i32, Error<'_>> {
    let Request::Start(options) = options::parse(words.iter().map(CString::as_c_str))? else {
        return Ok(0);
    };
    let bytes = vec![0; 1 << 20].leak();
    let mut plan = Builder::new(bytes);
    options.lower(&mut plan, [c"PATH=/usr/bin:/bin"].into_iter())?;
    let checked = |problem: fly::plan::Problem| Error::new(What::CheckPlan, c"", problem.reason);
    let plan = plan.finish().map_err(checked)?;
    let (mut pointers, mut room) = ([0; 4096], [0; ROOM]);
    let running = Launcher::new(plan, &mut pointers, &mut room).launch()?;
    Ok(running.wait().map_or(FAILURE, |end| end.code()))
}
