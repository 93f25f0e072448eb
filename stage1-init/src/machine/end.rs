//! The end of a machine: what is left is ended, the code told, the power switched off.

use core::{ffi::CStr, sync::atomic::Ordering::Relaxed};

use fly::{
    error::{Error, What},
    sys::{descriptor, network, port, signal, wait},
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs,
    io::Errno,
    mount::{self, MountFlags},
    system::{self, RebootCommand},
    termios,
};

use super::{
    ORDER, cause, pause,
    settings::{Exit, Settings},
    told, warn, watchdog,
};
use crate::NAME;

/// How long the host may take for the code.
const PATIENCE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// How often it is waited for the end of all processes, a tenth of a second each.
const PAUSES: u32 = 100;

/// Ends what is left, brings the disks up to date, tells the code and switches the
/// machine off, or starts it again after ctrl-alt-del.
pub fn end(settings: &Settings<'_>, code: i32) -> i32 {
    let _ = signal::send(-1, raw::SIGKILL);
    // Until there is no child, those of others become ours as they end; but one that
    // the kernel does not let go does not keep the machine on.
    let mut pauses = 0;
    while pauses < PAUSES {
        match wait::any() {
            Err(Errno::CHILD) => break,
            Ok(Some(_)) => {}
            _ => {
                pause(Some(100_000_000));
                pauses += 1;
            }
        }
    }
    watchdog::tell();
    fs::sync();
    // A root in memory can't be, and need not be.
    let _ = mount::mount_remount(c"/", MountFlags::RDONLY, c"");
    let mut line = Line::new(2);
    line.text(NAME).text(": the pod ended with code ");
    line.number(u64::from(code.unsigned_abs())).end();
    told(settings, "all");
    watchdog::tell();
    report(settings, code);
    watchdog::stop();
    let command = if ORDER.load(Relaxed) == raw::SIGINT {
        RebootCommand::Restart
    } else {
        RebootCommand::PowerOff
    };
    let done = system::reboot(command);
    warn(done.map_err(|errno| Error::new(What::End, c"", errno)));
    // The kernel would panic if we ended.
    loop {
        pause(None);
    }
}

/// Tells the code where the settings want it.
fn report(settings: &Settings<'_>, code: i32) {
    let (done, place) = match settings.exit {
        None => (Ok(()), c""),
        Some(Exit::Path(path)) => (write(path, code), path),
        Some(Exit::Vsock(port)) => (send(port, code), c"the host's vsock"),
    };
    warn(done.map_err(|errno| Error::new(What::Report, place, cause(errno))));
    if let Some(number) = settings.exit_port {
        let [low, ..] = code.to_le_bytes();
        let done = port::write(number, low);
        warn(done.map_err(|errno| Error::new(What::Report, c"the exit port", errno)));
    }
}

/// Writes the code into a device or a file. A device that takes nothing does not
/// keep the machine from its end: it is waited for, for a time.
fn write(path: &CStr, code: i32) -> Result<(), Errno> {
    let number = descriptor::open(path, raw::O_WRONLY | raw::O_NOCTTY | raw::O_NONBLOCK)?;
    await_one(number, PollFlags::OUT)?;
    // What follows waits until the other side has it: a virtio port would only be
    // told that there is something.
    descriptor::set_status(number, 0)?;
    write_line(number, code)?;
    if let Some(device) = descriptor::borrow(number) {
        // A serial line has some of it still to send; other devices have no such call.
        let _ = termios::tcdrain(device);
        let _ = fs::fsync(device);
    }
    descriptor::close(number)
}

/// Sends the code to the host, and waits until it has closed the connection.
fn send(port: u32, code: i32) -> Result<(), Errno> {
    let number = network::connect_to_host(port)?;
    write_line(number, code)?;
    network::end_sending(number)?;
    await_one(number, PollFlags::IN)?;
    descriptor::close(number)
}

fn write_line(number: i32, code: i32) -> Result<(), Errno> {
    let mut line = Line::new(number);
    let whole = line.number(u64::from(code.unsigned_abs())).end();
    if whole { Ok(()) } else { Err(Errno::IO) }
}

fn await_one(number: i32, event: PollFlags) -> Result<(), Errno> {
    let file = descriptor::borrow(number).ok_or(Errno::BADF)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(file, event)],
        Some(&PATIENCE),
    ) {
        Ok(0) => Err(Errno::TIMEDOUT),
        done => done.map(drop),
    }
}
