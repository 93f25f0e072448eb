//! Sockets: the loopback interface of a new network namespace, and pairs.

use super::{arch, result};
use linux_raw_sys::{general as raw, ioctl, net};
use rustix::{
    fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
};

/// Sets `lo` up (SIOCSIFFLAGS, netdevice(7)); the kernel then gives it
/// 127.0.0.1 and ::1.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over the network namespace; EAFNOSUPPORT on a
/// kernel without IPv4.
pub fn loopback_up() -> Result<(), Errno> {
    // SAFETY: socket takes no pointer.
    let socket = result(unsafe {
        arch::syscall(
            raw::__NR_socket,
            [
                net::AF_INET as usize,
                (net::SOCK_DGRAM | raw::O_CLOEXEC) as usize,
                0,
                0,
                0,
                0,
            ],
        )
    })?;
    let socket = RawFd::try_from(socket).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // struct ifreq: 16 bytes of name, then 24 of which the flags are the
    // first two.
    let mut request = [0_u8; 40];
    if let Some(name) = request.get_mut(..2) {
        name.copy_from_slice(b"lo");
    }
    if let Some(flags) = request.get_mut(16..18) {
        flags.copy_from_slice(&UP.to_ne_bytes());
    }
    // SAFETY: SIOCSIFFLAGS reads one ifreq of 40 bytes, which is what we pass.
    result(unsafe {
        arch::syscall(
            raw::__NR_ioctl,
            [
                socket.as_raw_fd().cast_unsigned() as usize,
                ioctl::SIOCSIFFLAGS as usize,
                request.as_ptr().expose_provenance(),
                0,
                0,
                0,
            ],
        )
    })
    .map(drop)
}

/// Two connected sockets that keep messages apart (socketpair(2),
/// SOCK_SEQPACKET): reading from one whose other end is closed gives 0.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
#[cold]
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut numbers = [-1_i32; 2];
    // SAFETY: the kernel writes two ints.
    result(unsafe {
        arch::syscall(
            raw::__NR_socketpair,
            [
                net::AF_UNIX as usize,
                (net::SOCK_SEQPACKET | raw::O_CLOEXEC) as usize,
                0,
                numbers.as_mut_ptr().expose_provenance(),
                0,
                0,
            ],
        )
    })?;
    let [one, other] = numbers;
    // SAFETY: the kernel has just made both descriptors for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(one), OwnedFd::from_raw_fd(other)) })
}

/// IFF_UP (netdevice(7)).
const UP: u16 = 1;
