//! Sockets: the loopback interface of a new network namespace, and pairs.

use super::{arch, result};
use core::ffi::CStr;
use linux_raw_sys::{general as raw, ioctl, net};
use rustix::{
    fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
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

/// A socket that takes datagrams at `path` (unix(7)); SIGIO tells the caller that
/// there is one (F_SETOWN and O_ASYNC, fcntl(2)). Reading it never waits, unless it `waits`.
///
/// # Errors
/// ENAMETOOLONG beyond 107 bytes, EADDRINUSE, ENOENT, EROFS.
#[cold]
#[inline(never)]
pub fn receiver(path: &CStr, waits: bool) -> Result<RawFd, Errno> {
    let (address, length) = address(path)?;
    let socket = non_blocking(net::AF_UNIX, net::SOCK_DGRAM)?;
    let number = socket.as_raw_fd().cast_unsigned() as usize;
    let address = address.as_ptr().expose_provenance();
    // Before anybody can send to it: nothing that comes goes unheard.
    announce_by(socket.as_raw_fd(), u32::from(!waits) * raw::O_NONBLOCK)?;
    // SAFETY: bind reads `length` bytes of the address, which lives across the call.
    result(unsafe { arch::syscall(raw::__NR_bind, [number, address, length]) })?;
    Ok(socket.into_raw_fd())
}

/// The address of the socket at `path` (struct sockaddr_un, unix(7)), and its length.
///
/// # Errors
/// ENAMETOOLONG beyond 107 bytes.
pub(super) fn address(path: &CStr) -> Result<([u8; 110], usize), Errno> {
    let mut address = [0_u8; 110];
    let bytes = path.to_bytes_with_nul();
    let [family, high, name @ ..] = &mut address;
    [*family, *high, ..] = net::AF_UNIX.to_ne_bytes();
    let Some(name) = name.get_mut(..bytes.len()) else {
        return Err(Errno::NAMETOOLONG);
    };
    crate::text::copy(name, bytes);
    Ok((address, bytes.len() + 2))
}

/// A socket that can send datagrams, and waits while the receiver has too many.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn sender() -> Result<OwnedFd, Errno> {
    open(net::AF_UNIX, net::SOCK_DGRAM)
}

/// SIGIO tells the caller that something can be read from `number`, or that its other
/// end has gone; reading it never waits.
///
/// # Errors
/// EBADF.
#[inline]
pub fn announce(number: RawFd) -> Result<(), Errno> {
    announce_by(number, raw::O_NONBLOCK)
}

#[inline(never)]
fn announce_by(number: RawFd, flags: u32) -> Result<(), Errno> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let settings = [
        (raw::F_SETOWN, own.cast_unsigned()),
        (raw::F_SETFL, raw::FASYNC | flags),
    ];
    for (command, value) in settings {
        let number = number.cast_unsigned() as usize;
        let arguments = [number, command as usize, value as usize, 0, 0, 0];
        // SAFETY: neither command takes a pointer.
        result(unsafe { arch::syscall(raw::__NR_fcntl, arguments) })?;
    }
    Ok(())
}

/// The two ends of a pipe (pipe(2)), for reading and for writing, with O_CLOEXEC;
/// nobody else owns them.
///
/// # Errors
/// EMFILE, ENFILE.
#[cold]
#[inline(never)]
pub fn pipe() -> Result<(RawFd, RawFd), Errno> {
    let mut ends = [-1_i32; 2];
    let place = ends.as_mut_ptr().expose_provenance();
    let flags = raw::O_CLOEXEC as usize;
    // SAFETY: the kernel writes two ints.
    result(unsafe { arch::syscall(raw::__NR_pipe2, [place, flags, 0]) })?;
    let [reader, writer] = ends;
    Ok((reader, writer))
}

/// The same; it is read as with [`receiver`].
///
/// # Errors
/// As [`pipe`].
#[cold]
pub fn announced_pipe() -> Result<(RawFd, RawFd), Errno> {
    let (reader, writer) = pipe()?;
    announce(reader)?;
    Ok((reader, writer))
}

/// Whether somebody listens on TCP port `port` of lo, by either protocol: connects
/// (tcp(7)). A connection over lo is made when it is asked for, or refused; the
/// second call tells.
#[cold]
#[inline(never)]
#[must_use]
pub fn listens(port: u16) -> bool {
    // struct sockaddr_in (ip(7)) with 127.0.0.1, sockaddr_in6 (ipv6(7)) with ::1.
    let mut addresses = [[0_u8; 28]; 2];
    for (address, family) in addresses.iter_mut().zip([net::AF_INET, net::AF_INET6]) {
        let [number, high, a, b, one, _, _, two, .., last, _, _, _, _] = address;
        [*number, *high, ..] = family.to_ne_bytes();
        [*a, *b] = port.to_be_bytes();
        if family == net::AF_INET {
            (*one, *two) = (127, 1);
        } else {
            *last = 1;
        }
    }
    addresses.iter().any(|address| {
        let family = u32::from(address.first().copied().unwrap_or_default());
        let Ok(socket) = non_blocking(family, net::SOCK_STREAM) else {
            return false;
        };
        let connect = || {
            // SAFETY: the kernel reads at most the 28 bytes of the address.
            result(unsafe {
                arch::syscall(
                    raw::__NR_connect,
                    [
                        socket.as_raw_fd().cast_unsigned() as usize,
                        address.as_ptr().expose_provenance(),
                        address.len(),
                    ],
                )
            })
        };
        match connect() {
            Err(Errno::INPROGRESS) => connect().is_ok(),
            done => done.is_ok(),
        }
    })
}

fn non_blocking(family: u32, kind: u32) -> Result<OwnedFd, Errno> {
    open(family, kind | raw::O_NONBLOCK)
}

fn open(family: u32, kind: u32) -> Result<OwnedFd, Errno> {
    let kind = kind | raw::O_CLOEXEC;
    // SAFETY: socket takes no pointer.
    let socket =
        result(unsafe { arch::syscall(raw::__NR_socket, [family as usize, kind as usize, 0]) })?;
    let socket = RawFd::try_from(socket).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Gives the interface `name` an IPv4 address and sets it up (netdevice(7)).
///
/// # Errors
/// ENODEV if there is none of this name; EINVAL for an address or a mask that is none.
#[cold]
pub fn set_address(name: &[u8], address: [u8; 4], mask: [u8; 4]) -> Result<(), Errno> {
    let socket = non_blocking(net::AF_INET, net::SOCK_DGRAM)?;
    for (command, value) in [(ioctl::SIOCSIFADDR, address), (ioctl::SIOCSIFNETMASK, mask)] {
        let mut request = interface(name)?;
        if let Some(place) = request.get_mut(16..32) {
            crate::text::copy(place, &internet(value));
        }
        command_of(&socket, command, &mut request)?;
    }
    let mut request = interface(name)?;
    command_of(&socket, ioctl::SIOCGIFFLAGS, &mut request)?;
    if let Some(flags) = request.get_mut(16) {
        *flags |= UP.to_ne_bytes()[0];
    }
    command_of(&socket, ioctl::SIOCSIFFLAGS, &mut request)
}

/// Sends by way of `gateway` what has no other way (SIOCADDRT, rtnetlink(7)).
///
/// # Errors
/// ENETUNREACH if no interface leads to it.
#[cold]
pub fn set_gateway(gateway: [u8; 4]) -> Result<(), Errno> {
    /// RTF_UP and RTF_GATEWAY (linux/route.h).
    const FLAGS: u8 = 3;
    // struct rtentry: after a long the destination, the gateway and the mask, then
    // flags.
    let mut route = [0_u8; 120];
    let addresses = [[0; 4], gateway, [0; 4]];
    let places = route.get_mut(8..).unwrap_or_default().chunks_mut(16);
    for (place, address) in places.zip(addresses) {
        crate::text::copy(place, &internet(address));
    }
    if let Some(flags) = route.get_mut(56) {
        *flags = FLAGS;
    }
    let socket = non_blocking(net::AF_INET, net::SOCK_DGRAM)?;
    match command_of(&socket, ioctl::SIOCADDRT, &mut route) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// struct ifreq of this interface: 16 bytes of name, then 24 of its value.
fn interface(name: &[u8]) -> Result<[u8; 40], Errno> {
    let mut request = [0_u8; 40];
    if name.len() > 15 {
        return Err(Errno::NODEV);
    }
    crate::text::copy(&mut request, name);
    Ok(request)
}

/// struct sockaddr_in (ip(7)) of port 0.
fn internet(address: [u8; 4]) -> [u8; 16] {
    let [low, high, ..] = net::AF_INET.to_ne_bytes();
    let [a, b, c, d] = address;
    [low, high, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// ioctl(2) on a socket; `request` is as large as the structure that `command` takes.
fn command_of(socket: &OwnedFd, command: u32, request: &mut [u8]) -> Result<(), Errno> {
    let number = socket.as_raw_fd().cast_unsigned() as usize;
    let place = request.as_mut_ptr().expose_provenance();
    // SAFETY: the callers pass an ifreq of 40 bytes, or an rtentry of 120 for SIOCADDRT.
    result(unsafe { arch::syscall(raw::__NR_ioctl, [number, command as usize, place]) }).map(drop)
}

/// Connects to `port` of the machine that this one is a guest of (vsock(7)); the kernel
/// gives up after 2 seconds.
///
/// # Errors
/// EAFNOSUPPORT or ENODEV without vsock, ECONNRESET if nobody listens.
#[cold]
pub fn connect_to_host(port: u32) -> Result<RawFd, Errno> {
    let kind = net::SOCK_STREAM | raw::O_CLOEXEC;
    // SAFETY: socket takes no pointer.
    let socket = result(unsafe {
        arch::syscall(raw::__NR_socket, [net::AF_VSOCK as usize, kind as usize, 0])
    })?;
    // struct sockaddr_vm: family, port, and context 2, the host.
    let address = [net::AF_VSOCK, port, 2, 0];
    // SAFETY: the kernel reads 16 bytes of the address.
    result(unsafe {
        arch::syscall(
            raw::__NR_connect,
            [
                socket,
                address.as_ptr().expose_provenance(),
                size_of_val(&address),
            ],
        )
    })?;
    RawFd::try_from(socket).map_err(|_| Errno::BADF)
}

/// Tells the other side of a connection that nothing more comes (shutdown(2)).
///
/// # Errors
/// ENOTCONN.
#[cold]
pub fn end_sending(number: RawFd) -> Result<(), Errno> {
    let number = number.cast_unsigned() as usize;
    // SAFETY: shutdown takes no pointer.
    result(unsafe { arch::syscall(raw::__NR_shutdown, [number, net::SHUT_WR as usize, 0]) })
        .map(drop)
}

/// IFF_UP (netdevice(7)).
const UP: u16 = 1;
