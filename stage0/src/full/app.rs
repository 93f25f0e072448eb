//! `stage0 app`: adds, starts, stops and removes the apps of a pod that runs, and tells
//! how they are, by the control socket in the pod's directory.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::{Builder, Kind},
    sys::{descriptor, entry::Start, memory::c_str},
    text::{Digits, Line, copy, split},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{self, Access},
    io::Errno,
};
use stage1_init::control::protocol::{self, Reply, Request};

use super::{added::Added, before, enter, json::Json, manifest::Words, release};
use crate::{
    client::{Pod, seal},
    lower::{self, policy::signal_number},
    options,
    state::PRIVATE,
    users::Users,
    uuid,
};

/// The states of an app, as pid 1 numbers them.
const STATES: [&str; 6] = [
    "waiting",
    "pausing",
    "preparing",
    "running",
    "cleaning",
    "exited",
];

/// The longest name that is shown in full in a column of its own.
const COLUMN: usize = 24;

/// Carries out `stage0 app COMMAND DIR ...`; returns the exit code.
///
/// # Errors
/// Names what is wrong with the command line, or what the pod refuses.
#[cold]
#[inline(never)]
pub fn run(mut words: Words<'static>, start: &mut Start) -> Result<i32, Error<'static>> {
    let missing = |why| Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp);
    let mut given = None;
    let command = before::operand(&mut words, &mut given)?.ok_or(missing(Why::NoAppCommand))?;
    match command.to_bytes() {
        b"exec" | b"enter" => {
            return Ok(exec(words, given, start).unwrap_or_else(super::fail));
        }
        b"release" => {
            return Ok(release::run(words, given, start).unwrap_or_else(super::fail));
        }
        _ => {}
    }
    let is_list = command == c"list";
    let (operation, flags) = operation(command)?;
    let mut request = Request {
        operation,
        flags,
        number: 0,
        name: c"",
    };
    let mut json = false;
    let mut next = |words: &mut Words<'static>, given: &mut Option<&'static CStr>| {
        if operation == protocol::STATUS {
            before::format(words, given, &mut json)?;
        }
        before::operand(words, given)
    };
    let directory = next(&mut words, &mut given)?.ok_or(missing(Why::NoPodDirectory))?;
    if operation == protocol::ADD {
        before::skip(&mut words, &mut given)?;
        return Ok(add((directory, given), request, words, start).unwrap_or_else(super::fail));
    }
    if !is_list {
        let name = next(&mut words, &mut given)?.ok_or(missing(Why::NoAppNamed))?;
        if name.is_empty() || name.count_bytes() >= protocol::NAME_BYTES {
            return Err(Error::new(What::ReadOption, name, Why::NoAppName));
        }
        request.name = name;
    }
    if operation == protocol::SIGNAL {
        let signal = before::operand(&mut words, &mut given)?.unwrap_or(c"TERM");
        let number = signal_number(signal.to_bytes());
        request.number = number
            .ok_or(Error::new(What::ReadOption, signal, Why::NoSignal))?
            .into();
    }
    if next(&mut words, &mut given)?.is_some() {
        return Err(missing(Why::TooManyWords));
    }
    let pod = super::pod_of(directory, given, &start.environment)?;
    if operation == protocol::STATUS {
        return pod.tell(request, is_list, json);
    }
    if operation == protocol::REMOVE {
        return remove(&pod, &request);
    }
    pod.order(&request, None).map(|()| 0)
}

/// What a command asks of the pod, and how.
fn operation(command: &CStr) -> Result<(u32, u32), Error<'_>> {
    Ok(match command.to_bytes() {
        b"list" | b"status" => (protocol::STATUS, 0),
        b"add" => (protocol::ADD, protocol::AT_ONCE),
        b"start" => (protocol::START, 0),
        b"stop" => (protocol::STOP, protocol::WAIT),
        b"rm" => (protocol::REMOVE, 0),
        b"kill" => (protocol::SIGNAL, 0),
        _ => {
            let error = Error::new(What::ReadCommand, command, Why::NoSuchCommand);
            return Err(error.advice(Advice::SeeHelp));
        }
    })
}

/// Has the pod forget an app, and forgets it here, too.
fn remove<'a>(pod: &Pod<'a>, request: &Request<'a>) -> Result<i32, Error<'a>> {
    let added = Added::open().map_err(|errno| Error::new(What::Open, pod.path, errno))?;
    pod.order(request, None)?;
    if let Some(added) = added {
        added.forget(request.name);
    }
    Ok(0)
}

/// Runs a program beside an app: `DIR [APP] [OPTION...] [--] [COMMAND...]`.
fn exec<'a>(
    mut words: Words<'a>,
    mut given: Option<&'a CStr>,
    start: &'a mut Start,
) -> Result<i32, Error<'a>> {
    let missing = Error::new(What::Read, c"the command line", Why::NoPodDirectory);
    let directory = before::operand(&mut words, &mut given)?;
    let directory = directory.ok_or(missing.advice(Advice::SeeHelp))?;
    before::skip(&mut words, &mut given)?;
    let mut behind = words.clone();
    match behind.next() {
        Some(app) if !app.to_bytes().starts_with(b"-") => {
            enter::enter((directory, given), Some(app), behind, start)
        }
        _ => enter::enter((directory, given), None, words, start),
    }
}

/// Adds a program to the pod, and starts it.
fn add<'a>(
    (directory, given): (&'a CStr, Option<&'a CStr>),
    mut request: Request<'a>,
    words: Words<'a>,
    start: &'a mut Start,
) -> Result<i32, Error<'a>> {
    let pod = super::pod_of(directory, given, &start.environment)?;
    // Its root is where the pod's pid 1 is: there its user has a name.
    let (room, bytes) = start.bytes.split_at_mut_checked(64).unwrap_or_default();
    let root = pod.root(room)?;
    let mut options = options::parse_added(root, words)?;
    let registered = is_registered(directory);
    if registered && fs::access(c"log", Access::EXISTS).is_ok() {
        // Nobody sees what it says, as of the pod's own apps.
        options.life.detach = true;
    }
    let host = lower::Host {
        wants: lower::wants(&options)?,
        random: start.random,
        directory: None,
        environment: None,
        registered,
        pid: 0,
        later: false,
        terminal: false,
        session: false,
        stage1_init: c"",
        term: None,
        users: pod.users()?,
        groups: true,
        inheritable: true,
        known: rustix::thread::capabilities(None).map_or(0, |held| held.permitted.bits()),
        listening: None,
        names: None,
        notify: None,
    };
    let mut builder = Builder::new(bytes);
    lower::lower_added::<_, lower::All>(&options, &host, &mut builder, pod.held()?)?;
    let plan = builder.finish().map_err(crate::start::refused)?;
    let first = plan.steps().records().next().unwrap_or_default();
    request.name = first.list.first();
    let file = seal(plan.as_bytes()).map_err(|errno| Error::new(What::Seal, c"the plan", errno))?;
    let failed = |errno| Error::new(What::WriteFile, c"the plan of the app", errno);
    if plan.steps().records().any(|step| step.is(Kind::LogFile)) && registered {
        match fs::mkdir(c"logs", PRIVATE) {
            Err(Errno::EXIST) => {}
            done => done.map_err(failed)?,
        }
    }
    let added = Added::make().map_err(failed)?;
    added.write(plan.as_bytes()).map_err(failed)?;
    let done = pod.order(&request, Some(file.as_fd()));
    match done {
        Ok(()) => added.keep(request.name),
        Err(_) => added.drop_new(),
    }
    done.map(|()| 0)
}

/// Whether a pod that is called so is a registered one: by its name, or by the path of its
/// directory.
pub(super) fn is_registered(word: &CStr) -> bool {
    let name = word.to_bytes().rsplit(|byte| *byte == b'/').next();
    !word.to_bytes().contains(&b'/') || name.is_some_and(uuid::is_one)
}

impl<'a> Pod<'a> {
    /// The path of the pod's root.
    pub(super) fn root<'r>(&self, room: &'r mut [u8]) -> Result<&'r CStr, Error<'a>> {
        self.of_process(room, b"/root")
    }

    /// The capabilities that pid 1 can give.
    fn held(&self) -> Result<u64, Error<'a>> {
        let (mut path, mut room) = ([0; 64], [0; 4096]);
        let path = self.of_process(&mut path, b"/status")?;
        let text = descriptor::read_file(path, &mut room);
        let mut lines = split(text, b'\n').filter_map(|line| line.strip_prefix(b"CapBnd:\t"));
        // Of a process that has ended nothing can be read.
        let digits = lines.next().ok_or(self.gone())?;
        let digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
        Ok(digits.fold(0, |held, digit| held << 4 | u64::from(digit.unwrap_or(0))))
    }

    /// Whether the pod knows more users than root: one that does not has no
    /// setgroups(2).
    fn users(&self) -> Result<Users, Error<'a>> {
        let (mut path, mut room) = ([0; 64], [0; 8]);
        let path = self.of_process(&mut path, b"/setgroups")?;
        Ok(match descriptor::read_file(path, &mut room) {
            b"deny\n" => Users::Caller {
                user: 0,
                group: 0,
                others: None,
            },
            _ => Users::Host,
        })
    }

    /// A path of /proc, of the pod's pid 1.
    fn of_process<'r>(&self, room: &'r mut [u8], name: &[u8]) -> Result<&'r CStr, Error<'a>> {
        let digits = Digits::new(self.pid()?, 10);
        let mut used = 0;
        for part in [b"/proc/", digits.as_bytes(), name] {
            copy(room.get_mut(used..).unwrap_or_default(), part);
            used += part.len();
        }
        Ok(c_str(room).unwrap_or_default())
    }

    /// Sends a request, with a file if one belongs to it, and waits for the reply.
    fn ask(
        &self,
        request: &Request<'a>,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<[u8; Reply::SIZE], Error<'a>> {
        let own = match file {
            Some(file) => self.send(request, &[file])?,
            None => self.send(request, &[])?,
        };
        self.reply(&own)
    }

    /// The same for what changes something.
    fn order(&self, request: &Request<'a>, file: Option<BorrowedFd<'_>>) -> Result<(), Error<'a>> {
        let reply = self.ask(request, file)?;
        match Reply::read(&reply) {
            Some((told, _)) if told.errno != 0 => Err(refused(request, told.errno)),
            _ => Ok(()),
        }
    }

    /// Prints how the app is, or all of them are.
    fn tell(&self, mut request: Request<'a>, all: bool, json: bool) -> Result<i32, Error<'a>> {
        let mut told = true;
        let mut line = Line::new(1);
        let mut json = json.then(|| Json::pretty(1));
        match &mut json {
            Some(json) if all => drop(json.array()),
            Some(_) => {}
            None => {
                line.text("NAME").column(COLUMN);
                line.text("STATE      READY      PID  CODE  RESTARTS");
            }
        }
        loop {
            let reply = self.ask(&request, None)?;
            let Some((reply, name)) = Reply::read(&reply) else {
                break;
            };
            match reply.errno {
                0 => {}
                // Behind the last one there is none.
                _ if all => break,
                errno => return Err(refused(&request, errno)),
            }
            match &mut json {
                Some(json) => object(json, &reply, name),
                None => {
                    told &= line.end();
                    row(&mut line, &reply, name);
                }
            }
            if !all {
                break;
            }
            request.number = reply.place.saturating_add(1);
        }
        told &= match &mut json {
            Some(json) if all => json.end_array().end(),
            Some(json) => json.end(),
            None => line.end(),
        };
        Error::said(told, 0)
    }
}

fn state(reply: &Reply) -> &'static str {
    let index = usize::try_from(reply.state).unwrap_or(usize::MAX);
    STATES.get(index).copied().unwrap_or("unknown")
}

/// One app for programs.
fn object(json: &mut Json, reply: &Reply, name: &[u8]) {
    json.object().key("name").string(name);
    json.key("state").string(state(reply).as_bytes());
    json.key("ready").boolean(reply.flags & Reply::READY != 0);
    let json = json.key("pid");
    match reply.pid {
        0 => json.null(),
        pid => json.number(pid.into()),
    };
    json.key("code").number(reply.code.into());
    json.key("restarts").number(reply.restarts.into());
    json.end_object();
}

/// One app in the table.
fn row(line: &mut Line, reply: &Reply, name: &[u8]) {
    let ready = if reply.flags & Reply::READY == 0 {
        "no"
    } else {
        "yes"
    };
    line.quoted(name).text(" ").column(COLUMN);
    line.text(state(reply))
        .text(" ")
        .column(COLUMN + 11)
        .text(ready);
    let numbers = [(17, reply.pid), (8, reply.code), (10, reply.restarts)];
    let mut end = COLUMN + 11;
    for (width, number) in numbers {
        end += width;
        let digits = Digits::new(number.into(), 10);
        line.text(" ").column(end - digits.as_bytes().len() - 3);
        if number == 0 && width == 17 {
            line.text("-");
        } else {
            line.bytes(digits.as_bytes());
        }
    }
}

/// What the pod has against it.
pub(super) fn refused<'a>(request: &Request<'a>, errno: u32) -> Error<'a> {
    let errno = Errno::from_raw_os_error(i32::try_from(errno).unwrap_or(0));
    let why = match errno {
        Errno::NOENT => Why::NoAppInPod,
        Errno::EXIST => Why::NameTaken,
        Errno::XDEV => Why::OwnRoots,
        Errno::PIPE => Why::PipeClosed,
        Errno::NOTEMPTY => Why::PipeUsed,
        Errno::BUSY if request.operation == protocol::REMOVE => Why::AppRuns,
        Errno::BUSY => Why::AwaitedAlready,
        Errno::ALREADY => Why::AppRuns,
        Errno::SHUTDOWN => Why::PodEnds,
        Errno::NOSPC => Why::TooManyApps,
        Errno::SRCH => Why::AppRunsNot,
        Errno::AGAIN => Why::Parked,
        Errno::PROTONOSUPPORT => Why::OtherVersion,
        errno => return Error::new(What::Ask, request.name, errno),
    };
    Error::new(What::Ask, request.name, why)
}
