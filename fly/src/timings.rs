//! What each step cost: `--timings` and `--timings=json`.
//!
//! The launcher notes the processor's cycle counter after each step, which
//! costs no system call; two readings of the clock, at the start and at the
//! end, turn cycles into nanoseconds.

use core::ffi::CStr;

use crate::{
    error::{Error, What, Why},
    plan::{Plan, Record, print},
    sys::{arch, time},
    text::Line,
};

/// Tag of pid 1's first instruction in the pipe by which pid 1 reports; the other
/// tags are the numbers of the apps' steps.
pub const FIRST_INSTRUCTION: u64 = u64::MAX;
/// Tag of an app's end, as pid 1 learns of it.
pub const APP_ENDED: u64 = u64::MAX - 1;

/// How the timings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Text,
    /// One object in one line.
    Json,
}

impl Format {
    /// Reads the value of `--timings`, which is empty if it has none.
    ///
    /// # Errors
    /// A value other than `text` and `json`.
    pub fn parse<'a>(value: &CStr, word: &'a CStr) -> Result<Self, Error<'a>> {
        match value.to_bytes() {
            b"" | b"text" => Ok(Self::Text),
            b"json" => Ok(Self::Json),
            _ => Err(Error::new(What::ReadOption, word, Why::NotTextOrJson)),
        }
    }
}

/// The clock and the cycle counter, read together.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    cycles: u64,
    nanoseconds: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            cycles: arch::cycles(),
            nanoseconds: time::monotonic(),
        }
    }
}

/// Turns readings of the cycle counter into the clock's nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: Moment,
    to: Moment,
}

impl Scale {
    /// By two moments; the longer apart, the better.
    #[must_use]
    pub fn new(from: Moment, to: Moment) -> Self {
        Self { from, to }
    }

    /// CLOCK_MONOTONIC in nanoseconds when the counter read `cycles`. In 64 bits:
    /// right for a day, and without a division of 128 bits, which is a function of
    /// its own.
    #[must_use]
    pub fn nanoseconds(&self, cycles: u64) -> u64 {
        const FRACTION: u32 = 16;
        let span = self.to.nanoseconds.wrapping_sub(self.from.nanoseconds);
        let ticks = self.to.cycles.wrapping_sub(self.from.cycles);
        let each = (span << FRACTION).checked_div(ticks).unwrap_or(0);
        // Negative before `from`.
        let since = cycles.wrapping_sub(self.from.cycles).cast_signed();
        let offset = since.saturating_mul(each.cast_signed()) >> FRACTION;
        self.from.nanoseconds.saturating_add_signed(offset)
    }
}

/// What a report needs of the time before the start.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    program: &'static str,
    format: Format,
    from: Moment,
    cycles: u64,
    caller: Option<u64>,
}

impl Times {
    /// For `program`, whose first instruction was at `cycles` of the counter.
    /// `caller` is the caller's stamp, if it passed one.
    #[must_use]
    pub fn new(program: &'static str, format: Format, cycles: u64, caller: Option<u64>) -> Self {
        Self {
            program,
            format,
            from: Moment::now(),
            cycles,
            caller,
        }
    }

    /// Writes the report; `more` adds what is known behind the steps. Apart, as
    /// the line's buffer would cost a page fault on each start.
    #[cold]
    #[inline(never)]
    pub fn report(&self, plan: &Plan<'_>, stamps: &[usize], more: &dyn Fn(&mut Report, &Scale)) {
        let scale = Scale::new(self.from, Moment::now());
        let start = scale.nanoseconds(self.cycles);
        let mut report = Report::new(self.format, self.program, start, self.caller);
        report.steps(plan, stamps, &scale);
        more(&mut report, &scale);
        report.end();
    }
}

/// One line or object at a time.
#[derive(Debug)]
pub struct Report {
    format: Format,
    line: Line,
    last: u64,
    first: u64,
    steps: u32,
}

impl Report {
    /// Begins a report for `program` at `start` nanoseconds. `caller` is the
    /// caller's clone, if it passed a stamp.
    #[must_use]
    fn new(format: Format, program: &str, start: u64, caller: Option<u64>) -> Self {
        let mut report = Self {
            format,
            line: Line::new(2),
            last: start,
            first: caller.unwrap_or(start),
            steps: 0,
        };
        if format == Format::Json {
            report
                .line
                .text("{\"program\":\"")
                .text(program)
                .text("\",\"steps\":[");
        }
        if let Some(caller) = caller {
            report.last = caller;
            report.named("exec of the launcher", start);
        }
        report
    }

    /// What ended at `end` nanoseconds and is no step of the plan.
    pub fn named(&mut self, name: &str, end: u64) {
        self.begin();
        self.line.text(name);
        self.finish(end);
    }

    /// A step of the plan that ended at `end` nanoseconds.
    pub fn step(&mut self, step: &Record<'_>, end: u64) {
        self.begin();
        if let Some(object) = print::verb(step, &mut self.line) {
            self.line.text(" ");
            match self.format {
                Format::Text => self.line.quoted(object.to_bytes()),
                Format::Json => json(&mut self.line, object.to_bytes()),
            };
        }
        self.finish(end);
    }

    /// All steps of `plan` that have a stamp.
    fn steps(&mut self, plan: &Plan<'_>, stamps: &[usize], scale: &Scale) {
        for (step, stamp) in plan.steps().records().zip(stamps) {
            if *stamp != 0 {
                self.step(&step, scale.nanoseconds(*stamp as u64));
            }
        }
    }

    fn begin(&mut self) {
        if self.format == Format::Json {
            if self.steps > 0 {
                self.line.text(",");
            }
            self.line.text("{\"step\":\"");
        }
        self.steps += 1;
    }

    fn finish(&mut self, end: u64) {
        let cost = end.saturating_sub(self.last);
        self.last = end.max(self.last);
        match self.format {
            Format::Json => {
                self.line.text("\",\"us\":").micros(cost).text("}");
            }
            Format::Text => {
                self.line
                    .column(32)
                    .text(" ")
                    .micros(cost)
                    .text(" us")
                    .end();
            }
        }
    }

    /// Ends the report: the total from the first instruction, or from the
    /// caller's clone.
    fn end(mut self) {
        let total = self.last.saturating_sub(self.first);
        match self.format {
            Format::Json => self.line.text("],\"total_us\":").micros(total).text("}"),
            Format::Text => self
                .line
                .text("total")
                .column(32)
                .text(" ")
                .micros(total)
                .text(" us"),
        };
        self.line.end();
    }
}

/// A string's bytes as JSON has them; what is no ASCII text becomes `?`, since
/// a path need not be UTF-8.
fn json<'l>(line: &'l mut Line, bytes: &[u8]) -> &'l mut Line {
    for byte in bytes {
        match byte {
            b'"' => line.text("\\\""),
            b'\\' => line.text("\\\\"),
            b' '..=b'~' => line.bytes(&[*byte]),
            _ => line.text("?"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_become_nanoseconds() {
        let moment = |cycles, nanoseconds| Moment {
            cycles,
            nanoseconds,
        };
        // 3 GHz for a second.
        let scale = Scale::new(
            moment(6_000_000_000, 1_000_000_000),
            moment(9_000_000_000, 2_000_000_000),
        );
        for (cycles, nanoseconds) in [
            (6_000_000_000, 1_000_000_000),
            (9_000_000_000, 2_000_000_000),
            (7_500_000_000, 1_500_000_000),
            // Before the first moment: a millisecond.
            (5_997_000_000, 999_000_000),
        ] {
            let found = scale.nanoseconds(cycles);
            let error = found.abs_diff(nanoseconds);
            assert!(error <= 50_000, "{cycles}: {found}, not {nanoseconds}");
        }
        // No time between them.
        let scale = Scale::new(moment(5, 7), moment(5, 7));
        assert_eq!(scale.nanoseconds(1000), 7);
    }
}
