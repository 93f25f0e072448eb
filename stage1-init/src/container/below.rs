//! All processes below this one, where it is no pid 1, which has kill(2) for it.

use fly::{
    sys::{descriptor, signal},
    text::{Digits, decimal, split},
};

use super::{memory::read_file, start::own_pid};

/// More ancestors than anybody has.
const DEEP: usize = 256;

/// Sends `signal` to all of them; false if /proc does not show them.
///
/// No list is kept: of every process the ancestors are looked up, which only
/// ends at us for those below us. Reading each one's list of children instead
/// would miss those of threads.
#[cold]
#[inline(never)]
pub fn send(signal: u32) -> bool {
    let own = own_pid();
    // A /proc of another pid namespace has other numbers.
    if field(b"self", 0) != Some(own) {
        return false;
    }
    descriptor::each_name(c"/proc", &mut |name| {
        if let Some(pid) = decimal(name)
            && pid != own
            && is_below(pid, own)
            && let Ok(pid) = i32::try_from(pid)
        {
            let _ = signal::send(pid, signal);
        }
    })
}

fn is_below(mut pid: u64, own: u64) -> bool {
    for _ in 0..DEEP {
        match field(Digits::new(pid, 10).as_bytes(), 3) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// A field of /proc/NAME/stat (proc_pid_stat(5)): 0 is the pid, 3 the parent's.
#[inline(never)]
fn field(name: &[u8], number: usize) -> Option<u64> {
    let mut buffer = [0; 256];
    let mut rest = read_file(&[b"/proc/", name, b"/stat"], &mut buffer);
    if number > 0 {
        // The name, which is the second field, may hold blanks and parentheses.
        for part in split(rest, b')') {
            rest = part;
        }
    }
    decimal(split(rest, b' ').nth(number.saturating_sub(1))?)
}
