//! A terminal for a program under test, and what it shows.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{
    command::{Run, Running},
    sys,
};

/// The side of a pseudo-terminal that a person would sit at.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// Kept open so that the reader sees the end only when the test does.
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// A terminal of this size.
    #[must_use]
    pub fn new(rows: u16, columns: u16) -> Self {
        let (master, slave) = sys::terminal(rows, columns).expect("a pseudo-terminal");
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut reader = master.try_clone().expect("a descriptor");
        let sink = Arc::clone(&shown);
        // Ends with the test's process.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock()
                    .expect("no panic")
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            master,
            slave,
            shown,
        }
    }

    /// Starts `run` at this terminal, in a session of its own.
    #[must_use]
    pub fn start(&self, run: Run) -> Running {
        run.terminal(&self.slave).expect("descriptors").spawn()
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("a terminal");
    }

    /// Changes the size.
    pub fn resize(&self, rows: u16, columns: u16) {
        sys::resize(&self.master, rows, columns).expect("a terminal");
    }

    /// What was shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// The terminal's side that programs use.
    #[must_use]
    pub fn slave(&self) -> &OwnedFd {
        &self.slave
    }

    /// Waits until `part` was shown.
    #[track_caller]
    pub fn wait_for(&self, part: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.shown().contains(part) {
            assert!(
                Instant::now() < deadline,
                "expected {part:?} on the terminal, got {:?}",
                self.shown()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
}
