//! Devices of the host that a pod may use, and the rates of its disks: what is looked up
//! on the host, by number.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    launch::path::Path,
    plan::Step,
    text::Digits,
};
use rustix::fs::{self, FileType, major, minor};

use super::{
    DEV, Features, Lowering, NOEXEC, NOSUID, SOURCE,
    cgroups::{Cgroups, limit_step},
};
use crate::options::{
    Choice, Limit,
    limits::{self, RATES},
};

/// More than that do not fit the plan's step.
const MOST: usize = 32;

/// What every pod has in its /dev; a node of another kind may be made, but not used.
const USUAL: [&CStr; 11] = [
    c"c *:* m",
    c"b *:* m",
    c"c 1:3 rwm",
    c"c 1:5 rwm",
    c"c 1:7 rwm",
    c"c 1:8 rwm",
    c"c 1:9 rwm",
    c"c 5:0 rwm",
    c"c 5:1 rwm",
    c"c 5:2 rwm",
    c"c 136:* rwm",
];

/// The names of those of them that are there already.
const THERE: [&[u8]; 8] = [
    b"null", b"zero", b"full", b"random", b"urandom", b"tty", b"console", b"ptmx",
];

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// Calls `each` for the values of this option.
    #[cold]
    #[inline(never)]
    fn each_of(
        &mut self,
        wanted: Limit,
        each: &mut dyn FnMut(&mut Self, &'a CStr) -> Result<(), Error<'a>>,
    ) -> Result<(), Error<'a>> {
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.take()? {
            if let Choice::PodLimit(limit, text, _) = choice
                && limit == wanted
            {
                each(self, text)?;
            }
        }
        Ok(())
    }

    /// Which devices the cgroup has: what every pod has, and those that are named.
    #[cold]
    #[inline(never)]
    pub(super) fn filter_devices(
        &mut self,
        mount: &[u8],
        cgroups: &Cgroups<'_>,
        unified: bool,
    ) -> Result<(), Error<'a>> {
        self.plan.begin_list(Step::FilterDevices {
            flags: if unified { Step::ENABLE } else { 0 },
            list: fly::plan::List::EMPTY,
        });
        self.path(mount, cgroups, b"");
        for rule in USUAL {
            self.plan.string(rule);
        }
        let mut count = 0;
        let done = self.each_of(Limit::Devices, &mut |lowering, text| {
            count += 1;
            if count > MOST {
                return Err(Error::new(What::ReadOption, text, Why::TooManyDevices));
            }
            let (path, access) = limits::device(text.to_bytes());
            let (is_block, number) = look_up(path, text)?;
            let kind: &[u8] = if is_block { b"b " } else { b"c " };
            let (major, minor) = (digits(major(number)), digits(minor(number)));
            lowering
                .plan
                .joined(&[kind, major.as_bytes(), b":", minor.as_bytes(), b" ", access]);
            Ok(())
        });
        self.plan.end();
        done
    }

    /// The nodes of the host in the pod's /dev, by the same path; of one elsewhere it is
    /// its last part.
    #[cold]
    #[inline(never)]
    pub(super) fn device_nodes(&mut self) -> Result<(), Error<'a>> {
        self.each_of(Limit::Devices, &mut |lowering, text| {
            let (path, _) = limits::device(text.to_bytes());
            let name = match path.strip_prefix(b"/dev/") {
                Some(name) => name,
                None => path.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
            };
            if THERE.contains(&name) {
                return Ok(());
            }
            let step = Step::OpenTree {
                into: SOURCE,
                flags: 0,
                attributes: NOSUID | NOEXEC,
                path: c"",
            };
            lowering.plan.begin_list(step).joined(&[path]).end();
            let step = Step::Attach {
                mount: SOURCE,
                under: DEV,
                flags: Step::CREATE | Step::CLOSE,
                target: c"",
            };
            lowering.plan.begin_list(step).joined(&[name]).end();
            Ok(())
        })
    }

    /// The rates of each disk that is named.
    #[cold]
    #[inline(never)]
    pub(super) fn rates(
        &mut self,
        mount: &[u8],
        cgroups: &Cgroups<'_>,
        unified: bool,
    ) -> Result<(), Error<'a>> {
        self.each_of(Limit::IoMax, &mut |lowering, text| {
            let Some((path, rates)) = limits::rates(text.to_bytes()) else {
                return Ok(());
            };
            let (true, number) = look_up(path, text)? else {
                return Err(Error::new(What::ReadOption, text, Why::NoBlockDevice));
            };
            let (major, minor) = (digits(major(number)), digits(minor(number)));
            let step = limit_step(unified);
            if unified {
                lowering.plan.begin_list(step);
                lowering.path(mount, cgroups, b"/io.max");
            }
            let mut first = true;
            for (rate, (name, file)) in rates.into_iter().zip(RATES.into_iter().zip(FILES)) {
                let Some(rate) = rate else { continue };
                let rate = Digits::new(rate, 10);
                if !unified {
                    lowering.plan.begin_list(step);
                    lowering.path(mount, cgroups, file);
                }
                if !unified || core::mem::take(&mut first) {
                    let plan = &mut lowering.plan;
                    plan.bytes(major.as_bytes())
                        .bytes(b":")
                        .bytes(minor.as_bytes());
                }
                lowering.plan.bytes(b" ");
                if unified {
                    lowering.plan.bytes(name).bytes(b"=");
                }
                lowering.plan.bytes(rate.as_bytes());
                if !unified {
                    lowering.plan.joined(&[]).end();
                }
            }
            if unified {
                lowering.plan.joined(&[]).end();
            }
            Ok(())
        })
    }
}

/// The files of version 1 for [`RATES`].
const FILES: [&[u8]; RATES.len()] = [
    b"/blkio.throttle.read_bps_device",
    b"/blkio.throttle.write_bps_device",
    b"/blkio.throttle.read_iops_device",
    b"/blkio.throttle.write_iops_device",
];

fn digits(number: u32) -> Digits {
    Digits::new(number.into(), 10)
}

/// Whether the device at `path` is one of blocks, and its number. `option` names it.
fn look_up<'a>(path: &[u8], option: &'a CStr) -> Result<(bool, u64), Error<'a>> {
    let failed = |errno| Error::new(What::ReadOption, option, errno);
    let path = Path::of(&[path]).map_err(failed)?;
    let status = fs::stat(path.as_c_str()).map_err(failed)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::BlockDevice => Ok((true, status.st_rdev)),
        FileType::CharacterDevice => Ok((false, status.st_rdev)),
        _ => Err(Error::new(What::ReadOption, option, Why::NotADevice)),
    }
}
