//! The apps' lines on standard error, each behind its app's name, or in a file,
//! without a process for it: pid 1 reads their pipes when SIGIO tells that there is
//! something.

use core::ffi::CStr;

use fly::{
    sys::{descriptor, signal},
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::process::getpid;

use crate::log_file::File;

/// Bytes that are read at once, and how often before others have their turn.
const CHUNK: usize = 1024;
const TURN: usize = 64;

const NOBODY: usize = usize::MAX;

/// Whose line is not at its end yet.
#[derive(Debug)]
pub struct Logs {
    open: usize,
}

impl Logs {
    /// Nobody's.
    pub const fn new() -> Self {
        Self { open: NOBODY }
    }

    /// Writes what has come from the app number `index` by its pipe: into its file,
    /// if it has one; `name` is then the file's. A line that another app has
    /// begun is ended first. When there may be more, pid 1 tells itself by SIGIO: an
    /// app that never stops writing keeps it from nothing.
    #[cold]
    #[inline(never)]
    pub fn write(&mut self, index: usize, name: &CStr, pipe: i32, file: &mut File) {
        let mut line = Line::new(2);
        let mut bytes = [0; CHUNK];
        let mut turns = 0;
        while turns < TURN {
            let Ok(count) = descriptor::read(pipe, &mut bytes) else {
                break;
            };
            turns += 1;
            let bytes = bytes.get(..count).unwrap_or_default();
            if file.size != 0 {
                file.write(name, bytes);
                continue;
            }
            for byte in bytes {
                if self.open != index {
                    if self.open != NOBODY {
                        line.byte(b'\n');
                    }
                    line.bytes(name.to_bytes()).text(": ");
                }
                line.byte(*byte);
                self.open = if *byte == b'\n' { NOBODY } else { index };
            }
        }
        line.flush();
        if turns == TURN {
            come_back();
        }
    }
}

/// There may be more to read: pid 1 tells itself, behind what else has come.
#[cold]
#[inline(never)]
pub(crate) fn come_back() {
    let _ = signal::send(getpid().as_raw_nonzero().get(), raw::SIGIO);
}
