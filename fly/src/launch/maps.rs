//! User namespaces: their maps of ids, and mounts whose ids are mapped.
//!
//! A process may map its own user and group id by itself. Everything else is
//! written from outside (user_namespaces(7)): by a helper that was forked before,
//! since the launcher may have become part of the namespace, or sleeps.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{self, Mode, OFlags},
    io::{self, Errno},
    mount::{self, OpenTreeFlags},
    process::{self, Gid, Pid, Uid, WaitOptions},
    thread,
};

use super::{Launcher, explain, path::Path};
use crate::{
    error::{Advice, Error, What},
    plan::{Kind, List, Plan, Slot, Step, map_line},
    sys::{self, clone, descriptor, network},
    text::{Digits, decimal},
};

impl<'p> Launcher<'p, '_> {
    /// The helper knows the maps: it has a copy of the plan. It ends when it has
    /// written them, or when nobody is left who could ask for them.
    #[cold]
    #[inline(never)]
    pub(super) fn mapper(&mut self, into: Slot) -> Result<(), Error<'p>> {
        let failed = |errno| Error::new(What::Start, c"a helper", errno);
        let (asks, answers) = network::pair().map_err(failed)?;
        let plan = self.plan;
        let pid = clone::fork(0, || {
            let _ = descriptor::close(asks.as_raw_fd());
            serve(answers.as_fd(), &plan, |pid, users, lines| {
                let path = Path::of(&[b"/proc/", pid])?;
                write_maps(path.as_bytes(), false, users, lines)
            });
            0
        });
        self.mapper = pid.map_err(failed)?;
        self.put(into, asks);
        Ok(())
    }

    /// Collects the helper, if there is one and it is this process's own.
    #[cold]
    #[inline(never)]
    pub(super) fn reap_mapper(&mut self) {
        collect(core::mem::take(&mut self.mapper));
    }

    /// In the new user namespace.
    #[cold]
    #[inline(never)]
    pub(super) fn maps(
        &mut self,
        mapper: Slot,
        users: u64,
        lines: List<'p>,
    ) -> Result<(), Error<'p>> {
        if mapper == Step::NO_SLOT {
            return write_maps(b"/proc/self", true, users, lines)
                .map_err(|errno| explain::maps(true, errno));
        }
        self.ask(mapper)
            .map_err(|errno| explain::maps(false, errno))?;
        become_first(users, lines).map_err(|errno| explain::credentials(What::SetUser, errno))
    }

    fn ask(&mut self, mapper: Slot) -> Result<(), Errno> {
        let socket = self.get(mapper);
        // Its own pid as the host's /proc has it: getpid(2) may be one of a new
        // pid namespace.
        let mut name = [0; 16];
        let length = fs::readlinkat_raw(fs::CWD, c"/proc/self", &mut name)?;
        let name = name.get(..length).unwrap_or_default();
        io::write(socket, name)?;
        let mut answer = [0; 4];
        let count = descriptor::read(socket.as_raw_fd(), &mut answer)?;
        self.reap_mapper();
        match (count, i32::from_ne_bytes(answer)) {
            (4, 0) => Ok(()),
            (4, errno) => Err(Errno::from_raw_os_error(errno)),
            _ => Err(Errno::PIPE),
        }
    }

    /// A namespace outlives its processes while a descriptor refers to it.
    #[cold]
    #[inline(never)]
    pub(super) fn user_namespace(
        &mut self,
        into: Slot,
        users: u64,
        lines: List<'p>,
    ) -> Result<(), Error<'p>> {
        const USER: u64 = raw::CLONE_NEWUSER as u64;
        let failed = |errno| Error::new(What::MakePipe, c"", errno);
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
        let pid = clone::fork(USER, || {
            let _ = descriptor::close(write.as_raw_fd());
            let _ = descriptor::read(read.as_raw_fd(), &mut [0]);
            0
        })
        .map_err(|errno| explain::clone(USER, errno))?;
        let digits = Digits::new(u64::from(pid.unsigned_abs()), 10);
        let made = Path::of(&[b"/proc/", digits.as_bytes()]).and_then(|mut path| {
            write_maps(path.as_bytes(), false, users, lines)?;
            path.append(&[b"/ns/user"])?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            fs::open(path.as_c_str(), flags, Mode::empty())
        });
        drop(write);
        collect(pid);
        self.put(into, made.map_err(|errno| explain::maps(false, errno))?);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn mapped_tree(
        &mut self,
        into: Slot,
        map: Slot,
        flags: u16,
        attributes: u64,
        path: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let recursive = flags & Step::RECURSIVE != 0;
        let mut open = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let tree = mount::open_tree(fs::CWD, path, open)
            .map_err(|errno| explain::host_path(path, errno))?;
        let attributes = u32::try_from(attributes).unwrap_or(0);
        sys::mount::map_ids(tree.as_fd(), recursive, attributes, self.get(map)).map_err(
            |errno| {
                const ADVICES: &explain::Advices = &[
                    (Errno::INVAL, Advice::NoMappedIds),
                    (Errno::NOSYS, Advice::NoMappedIds),
                    (Errno::PERM, Advice::NeedsRoot),
                ];
                explain::error(What::MapIds, path, errno, ADVICES)
            },
        )?;
        self.put(into, tree);
        Ok(())
    }
}

/// The helper: one question, which process asks for its maps, and one answer, the errno with
/// which `write` could not give it those of the plan.
pub(super) fn serve(
    socket: BorrowedFd<'_>,
    plan: &Plan<'_>,
    write: impl FnOnce(&[u8], u64, List<'_>) -> Result<(), Errno>,
) {
    let mut name = [0; 16];
    let count = descriptor::read(socket.as_raw_fd(), &mut name).unwrap_or(0);
    let pid = name.get(..count).unwrap_or_default();
    let mut records = plan.steps().records();
    let maps = records.find(|record| record.is(Kind::Maps));
    // Nobody has asked, or not by a pid.
    if let (Some(maps), Some(_)) = (maps, decimal(pid)) {
        let done = write(pid, maps.number, maps.list);
        let answer = done.err().map_or(0, Errno::raw_os_error);
        let _ = io::write(socket, &answer.to_ne_bytes());
    }
}

/// Waits for the end of the child `pid`.
pub(super) fn collect(pid: i32) {
    // None at all would be any child.
    if let Some(pid) = Pid::from_raw(pid) {
        while matches!(
            process::waitpid(Some(pid), WaitOptions::empty()),
            Err(Errno::INTR)
        ) {}
    }
}

/// Writes the maps of the process whose folder of a procfs is `folder`; with
/// `deny` it loses setgroups(2), without which it may not map a group by itself
/// (CVE-2014-8989).
#[cold]
fn write_maps(folder: &[u8], deny: bool, users: u64, lines: List<'_>) -> Result<(), Errno> {
    if deny {
        match write_file(folder, b"/setgroups", b"deny") {
            // Before Linux 3.19.
            Err(Errno::NOENT) if explain::exists(c"/proc/self") => {}
            done => done?,
        }
    }
    let users = usize::try_from(users).unwrap_or(usize::MAX);
    for (name, skip, take) in [(b"/uid_map", 0, users), (b"/gid_map", users, usize::MAX)] {
        // A map is written by one call.
        let mut text = Path::new();
        for line in lines.iter().skip(skip).take(take) {
            text.append(&[line.to_bytes(), b"\n"])?;
        }
        for byte in text.buffer() {
            if *byte == b':' {
                *byte = b' ';
            }
        }
        write_file(folder, name, text.as_bytes())?;
    }
    Ok(())
}

fn write_file(folder: &[u8], name: &[u8], text: &[u8]) -> Result<(), Errno> {
    let path = Path::of(&[folder, name])?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = fs::open(path.as_c_str(), flags, Mode::empty())?;
    io::write(&file, text).map(drop)
}

/// The ids of the caller are no ids of the namespace, and files can't be made by
/// such: becomes root in it, or the first that is mapped.
fn become_first(users: u64, lines: List<'_>) -> Result<(), Errno> {
    let users = usize::try_from(users).unwrap_or(usize::MAX);
    let user = first(lines, 0, users);
    let group = first(lines, users, usize::MAX);
    thread::set_thread_groups(&[])?;
    let group = Gid::from_raw(group);
    thread::set_thread_res_gid(group, group, group)?;
    let user = Uid::from_raw(user);
    thread::set_thread_res_uid(user, user, user)
}

/// 0 if that is mapped by one of so many lines, otherwise the first id inside.
#[inline(never)]
fn first(lines: List<'_>, skip: usize, take: usize) -> u32 {
    let mut first = None;
    for line in lines.iter().skip(skip).take(take) {
        match map_line(line.to_bytes()) {
            Some([0, ..]) => return 0,
            Some([inside, ..]) => first = first.or(Some(inside)),
            None => {}
        }
    }
    first.and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}
