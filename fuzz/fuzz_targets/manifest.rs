//! An appc pod manifest. What is accepted is JSON, keeps to the limits, and becomes words of
//! a command line that say what another reader finds in it; what is refused is so at a
//! byte of it, by a path that is text.
#![no_main]

use std::ffi::CStr;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stage0::{
    full::manifest::{Arena, Beside, Problem, words},
    options,
};

/// What stands between the words of the pod and those of its programs.
const BETWEEN: &[u8] = b"--debug";

/// The options that a manifest stands for: of the pod, and of a program.
const OF_POD: [&str; 6] = ["--memory", "--cpus", "--pids", "--volume", "--oom-score-adj", "--cpu-weight"];
const OF_APPS: [&str; 16] = [
    "--name",
    "--readonly-rootfs",
    "--mount",
    "--user",
    "--group",
    "--groups",
    "--working-dir",
    "--set-env",
    "--listen-fds",
    "--cap-keep",
    "--cap-add",
    "--cap-drop",
    "--no-new-privs",
    "--seccomp",
    "--pre-start",
    "--post-stop",
];

/// The words, or where something is wrong.
fn read(json: &[u8], room: &mut [u8]) -> Option<Vec<String>> {
    let mut arena = Arena::new(room);
    let mut number = 100;
    let done = words(
        json,
        &mut arena,
        Beside::default(),
        &mut |arena| arena.word(BETWEEN),
        &mut |filter| {
            let mut text = Vec::new();
            filter.write(&mut |bytes| text.extend_from_slice(bytes));
            let profile: Value = serde_json::from_slice(&text).expect("a profile");
            assert!(profile.get("defaultAction").is_some_and(Value::is_string));
            number += 1;
            Some(number)
        },
    );
    if let Err(Problem { path, at, text }) = done {
        assert!(at <= json.len() && !text.is_empty());
        let mut shown = Vec::new();
        path.each(&mut |part| shown.extend_from_slice(part));
        String::from_utf8(shown).expect("UTF-8");
        return None;
    }
    let words = arena.words().map(|words| {
        let text = |word: &CStr| word.to_str().expect("UTF-8").to_owned();
        words.map(text).collect()
    });
    // A manifest that is right is not refused for want of room, but told apart.
    Some(words.unwrap_or_default())
}

/// How deep values lie in each other, and whether no list has more than it may.
fn measured(value: &Value) -> (usize, bool) {
    let all: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => return (0, true),
    };
    let below = all.iter().map(|value| measured(value));
    let (depth, fits) = below.fold((0, true), |one, other| (one.0.max(other.0), one.1 && other.1));
    (depth + 1, fits && all.len() <= 1024)
}

/// The value of a field; `null` is none.
fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name).filter(|value| !value.is_null())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    let found = field(value, name).and_then(Value::as_str);
    found.expect("what is needed is there, and a string")
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let found = field(value, name).map(|list| list.as_array().expect("a list"));
    found.map_or(&[], Vec::as_slice)
}

fn known(words: &[String], options: &[&str]) {
    for word in words {
        let name = word.split('=').next().unwrap_or_default();
        assert!(options.contains(&name), "{word}");
    }
}

/// The values of an option in these words.
fn values<'w>(words: &'w [String], option: &str) -> Vec<&'w str> {
    let value = |word: &'w String| word.strip_prefix(option)?.strip_prefix('=');
    words.iter().filter_map(value).collect()
}

/// The words of one program are those of its app.
fn one(words: &[String], app: &Value) {
    let [root, words @ ..] = words else {
        panic!("no root")
    };
    assert_eq!(root, text(&app["image"], "name"));
    let end = words.iter().position(|word| word == "--").expect("its end");
    let (options, [_, exec @ ..]) = words.split_at(end) else {
        unreachable!()
    };
    known(options, &OF_APPS);
    let program = &app["app"];
    for (option, value) in [
        ("--name", Some(text(app, "name"))),
        ("--user", Some(text(program, "user"))),
        ("--group", Some(text(program, "group"))),
        ("--working-dir", field(program, "workingDirectory").and_then(Value::as_str)),
    ] {
        let wanted: Vec<&str> = value.into_iter().collect();
        assert_eq!(values(options, option), wanted);
    }
    let variables: Vec<String> = list(program, "environment")
        .iter()
        .map(|variable| format!("{}={}", text(variable, "name"), text(variable, "value")))
        .collect();
    assert_eq!(values(options, "--set-env"), variables);
    let mounts = list(app, "mounts").len();
    let points = list(program, "mountPoints").len();
    let made = values(options, "--mount").len();
    assert!((mounts..=mounts + points).contains(&made));
    let arguments: Vec<&str> = list(program, "exec").iter().filter_map(Value::as_str).collect();
    assert_eq!(exec, arguments);
}

fuzz_target!(|data: &[u8]| {
    let mut room = vec![0; 1 << 18];
    let Some(made) = read(data, &mut room) else {
        return;
    };
    let value: Value = serde_json::from_slice(data).expect("it is JSON");
    let (depth, fits) = measured(&value);
    assert!(depth <= 32 && fits && data.len() <= 1 << 20);
    assert_eq!(text(&value, "acKind"), "PodManifest");
    let apps = list(&value, "apps");
    assert!((1..=32).contains(&apps.len()));
    for app in apps {
        assert!(list(&app["app"], "supplementaryGIDs").len() <= 64);
    }
    let end = made.iter().position(|word| word.as_bytes() == BETWEEN);
    let (of_pod, [_, of_apps @ ..]) = made.split_at(end.expect("both parts")) else {
        unreachable!()
    };
    known(of_pod, &OF_POD);
    let programs: Vec<&[String]> = of_apps.split(|word| word == "---").collect();
    assert_eq!(programs.len(), apps.len());
    for (words, app) in programs.into_iter().zip(apps) {
        one(words, app);
    }
    // There is no byte more than the words take, nor one less.
    let used = made.iter().map(|word| word.len() + 1).sum();
    let mut exact = vec![0; used];
    assert_eq!(read(data, &mut exact), Some(made.clone()));
    assert_eq!(read(data, &mut exact[1..]), Some(Vec::new()));
    // They are a command line.
    let bytes: Vec<u8> = made.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    let words = bytes.split_inclusive(|byte| *byte == 0);
    let words: Vec<&CStr> = words.map(|word| CStr::from_bytes_with_nul(word).expect("one zero byte")).collect();
    let _ = options::parse(words.iter().copied()).expect("no option that is none");
});
