//! Capabilities: their names, and the sets that are given by default.

use crate::text::{Line, split};

/// Names by number, one a line, without the CAP_ prefix, in lower case
/// (capabilities(7), linux/capability.h of Linux 6.18).
pub const NAMES: &str = "\
chown\ndac_override\ndac_read_search\nfowner\nfsetid\nkill\nsetgid\nsetuid\n\
setpcap\nlinux_immutable\nnet_bind_service\nnet_broadcast\nnet_admin\nnet_raw\n\
ipc_lock\nipc_owner\nsys_module\nsys_rawio\nsys_chroot\nsys_ptrace\nsys_pacct\n\
sys_admin\nsys_boot\nsys_nice\nsys_resource\nsys_time\nsys_tty_config\nmknod\n\
lease\naudit_write\naudit_control\nsetfcap\nmac_override\nmac_admin\nsyslog\n\
wake_alarm\nblock_suspend\naudit_read\nperfmon\nbpf\ncheckpoint_restore";

/// How many capabilities have names.
const COUNT: u64 = 41;

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

/// What pid 1 needs to start apps, beside theirs: kill setgid setuid setpcap
/// sys_chroot.
pub const INIT: u64 = bit(5) | bit(6) | bit(7) | bit(8) | bit(18);

/// Adds the names of `set` to `line`.
pub fn write(line: &mut Line, set: u64) {
    if set == 0 {
        line.text("none");
    }
    let mut names = split(NAMES.as_bytes(), b'\n');
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_documented_one() {
        assert_eq!(DEFAULT, 0xa004_25fb);
        assert_eq!(INIT & !DEFAULT, 0);
        assert_eq!(NAMES.lines().count() as u64, COUNT);
    }
}
