//! `stage0 export`: the root of a pod as a tar archive, as tar(1) reads it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult, attribute,
    command::Run,
    registered::{Registry, one_line, wait_until},
    roots, sys,
    terminal::Terminal,
    tests,
};

tests![
    as_it_is_on_the_disk,
    a_layer_while_it_runs,
    roots_of_their_own,
    what_is_mounted_is_left_out,
    before_it_is_run,
    ids_of_its_own,
    what_can_not_be_written,
    killed_while_it_writes,
    deep_directories,
    bad_words,
];

/// Runs a script of the host in `folder`.
fn shell(folder: &Path, script: &str) -> String {
    let output = Run::new("/bin/bash")
        .args(["-euc", script])
        .directory(folder)
        .output();
    output.code(0);
    output.stdout
}

/// What is in a directory, a line each, but for sockets.
fn listing(folder: &Path) -> String {
    let script = "find . ! -type s -printf '%P %y %m %U:%G %Ts %n %l\\n' | sort
        find . -type f -print0 | sort -z | xargs -0 sha256sum
        find . \\( -type c -o -type b \\) -print0 | sort -z | xargs -0r stat -c '%n %t:%T'";
    shell(folder, script)
}

/// What the archive holds, unpacked.
fn unpacked(archive: &Path) -> PathBuf {
    let folder = roots::directory("unpacked");
    let path = archive.display();
    shell(
        &folder,
        &format!("tar --xattrs --numeric-owner --same-owner -xpf {path}"),
    );
    folder
}

/// A pod that has ended, in the root of `pods`.
fn ended(pods: &Registry) -> String {
    let output = pods.pod("run", &["--keep"], &["exit", "0"]).output();
    output.code(0).quiet();
    let [(uuid, _)] = pods.list().try_into().expect("one pod");
    uuid
}

fn as_it_is_on_the_disk() -> TestResult {
    let pods = Registry::new();
    let uuid = ended(&pods);
    let long = "a long name ".repeat(12);
    let script = format!(
        "mkdir -p 'files/{long}/{long}/{long}' empty
        echo text >files/text; chown 1234:4294967294 files/text; chmod 4751 files/text
        ln files/text 'files/{long}/text'; ln files/text files/again
        ln -s /etc/passwd files/absolute; ln -s ../.. files/up; ln -s 'none/{long}{long}' files/none
        : >'files/{long}/{long}/{long}/x'; ln 'files/{long}/{long}/{long}/x' files/y
        printf x >$'files/new\\nline \\377'; head -c 100000 /dev/urandom >files/large
        mkfifo -m 600 files/fifo; mknod files/zero c 1 5; mknod files/disk b 259 70000
        mkdir -m 1777 sticky; mkdir group; chown 5:3000000 group; chmod 2710 group
        find . -exec touch -hd @1234567890 {{}} +; touch -d @-5 files/large"
    );
    shell(&pods.root, &script);
    // cap_net_raw, as setcap(8) writes it.
    let mut capability = [0; 20];
    (capability[3], capability[5]) = (2, 0x20);
    attribute::set(
        &pods.root.join("files/large"),
        "security.capability",
        &capability,
    )
    .expect("an attribute");
    let _socket = UnixListener::bind(pods.root.join("files/socket")).expect("a socket");
    shell(&pods.root, "touch -d @1234567890 files");
    let folder = roots::directory("archives");
    let archive = folder.join("root.tar");
    let export = |file: &str| {
        let output = pods
            .command("export")
            .args([&uuid, file])
            .directory(&folder)
            .output();
        output.code(0).quiet();
        output
    };
    export("root.tar").printed("");
    assert_eq!(
        fs::metadata(&archive).expect("a file").mode() & 0o7777,
        0o600
    );
    assert_eq!(listing(&unpacked(&archive)), listing(&pods.root));
    let names = shell(&folder, "tar tf root.tar");
    assert!(!names.contains("socket"), "{names}");
    let attributes = shell(&folder, "tar tvvv --xattrs --xattrs-include=* -f root.tar");
    assert_eq!(
        attributes.matches("security.capability").count(),
        1,
        "{attributes}"
    );
    // The same again: over the first one, and to standard output.
    let first = fs::read(&archive).expect("a file");
    export("root.tar");
    assert!(fs::read(&archive).expect("a file") == first);
    assert!(export("-").bytes == first);
    assert_eq!(fs::read_dir(&folder).expect("a directory").count(), 1);
    pods.collected();
    Ok(())
}

fn a_layer_while_it_runs() -> TestResult {
    let pods = Registry::new();
    let options = ["--detach", "--ephemeral", "--name=web", "--ready=notify"];
    let probe = [
        "write",
        "/made",
        "in the layer",
        ",",
        "notify",
        "READY=1",
        ",",
        "catch",
        "TERM",
    ];
    let uuid = one_line(&pods.pod("run", &options, &probe).output());
    let archive = roots::fresh("archive");
    let file = archive.to_str().expect("UTF-8");
    pods.ask("export", &["web", file])
        .code(0)
        .quiet()
        .printed("");
    let root = unpacked(&archive);
    assert_eq!(
        fs::read_to_string(root.join("made")).expect("it"),
        "in the layer"
    );
    assert!(!pods.root.join("made").exists());
    assert!(root.join("bin/probe").is_file());
    // Its own /proc and /dev are no part of it.
    for name in ["proc", "dev", "sys"] {
        assert_eq!(
            fs::read_dir(root.join(name)).expect("it").count(),
            0,
            "{name}"
        );
    }
    pods.ask("stop", &[&uuid]).code(0).quiet();
    fs::remove_file(&archive).expect("it is there");
    pods.ask("export", &["web", file])
        .refused(&["stage0: export web: ", "ephemeral layer"]);
    assert!(!archive.exists());
    pods.collected();
    Ok(())
}

fn roots_of_their_own() -> TestResult {
    let pods = Registry::new();
    let other = roots::probe();
    for (root, text) in [(&pods.root, "one"), (&other, "two")] {
        fs::write(root.join("which"), text).expect("a file");
    }
    for layer in [&["--ephemeral"][..], &[]] {
        let output = pods
            .command("run")
            .arg("--detach")
            .args(layer)
            .arg(&pods.root)
            .args(["--name=a", "--", "/bin/probe", "catch", "TERM", "---"])
            .arg(&other)
            .args(["--name=b", "--", "/bin/probe", "catch", "TERM"])
            .output();
        let uuid = one_line(&output);
        let exported = |app: &[&str]| {
            let archive = roots::fresh("archive");
            let words = [&[&*uuid, archive.to_str().expect("UTF-8")], app].concat();
            pods.ask("export", &words).code(0).quiet();
            fs::read_to_string(unpacked(&archive).join("which")).expect("a file")
        };
        assert_eq!(exported(&[]), "one");
        assert_eq!(exported(&["--app=a"]), "one");
        assert_eq!(exported(&["--app", "b"]), "two");
        pods.ask("export", &["--app=c", &uuid, "-"])
            .refused(&["no such app", "a, b"]);
        pods.ask("stop", &[&uuid]).code(0).quiet();
        pods.collected();
    }
    Ok(())
}

fn what_is_mounted_is_left_out() -> TestResult {
    let pods = Registry::new();
    let mounted = pods.root.join("mounted");
    fs::create_dir(&mounted).expect("a directory");
    sys::mount_tmpfs(mounted.to_str().expect("UTF-8"), "mode=0755").expect("a tmpfs");
    fs::write(mounted.join("in it"), "").expect("a file");
    let volume = roots::directory("volume");
    fs::write(volume.join("in the volume"), "").expect("a file");
    let volume = format!("{}:/volume", volume.display());
    for layer in [&["--ephemeral"][..], &[]] {
        let options = [&["--detach", "--volume", &*volume], layer].concat();
        let uuid = one_line(&pods.pod("run", &options, &["catch", "TERM"]).output());
        let archive = roots::fresh("archive");
        let file = archive.to_str().expect("UTF-8");
        pods.ask("export", &[&uuid, file]).code(0).quiet();
        let root = unpacked(&archive);
        for name in ["mounted", "volume"] {
            assert_eq!(
                fs::read_dir(root.join(name)).expect("it").count(),
                0,
                "{name}"
            );
        }
        pods.ask("stop", &[&uuid]).code(0).quiet();
        pods.collected();
    }
    sys::unmount(mounted.to_str().expect("UTF-8")).expect("it is mounted");
    Ok(())
}

fn before_it_is_run() -> TestResult {
    let pods = Registry::new();
    let prepare =
        |options: &[&str]| one_line(&pods.pod("prepare", options, &["exit", "0"]).output());
    let uuid = prepare(&[]);
    let output = pods.ask("export", &[&uuid, "-"]);
    output.code(0).quiet();
    assert!(output.bytes.starts_with(b"./\0"));
    pods.ask("export", &[&prepare(&["--ephemeral"]), "-"])
        .refused(&["export", "it is prepared"]);
    Ok(())
}

/// The ids are those on the disk.
fn ids_of_its_own() -> TestResult {
    let pods = Registry::new();
    shell(&pods.root, "echo >mine; chown 7:8 mine");
    let start = |options: &[&str]| {
        let options = [&["--detach", "--private-users"], options].concat();
        one_line(&pods.pod("run", &options, &["catch", "TERM"]).output())
    };
    let uuid = start(&[]);
    let archive = roots::fresh("archive");
    pods.ask("export", &[&uuid, archive.to_str().expect("UTF-8")])
        .code(0)
        .quiet();
    let status = fs::metadata(unpacked(&archive).join("mine")).expect("a file");
    assert_eq!((status.uid(), status.gid()), (7, 8));
    let layered = start(&["--ephemeral"]);
    pods.ask("export", &[&layered, "-"])
        .refused(&["user namespace"]);
    pods.ask("stop", &[&uuid, &layered]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn what_can_not_be_written() -> TestResult {
    let pods = Registry::new();
    let uuid = ended(&pods);
    let export = |file: &str| pods.ask("export", &[&uuid, file]);
    let small = roots::directory("small");
    sys::mount_tmpfs(small.to_str().expect("UTF-8"), "size=16k").expect("a tmpfs");
    let old = small.join("old");
    fs::write(&old, "old").expect("a file");
    let file = old.to_str().expect("UTF-8");
    export(file).refused(&["export", "No space left"]);
    // Nothing of it is left, and what was there is.
    assert_eq!(fs::read_to_string(&old).expect("it"), "old");
    assert_eq!(fs::read_dir(&small).expect("it").count(), 1);
    sys::unmount(small.to_str().expect("UTF-8")).expect("it is mounted");
    let folder = roots::directory("folder");
    let link = folder.join("link");
    symlink("elsewhere", &link).expect("a link");
    for path in [
        "/dev/null",
        folder.to_str().expect("UTF-8"),
        link.to_str().expect("UTF-8"),
    ] {
        export(path).refused(&[path, "no regular file"]);
    }
    assert!(!folder.join("elsewhere").exists());
    export("/no/such/directory/file").refused(&["/no/such/directory/file", "No such file"]);
    // Nor can be told why.
    let unheard = |run: Run| {
        let full = fs::File::options().write(true).open("/dev/full");
        let full = full.expect("a device");
        let output = run.hook(move || {
            sys::duplicate_onto(&full, 1)?;
            sys::duplicate_onto(&full, 2)
        });
        output.output().code(254).quiet();
    };
    unheard(pods.command("export").args([&uuid, "-"]));
    unheard(Run::ours("stage0-image"));
    unheard(Run::ours("kickstage-initramfs").arg("--help"));
    unheard(Run::ours("kickstage-initramfs"));
    let run = pods.command("export").args([&uuid, "/dev/full"]);
    run.output().refused(&["no regular file"]);
    let terminal = Terminal::new(24, 80);
    let running = terminal.start(pods.command("export").args([&uuid, "-"]));
    running.finish().code(254);
    pods.collected();
    Ok(())
}

/// The file has no name before it is whole.
fn killed_while_it_writes() -> TestResult {
    let pods = Registry::new();
    let uuid = ended(&pods);
    shell(&pods.root, "truncate -s 1T hole");
    let folder = roots::directory("archives");
    fs::write(folder.join("old"), "old").expect("a file");
    let mut running = pods
        .command("export")
        .args([&uuid, "old"])
        .directory(&folder)
        .start();
    let output = PathBuf::from(format!("/proc/{}/fd", running.pid()));
    wait_until("it writes", || {
        let files = fs::read_dir(&output).into_iter().flatten().flatten();
        let mut sizes = files.filter_map(|file| {
            let is_it = fs::read_link(file.path()).ok()?.starts_with(&folder);
            fs::metadata(file.path()).ok().filter(|_| is_it)
        });
        sizes.any(|file| file.len() > 4096)
    });
    assert!(running.runs());
    running.signal(libc::SIGKILL);
    running.finish().killed(libc::SIGKILL);
    assert_eq!(fs::read_dir(&folder).expect("it").count(), 1);
    assert_eq!(fs::read_to_string(folder.join("old")).expect("it"), "old");
    pods.collected();
    Ok(())
}

/// As many directories as descriptors, and more.
fn deep_directories() -> TestResult {
    let pods = Registry::new();
    let uuid = ended(&pods);
    let archive = roots::fresh("archive");
    let file = archive.to_str().expect("UTF-8");
    let deeper = "for n in {1..300}; do mkdir d; cd -P d; done";
    shell(&pods.root, deeper);
    pods.ask("export", &[&uuid, file]).code(0).quiet();
    let deepest = format!("find {} -name d | wc -l", unpacked(&archive).display());
    assert_eq!(shell(&pods.root, &deepest), "300\n");
    fs::remove_file(&archive).expect("it is there");
    let run = format!("ulimit -n 100; exec \"$0\" export {uuid} {file}");
    let output = Run::new("/bin/bash")
        .args(["-c", &run])
        .arg(kickstage_tests::command::program("stage0"))
        .env("KICKSTAGE_STATE_DIR", pods.path())
        .output();
    output.code(254);
    assert!(
        output.stderr.contains("Too many open files"),
        "{}",
        output.everything()
    );
    assert!(!archive.exists());
    pods.collected();
    Ok(())
}

fn bad_words() -> TestResult {
    let pods = Registry::new();
    let uuid = ended(&pods);
    pods.ask("export", &[]).refused(&["no pod is named"]);
    pods.ask("export", &[&uuid]).refused(&["no file is named"]);
    pods.ask("export", &[&uuid, "a", "b"])
        .refused(&["command line"]);
    pods.ask("export", &["--force", &uuid, "a"])
        .refused(&["--force"]);
    pods.ask("export", &["none", "-"])
        .refused(&["no matches found"]);
    pods.ask("export", &[&uuid, ""]).refused(&["export"]);
    relative_roots(&pods);
    // It speaks of stage0 if somebody calls it.
    Run::ours("stage0-image")
        .output()
        .refused(&["stage0 export"]);
    pods.collected();
    Ok(())
}

/// Where a relative root was is not known any more. In the pod it is seen while it runs, but
/// not with the ids of the disk if these are mapped.
fn relative_roots(pods: &Registry) {
    let run = |name: &str, options: &[&str], job: &[&str]| {
        pods.command("run")
            .directory(pods.root.parent().expect("a directory"))
            .args(["--name", name])
            .args(options)
            .arg("--rootfs")
            .arg(pods.root.file_name().expect("a name"))
            .args(["--", "/bin/probe"])
            .args(job)
            .output()
    };
    let words = ["it is not absolute", "an absolute --rootfs"];
    run("ended", &["--keep"], &["exit", "0"]).code(0).quiet();
    pods.ask("export", &["ended", "-"]).refused(&words);
    shell(&pods.root, "echo >mine; chown 7:8 mine");
    let archive = roots::fresh("archive");
    let file = archive.to_str().expect("UTF-8");
    let catch = ["catch", "TERM"];
    run("plain", &["--detach"], &catch).code(0);
    run("mapped", &["--detach", "--private-users"], &catch).code(0);
    pods.ask("export", &["plain", file]).code(0).quiet();
    let status = fs::metadata(unpacked(&archive).join("mine")).expect("a file");
    assert_eq!((status.uid(), status.gid()), (7, 8));
    pods.ask("export", &["mapped", "-"]).refused(&words);
    pods.ask("stop", &["plain", "mapped"]).code(0).quiet();
}
