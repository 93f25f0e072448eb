//! `stage0 pool`: how many pods of a kind are kept parked, and what kind that is.

use core::ffi::CStr;

use fly::{
    beside,
    error::{Advice, Error, What, Why},
    launch::path::Path,
    sys::{
        clone, descriptor,
        entry::{Start, Strings},
        lock,
        memory::c_str,
        path::working_directory,
    },
    text::{Digits, copy, decimal},
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    process::{Pid, WaitOptions, chdir, waitpid},
};

use super::{manifest::Words, networks, pods::Pods};
use crate::{
    client,
    options::{self, Choice, Choices, Life},
    pool::{is_parked, path, take},
    state::{self, Place},
    uuid,
};

/// The most pods of a pool.
const MOST: u64 = 1000;

/// In the directory of a pool: its lock, how many pods it has, where the words of its
/// kind were said, and these words.
const FILES: [&[u8]; 4] = [b"/lock", b"/size", b"/folder", b"/words"];

/// A pool.
struct Pool {
    root: Path,
    name: &'static CStr,
    given: Option<&'static CStr>,
    environment: Strings,
}

/// What the command line says.
#[derive(Default)]
struct Asked {
    given: Option<&'static CStr>,
    of_networks: bool,
    /// The name of the pool, and its size; of networks its size alone.
    operands: [Option<&'static CStr>; 2],
    /// The words of its kind.
    kind: Option<Words<'static>>,
}

impl Asked {
    /// Reads the words: options may stand before, between and behind the operands.
    fn read(words: Words<'static>) -> Result<Self, Error<'static>> {
        let mut asked = Self::default();
        let mut choices = Choices::new(words);
        loop {
            let mut words = choices.operands();
            let word = words.next();
            if word == Some(c"--networks") {
                asked.of_networks = true;
                choices = Choices::new(words);
                continue;
            }
            match choices.take()? {
                Some(Choice::Life(Life::StateDirectory(path))) => asked.given = Some(path),
                Some(_) => return Err(missing(Why::NoPoolName)),
                None => {
                    let Some(word) = word else { return Ok(asked) };
                    match &mut asked.operands {
                        [place @ None, _] => *place = Some(word),
                        _ if asked.of_networks => return Err(super::too_many(word)),
                        [_, place] => {
                            *place = Some(word);
                            asked.look(words.clone())?;
                            asked.kind = Some(words);
                            return Ok(asked);
                        }
                    }
                    choices = Choices::new(words);
                }
            }
        }
    }

    /// Looks what the options of its kind say of the pool; what is wrong with them who
    /// prepares a pod tells.
    fn look(&mut self, words: Words<'static>) -> Result<(), Error<'static>> {
        let mut choices = Choices::new(words);
        while let Ok(Some(choice)) = choices.take() {
            match choice {
                Choice::Life(Life::StateDirectory(path)) => self.given = Some(path),
                // Its pods would be another one's, and it would never be full.
                Choice::Life(Life::Pool(_)) => {
                    let error = Error::new(What::ReadOption, c"--pool", Why::NotForPrepare);
                    return Err(error.advice(Advice::SeeHelp));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn missing(why: Why) -> Error<'static> {
    Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp)
}

/// Carries out `stage0 pool NAME [N [OPTION...]]` and `stage0 pool --networks [N]`; returns
/// the exit code.
///
/// # Errors
/// Names the pool, and what is wrong with the command line.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn pool(start: Start) -> Result<i32, Error<'static>> {
    let words = start.arguments.without_first().without_first();
    let asked = Asked::read(Words::Given(words.iter()))?;
    let (given, [name, size]) = (asked.given, asked.operands);
    if asked.of_networks {
        // Its size comes first.
        return networks::pool(given, &start.environment, name.map(number).transpose()?);
    }
    let name = options::pool(name.ok_or(missing(Why::NoPoolName))?)?;
    let size = size.map(number).transpose()?;
    let mut root = Path::new();
    state::root(given, &start.environment, &mut root)?;
    let pool = Pool {
        root,
        name,
        given,
        environment: start.environment,
    };
    if let (Some(size), Some(words)) = (size, asked.kind) {
        let begun = pool.begin(size, words.clone());
        // What was begun anew, and has no size, is no pool.
        if begun.is_err() && words.clone().next().is_some() && pool.size().is_none() {
            let _ = pool.forget();
        }
        begun.map_err(|errno| pool.failed(errno))?;
    }
    match pool.fill(start, size.is_some()) {
        // Somebody who was to fill it has seen the size first, and has removed it.
        Err(error) if size == Some(0) && error.cause() == Why::NoSuchPool.into() => Ok(0),
        done => done,
    }
}

/// How many a pool is to have.
fn number(word: &'static CStr) -> Result<u64, Error<'static>> {
    decimal(word.to_bytes())
        .filter(|size| *size <= MOST)
        .ok_or(Error::new(What::ReadOption, word, Why::NoPoolSize))
}

/// Takes a pod out of the pool `name`.
///
/// # Errors
/// It has none.
pub fn take_one(name: &'static CStr, pods: &Pods) -> Result<[u8; uuid::LENGTH], Error<'static>> {
    let error = Error::new(What::TakeFromPool, name, Why::PoolEmpty);
    take(pods.root(), name).ok_or(error.advice(Advice::FillPool))
}

impl Pool {
    fn failed(&self, errno: Errno) -> Error<'static> {
        match errno {
            Errno::NOENT => Error::new(What::FillThePool, self.name, Why::NoSuchPool),
            errno => Error::new(What::FillThePool, self.name, errno),
        }
    }

    fn path(&self, parts: &[&[u8]]) -> Result<Path, Errno> {
        path(self.root.as_bytes(), self.name, parts)
    }

    /// Notes its size, and if there are words its kind.
    fn begin(&self, size: u64, words: Words<'static>) -> Result<(), Errno> {
        let [_, of_size, of_folder, of_words] = FILES;
        let digits = Digits::new(size, 10);
        if words.clone().next().is_none() {
            // Then it is there.
            fs::stat(self.path(&[of_words])?.as_c_str())?;
            return self.write(of_size, digits.as_bytes());
        }
        self.make()?;
        let mut folder = Path::new();
        let length = working_directory(folder.buffer())?;
        folder.cut(length);
        self.write(of_folder, folder.as_c_str().to_bytes())?;
        let file = self.create(of_words)?;
        for word in words {
            if !descriptor::write_all(file.as_raw_fd(), word.to_bytes_with_nul()) {
                return Err(Errno::NOSPC);
            }
        }
        // Those of the kind before are no longer wanted.
        while let Some(uuid) = take(self.root.as_bytes(), self.name) {
            end(&uuid, self.given, &self.environment);
        }
        self.write(of_size, digits.as_bytes())
    }

    /// How many it is to have.
    fn size(&self) -> Option<u64> {
        let [_, of_size, ..] = FILES;
        let mut text = [0; 24];
        decimal(descriptor::read_file(
            self.path(&[of_size]).ok()?.as_c_str(),
            &mut text,
        ))
    }

    /// Makes its directory.
    fn make(&self) -> Result<(), Errno> {
        let own = self.path(&[b"/"])?;
        state::make_above(own.as_bytes(), self.root.as_bytes().len())
    }

    /// Opens its lock. Only who was `told` makes one: who fills it behind a run may come when
    /// it has just been removed.
    fn lock(&self, told: bool) -> Result<OwnedFd, Errno> {
        let [of_lock, ..] = FILES;
        if told {
            return self.create(of_lock);
        }
        let path = self.path(&[of_lock])?;
        fs::open(
            path.as_c_str(),
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    fn create(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let path = self.path(&[name])?;
        fs::open(path.as_c_str(), flags, Mode::from_raw_mode(0o600))
    }

    fn write(&self, name: &[u8], bytes: &[u8]) -> Result<(), Errno> {
        let file = self.create(name)?;
        if descriptor::write_all(file.as_raw_fd(), bytes) {
            Ok(())
        } else {
            Err(Errno::NOSPC)
        }
    }

    /// Parks as many as are missing, or removes those that are too many. Who does it already
    /// knows nothing of what was `told` just now.
    #[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
    fn fill(&self, start: Start, told: bool) -> Result<i32, Error<'static>> {
        let [_, _, of_folder, of_words] = FILES;
        let failed = |errno| self.failed(errno);
        let lock = self.lock(told).map_err(failed)?;
        let mut taken = lock::take(lock.as_fd(), 0, 1);
        while taken == Err(Errno::AGAIN) {
            // Somebody else does it.
            if !told {
                return Ok(0);
            }
            let _ = lock::wait(lock.as_fd(), 1);
            taken = lock::take(lock.as_fd(), 0, 1);
        }
        taken.map_err(failed)?;
        let (text, bytes) = start.bytes.split_at_mut_checked(8192).unwrap_or_default();
        let size = self.size().ok_or(failed(Errno::NOENT))?;
        let mut count = self.count();
        while count > size
            && let Some(uuid) = take(self.root.as_bytes(), self.name)
        {
            end(&uuid, self.given, &self.environment);
            count -= 1;
        }
        if size == 0 {
            return self.forget().map_err(failed).map(|()| 0);
        }
        let folder = self.path(&[of_folder]).map_err(failed)?;
        let length = descriptor::read_file(folder.as_c_str(), text).len();
        if let Some(end) = text.get_mut(length) {
            *end = 0;
        }
        chdir(c_str(text).unwrap_or_default()).map_err(failed)?;
        let words = self.path(&[of_words]).map_err(failed)?;
        let words = descriptor::read_file(words.as_c_str(), bytes);
        // Some may have been taken meanwhile, whose own filling was sent away.
        while self.count() < size {
            if !self.park(words) {
                return Err(Error::new(What::FillThePool, self.name, Why::PoolNotFilled));
            }
        }
        Ok(0)
    }

    /// How many are parked; the marks of others are taken away.
    fn count(&self) -> u64 {
        let mut count = 0;
        if let Ok(folder) = self.path(&[]) {
            descriptor::each_name(folder.as_c_str(), &mut |name| {
                if !uuid::is_one(name) {
                    return;
                }
                if is_parked(self.root.as_bytes(), name) {
                    count += 1;
                } else if let Ok(mark) = self.path(&[b"/", name]) {
                    let _ = fs::unlink(mark.as_c_str());
                }
            });
        }
        count
    }

    fn park(&self, words: &[u8]) -> bool {
        let first: [&CStr; 5] = [c"stage0", c"prepare", c"--warm", c"--pool", self.name];
        let mut rest = words;
        let kind = core::iter::from_fn(move || {
            let word = c_str(rest)?;
            rest = rest.get(word.count_bytes() + 1..)?;
            Some(word)
        });
        let mut words = first.into_iter().chain(option(self.given)).chain(kind);
        run(&mut words, &self.environment)
    }

    fn forget(&self) -> Result<(), Errno> {
        for name in FILES {
            let _ = fs::unlink(self.path(&[name])?.as_c_str());
        }
        fs::rmdir(self.path(&[])?.as_c_str())
    }
}

/// `--state-dir`, if it was given.
fn option(given: Option<&CStr>) -> impl Iterator<Item = &CStr> {
    let option: [&CStr; 2] = [c"--state-dir", given.unwrap_or_default()];
    option.into_iter().filter(move |_| given.is_some())
}

/// Ends the parked pod `uuid`, and takes it away.
pub fn end(uuid: &[u8], given: Option<&CStr>, environment: &Strings) {
    let mut name = [0; uuid::LENGTH + 1];
    copy(&mut name, uuid);
    let name = c_str(&name).unwrap_or_default();
    carry_out(&[c"stage0", c"rm", c"--force"], name, given, environment);
}

/// Has as many pods parked as the pool `name` is to have.
pub fn fill_again(name: &CStr, given: Option<&CStr>, environment: &Strings) {
    carry_out(&[c"stage0", c"pool"], name, given, environment);
}

/// Carries out a command of this program for `object`, where `given` says.
fn carry_out(command: &[&CStr], object: &CStr, given: Option<&CStr>, environment: &Strings) {
    let words = command.iter().copied().chain(option(given));
    let _ = run(&mut words.chain([object]), environment);
}

/// Runs this program with other words, and nothing on its standard output; whether it did
/// what it should.
fn run(words: &mut dyn Iterator<Item = &CStr>, environment: &Strings) -> bool {
    let child = clone::fork(0, || {
        let _ = client::silence(2);
        let mut variables = environment.iter().map(|variable| -> &CStr { variable });
        let mut pointers = [0; 4096];
        beside::execute_own(words, &mut variables, &mut pointers);
        fly::error::FAILURE
    });
    let pid = child.ok().and_then(Pid::from_raw);
    let status = pid.and_then(|pid| waitpid(Some(pid), WaitOptions::empty()).ok()?);
    status.is_some_and(|(_, status)| status.exit_status() == Some(0))
}

/// Notes that the pod is of the pool `name`.
///
/// # Errors
/// As open(2).
pub fn mark(place: &Place<'_>, name: &CStr) -> Result<(), Errno> {
    let path = path(place.root, name, &[b"/", place.uuid])?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    fs::open(path.as_c_str(), flags, Mode::from_raw_mode(0o600)).map(drop)
}
