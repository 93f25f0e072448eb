//! Names of signals (signal(7)).

use crate::text::split;

/// Name by number, from 1; without the SIG prefix. One text: a table of them
/// would be larger than they are.
const NAMES: &[u8] = b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM \
STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// The number of the signal that `name` names, without the SIG prefix.
#[must_use]
pub fn number(name: &[u8]) -> Option<u32> {
    let mut number = 0;
    for other in split(NAMES, b' ') {
        number += 1;
        if other == name {
            return Some(number);
        }
    }
    None
}

/// The name of a signal; real-time signals have none.
#[must_use]
pub fn name(signal: u32) -> Option<&'static str> {
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    let name = split(NAMES, b' ').nth(index)?;
    core::str::from_utf8(name).ok()
}
