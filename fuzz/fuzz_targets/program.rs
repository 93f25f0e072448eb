//! A program's file, as `fly --check` and the errors of exec read it.
#![no_main]

use std::{env, ffi::CString, fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| env::temp_dir().join("program"));

fuzz_target!(|data: &[u8]| {
    fs::write(&*FILE, data).expect("a file");
    fs::set_permissions(&*FILE, fs::Permissions::from_mode(0o755)).expect("a mode");
    let name = CString::new(FILE.to_str().expect("UTF-8")).expect("no zero byte");
    let _ = fly::launch::look(&name, b"/no:/such");
});
