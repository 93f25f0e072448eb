//! Where a volume lands: every target is resolved inside the root.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, tests};

tests![
    absolute,
    absolute_missing,
    relative,
    dot_dot,
    dot_dot_above_the_root,
    link_absolute,
    link_relative,
    link_out_of_the_root,
    link_dangling_absolute,
    link_dangling_relative,
    link_dangling_to_a_path_of_the_host,
    link_in_the_middle,
    link_to_a_link,
    link_loop,
    odd_spellings,
    the_root_itself,
    too_long,
];

/// A root, a volume with a mark, and a decoy that must stay as it is.
struct Setting {
    root: PathBuf,
    source: PathBuf,
    decoy: PathBuf,
    before: String,
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
        fs::create_dir(root.join("real")).expect("a directory");
        let before = compare::tree(&decoy);
        Self {
            root,
            source,
            decoy,
            before,
        }
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.root.join(name)).expect("a link");
    }

    /// The volume at `target` is seen at `seen`, in a pod and under fly, from
    /// a root that is written and from an ephemeral one.
    #[track_caller]
    fn lands(&self, target: &str, seen: &str) {
        let path = format!("{seen}/mark");
        for pod in [
            Pod::new(&self.root).flag("--ephemeral"),
            Pod::new(&self.root),
            Pod::fly(&self.root),
        ] {
            pod.volume(&self.source, target)
                .probe(["read", &path])
                .code(0)
                .printed("here");
        }
        assert_eq!(
            compare::tree(&self.decoy),
            self.before,
            "the host is as it was"
        );
    }

    #[track_caller]
    fn is_refused(&self, target: &str, words: &[&str]) {
        let before = compare::tree(&self.root);
        for pod in [Pod::new(&self.root), Pod::fly(&self.root)] {
            pod.volume(&self.source, target)
                .probe(["exit", "0"])
                .refused(words);
        }
        assert_eq!(compare::tree(&self.root), before, "nothing was made");
        assert_eq!(
            compare::tree(&self.decoy),
            self.before,
            "the host is as it was"
        );
    }
}

fn absolute() -> TestResult {
    Setting::new().lands("/real", "/real");
    Ok(())
}

fn absolute_missing() -> TestResult {
    Setting::new().lands("/new/folder", "/new/folder");
    Ok(())
}

fn relative() -> TestResult {
    // A pod's target is a path of the pod, not relative to anybody's
    // directory; fly takes it as below the root.
    for target in ["real", "new/folder"] {
        let setting = Setting::new();
        Pod::new(&setting.root)
            .volume(&setting.source, target)
            .probe(["exit", "0"])
            .refused(&[target, "absolute"]);
        let fly = Pod::fly(&setting.root).volume(&setting.source, target);
        fly.probe(["read", &format!("/{target}/mark")])
            .code(0)
            .printed("here");
    }
    Ok(())
}

fn dot_dot() -> TestResult {
    Setting::new().lands("/etc/../real", "/real");
    Setting::new().lands("/real/./../etc/../real/.", "/real");
    Ok(())
}

fn dot_dot_above_the_root() -> TestResult {
    Setting::new().lands("/../../../../real", "/real");
    Setting::new().lands("/../../new", "/new");
    Ok(())
}

fn link_absolute() -> TestResult {
    let setting = Setting::new();
    setting.link("/real", "link");
    setting.lands("/link", "/real");
    Ok(())
}

fn link_relative() -> TestResult {
    let setting = Setting::new();
    setting.link("real", "link");
    setting.lands("/link", "/real");
    Ok(())
}

fn link_out_of_the_root() -> TestResult {
    let setting = Setting::new();
    setting.link("../../../../../../../../real", "link");
    setting.lands("/link", "/real");
    Ok(())
}

fn link_dangling_absolute() -> TestResult {
    let setting = Setting::new();
    setting.link("/not/there", "link");
    setting.lands("/link", "/not/there");
    Ok(())
}

fn link_dangling_relative() -> TestResult {
    let setting = Setting::new();
    setting.link("not/there", "link");
    setting.lands("/link", "/not/there");
    Ok(())
}

/// The decoy exists on the host; in the root its path is a new directory.
fn link_dangling_to_a_path_of_the_host() -> TestResult {
    let setting = Setting::new();
    setting.link(&setting.decoy, "link");
    setting.lands("/link", setting.decoy.to_str().expect("UTF-8"));
    Ok(())
}

fn link_in_the_middle() -> TestResult {
    let setting = Setting::new();
    setting.link("/real", "link");
    setting.lands("/link/below/more", "/real/below/more");
    let setting = Setting::new();
    setting.link(&setting.decoy, "link");
    setting.lands("/link/below", &format!("{}/below", setting.decoy.display()));
    Ok(())
}

fn link_to_a_link() -> TestResult {
    let setting = Setting::new();
    setting.link("/second", "first");
    setting.link("../real/../real", "second");
    setting.lands("/first", "/real");
    Ok(())
}

fn link_loop() -> TestResult {
    let setting = Setting::new();
    setting.link("/b", "a");
    setting.link("/a", "b");
    setting.link("self", "self");
    setting.is_refused("/a", &["/a", "Too many levels of symbolic links"]);
    setting.is_refused(
        "/self/below",
        &["/self", "Too many levels of symbolic links"],
    );
    Ok(())
}

fn odd_spellings() -> TestResult {
    Setting::new().lands("//real//", "/real");
    Setting::new().lands("/with space/ü/$x", "/with space/ü/$x");
    Setting::new().lands("/...", "/...");
    Ok(())
}

/// A volume over the root would hide the program and all mounts.
fn the_root_itself() -> TestResult {
    for target in ["/", ".", "/real/..", "/.."] {
        Setting::new().is_refused(target, &[]);
    }
    Ok(())
}

fn too_long() -> TestResult {
    let name = "n".repeat(256);
    Setting::new().is_refused(&format!("/{name}"), &["File name too long"]);
    let path = "/d".repeat(3000);
    Setting::new().is_refused(&path, &[]);
    Ok(())
}
