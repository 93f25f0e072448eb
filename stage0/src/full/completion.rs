//! `stage0 completion`: what shells need to complete the words of `stage0`, out of its own
//! names of options.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    packed,
    packed::Packed,
    sys::{entry::Start, memory::c_str},
    text::{Line, copy, split},
};

use super::manifest::Words;
use crate::options::{Choices, NAMES};

/// For bash, and for zsh, which has its functions. `%` and a digit stands for what
/// [`Completion::add`] adds.
const BASH: Packed = packed!(include_str!("completion.bash"));
/// In front of it for zsh.
const ZSH: Packed = packed!("autoload -U compinit bashcompinit\ncompinit -i\nbashcompinit\n");
/// Files are completed by fish itself.
const FISH: Packed = packed!(include_str!("completion.fish"));

/// The values of what is no option of `run` but has one.
const WITH_VALUE: &str = "-v|-o|--format|--uuid-file|--app|--tail|--grace-period";

/// Commands, their options, and what their operands are: `files` of the root, what `app`
/// has, the name of a `shell`, or pods in such a state. Those of `%3` are all of `run`.
const COMMANDS: [(&str, &str, &str); 16] = [
    ("run plan prepare", "%3", "files"),
    ("pool", "%3 --networks", "files"),
    (
        "run-prepared",
        "--set-env --pool --detach --keep --rm --uuid-file-save --timeout --timings --debug --state-dir",
        "prepared|parked",
    ),
    ("list ps", "--full --no-legend --format --state-dir", ""),
    (
        "status",
        "--wait --wait-ready --format --uuid-file --state-dir",
        ".",
    ),
    ("logs", "--app --follow --tail --uuid-file --state-dir", "."),
    ("attach", "--app --close --uuid-file --state-dir", "running"),
    ("export", "--app --state-dir", "."),
    ("cat-manifest", "--uuid-file --state-dir", "."),
    ("stop", "--force --uuid-file --state-dir", "running|parked"),
    ("rm", "--force --uuid-file --state-dir", "."),
    ("gc", "--mark-only --grace-period --state-dir", ""),
    ("config", "--check --format --state-dir", ""),
    ("enter exec", "--app --set-env --tty --state-dir", "running"),
    ("app", "--state-dir", "app"),
    ("completion", "", "shell"),
];

/// Carries out `stage0 completion SHELL`; returns the exit code.
///
/// # Errors
/// It is none of bash, zsh and fish.
pub fn complete(start: &Start) -> Result<i32, Error<'static>> {
    let words = super::words_behind(start, 0)?;
    let shell = words.operand()?.unwrap_or_default();
    let mut line = Line::new(1);
    let text = match shell.to_bytes() {
        b"bash" => BASH,
        b"zsh" => {
            line.packed(ZSH);
            BASH
        }
        b"fish" => FISH,
        _ => return Err(Error::new(What::ReadCommand, c"completion", Why::NoShell)),
    };
    let mut completion = Completion { line };
    let mut is_field = false;
    text.each(&mut |byte| match (is_field, byte) {
        (true, b'0'..=b'5') => {
            is_field = false;
            completion.add(byte);
        }
        // Of `${name%%pattern}`, which is written with two of them.
        (true, _) => {
            is_field = false;
            completion.line.byte(b'%');
            completion.line.byte(byte);
        }
        (_, b'%') => is_field = true,
        _ => {
            completion.line.byte(byte);
        }
    });
    Error::said(completion.line.flush(), 0)
}

/// What there is to say of a name of [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Command,
    /// An option that goes without a value.
    Switch,
    WithValue,
}

/// As who reads it takes it.
fn is(name: &[u8]) -> Is {
    if !name.starts_with(b"-") {
        return Is::Command;
    }
    let mut place = [0; 64];
    copy(&mut place, name);
    let word: &CStr = c_str(&place).unwrap_or_default();
    match Choices::new(Words::Made(word.to_bytes_with_nul())).take() {
        Err(error) if error.cause() == Error::new(What::ReadOption, c"", Why::NoValue).cause() => {
            Is::WithValue
        }
        _ => Is::Switch,
    }
}

struct Completion {
    line: Line,
}

impl Completion {
    /// What a digit stands for.
    fn add(&mut self, digit: u8) {
        match digit {
            b'0' => self.names(&[Is::Command], b' '),
            b'1' => {
                self.line.text(WITH_VALUE).text("|");
                self.names(&[Is::WithValue], b'|');
            }
            b'2' => self.names(&[Is::Switch], b'|'),
            b'3' => self.names(&[Is::Switch, Is::WithValue], b' '),
            b'4' => self.for_bash(),
            _ => self.for_fish(),
        }
    }

    fn names(&mut self, wanted: &[Is], between: u8) {
        let mut is_first = true;
        for name in split(NAMES.as_bytes(), b'\n') {
            if !wanted.contains(&is(name)) {
                continue;
            }
            if !is_first {
                self.line.byte(between);
            }
            is_first = false;
            self.line.bytes(name);
        }
    }

    fn options(&mut self, options: &str) {
        let own = match options.strip_prefix("%3") {
            Some(own) => {
                self.add(b'3');
                own
            }
            None => options,
        };
        self.line.text(own);
    }

    fn for_bash(&mut self) {
        for (names, options, operands) in COMMANDS {
            for (number, name) in split(names.as_bytes(), b' ').enumerate() {
                self.line.text(if number == 0 { " " } else { " | " });
                self.line.bytes(name);
            }
            self.line.text(") offered='");
            self.options(options);
            self.line.text("' pods='").text(operands).text("' ;;\n");
        }
    }

    fn for_fish(&mut self) {
        for (names, options, operands) in COMMANDS {
            let is_files = operands == "files";
            let kind = if is_files { "" } else { " -f" };
            self.fish_line(kind, names, "; and __stage0_dash");
            self.options(options);
            self.line.text("'\n");
            if !matches!(operands, "" | "files" | "app" | "shell") {
                self.fish_line(kind, names, "");
                let line = self.line.text("(__stage0_pods \"").text(operands);
                line.text("\")'\n");
            }
        }
    }

    /// The beginning of a line for `names`.
    fn fish_line(&mut self, kind: &str, names: &str, condition: &str) {
        let line = self.line.text("complete -c stage0").text(kind);
        line.text(" -n '__stage0_is ").text(names).text(condition);
        line.text("' -a '");
    }
}
