//! Stands in for an architecture that nobody has ported yet.

compile_error!(
    "this architecture is not ported: add fly/src/sys/ARCH.rs with the items of x86_64.rs, \
     name it in fly/src/sys/mod.rs, and add fly/link/ARCH.ld"
);
