//! What only a pod in a user namespace needs.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    process::{self, Pid, WaitOptions},
};

use super::{
    Launcher, explain, files,
    made::open_from_below,
    maps,
    path::Path,
    process::fresh_terminal,
    root::{LOWER, open_directory},
};
use crate::{
    error::{Error, What},
    lower::{DEVPTS, DEVPTS_ATTRIBUTES, DEVPTS_WITHOUT_GROUP},
    plan::{List, Slot},
    sys::{
        clone, descriptor,
        exec::{self, Pointers},
        memory, message, network,
    },
    text::split,
};

/// Bytes of the arguments of newuidmap(1).
const ROOM: usize = 2048;
/// How many there may be, with the variables and two ends.
const WORDS: usize = 200;

impl<'p> Launcher<'p, '_> {
    #[cold]
    #[inline(never)]
    pub(super) fn outside_mapper(&mut self, into: Slot, folder: &'p CStr) -> Result<(), Error<'p>> {
        let failed = |errno| Error::new(What::Start, c"a helper", errno);
        let (asks, answers) = network::pair().map_err(failed)?;
        let plan = self.plan;
        let pid = clone::fork(0, || {
            let _ = descriptor::close(asks.as_raw_fd());
            maps::serve(answers.as_fd(), &plan, |pid, users, lines| {
                map_by_programs(folder, pid, users, lines)
            });
            0
        });
        self.mapper = pid.map_err(failed)?;
        self.put(into, asks);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn terminal_pair(&mut self, sender: Slot, receiver: Slot) -> Result<(), Error<'p>> {
        let (one, other) =
            network::pair().map_err(|errno| Error::new(What::Open, c"a terminal", errno))?;
        self.put(sender, one);
        self.put(receiver, other);
        self.terminal = Some(receiver);
        Ok(())
    }

    /// Of a devpts of the user namespace the terminals belong to its users.
    #[cold]
    #[inline(never)]
    pub(super) fn own_terminal(
        &mut self,
        devpts: Slot,
        peer: Slot,
        sender: u64,
    ) -> Result<(), Error<'p>> {
        let failed = |errno| Error::new(What::Open, c"a terminal", errno);
        let made = match files::make_file_system(DEVPTS_ATTRIBUTES, &mut DEVPTS.into_iter()) {
            // The group tty is not mapped.
            Err(Errno::INVAL) => {
                files::make_file_system(DEVPTS_ATTRIBUTES, &mut DEVPTS_WITHOUT_GROUP.into_iter())
            }
            done => done,
        };
        let made = made.map_err(|errno| explain::file_system(c"devpts", errno))?;
        let (master, other) = fresh_terminal(made.as_fd()).map_err(failed)?;
        let sender = self.get(Slot(u8::try_from(sender).unwrap_or(u8::MAX)));
        message::send(sender.as_raw_fd(), c"", b"terminal", &[master.as_fd()]).map_err(failed)?;
        self.put(devpts, made);
        self.put(peer, other);
        Ok(())
    }

    /// trusted.* attributes are for the initial user namespace only.
    #[cold]
    #[inline(never)]
    pub(super) fn own_overlay(
        &mut self,
        into: Slot,
        layer: Slot,
        mapped: bool,
        attributes: u64,
        path: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let lower = match self.take(into).filter(|_| mapped) {
            Some(tree) => tree,
            None if self.covered => {
                open_from_below(path).map_err(|errno| explain::host_path(path, errno))?
            }
            None => open_directory(path).map_err(|errno| explain::host_path(path, errno))?,
        };
        self.attach_root(layer)?;
        let Some(base) = self.take(layer) else {
            return Err(Error::new(What::UseSlot, c"", Errno::BADF));
        };
        let base = base.as_fd();
        let placed = if mapped {
            // A detached mount can't be cloned before Linux 6.15, but moved.
            fs::mkdirat(base, LOWER, Mode::from_raw_mode(0o755))
                .and_then(|()| files::move_by_path(lower.as_fd(), base, LOWER))
        } else {
            self.part(base, LOWER, Some(lower.as_fd()))
        };
        let root = placed
            .and_then(|()| self.layered(layer, base, lower.as_fd(), None, attributes, 9))
            .map_err(|errno| explain::overlay(path, errno))?;
        self.put(into, root);
        Ok(())
    }
}

/// Has newuidmap(1) and newgidmap(1) of `folder` map the ids of the process `pid`.
fn map_by_programs(folder: &CStr, pid: &[u8], users: u64, lines: List<'_>) -> Result<(), Errno> {
    let users = usize::try_from(users).unwrap_or(usize::MAX);
    let lists: [(&[u8], usize, usize); 2] = [
        (b"/newuidmap", 0, users),
        (b"/newgidmap", users, usize::MAX),
    ];
    lists.into_iter().try_for_each(|(program, skip, take)| {
        let program = Path::of(&[folder.to_bytes(), program])?;
        let mut text = [0; ROOM];
        let mut used = 0;
        let mut add = |bytes: &[u8]| {
            let place = text.get_mut(used..used + bytes.len() + 1);
            used += bytes.len() + 1;
            // The last byte stays 0.
            let place = place.ok_or(Errno::TOOBIG)?;
            crate::text::copy(place, bytes);
            Ok(())
        };
        add(program.as_bytes())?;
        add(pid)?;
        for line in lines.iter().skip(skip).take(take) {
            split(line.to_bytes(), b':').try_for_each(&mut add)?;
        }
        run(program.as_c_str(), text.get(..used).unwrap_or_default())
    })
}

/// Runs `program` with these words, each with its terminator; it says nothing.
fn run(program: &CStr, words: &[u8]) -> Result<(), Errno> {
    let mut room = [0; WORDS];
    let mut rest = words;
    let mut strings = core::iter::from_fn(|| {
        let word = memory::c_str(rest)?;
        rest = rest.get(word.count_bytes() + 1..)?;
        Some(word)
    });
    let (arguments, room) = Pointers::write(&mut room, &mut strings).ok_or(Errno::TOOBIG)?;
    let (variables, _) = Pointers::write(room, &mut core::iter::empty()).ok_or(Errno::TOOBIG)?;
    let pid = clone::vfork_by_pid(|_| {
        if let Ok(null) = fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            for number in 0..3 {
                let _ = descriptor::duplicate_onto(null.as_fd(), number);
            }
        }
        exec::execve(program, arguments, variables).raw_os_error();
        127
    })?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    loop {
        match process::waitpid(pid, WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) if status.exit_status() == Some(0) => return Ok(()),
            Err(errno) => return Err(errno),
            Ok(_) => return Err(Errno::PERM),
        }
    }
}
