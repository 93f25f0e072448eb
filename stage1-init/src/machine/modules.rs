//! The kernel's modules, from a list.

use core::ffi::CStr;

use fly::{
    error::{Error, MACHINE_TEXTS, What},
    sys::descriptor,
};
use linux_raw_sys::general as raw;
use rustix::{io::Errno, system};

use super::{
    settings::{next_word, words_of},
    warn,
};
use crate::NAME;

const MODULES: &CStr = c"/etc/kickstage/modules";
/// The longest list.
const LIST: usize = 4096;

/// Loads the modules of the list, paths of files, in its order. One that can't be
/// loaded is told.
pub fn load() {
    let mut room = [0; LIST];
    let list = words_of(MODULES, &mut room);
    let mut rest = list;
    while let Some(path) = next_word(&mut rest) {
        let done = descriptor::open(path, raw::O_RDONLY).and_then(|number| {
            let file = descriptor::borrow(number).ok_or(Errno::BADF)?;
            let done = system::finit_module(file, c"", 0);
            descriptor::close(number)?;
            match done {
                Err(Errno::EXIST) => Ok(()),
                done => done,
            }
        });
        warn(done.map_err(|errno| Error::new(What::LoadModule, path, errno)));
    }
    // The end of a list that is too long, or has no end of its last line.
    if !rest.is_empty() || list.len() == LIST {
        Error::new(What::Read, MODULES, Errno::FBIG).print(NAME, MACHINE_TEXTS);
    }
}
