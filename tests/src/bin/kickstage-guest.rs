//! `kickstage-guest PROGRAM [WORD...]`: runs a program of this machine in a guest with
//! Linux 6.1, whose only cgroups are of version 2, and whose clock counts instructions; prints what
//! the guest's console shows, and ends with the program's exit code.

use std::{env, path::Path, process::ExitCode, time::Duration};

use kickstage_tests::{
    guest,
    runner::{CACHE, PROGRAMS},
    sys,
};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("kickstage-guest: {error}");
        ExitCode::from(254)
    })
}

fn run() -> Result<ExitCode, String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [program, words @ ..] = &words[..] else {
        return Err("name a program and its words".into());
    };
    for name in [CACHE, PROGRAMS] {
        let path = env::var_os(name).ok_or_else(|| format!("{name} is not set"))?;
        let path = Path::new(&path).canonicalize();
        let path = path.map_err(|error| format!("{name}: {error}"))?;
        // No thread runs yet.
        sys::set_environment(name, path.as_os_str());
    }
    let program = Path::new(program).canonicalize();
    let program = program.map_err(|error| format!("the program: {error}"))?;
    if !guest::possible() {
        return Err("no guest can run here: run make setup, and see tests/README.md".into());
    }
    guest::make()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = guest::run(
        &program,
        &words,
        guest::Time::Counted,
        Duration::from_secs(1200),
    );
    print!("{}", output.stdout);
    let code = output.stdout.lines().rev().find_map(|line| {
        let code = line.trim_end().strip_prefix("guest: code ")?;
        code.parse::<u8>().ok()
    });
    Ok(ExitCode::from(
        code.ok_or("the guest did not end in order")?,
    ))
}
