//! Capabilities that options of fly give, take and keep.

use kickstage_tests::{TestResult, pod::Pod, report::Report, roots, sys, tests};

tests![
    unchanged_by_default,
    dropped_by_root,
    kept_by_root,
    in_the_order_given,
    confined,
    given_to_a_user,
    kept_for_a_user,
    survive_an_exec,
    cve_2022_29162_inheritable,
    in_a_user_namespace,
    not_held,
    bad_names,
];

const KEYS: [&str; 6] = ["report", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
const NET_RAW: u64 = 1 << 13;
const CHOWN: u64 = 1;
const DEFAULT: u64 = 0xa004_25fb;

/// The sets in the order of [`KEYS`].
#[track_caller]
fn sets(report: &Report) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|key| u64::from_str_radix(report.get(key), 16).expect("a set"))
}

#[track_caller]
fn run(options: &[&str]) -> [u64; 5] {
    let pod = Pod::fly(roots::probe()).options(options);
    sets(&pod.probe(KEYS).report())
}

/// What this program has itself.
fn all() -> u64 {
    let [_, permitted, ..] = run(&[]);
    permitted
}

fn unchanged_by_default() -> TestResult {
    let all = all();
    assert_eq!(run(&[]), [0, all, all, all, 0]);
    assert_eq!(run(&["--user", "1000"]), [0, 0, 0, all, 0]);
    Ok(())
}

fn dropped_by_root() -> TestResult {
    let all = all();
    for names in [
        "net_raw",
        "NET_RAW",
        "cap_net_raw",
        "CAP_NET_RAW",
        "Cap_Net_Raw",
    ] {
        let left = all & !NET_RAW;
        assert_eq!(run(&["--cap-drop", names]), [0, left, left, left, 0]);
    }
    let left = all & !NET_RAW & !CHOWN;
    assert_eq!(
        run(&["--cap-drop", "net_raw,CAP_CHOWN"]),
        [0, left, left, left, 0]
    );
    assert_eq!(
        run(&["--cap-drop", "net_raw", "--cap-drop", "chown"]),
        [0, left, left, left, 0]
    );
    assert_eq!(run(&["--cap-drop", "ALL"]), [0; 5]);
    assert_eq!(run(&["--cap-drop", "all", "--user", "1000"]), [0; 5]);
    Ok(())
}

fn kept_by_root() -> TestResult {
    let all = all();
    assert_eq!(
        run(&["--cap-keep", "net_raw"]),
        [0, NET_RAW, NET_RAW, NET_RAW, 0]
    );
    let both = NET_RAW | CHOWN;
    assert_eq!(
        run(&["--cap-keep", "net_raw,chown"]),
        [0, both, both, both, 0]
    );
    assert_eq!(
        run(&["--cap-keep", "net_raw", "--cap-keep", "chown"]),
        [0; 5]
    );
    assert_eq!(run(&["--cap-keep", "ALL"]), [0, all, all, all, 0]);
    Ok(())
}

fn in_the_order_given() -> TestResult {
    for (options, set) in [
        (&["--cap-drop", "ALL", "--cap-add", "chown"][..], CHOWN),
        (&["--cap-add", "chown", "--cap-drop", "ALL"], 0),
        (
            &["--cap-keep", "chown", "--cap-add", "net_raw"],
            CHOWN | NET_RAW,
        ),
        (&["--cap-add", "net_raw", "--cap-keep", "chown"], CHOWN),
        (
            &["--cap-keep", "chown,net_raw", "--cap-drop", "net_raw"],
            CHOWN,
        ),
    ] {
        assert_eq!(run(options), [0, set, set, set, 0], "{options:?}");
    }
    Ok(())
}

/// The base is the preset's.
fn confined() -> TestResult {
    let run = |options: &[&str]| {
        let pod = Pod::fly(roots::probe()).flag("--confine").options(options);
        sets(&pod.probe(KEYS).report())
    };
    let sys_nice = 1 << 23;
    for (options, set) in [
        (&[][..], DEFAULT),
        (&["--cap-drop", "net_raw"], DEFAULT & !NET_RAW),
        (&["--cap-add", "sys_nice"], DEFAULT | sys_nice),
        (&["--cap-drop", "ALL", "--cap-add", "sys_nice"], sys_nice),
        (&["--cap-keep", "chown,sys_nice"], CHOWN),
        (&["--cap-drop", "ALL"], 0),
    ] {
        assert_eq!(run(options), [0, set, set, set, 0], "{options:?}");
    }
    assert_eq!(run(&["--user", "1000"]), [0, 0, 0, DEFAULT, 0]);
    let user = ["--user", "1000", "--cap-add", "net_raw"];
    assert_eq!(run(&user), [NET_RAW, NET_RAW, NET_RAW, DEFAULT, NET_RAW]);
    Ok(())
}

fn given_to_a_user() -> TestResult {
    let (all, both) = (all(), NET_RAW | CHOWN);
    assert_eq!(
        run(&["--user", "1000", "--cap-add", "net_raw"]),
        [NET_RAW, NET_RAW, NET_RAW, all, NET_RAW]
    );
    assert_eq!(
        run(&[
            "--cap-drop",
            "ALL",
            "--cap-add",
            "net_raw,chown",
            "--user",
            "alice:staff",
            "--no-new-privs"
        ]),
        [both; 5]
    );
    assert_eq!(
        run(&[
            "--user",
            "1000",
            "--cap-add",
            "chown",
            "--cap-drop",
            "chown"
        ]),
        [0, 0, 0, all & !CHOWN, 0]
    );
    Ok(())
}

fn kept_for_a_user() -> TestResult {
    assert_eq!(
        run(&["--user", "1000", "--cap-keep", "net_raw"]),
        [NET_RAW; 5]
    );
    Ok(())
}

/// The user is one, and may still do what it was allowed to.
fn survive_an_exec() -> TestResult {
    let root = roots::probe();
    let file = root.join("tmp/x");
    std::fs::write(&file, "").expect("a file");
    std::os::unix::fs::chown(&file, Some(1000), Some(1000)).expect("an owner");
    let script = ["exec", "/bin/probe", "chown", "/tmp/x", "0", "0"];
    let pod = Pod::fly(&root).options(["--user", "1000"]);
    pod.probe(script).code(1).has("chown /tmp/x: EPERM");
    let pod = pod.options(["--cap-add", "chown"]);
    pod.probe(script).code(0).has("chown /tmp/x: ok");
    Ok(())
}

/// What the caller has made inheritable and ambient is not passed on, unless it is
/// asked for.
fn cve_2022_29162_inheritable() -> TestResult {
    let root = roots::probe();
    for (options, inherited) in [
        (&["--user", "1000"][..], 0),
        (&["--confine"], 0),
        (&["--cap-drop", "chown"], 0),
        (&["--user", "1000", "--cap-drop", "chown"], 0),
        (&["--user", "1000", "--cap-add", "chown"], CHOWN),
    ] {
        let report = Pod::fly(&root)
            .options(options)
            .probe_command(KEYS)
            .hook(|| sys::make_ambient(13))
            .output()
            .report();
        let [inheritable, .., ambient] = sets(&report);
        assert_eq!([inheritable, ambient], [inherited; 2], "{options:?}");
    }
    Ok(())
}

fn in_a_user_namespace() -> TestResult {
    let run = |options: &[&str]| {
        let output = Pod::fly(roots::probe())
            .flag("--unshare-user")
            .options(options)
            .probe_command(KEYS)
            .hook(|| sys::become_user(1000, 1000))
            .output();
        sets(&output.report())
    };
    assert_eq!(
        run(&["--cap-keep", "net_raw"]),
        [0, NET_RAW, NET_RAW, NET_RAW, 0]
    );
    assert_eq!(run(&["--user", "7", "--cap-keep", "net_raw"]), [NET_RAW; 5]);
    assert_eq!(run(&["--user", "7", "--cap-drop", "ALL"]), [0; 5]);
    Ok(())
}

/// One that the caller lacks is not given in silence.
fn not_held() -> TestResult {
    let root = roots::probe();
    // In a container root lacks some.
    for (number, name) in [(24, "sys_resource"), (16, "sys_module"), (39, "bpf")] {
        let output = Pod::fly(&root)
            .options(["--user", "1000", "--cap-add", name])
            .probe(KEYS);
        if all() & (1 << number) == 0 {
            output.refused(&["set capabilities", "not permitted", "does not have one"]);
        } else {
            output.code(0);
        }
    }
    Ok(())
}

fn bad_names() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        ",",
        "chown,",
        ",chown",
        "cap_",
        "cap_all",
        "cap_cap_chown",
        "nosuch",
        "chown net_raw",
        "0",
        "-1",
        " chown",
        "chow",
        "none",
    ] {
        for option in ["--cap-add", "--cap-drop", "--cap-keep"] {
            Pod::fly(&root)
                .options([option, bad])
                .probe(["exit", "0"])
                .refused(&["read option", "no such capability"]);
        }
    }
    Ok(())
}
