//! What the stage 1 contract has told of a pod: files that appear whole.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    plan::{Kind, Plan},
    sys::{descriptor, path},
    text::Digits,
};
use linux_raw_sys::general as raw;
use rustix::{
    fd::BorrowedFd,
    fs::{self, AtFlags, Mode},
    io::Errno,
    process::getpid,
};

use crate::{NAME, control};

/// The directory of the pod, and the one of the apps' codes in it. Both are held
/// open, so that a link that comes later leads nowhere else.
#[derive(Debug)]
pub struct Report {
    pod: i32,
    status: i32,
    ready: bool,
}

impl Report {
    /// In the pod's directory, otherwise as the plan says; `None` if it says nothing,
    /// or the directory can't be used, which is told.
    pub fn new(plan: &Plan<'_>, directory: Option<i32>) -> Option<Self> {
        let mut records = plan.steps().records();
        let path = match directory {
            Some(_) => c"the pod's directory",
            None => records.find(|record| record.is(Kind::Report))?.list.first(),
        };
        Self::open(directory, path)
            .map_err(|errno| Error::new(What::Begin, path, errno).print(NAME, INIT_TEXTS))
            .ok()
    }

    #[cold]
    fn open(directory: Option<i32>, path: &CStr) -> Result<Self, Errno> {
        const FLAGS: u32 = raw::O_DIRECTORY | raw::O_NOFOLLOW;
        let pod = match directory {
            Some(pod) => pod,
            None => path::open_in(None, path, FLAGS, 0)?,
        };
        match fs::mkdirat(borrow(pod)?, c"status", Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            done => done?,
        }
        let status = path::open_in(Some(pod), c"status", FLAGS, 0)?;
        // Only who is on the host may control the pod, not an app of it.
        if let Some(directory) = directory {
            control::open(directory);
        }
        let report = Self {
            pod,
            status,
            ready: false,
        };
        // In a pid namespace of its own pid 1 can't know its number on the host.
        let own = getpid();
        if !own.is_init() {
            let number = u64::from(own.as_raw_nonzero().get().unsigned_abs());
            write(report.pod, c"pid", number)?;
        }
        Ok(report)
    }

    /// The app `name` is no more.
    #[cold]
    pub fn forget(&self, name: &CStr) {
        if let Ok(folder) = borrow(self.status) {
            let _ = fs::unlinkat(folder, name, AtFlags::empty());
        }
    }

    /// The apps run, and all are ready.
    #[cold]
    pub fn ready(&mut self) {
        if !core::mem::replace(&mut self.ready, true) {
            let _ = file(self.pod, c"ready", &[]);
        }
    }

    /// The app `name` has ended for good.
    #[cold]
    pub fn ended(&self, name: &CStr, code: i32) {
        let _ = write(self.status, name, u64::from(code.unsigned_abs()));
    }
}

fn write(folder: i32, name: &CStr, number: u64) -> Result<(), Errno> {
    file(folder, name, Digits::new(number, 10).as_bytes())
}

/// Writes a line, if there is one, under another name, and moves it into place.
fn file(folder: i32, name: &CStr, line: &[u8]) -> Result<(), Errno> {
    const NEW: &CStr = c".new";
    const FLAGS: u32 = raw::O_WRONLY | raw::O_CREAT | raw::O_EXCL;
    let _ = fs::unlinkat(borrow(folder)?, NEW, AtFlags::empty());
    let new = path::open_in(Some(folder), NEW, FLAGS, 0o644)?;
    let written = line.is_empty() || {
        descriptor::write_all(new, line) && descriptor::write_all(new, b"\n")
    };
    let _ = descriptor::close(new);
    if !written {
        return Err(Errno::IO);
    }
    fs::renameat(borrow(folder)?, NEW, borrow(folder)?, name)
}

fn borrow(number: i32) -> Result<BorrowedFd<'static>, Errno> {
    descriptor::borrow(number).ok_or(Errno::BADF)
}
