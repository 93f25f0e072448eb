//! The files by which names are resolved: /etc/resolv.conf and /etc/hosts of a pod.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    compare,
    pod::Pod,
    roots, tests,
};

tests![
    the_hosts_by_default,
    the_hosts_by_default_of_fly,
    links_of_the_host,
    roots_that_stay_as_they_are,
    none_with_another_network,
    the_hosts_when_asked_for,
    lines_of_the_resolver,
    lines_of_hosts,
    copies_of_the_pod,
    through_links_of_the_root,
    volumes_win,
    roots_of_programs,
    read_only_roots,
    bad_values,
    options_that_exclude_each_other,
    not_with_others,
];

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// A root that has both files, with its own name in them.
fn root() -> PathBuf {
    let root = roots::probe();
    for file in FILES {
        fs::write(root.join(&file[1..]), "own\n").expect("a file");
    }
    root
}

fn host(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|_| String::from("own\n"))
}

/// What a pod with these options reads in `file`.
#[track_caller]
fn read(root: &Path, options: &[&str], file: &str) -> String {
    let output = Pod::new(root).options(options).probe(["read", file]);
    output.code(0).quiet();
    output.stdout
}

/// With the host's network its names are the host's, too, and can't be written.
fn the_hosts_by_default() -> TestResult {
    let root = root();
    for options in [
        &[][..],
        &["--net=host"],
        &["--ephemeral"],
        &["--readonly-rootfs"],
    ] {
        for file in FILES {
            assert_eq!(read(&root, options, file), host(file), "{options:?}");
        }
    }
    for file in FILES {
        let before = host(file);
        let output = Pod::new(&root).probe(["append", file, "x"]);
        output.code(1).has("EROFS");
        assert_eq!(host(file), before);
    }
    let output = Pod::new(&root).probe(["report", "mount"]).report();
    for file in FILES {
        let mount = output.mount(file);
        assert!(
            mount.has("ro") && mount.has("nosuid") && mount.has("nodev"),
            "{mount:?}"
        );
    }
    Ok(())
}

fn the_hosts_by_default_of_fly() -> TestResult {
    let root = root();
    for file in FILES {
        assert_eq!(read(&root, &["--stage1=fly"], file), host(file));
        assert_eq!(
            read(
                &root,
                &[
                    "--stage1=fly",
                    "--dns=none",
                    "--volume=/dev/null:/etc/hosts"
                ],
                file
            ),
            if file == FILES[0] { "own\n" } else { "" }
        );
    }
    Ok(())
}

/// `stage0 run` on a host with another /etc, of which `script` makes the files.
fn other_host(root: &Path, script: &str, words: &[&str]) -> Output {
    let script = format!("mount -t tmpfs none /etc; {script}; exec \"$0\" run --rootfs \"$@\"");
    Run::new("unshare")
        .args(["--mount", "--propagation=private", "/bin/sh", "-c", &script])
        .arg(program("stage0"))
        .arg(root)
        .args(words)
        .output()
}

/// As those of systemd-resolved, which lead upwards while the root covers /.
fn links_of_the_host() -> TestResult {
    let root = root();
    let script =
        "mkdir /etc/a; echo nameserver ::2 >/etc/a/b; ln -s ../../../etc/a/b /etc/resolv.conf";
    let words = ["--", "/bin/probe", "read", "/etc/resolv.conf"];
    for words in [&words[..], &[&["--dns=host"], &words[..]].concat()] {
        other_host(&root, script, words)
            .code(0)
            .printed("nameserver ::2\n");
    }
    // What the host does not have, or has as something else, no pod gets, unless it asks.
    for script in [":", "mkdir /etc/resolv.conf", "ln -s none /etc/resolv.conf"] {
        other_host(&root, script, &words).code(0).printed("own\n");
    }
    let words = [&["--dns=host"], &words[..]].concat();
    other_host(&root, ":", &words).refused(&["/etc/resolv.conf", "No such file"]);
    Ok(())
}

/// Nothing is made in a root that has no such file, or none that can be mounted on.
fn roots_that_stay_as_they_are() -> TestResult {
    let kinds: [fn(&Path); 5] = [
        |_| {},
        |etc| fs::remove_dir_all(etc).expect("a directory"),
        |etc| {
            symlink("/run/none", etc.join("resolv.conf")).expect("a link");
            symlink("/proc/version", etc.join("hosts")).expect("a link");
        },
        |etc| {
            fs::create_dir(etc.join("hosts")).expect("a directory");
            symlink("/dev/null", etc.join("resolv.conf")).expect("a link");
        },
        |etc| {
            symlink("hosts", etc.join("hosts")).expect("a link");
            symlink("passwd/x", etc.join("resolv.conf")).expect("a link");
        },
    ];
    for make in kinds {
        let root = roots::probe();
        make(&root.join("etc"));
        let before = compare::tree(&root);
        let report = Pod::new(&root).probe(["report", "mount"]).report();
        let mounts = report.mounts();
        assert!(
            mounts.iter().all(|mount| !mount.target.contains("etc")),
            "{mounts:?}"
        );
        assert!(
            mounts.iter().all(|mount| mount.target != "/proc/version"),
            "{mounts:?}"
        );
        assert_eq!(compare::tree(&root), before);
    }
    Ok(())
}

fn none_with_another_network() -> TestResult {
    let root = root();
    for options in [
        &["--net=none"][..],
        &["--net=/proc/self/ns/net"],
        &["--dns=none", "--net=none"],
    ] {
        for file in FILES {
            assert_eq!(read(&root, options, file), "own\n");
        }
    }
    assert_eq!(read(&root, &["--dns=none"], FILES[0]), "own\n");
    assert_eq!(read(&root, &["--dns=none"], FILES[1]), host(FILES[1]));
    Ok(())
}

/// Then also with another network, and in a root without the files.
fn the_hosts_when_asked_for() -> TestResult {
    let options = ["--net=none", "--dns=host", "--hosts-entry=host"];
    for root in [root(), roots::probe()] {
        for file in FILES {
            assert_eq!(read(&root, &options, file), host(file));
        }
    }
    Ok(())
}

fn lines_of_the_resolver() -> TestResult {
    let root = root();
    for (options, lines) in [
        (&["--dns=8.8.4.4"][..], "nameserver 8.8.4.4\n"),
        (
            &["--dns=8.8.8.8", "--dns", "fe80::1%eth0"],
            "nameserver 8.8.8.8\nnameserver fe80::1%eth0\n",
        ),
        (
            &["--dns-search=foo.com", "--dns-search=bar.com"],
            "search foo.com bar.com\n",
        ),
        (
            &["--dns-opt=debug", "--dns-opt=use-vc", "--dns-opt=ndots:2"],
            "options debug use-vc ndots:2\n",
        ),
        (&["--dns-domain=a", "--dns-domain=b.c"], "domain b.c\n"),
        (
            &[
                "--dns-domain=d",
                "--dns-opt=rotate",
                "--dns=::1",
                "--dns-search=.",
                "--net=none",
            ],
            "search .\nnameserver ::1\noptions rotate\ndomain d\n",
        ),
    ] {
        let expected = format!("# Generated by stage0 run\n\n{lines}");
        assert_eq!(read(&root, options, FILES[0]), expected);
    }
    Ok(())
}

fn lines_of_hosts() -> TestResult {
    let root = root();
    for (options, lines) in [
        (&["--hosts-entry=1.2.3.4=db"][..], "1.2.3.4 db\n"),
        (
            &[
                "--hosts-entry=::1=a,b",
                "--hosts-entry",
                "10.0.0.1=c,::1=d",
                "--net=none",
            ],
            "::1 a b d\n10.0.0.1 c\n",
        ),
        (
            &[
                "--hosts-entry=1.1.1.1=x",
                "--hosts-entry=2.2.2.2=y",
                "--hosts-entry=1.1.1.1=z.w",
            ],
            "1.1.1.1 x z.w\n2.2.2.2 y\n",
        ),
    ] {
        let options = [options, &["--hostname=me"]].concat();
        let expected = format!(
            "# Generated by stage0 run\n127.0.0.1 localhost localhost.localdomain\n127.0.0.1 me\n\n# Added by --hosts-entry\n{lines}"
        );
        assert_eq!(read(&root, &options, FILES[1]), expected);
        // The other file is as without.
        if !options.contains(&"--net=none") {
            assert_eq!(read(&root, &options, FILES[0]), host(FILES[0]));
        }
    }
    // The default name is random, and is the pod's.
    let output = Pod::new(&root)
        .options(["--hosts-entry=1.2.3.4=db"])
        .probe(["read", "/etc/hosts", ",", "report", "hostname"]);
    output.code(0);
    let name = output
        .stdout
        .rsplit_once("hostname=")
        .expect("a name")
        .1
        .trim();
    output.has(&format!("\n127.0.0.1 {name}\n"));
    Ok(())
}

/// Each pod may write its copies, and all programs of it see that; the root is as before.
fn copies_of_the_pod() -> TestResult {
    let root = root();
    let before = compare::tree(&root);
    let write = ["--dns=1.1.1.1", "--hosts-entry=1.1.1.1=a"];
    let script = [
        "append",
        "/etc/hosts",
        "x",
        ",",
        "append",
        "/etc/resolv.conf",
        "y",
        ",",
        "stat",
        "/etc/hosts",
        ",",
        "stat",
        "/etc/resolv.conf",
    ];
    let output = Pod::new(&root).options(write).probe(script);
    output.code(0).has("type=file mode=0644 uid=0 gid=0");
    assert_eq!(compare::tree(&root), before);
    let output = Pod::new(&root)
        .options(write)
        .options(["--exit-policy=all", "--ready=exit"])
        .run([
            "/bin/probe",
            "append",
            "/etc/hosts",
            "2.2.2.2 b",
            "---",
            "--after=app-0",
            "--",
            "/bin/probe",
            "read",
            "/etc/hosts",
        ]);
    output.code(0).has("1.1.1.1 a\n2.2.2.2 b");
    // A user of the pod may only read them.
    Pod::new(&root)
        .options(write)
        .options(["--user=1000"])
        .probe(["read", "/etc/resolv.conf", ",", "append", "/etc/hosts", "x"])
        .has("nameserver 1.1.1.1")
        .has("EACCES");
    Ok(())
}

/// A link is walked inside the root, and what is missing is made there.
fn through_links_of_the_root() -> TestResult {
    let root = roots::probe();
    let decoy = roots::directory("decoy");
    symlink(
        "../run/systemd/resolve/stub-resolv.conf",
        root.join("etc/resolv.conf"),
    )
    .expect("a link");
    symlink(
        format!("../../../../{}/hosts", decoy.display()),
        root.join("etc/hosts"),
    )
    .expect("a link");
    let options = ["--dns=1.1.1.1", "--hosts-entry=1.1.1.1=a"];
    for (file, line) in FILES.iter().zip(["nameserver 1.1.1.1", "1.1.1.1 a"]) {
        assert!(read(&root, &options, file).contains(line));
    }
    assert!(root.join("run/systemd/resolve/stub-resolv.conf").exists());
    assert_eq!(fs::read_dir(&decoy).expect("a directory").count(), 0);
    // Into /proc it is refused.
    let root = roots::probe();
    symlink("/proc/net/pnp", root.join("etc/resolv.conf")).expect("a link");
    Pod::new(&root)
        .options(["--dns=1.1.1.1"])
        .probe(["exit", "0"])
        .refused(&["/etc/resolv.conf"]);
    Ok(())
}

fn volumes_win() -> TestResult {
    let root = root();
    let source = roots::directory("source");
    fs::write(source.join("hosts"), "volume\n").expect("a file");
    fs::write(source.join("resolv.conf"), "volume\n").expect("a file");
    let whole = format!("--volume={}:/etc", source.display());
    let one = format!("--volume={}/hosts:/etc/hosts", source.display());
    let written = ["--dns=1.1.1.1", "--hosts-entry=1.1.1.1=a"];
    for options in [&[][..], &written, &["--dns=host", "--hosts-entry=host"]] {
        let options = [options, &[&*one]].concat();
        assert_eq!(read(&root, &options, FILES[1]), "volume\n");
        let options = [&options[..], &[&*whole]].concat();
        assert_eq!(read(&root, &options, FILES[0]), "volume\n");
        assert_eq!(read(&root, &options, FILES[1]), "volume\n");
    }
    Ok(())
}

/// Each root gets them: by default one that has the files, and only that.
fn roots_of_programs() -> TestResult {
    let (with, without) = (root(), roots::probe());
    let run = |options: &[&str]| {
        Run::ours("stage0")
            .args(["run", "--exit-policy=all"])
            .args(options)
            .arg(format!("dir:{}", with.display()))
            .args(["--ready=exit", "--", "/bin/probe", "read", "/etc/hosts"])
            .args(["---", &format!("dir:{}", without.display())])
            .args(["--after=app-0", "--", "/bin/probe", "read", "/etc/hosts"])
            .output()
    };
    let output = run(&[]);
    output.code(1).has("ENOENT");
    assert!(output.stdout.starts_with(&host("/etc/hosts")));
    let output = run(&["--hosts-entry=1.2.3.4=a", "--ephemeral"]);
    output.code(0);
    assert_eq!(output.stdout.matches("\n1.2.3.4 a\n").count(), 2);
    assert!(!without.join("etc/hosts").exists());
    Ok(())
}

/// Mount points that are there will do; one that is missing is named.
fn read_only_roots() -> TestResult {
    let options = [
        "--readonly-rootfs",
        "--dns=1.1.1.1",
        "--hosts-entry=1.1.1.1=a",
    ];
    assert!(read(&root(), &options, FILES[0]).contains("nameserver 1.1.1.1"));
    Pod::new(roots::probe())
        .options(options)
        .probe(["exit", "0"])
        .refused(&["/etc/resolv.conf", "Read-only"]);
    Ok(())
}

fn bad_values() -> TestResult {
    let root = root();
    for (option, bad, words) in [
        ("--dns", "", "IP address"),
        ("--dns", "dns.example.com", "IP address"),
        ("--dns", "1.2.3", "IP address"),
        ("--dns", "1.2.3.4\nsearch x", "IP address"),
        ("--dns-search", "a b", "no name"),
        ("--dns-search", "", "no name"),
        ("--dns-domain", "a\nb", "no name"),
        ("--dns-opt", "a b", "resolv.conf"),
        ("--hosts-entry", "db", "IP=NAME"),
        ("--hosts-entry", "1.2.3.4=", "IP=NAME"),
        ("--hosts-entry", "db=1.2.3.4", "IP=NAME"),
        ("--hosts-entry", "1.2.3.4=a b", "IP=NAME"),
        ("--hosts-entry", "none", "IP=NAME"),
    ] {
        Pod::new(&root)
            .options([option, bad])
            .probe(["exit", "0"])
            .refused(&["read option", words]);
    }
    // This one becomes a line of /etc/hosts, too.
    let long = "a".repeat(65);
    for (bad, words) in [
        ("", "1 to 64 bytes"),
        (&long, "1 to 64 bytes"),
        ("a b", "no name"),
        ("a\n6.6.6.6 other", "no name"),
        ("a/b", "no name"),
        ("a\x1b[1m", "no name"),
    ] {
        Pod::new(&root)
            .options(["--hostname", bad])
            .probe(["exit", "0"])
            .refused(&["read option --hostname", words]);
    }
    Ok(())
}

fn options_that_exclude_each_other() -> TestResult {
    let root = root();
    for options in [
        ["--dns=host", "--dns=1.2.3.4"],
        ["--dns=none", "--dns-search=a"],
        ["--dns-opt=a", "--dns=none"],
        ["--dns=host", "--dns=none"],
        ["--hosts-entry=host", "--hosts-entry=1.2.3.4=a"],
        ["--hosts-entry=1.2.3.4=a", "--hosts-entry=host"],
    ] {
        Pod::new(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(&["nothing can be added"]);
    }
    Ok(())
}

fn not_with_others() -> TestResult {
    let root = root();
    for (option, name) in [
        ("--dns-search=a", "--dns"),
        ("--hosts-entry=1.2.3.4=a", "--hosts-entry"),
    ] {
        Pod::new(&root)
            .options(["--stage1=fly", option])
            .probe(["exit", "0"])
            .refused(&[name, "--stage1=fly"]);
        Run::ours("stage0")
            .args([
                "plan",
                "--output=/dev/null",
                option,
                "--rootfs=/",
                "--",
                "/x",
            ])
            .output()
            .refused(&[option.split_once('=').expect("a value").0, "--output"]);
    }
    Ok(())
}
