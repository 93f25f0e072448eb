//! `stage0 list` and `stage0 status`.

use core::ffi::CStr;

use fly::{
    error::Error,
    launch::path::Path,
    plan::MAX_BYTES,
    sys::{descriptor, entry::Start},
    text::{Digits, Line},
};

use rustix::fd::AsFd;

use super::{
    clock,
    json::Json,
    pods::{Pod, Pods, State, each_app},
    ready, statistics, words,
};
use crate::{state::Folder, uuid};

/// What is sorted: when it was made, in an order that bytes keep, its uuid, its folder.
const ENTRY: usize = 8 + uuid::LENGTH + 4;

/// Carries out `stage0 list`; returns the exit code.
///
/// # Errors
/// The folders can't be read.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn list(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags =
        words::STATE_DIRECTORY | words::FORMAT | words::NO_LEGEND | words::FULL;
    let words = super::words_behind(&start, ALLOWED)?;
    if let Some(word) = words.operand()? {
        return Err(super::too_many(word));
    }
    let pods = Pods::new(&words, &start.environment)?;
    let (entries, rest) = start
        .bytes
        .split_at_mut_checked(MAX_BYTES / 2)
        .unwrap_or_default();
    let (entries, _) = entries.as_chunks_mut::<ENTRY>();
    let mut count = 0;
    for (number, folder) in (0_u8..).zip(Folder::ALL) {
        pods.each(folder, &mut |uuid| {
            // One call a pod: what more there is to know is asked in order.
            let created = pods.created(folder, uuid);
            if let Some(entry) = entries.get_mut(count) {
                let key = created.unwrap_or(0).unsigned_abs().to_be_bytes();
                let bytes = key.iter().chain(uuid).chain(core::iter::once(&number));
                for (place, byte) in entry.iter_mut().zip(bytes) {
                    *place = *byte;
                }
                count += 1;
            }
        })?;
    }
    let entries = entries.get_mut(..count).unwrap_or_default();
    entries.sort_unstable();
    let mut table = Table {
        line: Line::new(1),
        json: words.json.then(|| Json::pretty(1)),
        full: words.has(words::FULL),
        last: None,
    };
    table.begin(!words.has(words::NO_LEGEND));
    for entry in entries.iter() {
        let uuid = entry.get(8..8 + uuid::LENGTH).unwrap_or_default();
        let number = entry.get(8 + uuid::LENGTH).copied().unwrap_or(0);
        let folder = Folder::ALL.get(usize::from(number));
        // It may have gone meanwhile, or moved: then it is not seen twice, nor missed.
        let pod = folder.and_then(|folder| pods.open(*folder, uuid).ok());
        if let Some(pod) = pod.or_else(|| moved(&pods, entries, uuid))
            && table.last != Some(pod.uuid)
        {
            table.last = Some(pod.uuid);
            table.row(&pod, rest);
        }
    }
    Error::said(table.end(), 0)
}

/// The pod `uuid`, which is not where it was seen any more, unless it was seen elsewhere, too.
#[cold]
#[inline(never)]
fn moved(pods: &Pods, entries: &[[u8; ENTRY]], uuid: &[u8]) -> Option<Pod> {
    let same = |entry: &&[u8; ENTRY]| entry.get(8..8 + uuid::LENGTH) == Some(uuid);
    let is_only = entries.iter().filter(same).count() == 1;
    is_only.then(|| pods.find_whole(uuid)).flatten()
}

/// When it was made: its lock is the first thing that it has.
fn created(pod: &Pod) -> Option<i64> {
    pod.time(stage1_init::LOCK)
}

struct Table {
    line: Line,
    json: Option<Json>,
    full: bool,
    last: Option<[u8; uuid::LENGTH]>,
}

impl Table {
    /// Where the columns of a text are behind the uuid: apps, state, times.
    const COLUMNS: [usize; 4] = [2, 24, 35, 61];

    fn begin(&mut self, legend: bool) {
        match &mut self.json {
            Some(json) => _ = json.array(),
            None if legend => self.cells(b"UUID", b"APPS", "STATE", [b"CREATED", b"STARTED"]),
            None => {}
        }
    }

    fn cells(&mut self, uuid: &[u8], apps: &[u8], state: &str, times: [&[u8]; 2]) {
        let length = if self.full { uuid::LENGTH } else { SHORT };
        let [at_apps, at_state, at_created, at_started] =
            Self::COLUMNS.map(|column| column + length);
        let [created, started] = times;
        let line = &mut self.line;
        let row = line.row();
        line.bytes(uuid).text(" ").column_of(row, at_apps);
        line.quoted(apps).text(" ").column_of(row, at_state);
        line.text(state).text(" ").column_of(row, at_created);
        line.bytes(created).text(" ").column_of(row, at_started);
        line.bytes(started).text("\n");
    }

    fn row(&mut self, pod: &Pod, bytes: &mut [u8]) {
        let state = pod.state();
        let created = created(pod);
        let started = pod.time(c"pid");
        let plan = pod.beginning(c"plan", bytes);
        if let Some(json) = &mut self.json {
            json.object().key("uuid").string(&pod.uuid);
            json.key("state").string(state.name().as_bytes());
            json.key("apps").array();
            each_app(plan, &mut |name| {
                json.string(name);
            });
            json.end_array();
            for (key, time) in [("created", created), ("started", started)] {
                if let Some(time) = time {
                    json.key(key).string(&clock::text(time));
                }
            }
            json.end_object();
            return;
        }
        let mut names = [0; 20];
        let mut used = 0;
        each_app(plan, &mut |name| {
            let comma = if used == 0 { b"".as_slice() } else { b"," };
            for byte in comma.iter().chain(name) {
                if let Some(place) = names.get_mut(used) {
                    *place = *byte;
                }
                used += 1;
            }
        });
        if let ([.., a, b, c], true) = (&mut names, used > 20) {
            (*a, *b, *c) = (b'.', b'.', b'.');
        }
        let names = names.get(..used.min(20)).unwrap_or_default();
        let [created, started] = [created, started].map(|time| time.map(clock::text));
        let shown = |time: Option<[u8; clock::LENGTH]>| time.unwrap_or([b' '; clock::LENGTH]);
        let length = if self.full { uuid::LENGTH } else { SHORT };
        let uuid = pod.uuid.get(..length).unwrap_or_default();
        let times = [shown(created), shown(started)];
        let [created, started] = &times;
        let started: &[u8] = if started.starts_with(b" ") {
            b"-"
        } else {
            started
        };
        self.cells(uuid, names, state.name(), [created, started]);
    }

    fn end(&mut self) -> bool {
        match &mut self.json {
            Some(json) => json.end_array().end(),
            None => self.line.flush(),
        }
    }
}

/// As much of a uuid as is shown: as rkt, which is enough to be unique.
const SHORT: usize = 8;

/// Carries out `stage0 status`; returns the exit code.
///
/// # Errors
/// Names the pod that is not there, or not ready.
pub fn status(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags =
        words::STATE_DIRECTORY | words::FORMAT | words::UUID_FILE | words::WAIT | words::WAIT_READY;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let bytes = start.bytes;
    pods.each_meant(&words, &mut |name, mut pod| {
        if words.has(words::WAIT) || words.has(words::WAIT_READY) {
            ready::wait(name, &pod, words.has(words::WAIT_READY), words.limit)?;
            // It may have moved.
            for folder in Folder::ALL {
                if let Ok(found) = pods.open(folder, &pod.uuid) {
                    pod = found;
                }
            }
        }
        tell(&pod, words.json, bytes);
        Ok(())
    })
}

/// One line a fact; or an object of them.
struct Facts {
    line: Line,
    json: Option<Json>,
}

impl Facts {
    fn text(&mut self, key: &str, value: &[u8]) {
        match &mut self.json {
            Some(json) => _ = json.key(key).string(value),
            None => _ = self.line.text(key).text("=").quoted(value).end(),
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        match &mut self.json {
            Some(json) => _ = json.key(key).number(value),
            None => _ = self.line.text(key).text("=").number(value).end(),
        }
    }
}

fn tell(pod: &Pod, json: bool, bytes: &mut [u8]) {
    let state = pod.state();
    let mut facts = Facts {
        line: Line::new(1),
        json: json.then(|| Json::pretty(1)),
    };
    if let Some(json) = &mut facts.json {
        json.object();
        json.key("uuid").string(&pod.uuid);
    }
    facts.text("state", state.name().as_bytes());
    for (key, file) in [
        ("created", stage1_init::LOCK),
        ("started", c"pid"),
        ("finished", c"code"),
    ] {
        if let Some(time) = pod.time(file) {
            facts.text(key, &clock::text(time));
        }
    }
    if let (State::Running | State::Parked, Some(pid)) = (state, pod.number(c"pid")) {
        facts.number("pid", pid);
    }
    let is_ready = state == State::Running && pod.time(c"ready").is_some();
    let has_ended = state == State::Exited;
    match &mut facts.json {
        Some(json) => {
            json.key("ready").boolean(is_ready);
            json.key("exited").boolean(has_ended);
        }
        None => {
            let word = |yes| if yes { b"true".as_slice() } else { b"false" };
            facts.text("ready", word(is_ready));
            facts.text("exited", word(has_ended));
        }
    }
    if let Some(code) = pod.number(c"code") {
        facts.number("code", code);
    }
    codes(pod, bytes, &mut facts);
    // Who may not read the plan is told the rest.
    if state == State::Running
        && let Ok(plan) = pod.plan(bytes)
    {
        statistics::each(plan, &mut |key, value| facts.number(key, value));
    }
    if let Some(json) = &mut facts.json {
        json.end_object().end();
    }
}

/// The exit codes of the apps that have one: those of the plan, then those that came later.
/// Who may not read the plan sees all of them in any order.
fn codes(pod: &Pod, bytes: &mut [u8], facts: &mut Facts) {
    let plan = pod.beginning(c"plan", bytes);
    if let Some(json) = &mut facts.json {
        json.key("apps").object();
    }
    each_app(plan, &mut |name| code(pod, name, facts));
    let status = Path::of_descriptor(b"/proc/self/fd/", pod.directory.as_fd());
    if let Ok(mut path) = status
        && path.append(&[b"/status"]).is_ok()
    {
        descriptor::each_name(path.as_c_str(), &mut |name| {
            let mut is_known = name.starts_with(b".");
            each_app(plan, &mut |app| is_known |= app == name);
            if !is_known {
                code(pod, name, facts);
            }
        });
    }
    if let Some(json) = &mut facts.json {
        json.end_object();
    }
}

fn code(pod: &Pod, name: &[u8], facts: &mut Facts) {
    let mut path = [0; 300];
    let length = b"status/".len();
    fly::text::copy(&mut path, b"status/");
    fly::text::copy(path.get_mut(length..).unwrap_or_default(), name);
    let path: &CStr = fly::sys::memory::c_str(&path).unwrap_or_default();
    let Some(code) = pod.number(path) else { return };
    match &mut facts.json {
        Some(json) => _ = json.key_bytes(name).number(code),
        None => {
            let digits = Digits::new(code, 10);
            let line = facts.line.text("app-").quoted(name);
            line.text("=").bytes(digits.as_bytes()).end();
        }
    }
}
