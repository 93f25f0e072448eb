//! `--pod-manifest`: manifests that are planned, run and prepared.

use std::{fs, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    requirement::Requirement,
    roots, tests,
};

use crate::limits::Parent;

tests![
    programs_and_users,
    environment,
    volumes,
    confinement,
    filters,
    handlers,
    what_is_only_kept,
    spellings,
    several_apps,
    limits_of_the_pod,
    limits_are_enforced,
    flags_win,
];

/// The members of one app, of its inner `app`, and of the pod, each with a comma before
/// it; the words of the probe; what it prints then.
pub type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// A manifest of one app, with a root and a source of the test's own.
pub struct Manifest {
    pub root: PathBuf,
    source: PathBuf,
    pub file: PathBuf,
}

impl Manifest {
    pub fn new() -> Self {
        let source = roots::directory("source");
        fs::write(source.join("mark"), "here").expect("a file");
        Self {
            root: roots::probe(),
            source,
            file: roots::fresh("manifest"),
        }
    }

    /// Writes this text.
    pub fn write(&self, text: impl AsRef<[u8]>) -> &Self {
        fs::write(&self.file, text).expect("a manifest");
        self
    }

    /// Writes the manifest of this case.
    pub fn case(&self, (of_app, inside, of_pod, words, _): &Case) -> &Self {
        let words: String = words.iter().map(|word| format!(",\"{word}\"")).collect();
        let user = if inside.contains("\"user\"") {
            ""
        } else {
            ",\"user\":\"0\",\"group\":\"0\""
        };
        let text = format!(
            r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"main","image":{{"name":"dir:{}"}},
"app":{{"exec":["/bin/probe"{words}]{user}{inside}}}{of_app}}}]{of_pod}}}"#,
            self.root.display(),
        );
        self.write(text.replace("@SOURCE@", self.source.to_str().expect("UTF-8")))
    }

    /// A command with it.
    pub fn command(&self, command: &str) -> Run {
        Run::ours("stage0")
            .args([command, "--pod-manifest"])
            .arg(&self.file)
    }

    pub fn run(&self) -> Output {
        self.command("run").output()
    }

    /// Plans, runs and prepares each case; what was prepared runs in the same way.
    #[track_caller]
    fn all(&self, cases: &[Case]) {
        let state = roots::directory("state");
        let state = state.to_str().expect("UTF-8");
        for case in cases {
            self.case(case);
            let plan = self.command("plan").output();
            plan.code(0).quiet().has("app           main");
            let prepared = self
                .command("prepare")
                .args(["--state-dir", state])
                .output();
            prepared.code(0).quiet();
            let uuid = prepared.stdout.trim_end();
            let run = Run::ours("stage0").args(["run-prepared", "--state-dir", state, uuid]);
            for output in [self.run(), run.output()] {
                output.code(0).quiet();
                for part in case.4 {
                    output.has(part);
                }
            }
        }
    }
}

#[allow(clippy::too_many_lines, reason = "one case after the other")]
fn programs_and_users() -> TestResult {
    let manifest = Manifest::new();
    manifest.all(&[
        (
            "",
            "",
            "",
            &["report"],
            &["uid=0\n", "gid=0\n", "groups=\n", "arg.1=report\n"],
        ),
        (
            "",
            r#","user":"1000","group":"100""#,
            "",
            &["report"],
            &["uid=1000\n", "gid=100\n"],
        ),
        (
            "",
            r#","user":"alice","group":"staff""#,
            "",
            &["report"],
            &["uid=1000\n", "gid=50\n"],
        ),
        (
            "",
            r#","supplementaryGIDs":[7,8]"#,
            "",
            &["report"],
            &["groups=7 8"],
        ),
        (
            "",
            r#","workingDirectory":"/bin""#,
            "",
            &["report"],
            &["cwd=/bin\n"],
        ),
        (
            "",
            "",
            "",
            &["echo", "a  b", "", "--", "--user=5"],
            &["a  b  -- --user=5\n"],
        ),
        (
            r#","readOnlyRootFS":true"#,
            "",
            "",
            &["open", "/bin/probe", "r"],
            &["ok"],
        ),
    ]);
    manifest.case(&(
        r#","readOnlyRootFS":true"#,
        "",
        "",
        &["write", "/new", "x"],
        &[],
    ));
    manifest.run().code(1).has("EROFS");
    Ok(())
}

fn environment() -> TestResult {
    Manifest::new().all(&[
        (
            "",
            r#","environment":[{"name":"A","value":"é =\"b\""}]"#,
            "",
            &["report", "env"],
            &["env.A=é =\"b\"\n"],
        ),
        (
            "",
            r#","environment":[{"name":"A","value":"\ud83d\ude80\u00e9"}]"#,
            "",
            &["report", "env"],
            &["env.A=\u{1f680}\u{e9}\n"],
        ),
        (
            "",
            r#","environment":[{"name":"PATH","value":"/x"},{"name":"HOME","value":""}]"#,
            "",
            &["report", "env"],
            &["env.PATH=/x\n", "env.HOME=\n"],
        ),
        (
            "",
            r#","environment":[]"#,
            "",
            &["report", "env"],
            &["env.HOME=/root\n"],
        ),
    ]);
    Ok(())
}

fn volumes() -> TestResult {
    const HOST: &str = r#","volumes":[{"name":"data","kind":"host","source":"@SOURCE@"}]"#;
    const READ_ONLY: &str = r#","volumes":[{"name":"data","kind":"host","source":"@SOURCE@","readOnly":true,"recursive":false}]"#;
    const EMPTY: &str =
        r#","volumes":[{"name":"data","kind":"empty","mode":"0750","uid":1000,"gid":100}]"#;
    const MOUNT: &str = r#","mounts":[{"volume":"data","path":"/data"}]"#;
    const POINT: &str = r#","mountPoints":[{"name":"data","path":"/data"}]"#;
    const TWO: &str =
        r#","mounts":[{"volume":"data","path":"/data"},{"volume":"data","path":"/more"}]"#;
    const OWN: &str = r#","mounts":[{"volume":"own","path":"/own","appVolume":{"name":"own","kind":"host","source":"@SOURCE@","readOnly":true}}]"#;
    let manifest = Manifest::new();
    manifest.all(&[
        (
            MOUNT,
            "",
            HOST,
            &["read", "/data/mark", ",", "write", "/data/new", "x"],
            &["here", "ok"],
        ),
        (MOUNT, "", READ_ONLY, &["read", "/data/mark"], &["here"]),
        ("", POINT, HOST, &["read", "/data/mark"], &["here"]),
        (MOUNT, POINT, HOST, &["read", "/data/mark"], &["here"]),
        (
            MOUNT,
            "",
            EMPTY,
            &["stat", "/data"],
            &["750", "1000", "100"],
        ),
        (
            TWO,
            "",
            EMPTY,
            &["write", "/data/a", "both", ",", "read", "/more/a"],
            &["both"],
        ),
        (OWN, "", "", &["read", "/own/mark"], &["here"]),
        (
            OWN,
            POINT,
            HOST,
            &["read", "/own/mark", ",", "read", "/data/mark"],
            &["here"],
        ),
    ]);
    for (of_app, inside, of_pod) in [
        (MOUNT, "", READ_ONLY),
        (
            "",
            r#","mountPoints":[{"name":"data","path":"/data","readOnly":true}]"#,
            HOST,
        ),
    ] {
        manifest.case(&(of_app, inside, of_pod, &["write", "/data/mark", "x"], &[]));
        manifest.run().code(1).has("EROFS");
    }
    assert_eq!(
        fs::read_to_string(manifest.source.join("mark")).expect("a file"),
        "here"
    );
    Ok(())
}

fn confinement() -> TestResult {
    Manifest::new().all(&[
        // chown and net_bind_service.
        ("", r#","isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHOWN","CAP_NET_BIND_SERVICE"]}}]"#, "",
            &["report"], &["CapEff=0000000000000401\n", "CapBnd=0000000000000401\n", "CapInh=0000000000000000\n"]),
        // net_admin is none of the default ones.
        ("", r#","isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_ADMIN"]}}]"#, "",
            &["report"], &["CapEff=0000000000001000\n", "CapBnd=0000000000001000\n"]),
        ("", r#","isolators":[{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_CHOWN","CAP_SYS_ADMIN"]}}]"#, "",
            &["report"], &["CapEff=00000000a00425fa\n"]),
        ("", "", "", &["report"], &["NoNewPrivs=1\n", "Seccomp=2\n"]),
        ("", r#","isolators":[{"name":"os/linux/no-new-privileges","value":true}]"#, "", &["report"], &["NoNewPrivs=1\n"]),
        ("", r#","isolators":[{"name":"os/linux/no-new-privileges","value":false}]"#, "",
            &["report"], &["NoNewPrivs=0\n", "Seccomp=2\n", "CapEff=00000000a00425fb\n"]),
        ("", r#","isolators":[{"name":"os/linux/oom-score-adj","value":500}]"#, "", &["read", "/proc/self/oom_score_adj"], &["500"]),
    ]);
    Ok(())
}

fn filters() -> TestResult {
    let manifest = Manifest::new();
    manifest.all(&[
        ("", r#","isolators":[{"name":"os/linux/seccomp-retain-set","value":{"set":["@appc.io/all"]}}]"#, "", &["report"], &["Seccomp=0\n"]),
        ("", r#","isolators":[{"name":"os/linux/seccomp-remove-set","value":{"set":["@appc.io/empty"]}}]"#, "", &["report"], &["Seccomp=0\n"]),
        ("", r#","isolators":[{"name":"os/linux/seccomp-retain-set","value":{"set":["@rkt/default-whitelist"],"errno":"EPERM"}}]"#, "", &["report"], &["Seccomp=2\n"]),
        ("", r#","isolators":[{"name":"os/linux/seccomp-remove-set","value":{"set":["@docker/default-blacklist"]}}]"#, "", &["report"], &["Seccomp=2\n"]),
        ("", r#","isolators":[{"name":"os/linux/seccomp-remove-set","value":{"set":["mkdir","mkdirat"],"errno":"EACCES"}},{"name":"os/linux/no-new-privileges","value":false}]"#, "",
            &["report"], &["Seccomp=2\n", "NoNewPrivs=0\n"]),
        ("", r#","isolators":[{"name":"os/linux/seccomp-retain-set","value":{"set":["write"],"errno":"ENOSYS"}}]"#, "", &["echo", "written"], &["written"]),
    ]);
    let remove = r#","isolators":[{"name":"os/linux/seccomp-remove-set","value":{"set":["mkdir","mkdirat"],"errno":"EACCES"}}]"#;
    manifest.case(&("", remove, "", &["mkdir", "/new"], &[]));
    manifest.run().code(1).has("EACCES");
    // By any name that Linux has for one.
    let other = remove.replace("EACCES", "EHWPOISON");
    manifest.case(&("", other.leak(), "", &["mkdir", "/new"], &[]));
    manifest.run().code(1).has("EHWPOISON");
    // Without an error it ends by SIGSYS.
    let kill = r#","isolators":[{"name":"os/linux/seccomp-remove-set","value":{"set":["mkdir","mkdirat"]}}]"#;
    manifest.case(&("", kill, "", &["mkdir", "/new"], &[]));
    manifest.run().code(128 + libc::SIGSYS);
    Ok(())
}

fn handlers() -> TestResult {
    let manifest = Manifest::new();
    manifest.all(&[
        ("", r#","eventHandlers":[{"name":"pre-start","exec":["/bin/probe","echo","a  b",""]}]"#, "", &["echo", "main"], &["a  b \nmain\n"]),
        ("", r#","eventHandlers":[{"name":"post-stop","exec":["/bin/probe","echo","after"]},{"name":"pre-start","exec":["/bin/probe","echo","before"]}]"#, "",
            &["echo", "main"], &["before\nmain\nafter\n"]),
    ]);
    manifest.case(&(
        "",
        r#","eventHandlers":[{"name":"pre-start","exec":["/bin/probe","exit","3"]}]"#,
        "",
        &["echo", "main"],
        &[],
    ));
    let output = manifest.run();
    assert!(output.code != Some(0), "{}", output.everything());
    output.lacks("main");
    Ok(())
}

/// Nothing is done with it, but it has to be right.
fn what_is_only_kept() -> TestResult {
    Manifest::new().all(&[
        (r#","annotations":[{"name":"example.com/a","value":"b"}]"#, "", r#","annotations":[{"name":"a","value":""}],"userAnnotations":{"x":"y"},"userLabels":{"x y":"z"}"#,
            &["echo", "a"], &["a\n"]),
        ("", r#","ports":[{"name":"http","protocol":"tcp","port":80}],"userLabels":{},"userAnnotations":null"#, r#","ports":[{"name":"http","hostPort":8080}]"#,
            &["echo", "a"], &["a\n"]),
        ("", r#","ports":[{"name":"http","protocol":"tcp","port":80,"socketActivated":true}]"#, "", &["echo", "a"], &["a\n"]),
        (r#","mounts":null,"annotations":null"#, r#","environment":null,"eventHandlers":null,"isolators":null,"mountPoints":null,"ports":null,"supplementaryGIDs":null,"workingDirectory":null"#,
            r#","volumes":null,"isolators":null,"annotations":null,"ports":null"#, &["echo", "a"], &["a\n"]),
        (r#","mounts":[],"annotations":[]"#, r#","environment":[],"eventHandlers":[],"isolators":[],"mountPoints":[],"ports":[],"supplementaryGIDs":[]"#,
            r#","volumes":[],"isolators":[],"annotations":[],"ports":[]"#, &["echo", "a"], &["a\n"]),
    ]);
    Ok(())
}

/// The same manifest, written in other ways.
fn spellings() -> TestResult {
    let manifest = Manifest::new();
    let root = manifest.root.display().to_string();
    let text = format!(
        r#"{{"apps":[{{"app":{{"group":"0","user":"0","exec":["/bin/probe","echo","a"]}},"image":{{"name":"dir:{root}"}},"name":"main"}}],"acKind":"PodManifest","acVersion":"0.8.11+git"}}"#
    );
    for text in [
        text.clone(),
        text.replace("\"exec\"", "\"\\u0065xec\""),
        text.replace("\"echo\"", "\"ec\\u0068o\""),
        text.replace('/', "\\/"),
        text.replace(',', " ,\r\n\t").replace(':', " :\n"),
    ] {
        // The path of the root has a colon now, too.
        let text = text.replace("dir :\n", "dir:");
        manifest.write(&text).run().code(0).printed("a\n");
    }
    Run::ours("stage0")
        .args(["run", "--pod-manifest=/dev/stdin"])
        .input(text)
        .output()
        .code(0)
        .printed("a\n");
    Ok(())
}

/// Each has a root, variables, a user and a confinement of its own, and both see the
/// volume that they share.
#[allow(clippy::too_many_lines, reason = "one case after the other")]
fn several_apps() -> TestResult {
    let manifest = Manifest::new();
    let (one, two) = (roots::probe(), roots::probe());
    fs::write(one.join("mark"), "first").expect("a file");
    fs::write(two.join("mark"), "second").expect("a file");
    let app = |name: &str, root: &std::path::Path, exec: &str, more: &str, out: &str| {
        format!(
            r#"{{"name":"{name}","image":{{"name":"dir:{}"}},"mounts":[{{"volume":"box","path":"{out}"}}],
"app":{{"exec":["/bin/probe",{exec}]{more}}}}}"#,
            root.display()
        )
    };
    let first = app(
        "first",
        &one,
        r#""read","/mark",",","report","env",",","write","/out/first","shared""#,
        r#","user":"0","group":"0","environment":[{"name":"ONLY","value":"first"}]"#,
        "/out",
    );
    let second = app(
        "second",
        &two,
        r#""read","/mark",",","report","env","uid","CapEff",",","list","/box""#,
        r#","user":"1000","group":"100","isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHOWN"]}}]"#,
        "/box",
    );
    manifest.write(format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{first},{second}],"volumes":[{{"name":"box","kind":"empty"}}]}}"#
    ));
    let plan = manifest.command("plan").output();
    plan.code(0)
        .quiet()
        .has("app           first")
        .has("app           second");
    let output = manifest.run();
    output.code(0).quiet();
    for part in [
        "first",
        "second",
        "env.ONLY=first\n",
        "uid=1000\n",
        "CapEff=0000000000000001\n",
    ] {
        output.has(part);
    }
    assert_eq!(
        output.stdout.matches("env.ONLY").count(),
        1,
        "{}",
        output.everything()
    );
    assert!(!one.join("out/first").exists(), "it is in memory");
    // Limits are the pod's, in one cgroup.
    let text = fs::read_to_string(&manifest.file).expect("a manifest");
    let limited = text.replacen(
        r#","environment""#,
        r#","isolators":[{"name":"resource/memory","value":{"limit":"1G"}}],"environment""#,
        1,
    );
    manifest.write(limited).run().refused(&[
        "apps[0].app.isolators[0].name: with several apps it is the pod's: put it there",
    ]);
    let twice = text.replacen("\"name\":\"second\"", "\"name\":\"first\"", 1);
    manifest
        .write(twice)
        .run()
        .refused(&["apps[1].name: two apps have this name"]);
    Ok(())
}

fn limits_of_the_pod() -> TestResult {
    Requirement::Controllers.require()?;
    let manifest = Manifest::new();
    for (isolator, part) in [
        (
            r#"{"name":"resource/memory","value":{"limit":"64Mi"}}"#,
            "to 67108864\n",
        ),
        (
            r#"{"name":"resource/memory","value":{"request":"1M","limit":64000000}}"#,
            "to 64000000\n",
        ),
        (
            r#"{"name":"resource/cpu","value":{"limit":"500m"}}"#,
            "50000",
        ),
        (r#"{"name":"resource/cpu","value":{"limit":2}}"#, "200000"),
        (
            r#"{"name":"resource/pids","value":{"limit":20}}"#,
            "to 20\n",
        ),
        (r#"{"name":"os/linux/cpu-shares","value":2048}"#, "2"),
    ] {
        let isolators = format!(r#","isolators":[{isolator}]"#);
        let leaked: &'static str = isolators.leak();
        for case in [
            ("", leaked, "", &["exit", "0"] as &[_], &[] as &[_]),
            ("", "", leaked, &["exit", "0"], &[]),
        ] {
            let plan = manifest.case(&case).command("plan").output();
            plan.code(0).quiet();
            let limits = plan
                .stdout
                .lines()
                .filter(|line| line.starts_with("limit "));
            let limits: String = limits.map(|line| format!("{line}\n")).collect();
            assert!(limits.contains(part), "{limits}{isolator}");
        }
    }
    Ok(())
}

fn limits_are_enforced() -> TestResult {
    Requirement::Controllers.require()?;
    let (manifest, parent) = (Manifest::new(), Parent::new());
    let pids = r#","isolators":[{"name":"resource/pids","value":{"limit":4}}]"#;
    manifest.case(&("", pids, "", &["fork", "1"], &[]));
    let output = manifest
        .command("run")
        .args(["--cgroup-parent", parent.path()])
        .output();
    output.code(0);
    // The flag wins.
    let output = manifest
        .command("run")
        .args(["--cgroup-parent", parent.path(), "--pids=2"])
        .output();
    output.code(1).has("EAGAIN");
    Ok(())
}

fn flags_win() -> TestResult {
    let manifest = Manifest::new();
    manifest.case(&("", "", "", &["report", "hostname"], &[]));
    let output = manifest.command("run").arg("--hostname=mine").output();
    output.code(0).has("hostname=mine\n");
    manifest.case(&("", "", "", &["write", "/new", "x"], &[]));
    manifest.command("run").arg("--ephemeral").output().code(0);
    assert!(!manifest.root.join("new").exists());
    manifest
        .command("run")
        .arg("--readonly-rootfs")
        .output()
        .code(1)
        .has("EROFS");
    // Also where a manifest says something about the root of its own.
    let read_only = r#","readOnlyRootFS":true"#;
    manifest.case(&(read_only, "", "", &["write", "/new", "x"], &[]));
    manifest.run().code(1).has("EROFS");
    let output = manifest
        .command("run")
        .arg("--readonly-rootfs=false")
        .output();
    output.code(0);
    assert!(manifest.root.join("new").exists());
    manifest
        .command("run")
        .arg("--help")
        .output()
        .code(0)
        .has("Usage");
    Ok(())
}
