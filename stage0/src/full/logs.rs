//! `stage0 logs`, and what `stage0 attach` shows: what the apps of a registered pod have
//! written, and what they write. pid 1 keeps it in files, which it rotates: `NAME`, and behind it
//! `NAME.1`, which is the youngest old one, to `NAME.9`.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    launch::path::Path,
    plan::MAX_APPS,
    sys::{descriptor, entry::Start, memory::c_str},
    text::{Line, copy, split},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{
        self, AtFlags, FileType, Mode, OFlags,
        inotify::{self, WatchFlags},
    },
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
/// The files of one log, and the logs of all: of the apps of the plan, of those that were added,
/// and the messages.
const FILES: usize = 10;
const SOURCES: usize = 2 * MAX_APPS + 1;
/// Room for the name of each, with a zero byte.
const NAME: usize = 256;
pub const ROOM: usize = SOURCES * NAME;
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
    let (names, plan) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let buffer: &mut [u8] = &mut [0; CHUNK];
    let mut told = true;
    let code = pods.each_meant(&words, &mut |name, pod| {
        let plan = pod.names(plan);
        let plan = plan.map_err(|errno| Error::new(What::ReadLogs, name, errno))?;
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
struct Source {
    file: Option<OwnedFd>,
    at: usize,
    /// The last look at the apps that were added at which this one was there, 0 if it never was:
    /// another one gets its place when it is needed. [`ALWAYS`] of the plan's.
    seen: u64,
}

const ALWAYS: u64 = u64::MAX;

/// Reads the logs of a pod.
pub struct Reader<'a> {
    sources: [Source; SOURCES],
    /// The app of each; of the messages it is empty, as no app's name can be.
    names: &'a mut [[u8; NAME]],
    count: usize,
    /// Where the apps' files are, and the messages.
    folder: Option<OwnedFd>,
    directory: &'a OwnedFd,
    /// The only app that is shown.
    wanted: Option<&'static CStr>,
    tail: Option<u64>,
    /// How often it was looked which apps were added.
    looks: u64,
    with_names: bool,
    /// Whose line has no end yet.
    begun: Option<usize>,
    line: Line,
    good: bool,
}

impl<'a> Reader<'a> {
    /// Of the apps of its plan and those that were added, or of the one that is `wanted`: the
    /// last `tail` lines of each, or all. The names have [`ROOM`].
    ///
    /// # Errors
    /// It has no such app.
    pub fn new(
        pod: &'a Pod,
        (plan, names): (&[u8], &'a mut [u8]),
        wanted: Option<&'static CStr>,
        tail: Option<u64>,
    ) -> Result<Self, Error<'static>> {
        let mut reader = Self::of(pod, names, wanted, tail);
        each_app(plan, &mut |app| reader.add(app, ALWAYS));
        reader.look();
        match wanted {
            Some(wanted) if reader.count == 0 => {
                let error = Error::new(What::Find, wanted, Why::NoAppInPod);
                return Err(error.advice(Advice::SeeList));
            }
            Some(_) => {}
            // The messages come last, and are of the pod alone.
            None => reader.add(b"", ALWAYS),
        }
        Ok(reader)
    }

    fn of(
        pod: &'a Pod,
        names: &'a mut [u8],
        wanted: Option<&'static CStr>,
        tail: Option<u64>,
    ) -> Self {
        const NONE: Source = Source {
            file: None,
            at: 0,
            seen: 0,
        };
        Self {
            sources: [NONE; SOURCES],
            names: names.as_chunks_mut().0,
            count: 0,
            folder: None,
            directory: &pod.directory,
            wanted,
            tail,
            looks: 0,
            with_names: false,
            begun: None,
            line: Line::new(1),
            good: true,
        }
    }

    /// Looks which apps were added, and where the files are.
    fn look(&mut self) {
        self.looks += 1;
        let directory = self.directory.as_fd();
        // First those that are known: none of them loses its place.
        added::each(directory, &mut |app| {
            if self.place_of(app).is_some() {
                self.add(app, self.looks);
            }
        });
        added::each(directory, &mut |app| self.add(app, self.looks));
        let apps = (0..self.count)
            .filter(|index| self.is_shown(*index) && !name(self.names, *index).is_empty());
        self.with_names = apps.count() > 1;
        if self.folder.is_none() {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.folder = fs::openat(directory, c"logs", flags, Mode::empty()).ok();
        }
    }

    /// It is there, also if one of its name was removed.
    fn add(&mut self, app: &[u8], seen: u64) {
        if self.wanted.is_some_and(|wanted| wanted.to_bytes() != app) || app.len() >= NAME {
            return;
        }
        let known = self.place_of(app);
        let Some(place) = known.or_else(|| self.free_place()) else {
            return;
        };
        let (Some(source), Some(name)) = (self.sources.get_mut(place), self.names.get_mut(place))
        else {
            return;
        };
        if known.is_none() {
            (source.file, source.at, source.seen) = (None, 0, 0);
            *name = [0; NAME];
            copy(name, app);
        }
        source.seen = source.seen.max(seen);
    }

    /// Notes how far the logs of apps are that were removed: who wants the last lines only does
    /// not get theirs when they are added again.
    fn pass_over(&mut self, buffer: &mut [u8]) -> Result<(), Errno> {
        let (Some(folder), Some(tail)) = (&self.folder, self.tail) else {
            return Ok(());
        };
        let path = Path::of_descriptor(b"/proc/self/fd/", folder.as_fd())?;
        self.tail = Some(0);
        let mut done = Ok(());
        // Old files may be those of apps that are called so, but take no other one's place.
        for old in [false, true] {
            descriptor::each_name(path.as_c_str(), &mut |app| {
                if matches!(app, b"." | b"..") || is_old(&path, app) != old {
                    return;
                }
                if !old || self.count < SOURCES {
                    self.add(app, 0);
                }
                if let Some(place) = self.place_of(app)
                    && !self.is_shown(place)
                    && done.is_ok()
                {
                    done = self.one(place, false, buffer);
                }
            });
        }
        self.tail = Some(tail);
        done
    }

    /// A new place, or that of the app that was removed first: of the others it is known how far
    /// they were read, should they be added again.
    fn free_place(&mut self) -> Option<usize> {
        if self.count < SOURCES {
            self.count += 1;
            return Some(self.count - 1);
        }
        let (place, source) = (0..)
            .zip(&self.sources)
            .min_by_key(|(_, source)| source.seen)?;
        if source.seen >= self.looks {
            return None;
        }
        if self.begun == Some(place) {
            self.end_line();
        }
        Some(place)
    }

    /// Whether it is, or was, an app since this one reads.
    fn is_shown(&self, index: usize) -> bool {
        self.sources.get(index).is_some_and(|one| one.seen > 0)
    }

    /// Where the app is among those that are known.
    fn place_of(&self, app: &[u8]) -> Option<usize> {
        (0..self.count).find(|index| name(self.names, *index) == app)
    }

    /// Shows what is there now. What is `last` ends its lines.
    fn all(&mut self, last: bool, buffer: &mut [u8]) -> Result<(), Errno> {
        for index in 0..self.count {
            if self.is_shown(index) {
                self.one(index, last, buffer)?;
            }
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
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let files = inotify::init(flags)?;
        let apps = inotify::init(flags)?;
        // Before the first look, so that nothing is missed.
        watch(&files, &pod.directory, WatchFlags::MODIFY)?;
        watch(&apps, &pod.directory, WatchFlags::CREATE)?;
        if let Some(input) = &input {
            watch(&files, &input.folder, WatchFlags::OPEN)?;
        }
        self.look_again(&files, &apps)?;
        self.pass_over(buffer)?;
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
                PollFd::new(&apps, PollFlags::IN),
                PollFd::from_borrowed_fd(output, PollFlags::empty()),
                PollFd::from_borrowed_fd(passed, flags),
            ];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let [ended, _, more, gone, passes] = watched.map(|one| !one.revents().is_empty());
            if gone {
                return Ok(false);
            }
            if more || ended {
                self.look_again(&files, &apps)?;
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

    /// Looks which apps there are now, and watches the places that are new. A watch that is
    /// there stays as it is.
    fn look_again(&mut self, files: &OwnedFd, apps: &OwnedFd) -> Result<(), Errno> {
        // It may have been removed since.
        added::each_new(apps, &mut |app| self.add(app, self.looks));
        added::watch(self.directory, apps)?;
        self.look();
        if let Some(folder) = &self.folder {
            let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            watch(files, folder, events)?;
        }
        Ok(())
    }

    /// Ends the last line; false if something could not be written.
    pub fn end(&mut self) -> bool {
        if self.with_names {
            self.end_line();
        }
        self.good &= self.line.flush();
        self.good
    }

    fn end_line(&mut self) {
        if self.begun.take().is_some() {
            self.line.byte(b'\n');
        }
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
        match (&source.file, self.at(index, 0, &mut place)) {
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
            let Some((folder, name)) = self.at(index, number, &mut place) else {
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
        index: usize,
        number: u8,
        place: &'p mut [u8; 260],
    ) -> Option<(&OwnedFd, &'p CStr)> {
        let (folder, name) = match name(self.names, index) {
            b"" if number > 0 => return None,
            b"" => (self.directory, MESSAGES),
            app => (self.folder.as_ref()?, app),
        };
        copy(place, name);
        if let (Some([dot, digit, ..]), 1..) = (place.get_mut(name.len()..), number) {
            (*dot, *digit) = (b'.', b'0' + number);
            // Another app may be called so.
            let own = place.get(..name.len() + 2).unwrap_or_default();
            if self.place_of(own).is_some_and(|place| self.is_shown(place)) {
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
            let messages = name(self.names, index).is_empty();
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
                // Another app may come.
                self.begun = (!read.ends_with(b"\n")).then_some(index);
                self.good &= descriptor::write_all(1, read);
            }
        }
    }

    /// Writes lines, each behind the app's name.
    fn lines(&mut self, index: usize, text: &[u8]) {
        if self.begun.is_some_and(|other| other != index) {
            self.end_line();
        }
        let app = name(self.names, index);
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

/// Whether this is the name of an old file of another log in the folder.
fn is_old(folder: &Path, name: &[u8]) -> bool {
    let [log @ .., b'.', b'1'..=b'9'] = name else {
        return false;
    };
    let path = Path::of(&[folder.as_bytes(), b"/", log]);
    path.is_ok_and(|path| fs::access(path.as_c_str(), fs::Access::EXISTS).is_ok())
}

/// The app of this number.
fn name(names: &[[u8; NAME]], index: usize) -> &[u8] {
    let name = names.get(index).map_or(&[][..], |name| name);
    split(name, 0).next().unwrap_or_default()
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
