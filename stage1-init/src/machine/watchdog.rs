//! The machine's watchdog: a device that starts the machine again when pid 1 has not
//! told for some time that it is alive.

use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

use fly::{
    error::{Error, What},
    sys::{descriptor, time, watchdog},
};
use linux_raw_sys::general as raw;

use super::warn;

/// The open device, if there is one. Static, as the order of the end is.
static DEVICE: AtomicI32 = AtomicI32::new(-1);

/// Starts the watchdog, with so many seconds or what the device makes of them. From
/// then on SIGALRM comes twice in that time, for [`tell`].
pub fn start(seconds: u32) {
    let opened = descriptor::open(c"/dev/watchdog", raw::O_WRONLY).and_then(|number| {
        DEVICE.store(number, Relaxed);
        watchdog::set_timeout(number, seconds)
    });
    let half = 500_000_000 * u64::from(*opened.as_ref().unwrap_or(&seconds));
    if runs() {
        // Opening it has started it, even if it does not take this time.
        time::alarm_every(half);
    }
    warn(
        opened
            .map(drop)
            .map_err(|errno| Error::new(What::Set, c"/dev/watchdog", errno)),
    );
}

/// Whether there is one.
pub fn runs() -> bool {
    DEVICE.load(Relaxed) >= 0
}

/// Tells the device that pid 1 is alive.
pub fn tell() {
    write(b"1");
}

/// Stops the watchdog: that is what the letter means to it
/// (Documentation/watchdog/watchdog-api.rst).
pub fn stop() {
    write(b"V");
    let number = DEVICE.swap(-1, Relaxed);
    if number >= 0 {
        let _ = descriptor::close(number);
    }
}

fn write(letter: &[u8]) {
    let number = DEVICE.load(Relaxed);
    if number >= 0 {
        descriptor::write_all(number, letter);
    }
}
