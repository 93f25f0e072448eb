use super::*;

mod bounds;
mod isolators;
mod values;

/// A manifest with all that there is.
const FULL: &str = r#"{
  "acVersion": "0.8.11", "acKind": "PodManifest",
  "apps": [{
    "name": "web",
    "image": {"name": "dir:/srv/web", "id": null, "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}]},
    "app": {
      "exec": ["/bin/web", "--port", "80", ""], "user": "www-data", "group": "33", "supplementaryGIDs": [4, 5],
      "eventHandlers": [{"name": "pre-start", "exec": ["/bin/pre", "a b"]}, {"name": "post-stop", "exec": ["/bin/post"]}],
      "workingDirectory": "/srv", "environment": [{"name": "A", "value": "\u00e9\ud83d\ude80"}, {"name": "B", "value": ""}],
      "mountPoints": [{"name": "data", "path": "/data", "readOnly": true}, {"name": "logs", "path": "/logs"}],
      "ports": [{"name": "http", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": true}],
      "isolators": [
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}},
        {"name": "os/linux/no-new-privileges", "value": false},
        {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount", "@appc.io/empty"], "errno": "EACCES"}},
        {"name": "os/linux/oom-score-adj", "value": -5},
        {"name": "os/linux/cpu-shares", "value": 512}
      ],
      "userAnnotations": {"a": "b"}, "userLabels": {"c": "d"}
    },
    "readOnlyRootFS": true,
    "mounts": [{"volume": "logs", "path": "/logs"}, {"volume": "own", "path": "/own", "appVolume": {"name": "own", "kind": "empty"}}],
    "annotations": [{"name": "example.com/a", "value": "b"}]
  }],
  "volumes": [
    {"name": "data", "kind": "host", "source": "/srv/data", "readOnly": true, "recursive": false},
    {"name": "logs", "kind": "empty", "mode": "0700", "uid": 33, "gid": 34}
  ],
  "isolators": [
    {"name": "resource/memory", "value": {"request": "32Mi", "limit": "64Mi"}},
    {"name": "resource/cpu", "value": {"limit": "1500m"}},
    {"name": "resource/pids", "value": {"limit": 20}}
  ],
  "annotations": [{"name": "example.com/a", "value": "b"}],
  "ports": [{"name": "http", "hostPort": 8080, "hostIP": "127.0.0.1", "podPort": {"name": "http", "protocol": "tcp", "port": 80}}],
  "userAnnotations": {"a": "b", "none": null}, "userLabels": {"c": "d"}
}"#;

/// A small one.
const SMALL: &str = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"name":"dir:/r"},"app":{"exec":["/x"],"user":"0","group":"0"}}]}"#;

/// The words, and the profiles of filters.
type Written = (Vec<String>, Vec<String>);
/// The path of what is wrong, the byte, and what it is.
type Refused = (String, usize, &'static str);

/// What the manifest stands for, or what is wrong with it.
fn read_all(json: &[u8]) -> Result<Written, Refused> {
    read_beside(json, Beside::default())
}

/// The same beside other options.
fn read_beside(json: &[u8], beside: Beside) -> Result<Written, Refused> {
    let mut room = vec![0; 1 << 16];
    let mut arena = Arena::new(&mut room);
    let mut profiles = Vec::new();
    let done = words(
        json,
        &mut arena,
        beside,
        &mut |arena| arena.word(b"--between"),
        &mut |filter| {
            let mut text = Vec::new();
            filter.write(&mut |bytes| text.extend_from_slice(bytes));
            profiles.push(String::from_utf8(text).unwrap());
            Some(9)
        },
    );
    match done {
        Ok(()) => {
            let words = arena.words().expect("room");
            let words = words.map(|word| word.to_str().unwrap().to_owned());
            Ok((words.collect(), profiles))
        }
        Err(Problem { path, at, text }) => {
            let mut shown = String::new();
            path.each(&mut |part| shown.push_str(core::str::from_utf8(part).unwrap()));
            Err((shown, at, text))
        }
    }
}

fn refused(json: &str) -> (String, &'static str) {
    match read_all(json.as_bytes()) {
        Err((path, at, text)) => {
            assert!(at <= json.len(), "{at}: {json}");
            (path, text)
        }
        Ok((words, _)) => panic!("{words:?}: {json}"),
    }
}

#[test]
fn all_fields_become_words() {
    let (words, profiles) = read_all(FULL.as_bytes()).unwrap();
    assert_eq!(
        words,
        [
            "--memory=67108864",
            "--cpus=1.500",
            "--pids=20",
            "--volume=data,kind=host,source=/srv/data,readOnly=true,recursive=false",
            "--volume=logs,kind=empty,mode=0700,uid=33,gid=34",
            "--volume=app.0.1,kind=empty",
            "--oom-score-adj=-5",
            "--cpu-weight=50",
            "--between",
            "dir:/srv/web",
            "--name=web",
            "--readonly-rootfs",
            "--mount=volume=logs,target=/logs",
            "--mount=volume=app.0.1,target=/own",
            "--user=www-data",
            "--group=33",
            "--groups=4,5",
            "--working-dir=/srv",
            "--set-env=A=\u{e9}\u{1f680}",
            "--set-env=B=",
            "--mount=volume=data,target=/data,readOnly=true",
            "--listen-fds",
            "--cap-keep=chown,sys_admin",
            "--cap-add=sys_admin",
            "--no-new-privs=false",
            "--seccomp=/proc/self/fd/9",
            "--pre-start=\u{1f}/bin/pre\u{1f}a b",
            "--post-stop=\u{1f}/bin/post",
            "--",
            "/bin/web",
            "--port",
            "80",
            ""
        ]
    );
    assert_eq!(profiles.len(), 1);
}

#[test]
fn roots_as_said_beside() {
    let beside = Beside {
        read_only_root: true,
        device_nodes: false,
    };
    let (words, _) = read_beside(FULL.as_bytes(), beside).unwrap();
    let is_root = |word: &String| word.starts_with("--readonly-rootfs");
    assert!(!words.iter().any(is_root), "{words:?}");
}

#[test]
fn apps_are_parted() {
    let two = SMALL.replace(
        r#""apps":["#,
        r#""apps":[{"name":"b","image":{"name":"dir:/s"},"app":{"exec":["/y","z"],"user":"1","group":"2"}},"#,
    );
    let (words, _) = read_all(two.as_bytes()).unwrap();
    assert_eq!(
        words.join(" "),
        "--between dir:/s --name=b --user=1 --group=2 -- /y z --- dir:/r --name=a --user=0 --group=0 -- /x"
    );
}

/// Lists that are as long as they may be are looked through once, not once a member; the
/// last member is as good as the first.
#[test]
#[allow(clippy::too_many_lines, reason = "a line or two a case")]
fn long_lists() {
    let list = |one: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..MAX_ITEMS).map(one).collect();
        all.join(",")
    };
    let volumes = list(&|number| format!(r#"{{"name":"v{number}","kind":"host","source":"/"}}"#));
    let mounts = list(&|number| format!(r#"{{"volume":"v{number}","path":"/m{number}"}}"#));
    let points = list(&|number| format!(r#"{{"name":"v{number}","path":"/p{number}"}}"#));
    let environment = list(&|number| format!(r#"{{"name":"A{number}","value":""}}"#));
    let app = |name: usize| {
        format!(
            r#"{{"name":"a{name}","image":{{"name":"dir:/r"}},"mounts":[{mounts}],
            "app":{{"exec":["/x"],"user":"0","group":"0","mountPoints":[{points}],"environment":[{environment}]}}}}"#
        )
    };
    let apps: Vec<String> = (0..2).map(app).collect();
    let json = format!(
        r#"{{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{}],"volumes":[{volumes}]}}"#,
        apps.join(",")
    );
    assert!(json.len() < MAX_BYTES);
    let mut room = vec![0; MAX_BYTES];
    let mut arena = Arena::new(&mut room);
    let beside = Beside::default();
    assert!(
        words(
            json.as_bytes(),
            &mut arena,
            beside,
            &mut |_| (),
            &mut |_| None
        )
        .is_ok()
    );
    assert!(arena.words().is_some());
    for (from, to, path, text) in [
        (
            "\"path\":\"/m1023\"",
            "\"path\":\"/m\\u0030\"",
            "apps[0].mounts[1023].path",
            "two mounts have this path",
        ),
        (
            "\"A1023\"",
            "\"A1022\"",
            "apps[0].app.environment[1023].name",
            "two variables have this name",
        ),
        (
            "\"v1023\",\"kind",
            "\"v1022\",\"kind",
            "volumes[1023].name",
            "two volumes have this name",
        ),
        (
            "\"volume\":\"v1023\"",
            "\"volume\":\"v1024\"",
            "apps[0].mounts[1023].volume",
            "there is no volume of this name",
        ),
    ] {
        let json = json.replacen(from, to, 1);
        assert_eq!(refused(&json), (path.into(), text));
    }
}

#[test]
fn cut_at_every_byte() {
    for length in 0..FULL.len() {
        let (_, at, _) = read_all(&FULL.as_bytes()[..length]).expect_err("cut");
        assert!(at <= length);
    }
}

/// Each value of the full manifest in turn is of each other type.
#[test]
fn wrong_types_of_every_field() {
    let mut values = Vec::new();
    collect(&mut Reader::new(FULL.as_bytes()).unwrap(), &mut values);
    assert!(values.len() > 100, "{}", values.len());
    for (from, to) in values {
        let kind = FULL.as_bytes()[from];
        for other in [
            "7",
            "\"7\"",
            "true",
            "[7]",
            "{\"a\":7}",
            "-7",
            "1.5",
            "[]",
            "{}",
        ] {
            let same = match other.as_bytes()[0] {
                b'-' => kind.is_ascii_digit(),
                b't' => kind == b't' || kind == b'f',
                first => first == kind || (first.is_ascii_digit() && kind.is_ascii_digit()),
            };
            let json = format!("{}{other}{}", &FULL[..from], &FULL[to..]);
            let read = read_all(json.as_bytes());
            // An amount may be a number or a string, and a score negative.
            let value = &FULL[from..to];
            let is_amount = ["\"32Mi\"", "\"64Mi\"", "\"1500m\"", "20", "-5"].contains(&value);
            let none = value == "null" || other == "[]";
            if !same && !is_amount && !none {
                let (path, at, text) = read.expect_err(&json);
                assert!(!path.is_empty() || from == 0, "{json}");
                assert!(at <= json.len() && !text.is_empty());
            }
        }
    }
}

/// Where each value begins and ends.
fn collect(reader: &mut Reader<'_>, values: &mut Vec<(usize, usize)>) {
    let from = reader.at();
    match reader.peek() {
        Some(b'{') => reader
            .object(&mut |reader, _| {
                collect(reader, values);
                Ok::<(), fly::json::Fault>(())
            })
            .unwrap(),
        Some(b'[') => reader
            .array(&mut |reader| {
                collect(reader, values);
                Ok::<(), fly::json::Fault>(())
            })
            .unwrap(),
        _ => reader.skip().unwrap(),
    }
    // Behind the value: blanks belong to nobody.
    let mut end = reader.at();
    while FULL.as_bytes()[end - 1].is_ascii_whitespace() {
        end -= 1;
    }
    values.push((from, end));
}

/// No field is lost, and none counts twice; a missing one is named.
#[test]
fn names_of_every_object() {
    let bytes = FULL.as_bytes();
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'{') {
        // Those of users and labels have any names.
        if FULL[..at].ends_with("Annotations\": ") || FULL[..at].ends_with("Labels\": ") {
            continue;
        }
        let json = format!("{}{{\"nmae\": 1, {}", &FULL[..at], &FULL[at + 1..]);
        let (path, text) = refused(&json);
        assert!(path.ends_with("nmae"), "{path}");
        assert_eq!(text, "there is no such field");
    }
    let twice = SMALL.replace("\"user\":\"0\"", "\"user\":\"0\",\"user\":\"0\"");
    assert_eq!(
        refused(&twice),
        ("apps[0].app.user".into(), "it is there twice")
    );
    for (field, path) in [
        ("\"acKind\":\"PodManifest\",", "acKind"),
        ("\"acVersion\":\"0.8.11\",", "acVersion"),
        ("\"name\":\"a\",", "apps[0].name"),
        ("\"image\":{\"name\":\"dir:/r\"},", "apps[0].image"),
        ("\"exec\":[\"/x\"],", "apps[0].app.exec"),
        ("\"user\":\"0\",", "apps[0].app.user"),
        (",\"group\":\"0\"", "apps[0].app.group"),
        ("\"name\":\"dir:/r\"", "apps[0].image.name"),
    ] {
        let json = SMALL.replacen(field, "", 1);
        assert_eq!(refused(&json), (path.into(), "it is missing"), "{json}");
    }
}

#[test]
fn what_is_no_manifest() {
    for (json, path, text) in [
        ("", "", "it is empty"),
        (" ", "", "the text ends in a value"),
        (
            "\u{feff}{}",
            "",
            "it begins with a byte order mark, which JSON does not have",
        ),
        ("[]", "", "it is no object"),
        ("null", "", "it is no object"),
        ("{}", "acKind", "it is missing"),
    ] {
        assert_eq!(refused(json), (path.into(), text), "{json:?}");
    }
    assert_eq!(
        refused(&format!("{SMALL} x")),
        (String::new(), "something is behind the value")
    );
    assert!(read_all(format!("{SMALL}\n").as_bytes()).is_ok());
    let large = format!("{SMALL}{}", " ".repeat(MAX_BYTES));
    assert_eq!(
        refused(&large),
        (String::new(), "it has more than 1048576 bytes")
    );
    for opening in ["[", "{\"a\":"] {
        let deep = SMALL.replace("\"0.8.11\"", &opening.repeat(100_000));
        assert_eq!(
            refused(&deep),
            ("acVersion".into(), "it is nested too deeply")
        );
    }
    let not_utf8 = [SMALL.as_bytes(), b"\xff"].concat();
    assert_eq!(
        read_all(&not_utf8).expect_err("no UTF-8").2,
        "it is no UTF-8"
    );
}
