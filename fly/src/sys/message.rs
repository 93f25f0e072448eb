//! Datagrams with descriptors on unix sockets (unix(7), SCM_RIGHTS).

use core::ffi::CStr;

use super::{arch, network, result};
use linux_raw_sys::{general as raw, ioctl, net};
use rustix::{
    fd::{BorrowedFd, RawFd},
    io::Errno,
};

/// How many descriptors a message can have.
pub const MOST: usize = 5;

/// The kernel's struct msghdr (recvmsg(2)), and what its pointers lead to.
#[repr(C)]
struct Header {
    name: usize,
    name_length: usize,
    parts: usize,
    part_count: usize,
    control: usize,
    control_length: usize,
    flags: usize,
}

/// One struct cmsghdr with its descriptors (cmsg(3)): length, level, type.
#[repr(C)]
struct Control {
    length: usize,
    level: u32,
    kind: u32,
    numbers: [RawFd; MOST],
}

/// Bytes of [`Control`] before the descriptors.
const FIXED: usize = 16;

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    /// Its length; what did not fit is lost, and the length is then the room's.
    pub length: usize,
    /// Its descriptors, -1 where there is none; all are close-on-exec, and the
    /// caller's to close. More than fit the kernel has closed.
    pub descriptors: [RawFd; MOST],
}

/// Takes a message from `socket`, without waiting for one.
///
/// # Errors
/// EAGAIN if there is none.
#[inline]
pub fn receive(socket: RawFd, bytes: &mut [u8]) -> Result<Received, Errno> {
    let mut descriptors = [-1; MOST];
    let length = receive_by(socket, bytes, &mut descriptors, NO_WAIT)?;
    Ok(Received {
        length,
        descriptors,
    })
}

/// Whether there is nothing to be taken from `socket`, and its other end is open.
#[cold]
#[inline(never)]
#[must_use]
pub fn is_quiet(socket: RawFd) -> bool {
    receive_by(socket, &mut [], &mut [-1; MOST], NO_WAIT) == Err(Errno::AGAIN)
}

/// Whether all that was sent by `socket` was received (SIOCOUTQ, unix(7)), or it can't be said.
#[cold]
#[inline(never)]
#[must_use]
pub fn is_read(socket: RawFd) -> bool {
    let mut bytes = 0_i32;
    let number = socket.cast_unsigned() as usize;
    // It has the number of TIOCOUTQ.
    let command = ioctl::TIOCOUTQ as usize;
    let place = (&raw mut bytes).expose_provenance();
    // SAFETY: the kernel writes one int, which lives across the call.
    let asked = result(unsafe { arch::syscall(raw::__NR_ioctl, [number, command, place]) });
    asked.is_err() || bytes == 0
}

/// A flag of [`receive_by`]: the message stays there, for others or another time.
pub const PEEK: u32 = net::MSG_PEEK;
/// A flag of [`receive_by`]: no message is waited for.
pub const NO_WAIT: u32 = net::MSG_DONTWAIT;

/// The same by these flags; returns the length. `descriptors` become those of
/// [`Received`].
///
/// # Errors
/// EAGAIN if there is none, and none is waited for.
#[cold]
#[inline(never)]
pub fn receive_by(
    socket: RawFd,
    bytes: &mut [u8],
    descriptors: &mut [RawFd; MOST],
    flags: u32,
) -> Result<usize, Errno> {
    let part = [bytes.as_mut_ptr().expose_provenance(), bytes.len()];
    let mut control = Control {
        length: 0,
        level: 0,
        kind: 0,
        numbers: [-1; MOST],
    };
    let mut header = Header {
        name: 0,
        name_length: 0,
        parts: part.as_ptr().expose_provenance(),
        part_count: 1,
        control: (&raw mut control).expose_provenance(),
        // Not what it is rounded up to: one more would fit, and stay open.
        control_length: FIXED + size_of_val(&control.numbers),
        flags: 0,
    };
    let flags = flags | net::MSG_CMSG_CLOEXEC;
    // SAFETY: the kernel writes at most the lengths that the header gives of the
    // header, the bytes and the control message, which all live across the call.
    let length = result(unsafe {
        arch::syscall(
            raw::__NR_recvmsg,
            [
                socket.cast_unsigned() as usize,
                (&raw mut header).expose_provenance(),
                flags as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    // A message of another kind can't come: nothing else was asked for. Behind the
    // descriptors the kernel leaves what was there.
    *descriptors = control.numbers;
    Ok(length)
}

/// Sends `bytes`, with these descriptors, to the socket `path`, or to whom `socket` is
/// connected with if that is empty: without waiting then. No SIGPIPE comes.
///
/// # Errors
/// ENAMETOOLONG beyond 107 bytes of path, ECONNREFUSED, EAGAIN if the receiver has
/// too many messages to read, EPIPE.
#[cold]
#[inline(never)]
pub fn send(
    socket: RawFd,
    path: &CStr,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let (address, length) = network::address(path)?;
    let part = [bytes.as_ptr().expose_provenance(), bytes.len()];
    let count = descriptors.len().min(MOST);
    let mut control = Control {
        length: FIXED + count * size_of::<RawFd>(),
        level: net::SOL_SOCKET,
        kind: net::SCM_RIGHTS,
        numbers: [-1; MOST],
    };
    for (place, number) in control.numbers.iter_mut().zip(descriptors) {
        *place = rustix::fd::AsRawFd::as_raw_fd(number);
    }
    let header = Header {
        name: address.as_ptr().expose_provenance(),
        name_length: if path.is_empty() { 0 } else { length },
        parts: part.as_ptr().expose_provenance(),
        part_count: 1,
        control: (&raw const control).expose_provenance(),
        // Not what is empty behind them: that would be another one.
        control_length: if count == 0 {
            0
        } else {
            control.length.next_multiple_of(8)
        },
        flags: 0,
    };
    let mut flags = net::MSG_NOSIGNAL;
    if path.is_empty() {
        flags |= net::MSG_DONTWAIT;
    }
    // SAFETY: the kernel reads the header and what it points to, which all live
    // across the call; the descriptors are borrowed, so that they are open.
    result(unsafe {
        arch::syscall(
            raw::__NR_sendmsg,
            [
                socket.cast_unsigned() as usize,
                (&raw const header).expose_provenance(),
                flags as usize,
                0,
                0,
                0,
            ],
        )
    })
    .map(drop)
}
