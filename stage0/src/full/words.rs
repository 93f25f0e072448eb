//! The command lines of what is done with registered pods: options and operands in any
//! order, `--` before operands that begin with a dash.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    lower::split_option,
    sys::entry::{Strings, StringsIter},
    text::{copy, split},
};

use crate::options::milliseconds;

/// An option of these commands, one bit each.
pub type Flags = u32;

/// What they are called, in the order of their bits.
const NAMES: &str = "--state-dir\n--format\n--uuid-file\n--force\n--wait\n--wait-ready\n\
    --mark-only\n--grace-period\n--close\n--follow\n--app\n--no-legend\n--check\n--full\n--tail";

/// `--state-dir DIR`
pub const STATE_DIRECTORY: Flags = 1;
/// `--format=text|json`
pub const FORMAT: Flags = 1 << 1;
/// `--uuid-file FILE`
pub const UUID_FILE: Flags = 1 << 2;
/// `--force`
pub const FORCE: Flags = 1 << 3;
/// `--wait[=SECONDS]`
pub const WAIT: Flags = 1 << 4;
/// `--wait-ready[=SECONDS]`
pub const WAIT_READY: Flags = 1 << 5;
/// `--mark-only`
pub const MARK_ONLY: Flags = 1 << 6;
/// `--grace-period SECONDS`
pub const GRACE_PERIOD: Flags = 1 << 7;
/// `--close`
pub const CLOSE: Flags = 1 << 8;
/// `--follow`
pub const FOLLOW: Flags = 1 << 9;
/// `--app NAME`
pub const APP: Flags = 1 << 10;
/// `--no-legend`
pub const NO_LEGEND: Flags = 1 << 11;
/// `--check`
pub const CHECK: Flags = 1 << 12;
/// `--full`
pub const FULL: Flags = 1 << 13;
/// `--tail N`
pub const TAIL: Flags = 1 << 14;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    words: Strings,
    /// Those that were given.
    pub given: Flags,
    /// `--state-dir`
    pub state_directory: Option<&'static CStr>,
    /// `--format=json`
    pub json: bool,
    /// `--uuid-file`
    pub uuid_file: Option<&'static CStr>,
    /// `--app`
    pub app: Option<&'static CStr>,
    /// Milliseconds of `--wait` and `--wait-ready`, 0 for ever.
    pub limit: u64,
    /// Milliseconds of `--grace-period`.
    pub grace: Option<u64>,
    /// `--tail`
    pub tail: Option<u64>,
}

/// One word.
enum Word {
    Option(&'static CStr),
    Operand(&'static CStr),
}

/// Walks the words of a command; the values of options are taken out by who reads them.
struct Walk {
    rest: StringsIter,
    only_operands: bool,
}

impl Walk {
    fn of(words: Strings) -> Self {
        Self {
            rest: words.iter(),
            only_operands: false,
        }
    }

    /// Takes the value of this option out, if it is a word of its own.
    fn skip_value(&mut self, option: &CStr) {
        let (name, inline) = split_option(option);
        if inline.is_none() && takes_value(number(name)) {
            let _ = self.rest.next();
        }
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.rest.next()?;
        let bytes = word.to_bytes();
        if self.only_operands || bytes == b"-" || !bytes.starts_with(b"-") {
            return Some(Word::Operand(word));
        }
        if bytes == b"--" {
            self.only_operands = true;
            return self.next();
        }
        Some(Word::Option(word))
    }
}

impl Words {
    /// Reads the words, of which the options `allowed` make sense.
    ///
    /// # Errors
    /// Names the option that is unknown here, or lacks its value.
    pub fn read(words: Strings, allowed: Flags) -> Result<Self, Error<'static>> {
        let mut read = Self {
            words,
            given: 0,
            state_directory: None,
            json: false,
            uuid_file: None,
            app: None,
            limit: 0,
            grace: None,
            tail: None,
        };
        let mut walk = read.walk();
        while let Some(word) = walk.next() {
            if let Word::Option(word) = word {
                read.option(word, &mut walk, allowed)?;
            }
        }
        Ok(read)
    }

    /// Whether it was given.
    #[must_use]
    pub fn has(&self, option: Flags) -> bool {
        self.given & option != 0
    }

    /// Calls `each` for the operands in order.
    ///
    /// # Errors
    /// The first one of `each`.
    pub fn each_operand(
        &self,
        each: &mut dyn FnMut(&'static CStr) -> Result<(), Error<'static>>,
    ) -> Result<(), Error<'static>> {
        let mut walk = self.walk();
        while let Some(word) = walk.next() {
            match word {
                Word::Operand(word) => each(word)?,
                Word::Option(word) => walk.skip_value(word),
            }
        }
        Ok(())
    }

    /// The only operand, if there is one.
    ///
    /// # Errors
    /// There are more.
    pub fn operand(&self) -> Result<Option<&'static CStr>, Error<'static>> {
        let mut found = None;
        self.each_operand(&mut |word| match found.replace(word) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                What::Read,
                c"the command line",
                Why::TooManyWords,
            )),
        })?;
        Ok(found)
    }

    fn walk(&self) -> Walk {
        Walk::of(self.words)
    }

    fn option(
        &mut self,
        word: &'static CStr,
        walk: &mut Walk,
        allowed: Flags,
    ) -> Result<(), Error<'static>> {
        let (name, mut value) = split_option(word);
        let failed = |why: Why| Error::new(What::ReadOption, word, why).advice(Advice::SeeHelp);
        let option = number(name);
        if option & allowed == 0 {
            // Only what this command takes is meant.
            let (mut taken, mut used) = ([b'\n'; NAMES.len() + 1], 0);
            for other in split(NAMES.as_bytes(), b'\n') {
                if number(other) & allowed != 0 {
                    copy(taken.get_mut(used..).unwrap_or_default(), other);
                    used += other.len() + 1;
                }
            }
            let taken = str::from_utf8(taken.get(..used).unwrap_or_default());
            super::fail_near(failed(Why::NoSuchOption), taken.unwrap_or_default());
            return Err(Error::told());
        }
        if takes_value(option) && value.is_none() {
            value = walk.rest.next();
            if value.is_none() {
                return Err(failed(Why::NoValue));
            }
        }
        self.given |= option;
        match option {
            STATE_DIRECTORY => self.state_directory = value.take(),
            UUID_FILE => self.uuid_file = value.take(),
            APP => self.app = value.take(),
            FORMAT => {
                let json = is_json(value.take().unwrap_or_default());
                self.json = json.ok_or(failed(Why::NotTextOrJson))?;
            }
            GRACE_PERIOD => self.grace = Some(time(value.take().unwrap_or_default(), word)?),
            TAIL => {
                let text = value.take().unwrap_or_default();
                let count = fly::text::decimal(text.to_bytes());
                self.tail = Some(count.ok_or(Error::new(What::ReadOption, word, Why::NoLines))?);
            }
            WAIT | WAIT_READY => {
                if let Some(text) = value.take() {
                    // Not the 0 that is for ever.
                    self.limit = time(text, word)?.max(1);
                }
            }
            _ => {}
        }
        match value {
            None => Ok(()),
            Some(_) => Err(failed(Why::TakesNoValue)),
        }
    }
}

/// Whether `--help` is among the words.
pub fn ask_for_help(words: Strings) -> bool {
    let mut walk = Walk::of(words);
    while let Some(word) = walk.next() {
        match word {
            Word::Option(word) if matches!(word.to_bytes(), b"--help" | b"-h") => return true,
            Word::Option(word) => walk.skip_value(word),
            Word::Operand(_) => {}
        }
    }
    false
}

/// What a value of `--format` says; `None` if it is none.
pub fn is_json(text: &CStr) -> Option<bool> {
    match text.to_bytes() {
        b"json" => Some(true),
        b"text" => Some(false),
        _ => None,
    }
}

fn takes_value(option: Flags) -> bool {
    option & (STATE_DIRECTORY | UUID_FILE | APP | FORMAT | GRACE_PERIOD | TAIL) != 0
}

/// The bit of the option that is called so, 0 for none.
fn number(name: &[u8]) -> Flags {
    let name = if name == b"-f" { b"--follow" } else { name };
    let place = split(NAMES.as_bytes(), b'\n').position(|other| other == name);
    place.map_or(0, |place| 1 << place)
}

/// Seconds, also as `500ms`, `30s`, `10m`, `24h`, which rkt's commands take, and `7d`; `option`
/// is how they were said.
fn time(text: &'static CStr, option: &'static CStr) -> Result<u64, Error<'static>> {
    let bytes = text.to_bytes();
    let (digits, unit) = match bytes {
        [.., b'm', b's'] => (bytes, 1),
        [digits @ .., b's'] => (digits, 1),
        [digits @ .., b'm'] => (digits, 60),
        [digits @ .., b'h'] => (digits, 3600),
        [digits @ .., b'd'] => (digits, 24 * 3600),
        _ => (bytes, 1),
    };
    milliseconds(digits)
        .and_then(|time| time.checked_mul(unit))
        .ok_or(Error::new(What::ReadOption, option, Why::NoTime))
}
