//! Where fly's mounts land in a root of links, and what an image may try with
//! them: every path is walked inside the root.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, tests};

tests![
    absolute_link,
    relative_link,
    relative_link_upwards,
    link_above_the_root,
    link_to_a_path_of_the_host,
    dangling_absolute_link,
    dangling_relative_link,
    link_in_the_middle,
    link_to_a_link,
    dot_dot_after_a_link,
    loops,
    file_through_a_link,
    cve_2019_16884_proc_or_sys_is_a_link,
    cve_2023_27561_proc_is_covered_by_a_bind,
    cve_2025_54867_link_into_proc_or_sys,
    cve_2026_41579_dev_is_a_link,
    cve_2026_47766_dev_is_a_link_to_the_host,
    cve_2019_18837_parent_is_a_link,
    cve_2026_87766_parent_is_a_dangling_link,
    cve_2018_15664_files_are_made_inside,
    cve_2025_24965_files_through_links,
    cve_2024_21626_no_descriptor_of_the_host,
    rkt_fly_read_only_binds_refuse_writes,
];

/// A root, a source with a mark, and a decoy on the host that must stay as it
/// is.
struct Setting {
    root: PathBuf,
    source: PathBuf,
    decoy: PathBuf,
    before: String,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Setting {
    fn new() -> Self {
        let (root, source, decoy) = (
            roots::probe(),
            roots::directory("source"),
            roots::directory("decoy"),
        );
        fs::write(source.join("mark"), "here").expect("a file");
        fs::write(decoy.join("mark"), "decoy").expect("a file");
        fs::create_dir_all(root.join("real/deep")).expect("directories");
        let before = compare::tree(&decoy);
        Self {
            root,
            source,
            decoy,
            before,
        }
    }

    fn link(self, target: impl AsRef<Path>, name: &str) -> Self {
        symlink(target, self.root.join(name)).expect("a link");
        self
    }

    /// What is mounted or made at `target` is seen at `seen`, by each option, in
    /// a root that is written, in a layer that is kept and in one that is not.
    #[track_caller]
    fn lands(&self, target: &str, seen: &str) {
        let layer = roots::directory("layer");
        let layer = ["--overlay", text(&layer)];
        // The layers come first: in the root itself a mount point stays.
        for mode in [&["--ephemeral"][..], &layer, &[]] {
            for option in ["--bind", "--ro-bind", "--dev-bind", "--bind-try"] {
                Pod::fly(&self.root)
                    .options(mode)
                    .options([option, text(&self.source), target])
                    .probe(["read", &format!("{seen}/mark")])
                    .code(0)
                    .printed("here");
            }
            let report = Pod::fly(&self.root)
                .options(mode)
                .options(["--tmpfs", target])
                .probe(["report", "mount"])
                .report();
            assert_eq!(report.mount(seen).kind, "tmpfs");
            let made = format!("{target}/made");
            Pod::fly(&self.root)
                .options(mode)
                .options(["--dir", &made, "--symlink", "x", &format!("{made}/link")])
                .probe([
                    "stat",
                    &format!("{seen}/made"),
                    ",",
                    "readlink",
                    &format!("{seen}/made/link"),
                ])
                .code(0)
                .has("type=dir")
                .has("x\n");
        }
        self.host_is_as_it_was();
    }

    #[track_caller]
    fn is_refused(&self, options: &[&str], words: &[&str]) {
        let before = compare::tree(&self.root);
        Pod::fly(&self.root)
            .options(options)
            .probe(["exit", "0"])
            .refused(words);
        assert_eq!(compare::tree(&self.root), before, "nothing was made");
        self.host_is_as_it_was();
    }

    #[track_caller]
    fn host_is_as_it_was(&self) {
        assert_eq!(compare::tree(&self.decoy), self.before);
    }
}

fn absolute_link() -> TestResult {
    Setting::new().link("/real", "link").lands("/link", "/real");
    Ok(())
}

fn relative_link() -> TestResult {
    Setting::new()
        .link("real/deep", "link")
        .lands("link", "/real/deep");
    Ok(())
}

fn relative_link_upwards() -> TestResult {
    Setting::new()
        .link("../../etc/../real", "real/deep/link")
        .lands("/real/deep/link", "/real");
    Ok(())
}

fn link_above_the_root() -> TestResult {
    let up = "../".repeat(20);
    Setting::new()
        .link(format!("{up}real"), "link")
        .lands("/link", "/real");
    Ok(())
}

/// The path of the decoy is one of the root's, which is made there.
fn link_to_a_path_of_the_host() -> TestResult {
    let setting = Setting::new();
    let (decoy, up) = (setting.decoy.clone(), "../".repeat(20));
    setting.link(&decoy, "link").lands("/link", text(&decoy));
    let setting = Setting::new();
    let decoy = setting.decoy.clone();
    setting
        .link(format!("{up}{}", &text(&decoy)[1..]), "link")
        .lands("/link", text(&decoy));
    Ok(())
}

fn dangling_absolute_link() -> TestResult {
    Setting::new()
        .link("/not/there", "link")
        .lands("/link", "/not/there");
    Ok(())
}

fn dangling_relative_link() -> TestResult {
    Setting::new()
        .link("../not/there", "real/link")
        .lands("/real/link", "/not/there");
    Ok(())
}

fn link_in_the_middle() -> TestResult {
    Setting::new()
        .link("/real", "link")
        .lands("/link/new/deeper", "/real/new/deeper");
    Ok(())
}

fn link_to_a_link() -> TestResult {
    Setting::new()
        .link("/second", "first")
        .link("../third", "second")
        .link("/not/../real", "third")
        .link("real", "not")
        .lands("/first", "/real");
    Ok(())
}

/// `..` goes up from where the link led to, as for any other walk.
fn dot_dot_after_a_link() -> TestResult {
    Setting::new()
        .link("/real/deep", "link")
        .lands("/link/../other", "/real/other");
    Ok(())
}

fn loops() -> TestResult {
    let setting = Setting::new()
        .link("/b", "a")
        .link("a", "b")
        .link("self", "self");
    let source = text(&setting.source).to_owned();
    for target in ["/a", "/b/below", "/self"] {
        for options in [
            &["--bind", &source, target][..],
            &["--tmpfs", target],
            &["--dir", target],
            &["--remount-ro", target],
        ] {
            setting.is_refused(options, &[target, "Too many levels of symbolic links"]);
        }
    }
    Ok(())
}

/// A mount point that is a file.
fn file_through_a_link() -> TestResult {
    for (target, seen) in [
        ("/etc/passwd", "/etc/passwd"),
        ("../../new", "/new"),
        ("/n/f", "/n/f"),
    ] {
        let setting = Setting::new().link(target, "real/link");
        let file = setting.source.join("mark");
        for option in ["--bind", "--ro-bind"] {
            Pod::fly(&setting.root)
                .options([option, text(&file), "/real/link"])
                .probe(["read", seen])
                .code(0)
                .printed("here");
        }
        setting.host_is_as_it_was();
    }
    Ok(())
}

/// The image's /proc, /sys or /dev is a link, to a path of the root or of the
/// host.
fn kernel_place_is_a_link(names: &[&str]) {
    for name in names {
        for absolute in [false, true] {
            let setting = Setting::new();
            fs::remove_dir(setting.root.join(name)).expect("a directory");
            let decoy = setting.decoy.clone();
            let setting = if absolute {
                setting.link(decoy, name)
            } else {
                setting.link("real", name)
            };
            let own = [format!("--{name}"), format!("/{name}")];
            for options in [
                &[][..],
                &["--ro"],
                &["--ephemeral"],
                &[&own[0], &own[1]],
                &["--minimal", &own[0], &own[1]],
            ] {
                setting.is_refused(options, &[name, "symbolic link"]);
            }
        }
    }
}

fn cve_2019_16884_proc_or_sys_is_a_link() -> TestResult {
    kernel_place_is_a_link(&["proc", "sys"]);
    Ok(())
}

fn cve_2023_27561_proc_is_covered_by_a_bind() -> TestResult {
    let setting = Setting::new();
    let source = text(&setting.source).to_owned();
    for option in ["--bind", "--ro-bind", "--dev-bind", "--bind-try"] {
        for target in [
            "/proc",
            "proc/",
            "/./proc",
            "//proc//sys",
            "/sys",
            "/sys/fs",
            "/dev",
            "/dev/.",
        ] {
            setting.is_refused(&[option, &source, target], &[target, "another target"]);
        }
    }
    for target in ["/tmp/../proc", "/real/../sys", "/real/deep/../../dev"] {
        let output = Pod::fly(&setting.root)
            .options(["--bind", &source, target])
            .probe([
                "stat",
                "/proc/self/status",
                ",",
                "stat",
                "/sys/kernel",
                ",",
                "stat",
                "/dev/null",
            ]);
        output.refused(&[target]);
    }
    Ok(())
}

fn cve_2025_54867_link_into_proc_or_sys() -> TestResult {
    for place in [
        "/proc",
        "/proc/self",
        "/sys",
        "/sys/kernel",
        "../../../proc/sys",
    ] {
        let setting = Setting::new().link(place, "link");
        let source = text(&setting.source).to_owned();
        for options in [&["--bind", &source, "/link"][..], &["--tmpfs", "/link"]] {
            setting.is_refused(options, &["/link", "/proc or /sys", "another target"]);
        }
    }
    // A magic link leads nowhere.
    let setting = Setting::new().link("/proc/self/cwd", "link");
    let source = text(&setting.source).to_owned();
    for options in [
        &["--bind", &source, "/link"][..],
        &["--dir", "/link/x"],
        &["--file", "0", "/link/x"],
    ] {
        setting.is_refused(options, &["/link"]);
    }
    Ok(())
}

fn cve_2026_41579_dev_is_a_link() -> TestResult {
    kernel_place_is_a_link(&["dev"]);
    Ok(())
}

/// The devices of a new /dev are made in a file system of its own.
fn cve_2026_47766_dev_is_a_link_to_the_host() -> TestResult {
    let setting = Setting::new();
    let decoy = setting.decoy.clone();
    let setting = setting.link(&decoy, "other");
    // As a target it is a path of the root.
    Pod::fly(&setting.root)
        .options(["--dev", "/other"])
        .probe(["stat", &format!("{}/null", text(&decoy))])
        .code(0)
        .has("rdev=1:3");
    setting.host_is_as_it_was();
    Ok(())
}

fn cve_2019_18837_parent_is_a_link() -> TestResult {
    let setting = Setting::new();
    let decoy = setting.decoy.clone();
    let setting = setting.link(&decoy, "link");
    setting.lands("/link/a/b", &format!("{}/a/b", text(&decoy)));
    Ok(())
}

fn cve_2026_87766_parent_is_a_dangling_link() -> TestResult {
    let setting = Setting::new();
    let decoy = setting.decoy.join("missing");
    let setting = setting.link(&decoy, "link");
    setting.lands("/link/a", &format!("{}/a", text(&decoy)));
    Ok(())
}

/// Files are made inside the root whatever its links say.
fn cve_2018_15664_files_are_made_inside() -> TestResult {
    let setting = Setting::new();
    let decoy = setting.decoy.clone();
    let setting = setting.link(&decoy, "link");
    Pod::fly(&setting.root)
        .options(["--file", "0", "/link/new", "--symlink", "x", "/link/l"])
        .probe_command([
            "read",
            "/link/new",
            ",",
            "read",
            &format!("{}/new", text(&decoy)),
        ])
        .input("text")
        .output()
        .code(0)
        .printed("texttext");
    setting.host_is_as_it_was();
    Ok(())
}

/// A link in the place of the file itself is not followed, not even one that
/// dangles.
fn cve_2025_24965_files_through_links() -> TestResult {
    let setting = Setting::new();
    let (mark, new) = (setting.decoy.join("mark"), setting.decoy.join("new"));
    let setting = setting
        .link(&mark, "one")
        .link(&new, "two")
        .link("/etc/passwd", "three");
    for path in ["/one", "/two", "/three"] {
        setting.is_refused(&["--file", "0", path], &["make file", path, "File exists"]);
    }
    Ok(())
}

/// After the root switch nothing is open that leads out of it.
fn cve_2024_21626_no_descriptor_of_the_host() -> TestResult {
    let (root, layer) = (roots::probe(), roots::directory("layer"));
    let source = roots::directory("source");
    for mode in [
        &[][..],
        &["--ro"],
        &["--ephemeral"],
        &["--overlay", text(&layer)],
    ] {
        let report = Pod::fly(&root)
            .options(mode)
            .options([
                "--bind",
                text(&source),
                "/tmp",
                "--dev",
                "/dev",
                "--proc",
                "/proc",
            ])
            .options(["--bind-try", "/not/there", "/x", "--remount-ro", "/tmp"])
            .probe(["report", "fd", "cwd"])
            .report();
        assert_eq!(report.below("fd").len(), 3, "{report:?}");
        report.is("cwd", "/");
    }
    Ok(())
}

fn rkt_fly_read_only_binds_refuse_writes() -> TestResult {
    let setting = Setting::new();
    let before = compare::tree(&setting.source);
    let options = ["--ro-bind", text(&setting.source), "/real"];
    for mode in [&[][..], &["--ro"], &["--ephemeral"]] {
        Pod::fly(&setting.root)
            .options(mode)
            .options(options)
            .probe(["create", "/real/x", ",", "append", "/real/mark", "x"])
            .code(1)
            .printed("create /real/x: EROFS\nappend /real/mark: EROFS\n");
    }
    assert_eq!(compare::tree(&setting.source), before);
    Ok(())
}
