//! Runs programs and says precisely what they did.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{report::Report, runner::PROGRAMS, sys};

/// What one program may take, unless a test says otherwise.
const LIMIT: Duration = Duration::from_secs(30);

/// How long its output may stay open behind its end: a loaded machine may be late in ending
/// what ends with it.
const CLOSING: Duration = Duration::from_secs(10);

/// One of our programs: `fly`, `stage1-init`, `stage0`, `probe`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(PROGRAMS).expect("the runner checks it")).join(name)
}

/// A program about to be run. Its environment is empty but for PATH, its
/// standard input is /dev/null.
#[derive(Debug)]
pub struct Run {
    command: Command,
    words: Vec<OsString>,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Run {
    /// Runs `program`, found in PATH unless it is a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .stdin(Stdio::null());
        Self {
            command,
            words: vec![program.as_ref().to_owned()],
            input: None,
            limit: LIMIT,
        }
    }

    /// Runs one of our programs.
    #[must_use]
    pub fn ours(name: &str) -> Self {
        Self::new(program(name))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(&argument);
        self.words.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Tells the program that it was called by this name.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.command.arg0(name);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts in another directory.
    #[must_use]
    pub fn directory(mut self, path: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Feeds `text` to standard input, then closes it.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(text.into());
        self
    }

    /// Takes standard input from a file or descriptor.
    #[must_use]
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Leaves standard input open: [`Running::send`] writes to it.
    #[must_use]
    pub fn open_input(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// Uses `terminal` for all three standard descriptors, in a session of
    /// its own.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn terminal(mut self, terminal: &OwnedFd) -> io::Result<Self> {
        self.command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal.try_clone()?);
        Ok(self.hook(sys::take_terminal))
    }

    /// Runs `hook` in the child before exec.
    #[must_use]
    pub fn hook(mut self, hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Self {
        sys::before_exec(&mut self.command, hook);
        self
    }

    /// Changes the time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn text(&self) -> String {
        let words: Vec<String> = self
            .words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }

    /// Starts the program and reads its output meanwhile.
    #[must_use]
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn()
    }

    /// As [`Run::start`], with the descriptors left as they were set.
    #[must_use]
    pub fn spawn(mut self) -> Running {
        let text = self.text();
        let start = Instant::now();
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {text}: {error}"));
        let stdout = Collector::of(child.stdout.take());
        let stderr = Collector::of(child.stderr.take());
        let mut running = Running {
            text,
            start,
            deadline: start + self.limit,
            child,
            stdout,
            stderr,
        };
        if let Some(input) = self.input {
            // EPIPE: the program may end without reading it all.
            let _ = running
                .child
                .stdin
                .take()
                .map(|mut pipe| pipe.write_all(&input));
        }
        running
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn output(self) -> Output {
        self.start().finish()
    }
}

/// What a pipe has brought so far, and whether it has ended.
type Collected = (Vec<u8>, bool);

/// Reads a pipe to its end on a thread of its own.
#[derive(Debug)]
struct Collector {
    shared: Arc<(Mutex<Collected>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let shared = Arc::new((Mutex::new((Vec::new(), pipe.is_none())), Condvar::new()));
        let thread = pipe.map(|mut pipe| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut buffer = [0; 65536];
                loop {
                    let count = pipe.read(&mut buffer).unwrap_or(0);
                    let mut state = shared.0.lock().expect("no panic");
                    state.0.extend_from_slice(&buffer[..count]);
                    state.1 = count == 0;
                    shared.1.notify_all();
                    if count == 0 {
                        return;
                    }
                }
            })
        });
        Self { shared, thread }
    }

    /// Waits until the text holds `part`; false if it ended without.
    fn wait_for(&self, part: &str, deadline: Instant) -> bool {
        self.wait_for_times(part, 1, deadline)
    }

    /// The same, until it holds it so many times.
    fn wait_for_times(&self, part: &str, times: usize, deadline: Instant) -> bool {
        let mut state = self.shared.0.lock().expect("no panic");
        loop {
            if String::from_utf8_lossy(&state.0).matches(part).count() >= times {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return false;
            }
            state = self.shared.1.wait_timeout(state, left).expect("no panic").0;
        }
    }

    /// Waits for the end of the pipe, which a process that is left behind may
    /// hold open: then false.
    fn ended(&self, deadline: Instant) -> bool {
        let mut state = self.shared.0.lock().expect("no panic");
        while !state.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.1.wait_timeout(state, left).expect("no panic").0;
        }
        true
    }

    fn bytes(&self) -> Vec<u8> {
        self.shared.0.lock().expect("no panic").0.clone()
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    text: String,
    start: Instant,
    deadline: Instant,
    child: Child,
    stdout: Collector,
    stderr: Collector,
}

impl Running {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        sys::kill(self.pid(), signal).expect("the program runs");
    }

    /// Writes to its standard input.
    pub fn send(&mut self, text: &str) {
        let pipe = self.child.stdin.as_mut().expect("an open input");
        pipe.write_all(text.as_bytes()).expect("a reader");
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until its standard output holds `part`.
    #[track_caller]
    pub fn wait_for(&self, part: &str) {
        self.wait_for_part(&self.stdout, part);
    }

    /// Waits until its standard error holds `part`.
    #[track_caller]
    pub fn wait_for_error(&self, part: &str) {
        self.wait_for_part(&self.stderr, part);
    }

    #[track_caller]
    fn wait_for_part(&self, stream: &Collector, part: &str) {
        if !stream.wait_for(part, self.deadline) {
            panic!(
                "{} did not print {part:?}, but\n{}{}",
                self.text,
                String::from_utf8_lossy(&self.stdout.bytes()),
                String::from_utf8_lossy(&self.stderr.bytes())
            );
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Waits for its end.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.child.stdin = None;
        let status = self.wait();
        let elapsed = self.start.elapsed();
        // Descriptors that outlive the program mean a process left behind.
        let closing = Instant::now() + CLOSING;
        let closed = self.stdout.ended(closing) && self.stderr.ended(closing);
        if closed {
            for collector in [&mut self.stdout, &mut self.stderr] {
                collector.thread.take().map(JoinHandle::join);
            }
        }
        Output {
            text: self.text,
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            late: status.is_none(),
            closed,
            bytes: self.stdout.bytes(),
            stdout: String::from_utf8_lossy(&self.stdout.bytes()).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr.bytes()).into_owned(),
            elapsed,
        }
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(100);
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return Some(status);
            }
            if Instant::now() >= self.deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// Waits until its standard output holds `part` so many times.
    #[track_caller]
    pub fn wait_for_times(&self, part: &str, times: usize) {
        assert!(
            self.stdout.wait_for_times(part, times, self.deadline),
            "{} did not print {part:?} {times} times, but\n{}{}",
            self.text,
            String::from_utf8_lossy(&self.stdout.bytes()),
            String::from_utf8_lossy(&self.stderr.bytes())
        );
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// Its command line.
    pub text: String,
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed at its time limit.
    pub late: bool,
    /// Whether its output was closed when it had ended, or soon after.
    pub closed: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard output, as bytes.
    pub bytes: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// From before its start to its end.
    pub elapsed: Duration,
}

/// As much of a text as a person reads.
fn short(text: &str) -> Cow<'_, str> {
    const MOST: usize = 4000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()).into(),
        None => text.into(),
    }
}

impl Output {
    /// All there is to know, for a failure's text.
    #[must_use]
    pub fn everything(&self) -> String {
        let mut text = format!(
            "{}\ncode {:?}, signal {:?}",
            self.text, self.code, self.signal
        );
        if self.late {
            text.push_str(", killed at its time limit");
        }
        if !self.closed {
            let _ = write!(text, ", its output was still open {CLOSING:?} later");
        }
        let _ = write!(
            text,
            "\n--- stdout\n{}\n--- stderr\n{}",
            short(&self.stdout),
            short(&self.stderr)
        );
        text
    }

    /// It exited with `code`.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        assert!(
            self.code == Some(code) && self.closed,
            "expected code {code}\n{}",
            self.everything()
        );
        self
    }

    /// It was ended by `signal`.
    #[track_caller]
    pub fn killed(&self, signal: i32) -> &Self {
        assert!(
            self.signal == Some(signal),
            "expected signal {signal}\n{}",
            self.everything()
        );
        self
    }

    /// Its standard output is exactly `text`.
    #[track_caller]
    pub fn printed(&self, text: &str) -> &Self {
        assert!(
            self.stdout == text,
            "expected to print {text:?}\n{}",
            self.everything()
        );
        self
    }

    /// Its standard output holds `part`.
    #[track_caller]
    pub fn has(&self, part: &str) -> &Self {
        assert!(
            self.stdout.contains(part),
            "expected {part:?} in stdout\n{}",
            self.everything()
        );
        self
    }

    /// Its standard output does not hold `part`.
    #[track_caller]
    pub fn lacks(&self, part: &str) -> &Self {
        assert!(
            !self.stdout.contains(part),
            "did not expect {part:?} in stdout\n{}",
            self.everything()
        );
        self
    }

    /// It said nothing on standard error.
    #[track_caller]
    pub fn quiet(&self) -> &Self {
        assert!(
            self.stderr.is_empty(),
            "expected nothing on stderr\n{}",
            self.everything()
        );
        self
    }

    /// It failed as our programs fail: 254, nothing on standard output, and
    /// one line `program: step object: cause`, and that with a cause, that holds all of `words`.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> &Self {
        self.code(254);
        let line = self.stderr.strip_suffix('\n').unwrap_or("");
        let ours = ["stage0: ", "fly: ", "fly-seccomp: ", "stage1-init: "]
            .iter()
            .any(|name| line.starts_with(name));
        assert!(
            ours && !line.contains('\n')
                && !line.ends_with(": ")
                && self.stdout.is_empty()
                && !line.contains("panicked"),
            "expected one line of ours on stderr\n{}",
            self.everything()
        );
        assert!(
            !line.trim_end().ends_with(':'),
            "expected a cause in the error\n{}",
            self.everything()
        );
        for word in words {
            assert!(
                line.contains(word),
                "expected {word:?} in the error\n{}",
                self.everything()
            );
        }
        self
    }

    /// The probe's report, of a run that succeeded.
    #[must_use]
    #[track_caller]
    pub fn report(&self) -> Report {
        self.code(0).quiet();
        Report::new(&self.stdout)
    }
}
