//! What the stage 1 contract has told of a pod: files that appear whole.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    plan::{Kind, Plan},
    sys::descriptor,
    text::Digits,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
    process::getpid,
};

use crate::NAME;

/// The directory of the pod, and the one of the apps' codes in it. Both are held
/// open, so that a link that comes later leads nowhere else.
#[derive(Debug)]
pub struct Report {
    pod: OwnedFd,
    status: OwnedFd,
    ready: bool,
}

impl Report {
    /// As the plan says; `None` if it says nothing, or the directory can't be used,
    /// which is told.
    pub fn new(plan: &Plan<'_>) -> Option<Self> {
        let mut records = plan.steps().records();
        let path = records.find(|record| record.is(Kind::Report))?.list.first();
        Self::open(path)
            .map_err(|errno| Error::new(What::Begin, path, errno).print(NAME, INIT_TEXTS))
            .ok()
    }

    #[cold]
    fn open(path: &CStr) -> Result<Self, Errno> {
        const FLAGS: OFlags = OFlags::DIRECTORY
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        let pod = fs::open(path, FLAGS, Mode::empty())?;
        match fs::mkdirat(&pod, c"status", Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            done => done?,
        }
        let status = fs::openat(&pod, c"status", FLAGS, Mode::empty())?;
        let report = Self {
            pod,
            status,
            ready: false,
        };
        // In a pid namespace of its own pid 1 can't know its number on the host.
        let own = getpid();
        if !own.is_init() {
            let number = u64::from(own.as_raw_nonzero().get().unsigned_abs());
            write(report.pod.as_fd(), c"pid", number)?;
        }
        Ok(report)
    }

    /// The apps run, and all are ready.
    #[cold]
    pub fn ready(&mut self) {
        if !core::mem::replace(&mut self.ready, true) {
            let _ = file(self.pod.as_fd(), c"ready", &[]);
        }
    }

    /// The app `name` has ended for good.
    #[cold]
    pub fn ended(&self, name: &CStr, code: i32) {
        let _ = write(self.status.as_fd(), name, u64::from(code.unsigned_abs()));
    }
}

fn write(folder: BorrowedFd<'_>, name: &CStr, number: u64) -> Result<(), Errno> {
    file(folder, name, Digits::new(number, 10).as_bytes())
}

/// Writes a line, if there is one, under another name, and moves it into place.
fn file(folder: BorrowedFd<'_>, name: &CStr, line: &[u8]) -> Result<(), Errno> {
    const NEW: &CStr = c".new";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let _ = fs::unlinkat(folder, NEW, AtFlags::empty());
    let new = fs::openat(folder, NEW, flags, Mode::from_raw_mode(0o644))?;
    if !line.is_empty() {
        descriptor::write_all(new.as_raw_fd(), line);
        descriptor::write_all(new.as_raw_fd(), b"\n");
    }
    fs::renameat(folder, NEW, folder, name)
}
