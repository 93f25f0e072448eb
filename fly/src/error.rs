//! One error type for a whole start: the step, its object, the cause, and what
//! can be done. It becomes text only at the edge, as one line.

use rustix::io::Errno;

use crate::{
    near::nearest,
    packed,
    packed::Packed,
    plan::Reason,
    sys::thin::Thin,
    text::{Line, split},
};
use core::ffi::CStr;

mod cause;
mod groups;
mod kept;
mod numbers;
mod texts;

pub use cause::Cause;
use groups::NO_TEXT;
pub use groups::{
    ALL_TEXTS, FLY_TEXTS, FULL_TEXTS, INIT_TEXTS, MACHINE_TEXTS, STAGE0_TEXTS, Texts,
};
pub use kept::keep;
pub use numbers::describe;
pub use texts::{Advice, What, Why};

/// Exit code for failures of our own.
pub const FAILURE: i32 = 254;

/// A step that failed: small enough for two registers, since nearly every
/// function may return one.
#[derive(Clone, Copy, Debug)]
pub struct Error<'a> {
    /// The cause, what was being done, and the advice: 16, 8 and 8 bits.
    code: u32,
    /// To what it was done.
    object: Thin<'a>,
}

impl<'a> Error<'a> {
    /// An error without advice.
    #[inline]
    pub fn new(what: What, object: &'a CStr, cause: impl Into<Cause>) -> Self {
        Self {
            code: u32::from(cause.into().0) | ((what as u32) << 16),
            object: Thin::new(object),
        }
    }

    /// An error that another program has printed.
    #[must_use]
    pub fn told() -> Self {
        Self::new(What::Carry, c"", Cause::TOLD)
    }

    /// The same error with what the user can do, in place of other advice.
    #[must_use]
    #[inline]
    pub fn advice(self, advice: Advice) -> Self {
        Self {
            code: (self.code & 0x00ff_ffff) | ((advice as u32) << 24),
            ..self
        }
    }

    /// Whether this is the advice that it gives.
    #[must_use]
    pub fn advises(&self, advice: Advice) -> bool {
        self.code >> 24 == advice as u32
    }

    /// The cause.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let [low, high, ..] = self.code.to_le_bytes();
        Cause(u16::from_le_bytes([low, high]))
    }

    /// The kernel's answer, if that is the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        let Cause(cause) = self.cause();
        (cause & Cause::KIND == 0).then(|| Errno::from_raw_os_error(i32::from(cause)))
    }

    /// The exit code of who was to say something on standard output, `code` if that was
    /// `done`.
    ///
    /// # Errors
    /// It was not.
    pub fn said(done: bool, code: i32) -> Result<i32, Self> {
        if done {
            return Ok(code);
        }
        let error = Self::new(What::Write, c"standard output", Why::NotWritten);
        Err(error.advice(Advice::LookAtDisk))
    }

    /// Writes `program: step object: cause (advice)`, by its `texts`, to standard error.
    pub fn print(&self, program: &str, texts: &[Texts]) {
        self.print_near(program, texts, None);
    }

    /// The same; if it names an option or a command that does not exist, with the
    /// one of `names` (one a line) that was probably meant.
    #[cold]
    pub fn print_suggesting(&self, program: &str, texts: &[Texts], names: &str) {
        let cause = self.cause();
        let is_unknown = cause == Why::NoSuchOption.into() || cause == Why::NoSuchCommand.into();
        let near = nearest(self.object.as_c_str().to_bytes(), names).filter(|_| is_unknown);
        self.print_near(program, texts, near);
    }

    #[cold]
    #[inline(never)]
    fn print_near(&self, program: &str, texts: &[Texts], near: Option<&[u8]>) {
        let [low, high, what, advice] = self.code.to_le_bytes();
        let cause = u16::from_le_bytes([low, high]);
        if cause == Cause::TOLD.0 {
            return;
        }
        let find = |number: u16, kind: fn(&Texts) -> groups::Group| {
            let mut groups = texts.iter().rev().map(kind);
            let group = groups.find(|(from, _)| *from <= number).unwrap_or(NO_TEXT);
            nth_line(group.1, number.wrapping_sub(group.0))
        };
        let object = self.object.as_c_str();
        let mut line = Line::new(2);
        line.text(program)
            .text(": ")
            .packed(find(what.into(), |texts| texts.what));
        if !object.is_empty() {
            line.text(" ").quoted(object.to_bytes());
        }
        line.text(": ");
        match cause & Cause::KIND {
            Cause::LINE.. => line.text("line ").number(u64::from(cause & !Cause::LINE)),
            0 => match describe(cause) {
                Packed(b"") => line.text("error ").number(u64::from(cause)),
                text => line.packed(text),
            },
            Cause::WHY => {
                find(cause & !Cause::KIND, |texts| texts.why).each(&mut |byte| {
                    if byte == b'%' {
                        kept::add(&mut line);
                    } else {
                        line.byte(byte);
                    }
                });
                &mut line
            }
            _ => line.packed(nth_line(REASONS, cause & !Cause::KIND)),
        };
        if advice != 0 {
            line.text(" (");
            if let Some(name) = near {
                line.text("did you mean ").bytes(name).text("? ");
            }
            line.packed(find(advice.into(), |texts| texts.advice))
                .text(")");
        }
        line.end();
    }
}

/// The line `number` of `text`, from 0.
fn nth_line(text: Packed, number: u16) -> Packed {
    let line = split(text.0, b'\n').nth(usize::from(number));
    Packed(line.unwrap_or_default())
}

const REASONS: Packed = packed!(Reason::TEXTS);

#[cfg(test)]
pub(crate) mod tests;
