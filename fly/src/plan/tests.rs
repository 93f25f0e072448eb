use super::*;
use core::ffi::CStr;

use linux_raw_sys::general as raw;

/// A small plan with a step of each shape.
fn build(arena: &mut [u8]) -> Plan<'_> {
    let mut builder = Builder::new(arena);
    builder
        .push(Step::CloseInherited {})
        .push(Step::Unshare {
            namespaces: 0x2_0000,
        })
        .push(Step::Private {})
        .push(Step::OpenDirectory {
            into: Slot(0),
            path: c"/srv/root",
        })
        .begin_list(Step::FileSystem {
            into: Slot(1),
            attributes: 6,
            options: List::EMPTY,
        })
        .string(c"tmpfs")
        .string(c"mode")
        .string(c"0755")
        .end()
        .push(Step::Attach {
            mount: Slot(1),
            under: Slot(0),
            flags: Step::CREATE | Step::CLOSE,
            target: c"/tmp",
        })
        .push(Step::Chroot { root: Slot(0) })
        .push(Step::App { name: c"app" })
        .push(Step::Group { id: 7 })
        .begin_list(Step::Exec {
            flags: 0,
            arguments: 2,
            strings: List::EMPTY,
        })
        .string(c"/bin/sh")
        .string(c"sh")
        .joined(&[b"-", b"c"])
        .string(c"HOME=/")
        .end();
    builder.finish().expect("a plan")
}

#[test]
fn what_is_written_is_read() {
    let mut arena = [0; 4096];
    let plan = build(&mut arena);
    let kinds: Vec<Kind> = plan.steps().map(|step| step.kind()).collect();
    assert_eq!(
        kinds,
        [
            Kind::CloseInherited,
            Kind::Unshare,
            Kind::Private,
            Kind::OpenDirectory,
            Kind::FileSystem,
            Kind::Attach,
            Kind::Chroot,
            Kind::App,
            Kind::Group,
            Kind::Exec
        ]
    );
    match plan.steps().last() {
        Some(Step::Exec {
            arguments: 2,
            strings,
            ..
        }) => {
            let texts: Vec<_> = strings.iter().collect();
            assert_eq!(texts, [c"/bin/sh", c"sh", c"-c", c"HOME=/"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_cut_and_every_longer_plan_is_refused() {
    let mut arena = [0; 4096];
    let bytes = build(&mut arena).as_bytes().to_vec();
    for length in 0..bytes.len() {
        assert!(Plan::check(&bytes[..length]).is_err(), "{length} bytes");
    }
    let mut longer = bytes.clone();
    longer.extend([0; 24]);
    assert!(Plan::check(&longer).is_err());
    assert!(Plan::check(&bytes).is_ok());
}

#[test]
fn no_changed_byte_makes_the_walk_fail() {
    // A changed byte may still be a valid plan (another path, say); then the
    // walk must end, and see as many steps as the header says.
    let mut arena = [0; 4096];
    let bytes = build(&mut arena).as_bytes().to_vec();
    let count = Plan::check(&bytes).expect("a plan").steps().count();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(plan) = Plan::check(&changed) {
                assert_eq!(plan.steps().count(), count, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn the_apps_part_is_a_plan_without_paths_of_the_host() {
    let mut arena = [0; 4096];
    let plan = build(&mut arena);
    let (header, records) = plan.apps_part();
    let part = [&header[..], records].concat();
    let part = Plan::check(&part).expect("a plan");
    assert_eq!(part.steps().count(), 3);
    assert!(
        !part
            .as_bytes()
            .windows(9)
            .any(|bytes| bytes == b"/srv/root")
    );
}

/// What the check says of a plan with these steps.
fn reason(steps: &[Step<'_>]) -> Reason {
    let mut arena = [0; 8192];
    let mut builder = Builder::new(&mut arena);
    for step in steps {
        builder.push(*step);
    }
    builder.finish().expect_err("no plan").reason
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn nonsense_is_refused_by_name() {
    let long = std::ffi::CString::new("x".repeat(MAX_PATH)).expect("a string");
    let open = Step::OpenDirectory {
        into: Slot(0),
        path: c"/",
    };
    let app = Step::App { name: c"a" };
    for (steps, expected) in [
        (&[][..], Reason::Order),
        (&[app][..], Reason::Order),
        (&[app, app][..], Reason::Order),
        (&[app, open][..], Reason::Order),
        (&[Step::Group { id: 1 }][..], Reason::Order),
        (&[open, Step::CloseInherited {}][..], Reason::Order),
        (&[Step::Chroot { root: Slot(0) }][..], Reason::Slot),
        (
            &[Step::OpenDirectory {
                into: Slot(MAX_SLOTS),
                path: c"/",
            }][..],
            Reason::Slot,
        ),
        (
            &[Step::OpenDirectory {
                into: Slot(0),
                path: c"",
            }][..],
            Reason::Path,
        ),
        (
            &[Step::OpenDirectory {
                into: Slot(0),
                path: &long,
            }][..],
            Reason::Path,
        ),
        (&[Step::Unshare { namespaces: 1 }][..], Reason::Number),
        (&[Step::Umask { mask: 0o1000 }][..], Reason::Number),
        (
            &[
                app,
                Step::User {
                    id: u64::from(u32::MAX),
                },
            ][..],
            Reason::Number,
        ),
        (
            &[
                app,
                Step::Stop {
                    signal: 65,
                    deadline: 0,
                },
            ][..],
            Reason::Number,
        ),
        (
            &[app, Step::WorkingDirectory { path: c"relative" }][..],
            Reason::Path,
        ),
        (&[Step::Hostname { name: c"" }][..], Reason::Name),
        (
            &[
                open,
                Step::Device {
                    under: Slot(0),
                    device: 0,
                    name: c"a/b",
                },
            ][..],
            Reason::Path,
        ),
        (
            &[
                open,
                Step::Directory {
                    under: Slot(0),
                    mode: 0,
                    name: c"a/../b",
                },
            ][..],
            Reason::Path,
        ),
    ] {
        assert_eq!(reason(steps), expected, "{steps:?}");
    }
}

/// What a plan whose clone is damaged would do to its caller's namespaces.
#[test]
fn nothing_of_a_pod_is_done_on_the_host() {
    let clone = |namespaces: u32| Step::Clone {
        cgroup: Step::NO_SLOT,
        namespaces: namespaces.into(),
    };
    let (mount, names) = (raw::CLONE_NEWNS, raw::CLONE_NEWUTS);
    let hostname = Step::Hostname { name: c"pod" };
    let init = Step::ExecInit {
        program: Slot(0),
        directory: Step::NO_SLOT,
        flags: 0,
        stamps: Step::NO_STAMPS,
    };
    for steps in [
        &[Step::Private {}][..],
        &[clone(names), Step::Private {}],
        &[clone(mount), hostname],
        &[
            Step::Unshare {
                namespaces: mount.into(),
            },
            hostname,
        ],
        &[clone(mount | names), init],
    ] {
        assert_eq!(reason(steps), Reason::Order, "{steps:?}");
    }
}

#[test]
fn bounds_hold() {
    let mut small = [0; 64];
    let mut builder = Builder::new(&mut small);
    builder.push(Step::OpenDirectory {
        into: Slot(0),
        path: c"/a/path/that/does/not/fit/into/an/arena/of/64/bytes",
    });
    assert_eq!(
        builder.finish().expect_err("no room").reason,
        Reason::TooLarge
    );

    let mut arena = vec![0; MAX_BYTES * 2];
    let mut builder = Builder::new(&mut arena);
    builder.push(Step::App { name: c"a" });
    builder.begin_list(Step::Exec {
        flags: 0,
        arguments: 1,
        strings: List::EMPTY,
    });
    builder.string(c"/x").string(c"x");
    let value = vec![b'v'; MAX_BYTES];
    builder.joined(&[b"NAME=", &value]).end();
    assert_eq!(
        builder.finish().expect_err("too large").reason,
        Reason::TooLarge
    );
}

#[test]
fn other_versions_are_refused() {
    let mut arena = [0; 4096];
    let mut bytes = build(&mut arena).as_bytes().to_vec();
    bytes[8] += 1;
    assert_eq!(
        Plan::check(&bytes).expect_err("old").reason,
        Reason::Version
    );
    bytes[0] = b'x';
    assert_eq!(
        Plan::check(&bytes).expect_err("no plan").reason,
        Reason::Header
    );
}

/// A plan with one step before its program.
fn with(step: Step<'_>) -> Result<(), Reason> {
    with_pushed(step.kind(), |builder| _ = builder.push(step))
}

/// The same, of a step of this kind.
fn with_pushed(kind: Kind, push: impl FnOnce(&mut Builder<'_>)) -> Result<(), Reason> {
    let mut arena = [0; 1024];
    let mut builder = Builder::new(&mut arena);
    if kind.phase() == Phase::App {
        builder.push(Step::App { name: c"app" });
        push(&mut builder);
    } else {
        push(&mut builder);
        builder.push(Step::App { name: c"app" });
    }
    builder
        .begin_list(Step::Exec {
            flags: 0,
            arguments: 1,
            strings: List::EMPTY,
        })
        .string(c"/bin/sh")
        .string(c"sh")
        .end();
    builder.finish().map(drop).map_err(|problem| problem.reason)
}

#[test]
fn limits_are_read_where_the_plan_is_made() {
    let number = Err(Reason::Number);
    let with_limit =
        |kind, text: &CStr| with_pushed(kind, |builder| _ = builder.push_limit(kind, text));
    assert_eq!(with_limit(Kind::Limit, c"core=0"), Ok(()));
    assert_eq!(with_limit(Kind::Limit, c"core"), number);
    assert_eq!(with_limit(Kind::Limit, c""), number);
    assert_eq!(with_limit(Kind::Nice, c"-20"), Ok(()));
    assert_eq!(with_limit(Kind::Nice, c"-21"), number);
    assert_eq!(with_limit(Kind::Processors, c"0-3"), Ok(()));
    assert_eq!(with_limit(Kind::Processors, c"3-0"), number);
    assert_eq!(with_limit(Kind::Scheduling, c"rr:1"), Ok(()));
    assert_eq!(with_limit(Kind::Scheduling, c"rr"), number);
    assert_eq!(with_limit(Kind::OomScore, c"1000"), Ok(()));
    assert_eq!(with_limit(Kind::OomScore, c"1001"), number);
}

/// The apps' part of a plan of three apps; each waits for those that are named.
fn part_of_three(waits: [&[&CStr]; 3]) -> Result<Vec<u8>, Reason> {
    let mut arena = [0; 2048];
    let mut builder = Builder::new(&mut arena);
    builder.push(Step::CloseInherited {});
    for (name, after) in [c"a", c"b", c"c"].into_iter().zip(waits) {
        builder.push(Step::App { name });
        if !after.is_empty() {
            let names = List::EMPTY;
            builder.begin_list(Step::After { apps: 0, names });
            for name in after {
                builder.string(name);
            }
            builder.end();
        }
        builder
            .begin_list(Step::Exec {
                flags: 0,
                arguments: 1,
                strings: List::EMPTY,
            })
            .string(c"/bin/sh")
            .string(c"sh")
            .end();
    }
    let plan = builder.finish().map_err(|problem| problem.reason)?;
    let (header, records) = plan.apps_part();
    Ok([&header[..], records].concat())
}

/// Who waits for whom, as pid 1 reads it.
fn order(part: &[u8]) -> Vec<u64> {
    let plan = Plan::check_apps(part).expect("a plan");
    let after = plan.steps().records();
    let after = after.filter(|record| record.is(Kind::After));
    after.map(|record| record.number).collect()
}

#[test]
fn names_of_apps_become_bits() {
    let part = part_of_three([&[c"c", c"b"], &[], &[c"b"]]).expect("a plan");
    assert_eq!(order(&part), [0b110, 0b010]);
    let part = part_of_three([&[], &[], &[]]).expect("a plan");
    assert_eq!(order(&part), [0; 0]);
    let circle = Err(Reason::Order);
    assert_eq!(part_of_three([&[c"a"], &[], &[]]), circle);
    assert_eq!(part_of_three([&[c"b"], &[c"c"], &[c"a"]]), circle);
    assert_eq!(part_of_three([&[], &[c"c"], &[c"b"]]), circle);
    assert_eq!(part_of_three([&[], &[c"d"], &[]]), Err(Reason::Name));
}

/// A plan that may be damaged has no order in which an app would never start.
#[test]
fn bits_of_apps_are_checked() {
    let part = part_of_three([&[c"c"], &[], &[c"b"]]).expect("a plan");
    let with_bits = |bits: u64| {
        let mut part = part.clone();
        let name = [0, b'c', 0];
        let at = part.windows(3).position(|bytes| bytes == name);
        // Before the name is the record's end of 8 bytes, and before that the number.
        let at = at.expect("a name") + 1 - 16;
        part[at..at + 8].copy_from_slice(&bits.to_ne_bytes());
        Plan::check_apps(&part)
            .map(|_| order(&part))
            .map_err(|problem| problem.reason)
    };
    assert_eq!(with_bits(0b110), Ok(vec![0b110, 0b010]));
    assert_eq!(with_bits(0b001), Err(Reason::Order));
    assert_eq!(with_bits(0b1000), Err(Reason::Order));
    assert_eq!(with_bits(1 << 63), Err(Reason::Order));
}

#[test]
fn a_part_with_more_than_apps_is_refused() {
    let mut arena = [0; 4096];
    let bytes = build(&mut arena).as_bytes();
    assert_eq!(
        Plan::check_apps(bytes).expect_err("no part").reason,
        Reason::Record
    );
}

/// The kernel reads so much: a plan that may be damaged has no less.
#[test]
fn what_the_calls_of_limits_read_is_there() {
    let number = Err(Reason::Number);
    let resource = |limit| with(Step::Limit { resource: 4, limit });
    assert_eq!(resource(b"core=0\0soft....hard...."), Ok(()));
    assert_eq!(resource(b"core=0\0soft....hard..."), number);
    assert_eq!(resource(b"core=0\0soft....hard....."), number);
    assert_eq!(resource(b"core=0soft....hard...."), number);
    assert_eq!(resource(b"\0soft....hard...."), number);
    assert_eq!(resource(b""), number);
    let processors = |length| {
        let limit = &[b"0\0", &[1; 256][..length]].concat();
        with(Step::Processors { limit })
    };
    assert_eq!(processors(128), Ok(()));
    assert_eq!(processors(127), number);
    let nice = |limit| with(Step::Nice { nice: 1, limit });
    assert_eq!(nice(b"1\0"), Ok(()));
    assert_eq!(nice(b"1"), number);
    let policy = |limit| with(Step::Scheduling { policy: 1, limit });
    assert_eq!(policy(b"fifo:1\0priority"), Ok(()));
    assert_eq!(policy(b"fifo:1\0"), number);
}

#[test]
fn groups_are_bounded() {
    let groups = |count: usize| {
        let ids = [1_u8; 260];
        with(Step::Groups {
            ids: &ids[..4 * count],
        })
    };
    assert_eq!(groups(0), Ok(()));
    assert_eq!(groups(64), Ok(()));
    assert_eq!(groups(65), Err(Reason::Number));
}

#[test]
fn paths_of_landlock_are_checked() {
    let paths = |writable, paths: &[&CStr]| {
        let bytes: Vec<u8> = paths
            .iter()
            .flat_map(|path| path.to_bytes_with_nul().to_vec())
            .collect();
        let count = u32::try_from(paths.len()).expect("few");
        let paths = List {
            count,
            bytes: &bytes,
        };
        with(Step::Landlock { writable, paths })
    };
    assert_eq!(paths(0, &[c"/usr"]), Ok(()));
    assert_eq!(paths(2, &[c"/usr", c"/tmp"]), Ok(()));
    assert_eq!(paths(3, &[c"/usr", c"/tmp"]), Err(Reason::Number));
    assert_eq!(paths(0, &[]), Err(Reason::Strings));
    assert_eq!(paths(0, &[c"/usr", c"tmp"]), Err(Reason::Path));
    assert_eq!(paths(0, &[c""]), Err(Reason::Path));
}
