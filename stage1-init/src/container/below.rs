//! All processes below this one, where it is no pid 1, which has kill(2) for it.

use fly::{
    sys::{descriptor, signal},
    text::{decimal, split},
};
use rustix::process;

use super::memory::Text;

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
    let own = u64::from(process::getpid().as_raw_nonzero().get().unsigned_abs());
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
        let mut name = Text::<24>::new();
        // The name, which is the second field, may hold blanks and parentheses.
        match field(name.number(pid).as_c_str().to_bytes(), 3) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// A field of /proc/NAME/stat (proc_pid_stat(5)): 0 is the pid, 3 the parent's.
fn field(name: &[u8], number: usize) -> Option<u64> {
    let mut path = Text::<40>::new();
    path.add(b"/proc/").add(name).add(b"/stat");
    let mut buffer = [0; 256];
    let mut rest = descriptor::read_file(path.as_c_str(), &mut buffer);
    if number == 0 {
        return decimal(split(rest, b' ').next()?);
    }
    for part in split(rest, b')') {
        rest = part;
    }
    decimal(split(rest, b' ').nth(number - 1)?)
}
