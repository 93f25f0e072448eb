//! `stage0 run --detach`: a pod that runs on when stage0 has returned.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::symlink},
    path::Path,
};

use kickstage_tests::{
    TestResult,
    registered::{Registry, lives, one_line, wait_until},
    roots, sys, tests,
};

tests![
    returns_when_it_is_ready,
    errors_are_shown,
    names_of_others,
    with_a_terminal,
    ends_before_it_is_ready,
    nothing_of_the_caller_is_held,
    in_a_session_of_its_own,
    kept_or_removed,
    what_is_said,
    the_caller_is_killed,
    signals_before_it_is_ready,
    nobody_can_name_it,
    named_otherwise,
    in_a_full_directory,
    pid_1_is_killed_before_it_is_ready,
    without_standard_descriptors,
    with_a_time_limit,
];

/// With what is said by then.
fn returns_when_it_is_ready() -> TestResult {
    let pods = Registry::new();
    let gate = roots::directory("gate");
    let volume = format!("{}:/gate", gate.display());
    let mut running = pods
        .pod(
            "run",
            &["--detach", "--ready=file:/gate/open", "--volume", &volume],
            &["write", "/gate/runs", "x", ",", "catch", "TERM"],
        )
        .start();
    wait_until("it runs", || gate.join("runs").exists());
    assert!(running.runs());
    fs::write(gate.join("open"), "").expect("a file");
    let output = running.finish();
    output.code(0).quiet();
    let uuid = one_line(&output);
    assert_eq!(pods.state(&uuid), "running");
    pods.ask("status", &[&uuid]).has("ready=true\n");
    pods.ask("stop", &[&uuid]).code(0).quiet();
    // By sd_notify(3), to the pod's pid 1.
    let output = pods
        .pod(
            "run",
            &["--detach", "--ready=notify"],
            &["notify", "READY=1", ",", "catch", "TERM"],
        )
        .output();
    output.code(0).quiet();
    pods.ask("stop", &[&one_line(&output)]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn errors_are_shown() -> TestResult {
    let pods = Registry::new();
    let start = |program: &str| {
        pods.command("run")
            .args(["--detach", "--rootfs"])
            .arg(&pods.root)
            .args(["--", program])
            .output()
    };
    // pid 1 tells that: the pod was there.
    let output = start("/no/such/program");
    output.code(254);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("exec /no/such/program: No such file")
    );
    assert_eq!(pods.state(&one_line(&output)), "exited");
    pods.collected();
    pods.pod(
        "run",
        &["--detach", "--volume=/no/such/source:/x"],
        &["exit", "0"],
    )
    .output()
    .refused(&["/no/such/source"]);
    let saved = roots::fresh("uuid");
    pods.pod(
        "run",
        &[
            "--detach",
            "--uuid-file-save",
            saved.to_str().expect("UTF-8"),
            "--volume=/no/such:/x",
        ],
        &["exit", "0"],
    )
    .output()
    .refused(&["/no/such"]);
    assert!(!saved.exists());
    pods.pod(
        "run",
        &["--detach", "--uuid-file-save=/no/folder/x"],
        &["exit", "0"],
    )
    .output()
    .refused(&["/no/folder/x"]);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nobody is there to pass it on.
fn with_a_terminal() -> TestResult {
    let pods = Registry::new();
    for words in [["--detach", "--tty"], ["--tty", "-d"]] {
        let output = pods.pod("run", &words, &["exit", "0"]).output();
        output.refused(&["--tty", "not with --detach"]);
    }
    pods.pod("run", &["--detach", "--tty=false"], &["exit", "0"])
        .output()
        .code(0);
    Ok(())
}

/// What a start has not made to save its uuid in it does not take away.
fn names_of_others() -> TestResult {
    let pods = Registry::new();
    let folder = roots::directory("others");
    let (device, link) = (folder.join("device"), folder.join("link"));
    sys::make_device(&device, 1, 3).expect("a device");
    symlink("target", &link).expect("a link");
    for (command, file) in [("run", &device), ("run", &link), ("prepare", &device)] {
        let option = format!("--uuid-file-save={}", file.display());
        let output = pods
            .pod(command, &[&option, "--user=nobody-such"], &["exit", "0"])
            .output();
        output.refused(&["nobody-such"]);
        let output = pods
            .pod("run", &[&option, "--volume=/no/such:/x"], &["exit", "0"])
            .output();
        output.refused(&["/no/such"]);
        assert!(file.symlink_metadata().is_ok(), "{}", file.display());
    }
    Ok(())
}

/// The code is that of the pod, and what was said is shown if it has failed.
fn ends_before_it_is_ready() -> TestResult {
    let pods = Registry::new();
    let output = pods
        .pod(
            "run",
            &["--detach", "--ready=file:/never"],
            &["echo", "said", ",", "error", "why", ",", "exit", "7"],
        )
        .output();
    output.code(7);
    let uuid = one_line(&output);
    let logs = pods.place("exited-garbage", &uuid).join("logs/app-0");
    let text = fs::read_to_string(logs).expect("a log");
    assert!(text.contains("said\n") && text.contains("why\n"), "{text}");
    assert_eq!(pods.state(&uuid), "exited");
    assert_eq!(pods.status(&uuid).get("code").number(), Some(7));
    // One that just ends is no failure.
    let output = pods
        .pod("run", &["--detach", "--ready=file:/never"], &["exit", "0"])
        .output();
    output.code(0).quiet();
    assert_eq!(pods.state(&one_line(&output)), "exited");
    pods.collected();
    Ok(())
}

/// Who reads from the caller's output sees its end ([`Output::code`] checks that); what
/// it had as input, and any other file of it, is held by no process of the pod.
///
/// [`Output::code`]: kickstage_tests::command::Output::code
fn nothing_of_the_caller_is_held() -> TestResult {
    let pods = Registry::new();
    let folder = roots::directory("held");
    let held = folder.join("file");
    let file = fs::File::create(&held).expect("a file");
    let held = held.canonicalize().expect("it was made");
    let held = held.to_string_lossy().into_owned();
    let (input, writer) = std::io::pipe().expect("a pipe");
    let output = pods
        .pod(
            "run",
            &["--detach"],
            &["read", "/proc/self/stat", ",", "catch", "TERM"],
        )
        .stdin(input)
        // Also where stage0 has its own.
        .hook(move || {
            let mut numbers = [9, 90, 91, 92, 93, 94, 95].into_iter();
            numbers.try_for_each(|number| sys::duplicate_onto(&file, number))
        })
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let pid = pods.status(&uuid).get("pid").number().expect("a pid");
    let link = |path: &Path| {
        let target = fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().into_owned()
    };
    let own = link(Path::new(&format!("/proc/self/fd/{}", writer.as_raw_fd())));
    assert!(own.starts_with("pipe:"), "{own}");
    // stage0, pid 1 and the app.
    let mut seen = 0;
    for process in kickstage_tests::isolate::processes() {
        if process <= 2 {
            continue;
        }
        let entries = fs::read_dir(format!("/proc/{process}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            let target = link(&entry.path());
            assert_ne!(target, own, "{process} of {pid}");
            assert_ne!(target, held, "{process} of {pid}");
            seen += 1;
        }
    }
    // The standard ones of the app alone are three.
    assert!(seen >= 3, "{seen} descriptors seen");
    pods.ask("stop", &[&uuid]).code(0);
    pods.collected();
    Ok(())
}

fn in_a_session_of_its_own() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.detach(&[]);
    let pid = pods.status(&uuid).get("pid").number().expect("a pid");
    let session = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let mut fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
        let parent = fields.nth(1).unwrap_or_default().to_owned();
        (parent, fields.nth(1).unwrap_or_default().to_owned())
    };
    let (stage0, its) = session(&pid.to_string());
    let (_, own) = session("self");
    assert_ne!(its, own);
    // It leads it, and nobody waits for it but who collects orphans.
    let (parent, of_stage0) = session(&stage0);
    assert_eq!(
        (parent.as_str(), of_stage0.as_str()),
        ("1", stage0.as_str())
    );
    pods.ask("stop", &[&uuid]).code(0);
    wait_until("its stage0 has ended", || !lives(&stage0));
    pods.collected();
    Ok(())
}

fn kept_or_removed() -> TestResult {
    let pods = Registry::new();
    let kept = pods.detach(&["--keep"]);
    let usual = pods.detach(&[]);
    let removed = pods.detach(&["--rm"]);
    pods.ask("stop", &[&kept, &usual, &removed]).code(0).quiet();
    assert_eq!(pods.state(&kept), "exited");
    assert_eq!(pods.state(&usual), "exited");
    wait_until("it is removed", || {
        let left = pods.left();
        left.len() == 2 && !left.iter().any(|path| path.ends_with(&removed))
    });
    pods.ask("status", &[&removed]).refused(&["no matches"]);
    pods.collected();
    Ok(())
}

/// Into the pod's directory: what the launcher says, too.
fn what_is_said() -> TestResult {
    let pods = Registry::new();
    let output = pods
        .pod(
            "run",
            &["--detach"],
            &[
                "echo",
                "to stdout",
                ",",
                "error",
                "to stderr",
                ",",
                "catch",
                "TERM",
            ],
        )
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let place = pods.place("run", &uuid);
    let all = || {
        let mut text = fs::read_to_string(place.join("log")).unwrap_or_default();
        for entry in fs::read_dir(place.join("logs"))
            .into_iter()
            .flatten()
            .flatten()
        {
            text += &fs::read_to_string(entry.path()).unwrap_or_default();
        }
        text
    };
    wait_until("it is said", || {
        let text = all();
        text.contains("to stdout") && text.contains("to stderr")
    });
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o007
    };
    assert_eq!(mode(&place.join("logs")), 0);
    assert_eq!(mode(&place.join("log")), 0);
    pods.ask("stop", &[&uuid]).code(0);
    let place = pods.place("exited-garbage", &uuid);
    assert!(place.join("logs").exists());
    pods.collected();
    Ok(())
}

/// Nobody would know of the pod.
fn the_caller_is_killed() -> TestResult {
    let pods = Registry::new();
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
        let gate = roots::directory("gate");
        let volume = format!("{}:/gate", gate.display());
        let running = pods
            .pod(
                "run",
                &["--detach", "--ready=file:/never", "--volume", &volume],
                &["write", "/gate/runs", "x", ",", "catch", "TERM"],
            )
            .start();
        wait_until("it runs", || gate.join("runs").exists());
        running.signal(signal);
        running.finish().killed(signal);
        wait_until("it is stopped and removed", || pods.left().is_empty());
    }
    Ok(())
}

/// The pid 1 of the only pod, if it is there.
fn first_pid(pods: &Registry) -> Option<i32> {
    let (uuid, _) = pods.list().into_iter().next()?;
    let pid = fs::read_to_string(pods.place("run", &uuid).join("pid")).ok()?;
    pid.trim_end().parse().ok()
}

/// They are for the pod, as later.
fn signals_before_it_is_ready() -> TestResult {
    let pods = Registry::new();
    for (signal, code) in [(libc::SIGTERM, 0), (libc::SIGINT, 130)] {
        let running = pods
            .pod(
                "run",
                &["--detach", "--ready=file:/never"],
                &["catch", "TERM"],
            )
            .start();
        let launcher = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", first_pid(&pods)?)).ok()?;
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?;
            parent.parse().ok()
        };
        wait_until("it is there", || launcher().is_some());
        sys::kill(launcher().expect("a process"), signal).expect("it lives");
        let output = running.finish();
        // The program itself is perhaps not yet there to catch it.
        if output.code != Some(128 + signal) {
            output.code(code);
        }
        output.quiet();
        assert_eq!(pods.state(&one_line(&output)), "exited");
        pods.collected();
    }
    Ok(())
}

/// Its uuid can't be printed.
fn nobody_can_name_it() -> TestResult {
    let pods = Registry::new();
    let words = ["standard output", "not all of it could be written"];
    let full = || {
        let full = fs::File::options().write(true).open("/dev/full");
        full.expect("a device")
    };
    let closed = || std::io::pipe().expect("a pipe").1;
    // Also where it has ended before it was ready.
    for options in [&["--detach"][..], &["--detach", "--ready=file:/never"]] {
        let probe: &[&str] = match options {
            [_] => &["catch", "TERM"],
            _ => &["exit", "0"],
        };
        let run = || pods.pod("run", options, probe);
        let (full, closed) = (full(), closed());
        run()
            .hook(move || sys::duplicate_onto(&full, 1))
            .output()
            .refused(&words);
        run()
            .hook(move || sys::duplicate_onto(&closed, 1))
            .output()
            .refused(&words);
        run().hook(|| sys::close(1)).output().refused(&words);
        assert_eq!(pods.left(), Vec::<String>::new());
    }
    let closed = closed();
    pods.pod("prepare", &[], &["exit", "0"])
        .hook(move || sys::duplicate_onto(&closed, 1))
        .output()
        .refused(&words);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Then it goes on.
fn named_otherwise() -> TestResult {
    let pods = Registry::new();
    let saved = roots::fresh("uuid");
    let option = format!("--uuid-file-save={}", saved.display());
    let words = ["standard output", "not all of it could be written"];
    let closed = std::io::pipe().expect("a pipe").1;
    pods.pod("run", &["--detach", &option], &["catch", "TERM"])
        .hook(move || sys::duplicate_onto(&closed, 1))
        .output()
        .refused(&words);
    let uuid = fs::read_to_string(&saved).expect("it was saved");
    let uuid = uuid.trim_end();
    assert_eq!(pods.state(uuid), "running");
    // Who starts it has its name already.
    let prepared = pods.prepare(&[], &["catch", "TERM"]);
    let closed = std::io::pipe().expect("a pipe").1;
    pods.command("run-prepared")
        .args(["--detach", &prepared])
        .hook(move || sys::duplicate_onto(&closed, 1))
        .output()
        .refused(&words);
    assert_eq!(pods.state(&prepared), "running");
    // That nobody reads is no signal for the pod, either.
    for uuid in [uuid, &prepared] {
        pods.ask("stop", &[uuid]).code(0).quiet();
        assert_eq!(pods.status(uuid).get("code").number(), Some(0));
    }
    pods.collected();
    Ok(())
}

/// There is room for the plan, which is a page, and for nothing else.
fn in_a_full_directory() -> TestResult {
    let pods = Registry::new();
    let small = roots::directory("small");
    let small = small.to_str().expect("UTF-8");
    sys::mount_tmpfs(small, "size=4k").expect("a tmpfs");
    let words = ["write file", "No space left on device"];
    let option = format!("--state-dir={small}");
    for options in [&["--detach", &*option], &["--register", &option]] {
        let output = pods.pod("run", options, &["sleep", "100000"]).output();
        output.refused(&words);
        for folder in ["run", "exited-garbage"] {
            let folder = Path::new(small).join("pods").join(folder);
            assert_eq!(fs::read_dir(folder).map_or(0, Iterator::count), 0);
        }
    }
    // Whoever has prepared it knows its name.
    let output = pods
        .pod("prepare", &[&option], &["sleep", "100000"])
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    pods.ask("run-prepared", &["--detach", &option, &uuid])
        .refused(&words);
    pods.ask("status", &[&option, &uuid])
        .code(0)
        .has("state=exited\n");
    let place = Path::new(small).join("pods/exited-garbage").join(&uuid);
    assert!(!place.join(".pid").exists(), "half a file stays");
    pods.ask("rm", &[&option, &uuid]).code(0).quiet();
    sys::unmount(small).expect("nobody has it");
    Ok(())
}

fn pid_1_is_killed_before_it_is_ready() -> TestResult {
    let pods = Registry::new();
    let running = pods
        .pod(
            "run",
            &["--detach", "--ready=file:/never"],
            &["catch", "TERM"],
        )
        .start();
    wait_until("it is there", || first_pid(&pods).is_some());
    sys::kill(first_pid(&pods).expect("a pid"), libc::SIGKILL).expect("it lives");
    let output = running.finish();
    output.code(254);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("it was killed"), "{}", output.stderr);
    assert_eq!(pods.state(&one_line(&output)), "exited");
    pods.collected();
    Ok(())
}

fn without_standard_descriptors() -> TestResult {
    let pods = Registry::new();
    let saved = roots::fresh("uuid");
    let run = pods
        .pod(
            "run",
            &[
                "--detach",
                "--uuid-file-save",
                saved.to_str().expect("UTF-8"),
            ],
            &["catch", "TERM"],
        )
        .hook(|| {
            sys::close(0)?;
            sys::close(1)?;
            sys::close(2)
        });
    // Its uuid could not be printed, but it was saved.
    run.output().code(254);
    let uuid = fs::read_to_string(&saved).expect("it was saved");
    pods.ask("stop", &[uuid.trim_end()]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn with_a_time_limit() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.detach(&["--timeout=100ms"]);
    pods.ask("status", &["--wait=10", &uuid])
        .code(0)
        .has("code=124\n");
    // Also while nobody is told of it, since it is not ready.
    let options = ["--detach", "--ready=file:/never", "--timeout=100ms"];
    let output = pods.pod("run", &options, &["catch", "TERM"]).output();
    output.code(124).quiet();
    let uuid = one_line(&output);
    assert_eq!(pods.state(&uuid), "exited");
    assert_eq!(pods.status(&uuid).get("code").number(), Some(124));
    pods.collected();
    Ok(())
}
