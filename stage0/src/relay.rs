//! A pod's terminal: the caller's terminal in raw mode, and the bytes between
//! it and the master of the pod's own.

use fly::{
    error::{Error, STAGE0_TEXTS, What},
    launch, supervise,
    sys::{
        clone::Child,
        descriptor,
        signal::{self, Set},
        wait::End,
    },
    text::copy,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    process::WaitIdOptions,
    termios::{self, OptionalActions, Termios},
};

use crate::{NAME, wait::TimeLimit};

/// Bytes that are moved at once: those that a pipe with room for any takes (pipe(7)).
const CHUNK: usize = 4096;

/// Signals that end who waits for a pod that does not go on.
pub const ENDING: Set = Set::EMPTY
    .and(raw::SIGHUP)
    .and(raw::SIGINT)
    .and(raw::SIGQUIT)
    .and(raw::SIGTERM);

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
    pub fn relay(master: BorrowedFd<'_>, pod: &Child, limit: &mut TimeLimit) -> Option<End> {
        let process = pod.pidfd.as_fd();
        let mut pass = |number| supervise::forward(process, number);
        if Self::relay_until(master, process, signal::SUPERVISED, limit, &mut pass) {
            supervise::ended(process, WaitIdOptions::empty())
        } else {
            supervise::wait(process, pod.pid)
        }
    }

    /// Moves bytes until `end` can be read and all output is written, or nobody has the
    /// terminal any more; calls `pass` for each of `signals`, which are blocked. With a
    /// limit `end` is the pod's process. Returns false if it could not be waited for.
    pub fn relay_until(
        master: BorrowedFd<'_>,
        end: BorrowedFd<'_>,
        signals: Set,
        limit: &mut TimeLimit,
        pass: &mut dyn FnMut(u32),
    ) -> bool {
        let caller = Caller::new();
        let mut relay = Relay {
            master,
            end,
            limit,
            input: true,
            keys: Pending::NOTHING,
            shown: Pending::NOTHING,
            lost: None,
            pass,
        };
        let done = relay.run(signals);
        caller.restore();
        // A reader who has left knows that.
        let lost = relay.lost.filter(|errno| *errno != Errno::PIPE);
        if let Some(errno) = done.err().or(lost) {
            Error::new(What::Relay, c"the terminal", errno).print(NAME, STAGE0_TEXTS);
        }
        done.is_ok()
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

/// Bytes that were read, and are not written yet.
struct Pending {
    bytes: [u8; CHUNK],
    from: usize,
    to: usize,
}

impl Pending {
    const NOTHING: Self = Self {
        bytes: [0; CHUNK],
        from: 0,
        to: 0,
    };

    fn is_any(&self) -> bool {
        self.from < self.to
    }

    /// Reads them; false at the end. A descriptor from which nothing can be read is at its
    /// end, too: EIO is that of a terminal.
    fn read(&mut self, from: RawFd) -> bool {
        match descriptor::read(from, &mut self.bytes) {
            Ok(count) => {
                (self.from, self.to) = (0, count);
                count != 0
            }
            Err(errno) => matches!(errno, Errno::INTR | Errno::AGAIN),
        }
    }

    /// Writes what can be written at once. If nothing can ever, they are gone.
    fn write(&mut self, to: RawFd) -> Result<(), Errno> {
        let bytes = self.bytes.get(self.from..self.to).unwrap_or_default();
        match descriptor::write(to, bytes) {
            Ok(count) => self.from += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                self.from = self.to;
                return Err(errno);
            }
        }
        Ok(())
    }
}

struct Relay<'r> {
    master: BorrowedFd<'r>,
    /// Can be read at the end.
    end: BorrowedFd<'r>,
    limit: &'r mut TimeLimit,
    /// Standard input has not ended yet.
    input: bool,
    /// From standard input to the pod.
    keys: Pending,
    /// From the pod to standard output.
    shown: Pending,
    /// Why output could not be written.
    lost: Option<Errno>,
    pass: &'r mut dyn FnMut(u32),
}

impl Relay<'_> {
    /// Never waits for one of the two sides: who reads nothing must not keep the other's
    /// bytes, and signals, from going on.
    fn run(&mut self, signals: Set) -> Result<(), Errno> {
        let signals = signal::descriptor(signals)?;
        fs::fcntl_setfl(self.master, OFlags::NONBLOCK)?;
        let own = own_terminal();
        let [stdin, stdout] = [0, own.as_ref().map_or(1, AsRawFd::as_raw_fd)].map(descriptor::get);
        loop {
            let (shows, types) = (self.shown.is_any(), self.keys.is_any());
            let mut moves = PollFlags::empty();
            moves.set(PollFlags::IN, !shows);
            moves.set(PollFlags::OUT, types);
            // What ends is told again and again: in the place of what is not looked at are
            // the signals. They are looked at last, so that whoever has their place is seen
            // only if they are, and the pod's end first: behind it there is no output.
            let place = |looked_at, one, flags| {
                let none = (signals.as_fd(), PollFlags::IN);
                let (one, flags) = if looked_at { (one, flags) } else { none };
                PollFd::from_borrowed_fd(one, flags)
            };
            let mut ready = [
                place(!shows, self.end, PollFlags::IN),
                place(!shows || types, self.master, moves),
                place(self.input && !types, stdin, PollFlags::IN),
                place(shows, stdout, PollFlags::OUT),
                place(false, stdin, moves),
            ];
            let left = self.limit.left(self.end);
            // Nobody reads what is left, and there was time for it.
            if self.limit.is_over && shows && has_ended(self.end) {
                return Ok(());
            }
            match poll(&mut ready, left.as_ref()) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let [end, terminal, input, output, signal] = ready.map(|one| one.revents());
            if !signal.is_empty() {
                // Who has ended the pod, and then this, does not want what is left of it.
                let is_left = shows && has_ended(self.end);
                if self.signal(&signals) && is_left {
                    return Ok(());
                }
                continue;
            }
            if self.input && !types && !input.is_empty() {
                self.type_more();
            }
            let master = self.master.as_raw_fd();
            if types && !terminal.is_empty() {
                let done = self.keys.write(master);
                if done.is_err() || terminal.contains(PollFlags::HUP) {
                    // Nobody reads them any more.
                    (self.input, self.keys.from) = (false, self.keys.to);
                }
            }
            if shows && !output.is_empty() {
                self.lost = self.shown.write(stdout.as_raw_fd()).err().or(self.lost);
            } else if !shows && terminal.contains(PollFlags::IN) {
                self.shown.read(master);
            } else if !shows && (!end.is_empty() || terminal.contains(PollFlags::HUP)) {
                // All output is written; what is left is the end.
                return Ok(());
            }
        }
    }

    /// Passes them on; whether there were any that end a process.
    fn signal(&mut self, signals: &OwnedFd) -> bool {
        let mut ends = false;
        each_signal(signals, &mut |number| match number {
            raw::SIGWINCH => launch::copy_window_size(self.master),
            number => {
                ends |= ENDING.holds(number);
                (self.pass)(number);
            }
        });
        ends
    }

    /// Reads keys. The end of a pipe is the key that ends a terminal's input, which ends but
    /// a line that has begun.
    fn type_more(&mut self) {
        let before = self.keys.to.checked_sub(1);
        let last = before.and_then(|last| self.keys.bytes.get(last).copied());
        if !self.keys.read(0) {
            self.input = false;
            copy(&mut self.keys.bytes, &[4, 4]);
            let in_line = last.is_some_and(|last| !matches!(last, b'\n' | b'\r'));
            (self.keys.from, self.keys.to) = (usize::from(!in_line), 2);
        }
    }
}

/// Standard output once more, if that is a terminal, so that no write waits for it: that there
/// is room says only that there is some. What the caller has open stays as it is. The master of
/// a pseudo-terminal would be another one (pts(4), device 5:2).
fn own_terminal() -> Option<OwnedFd> {
    const MASTERS: u64 = 5 << 8 | 2;
    let stdout = descriptor::get(1);
    if !termios::isatty(stdout) || fs::fstat(stdout).ok()?.st_rdev == MASTERS {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    fs::open(c"/proc/self/fd/1", flags, Mode::empty()).ok()
}

/// Whether it can be read, as what ends can from then on.
pub fn has_ended(end: BorrowedFd<'_>) -> bool {
    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut ready = [PollFd::from_borrowed_fd(end, PollFlags::IN)];
    poll(&mut ready, Some(&NOW)) == Ok(1)
}
