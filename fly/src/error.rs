//! One error type for a whole start: the step, its object, the cause, and what
//! can be done. It becomes text only at the edge, as one line.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::{launch, text::Line};

/// Exit code for failures of our own.
pub const FAILURE: i32 = 254;

/// A step that failed.
#[derive(Clone, Copy, Debug)]
pub struct Error<'a> {
    /// What was being done, in words: "mount", "open".
    pub step: &'a str,
    /// To what.
    pub object: &'a CStr,
    /// Why it failed.
    pub cause: Cause<'a>,
    /// What the user can do about it; empty where there is nothing.
    pub advice: &'a str,
}

/// Why a step failed.
#[derive(Clone, Copy, Debug)]
pub enum Cause<'a> {
    /// The kernel's answer.
    Errno(Errno),
    /// A cause that we found ourselves.
    Text(&'a str),
    /// The program is there, but the interpreter that it names is not; it is
    /// read again when the error is printed.
    Interpreter,
}

impl From<Errno> for Cause<'_> {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl<'a> Error<'a> {
    /// An error without advice.
    pub fn new(step: &'a str, object: &'a CStr, cause: impl Into<Cause<'a>>) -> Self {
        Self {
            step,
            object,
            cause: cause.into(),
            advice: "",
        }
    }

    /// The same error with what the user can do.
    #[must_use]
    pub fn advice(self, advice: &'a str) -> Self {
        Self { advice, ..self }
    }

    /// The kernel's answer, if that is the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Errno(errno) => Some(errno),
            _ => None,
        }
    }

    /// Writes `program: step object: cause (advice)` to standard error.
    #[cold]
    pub fn print(&self, program: &str) {
        let mut line = Line::new(2);
        line.text(program).text(": ").text(self.step);
        if !self.object.is_empty() {
            line.text(" ").quoted(self.object.to_bytes());
        }
        line.text(": ");
        match self.cause {
            Cause::Errno(errno) => {
                match describe(errno) {
                    Some(text) => line.text(text),
                    None => line
                        .text("error ")
                        .number(u64::from(errno.raw_os_error().unsigned_abs())),
                };
            }
            Cause::Text(text) => {
                line.text(text);
            }
            Cause::Interpreter => {
                line.text("its interpreter ");
                launch::interpreter(self.object, &mut |name| {
                    line.quoted(name);
                });
                line.text(" is missing or can't be executed");
            }
        }
        if !self.advice.is_empty() {
            line.text(" (").text(self.advice).text(")");
        }
        line.end();
    }
}

/// What an error number means, in the words of strerror(3).
#[must_use]
pub fn describe(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "Operation not permitted",
        Errno::NOENT => "No such file or directory",
        Errno::SRCH => "No such process",
        Errno::INTR => "Interrupted system call",
        Errno::IO => "Input/output error",
        Errno::NXIO => "No such device or address",
        Errno::TOOBIG => "Argument list too long",
        Errno::NOEXEC => "Exec format error",
        Errno::BADF => "Bad file descriptor",
        Errno::CHILD => "No child processes",
        Errno::AGAIN => "Resource temporarily unavailable",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::ACCESS => "Permission denied",
        Errno::FAULT => "Bad address",
        Errno::BUSY => "Device or resource busy",
        Errno::EXIST => "File exists",
        Errno::XDEV => "Invalid cross-device link",
        Errno::NODEV => "No such device",
        Errno::NOTDIR => "Not a directory",
        Errno::ISDIR => "Is a directory",
        Errno::INVAL => "Invalid argument",
        Errno::NFILE => "Too many open files in system",
        Errno::MFILE => "Too many open files",
        Errno::NOTTY => "Inappropriate ioctl for device",
        Errno::TXTBSY => "Text file busy",
        Errno::FBIG => "File too large",
        Errno::NOSPC => "No space left on device",
        Errno::ROFS => "Read-only file system",
        Errno::MLINK => "Too many links",
        Errno::PIPE => "Broken pipe",
        Errno::NAMETOOLONG => "File name too long",
        Errno::NOSYS => "Function not implemented",
        Errno::NOTEMPTY => "Directory not empty",
        Errno::LOOP => "Too many levels of symbolic links",
        Errno::LIBBAD => "Accessing a corrupted shared library",
        Errno::USERS => "Too many users",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::AFNOSUPPORT => "Address family not supported by protocol",
        Errno::STALE => "Stale file handle",
        Errno::DQUOT => "Disk quota exceeded",
        Errno::OVERFLOW => "Value too large for defined data type",
        _ => return None,
    })
}
