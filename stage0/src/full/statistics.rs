//! What the cgroups of a pod say of it, by the plan that it was started with.

use fly::{
    launch::path::Path,
    plan::{Kind, Plan},
    sys::descriptor,
    text::{decimal, split},
};

/// Where in a file the number stands: a file has words.
#[derive(Clone, Copy)]
enum Place {
    /// The first one.
    First,
    /// Those behind this one, together.
    Behind(&'static [u8]),
    /// The same, of disks: if none was used yet it is 0.
    OfDisks(&'static [u8]),
    /// Those that begin so, together.
    Rest(&'static [u8]),
    /// The first one, in nanoseconds.
    Nanoseconds,
}

use Place::{Behind, First, Nanoseconds, OfDisks, Rest};

/// What is told, and the files of both versions that know it; which of them are there
/// depends on the controllers.
const FILES: [(&str, &[u8], Place); 13] = [
    ("memory-bytes", b"/memory.current", First),
    ("memory-bytes", b"/memory.usage_in_bytes", First),
    ("memory-peak-bytes", b"/memory.peak", First),
    ("memory-peak-bytes", b"/memory.max_usage_in_bytes", First),
    ("cpu-microseconds", b"/cpu.stat", Behind(b"usage_usec")),
    // Of version 1 only where it is mounted together with cpu: a cgroup more would make
    // starts slower.
    ("cpu-microseconds", b"/cpuacct.usage", Nanoseconds),
    ("pids", b"/pids.current", First),
    ("io-read-bytes", b"/io.stat", Rest(b"rbytes=")),
    ("io-read-bytes", SERVICE, OfDisks(b"Read")),
    ("io-written-bytes", b"/io.stat", Rest(b"wbytes=")),
    ("io-written-bytes", SERVICE, OfDisks(b"Write")),
    ("oom-kills", b"/memory.events", Behind(b"oom_kill")),
    ("oom-kills", b"/memory.oom_control", Behind(b"oom_kill")),
];
const SERVICE: &[u8] = b"/blkio.throttle.io_service_bytes_recursive";

/// Calls `tell` with the name and the value of each number that the cgroups of the pod
/// have: those made for its limits. A pod that has ended, or that has no limits, has
/// none.
pub fn each(plan: Plan<'_>, tell: &mut dyn FnMut(&str, u64)) {
    let mut told = "";
    for (name, file, place) in FILES {
        // By the other version already.
        if told == name {
            continue;
        }
        let mut records = plan.steps().records();
        let made = records.by_ref().filter(|step| step.is(Kind::MakeCgroup));
        let mut values = made.filter_map(|step| value(step.list.first().to_bytes(), file, place));
        if let Some(value) = values.next() {
            told = name;
            tell(name, value);
        }
    }
}

fn value(cgroup: &[u8], file: &[u8], place: Place) -> Option<u64> {
    let path = Path::of(&[cgroup, file]).ok()?;
    let mut buffer = [0; 4096];
    let text = descriptor::read_file(path.as_c_str(), &mut buffer);
    if text.is_empty() && !exists(&path) {
        return None;
    }
    let mut words = split(text, b'\n').flat_map(|line| split(line, b' '));
    match place {
        First => decimal(words.next()?),
        Nanoseconds => decimal(words.next()?).map(|number| number / 1000),
        Behind(name) | OfDisks(name) => {
            let mut sum = matches!(place, OfDisks(_)).then_some(0);
            while let Some(word) = words.next() {
                if word == name {
                    let number = decimal(words.next()?)?;
                    sum = Some(sum.unwrap_or(0_u64).saturating_add(number));
                }
            }
            sum
        }
        // Of no disk yet.
        Rest(start) => Some(
            words
                .filter_map(|word| decimal(word.strip_prefix(start)?))
                .fold(0, u64::saturating_add),
        ),
    }
}

fn exists(path: &Path) -> bool {
    rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fly::plan::{Builder, List, Step};
    use std::{ffi::CString, fs, path::PathBuf};

    /// What is told of cgroups whose files hold this.
    fn told(cgroups: &[&[(&str, &str)]]) -> Vec<(String, u64)> {
        let own = format!("kickstage-statistics-{}-{:p}", std::process::id(), cgroups);
        let folder: PathBuf = std::env::temp_dir().join(own);
        let mut arena = vec![0; 1 << 16];
        let mut builder = Builder::new(&mut arena);
        for (number, files) in cgroups.iter().enumerate() {
            let cgroup = folder.join(number.to_string());
            fs::create_dir_all(&cgroup).unwrap();
            for (name, text) in *files {
                fs::write(cgroup.join(name), text).unwrap();
            }
            let path = CString::new(cgroup.to_str().unwrap()).unwrap();
            builder.push(Step::MakeCgroup {
                flags: 0,
                mount: 1,
                path: &path,
                controllers: c"",
            });
        }
        builder.push(Step::App { name: c"a" });
        builder
            .begin_list(Step::Exec {
                flags: 0,
                arguments: 1,
                strings: List::EMPTY,
            })
            .string(c"/a")
            .string(c"/a")
            .end();
        let plan = builder.finish().unwrap();
        let mut found = Vec::new();
        each(plan, &mut |name, value| {
            found.push((name.to_owned(), value));
        });
        fs::remove_dir_all(&folder).ok();
        found
    }

    #[track_caller]
    fn check(cgroups: &[&[(&str, &str)]], expected: &[(&str, u64)]) {
        let expected: Vec<(String, u64)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        assert_eq!(told(cgroups), expected);
    }

    #[test]
    fn version_2() {
        check(
            &[&[
                ("memory.current", "4096\n"),
                ("memory.peak", "8192\n"),
                ("cpu.stat", "usage_usec 77\nuser_usec 50\nsystem_usec 27\n"),
                ("pids.current", "3\n"),
                (
                    "io.stat",
                    "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=0 rios=1\n",
                ),
                (
                    "memory.events",
                    "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n",
                ),
            ]],
            &[
                ("memory-bytes", 4096),
                ("memory-peak-bytes", 8192),
                ("cpu-microseconds", 77),
                ("pids", 3),
                ("io-read-bytes", 11),
                ("io-written-bytes", 20),
                ("oom-kills", 1),
            ],
        );
    }

    #[test]
    fn version_1() {
        check(
            &[
                &[
                    ("memory.usage_in_bytes", "4096\n"),
                    ("memory.max_usage_in_bytes", "8192\n"),
                    (
                        "memory.oom_control",
                        "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
                    ),
                ],
                &[
                    (
                        "cpu.stat",
                        "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
                    ),
                    ("cpuacct.usage", "1234567\n"),
                ],
                &[("pids.current", "2\n")],
                &[(
                    "blkio.throttle.io_service_bytes_recursive",
                    "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\n8:16 Read 1\n8:16 Write 1\nTotal 13\n",
                )],
            ],
            &[
                ("memory-bytes", 4096),
                ("memory-peak-bytes", 8192),
                ("cpu-microseconds", 1234),
                ("pids", 2),
                ("io-read-bytes", 6),
                ("io-written-bytes", 7),
                ("oom-kills", 5),
            ],
        );
    }

    #[test]
    fn what_is_not_there() {
        check(&[], &[]);
        check(&[&[]], &[]);
        check(&[&[("memory.current", "max\n")]], &[]);
        // Of no disk yet.
        check(
            &[&[("io.stat", "")]],
            &[("io-read-bytes", 0), ("io-written-bytes", 0)],
        );
        check(
            &[&[("blkio.throttle.io_service_bytes_recursive", "Total 0\n")]],
            &[("io-read-bytes", 0), ("io-written-bytes", 0)],
        );
        // Version 1 with cpuacct in a hierarchy of its own.
        check(
            &[&[(
                "cpu.stat",
                "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
            )]],
            &[],
        );
    }
}
