//! `stage0 run-prepared`: a pod whose plan is there. Nothing is parsed but that it is one.

use core::{ffi::CStr, mem::ManuallyDrop};

use fly::{
    error::{Advice, Error, FAILURE, What, Why},
    launch::{self, KEPT, ROOM},
    plan::{MAX_BYTES, Plan},
    sys::{
        descriptor,
        entry::{Start, Strings, StringsIter},
        lock,
    },
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, Access, AtFlags, Mode, OFlags},
    io::Errno,
    process::fchdir,
};

use stage1_init::control::{SOCKET, protocol};

use crate::{
    cgroups::{self, Cgroups},
    client::{self, Pod, seal},
    directory::{self, Directory},
    lower::Features,
    options::{Choice, Choices, Life, Lives},
    pool, release,
    run::{self, How, TIME_IS_OVER},
    start::Rest,
    state::{self, Folder, Place},
    streams::{self, Streams},
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
    /// Reads the words behind the command, each program by its own iterator.
    ///
    /// # Errors
    /// Names the option that is unknown, or not one of a run; or no pod is named.
    pub fn read<I>(start: &Start, by: fn(StringsIter) -> I) -> Result<Self, Error<'static>>
    where
        I: Iterator<Item = &'static CStr> + Clone,
    {
        let words = start.arguments.without_first().without_first();
        let mut choices = Choices::new(by(words.iter()));
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
                Some(Choice::Life(life)) if !matches!(life, Life::Warm(_)) => how.life.set(life),
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
        let pod = how.life.pool.or_else(|| operands.next());
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

    /// A parked pod has more than a plan by now.
    ///
    /// # Errors
    /// Names what can't be had with it.
    #[inline]
    pub fn check_warm<F: Features>(&self) -> Result<(), Error<'static>> {
        let option = if self.how.life.detach {
            c"--detach"
        } else if F::ALL && self.how.timings.is_some() {
            c"--timings"
        } else {
            return Ok(());
        };
        Err(Error::new(What::ReadOption, option, Why::NotWithHold))
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
    directory::make_room();
    let name = asked.pod.unwrap_or_default();
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let given = asked.state_directory();
    let parts = [b"/", Folder::Run.name().as_bytes(), b"/", uuid];
    let (path, bytes) = state::name(given, &start.environment, &parts, bytes)?;
    let failed = |errno| failed(name, errno);
    let is_told = asked.how.timings.is_some() || asked.how.debug;
    let is_plain = !asked.changes && !is_told && asked.how.life.timeout == 0;
    let (from, bytes) = Place::of(path).name(Folder::Prepared, bytes);
    let (bytes, changed) = bytes.split_at_mut_checked(MAX_BYTES).unwrap_or_default();
    let begun = begin(from, is_plain).map_err(failed)?;
    let is_parked = begun.is_parked;
    let Some(file) = begun.plan else {
        let known = Known::Later(bytes);
        let done = released::<F>((path, begun.folder), asked, known, None);
        return finish::<F>(asked, done, start.environment, start.words);
    };
    let read = descriptor::read_all(file.as_raw_fd(), bytes).map_err(failed)?;
    drop(file);
    let mut plan =
        Plan::check(read).map_err(|problem| Error::new(What::CheckPlan, name, problem.reason))?;
    let is_rare = begun.has_streams || (!is_parked && launch::is_rare(&plan));
    if !F::ALL && (asked.changes || is_told || is_rare) {
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
    if is_parked {
        let changed = asked.changes.then_some(plan);
        let done = released::<F>((path, begun.folder), asked, Known::Now(before), changed);
        return finish::<F>(asked, done, start.environment, start.words);
    }
    // The launch closes all that is open.
    drop(begun.folder);
    let mut how = asked.how;
    how.limited = cgroups::are_made(&before);
    let users = if F::ALL {
        Users::of(&plan)?
    } else {
        Users::Host
    };
    shift(path).map_err(failed)?;
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

/// A pod that was parked has ended; another one takes its place in a pool.
#[cold]
#[inline(never)]
fn finish<F: Features>(
    asked: &Asked,
    done: Result<i32, Error<'static>>,
    environment: Strings,
    words: &'static mut [usize],
) -> Result<i32, Error<'static>> {
    if let (true, Some(name)) = (F::ALL, asked.how.life.pool) {
        let given = asked.how.life.state_directory;
        pool::fill_behind(name, given, environment, words);
    }
    done
}

/// The plan of a pod that is parked.
enum Known {
    Now(Plan<'static>),
    /// In the working directory, with room for it: most pods need it for their cgroups
    /// alone, when they have ended.
    Later(&'static mut [u8]),
}

impl Known {
    /// The plan; none where it was damaged since, which pid 1 does not mind.
    fn read(self) -> Option<Plan<'static>> {
        match self {
            Self::Now(plan) => Some(plan),
            Self::Later(bytes) => Plan::check(descriptor::read_file(c"plan", bytes)).ok(),
        }
    }
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
#[inline(never)]
fn released<F: Features>(
    (path, folder): (&'static CStr, OwnedFd),
    asked: &Asked,
    known: Known,
    changed: Option<Plan<'static>>,
) -> Result<i32, Error<'static>> {
    asked.check_warm::<F>()?;
    let how = &asked.how;
    let changed = changed.map(|plan| seal(plan.as_bytes())).transpose();
    let changed = changed.map_err(|errno| Error::new(What::Seal, c"the plan", errno))?;
    // What comes from here on is for the pod: nobody else would release it.
    launch::block_signals();
    let directory = enter(path, &folder, how.life)?;
    let mut limit = match &known {
        Known::Now(plan) => TimeLimit::new(how.life.timeout, plan),
        Known::Later(..) => TimeLimit::NONE,
    };
    let plan = match &known {
        Known::Now(plan) if F::ALL => Some(*plan),
        _ => None,
    };
    let flags = if how.life.keeps() {
        0
    } else {
        protocol::REMOVES
    };
    let mut known = Some(known);
    let (mut cgroups, mut is_damaged) = (None, false);
    let mut meanwhile = || match known.take().and_then(Known::read) {
        Some(plan) => cgroups = Cgroups::of(plan),
        None => is_damaged = true,
    };
    let asked = (changed.as_ref(), flags);
    let done = go::<F>(path, plan, asked, &mut limit, &mut meanwhile);
    let damaged = is_damaged.then(|| Place::of(path).uuid);
    let (done, was_released) = release::ended(done, cgroups, damaged);
    if !was_released {
        // It lives on, as it was.
        directory.undo();
        return done;
    }
    // Also where it had to be killed for that.
    let done = if limit.is_over {
        Ok(TIME_IS_OVER)
    } else {
        done
    };
    directory.ended_in(fs::CWD, *done.as_ref().unwrap_or(&FAILURE));
    done
}

/// Releases it; standard inputs of its plan that can be attached are held meanwhile.
fn go<'a, F: Features>(
    path: &'a CStr,
    plan: Option<Plan<'_>>,
    (changed, flags): (Option<&OwnedFd>, u32),
    limit: &mut TimeLimit,
    meanwhile: &mut dyn FnMut(),
) -> Result<(i32, OwnedFd), Error<'a>> {
    // Closed by the end of this process, as all that is open.
    let pod = ManuallyDrop::new(Pod::here(path)?);
    if F::ALL {
        let streams = match &plan {
            Some(plan) => attachable(plan, path)?,
            None => None,
        };
        return release::run(&pod, changed, flags, limit, (&streams, meanwhile));
    }
    release::run(&pod, changed, flags, limit, (&(), meanwhile))
}

/// The standard inputs of the pod that can be attached.
#[cold]
#[inline(never)]
fn attachable<'a>(plan: &Plan<'_>, path: &'a CStr) -> Result<Option<Streams>, Error<'a>> {
    let held = streams::hold(plan, path).map_err(|errno| failed(path, errno))?;
    Ok(Streams::watch(held, path))
}

/// Moves it to those that run: others may see that it does.
fn shift(path: &CStr) -> Result<(), Errno> {
    let lock = descriptor::get(KEPT);
    directory::show(lock)?;
    let place = Place::of(path);
    place
        .shift(Folder::Prepared, Folder::Run)
        .inspect_err(|_| _ = directory::hide(lock))
}

/// The same of one that is parked, whose directory `folder` becomes the working directory,
/// behind all that is named beside that of the caller.
fn enter<'a>(
    path: &'a CStr,
    folder: &OwnedFd,
    life: Lives<'a>,
) -> Result<Directory<'a>, Error<'a>> {
    shift(path).map_err(|errno| failed(path, errno))?;
    let directory = Directory::registered(path, life, true)?;
    fchdir(folder).map_err(|errno| {
        directory.undo();
        failed(path, errno)
    })?;
    Ok(directory)
}

/// A pod whose lock was taken.
struct Begun {
    /// Its directory, of which no more is open than what it is.
    folder: OwnedFd,
    is_parked: bool,
    /// Who starts or releases it has to hold standard inputs.
    has_streams: bool,
    /// Its plan, which is not needed yet of one that is parked, without streams, when nothing
    /// is asked for beside its release.
    plan: Option<OwnedFd>,
}

/// Takes the lock of the pod in the directory `path`.
#[inline(never)]
fn begin(path: &CStr, is_plain: bool) -> Result<Begun, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = fs::open(path, flags, Mode::empty())?;
    // What is passed on as a standard stream is none of ours.
    if folder.as_raw_fd() < 3 {
        drop(folder);
        client::fill_streams();
        folder = fs::open(path, flags, Mode::empty())?;
    }
    let held = directory::lock_in(&folder, 1)?;
    directory::keep(&held)?;
    // By its pid 1.
    let is_parked = lock::is_taken(held.as_fd(), 2)?;
    if !is_parked && fs::accessat(&folder, SOCKET, Access::EXISTS, AtFlags::empty()).is_ok() {
        // It was parked, and its pid 1 was killed.
        return Err(Errno::NOENT);
    }
    // With one folder, that of the codes, there is none of streams: to look for what is not
    // there costs four times as much. Not all file systems count them.
    let has_streams = fs::fstat(&folder)?.st_nlink != 3
        && fs::accessat(&folder, streams::FOLDER, Access::EXISTS, AtFlags::empty()).is_ok();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let plan = if is_parked && is_plain && !has_streams {
        None
    } else {
        Some(fs::openat(&folder, c"plan", flags, Mode::empty())?)
    };
    Ok(Begun {
        folder,
        is_parked,
        has_streams,
        plan,
    })
}
