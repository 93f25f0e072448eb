//! From options to a plan, and from a plan to what is done with it.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, FAILURE, What, Why},
    launch::ROOM,
    plan::{Builder, Kind, Plan, Problem, Reason},
    sys::entry::{Start, Strings},
};
use rustix::{
    io::Errno,
    process::getpid,
    thread::{self, CapabilitySet},
};

use crate::{
    client, fail,
    lower::{self, Features},
    options::{Options, Stage1},
    relay, stage1,
    state::{self, Folder},
    users::{self, Users, When},
    uuid,
};

/// What is done with the plan of a pod. A type, since the program that only starts pods is
/// not to hold the rest.
pub trait Aim {
    /// Whether a pod is started, now.
    const STARTS: bool;
    /// Whether it is started later, perhaps by somebody else.
    const IS_LATER: bool = false;

    /// What the program can do.
    type Features: lower::Features;

    /// Does it; returns the exit code.
    ///
    /// # Errors
    /// The step that failed.
    fn reach<'e, 'a: 'e, I>(
        &mut self,
        plan: Plan<'e>,
        options: &Options<'a, I>,
        rest: Rest<'e>,
    ) -> Result<i32, Error<'e>>
    where
        I: Iterator<Item = &'a CStr> + Clone;
}

/// What is left of a [`Start`] beside the plan.
#[allow(missing_debug_implementations)]
pub struct Rest<'s> {
    /// Room for exec's pointers and a stamp a step.
    pub words: &'s mut [usize],
    /// Room for the names of mount points.
    pub room: &'s mut [u8],
    /// The pod's directory on the host, if it has one.
    pub directory: Option<&'s CStr>,
    /// The environment.
    pub environment: Strings,
    /// The counter at the first instruction.
    pub cycles: u64,
    /// Whose the ids of the pod are.
    pub users: Users,
}

/// What the caller has.
#[derive(Clone, Copy)]
struct Own {
    users: Users,
    inheritable: bool,
}

/// Makes the plan of a pod, and does with it what is wanted. Returns the exit code.
pub fn pod<'a, I, A>(options: &Options<'a, I>, mut start: Start, mut aim: A) -> i32
where
    I: Iterator<Item = &'a CStr> + Clone,
    A: Aim,
{
    // On the stack, which is there already: no page fault.
    let mut path = [0; stage1::MAX_NAME];
    // In the background there is nobody who tries once more.
    let called = start.path.filter(|_| A::STARTS && !options.life.detach);
    let held = thread::capabilities(None);
    let privileged = held.as_ref().map_or(true, |held| {
        held.effective.contains(CapabilitySet::SYS_ADMIN)
    });
    let when = match (A::STARTS, A::IS_LATER) {
        (true, _) => When::Now,
        (false, true) => When::Later,
        (false, false) => When::Never,
    };
    let users = if !users::are_wanted(options, privileged) {
        Users::Host
    } else if A::Features::ALL {
        match users::find(options, privileged, when) {
            Ok(users) => users,
            Err(error) => return fail(error),
        }
    } else {
        return crate::other(start);
    };
    let own = Own {
        users,
        inheritable: held.map_or(true, |held| !held.inheritable.is_empty()),
    };
    // Twice at most: stage1-init is not where stage0 was called if that was a
    // link, or a descriptor.
    for executed in [called, None] {
        let mut stage1 = stage1::Name::new(&mut path);
        let done = match stage1.find(options, executed) {
            Ok(path) => attempt(options, &mut aim, &mut start, path, own),
            Err(error) => Err(error),
        };
        match done {
            Ok(code) => return code,
            Err(error) if executed.is_some() && is_elsewhere(options, &error) => {}
            Err(error) => return fail(error),
        }
    }
    FAILURE
}

/// Whether `error` says that stage1-init is not where it was looked for first.
fn is_elsewhere<I>(options: &Options<'_, I>, error: &Error<'_>) -> bool {
    matches!(options.stage1, Stage1::Init(None))
        && matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR))
        && error.advises(Advice::NameStage1)
}

fn attempt<'e, 'a: 'e, I, A>(
    options: &Options<'a, I>,
    aim: &mut A,
    start: &'e mut Start,
    stage1_init: &'e CStr,
    caller: Own,
) -> Result<i32, Error<'e>>
where
    I: Iterator<Item = &'a CStr> + Clone,
    A: Aim,
{
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let (directory, bytes) = match options.life.registers() {
        Some(_) => registered(options, start.random, &start.environment, bytes)?,
        None => (options.pod_directory, bytes),
    };
    let mut wants = lower::wants(options)?;
    if A::Features::ALL && options.rare {
        wants.streams = lower::streams::are_wanted(options)?;
    }
    let has_none = A::IS_LATER
        || (A::Features::ALL && (wants.streams || matches!(options.stage1, Stage1::Other(_))));
    let said = options.terminal.or(has_none.then_some(false));
    let terminal = A::Features::ALL && !options.life.detach && relay::Terminal::wanted(said);
    if terminal {
        // None of them becomes what the pod's first process has to find there.
        client::fill_streams();
    }
    let variable = |name, wanted: bool| wanted.then(|| start.environment.value(name)).flatten();
    let own = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    let is_own = |pid| fly::text::decimal(pid) == Some(own);
    let listens = variable("LISTEN_PID", wants.listening).is_some_and(is_own);
    let host = lower::Host {
        wants,
        listening: variable("LISTEN_FDS", listens),
        names: variable("LISTEN_FDNAMES", listens),
        notify: variable("NOTIFY_SOCKET", wants.notify),
        random: start.random,
        directory,
        environment: Some(&start.environment),
        registered: options.life.registers().is_some(),
        pid: own,
        later: A::IS_LATER,
        terminal,
        session: terminal || A::IS_LATER || relay::has_terminal(),
        stage1_init,
        // The environment may be long: it is read for what is needed only.
        term: terminal.then(|| start.environment.value("TERM")).flatten(),
        groups: A::IS_LATER || fly::sys::identity::group_count() != 0,
        known: 0,
        users: caller.users,
        inheritable: A::IS_LATER || caller.inheritable,
    };
    let mut builder = Builder::new(bytes);
    lower::lower::<I, A::Features>(options, &host, &mut builder)?;
    let plan = builder.finish().map_err(refused)?;
    let rest = Rest {
        words: start.words,
        room,
        directory,
        environment: start.environment,
        cycles: start.cycles,
        users: caller.users,
    };
    aim.reach(plan, options, rest)
}

/// The directory of a pod that is registered, and what is left of `bytes`.
#[cold]
#[inline(never)]
fn registered<'e, 'a: 'e, I>(
    options: &Options<'a, I>,
    random: [u8; 16],
    environment: &Strings,
    bytes: &'e mut [u8],
) -> Result<(Option<&'e CStr>, &'e mut [u8]), Error<'e>> {
    // A pod that is parked begins where it is prepared.
    let folder = if options.life.warm {
        Folder::Prepare
    } else {
        Folder::Run
    };
    let given = options.life.state_directory;
    let uuid = uuid::text(random);
    let parts: [&[u8]; 4] = [b"/", folder.name().as_bytes(), b"/", &uuid];
    let (path, bytes) = state::name(given, environment, &parts, bytes)?;
    Ok((Some(path), bytes))
}

/// What is wrong with a plan, in the words of the command line where only that
/// could know it.
#[cold]
pub fn refused(problem: Problem) -> Error<'static> {
    let (option, why) = match (problem.kind, problem.reason) {
        (Some(Kind::App), Reason::Name) => (c"--name", Why::NameTwice),
        (Some(Kind::App), Reason::Path) => (c"--name", Why::NoAppName),
        (Some(Kind::After), Reason::Order) => (c"--after", Why::WaitInCircle),
        (Some(Kind::After), Reason::Name | Reason::Path) => (c"--after", Why::NoSuchApp),
        (_, reason) => return Error::new(What::CheckPlan, c"", reason),
    };
    Error::new(What::ReadOption, option, why)
}
