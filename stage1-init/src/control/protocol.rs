//! Requests and replies: of a fixed size, numbers first, in the machine's byte order,
//! since both ends run on the same one. The first number says what it is and of
//! which version.

use core::ffi::CStr;

use fly::{
    sys::memory::c_str,
    text::{copy, split},
};
use rustix::io::Errno;

/// The longest name of an app, NAME_MAX (limits.h), and a zero byte.
pub const NAME_BYTES: usize = 256;

/// The first number: a name that holds the version, 1.
const VERSION: u32 = u32::from_le_bytes(*b"kst1");

/// How an app is: the named one, or without a name the one at place `number` or the
/// next behind it.
pub const STATUS: u32 = 1;
/// Adds the app of the plan that comes with it; `name` is its name.
pub const ADD: u32 = 2;
/// Starts an app that has ended, or was added without being started.
pub const START: u32 = 3;
/// Stops an app: its stop signal, its deadline, SIGKILL. It is not restarted. Without a
/// name all of them, and the pod ends.
pub const STOP: u32 = 4;
/// Forgets an app that does not run.
pub const REMOVE: u32 = 5;
/// Sends signal `number` to the app's main process.
pub const SIGNAL: u32 = 6;
/// Lets a parked pod go; the reply comes at its end, with its code.
pub const RELEASE: u32 = 7;

/// A request. It comes with a socket for the reply, and [`ADD`] with a file behind
/// it: a sealed memory file with a plan of one app; if three more descriptors follow they
/// are its standard streams, and it is forgotten when it has ended. [`RELEASE`] comes
/// with the pod's standard streams and, behind them, a file with a plan if it is to
/// replace the pod's.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked for: [`STATUS`] and its kin.
    pub operation: u32,
    /// [`WAIT`], [`AT_ONCE`].
    pub flags: u32,
    /// A place or a signal.
    pub number: u32,
    /// The app's name.
    pub name: &'a CStr,
}

/// A flag: the reply is to come when the app has ended.
pub const WAIT: u32 = 1;
/// A flag: what is added is to be started.
pub const AT_ONCE: u32 = 2;
/// A flag of [`RELEASE`]: who has sent it removes the pod's directory as soon as the reply
/// is there; the code of the app that ends last is not written into it.
pub const REMOVES: u32 = WAIT;

/// How a request of that begins.
pub const PLAIN: [u8; 8] = {
    let ([a, b, c, d], [e, f, g, h]) = (VERSION.to_ne_bytes(), RELEASE.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
};

/// Bytes of a request.
pub const REQUEST: usize = 16 + NAME_BYTES;

impl<'a> Request<'a> {
    /// As sent; of a name that is too long the beginning.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        let numbers = [VERSION, self.operation, self.flags, self.number];
        let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
        let name = self.name.to_bytes().iter().take(NAME_BYTES - 1);
        for (place, byte) in bytes.iter_mut().zip(numbers.chain(name.copied())) {
            *place = byte;
        }
        bytes
    }

    /// What has come: so many of these bytes, the others of which are 0.
    ///
    /// # Errors
    /// EPROTONOSUPPORT of another version or without one, EINVAL of another size, with flags that
    /// mean nothing, or without an end of the name.
    pub fn read(bytes: &'a [u8; REQUEST], length: usize) -> Result<Self, Errno> {
        let (numbers, name) = bytes.split_at(16);
        match (read(numbers), c_str(name)) {
            (Some([version, _, _, _]), _) if version != VERSION => Err(Errno::PROTONOSUPPORT),
            (Some([_, operation, flags, number]), Some(name))
                if length == REQUEST && flags <= (WAIT | AT_ONCE) =>
            {
                Ok(Self {
                    operation,
                    flags,
                    number,
                    name,
                })
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// The answer: how an app is behind what was done to it. All numbers but `errno` are
/// of an app, and 0 if there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reply {
    /// What failed, an errno; 0 for nothing.
    pub errno: u32,
    /// The app's place, for [`STATUS`] of the next one.
    pub place: u32,
    /// How far the app is: 0 waits, 1 pauses, 2 its pre-start hook runs, 3 it
    /// runs, 4 its post-stop hook runs, 5 it has ended.
    pub state: u32,
    /// [`Reply::READY`].
    pub flags: u32,
    /// Of its process in the pod's pid namespace; 0 if none runs.
    pub pid: u32,
    /// The exit code of its last end.
    pub code: u32,
    /// How often it was restarted, in a row.
    pub restarts: u32,
}

impl Reply {
    /// Its size in bytes.
    pub const SIZE: usize = NUMBERS + NAME_BYTES;
    /// The app is ready.
    pub const READY: u32 = 1;

    /// As sent: the name of the app behind the numbers, in front of zero bytes.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it is in one place")]
    pub fn write(&self, name: &[u8], bytes: &mut [u8; Self::SIZE]) {
        let (numbers, place) = bytes.split_at_mut(NUMBERS);
        if let [a, b, c, d, e, f, g, h] = numbers.as_chunks_mut().0 {
            *a = VERSION.to_ne_bytes();
            *b = self.errno.to_ne_bytes();
            *c = self.place.to_ne_bytes();
            *d = self.state.to_ne_bytes();
            *e = self.flags.to_ne_bytes();
            *f = self.pid.to_ne_bytes();
            *g = self.code.to_ne_bytes();
            *h = self.restarts.to_ne_bytes();
        }
        copy(place, name);
    }

    /// What has come, and the name; `None` if it is no reply of this version.
    #[must_use]
    pub fn read(bytes: &[u8; Self::SIZE]) -> Option<(Self, &[u8])> {
        let (numbers, name) = bytes.split_at(NUMBERS);
        let [version, errno, place, state, flags, pid, code, restarts] = read(numbers)?;
        let reply = Self {
            errno,
            place,
            state,
            flags,
            pid,
            code,
            restarts,
        };
        let name = split(name, 0).next().unwrap_or_default();
        (version == VERSION).then_some((reply, name))
    }
}

/// Bytes of a reply before the name.
const NUMBERS: usize = 32;

/// The numbers at the beginning.
fn read<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    for (place, chunk) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *place = u32::from_ne_bytes(*chunk);
    }
    (bytes.len() >= N * 4).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Request<'static> = Request {
        operation: SIGNAL,
        flags: WAIT | AT_ONCE,
        number: 15,
        name: c"web",
    };

    #[test]
    fn requests_come_back() {
        let bytes = SENT.to_bytes();
        let read = Request::read(&bytes, REQUEST).expect("a request");
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!((read.operation, read.name), (SIGNAL, c"web"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let bytes = SENT.to_bytes();
        for length in 0..REQUEST {
            let mut shorter = bytes;
            shorter[length..].fill(0);
            assert!(Request::read(&shorter, length).is_err(), "{length}");
        }
        let longer = Request::read(&bytes, REQUEST + 1);
        assert_eq!(longer.err(), Some(Errno::INVAL));
        let change = |at: usize, byte: u8| {
            let mut bytes = bytes;
            bytes[at] = byte;
            Request::read(&bytes, REQUEST).err()
        };
        assert_eq!(change(3, b'2'), Some(Errno::PROTONOSUPPORT));
        assert_eq!(change(8, 4), Some(Errno::INVAL));
        assert_eq!(change(11, 1), Some(Errno::INVAL));
        let mut endless = bytes;
        endless[16..].fill(b'a');
        assert_eq!(Request::read(&endless, REQUEST).err(), Some(Errno::INVAL));
    }

    #[test]
    fn replies_come_back() {
        let reply = Reply {
            errno: 1,
            place: 2,
            state: 3,
            flags: Reply::READY,
            pid: 5,
            code: 255,
            restarts: 7,
        };
        let mut bytes = [0; Reply::SIZE];
        reply.write(b"web", &mut bytes);
        let (read, name) = Reply::read(&bytes).expect("a reply");
        let mut again = [0; Reply::SIZE];
        read.write(name, &mut again);
        assert_eq!(again, bytes);
        assert_eq!(name, b"web");
        let mut other = bytes;
        other[3] = b'2';
        assert!(Reply::read(&other).is_none());
    }
}
