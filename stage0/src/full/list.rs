//! `stage0 list`.

use fly::{
    error::{Error, What, Why},
    sys::{
        clone::{Stack, both},
        entry::Start,
        reserved::Reserved,
    },
    text::Line,
};

use super::{
    clock,
    json::Json,
    pods::{Pods, State, each_app},
    words,
};
use crate::{state::Folder, uuid};

/// How many pods can be sorted: only those that are there take memory.
const MOST: usize = 1 << 16;

/// How many bytes of the apps' names a line has room for.
const NAMES: usize = 20;

/// As much of a uuid as is shown: as rkt, which is enough to be unique.
const SHORT: usize = 8;

/// What a line says of a pod. All of it is asked at once: among a thousand pods the kernel's
/// memory of one is out of the processor's caches when it is come back to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// In nanoseconds since 1970; 0 if it is not known, as the next one.
    created: i64,
    started: i64,
    uuid: [u8; uuid::LENGTH],
    /// Where its name was.
    folder: Folder,
    state: State,
    /// It had moved before its directory was opened.
    moved: bool,
    /// The names of its apps, as much of them as is shown.
    names: [u8; NAMES],
    used: usize,
}

static ENTRIES: Reserved<[Entry; MOST]> = Reserved::new([Entry::NONE; MOST]);

impl Entry {
    /// Nothing but zeros.
    const NONE: Self = Self {
        created: 0,
        started: 0,
        uuid: [0; uuid::LENGTH],
        folder: Folder::Embryo,
        state: State::Preparing,
        moved: false,
        names: [0; NAMES],
        used: 0,
    };

    /// Asks for what is to be said of it; `bytes` have room for a plan.
    fn look(&mut self, pods: &Pods, bytes: &mut [u8]) {
        if self.folder == Folder::Run
            && let Some((times, plan)) = pods.running(&self.uuid, bytes)
        {
            ([self.created, self.started], self.state) = (times, State::Running);
            self.moved = false;
            return self.name(plan);
        }
        let pod = if self.moved {
            pods.find_whole(&self.uuid)
        } else {
            pods.open(self.folder, &self.uuid).ok()
        };
        self.moved = pod.is_none();
        let Some(pod) = pod else { return };
        self.folder = pod.folder;
        self.state = pod.state();
        self.created = pod.created().unwrap_or(0);
        self.started = pod.time(c"pid").unwrap_or(0);
        self.name(pod.beginning(c"plan", bytes));
    }

    /// Takes the names of the apps of this plan.
    fn name(&mut self, plan: &[u8]) {
        self.used = 0;
        each_app(plan, &mut |name| {
            self.names(if self.used == 0 { b"" } else { b"," });
            self.names(name);
        });
        if let ([.., a, b, c], true) = (&mut self.names, self.used > NAMES) {
            (*a, *b, *c) = (b'.', b'.', b'.');
        }
    }

    fn names(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.names.get_mut(self.used) {
                *place = *byte;
            }
            self.used += 1;
        }
    }
}

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
    let mut pods = Pods::new(&words, &start.environment)?;
    pods.enter_running();
    let entries = ENTRIES.take().map_or(&mut [][..], |entries| entries);
    let entries = seen(&pods, entries, start.bytes)?;
    let mut table = Table {
        line: Line::new(1),
        json: words.json.then(|| Json::pretty(1)),
        full: words.has(words::FULL),
    };
    table.begin(!words.has(words::NO_LEGEND));
    for (index, entry) in entries.iter().enumerate() {
        // One that has moved on meanwhile is where it was seen last.
        let next = entries.get(index + 1);
        if !entry.moved && next.is_none_or(|next| next.uuid != entry.uuid) {
            table.row(entry, &pods, start.bytes);
        }
    }
    Error::said(table.end(), 0)
}

/// All pods, the oldest first.
fn seen<'e>(
    pods: &Pods,
    entries: &'e mut [Entry],
    bytes: &mut [u8],
) -> Result<&'e mut [Entry], Error<'static>> {
    let mut count = 0;
    for folder in Folder::ALL {
        pods.each(folder, &mut |uuid| {
            if let Some(entry) = entries.get_mut(count) {
                (entry.uuid, entry.folder) = (*uuid, folder);
            }
            count += 1;
        })?;
    }
    let entries = entries
        .get_mut(..count)
        .ok_or_else(|| Error::new(What::Read, c"the directory of the pods", Why::TooManyPods))?;
    look_at_all(pods, entries, bytes);
    for index in 0..count {
        // It may have moved back, or on to where it was not seen, either.
        let is_same = |uuid| entries.iter().filter(|entry| entry.uuid == uuid).count() > 1;
        if let Some(Entry {
            moved: true, uuid, ..
        }) = entries.get(index)
            && !is_same(*uuid)
            && let Some(entry) = entries.get_mut(index)
        {
            entry.look(pods, bytes);
        }
        // One that has ended meanwhile is seen without its lock: both are to be neighbours.
        if let Some(Entry {
            created: 0, uuid, ..
        }) = entries.get(index)
            && let Some(Entry { created, .. }) = entries
                .iter()
                .find(|other| other.uuid == *uuid && other.created != 0)
            && let (created, Some(entry)) = (*created, entries.get_mut(index))
        {
            entry.created = created;
        }
    }
    entries.sort_unstable_by_key(|entry| (entry.created, entry.uuid, entry.folder));
    Ok(entries)
}

/// From how many on they are looked at by two.
const MANY: usize = 64;

static STACK: Reserved<Stack> = Reserved::new(Stack::NEW);

/// Asks for what is to be said of each; of many at the same time for one and for another half.
fn look_at_all(pods: &Pods, entries: &mut [Entry], bytes: &mut [u8]) {
    let look = |pods: &Pods, entries: &mut [Entry], bytes: &mut [u8]| {
        for entry in entries {
            entry.look(pods, bytes);
        }
    };
    let middle = entries.len() / 2;
    let (own, others) = match STACK.take() {
        Some(stack) if entries.len() >= MANY => {
            let (own, others) = entries.split_at_mut(middle);
            let (again, room) = pods.again();
            let half = &mut *others;
            let other = move || look(&again, half, room);
            if both(stack, other, || look(pods, own, bytes)) {
                return;
            }
            (&mut [][..], others)
        }
        _ => (entries, &mut [][..]),
    };
    look(pods, own, bytes);
    look(pods, others, bytes);
}

struct Table {
    line: Line,
    json: Option<Json>,
    full: bool,
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

    fn row(&mut self, entry: &Entry, pods: &Pods, bytes: &mut [u8]) {
        let times = [entry.created, entry.started];
        let [created, started] = times.map(|time| (time != 0).then(|| clock::text(time)));
        if let Some(json) = &mut self.json {
            json.object().key("uuid").string(&entry.uuid);
            json.key("state").string(entry.state.name().as_bytes());
            json.key("apps").array();
            // Of names there may be any number.
            if let Ok(pod) = pods.open(entry.folder, &entry.uuid) {
                each_app(pod.beginning(c"plan", bytes), &mut |name| {
                    json.string(name);
                });
            }
            json.end_array();
            for (key, time) in [("created", created), ("started", started)] {
                if let Some(time) = time {
                    json.key(key).string(&time);
                }
            }
            json.end_object();
            return;
        }
        let names = entry.names.get(..entry.used).unwrap_or(&entry.names);
        let created = created.unwrap_or([b' '; clock::LENGTH]);
        let started = started.as_ref().map_or(b"-".as_slice(), |time| time);
        let length = if self.full { uuid::LENGTH } else { SHORT };
        let uuid = entry.uuid.get(..length).unwrap_or_default();
        self.cells(uuid, names, entry.state.name(), [&created, started]);
    }

    fn end(&mut self) -> bool {
        match &mut self.json {
            Some(json) => json.end_array().end(),
            None => self.line.flush(),
        }
    }
}
