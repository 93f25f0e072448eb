//! What is wrong with profiles and filters, told with the name of the value and its
//! byte.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use kickstage_tests::{TestResult, command::Run, sys, tests};

use crate::seccomp::{ALLOW_ALL, file, has_filter, with};

tests![
    wrong_values,
    unknown_names,
    no_json,
    cut_profiles,
    bad_files,
    too_long,
];

/// The error of a profile: by fly-seccomp, and the same by fly.
#[track_caller]
fn wrong(text: impl AsRef<[u8]>, cause: &str) {
    let path = file(text);
    let run = Run::ours("fly-seccomp").arg("compile").arg(&path);
    let name = path.display();
    let output = run.output();
    output.refused(&[&format!("fly-seccomp: read {name}: {cause}")]);
    with(&path)
        .probe(["echo"])
        .refused(&[&format!("fly: read {name}: {cause}")]);
}

/// A profile with an entry of this text.
fn entry(text: &str) -> String {
    format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],{text}}}]}}"#)
}

/// A profile with a condition of this text.
fn condition(text: &str) -> String {
    entry(&format!(r#""action":"SCMP_ACT_ALLOW","args":[{{{text}}}]"#))
}

/// Values of a profile itself.
const VALUES: &[(&str, &str)] = &[
    (
        r#"{"defaultAction":"SCMP_ACT_X"}"#,
        "defaultAction: SCMP_ACT_X: there is no such action (at byte 17)",
    ),
    (
        r#"{"defaultAction":1}"#,
        "defaultAction: it is no string (at byte 17)",
    ),
    (r#"{"defaultAction":null}"#, "defaultAction: it is missing"),
    (r#"{}"#, "defaultAction: it is missing"),
    (
        r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
        "defaultAction: SCMP_ACT_NOTIFY: SCMP_ACT_NOTIFY needs a listener",
    ),
    (
        r#"{"listenerPath":"/run/x"}"#,
        "listenerPath: /run/x: there is no listener",
    ),
    (
        r#"{"flags":["SECCOMP_FILTER_FLAG_LOG"]}"#,
        "flags: SECCOMP_FILTER_FLAG_LOG: ",
    ),
    (
        r#"{"defaultErrnoRet":4096}"#,
        "defaultErrnoRet: an error's number is at most 4095",
    ),
    (
        r#"{"defaultErrnoRet":-1}"#,
        "defaultErrnoRet: it is no whole number",
    ),
    (
        r#"{"defaultErrnoRet":1.5}"#,
        "defaultErrnoRet: it is no whole number",
    ),
    (r#"{"defaultErrno":"EX"}"#, "defaultErrno: EX: use errnoRet"),
    (
        r#"{"syscalls":{}}"#,
        "syscalls: it is no array (at byte 12)",
    ),
    (
        r#"{"syscalls":["read"]}"#,
        "syscalls: read: it is no object (at byte 13)",
    ),
    (
        r#"{"architectures":"x"}"#,
        "architectures: x: it is no array",
    ),
    (
        r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_ARM"]}"#,
        "architectures: SCMP_ARCH_X86_64 is not among them",
    ),
    (
        r#"{"defaultAction":"SCMP_ACT_LOG","archMap":[{"architecture":"SCMP_ARCH_ARM"}]}"#,
        "architectures: SCMP_ARCH_X86_64 is not among them",
    ),
];

/// Of an entry.
const ENTRIES: &[(&str, &str)] = &[
    (r#""errnoRet":1"#, "syscalls: it has no action"),
    (
        r#""action":"SCMP_ACT_ERRNO","errnoRet":"EPERM""#,
        "errnoRet: EPERM: it is no whole number",
    ),
    (
        r#""action":"SCMP_ACT_LOG","args":{}"#,
        "args: it is no array",
    ),
    (
        r#""action":"SCMP_ACT_LOG","includes":[]"#,
        "includes: it is no object",
    ),
    (
        r#""action":"SCMP_ACT_LOG","includes":{"caps":["CAP_NOTHING"]}"#,
        "caps: CAP_NOTHING: there is no such capability",
    ),
    (
        r#""action":"SCMP_ACT_LOG","excludes":{"minKernel":"new"}"#,
        "minKernel: new: it is no version of a kernel",
    ),
];

/// Of a condition.
const CONDITIONS: &[(&str, &str)] = &[
    (
        r#""index":6,"value":0,"op":"SCMP_CMP_EQ""#,
        "index: an argument's index is 0 to 5",
    ),
    (
        r#""index":0,"value":0,"op":"SCMP_CMP_XX""#,
        "op: SCMP_CMP_XX: there is no such operator",
    ),
    (
        r#""index":0,"value":18446744073709551616,"op":"SCMP_CMP_EQ""#,
        "value: it is no whole number",
    ),
    (
        r#""index":0,"op":"SCMP_CMP_EQ""#,
        "args: it has no index, value or op",
    ),
    (
        r#""index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ""#,
        "args: valueTwo has bits that the mask",
    ),
];

fn wrong_values() -> TestResult {
    for (text, cause) in VALUES {
        wrong(text, cause);
    }
    for (text, cause) in ENTRIES {
        wrong(entry(text), cause);
    }
    wrong(
        r#"{"syscalls":[{"action":"SCMP_ACT_LOG"}]}"#,
        "syscalls: it has no names (at byte 13)",
    );
    for (text, cause) in CONDITIONS {
        wrong(condition(text), cause);
    }
    Ok(())
}

fn unknown_names() -> TestResult {
    wrong(
        r#"{"sycalls":[]}"#,
        "sycalls: there is no such name (at byte 1)",
    );
    wrong(
        r#"{"defaultAction":"SCMP_ACT_LOG","defaultAction":"SCMP_ACT_LOG"}"#,
        "defaultAction: defaultAction: it is there twice (at byte 32)",
    );
    wrong(
        entry(r#""actions":1"#),
        "syscalls: actions: there is no such name",
    );
    wrong(condition(r#""arg":1"#), "args: arg: there is no such name");
    // What terminals would obey is not printed.
    let output = Run::ours("fly-seccomp")
        .arg("compile")
        .arg(file("{\"\u{1}\u{1b}[2J\":1}"))
        .output();
    assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
    Ok(())
}

fn no_json() -> TestResult {
    for (text, cause) in [
        ("not json".as_bytes(), "it is no object (at byte 0)"),
        (b"[]", "it is no object (at byte 0)"),
        (b"{} {}", "something is behind the value (at byte 3)"),
        (b"{\"comment\":\"\xff\"}", "it is no UTF-8 (at byte 12)"),
        (b"{\"comment\":tru}", "comment: it is no JSON (at byte 11)"),
        (b"{'comment':1}", "it is no string (at byte 1)"),
        (b" \n ", "the text ends in a value (at byte 3)"),
    ] {
        wrong(text, cause);
    }
    let deep = |open: &str| format!("{{\"comment\":{}", open.repeat(100_000));
    wrong(deep("["), "comment: it is nested too deeply (at byte 42)");
    wrong(deep("{\"a\":"), "comment: it is nested too deeply");
    wrong("[".repeat(1_000_000), "it is no object (at byte 0)");
    Ok(())
}

/// A profile that is cut anywhere is refused.
fn cut_profiles() -> TestResult {
    let text = condition(r#""index":0,"value":0,"op":"SCMP_CMP_EQ""#);
    for end in (2..text.len()).step_by(7) {
        wrong(&text[..end], "");
    }
    Ok(())
}

fn bad_files() -> TestResult {
    let refused = |path: &Path, parts: &[&str]| {
        with(path).probe(["echo"]).refused(parts);
    };
    refused(
        Path::new("/nowhere"),
        &["fly: read the system call filter /nowhere: No such file"],
    );
    refused(
        Path::new("/tmp"),
        &["fly: read the system call filter /tmp: Is a directory"],
    );
    let empty = file("");
    refused(
        &empty,
        &["it is neither a profile nor a filter of 1 to 4096 instructions"],
    );
    let instruction = [6_u8, 0, 0, 0, 0, 0, 0xff, 0x7f];
    has_filter(&with(file(instruction)), true, true);
    has_filter(&with(file(instruction.repeat(4096))), true, true);
    for bytes in [
        instruction[..7].to_vec(),
        instruction.repeat(4097),
        [0x15, 0, 5, 5, 0, 0, 0, 0].to_vec(),
        [&[0x20, 0, 0, 0, 0, 1, 0, 0], &instruction[..]].concat(),
        vec![0; 8],
        vec![0; 64 << 20],
    ] {
        refused(&file(bytes), &["it is neither a profile nor a filter"]);
    }
    // The kernel knows more of filters.
    let division = [&[0x34, 0, 0, 0, 0, 0, 0, 0], &instruction[..]].concat();
    refused(
        &file(division),
        &["fly: set a system call filter: Invalid argument"],
    );
    // A user may not read it.
    let secret = file(ALLOW_ALL);
    sys::mask(0o022);
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("a mode");
    let output = with(&secret)
        .flag("--unshare-user")
        .probe_command(["echo"])
        .hook(|| sys::become_user(1000, 1000))
        .output();
    output.refused(&["fly: "]);
    Ok(())
}

fn too_long() -> TestResult {
    let mut entries = Vec::new();
    for value in 0..1000 {
        entries.push(format!(
            r#"{{"names":["read","write"],"action":"SCMP_ACT_ERRNO","args":[
            {{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}},{{"index":1,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
        ));
    }
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
        entries.join(",")
    );
    let run = Run::ours("fly-seccomp").arg("compile").arg(file(&text));
    run.output()
        .refused(&["the filter would have more than 4096 instructions"]);
    let more = text.replace("\"read\"", "\"read\",\"open\"");
    wrong(&more, "syscalls: ");
    let run = Run::ours("fly-seccomp")
        .arg("compile")
        .arg(file(" ".repeat(2 << 20)));
    run.output().refused(&["it is larger than 1 MiB"]);
    Ok(())
}
