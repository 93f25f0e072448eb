//! A run of the harness: prepare, prove equal work, measure, judge, print.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use crate::{
    awake::Awake,
    budget::{self, Verdict},
    cases::{self, Case, Role},
    equal::{self, View},
    filter,
    inits::{self, Inits},
    json::Value,
    machine::Machine,
    measure::{Command, Spawner},
    networks,
    options::Options,
    place::Place,
    pods, soak,
    statistics::{Summary, drift, shuffled},
    steps, table,
};

/// Starts before any clock counts: page cache, slabs, per-processor lists.
const WARM_UP: usize = 20;
/// How much longer it is waited after a slow launcher, which leaves more.
const SLOW_SETTLE: u32 = 10;
/// A drift of the median by more than this is told.
const DRIFT: f64 = 1.10;
/// Fewer samples than this tell nothing about a drift.
const ENOUGH: usize = 100;

/// Measures what `options` ask for; whether the budget is kept.
///
/// # Errors
/// The work is not equal, or a case of ours does not run.
pub fn run(options: &Options) -> Result<bool, String> {
    quiet_descriptors().map_err(|error| format!("open /dev/null: {error}"))?;
    if let Some(processor) = options.pin {
        pin(processor).map_err(|error| format!("--pin {processor}: {error}"))?;
    }
    let place = Place::make(&options.binaries)?;
    let binaries = place.programs();
    let awake = (!options.asleep).then(Awake::hold);
    let awake = awake.map(|held| held.map_err(|error| format!("/dev/cpu_dma_latency: {error}")));
    let machine = Machine::look(&place.state(), awake.as_ref().map(Result::as_ref));
    let mut spawner = Spawner::default();
    if let Some(starts) = options.soak {
        table::machine(&machine);
        let lines = soak::lines(&binaries, &place, starts, &mut spawner);
        let lines = lines.map_err(|error| format!("starts in a row: {error}"))?;
        table::budget(&lines);
        return Ok(budget::is_kept(&lines));
    }
    let mut cases = cases::all(options, &place)?;
    let wanted = cases.iter().filter(|case| options.wants(&case.name));
    // A product without its floor would prove nothing.
    let floors: Vec<_> = wanted.filter_map(|case| case.equals).collect();
    cases.retain(|case| options.wants(&case.name) || floors.contains(&case.name.as_str()));
    let proof = prove(&mut cases, &place, &mut spawner)?;
    table::head(&machine, options.rounds);
    let (samples, failures) = measure(options, &cases, &place, &mut spawner)?;
    let mut judged = judge(&place, &cases, &samples);
    let filter = filter::lines().map_err(|error| format!("load the filter: {error}"))?;
    judged.extend(filter);
    // These take a while: only in a whole run, or where they are asked for.
    let mut inits = Inits::default();
    if options.wants("inits") {
        inits = inits::measure(&binaries, &place.inits(), &mut spawner)
            .map_err(|error| format!("inits: {error}"))?;
    }
    judged.extend(inits.lines);
    if options.wants("pods") {
        let pods = pods::lines(&binaries, &place, &mut spawner);
        judged.extend(pods.map_err(|error| format!("pods: {error}"))?);
    }
    if options.wants("networks") {
        let lines = networks::lines(&binaries, &place, options.rounds, &mut spawner);
        judged.extend(lines.map_err(|error| format!("networks: {error}"))?);
    }
    print(&cases, &samples, &failures, &judged, &proof);
    table::notes("inits around one program", &inits.table);
    let steps = if options.steps {
        steps::table(&cases, &place, &mut spawner)?
    } else {
        Vec::new()
    };
    table::notes("steps of a default start, medians", &steps);
    if let Some(path) = &options.json {
        let value = json(options, &machine, &cases, &samples, &judged, &proof);
        fs::write(path, value.to_string())
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if !proof.unequal.is_empty() {
        return Err("the work is not equal: the figures compare nothing".into());
    }
    Ok(budget::is_kept(&judged))
}

/// With a terminal as standard input the product would make one for the pod;
/// and what the harness has inherited is no payload's affair.
fn quiet_descriptors() -> io::Result<()> {
    // SAFETY: no pointers. A kernel without the call just keeps them open.
    unsafe { libc::close_range(3, libc::c_uint::MAX, CLOSE_ON_EXEC) };
    // SAFETY: an empty list. Supplementary groups would be one more thing that
    // the product clears and a floor does not; without the right to do it, the
    // proof of equal work tells.
    unsafe { libc::setgroups(0, std::ptr::null()) };
    let null = File::open("/dev/null")?;
    // SAFETY: both descriptors are ours; std keeps no state for 0.
    match unsafe { libc::dup2(null.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: all zeroes are an empty set; CPU_SET checks its range.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        set
    };
    // SAFETY: a valid set of the size given.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// CLOSE_RANGE_CLOEXEC (close_range(2), Linux 5.11).
const CLOSE_ON_EXEC: libc::c_int = 4;

/// What was found out about equal work.
#[derive(Debug, Default)]
pub struct Proof {
    /// What was compared and is equal.
    equal: Vec<String>,
    /// Differences that make the figures worthless.
    unequal: Vec<String>,
    /// How peers differ from the bare floor, and other floors from ours.
    peers: Vec<String>,
}

/// Runs the reporting payload in every case and compares. A peer that does not
/// run is noted as missing; a case of ours that does not run is an error.
fn prove(cases: &mut [Case], place: &Place, spawner: &mut Spawner) -> Result<Proof, String> {
    let mut views: BTreeMap<String, View> = BTreeMap::new();
    for case in cases.iter_mut() {
        let Some(command) = &case.report else {
            continue;
        };
        match see(command, place, spawner) {
            Ok(view) => drop(views.insert(case.name.clone(), view)),
            Err(reason) if case.role == Role::Peer => {
                case.timed = None;
                case.missing = Some(format!("does not run here: {reason}"));
            }
            Err(reason) => return Err(format!("{}: {}: {reason}", case.name, command.text())),
        }
    }
    let mut proof = Proof::default();
    for case in cases.iter() {
        let Some(view) = views.get(&case.name) else {
            continue;
        };
        let against = match (case.role, case.equals) {
            (Role::Peer, _) => "floor-pod",
            (_, Some(against)) => against,
            _ => continue,
        };
        let Some(other) = views.get(against) else {
            continue;
        };
        let found = view.differences(&case.name, other, against);
        if case.role == Role::Floor {
            proof.peers.extend(brief(&case.name, &found));
        } else if case.role == Role::Peer && !view.has_proc() {
            proof
                .peers
                .push(format!("{}: no /proc; the rest is not known", case.name));
        } else if case.role == Role::Peer {
            proof.peers.extend(brief(&case.name, &found));
        } else if found.is_empty() {
            proof
                .equal
                .push(format!("{} = {against}: {}", case.name, view.summary()));
        } else {
            proof.unequal.extend(found);
        }
    }
    Ok(proof)
}

/// A peer's differences in one line.
fn brief(name: &str, found: &[String]) -> Option<String> {
    const SHOWN: usize = 4;
    if found.is_empty() {
        return Some(format!("{name}: none"));
    }
    let mut text = found
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if found.len() > SHOWN {
        text.push_str(&format!("; {} more", found.len() - SHOWN));
    }
    Some(format!("{name}: {text}"))
}

fn see(command: &Command, place: &Place, spawner: &mut Spawner) -> Result<View, String> {
    let text = captured(command, place, spawner)?;
    View::read(&text, equal::own_namespace)
}

/// What `command` prints. The child inherits the harness's own descriptors, so
/// they are exchanged while it runs.
///
/// # Errors
/// It did not end with 0; its last line tells why.
pub fn captured(command: &Command, place: &Place, spawner: &mut Spawner) -> Result<String, String> {
    let told = |error: io::Error| error.to_string();
    let path = place.output();
    let file = File::create(&path).map_err(told)?;
    let started = exchanged(&file, || spawner.start(command)).map_err(told)?;
    let text = fs::read_to_string(&path).map_err(told)?;
    if started.status == 0 {
        return Ok(text);
    }
    let line = text.lines().last().unwrap_or("it printed nothing");
    Err(format!("{line} ({})", ending(started.status)))
}

/// Runs `body` with standard output and error going to `file`.
///
/// # Errors
/// Those of `body`.
pub fn exchanged<T>(file: &File, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // SAFETY: plain calls on descriptors; close-on-exec keeps the copies from
    // the child.
    let copies = [1, 2].map(|number| unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) });
    for number in [1, 2] {
        // SAFETY: as above.
        unsafe { libc::dup2(file.as_raw_fd(), number) };
    }
    let value = body();
    for (number, copy) in [1, 2].into_iter().zip(copies) {
        // SAFETY: as above; the copies are closed once.
        unsafe {
            libc::dup2(copy, number);
            libc::close(copy);
        }
    }
    value
}

fn ending(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exit code {}", libc::WEXITSTATUS(status))
    } else {
        format!("killed by signal {}", libc::WTERMSIG(status))
    }
}

/// The samples of each case, by its place in the list.
type Samples = Vec<Vec<u64>>;

/// Alternates the cases: round by round, each round in an order of its own.
/// Also gives how often a peer failed: that start has no sample.
///
/// What is printed meanwhile goes to a file; its last line tells why a case of
/// ours failed.
fn measure(
    options: &Options,
    cases: &[Case],
    place: &Place,
    spawner: &mut Spawner,
) -> Result<(Samples, Vec<usize>), String> {
    let path = place.output();
    let output = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut failures = vec![0; cases.len()];
    let mut samples: Samples = cases
        .iter()
        .map(|case| Vec::with_capacity(options.rounds / case.every + WARM_UP + 1))
        .collect();
    let failed = exchanged(&output, || {
        Ok((0..options.rounds + WARM_UP)
            .find_map(|number| round(number, options, cases, spawner, &mut samples, &mut failures)))
    });
    match failed {
        Ok(None) => Ok((samples, failures)),
        Ok(Some(error)) => {
            let text = fs::read_to_string(&path).unwrap_or_default();
            Err(format!(
                "{error}: {}",
                text.lines().last().unwrap_or("it printed nothing")
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// One round; gives an error if a case of ours failed.
fn round(
    number: usize,
    options: &Options,
    cases: &[Case],
    spawner: &mut Spawner,
    samples: &mut Samples,
    failures: &mut [usize],
) -> Option<String> {
    let settle = Duration::from_micros(options.settle);
    for index in shuffled(number, cases.len()) {
        let case = cases.get(index)?;
        let Some(command) = &case.timed else { continue };
        if !number.is_multiple_of(case.every) {
            continue;
        }
        match spawner.start(command) {
            Ok(start) if start.status == 0 => {
                if number >= WARM_UP {
                    samples.get_mut(index)?.push(start.nanoseconds);
                }
            }
            Ok(_) if case.role == Role::Peer => *failures.get_mut(index)? += 1,
            Ok(start) => {
                let how = ending(start.status);
                return Some(format!(
                    "{}: {} ended with {how}",
                    case.name,
                    command.text()
                ));
            }
            Err(error) => return Some(format!("{}: {error}", case.name)),
        }
        let slow = case.every > 1;
        thread::sleep(if slow { settle * SLOW_SETTLE } else { settle });
    }
    None
}

fn judge(place: &Place, cases: &[Case], samples: &Samples) -> Vec<budget::Line> {
    let of = |name: &str| {
        let index = cases.iter().position(|case| case.name == name);
        index
            .and_then(|index| samples.get(index))
            .map_or(&[][..], Vec::as_slice)
    };
    let is_unified = place.cgroup.as_ref().is_ok_and(|own| own.is_unified);
    let mut lines = budget::ratios(of, is_unified);
    lines.extend(budget::sizes(&place.programs()));
    lines
}

fn print(
    cases: &[Case],
    samples: &Samples,
    failures: &[usize],
    judged: &[budget::Line],
    proof: &Proof,
) {
    let measured: Vec<_> = cases
        .iter()
        .zip(samples)
        .filter(|(case, _)| case.timed.is_some())
        .map(|(case, samples)| (case, Summary::of(samples)))
        .collect();
    table::cases(&measured);
    table::missing(cases);
    table::budget(judged);
    table::notes("equal work, seen by the payload", &proof.equal);
    table::notes("NOT equal work", &proof.unequal);
    table::notes("what others do otherwise than our floors", &proof.peers);
    table::notes("about this run", &remarks(cases, samples, failures));
    table::sentence(&measured);
}

/// What makes figures doubtful.
fn remarks(cases: &[Case], samples: &Samples, failures: &[usize]) -> Vec<String> {
    let (mut outliers, mut drifted) = (Vec::new(), Vec::new());
    for (case, samples) in cases.iter().zip(samples) {
        let summary = Summary::of(samples);
        if summary.outliers * 100 > summary.count {
            let (name, count) = (&case.name, summary.count);
            outliers.push(format!("{name} {} of {count}", summary.outliers));
        }
        let drift = drift(samples);
        if samples.len() >= ENOUGH && !(1.0 / DRIFT..=DRIFT).contains(&drift) {
            drifted.push(format!("{} x {drift:.2}", case.name));
        }
    }
    let line = |what: &str, list: &[String]| format!("{what}: {}", list.join(", "));
    let mut remarks = Vec::new();
    if !outliers.is_empty() {
        remarks.push(line(
            "more than 1 % of the samples took over three medians",
            &outliers,
        ));
    }
    if !drifted.is_empty() {
        remarks.push(line(
            "the median moved from the first third to the last",
            &drifted,
        ));
    }
    if !remarks.is_empty() {
        remarks.push("The machine was not quiet: measure again before you quote this.".into());
    }
    for (case, count) in cases.iter().zip(failures).filter(|(_, count)| **count > 0) {
        remarks.push(format!("{} failed {count} times", case.name));
    }
    remarks
}

fn json(
    options: &Options,
    machine: &Machine,
    cases: &[Case],
    samples: &Samples,
    judged: &[budget::Line],
    proof: &Proof,
) -> Value {
    let texts = |lines: &[String]| Value::list(lines.iter().map(|line| line.as_str().into()));
    Value::object([
        (
            "harness",
            concat!("kickstage-bench ", env!("CARGO_PKG_VERSION")).into(),
        ),
        ("date", machine.date.as_str().into()),
        ("machine", machine.value()),
        ("rounds", options.rounds.into()),
        ("settle_us", options.settle.into()),
        ("pinned_to", options.pin.into()),
        (
            "cases",
            Value::list(
                cases
                    .iter()
                    .zip(samples)
                    .map(|(case, samples)| case_value(case, samples)),
            ),
        ),
        ("budget", Value::list(judged.iter().map(line_value))),
        ("equal_work", texts(&proof.equal)),
        ("unequal_work", texts(&proof.unequal)),
        ("others_differ", texts(&proof.peers)),
    ])
}

fn case_value(case: &Case, samples: &[u64]) -> Value {
    let summary = Summary::of(samples);
    let command = case.timed.as_ref().map(Command::text);
    Value::object([
        ("name", case.name.as_str().into()),
        ("about", case.about.into()),
        ("version", case.version.clone().into()),
        ("command", command.into()),
        ("missing", case.missing.clone().into()),
        ("p50_ns", summary.p50.into()),
        ("p90_ns", summary.p90.into()),
        ("p99_ns", summary.p99.into()),
        ("min_ns", summary.least.into()),
        (
            "samples_ns",
            Value::list(samples.iter().map(|sample| (*sample).into())),
        ),
    ])
}

fn line_value(line: &budget::Line) -> Value {
    let verdict = match line.verdict {
        Verdict::Pass => "pass",
        Verdict::Miss => "miss",
        Verdict::Unknown => "not measured",
    };
    Value::object([
        ("line", line.text.as_str().into()),
        ("ratio", line.ratio.map(|ratio| ratio.value).into()),
        ("found", line.found.as_str().into()),
        ("limit", line.limit.as_str().into()),
        ("verdict", verdict.into()),
    ])
}
