//! `stage0 pool`: what becomes of pools that can't be noted.

use kickstage_tests::{TestResult, registered::Registry, sys, tests};

tests![a_full_disk];

/// Nothing is left of one that was to begin.
fn a_full_disk() -> TestResult {
    let pods = Registry::new();
    let words = |count: usize| {
        let long = format!("--set-env=LONG={}", "x".repeat(count));
        let root = pods.root.display().to_string();
        ["full", "0", &long, "--rootfs", &root, "--", "/bin/true"].map(str::to_owned)
    };
    let pool = |count: usize| pods.command("pool").args(words(count)).output();
    let place = pods.path().join("pods/pools/full");
    // Pages for its folder, but not for all of its words.
    let path = pods.path().to_str().expect("UTF-8");
    sys::mount_tmpfs(path, "mode=0755,size=16k").expect("a tmpfs");
    let output = pool(50_000);
    let left = place.exists();
    let none = pods.ask("pool", &["full", "0"]);
    let begun = pool(10);
    sys::unmount(path).expect("it is mounted");
    output.refused(&["fill pool full: No space left"]);
    assert!(!left);
    none.refused(&["there is no such pool"]);
    begun.code(0).quiet();
    Ok(())
}
