//! The libc calls of the tests, and all `unsafe` but that of `filter.rs`.

pub use crate::{
    descriptors::{close, duplicate_onto, is_open, never_wait},
    signals::{block, ignore},
};
use std::{
    ffi::{CStr, CString, OsStr, c_long},
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
};

/// Turns a C return value into a result.
pub(crate) fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the child's pid.
    Parent(i32),
}

/// `fork(2)`; only for processes of one thread.
#[must_use]
pub fn fork() -> Forked {
    // SAFETY: the callers are the test's processes before they start a thread,
    // so the child may use everything.
    match check(unsafe { libc::fork() }).expect("fork") {
        0 => Forked::Child,
        pid => Forked::Parent(pid),
    }
}

/// Makes a session keyring with one key in it, which only who possesses it may see.
///
/// # Errors
/// As keyctl(2) and add_key(2).
pub fn session_key(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: c_long = 1;
    const SETPERM: c_long = 5;
    const SESSION_KEYRING: c_long = -3;
    const POSSESSOR_ALL: c_long = 0x3f00_0000;
    let checked = |value: c_long| match value {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    };
    // SAFETY: C strings, a payload of the length given, and otherwise no pointers.
    unsafe {
        checked(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0))?;
        let key = checked(libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            c"secret".as_ptr(),
            6,
            SESSION_KEYRING,
        ))?;
        checked(libc::syscall(libc::SYS_keyctl, SETPERM, key, POSSESSOR_ALL)).map(drop)
    }
}

/// `unshare(2)`.
///
/// # Errors
/// As the call.
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// `setns(2)`.
///
/// # Errors
/// As the call.
pub fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setns(namespace.as_raw_fd(), 0) }).map(drop)
}

/// Dies by SIGKILL when the parent does (prctl(2), PR_SET_PDEATHSIG).
///
/// # Errors
/// As the call.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Whether the effective user is root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::geteuid() == 0 }
}

/// Sets a variable of our own environment; only before threads exist.
pub fn set_environment(name: &str, value: &OsStr) {
    // SAFETY: the runner calls this before it starts its threads.
    unsafe { std::env::set_var(name, value) };
}

fn code_of(status: libc::c_int) -> i32 {
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    }
}

/// `waitpid(2)` with `__WALL`; `None` when there is no child.
#[must_use]
pub fn wait_any(pid: i32, flags: libc::c_int) -> Option<(i32, libc::c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: writes one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, flags | libc::__WALL) }) {
            Ok(0) => return None,
            Ok(pid) => return Some((pid, status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Waits for a child; 128 + n if signal n ended it.
#[must_use]
pub fn wait_for(pid: i32) -> i32 {
    wait_any(pid, 0).map_or(1, |(_, status)| code_of(status))
}

/// Reaps whatever ends until `pid` does; returns its code.
#[must_use]
pub fn reap_until(pid: i32) -> i32 {
    loop {
        match wait_any(-1, 0) {
            Some((done, status)) if done == pid => return code_of(status),
            Some(_) => {}
            None => return 1,
        }
    }
}

/// Reaps what has ended.
pub fn reap() {
    while wait_any(-1, libc::WNOHANG).is_some() {}
}

/// `kill(2)`.
///
/// # Errors
/// As the call.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

fn mount_call(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let (source, target, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: all are zero-terminated strings that live across the call.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Mounts a new file system, with its own options in `data`.
///
/// # Errors
/// As mount(2).
pub fn mount(source: &str, target: &str, kind: &str, data: &str) -> io::Result<()> {
    mount_call(source, target, kind, 0, data)
}

/// Mounts a tmpfs with options such as `size=4k`.
///
/// # Errors
/// As mount(2).
pub fn mount_tmpfs(target: &str, options: &str) -> io::Result<()> {
    mount_call("tmpfs", target, "tmpfs", 0, options)
}

/// Sets the propagation of a mount and all below it.
///
/// # Errors
/// As mount(2).
pub fn make_mounts(target: &str, propagation: libc::c_ulong) -> io::Result<()> {
    mount_call("", target, "", libc::MS_REC | propagation, "")
}

/// A bind mount, with what is mounted below the source.
///
/// # Errors
/// As mount(2).
pub fn bind(source: &str, target: &str) -> io::Result<()> {
    mount_call(source, target, "", libc::MS_BIND | libc::MS_REC, "")
}

/// Makes a bind mount read-only.
///
/// # Errors
/// As mount(2).
pub fn read_only(target: &str) -> io::Result<()> {
    mount_call(
        "",
        target,
        "",
        libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY,
        "",
    )
}

/// `umount2(2)` with MNT_DETACH.
///
/// # Errors
/// As the call.
pub fn unmount(target: &str) -> io::Result<()> {
    let target = c(target);
    // SAFETY: a zero-terminated string.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Runs `hook` in the child of `command`, before exec.
pub fn before_exec(
    command: &mut Command,
    hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the hooks of this package only make system calls with values
    // that were prepared before.
    unsafe { command.pre_exec(hook) };
}

/// Sets a resource limit, soft and hard.
///
/// # Errors
/// As setrlimit(2).
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: reads one structure.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// Becomes another user and group, for good.
///
/// # Errors
/// As setresuid(2).
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: an empty list needs no pointer; the others take none.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: as above.
    check(unsafe { libc::setresgid(group, group, group) })?;
    // SAFETY: as above.
    check(unsafe { libc::setresuid(user, user, user) }).map(drop)
}

/// Sets the mask of permissions for new files.
pub fn mask(mask: u32) {
    // SAFETY: takes no pointer and can't fail.
    unsafe { libc::umask(mask) };
}

/// Makes a character device node.
///
/// # Errors
/// As mknod(2).
pub fn make_device(path: &std::path::Path, major: u32, minor: u32) -> io::Result<()> {
    let path = c(path.to_str().expect("UTF-8"));
    // SAFETY: a zero-terminated string.
    check(unsafe {
        libc::mknod(
            path.as_ptr(),
            libc::S_IFCHR | 0o666,
            libc::makedev(major, minor),
        )
    })
    .map(drop)
}

/// Sets the supplementary groups.
///
/// # Errors
/// As setgroups(2).
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: reads as many ids as the list has.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

/// Makes `capability` inheritable and ambient, as a careless caller may have.
///
/// # Errors
/// As capset(2) and prctl(2).
pub fn make_ambient(capability: u32) -> io::Result<()> {
    #[repr(C)]
    struct Header(u32, libc::c_int);
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header(VERSION_3, 0);
    // Two structs of effective, permitted, inheritable.
    let mut data = [0_u32; 6];
    // SAFETY: writes two structures of three words, as version 3 says.
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let word = usize::from(capability >= 32) * 3 + 2;
    data[word] |= 1 << (capability % 32);
    // SAFETY: reads the same.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    // SAFETY: takes no pointer.
    check(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            libc::c_ulong::from(capability),
            0,
            0,
        )
    })
    .map(drop)
}

fn check_long(value: libc::c_long) -> io::Result<()> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Loads a seccomp filter for this process and its children (as root, so that
/// no-new-privs stays as it is).
///
/// # Errors
/// As prctl(2).
pub fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: reads the program, which lives across the call.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const program,
            0,
            0,
        )
    })
    .map(drop)
}

/// Both ends of a new pseudo-terminal of the given size.
///
/// # Errors
/// As openpty(3).
pub fn terminal(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: writes two ints, reads one structure; the name and the modes may
    // be null.
    check(unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            ptr::null_mut(),
            ptr::null(),
            &raw const size,
        )
    })?;
    // SAFETY: both have just been made for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) })
}

/// Changes a terminal's size; the foreground group gets SIGWINCH.
///
/// # Errors
/// As ioctl(2).
pub fn resize(terminal: &impl AsRawFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: reads one structure.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// How many bytes wait to be read from a terminal in raw mode, which this sets:
/// what was typed ahead counts then without an end of line.
///
/// # Errors
/// As ioctl(2).
pub fn waiting_input(terminal: &impl AsRawFd) -> io::Result<i32> {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    let mut count = 0;
    // SAFETY: tcgetattr fills the settings, which the other then changes and
    // reads; the last writes one int.
    unsafe {
        check(libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()))?;
        libc::cfmakeraw(settings.as_mut_ptr());
        check(libc::tcsetattr(
            terminal.as_raw_fd(),
            libc::TCSANOW,
            settings.as_ptr(),
        ))?;
        check(libc::ioctl(
            terminal.as_raw_fd(),
            libc::FIONREAD,
            &raw mut count,
        ))?;
    }
    Ok(count)
}

/// A session of its own with standard input as its terminal.
///
/// # Errors
/// As setsid(2) and ioctl(2).
pub fn take_terminal() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setsid() })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// The registers of a system call stop.
#[derive(Clone, Copy, Debug)]
pub struct Registers(libc::user_regs_struct);

impl Registers {
    /// The call's number.
    #[must_use]
    pub fn call(&self) -> i64 {
        self.0.orig_rax.cast_signed()
    }

    /// Argument 0 to 5.
    #[must_use]
    pub fn argument(&self, index: usize) -> u64 {
        let r = &self.0;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9][index]
    }

    /// The value that the call returned, at its end.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.rax.cast_signed()
    }
}

/// Asks to be traced by the parent (ptrace(2)); in the child, before exec.
///
/// # Errors
/// As the call.
pub fn trace_me() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check_long(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

/// Follows all children of the tracee and marks system call stops.
///
/// # Errors
/// As ptrace(2).
pub fn trace_options(pid: i32) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: the data is a number.
    check_long(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) })
}

/// Continues a tracee to its next system call stop, or (`free`) without such.
///
/// # Errors
/// ESRCH when it is gone.
pub fn trace_on(pid: i32, signal: i32, free: bool) -> io::Result<()> {
    let request = if free {
        libc::PTRACE_CONT
    } else {
        libc::PTRACE_SYSCALL
    };
    // SAFETY: the data is a number.
    check_long(unsafe { libc::ptrace(request, pid, 0, signal) })
}

/// Reads the registers of a stopped tracee.
///
/// # Errors
/// ESRCH when it is gone.
pub fn registers(pid: i32) -> io::Result<Registers> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: writes one structure.
    check_long(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, registers.as_mut_ptr()) })?;
    // SAFETY: the call has filled it.
    Ok(Registers(unsafe { registers.assume_init() }))
}

/// At the start of a call: makes it a call that does not exist.
///
/// # Errors
/// ESRCH when it is gone.
pub fn skip_call(pid: i32, registers: Registers) -> io::Result<()> {
    let mut changed = registers.0;
    changed.orig_rax = u64::MAX;
    // SAFETY: reads one structure.
    check_long(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw const changed) })
}

/// At the end of a call: makes it return `value`.
///
/// # Errors
/// ESRCH when it is gone.
pub fn set_value(pid: i32, registers: Registers, value: i64) -> io::Result<()> {
    let mut changed = registers.0;
    changed.rax = value.cast_unsigned();
    // SAFETY: reads one structure.
    check_long(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw const changed) })
}

/// Reads a word of a tracee's memory.
///
/// # Errors
/// EIO for a wrong address, ESRCH when it is gone.
pub fn word(pid: i32, address: u64) -> io::Result<u64> {
    let mut word = 0_u64;
    let local = libc::iovec {
        iov_base: (&raw mut word).cast(),
        iov_len: size_of::<u64>(),
    };
    let remote = libc::iovec {
        iov_base: ptr::with_exposed_provenance_mut(
            usize::try_from(address).map_err(io::Error::other)?,
        ),
        iov_len: size_of::<u64>(),
    };
    // SAFETY: the local range is our word; the remote one is the tracee's and
    // is checked by the kernel.
    let done = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if done == 8 {
        Ok(word)
    } else {
        Err(io::Error::last_os_error())
    }
}
