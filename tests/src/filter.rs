//! System call filters in the kernel: what it makes of a call, and which one a
//! process has.

use std::{arch::asm, io, ptr};

use crate::sys::{Forked, fork, load_filter, wait_for};

/// What a call that is allowed returns here.
pub const ALLOWED: i32 = 4000;

/// A call: its number and arguments.
pub type Call = (u32, [u64; 6]);

/// The last argument of the calls that really are made.
const MADE: u64 = 0x5eed_5eed;

fn instruction(code: u16, yes: u8, no: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: yes,
        jf: no,
        k,
    }
}

/// The instructions of a filter's file.
#[must_use]
pub fn instructions(filter: &[u8]) -> Vec<libc::sock_filter> {
    let instructions = filter.chunks_exact(8).map(|bytes| {
        let k = bytes[4..8].try_into().expect("four bytes");
        instruction(
            u16::from_ne_bytes([bytes[0], bytes[1]]),
            bytes[2],
            bytes[3],
            u32::from_ne_bytes(k),
        )
    });
    instructions.collect()
}

fn call((number, [a, b, c, d, e, f]): Call) -> i64 {
    let value: i64;
    // SAFETY: only `verdicts` calls this, in a child in which every call fails but
    // those that it makes itself, with valid arguments.
    unsafe {
        asm!("syscall", inlateout("rax") u64::from(number) => value,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    value
}

/// What the kernel makes of `calls` under `filter`: the error of each, or
/// [`ALLOWED`]; none of them is done. The filter must allow exit_group.
///
/// A second filter, loaded before, makes each call fail with ALLOWED. Of two errors
/// the one of the younger filter is returned, so that a call which this one allows
/// is told from one that it refuses, with whatever error (seccomp(2)).
#[must_use]
pub fn verdicts(filter: &[u8], calls: &[Call]) -> Vec<i32> {
    let program = instructions(filter);
    let size = calls.len() * size_of::<i32>();
    // SAFETY: a new mapping, shared with the child.
    let shared = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(shared, libc::MAP_FAILED);
    let results = shared.cast::<i32>();
    let Forked::Parent(child) = fork() else {
        let made = u32::try_from(MADE).expect("small");
        let before = [
            // The low half of the last argument.
            instruction(0x20, 0, 0, 16 + 5 * 8),
            instruction(0x15, 0, 1, made),
            instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
            instruction(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | ALLOWED.unsigned_abs()),
        ];
        load_filter(&before).expect("the first filter");
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).expect("a filter"),
            filter: program.as_ptr().cast_mut(),
        };
        let address = ptr::from_ref(&program).addr() as u64;
        let loaded = call((317, [1, 0, address, 0, 0, MADE]));
        let mut code = 1;
        if loaded == 0 {
            for (index, one) in calls.iter().enumerate() {
                let value = i32::try_from(-call(*one)).unwrap_or(-1);
                // SAFETY: the mapping has room for as many results as calls.
                unsafe { results.add(index).write_volatile(value) };
            }
            code = 0;
        }
        call((231, [code, 0, 0, 0, 0, MADE]));
        unreachable!("exit_group is allowed");
    };
    assert_eq!(wait_for(child), 0, "the filter was loaded and asked");
    // SAFETY: as above; the child has ended.
    let list = (0..calls.len()).map(|index| unsafe { results.add(index).read_volatile() });
    let list = list.collect();
    // SAFETY: the mapping is ours, and nothing refers to it.
    unsafe { libc::munmap(shared, size) };
    list
}

/// What a child does under `filter`: how it ends after one call by `int 0x80`.
#[must_use]
pub fn ending_of_i386(filter: &[u8]) -> i32 {
    let Forked::Parent(child) = fork() else {
        load_filter(&instructions(filter)).expect("the filter");
        // SAFETY: getpid of i386; rbx is not changed by it.
        unsafe { asm!("int 0x80", inlateout("rax") 20 => _) };
        // SAFETY: ends at once.
        unsafe { libc::_exit(0) };
    };
    wait_for(child)
}

/// The filter of process `pid`, which has one (PTRACE_SECCOMP_GET_FILTER).
///
/// # Errors
/// As ptrace(2): a kernel without CONFIG_CHECKPOINT_RESTORE answers EIO.
pub fn of_process(pid: i32) -> io::Result<Vec<u8>> {
    const GET_FILTER: libc::c_uint = 0x420c;
    let check = |value: i64| match value {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    };
    let mut room = vec![[0_u8; 8]; 4096];
    // SAFETY: the calls stop the process, write at most 4096 instructions, and let
    // it go on.
    unsafe {
        check(libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0))?;
        libc::waitpid(pid, ptr::null_mut(), libc::__WALL);
        let count = check(libc::ptrace(GET_FILTER, pid, 0, room.as_mut_ptr()));
        check(libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0))?;
        room.truncate(usize::try_from(count?).unwrap_or(0));
    }
    Ok(room.concat())
}
