//! Orders that come at a bad moment, or about what an app shares with others.

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
    process::Command,
    thread,
    time::Duration,
};

use kickstage_tests::{
    TestResult, init, isolate, pod::Pod, registered::wait_until, roots, sys, tests,
};

use crate::{
    control::{Controlled, app},
    control_attacks::{open_files, reply, send_at},
};

tests![
    stop_before_it_runs,
    the_end_before_it_runs,
    stop_with_a_hook_behind,
    a_stop_with_a_hook_is_no_failure,
    the_deadline_stays,
    a_deaf_app_does_not_keep_the_pod,
    an_app_that_never_runs,
    output_into_a_fifo,
    output_through_a_link,
    a_log_that_can_not_be_opened,
    pipes_that_are_closed,
    orphans_without_an_app,
    two_pods_in_one_directory,
    capabilities_that_pid_1_lacks,
    who_has_waited_for_one_that_is_removed,
    what_is_removed_is_let_go,
    an_order_that_comes_too_late,
    a_hook_has_no_deadline_of_its_app,
    requests_that_mean_nothing,
    no_directory_of_the_host,
    stops_without_an_answer,
    who_waits_behind_one_that_was_killed,
    the_group_of_who_is_deaf,
    restarts_behind_a_stop,
    who_starts_again_is_not_ready,
];

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A hook that is stopped is not followed by its program.
fn stop_before_it_runs() -> TestResult {
    let pod = Controlled::new();
    let hooked = [
        "--name=hooked",
        "--pre-start=/bin/probe echo prepares , sleep 60000",
        "--",
        "/bin/probe",
        "echo",
        "started",
    ];
    pod.app("add", &hooked).code(0);
    pod.running.wait_for("prepares");
    pod.app("stop", &["hooked"]).code(0).quiet();
    assert!(pod.is("hooked", "exited", "0"), "{:?}", pod.line("hooked"));
    pod.end().code(0).lacks("started");
    Ok(())
}

/// Nor one that takes the signal of the pod's end as its own end.
fn the_end_before_it_runs() -> TestResult {
    let running = Pod::new(roots::probe())
        .flag("--pre-start=/bin/probe catch TERM")
        .probe_command(["echo", "started", ",", "sleep", "60000"])
        .start();
    running.wait_for("waiting");
    running.signal(libc::SIGTERM);
    running.finish().code(0).lacks("started");
    Ok(())
}

/// The hook runs, and then it is not started again.
fn stop_with_a_hook_behind() -> TestResult {
    let pod = Controlled::new();
    let hooked = [
        "--name=hooked",
        "--restart=always",
        "--post-stop=/bin/probe echo cleans",
        "--",
        "/bin/probe",
        "echo",
        "started",
        ",",
        "sleep",
        "60000",
    ];
    pod.app("add", &hooked).code(0);
    pod.running.wait_for("started");
    pod.app("stop", &["hooked"]).code(0).quiet();
    thread::sleep(Duration::from_millis(300));
    assert!(pod.is("hooked", "exited", "0"), "{:?}", pod.line("hooked"));
    let output = pod.end();
    output.code(0).has("cleans");
    assert_eq!(output.stdout.matches("started").count(), 1);
    Ok(())
}

fn a_stop_with_a_hook_is_no_failure() -> TestResult {
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=first", "--post-stop=/bin/probe echo cleans"])
        .command(crate::pods::programs(&[
            "catch TERM , exit 3",
            "--name=second | catch TERM , exit 0",
        ]))
        .start();
    running.wait_for("waiting\ncatch: waiting");
    app("stop", &directory, &["first"]).code(0);
    app("status", &directory, &["first"]).code(0).has(" 3 ");
    app("status", &directory, &["second"])
        .code(0)
        .has("running");
    app("stop", &directory, &["second"]).code(0);
    running.finish().code(0).has("cleans");
    Ok(())
}

/// Orders that are refused don't put it off.
fn the_deadline_stays() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=2");
    let mut first = pod.stop_deaf();
    let mut others = 0;
    while first.runs() {
        pod.app("stop", &["deaf"]);
        others += 1;
        assert!(others < 100, "it is put off");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(others > 0);
    first.finish().code(0);
    assert!(pod.is("deaf", "exited", "137"), "{:?}", pod.line("deaf"));
    pod.end().code(0);
    Ok(())
}

fn a_deaf_app_does_not_keep_the_pod() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=200ms");
    pod.end().code(0);
    Ok(())
}

/// Who waits for it hears of it.
fn an_app_that_never_runs() -> TestResult {
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=first", "--ready=exit", "--exit-policy=never"])
        .command(crate::pods::programs(&[
            "catch TERM , exit 3",
            "--name=second --after=first | exit 0",
        ]))
        .start();
    running.wait_for("waiting");
    let waits = thread::spawn({
        let path = directory.join("control");
        move || reply(&send_at(&path, 1, 1, "second"))
    });
    thread::sleep(Duration::from_millis(200));
    app("stop", &directory, &["first"]).code(0);
    let [_, errno, _, state, ..] = waits.join().expect("a reply");
    assert_eq!((errno, state), (0, 5));
    app("status", &directory, &["second"]).code(0).has("exited");
    let pid = fs::read_to_string(directory.join("pid")).expect("a pid");
    sys::kill(pid.trim_end().parse().expect("a number"), libc::SIGTERM).expect("it runs");
    running.finish().code(0);
    Ok(())
}

/// pid 1 waits for nobody who might read.
fn output_into_a_fifo() -> TestResult {
    let root = roots::probe();
    let fifo = root.join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()));
    for option in [
        "--stdout=file:/fifo",
        "--stderr=file:/fifo",
        "--log=file:/fifo",
    ] {
        Pod::new(&root)
            .flag(option)
            .probe(["exit", "0"])
            .refused(&["fifo", "No such device or address"]);
    }
    let log = Pod::new(&root).flag("--log=file:/fifo");
    log.probe(["exit", "0"]).code(254);
    // With a reader there is nothing to wait for; it gets all, as from a pipe.
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut reader = options.open(&fifo).expect("a FIFO");
    Pod::new(&root)
        .flag("--stdout=file:/fifo")
        .probe(["echo", "through"])
        .code(0)
        .quiet();
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("all has come");
    assert_eq!(text, "through\n");
    drop(reader);
    // One that is read is opened at once, too, and is at its end without a writer.
    Pod::new(&root)
        .flag("--stdin=file:/fifo")
        .probe(["exit", "6"])
        .code(6);
    Ok(())
}

/// What a program can make in its own folder is not followed by root.
fn output_through_a_link() -> TestResult {
    let root = roots::probe();
    fs::write(root.join("precious"), "as it was\n").expect("a file");
    fs::create_dir(root.join("own")).expect("a folder");
    symlink("/precious", root.join("own/log")).expect("a link");
    symlink("own", root.join("other")).expect("a link");
    for option in [
        "--stdout=file:/own/log",
        "--stderr=file:/own/log",
        "--stdin=file:/own/log",
        "--log=file:/own/log",
        "--stdout=file:/other/new",
        "--log=file:/other/new",
    ] {
        Pod::new(&root)
            .flag(option)
            .probe(["echo", "changed"])
            .refused(&["Too many levels of symbolic links"]);
    }
    let text = fs::read_to_string(root.join("precious")).expect("a file");
    assert_eq!(text, "as it was\n");
    assert!(!root.join("own/new").exists());
    Ok(())
}

/// Nothing is closed that is not its own.
fn a_log_that_can_not_be_opened() -> TestResult {
    let pod = Controlled::new();
    for _ in 0..3 {
        let lost = words("--name=lost --log=file:/nonexistent/log -- /bin/probe exit 0");
        pod.app("add", &lost).code(0);
        pod.wait_for("lost", "exited", "254");
        pod.app("start", &["lost"]).code(0);
        pod.wait_for("lost", "exited", "254");
        pod.app("rm", &["lost"]).code(0);
    }
    let seen = words("--name=seen -- /bin/probe report fd , exit 7");
    pod.app("add", &seen).code(0);
    pod.wait_for("seen", "exited", "7");
    let output = pod.end();
    output.code(0).has("fd.0=/dev/null").lacks("fd.3");
    Ok(())
}

fn pipes_that_are_closed() -> TestResult {
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options([
            "--name=writer",
            "--stdout=pipe:reader",
            "--exit-policy=never",
        ])
        .command(crate::pods::programs(&[
            // It writes nothing: it would be killed by SIGPIPE.
            "sleep 60000",
            "--name=reader | exit 4",
            "--name=main | catch TERM",
        ]))
        .start();
    running.wait_for("waiting");
    wait_until("the reader has ended", || {
        let status = app("status", &directory, &["reader"]);
        status.stdout.contains("exited")
    });
    app("rm", &directory, &["reader"]).refused(&["reader", "writes to it"]);
    app("start", &directory, &["reader"]).refused(&["reader", "the other end of its pipe"]);
    app("stop", &directory, &["writer"]).code(0);
    app("start", &directory, &["writer"]).refused(&["writer", "the other end of its pipe"]);
    app("rm", &directory, &["reader"]).code(0);
    app("status", &directory, &["main"]).code(0).has("running");
    let pid = fs::read_to_string(directory.join("pid")).expect("a pid");
    sys::kill(pid.trim_end().parse().expect("a number"), libc::SIGTERM).expect("it runs");
    running.finish().code(0);
    Ok(())
}

/// They are collected, though there is nobody that the pod is about.
fn orphans_without_an_app() -> TestResult {
    let pod = Controlled::new();
    pod.app("stop", &["main"]).code(0);
    let orphans = words("--name=orphans -- /bin/probe orphan 100 , exit 0");
    pod.app("add", &orphans).code(0);
    pod.wait_for("orphans", "exited", "0");
    // They sleep for some milliseconds, behind the end of the app.
    let pid = pod.pid();
    wait_until("they are collected", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.is_ok_and(|text| text.trim().is_empty())
    });
    pod.end().code(0);
    Ok(())
}

/// The second one takes nothing away from the first.
fn two_pods_in_one_directory() -> TestResult {
    let pod = Controlled::new();
    for root in [roots::probe(), "/nonexistent".into()] {
        Pod::new(root)
            .options(["--pod-dir".as_ref(), pod.directory.as_os_str()])
            .probe(["exit", "0"])
            .refused(&["a pod runs with that directory"]);
    }
    assert!(pod.is("main", "running", "0"), "{:?}", pod.line("main"));
    for name in ["pid", "ready", "control"] {
        assert!(pod.path(name).exists(), "{name}");
    }
    let directory = pod.directory.clone();
    pod.end().code(0);
    Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe(["exit", "5"])
        .code(5);
    Ok(())
}

fn capabilities_that_pid_1_lacks() -> TestResult {
    let pod = Controlled::new();
    for option in [
        "--cap-add=SYS_ADMIN",
        "--pid-namespace",
        "--insecure-options=all",
    ] {
        pod.app(
            "add",
            &["--name=more", option, "--", "/bin/probe", "exit", "0"],
        )
        .refused(&["capabilities", "pid 1 of the pod does not have"]);
    }
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 2);
    pod.end().code(0);
    let pod = Controlled::with(
        &["--exit-policy=never", "--cap-add=SYS_ADMIN"],
        &["catch", "TERM"],
    );
    let more = words("--name=more --cap-add=SYS_ADMIN -- /bin/probe report CapEff , exit 3");
    pod.app("add", &more).code(0);
    pod.wait_for("more", "exited", "3");
    let less = words("--name=less -- /bin/probe report CapBnd , exit 4");
    pod.app("add", &less).code(0);
    pod.wait_for("less", "exited", "4");
    let output = pod.end();
    output
        .code(0)
        .has("CapEff=00000000a02425fb")
        .has("CapBnd=00000000a00425fb");
    Ok(())
}

/// It waits for nobody when it starts again.
fn who_has_waited_for_one_that_is_removed() -> TestResult {
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=first", "--ready=exit", "--exit-policy=never"])
        .command(crate::pods::programs(&[
            "exit 0",
            "--name=second --after=first | echo second",
        ]))
        .start();
    running.wait_for("second");
    wait_until("the second has ended", || {
        let status = app("status", &directory, &["second"]);
        status.stdout.contains("exited")
    });
    app("rm", &directory, &["first"]).code(0);
    app("start", &directory, &["second"]).code(0);
    running.wait_for_times("second", 2);
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    Ok(())
}

fn what_is_removed_is_let_go() -> TestResult {
    let pod = Controlled::new();
    let before = open_files(pod.pid());
    let more = words("--name=more --log=file:/tmp/log -- /bin/probe exit 0");
    for _ in 0..2 {
        pod.app("add", &more).code(0);
        pod.wait_for("more", "exited", "0");
        assert!(open_files(pod.pid()) > before, "it may start again");
        pod.app("rm", &["more"]).code(0);
    }
    wait_until("all is closed", || open_files(pod.pid()) == before);
    pod.end().code(0);
    Ok(())
}

/// With the last program the pod has ended: an order that is there by then is refused, though
/// pid 1 has not looked at it yet.
fn an_order_that_comes_too_late() -> TestResult {
    let pod = Controlled::with(&[], &["catch", "TERM"]);
    let main = init::child_of(pod.pid());
    sys::kill(pod.pid(), libc::SIGSTOP).expect("it runs");
    init::wait_for_state(pod.pid(), 'T');
    sys::kill(main, libc::SIGTERM).expect("it runs");
    init::wait_for_state(main, 'Z');
    let start = send_at(&pod.path("control"), 3, 0, "main");
    sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
    let [_, errno, ..] = reply(&start);
    assert_eq!(errno, libc::ESHUTDOWN.unsigned_abs());
    let output = pod.running.finish();
    output.code(0);
    assert_eq!(output.stdout.matches("waiting").count(), 1);
    Ok(())
}

/// Who was stopped alone has all the time for what is done behind it.
fn a_hook_has_no_deadline_of_its_app() -> TestResult {
    let pod = Controlled::new();
    let hooked = [
        "--name=hooked",
        "--stop-timeout=200ms",
        "--post-stop=/bin/probe sleep 500 , echo cleaned",
        "--",
        "/bin/probe",
        "catch",
        "TERM",
    ];
    pod.app("add", &hooked).code(0);
    pod.running.wait_for_times("waiting", 2);
    pod.app("stop", &["hooked"]).code(0).quiet();
    pod.end().code(0).has("cleaned");
    Ok(())
}

/// Only all are stopped without a name, and signal 0 is none.
fn requests_that_mean_nothing() -> TestResult {
    let pod = Controlled::new();
    for (operation, name) in [(3, ""), (5, ""), (6, ""), (6, "main"), (8, "main")] {
        let [_, errno, ..] = reply(&send_at(&pod.path("control"), operation, 0, name));
        assert_eq!(errno, libc::EINVAL.unsigned_abs(), "{operation} {name}");
    }
    assert!(pod.is("main", "running", "0"), "{:?}", pod.line("main"));
    pod.end().code(0);
    Ok(())
}

/// pid 1 has been in the pod's directory for a moment, which is the host's: its path would be
/// / there, too.
fn no_directory_of_the_host() -> TestResult {
    let pod = Controlled::new();
    for pid in [pod.pid(), init::child_of(pod.pid())] {
        let [directory, root] = ["cwd", "root"].map(|link| {
            let status = fs::metadata(format!("/proc/{pid}/{link}")).expect("a directory");
            (status.dev(), status.ino())
        });
        assert_eq!(directory, root, "{pid}");
    }
    pod.end().code(0);
    Ok(())
}

/// Nor do those put its end off that nobody waits for.
fn stops_without_an_answer() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=300ms");
    let is_over = (0..60).any(|_| {
        reply(&send_at(&pod.path("control"), 4, 0, "deaf"));
        thread::sleep(Duration::from_millis(30));
        pod.is("deaf", "exited", "137")
    });
    assert!(is_over, "{:?}", pod.line("deaf"));
    pod.end().code(0);
    Ok(())
}

/// Nobody waits any more by then.
fn who_waits_behind_one_that_was_killed() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=700ms");
    let first = pod.stop_deaf();
    first.signal(libc::SIGKILL);
    let _ = first.finish();
    pod.app("stop", &["deaf"]).code(0).quiet();
    assert!(pod.is("deaf", "exited", "137"), "{:?}", pod.line("deaf"));
    pod.end().code(0);
    Ok(())
}

/// What it has started goes with it.
fn the_group_of_who_is_deaf() -> TestResult {
    let pod = Controlled::new();
    let words = words(
        "--name=deaf --stop-timeout=100ms -- /bin/probe ignore TERM , background sleep 61237 , \
         echo deaf , sleep 60000",
    );
    pod.app("add", &words).code(0);
    pod.running.wait_for("deaf\n");
    pod.app("stop", &["deaf"]).code(0);
    wait_until("nothing of it runs", || {
        let texts = isolate::processes().into_iter().map(isolate::describe);
        !texts.into_iter().any(|text| text.contains("61237"))
    });
    assert!(pod.is("main", "running", "0"), "{:?}", pod.line("main"));
    pod.end().code(0);
    Ok(())
}

/// Who is started anew is started again, as before.
fn restarts_behind_a_stop() -> TestResult {
    let pod = Controlled::new();
    let again = words("--name=again --restart=always -- /bin/probe echo run , sleep 60000");
    pod.app("add", &again).code(0);
    pod.running.wait_for("run");
    pod.app("stop", &["again"]).code(0);
    pod.app("start", &["again"]).code(0);
    pod.running.wait_for_times("run", 2);
    pod.app("kill", &["again", "KILL"]).code(0);
    pod.running.wait_for_times("run", 3);
    pod.end().code(0);
    Ok(())
}

fn who_starts_again_is_not_ready() -> TestResult {
    let pod = Controlled::new();
    let late = words(
        "--name=late --ready=notify --restart=always -- \
         /bin/probe sleep 1000 , notify READY=1 , sleep 60000",
    );
    pod.app("add", &late).code(0);
    let is = |ready: &str, restarts: &str| {
        let line = pod.line("late");
        line[1..3] == ["running", ready] && line[5] == restarts
    };
    wait_until("it is ready", || is("yes", "0"));
    pod.app("kill", &["late", "KILL"]).code(0);
    wait_until("it is not ready again", || is("no", "1"));
    pod.end().code(0);
    Ok(())
}
