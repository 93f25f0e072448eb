//! Who controls a pod that runs: requests to its pid 1, by the socket in its directory,
//! and what else is read there.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    plan::Plan,
    sys::{
        descriptor,
        message::{self, MOST},
        network,
    },
    text::{decimal, split},
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
    fs::{self, MemfdFlags, Mode, OFlags, SealFlags},
    io::Errno,
    process::{Pid, PidfdFlags, chdir, pidfd_open},
};
use stage1_init::{
    GATE,
    control::{
        SOCKET,
        protocol::{self, Reply, Request},
    },
};

/// A pod that runs, by its directory.
pub struct Pod<'a> {
    pub path: &'a CStr,
    socket: OwnedFd,
}

impl<'a> Pod<'a> {
    /// Goes there: the address of a socket has 107 bytes only.
    ///
    /// # Errors
    /// There is no such directory; no descriptor is left.
    pub fn open(path: &'a CStr) -> Result<Self, Error<'a>> {
        chdir(path).map_err(|errno| Error::new(What::Open, path, errno))?;
        Self::here(path)
    }

    /// The same in the working directory; `path` is how it is called.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn here(path: &'a CStr) -> Result<Self, Error<'a>> {
        let failed = |errno: Errno| Error::new(What::Open, path, errno);
        let mut socket = network::sender().map_err(failed)?;
        // What is passed on as a standard stream is none of ours.
        if socket.as_raw_fd() < 3 {
            drop(socket);
            fill_streams();
            socket = network::sender().map_err(failed)?;
        }
        Ok(Self { path, socket })
    }

    /// From here on a request is not sent if its pid 1 has too many to read.
    pub fn never_wait(&self) {
        let _ = fs::fcntl_setfl(&self.socket, OFlags::NONBLOCK);
    }

    /// From here on it is sent as soon as pid 1 has read others.
    pub fn wait_again(&self) {
        let _ = fs::fcntl_setfl(&self.socket, OFlags::empty());
    }

    /// Whether pid 1 has read all that was sent to it from here.
    #[must_use]
    pub fn is_read(&self) -> bool {
        message::is_read(self.socket.as_raw_fd())
    }

    /// Sends a request with these descriptors; the reply comes to the socket that is
    /// returned.
    ///
    /// # Errors
    /// No pod is there.
    pub fn send(
        &self,
        request: &Request<'_>,
        with: &[BorrowedFd<'_>],
    ) -> Result<OwnedFd, Error<'a>> {
        let (own, other) = network::pair().map_err(|errno| self.failed(errno))?;
        let mut sent = [other.as_fd(); MOST];
        let mut count = 1;
        for (place, descriptor) in sent.iter_mut().skip(1).zip(with) {
            *place = *descriptor;
            count += 1;
        }
        let sent = sent.get(..count).unwrap_or_default();
        let is_release = request.operation == protocol::RELEASE;
        // Who is to become the program waits there, if it does, and pid 1 hears of it, too.
        if !is_release || with.len() != 3 || self.send_to(GATE, request, sent).is_err() {
            self.say(request, sent)?;
        }
        if is_release {
            // It lets nobody in a second time.
            let _ = fs::unlink(GATE);
        }
        // With this end closed, the end of pid 1 is the end of waiting.
        drop(other);
        Ok(own)
    }

    /// Sends a request without waiting for a reply, if no socket is among `with`.
    ///
    /// # Errors
    /// No pod is there.
    #[inline(never)]
    pub fn say(&self, request: &Request<'_>, with: &[BorrowedFd<'_>]) -> Result<(), Error<'a>> {
        self.send_to(SOCKET, request, with)
            .map_err(|errno| self.failed(errno))
    }

    #[inline(never)]
    fn send_to(
        &self,
        socket: &CStr,
        request: &Request<'_>,
        with: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        message::send(self.socket.as_raw_fd(), socket, &request.to_bytes(), with)
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// The pod has ended; its pid 1 is of another version.
    #[inline(never)]
    pub fn reply(&self, own: &OwnedFd) -> Result<[u8; Reply::SIZE], Error<'a>> {
        let mut reply = [0; Reply::SIZE];
        let mut read = descriptor::read(own.as_raw_fd(), &mut reply);
        while read == Err(Errno::INTR) {
            read = descriptor::read(own.as_raw_fd(), &mut reply);
        }
        match (
            read.map_err(|errno| self.failed(errno))?,
            Reply::read(&reply),
        ) {
            (0, _) => Err(self.gone()),
            (_, None) => Err(Error::new(What::Ask, self.path, Why::OtherVersion)),
            (_, Some(_)) => Ok(reply),
        }
    }

    #[cold]
    fn failed(&self, errno: Errno) -> Error<'a> {
        match errno {
            Errno::NOENT | Errno::CONNREFUSED => self.gone(),
            errno => Error::new(What::Ask, self.path, errno),
        }
    }

    /// No pod runs there.
    #[must_use]
    pub fn gone(&self) -> Error<'a> {
        Error::new(What::Ask, self.path, Why::NoPodRuns)
    }

    /// The number of its pid 1, on the host.
    ///
    /// # Errors
    /// No pod is there.
    pub fn pid(&self) -> Result<u64, Error<'a>> {
        let mut number = [0; 16];
        let number = descriptor::read_file(c"pid", &mut number);
        let number = split(number, b'\n').next().and_then(decimal);
        number.ok_or(self.gone())
    }

    /// Its pid 1 itself.
    ///
    /// # Errors
    /// No pod is there.
    pub fn process(&self) -> Result<OwnedFd, Error<'a>> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw);
        pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .ok_or(self.gone())
    }

    /// Its plan.
    ///
    /// # Errors
    /// No pod is there; it can't be read.
    #[cold]
    #[inline(never)]
    pub fn plan<'r>(&self, room: &'r mut [u8]) -> Result<Plan<'r>, Error<'a>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::open(c"plan", flags, Mode::empty()).map_err(|errno| self.failed(errno))?;
        let bytes = descriptor::read_all(file.as_raw_fd(), room);
        Plan::check(bytes.map_err(|errno| self.failed(errno))?).map_err(crate::start::refused)
    }
}

/// Opens /dev/null where a standard stream is closed: pid 1 of a pod that is controlled has all
/// three, so that no descriptor that comes to it is one.
#[cold]
#[inline(never)]
pub fn fill_streams() {
    while let Ok(null) = fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
        if null.as_raw_fd() >= 3 {
            break;
        }
        let _ = null.into_raw_fd();
    }
}

/// Opens /dev/null as the descriptors below `count`, whatever they are.
///
/// # Errors
/// As open(2).
#[cold]
#[inline(never)]
pub fn silence(count: i32) -> Result<(), Errno> {
    let null = fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..count).try_for_each(|number| descriptor::duplicate_onto(null.as_fd(), number))
}

/// The plan in a memory file that nobody can change.
///
/// # Errors
/// As memfd_create(2).
pub fn seal(plan: &[u8]) -> Result<OwnedFd, Errno> {
    let file = fs::memfd_create(c"plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    if !descriptor::write_all(file.as_raw_fd(), plan) {
        return Err(Errno::NOSPC);
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}
