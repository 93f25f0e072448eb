//! `--completion`: what shells need to complete the words of `fly`, out of its own
//! table of options.

use core::ffi::CStr;

use super::{NAMES, OPTIONS};
use crate::{
    error::{Error, What, Why},
    packed,
    text::{Line, split},
};

/// For bash, and for zsh, which has its functions. `%0` stands for all options, a
/// line each, `%1` and `%2` for those with so many values, as a pattern.
pub(crate) const BASH: &str = include_str!("completion.bash");
/// In front of it for zsh.
const ZSH: &str = "autoload -U compinit bashcompinit\ncompinit -i\nbashcompinit\n";
/// Files are completed by fish itself.
const FISH: &str = "complete -c fly -a '%0'\n";

/// Writes the completion for `shell` to standard output; false if that failed.
///
/// # Errors
/// It is none of bash, zsh and fish.
#[cold]
#[inline(never)]
pub fn complete(shell: &CStr) -> Result<bool, Error<'_>> {
    let mut line = Line::new(1);
    let bash = packed!(BASH);
    let text = match shell.to_bytes() {
        b"bash" => bash,
        b"zsh" => {
            line.packed(packed!(ZSH));
            bash
        }
        b"fish" => packed!(FISH),
        _ => return Err(Error::new(What::ReadOption, c"--completion", Why::NoShell)),
    };
    let mut is_field = false;
    text.each(&mut |byte| match (is_field, byte) {
        (true, _) => {
            is_field = false;
            add(byte, &mut line);
        }
        (_, b'%') => is_field = true,
        _ => line.byte(byte),
    });
    Ok(line.flush())
}

/// Adds the names of all options, or of those with so many values.
#[inline(never)]
fn add(form: u8, line: &mut Line) {
    let mut separator = 0;
    for (name, (_, count)) in split(NAMES.as_bytes(), b'\n').zip(OPTIONS) {
        if form != b'0' && form != b'0' + count {
            continue;
        }
        if separator != 0 {
            line.byte(separator);
        }
        line.bytes(name);
        separator = if form == b'0' { b'\n' } else { b'|' };
    }
}
