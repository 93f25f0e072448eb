//! `stage0 logs`, and what `stage0 attach` shows: what the apps of a registered pod have
//! written, and what they write. pid 1 keeps it in files, which it rotates: `NAME`, and behind it
//! `NAME.1`, which is the youngest old one, to `NAME.9`.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::MAX_APPS,
    sys::{descriptor, entry::Start, memory::c_str},
    text::{Line, copy},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags, inotify},
    io::Errno,
};

use super::{
    added,
    attach::Input,
    pods::{Pod, Pods, each_app},
    ready::{Ending, watch},
    words,
};

/// The file in which stage0 and pid 1 of a detached pod say something.
const MESSAGES: &[u8] = b"log";
/// The files of one log, and of all: of the apps of the plan, of those that were added, and
/// the messages.
const FILES: usize = 10;
const SOURCES: usize = 2 * MAX_APPS + 1;
/// What is read at once; a line may be longer.
pub const CHUNK: usize = 16 << 10;

/// Carries out `stage0 logs`; returns the exit code.
///
/// # Errors
/// The command line.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn logs(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags =
        words::STATE_DIRECTORY | words::UUID_FILE | words::APP | words::FOLLOW | words::TAIL;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let (names, plan) = start
        .bytes
        .split_at_mut_checked(added::ROOM)
        .unwrap_or_default();
    let buffer: &mut [u8] = &mut [0; CHUNK];
    let mut told = true;
    let code = pods.each_meant(&words, &mut |name, pod| {
        let plan = pod.beginning(c"plan", plan);
        let names = added::names(pod.directory.as_fd(), names);
        let mut reader = Reader::new(&pod, (plan, names), words.app, words.tail)?;
        let done = if words.has(words::FOLLOW) {
            reader.follow(&pod, None, buffer).map(drop)
        } else {
            reader.all(true, buffer)
        };
        done.map_err(|errno| Error::new(What::ReadLogs, name, errno))?;
        told &= reader.end();
        Ok(())
    })?;
    Error::said(told, code)
}

/// One log, and how far it was read.
struct Source<'a> {
    /// Of the app; of the messages it is empty, as no app's name can be.
    app: &'a [u8],
    file: Option<OwnedFd>,
    at: usize,
}

/// Reads the logs of a pod.
pub struct Reader<'a> {
    sources: [Source<'a>; SOURCES],
    count: usize,
    /// Where the apps' files are, and the messages.
    folder: Option<OwnedFd>,
    directory: &'a OwnedFd,
    tail: Option<u64>,
    with_names: bool,
    /// Whose line has no end yet.
    begun: Option<usize>,
    line: Line,
    good: bool,
}

impl<'a> Reader<'a> {
    /// Of the apps of its plan and those that were added, or of the one that is `wanted`: the
    /// last `tail` lines of each, or all.
    ///
    /// # Errors
    /// It has no such app.
    pub fn new(
        pod: &'a Pod,
        (plan, names): (&'a [u8], &'a [u8]),
        wanted: Option<&'static CStr>,
        tail: Option<u64>,
    ) -> Result<Self, Error<'static>> {
        let mut reader = Self::of(pod, tail);
        let mut add = |app| {
            if wanted.is_none_or(|wanted| wanted.to_bytes() == app) {
                reader.add(app);
            }
        };
        each_app(plan, &mut add);
        added::each_of(names, &mut add);
        match wanted {
            Some(wanted) if reader.count == 0 => {
                let error = Error::new(What::Find, wanted, Why::NoAppInPod);
                return Err(error.advice(Advice::SeeList));
            }
            Some(_) => {}
            None => {
                reader.with_names = reader.count > 1;
                // The messages come last, and are of the pod alone.
                reader.add(b"");
            }
        }
        Ok(reader)
    }

    fn of(pod: &'a Pod, tail: Option<u64>) -> Self {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        const NONE: Source<'_> = Source {
            app: b"",
            file: None,
            at: 0,
        };
        Self {
            sources: [NONE; SOURCES],
            count: 0,
            folder: fs::openat(&pod.directory, c"logs", flags, Mode::empty()).ok(),
            directory: &pod.directory,
            tail,
            with_names: false,
            begun: None,
            line: Line::new(1),
            good: true,
        }
    }

    fn add(&mut self, app: &'a [u8]) {
        // One that was added may have the name of one that was removed.
        let mut known = self.sources.iter().take(self.count);
        if known.any(|source| source.app == app) {
            return;
        }
        if let Some(source) = self.sources.get_mut(self.count) {
            source.app = app;
            self.count += 1;
        }
    }

    /// Shows what is there now. What is `last` ends its lines.
    fn all(&mut self, last: bool, buffer: &mut [u8]) -> Result<(), Errno> {
        for index in 0..self.count {
            self.one(index, last, buffer)?;
        }
        // What is not there yet is shown as a whole.
        self.tail = None;
        self.good &= self.line.flush();
        Ok(())
    }

    /// Shows what comes, until the pod has ended or nobody reads; whether it has ended. What
    /// is `input` is passed on meanwhile.
    ///
    /// # Errors
    /// As of inotify(7), fork(2), poll(2) and read(2).
    pub fn follow(
        &mut self,
        pod: &Pod,
        mut input: Option<&mut Input>,
        buffer: &mut [u8],
    ) -> Result<bool, Errno> {
        use inotify::{CreateFlags, WatchFlags};
        let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Before the first look, so that nothing is missed.
        watch(&files, &pod.directory, WatchFlags::MODIFY)?;
        if let Some(folder) = &self.folder {
            let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            watch(&files, folder, events)?;
        }
        if let Some(input) = &input {
            watch(&files, &input.folder, WatchFlags::OPEN)?;
        }
        let ending = Ending::of(pod)?;
        let output = descriptor::borrow(1).ok_or(Errno::BADF)?;
        loop {
            self.all(false, buffer)?;
            if !self.good {
                return Ok(false);
            }
            // It holds a descriptor that the child of `Ending` must not have.
            let wanted = input.as_mut().and_then(|input| input.wanted());
            let (number, flags) = wanted.unwrap_or((1, PollFlags::empty()));
            let passed = descriptor::borrow(number).ok_or(Errno::BADF)?;
            let mut watched = [
                PollFd::new(&ending.pipe, PollFlags::IN),
                PollFd::new(&files, PollFlags::IN),
                PollFd::from_borrowed_fd(output, PollFlags::empty()),
                PollFd::from_borrowed_fd(passed, flags),
            ];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let [ended, _, gone, passes] = watched.map(|one| !one.revents().is_empty());
            if gone {
                return Ok(false);
            }
            if ended {
                return self.all(true, buffer).map(|()| true);
            }
            while let Ok(1..) = descriptor::read(files.as_raw_fd(), buffer) {}
            if let (Some(input), true) = (&mut input, passes) {
                input.pass()?;
            }
        }
    }

    /// Ends the last line; false if something could not be written.
    pub fn end(&mut self) -> bool {
        if self.begun.take().is_some() {
            self.line.byte(b'\n');
        }
        self.good &= self.line.flush();
        self.good
    }

    /// Shows what a log has more than at the last time.
    fn one(&mut self, index: usize, last: bool, buffer: &mut [u8]) -> Result<(), Errno> {
        let is_first = self.sources.get(index).is_none_or(|one| one.file.is_none());
        let mut files = [const { None }; FILES];
        let count = if self.is_current(index) {
            0
        } else {
            self.newer(index, &mut files)?
        };
        if !is_first {
            // pid 1 writes to it no more when there is a newer one.
            self.read(index, last || count > 0, buffer)?;
        }
        let mut from = (count, 0);
        if let (true, Some(tail)) = (is_first, self.tail) {
            from = beginning(files.get(..count).unwrap_or_default(), tail, buffer)?;
        }
        for number in (0..count).rev() {
            let file = files.get_mut(number).and_then(Option::take);
            if number > from.0 {
                continue;
            }
            if let Some(source) = self.sources.get_mut(index) {
                source.file = file;
                source.at = if number == from.0 { from.1 } else { 0 };
            }
            self.read(index, last || number > 0, buffer)?;
        }
        Ok(())
    }

    /// Whether the file that is being read is the one that is being written.
    fn is_current(&self, index: usize) -> bool {
        let Some(source) = self.sources.get(index) else {
            return true;
        };
        let mut place = [0; 260];
        match (&source.file, self.at(source, 0, &mut place)) {
            (Some(file), Some((folder, name))) => {
                let there = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
                identity(&there) == identity(&fs::fstat(file))
            }
            _ => false,
        }
    }

    /// Opens the files that are newer than the one that is being read, the newest first;
    /// returns how many. One that becomes an old one meanwhile is met twice.
    fn newer(&self, index: usize, files: &mut [Option<OwnedFd>]) -> Result<usize, Errno> {
        let Some(source) = self.sources.get(index) else {
            return Ok(0);
        };
        let mut count = 0;
        for number in 0..=9 {
            let mut place = [0; 260];
            let Some((folder, name)) = self.at(source, number, &mut place) else {
                break;
            };
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = match fs::openat(folder, name, flags, Mode::empty()) {
                // A link is nothing that pid 1 has made.
                Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => continue,
                file => file?,
            };
            let status = fs::fstat(&file);
            if let Ok(status) = &status
                && FileType::from_raw_mode(status.st_mode) != FileType::RegularFile
            {
                continue;
            }
            let this = identity(&status);
            if let Some(read) = &source.file
                && identity(&fs::fstat(read)) == this
            {
                break;
            }
            let found = files.get(..count).unwrap_or_default();
            let known = found.iter().flatten();
            if !known.map(fs::fstat).any(|one| identity(&one) == this)
                && let Some(place) = files.get_mut(count)
            {
                *place = Some(file);
                count += 1;
            }
        }
        Ok(count)
    }

    /// The folder and the name of the old file of this number; 0 is the one that is written.
    fn at<'p>(
        &self,
        source: &Source<'_>,
        number: u8,
        place: &'p mut [u8; 260],
    ) -> Option<(&OwnedFd, &'p core::ffi::CStr)> {
        let (folder, name) = match source.app {
            b"" if number > 0 => return None,
            b"" => (self.directory, MESSAGES),
            app => (self.folder.as_ref()?, app),
        };
        copy(place, name);
        if let (Some([dot, digit, ..]), 1..) = (place.get_mut(name.len()..), number) {
            (*dot, *digit) = (b'.', b'0' + number);
            // Another app may be called so.
            let own = place.get(..name.len() + 2).unwrap_or_default();
            let mut apps = self.sources.iter().take(self.count);
            if apps.any(|other| other.app == own) {
                return None;
            }
        }
        Some((folder, c_str(place)?))
    }

    /// Shows a file from where it was read to, as far as its lines have ended, or all
    /// of it if nothing more will come.
    fn read(&mut self, index: usize, is_whole: bool, buffer: &mut [u8]) -> Result<(), Errno> {
        loop {
            let Some(source) = self.sources.get_mut(index) else {
                return Ok(());
            };
            let Some(file) = &source.file else {
                return Ok(());
            };
            let count = descriptor::read_at(file.as_raw_fd(), source.at, buffer)?;
            let read = buffer.get(..count).unwrap_or_default();
            let messages = source.app.is_empty();
            let shown = if is_whole || messages || !self.with_names || count == buffer.len() {
                count
            } else {
                let last = read.iter().rposition(|byte| *byte == b'\n');
                last.map_or(0, |last| last + 1)
            };
            source.at += shown;
            let read = read.get(..shown).unwrap_or_default();
            if read.is_empty() {
                return Ok(());
            }
            if messages {
                descriptor::write_error(read);
            } else if self.with_names {
                self.lines(index, read);
            } else {
                self.good &= descriptor::write_all(1, read);
            }
        }
    }

    /// Writes lines, each behind the app's name.
    fn lines(&mut self, index: usize, text: &[u8]) {
        let app = self.sources.get(index).map_or(&b""[..], |one| one.app);
        if self.begun.is_some_and(|other| other != index) {
            self.line.byte(b'\n');
            self.begun = None;
        }
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.is_none() {
                self.line.quoted(app).text(" | ");
            }
            self.line.bytes(part);
            self.begun = (!part.ends_with(b"\n")).then_some(index);
        }
        self.good &= self.line.flush();
    }
}

/// Which file it is; nothing if there is none.
fn identity(status: &Result<fs::Stat, Errno>) -> Option<(u64, u64)> {
    let status = status.as_ref().ok()?;
    Some((status.st_dev, status.st_ino))
}

/// The file, of which the newest comes first, and the place in it from where on there are
/// `tail` lines.
fn beginning(
    files: &[Option<OwnedFd>],
    tail: u64,
    buffer: &mut [u8],
) -> Result<(usize, usize), Errno> {
    let mut left = tail;
    let mut is_end = true;
    for (number, file) in files.iter().enumerate() {
        let Some(file) = file else { continue };
        let mut end = usize::try_from(fs::fstat(file)?.st_size).unwrap_or(0);
        if tail == 0 {
            return Ok((number, end));
        }
        while end > 0 {
            let from = end.saturating_sub(buffer.len());
            let part = buffer.get_mut(..end - from).unwrap_or_default();
            let count = descriptor::read_at(file.as_raw_fd(), from, part)?;
            let part = part.get(..count).unwrap_or_default();
            for (place, byte) in part.iter().enumerate().rev() {
                // The last line's own end is none between lines.
                let is_last = core::mem::replace(&mut is_end, false);
                if *byte == b'\n' && !is_last {
                    left -= 1;
                    if left == 0 {
                        return Ok((number, from + place + 1));
                    }
                }
            }
            end = from;
        }
    }
    Ok((files.len(), 0))
}
