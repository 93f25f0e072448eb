//! What the check refuses though all else is as it should be: a step away from a plan each.

use core::ffi::CStr;
use std::ffi::CString;

use linux_raw_sys::general as raw;

use super::{check::map_line, *};

const EXEC: Step<'static> = Step::Exec {
    flags: 0,
    arguments: 1,
    strings: List::of(2, b"/bin/sh\0sh\0"),
};

/// What the check says of what is pushed before or, with `in_app`, into a plan's only app.
fn checked(in_app: bool, push: impl FnOnce(&mut Builder<'_>)) -> Result<(), Reason> {
    let mut arena = vec![0; MAX_BYTES];
    let mut builder = Builder::new(&mut arena);
    if in_app {
        builder.push(Step::App { name: c"app" });
        push(&mut builder);
    } else {
        push(&mut builder);
        builder.push(Step::App { name: c"app" });
    }
    builder.push(EXEC);
    builder.finish().map(drop).map_err(|problem| problem.reason)
}

/// The same of these steps before the app.
fn before(steps: &[Step<'_>]) -> Result<(), Reason> {
    checked(false, |builder| {
        for step in steps {
            builder.push(*step);
        }
    })
}

const MOUNTS: Step<'static> = clone(raw::CLONE_NEWNS);

const fn clone(namespaces: u32) -> Step<'static> {
    clone_in(Step::NO_SLOT, namespaces)
}

const fn clone_in(cgroup: Slot, namespaces: u32) -> Step<'static> {
    Step::Clone {
        cgroup,
        namespaces: namespaces as u64,
    }
}

const fn open(into: u8) -> Step<'static> {
    Step::OpenDirectory {
        into: Slot(into),
        path: c"/",
    }
}

const fn init(directory: Slot, stamps: u64) -> Step<'static> {
    Step::ExecInit {
        program: Slot(0),
        directory,
        flags: 0,
        stamps,
    }
}

const SEAL: Step<'static> = Step::Seal {
    into: Slot(0),
    flags: 0,
    path: c"/init",
};

#[test]
fn steps_out_of_order() {
    let order = Err(Reason::Order);
    let (close, supervise) = (Step::CloseInherited {}, Step::Supervise {});
    let unshare = Step::Unshare {
        namespaces: raw::CLONE_NEWNS.into(),
    };
    let (private, hostname) = (Step::Private {}, Step::Hostname { name: c"pod" });
    let init = init(Step::NO_SLOT, Step::NO_STAMPS);
    assert_eq!(before(&[close, MOUNTS]), Ok(()));
    assert_eq!(before(&[MOUNTS, close]), order);
    assert_eq!(before(&[close, open(0)]), Ok(()));
    assert_eq!(before(&[open(0), close]), order);
    assert_eq!(before(&[MOUNTS, MOUNTS]), order);
    assert_eq!(before(&[unshare, MOUNTS]), order);
    assert_eq!(before(&[MOUNTS, private]), Ok(()));
    assert_eq!(before(&[private]), order);
    assert_eq!(before(&[clone(raw::CLONE_NEWUTS), hostname]), Ok(()));
    assert_eq!(before(&[MOUNTS, hostname]), order);
    assert_eq!(before(&[clone(raw::CLONE_NEWUTS), private]), order);
    assert_eq!(before(&[supervise, SEAL, MOUNTS, init]), Ok(()));
    assert_eq!(before(&[MOUNTS, supervise]), order);
    assert_eq!(before(&[SEAL, MOUNTS, init]), order);
    assert_eq!(before(&[supervise, SEAL, init]), order);
    assert_eq!(before(&[supervise, SEAL, MOUNTS, init, init]), order);
    assert_eq!(before(&[supervise, SEAL, MOUNTS, init, private]), order);
}

#[test]
fn slots_that_nothing_has_filled() {
    let slot = Err(Reason::Slot);
    let cgroup = Step::OpenCgroup {
        into: Slot(0),
        path: c"/cgroup",
    };
    let clone_in = clone_in(Slot(0), raw::CLONE_NEWNS);
    assert_eq!(before(&[cgroup, clone_in]), Ok(()));
    assert_eq!(before(&[clone_in]), slot);
    let init =
        |directory, stamps| before(&[Step::Supervise {}, SEAL, MOUNTS, init(directory, stamps)]);
    assert_eq!(init(Slot(1), Step::NO_STAMPS), slot);
    assert_eq!(init(Step::NO_SLOT, 1), slot);
    let chroot = |root| before(&[open(0), Step::Chroot { root: Slot(root) }]);
    assert_eq!(chroot(0), Ok(()));
    // One that would be the first again.
    assert_eq!(chroot(MAX_SLOTS), slot);
    let stdio = |peer| {
        let terminal = Step::Terminal {
            devpts: Slot(0),
            master: Slot(1),
            peer: 2,
        };
        before(&[terminal, MOUNTS, Step::TerminalStdio { peer: Slot(peer) }])
    };
    assert_eq!(stdio(2), Ok(()));
    assert_eq!(stdio(3), slot);
}

#[test]
fn slots_that_one_kind_uses() {
    let slot = Err(Reason::Slot);
    let pair = Step::TerminalPair {
        sender: Slot(0),
        receiver: Slot(1),
    };
    let terminal = |sender| {
        let terminal = Step::OwnTerminal {
            devpts: Slot(2),
            peer: Slot(3),
            sender,
        };
        before(&[pair, MOUNTS, terminal])
    };
    assert_eq!(terminal(0), Ok(()));
    assert_eq!(terminal(4), slot);
    let overlay = |flags| {
        let overlay = Step::OwnOverlay {
            into: Slot(1),
            layer: Slot(0),
            flags,
            attributes: 0,
            path: c"/lower",
        };
        before(&[MOUNTS, open(0), overlay])
    };
    assert_eq!(overlay(0), Ok(()));
    assert_eq!(overlay(Step::MAPPED), slot);
    let attach = |under, flags| Step::Attach {
        mount: Slot(1),
        under: Slot(under),
        flags,
        target: c"/target",
    };
    let attached = |first, second| before(&[MOUNTS, open(0), open(1), first, second]);
    assert_eq!(attached(attach(0, 0), attach(0, Step::CLOSE)), Ok(()));
    assert_eq!(attached(attach(0, Step::CLOSE), attach(0, 0)), slot);
    assert_eq!(attached(attach(0, 0), attach(2, 0)), slot);
}

#[test]
fn numbers_out_of_range() {
    let number = Err(Reason::Number);
    let tree = |attributes| {
        let tree = Step::OpenTree {
            into: Slot(0),
            flags: 0,
            attributes,
            path: c"/",
        };
        before(&[MOUNTS, tree])
    };
    assert_eq!(tree(raw::MOUNT_ATTR_RDONLY.into()), Ok(()));
    assert_eq!(tree(raw::MOUNT_ATTR_IDMAP.into()), number);
    let directory = |mode| {
        let directory = Step::Directory {
            under: Slot(0),
            mode,
            name: c"tmp",
        };
        before(&[MOUNTS, open(0), directory])
    };
    assert_eq!(directory(0o7777), Ok(()));
    assert_eq!(directory(0o10000), number);
    let copy = |mode, descriptor| {
        let copy = Step::CopyFile {
            under: Slot(0),
            mode,
            descriptor,
            path: c"/file",
        };
        before(&[MOUNTS, open(0), copy])
    };
    assert_eq!(copy(0o7777, 0x7fff_ffff), Ok(()));
    assert_eq!(copy(0o10000, 0), number);
    assert_eq!(copy(0, 0x8000_0000), number);
    for (line, is_one) in [
        (&b"0:1000:1"[..], true),
        (b"0:4294967294:1", true),
        (b"0:4294967294:2", false),
        (b"0:1000:0", false),
        (b"0:1000", false),
        (b"0:1000:1:1", false),
    ] {
        assert_eq!(map_line(line).is_some(), is_one, "{line:?}");
    }
}

#[test]
fn strings_of_another_form() {
    let (strings, path) = (Err(Reason::Strings), Err(Reason::Path));
    let file_system = |count, bytes| {
        let options = List::of(count, bytes);
        let made = Step::FileSystem {
            into: Slot(0),
            attributes: 0,
            options,
        };
        before(&[MOUNTS, made])
    };
    assert_eq!(file_system(3, b"tmpfs\0mode\x000755\0"), Ok(()));
    assert_eq!(file_system(2, b"tmpfs\0mode\0"), strings);
    assert_eq!(file_system(1, b"\0"), strings);
    let attach = |flags| {
        let attach = Step::Attach {
            mount: Slot(0),
            under: Slot(0),
            flags,
            target: c"/run/x",
        };
        before(&[MOUNTS, open(0), attach])
    };
    assert_eq!(attach(0), Ok(()));
    assert_eq!(attach(Step::NO_FOLLOW), path);
    let host = |length| {
        let name = CString::new("x".repeat(length)).expect("a string");
        before(&[clone(raw::CLONE_NEWUTS), Step::Hostname { name: &name }])
    };
    assert_eq!(host(64), Ok(()));
    assert_eq!(host(65), Err(Reason::Name));
    let pipe = |length| {
        let name = CString::new("x".repeat(length)).expect("a string");
        checked(true, |builder| {
            builder.push(Step::Pipe {
                streams: 2,
                number: 0,
                app: &name,
            });
        })
    };
    assert_eq!(pipe(255), Ok(()));
    assert_eq!(pipe(256), path);
}

#[test]
fn strings_that_are_not_counted() {
    let strings = Err(Reason::Strings);
    let hostname = |texts: &[&CStr], behind: &[u8]| {
        checked(false, |builder| {
            builder.push(clone(raw::CLONE_NEWUTS));
            builder.begin_list(Step::Hostname { name: c"" });
            for text in texts {
                builder.string(text);
            }
            builder.bytes(behind).end();
        })
    };
    assert_eq!(hostname(&[c"pod"], b""), Ok(()));
    assert_eq!(hostname(&[c"pod", c"more"], b""), strings);
    assert_eq!(hostname(&[c"pod"], b"more\0"), strings);
    assert_eq!(hostname(&[c"pod"], b"no end"), strings);
    let hook = |arguments| {
        checked(true, |builder| {
            builder.push(EXEC).push(Step::App { name: c"second" });
            let list = List::of(2, b"/bin/sh\0sh\0");
            builder.push(Step::Exec {
                flags: 0,
                arguments,
                strings: list,
            });
            builder.push(Step::App { name: c"third" });
        })
    };
    assert_eq!(hook(1), Ok(()));
    assert_eq!(hook(0), strings);
    assert_eq!(hook(2), strings);
    // Bytes are no strings, whatever is in them.
    let groups = |is_string| {
        checked(true, |builder| {
            builder.begin_list(Step::Groups { ids: &[] });
            if is_string {
                builder.string(c"abc");
            } else {
                builder.bytes(b"abc\0");
            }
            builder.end();
        })
    };
    assert_eq!(groups(false), Ok(()));
    assert_eq!(groups(true), Err(Reason::Number));
}

#[test]
fn more_than_fits() {
    let apps = |count: usize| {
        checked(true, |builder| {
            for number in 1..count {
                let name = CString::new(number.to_string()).expect("a string");
                builder.push(EXEC).push(Step::App { name: &name });
            }
        })
    };
    assert_eq!(apps(MAX_APPS), Ok(()));
    assert_eq!(apps(MAX_APPS + 1), Err(Reason::TooLarge));
    let steps = |count: usize| before(&vec![Step::CloseInherited {}; count - 2]);
    assert_eq!(steps(MAX_STEPS), Ok(()));
    assert_eq!(steps(MAX_STEPS + 1), Err(Reason::TooLarge));
}

/// A plan that may be damaged tells its size, and how many steps there are.
#[test]
fn a_header_that_says_something_else() {
    let mut arena = vec![0; MAX_BYTES];
    let mut builder = Builder::new(&mut arena);
    builder.push(Step::App { name: c"app" }).push(EXEC);
    let good = builder.finish().expect("a plan").as_bytes().to_vec();
    for at in [12, 16] {
        let mut bytes = good.clone();
        bytes[at] += 1;
        let problem = Plan::check(&bytes).expect_err("another number");
        assert_eq!(problem.reason, Reason::Header, "byte {at}");
    }
    // All of it is a last argument, too long by one record's alignment.
    let last = good.len() - Record::FIXED - 16;
    for (length, expected) in [(MAX_BYTES, None), (MAX_BYTES + 8, Some(Reason::TooLarge))] {
        let mut bytes = good.clone();
        bytes.resize(length - 8, b'x');
        bytes.extend([0; 8]);
        let strings = u32::try_from(length - last - Record::FIXED).expect("a number");
        let text = &mut bytes[last + Record::FIXED..][..16];
        text.copy_from_slice(b"/bin/sh\0sh\0xxxxx");
        bytes[last + 16..][..4].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[last + 20..][..4].copy_from_slice(&(strings - 7).to_ne_bytes());
        bytes[16..24].copy_from_slice(&(length as u64).to_ne_bytes());
        let reason = Plan::check(&bytes).err().map(|problem| problem.reason);
        assert_eq!(reason, expected, "{length} bytes");
    }
}
