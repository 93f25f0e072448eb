//! What is bound: sources that are missing, links, devices, programs with set-user-id.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, sys, tests};

use super::fly_volumes::{BINDS, TRIES, all, source, text};

tests![
    missing_source,
    missing_source_is_passed_over,
    only_missing_sources_are_passed_over,
    source_through_links,
    relative_source,
    sources_are_the_hosts,
    devices,
    set_user_id_programs,
];

fn missing_source() -> TestResult {
    let (root, missing) = (roots::probe(), roots::fresh("missing"));
    let before = compare::tree(&root);
    for option in BINDS {
        Pod::fly(&root)
            .options([option, text(&missing), "/data"])
            .probe(["exit", "0"])
            .refused(&[text(&missing), "No such file or directory", "must exist"]);
    }
    assert_eq!(compare::tree(&root), before, "nothing was made");
    Ok(())
}

fn missing_source_is_passed_over() -> TestResult {
    let (root, missing) = (roots::probe(), roots::fresh("missing"));
    let dangling = roots::fresh("dangling");
    symlink("/not/there", &dangling).expect("a link");
    let before = compare::tree(&root);
    for option in TRIES {
        for mode in [&[][..], &["--ro"], &["--ephemeral"]] {
            let source = source();
            // What an earlier bind has opened is not taken for it.
            Pod::fly(&root)
                .options(mode)
                .options(["--bind", text(&source), "/tmp"])
                .options([
                    option,
                    text(&missing),
                    "/etc",
                    option,
                    text(&dangling),
                    "/root",
                ])
                .probe([
                    "read",
                    "/tmp/mark",
                    ",",
                    "open",
                    "/etc/passwd",
                    "r",
                    ",",
                    "list",
                    "/root",
                ])
                .code(0)
                .printed("hereopen /etc/passwd: ok\n");
        }
    }
    assert_eq!(compare::tree(&root), before, "no mount point was made");
    Ok(())
}

fn only_missing_sources_are_passed_over() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let below_a_file = source.join("mark/below");
    for option in TRIES {
        Pod::fly(&root)
            .options([option, text(&below_a_file), "/data"])
            .probe(["exit", "0"])
            .refused(&[text(&below_a_file), "Not a directory"]);
        Pod::fly(&root)
            .options([option, text(&source), "/etc/passwd"])
            .probe(["exit", "0"])
            .refused(&["/etc/passwd", "a directory goes on a directory"]);
    }
    Ok(())
}

/// On the host's side links are followed, whatever the root's mode.
fn source_through_links() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let (link, second) = (roots::fresh("link"), roots::fresh("link"));
    symlink(&source, &link).expect("a link");
    symlink(link.file_name().expect("a name"), &second).expect("a link");
    for mode in [&[][..], &["--ro"], &["--ephemeral"]] {
        for from in [&link, &second] {
            Pod::fly(&root)
                .options(mode)
                .options(["--bind", text(from), "/tmp"])
                .probe(["read", "/tmp/mark"])
                .code(0)
                .printed("here");
        }
    }
    Ok(())
}

fn relative_source() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let folder = source.parent().expect("a parent").to_owned();
    let name = source.file_name().expect("a name");
    for from in [name.to_owned(), Path::new("./x/..").join(name).into()] {
        fs::create_dir_all(folder.join("x")).expect("a directory");
        for mode in [&[][..], &["--ro"], &["--ephemeral"]] {
            Pod::fly(&root)
                .options(mode)
                .volume(Path::new(&from), "/tmp")
                .probe_command(["read", "/tmp/mark"])
                .directory(&folder)
                .output()
                .code(0)
                .printed("here");
        }
    }
    Ok(())
}

/// A walk that comes back to / does not go on in the root that is mounted
/// there, where the image would say what is found: a decoy of the image at the
/// path of the source, and a link of it that leads to a file of the host.
fn sources_are_the_hosts() -> TestResult {
    let (source, secret) = (source(), roots::directory("secret"));
    fs::write(secret.join("mark"), "secret").expect("a file");
    let link = roots::fresh("link");
    let up = "../".repeat(12);
    symlink(format!("{up}{}", &text(&source)[1..]), &link).expect("a link");
    let folder = source.parent().expect("a parent");
    for as_link in [false, true] {
        let root = roots::probe();
        let decoy = root.join(&text(&source)[1..]);
        fs::create_dir_all(decoy.parent().expect("a parent")).expect("directories");
        if as_link {
            symlink(&secret, &decoy).expect("a link");
        } else {
            fs::create_dir(&decoy).expect("a directory");
            fs::write(decoy.join("mark"), "decoy").expect("a file");
        }
        let layer = roots::directory("layer");
        let sources = [
            format!("/usr/..{}", text(&source)),
            format!("{up}{}", &text(&source)[1..]),
            text(&link).to_owned(),
        ];
        for from in &sources {
            for mode in [
                &[][..],
                &["--ro"],
                &["--ephemeral"],
                &["--overlay", text(&layer)],
            ] {
                Pod::fly(&root)
                    .options(mode)
                    .options(["--tmpfs", "/root", "--ro-bind", from, "/tmp"])
                    .probe_command(["read", "/tmp/mark"])
                    .directory(folder)
                    .output()
                    .code(0)
                    .printed("here");
            }
            // A pod's volumes are looked up in the same way.
            for mode in [&[][..], &["--ephemeral"]] {
                Pod::new(&root)
                    .options(mode)
                    .volume(from, "/tmp")
                    .probe_command(["read", "/tmp/mark"])
                    .directory(folder)
                    .output()
                    .code(0)
                    .printed("here");
            }
        }
    }
    Ok(())
}

fn devices() -> TestResult {
    let (root, source) = (roots::probe(), source());
    sys::make_device(&source.join("null"), 1, 3).expect("a device");
    for option in all() {
        let output = Pod::fly(&root)
            .options([option, text(&source), "/data"])
            .probe(["open", "/data/null", "r"]);
        if option.starts_with("--dev") {
            output.code(0).has("ok");
        } else {
            output.code(1).has("EACCES");
        }
    }
    // One that is bound by itself, too.
    for (option, code) in [("--bind", 1), ("--dev-bind", 0)] {
        Pod::fly(&root)
            .options(["--dev", "/dev", option, "/dev/null", "/dev/other"])
            .probe(["open", "/dev/other", "r"])
            .code(code);
    }
    Ok(())
}

/// A bind's programs do not change the user; those of a --dev-bind do, as on
/// the host.
fn set_user_id_programs() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let program = source.join("probe");
    fs::copy(kickstage_tests::command::program("probe"), &program).expect("a copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("a mode");
    for option in all() {
        let seen = if option.starts_with("--dev") {
            "0"
        } else {
            "1000"
        };
        let output = Pod::fly(&root)
            .options([option, text(&source), "/data", "--user", "1000"])
            .run(["/data/probe", "report", "euid"]);
        output.code(0).printed(&format!("euid={seen}\n"));
    }
    Ok(())
}
