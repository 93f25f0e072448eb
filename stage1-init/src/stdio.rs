//! The standard streams of an app: files of the pod, pid 1's logs, and pipes between
//! apps, which pid 1 holds as long as one of their apps may start again.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    launch::{app::execute_with, path::Path},
    plan::{Kind, Record, Step},
    sys::{descriptor, message::MOST, network, path},
    text::Digits,
};
use linux_raw_sys::general as raw;
use rustix::{io::Errno, process::getpid};

use crate::{
    NAME,
    apps::{App, State},
    namespace,
};

/// Whether what a step says is pid 1's affair.
#[inline(never)]
pub(crate) fn is_policy(record: &Record<'_>) -> bool {
    const FIRST: u16 = Kind::ExitPolicy as u16;
    const LAST: u16 = Kind::Pipe as u16;
    const LOG_FILE: u16 = Kind::LogFile as u16;
    const ROOT: u16 = Kind::AppRoot as u16;
    matches!(record.kind, FIRST..=LAST | LOG_FILE..=ROOT)
}

/// Does it: most are read before the start, others make something a standard stream of the
/// app `app`.
#[inline(never)]
pub(crate) fn policy<'p>(record: &Record<'p>, apps: &[App], app: &App) -> Result<(), Error<'p>> {
    const PIPE: u16 = Kind::Pipe as u16;
    const STDIO: u16 = Kind::Stdio as u16;
    const LOG: u16 = Kind::Log as u16;
    const LOG_FILE: u16 = Kind::LogFile as u16;
    const PID_NAMESPACE: u16 = Kind::PidNamespace as u16;
    const ROOT: u16 = Kind::AppRoot as u16;
    let done = match record.kind {
        LOG | LOG_FILE => join(app.log.1, 0b110),
        PIPE => join(end(record, apps), record.flags),
        STDIO => redirect(record.flags, record.list.first()),
        PID_NAMESPACE => namespace::enter(record.list),
        ROOT => namespace::enter_root(record.list.first()),
        _ => Ok(()),
    };
    done.map_err(|errno| Error::new(What::Open, record.list.first(), errno))
}

/// Its end is written, and it is made if it is missing. It is opened as pid 1 could,
/// not as the app: by no link, which might lead to a file of others, out of the root
/// or to a descriptor of pid 1 (CVE-2024-21626), and without waiting for anybody at
/// the other end of a FIFO: pid 1 waits for this process.
#[cold]
#[inline(never)]
fn redirect(streams: u16, path: &CStr) -> Result<(), Errno> {
    let (flags, mode) = if streams & 1 == 0 {
        (raw::O_WRONLY | raw::O_CREAT | raw::O_APPEND, 0o644)
    } else {
        (raw::O_RDONLY, 0)
    };
    const NO_WAIT: u32 = raw::O_NOCTTY | raw::O_NONBLOCK;
    let file = path::open_safely(None, path, flags | NO_WAIT, mode)?;
    descriptor::set_status(file, flags & raw::O_APPEND)?;
    join(file, streams)
}

/// Makes `file` the standard streams of these bits.
#[cold]
#[inline(never)]
fn join(file: i32, streams: u16) -> Result<(), Errno> {
    (0..3)
        .filter(|number| streams >> number & 1 != 0)
        .try_for_each(|number| put(file, number))
}

/// Makes these descriptors the standard streams; none of them is one, as pid 1 of a pod
/// with a control socket has all three.
#[cold]
#[inline(never)]
pub(crate) fn take(streams: &[i32; 3]) -> Result<(), Errno> {
    let [input, output, error] = *streams;
    // The last one is there only with those before it.
    put(error, 2)?;
    put(output, 1)?;
    put(input, 0)
}

/// In the process of an app: who has passed the standard streams is told on them.
#[cold]
#[inline(never)]
pub(crate) fn told<'p>(error: Error<'p>, passed: &[i32; 3]) -> Error<'p> {
    if passed[2] < 0 {
        return error;
    }
    error.print(NAME, INIT_TEXTS);
    Error::told()
}

#[inline(never)]
fn put(from: i32, to: i32) -> Result<(), Errno> {
    let from = descriptor::get(from);
    descriptor::duplicate_onto(from, to)
}

/// The end of the reader's pipe that the step names.
fn end(record: &Record<'_>, apps: &[App]) -> i32 {
    let reader = usize::try_from(record.number).unwrap_or(usize::MAX);
    let (read, write) = apps.get(reader).map_or((-1, -1), |app| app.input);
    if record.flags & 1 == 0 { write } else { read }
}

/// Before any app starts: a pipe for each one that reads another one's output; and
/// what is passed through to one is nobody else's.
#[inline(never)]
pub(crate) fn open_pipes(apps: &mut [App]) {
    for app in apps {
        if app.reads {
            app.input = network::pipe().unwrap_or((-1, -1));
        }
        for index in 0..app.listens {
            let _ = descriptor::close_on_exec(Step::LISTENING + i32::from(index));
        }
    }
}

/// Becomes the program, with what is passed through from 3 on, whatever of pid 1's
/// was there: it is done with it. Nothing overlaps, as all of them move down.
#[cold]
#[inline(never)]
pub(crate) fn execute<'p>(record: &Record<'p>, listens: u16, words: &mut [usize]) -> Error<'p> {
    for index in (0..listens).map(i32::from) {
        if let Err(errno) = put(Step::LISTENING + index, 3 + index) {
            return Error::new(What::Start, c"an app", errno);
        }
    }
    let pid = getpid().as_raw_nonzero().get().unsigned_abs();
    let mut variable = Path::new();
    let _ = variable.append(&[b"LISTEN_PID=", Digits::new(pid.into(), 10).as_bytes()]);
    execute_with(record, variable.as_c_str(), words)
}

/// Lets go of what nobody will use any more: readers see the end, and writers that
/// nobody reads.
#[inline(never)]
pub(crate) fn close_pipes(apps: &mut [App]) {
    let running = apps.iter().filter(|app| app.state != State::Done);
    let written = running.fold(0, |bits, app| bits | app.outputs);
    for (index, app) in (0..).zip(apps) {
        if written >> index & 1 == 0 {
            close(&mut app.input.1);
        }
        if app.state == State::Done {
            close(&mut app.input.0);
        }
    }
}

/// Closes a descriptor, if there is one, and forgets it.
#[inline(never)]
pub(crate) fn close(end: &mut i32) {
    if *end >= 0 {
        let _ = descriptor::close(core::mem::replace(end, -1));
    }
}

/// Closes all of them.
#[inline(never)]
pub(crate) fn close_all(descriptors: &mut [i32; MOST]) {
    for number in descriptors {
        close(number);
    }
}
