//! `stage0 attach`: shows what the apps of a pod write, and passes standard input on to the
//! one that has `--stdin=stream`.

use core::ffi::CStr;

use fly::{
    error::{Error, FAILURE, What, Why},
    plan::{Kind, Plan, Step},
    sys::{
        descriptor,
        entry::Start,
        signal::{self, Set},
    },
    text::copy,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::PollFlags,
    fd::{AsRawFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    logs::{CHUNK, ROOM, Reader},
    pods::{Pod, Pods, State},
    stop::is_not,
    words::{self, Words},
};
use crate::streams::{CLOSED, FOLDER};

/// What is passed on at once is never mixed with what others write (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// Carries out `stage0 attach`; returns the exit code.
///
/// # Errors
/// The command line.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn attach(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags =
        words::STATE_DIRECTORY | words::UUID_FILE | words::APP | words::CLOSE;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let (names, plan) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let buffer: &mut [u8] = &mut [0; CHUNK];
    let (mut told, mut ended) = (true, 0);
    let code = pods.each_meant(&words, &mut |name, pod| {
        if pod.state() != State::Running {
            return Err(is_not(What::AttachTo, name, pod.state()));
        }
        let failed = |why| Error::new(What::AttachTo, name, why);
        let plan = pod.names(plan);
        let plan = plan.map_err(|errno| Error::new(What::AttachTo, name, errno))?;
        let mut reader = Reader::new(&pod, (plan, names), words.app, Some(0))?;
        let mut input = Input::of(&pod, plan, &words).map_err(failed)?;
        let has_ended = reader
            .follow(&pod, input.as_mut(), buffer)
            .map_err(|errno| Error::new(What::AttachTo, name, errno))?;
        told &= reader.end();
        if has_ended && ended == 0 {
            ended = code_of(&pod);
        }
        Ok(())
    })?;
    Error::said(told, if code == 0 { ended } else { code })
}

/// The exit code of a pod that has ended: 0 if nobody has kept it.
fn code_of(pod: &Pod) -> i32 {
    if let Some(code) = pod.number(c"code") {
        return i32::try_from(code).unwrap_or(FAILURE);
    }
    let was_removed = fs::fstat(&pod.directory).is_ok_and(|status| status.st_nlink == 0);
    if was_removed { 0 } else { FAILURE }
}

/// Standard input, on its way to an app.
pub struct Input {
    /// Where its FIFO is.
    pub folder: OwnedFd,
    name: [u8; 256],
    /// The FIFO, as long as somebody reads from it.
    file: Option<OwnedFd>,
    bytes: [u8; PIECE],
    /// What of them is still to be passed on.
    left: (usize, usize),
    /// The app sees the end of it, too.
    closes: bool,
    /// Nothing is read any more.
    is_over: bool,
}

impl Input {
    /// The one of the app that is meant; none if the pod has none, or this user may not
    /// write to it.
    fn of(pod: &Pod, plan: &[u8], words: &Words) -> Result<Option<Self>, Why> {
        let (mut app, mut found, mut count) = (c"", None, 0);
        for record in Plan::unchecked_records(plan) {
            if record.is(Kind::App) {
                app = record.list.first();
            }
            let is_stream = record.is(Kind::Stdio) && record.flags & Step::STREAM != 0;
            if is_stream && words.app.is_none_or(|wanted| wanted == app) {
                found = Some(app);
                count += 1;
            }
        }
        let closes = words.has(words::CLOSE);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = fs::openat(&pod.directory, FOLDER, flags, Mode::empty());
        match (found, folder) {
            _ if count > 1 => Err(Why::MoreStreams),
            (Some(app), Ok(folder)) => {
                let mut name = [0; 256];
                copy(&mut name, app.to_bytes());
                Ok(Some(Self {
                    folder,
                    name,
                    file: None,
                    bytes: [0; PIECE],
                    left: (0, 0),
                    closes,
                    is_over: false,
                }))
            }
            _ if closes => Err(Why::NoStream),
            _ => Ok(None),
        }
    }

    fn name(&self) -> &CStr {
        fly::sys::memory::c_str(&self.name).unwrap_or_default()
    }

    /// The descriptor that it waits for, and for what.
    pub fn wanted(&mut self) -> Option<(i32, PollFlags)> {
        if self.file.is_none() && !self.is_over {
            self.open();
        }
        let file = self.file.as_ref()?;
        Some(match self.left {
            (from, to) if from < to => (file.as_raw_fd(), PollFlags::OUT),
            _ => (0, PollFlags::IN),
        })
    }

    /// Opens the FIFO if the app has it open: one that does not run yet, or starts again, is
    /// waited for. It is opened then, and that is seen.
    fn open(&mut self) {
        let status = fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW);
        self.is_over = !status.is_ok_and(|status| {
            let is_fifo = FileType::from_raw_mode(status.st_mode) == FileType::Fifo;
            is_fifo && status.st_mode & 0o200 != 0
        });
        if self.is_over {
            return;
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.file = match fs::openat(&self.folder, self.name(), flags, Mode::empty()) {
            Ok(file) => Some(file),
            Err(errno) => {
                self.is_over = errno != Errno::NXIO;
                None
            }
        };
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// As write(2).
    pub fn pass(&mut self) -> Result<(), Errno> {
        if self.left.0 >= self.left.1 {
            match descriptor::read(0, &mut self.bytes) {
                Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
                Ok(0) | Err(_) => {
                    self.end();
                    return Ok(());
                }
                Ok(count) => self.left = (0, count),
            }
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        let bytes = self.bytes.get(self.left.0..self.left.1);
        match write(file, bytes.unwrap_or_default()) {
            Ok(count) => self.left.0 += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The app has ended; it may start again.
            Err(Errno::PIPE) => self.file = None,
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.is_over = true;
        if self.closes {
            // Who holds it sees that, and lets go.
            let _ = fs::chmodat(&self.folder, self.name(), CLOSED, AtFlags::empty());
        }
        self.file = None;
    }
}

/// Without SIGPIPE, which standard output is to have.
fn write(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    const PIPE: Set = Set::only(raw::SIGPIPE);
    let before = signal::replace_mask(Set::ALL);
    let done = descriptor::write(file.as_raw_fd(), bytes);
    if done == Err(Errno::PIPE) && !before.holds(raw::SIGPIPE) {
        let _ = signal::wait(PIPE, Some(0));
    }
    signal::set_mask(before);
    done
}
