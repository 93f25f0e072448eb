//! The program fly-seccomp, as fly calls it.
