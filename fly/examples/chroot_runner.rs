//! A chroot runner: `chroot_runner ROOT PROGRAM [ARGUMENT...]`.
//!
//! A plan of its own, and the launcher: the program is the process that was called,
//! in a mount namespace of its own, without a descriptor of the caller's above 2.

use std::{env, ffi::CString, os::unix::ffi::OsStringExt, process};

use fly::{
    error::{FAILURE, FLY_TEXTS},
    launch::{Launcher, ROOM},
    plan::{Builder, List, Slot, Step},
};

fn main() {
    let words = env::args_os().skip(1).map(OsStringExt::into_vec);
    let words: Vec<CString> = words.flat_map(CString::new).collect();
    let [root, program @ ..] = words.as_slice() else {
        panic!("chroot_runner ROOT PROGRAM [ARGUMENT...]");
    };
    let mut bytes = vec![0; 1 << 20];
    let mut plan = Builder::new(&mut bytes);
    plan.push(Step::CloseInherited {})
        .push(Step::Unshare {
            namespaces: 0x2_0000,
        }) // CLONE_NEWNS
        .push(Step::Private {})
        .push(Step::OpenDirectory {
            into: Slot(0),
            path: root,
        })
        .push(Step::Chroot { root: Slot(0) })
        .push(Step::App { name: c"app" })
        .begin_list(Step::Exec {
            flags: 0,
            arguments: program.len() as u64,
            strings: List::EMPTY,
        });
    for word in program.first().into_iter().chain(program) {
        plan.string(word);
    }
    plan.string(c"PATH=/usr/bin:/bin").end();
    // Holding a plan proves that it was checked.
    let plan = plan.finish().expect("a program");
    let (mut pointers, mut room) = ([0; 4096], [0; ROOM]);
    // It returns only if it failed.
    if let Err(error) = Launcher::new(plan, &mut pointers, &mut room).launch() {
        error.print("chroot_runner", FLY_TEXTS);
    }
    process::exit(FAILURE);
}
