//! Control of a pod that runs: requests come as datagrams on the socket `control` in
//! the pod's directory, each with a socket for the reply. Nothing is kept of a
//! client but that socket, and nobody is waited for: one that is killed, or never
//! reads, costs pid 1 nothing.

pub mod protocol;

use core::{
    ffi::CStr,
    sync::atomic::{AtomicI32, Ordering::Relaxed},
};

use fly::{
    error::{Error, INIT_TEXTS, What},
    plan::Plan,
    sys::{
        descriptor,
        map::Sealed,
        message::{self, MOST},
        network,
    },
};
use rustix::{
    fs::{self, Mode},
    io::Errno,
    process::{fchdir, umask},
};

use crate::{
    NAME,
    apps::{Own, State},
    logs, stdio,
    supervise::{Pod, bit},
    understudy,
};
use protocol::{Reply, Request};

/// The name of the socket.
pub const SOCKET: &CStr = c"control";

/// The pipes that an app reads and writes.
struct Pipes {
    /// An end of one is closed.
    is_cut: bool,
    /// An app that runs, or may run again, writes to it.
    is_used: bool,
}

/// No place of an app.
const NOWHERE: usize = usize::MAX;

/// Where the flags of the call are among those of a request that has come by it.
const BY: u32 = 8;

/// How many requests are answered before others have their turn.
const TURN: usize = 64;

/// The socket of who controls the pod, inverted: 0 if there is none. A program that
/// never opens one, as that of machines, holds nothing of what is done with it.
static SOCKET_NUMBER: AtomicI32 = AtomicI32::new(0);

/// The socket of who controls the pod, or -1.
#[inline]
pub(crate) fn socket() -> i32 {
    !SOCKET_NUMBER.load(Relaxed)
}

/// Opens the socket in this directory; that there can't be one is told.
#[cold]
#[inline(never)]
pub(crate) fn open(directory: i32) {
    match make(directory, SOCKET) {
        Ok(socket) => SOCKET_NUMBER.store(!socket, Relaxed),
        Err(errno) => Error::new(What::Open, SOCKET, errno).print(NAME, INIT_TEXTS),
    }
}

/// Makes a socket in this directory. Only its owner may write to it; pid 1 waits for nothing
/// that comes by it.
#[cold]
#[inline(never)]
pub(crate) fn make(directory: i32, name: &CStr) -> Result<i32, Errno> {
    let folder = descriptor::get(directory);
    let _ = fs::unlinkat(folder, name, fs::AtFlags::empty());
    // bind(2) takes a path only: of at most 107 bytes, and none that an app could
    // change.
    fchdir(folder)?;
    let before = umask(Mode::from_raw_mode(0o177));
    let socket = network::receiver(name, true);
    umask(before);
    let _ = rustix::process::chdir(c"/");
    socket
}

impl Pod<'_, '_> {
    /// Answers the requests that have come; or, with [`message::PEEK`], the one that has
    /// come by the gate, where it stays: the understudy has seen it, or will.
    #[cold]
    #[inline(never)]
    pub(crate) fn serve(&mut self, socket: i32, flags: u32) {
        for _ in 0..TURN {
            let mut bytes = [0; protocol::REQUEST + 1];
            let mut descriptors = [-1; MOST];
            let received = message::receive_by(
                socket,
                &mut bytes,
                &mut descriptors,
                message::NO_WAIT | flags,
            );
            let Ok(length) = received else { return };
            let [bytes @ .., _] = &bytes;
            let request = Request::read(bytes, length);
            let mut index = NOWHERE;
            let done = match request {
                Ok(mut request) => {
                    request.flags |= flags << BY;
                    self.carry_out(&request, &mut descriptors, &mut index)
                }
                Err(errno) => Err(errno),
            };
            // Whose socket was kept gets its reply later.
            let [waiter, ..] = descriptors;
            self.reply(done, index, waiter);
            stdio::close_all(&mut descriptors);
            if flags != 0 {
                if self.is_held() {
                    // It was refused: nobody may go by it.
                    understudy::dismiss();
                    understudy::close_gate();
                }
                return;
            }
        }
        logs::come_back();
    }

    /// Does what is asked for; `place` becomes that of the app that it is about.
    /// What is kept of `descriptors` becomes -1 there.
    #[inline(never)]
    fn carry_out(
        &mut self,
        request: &Request<'_>,
        descriptors: &mut [i32; MOST],
        place: &mut usize,
    ) -> Result<(), Errno> {
        if request.operation == protocol::RELEASE {
            return self.release(request.flags, descriptors);
        }
        let [socket, file, streams @ ..] = descriptors;
        if request.operation == protocol::STOP && request.name.is_empty() {
            self.stop();
            return Ok(());
        }
        if self.is_held() && request.operation != protocol::STATUS {
            return Err(Errno::AGAIN);
        }
        let mut index = self.find(request);
        if request.operation == protocol::ADD {
            index = self.add(request, index, (*file, streams[2] >= 0))?;
        }
        *place = index;
        let (ending, pipes) = (self.is_ending(), self.pipes(index));
        let app = self.app(index).ok_or(Errno::NOENT)?;
        let is_done = app.state == State::Done;
        let waits = request.flags & protocol::WAIT != 0 && !is_done;
        // One that was killed has closed its end.
        if waits && app.waiter >= 0 {
            if message::is_quiet(app.waiter) {
                return Err(Errno::BUSY);
            }
            stdio::close(&mut app.waiter);
        }
        match request.operation {
            // Only that is asked of nobody in particular.
            protocol::STATUS | protocol::ADD => {}
            _ if request.name.is_empty() => return Err(Errno::INVAL),
            protocol::START if ending => return Err(Errno::SHUTDOWN),
            protocol::START if !is_done => return Err(Errno::ALREADY),
            // The other end of its pipe has gone.
            protocol::START if pipes.is_cut => return Err(Errno::PIPE),
            protocol::START => app.again(),
            protocol::STOP if is_done => {}
            protocol::STOP => self.stop_one(index),
            protocol::REMOVE if !is_done => return Err(Errno::BUSY),
            protocol::REMOVE if pipes.is_used => return Err(Errno::NOTEMPTY),
            protocol::REMOVE => self.remove(index),
            protocol::SIGNAL if !app.lives() => return Err(Errno::SRCH),
            protocol::SIGNAL if matches!(request.number, 1..=64) => app.send(request.number),
            _ => return Err(Errno::INVAL),
        }
        if waits
            && let Some(app) = self.app(index)
            && app.state != State::Done
        {
            app.waiter = core::mem::replace(socket, -1);
        }
        // At once: what comes behind it, as a signal for it, then comes to a process.
        if request.operation == protocol::ADD && streams[2] >= 0 {
            self.enter(index, *streams);
        }
        Ok(())
    }

    /// Lets a parked pod go: with the standard streams that have come, and the plan, if
    /// there is one. The reply comes at its end.
    #[inline(never)]
    fn release(&mut self, flags: u32, descriptors: &mut [i32; MOST]) -> Result<(), Errno> {
        let [socket, streams @ .., file] = descriptors;
        if !self.is_held() {
            return Err(Errno::ALREADY);
        }
        if self.is_ending() {
            return Err(Errno::SHUTDOWN);
        }
        let mut plan = None;
        if *file >= 0 {
            let bytes = Sealed::map(*file, 0)?.forever().bytes();
            plan = Some(Plan::check_apps(bytes).map_err(|_| Errno::INVAL)?);
        }
        network::announce(*socket)?;
        stdio::take(streams)?;
        if flags >> BY == 0 || plan.is_some() {
            // It does not know of this one.
            understudy::dismiss();
        }
        self.go(plan, core::mem::replace(socket, -1), flags);
        Ok(())
    }

    /// When who has released the pod is gone, it is stopped.
    #[inline(never)]
    pub(crate) fn watch_releaser(&mut self) {
        let releaser = *self.releaser();
        if releaser >= 0 && !message::is_quiet(releaser) {
            stdio::close(self.releaser());
            self.stop();
        }
    }

    /// Tells who has released the pod its code.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_end(&mut self, code: i32) {
        let reply = Reply {
            code: code.cast_unsigned(),
            ..Reply::default()
        };
        send(*self.releaser(), &reply, c"");
    }

    /// How the pipes of an app are.
    fn pipes(&self, index: usize) -> Pipes {
        let (mut own, mut is_cut) = (0, false);
        if let Some(app) = self.apps().get(index) {
            (own, is_cut) = (app.outputs, app.is_cut_off());
        }
        let mut is_used = false;
        for (number, app) in self.apps().iter().enumerate() {
            is_cut |= own & bit(number) != 0 && app.input.1 < 0;
            is_used |= app.state != State::Done && app.outputs & bit(index) != 0;
        }
        Pipes { is_cut, is_used }
    }

    /// The app of this name, or without one that of this place or behind it.
    #[inline(never)]
    fn find(&self, request: &Request<'_>) -> usize {
        for (index, app) in self.apps().iter().enumerate() {
            let is_it = if request.name.is_empty() {
                index >= request.number as usize
            } else {
                self.name(index) == request.name
            };
            if is_it && app.is_there {
                return index;
            }
        }
        NOWHERE
    }

    /// Adds the app of the plan that has come; `found` is one of the same name.
    #[inline(never)]
    fn add(
        &mut self,
        request: &Request<'_>,
        found: usize,
        (file, enters): (i32, bool),
    ) -> Result<usize, Errno> {
        if self.is_ending() {
            return Err(Errno::SHUTDOWN);
        }
        if found != NOWHERE {
            return Err(Errno::EXIST);
        }
        let map = Sealed::map(file, 0)?;
        let plan = Plan::check_apps(map.bytes()).map_err(|_| Errno::INVAL)?;
        let steps = plan.app(0).ok_or(Errno::INVAL)?;
        let name = steps.clone().records().next();
        // In the pod's own root it would see those of all others.
        if Own::has_root(self.plan()) && !Own::has_root(&plan) {
            return Err(Errno::XDEV);
        }
        // It is asked for by the name of its plan.
        if plan.app(1).is_some() || name.is_none_or(|name| name.list.first() != request.name) {
            return Err(Errno::INVAL);
        }
        let (index, app) = self.put(steps).ok_or(Errno::NOSPC)?;
        if request.flags & protocol::AT_ONCE == 0 {
            app.state = State::Done;
        }
        app.plan = Own::of(map);
        app.entered = enters;
        Ok(index)
    }

    /// Says what was done to the app number `index`, and how it is; to nobody if
    /// `socket` is -1.
    pub(crate) fn reply(&mut self, done: Result<(), Errno>, index: usize, socket: i32) {
        let mut reply = Reply::default();
        let mut name = c"";
        match done {
            Err(errno) => reply.errno = errno.raw_os_error().cast_unsigned(),
            Ok(()) => {
                reply.place = u32::try_from(index).unwrap_or(0);
                name = self.name(index);
                if let Some(app) = self.at(index) {
                    app.describe(&mut reply);
                }
            }
        }
        send(socket, &reply, name);
    }
}

/// Sends it, to nobody if `socket` is -1.
#[inline(never)]
fn send(socket: i32, reply: &Reply, name: &CStr) {
    if socket >= 0 {
        let mut bytes = [0; Reply::SIZE];
        reply.write(name.to_bytes(), &mut bytes);
        let _ = message::send(socket, c"", &bytes, &[]);
    }
}
