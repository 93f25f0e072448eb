//! `stage0 app exec`: one more program in a pod that runs, confined as one of its apps. It
//! is a request to pid 1, which starts it by the code of run; nothing of the host joins
//! the pod but what is to be its standard streams.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, FAILURE, What, Why, keep},
    launch,
    lower::split_option,
    plan::{Builder, Kind, List, MAX_BYTES, Plan, Record, Step, Steps},
    sys::{
        descriptor,
        entry::Start,
        signal::{self, Set},
    },
    text::{Digits, copy},
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::getpid,
    pty,
};
use stage1_init::control::protocol::{self, Reply, Request};

use super::{
    added,
    app::refused,
    before, change,
    end::{MOMENT, is_over},
    manifest::Words,
    ready,
};
use crate::{
    client::{Pod, seal},
    options::{Choice, Choices, Life},
    relay::{ENDING, Terminal, each_signal},
    wait::TimeLimit,
};

/// What is passed on, and the size of a terminal.
const PASSED: Set = Set::EMPTY
    .and(raw::SIGHUP)
    .and(raw::SIGINT)
    .and(raw::SIGQUIT)
    .and(raw::SIGTERM)
    .and(raw::SIGUSR1)
    .and(raw::SIGUSR2)
    .and(raw::SIGWINCH);

/// What is run if nothing is named.
const SHELL: &CStr = c"/bin/sh";

/// Runs a program beside the app `app`, or the first one, of the pod that is called so, where
/// `given` says: `words` are options and the command. Returns its exit code.
///
/// # Errors
/// Names what is wrong with the command line, or what the pod refuses.
#[cold]
#[inline(never)]
pub fn enter<'a, I>(
    (name, mut given): (&'a CStr, Option<&'a CStr>),
    app: Option<&'a CStr>,
    words: I,
    start: &'a mut Start,
) -> Result<i32, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let choices = Choices::new(words);
    let mut rest = choices.clone();
    let mut said = None;
    while let Some(choice) = rest.take()? {
        match choice {
            Choice::SetVariable(_) => {}
            Choice::Life(Life::StateDirectory(path)) => given = Some(path),
            Choice::Terminal(yes) => said = Some(yes),
            _ => {
                let error = Error::new(What::Read, c"the command line", Why::NotForExec);
                return Err(error.advice(Advice::SeeHelp));
            }
        }
    }
    let pod = &super::pod_of(name, given, &start.environment)?;
    ready::wait_for_start(pod)?;
    let bytes = &mut *start.bytes;
    let (old, new) = bytes.split_at_mut_checked(MAX_BYTES).unwrap_or_default();
    // It may have the name of one that was removed.
    let is_added = app.is_some_and(added::is_there);
    let plan = match app {
        Some(app) if is_added => added::plan(app, old)?,
        _ => pod.plan(old)?,
    };
    let steps = find(&plan, app, Some(fs::CWD))?;
    let terminal = match Terminal::wanted(said).then(|| open_terminal(pod)) {
        // It was not asked for: then without one.
        Some(Err(_)) if said.is_none() => None,
        made => made.transpose()?,
    };
    let mut own = [0; 64];
    let own = unique(&mut own, start.random);
    let term = start.environment.value("TERM").unwrap_or(b"xterm");
    let term = terminal.is_some().then_some(term);
    let mut builder = Builder::new(new);
    write(&mut builder, &steps, own, term, &choices, rest.operands())?;
    let plan = builder.finish().map_err(crate::start::refused)?;
    let file = seal(plan.as_bytes()).map_err(|errno| Error::new(What::Seal, c"the plan", errno))?;
    run(pod, own, &file, terminal)
}

/// The steps of the app of this name, or of the first one. If there is none, the others
/// are told, also those that were added to the pod in `directory`.
pub(super) fn find<'p, 'e>(
    plan: &Plan<'p>,
    wanted: Option<&'e CStr>,
    directory: Option<BorrowedFd<'_>>,
) -> Result<Steps<'p>, Error<'e>> {
    let (mut names, mut used) = ([0; 128], 0);
    let mut add = |name: &[u8]| {
        let between: &[u8] = if used == 0 { b"" } else { b", " };
        for part in [between, name] {
            copy(names.get_mut(used..).unwrap_or_default(), part);
            used = names.len().min(used + part.len());
        }
    };
    for steps in (0..).map_while(|index| plan.app(index)) {
        let app = steps.clone().records().next().unwrap_or_default();
        let name = app.list.first();
        if wanted.is_none_or(|wanted| wanted == name) {
            return Ok(steps);
        }
        add(name.to_bytes());
    }
    if let Some(directory) = directory {
        added::each(directory, &mut add);
    }
    keep(names.get(..used).unwrap_or_default());
    Err(Error::new(
        What::Ask,
        wanted.unwrap_or_default(),
        Why::OtherApps,
    ))
}

/// A name that no other app of the pod has.
fn unique(room: &mut [u8], random: [u8; 16]) -> &CStr {
    let pid = Digits::new(
        u64::from(getpid().as_raw_nonzero().get().unsigned_abs()),
        10,
    );
    let [a, b, c, d, ..] = random;
    let random = Digits::new(u32::from_ne_bytes([a, b, c, d]).into(), 16);
    let mut used = 0;
    for part in [b"exec-", pid.as_bytes(), b"-", random.as_bytes()] {
        copy(room.get_mut(used..).unwrap_or_default(), part);
        used += part.len();
    }
    fly::sys::memory::c_str(room).unwrap_or_default()
}

/// The plan of what is run: the app's steps without what pid 1 does with an app.
fn write<'a, I>(
    plan: &mut Builder<'_>,
    steps: &Steps<'_>,
    name: &CStr,
    term: Option<&[u8]>,
    choices: &Choices<I>,
    command: I,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    for record in steps.clone().records() {
        if record.is(Kind::App) {
            plan.push(Step::App { name }).push(Step::ExitPolicy {
                flags: Step::QUIET | Step::UNCOUNTED | Step::STAYS,
            });
        } else if record.is(Kind::AppSession) {
            let flags = if term.is_some() { Step::TERMINAL } else { 0 };
            plan.push(Step::AppSession { flags });
        } else if record.is(Kind::Exec) {
            return program(plan, &record, term, choices, command);
        } else if !is_policy(&record) {
            plan.copy(&record);
        }
    }
    Ok(())
}

fn program<'a, I>(
    plan: &mut Builder<'_>,
    record: &Record<'_>,
    term: Option<&[u8]>,
    choices: &Choices<I>,
    command: I,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let count = command.clone().count() as u64;
    plan.begin_list(Step::Exec {
        flags: record.flags,
        arguments: count.max(1),
        strings: List::EMPTY,
    });
    plan.string(command.clone().next().unwrap_or(SHELL));
    if count == 0 {
        plan.string(SHELL);
    }
    for word in command {
        plan.string(word);
    }
    change::variables(plan, record, term, choices)
}

/// Whether it is a policy of pid 1, or of the app's streams.
fn is_policy(record: &Record<'_>) -> bool {
    const POLICIES: [Kind; 12] = [
        Kind::Stop,
        Kind::ExitPolicy,
        Kind::Restart,
        Kind::After,
        Kind::Ready,
        Kind::PreStart,
        Kind::PostStop,
        Kind::Stdio,
        Kind::Log,
        Kind::LogFile,
        Kind::Pipe,
        Kind::Listen,
    ];
    record.is(Kind::Report) || POLICIES.iter().any(|kind| record.is(*kind))
}

/// A terminal of the pod's own devpts. What the pod has there may be anything: it is walked
/// to inside of its root, looked at before it is used, and its other side is opened by
/// descriptor (CVE-2025-52565).
fn open_terminal<'a>(pod: &Pod<'a>) -> Result<(OwnedFd, OwnedFd), Error<'a>> {
    let mut room = [0; 64];
    let root = pod.root(&mut room)?;
    open_in(root).map_err(|errno| Error::new(What::Open, c"a terminal of the pod", errno))
}

fn open_in(root: &CStr) -> Result<(OwnedFd, OwnedFd), Errno> {
    /// DEVPTS_SUPER_MAGIC (linux/magic.h).
    const DEVPTS: u64 = 0x1cd1;
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(root, place, Mode::empty())?;
    let walk = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let folder = fs::openat2(&root, c"dev/pts", place, Mode::empty(), walk)?;
    let magic = fs::fstatfs(&folder)?.f_type;
    if u64::try_from(magic) != Ok(DEVPTS) {
        return Err(Errno::NODEV);
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let walk = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let master = fs::openat2(&folder, c"ptmx", flags, Mode::empty(), walk)?;
    pty::unlockpt(&master)?;
    let open = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY | pty::OpenptFlags::CLOEXEC;
    let peer = pty::ioctl_tiocgptpeer(&master, open)?;
    launch::copy_window_size(master.as_fd());
    Ok((master, peer))
}

/// Asks pid 1 for it, and waits for its end.
fn run<'a>(
    pod: &Pod<'a>,
    name: &CStr,
    file: &OwnedFd,
    terminal: Option<(OwnedFd, OwnedFd)>,
) -> Result<i32, Error<'a>> {
    let request = Request {
        operation: protocol::ADD,
        flags: protocol::AT_ONCE | protocol::WAIT,
        number: 0,
        name,
    };
    let (master, peer) = match terminal {
        Some((master, peer)) => (Some(master), Some(peer)),
        None => (None, None),
    };
    let stream = |number| match &peer {
        Some(peer) => Ok(peer.as_fd()),
        None => descriptor::borrow(number).ok_or(pod.gone()),
    };
    let sent: [BorrowedFd<'_>; 4] = [file.as_fd(), stream(0)?, stream(1)?, stream(2)?];
    // What comes from here on is for the program.
    let mask = signal::replace_mask(PASSED);
    pod.never_wait();
    let own = match pod.send(&request, &sent) {
        // Who waits until it can be sent can be ended by any signal.
        Err(error) if error.cause() == Errno::AGAIN.into() => {
            signal::set_mask(mask);
            pod.wait_again();
            let own = pod.send(&request, &sent);
            signal::set_mask(PASSED);
            pod.never_wait();
            own?
        }
        sent => sent?,
    };
    drop(peer);
    let mut ended_by = None;
    let mut pass = |number| {
        if !pass_on(pod, name, number) && ended_by.is_none() {
            ended_by = Some(number);
            leave(&own, master.as_ref());
        }
    };
    if let Some(master) = &master {
        let (from, end, mut limit) = (master.as_fd(), own.as_fd(), TimeLimit::NONE);
        Terminal::relay_until(from, end, PASSED, &mut limit, &mut pass);
    }
    wait(pod, &own, &mut pass)?;
    if let Some(number) = ended_by {
        return Ok(i32::try_from(128 + number).unwrap_or(FAILURE));
    }
    let bytes = pod.reply(&own)?;
    match Reply::read(&bytes) {
        Some((told, _)) if told.errno == 0 => Ok(i32::try_from(told.code).unwrap_or(FAILURE)),
        Some((told, _)) => {
            let cause = refused(&request, told.errno).cause();
            Err(Error::new(What::Ask, pod.path, cause))
        }
        None => Ok(FAILURE),
    }
}

/// Sends a signal to the program by pid 1; false if it is one that ends who waits for a pid 1
/// that has not even read what was sent to it before, and does not within a moment: that is
/// stopped or frozen.
fn pass_on(pod: &Pod<'_>, name: &CStr, number: u32) -> bool {
    let signal = Request {
        operation: protocol::SIGNAL,
        flags: 0,
        number,
        name,
    };
    let goes_on = pod.is_read() || !ENDING.holds(number);
    match pod.send(&signal, &[]) {
        Ok(answer) => goes_on || is_over(answer.as_fd(), &MOMENT),
        Err(error) => goes_on || error.cause() != Errno::AGAIN.into(),
    }
}

/// Nothing more comes from either of them: it is as if the other ends were closed.
fn leave(own: &OwnedFd, master: Option<&OwnedFd>) {
    if let Ok((ended, _)) = pipe_with(PipeFlags::CLOEXEC) {
        for descriptor in [Some(own), master].into_iter().flatten() {
            let _ = descriptor::duplicate_onto(ended.as_fd(), descriptor.as_raw_fd());
        }
    }
}

/// Until there is something to read from `own`; signals are passed on.
fn wait<'a>(pod: &Pod<'a>, own: &OwnedFd, pass: &mut dyn FnMut(u32)) -> Result<(), Error<'a>> {
    let failed = |errno| Error::new(What::Wait, pod.path, errno);
    let signals = signal::descriptor(PASSED).map_err(failed)?;
    loop {
        let mut ready = [
            PollFd::new(own, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let [reply, signal] = ready.map(|one| one.revents());
        if !reply.is_empty() {
            return Ok(());
        }
        if !signal.is_empty() {
            each_signal(&signals, &mut |number| {
                if number != raw::SIGWINCH {
                    pass(number);
                }
            });
        }
    }
}

/// Carries out `stage0 enter [--state-dir DIR] [--app NAME] POD [OPTION...] [--] [COMMAND...]`; returns its exit
/// code.
///
/// # Errors
/// As [`enter`]; there is no such pod.
pub fn by_name<'a>(start: &'a mut Start) -> Result<i32, Error<'a>> {
    let missing = Error::new(What::Read, c"the command line", Why::NoPodNamed);
    let words = start.arguments.without_first().without_first();
    let mut words: Words<'a> = Words::Given(words.iter());
    let (mut app, mut given) = (None, None);
    loop {
        before::skip(&mut words, &mut given)?;
        let mut ahead = words.clone();
        let word = ahead.next().ok_or(missing.advice(Advice::SeeHelp))?;
        let (name, inline) = split_option(word);
        if name != b"--app" {
            break;
        }
        let value = inline.or_else(|| ahead.next());
        app = Some(value.ok_or(Error::new(What::ReadOption, word, Why::NoValue))?);
        words = ahead;
    }
    let mut choices = Choices::new(words.clone());
    let name = words.next().unwrap_or_default();
    if name.to_bytes().starts_with(b"-") {
        // One that there is goes behind the pod.
        choices.take()?;
        let error = Error::new(What::ReadOption, name, Why::NoPodNamed);
        return Err(error.advice(Advice::SeeHelp));
    }
    enter((name, given), app, words, start)
}
