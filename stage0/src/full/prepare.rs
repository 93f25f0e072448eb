//! `stage0 prepare`: the plan of a pod beside its directory, for `run-prepared`.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, FAILURE, What, Why},
    launch::{KEPT, path::Path},
    plan::{Builder, Kind, MAX_BYTES, Plan, Record},
    sys::{
        descriptor,
        entry::{Start, Strings, StringsIter},
        path::working_directory,
        signal::{self, Set},
    },
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, Access},
    io::Errno,
};

use super::{manifest, pods::Pods, pool, release};
use crate::{
    client, directory,
    lower::All,
    options::{self, Options},
    pool::is_parked,
    prepared::{self, Asked},
    remove,
    run::{self, How},
    start::{self, Aim, Rest},
    state::{self, Folder, Place},
};

/// Carries out `stage0 prepare`; returns the exit code.
pub fn prepare(arguments: StringsIter, mut start: Start) -> i32 {
    let words = match manifest::expand(manifest::Words::Given(arguments), &mut start) {
        Ok(words) => words,
        Err(error) => return super::fail(error),
    };
    match options::parse(words) {
        Ok(None) => super::print(super::HELP),
        Err(error) => super::fail(error),
        Ok(Some(mut options)) => {
            let pod_directory = options.pod_directory.map(|_| c"--pod-dir");
            if let Some(option) = options.life.is_of_a_run().or(pod_directory) {
                return refuse(option, Why::NotForPrepare);
            }
            options.life.register();
            options.hold = options.life.warm;
            if options.output.is_some() {
                return refuse(c"--output", Why::OnlyForPlan);
            }
            if let (Some(_), false) = (options.life.pool, options.hold) {
                return refuse(c"--pool", Why::OnlyWarm);
            }
            if options.hold && options.terminal == Some(true) {
                return refuse(c"--tty", Why::NotWithHold);
            }
            let (room, bytes) = start
                .bytes
                .split_at_mut_checked(MAX_BYTES)
                .unwrap_or_default();
            start.bytes = bytes;
            start::pod(&options, start, Prepare { room })
        }
    }
}

/// It can't be said here.
fn refuse(option: &CStr, why: Why) -> i32 {
    super::fail(Error::new(What::ReadOption, option, why).advice(Advice::SeeHelp))
}

/// Writes the plan into the directory of a new pod.
struct Prepare {
    /// For another plan.
    room: &'static mut [u8],
}

impl Aim for Prepare {
    const STARTS: bool = false;
    type Features = All;
    const IS_LATER: bool = true;

    fn reach<'e, 'a: 'e, I>(
        &mut self,
        plan: Plan<'e>,
        options: &Options<'a, I>,
        rest: Rest<'e>,
    ) -> Result<i32, Error<'e>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        if let Some(option) = of_now(&plan) {
            return Ok(refuse(option, Why::NotForPrepare));
        }
        directory::make_room();
        let plan = absolute(plan, core::mem::take(&mut self.room))?;
        let path = rest.directory.unwrap_or_default();
        let place = Place::of(path);
        if options.life.warm {
            return park(plan, options, rest);
        }
        directory::make::<All>(&place, Folder::Prepare, Folder::Prepared, &plan)
            .map_err(|errno| Error::new(What::Register, path, errno))?;
        if let Some(file) = options.life.uuid_file
            && let Err(errno) = directory::save(file, place.uuid)
        {
            discard(&place, Folder::Prepared);
            return Err(Error::new(What::WriteFile, file, errno));
        }
        // Who has gone, and does not read it, is told as anybody who can't be.
        signal::set_mask(Set::only(raw::SIGPIPE));
        // From here on it can be started.
        let _ = descriptor::close(KEPT);
        tell(1, &place, options, &rest.environment)
    }
}

/// The steps whose first text is a path of the host.
const HOST_PATHS: [Kind; 9] = [
    Kind::OpenDirectory,
    Kind::OpenTree,
    Kind::Overlay,
    Kind::OwnOverlay,
    Kind::OverlayIn,
    Kind::MappedTree,
    Kind::OpenCgroup,
    Kind::JoinNetwork,
    Kind::Seal,
];

/// Whether a step depends on where the launcher is called.
fn is_relative(record: &Record<'_>) -> bool {
    let is_path = HOST_PATHS.iter().any(|kind| record.is(*kind));
    is_path && !record.list.first().to_bytes().starts_with(b"/")
}

/// The plan with paths that do not depend on where it is carried out: they are meant as they
/// are where it is made.
fn absolute<'e>(plan: Plan<'e>, room: &'static mut [u8]) -> Result<Plan<'e>, Error<'e>> {
    if !plan.steps().records().any(|record| is_relative(&record)) {
        return Ok(plan);
    }
    let mut folder = Path::new();
    let length =
        working_directory(folder.buffer()).map_err(|errno| Error::new(What::Open, c".", errno))?;
    folder.cut(length.saturating_sub(1));
    if !folder.as_bytes().starts_with(b"/") {
        // It is outside of this process's root.
        return Err(Error::new(What::Open, c".", Errno::NOENT));
    }
    let mut builder = Builder::new(room);
    for record in plan.steps().records() {
        let parts: &[&[u8]] = if is_relative(&record) {
            &[folder.as_bytes(), b"/"]
        } else {
            &[]
        };
        builder.copy_behind(parts, &record);
    }
    builder.finish().map_err(start::refused)
}

/// Starts the pod, but for its programs.
fn park<'e, 'a: 'e, I>(
    plan: Plan<'e>,
    options: &Options<'a, I>,
    rest: Rest<'e>,
) -> Result<i32, Error<'e>> {
    let path = rest.directory.unwrap_or_default();
    let place = Place::of(path);
    let failed = |errno| Error::new(What::Register, path, errno);
    directory::make::<All>(&place, Folder::Embryo, Folder::Prepare, &plan).map_err(failed)?;
    // A parked pod holds nothing of the caller's, and this process has it from the pod.
    let output = descriptor::borrow(1).unwrap_or(descriptor::NONE);
    let _ = descriptor::keep_as(output, OUTPUT);
    let environment = rest.environment;
    let how = How {
        life: options.life,
        timings: None,
        debug: options.debug,
        limited: options.limits.first().is_some(),
        memory: options.limits.memory(),
        is_prepared: true,
        hold: true,
    };
    if let Err(error) = run::start::<All>(plan, &how, rest) {
        discard(&place, Folder::Prepare);
        return Err(error);
    }
    let parked = place.shift(Folder::Prepare, Folder::Prepared);
    // From here on it can be released, or taken away, before anybody hears of it: the lock
    // is open twice.
    let _ = client::silence(1);
    let _ = descriptor::close(KEPT);
    let marked = parked.and_then(|()| match options.life.pool {
        Some(name) => pool::mark(&place, name),
        None => Ok(()),
    });
    let marked = marked.map_err(failed);
    if marked.is_err() {
        unmake(&place, options, &environment);
    }
    marked.and_then(|()| tell(OUTPUT, &place, options, &environment))
}

/// Removes a pod that is not to be.
fn discard(place: &Place<'_>, from: Folder) {
    let folder = remove::set_aside(place, from);
    let _ = remove::pod(place, folder);
}

/// Ends a pod that is parked, and takes back what was saved of it.
fn unmake<I>(place: &Place<'_>, options: &Options<'_, I>, environment: &Strings) {
    pool::end(place.uuid, options.life.state_directory, environment);
    if let Some(file) = options.life.uuid_file {
        directory::forget(file, place.uuid);
    }
}

/// Says what pod there is now. If that can't be said there is none: nobody could name it.
fn tell<'e, 'a: 'e, I>(
    output: i32,
    place: &Place<'_>,
    options: &Options<'a, I>,
    environment: &Strings,
) -> Result<i32, Error<'e>> {
    let said = Error::said(Line::new(output).bytes(place.uuid).end(), 0);
    // Somebody may have taken it from a pool.
    let is_there = |path: Path| fs::access(path.as_c_str(), Access::EXISTS).is_ok();
    let path = || state::path(place.root, Folder::Prepared, place.uuid);
    if said.is_err() && path().is_ok_and(is_there) {
        unmake(place, options, environment);
    }
    said
}

/// Where standard output is meanwhile, beside what the launch keeps.
const OUTPUT: i32 = KEPT + 2;

/// What belongs to this process can't be there later.
fn of_now(plan: &Plan<'_>) -> Option<&'static CStr> {
    let known = [
        (Kind::KeepListening, c"--listen-fds"),
        (Kind::Stamps, c"--timings"),
        (Kind::HandOver, c"--stage1"),
    ];
    let mut records = plan.steps().records();
    records
        .find_map(|record| known.iter().find(|(kind, _)| record.is(*kind)))
        .map(|(_, option)| *option)
}

/// Carries out `stage0 run-prepared` for a pod that has to be looked for; returns the exit
/// code.
///
/// # Errors
/// As [`Pods::find`] and [`prepared::run`].
pub fn run(start: Start) -> Result<i32, Error<'static>> {
    let asked = Asked::read(&start, manifest::Words::Given)?;
    let Some(name) = asked.pod else {
        return Ok(super::print(super::HELP));
    };
    let (given, environment) = (asked.state_directory(), start.environment);
    let pods = Pods::below(given, &environment)?;
    let uuid = match (asked.pool(), asked.whole()) {
        (Some(name), _) => {
            asked.check_warm::<All>()?;
            pool::take_one(name, &pods)?
        }
        (None, Some(uuid)) => uuid,
        (None, None) => pods.find(name)?.uuid,
    };
    // Nothing is rare here.
    let others = prepared::Others {
        program: |_, _, _| FAILURE,
        change: release::change,
    };
    let done = prepared::run::<All>(&asked, &uuid, start, &others);
    if let (Err(_), Some(_)) = (&done, asked.pool()) {
        // It is in no pool any more: nobody would ever release it.
        let _ = descriptor::close(KEPT);
        if is_parked(pods.root(), &uuid) {
            pool::end(&uuid, given, &environment);
        }
        pool::fill_again(name, given, &environment);
    }
    done
}
