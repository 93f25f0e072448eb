//! The default system call filter: what it costs to load, and how long it is.

use std::{io, mem, ptr};

use crate::{
    budget::{Line, Verdict},
    statistics::Summary,
    table::micros,
};

#[path = "../../fly/src/seccomp/default_filter.rs"]
mod default_filter;

use default_filter::DEFAULT;

/// How often it is loaded in a batch, each time by a process of its own.
const LOADS: usize = 200;
/// How many batches there are. The quietest one counts: what else a shared machine
/// does takes longer than a load, and comes in phases of a second or more.
const BATCHES: usize = 8;

/// Nanoseconds that the start of a program may spend on it.
const MOST_NANOSECONDS: u64 = 40_000;
/// An earlier filter of the same calls had as many instructions.
const MOST_INSTRUCTIONS: usize = 114;
/// And as many on the way of a call.
const MOST_ON_A_WAY: usize = 42;

/// Three lines of the budget.
///
/// # Errors
/// No process can be made, or the kernel refuses the filter.
pub fn lines() -> io::Result<Vec<Line>> {
    let mut p50 = u64::MAX;
    for _ in 0..BATCHES {
        p50 = p50.min(Summary::of(&loads()?).p50);
    }
    let (count, longest) = (DEFAULT.len() / 8, longest(DEFAULT));
    let verdict = |kept| if kept { Verdict::Pass } else { Verdict::Miss };
    let line = |text: &str, found: String, limit: String, kept| Line {
        text: text.into(),
        found,
        limit,
        ratio: None,
        verdict: verdict(kept),
    };
    Ok(vec![
        line(
            "load of the default filter, p50 of the quietest batch",
            format!("{} us", micros(p50).trim()),
            format!("<= {} us", MOST_NANOSECONDS / 1000),
            p50 <= MOST_NANOSECONDS,
        ),
        line(
            "its instructions",
            count.to_string(),
            format!("<= {MOST_INSTRUCTIONS}"),
            count <= MOST_INSTRUCTIONS,
        ),
        line(
            "its longest way",
            longest.to_string(),
            format!("<= {MOST_ON_A_WAY}"),
            longest <= MOST_ON_A_WAY,
        ),
    ])
}

/// What each load of a batch took, in nanoseconds.
fn loads() -> io::Result<Vec<u64>> {
    (0..LOADS).map(|_| load()).collect()
}

/// Loads it in a child, which tells through a pipe what that took.
fn load() -> io::Result<u64> {
    let mut pipe = [0; 2];
    // SAFETY: writes two descriptors.
    check(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [reader, writer] = pipe;
    let mut took = 0_u64;
    // SAFETY: the child makes system calls on its copies only and ends at once;
    // the harness has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let took = timed();
        // SAFETY: as above; eight bytes are written.
        unsafe {
            libc::write(writer, ptr::from_ref(&took).cast(), mem::size_of_val(&took));
            libc::_exit(0);
        }
    }
    // SAFETY: the pipe's ends are ours and closed once; eight bytes are read, and
    // the child is collected.
    let count = unsafe {
        libc::close(writer);
        let count = libc::read(
            reader,
            ptr::from_mut(&mut took).cast(),
            mem::size_of_val(&took),
        );
        libc::close(reader);
        if child > 0 {
            libc::waitpid(child, ptr::null_mut(), 0);
        }
        count
    };
    match (child, count) {
        (1.., 8) if took != 0 => Ok(took),
        (..=-1, _) => Err(io::Error::other("no process can be made")),
        _ => Err(io::Error::other("the kernel refuses the default filter")),
    }
}

/// 0 if it failed.
fn timed() -> u64 {
    let program = libc::sock_fprog {
        len: u16::try_from(DEFAULT.len() / 8).unwrap_or(0),
        filter: DEFAULT.as_ptr().cast_mut().cast(),
    };
    // SAFETY: takes no pointer.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_getppid);
    }
    // A fork leaves the pages of files to be faulted in again: that is the cost of
    // this harness, not of the filter.
    std::hint::black_box(DEFAULT.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    let before = crate::measure::now();
    // SAFETY: the kernel reads the program, at any alignment.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_long::from(SET_MODE_FILTER),
            0,
            &raw const program,
        )
    };
    if loaded == 0 {
        crate::measure::now().saturating_sub(before).max(1)
    } else {
        0
    }
}

/// linux/seccomp.h.
const SET_MODE_FILTER: i32 = 1;

fn check(value: libc::c_int) -> io::Result<()> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// How many instructions the longest way has: filters jump forward only.
fn longest(filter: &[u8]) -> usize {
    let (instructions, _) = filter.as_chunks::<8>();
    let mut ways = vec![0_usize; instructions.len()];
    for (at, [code, _, yes, no, ..]) in instructions.iter().enumerate().rev() {
        let way = |distance: u8| ways.get(at + 1 + usize::from(distance)).copied();
        let rest = match code & 7 {
            // A return.
            6 => None,
            // A jump by a condition; there is none without in a short filter.
            5 => way(*yes).max(way(*no)),
            _ => way(0),
        };
        if let Some(place) = ways.get_mut(at) {
            *place = 1 + rest.unwrap_or(0);
        }
    }
    ways.first().copied().unwrap_or(0)
}
