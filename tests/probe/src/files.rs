//! Commands about files.

use core::{ffi::CStr, mem::MaybeUninit};

use rustix::{
    fd::{AsFd, BorrowedFd, IntoRawFd},
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags},
    io::{self, Errno},
    process::{Resource, chdir, getrlimit},
};

use crate::{Command, Probe, Row, standard};

/// The commands of this file.
pub const COMMANDS: &[Row] = &[
    ("read", 1, "PATH: its contents", read),
    ("write", 2, "PATH TEXT: makes or empties the file", write),
    ("append", 2, "PATH TEXT", append),
    ("create", 1, "PATH: which must not exist", create),
    (
        "open",
        2,
        "PATH r|w|rw|path: opens an existing file and closes it",
        open_close,
    ),
    ("hold", 1, "PATH: opens it and keeps it open", hold),
    ("mkdir", 1, "PATH", make_directory),
    ("rmdir", 1, "PATH", remove_directory),
    ("unlink", 1, "PATH", unlink),
    ("rename", 2, "FROM TO", rename),
    ("symlink", 2, "TEXT PATH", symlink),
    (
        "swap",
        3,
        "A B MS: exchanges both names over and over for so long",
        swap,
    ),
    ("chmod", 2, "PATH OCTAL", change_mode),
    ("chown", 3, "PATH UID GID", change_owner),
    ("readlink", 1, "PATH", read_link),
    ("list", 1, "DIR: its names, sorted by nothing", list),
    ("stat", 1, "PATH: follows links", status),
    ("lstat", 1, "PATH: does not", link_status),
    ("chdir", 1, "PATH", change_directory),
    ("fill", 2, "PATH BYTES: a file of so many zeros", fill),
    ("flood", 1, "BYTES: so many bytes to stdout", flood),
    ("cat", 0, "stdin to stdout", cat),
    ("line", 0, "reads one line from stdin and prints it", line),
    ("limits", 0, "nofile and nproc, soft:hard", limits),
];

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
const WRITE: OFlags = OFlags::WRONLY.union(OFlags::CLOEXEC);

/// Calls `each` with the contents of `file`, piece by piece.
fn pieces(
    file: BorrowedFd<'_>,
    room: &mut [u8],
    mut each: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    loop {
        let count = match io::read(file, &mut *room) {
            Err(Errno::INTR) => continue,
            count => count?,
        };
        if count == 0 {
            return Ok(());
        }
        each(room.get(..count).unwrap_or_default())?;
    }
}

/// Writes all of `bytes`.
fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = match io::write(file, bytes) {
            Err(Errno::INTR) => continue,
            count => count?,
        };
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Reads a whole small file into `room`; what does not fit is left out.
pub fn contents<'a>(path: &CStr, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = fs::open(path, READ, Mode::empty())?;
    let mut used = 0;
    while used < room.len() {
        let Some(rest) = room.get_mut(used..) else {
            break;
        };
        let count = match io::read(&file, rest) {
            Err(Errno::INTR) => continue,
            count => count?,
        };
        if count == 0 {
            break;
        }
        used += count;
    }
    Ok(room.get(..used).unwrap_or_default())
}

fn read(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let file = fs::open(command.argument(1)?, READ, Mode::empty())?;
    let out = &mut probe.out;
    pieces(file.as_fd(), probe.room, |bytes| {
        out.bytes(bytes);
        Ok(())
    })
}

fn write(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    put(probe, command, OFlags::CREATE | OFlags::TRUNC)
}

fn append(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    put(probe, command, OFlags::CREATE | OFlags::APPEND)
}

fn put(probe: &mut Probe, command: &Command, flags: OFlags) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o644);
    let file = fs::open(command.argument(1)?, WRITE | flags, mode)?;
    write_all(file.as_fd(), command.argument(2)?.to_bytes())?;
    probe.ok(command)
}

fn create(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let flags = WRITE | OFlags::CREATE | OFlags::EXCL;
    fs::open(command.argument(1)?, flags, Mode::from_raw_mode(0o644))?;
    probe.ok(command)
}

fn open_close(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let how = match command.argument(2)?.to_bytes() {
        b"r" => OFlags::RDONLY,
        b"w" => OFlags::WRONLY,
        b"rw" => OFlags::RDWR,
        b"path" => OFlags::PATH,
        _ => return Err(Errno::INVAL),
    };
    // O_NOCTTY and O_NONBLOCK: opening a terminal or a fifo must not do more
    // than say whether it can be opened.
    let flags = how | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    fs::open(command.argument(1)?, flags, Mode::empty())?;
    probe.ok(command)
}

fn hold(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let file = fs::open(command.argument(1)?, OFlags::RDONLY, Mode::empty())?;
    let _ = file.into_raw_fd();
    probe.ok(command)
}

fn make_directory(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    fs::mkdir(command.argument(1)?, Mode::from_raw_mode(0o755))?;
    probe.ok(command)
}

fn remove_directory(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    fs::rmdir(command.argument(1)?)?;
    probe.ok(command)
}

fn unlink(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    fs::unlink(command.argument(1)?)?;
    probe.ok(command)
}

fn rename(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    fs::rename(command.argument(1)?, command.argument(2)?)?;
    probe.ok(command)
}

fn symlink(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    fs::symlink(command.argument(1)?, command.argument(2)?)?;
    probe.ok(command)
}

/// The attacker's half of the races of CVE-2021-30465 and its kin.
fn swap(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let (a, b) = (command.argument(1)?, command.argument(2)?);
    let end = fly::sys::time::monotonic() + command.number(3)?.saturating_mul(1_000_000);
    while fly::sys::time::monotonic() < end {
        for _ in 0..64 {
            fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?;
        }
    }
    probe.ok(command)
}

fn change_mode(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let digits = command.argument(2)?.to_bytes();
    let mode = digits.iter().try_fold(0_u32, |mode, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        mode.checked_mul(8)?.checked_add(u32::from(digit))
    });
    let mode = Mode::from_raw_mode(mode.ok_or(Errno::INVAL)?);
    fs::chmod(command.argument(1)?, mode)?;
    probe.ok(command)
}

fn change_owner(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let id = |index| u32::try_from(command.number(index)?).map_err(|_| Errno::RANGE);
    let (user, group) = (id(2)?, id(3)?);
    fs::chown(
        command.argument(1)?,
        Some(fs::Uid::from_raw(user)),
        Some(fs::Gid::from_raw(group)),
    )?;
    probe.ok(command)
}

fn read_link(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let mut buffer = [0; 4096];
    let count = fs::readlinkat_raw(CWD, command.argument(1)?, &mut buffer)?;
    probe
        .out
        .bytes(buffer.get(..count).unwrap_or_default())
        .text("\n");
    Ok(())
}

/// Calls `each` with every name in `directory` but `.` and `..`.
pub fn names(directory: BorrowedFd<'_>, mut each: impl FnMut(&CStr)) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            each(entry.file_name());
        }
    }
    Ok(())
}

fn list(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let directory = fs::open(
        command.argument(1)?,
        READ | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    names(directory.as_fd(), |name| {
        probe.out.bytes(name.to_bytes()).text("\n");
    })
}

fn status(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    print_status(probe, command, AtFlags::empty())
}

fn link_status(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    print_status(probe, command, AtFlags::SYMLINK_NOFOLLOW)
}

fn print_status(probe: &mut Probe, command: &Command, flags: AtFlags) -> Result<(), Errno> {
    let stat = fs::statat(CWD, command.argument(1)?, flags)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "link",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Unknown => "unknown",
    };
    probe.subject(command);
    let out = &mut probe.out;
    out.text("type=").text(kind);
    out.text(" mode=").octal(u64::from(stat.st_mode & 0o7777));
    out.text(" uid=").number(u64::from(stat.st_uid));
    out.text(" gid=").number(u64::from(stat.st_gid));
    out.text(" size=")
        .number(u64::try_from(stat.st_size).unwrap_or(0));
    out.text(" rdev=")
        .number(u64::from(fs::major(stat.st_rdev)));
    out.text(":").number(u64::from(fs::minor(stat.st_rdev)));
    out.text(" dev=").number(u64::from(fs::major(stat.st_dev)));
    out.text(":").number(u64::from(fs::minor(stat.st_dev)));
    out.text(" ino=").number(stat.st_ino).text("\n");
    Ok(())
}

fn change_directory(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    chdir(command.argument(1)?)?;
    probe.ok(command)
}

fn fill(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let flags = WRITE | OFlags::CREATE | OFlags::TRUNC;
    let file = fs::open(command.argument(1)?, flags, Mode::from_raw_mode(0o644))?;
    repeat(file.as_fd(), 0, command.number(2)?)?;
    probe.ok(command)
}

fn flood(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    repeat(standard(1)?, b'x', command.number(1)?)
}

fn repeat(file: BorrowedFd<'_>, byte: u8, mut count: u64) -> Result<(), Errno> {
    let block = [byte; 4096];
    while count > 0 {
        let now = count.min(4096);
        let bytes = block.get(..usize::try_from(now).unwrap_or(0));
        write_all(file, bytes.unwrap_or_default())?;
        count -= now;
    }
    Ok(())
}

fn cat(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    probe.out.flush();
    pieces(standard(0)?, probe.room, |bytes| {
        write_all(standard(1)?, bytes)
    })
}

fn line(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let mut byte = [0];
    loop {
        let count = match io::read(standard(0)?, &mut byte) {
            Err(Errno::INTR) => continue,
            count => count?,
        };
        if count == 0 {
            probe.out.text("(end of file)\n");
            return Ok(());
        }
        probe.out.bytes(&byte);
        if byte == *b"\n" {
            return Ok(());
        }
    }
}

fn limits(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    for (name, resource) in [("nofile", Resource::Nofile), ("nproc", Resource::Nproc)] {
        let limit = getrlimit(resource);
        probe.out.text(name).text("=");
        for (separator, value) in [(":", limit.current), ("\n", limit.maximum)] {
            match value {
                Some(value) => probe.out.number(value),
                None => probe.out.text("unlimited"),
            };
            probe.out.text(separator);
        }
    }
    Ok(())
}
