//! The socket that a parked pod waits at, the message that lets it go, and the answer.

use core::{
    ffi::{CStr, c_void},
    mem::MaybeUninit,
};

use linux_raw_sys::net;

use crate::sys::{self, Fd, raw};

/// Bytes of the message, as many as the product's has.
const BYTES: usize = 272;

/// A control message with the place for the answer, and the program's three streams.
#[repr(C)]
struct Rights {
    header: net::cmsghdr,
    files: [Fd; 4],
}

/// A place in memory (struct iovec).
#[repr(C)]
struct Place(*mut u8, usize);

/// The socket, in the working directory.
pub const GATE: &CStr = c"gate";

/// Its address, and the length of that.
#[inline(always)]
fn address() -> (MaybeUninit<net::sockaddr_un>, usize) {
    let mut address = MaybeUninit::<net::sockaddr_un>::uninit();
    let place = address.as_mut_ptr();
    let length = GATE.count_bytes() + 1;
    // SAFETY: the name fits.
    unsafe {
        (*place).sun_family = u16::try_from(net::AF_UNIX).unwrap_or(0);
        let text = (&raw mut (*place).sun_path).cast::<u8>();
        sys::copy(text, GATE.as_ptr().cast(), length);
    }
    (address, size_of::<net::__kernel_sa_family_t>() + length)
}

#[inline(always)]
fn socket(flags: u32) -> Fd {
    // SAFETY: no pointers.
    let socket = unsafe {
        sys::call(
            raw::__NR_socket,
            [net::AF_UNIX as usize, (net::SOCK_DGRAM | flags) as usize, 0],
        )
    };
    Fd::try_from(socket).unwrap_or(-1)
}

/// Seconds after which nobody comes any more: the harness has ended.
const PATIENCE: i64 = 60;

/// Makes the socket, which lives through an exec; whether it is there.
#[inline(always)]
#[must_use]
pub fn make() -> bool {
    let (address, length) = address();
    // SAFETY: what the calls read lives across them.
    unsafe {
        let place = address.as_ptr().addr();
        let gate = sys::word(socket(0));
        let patience = [PATIENCE, 0];
        sys::call(
            raw::__NR_setsockopt,
            [
                gate,
                net::SOL_SOCKET as usize,
                net::SO_RCVTIMEO_OLD as usize,
                patience.as_ptr().addr(),
                size_of_val(&patience),
            ],
        );
        sys::call(raw::__NR_bind, [gate, place, length]) == 0
    }
}

/// Lets the pod go that waits at the socket, with this process's three streams; where the
/// answer comes.
#[inline(always)]
#[must_use]
pub fn release() -> Fd {
    let mut pair: [Fd; 2] = [-1; 2];
    let kind = (net::SOCK_SEQPACKET | raw::O_CLOEXEC) as usize;
    let (mut address, length) = address();
    // SAFETY: all that the calls read or fill lives across them.
    unsafe {
        sys::call(
            raw::__NR_socketpair,
            [net::AF_UNIX as usize, kind, 0, pair.as_mut_ptr().addr()],
        );
        let [answer, far] = pair;
        let mut bytes = [0_u8; BYTES];
        let mut rights = rights([far, 0, 1, 2]);
        let mut place = Place(bytes.as_mut_ptr(), BYTES);
        let mut message = message(&mut place, &mut rights);
        message.msg_name = address.as_mut_ptr().cast();
        message.msg_namelen = i32::try_from(length).unwrap_or(0);
        let gate = sys::word(socket(raw::O_CLOEXEC));
        sys::call(raw::__NR_sendmsg, [gate, (&raw const message).addr(), 0]);
        // Only the pod holds it now: its end is the end of the answer.
        sys::close(far);
        answer
    }
}

/// The exit code that comes through `answer`.
#[inline(always)]
#[must_use]
pub fn code(answer: Fd) -> i32 {
    let mut code = [-1_i32];
    // SAFETY: four bytes, which live across the call.
    unsafe {
        sys::call(
            raw::__NR_read,
            [sys::word(answer), code.as_mut_ptr().addr(), 4],
        );
    }
    let [code] = code;
    code
}

/// Waits for the message at `gate`, and leaves it there; the streams that it brings.
#[inline(always)]
#[must_use]
pub fn wait(gate: Fd) -> Option<[Fd; 3]> {
    let [answer, streams @ ..] = take(gate, net::MSG_PEEK);
    (answer >= 0).then_some(streams)
}

/// Takes the message at `gate` away, and answers with `code`.
#[inline(always)]
pub fn answer(gate: Fd, code: i32) {
    let [answer, ..] = take(gate, net::MSG_DONTWAIT);
    let flags = (net::MSG_DONTWAIT | net::MSG_NOSIGNAL) as usize;
    // SAFETY: the code lives across the call; nobody's address.
    unsafe {
        sys::call(
            raw::__NR_sendto,
            [sys::word(answer), (&raw const code).addr(), 4, flags, 0],
        )
    };
}

#[inline(always)]
fn take(gate: Fd, flags: u32) -> [Fd; 4] {
    let mut bytes = MaybeUninit::<[u8; BYTES]>::uninit();
    let mut rights = rights([-1; 4]);
    let mut place = Place(bytes.as_mut_ptr().cast(), BYTES);
    let mut message = message(&mut place, &mut rights);
    let flags = (flags | net::MSG_CMSG_CLOEXEC) as usize;
    // SAFETY: all that the call fills lives across it.
    unsafe {
        sys::call(
            raw::__NR_recvmsg,
            [sys::word(gate), (&raw mut message).addr(), flags],
        )
    };
    rights.files
}

#[inline(always)]
fn rights(files: [Fd; 4]) -> Rights {
    Rights {
        header: net::cmsghdr {
            cmsg_len: size_of::<Rights>(),
            cmsg_level: net::SOL_SOCKET.cast_signed(),
            cmsg_type: net::SCM_RIGHTS.cast_signed(),
        },
        files,
    }
}

#[inline(always)]
fn message(place: &mut Place, rights: &mut Rights) -> net::msghdr {
    let control: *mut c_void = core::ptr::from_mut(rights).cast();
    net::msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: core::ptr::from_mut(place).cast(),
        msg_iovlen: 1,
        msg_control: control,
        msg_controllen: size_of::<Rights>(),
        msg_flags: 0,
    }
}
