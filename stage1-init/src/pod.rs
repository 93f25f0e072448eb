//! A pod: reads the plan that stage0 has handed over and starts its apps.

use fly::{
    error::{Error, FAILURE, INIT_TEXTS, What, Why},
    launch::app,
    plan::{Kind, MAX_APPS, Plan, Step},
    sys::{clone, descriptor},
};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, set_dumpable_behavior},
};

use crate::{
    NAME,
    stamps::Stamps,
    supervise::{App, Pod},
};

/// As many strings as most programs have, and two ends.
const FEW: usize = 48;

/// Runs the pod whose plan is in descriptor `plan`, from byte `offset` on;
/// returns its exit code.
/// `bytes` is room for the plan, `words` for exec's pointers.
pub fn run(plan: i32, offset: u64, stamps: &Stamps, bytes: &mut [u8], words: &mut [usize]) -> i32 {
    // Nobody in the pod may read pid 1's memory or open its descriptors.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    match read(plan, offset, bytes) {
        Ok(plan) => start(&plan, stamps, words),
        Err(error) => {
            error.print(NAME, INIT_TEXTS);
            FAILURE
        }
    }
}

/// The descriptor is closed: no app may inherit it.
fn read(number: i32, offset: u64, bytes: &mut [u8]) -> Result<Plan<'_>, Error<'static>> {
    let failed = |errno: Errno| Error::new(What::Read, c"the plan", errno);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut used = 0;
    loop {
        let room = bytes.get_mut(used..).unwrap_or_default();
        if room.is_empty() {
            break;
        }
        match descriptor::read_at(number, offset.saturating_add(used), room) {
            Ok(0) => break,
            Ok(count) => {
                let full = count == room.len();
                used += count;
                // A file gives all that is asked for but at its end.
                if !full {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    descriptor::close(number).map_err(failed)?;
    Plan::check(bytes.get(..used).unwrap_or_default())
        .map_err(|problem| Error::new(What::Read, c"the plan", problem.reason))
}

fn start(plan: &Plan<'_>, stamps: &Stamps, words: &mut [usize]) -> i32 {
    let mut pod = Pod::default();
    for index in 0..MAX_APPS {
        let Some(steps) = plan.app(index) else { break };
        let started = start_app(steps, plan, stamps, words);
        match started {
            Ok(app) => pod.add(app),
            Err(error) => {
                error.print(NAME, INIT_TEXTS);
                pod.fail(FAILURE);
                break;
            }
        }
    }
    pod.supervise(stamps)
}

/// The child runs in our memory until its exec: an error comes back without a
/// pipe.
fn start_app<'p>(
    steps: fly::plan::Steps<'p>,
    plan: &Plan<'p>,
    stamps: &Stamps,
    words: &mut [usize],
) -> Result<App, Error<'p>> {
    let mut failure = Some(Error::new(What::Start, c"an app", Why::Killed));
    // Where the app's steps begin in the plan: before them are those of the
    // apps before it.
    let first = plan.steps().count().saturating_sub(steps.clone().count());
    // Most programs have few arguments and variables: their pointers are on the
    // stack, which is there already, and cost no page fault.
    let mut few = [0; FEW];
    let child = clone::vfork(0, None, |_| {
        let mut words = &mut *words;
        for (number, record) in steps.clone().records().enumerate() {
            if record.is(Kind::Exec) {
                stamps.send((first + number) as u64, stamps.cycles());
                failure = None;
                if record.list.len() + 2 <= FEW {
                    words = &mut few;
                }
            }
            if let Err(error) = app::step::<true>(&record, words) {
                failure = Some(error);
                return FAILURE;
            }
            stamps.send((first + number) as u64, stamps.cycles());
        }
        FAILURE
    })
    .map_err(|errno| Error::new(What::Start, c"an app", errno))?;
    if let Some(error) = failure {
        return Err(error);
    }
    let mut app = App::new(child.pid);
    for step in steps {
        match step {
            Step::Stop { signal, deadline } => app.stop(u32::from(signal), deadline),
            Step::Exec { .. } => break,
            _ => {}
        }
    }
    Ok(app)
}
