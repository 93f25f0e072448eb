//! `--pod-manifest`: manifests that are refused, and options that are not for it.

use std::{fs, path::Path};

use kickstage_tests::{TestResult, command::Run, tests};

use crate::pod_manifest::Manifest;

tests![
    flags_of_the_manifest,
    files_that_are_none,
    lines_of_errors,
    lines_of_mounts_and_capabilities,
    what_is_there_twice,
    nothing_is_left,
    most_apps_and_volumes,
];

/// What the manifest says can't be said beside it, too.
fn flags_of_the_manifest() -> TestResult {
    let manifest = Manifest::new();
    manifest.case(&("", "", "", &["exit", "0"], &[]));
    for option in [
        "--rootfs=/",
        "--volume=a,kind=empty",
        "--volume=/a:/b",
        "--mount=volume=a,target=/b",
        "--tmpfs=/tmp",
        "--set-env=A=B",
        "--working-dir=/",
        "--user=0",
        "--group=0",
        "--groups=0",
        "--umask=0",
        "--rlimit=nofile=5",
        "--nice=1",
        "--cap-add=all",
        "--cap-drop=all",
        "--cap-keep=all",
        "--exec=/bin/sh",
        "--name=x",
        "--pre-start=/bin/x",
        "--post-stop=/bin/x",
        "--seccomp=default",
        "--no-new-privs=false",
        "--restart=always",
    ] {
        for command in ["run", "plan", "prepare"] {
            let output = manifest.command(command).arg(option).output();
            let expected =
                format!("stage0: read option {option}: it can't be used with --pod-manifest\n");
            output.code(254);
            assert_eq!(output.stderr, expected);
        }
    }
    for words in [
        &["/bin/probe"][..],
        &["--", "/bin/probe"],
        &["dir:/"],
        &["---"],
    ] {
        let output = manifest.command("run").args(words).output();
        output.refused(&[]);
        assert_eq!(
            output.stderr,
            "stage0: read the command line: the programs are those of --pod-manifest (see --help)\n"
        );
    }
    Ok(())
}

fn files_that_are_none() -> TestResult {
    let manifest = Manifest::new();
    let refused = |cause: &str| {
        let expected = format!(
            "stage0: read manifest {}: {cause}\n",
            manifest.file.display()
        );
        for command in ["run", "plan"] {
            let output = manifest.command(command).output();
            output.refused(&[]);
            assert_eq!(output.stderr, expected);
        }
    };
    refused("No such file or directory");
    for (text, cause) in [
        (&b""[..], "it is empty (at byte 0)"),
        (b"\0", "it is no object (at byte 0)"),
        (b"{", "the text ends in a value (at byte 1)"),
        (
            b"\xef\xbb\xbf{}",
            "it begins with a byte order mark, which JSON does not have (at byte 0)",
        ),
        (b"{\"\xff\":1}", "it is no UTF-8 (at byte 2)"),
        (b"{}", "acKind: it is missing (at byte 0)"),
    ] {
        manifest.write(text);
        refused(cause);
    }
    manifest.write(vec![b' '; (1 << 20) + 1]);
    refused("it has more than 1048576 bytes (at byte 1048576)");
    manifest.write(vec![b' '; 64 << 20]);
    refused("it has more than 1048576 bytes (at byte 1048576)");
    manifest.write("{\"apps\":".to_owned() + &"[".repeat(100_000));
    refused("apps: it is nested too deeply (at byte 39)");
    Run::ours("stage0")
        .args(["run", "--pod-manifest", "/"])
        .output()
        .refused(&["read manifest /: Is a directory"]);
    Run::ours("stage0")
        .args(["run", "--pod-manifest"])
        .output()
        .refused(&["--pod-manifest", "its value is missing"]);
    Ok(())
}

/// The path, the cause and the byte.
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn lines_of_errors() -> TestResult {
    let manifest = Manifest::new();
    for (text, cause) in [
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[]}"#,
            "apps: there is no app (at byte 52)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":{}}"#,
            "apps: it is no array (at byte 52)",
        ),
        (
            r#"{"acKind":"PodManifest","acKind":"PodManifest"}"#,
            "acKind: it is there twice (at byte 24)",
        ),
        (
            r#"{"acKind":"PodManifest","acversion":"0.8.11"}"#,
            "acversion: there is no such field (at byte 24)",
        ),
        (
            r#"{"acKind":"ImageManifest"}"#,
            "acKind: it is not PodManifest (at byte 10)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x"},"app":{"exec":["/x"],"user":7,"group":"0"}}]}"#,
            "apps[0].app.user: it is no string (at byte 119)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"docker://x"},"app":{}}]}"#,
            "apps[0].image.name: it is not dir:PATH with an absolute path: images come later (at byte 81)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x"},"app":{"exec":["/x"],"user":"0","group":"0","isolators":[{"name":"resource/memory","value":{"limit":"much"}}]}}]}"#,
            "apps[0].app.isolators[0].value.limit: it is no amount as 1.5, 500m, 64Mi or 2G (at byte 191)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x"},"app":{"exec":["/x"],"user":"0","group":"0","isolators":[{"name":"resource/memory","value":{"limit":"1k"}}]}}]}"#,
            "apps[0].app.isolators[0].value.limit: it is less than 1Mi (at byte 191)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x"},"app":{"exec":["/x"],"user":"0","group":"0","isolators":[{"name":"resource/memory","value":{"limit":"1E"}}]}}]}"#,
            "apps[0].app.isolators[0].value.limit: it is too large, or has too many digits (at byte 191)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x"},"app":{"exec":["/x"],"user":"0","group":"0","isolators":[{"name":"os/linux/oom-score-adj","value":"5"}]}}]}"#,
            "apps[0].app.isolators[0].value: it is no number from -1000 to 1000, in digits alone (at byte 189)",
        ),
        (
            r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/x","labels":[{"name":"os","value":"plan9"}]},"app":{}}]}"#,
            "apps[0].image.labels[0].value: this is linux (at byte 121)",
        ),
    ] {
        let output = manifest.write(text).run();
        output.refused(&[]);
        let expected = format!(
            "stage0: read manifest {}: {cause}\n",
            manifest.file.display()
        );
        assert_eq!(output.stderr, expected);
    }
    // What only the root can tell.
    manifest.case(&(
        "",
        r#","user":"nobody-here","group":"0""#,
        "",
        &["exit", "0"],
        &[],
    ));
    manifest.run().refused(&["look up user nobody-here"]);
    manifest.case(&(
        "",
        r#","mountPoints":[{"name":"a","path":"/a"}]"#,
        r#","volumes":[{"name":"a","kind":"host","source":"/nowhere"}]"#,
        &["exit", "0"],
        &[],
    ));
    manifest.run().refused(&["/nowhere", "No such file"]);
    Ok(())
}

/// What the pod's own checks would refuse, too, but without the place.
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn lines_of_mounts_and_capabilities() -> TestResult {
    let manifest = Manifest::new();
    let volume = r#","volumes":[{"name":"data","kind":"empty"}]"#;
    let nodes = r#","isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_MKNOD"]}}]"#;
    for (of_app, inside, of_pod, cause) in [
        (
            r#","mounts":[{"volume":"data","path":"/x","appVolume":{"name":"data","kind":"empty"}}]"#,
            "",
            volume,
            "volumes[0].name: no app mounts this volume",
        ),
        (
            r#","mounts":[{"volume":"data","path":"/x"}]"#,
            r#","mountPoints":[{"name":"other","path":"/x/"}]"#,
            r#","volumes":[{"name":"data","kind":"empty"},{"name":"other","kind":"empty"}]"#,
            "volumes[1].name: no app mounts this volume",
        ),
        (
            r#","mounts":[{"volume":"data","path":"/"}]"#,
            "",
            volume,
            "apps[0].mounts[0].path: it is the root itself",
        ),
        (
            "",
            r#","mountPoints":[{"name":"data","path":"/proc/1"}]"#,
            volume,
            "apps[0].app.mountPoints[0].path: it covers or lies in /proc or /sys of the pod",
        ),
        (
            r#","mounts":[{"volume":"data","path":"/./dev/"}]"#,
            "",
            volume,
            "apps[0].mounts[0].path: it covers /dev",
        ),
        (
            "",
            nodes,
            "",
            "apps[0].app.isolators[0].value.set[0]: it is given only with --device, whose filter it needs",
        ),
    ] {
        manifest.case(&(of_app, inside, of_pod, &["exit", "0"], &[]));
        let expected = format!(
            "stage0: read manifest {}: {cause} (at byte ",
            manifest.file.display()
        );
        manifest.run().refused(&[&expected]);
    }
    // More bits than a mode has, also where they are an option.
    manifest.case(&(
        r#","mounts":[{"volume":"data","path":"/x"}]"#,
        "",
        r#","volumes":[{"name":"data","kind":"empty","mode":"17777"}]"#,
        &["exit", "0"],
        &[],
    ));
    manifest
        .run()
        .refused(&["volumes[0].mode: it is no octal mode from 0 to 7777, as 0755 (at byte "]);
    Run::ours("stage0")
        .args(["run", "--volume=data,kind=empty,mode=17777"])
        .args(["--mount=volume=data,target=/x", "--rootfs"])
        .arg(&manifest.root)
        .arg("/bin/probe")
        .output()
        .refused(&["data,kind=empty,mode=17777: its mode is an octal number"]);
    // With what else it takes it is none.
    manifest.case(&("", nodes, "", &["exit", "0"], &[]));
    for option in ["--insecure-options=capabilities", "--device=/dev/null"] {
        let output = manifest.command("plan").arg(option).output();
        output.code(0).quiet();
    }
    Ok(())
}

fn what_is_there_twice() -> TestResult {
    let manifest = Manifest::new();
    for (of_app, inside, of_pod, cause) in [
        (
            "",
            r#","userAnnotations":{"a":"b","a":"c"}"#,
            "",
            "apps[0].app.userAnnotations.a: it is there twice",
        ),
        (
            r#","annotations":[{"name":"a","value":"b"},{"name":"a","value":"c"}]"#,
            "",
            "",
            "apps[0].annotations[1].name: two annotations have this name",
        ),
        (
            "",
            "",
            r#","ports":[{"name":"p","hostPort":80},{"name":"p","hostPort":81}]"#,
            "ports[1].name: two ports have this name",
        ),
        (
            r#","mounts":[{"volume":"data","path":"/x"},{"volume":"data","path":"/./x/"}]"#,
            "",
            r#","volumes":[{"name":"data","kind":"empty"}]"#,
            "apps[0].mounts[1].path: two mounts have this path",
        ),
    ] {
        manifest.case(&(of_app, inside, of_pod, &["exit", "0"], &[]));
        manifest.run().refused(&[&format!("{cause} (at byte ")]);
    }
    Ok(())
}

/// A start that fails leaves nothing in the root.
fn nothing_is_left() -> TestResult {
    let manifest = Manifest::new();
    let before = names(&manifest.root);
    manifest.case(&(
        "",
        r#","eventHandlers":[{"name":"pre-start","exec":[""]}]"#,
        "",
        &["exit", "0"],
        &[],
    ));
    manifest
        .run()
        .refused(&["apps[0].app.eventHandlers[0].exec[0]: it is empty"]);
    assert_eq!(names(&manifest.root), before);
    Ok(())
}

/// As many as there may be can be run; one more is refused by its path.
fn most_apps_and_volumes() -> TestResult {
    let manifest = Manifest::new();
    let write = |apps: usize, volumes: usize| {
        let app = |number| {
            let mounts: Vec<String> = (0..volumes)
                .filter(|_| number == 0)
                .map(|number| format!(r#"{{"volume":"v{number}","path":"/tmp/v{number}"}}"#))
                .collect();
            format!(
                r#"{{"name":"a{number}","image":{{"name":"dir:{}"}},"mounts":[{}],
"app":{{"exec":["/bin/probe","exit","0"],"user":"0","group":"0"}}}}"#,
                manifest.root.display(),
                mounts.join(",")
            )
        };
        let apps: Vec<String> = (0..apps).map(app).collect();
        let volumes: Vec<String> = (0..volumes)
            .map(|number| format!(r#"{{"name":"v{number}","kind":"empty"}}"#))
            .collect();
        manifest.write(format!(
            r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{}],"volumes":[{}]}}"#,
            apps.join(","),
            volumes.join(",")
        ));
    };
    write(32, 17);
    manifest.run().code(0).quiet();
    write(33, 17);
    let output = manifest.run();
    output.refused(&["apps[32]: there may be 32 apps (at byte "]);
    write(32, 18);
    let output = manifest.run();
    output.refused(&["volumes[17].kind: there may be 17 empty volumes (at byte "]);
    Ok(())
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
