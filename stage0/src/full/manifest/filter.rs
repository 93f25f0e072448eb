//! Sets of system calls that an app keeps or loses, as a profile for `--seccomp`.

use fly::{
    json::{Reader, Text},
    seccomp::words::number_of,
};

use super::read::{Manifest, Pass, Read, short, text, wrong};

/// Without these no program can be executed, or end.
const ALWAYS: &[u8] =
    b"\"execve\",\"execveat\",\"exit\",\"exit_group\",\"rt_sigreturn\",\"restart_syscall\"";

/// What the default filter keeps or loses.
const DEFAULTS: [&str; 4] = [
    "@rkt/default-whitelist",
    "@docker/default-whitelist",
    "@rkt/default-blacklist",
    "@docker/default-blacklist",
];

/// Errors that a refused call may have, by number from 1 (asm-generic/errno-base.h,
/// asm-generic/errno.h); two numbers have no name.
const ERRORS: &str = "\
EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES \
EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY \
ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG \
ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG \
EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR \
ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP \
EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX \
ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE \
ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT \
EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET \
ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN \
EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO \
EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED \
EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";
/// Other names of the same.
const OTHER_ERRORS: [(&str, u16); 3] = [("EWOULDBLOCK", 11), ("EDEADLOCK", 35), ("ENOTSUP", 95)];

/// A set that was read.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Its calls are kept, not lost.
    retains: bool,
    /// The default ones are meant, and no others.
    default: bool,
    /// All are meant.
    all: bool,
    /// Single ones are named.
    names: bool,
    /// The error of what is refused; otherwise it ends the app.
    error: Option<u16>,
    set: Reader<'a>,
}

impl<'a> Manifest<'a, '_, '_> {
    /// An object with a list of names in `set`, and perhaps an `errno`.
    pub(super) fn filter(&mut self, retains: bool, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let [set, error] = self.object(reader, &["set", "errno"])?;
        let error_at = error.map_or(at, |reader| reader.at());
        let error = self.optional("errno", error, |_, reader| {
            let name = text(reader)?;
            match error_of(name) {
                Some(number) => Ok(number),
                None => wrong(name.at, "there is no such error"),
            }
        })?;
        let filter = self.required(at, "set", set, |manifest, reader| {
            let mut filter = Filter {
                retains,
                default: false,
                all: false,
                names: false,
                error,
                set: *reader,
            };
            let at = reader.at();
            let count = manifest.list(reader, &mut |_, _, reader| {
                let name = text(reader)?;
                if DEFAULTS.iter().any(|known| name.is(known)) {
                    filter.default = true;
                } else if name.is("@appc.io/all") {
                    filter.all = true;
                } else if number(name).is_some() {
                    if !retains && is_needed(name) {
                        return wrong(name.at, "without it no program can be executed, or end");
                    }
                    filter.names = true;
                } else if !name.is("@appc.io/empty") {
                    return wrong(name.at, "there is no such system call or set");
                }
                Ok(())
            })?;
            if count == 0 {
                return wrong(at, "it is empty");
            }
            if filter.default && (filter.all || filter.names) {
                return wrong(at, "a default set stands by itself");
            }
            Ok(filter)
        })?;
        if filter.default && error.is_some_and(|error| error != 1) {
            return self.refuse("errno", error_at, "that of the default set is EPERM");
        }
        self.write_filter(at, &filter)
    }

    fn write_filter(&mut self, at: usize, filter: &Filter<'a>) -> Read<()> {
        if self.pass != Pass::Apps || filter.default {
            return Ok(());
        }
        if filter.is_none() {
            self.arena.word(b"--seccomp=unconfined");
            return Ok(());
        }
        let Some(number) = (self.filters)(filter) else {
            return wrong(at, "no memory file can be made for its filter");
        };
        self.arena.bytes(b"--seccomp=/proc/self/fd/");
        self.arena.number(number).end();
        Ok(())
    }
}

impl Filter<'_> {
    /// Nothing is refused.
    fn is_none(&self) -> bool {
        match self.retains {
            true => self.all,
            false => !self.all && !self.names,
        }
    }

    /// Writes the profile. Of several rules for a call the first one applies.
    pub fn write(&self, add: &mut dyn FnMut(&[u8])) {
        let refuses = self.retains || self.all;
        add(b"{\"defaultAction\":");
        self.action(refuses, add, b",\"defaultErrnoRet\":");
        add(b",\"architectures\":[\"SCMP_ARCH_X86_64\"],\"syscalls\":[{\"names\":[");
        add(ALWAYS);
        add(b"],\"action\":\"SCMP_ACT_ALLOW\"}");
        if self.names && (self.retains || !self.all) {
            add(b",{\"names\":[");
            self.calls(add);
            add(b"],\"action\":");
            self.action(!self.retains, add, b",\"errnoRet\":");
            add(b"}");
        }
        add(b"]}");
    }

    fn action(&self, refuses: bool, add: &mut dyn FnMut(&[u8]), field: &[u8]) {
        match (refuses, self.error) {
            (false, _) => add(b"\"SCMP_ACT_ALLOW\""),
            (true, None) => add(b"\"SCMP_ACT_KILL_PROCESS\""),
            (true, Some(error)) => {
                add(b"\"SCMP_ACT_ERRNO\"");
                add(field);
                add(fly::text::Digits::new(error.into(), 10).as_bytes());
            }
        }
    }

    /// The calls by name, with commas between them.
    fn calls(&self, add: &mut dyn FnMut(&[u8])) {
        let mut first = true;
        let mut set = self.set;
        let _ = set.array(&mut |reader| {
            let name = reader.string()?;
            let mut room = [0; 64];
            if let (Some(_), Some(name)) = (number(name), short(name, &mut room)) {
                add(if first { b"\"" } else { b",\"" });
                add(name);
                add(b"\"");
                first = false;
            }
            Ok::<(), fly::json::Fault>(())
        });
    }
}

/// Whether it is one of [`ALWAYS`].
fn is_needed(name: Text<'_>) -> bool {
    let mut words = fly::text::split(ALWAYS, b'"');
    words.any(|word| !matches!(word, b"" | b",") && name.is_bytes(word))
}

/// The number of an error.
fn error_of(name: Text<'_>) -> Option<u16> {
    let other = OTHER_ERRORS.iter().find(|(other, _)| name.is(other));
    if let Some((_, number)) = other {
        return Some(*number);
    }
    let mut names = (1..).zip(fly::text::split(ERRORS.as_bytes(), b' '));
    let found = names.find(|(_, known)| known.len() > 1 && name.is_bytes(known));
    found.map(|(number, _)| number)
}

fn number(name: Text<'_>) -> Option<u16> {
    number_of(short(name, &mut [0; 64])?)
}
