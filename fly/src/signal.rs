//! Names of signals (signal(7)).

use crate::text::split;

/// Names by number, one a line, from 1; without the SIG prefix.
const NAMES: &str = "\
HUP\nINT\nQUIT\nILL\nTRAP\nABRT\nBUS\nFPE\nKILL\nUSR1\nSEGV\nUSR2\nPIPE\nALRM\n\
TERM\nSTKFLT\nCHLD\nCONT\nSTOP\nTSTP\nTTIN\nTTOU\nURG\nXCPU\nXFSZ\nVTALRM\nPROF\n\
WINCH\nIO\nPWR\nSYS";

/// The number of the signal that `name` names, without the SIG prefix.
#[must_use]
pub fn number(name: &[u8]) -> Option<u32> {
    let before = split(NAMES.as_bytes(), b'\n').position(|other| other == name)?;
    u32::try_from(before + 1).ok()
}

/// The name of a signal; real-time signals have none.
#[must_use]
pub fn name(signal: u32) -> Option<&'static [u8]> {
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    split(NAMES.as_bytes(), b'\n').nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_number() {
        assert_eq!(name(0), None);
        assert_eq!(name(1), Some(&b"HUP"[..]));
        assert_eq!(name(15), Some(&b"TERM"[..]));
        assert_eq!(name(31), Some(&b"SYS"[..]));
        assert_eq!(name(32), None);
        for signal in 1..=31 {
            assert_eq!(name(signal).and_then(number), Some(signal));
        }
        assert_eq!(number(b""), None);
        assert_eq!(number(b"SIGTERM"), None);
    }
}
