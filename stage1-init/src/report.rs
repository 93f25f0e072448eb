//! What the stage 1 contract has told of a pod: files that appear whole.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    plan::{Kind, Plan},
    sys::{descriptor, lock, path},
    text::Digits,
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
    process::getpid,
};

use crate::{NAME, control};

/// The file in the pod's directory whose first two bytes stage0 and pid 1 lock, and the third who makes a parked pod.
pub const LOCK: &CStr = c"lock";

/// There when all apps are ready.
const READY: &CStr = c"ready";

/// The directory of the pod, and the one of the apps' codes in it. Both are held
/// open, so that a link that comes later leads nowhere else.
#[derive(Debug)]
pub struct Report {
    pod: i32,
    status: i32,
    /// The file whose second byte is locked.
    lock: i32,
    ready: bool,
}

impl Report {
    /// In the pod's directory, otherwise as the plan says; none if it says nothing, or
    /// the directory can't be used, which is told. `directory` is -1 without one.
    #[inline]
    pub fn new(plan: &Plan<'_>, directory: i32) -> Self {
        let mut report = Self {
            pod: directory,
            status: -1,
            lock: -1,
            ready: false,
        };
        let mut path = c"the pod";
        if directory < 0 {
            let mut records = plan.steps().records();
            let Some(record) = records.find(|record| record.is(Kind::Report)) else {
                return report;
            };
            path = record.list.first();
        }
        if let Err(errno) = report.open(path) {
            Error::new(What::Open, path, errno).print(NAME, INIT_TEXTS);
            report.status = -1;
        }
        report
    }

    #[cold]
    #[inline]
    fn open(&mut self, path: &CStr) -> Result<(), Errno> {
        const FLAGS: u32 = raw::O_DIRECTORY | raw::O_NOFOLLOW;
        const RDWR: u32 = raw::O_RDWR | raw::O_CREAT | raw::O_NOFOLLOW;
        let is_controlled = self.pod >= 0;
        if !is_controlled {
            self.pod = path::open_in(None, path, FLAGS, 0)?;
            // Of a pod before.
            unlink(self.pod, READY);
        }
        match fs::mkdirat(
            descriptor::get(self.pod),
            c"status",
            Mode::from_raw_mode(0o755),
        ) {
            Err(Errno::EXIST) => {}
            done => done?,
        }
        self.status = descriptor::open_at(self.pod, c"status", FLAGS, 0)?;
        // Only who is on the host may control the pod, not an app of it.
        if is_controlled {
            // As long as this process lives the pod does: stage0 has locked the first
            // byte, and this file is not closed. Who may read it may have locked that byte:
            // the first one is enough then.
            self.lock = descriptor::open_at(self.pod, LOCK, RDWR, 0o640)?;
            let _ = lock::take(descriptor::get(self.lock), 1, 1);
            control::open(self.pod);
        }
        // In a pid namespace of its own pid 1 can't know its number on the host.
        let own = getpid();
        if !own.is_init() {
            let number = u64::from(own.as_raw_nonzero().get().cast_unsigned());
            write(self.pod, c"pid", number)?;
        }
        Ok(())
    }

    /// Whether there is one.
    pub fn is_wanted(&self) -> bool {
        self.status >= 0
    }

    /// The pod is no more.
    #[cold]
    pub fn unlock(&self) {
        let _ = descriptor::close(self.lock);
    }

    /// The app `name` is no more.
    pub fn forget(&self, name: &CStr) {
        unlink(self.status, name);
    }

    /// The apps run, and all are ready.
    #[cold]
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            // With nothing in it, it appears whole.
            let mode = Mode::from_raw_mode(0o644);
            let pod = descriptor::get(self.pod);
            let made = fs::mknodat(pod, READY, FileType::RegularFile, mode, 0);
            if made != Err(Errno::EXIST) {
                tell(READY, made);
            }
        }
    }

    /// The app `name` has ended for good.
    #[cold]
    pub fn ended(&self, name: &CStr, code: i32) {
        let code = u64::from(code.cast_unsigned());
        tell(name, write(self.status, name, code));
    }
}

/// A file that is missing may be waited for.
#[cold]
#[inline(never)]
fn tell(name: &CStr, done: Result<(), Errno>) {
    if let Err(errno) = done {
        Error::new(What::Tell, name, errno).print(NAME, INIT_TEXTS);
    }
}

/// Writes a line under another name, and moves it into place.
#[inline(never)]
fn write(number: i32, name: &CStr, value: u64) -> Result<(), Errno> {
    const NEW: &CStr = c".new";
    const FLAGS: u32 = raw::O_WRONLY | raw::O_CREAT | raw::O_EXCL;
    let folder = descriptor::get(number);
    unlink(number, NEW);
    let new = descriptor::open_at(number, NEW, FLAGS, 0o644)?;
    let line = Digits::new(value, 10);
    let written = descriptor::write_all(new, line.as_bytes()) && descriptor::write_all(new, b"\n");
    let _ = descriptor::close(new);
    if !written {
        return Err(Errno::IO);
    }
    fs::renameat(folder, NEW, folder, name)
}

#[inline(never)]
fn unlink(number: i32, name: &CStr) {
    let _ = fs::unlinkat(descriptor::get(number), name, AtFlags::empty());
}
