//! Symbolic names of error numbers and signals.

use fly::text::{Line, decimal};
use rustix::io::Errno;

/// Names of the error numbers from 1 on (errno(3), asm-generic/errno.h).
const ERRNOS: &str = "\
EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK \
EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE \
EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP E41 ENOMSG EIDRM \
ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT \
E58 EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO \
EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC \
EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT \
EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL \
ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN \
ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN \
ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED \
EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";

/// Names of the signals from 1 on (signal(7)).
const SIGNALS: &str = "\
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN \
TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// Adds the name of `errno`.
pub fn errno(line: &mut Line, errno: Errno) {
    let number = errno.raw_os_error().unsigned_abs();
    name(line, ERRNOS, "", "E", number);
}

/// Adds the name of a signal, `SIGTERM`.
pub fn signal(line: &mut Line, number: u32) {
    name(line, SIGNALS, "SIG", "SIG", number);
}

fn name(line: &mut Line, names: &str, prefix: &str, nameless: &str, number: u32) {
    let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
    match index.and_then(|index| names.split(' ').nth(index)) {
        Some(name) => line.text(prefix).text(name),
        None => line.text(nameless).number(u64::from(number)),
    };
}

/// The signal that `text` names: `TERM`, `SIGTERM` or `15`.
pub fn parse_signal(text: &[u8]) -> Option<u32> {
    if let Some(number) = decimal(text) {
        return u32::try_from(number).ok().filter(|number| *number <= 64);
    }
    let text = text.strip_prefix(b"SIG").unwrap_or(text);
    let index = SIGNALS
        .split(' ')
        .position(|name| name.as_bytes() == text)?;
    u32::try_from(index + 1).ok()
}
