//! Warm pods that end otherwise than by themselves, or are never there.

use kickstage_tests::{TestResult, registered::Registry, tests};

tests![killed_when_the_time_is_over];

/// The code is that of the time, also where a program does not end by itself.
fn killed_when_the_time_is_over() -> TestResult {
    let pods = Registry::new();
    for warm in [true, false] {
        let options: &[&str] = if warm { &["--warm"] } else { &[] };
        let options = [options, &["--stop-timeout=100ms"]].concat();
        let uuid = pods.prepare(&options, &["ignore", "TERM", ",", "sleep", "60000"]);
        let words = ["--keep", "--timeout=50ms", &uuid];
        pods.ask("run-prepared", &words).code(124);
        let status = pods.ask("status", &[&uuid]);
        status.code(0).has("state=exited").has("code=124");
    }
    pods.collected();
    Ok(())
}
