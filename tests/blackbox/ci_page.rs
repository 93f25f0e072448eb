//! The page docs/ci.md does what it says: its blocks run in one shell, as they stand.

use std::{fs, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    requirement::Requirement,
    roots, tests,
};

tests![as_it_stands, what_is_compared];

const PAGE: &str = include_str!("../../docs/ci.md");

/// Commands, and what they print.
type Step = (String, String);

/// The blocks of the page: each one of commands, with that of its output if there is one.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: String = (lines.by_ref().take_while(|line| *line != "```"))
            .map(|line| format!("{line}\n"))
            .collect();
        match (kind, steps.last_mut()) {
            ("sh", _) => steps.push((block, String::new())),
            ("text", Some((_, printed))) if printed.is_empty() => *printed = block,
            _ => panic!("a block of {kind:?} without commands before it"),
        }
    }
    steps
}

/// A text in which uuids, beginnings of them, and times are the same everywhere.
fn without_what_varies(text: &str) -> String {
    let word = |word: &str| {
        // Digits, and letters of hexadecimal ones, as a picture of the word.
        let shape: String = (word.chars())
            .map(|c| match c {
                '0'..='9' => '9',
                'a'..='f' => 'f',
                c => c,
            })
            .collect();
        let digits = shape.replace('f', "9");
        match (digits.as_str(), shape.as_str()) {
            ("99999999-9999-9999-9999-999999999999", _) => "UUID".to_owned(),
            ("99999999", _) => "SHORT".to_owned(),
            (_, "9999-99-99T99:99:99.999Z") => "TIME".to_owned(),
            _ => word.to_owned(),
        }
    };
    text.split_inclusive('\n')
        .map(|line| {
            line.split(' ')
                .map(|part| match part.strip_suffix('\n') {
                    Some(last) => word(last) + "\n",
                    None => word(part),
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// The same with the rows of pods in one order: of two that were made within one tick of
/// the clock of files, 4 ms, either may be the first.
fn in_order(text: &str) -> Vec<String> {
    let text = without_what_varies(text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for rows in
        lines.chunk_by_mut(|one, next| [one, next].iter().all(|line| line.starts_with("SHORT ")))
    {
        rows.sort_unstable();
    }
    lines
}

fn as_it_stands() -> TestResult {
    Requirement::Busybox.require()?;
    Requirement::Controllers.require()?;
    let steps = steps(PAGE);
    assert!(steps.len() >= 8, "{} blocks", steps.len());
    let end = "end of a block\n";
    let script: String = (steps.iter())
        .map(|(commands, _)| format!("{commands}echo '{}'\n", end.trim_end()))
        .collect();
    let folder = roots::directory("job");
    let state = roots::fresh("state");
    let programs = program("stage0").with_file_name("");
    let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", programs.display());
    let output = Run::new("/bin/sh")
        .args(["-c", &format!("exec 2>&1; set -e\n{script}")])
        .directory(&folder)
        .env("PATH", path)
        .env("KICKSTAGE_STATE_DIR", &state)
        .limit(Duration::from_secs(60))
        .output();
    output.code(0);
    let mut printed = output.stdout.split(end);
    for (commands, expected) in &steps {
        assert_eq!(
            in_order(printed.next().unwrap_or_default()),
            in_order(expected),
            "of\n{commands}{}",
            output.everything()
        );
    }
    // Nothing is left but the folders of states.
    assert_eq!(fs::read_dir(&folder).expect("a directory").count(), 0);
    for states in fs::read_dir(state.join("pods")).expect("a directory") {
        let states = states.expect("an entry").path();
        if states.is_dir() {
            assert_eq!(fs::read_dir(&states).expect("it").count(), 0, "{states:?}");
        }
    }
    Ok(())
}

/// That it is no comparison of nothing.
fn what_is_compared() -> TestResult {
    let page = "a\n```sh\none\ntwo\n```\nb\n\n```text\n1\n```\n```sh\nthree\n```\n";
    let text = |text: &str| text.to_owned();
    assert_eq!(
        steps(page),
        [
            (text("one\ntwo\n"), text("1\n")),
            (text("three\n"), text(""))
        ]
    );
    let same = "UUID SHORT  TIME code 137\nSHORT\n";
    for (uuid, short) in [
        ("c4cdcfc1-6b84-4021-896c-d2b9ad0dc5b4", "c4cdcfc1"),
        ("9a9f9b14-a38c-4329-8a5c-4ec1437ba0b8", "12345678"),
    ] {
        let line = format!("{uuid} {short}  2026-11-26T13:55:01.218Z code 137\n{short}\n");
        assert_eq!(without_what_varies(&line), same);
    }
    for line in ["code 1\n", "1234567", "c4cdcfcg", "2026-11-26"] {
        assert_eq!(without_what_varies(line), line);
    }
    Ok(())
}
