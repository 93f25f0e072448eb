//! Plans: building, serialising, validating. None of it may be felt in a start.

use std::{
    ffi::CStr,
    hint::black_box,
    io::{Seek, Write},
    os::fd::FromRawFd,
};

use criterion::{Criterion, criterion_group, criterion_main};
use fly::plan::{Builder, MAX_BYTES, Plan};
use stage0::{
    lower::{All, Host, lower, wants},
    options,
    users::Users,
};

/// The command line of a pod as people start them.
const WORDS: [&CStr; 12] = [
    c"--rootfs",
    c"/srv/image",
    c"--volume",
    c"/srv/data:/data:ro",
    c"--set-env",
    c"LANG=C.UTF-8",
    c"--hostname",
    c"web",
    c"--",
    c"/bin/sh",
    c"-c",
    c"exit 0",
];

/// Parses the command line and lowers it into `arena`.
fn build<'a>(words: &[&'static CStr], arena: &'a mut [u8]) -> Plan<'a> {
    let options = options::parse(words.iter().copied());
    let Ok(Some(options)) = options else {
        panic!("the command line is not read");
    };
    let Ok(wants) = wants(&options) else {
        panic!("the programs are not read");
    };
    let host = Host {
        wants,
        listening: None,
        names: None,
        notify: None,
        random: [7; 16],
        directory: None,
        environment: None,
        registered: false,
        later: false,
        users: Users::Host,
        pid: 1,
        terminal: false,
        session: false,
        stage1_init: c"/usr/libexec/kickstage/stage1-init",
        groups: false,
        inheritable: false,
        known: 0,
        term: None,
    };
    let mut builder = Builder::new(arena);
    assert!(
        lower::<_, All>(&options, &host, &mut builder).is_ok(),
        "the command line is not lowered"
    );
    match builder.finish() {
        Ok(plan) => plan,
        Err(problem) => panic!("the plan does not hold: {problem:?}"),
    }
}

fn building(criterion: &mut Criterion) {
    let mut arena = vec![0; MAX_BYTES];
    criterion.bench_function("plan: options to checked plan", |bencher| {
        bencher.iter(|| build(black_box(&WORDS), &mut arena).as_bytes().len());
    });
    criterion.bench_function("plan: defaults to checked plan", |bencher| {
        let words = [c"--rootfs", c"/srv/image", c"/bin/true"];
        bencher.iter(|| build(black_box(&words), &mut arena).as_bytes().len());
    });
}

fn validating(criterion: &mut Criterion) {
    let mut arena = vec![0; MAX_BYTES];
    let bytes = build(&WORDS, &mut arena).as_bytes().to_vec();
    criterion.bench_function("plan: check in place", |bencher| {
        bencher.iter(|| Plan::check(black_box(&bytes)).is_ok());
    });
    criterion.bench_function("plan: walk all steps", |bencher| {
        let Ok(plan) = Plan::check(&bytes) else {
            panic!("it was checked before")
        };
        bencher.iter(|| black_box(&plan).steps().count());
    });
}

fn serialising(criterion: &mut Criterion) {
    let mut arena = vec![0; MAX_BYTES];
    let plan = build(&WORDS, &mut arena);
    criterion.bench_function("plan: the apps' part", |bencher| {
        bencher.iter(|| {
            let (header, records) = black_box(&plan).apps_part();
            (header.len(), records.len())
        });
    });
    // SAFETY: a C string; the descriptor is new and ours.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"plan".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "no memory file");
        std::fs::File::from_raw_fd(descriptor)
    };
    criterion.bench_function("plan: write into a memory file", |bencher| {
        bencher.iter(|| {
            let (header, records) = black_box(&plan).apps_part();
            file.rewind()
                .and_then(|()| file.write_all(&header))
                .and_then(|()| file.write_all(records))
        });
    });
}

criterion_group!(plans, building, validating, serialising);
criterion_main!(plans);
