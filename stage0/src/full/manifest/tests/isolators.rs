//! Limits, capabilities and filters.

use super::{Beside, SMALL, read_all, read_beside, refused};

fn with_isolators(isolators: &str) -> String {
    SMALL.replace(
        "\"group\"",
        &format!("\"isolators\":[{isolators}],\"group\""),
    )
}

#[test]
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn isolators_that_cannot_be_kept() {
    for (isolators, path, text) in [
        (
            r#"{"name":"resource/cheese","value":{}}"#,
            "[0].name",
            "there is no such isolator",
        ),
        (
            r#"{"name":"resource/block-iops","value":{}}"#,
            "[0].name",
            "it is not kept here",
        ),
        (
            r#"{"name":"resource/memory"}"#,
            "[0].value",
            "it is missing",
        ),
        (
            r#"{"name":"resource/memory","value":{}}"#,
            "[0].value.limit",
            "it is missing",
        ),
        (
            r#"{"name":"resource/memory","value":{"request":"1G"}}"#,
            "[0].value.limit",
            "a request alone reserves nothing: name a limit",
        ),
        (
            r#"{"name":"resource/memory","value":{"limit":"1K"}}"#,
            "[0].value.limit",
            "it is no amount as 1.5, 500m, 64Mi or 2G",
        ),
        (
            r#"{"name":"resource/memory","value":{"limit":"1k"}}"#,
            "[0].value.limit",
            "it is less than 1Mi",
        ),
        (
            r#"{"name":"resource/memory","value":{"limit":"1G","request":"2G"}}"#,
            "[0].value.request",
            "it is more than the limit",
        ),
        (
            r#"{"name":"resource/cpu","value":{"limit":"1m"}}"#,
            "[0].value.limit",
            "it is not from 10m to 65536",
        ),
        (
            r#"{"name":"os/linux/cpu-shares","value":2}"#,
            "[0].value",
            "it is no number from 10 to 102400, in digits alone",
        ),
        (
            r#"{"name":"os/linux/oom-score-adj","value":1001}"#,
            "[0].value",
            "it is no number from -1000 to 1000, in digits alone",
        ),
        (
            r#"{"name":"os/linux/oom-score-adj","value":1.5}"#,
            "[0].value",
            "it is no number from -1000 to 1000, in digits alone",
        ),
        (
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":[]}}"#,
            "[0].value.set",
            "it is empty",
        ),
        (
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHOWN","CAP_MKNOD"]}}"#,
            "[0].value.set[1]",
            "it is given only with --device, whose filter it needs",
        ),
        (
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NONE"]}}"#,
            "[0].value.set[0]",
            "there is no such capability",
        ),
        (
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["all"]}}"#,
            "[0].value.set[0]",
            "there is no such capability",
        ),
        (
            r#"{"name":"os/linux/seccomp-retain-set","value":{"set":["opne"]}}"#,
            "[0].value.set[0]",
            "there is no such system call or set",
        ),
        (
            r#"{"name":"os/linux/seccomp-remove-set","value":{"set":["execve"]}}"#,
            "[0].value.set[0]",
            "without it no program can be executed, or end",
        ),
        (
            r#"{"name":"os/linux/seccomp-remove-set","value":{"set":["open"],"errno":"EOPEN"}}"#,
            "[0].value.errno",
            "there is no such error",
        ),
        (
            r#"{"name":"os/linux/no-new-privileges","value":true},{"name":"os/linux/no-new-privileges","value":true}"#,
            "[1].name",
            "it is there twice",
        ),
        (
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHOWN"]}},{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_CHOWN"]}}"#,
            "[1].name",
            "there is the other set, too",
        ),
    ] {
        let path = format!("apps[0].app.isolators{path}");
        assert_eq!(
            refused(&with_isolators(isolators)),
            (path, text),
            "{isolators}"
        );
    }
    let memory = r#"{"name":"resource/memory","value":{"limit":"1G"}}"#;
    let both =
        with_isolators(memory).replace("\"apps\"", &format!("\"isolators\":[{memory}],\"apps\""));
    assert_eq!(refused(&both).1, "the pod has it, too");
    let of_app = r#"{"name":"os/linux/no-new-privileges","value":true}"#;
    let of_app = SMALL.replace("\"apps\"", &format!("\"isolators\":[{of_app}],\"apps\""));
    assert_eq!(
        refused(&of_app),
        ("isolators[0].name".into(), "it is an app's, not a pod's")
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn sets_of_calls() {
    let of = |name: &str, value: &str| {
        let isolator = format!(r#"{{"name":"os/linux/seccomp-{name}-set","value":{value}}}"#);
        let (words, profiles) = read_all(with_isolators(&isolator).as_bytes()).unwrap();
        let words = words
            .into_iter()
            .filter(|word| word.starts_with("--seccomp"));
        (words.collect::<String>(), profiles.concat())
    };
    for (name, value, word) in [
        (
            "retain",
            r#"{"set":["@appc.io/all"]}"#,
            "--seccomp=unconfined",
        ),
        (
            "remove",
            r#"{"set":["@appc.io/empty"]}"#,
            "--seccomp=unconfined",
        ),
        (
            "retain",
            r#"{"set":["@rkt/default-whitelist"],"errno":"EPERM"}"#,
            "",
        ),
        (
            "remove",
            r#"{"set":["@docker/default-blacklist"],"errno":"EPERM"}"#,
            "",
        ),
    ] {
        assert_eq!(
            of(name, value),
            (word.into(), String::new()),
            "{name} {value}"
        );
    }
    let always = r#"{"names":["execve","execveat","exit","exit_group","rt_sigreturn","restart_syscall"],"action":"SCMP_ACT_ALLOW"}"#;
    let (_, profile) = of("retain", r#"{"set":["read","write"],"errno":"ENOSYS"}"#);
    assert_eq!(
        profile,
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],"syscalls":[{always},{{"names":["read","write"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        )
    );
    let (_, profile) = of("remove", r#"{"set":["mount"]}"#);
    assert_eq!(
        profile,
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{always},{{"names":["mount"],"action":"SCMP_ACT_KILL_PROCESS"}}]}}"#
        )
    );
    // All of them can be compiled.
    for (name, value) in [
        ("retain", r#"{"set":["@appc.io/empty"]}"#),
        ("remove", r#"{"set":["@appc.io/all","read"]}"#),
        ("remove", r#"{"set":["read"],"errno":"EPERM"}"#),
    ] {
        let (word, profile) = of(name, value);
        assert_eq!(word, "--seccomp=/proc/self/fd/9");
        let mut read = Box::<fly::seccomp::profile::Profile>::default();
        let context = fly::seccomp::profile::Context {
            capabilities: 0,
            kernel: (6, 1),
        };
        assert_eq!(read.read(profile.as_bytes(), &context), Ok(()), "{profile}");
    }
}

/// What makes device nodes needs what keeps them from being used; who gives it up does not.
#[test]
fn device_nodes() {
    let set = |name: &str| {
        let isolator = format!(
            r#"{{"name":"os/linux/capabilities-{name}-set","value":{{"set":["CAP_MKNOD"]}}}}"#
        );
        with_isolators(&isolator)
    };
    let beside = Beside {
        read_only_root: false,
        device_nodes: true,
    };
    let (words, _) = read_beside(set("retain").as_bytes(), beside).unwrap();
    assert!(words.contains(&"--cap-add=mknod".into()), "{words:?}");
    assert!(read_all(set("remove").as_bytes()).is_ok());
}

#[test]
fn errors_of_filters() {
    let of = |name: &str| {
        let value = format!(r#"{{"set":["mount"],"errno":"{name}"}}"#);
        let isolator = format!(r#"{{"name":"os/linux/seccomp-remove-set","value":{value}}}"#);
        read_all(with_isolators(&isolator).as_bytes()).map(|(_, profiles)| profiles.concat())
    };
    for (name, number) in [
        ("EPERM", 1),
        ("E2BIG", 7),
        ("EAGAIN", 11),
        ("EWOULDBLOCK", 11),
        ("EDEADLK", 35),
        ("EDEADLOCK", 35),
        ("ELOOP", 40),
        ("ENOMSG", 42),
        ("EBADSLT", 57),
        ("EBFONT", 59),
        ("EOPNOTSUPP", 95),
        ("ENOTSUP", 95),
        ("EHWPOISON", 133),
    ] {
        let profile = of(name).expect(name);
        assert!(profile.contains(&format!(":{number}}}")), "{profile}");
    }
    for name in ["", "-", "E", "eperm", "EPERM ", "EHWPOISON2", "1"] {
        let (path, _, text) = of(name).expect_err(name);
        assert!(path.ends_with(".value.errno"));
        assert_eq!(text, "there is no such error");
    }
}
