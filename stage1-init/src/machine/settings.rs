//! What the kernel's command line asks for, and the words of small files.

use core::ffi::CStr;

use fly::{
    error::{Error, MACHINE_TEXTS, What, Why},
    sys::descriptor,
    text::{decimal, split},
};
use rustix::io::Errno;

use crate::NAME;

const COMMAND_LINE: &CStr = c"/proc/cmdline";
/// Room for it.
pub const ROOM: usize = 4096;
/// What the kernel itself cuts (COMMAND_LINE_SIZE, asm/setup.h of x86_64): a line
/// that is as long with its end was probably longer.
const CUT: usize = 2048;

/// Where the pod's code is told.
#[derive(Clone, Copy, Debug)]
pub enum Exit<'c> {
    /// A port of the host's vsock.
    Vsock(u32),
    /// A device, or a file.
    Path(&'c CStr),
}

/// What the kernel's command line asks for.
#[derive(Debug, Default)]
pub struct Settings<'c> {
    /// All of it, for settings that may come more than once.
    line: &'c [u8],
    pub plan: Option<&'c CStr>,
    /// `[TYPE:]DEVICE` of the root, and what comes of the kernel's own words.
    pub root: Option<&'c CStr>,
    pub init: Option<&'c CStr>,
    pub writable: bool,
    pub exit: Option<Exit<'c>>,
    pub exit_port: Option<u16>,
    pub watchdog: Option<u32>,
    pub old_cgroups: bool,
    pub steps: bool,
    pub rescue: bool,
}

impl<'c> Settings<'c> {
    /// Reads them into `room`. What is not understood is told.
    pub fn read(room: &'c mut [u8; ROOM]) -> Self {
        let line = words_of(COMMAND_LINE, room);
        if line.len() >= CUT {
            Error::new(What::Read, COMMAND_LINE, Errno::FBIG).print(NAME, MACHINE_TEXTS);
        }
        let mut settings = Self {
            line,
            ..Self::default()
        };
        let mut rest = line;
        while let Some(word) = next_word(&mut rest) {
            settings.take(word);
        }
        settings
    }

    fn take(&mut self, word: &'c CStr) {
        // The kernel's own words, as for a root that it mounts itself.
        match word.to_bytes() {
            b"rw" => self.writable = true,
            b"ro" => self.writable = false,
            _ => {}
        }
        if let Some(path) = value_of(word, b"init=") {
            self.init = Some(path);
        }
        let Some(setting) = word.to_bytes().strip_prefix(b"stage1.") else {
            return;
        };
        let name = split(setting, b'=').next().unwrap_or_default();
        let value = value_at(word, b"stage1.".len() + name.len() + 1);
        let number = value.and_then(|value| decimal(value.to_bytes()));
        let small = number.and_then(|number| u16::try_from(number).ok());
        match (name, value) {
            (b"plan", Some(_)) => self.plan = value,
            (b"root", Some(_)) => self.root = value,
            (b"exit", Some(value)) if exit(value).is_some() => self.exit = exit(value),
            (b"exit-port", _) if small.is_some() => self.exit_port = small,
            // The kernel takes an int.
            (b"watchdog", _) if small.is_some_and(|seconds| seconds > 0) => {
                self.watchdog = small.map(u32::from);
            }
            (b"address", Some(value)) if super::network::parse(value).is_some() => {}
            (b"cgroup", Some(value)) if value == c"1" => self.old_cgroups = true,
            (b"log", Some(value)) if value == c"steps" => self.steps = true,
            (b"rescue", None) => self.rescue = true,
            // Another program may not need it, but its writer wanted something.
            _ => Error::new(What::ReadArgument, word, Why::NoSetting).print(NAME, MACHINE_TEXTS),
        }
    }

    /// The values of `stage1.address=`.
    pub fn addresses(&self, each: &mut dyn FnMut(&'c CStr)) {
        let mut rest = self.line;
        while let Some(word) = next_word(&mut rest) {
            if let Some(value) = value_of(word, b"stage1.address=") {
                each(value);
            }
        }
    }
}

fn value_of<'c>(word: &'c CStr, name: &[u8]) -> Option<&'c CStr> {
    word.to_bytes().strip_prefix(name)?;
    value_at(word, name.len())
}

/// The rest of `word` from byte `at` on, unless it is shorter or nothing is left.
fn value_at(word: &CStr, at: usize) -> Option<&CStr> {
    let value = CStr::from_bytes_until_nul(word.to_bytes_with_nul().get(at..)?).ok()?;
    (!value.is_empty()).then_some(value)
}

fn exit(value: &CStr) -> Option<Exit<'_>> {
    match value.to_bytes().strip_prefix(b"vsock:") {
        Some(port) => u32::try_from(decimal(port)?).ok().map(Exit::Vsock),
        None => value
            .to_bytes()
            .starts_with(b"/")
            .then_some(Exit::Path(value)),
    }
}

/// A file's words; blanks and ends of lines become terminators in `room`.
pub fn words_of<'r>(path: &CStr, room: &'r mut [u8]) -> &'r [u8] {
    let length = descriptor::read_file(path, room).len();
    let words = room.get_mut(..length).unwrap_or_default();
    for byte in words.iter_mut() {
        if matches!(byte, b' ' | b'\t' | b'\n') {
            *byte = 0;
        }
    }
    words
}

/// The next word of [`words_of`]; the last one is terminated, too.
pub fn next_word<'w>(rest: &mut &'w [u8]) -> Option<&'w CStr> {
    loop {
        let word = CStr::from_bytes_until_nul(rest).ok()?;
        *rest = rest.get(word.count_bytes() + 1..).unwrap_or_default();
        if !word.is_empty() {
            return Some(word);
        }
    }
}
