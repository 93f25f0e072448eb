//! What a program of a pod is to the others: its name, order, readiness, restarts,
//! hooks, and its end.

use core::ffi::CStr;

use super::{logs, own::Who};
use crate::options::{AppOption, Change, Choice, Choices, milliseconds};
use fly::{
    error::{Error, What, Why},
    launch::app::DEFAULT_PATH_VARIABLE,
    plan::{Builder, List, Step},
    signal,
    text::{Digits, decimal, split},
};
use rustix::io::Errno;

/// Where its root is in a pod whose programs have roots of their own: before and behind
/// its name. pid 1 sees them all.
pub(super) const ROOTS: (&[u8], &[u8]) = (b"/app/", b"/rootfs");

/// The signal and the milliseconds by which an app is stopped.
const STOP: (u16, u64) = (SIGTERM, 10_000);
const SIGTERM: u16 = 15;

/// Whether the pod has a directory of its own for what its programs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    No,
    Yes,
    /// Nobody is there to see it.
    Detached,
}

/// The options of one program.
pub(super) struct Policies<'a> {
    index: usize,
    values: [Option<&'a CStr>; AppOption::COUNT],
    /// Who it is.
    pub(super) who: Who<'a>,
    /// Whether there are limits, and changes of capabilities, and what these add.
    pub(super) limits: bool,
    pub(super) changes: bool,
    pub(super) added: u64,
}

impl<'a> Policies<'a> {
    /// Those of the program number `index`, of which nothing was read yet.
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            values: [None; AppOption::COUNT],
            who: Who::default(),
            limits: false,
            changes: false,
            added: 0,
        }
    }

    /// Reads options; those of the first program may stand among the pod's (`all`).
    pub(super) fn read<I>(&mut self, choices: &mut Choices<I>, all: bool) -> Result<(), Error<'a>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        loop {
            let word = choices.words().next().unwrap_or_default();
            let Some(choice) = choices.take()? else {
                return Ok(());
            };
            if !all && !choice.is_of_a_program() && !choice.is_of_a_root() {
                return Err(Error::new(What::ReadOption, word, Why::NotOfAProgram));
            }
            self.note(&choice);
        }
    }

    fn note(&mut self, choice: &Choice<'a>) {
        match *choice {
            Choice::App(option, value) => {
                if let Some(place) = self.values.get_mut(option as usize) {
                    *place = Some(value);
                }
            }
            Choice::User(user) => self.who.user = Some(user),
            Choice::Group(group) => self.who.group = Some(group),
            Choice::Groups(groups) => self.who.groups = Some(groups),
            Choice::WorkingDirectory(path) => self.who.working_directory = Some(path),
            Choice::Umask(mask) => self.who.umask = Some(mask),
            Choice::Limit(..) => self.limits = true,
            Choice::Capabilities(change, named) => {
                self.changes = true;
                self.added |= if change == Change::Add { named } else { 0 };
            }
            _ => {}
        }
    }

    /// Its number.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Whether this switch is on.
    pub(super) fn asks(&self, option: AppOption) -> bool {
        self.value(option) == Some(c"true")
    }

    /// What an option of its own says.
    pub(super) fn value(&self, option: AppOption) -> Option<&'a CStr> {
        self.values.get(option as usize).copied().flatten()
    }

    /// Whether it is the pod's first one, whose steps also hold what is the pod's.
    pub(super) fn is_first(&self) -> bool {
        self.index == 0
    }

    /// Whether this is its name.
    pub(super) fn is_called(&self, name: &CStr) -> bool {
        match self.value(AppOption::Name) {
            Some(own) => own == name,
            None => {
                let digits = Digits::new(self.index as u64, 10);
                name.to_bytes().strip_prefix(b"app-") == Some(digits.as_bytes())
            }
        }
    }

    /// Whether it says by itself that it is ready.
    pub(super) fn notifies(&self) -> bool {
        self.value(AppOption::Ready) == Some(c"notify")
    }

    /// Adds a string that ends in its name.
    pub(super) fn join(&self, plan: &mut Builder<'_>, before: &[u8]) {
        self.join_name(plan, before, b"");
    }

    /// Adds a string with its name in it.
    pub(super) fn join_name(&self, plan: &mut Builder<'_>, before: &[u8], behind: &[u8]) {
        self.join_parts(plan, before, &[behind, b""]);
    }

    fn join_parts(&self, plan: &mut Builder<'_>, before: &[u8], [behind, last]: &[&[u8]; 2]) {
        match self.value(AppOption::Name) {
            Some(name) => plan.joined(&[before, name.to_bytes(), behind, last]),
            None => {
                let digits = Digits::new(self.index as u64, 10);
                plan.joined(&[before, b"app-", digits.as_bytes(), behind, last])
            }
        };
    }

    /// Ends a step by a path of the program's root, as pid 1 sees it.
    pub(super) fn path(&self, own_root: bool, path: &[u8], plan: &mut Builder<'_>) {
        if own_root {
            self.join_parts(plan, ROOTS.0, &[ROOTS.1, path]);
        } else {
            plan.joined(&[path]);
        }
        plan.end();
    }

    /// The beginning of the app, and what pid 1 does with it.
    pub(super) fn lower(
        &self,
        exit_policy: Option<&CStr>,
        registered: Registered,
        own_root: bool,
        plan: &mut Builder<'_>,
    ) -> Result<(), Error<'a>> {
        plan.begin_list(Step::App { name: c"" });
        self.join(plan, b"");
        plan.end();
        if own_root {
            // Before all that names a path.
            plan.begin_list(Step::AppRoot { path: c"" });
            self.join_name(plan, ROOTS.0, ROOTS.1);
            plan.end();
        }
        self.stop(plan)?;
        self.exit(exit_policy, plan);
        if let Some(value) = self.value(AppOption::Restart) {
            restart(value, plan).ok_or(wrong(value, Why::NotRestart))?;
        }
        if let Some(value) = self.value(AppOption::After) {
            let names = List::EMPTY;
            plan.begin_list(Step::After { apps: 0, names });
            for name in split(value.to_bytes(), b',') {
                plan.joined(&[name]);
            }
            plan.end();
        }
        if let Some(value) = self.value(AppOption::Ready) {
            self.ready(value, own_root, plan)
                .ok_or(wrong(value, Why::NotReady))?;
        }
        // Before the streams, which may take one of the two back.
        match self.value(AppOption::Log) {
            Some(value) => self.log(value, registered, own_root, plan)?,
            None if registered == Registered::Detached
                && self.value(AppOption::Stdout).is_none() =>
            {
                self.log(c"pod", registered, own_root, plan)?;
            }
            None => {}
        }
        let streams = [AppOption::Stdin, AppOption::Stdout, AppOption::Stderr];
        for (number, option) in (0..).zip(streams) {
            if let Some(value) = self.value(option) {
                stream(1 << number, value, plan).ok_or(wrong(value, Why::NotStream))?;
            }
        }
        let none = List::EMPTY;
        if let Some(command) = self.value(AppOption::PreStart) {
            let (arguments, strings) = (count(command)?, none);
            plan.begin_list(Step::PreStart { arguments, strings });
            hook(command, plan);
        }
        if let Some(command) = self.value(AppOption::PostStop) {
            let (arguments, strings) = (count(command)?, none);
            plan.begin_list(Step::PostStop { arguments, strings });
            hook(command, plan);
        }
        Ok(())
    }

    fn exit(&self, policy: Option<&CStr>, plan: &mut Builder<'_>) {
        let flags = match policy.map(CStr::to_bytes) {
            None | Some(b"first-failure") => 0,
            Some(b"all") => Step::QUIET,
            Some(b"never") => Step::QUIET | Step::UNCOUNTED | Step::STAYS,
            _ if policy.is_some_and(|name| self.is_called(name)) => Step::DECIDES,
            _ => Step::QUIET | Step::UNCOUNTED,
        };
        if flags != 0 {
            plan.push(Step::ExitPolicy { flags });
        }
    }

    fn stop(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let (mut signal, mut deadline) = STOP;
        if let Some(value) = self.value(AppOption::StopSignal) {
            signal = signal_number(value.to_bytes()).ok_or(wrong(value, Why::NoSignal))?;
        }
        if let Some(value) = self.value(AppOption::StopTimeout) {
            deadline = milliseconds(value.to_bytes()).ok_or(wrong(value, Why::NoSeconds))?;
        }
        plan.push(Step::Stop { signal, deadline });
        Ok(())
    }

    /// Where its output goes by way of pid 1.
    fn log(
        &self,
        value: &'a CStr,
        registered: Registered,
        own_root: bool,
        plan: &mut Builder<'_>,
    ) -> Result<(), Error<'a>> {
        let Some(rest) = logs::of_pod(value) else {
            let root = own_root.then_some(self);
            return logs::lower(value, root, plan).ok_or(wrong(value, Why::NotLog));
        };
        if registered == Registered::No {
            return Err(wrong(value, Why::NotRegistered));
        }
        let (size, keep) = logs::rotation(rest).ok_or(wrong(value, Why::NotLog))?;
        if let Some(name) = self.value(AppOption::Name)
            && name.count_bytes() > logs::LONGEST
        {
            return Err(Error::new(What::ReadOption, c"--name", Errno::NAMETOOLONG));
        }
        let names = (c"", c"");
        plan.begin_list(Step::LogFile {
            keep,
            size,
            name: names.0,
            folder: names.1,
        });
        self.join(plan, b"");
        // In the pod's directory, see stage1-init.
        plan.string(c"logs").end();
        Ok(())
    }

    fn ready(&self, value: &CStr, own_root: bool, plan: &mut Builder<'_>) -> Option<()> {
        let value = value.to_bytes();
        let none = List::EMPTY;
        let step = |flags, port| Step::Ready {
            flags,
            port,
            path: none,
        };
        if let Some(path) = value.strip_prefix(b"file:") {
            if !path.starts_with(b"/") {
                return None;
            }
            plan.begin_list(step(Step::READY_FILE, 0));
            self.path(own_root, path, plan);
            return Some(());
        }
        if let Some(digits) = value.strip_prefix(b"port:") {
            let port = decimal(digits).filter(|port| (1..=65_535).contains(port))?;
            plan.push(step(Step::READY_PORT, port));
            return Some(());
        }
        match value {
            b"start" => {}
            b"exit" => _ = plan.push(step(Step::READY_EXIT, 0)),
            b"notify" => {
                plan.begin_list(step(Step::READY_NOTIFY, 0));
                self.join(plan, b"/dev/shm/notify-");
                plan.end();
            }
            _ => return None,
        }
        Some(())
    }
}

fn wrong(value: &CStr, why: Why) -> Error<'_> {
    Error::new(What::ReadOption, value, why)
}

/// A number, or a name with or without SIG.
pub(crate) fn signal_number(value: &[u8]) -> Option<u16> {
    let number = match decimal(value) {
        Some(number) => u16::try_from(number).ok()?,
        None => {
            let name = value.strip_prefix(b"SIG").unwrap_or(value);
            u16::try_from(signal::number(name)?).ok()?
        }
    };
    (1..=64).contains(&number).then_some(number)
}

fn restart(value: &CStr, plan: &mut Builder<'_>) -> Option<()> {
    let mut parts = split(value.to_bytes(), b':');
    let flags = match parts.next()? {
        b"no" if value == c"no" => return Some(()),
        b"on-failure" => 0,
        b"always" => Step::ALWAYS,
        _ => return None,
    };
    let most = match parts.next() {
        Some(digits) => decimal(digits).filter(|most| (1..=1_000_000).contains(most))?,
        None => 0,
    };
    parts.next().is_none().then(|| {
        plan.push(Step::Restart { flags, most });
    })
}

fn stream(streams: u16, value: &CStr, plan: &mut Builder<'_>) -> Option<()> {
    let path = match value.to_bytes() {
        b"inherit" => return Some(()),
        // See `pipes` and `streams`.
        b"pipe" | b"stream" if streams == 1 => return Some(()),
        value if streams != 1 && value.starts_with(b"pipe:") => return Some(()),
        b"null" => b"/dev/null",
        value => value.strip_prefix(b"file:")?,
    };
    let path = Some(path).filter(|path| path.starts_with(b"/"))?;
    let step = Step::Stdio { streams, path: c"" };
    plan.begin_list(step).joined(&[path]).end();
    Some(())
}

/// The words of a hook: parted by blanks, without a shell, which a root may lack. If it
/// begins with a control character they are parted by that, and may have blanks.
fn words(command: &CStr) -> impl Iterator<Item = &[u8]> {
    let (separator, command) = match command.to_bytes() {
        [first @ 1..=31, rest @ ..] => (*first, rest),
        command => (b' ', command),
    };
    split(command, separator).filter(move |word| separator != b' ' || !word.is_empty())
}

fn count(command: &CStr) -> Result<u64, Error<'_>> {
    match words(command).count() {
        0 => Err(wrong(command, Why::Empty)),
        count => Ok(count as u64),
    }
}

/// The path, the arguments, and of the environment nothing but PATH: what the image
/// or the pod sets does not reach what prepares the app (CVE-2025-23266).
fn hook(command: &CStr, plan: &mut Builder<'_>) {
    for word in words(command).take(1).chain(words(command)) {
        plan.joined(&[word]);
    }
    plan.string(DEFAULT_PATH_VARIABLE).end();
}
