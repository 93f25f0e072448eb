//! Capabilities: their names, and the sets that are given by default.

use crate::text::{Line, position, split};

/// Names by number, without the CAP_ prefix, in lower case (capabilities(7),
/// linux/capability.h of Linux 6.18).
pub const NAMES: &str = "\
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap \
linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock \
ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin \
sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease \
audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm \
block_suspend audit_read perfmon bpf checkpoint_restore";

const fn bit(number: u32) -> u64 {
    1 << number
}

/// What an app keeps by default: rkt's and Docker's 14 without `mknod`, which
/// is given only together with a device filter.
pub const DEFAULT: u64 = bit(0)
    | bit(1)
    | bit(3)
    | bit(4)
    | bit(5)
    | bit(6)
    | bit(7)
    | bit(8)
    | bit(10)
    | bit(13)
    | bit(18)
    | bit(29)
    | bit(31);

/// All capabilities that have names.
pub const ALL: u64 = (1 << COUNT) - 1;
const COUNT: u32 = 41;

/// What pid 1 needs to start apps, beside theirs: kill setgid setuid setpcap
/// sys_chroot.
pub const INIT: u64 = bit(5) | bit(6) | bit(7) | bit(8) | bit(18);

/// Adds the names of `set` to `line`.
pub fn write(line: &mut Line, set: u64) {
    if set == 0 {
        line.text("none");
    }
    let mut names = split(NAMES.as_bytes(), b' ');
    let mut separator = "";
    for number in 0..64_u64 {
        let name = names.next();
        if set & (1 << number) == 0 {
            continue;
        }
        line.text(separator);
        separator = " ";
        match name {
            Some(name) => line.bytes(name),
            None => line.number(number),
        };
    }
}

/// The set that `names` names: one or more, parted by commas, with or without
/// CAP_, in upper or lower case; `all` is [`ALL`].
#[must_use]
pub fn parse(names: &[u8]) -> Option<u64> {
    let mut set = 0;
    for name in split(names, b',') {
        let bare = match name {
            [b'c' | b'C', b'a' | b'A', b'p' | b'P', b'_', rest @ ..] => rest,
            _ => name,
        };
        set |= match position(NAMES, bare) {
            Some(number) => 1 << number,
            None => position("all", name).map(|_| ALL)?,
        };
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(NAMES.split(' ').count() as u64, u64::from(COUNT));
        for (names, set) in [
            ("chown", Some(1)),
            ("CAP_CHOWN", Some(1)),
            ("Cap_Chown,net_raw", Some(1 | 1 << 13)),
            ("checkpoint_restore", Some(1 << 40)),
            ("all", Some(ALL)),
            ("ALL,chown", Some(ALL)),
            ("", None),
            ("chown,", None),
            (",chown", None),
            ("chown net_raw", None),
            ("cap_", None),
            ("cap_all", None),
            ("cap_cap_chown", None),
            ("0", None),
            ("chow", None),
            (" chown", None),
        ] {
            assert_eq!(parse(names.as_bytes()), set, "{names:?}");
        }
    }

    #[test]
    fn the_default_set_is_the_documented_one() {
        assert_eq!(DEFAULT, 0xa004_25fb);
        assert_eq!(INIT & !DEFAULT, 0);
    }
}
