//! `stage0 run-prepared`: a pod whose plan is there. Nothing is parsed but that it is one.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, FAILURE, What, Why},
    launch::{self, ROOM},
    plan::{Kind, MAX_BYTES, Plan},
    sys::{
        descriptor,
        entry::{Start, Strings},
        lock,
    },
};
use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{self, Access, AtFlags, Mode, OFlags},
    io::Errno,
};

use stage1_init::control::{SOCKET, protocol};

use crate::{
    cgroups::Cgroups,
    client::{Pod, seal},
    directory::{self, Directory},
    lower::Features,
    options::{Choice, Choices, Lives},
    pool, release,
    run::{self, How, TIME_IS_OVER},
    start::Rest,
    state::{self, Folder, Place},
    users::Users,
    uuid,
    wait::TimeLimit,
};

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    how: How<'static>,
    /// It sets variables, or adds arguments.
    changes: bool,
    /// What stands behind the command.
    pub words: Strings,
    /// The pod; of `--help` nothing is.
    pub pod: Option<&'static CStr>,
}

impl Asked {
    /// Reads the words behind the command.
    ///
    /// # Errors
    /// Names the option that is unknown, or not one of a run; or no pod is named.
    pub fn read(start: &Start) -> Result<Self, Error<'static>> {
        let words = start.arguments.without_first().without_first();
        let mut choices = Choices::new(words.iter());
        let mut changes = false;
        let mut how = How {
            life: Lives::default(),
            timings: None,
            debug: false,
            limited: false,
            memory: c"",
            is_prepared: true,
            hold: false,
        };
        how.life.register();
        loop {
            let word = choices.operands().next().unwrap_or_default();
            match choices.take()? {
                None => break,
                Some(Choice::Life(life)) => how.life.set(life),
                Some(Choice::Timings(format)) => how.timings = Some(format),
                Some(Choice::SetVariable(_)) => changes = true,
                Some(Choice::Debug) => how.debug = true,
                Some(Choice::Help) => {
                    return Ok(Self {
                        how,
                        changes,
                        words,
                        pod: None,
                    });
                }
                Some(_) => {
                    let error = Error::new(What::ReadOption, word, Why::OfThePreparation);
                    return Err(error.advice(Advice::SeeHelp));
                }
            }
        }
        let mut operands = choices.words();
        // Of a pool it is the next one.
        let pod = match how.life.pool {
            Some(_) if operands.clone().next().is_none_or(|word| word == c"--") => how.life.pool,
            _ => operands.next(),
        };
        let why = match (pod, operands.next()) {
            (Some(_), behind) if behind.is_none_or(|word| word == c"--") => {
                changes |= operands.next().is_some();
                return Ok(Self {
                    how,
                    changes,
                    words,
                    pod,
                });
            }
            (None, _) => Why::NoPreparedNamed,
            (Some(_), _) => Why::TooManyWords,
        };
        let error = Error::new(What::Read, c"the command line", why);
        Err(error.advice(Advice::SeeHelp))
    }

    /// The pod, if it is named as a whole: it need not be looked for.
    #[must_use]
    pub fn whole(&self) -> Option<[u8; uuid::LENGTH]> {
        let name = self.pod.unwrap_or_default().to_bytes();
        let uuid = name.try_into().ok();
        uuid.filter(|uuid: &[u8; uuid::LENGTH]| uuid::is_one(uuid))
    }

    /// The pool from which a pod is taken.
    #[must_use]
    pub fn pool(&self) -> Option<&'static CStr> {
        self.how.life.pool
    }

    /// Where pods are, if it says that.
    #[must_use]
    pub fn state_directory(&self) -> Option<&'static CStr> {
        self.how.life.state_directory
    }
}

/// What only `stage0-full` does.
pub struct Others {
    /// Becomes that program, or is it: then nobody calls this.
    pub program: fn(Strings, Strings, &'static mut [usize]) -> i32,
    /// Makes a plan with the variables and arguments of the command line, of all of the
    /// plan, or of what pid 1 has of it.
    pub change: for<'b> fn(&Asked, &Plan<'_>, bool, &'b mut [u8]) -> Changed<'b>,
}

/// A plan that was made.
type Changed<'b> = Result<Plan<'b>, Error<'static>>;

/// Runs the prepared pod `uuid`; returns the exit code.
///
/// # Errors
/// There is no such pod, or it runs already; and as [`run::start`].
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn run<F: Features>(
    asked: &Asked,
    uuid: &[u8],
    start: Start,
    others: &Others,
) -> Result<i32, Error<'static>> {
    let name = asked.pod.unwrap_or_default();
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let (place, bytes) = bytes.split_at_mut_checked(state::NAME).unwrap_or_default();
    let (bytes, changed) = bytes.split_at_mut_checked(MAX_BYTES).unwrap_or_default();
    let given = asked.state_directory();
    let path = state::name(given, &start.environment, uuid, Folder::Run, place)?;
    let failed = |errno| failed(name, errno);
    let (read, is_parked) = begin(&Place::of(path), bytes).map_err(failed)?;
    let mut plan =
        Plan::check(read).map_err(|problem| Error::new(What::CheckPlan, name, problem.reason))?;
    let is_told = asked.how.timings.is_some() || asked.how.debug;
    if !F::ALL && (asked.changes || is_told || (!is_parked && launch::is_rare(&plan))) {
        return Ok((others.program)(
            start.arguments,
            start.environment,
            start.words,
        ));
    }
    let before = plan;
    if F::ALL && asked.changes {
        plan = (others.change)(asked, &plan, !is_parked, changed)?;
    }
    let mut how = asked.how;
    for record in before.steps().records() {
        how.limited |= record.is(Kind::MakeCgroup);
        if record.is(Kind::LimitCgroup) && is_of_memory(record.list.first()) {
            how.memory = record.list.second();
        }
        if record.is(Kind::Clone) {
            break;
        }
    }
    if is_parked {
        let changed = asked.changes.then_some(plan);
        let done = released(path, &how, before, changed);
        if let (true, Some(name)) = (F::ALL, how.life.pool) {
            let given = how.life.state_directory;
            pool::fill_behind(name, given, start.environment, start.words);
        }
        return done;
    }
    let users = if F::ALL {
        Users::of(&plan)?
    } else {
        Users::Host
    };
    Place::of(path)
        .shift(Folder::Prepared, Folder::Run)
        .map_err(failed)?;
    let rest = Rest {
        words: start.words,
        room,
        directory: Some(path),
        environment: start.environment,
        cycles: start.cycles,
        users,
    };
    run::start::<F>(plan, &how, rest)
}

#[cold]
fn failed(name: &CStr, errno: Errno) -> Error<'_> {
    let why = match errno {
        Errno::NOENT => Why::NotPrepared,
        Errno::AGAIN => Why::StartedAlready,
        errno => return Error::new(What::Begin, name, errno),
    };
    Error::new(What::Begin, name, why)
}

/// The pod is parked: it is released. What is left of it when it has ended is removed, or
/// kept, as of any other.
fn released(
    path: &'static CStr,
    how: &How<'static>,
    plan: Plan<'static>,
    changed: Option<Plan<'static>>,
) -> Result<i32, Error<'static>> {
    if how.life.detach {
        return Err(Error::new(What::ReadOption, c"--detach", Why::NotWithHold));
    }
    let changed = match changed {
        Some(plan) => Some(
            seal(plan.as_bytes()).map_err(|errno| Error::new(What::Seal, c"the plan", errno))?,
        ),
        None => None,
    };
    Place::of(path)
        .shift(Folder::Prepared, Folder::Run)
        .map_err(|errno| failed(path, errno))?;
    let cgroups = how.limited.then(|| Cgroups::look(plan));
    let directory = Directory::registered(path, how.life, true)?;
    let mut limit = TimeLimit::new(how.life.timeout, &plan);
    let flags = if how.life.keeps() {
        0
    } else {
        protocol::REMOVES
    };
    let done = Pod::open(path)
        .and_then(|pod| release::run(&pod, changed.as_ref(), flags, &mut limit))
        .map(|(code, end)| {
            // With cgroups, which can't be removed before it, the end of pid 1 comes now,
            // otherwise with that of this process.
            if !how.limited {
                core::mem::forget(end);
            }
            code
        });
    if let Err(error) = &done
        && error.cause() != Why::InitKilled.into()
    {
        // It was not released, and lives on: it is as it was.
        core::mem::forget(cgroups);
        directory.undo();
        return done;
    }
    if let (Some(cgroups), true) = (&cgroups, done.as_ref().is_ok_and(|code| *code != 0)) {
        cgroups.tell(how.memory);
    }
    let done = match done {
        Ok(_) if limit.is_over => Ok(TIME_IS_OVER),
        done => done,
    };
    directory.ended(*done.as_ref().unwrap_or(&FAILURE));
    done
}

fn is_of_memory(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.ends_with(b"/memory.max") || path.ends_with(b"/memory.limit_in_bytes")
}

/// Takes the lock of the pod, and reads its plan; also whether it is parked.
#[inline(never)]
fn begin<'b>(place: &Place<'_>, bytes: &'b mut [u8]) -> Result<(&'b [u8], bool), Errno> {
    let path = place.path(Folder::Prepared)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::open(path.as_c_str(), flags, Mode::empty())?;
    let held = directory::lock_in(&folder, 1)?;
    directory::keep(&held)?;
    directory::show(&held)?;
    // By its pid 1.
    let is_parked = lock::is_taken(held.as_fd(), 2)?;
    if !is_parked && fs::accessat(&folder, SOCKET, Access::EXISTS, AtFlags::empty()).is_ok() {
        // It was parked, and its pid 1 was killed.
        return Err(Errno::NOENT);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(&folder, c"plan", flags, Mode::empty())?;
    Ok((descriptor::read_all(file.as_raw_fd(), bytes)?, is_parked))
}
