//! stage0-image: what `stage0` has to do with whole root file systems. It is executed by
//! `stage0`, which opens the root, and speaks in its name.

use std::{
    env,
    ffi::{CStr, CString, OsString},
    io::{self, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::ExitCode,
};

use kickstage_image::{export, whole::Whole};

/// The exit code of all that is ours, as of `stage0`.
const FAILURE: u8 = 254;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let done = match words.as_slice() {
        [command, root, pod, file] if command == "export" => {
            let root = [b"/proc/self/fd/", root.as_bytes()].concat();
            let root = CString::new(root).unwrap_or_default();
            export(&root, file).map_err(|error| format!("export {}: {error}", pod.display()))
        }
        _ => Err("it is executed by stage0 export".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // eprintln! would abort where nobody can hear it.
            let _ = writeln!(io::stderr(), "stage0: {error}");
            ExitCode::from(FAILURE)
        }
    }
}

fn export(root: &CStr, file: &OsString) -> Result<(), String> {
    if file != "-" {
        let name = PathBuf::from(file);
        let failed = |error: io::Error| format!("{}: {}", name.display(), export::plain(&error));
        let mut whole = Whole::new(&name).map_err(failed)?;
        export::export(root, whole.file())?;
        return whole.finish().map_err(failed);
    }
    let mut output = io::stdout().lock();
    if output.is_terminal() {
        return Err("-: it is a terminal (name a file, or pipe it to a program)".to_owned());
    }
    export::export(root, &mut output)?;
    output.flush().map_err(|error| export::plain(&error))
}
