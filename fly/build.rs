//! Link arguments of the no_std programs; shared by every package that has one.
//!
//! They go to programs only, so the libraries stay ordinary crates.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    // This file is `fly/build.rs` for every package that names it.
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join(format!("fly/link/{architecture}.ld")))
        .find(|script| script.exists());
    let Some(script) = script else {
        panic!("fly/link/{architecture}.ld is missing: this architecture is not ported");
    };
    println!("cargo:rerun-if-changed={}", script.display());
    let is_init = env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "stage1-init");
    let script = written(
        &script,
        if is_init {
            "/* others:"
        } else {
            "/* stage1-init:"
        },
    );
    // The examples of one package are such programs, too.
    let has_examples = is_init;
    let link = |argument: &str| {
        println!("cargo:rustc-link-arg-bins={argument}");
        if has_examples {
            println!("cargo:rustc-link-arg-examples={argument}");
        }
    };
    link(&format!("-Wl,-T,{}", script.display()));
    for argument in [
        "-nostartfiles",          // _start is ours (fly::entry!)
        "-nostdlib",              // no libc, no libgcc
        "-static",                // no dynamic loader
        "-no-pie",                // no relocations at start
        "-Wl,--build-id=none",    // a note nobody reads
        "-Wl,--no-eh-frame-hdr",  // nothing unwinds
        "-Wl,-z,norelro",         // no relocations, so nothing to protect
        "-Wl,--gc-sections",      // what is not called is not linked
        "-Wl,-z,noseparate-code", // headers and code share a segment
        "-Wl,-z,max-page-size=4096",
    ] {
        link(argument);
    }
    // Nobody reads the table of a stripped program; who looks for symbols has to have it.
    println!("cargo:rerun-if-env-changed=KICKSTAGE_SYMBOLS");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_release && env::var_os("KICKSTAGE_SYMBOLS").is_none() {
        link("-Wl,-z,nosectionheader");
    }
}

/// The linker's script without the lines that have this mark.
fn written(script: &Path, mark: &str) -> PathBuf {
    let text = fs::read_to_string(script).expect("a script");
    let lines = text.lines().filter(|line| !line.contains(mark));
    let lines: Vec<&str> = lines.collect();
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    let copy = Path::new(&folder).join("link.ld");
    fs::write(&copy, lines.join("\n")).expect("a place to write");
    copy
}
