//! A pod's terminal: the caller's terminal in raw mode, and the bytes between
//! it and the master of the pod's own.

use fly::{
    error::{Error, STAGE0_TEXTS, What},
    launch, supervise,
    sys::{
        descriptor,
        signal::{self, Set},
        wait::End,
    },
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    process::WaitIdOptions,
    termios::{self, OptionalActions, Termios},
};

use crate::{NAME, wait::TimeLimit};

/// Bytes that are moved at once.
const CHUNK: usize = 4096;

/// Whether the caller's session may have a controlling terminal: opening its
/// name says so (ENXIO, tty(4)) for 2 µs. A session of the pod's own costs 8 (it
/// makes a group of the scheduler's), so it is made only to keep a terminal away.
pub fn has_terminal() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    !matches!(
        fs::open(c"/dev/tty", flags, Mode::empty()),
        Err(Errno::NXIO)
    )
}

/// The terminal of a pod.
#[derive(Debug)]
pub struct Terminal;

impl Terminal {
    /// Whether the pod gets one: as `--tty` says, else if both standard input
    /// and output are terminals.
    #[must_use]
    pub fn wanted(said: Option<bool>) -> bool {
        let is_terminal = |number| descriptor::borrow(number).is_some_and(termios::isatty);
        said.unwrap_or_else(|| is_terminal(0) && is_terminal(1))
    }

    /// Moves bytes until the pod has ended and all of its output is written.
    #[cold]
    #[inline(never)]
    pub fn relay(
        master: BorrowedFd<'_>,
        pod: BorrowedFd<'_>,
        limit: &mut TimeLimit,
    ) -> Option<End> {
        Self::relay_until(master, pod, signal::SUPERVISED, limit, &mut |number| {
            supervise::forward(pod, number);
        });
        supervise::ended(pod, WaitIdOptions::empty())
    }

    /// Moves bytes until `end` can be read and all output is written, or nobody has the
    /// terminal any more; calls `pass` for each of `signals`, which are blocked. With a
    /// limit `end` is the pod's process.
    pub fn relay_until(
        master: BorrowedFd<'_>,
        end: BorrowedFd<'_>,
        signals: Set,
        limit: &mut TimeLimit,
        pass: &mut dyn FnMut(u32),
    ) {
        let caller = Caller::new();
        let done = Relay {
            master,
            end,
            limit,
            input: true,
            pass,
        }
        .run(signals);
        caller.restore();
        if let Err(errno) = done {
            Error::new(What::Relay, c"the terminal", errno).print(NAME, STAGE0_TEXTS);
        }
    }
}

/// The caller's terminal, if it has one.
struct Caller {
    saved: Option<Termios>,
}

impl Caller {
    /// Keys go to the pod as they are; its terminal gives them their meaning.
    fn new() -> Self {
        let saved = descriptor::borrow(0).and_then(|stdin| termios::tcgetattr(stdin).ok());
        if let (Some(saved), Some(stdin)) = (&saved, descriptor::borrow(0)) {
            let mut raw_mode = saved.clone();
            raw_mode.make_raw();
            let _ = termios::tcsetattr(stdin, OptionalActions::Drain, &raw_mode);
        }
        Self { saved }
    }

    fn restore(&self) {
        if let (Some(saved), Some(stdin)) = (&self.saved, descriptor::borrow(0)) {
            let _ = termios::tcsetattr(stdin, OptionalActions::Drain, saved);
        }
    }
}

/// Calls `each` for the signals that have come, but for that of children.
#[cold]
#[inline(never)]
pub fn each_signal(signals: &OwnedFd, each: &mut dyn FnMut(u32)) {
    // struct signalfd_siginfo (signalfd(2)); its first field is the signal.
    let mut info = [0; 128];
    while let Ok(128) = descriptor::read(signals.as_raw_fd(), &mut info) {
        let number = info.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        if number != raw::SIGCHLD {
            each(number);
        }
    }
}

struct Relay<'r> {
    master: BorrowedFd<'r>,
    /// Can be read at the end.
    end: BorrowedFd<'r>,
    limit: &'r mut TimeLimit,
    /// Standard input has not ended yet.
    input: bool,
    pass: &'r mut dyn FnMut(u32),
}

impl Relay<'_> {
    fn run(&mut self, signals: Set) -> Result<(), Errno> {
        let signals = signal::descriptor(signals)?;
        let stdin = descriptor::borrow(0).ok_or(Errno::BADF)?;
        loop {
            let watched = if self.input {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            let mut ready = [
                PollFd::new(&self.master, PollFlags::IN),
                PollFd::new(&signals, PollFlags::IN),
                PollFd::new(&self.end, PollFlags::IN),
                PollFd::new(&stdin, watched),
            ];
            let left = self.limit.left(self.end);
            match poll(&mut ready, left.as_ref()) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let [output, signal, end, input] = ready.map(|one| one.revents());
            if !signal.is_empty() {
                self.signal(&signals);
            }
            if self.input && !input.is_empty() {
                self.keys()?;
            }
            // The kernel answers EIO when the last peer is closed.
            if output.contains(PollFlags::IN) {
                self.output()?;
            } else if !end.is_empty() || !output.is_empty() {
                // All output is written; what is left is the end.
                return Ok(());
            }
        }
    }

    fn signal(&mut self, signals: &OwnedFd) {
        each_signal(signals, &mut |number| match number {
            raw::SIGWINCH => launch::copy_window_size(self.master),
            number => (self.pass)(number),
        });
    }

    fn keys(&mut self) -> Result<(), Errno> {
        let mut bytes = [0; CHUNK];
        match descriptor::read(0, &mut bytes) {
            Ok(0) | Err(Errno::IO) => {
                // The end of a pipe is the key that ends a terminal's input.
                self.input = false;
                descriptor::write_all(self.master.as_raw_fd(), &[4]);
                Ok(())
            }
            Ok(count) => {
                let bytes = bytes.get(..count).unwrap_or_default();
                descriptor::write_all(self.master.as_raw_fd(), bytes);
                Ok(())
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn output(&mut self) -> Result<(), Errno> {
        let mut bytes = [0; CHUNK];
        match descriptor::read(self.master.as_raw_fd(), &mut bytes) {
            Ok(count) => {
                descriptor::write_all(1, bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::IO | Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
