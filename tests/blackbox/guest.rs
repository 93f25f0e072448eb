//! Every test that starts something, again, against Linux 6.1, or the kernel of another
//! release of Debian.

use std::time::Duration;

use kickstage_tests::{
    TestResult,
    guest::{self, kernel},
    requirement::Requirement,
    runner, tests,
};

tests![another_kernel];

/// Debian's releases, and how the versions of their kernels begin.
const KERNELS: [(&str, &str); 4] = [
    ("bookworm", "6.1."),
    ("bullseye", "5.10."),
    ("trixie", "6.12."),
    ("sid", ""),
];

fn another_kernel() -> TestResult {
    Requirement::Guest.require()?;
    let suite = kernel::suite();
    let name = suite.as_deref().unwrap_or("bookworm");
    let known = KERNELS.into_iter().find(|(suite, _)| *suite == name);
    let (_, version) = known.expect("a release in the table");
    let tests = std::env::current_exe().expect("our own path");
    let limit = if suite.is_some() { 1500 } else { 400 };
    let output = guest::run(
        &tests,
        &["--guest", "--jobs", "2"],
        guest::Time::Real,
        Duration::from_secs(limit),
    );
    println!("{}", output.stdout);
    output
        .code(0)
        .has(&format!("guest: Linux {version}"))
        .has("guest: code 0");
    // Its last line of counts, and that it ran what it had to run.
    let counts: Vec<usize> = output
        .stdout
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with(" skipped"))
        .map(|line| {
            line.split(|c: char| !c.is_ascii_digit())
                .filter_map(|part| part.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    let expected = runner::guest_tests(&crate::SUITE);
    assert_eq!(
        counts,
        [expected, 0, 0],
        "passed, failed, skipped in the guest"
    );
    Ok(())
}
