//! Every test that starts something, again, against Linux 6.1.

use std::time::Duration;

use kickstage_tests::{TestResult, guest, requirement::Requirement, runner, tests};

tests![linux_6_1];

fn linux_6_1() -> TestResult {
    Requirement::Guest.require()?;
    let tests = std::env::current_exe().expect("our own path");
    let output = guest::run(
        &tests,
        &["--guest", "--jobs", "2"],
        guest::Time::Real,
        Duration::from_secs(400),
    );
    println!("{}", output.stdout);
    output.code(0).has("guest: Linux 6.1.").has("guest: code 0");
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
