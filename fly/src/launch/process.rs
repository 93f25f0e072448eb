//! The launching process: its descriptors, memory files, namespaces and names.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::{self, Errno},
    process::{self, WaitId, WaitIdOptions},
};

use super::{KEPT, Launcher, app, explain, files, seal, shared};
use crate::{
    error::{Advice, Error, What, Why},
    lower::{DEVPTS, DEVPTS_ATTRIBUTES},
    plan::{List, MAX_LISTENING, Slot, Step},
    sys::{
        clone::{Birth, Child},
        descriptor,
        exec::{self, Pointers},
        signal,
    },
    text::Digits,
};

/// The descriptor under which pid 1 finds its plan.
pub const PLAN_DESCRIPTOR: i32 = 3;
/// The descriptor under which pid 1 reports its time stamps.
pub const STAMPS_DESCRIPTOR: i32 = 4;

/// The descriptor under which pid 1 finds the pod's directory on the host.
pub const DIRECTORY_DESCRIPTOR: i32 = 5;

/// The descriptor under which another stage 1 finds the lock.
const LOCK_DESCRIPTOR: i32 = 4;

impl<'p> Launcher<'p, '_> {
    pub(super) fn close_inherited(&mut self) -> Result<(), Error<'p>> {
        self.close_range(3, u32::MAX)
    }

    #[cold]
    pub(super) fn keep_listening(&mut self, count: u64) -> Result<(), Error<'p>> {
        let count = i32::try_from(count).unwrap_or(0).min(MAX_LISTENING);
        self.close_range(3 + count.unsigned_abs(), u32::MAX)?;
        // Upwards the last one first, as the two ranges may overlap.
        for index in (0..count).rev() {
            descriptor::borrow(3 + index)
                .ok_or(Errno::BADF)
                .and_then(|from| descriptor::duplicate_onto(from, Step::LISTENING + index))
                .map_err(|errno| Error::new(What::PassDescriptors, c"the pod", errno))?;
        }
        self.close_range(3, Step::LISTENING.unsigned_abs() - 1)
    }

    /// Closes the descriptors from `first` to `last`, but for those of the caller.
    pub(super) fn close_range(&mut self, first: u32, last: u32) -> Result<(), Error<'p>> {
        if self.kept != 0 && last > KEPT.unsigned_abs() {
            self.close_all_in(first, KEPT.unsigned_abs() - 1)?;
            return self.close_all_in((KEPT + self.kept).unsigned_abs(), last);
        }
        self.close_all_in(first, last)
    }

    fn close_all_in(&mut self, first: u32, last: u32) -> Result<(), Error<'p>> {
        match descriptor::close_range(first, last) {
            Err(Errno::NOSYS | Errno::PERM) => {
                self.fallbacks.close_range = true;
                close_one_by_one(first, last).map_err(|errno| {
                    Error::new(What::CloseInherited, c"/proc/self/fd", errno)
                        .advice(Advice::NeedsProcToClose)
                })
            }
            done => done.map_err(|errno| Error::new(What::CloseInherited, c"", errno)),
        }
    }

    pub(super) fn stamps_pipe(&mut self, reader: Slot, writer: Slot) -> Result<(), Error<'p>> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| Error::new(What::MakePipe, c"", errno))?;
        self.put(reader, read);
        self.put(writer, write);
        self.reader = Some(reader);
        Ok(())
    }

    /// A terminal of the pod's own devpts: its peer is asked for by ioctl
    /// (TIOCGPTPEER, Linux 4.13), not by a path (CVE-2025-52565).
    pub(super) fn open_terminal(
        &mut self,
        devpts: Slot,
        master: Slot,
        peer: u64,
    ) -> Result<(), Error<'p>> {
        let failed = |errno| Error::new(What::Open, c"a terminal", errno);
        let made = files::make_file_system(DEVPTS_ATTRIBUTES, &mut DEVPTS.into_iter());
        let file_system = made.map_err(|errno| explain::file_system(c"devpts", errno))?;
        let (terminal, other) = fresh_terminal(file_system.as_fd()).map_err(failed)?;
        self.put(devpts, file_system);
        self.put(master, terminal);
        self.put(Slot(u8::try_from(peer).unwrap_or(u8::MAX)), other);
        self.terminal = Some(master);
        Ok(())
    }

    pub(super) fn terminal_stdio(&mut self, peer: Slot) -> Result<(), Error<'p>> {
        let terminal = self.get(peer);
        (0..3)
            .try_for_each(|number| descriptor::duplicate_onto(terminal, number))
            .map_err(|errno| Error::new(What::GiveTerminal, c"the pod", errno))
    }

    /// Becomes pid 1's program.
    pub(super) fn exec_init(
        &mut self,
        program: Slot,
        directory: Slot,
        held: bool,
        stamps: u64,
    ) -> Error<'p> {
        let stamps = u8::try_from(stamps).unwrap_or(Step::NO_SLOT.0);
        let others = [
            (Slot(stamps), STAMPS_DESCRIPTOR),
            (directory, DIRECTORY_DESCRIPTOR),
        ];
        let program = match self.pass_descriptors(program, others) {
            Ok(program) => program,
            Err(errno) => return Error::new(What::PassDescriptors, c"stage1-init", errno),
        };
        let mut offset = [0; 48];
        let digits = Digits::new(self.plan_offset, 10);
        let parts = OFFSET_VARIABLE.iter().chain(digits.as_bytes());
        for (place, byte) in offset.iter_mut().zip(parts) {
            *place = *byte;
        }
        let offset = crate::sys::memory::c_str(&offset).unwrap_or_default();
        let wanted = others.map(|(slot, _)| slot != Step::NO_SLOT);
        let [stamped, controlled] = wanted;
        let optional = [
            (stamped, STAMPS_VARIABLE),
            (controlled, DIRECTORY_VARIABLE),
            (held, HOLD_VARIABLE),
        ];
        let mut variables = [PLAN_VARIABLE, offset, c"", c"", c""];
        let mut count = 2;
        for (wanted, variable) in optional {
            if let (true, Some(place)) = (wanted, variables.get_mut(count)) {
                *place = variable;
                count += 1;
            }
        }
        let variables = variables.get(..count).unwrap_or_default();
        let errno = Self::exec_with(&[c"stage1-init"], variables, |list, variables| {
            exec::execveat(program, list, variables)
        });
        Error::new(What::Exec, c"stage1-init", errno).advice(match errno {
            Errno::NOEXEC => Advice::NotForThisMachine,
            _ => Advice::None,
        })
    }

    /// Becomes a sealed program that starts the app.
    #[cold]
    #[inline(never)]
    pub(super) fn exec_sealed(
        &mut self,
        program: Slot,
        arguments: u64,
        strings: List<'p>,
    ) -> Error<'p> {
        let name = strings.first();
        let program = self.get(program);
        let Some((list, variables)) = app::pointers(arguments, strings, None, self.words) else {
            return Error::new(What::Exec, name, Why::TooManyStrings);
        };
        let errno = exec::execveat(program, list, variables);
        const ADVICES: &explain::Advices = &[
            (Errno::NOENT, Advice::StaticInit),
            (Errno::NOEXEC, Advice::NotForThisMachine),
        ];
        explain::error(What::Exec, name, errno, ADVICES)
    }

    /// The file with the plan becomes descriptor 3, the others those beside it, and all
    /// survive the exec; what is in the way of them moves up. Returns the program, which is
    /// in the same file but where it is shared.
    fn pass_descriptors(
        &mut self,
        program: Slot,
        others: [(Slot, i32); 2],
    ) -> Result<BorrowedFd<'static>, Errno> {
        let mut passed = self.take(program).ok_or(Errno::BADF)?;
        let mut program = PLAN_DESCRIPTOR;
        if let Some(plan) = self.take(shared::PLAN) {
            program = lift(core::mem::replace(&mut passed, plan))?.into_raw_fd();
        }
        let mut lifted = [const { None }; 2];
        for (place, (slot, _)) in lifted.iter_mut().zip(others) {
            if slot != Step::NO_SLOT {
                *place = Some(lift(self.take(slot).ok_or(Errno::BADF)?)?);
            }
        }
        for (other, (_, number)) in lifted.iter().zip(others) {
            let Some(other) = other else { continue };
            if passed.as_raw_fd() == number {
                passed = lift(passed)?;
            }
            descriptor::duplicate_onto(other.as_fd(), number)?;
        }
        descriptor::duplicate_onto(passed.as_fd(), PLAN_DESCRIPTOR)?;
        // It is either this number, or closed when this process becomes pid 1.
        core::mem::forget(passed);
        descriptor::borrow(program).ok_or(Errno::BADF)
    }

    /// Becomes another stage 1. Its contract: the pod's directory as working
    /// directory, `run --uuid UUID`, the plan and the lock by descriptor.
    pub(super) fn hand_over(&mut self, path: &'p CStr, uuid: &'p CStr) -> Error<'p> {
        match self.pod_directory() {
            Ok((plan, lock)) => {
                let arguments = [path, c"run", c"--uuid", uuid];
                let environment = [
                    PLAN_VARIABLE,
                    LOCK_VARIABLE,
                    c"STAGE1_INTERFACE=1",
                    app::DEFAULT_PATH_VARIABLE,
                ];
                let errno = Self::exec_with(&arguments, &environment, |list, variables| {
                    exec::execve(path, list, variables)
                });
                drop((plan, lock));
                Error::new(What::HandOver, path, errno)
            }
            Err(errno) => Error::new(What::HandOver, path, errno),
        }
    }

    /// A pod directory that vanishes with its users: `status/` and a lock that
    /// is held. The descriptors have their numbers and survive an exec.
    fn pod_directory(&mut self) -> Result<(OwnedFd, OwnedFd), Errno> {
        let directory = lift(files::make_tmpfs()?)?;
        fs::mkdirat(&directory, c"status", Mode::from_raw_mode(0o755))?;
        let lock = fs::openat(
            &directory,
            c"lock",
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )?;
        fs::flock(&lock, fs::FlockOperation::NonBlockingLockExclusive)?;
        process::fchdir(&directory)?;
        let bytes = self.plan.as_bytes();
        let plan = lift(seal::sealed_plan(|file| {
            seal::write_plan(file, bytes, &[])
        })?)?;
        // pid 1 of ours reads by offset; others may not.
        fs::seek(&plan, fs::SeekFrom::Start(0))?;
        let lock = lift(lock)?;
        descriptor::duplicate_onto(plan.as_fd(), PLAN_DESCRIPTOR)?;
        descriptor::duplicate_onto(lock.as_fd(), LOCK_DESCRIPTOR)?;
        Ok((plan, lock))
    }

    fn exec_with(
        arguments: &[&CStr],
        environment: &[&CStr],
        exec: impl Fn(Pointers<'_>, Pointers<'_>) -> Errno,
    ) -> Errno {
        // Few strings, all ours: on the stack they cost no page fault.
        let mut words = [0; 16];
        let Some((list, room)) = Pointers::write(&mut words, &mut arguments.iter().copied()) else {
            return Errno::NOBUFS;
        };
        match Pointers::write(room, &mut environment.iter().copied()) {
            Some((variables, _)) => exec(list, variables),
            None => Errno::NOBUFS,
        }
    }
}

/// How pid 1 is told its plan.
const PLAN_VARIABLE: &CStr = c"STAGE1_PLAN_FD=3";
const OFFSET_VARIABLE: &[u8] = b"STAGE1_PLAN_OFFSET=";
const STAMPS_VARIABLE: &CStr = c"STAGE1_STAMPS_FD=4";
const DIRECTORY_VARIABLE: &CStr = c"STAGE1_POD_FD=5";
const HOLD_VARIABLE: &CStr = c"STAGE1_HOLD=1";
const LOCK_VARIABLE: &CStr = c"STAGE1_LOCK_FD=4";

/// The first descriptor that is in nobody's way.
const FREE: i32 = 6;

fn lift(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    if descriptor.as_raw_fd() >= FREE {
        return Ok(descriptor);
    }
    io::fcntl_dupfd_cloexec(&descriptor, FREE)
}

#[cold]
#[inline(never)]
fn close_one_by_one(first: u32, last: u32) -> Result<(), Errno> {
    let directory = fs::open(
        c"/proc/self/fd",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let own = directory.as_raw_fd();
    let mut buffer = [core::mem::MaybeUninit::uninit(); 2048];
    let mut entries = fs::RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let name = entry?;
        let number = crate::text::decimal(name.file_name().to_bytes());
        let wanted = number.filter(|number| (first.into()..=last.into()).contains(number));
        match wanted.and_then(|number| i32::try_from(number).ok()) {
            Some(number) if number != own => descriptor::close(number)?,
            _ => {}
        }
    }
    Ok(())
}

/// What callers are known to ignore.
static IGNORED: [u32; 7] = [
    raw::SIGHUP,
    raw::SIGINT,
    raw::SIGQUIT,
    raw::SIGPIPE,
    raw::SIGTERM,
    raw::SIGXFSZ,
    // glibc's first internal one, which GNU make leaves ignored.
    32,
];

/// Blocks all signals but those of a crash, and takes back what callers are
/// known to ignore: an ignored signal would stay ignored in every app (Python
/// leaves SIGPIPE and SIGXFSZ so, nohup SIGHUP, a shell SIGINT and SIGQUIT of
/// what it runs in the background), and with SIGCHLD ignored no exit code could
/// be collected.
pub fn supervise() {
    block_signals();
    for ignored in &IGNORED {
        signal::set_default(*ignored);
    }
}

/// A terminal of this devpts: its master, and its peer.
pub(super) fn fresh_terminal(devpts: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = fs::openat(devpts, c"ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&terminal)?;
    let open = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let other = rustix::pty::ioctl_tiocgptpeer(&terminal, open)?;
    // Before anybody uses it, who would be told of the change (SIGWINCH).
    copy_window_size(terminal.as_fd());
    Ok((terminal, other))
}

/// Gives the terminal `to` the size of the caller's: that of standard input, or
/// of standard output.
pub fn copy_window_size(to: BorrowedFd<'_>) {
    let size = [0, 1]
        .into_iter()
        .filter_map(descriptor::borrow)
        .find_map(|caller| rustix::termios::tcgetwinsize(caller).ok());
    if let Some(size) = size {
        let _ = rustix::termios::tcsetwinsize(to, size);
    }
}

/// Blocks all signals but those of a crash: what [`supervise`] does first, for a
/// process whose caller may not have.
pub fn block_signals() {
    signal::set_mask(signal::SUPERVISED);
    signal::set_default(raw::SIGCHLD);
}

pub(super) fn unshare<'p>(namespaces: u64) -> Result<(), Error<'p>> {
    crate::sys::clone::unshare(namespaces).map_err(|errno| explain::clone(namespaces, errno))
}

/// Its reach begins when the parent may be dead already: see [`Birth`].
pub(super) fn die_with_parent<'p>(birth: &Birth) -> Result<(), Error<'p>> {
    process::set_parent_process_death_signal(Some(process::Signal::KILL))
        .map_err(|errno| Error::new(What::Watch, c"the launcher", errno))?;
    if birth.parent_lives() {
        Ok(())
    } else {
        Err(Error::new(What::Start, c"", Why::LauncherGone))
    }
}

/// Of a process that was called, whose parent was `parent` when the plan was
/// made: one that has died before that can't be told, since somebody else is the
/// parent then.
#[cold]
#[inline(never)]
pub(super) fn die_with_known_parent<'p>(parent: u64) -> Result<(), Error<'p>> {
    process::set_parent_process_death_signal(Some(process::Signal::KILL))
        .map_err(|errno| Error::new(What::Watch, c"the parent", errno))?;
    if parent == parent_pid() {
        Ok(())
    } else {
        Err(Error::new(What::Start, c"", Why::ParentGone))
    }
}

/// The pid of this process's parent; 0 if it is outside of the pid namespace.
#[must_use]
pub fn parent_pid() -> u64 {
    u64::from(process::Pid::as_raw(process::getppid()).unsigned_abs())
}

/// `group` asks for a process group only.
pub(super) fn session<'p>(group: bool) -> Result<(), Error<'p>> {
    let done = if group {
        process::setpgid(None, None)
    } else {
        process::setsid().map(drop)
    };
    done.map_err(|errno| Error::new(What::StartSession, c"", errno))
}

pub(super) fn umask(mask: u64) {
    process::umask(Mode::from_raw_mode(u32::try_from(mask).unwrap_or(0o77)));
}

pub(super) fn hostname(name: &CStr) -> Result<(), Error<'_>> {
    rustix::system::sethostname(name.to_bytes())
        .map_err(|errno| Error::new(What::SetHostName, name, errno))
}

pub(super) fn loopback<'p>() -> Result<(), Error<'p>> {
    crate::sys::network::loopback_up().map_err(|errno| Error::new(What::SetUp, c"lo", errno))
}

/// Without keys in the kernel, or where it is refused, there is none to be reached.
#[cold]
#[inline(never)]
pub(super) fn keyring<'p>() -> Result<(), Error<'p>> {
    match crate::sys::keyring::join_new() {
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(()),
        done => done.map_err(|errno| Error::new(What::SetUp, c"a session keyring", errno)),
    }
}

/// Moves this process, which has one thread, into a cgroup: on v1 by `tasks`,
/// which does not wait for a grace period as `cgroup.procs` does; on v2 there is
/// only the latter.
#[cold]
pub(super) fn join<'p>(cgroup: BorrowedFd<'_>) -> Result<(), Error<'p>> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    fs::openat(cgroup, c"tasks", flags, Mode::empty())
        .or_else(|_| fs::openat(cgroup, c"cgroup.procs", flags, Mode::empty()))
        .and_then(|file| io::write(&file, b"0"))
        .map(drop)
        .map_err(|errno| Error::new(What::Join, c"the cgroup", errno).advice(Advice::NoCgroup))
}

/// Collects a child that failed before it became a program.
pub(super) fn reap(child: &Child) {
    let _ = process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
}
