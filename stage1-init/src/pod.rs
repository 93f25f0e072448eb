//! A pod: reads the plan that stage0 has handed over and starts its apps.

use fly::{
    error::{Error, FAILURE, INIT_TEXTS, What, Why},
    launch::app,
    plan::{Kind, MAX_APPS, Plan, Problem, Record, Steps},
    sys::{
        clone, descriptor,
        map::{Forever, Sealed},
        reserved::Reserved,
    },
};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::set_name,
};

use crate::{
    NAME, apps::App, control, report::Report, stamps::Stamps, stdio, supervise::Pod, understudy,
};

/// As many bytes as most plans have.
const FEW_BYTES: usize = 1280;
/// As many strings as most programs have, a variable and two ends.
const FEW: usize = 48;

/// What stage0 hands over.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file with the plan.
    pub plan: i32,
    /// The byte of it where the plan begins.
    pub offset: usize,
    /// The pod's directory, or -1.
    pub directory: i32,
    /// Nothing starts until the pod is released.
    pub held: bool,
}

impl Source {
    /// Nothing, as of a machine, which has read its plan itself.
    pub(crate) const NONE: Self = Self {
        plan: -1,
        offset: 0,
        directory: -1,
        held: false,
    };
}

/// Runs the pod of this plan; returns its exit code.
/// `bytes` is room for the plan, `words` for exec's pointers.
#[inline]
pub fn run(source: Source, stamps: Stamps, bytes: &'static mut [u8], words: &mut [usize]) -> i32 {
    // Nobody in the pod may read pid 1's memory or open its descriptors.
    let _ = not_dumpable();
    // It has that of a memory file, or, before Linux 6.14, of a descriptor: "3".
    let _ = set_name(c"stage1-init");
    run_from(source, stamps, bytes, words).unwrap_or_else(|error| {
        error.print(NAME, INIT_TEXTS);
        FAILURE
    })
}

#[inline(never)]
fn not_dumpable() -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[inline]
fn run_from(
    source: Source,
    stamps: Stamps,
    bytes: &'static mut [u8],
    words: &mut [usize],
) -> Result<i32, Error<'static>> {
    // One that is registered lives longer, as a rule: it gives the memory of its plan back.
    if !source.held
        && source.directory < 0
        && let Some(code) = run_small(source, stamps, words)?
    {
        return Ok(code);
    }
    let number = source.plan;
    let map = Sealed::map(number, source.offset).map(Sealed::forever).ok();
    let read = match &map {
        Some(map) => map.bytes(),
        None => {
            // It is on a tmpfs where memory files may not be executed.
            let used = fill(number, source.offset, bytes).map_err(unread)?;
            bytes.get(..used).unwrap_or_default()
        }
    };
    // No app may inherit it.
    descriptor::close(number).map_err(unread)?;
    let plan = checked(Plan::check_apps(read))?;
    if source.held {
        understudy::start(&plan, source.directory);
    }
    Ok(start(&plan, source, map, stamps, words))
}

/// Most plans are small: they are on the stack, which is there already, and cost no
/// page fault. `None` if the plan is not; by itself, so that such a pod has no room for
/// a small one on its stack.
#[inline(never)]
fn run_small(
    source: Source,
    stamps: Stamps,
    words: &mut [usize],
) -> Result<Option<i32>, Error<'static>> {
    let mut few = [0; FEW_BYTES];
    let used = fill(source.plan, source.offset, &mut few).map_err(unread)?;
    if used == FEW_BYTES {
        return Ok(None);
    }
    descriptor::close(source.plan).map_err(unread)?;
    let plan = checked(Plan::check_apps(few.get(..used).unwrap_or_default()))?;
    Ok(Some(start(&plan, source, None, stamps, words)))
}

fn unread(errno: Errno) -> Error<'static> {
    Error::new(What::Read, c"the plan", errno)
}

fn checked(plan: Result<Plan<'_>, Problem>) -> Result<Plan<'_>, Error<'static>> {
    plan.map_err(|problem| Error::new(What::Read, c"the plan", problem.reason))
}

/// The plan of a machine, in a file, which is closed.
pub(crate) fn read(number: i32, bytes: &mut [u8]) -> Result<Plan<'_>, Error<'static>> {
    let used = fill(number, 0, bytes).map_err(unread)?;
    descriptor::close(number).map_err(unread)?;
    checked(Plan::check_machine(bytes.get(..used).unwrap_or_default()))
}

/// Reads until `room` is full or the file ends; returns how much there was.
#[inline(never)]
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

/// As many apps as most pods have: a place costs 120 bytes, and its first use a page.
const FEW_APPS: usize = 4;

/// Starts the apps and waits for them; returns the pod's exit code. `map` is the plan's
/// memory.
#[inline(never)]
pub(crate) fn start(
    plan: &Plan<'_>,
    source: Source,
    map: Option<Forever>,
    stamps: Stamps,
    words: &mut [usize],
) -> i32 {
    let directory = source.directory;
    let report = Report::new(plan, directory);
    if source.held && control::socket() < 0 {
        // Nobody could find it, and who has prepared it waits for that socket.
        return FAILURE;
    }
    let pod = Pod::new(plan, report, map, stamps, words, source.held);
    if plan.app(FEW_APPS).is_some() || directory >= 0 {
        return start_many(pod);
    }
    start_few(pod)
}

#[inline(never)]
fn start_few(pod: Pod<'_, '_>) -> i32 {
    pod.supervise(&mut [const { App::NONE }; FEW_APPS])
}

/// Places for all apps that a pod may ever have: most of them are never looked at.
static PLACES: Reserved<[App; MAX_APPS]> = Reserved::new([const { App::NONE }; MAX_APPS]);

#[cold]
#[inline(never)]
fn start_many(pod: Pod<'_, '_>) -> i32 {
    match PLACES.take() {
        Some(places) => pod.supervise(places),
        None => FAILURE,
    }
}

/// What is started: what the step of kind `program` names, by the steps of the app `app`
/// of `apps`.
pub(crate) struct Spawn<'s, 'p> {
    pub(crate) steps: Steps<'p>,
    pub(crate) program: Kind,
    pub(crate) apps: &'s [App],
    pub(crate) app: &'s App,
    /// It is an understudy, which has no streams of its own, and waits.
    pub(crate) waits: bool,
    /// What becomes its standard streams, or -1.
    pub(crate) passed: &'s [i32; 3],
    /// The number of the first step, to which times are told.
    pub(crate) stamps: Stamps,
    pub(crate) first: usize,
    pub(crate) words: &'s mut [usize],
    /// Why it was not started.
    pub(crate) failure: Option<Error<'p>>,
}

impl<'p> Spawn<'_, 'p> {
    /// Starts it, or lets its understudy go on; returns its pid, or 0 if it could not be
    /// started, which is told. The child runs in our memory until its exec: an error comes
    /// back without a pipe.
    #[inline]
    pub(crate) fn start(mut self) -> u32 {
        let understudy = understudy::go();
        if understudy != 0 {
            return understudy;
        }
        let namespaces = self.app.namespaces;
        self.failure = Some(Error::new(What::Start, c"an app", Why::Killed));
        let this = &mut self;
        let pid = clone::vfork_by_pid_in(namespaces, move |_| {
            if let Err(error) = this.become_program() {
                this.failure = Some(stdio::told(error, this.passed));
            }
            FAILURE
        });
        let error = match (pid, self.failure) {
            (Ok(pid), None) => return pid,
            (Err(errno), _) => Error::new(What::Start, c"an app", errno),
            (_, Some(error)) => error,
        };
        error.print(NAME, INIT_TEXTS);
        0
    }

    /// The child's part: returns only if it has failed.
    #[inline(never)]
    pub(crate) fn become_program(&mut self) -> Result<(), Error<'p>> {
        if self.passed[2] >= 0 {
            stdio::take(self.passed).map_err(|errno| Error::new(What::Start, c"an app", errno))?;
        }
        // Most programs have few arguments and variables: their pointers are on the
        // stack, which is there already, and cost no page fault.
        let few = &mut [0; FEW];
        let mut words = &mut *self.words;
        let mut tag = self.first as u64;
        for mut record in self.steps.clone().records() {
            if self.program != Kind::Exec && is_of_user(&record) {
                // Nothing is to be done.
                record.kind = Kind::App as u16;
            }
            if self.waits && (stdio::is_policy(&record) || record.is(Kind::WorkingDirectory)) {
                // Its streams are its own, or the directory may be another one by then.
                break;
            }
            if stdio::is_policy(&record) {
                stdio::policy(&record, self.apps, self.app)?;
                tag = tag.wrapping_add(1);
                continue;
            }
            if record.is(Kind::Exec) {
                let mut listens = self.app.listens;
                if self.program != Kind::Exec {
                    become_hook(&mut record, &self.steps, self.program);
                    listens = 0;
                }
                self.stamps.tell(tag);
                self.failure = None;
                if record.list.len() + 3 <= FEW {
                    words = &mut *few;
                }
                // Too many for it, or it can't wait: it ends before it is needed.
                if self.waits && (words.is_empty() || !understudy::waits()) {
                    break;
                }
                if listens != 0 {
                    return Err(stdio::execute(&record, listens, words));
                }
            }
            app::step(&record, words)?;
            // Other ids make the memory readable to who has them, by some settings of the
            // machine, and it is pid 1's, too.
            if self.waits && not_dumpable().is_err() {
                break;
            }
            self.stamps.tell(tag);
            tag = tag.wrapping_add(1);
        }
        Ok(())
    }
}

/// Whether a step makes the process another user's than root's, or takes away what root may
/// do: a hook is root's, whoever its app is, and its exec leaves it what the app's bounding
/// set has (capabilities(7)).
#[inline]
fn is_of_user(record: &Record<'_>) -> bool {
    const GROUPS: u16 = Kind::Groups as u16;
    const GROUP: u16 = Kind::Group as u16;
    const USER: u16 = Kind::User as u16;
    const CAPABILITIES: u16 = Kind::Capabilities as u16;
    const KEEP: u16 = Kind::KeepCapabilities as u16;
    const AMBIENT: u16 = Kind::Ambient as u16;
    matches!(
        record.kind,
        GROUPS | GROUP | USER | CAPABILITIES | KEEP | AMBIENT
    )
}

/// The program's step becomes that of this kind, which the app has.
#[cold]
fn become_hook<'p>(record: &mut Record<'p>, steps: &Steps<'p>, kind: Kind) {
    for hook in steps.clone().records() {
        if hook.is(kind) {
            *record = hook;
            break;
        }
    }
    record.kind = Kind::Exec as u16;
}
