//! Raw system calls: the instruction, and the calls that the floors make.
//!
//! Every function is the call of its name with the kernel's arguments; the
//! value is the kernel's, an error a small negative number that most callers
//! ignore. That is the point of a floor.

use core::{arch::asm, ffi::CStr, mem::MaybeUninit};

pub use linux_raw_sys::general as raw;

/// A descriptor, or the error in its place.
pub type Fd = i32;

/// The working directory (AT_FDCWD).
pub const HERE: Fd = raw::AT_FDCWD;

/// A pointer array as exec takes it, or one pointer of it.
pub type Vector = *const *const u8;

/// One system call.
///
/// # Safety
/// Pointers among the arguments must be valid for what the call does.
#[inline(always)]
pub unsafe fn call<const N: usize>(number: u32, arguments: [usize; N]) -> isize {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let value: isize;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; the caller
    // vouches for the pointers.
    unsafe {
        match N {
            0 => asm!("syscall", inlateout("rax") number as usize => value,
                lateout("rcx") _, lateout("r11") _, options(nostack)),
            1 => asm!("syscall", inlateout("rax") number as usize => value, in("rdi") at(0),
                lateout("rcx") _, lateout("r11") _, options(nostack)),
            2 => asm!("syscall", inlateout("rax") number as usize => value, in("rdi") at(0),
                in("rsi") at(1), lateout("rcx") _, lateout("r11") _, options(nostack)),
            3 => asm!("syscall", inlateout("rax") number as usize => value, in("rdi") at(0),
                in("rsi") at(1), in("rdx") at(2),
                lateout("rcx") _, lateout("r11") _, options(nostack)),
            4 => asm!("syscall", inlateout("rax") number as usize => value, in("rdi") at(0),
                in("rsi") at(1), in("rdx") at(2), in("r10") at(3),
                lateout("rcx") _, lateout("r11") _, options(nostack)),
            _ => asm!("syscall", inlateout("rax") number as usize => value, in("rdi") at(0),
                in("rsi") at(1), in("rdx") at(2), in("r10") at(3), in("r8") at(4),
                lateout("rcx") _, lateout("r11") _, options(nostack)),
        }
    }
    value
}

/// `memcpy(3)`.
///
/// # Safety
/// As in C.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the direction flag is clear by the ABI; the ranges are the
    // caller's promise.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// `memset(3)`.
///
/// # Safety
/// As in C.
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: as in `copy`. C takes the low byte.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _,
            in("al") byte.to_le_bytes()[0], options(nostack, preserves_flags));
    }
    to
}

/// A number for the kernel: descriptors and flags, sign-extended as C does.
#[must_use]
#[inline(always)]
pub fn word(number: i32) -> usize {
    (number as isize).cast_unsigned()
}

#[inline(always)]
fn text(text: &CStr) -> usize {
    text.as_ptr().addr()
}

/// A descriptor from a call's value. Truncation can't lose anything: errors
/// and descriptors fit.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn fd(value: isize) -> Fd {
    value as Fd
}

/// exit_group(2).
#[inline(always)]
pub fn exit(code: i32) -> ! {
    // SAFETY: no pointers; the call does not return.
    unsafe {
        asm!("syscall", in("rax") raw::__NR_exit_group as usize, in("rdi") word(code),
            options(noreturn, nostack));
    }
}

/// close_range(2) on everything above the standard descriptors.
#[inline(always)]
pub fn close_inherited() {
    // SAFETY: no pointers; nothing here holds a descriptor yet.
    unsafe { call(raw::__NR_close_range, [3, u32::MAX as usize, 0]) };
}

/// mount(2). `source`, `kind` and `data` may be empty where the call ignores
/// them.
#[inline(always)]
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u32, data: Option<&CStr>) {
    let data = data.map_or(0, text);
    // SAFETY: C strings that live across the call.
    unsafe {
        call(
            raw::__NR_mount,
            [text(source), text(target), text(kind), flags as usize, data],
        )
    };
}

/// mount(2) with MS_REC and MS_PRIVATE on `/`: nothing that follows reaches the host.
#[inline(always)]
pub fn make_private() {
    mount(c"", c"/", c"", raw::MS_REC | raw::MS_PRIVATE, None);
}

/// open(2) relative to `directory`.
#[inline(always)]
pub fn open(directory: Fd, path: &CStr, flags: u32) -> Fd {
    let flags = (flags | raw::O_CLOEXEC) as usize;
    // SAFETY: a C string that lives across the call.
    fd(unsafe { call(raw::__NR_openat, [word(directory), text(path), flags, 0]) })
}

/// openat2(2) of a mount point, which nothing leads out of `root`.
#[inline(always)]
#[must_use]
pub fn open_inside(root: Fd, path: &CStr) -> Fd {
    let how = raw::open_how {
        flags: u64::from(raw::O_PATH | raw::O_CLOEXEC),
        mode: 0,
        resolve: u64::from(raw::RESOLVE_IN_ROOT | raw::RESOLVE_NO_MAGICLINKS),
    };
    // SAFETY: a C string and a structure that live across the call.
    fd(unsafe {
        call(
            raw::__NR_openat2,
            [
                word(root),
                text(path),
                (&raw const how).addr(),
                size_of_val(&how),
            ],
        )
    })
}

/// Opens the program `name` in the folder of `path`, which this program was
/// called by.
///
/// # Safety
/// A C string of less than 200 bytes.
#[inline(always)]
pub unsafe fn open_beside(path: *const u8, name: &CStr) -> Fd {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
    let start = buffer.as_mut_ptr().cast::<u8>();
    // SAFETY: the path and the name fit; the pointers stay inside.
    unsafe {
        let (mut from, mut to, mut base) = (path, start, start);
        while *from != 0 {
            *to = *from;
            to = to.add(1);
            if *from == b'/' {
                base = to;
            }
            from = from.add(1);
        }
        copy(base, name.as_ptr().cast(), name.count_bytes() + 1);
        let flags = (raw::O_RDONLY | raw::O_CLOEXEC) as usize;
        fd(call(raw::__NR_openat, [word(HERE), start.addr(), flags, 0]))
    }
}

/// memfd_create(2), a file that can be sealed.
#[inline(always)]
pub fn memory_file(name: &CStr, flags: u32) -> Fd {
    let flags = (flags | raw::MFD_CLOEXEC | raw::MFD_ALLOW_SEALING) as usize;
    // SAFETY: a C string that lives across the call.
    let file = fd(unsafe { call(raw::__NR_memfd_create, [text(name), flags]) });
    if file < 0 {
        return old_memory_file(name, flags);
    }
    file
}

/// The same before Linux 6.3, where such files could always be executed.
#[cold]
#[inline(never)]
fn old_memory_file(name: &CStr, flags: usize) -> Fd {
    let flags = flags & !(raw::MFD_EXEC as usize);
    // SAFETY: a C string that lives across the call.
    fd(unsafe { call(raw::__NR_memfd_create, [text(name), flags]) })
}

/// The size by fstat(2).
#[inline(always)]
#[must_use]
pub fn size_of_file(file: Fd) -> usize {
    let mut status = MaybeUninit::<raw::stat>::uninit();
    // SAFETY: the structure is the kernel's, which fills it.
    unsafe {
        call(raw::__NR_fstat, [word(file), status.as_mut_ptr().addr()]);
        usize::try_from((*status.as_ptr()).st_size).unwrap_or(0)
    }
}

/// Asks for a controlling terminal, of which there is none where the harness runs:
/// then no session has to be made.
#[inline(always)]
pub fn no_terminal() {
    open(HERE, c"/dev/tty", raw::O_NOCTTY | raw::O_NONBLOCK);
}

/// close(2).
#[inline(always)]
pub fn close(descriptor: Fd) {
    // SAFETY: no pointers; the floors close only what they opened.
    unsafe { call(raw::__NR_close, [word(descriptor)]) };
}

/// dup3(2).
#[inline(always)]
pub fn place(descriptor: Fd, place: Fd) {
    // SAFETY: no pointers.
    unsafe { call(raw::__NR_dup3, [word(descriptor), word(place), 0]) };
}

/// open_tree_attr(2): a detached clone that has `attributes`.
#[inline(always)]
pub fn open_tree_attr(directory: Fd, path: &CStr, flags: u32, attributes: u32) -> Fd {
    // SAFETY: a C string.
    unsafe { clone_tree(directory, text(path), flags, attributes) }
}

/// The same for `path` and all that is mounted below it.
///
/// # Safety
/// A C string.
#[inline(always)]
pub unsafe fn open_root(path: *const u8, attributes: u32) -> Fd {
    // SAFETY: the caller's promise.
    unsafe { clone_tree(HERE, path.addr(), raw::AT_RECURSIVE, attributes) }
}

/// # Safety
/// `path` must be the address of a C string.
#[inline(always)]
unsafe fn clone_tree(directory: Fd, path: usize, flags: u32, attributes: u32) -> Fd {
    let flags = (raw::OPEN_TREE_CLONE | raw::OPEN_TREE_CLOEXEC | flags) as usize;
    let set = raw::mount_attr {
        attr_set: u64::from(attributes),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the caller's promise, and a structure that lives across the call.
    let tree = fd(unsafe {
        call(
            raw::__NR_open_tree_attr,
            [
                word(directory),
                path,
                flags,
                (&raw const set).addr(),
                size_of::<raw::mount_attr>(),
            ],
        )
    });
    if tree < 0 {
        // SAFETY: the caller's promise.
        return unsafe { clone_tree_by_two(directory, path, flags, &set) };
    }
    tree
}

/// The same before Linux 6.15, where it takes two calls.
///
/// # Safety
/// `path` must be the address of a C string.
#[cold]
#[inline(never)]
unsafe fn clone_tree_by_two(directory: Fd, path: usize, flags: usize, set: &raw::mount_attr) -> Fd {
    let recursive = flags & raw::AT_RECURSIVE as usize;
    // SAFETY: the caller's promise, a C string and a structure that live across the call.
    unsafe {
        let tree = fd(call(raw::__NR_open_tree, [word(directory), path, flags]));
        call(
            raw::__NR_mount_setattr,
            [
                word(tree),
                text(c""),
                recursive | raw::AT_EMPTY_PATH as usize,
                core::ptr::from_ref(set).addr(),
                size_of::<raw::mount_attr>(),
            ],
        );
        tree
    }
}

/// fsopen(2).
#[inline(always)]
pub fn fsopen(kind: &CStr) -> Fd {
    // SAFETY: a C string that lives across the call.
    fd(unsafe { call(raw::__NR_fsopen, [text(kind), raw::FSOPEN_CLOEXEC as usize]) })
}

/// fsconfig(2), FSCONFIG_SET_STRING.
#[inline(always)]
pub fn option(context: Fd, key: &CStr, value: &CStr) {
    let command = raw::fsconfig_command::FSCONFIG_SET_STRING as usize;
    // SAFETY: C strings that live across the call.
    unsafe {
        call(
            raw::__NR_fsconfig,
            [word(context), command, text(key), text(value), 0],
        )
    };
}

/// fsconfig(2), FSCONFIG_CMD_CREATE, then fsmount(2).
#[inline(always)]
pub fn create(context: Fd, attributes: u32) -> Fd {
    let command = raw::fsconfig_command::FSCONFIG_CMD_CREATE as usize;
    // SAFETY: no pointers.
    unsafe {
        call(raw::__NR_fsconfig, [word(context), command, 0, 0, 0]);
        fd(call(
            raw::__NR_fsmount,
            [
                word(context),
                raw::FSMOUNT_CLOEXEC as usize,
                attributes as usize,
            ],
        ))
    }
}

/// move_mount(2) of a detached mount to `path` below `directory`; whether
/// that is there.
#[inline(always)]
pub fn attach(mount: Fd, directory: Fd, path: &CStr) -> bool {
    // SAFETY: C strings that live across the call.
    0 == unsafe {
        call(
            raw::__NR_move_mount,
            [
                word(mount),
                text(c""),
                word(directory),
                text(path),
                raw::MOVE_MOUNT_F_EMPTY_PATH as usize,
            ],
        )
    }
}

/// move_mount(2) onto what is open.
#[inline(always)]
pub fn attach_at(mount: Fd, place: Fd) {
    let flags = (raw::MOVE_MOUNT_F_EMPTY_PATH | raw::MOVE_MOUNT_T_EMPTY_PATH) as usize;
    // SAFETY: C strings that live across the call.
    unsafe {
        call(
            raw::__NR_move_mount,
            [word(mount), text(c""), word(place), text(c""), flags],
        )
    };
}

/// mknodat(2), a character device that everybody may use.
#[inline(always)]
pub fn device(directory: Fd, name: &CStr, major: u32, minor: u32) {
    let mode = (raw::S_IFCHR | 0o666) as usize;
    // SAFETY: a C string that lives across the call. Small numbers: the
    // encoding is (major << 8) | minor.
    unsafe {
        call(
            raw::__NR_mknodat,
            [
                word(directory),
                text(name),
                mode,
                ((major << 8) | minor) as usize,
            ],
        )
    };
}

/// mknodat(2), an empty file that may be read.
#[inline(always)]
pub fn file(directory: Fd, name: &CStr) {
    let mode = (raw::S_IFREG | 0o444) as usize;
    // SAFETY: a C string that lives across the call.
    unsafe { call(raw::__NR_mknodat, [word(directory), text(name), mode, 0]) };
}

/// symlinkat(2).
#[inline(always)]
pub fn link(directory: Fd, name: &CStr, target: &CStr) {
    // SAFETY: C strings that live across the call.
    unsafe {
        call(
            raw::__NR_symlinkat,
            [text(target), word(directory), text(name)],
        )
    };
}

/// mkdirat(2).
#[inline(always)]
pub fn directory(directory: Fd, name: &CStr, mode: u32) {
    // SAFETY: a C string that lives across the call.
    unsafe {
        call(
            raw::__NR_mkdirat,
            [word(directory), text(name), mode as usize],
        )
    };
}

/// unlink(2).
#[inline(always)]
pub fn unlink(path: &CStr) {
    // SAFETY: a C string that lives across the call.
    unsafe { call(raw::__NR_unlink, [text(path)]) };
}

/// rename(2).
///
/// # Safety
/// Two C strings.
#[inline(always)]
pub unsafe fn rename(from: *const u8, to: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { call(raw::__NR_rename, [from.addr(), to.addr()]) };
}

/// Locks the first byte of a file for its description (fcntl(2), F_OFD_SETLK).
#[inline(always)]
pub fn lock(file: Fd) {
    let lock = raw::flock {
        l_type: i16::try_from(raw::F_WRLCK).unwrap_or(0),
        l_whence: 0,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the structure lives across the call.
    unsafe {
        call(
            raw::__NR_fcntl,
            [
                word(file),
                raw::F_OFD_SETLK as usize,
                (&raw const lock).addr(),
            ],
        )
    };
}

/// rmdir(2); whether it is gone.
///
/// # Safety
/// A C string.
#[inline(always)]
#[must_use]
pub unsafe fn remove_directory_at(path: *const u8) -> bool {
    // SAFETY: the caller's promise.
    unsafe { call(raw::__NR_rmdir, [path.addr()]) == 0 }
}

/// rmdir(2); whether it is gone.
#[inline(always)]
#[must_use]
pub fn remove_directory(path: &CStr) -> bool {
    // SAFETY: a C string.
    unsafe { remove_directory_at(path.as_ptr().cast()) }
}

/// Writes `value` into the file `name` (open(2), write(2), close(2)).
#[inline(always)]
pub fn write_into(directory: Fd, name: &CStr, value: &CStr) {
    let file = open(directory, name, raw::O_WRONLY);
    // SAFETY: a C string that lives across the call, without its end.
    unsafe {
        call(
            raw::__NR_write,
            [word(file), text(value), value.count_bytes()],
        )
    };
    close(file);
}

/// chdir(2).
#[inline(always)]
pub fn chdir(path: *const u8) {
    // SAFETY: the callers pass arguments of the program or literals.
    unsafe { call(raw::__NR_chdir, [path.addr()]) };
}

/// Makes the directory `path` a mount of its own, with what is mounted below
/// it, and the working directory.
///
/// # Safety
/// A C string.
#[inline(always)]
pub unsafe fn bind_and_enter(path: *const u8) {
    let flags = (raw::MS_BIND | raw::MS_REC) as usize;
    // SAFETY: the caller's promise.
    unsafe { call(raw::__NR_mount, [path.addr(), path.addr(), 0, flags, 0]) };
    chdir(path);
}

/// fchdir(2).
#[inline(always)]
pub fn fchdir(directory: Fd) {
    // SAFETY: no pointers.
    unsafe { call(raw::__NR_fchdir, [word(directory)]) };
}

/// chroot(2) into the working directory.
#[inline(always)]
pub fn chroot_here() {
    // SAFETY: a C string that lives across the call.
    unsafe { call(raw::__NR_chroot, [text(c".")]) };
}

/// pivot_root(2) into the working directory, and umount2(2) of the old root,
/// which is then mounted over the new one.
#[inline(always)]
pub fn pivot_here() {
    // SAFETY: C strings that live across the calls.
    unsafe {
        call(raw::__NR_pivot_root, [text(c"."), text(c".")]);
        call(raw::__NR_umount2, [text(c"."), raw::MNT_DETACH as usize]);
    }
}

/// setpgid(2): a process group of its own.
#[inline(always)]
pub fn group() {
    // SAFETY: no pointers.
    unsafe { call(raw::__NR_setpgid, [0, 0]) };
}

/// sethostname(2).
#[inline(always)]
pub fn hostname(name: &CStr) {
    // SAFETY: a C string that lives across the call.
    unsafe { call(raw::__NR_sethostname, [text(name), name.count_bytes()]) };
}

/// unshare(2).
#[inline(always)]
pub fn unshare(namespaces: u32) {
    // SAFETY: no pointers.
    unsafe { call(raw::__NR_unshare, [namespaces as usize]) };
}
