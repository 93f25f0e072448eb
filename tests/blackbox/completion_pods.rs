//! `stage0 completion`: real shells complete words of `stage0`, and name its pods.

use std::{fs, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    registered::{Registry, one_line},
    requirement::Requirement,
    roots, tests,
};

tests![
    in_bash,
    in_zsh,
    in_fish,
    of_every_option,
    what_is_offered,
    bad_shells
];

fn completion(shell: &str) -> String {
    let output = Run::ours("stage0").args(["completion", shell]).output();
    output.code(0).quiet();
    output.stdout
}

/// A pod that runs, one that is prepared, and a directory to stand in.
struct Scene {
    pods: Registry,
    runs: String,
    prepared: String,
    folder: PathBuf,
}

impl Scene {
    fn new(shell: &str) -> Self {
        let pods = Registry::new();
        let run = pods.pod("run", &["--detach", "--name=web"], &["catch", "TERM"]);
        let runs = one_line(&run.output());
        let prepare = pods.pod("prepare", &["--name=job"], &["exit", "0"]);
        let prepared = one_line(&prepare.output());
        let folder = roots::directory("shell");
        fs::create_dir_all(folder.join("root/bin")).expect("a directory");
        fs::write(folder.join("root/bin/a program"), "").expect("a file");
        fs::write(folder.join("value"), "").expect("a file");
        fs::write(folder.join("completion"), completion(shell)).expect("a file");
        Self {
            pods,
            runs,
            prepared,
            folder,
        }
    }

    fn run(&self, shell: &str, options: &[&str], script: &str) -> Output {
        let path = program("stage0").with_file_name("");
        fs::write(self.folder.join("script"), script).expect("a file");
        Run::new(shell)
            .args(options)
            .arg("script")
            .directory(&self.folder)
            .env("PATH", format!("{}:/usr/bin:/bin", path.display()))
            .env("HOME", &self.folder)
            .env("TERM", "dumb")
            .env("KICKSTAGE_STATE_DIR", self.pods.path())
            .output()
    }

    fn end(self) {
        self.pods.ask("stop", &["web"]).code(0).quiet();
        self.pods.ask("rm", &["web", "job"]).code(0).quiet();
        self.pods.collected();
    }
}

/// What is offered by bash for command lines; blanks part their words.
fn offered_in_bash(scene: &Scene, lines: &[&str]) -> Vec<String> {
    let script = r#"
        set -eu
        source ./completion
        complete -p stage0 | grep -q _stage0
        while IFS= read -r line; do
            IFS=' ' read -ra COMP_WORDS <<<"stage0 ${line% }"
            [[ $line == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            set +eu
            _stage0
            set -eu
            printf '%s|' "${COMPREPLY[@]}"
            echo
        done <lines
    "#;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(scene.folder.join("lines"), text).expect("a file");
    let output = scene.run("bash", &["--norc"], script);
    output.code(0).quiet();
    let printed = output.stdout.lines();
    let offered: Vec<String> = printed
        .map(|line| line.trim_end_matches('|').to_owned())
        .collect();
    assert_eq!(offered.len(), lines.len(), "{}", output.everything());
    offered
}

fn in_bash() -> TestResult {
    let scene = Scene::new("bash");
    let (runs, prepared) = (&*scene.runs, &*scene.prepared);
    let half = &runs[..13];
    let of_half = format!("status {half}");
    let with_directory = format!("status --state-dir {} w", scene.pods.path().display());
    let state = "--state-dir=/no/such/directory";
    let elsewhere = format!("status {state} w");
    let of_app = format!("app list --state-dir {} w", scene.pods.path().display());
    let both = [runs, "web", prepared, "job"].join("|");
    let cases: &[(&str, &str)] = &[
        ("sta", "status"),
        ("cat", "cat-manifest"),
        ("run --hos", "--hostname|--hosts-entry"),
        ("run --name x --hostn", "--hostname"),
        ("prepare --set-env A=B --rm --hostn", "--hostname"),
        ("run --net h", "host"),
        ("run --net = n", "none"),
        ("run --net=p", "--net=pool"),
        ("run --private-users=a", "--private-users=auto"),
        ("run --tty = f", "false"),
        ("run --rootfs = roo", "root"),
        ("run --rootfs roo", "root"),
        ("run roo", "root"),
        ("run --rootfs root ", "/"),
        ("run --rootfs root /bi", "/bin"),
        ("run --rootfs = root -- /bin/", "/bin/a program"),
        ("run --rootfs=root -- /bin/a", "/bin/a program"),
        ("run --rootfs root -- va", "value"),
        ("run --rootfs root -- x --hostn", ""),
        ("list --f", "--full|--format"),
        ("list ", ""),
        ("status --wait-", "--wait-ready"),
        ("status --format j", "json"),
        ("status --uuid-file va", "value"),
        (&of_half, runs),
        ("status w", "web"),
        (&with_directory, "web"),
        (&elsewhere, ""),
        ("logs --app = x w", "web"),
        ("rm job w", "web"),
        ("stop w", "web"),
        ("stop j", ""),
        ("run-prepared j", "job"),
        ("run-prepared w", ""),
        ("enter w", "web"),
        ("app st", "status|start|stop"),
        ("app list w", "web"),
        (&of_app, "web"),
        ("app --", "--state-dir"),
        ("completion z", "zsh"),
        ("version ", ""),
    ];
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    for ((line, expected), offered) in cases.iter().zip(offered_in_bash(&scene, &lines)) {
        assert_eq!(offered, *expected, "{line:?}");
    }
    let all = offered_in_bash(&scene, &["status "]).remove(0);
    assert_eq!(sorted(&all), sorted(&both));
    scene.end();
    Ok(())
}

fn sorted(offered: &str) -> Vec<&str> {
    let mut words: Vec<&str> = offered.split('|').collect();
    words.sort_unstable();
    words
}

fn in_zsh() -> TestResult {
    Requirement::Zsh.require()?;
    let scene = Scene::new("zsh");
    // A line is typed, with a tabulator at its end; stage0 is a function that tells
    // what it got, but for what the completion asks.
    let script = r"
        zmodload zsh/zpty
        zpty z zsh -f -i
        type() { zpty -w -n z $1; zpty -r z line $2; print -r -- $line }
        type $'source ./completion; stage0() { [[ $1 == list ]] && command stage0 $@ || print GOT:$*:; }; print LOA\\DED\n' '*LOADED*'
        type $'stage0 cat-man\t\n' '*GOT:*:*'
        type $'stage0 run --net=n\t\n' '*GOT:*:*'
        type $'stage0 run --rootfs=roo\t\n' '*GOT:*:*'
        type $'stage0 run --rootfs root --hostn\t\n' '*GOT:*:*'
        type $'stage0 run --rootfs=root -- /bin/a\t\n' '*GOT:*:*'
        type $'stage0 status w\t\n' '*GOT:*:*'
        type $'stage0 run-prepared jo\t\n' '*GOT:*:*'
    ";
    let output = scene.run("zsh", &["-f"], script);
    for words in [
        "cat-manifest",
        "run --net=none",
        "run --rootfs=root",
        "run --rootfs root --hostname",
        "run --rootfs=root -- /bin/a program",
        "status web",
        "run-prepared job",
    ] {
        output.has(&format!("GOT:{words}:"));
    }
    scene.end();
    Ok(())
}

fn in_fish() -> TestResult {
    Requirement::Fish.require()?;
    let scene = Scene::new("fish");
    let script = r#"
        source ./completion
        for line in 'cat-man' 'run --hostn' 'run --rootfs va' 'list --fu' 'status w' 'stop j' \
            'run-prepared ' 'app lis' 'app list we' 'completion z' \
            'status --state-dir=/no/such w' 'status --state-dir /no/such w' \
            'app list --state-dir /no/such w'
            echo \> $line
            complete -C "stage0 $line"
        end
    "#;
    let output = scene.run("fish", &["--no-config"], script);
    let prepared = &scene.prepared;
    let mut expected: Vec<&str> = vec![
        "> cat-man",
        "cat-manifest",
        "> run --hostn",
        "--hostname",
        "> run --rootfs va",
        "value",
        "> list --fu",
        "--full",
        "> status w",
        "web",
        "> stop j",
        "> run-prepared ",
    ];
    // Of two fish shows the order of its own.
    let mut both = [prepared.as_str(), "job"];
    both.sort_unstable();
    expected.extend(both);
    expected.extend([
        "> app lis",
        "list",
        "> app list we",
        "web",
        "> completion z",
        "zsh",
        "> status --state-dir=/no/such w",
        "> status --state-dir /no/such w",
        "> app list --state-dir /no/such w",
    ]);
    output
        .code(0)
        .quiet()
        .printed(&(expected.join("\n") + "\n"));
    scene.end();
    Ok(())
}

/// The options that a text names.
fn options(text: &str) -> Vec<&str> {
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(|c: char| !is_of_a_name(c))
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .collect()
}

/// All that the help names are offered.
fn of_every_option() -> TestResult {
    let help = Run::ours("stage0").arg("help").output().stdout;
    for shell in ["bash", "zsh", "fish"] {
        let text = completion(shell);
        let offered = options(&text);
        for option in options(&help) {
            assert!(offered.contains(&option), "{shell} has no {option}");
        }
    }
    Ok(())
}

/// No command and no option is offered that is not there.
fn what_is_offered() -> TestResult {
    let scene = Scene::new("bash");
    let commands = offered_in_bash(&scene, &[" "]).remove(0);
    for command in commands.split('|') {
        let offered = offered_in_bash(&scene, &[&format!("{command} --")]).remove(0);
        // Alone: it lacks a value, a pod or a program, but is known.
        let alone = ["--no-such-option"];
        let options = offered.split('|').filter(|option| !option.is_empty());
        for option in options.chain(alone) {
            let output = scene.pods.command(command).arg(option).output();
            let said = &output.stderr;
            let is_known = !said.contains("no such option") || alone.contains(&option);
            // `app` has commands of its own.
            let is_command = !said.contains("no such command") || command == "app";
            assert!(is_known && is_command, "{}", output.everything());
        }
    }
    scene.end();
    Ok(())
}

fn bad_shells() -> TestResult {
    let ask = |words: &[&str]| Run::ours("stage0").arg("completion").args(words).output();
    for shell in ["", "sh", "Bash", "bash "] {
        ask(&[shell]).refused(&["completion", "bash, zsh or fish"]);
    }
    ask(&[]).refused(&["bash, zsh or fish"]);
    ask(&["bash", "zsh"]).refused(&["command line"]);
    ask(&["--full", "bash"]).refused(&["--full"]);
    Ok(())
}
