//! What somebody has put where a pod's directory goes, or its uuid.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    compare,
    pod::Pod,
    registered::{Registry, one_line, wait_until},
    roots, sys, tests,
};

tests![
    links,
    links_of_a_parked_pod,
    link_of_a_prepared_pod,
    without_standard_input,
    start_in_vain,
    no_room,
    few_files,
    no_file_more,
    no_file_more_at_its_end,
    no_file_for_a_parked_one,
    uuid_over_another_text,
    uuid_in_a_full_device,
    uuid_in_a_pipe,
    uuid_that_nobody_reads,
    of_no_pool,
];

/// With this directory on the host.
fn start(directory: &Path, options: &[&str]) -> Output {
    Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(options)
        .probe(["exit", "0"])
}

/// A state directory of which there is little room.
struct Small {
    path: PathBuf,
    /// What names it.
    option: String,
}

impl Small {
    /// On a tmpfs with these options.
    fn with(options: &str) -> Self {
        let path = roots::directory("small");
        let text = path.to_str().expect("UTF-8");
        sys::mount_tmpfs(text, options).expect("a tmpfs");
        let option = format!("--state-dir={text}");
        Self { path, option }
    }

    /// Takes the last file of 40.
    fn fill(&self) {
        let mut files = (0..40).map(|number| self.path.join(number.to_string()));
        assert!(files.any(|path| File::create(path).is_err()));
    }

    fn has_no_pod(&self, pods: &Registry) {
        let list = pods.ask("list", &[&self.option, "--no-legend"]);
        list.code(0).quiet().printed("");
    }

    /// Pid 1 of a pod may be on its way out.
    fn end(self) {
        let path = self.path.to_str().expect("UTF-8");
        wait_until("nobody has it", || sys::unmount(path).is_ok());
    }
}

/// Nothing is made, locked or taken away where they lead.
fn links() -> TestResult {
    for name in ["status", "added", "lock"] {
        let (directory, outside) = (roots::directory("pod"), roots::directory("outside"));
        fs::write(outside.join("file"), "precious").expect("a file");
        let target = if name == "lock" {
            outside.join(name)
        } else {
            outside.clone()
        };
        symlink(target, directory.join(name)).expect("a link");
        let output = start(&directory, &[]);
        if name == "lock" {
            output.refused(&["symbolic links"]);
        }
        assert_eq!(compare::names(&outside), ["file"], "{name}");
    }
    Ok(())
}

/// Who releases it takes no other plan, and no other lock.
fn links_of_a_parked_pod() -> TestResult {
    let directory = roots::fresh("pod");
    start(&directory, &["--hold"]).code(0).quiet();
    let release = |words: &[&str]| {
        let run = Run::ours("stage0").args(["app", "release"]);
        run.arg(&directory).args(words).output()
    };
    for (name, words) in [("lock", &[][..]), ("plan", &["--set-env=A=b"])] {
        let (path, elsewhere) = (directory.join(name), roots::fresh(name));
        fs::copy(&path, &elsewhere).expect("a copy");
        let own = directory.join("own");
        fs::rename(&path, &own).expect("moved");
        symlink(&elsewhere, &path).expect("a link");
        release(words).refused(&[]);
        fs::rename(&own, &path).expect("moved");
    }
    release(&["--set-env=A=b"]).code(0).quiet();
    Ok(())
}

/// The plan is that of who has prepared it.
fn link_of_a_prepared_pod() -> TestResult {
    let pods = Registry::new();
    for options in [&[][..], &["--warm"]] {
        let uuid = pods.prepare(options, &["exit", "3"]);
        let path = pods.place("prepared", &uuid).join("plan");
        let elsewhere = pods.path().join("plan");
        fs::rename(&path, &elsewhere).expect("moved");
        symlink(&elsewhere, &path).expect("a link");
        let words = ["--set-env=A=b", &uuid];
        pods.ask("run-prepared", &words)
            .refused(&["symbolic links"]);
        fs::rename(&elsewhere, &path).expect("moved");
        pods.ask("run-prepared", &words).code(3).quiet();
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// No descriptor that is opened for the pod takes its place.
fn without_standard_input() -> TestResult {
    let directory = roots::fresh("pod");
    let pod = Pod::new(roots::probe()).options(["--pod-dir".as_ref(), directory.as_os_str()]);
    let run = pod.probe_command(["report", "fd"]).hook(|| sys::close(0));
    run.output().code(0).quiet().has("fd.0=/dev/null\n");
    Ok(())
}

/// What was there before stays, and nothing else does.
fn start_in_vain() -> TestResult {
    let (directory, fresh) = (roots::directory("pod"), roots::fresh("pod"));
    for path in [&directory, &fresh] {
        start(path, &["--volume=/no/such:/x"]).refused(&["/no/such"]);
        assert_eq!(path.exists(), *path == directory);
    }
    Ok(())
}

/// A plan is there as a whole, or no pod is.
fn no_room() -> TestResult {
    let pods = Registry::new();
    let small = Small::with("size=4k");
    let variable = format!("--set-env=A={}", "a".repeat(5000));
    for words in [
        &["prepare"][..],
        &["prepare", "--warm"],
        &["run", "--keep"],
        &["run", "--detach"],
    ] {
        let options = [&words[1..], &[&small.option, &variable]].concat();
        pods.pod(words[0], &options, &["exit", "0"])
            .output()
            .refused(&["No space left on device"]);
        small.has_no_pod(&pods);
    }
    small.end();
    Ok(())
}

/// Whatever can't be made any more, there is a pod as a whole, or none: also where the folder
/// of garbage can't be made.
fn few_files() -> TestResult {
    let pods = Registry::new();
    for words in [&["prepare"][..], &["run", "--detach"]] {
        let mut refused = 0;
        for count in 4..20 {
            let small = Small::with(&format!("nr_inodes={count}"));
            let options = [&words[1..], &[&small.option]].concat();
            let output = pods.pod(words[0], &options, &["exit", "0"]).output();
            if output.stdout.is_empty() {
                output.refused(&["No space left on device"]);
                small.has_no_pod(&pods);
                refused += 1;
            }
            small.end();
        }
        assert!(refused > 1, "{words:?}");
    }
    Ok(())
}

/// Where nothing can be made something can be taken away.
fn no_file_more() -> TestResult {
    let pods = Registry::new();
    let small = Small::with("nr_inodes=40");
    let prepared = || {
        let output = pods.pod("prepare", &[&small.option], &["exit", "0"]);
        one_line(output.output().code(0).quiet())
    };
    let all = [prepared(), prepared()];
    small.fill();
    for uuid in &all {
        pods.ask("rm", &[&small.option, uuid]).code(0).quiet();
    }
    small.has_no_pod(&pods);
    small.end();
    Ok(())
}

/// It goes where it is.
fn no_file_more_at_its_end() -> TestResult {
    let pods = Registry::new();
    let small = Small::with("nr_inodes=40");
    let options = ["--register", &small.option];
    let run = pods.pod("run", &options, &["catch", "TERM", ",", "exit", "3"]);
    let running = run.start();
    running.wait_for("waiting");
    small.fill();
    running.signal(libc::SIGTERM);
    running.finish().code(3);
    small.has_no_pod(&pods);
    assert!(!small.path.join("pods/garbage").exists());
    small.end();
    Ok(())
}

/// It is parked, or there is none: nobody waits for a socket that can't be made.
fn no_file_for_a_parked_one() -> TestResult {
    let pods = Registry::new();
    let mut codes = Vec::new();
    for files in 4..24 {
        let small = Small::with(&format!("nr_inodes={files}"));
        let words = ["--warm", &small.option];
        let output = pods.pod("prepare", &words, &["exit", "0"]).output();
        codes.push(output.code);
        if output.code == Some(0) {
            let words = ["--force", &small.option, &one_line(&output)];
            pods.ask("rm", &words).code(0).quiet();
        }
        small.has_no_pod(&pods);
        small.end();
    }
    codes.dedup();
    assert_eq!(codes, [Some(254), Some(0)]);
    Ok(())
}

/// Of which nothing stays.
fn uuid_over_another_text() -> TestResult {
    let pods = Registry::new();
    let file = roots::fresh("uuid");
    let option = format!("--uuid-file-save={}", file.display());
    for command in ["run", "prepare"] {
        fs::write(&file, "x".repeat(100)).expect("a file");
        pods.pod(command, &[&option], &["exit", "0"])
            .output()
            .code(0);
        assert_eq!(fs::read_to_string(&file).expect("a uuid").len(), 37);
    }
    Ok(())
}

/// Nobody could name it.
fn uuid_in_a_full_device() -> TestResult {
    let pods = Registry::new();
    let device = roots::fresh("full");
    sys::make_device(&device, 1, 7).expect("a device");
    let option = format!("--uuid-file-save={}", device.display());
    for words in [
        &["run", "--keep"][..],
        &["run", "--detach"],
        &["prepare"],
        &["prepare", "--warm"],
    ] {
        let options = [&words[1..], &[&option]].concat();
        pods.pod(words[0], &options, &["exit", "0"])
            .output()
            .refused(&["write file", "No space left on device"]);
        assert_eq!(pods.left(), Vec::<String>::new(), "{words:?}");
    }
    Ok(())
}

/// Who takes it back waits for nobody.
fn uuid_in_a_pipe() -> TestResult {
    let pods = Registry::new();
    let pipe = roots::fresh("pipe");
    let made = Run::new("mkfifo").arg(&pipe).output();
    made.code(0).quiet();
    let option = format!("--uuid-file-save={}", pipe.display());
    let reader = thread::spawn(move || fs::read(pipe));
    pods.pod("run", &[&option, "--volume=/no/such:/x"], &["exit", "0"])
        .output()
        .refused(&["/no/such"]);
    reader.join().expect("it ends").expect("a pipe");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Then there is no pod.
fn uuid_that_nobody_reads() -> TestResult {
    let pods = Registry::new();
    for options in [&[][..], &["--warm"]] {
        let closed = std::io::pipe().expect("a pipe").1;
        let run = pods.pod("prepare", options, &["exit", "0"]);
        run.hook(move || sys::duplicate_onto(&closed, 1))
            .output()
            .refused(&["not all of it could be written"]);
        assert_eq!(pods.left(), Vec::<String>::new());
    }
    Ok(())
}

/// One that can be noted nowhere is taken back.
fn of_no_pool() -> TestResult {
    let pods = Registry::new();
    let options = ["--warm", "--pool=jobs"];
    pods.pod("prepare", &options, &["exit", "0"])
        .output()
        .refused(&["No such file"]);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
