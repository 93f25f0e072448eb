//! What is told of a program that is supervised: `--json-status-fd`.

use linux_raw_sys::general as raw;
use rustix::{
    fd::{IntoRawFd, RawFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::{self, Errno},
};

use super::Launcher;
use crate::{
    error::{Advice, Error, What},
    sys::{descriptor, wait::End},
    text::Line,
};
use core::ffi::CStr;

/// The kinds of namespaces: their flag, and their name in the status and in
/// /proc/self/ns.
static KINDS: [(u32, &CStr); 7] = [
    (raw::CLONE_NEWCGROUP, c"cgroup"),
    (raw::CLONE_NEWIPC, c"ipc"),
    (raw::CLONE_NEWNS, c"mnt"),
    (raw::CLONE_NEWNET, c"net"),
    (raw::CLONE_NEWPID, c"pid"),
    (raw::CLONE_NEWUTS, c"uts"),
    (raw::CLONE_NEWUSER, c"user"),
];

/// Where the status goes, one JSON object a line; and what it tells.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    descriptor: RawFd,
    /// Inode numbers, in the order of [`KINDS`]; 0 for what is not told.
    namespaces: [u64; KINDS.len()],
}

impl Status {
    /// Nobody is told.
    pub(super) const NONE: Self = Self {
        descriptor: -1,
        namespaces: [0; KINDS.len()],
    };

    /// Tells that the process `pid` is the program now, and its namespaces.
    #[cold]
    #[inline(never)]
    pub fn started(&self, pid: u32) {
        if self.descriptor < 0 {
            return;
        }
        let mut line = Line::new(self.descriptor);
        line.text("{ \"child-pid\": ").number(u64::from(pid));
        for ((_, name), number) in KINDS.iter().zip(self.namespaces) {
            if number != 0 {
                line.text(", \"")
                    .bytes(name.to_bytes())
                    .text("-namespace\": ")
                    .number(number);
            }
        }
        line.text(" }");
        line.end();
    }

    /// Tells how it has ended.
    #[cold]
    #[inline(never)]
    pub fn ended(&self, end: End) {
        if self.descriptor < 0 {
            return;
        }
        let mut line = Line::new(self.descriptor);
        line.text("{ \"exit-code\": ")
            .number(u64::from(end.code().unsigned_abs()))
            .text(" }");
        line.end();
    }
}

impl<'p> Launcher<'p, '_> {
    /// Where the status of the program goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    #[cold]
    #[inline(never)]
    pub(super) fn keep_status(&mut self, number: u64) -> Result<(), Error<'p>> {
        let number = i32::try_from(number).unwrap_or(-1);
        let kept = descriptor::borrow(number).ok_or(Errno::BADF);
        let kept = kept.and_then(|caller| {
            if number < 3 {
                // The program inherits this one.
                return io::fcntl_dupfd_cloexec(caller, 3).map(IntoRawFd::into_raw_fd);
            }
            io::fcntl_setfd(caller, io::FdFlags::CLOEXEC).map(|()| number)
        });
        self.status.descriptor = kept.map_err(|errno| {
            Error::new(What::KeepStatus, c"", errno).advice(Advice::OpenDescriptor)
        })?;
        Ok(())
    }

    /// By the process that is in them, before it loses sight of the host's /proc:
    /// from outside a short program may be gone already.
    #[cold]
    #[inline(never)]
    pub(super) fn note_namespaces(&mut self, namespaces: u64) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(directory) = fs::open(c"/proc/self/ns", flags, Mode::empty()) else {
            return;
        };
        for ((flag, name), place) in KINDS.iter().zip(&mut self.status.namespaces) {
            if namespaces & u64::from(*flag) != 0 {
                let status = fs::statat(&directory, *name, AtFlags::empty());
                *place = status.map_or(0, |status| status.st_ino);
            }
        }
    }
}
