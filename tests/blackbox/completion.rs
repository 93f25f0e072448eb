//! `--completion`: real shells complete words of `fly`.

use std::{fs, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    requirement::Requirement,
    roots, tests,
};

tests![in_bash, in_zsh, in_fish, of_every_option, bad_shells];

/// A directory with the completion for `shell` in `completion`, and a file `script`.
fn files(shell: &str, script: &str) -> PathBuf {
    let folder = roots::directory("shell");
    let output = completion(shell);
    output.code(0).quiet();
    fs::write(folder.join("completion"), &output.stdout).expect("a file");
    fs::write(folder.join("script"), script).expect("a file");
    fs::create_dir_all(folder.join("root/bin")).expect("a directory");
    fs::write(folder.join("root/bin/a program"), "").expect("a file");
    fs::write(folder.join("value"), "").expect("a file");
    folder
}

fn completion(shell: &str) -> Output {
    Run::ours("fly").args(["--completion", shell]).output()
}

fn run(shell: &str, options: &[&str], folder: &PathBuf) -> Output {
    Run::new(shell)
        .args(options)
        .arg("script")
        .directory(folder)
        .env("HOME", folder.as_os_str())
        .env("TERM", "dumb")
        .output()
}

/// Command lines to their last word, and what is offered for that.
const CASES: &[(&str, &str)] = &[
    ("--unshare-n", "--unshare-net"),
    ("--ro-bind-", "--ro-bind-try"),
    ("--confine --unshare-ne", "--unshare-net"),
    ("--bind va", "value"),
    ("--bind x va", "value"),
    ("--setenv A B --tmpfs x --unshare-ip", "--unshare-ipc"),
    ("roo", "root"),
    ("--bind a b roo", "root"),
    ("--timings=json roo", "root"),
    ("root /bi", "/bin"),
    ("--ro root /bin/", "/bin/a program"),
    ("root -- /bin/a", "/bin/a program"),
];

fn in_bash() -> TestResult {
    let script = r#"
        set -eu
        source ./completion
        complete -p fly | grep -q _fly
        while IFS= read -r line; do
            IFS=' ' read -ra COMP_WORDS <<<"fly $line"
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            COMPREPLY=()
            _fly
            printf '%s|' "${COMPREPLY[@]}"
            echo
        done <lines
    "#;
    let folder = files("bash", script);
    let lines: String = CASES.iter().map(|(line, _)| format!("{line}\n")).collect();
    fs::write(folder.join("lines"), lines).expect("a file");
    let output = run("bash", &["--norc"], &folder);
    output.code(0).quiet();
    let expected: String = CASES.iter().map(|(_, word)| format!("{word}|\n")).collect();
    output.printed(&expected);
    Ok(())
}

fn in_zsh() -> TestResult {
    Requirement::Zsh.require()?;
    // A line is typed, with a tabulator at its end; fly is a function that tells
    // what it got.
    let script = r"
        zmodload zsh/zpty
        zpty z zsh -f -i
        type() { zpty -w -n z $1; zpty -r z line $2; print -r -- $line }
        type $'source ./completion; fly() { print GOT:$*:; }; print LOA\\DED\n' '*LOADED*'
        type $'fly --unshare-ne\t\n' '*GOT:*:*'
        type $'fly --confine --bind x val\t\n' '*GOT:*:*'
    ";
    let output = run("zsh", &["-f"], &files("zsh", script));
    for word in ["GOT:--unshare-net:", "GOT:--confine --bind x value:"] {
        output.has(word);
    }
    Ok(())
}

fn in_fish() -> TestResult {
    Requirement::Fish.require()?;
    let script = r"
        source ./completion
        complete -C 'fly --unshare-ne'
        complete -C 'fly --confine --ro-bind-'
        complete -C 'fly --bind x va'
    ";
    let output = run("fish", &["--no-config"], &files("fish", script));
    output
        .code(0)
        .printed("--unshare-net\n--ro-bind-try\nvalue\n");
    Ok(())
}

/// All that --help names are offered.
fn of_every_option() -> TestResult {
    let help = Run::ours("fly").arg("--help").output().stdout;
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let options = help
        .split(|c: char| !is_of_a_name(c))
        .filter(|word| word.starts_with("--") && word.len() > 2);
    for shell in ["bash", "zsh", "fish"] {
        let text = completion(shell).stdout;
        let offered: Vec<&str> = text.split(|c: char| !is_of_a_name(c)).collect();
        for option in options.clone() {
            assert!(offered.contains(&option), "{shell} has no {option}");
        }
    }
    Ok(())
}

fn bad_shells() -> TestResult {
    for shell in ["", "sh", "Bash", "bash "] {
        completion(shell).refused(&["--completion", "bash, zsh or fish"]);
    }
    Run::ours("fly")
        .arg("--completion")
        .output()
        .refused(&["value"]);
    Ok(())
}
