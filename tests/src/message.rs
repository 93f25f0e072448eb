//! Messages with descriptors on unix sockets, for tests of the control socket.

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::Path,
    ptr,
};

/// Sends `bytes` and these descriptors to the socket at `path` (sendmsg(2)); waits
/// while the receiver has too many messages to read.
///
/// # Errors
/// As the call.
pub fn send(
    socket: &UnixDatagram,
    path: &Path,
    bytes: &[u8],
    descriptors: &[RawFd],
) -> io::Result<()> {
    if descriptors.is_empty() {
        return socket.send_to(bytes, path).map(drop);
    }
    socket.connect(path)?;
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0_u64; 64];
    let length = u32::try_from(size_of_val(descriptors)).map_err(io::Error::other)?;
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: these compute lengths and a place in the buffer, which is aligned and
    // larger than what the tests send.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(length) as usize;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(length) as usize;
        ptr::copy_nonoverlapping(
            descriptors.as_ptr(),
            libc::CMSG_DATA(first).cast(),
            descriptors.len(),
        );
    }
    // SAFETY: the kernel reads the header and what it points to.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes a message with descriptors from the socket (recvmsg(2)): its descriptors.
/// Waits as long as the socket does.
///
/// # Errors
/// As the call.
pub fn receive(socket: &UnixDatagram, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0_u64; 64];
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the kernel writes to the bytes and the buffer at most what the header says.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written the header, whose first message is in the buffer, and
    // the descriptors are new ones of this process.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() || (*first).cmsg_type != libc::SCM_RIGHTS {
            return Ok(Vec::new());
        }
        let count = ((*first).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
        let numbers: *const RawFd = libc::CMSG_DATA(first).cast();
        Ok((0..count)
            .map(|index| OwnedFd::from_raw_fd(numbers.add(index).read_unaligned()))
            .collect())
    }
}

/// A memory file with these bytes, sealed against all changes or not at all
/// (memfd_create(2)).
///
/// # Errors
/// As the calls.
pub fn memory_file(bytes: &[u8], sealed: bool) -> io::Result<std::fs::File> {
    let all = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    memory_file_with(bytes, if sealed { all } else { 0 })
}

/// The seals of an open memory file, or of one that is executed.
///
/// # Errors
/// As the call; EINVAL of another file.
pub fn seals(file: &std::fs::File) -> io::Result<libc::c_int> {
    // SAFETY: takes no pointer.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) } {
        -1 => Err(io::Error::last_os_error()),
        seals => Ok(seals),
    }
}

/// The same with these seals.
///
/// # Errors
/// As the calls.
pub fn memory_file_with(bytes: &[u8], seals: libc::c_int) -> io::Result<std::fs::File> {
    use std::io::Write;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string.
    let number = unsafe { libc::memfd_create(c"test".as_ptr(), flags) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    let mut file = unsafe { std::fs::File::from_raw_fd(number) };
    file.write_all(bytes)?;
    // SAFETY: takes no pointer.
    if seals != 0 && unsafe { libc::fcntl(number, libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
