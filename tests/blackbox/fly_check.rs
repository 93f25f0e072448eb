//! `fly --check`: what a program lacks, without starting it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, tests};

tests![
    a_static_program,
    what_exec_would_say,
    libraries,
    library_directories,
    of_a_script,
    what_runs_a_script_is_a_program,
    leaves_nothing,
    a_real_program,
    hostile_tables,
];

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, bytes).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Where the parts of [`program`] are.
const DYNAMIC: usize = 64 + 2 * 56;
const STRINGS: usize = DYNAMIC + 16 * 16;
/// Where it is loaded.
const ADDRESS: u64 = 0x40_0000;

/// An ELF program that needs these libraries; nothing of it can run.
fn program(needed: &[&str], run_path: Option<&str>) -> Vec<u8> {
    let mut strings = vec![0];
    let mut entries: Vec<(u64, u64)> = Vec::new();
    let names = needed.iter().map(|name| (1, *name));
    for (tag, name) in names.chain(run_path.map(|path| (29, path))) {
        entries.push((tag, strings.len() as u64));
        strings.extend(name.as_bytes());
        strings.push(0);
    }
    entries.push((5, ADDRESS + STRINGS as u64));
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for number in [0_u64, 64, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0; 4]);
    for number in [64_u16, 56, 2, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for (kind, offset, size) in [(1_u64, 0, 0x1000), (2, DYNAMIC as u64, 256)] {
        for number in [kind, offset, ADDRESS + offset, 0, size, size, 8] {
            file.extend(u64::to_le_bytes(number));
        }
    }
    assert_eq!(file.len(), DYNAMIC);
    for (tag, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    assert!(file.len() <= STRINGS - 16);
    file.resize(STRINGS, 0);
    file.extend(strings);
    file
}

fn check(root: &Path) -> Pod {
    Pod::fly(root).flag("--check")
}

fn a_static_program() -> TestResult {
    let root = roots::probe();
    for options in [
        &[][..],
        &["--confine"],
        &["--unshare-pid"],
        &["--user", "alice"],
    ] {
        for name in ["/bin/probe", "probe"] {
            let output = check(&root).options(options).run([name, "exit", "7"]);
            output.code(0).printed("").quiet();
        }
    }
    Ok(())
}

fn what_exec_would_say() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/script", b"#!/no/interpreter\n");
    put(&root, "bin/text", b"text");
    put(&root, "bin/data", b"#!/bin/probe");
    fs::set_permissions(root.join("bin/data"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let mut foreign = program(&[], None);
    foreign[18] = 183;
    put(&root, "bin/foreign", &foreign);
    symlink("loop", root.join("bin/loop")).expect("a link");
    for (name, texts) in [
        ("/bin/nope", "No such file"),
        ("nope", "in PATH"),
        ("/bin", "is a directory"),
        ("/bin/script", "interpreter /no/interpreter is missing"),
        ("/bin/text", "Exec format error"),
        ("/bin/data", "chmod +x"),
        ("/bin/foreign", "program for aarch64"),
        ("/bin/loop", "symbolic links"),
    ] {
        check(&root).run([name]).refused(&["exec", name, texts]);
    }
    Ok(())
}

fn libraries() -> TestResult {
    let root = roots::probe();
    put(
        &root,
        "bin/needs",
        &program(&["libone.so", "libtwo.so.6"], None),
    );
    for (missing, put_there) in [
        ("libone.so", "usr/lib/libone.so"),
        ("libtwo.so.6", "lib/x86_64-linux-gnu/libtwo.so.6"),
    ] {
        for options in [&[][..], &["--confine"], &["--unshare-pid"]] {
            let output = check(&root).options(options).run(["needs"]);
            output.refused(&["exec needs", &format!("library {missing} is")]);
        }
        put(&root, put_there, b"");
    }
    check(&root).run(["needs"]).code(0).quiet();
    Ok(())
}

fn library_directories() -> TestResult {
    let root = roots::probe();
    put(&root, "opt/lib/libone.so", b"");
    for (run_path, found) in [
        ("/opt/lib", true),
        ("/no:/opt/lib", true),
        ("/opt", false),
        ("$ORIGIN/../opt/lib", true),
        ("${ORIGIN}/../opt/lib", true),
        ("$ORIGIN/lib", false),
        // Which directory that is only the loader knows.
        ("/opt/$PLATFORM", true),
    ] {
        put(&root, "bin/needs", &program(&["libone.so"], Some(run_path)));
        let output = check(&root).run(["/bin/needs"]);
        let code = if found { 0 } else { 254 };
        assert_eq!(
            output.code,
            Some(code),
            "{run_path}\n{}",
            output.everything()
        );
    }
    put(&root, "bin/needs", &program(&["libone.so"], None));
    let path = ["--setenv", "LD_LIBRARY_PATH", "/opt/lib"];
    check(&root).options(path).run(["needs"]).code(0).quiet();
    put(&root, "bin/needs", &program(&["/opt/lib/libone.so"], None));
    check(&root).run(["needs"]).code(0).quiet();
    put(&root, "bin/needs", &program(&["/opt/libone.so"], None));
    let output = check(&root).run(["needs"]);
    output.refused(&["library /opt/libone.so is"]);
    Ok(())
}

/// What runs a script needs libraries, too.
fn of_a_script() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/needs", &program(&["libone.so"], None));
    put(&root, "bin/script", b"#!/bin/needs\n");
    check(&root)
        .run(["script"])
        .refused(&["script", "libone.so"]);
    put(&root, "bin/script", b"#!/bin/probe\n");
    check(&root).run(["script"]).code(0).quiet();
    Ok(())
}

/// What the start of each says: the kernel runs five scripts of scripts, and no more.
fn what_runs_a_script_is_a_program() -> TestResult {
    let root = roots::probe();
    let mut other = fs::read(root.join("bin/probe")).expect("a program");
    other[18] = 183;
    put(&root, "other", &other);
    put(&root, "empty", b"");
    put(&root, "text", b"text\n");
    put(&root, "itself", b"#!/itself\n");
    put(&root, "nested0", b"#!/bin/probe exit 3 , echo\n");
    for depth in 1..7 {
        let text = format!("#!/nested{}\n", depth - 1);
        put(&root, &format!("nested{depth}"), text.as_bytes());
    }
    let long = format!("#!/{}\n", "x".repeat(300));
    for (name, text) in [
        ("to-other", "#!/other\n"),
        ("to-directory", "#!/bin\n"),
        ("to-nothing", "#! \n"),
        ("to-empty", "#!/empty\n"),
        ("to-text", "#!/text\n"),
        ("to-itself", "#!/itself\n"),
        ("to-long", &long),
    ] {
        put(&root, name, text.as_bytes());
    }
    let scripts = compare::names(&root).into_iter();
    let scripts = scripts.filter(|name| name.starts_with("to-") || name.starts_with("nested"));
    let (mut run, mut refused) = (0, 0);
    for script in scripts {
        let program = format!("/{script}");
        let started = Pod::fly(&root).run([program.as_str()]);
        let checked = check(&root).run([program.as_str()]);
        if started.code == Some(254) {
            checked.refused(&[&program]);
            refused += 1;
        } else {
            checked.code(0).quiet();
            run += 1;
        }
    }
    assert_eq!((run, refused), (5, 9));
    Ok(())
}

fn leaves_nothing() -> TestResult {
    let root = roots::bare();
    let options = ["--tmpfs", "/made/below"];
    check(&root).options(options).probe(["exit", "7"]).code(0);
    assert_eq!(compare::names(&root), ["bin"]);
    check(&root)
        .options(options)
        .run(["/nope"])
        .refused(&["/nope"]);
    assert_eq!(compare::names(&root), ["bin"]);
    Ok(())
}

/// The host's own programs, where they are, and without what they need.
fn a_real_program() -> TestResult {
    check(Path::new("/")).run(["/bin/true"]).code(0).quiet();
    let root = roots::probe();
    fs::copy("/bin/true", root.join("bin/dynamic")).expect("a dynamic program");
    let output = check(&root).run(["dynamic"]);
    output.refused(&["interpreter /lib64/ld-linux-x86-64.so.2 is"]);
    put(&root, "lib64/ld-linux-x86-64.so.2", &program(&[], None));
    check(&root).run(["dynamic"]).refused(&["libc.so.6"]);
    Ok(())
}

/// Tables that lead nowhere, overlap or never end: an answer, and soon.
fn hostile_tables() -> TestResult {
    let root = roots::probe();
    let good = program(&["libone.so"; 12], Some("/opt"));
    for at in (0..STRINGS).step_by(2) {
        let mut bad = good.clone();
        bad[at..at + 2].fill(0xff);
        put(&root, "bin/bad", &bad);
        let output = check(&root).run(["/bin/bad"]);
        assert!(
            matches!(output.code, Some(0 | 254)) && output.stderr.lines().count() <= 1,
            "{at}: {}",
            output.everything()
        );
    }
    let mut long = good;
    long.truncate(STRINGS);
    long.extend(1_u64.to_le_bytes().repeat(100_000));
    put(&root, "bin/bad", &long);
    let output = check(&root).run(["/bin/bad"]);
    assert!(
        matches!(output.code, Some(0 | 254)),
        "{}",
        output.everything()
    );
    Ok(())
}
