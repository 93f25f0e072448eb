//! The log of an app in a file of the pod, which pid 1 writes and rotates by its size.
//! The folder is held open: what becomes of its path does not matter then.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    launch::DIRECTORY_DESCRIPTOR,
    plan::List,
    sys::{descriptor, memory, path},
    text::copy,
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, SeekFrom},
    io::Errno,
};

use crate::{NAME, stdio};

/// A log file and how far it is.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// When the next one begins, 0 for an app without a file.
    pub size: u64,
    used: u64,
    folder: i32,
    file: i32,
    /// How many old ones are kept, 1 to 9.
    pub keep: u8,
    /// Its last line is not at its end.
    begun: bool,
    /// A failure was told; there may be as many as lines.
    told: bool,
}

impl File {
    /// Of a place where no app ever was.
    pub const UNUSED: Self = Self {
        size: 0,
        used: 0,
        folder: 0,
        file: 0,
        keep: 0,
        begun: false,
        told: false,
    };

    /// Of an app without one.
    pub const NONE: Self = Self {
        folder: -1,
        file: -1,
        ..Self::UNUSED
    };

    /// Opens it, as pid 1 could; by no magic link, see [`crate::stdio`]. Goes on at
    /// the end of one that is there.
    #[cold]
    #[inline(never)]
    pub fn open(&mut self, names: List<'_>) -> Result<(), Errno> {
        let done = self.open_both(names);
        if done.is_err() {
            self.close();
        }
        done
    }

    #[inline]
    fn open_both(&mut self, names: List<'_>) -> Result<(), Errno> {
        const FOLDER: u32 = raw::O_PATH | raw::O_DIRECTORY;
        // One that is not absolute is in the pod's directory.
        let pods = Some(DIRECTORY_DESCRIPTOR);
        self.folder = path::open_safely(pods, names.second(), FOLDER, 0)?;
        self.begin(names.first(), 0)?;
        self.used = fs::seek(descriptor::get(self.file), SeekFrom::End(0))?;
        Ok(())
    }

    /// Closes what is open of it.
    #[cold]
    #[inline(never)]
    pub fn close(&mut self) {
        stdio::close(&mut self.folder);
        stdio::close(&mut self.file);
    }

    /// Opens a file: nothing that could keep pid 1 waiting. The next one must be new, as
    /// the app may have the folder, and links to other files in it.
    fn begin(&mut self, name: &CStr, new: u32) -> Result<(), Errno> {
        const FLAGS: u32 = raw::O_WRONLY
            | raw::O_CREAT
            | raw::O_APPEND
            | raw::O_NOFOLLOW
            | raw::O_NONBLOCK
            | raw::O_NOCTTY;
        self.file = descriptor::open_at(self.folder, name, FLAGS | new, 0o640)?;
        Ok(())
    }

    /// Adds what the app has written. The next file begins when a line has ended at
    /// the size or behind it, or goes on behind twice the size.
    #[cold]
    #[inline(never)]
    pub fn write(&mut self, name: &CStr, mut rest: &[u8]) {
        while !rest.is_empty() {
            if self.used >= self.size && (!self.begun || self.used / 2 >= self.size) {
                // Rather a file that is too long than a line that is lost.
                let rotated = self.rotate(name);
                self.tell(name, rotated);
            }
            // To the size, and to the end of that line.
            let mut count = 0;
            for byte in rest {
                count += 1;
                self.used += 1;
                self.begun = *byte != b'\n';
                if self.used >= self.size && !self.begun {
                    break;
                }
            }
            let (part, after) = rest.split_at_checked(count).unwrap_or_default();
            rest = after;
            let written = match descriptor::write(self.file, part) {
                Ok(written) if written != count => Err(Errno::NOSPC),
                written => written.map(drop),
            };
            self.tell(name, written);
        }
    }

    /// Tells the first failure.
    #[inline(never)]
    pub fn tell(&mut self, name: &CStr, done: Result<(), Errno>) {
        if let (Err(errno), false) = (done, self.told) {
            self.told = true;
            Error::new(What::Log, name, errno).print(NAME, INIT_TEXTS);
        }
    }

    /// The file becomes the first old one, and that the second; the last one is gone. A
    /// failure is tried again behind as many bytes only, as each try moves the old ones.
    #[inline(never)]
    fn rotate(&mut self, name: &CStr) -> Result<(), Errno> {
        self.used = 0;
        let folder = descriptor::get(self.folder);
        let old = self.file;
        let mut names = [[0; 260]; 2];
        let [from, to] = &mut names;
        let mut number = self.keep;
        while number > 0 {
            let to = numbered(to, name, number);
            number -= 1;
            match fs::renameat(folder, numbered(from, name, number), folder, to) {
                Err(Errno::NOENT) if number > 0 => {}
                done => done?,
            }
        }
        if let Err(errno) = self.begin(name, raw::O_EXCL) {
            // It is written on: as an old one it would be moved on, and be gone at last.
            let _ = fs::renameat(folder, numbered(to, name, 1), folder, name);
            return Err(errno);
        }
        descriptor::close(old)
    }
}

/// The name of the old file of this number; 0 is the one that is written.
#[inline(never)]
fn numbered<'b>(place: &'b mut [u8; 260], name: &CStr, number: u8) -> &'b CStr {
    copy(place, name.to_bytes_with_nul());
    if let (Some([dot, digit, ..]), 1..) = (place.get_mut(name.count_bytes()..), number) {
        (*dot, *digit) = (b'.', b'0' + number);
    }
    memory::c_str(place).unwrap_or_default()
}
