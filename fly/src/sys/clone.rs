//! Processes that start like vfork, but for those of [`beside`], [`both`] and [`fork`]: the
//! child shares the caller's memory and runs on the unused part of its stack, below
//! its last frame, until it calls exec or exits; the caller waits.
//!
//! That saves a copy of the page tables (15 µs on a 2-core VM), and lets the
//! child report an error by writing to the caller's memory: no pipe. A stack of
//! the child's own would need a mapping and a guard page, 16 µs more; below the
//! caller's there is the guard of the caller's stack.

#[cfg(test)]
use super::reserved::Reserved;
use super::{arch, result};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    process::{Pid, WaitOptions, waitpid},
};

/// Which way of making the child worked; `--debug` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// clone3(2), Linux 5.3.
    Clone3,
    /// clone(2), where clone3 is missing or a filter refuses it.
    Clone,
}

/// A child that was made.
#[derive(Debug)]
pub struct Child {
    /// Refers to the child, for pidfd_send_signal(2) and waitid(2).
    pub pidfd: OwnedFd,
    /// Its pid in the caller's pid namespace.
    pub pid: u32,
    /// How it was made.
    pub method: Method,
    /// Whether it was born in the cgroup that was asked for. Where not, the
    /// child has to join by itself.
    pub in_cgroup: bool,
}

/// What a child is told of its birth.
#[derive(Debug)]
pub struct Birth {
    /// Whether it was born in the cgroup that was asked for.
    pub in_cgroup: bool,
    /// Becomes 0 when the parent dies.
    parent: AtomicU32,
}

impl Birth {
    /// Whether the parent lives. After PR_SET_PDEATHSIG that leaves no gap: a
    /// parent that dies later sends the signal. getppid(2) can't tell, which is 0
    /// in a new pid namespace either way; a pidfd of the parent could, for 4 µs.
    ///
    /// When a thread dies whose memory others still use, the kernel writes 0 to
    /// where set_tid_address(2) has pointed it, and it does so before it sends
    /// signals to the children (do_exit: exit_mm, then exit_notify).
    #[must_use]
    pub fn parent_lives(&self) -> bool {
        self.parent.load(Ordering::Acquire) != 0
    }
}

/// The child's closure, and what it is told.
struct Body<F> {
    call: F,
    birth: Birth,
}

extern "C" fn run<F: FnMut(&Birth) -> i32>(data: *mut c_void) -> i32 {
    // SAFETY: `vfork` passes a pointer to its closure, which outlives the
    // child's use of it since the caller is suspended meanwhile.
    let body = unsafe { &mut *data.cast::<Body<F>>() };
    (body.call)(&body.birth)
}

/// Makes a child with the namespaces `namespaces` (CLONE_NEW* bits) that runs
/// `body` and exits with its value; returns when the child has
/// called exec or has exited.
///
/// `body` must do nothing but system calls and writes to memory that the
/// caller expects to change: it runs in the caller's memory. It must not
/// panic. Descriptors it closes stay open in the caller.
///
/// With `cgroup` the child is born in that cgroup v2 directory (Linux 5.7);
/// `body` and the result are told whether it was: where not, it has to join.
///
/// # Errors
/// As clone(2): EPERM without CAP_SYS_ADMIN, ENOSPC where a limit of
/// namespaces is reached, EAGAIN, ENOMEM.
pub fn vfork<F: FnMut(&Birth) -> i32>(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: F,
) -> Result<Child, Errno> {
    let mut body = Body {
        call: body,
        birth: Birth {
            in_cgroup: cgroup.is_some(),
            parent: AtomicU32::new(1),
        },
    };
    tell_death_to(body.birth.parent.as_ptr());
    let child = vfork_with(namespaces, cgroup, &mut body);
    tell_death_to(ptr::null_mut());
    child
}

fn vfork_with<F: FnMut(&Birth) -> i32>(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: &mut Body<F>,
) -> Result<Child, Errno> {
    let attempt = run::<F>;
    // Who has to join the cgroup makes its namespace behind that.
    let later = match cgroup {
        Some(_) => namespaces & !u64::from(raw::CLONE_NEWCGROUP),
        None => namespaces,
    };
    match clone3(namespaces, cgroup, attempt, ptr::from_mut(body).cast()) {
        // E2BIG and EINVAL: the structure or the flag is newer than the
        // kernel (5.3 to 5.6). EBADF: not a cgroup v2 directory.
        Err(Errno::INVAL | Errno::TOOBIG | Errno::BADF) if cgroup.is_some() => {
            body.birth.in_cgroup = false;
            let other = ptr::from_mut(body).cast();
            match clone3(later, None, attempt, other) {
                Err(Errno::NOSYS | Errno::PERM) => clone(later, attempt, other),
                done => done,
            }
        }
        // ENOSYS: before 5.3, or the usual filter of a container engine, which
        // can't see clone3's flags. EPERM: an old filter, or really no
        // permission: then clone says the same.
        Err(Errno::NOSYS | Errno::PERM) => {
            body.birth.in_cgroup = false;
            clone(later, attempt, ptr::from_mut(body).cast())
        }
        done => done,
    }
}

/// [`vfork`] without namespaces, cgroup and pidfd, for a caller that collects
/// all of its children and so knows that a pid is still its child's: returns
/// the pid.
///
/// # Errors
/// As clone(2): EAGAIN, ENOMEM.
pub fn vfork_by_pid<F: FnMut(&Birth) -> i32>(body: F) -> Result<u32, Errno> {
    vfork_by_pid_in(0, body)
}

/// The same, in the namespaces `namespaces` (CLONE_NEW* bits).
///
/// # Errors
/// As clone(2): also EPERM without CAP_SYS_ADMIN.
#[inline]
pub fn vfork_by_pid_in<F: FnMut(&Birth) -> i32>(namespaces: u32, body: F) -> Result<u32, Errno> {
    let flags = namespaces | raw::CLONE_VM | raw::CLONE_VFORK | raw::SIGCHLD;
    let mut body = Body {
        call: body,
        birth: Birth {
            in_cgroup: false,
            parent: AtomicU32::new(1),
        },
    };
    // SAFETY: as in `clone3`; without CLONE_PIDFD the third argument is not
    // looked at.
    let pid = result(unsafe {
        arch::clone_and_call(
            raw::__NR_clone,
            [flags as usize, 0, 0],
            run::<F>,
            (&raw mut body).cast(),
        )
    })?;
    // Masked: no pid is larger, and nothing is left to be checked.
    u32::try_from(pid & 0x7fff_ffff).map_err(|_| Errno::OVERFLOW)
}

/// What a child does that runs beside its parent, in the parent's memory ([`beside`]).
pub trait Part: Send + 'static {
    /// Does it; returns the exit code.
    fn perform(&'static mut self) -> i32;
}

/// The stack of a child that runs beside its parent: it has to hold all frames, as there is no
/// guard page.
#[repr(C, align(16))]
pub struct Stack([u8; 64 << 10]);

impl Stack {
    /// One that nothing is on yet.
    pub const NEW: Self = Self([0; 64 << 10]);
}

/// A part, and the stack for it.
#[repr(C)]
pub struct Stage<T> {
    stack: Stack,
    part: T,
}

impl<T> Stage<T> {
    /// The part, which is still to begin.
    pub fn part(&mut self) -> &mut T {
        &mut self.part
    }

    /// Room for a part, with this one in it.
    pub const fn new(part: T) -> Self {
        Self {
            stack: Stack::NEW,
            part,
        }
    }
}

/// Makes a child that shares the caller's memory and descriptors, as a thread does, but is
/// a process of its own: it performs `part`, beside the caller, and exits with its value,
/// or calls exec, and has descriptors of its own from then on. Returns its pid, or 0 if it
/// could not be made; the caller collects it.
#[cold]
#[inline(never)]
pub fn beside<T: Part>(stage: &'static mut Stage<T>) -> u32 {
    extern "C" fn run<T: Part>(data: *mut c_void) -> i32 {
        // SAFETY: it is the part of a stage that was given away for good, for this one call.
        unsafe { &mut *data.cast::<T>() }.perform()
    }
    let part = &raw mut stage.part;
    let flags = raw::CLONE_VM | raw::CLONE_FILES | raw::SIGCHLD;
    // SAFETY: the stage is the child's for good, and its stack ends where the part begins,
    // at an address that is aligned; what it shares otherwise it can only reach as a thread
    // could, by what is `Send` or static. In the child the second argument is the stack
    // pointer; the third one is not looked at.
    let pid = result(unsafe {
        arch::clone_and_call(
            raw::__NR_clone,
            [flags as usize, part.expose_provenance(), 0],
            run::<T>,
            part.cast(),
        )
    });
    // Masked: no pid is larger, and nothing is left to be checked.
    pid.map_or(0, |pid| u32::try_from(pid & 0x7fff_ffff).unwrap_or(0))
}

/// What a child does that is waited for, and whether it has.
struct Half<O> {
    work: Option<O>,
    is_done: AtomicBool,
}

/// Does two things at once: `other` in a child that shares the caller's memory, but not its
/// descriptors, and `own` here. Nobody is at it any more when this returns. False if `other` was
/// not done, or not all of it: there could be no child, or it was killed.
#[cold]
#[inline(never)]
pub fn both<O: FnOnce() + Send>(stack: &mut Stack, other: O, own: impl FnOnce()) -> bool {
    extern "C" fn run<O: FnOnce()>(data: *mut c_void) -> i32 {
        // SAFETY: it is there until this child is collected, and before that nobody else looks
        // at it.
        let half = unsafe { &mut *data.cast::<Half<O>>() };
        if let Some(work) = half.work.take() {
            work();
            half.is_done.store(true, Ordering::Release);
        }
        0
    }
    let mut half = Half {
        work: Some(other),
        is_done: AtomicBool::new(false),
    };
    let data = &raw mut half;
    let top = stack.0.as_mut_ptr_range().end.expose_provenance();
    let flags = (raw::CLONE_VM | raw::SIGCHLD) as usize;
    // SAFETY: the stack is the child's alone until it is collected, and ends at an aligned
    // address; what it shares otherwise it reaches as a thread would, which `Send` allows. The
    // third argument is not looked at.
    let pid = result(unsafe {
        arch::clone_and_call(raw::__NR_clone, [flags, top, 0], run::<O>, data.cast())
    });
    own();
    let pid = pid.ok().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // Where SIGCHLD is ignored it waits for the end, too, and says that there is no child.
        while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }
    // SAFETY: nobody else is there who could change it.
    unsafe { (*data).is_done.load(Ordering::Acquire) }
}

/// Makes a child with a copy of the caller's memory and the namespaces
/// `namespaces` that runs `body` beside the caller and exits with its value;
/// returns its pid. For short work: the caller collects it.
///
/// # Errors
/// As clone(2).
#[cold]
#[inline(never)]
pub fn fork<F: FnMut() -> i32>(namespaces: u64, body: F) -> Result<i32, Errno> {
    extern "C" fn run<F: FnMut() -> i32>(data: *mut c_void) -> i32 {
        // SAFETY: `fork` passes a pointer to its closure; the child has a copy of
        // it, at the same address, that nobody else uses.
        unsafe { (*data.cast::<F>())() }
    }
    let mut body = body;
    let flags = usize::try_from(namespaces).map_err(|_| Errno::INVAL)? | raw::SIGCHLD as usize;
    // SAFETY: without CLONE_VM the child's stack and closure are copies; it ends
    // in exit_group and so never returns through the copied frames. The other two
    // arguments are not looked at without flags that ask for them.
    let pid = result(unsafe {
        arch::clone_and_call(
            raw::__NR_clone,
            [flags, 0, 0],
            run::<F>,
            (&raw mut body).cast(),
        )
    })?;
    i32::try_from(pid).map_err(|_| Errno::OVERFLOW)
}

/// Where the kernel is to write 0 when this thread dies while others use its
/// memory (set_tid_address(2)); null for nowhere.
fn tell_death_to(place: *mut u32) {
    let place = place.expose_provenance();
    // SAFETY: the kernel writes there only when this thread dies. The caller
    // points it at a number that lives until the caller has taken this back, and
    // that nobody but atomic loads looks at.
    let _ = result(unsafe { arch::syscall(raw::__NR_set_tid_address, [place, 0, 0, 0, 0, 0]) });
}

/// Moves the calling process into new namespaces (unshare(2), CLONE_NEW* bits).
///
/// # Errors
/// As unshare(2); EINVAL for bits that are no namespaces.
pub fn unshare(namespaces: u64) -> Result<(), Errno> {
    const NAMESPACES: u64 = (raw::CLONE_NEWNS
        | raw::CLONE_NEWUTS
        | raw::CLONE_NEWIPC
        | raw::CLONE_NEWUSER
        | raw::CLONE_NEWPID
        | raw::CLONE_NEWNET
        | raw::CLONE_NEWCGROUP) as u64;
    if namespaces & !NAMESPACES != 0 {
        return Err(Errno::INVAL);
    }
    let flags = usize::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: no pointers; CLONE_FILES and CLONE_FS, which would change what
    // threads share, are not among the bits.
    result(unsafe { arch::syscall(raw::__NR_unshare, [flags, 0, 0, 0, 0, 0]) }).map(drop)
}

fn clone3(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: extern "C" fn(*mut c_void) -> i32,
    data: *mut c_void,
) -> Result<Child, Errno> {
    let mut pidfd: i32 = -1;
    let mut flags = namespaces | u64::from(raw::CLONE_VM | raw::CLONE_VFORK | raw::CLONE_PIDFD);
    if cgroup.is_some() {
        flags |= raw::CLONE_INTO_CGROUP;
    }
    let arguments = raw::clone_args {
        flags,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(raw::SIGCHLD),
        // 0: the caller's stack, as vfork(2) has it.
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    // Without a cgroup the structure of Linux 5.5 is enough.
    let size = if cgroup.is_some() {
        size_of::<raw::clone_args>()
    } else {
        raw::CLONE_ARGS_SIZE_VER1 as usize
    };
    // SAFETY: the structure lives across the call. CLONE_VFORK suspends the
    // caller until the child is gone or has called exec, so `data` is valid that
    // long, and nobody but the child uses the stack.
    let pid = result(unsafe {
        arch::clone_and_call(
            raw::__NR_clone3,
            [(&raw const arguments).expose_provenance(), size, 0],
            child,
            data,
        )
    })?;
    finish(pid, pidfd, Method::Clone3, cgroup.is_some())
}

fn clone(
    namespaces: u64,
    child: extern "C" fn(*mut c_void) -> i32,
    data: *mut c_void,
) -> Result<Child, Errno> {
    let mut pidfd: i32 = -1;
    let flags =
        namespaces | u64::from(raw::CLONE_VM | raw::CLONE_VFORK | raw::CLONE_PIDFD | raw::SIGCHLD);
    let flags = usize::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: as in `clone3`; clone(2) puts the pidfd where it would put the
    // parent's tid.
    let pid = result(unsafe {
        arch::clone_and_call(
            raw::__NR_clone,
            [flags, 0, (&raw mut pidfd).expose_provenance()],
            child,
            data,
        )
    })?;
    finish(pid, pidfd, Method::Clone, false)
}

fn finish(pid: usize, pidfd: i32, method: Method, in_cgroup: bool) -> Result<Child, Errno> {
    if pidfd < 0 {
        return Err(Errno::BADF);
    }
    Ok(Child {
        // SAFETY: the kernel has just made this descriptor for us.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        pid: u32::try_from(pid).map_err(|_| Errno::OVERFLOW)?,
        method,
        in_cgroup,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_halves() {
        static STACK: Reserved<Stack> = Reserved::new(Stack::NEW);
        let stack = STACK.take().expect("nobody has taken it");
        let mut numbers = [1_u32; 1000];
        for round in 1..50 {
            let (one, other) = numbers.split_at_mut(300);
            let double = |half: &mut [u32]| half.iter_mut().for_each(|number| *number += round);
            assert!(both(stack, || double(other), || double(one)));
        }
        assert_eq!(numbers, [1 + 49 * 50 / 2; 1000]);
        // Who is killed has not done it.
        let done = both(
            stack,
            || {
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            },
            || {},
        );
        assert!(!done);
    }
}
