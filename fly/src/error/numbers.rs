//! What the kernel's error numbers mean.

use crate::{packed, packed::Packed, text::numbered};

/// What an error number means, in the words of strerror(3); empty for one that
/// is unknown here.
#[must_use]
pub fn describe(errno: u16) -> Packed {
    numbered(ERRORS, errno)
}

const ERRORS: Packed = packed!(ERROR_TEXTS);

/// Numbers as asm-generic/errno.h has them, each before its text.
pub(super) const ERROR_TEXTS: &str = "\
1\nOperation not permitted\n\
2\nNo such file or directory\n\
3\nNo such process\n\
4\nInterrupted system call\n\
5\nInput/output error\n\
6\nNo such device or address\n\
7\nArgument list too long\n\
8\nExec format error\n\
9\nBad file descriptor\n\
10\nNo child processes\n\
11\nResource temporarily unavailable\n\
12\nCannot allocate memory\n\
13\nPermission denied\n\
14\nBad address\n\
16\nDevice or resource busy\n\
17\nFile exists\n\
18\nInvalid cross-device link\n\
19\nNo such device\n\
20\nNot a directory\n\
21\nIs a directory\n\
22\nInvalid argument\n\
23\nToo many open files in system\n\
24\nToo many open files\n\
25\nInappropriate ioctl for device\n\
26\nText file busy\n\
27\nFile too large\n\
28\nNo space left on device\n\
30\nRead-only file system\n\
31\nToo many links\n\
32\nBroken pipe\n\
36\nFile name too long\n\
38\nFunction not implemented\n\
39\nDirectory not empty\n\
40\nToo many levels of symbolic links\n\
80\nAccessing a corrupted shared library\n\
87\nToo many users\n\
95\nOperation not supported\n\
97\nAddress family not supported by protocol\n\
116\nStale file handle\n\
122\nDisk quota exceeded\n\
75\nValue too large for defined data type";
