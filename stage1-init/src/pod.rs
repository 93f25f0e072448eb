//! A pod: reads the plan that stage0 has handed over and starts its apps.

use fly::{
    error::{Error, FAILURE, INIT_TEXTS, What, Why},
    launch::app,
    plan::{Kind, MAX_APPS, Plan, Record, Steps},
    sys::{clone, descriptor},
};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, set_dumpable_behavior},
};

use crate::{NAME, apps::App, namespace::NAMESPACES, stamps::Stamps, stdio, supervise::Pod};

/// As many bytes as most plans have.
const FEW_BYTES: usize = 1024;
/// As many strings as most programs have, a variable and two ends.
const FEW: usize = 48;

/// Runs the pod whose plan is in descriptor `plan`, from byte `offset` on;
/// returns its exit code.
/// `bytes` is room for the plan, `words` for exec's pointers.
pub fn run(plan: i32, offset: u64, stamps: &Stamps, bytes: &mut [u8], words: &mut [usize]) -> i32 {
    // Nobody in the pod may read pid 1's memory or open its descriptors.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Most plans are small: they are on the stack, which is there already, and
    // cost no page fault.
    let mut few = [0; FEW_BYTES];
    match read(plan, offset, &mut few, bytes) {
        Ok(plan) => start(&plan, stamps, words),
        Err(error) => {
            error.print(NAME, INIT_TEXTS);
            FAILURE
        }
    }
}

/// The plan, in `few` if it fits, otherwise in `bytes`. The descriptor is
/// closed: no app may inherit it.
pub(crate) fn read<'b>(
    number: i32,
    offset: u64,
    few: &'b mut [u8],
    bytes: &'b mut [u8],
) -> Result<Plan<'b>, Error<'static>> {
    let failed = |errno: Errno| Error::new(What::Read, c"the plan", errno);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut used = fill(number, offset, few).map_err(failed)?;
    let mut place = few;
    if used == place.len() {
        place = bytes;
        used = fill(number, offset, place).map_err(failed)?;
    }
    descriptor::close(number).map_err(failed)?;
    Plan::check(place.get(..used).unwrap_or_default())
        .map_err(|problem| Error::new(What::Read, c"the plan", problem.reason))
}

/// Reads until `room` is full or the file ends; returns how much there was.
fn fill(number: i32, offset: usize, room: &mut [u8]) -> Result<usize, Errno> {
    let mut used = 0;
    while let Some(rest @ [_, ..]) = room.get_mut(used..) {
        let asked = rest.len();
        match descriptor::read_at(number, offset.saturating_add(used), rest) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(count) => {
                used += count;
                // A file gives all that is asked for but at its end.
                if count < asked {
                    break;
                }
            }
        }
    }
    Ok(used)
}

/// As many apps as most pods have: a place costs 96 bytes, and its first use a page.
const FEW_APPS: usize = 4;

/// Starts the apps and waits for them; returns the pod's exit code.
pub(crate) fn start(plan: &Plan<'_>, stamps: &Stamps, words: &mut [usize]) -> i32 {
    if plan.app(FEW_APPS).is_some() {
        return start_many(plan, stamps, words);
    }
    start_in(&mut [App::NONE; FEW_APPS], plan, stamps, words)
}

#[cold]
#[inline(never)]
fn start_many(plan: &Plan<'_>, stamps: &Stamps, words: &mut [usize]) -> i32 {
    start_in(&mut [App::NONE; MAX_APPS], plan, stamps, words)
}

#[inline(never)]
fn start_in(apps: &mut [App], plan: &Plan<'_>, stamps: &Stamps, words: &mut [usize]) -> i32 {
    Pod::new(apps, plan, stamps, words).supervise()
}

/// Starts what the step of kind `program` names, by the steps of the app number
/// `index`; returns its pid. The child runs in our memory until its exec: an error
/// comes back without a pipe.
pub(crate) fn spawn<'p>(
    steps: &Steps<'p>,
    program: Kind,
    (apps, index): (&[App], usize),
    plan: &Plan<'p>,
    stamps: &Stamps,
    words: &mut [usize],
) -> Result<u32, Error<'p>> {
    let mut failure = Some(Error::new(What::Start, c"an app", Why::Killed));
    // Where the app's steps begin in the plan: before them are those of the
    // apps before it. Only time stamps are told by number.
    let first = if stamps.are_wanted() {
        plan.steps().count().saturating_sub(steps.clone().count())
    } else {
        0
    };
    // Most programs have few arguments and variables: their pointers are on the
    // stack, which is there already, and cost no page fault.
    let mut few = [0; FEW];
    let app = apps.get(index);
    let namespaces = match app {
        Some(app) if app.first_of_its_own => NAMESPACES,
        _ => 0,
    };
    let pid = clone::vfork_by_pid_in(namespaces, |_| {
        let mut words = &mut *words;
        for (number, mut record) in steps.clone().records().enumerate() {
            match stdio::policy(&record, apps, index) {
                None => {}
                Some(Ok(())) => continue,
                Some(Err(error)) => {
                    failure = Some(error);
                    return FAILURE;
                }
            }
            if record.is(Kind::Exec) {
                if program != Kind::Exec {
                    record = hook(steps, program);
                }
                stamps.send((first + number) as u64, stamps.cycles());
                failure = None;
                if record.list.len() + 3 <= FEW {
                    words = &mut few;
                }
            }
            let listens = app.map_or(0, |app| app.listens);
            let done = if listens != 0 && record.is(Kind::Exec) && program == Kind::Exec {
                Err(stdio::execute(&record, listens, words))
            } else {
                app::step(&record, words)
            };
            if let Err(error) = done {
                failure = Some(error);
                return FAILURE;
            }
            stamps.send((first + number) as u64, stamps.cycles());
        }
        FAILURE
    })
    .map_err(|errno| Error::new(What::Start, c"an app", errno))?;
    match failure {
        Some(error) => Err(error),
        None => Ok(pid),
    }
}

/// The step of this kind, as one that becomes its program.
#[cold]
fn hook<'p>(steps: &Steps<'p>, kind: Kind) -> Record<'p> {
    let found = steps.clone().records().find(|record| record.is(kind));
    Record {
        kind: Kind::Exec as u16,
        ..found.unwrap_or_default()
    }
}
