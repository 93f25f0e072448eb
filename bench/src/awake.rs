//! Processors that stay awake while it is measured.
//!
//! A start wakes processes on other processors. One that sleeps is woken in a microsecond
//! or two by hardware, but in 50 to 1,500 by a hypervisor that has meanwhile given its time
//! to somebody else: then the figures tell of the neighbours.

use std::{fs::File, io, io::Write as _};

/// Holds them awake until it is dropped.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "it is open, which is all")] File);

impl Awake {
    /// Asks for no latency of theirs (`Documentation/power/pm_qos_interface.rst` of Linux).
    /// Idle processors then poll, where the kernel has a driver for them.
    ///
    /// # Errors
    /// As open(2) and write(2) of the device: not root, or a kernel without it.
    pub fn hold() -> io::Result<Self> {
        let mut device = File::options().write(true).open("/dev/cpu_dma_latency")?;
        device.write_all(&0_i32.to_ne_bytes())?;
        Ok(Self(device))
    }
}
