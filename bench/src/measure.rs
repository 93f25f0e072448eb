//! One start, from the call that spawns it until it is reaped.
//!
//! The child is made as posix_spawn(3) makes it: it shares the harness's
//! memory and the harness waits until it has called exec. Nothing is copied,
//! so the size of the harness does not matter, and nothing is allocated.

use std::{
    ffi::{CString, c_int, c_void},
    fs::File,
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr,
};

/// A command, ready to be executed.
#[derive(Debug)]
pub struct Command {
    words: Vec<CString>,
    variables: Vec<CString>,
    pointers: Pointers,
    /// A mount namespace that the child enters first.
    namespace: Option<File>,
    /// A root that it enters behind that.
    root: Option<CString>,
}

/// The arrays that exec takes; the pointers lead into a command's strings.
#[derive(Debug, Default)]
struct Pointers {
    words: Vec<usize>,
    variables: Vec<usize>,
}

impl Command {
    /// The command `words`, the first of which is the program's path, with the
    /// environment `variables`.
    ///
    /// # Errors
    /// A word holds a zero byte, or there is none.
    pub fn new<W: AsRef<[u8]>>(words: &[W], variables: &[W]) -> io::Result<Self> {
        let strings = |list: &[W]| {
            let strings = list.iter().map(|word| CString::new(word.as_ref()));
            strings
                .collect::<Result<Vec<_>, _>>()
                .map_err(io::Error::other)
        };
        let mut command = Self {
            words: strings(words)?,
            variables: strings(variables)?,
            pointers: Pointers::default(),
            namespace: None,
            root: None,
        };
        if command.words.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let array = |strings: &[CString]| {
            let addresses = strings.iter().map(|text| text.as_ptr().expose_provenance());
            addresses.chain([0]).collect()
        };
        command.pointers.words = array(&command.words);
        command.pointers.variables = array(&command.variables);
        Ok(command)
    }

    /// Runs in the mount namespace that `namespace` refers to.
    #[must_use]
    pub fn inside(mut self, namespace: File) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Runs with `root` as its root directory, which the program's path is seen from.
    ///
    /// # Errors
    /// The path holds a zero byte.
    pub fn below(mut self, root: &Path) -> io::Result<Self> {
        self.root = Some(CString::new(root.as_os_str().as_bytes())?);
        Ok(self)
    }

    /// The program's path.
    #[must_use]
    pub fn program(&self) -> String {
        let first = self.words.first();
        first.map_or_else(String::new, |word| word.to_string_lossy().into_owned())
    }

    /// The words, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Nanoseconds from the call that spawns it until it is reaped.
    pub nanoseconds: u64,
    /// The status, as wait(2) gives it.
    pub status: c_int,
}

/// Bytes of the child's stack: it calls setns, chroot and execve, nothing else.
const STACK: usize = 16 << 10;
/// The child's exit code if exec fails.
const NO_EXEC: c_int = 127;

/// Seconds after which a start is killed: a launcher that hangs must not hang
/// the harness.
const PATIENCE: libc::c_uint = 20;

/// Spawns commands, one at a time.
#[derive(Debug)]
pub struct Spawner {
    stack: Vec<u128>,
}

impl Default for Spawner {
    fn default() -> Self {
        let alarm: extern "C" fn(c_int) = interrupt;
        // SAFETY: all zeroes are a valid sigaction: no flags, so that waitpid
        // is interrupted; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = alarm as libc::sighandler_t;
            libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
        }
        Self {
            // Written once here, so that no page of it is touched for the
            // first time while somebody's clock runs.
            stack: vec![1; STACK / size_of::<u128>()],
        }
    }
}

impl Spawner {
    /// Starts `command` and waits for its end.
    ///
    /// # Errors
    /// clone(2) or wait(2) failed; or it took too long, and was killed.
    pub fn start(&mut self, command: &Command) -> io::Result<Start> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = self.stack.as_mut_ptr_range().end.cast();
        let data = ptr::from_ref(command).cast_mut().cast();
        // SAFETY: no pointers. The child does not inherit it.
        unsafe { libc::alarm(PATIENCE) };
        let before = now();
        // SAFETY: the stack is ours, aligned, and unused while the child runs
        // on it, since CLONE_VFORK suspends this thread until the child has
        // called exec or ended. `child` only makes system calls.
        let pid = unsafe { libc::clone(child, top, flags, data) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut status = 0;
        let mut late = false;
        // SAFETY: the status is a valid place.
        while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            late = true;
            // SAFETY: no pointers; the child is not reaped yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let nanoseconds = now().saturating_sub(before);
        // SAFETY: no pointers.
        unsafe { libc::alarm(0) };
        if late {
            let text = format!("it was killed: not done after {PATIENCE} s");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(Start {
            nanoseconds,
            status,
        })
    }
}

/// waitpid returns.
extern "C" fn interrupt(_: c_int) {}

extern "C" fn child(data: *mut c_void) -> c_int {
    // SAFETY: `start` passes a command that outlives the child's use of it;
    // the arrays end with a null pointer and lead to C strings.
    unsafe {
        let command = &*data.cast::<Command>();
        if let Some(namespace) = &command.namespace
            && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) != 0
        {
            return NO_EXEC;
        }
        // Two calls, a microsecond.
        if let Some(root) = &command.root
            && (libc::chroot(root.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0)
        {
            return NO_EXEC;
        }
        libc::execve(
            ptr::with_exposed_provenance(command.pointers.words[0]),
            command.pointers.words.as_ptr().cast(),
            command.pointers.variables.as_ptr().cast(),
        );
    }
    NO_EXEC
}

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place; the clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_exit_code_and_a_time() {
        let mut spawner = Spawner::default();
        let words: [&[u8]; 3] = [b"/bin/sh", b"-c", b"exit 7"];
        let command = Command::new(&words, &[]).unwrap();
        let start = spawner.start(&command).unwrap();
        assert_eq!(libc::WEXITSTATUS(start.status), 7);
        assert!(start.nanoseconds > 10_000);
    }

    #[test]
    fn a_missing_program_is_told() {
        let mut spawner = Spawner::default();
        let words: [&[u8]; 1] = [b"/does/not/exist"];
        let command = Command::new(&words, &[]).unwrap();
        let start = spawner.start(&command).unwrap();
        assert_eq!(libc::WEXITSTATUS(start.status), NO_EXEC);
    }
}
