//! Capabilities: their names, and the sets that are given by default.

use crate::text::Line;

/// Names by number, without the CAP_ prefix, in lower case (capabilities(7),
/// linux/capability.h of Linux 6.18).
pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

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
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// What pid 1 needs to start apps, beside theirs: kill setgid setuid setpcap
/// sys_chroot.
pub const INIT: u64 = bit(5) | bit(6) | bit(7) | bit(8) | bit(18);

/// Adds the names of `set` to `line`.
pub fn write(line: &mut Line, set: u64) {
    let mut separator = "";
    if set == 0 {
        line.text("none");
    }
    for number in 0..64_u64 {
        if set & (1 << number) == 0 {
            continue;
        }
        line.text(separator);
        separator = " ";
        match usize::try_from(number)
            .ok()
            .and_then(|number| NAMES.get(number))
        {
            Some(name) => line.text(name),
            None => line.number(number),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_documented_one() {
        assert_eq!(DEFAULT, 0xa004_25fb);
        assert_eq!(INIT & !DEFAULT, 0);
    }
}
