//! `stage0 plan`: prints what a start would do, or writes the plan of a machine.

use core::ffi::CStr;

use fly::{
    error::{Error, What},
    plan::{Plan, print},
    sys::descriptor,
};
use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
    io::Errno,
};

use crate::{
    lower::All,
    options::Options,
    start::{Aim, Rest},
};

/// Shows the plan, or writes it where it is wanted.
pub struct Show;

impl Aim for Show {
    const STARTS: bool = false;
    type Features = All;

    fn reach<'e, 'a: 'e, I>(
        &mut self,
        plan: Plan<'e>,
        options: &Options<'a, I>,
        _: Rest<'e>,
    ) -> Result<i32, Error<'e>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        if let Some(path) = options.output {
            return write(path, plan.as_bytes())
                .map_err(|errno| Error::new(What::WriteFile, path, errno));
        }
        Error::said(print::print(&plan, 1), 0)
    }
}

/// Writes the plan of a machine, which its init reads.
fn write(path: &CStr, plan: &[u8]) -> Result<i32, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    if descriptor::write_all(file.as_raw_fd(), plan) {
        Ok(0)
    } else {
        Err(Errno::IO)
    }
}
