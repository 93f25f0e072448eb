//! How many of something there may be, and at which byte it is told.

use super::{SMALL, read_all};

/// What is wrong with it, and what stands at that byte.
fn wrong_at(json: &str) -> (String, &'static str, &str) {
    let (path, at, text) = read_all(json.as_bytes()).expect_err(json);
    (path, text, &json[at..])
}

#[test]
fn apps_have_roots_of_their_own() {
    let apps = |count: usize| {
        let app = |number| {
            format!(
                r#"{{"name":"a{number}","image":{{"name":"dir:/r"}},"app":{{"exec":["/x"],"user":"0","group":"0"}}}}"#
            )
        };
        let apps: Vec<String> = (0..count).map(app).collect();
        let before = &SMALL[..SMALL.find("[{").unwrap()];
        format!("{before}[{}]}}", apps.join(","))
    };
    assert!(read_all(apps(32).as_bytes()).is_ok());
    let json = apps(33);
    let (path, text, rest) = wrong_at(&json);
    assert_eq!((path.as_str(), text), ("apps[32]", "there may be 32 apps"));
    assert!(rest.starts_with("{\"name\":\"a32\""), "{rest}");
}

/// Those of the pod and of its apps together.
#[test]
fn empty_volumes() {
    let volumes = |count: usize| {
        let volume = |number| format!(r#"{{"name":"v{number}","kind":"empty"}}"#);
        let mount = |number| format!(r#"{{"volume":"v{number}","path":"/v{number}"}}"#);
        let volumes: Vec<String> = (0..count).map(volume).collect();
        let mounts: Vec<String> = (0..count).map(mount).collect();
        let own = r#"{"volume":"own","path":"/own","appVolume":{"name":"own","kind":"empty","mode":"07777"}}"#;
        SMALL
            .replace(
                "\"apps\"",
                &format!("\"volumes\":[{}],\"apps\"", volumes.join(",")),
            )
            .replace(
                "\"app\"",
                &format!("\"mounts\":[{},{own}],\"app\"", mounts.join(",")),
            )
    };
    let (words, _) = read_all(volumes(16).as_bytes()).unwrap();
    let empty = words.iter().filter(|word| word.contains("kind=empty"));
    assert_eq!(empty.count(), 17);
    let text = "there may be 17 empty volumes";
    let json = volumes(17);
    let (path, found, rest) = wrong_at(&json);
    assert_eq!(
        (path.as_str(), found),
        ("apps[0].mounts[17].appVolume.kind", text)
    );
    assert!(rest.starts_with("\"empty\",\"mode\""), "{rest}");
    let json = volumes(18);
    let (path, found, rest) = wrong_at(&json);
    assert_eq!((path.as_str(), found), ("volumes[17].kind", text));
    assert!(rest.starts_with("\"empty\"}]"), "{rest}");
}

/// Mounts of a volume that do not count: one of the app's own of this name, a mount point
/// on whose path another volume is mounted.
#[test]
fn volumes_that_no_app_mounts() {
    let own = r#"{"volume":"v","path":"/x","appVolume":{"name":"v","kind":"empty"}}"#;
    let other = r#"{"volume":"w","path":"/./x/"}"#;
    for (mount, volumes, path) in [
        (own, r#"{"name":"v","kind":"empty"}"#, "volumes[0].name"),
        (
            other,
            r#"{"name":"w","kind":"empty"},{"name":"v","kind":"empty"}"#,
            "volumes[1].name",
        ),
    ] {
        let json = SMALL
            .replace("\"apps\"", &format!("\"volumes\":[{volumes}],\"apps\""))
            .replace("\"app\"", &format!("\"mounts\":[{mount}],\"app\""))
            .replace(
                "\"user\"",
                r#""mountPoints":[{"name":"v","path":"/x"}],"user""#,
            );
        let (found, text, rest) = wrong_at(&json);
        assert_eq!((found.as_str(), text), (path, "no app mounts this volume"));
        assert!(
            rest.starts_with("\"v\",\"kind\":\"empty\"}],\"apps\""),
            "{rest}"
        );
    }
}

/// What would cover what confinement relies on.
#[test]
fn paths_that_cannot_be_mounted_on() {
    for (path, text) in [
        ("/", "it is the root itself"),
        ("/./", "it is the root itself"),
        ("/dev", "it covers /dev"),
        ("/./dev/", "it covers /dev"),
        ("/proc", "it covers or lies in /proc or /sys of the pod"),
        ("//proc/1", "it covers or lies in /proc or /sys of the pod"),
        ("/sys/fs", "it covers or lies in /proc or /sys of the pod"),
        ("/dev/x", ""),
        ("/device", ""),
        ("/process/sys", ""),
        ("/a/proc", ""),
    ] {
        let volumes = r#""volumes":[{"name":"v","kind":"empty"}],"apps""#;
        let json = SMALL.replace("\"apps\"", volumes);
        let mount = format!("\"mounts\":[{{\"volume\":\"v\",\"path\":\"{path}\"}}],\"app\"");
        let point = format!("\"mountPoints\":[{{\"name\":\"v\",\"path\":\"{path}\"}}],\"user\"");
        for (json, place) in [
            (json.replace("\"app\"", &mount), "apps[0].mounts[0].path"),
            (
                json.replace("\"user\"", &point),
                "apps[0].app.mountPoints[0].path",
            ),
        ] {
            if text.is_empty() {
                assert!(read_all(json.as_bytes()).is_ok(), "{path}");
                continue;
            }
            let (found, cause, rest) = wrong_at(&json);
            assert_eq!((found.as_str(), cause), (place, text), "{path}");
            assert!(rest.starts_with(&format!("\"{path}\"")), "{rest}");
        }
    }
}

/// Where a value is wrong for the sake of another one.
#[test]
fn bytes_of_values() {
    let isolator = |name: &str, value: &str| {
        let isolators = format!(r#""isolators":[{{"name":"{name}","value":{value}}}],"user""#);
        SMALL.replace("\"user\"", &isolators)
    };
    let label = |name: &str, value: &str| {
        let labels = format!(r#""dir:/r","labels":[{{"name":"{name}","value":"{value}"}}]"#);
        SMALL.replace("\"dir:/r\"", &labels)
    };
    let mounted = r#""mounts":[{"volume":"v","path":"/x"}],"app":{"mountPoints":[{"name":"v","path":"/x","readOnly":true}],"#;
    let mounted = SMALL.replace("\"app\":{", mounted).replace(
        "\"apps\"",
        r#""volumes":[{"name":"v","kind":"empty"}],"apps""#,
    );
    let set = r#"{"set":["@rkt/default-whitelist"],"errno":"EACCES"}"#;
    for (json, path, stands_there) in [
        (
            isolator("resource/memory", r#"{"limit":"1k"}"#),
            "apps[0].app.isolators[0].value.limit",
            "\"1k\"",
        ),
        (
            isolator("resource/cpu", r#"{"limit":1e-3}"#),
            "apps[0].app.isolators[0].value.limit",
            "1e-3",
        ),
        (
            isolator("resource/pids", r#"{"request":0,"limit":0}"#),
            "apps[0].app.isolators[0].value.limit",
            "0}}",
        ),
        (
            isolator("os/linux/seccomp-retain-set", set),
            "apps[0].app.isolators[0].value.errno",
            "\"EACCES\"",
        ),
        (mounted, "apps[0].app.mountPoints[0].readOnly", "true"),
        (
            label("os", "plan9"),
            "apps[0].image.labels[0].value",
            "\"plan9\"",
        ),
        (
            label("arch", "arm"),
            "apps[0].image.labels[0].value",
            "\"arm\"",
        ),
        (
            label("version", "1"),
            "apps[0].image.labels[0].name",
            "\"version\"",
        ),
    ] {
        let (found, _, rest) = wrong_at(&json);
        assert_eq!(found, path, "{json}");
        assert!(rest.starts_with(stands_there), "{rest}");
    }
}

/// What is meant is said, whatever else is there.
#[test]
fn no_numbers() {
    let isolator = |name: &str, value: &str| {
        let isolators = format!(r#""isolators":[{{"name":"{name}","value":{value}}}],"user""#);
        SMALL.replace("\"user\"", &isolators)
    };
    let port = |port: &str| {
        let ports = format!(r#""ports":[{{"name":"p","protocol":"tcp",{port}}}],"user""#);
        SMALL.replace("\"user\"", &ports)
    };
    let amount = "it is no amount as 1.5, 500m, 64Mi or 2G";
    let large = "it is too large, or has too many digits";
    for (limit, text) in [
        ("true", amount),
        ("[]", amount),
        ("-5", amount),
        ("\"-5\"", amount),
        ("\"1Q\"", amount),
        ("\"1E\"", large),
        ("\"99999999999999999999\"", large),
        ("1e100", large),
        ("1.00000000000000000000", large),
    ] {
        let json = isolator("resource/memory", &format!(r#"{{"limit":{limit}}}"#));
        let (path, found, rest) = wrong_at(&json);
        assert_eq!(path, "apps[0].app.isolators[0].value.limit");
        assert_eq!(found, text, "{limit}");
        assert!(rest.starts_with(limit), "{rest}");
    }
    for score in ["\"5\"", "true", "1.0", "1e1", "1001", "-1001"] {
        let json = isolator("os/linux/oom-score-adj", score);
        let (_, found, rest) = wrong_at(&json);
        assert_eq!(found, "it is no number from -1000 to 1000, in digits alone");
        assert!(rest.starts_with(score), "{rest}");
    }
    for number in ["\"80\"", "true", "-0", "-1", "80.0", "1e1", "0", "65536"] {
        let json = port(&format!("\"port\":{number}"));
        let (_, found, rest) = wrong_at(&json);
        assert_eq!(found, "it is no number from 1 to 65535, in digits alone");
        assert!(rest.starts_with(number), "{rest}");
        let json = port(&format!("\"port\":65530,\"count\":{number}"));
        let (_, found, _) = wrong_at(&json);
        assert_eq!(
            found,
            "it is no number from 1 on that leads to no port beyond 65535"
        );
    }
    // What is no JSON is told as before.
    let json = port("\"port\":080");
    assert_eq!(wrong_at(&json).1, "it is no JSON");
}

/// What is there twice, also if it is written in two ways.
#[test]
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn names_that_are_there_twice() {
    let of_pod = |field: &str| SMALL.replace("\"apps\"", &format!("{field},\"apps\""));
    let of_app = |field: &str| SMALL.replace("\"app\"", &format!("{field},\"app\""));
    let inside = |field: &str| SMALL.replace("\"user\"", &format!("{field},\"user\""));
    let pairs = r#""annotations":[{"name":"a","value":"1"},{"name":"\u0061","value":"2"}]"#;
    let object = r#""userAnnotations":{"a":"1","\u0061":"2"}"#;
    let labels =
        r#""dir:/r","labels":[{"name":"os","value":"linux"},{"name":"\u006fs","value":"linux"}]"#;
    let ports = r#""ports":[{"name":"p","protocol":"tcp","port":80},{"name":"\u0070","protocol":"udp","port":81}]"#;
    let exposed = r#""ports":[{"name":"p","hostPort":80},{"name":"\u0070","hostPort":81}]"#;
    let volume = r#""volumes":[{"name":"v","kind":"empty"}]"#;
    let mounts = r#""mounts":[{"volume":"v","path":"/x"},{"volume":"v","path":"\/.\/x/"}]"#;
    let points = r#""mountPoints":[{"name":"v","path":"/x"},{"name":"v","path":"//x"}]"#;
    let two = "two annotations have this name";
    let ours = "two ports have this name";
    for (json, path, text, stands_there) in [
        (of_pod(pairs), "annotations[1].name", two, r#""\u0061","#),
        (
            of_app(pairs),
            "apps[0].annotations[1].name",
            two,
            r#""\u0061","#,
        ),
        (
            of_pod(object),
            "userAnnotations.a",
            "it is there twice",
            r#""\u0061":"#,
        ),
        (
            inside(&object.replace("Annotations", "Labels")),
            "apps[0].app.userLabels.a",
            "it is there twice",
            r#""\u0061":"#,
        ),
        (of_pod(exposed), "ports[1].name", ours, r#""\u0070","#),
        (
            inside(ports),
            "apps[0].app.ports[1].name",
            ours,
            r#""\u0070","#,
        ),
        (
            SMALL.replace("\"dir:/r\"", labels),
            "apps[0].image.labels[1].name",
            "two labels have this name",
            r#""\u006fs","#,
        ),
        (
            of_app(mounts).replace("\"apps\"", &format!("{volume},\"apps\"")),
            "apps[0].mounts[1].path",
            "two mounts have this path",
            r#""\/.\/x/"}"#,
        ),
        (
            inside(points).replace("\"apps\"", &format!("{volume},\"apps\"")),
            "apps[0].app.mountPoints[1].path",
            "two mount points have this path",
            r#""//x"}"#,
        ),
    ] {
        let (found, cause, rest) = wrong_at(&json);
        assert_eq!((found.as_str(), cause), (path, text), "{json}");
        assert!(rest.starts_with(stands_there), "{rest}");
    }
}
