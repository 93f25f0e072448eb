//! Building a plan in a fixed arena.

use core::ffi::CStr;

use crate::text::split;

use super::{
    MAX_BYTES, Plan, Problem, Reason,
    check::at_end,
    limits, pods,
    record::{Header, List, Record, put},
    step::{Kind, Step, Texts},
};

/// Writes steps, one after the other, into an arena.
///
/// Errors are remembered and returned by [`Builder::finish`], so that the
/// lowering reads as a list of steps.
#[derive(Debug)]
pub struct Builder<'a> {
    arena: &'a mut [u8],
    used: usize,
    count: usize,
    problem: Option<Problem>,
    /// Where the strings of the list step being written begin.
    open: Option<OpenList>,
    /// How many apps there are, and waits for one.
    named: usize,
}

#[derive(Clone, Copy, Debug)]
struct OpenList {
    record_at: usize,
    strings: u32,
}

impl<'a> Builder<'a> {
    /// Starts an empty plan in `arena`; what fits is the plan's bound, up to
    /// [`MAX_BYTES`].
    pub fn new(arena: &'a mut [u8]) -> Self {
        Self {
            arena,
            used: Header::SIZE,
            count: 0,
            problem: None,
            open: None,
            named: 0,
        }
    }

    /// Adds a step. Inlined, so that of the way to the record only that of
    /// this step is left.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    pub fn push(&mut self, step: Step<'_>) -> &mut Self {
        let (record, texts) = step.to_record();
        match texts {
            Texts::None => self.add(record.head(), record.number),
            Texts::One(text) => self.add_text(record.head(), record.number, text),
            Texts::Two(first, second) => {
                self.begin(record.head(), record.number);
                self.string(first).string(second).end()
            }
            Texts::List(list) => {
                self.begin(record.head(), record.number);
                for text in list.iter() {
                    self.string(text);
                }
                self.end()
            }
            Texts::Bytes(bytes) => {
                self.begin(record.head(), record.number);
                self.append(bytes);
                self.end()
            }
        }
    }

    #[inline(never)]
    fn add(&mut self, head: [u8; 8], number: u64) -> &mut Self {
        self.begin(head, number);
        self.end()
    }

    #[inline(never)]
    fn add_text(&mut self, head: [u8; 8], number: u64, text: &CStr) -> &mut Self {
        self.begin(head, number);
        self.string(text).end()
    }

    /// Begins a step whose last field is a list; its strings follow by
    /// [`Builder::string`] and [`Builder::joined`], then [`Builder::end`].
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `push`")]
    pub fn begin_list(&mut self, step: Step<'_>) -> &mut Self {
        let (record, _) = step.to_record();
        self.begin(record.head(), record.number);
        self
    }

    #[inline(never)]
    fn begin(&mut self, head: [u8; 8], number: u64) {
        self.open = Some(OpenList {
            record_at: self.used,
            strings: 0,
        });
        self.count += 1;
        let [kind, kind_high, ..] = head;
        let kind = u16::from_ne_bytes([kind, kind_high]);
        if kind == Kind::App as u16 || kind == Kind::After as u16 {
            self.named += 1;
        }
        // The number and the length of the strings follow: see `end`.
        let mut fixed = [0; Record::FIXED];
        put(&mut fixed, 0, head);
        put(&mut fixed, Record::NUMBER, number.to_ne_bytes());
        self.append(&fixed);
    }

    /// Adds a string to the step that is open.
    pub fn string(&mut self, string: &CStr) -> &mut Self {
        self.append(string.to_bytes_with_nul());
        self.counted()
    }

    /// Adds a step as it is stored in another plan.
    #[cold]
    #[inline(never)]
    pub fn copy(&mut self, record: &Record<'_>) -> &mut Self {
        self.copy_behind(&[], record)
    }

    /// The same with `parts` in front of its first string.
    #[cold]
    #[inline(never)]
    pub fn copy_behind(&mut self, parts: &[&[u8]], record: &Record<'_>) -> &mut Self {
        self.begin(record.head(), record.number);
        for part in parts {
            self.append(part);
        }
        self.append(record.list.as_bytes());
        if let Some(open) = &mut self.open {
            open.strings = record.list.count;
        }
        self.end()
    }

    /// Adds bytes that are no string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.append(bytes);
        self
    }

    /// Adds one string made of `parts`. A part must not hold a zero byte: it would be
    /// more strings than are counted, which the check refuses.
    pub fn joined(&mut self, parts: &[&[u8]]) -> &mut Self {
        for part in parts {
            self.append(part);
        }
        self.append(&[0]);
        self.counted()
    }

    /// Adds the step of a limit: what its text says is read here.
    #[cold]
    #[inline(never)]
    pub fn push_limit(&mut self, kind: Kind, text: &CStr) -> &mut Self {
        let record = Record {
            kind: kind as u16,
            ..Record::default()
        };
        let mut numbers = [0; 17];
        let good = limits::parse(record.kind, text.to_bytes(), &mut numbers);
        let [number, data @ ..] = &numbers;
        self.begin(record.head(), *number);
        // The check refuses a step without a text.
        if good.is_some() {
            self.append(text.to_bytes_with_nul());
            for word in data.iter().take(limits::words(record.kind)) {
                self.append(&word.to_ne_bytes());
            }
        }
        self.end()
    }

    /// Where the next string of the step that is open begins.
    pub(crate) fn position(&self) -> usize {
        self.used
    }

    /// Removes from the step that is open, behind `from`, the variables of this
    /// name, or, without a name, all strings.
    #[cold]
    #[inline(never)]
    pub(crate) fn remove(&mut self, from: usize, name: &[u8]) {
        let (mut at, mut to) = (from, from);
        while at < self.used {
            let rest = self.arena.get(at..self.used).unwrap_or_default();
            let string = split(rest, 0).next().unwrap_or_default();
            let end = at + string.len() + 1;
            if name.is_empty() || split(string, b'=').next() == Some(name) {
                at = end;
                if let Some(open) = &mut self.open {
                    open.strings = open.strings.saturating_sub(1);
                }
            }
            // Nothing moves before something is removed.
            if at == to {
                (at, to) = (end, end);
            }
            while at < end {
                if let Some(byte) = self.arena.get(at).copied()
                    && let Some(place) = self.arena.get_mut(to)
                {
                    *place = byte;
                }
                (at, to) = (at + 1, to + 1);
            }
        }
        self.used = to;
    }

    fn counted(&mut self) -> &mut Self {
        if let Some(open) = &mut self.open {
            open.strings = open.strings.saturating_add(1);
        }
        self
    }

    /// Ends the step that is open.
    pub fn end(&mut self) -> &mut Self {
        let Some(open) = self.open.take() else {
            return self;
        };
        let strings_at = open.record_at + Record::FIXED;
        let length = self.used.saturating_sub(strings_at);
        let padding = length.next_multiple_of(8) - length;
        self.append([0_u8; 8].get(..padding).unwrap_or_default());
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let count_at = open.record_at + Record::COUNT;
        put(self.arena, count_at, open.strings.to_ne_bytes());
        put(self.arena, count_at + 4, length.to_ne_bytes());
        self
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.used.saturating_add(bytes.len());
        match self.arena.get_mut(self.used..end) {
            Some(place) if end <= MAX_BYTES => {
                place.copy_from_slice(bytes);
                self.used = end;
            }
            _ => self.fail(Reason::TooLarge),
        }
    }

    fn fail(&mut self, reason: Reason) {
        let step = self.count.saturating_sub(1);
        self.problem.get_or_insert(Problem {
            step,
            kind: None,
            reason,
        });
    }

    /// Checks the plan, finds the apps that others name, and returns it.
    ///
    /// # Errors
    /// The first [`Problem`], from here or from the check.
    pub fn finish(self) -> Result<Plan<'a>, Problem> {
        let named = self.named;
        self.finish_by(|bytes| {
            Plan::check(bytes)?;
            if named > 1 {
                pods::resolve(bytes)?;
            }
            Ok(Plan { bytes })
        })
    }

    /// The same, of a plan without the steps that only pods have.
    ///
    /// # Errors
    /// As of [`Builder::finish`].
    pub fn finish_alone(self) -> Result<Plan<'a>, Problem> {
        self.finish_by(|bytes| Plan::check_alone(bytes))
    }

    #[inline]
    fn finish_by(
        self,
        check: impl FnOnce(&'a mut [u8]) -> Result<Plan<'a>, Problem>,
    ) -> Result<Plan<'a>, Problem> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let header = Header::new(self.used - Header::SIZE, self.count).to_bytes();
        let arena: &'a mut [u8] = self.arena;
        if let Some(place) = arena.get_mut(..Header::SIZE) {
            place.copy_from_slice(&header);
        }
        match arena.get_mut(..self.used) {
            Some(bytes) => check(bytes),
            None => Err(at_end(0, Reason::TooLarge)),
        }
    }
}

impl List<'_> {
    /// An empty list, for steps that are filled by [`Builder::begin_list`].
    pub const EMPTY: List<'static> = List {
        count: 0,
        bytes: &[],
    };
}
