//! `stage0 run-prepared`: a pod whose plan is there. Nothing is parsed but that it is one.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    launch::{self, ROOM, path::Path},
    plan::{Kind, Plan},
    sys::{
        descriptor,
        entry::{Start, Strings},
    },
    text::copy,
};
use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
    io::Errno,
};

use crate::{
    directory,
    lower::Features,
    options::{Choice, Choices, Lives},
    run::{self, How},
    start::Rest,
    state::{self, Folder, Place},
    users::Users,
    uuid,
};

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    how: How<'static>,
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
                Some(Choice::Debug) => how.debug = true,
                Some(Choice::Help) => return Ok(Self { how, pod: None }),
                Some(_) => {
                    let error = Error::new(What::ReadOption, word, Why::OfThePreparation);
                    return Err(error.advice(Advice::SeeHelp));
                }
            }
        }
        let mut operands = choices.operands();
        let pod = operands.next();
        let why = match (pod, operands.next()) {
            (Some(_), None) => return Ok(Self { how, pod }),
            (None, _) => Why::NoPreparedNamed,
            (_, Some(_)) => Why::TooManyWords,
        };
        let error = Error::new(What::Read, c"the command line", why);
        Err(error.advice(Advice::SeeHelp))
    }

    /// Where pods are, if it says that.
    #[must_use]
    pub fn state_directory(&self) -> Option<&'static CStr> {
        self.how.life.state_directory
    }
}

/// Runs the prepared pod `uuid`; returns the exit code. If it needs what this program does
/// not hold, `other` becomes the one that does.
///
/// # Errors
/// There is no such pod, or it runs already; and as [`run::start`].
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn run<F: Features>(
    asked: &Asked,
    uuid: &[u8],
    start: Start,
    other: fn(Strings, Strings, &'static mut [usize]) -> i32,
) -> Result<i32, Error<'static>> {
    let name = asked.pod.unwrap_or_default();
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let (place, bytes) = bytes.split_at_mut_checked(state::NAME).unwrap_or_default();
    let path = path(asked, uuid, &start.environment, place)?;
    let failed = |errno| {
        let why = match errno {
            Errno::NOENT => Why::NotPrepared,
            Errno::AGAIN => Why::StartedAlready,
            errno => return Error::new(What::Begin, name, errno),
        };
        Error::new(What::Begin, name, why)
    };
    let read = begin(&Place::of(path), bytes).map_err(failed)?;
    let plan =
        Plan::check(read).map_err(|problem| Error::new(What::CheckPlan, name, problem.reason))?;
    if !F::ALL && launch::is_rare(&plan) {
        return Ok(other(start.arguments, start.environment, start.words));
    }
    let users = if F::ALL {
        Users::of(&plan)?
    } else {
        Users::Host
    };
    Place::of(path)
        .shift(Folder::Prepared, Folder::Run)
        .map_err(failed)?;
    let mut how = asked.how;
    for record in plan.steps().records() {
        how.limited |= record.is(Kind::MakeCgroup);
        if record.is(Kind::LimitCgroup) && is_of_memory(record.list.first()) {
            how.memory = record.list.second();
        }
        if record.is(Kind::Clone) {
            break;
        }
    }
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

fn is_of_memory(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.ends_with(b"/memory.max") || path.ends_with(b"/memory.limit_in_bytes")
}

/// The path of the pod as which it is going to run.
#[inline(never)]
fn path<'p>(
    asked: &Asked,
    uuid: &[u8],
    environment: &Strings,
    place: &'p mut [u8],
) -> Result<&'p CStr, Error<'static>> {
    let mut path = Path::new();
    state::root(asked.state_directory(), environment, &mut path)?;
    path.append(&[b"/run/", uuid])
        .map_err(|errno| Error::new(What::ReadOption, c"--state-dir", errno))?;
    copy(place, path.as_bytes());
    Ok(fly::sys::memory::c_str(place).unwrap_or_default())
}

/// Takes the lock of the pod, and reads its plan.
#[inline(never)]
fn begin<'b>(place: &Place<'_>, bytes: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let path = place.path(Folder::Prepared)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::open(path.as_c_str(), flags, Mode::empty())?;
    let lock = directory::lock_in(&folder, 1)?;
    directory::keep(&lock)?;
    directory::show(&lock)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(&folder, c"plan", flags, Mode::empty())?;
    let mut used = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(used..) {
        match descriptor::read(file.as_raw_fd(), rest)? {
            0 => break,
            count => used += count,
        }
    }
    Ok(bytes.get(..used).unwrap_or_default())
}

/// Whether a word is the whole name of a pod, which then need not be looked for.
#[must_use]
pub fn is_whole(word: &CStr) -> bool {
    uuid::is_one(word.to_bytes())
}
