//! The options, variables and texts of each mode; one reading of all options,
//! since the same letter means the same to whoever has it.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, FAILURE, INIT_TEXTS, What, Why},
    sys::entry::{Strings, StringsIter},
    text::{decimal, holds, position, split},
};
use linux_raw_sys::general as raw;
use rustix::process;

use super::{
    Role,
    config::{Config, Flags, Place, Whom},
    options::{Parser, Wrong, number},
    text::{Gaps, LICENSE, NO_PROGRAM, REWRITE, USAGE, VERSION, write_long},
};

/// Rows as [`Parser::new`] has them.
fn table(role: Role) -> &'static str {
    match role {
        Role::Tini => "h \np:\ns \nv \nw \ng \ne:\nl ",
        Role::DumbInit => "h help\nv verbose\nV version\nc single-child\nr:rewrite",
        Role::Catatonit | Role::Pause => "g \nh \nL \nP \nV version",
        Role::Own => {
            "c single-child\ne:remap\nf:forward\ng \nh help\nl license\nL \np:parent-death\n\
             P pause\nr:rewrite\ns subreaper\nv verbose\nV version\nw warn-reaped\n\
             ! wait-all\n%:deadline\n& session"
        }
    }
}

/// Reads the options, or says why not: then it returns an exit code.
pub struct Reader<'c> {
    pub role: Role,
    pub called: &'static CStr,
    pub config: &'c mut Config,
    /// Zeroed, for long texts.
    pub room: &'c mut [u8],
}

impl Reader<'_> {
    /// Writes parts of the texts.
    #[cold]
    #[inline(never)]
    fn write(&mut self, to: i32, parts: u32, object: &[u8]) {
        let gaps = Gaps {
            name: crate::role::base(self.called),
            called: self.called.to_bytes(),
            object,
            // The only one of these that tells a version so.
            is_docker: self.config.name.as_bytes().first() == Some(&b'd'),
            ..Gaps::NONE
        };
        write_long(to, parts, self.room, &gaps);
    }

    /// An error of our own; returns the exit code.
    #[cold]
    #[inline(never)]
    fn refuse(&self, what: What, object: &CStr, why: Why) -> i32 {
        let error = Error::new(what, object, why);
        if self.role == Role::Own {
            error
                .advice(Advice::LookAtHelp)
                .print(self.config.name, INIT_TEXTS);
            return FAILURE;
        }
        error.print(self.config.name, INIT_TEXTS);
        1
    }

    /// Says what is wrong with an option.
    #[cold]
    #[inline(never)]
    fn refuse_option(&mut self, options: &Parser, wrong: Wrong) -> i32 {
        if self.role == Role::Own {
            let why = match wrong {
                Wrong::NameWithoutValue | Wrong::LetterWithoutValue => Why::ValueMissing,
                Wrong::Value => Why::ValueNotTaken,
                _ => Why::UnknownArgument,
            };
            return self.refuse(What::ReadArgument, options.argument, why);
        }
        let usage = match self.role {
            Role::DumbInit => 0,
            _ => self.usage(),
        };
        self.write(2, 1 << wrong as u32 | usage, options.object);
        1
    }

    /// The part that tells how to call it.
    fn usage(&self) -> u32 {
        match self.role {
            Role::Tini => HELP_OF_TINI,
            Role::DumbInit => NO_PROGRAM,
            _ => USAGE,
        }
    }

    /// There is nothing to run.
    #[cold]
    #[inline(never)]
    fn refuse_nothing(&mut self) -> i32 {
        if matches!(self.role, Role::Own | Role::Catatonit) {
            let code = self.refuse(What::Begin, c"", Why::NoProgram);
            if self.role == Role::Own {
                return code;
            }
        }
        self.write(2, self.usage(), b"");
        1
    }

    /// Help, version, license: to where each program writes it.
    #[cold]
    #[inline(never)]
    fn tell(&mut self, letter: u8) {
        let number = u32::from(letter == b'h');
        let mut parts = 1 << (VERSION + 2 * self.role as u32 + number);
        if letter | 32 == b'l' {
            parts = LICENSE;
        }
        let mut to = 1;
        if self.role == Role::DumbInit {
            to = 2;
        }
        if self.role == Role::Catatonit && letter == b'h' {
            to = 2;
            parts |= USAGE;
        }
        self.write(to, parts, b"");
    }

    /// All of it; an error is the exit code.
    #[inline(never)]
    pub fn read(&mut self, arguments: StringsIter, environment: &Strings) -> Result<(), i32> {
        let all = arguments.rest();
        let mut ended = false;
        if self.role != Role::Pause {
            if self.role == Role::Tini && all.len() == 1 && all.get(0) == Some(c"--version") {
                self.tell(b'V');
                return Err(0);
            }
            let mut options = Parser::new(arguments, table(self.role), self.role != Role::Tini);
            loop {
                match options.next() {
                    Ok(0) => break,
                    Ok(letter) => self.option(letter, options.value)?,
                    Err(wrong) => return Err(self.refuse_option(&options, wrong)),
                }
            }
            self.config.program = options.operands();
            ended = options.argument == c"--";
            if self.config.program.is_empty() && !self.config.has(Flags::PAUSE) {
                return Err(self.refuse_nothing());
            }
        }
        match self.role {
            Role::Tini => self.finish_tini(ended, environment),
            Role::DumbInit => self.finish_dumb_init(environment),
            Role::Own if process::getpid() != process::Pid::INIT => {
                self.config.flags |= Flags::FOLLOWS;
            }
            _ => {}
        }
        let config = &mut *self.config;
        if config.has(Flags::SESSION) {
            config.place = Place::Session;
            config.flags = config.flags & !Flags::FOLLOWS | Flags::SUSPENDS;
        }
        Ok(())
    }

    fn option(&mut self, letter: u8, value: &'static CStr) -> Result<(), i32> {
        let config = &mut *self.config;
        let mut flag = 1;
        for option in Flags::OPTIONS {
            if *option == letter {
                config.flags |= flag;
                return Ok(());
            }
            flag <<= 1;
        }
        match letter {
            b'c' => {
                config.whom = Whom::Child;
                config.flags &= !Flags::SESSION;
            }
            b'g' => config.whom = Whom::Group,
            b'v' => config.verbosity = config.verbosity.saturating_add(1),
            b'f' | b'%' | b'e' | b'r' | b'p' => return self.value(letter, value),
            letter => {
                self.tell(letter);
                return Err(0);
            }
        }
        Ok(())
    }

    /// An option with a value.
    fn value(&mut self, letter: u8, value: &'static CStr) -> Result<(), i32> {
        let config = &mut *self.config;
        let text = value.to_bytes();
        let (done, why) = match letter {
            b'f' => (whom(text, config), Why::NotWhom),
            b'%' => (deadline(text, config), Why::NotMilliseconds),
            b'e' => (remap(text, self.role, config), Why::NoExitCode),
            b'r' => (rewrite(text, self.role, config), Why::NoSignal),
            _ => (death(text, self.role, config), Why::NoSignal),
        };
        if done.is_some() {
            return Ok(());
        }
        if self.role == Role::DumbInit {
            self.write(2, REWRITE, b"");
            return Err(1);
        }
        Err(self.refuse(What::ReadValue, value, why))
    }

    /// tini 0.19, and docker-init.
    fn finish_tini(&mut self, ended: bool, environment: &Strings) {
        let config = &mut *self.config;
        // `PROGRAM -- [ARGS]`, as its usage has it, is `PROGRAM [ARGS]`.
        if !ended && config.program.get(1) == Some(c"--") {
            config.program = config.program.without_second();
        }
        if environment.value("TINI_SUBREAPER").is_some() {
            config.flags |= Flags::SUBREAPER;
        }
        if environment.value("TINI_KILL_PROCESS_GROUP").is_some() {
            config.whom = Whom::Group;
        }
        if let Some(text) = environment.value("TINI_VERBOSITY") {
            // As atoi(3): what is no number is 0.
            let level = number(&mut &*text).unwrap_or(0);
            config.verbosity = u8::try_from(level).unwrap_or(u8::MAX);
        }
    }

    /// dumb-init 1.2.5.
    fn finish_dumb_init(&mut self, environment: &Strings) {
        let config = &mut *self.config;
        if config.verbosity > 1 || environment.value("DUMB_INIT_DEBUG") == Some(b"1") {
            config.verbosity = 3;
        }
        if environment.value("DUMB_INIT_SETSID") == Some(b"0") {
            config.flags &= !Flags::SESSION;
        }
        if config.has(Flags::SESSION) {
            config.whom = Whom::Group;
        }
    }
}

const HELP_OF_TINI: u32 = 1 << (VERSION + 1);

fn whom(text: &[u8], config: &mut Config) -> Option<()> {
    config.whom = match position("child group all", text)? {
        0 => Whom::Child,
        1 => Whom::Group,
        _ => Whom::All,
    };
    Some(())
}

fn deadline(text: &[u8], config: &mut Config) -> Option<()> {
    config.deadline = Some(decimal(text)?);
    config.flags |= Flags::WAITS;
    Some(())
}

/// `CODE`, which leaves as 0; our own form has `CODE=CODE`, too.
#[inline(never)]
fn remap(mut text: &[u8], role: Role, config: &mut Config) -> Option<()> {
    let from = number(&mut text)?;
    let mut to = 0;
    if let ([b'=', second @ ..], Role::Own) = (text, role) {
        text = second;
        to = number(&mut text)?;
    }
    let place = u8::try_from(to).ok().filter(|_| text.is_empty())?;
    config.remap(from, place).then_some(())
}

/// `SIGNAL:SIGNAL`, of which dumb-init, by sscanf(3), reads two numbers up to 31,
/// whatever follows them; our own form has `=` and names.
#[inline(never)]
fn rewrite(mut text: &[u8], role: Role, config: &mut Config) -> Option<()> {
    let (from, to) = if role == Role::Own {
        let separator = if holds(text, b'=') { b'=' } else { b':' };
        let mut parts = split(text, separator);
        let from = signal(parts.next()?)?;
        match parts.rest() {
            b"0" => (from, 0),
            other => (from, signal(other)?),
        }
    } else {
        let from = number(&mut text)?;
        let [b':', rest @ ..] = text else {
            return None;
        };
        text = rest;
        let to = number(&mut text)?;
        if from == 0 || from > 31 || to > 31 {
            return None;
        }
        (from, to)
    };
    config.rewrite(from, to.to_le_bytes()[0]);
    Some(())
}

/// The signal for the parent's death, no real-time one: tini takes names alone,
/// and not all.
#[inline(never)]
fn death(text: &[u8], role: Role, config: &mut Config) -> Option<()> {
    let number = signal(text).filter(|number| *number < 32)?;
    let unknown = matches!(number, raw::SIGSTKFLT | raw::SIGIO | raw::SIGPWR);
    if role == Role::Tini && (unknown || !text.starts_with(b"SIG")) {
        return None;
    }
    config.parent_death = number;
    Some(())
}

/// A signal by number, or by name with or without SIG.
#[inline(never)]
fn signal(text: &[u8]) -> Option<u32> {
    let mut rest = text;
    match number(&mut rest) {
        Some(number @ 1..=64) if rest.is_empty() => Some(number),
        _ => fly::signal::number(match text {
            [b'S', b'I', b'G', name @ ..] => name,
            _ => text,
        }),
    }
}
