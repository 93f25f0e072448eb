//! Isolators: limits, capabilities, filters of system calls.

use fly::{
    capability,
    json::{Reader, Text},
};
use linux_raw_sys::general as raw;

use super::{
    pod::Pod,
    quantity::{Bad, quantity},
    read::{Field, Manifest, Pass, Read, boolean, literal, number, short, text, wrong},
};

/// An isolator that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Isolator {
    Memory,
    Cpu,
    Shares,
    Pids,
    Oom,
    Retain,
    Remove,
    NoNewPrivileges,
    FilterRetain,
    FilterRemove,
    /// appc has it, but it can't be kept here.
    Refused,
}

/// How they are called.
const NAMES: [(&str, Isolator); 15] = [
    ("resource/memory", Isolator::Memory),
    ("resource/cpu", Isolator::Cpu),
    ("resource/pids", Isolator::Pids),
    ("os/linux/cpu-shares", Isolator::Shares),
    ("os/linux/oom-score-adj", Isolator::Oom),
    ("os/linux/capabilities-retain-set", Isolator::Retain),
    ("os/linux/capabilities-remove-set", Isolator::Remove),
    ("os/linux/no-new-privileges", Isolator::NoNewPrivileges),
    ("os/linux/seccomp-retain-set", Isolator::FilterRetain),
    ("os/linux/seccomp-remove-set", Isolator::FilterRemove),
    ("os/linux/selinux-context", Isolator::Refused),
    ("os/unix/sysctl", Isolator::Refused),
    ("resource/block-bandwidth", Isolator::Refused),
    ("resource/block-iops", Isolator::Refused),
    ("resource/network-bandwidth", Isolator::Refused),
];

impl Isolator {
    fn of(name: Text<'_>) -> Option<Self> {
        let mut all = NAMES.iter();
        all.find(|(known, _)| name.is(known)).map(|(_, one)| *one)
    }

    /// Whether it is one of the whole pod, in one cgroup.
    fn is_of_pod(self) -> bool {
        matches!(
            self,
            Self::Memory | Self::Cpu | Self::Shares | Self::Pids | Self::Oom
        )
    }

    /// Those of one app that exclude each other.
    fn excludes(self) -> Option<Self> {
        match self {
            Self::Retain => Some(Self::Remove),
            Self::Remove => Some(Self::Retain),
            Self::FilterRetain => Some(Self::FilterRemove),
            Self::FilterRemove => Some(Self::FilterRetain),
            _ => None,
        }
    }
}

impl<'a> Manifest<'a, '_, '_> {
    /// The isolators of an app of `pod`, or of the pod.
    pub(super) fn isolators(
        &mut self,
        field: &'static str,
        isolators: Field<'a>,
        of: Option<&Pod<'a>>,
    ) -> Read<()> {
        let mut seen = 0_u16;
        self.items(field, isolators, &mut |manifest, _, reader| {
            let at = reader.at();
            let [name, value] = manifest.object(reader, &["name", "value"])?;
            let isolator = manifest.required(at, "name", name, |_, reader| {
                let name = text(reader)?;
                let Some(isolator) = Isolator::of(name) else {
                    return wrong(name.at, "there is no such isolator");
                };
                if let Err(cause) = fits(isolator, seen, of) {
                    return wrong(name.at, cause);
                }
                Ok(isolator)
            })?;
            seen |= 1 << isolator as u8;
            manifest.required(at, "value", value, |manifest, reader| {
                manifest.isolator(isolator, reader)
            })
        })
        .map(drop)
    }

    fn isolator(&mut self, isolator: Isolator, reader: &mut Reader<'a>) -> Read<()> {
        match isolator {
            Isolator::Memory | Isolator::Cpu | Isolator::Pids => self.resource(isolator, reader),
            Isolator::Shares => {
                // On version 1 of cgroups 1024 shares are a weight of 100.
                let range = 10..=102_400;
                let shares = number(
                    reader,
                    range,
                    "it is no number from 10 to 102400, in digits alone",
                )?;
                self.limit(b"--cpu-weight=", ((shares * 100 + 512) / 1024).max(1), b"");
                Ok(())
            }
            Isolator::Oom => self.oom_score(reader),
            Isolator::Retain | Isolator::Remove => self.capabilities(isolator, reader),
            Isolator::NoNewPrivileges => {
                let gives_up = boolean(reader)?;
                if let (Some(arena), false) = (self.in_pass(Pass::Apps), gives_up) {
                    arena.word(b"--no-new-privs=false");
                }
                Ok(())
            }
            Isolator::FilterRetain => self.filter(true, reader),
            Isolator::FilterRemove => self.filter(false, reader),
            Isolator::Refused => Ok(()),
        }
    }

    /// An option of the pod.
    fn limit(&mut self, option: &[u8], number: u64, rest: &[u8]) {
        if let Some(arena) = self.in_pass(Pass::Pod) {
            arena.bytes(option).number(number).bytes(rest).end();
        }
    }

    /// An object of `limit` and `request`. A request reserves nothing: it can't be more
    /// than the limit.
    fn resource(&mut self, isolator: Isolator, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let [request, limit, default] = self.object(reader, &["request", "limit", "default"])?;
        self.missing(
            "default",
            default,
            "it is of block devices and networks only",
        )?;
        let limit_at = limit.map_or(at, |reader| reader.at());
        let limit = self.number_if("limit", limit, amount)?;
        let request_at = request.map_or(at, |reader| reader.at());
        let request = self.optional("request", request, |_, reader| {
            let request = amount(reader)?;
            if limit.is_some_and(|limit| request > limit) {
                return wrong(request_at, "it is more than the limit");
            }
            Ok(request)
        })?;
        let Some(limit) = limit else {
            let cause = match request {
                Some(_) => "a request alone reserves nothing: name a limit",
                None => "it is missing",
            };
            return self.refuse("limit", at, cause);
        };
        match isolator {
            Isolator::Cpu => {
                if !(10..=65_536_000).contains(&limit) {
                    return self.refuse("limit", limit_at, "it is not from 10m to 65536");
                }
                // Three digits behind the point; the leading 1 keeps the zeros.
                let digits = fly::text::Digits::new(1000 + limit % 1000, 10);
                let digits = digits.as_bytes().get(1..).unwrap_or_default();
                if let Some(arena) = self.in_pass(Pass::Pod) {
                    arena.bytes(b"--cpus=").number(limit / 1000).bytes(b".");
                    arena.bytes(digits).end();
                }
            }
            Isolator::Pids => {
                let limit = limit.div_ceil(1000);
                if !(2..=4_194_304).contains(&limit) {
                    return self.refuse("limit", limit_at, "it is not from 2 to 4194304");
                }
                self.limit(b"--pids=", limit, b"");
            }
            _ => {
                let limit = limit.div_ceil(1000);
                if limit < 1 << 20 {
                    return self.refuse("limit", limit_at, "it is less than 1Mi");
                }
                self.limit(b"--memory=", limit, b"");
            }
        }
        Ok(())
    }

    fn oom_score(&mut self, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let otherwise = "it is no number from -1000 to 1000, in digits alone";
        let text = literal(reader, otherwise)?;
        let (sign, digits): (&[u8], _) = match text {
            [b'-', digits @ ..] => (b"-", digits),
            digits => (b"", digits),
        };
        let number = fly::text::decimal(digits).filter(|number| *number <= 1000);
        let Some(number) = number else {
            return wrong(at, otherwise);
        };
        if let Some(arena) = self.in_pass(Pass::Pod) {
            arena.bytes(b"--oom-score-adj=").bytes(sign);
            arena.number(number).end();
        }
        Ok(())
    }

    /// An object with a list of names in `set`.
    fn capabilities(&mut self, isolator: Isolator, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let [set] = self.object(reader, &["set"])?;
        let mut named = 0;
        self.required(at, "set", set, |manifest, reader| {
            let at = reader.at();
            let count = manifest.list(reader, &mut |manifest, _, reader| {
                let name = text(reader)?;
                let mut room = [0; 64];
                let bytes = short(name, &mut room).unwrap_or_default();
                let is_one = bytes.starts_with(b"CAP_") && !fly::text::holds(bytes, b',');
                let Some(one) = capability::parse(bytes).filter(|_| is_one) else {
                    return wrong(name.at, "there is no such capability");
                };
                let makes_nodes = isolator == Isolator::Retain && one == 1 << raw::CAP_MKNOD;
                if makes_nodes && !manifest.beside.device_nodes {
                    return wrong(
                        name.at,
                        "it is given only with --device, whose filter it needs",
                    );
                }
                named |= one;
                Ok(())
            })?;
            if count == 0 {
                return wrong(at, "it is empty");
            }
            Ok(())
        })?;
        if isolator == Isolator::Remove {
            self.names(b"--cap-drop=", named);
        } else {
            // Exactly these: of the default ones no others, and those that are none.
            self.names(b"--cap-keep=", named);
            self.names(b"--cap-add=", named & !capability::DEFAULT);
        }
        Ok(())
    }

    fn names(&mut self, option: &[u8], set: u64) {
        let Some(arena) = self.in_pass(Pass::Apps).filter(|_| set != 0) else {
            return;
        };
        arena.bytes(option);
        let mut first = true;
        for (number, name) in fly::text::split(capability::NAMES.as_bytes(), b' ').enumerate() {
            if set & 1 << number != 0 {
                arena.bytes(if first { b"" } else { b"," }).bytes(name);
                first = false;
            }
        }
        arena.end();
    }
}

/// An amount, as a string or as a number.
fn amount(reader: &mut Reader<'_>) -> Read<u64> {
    let at = reader.at();
    let read = if reader.peek() == Some(b'"') {
        let mut room = [0; 64];
        quantity(short(text(reader)?, &mut room).unwrap_or_default())
    } else {
        quantity(literal(reader, Bad::Syntax.text())?)
    };
    read.or_else(|bad| wrong(at, bad.text()))
}

/// Whether it can stand there.
fn fits(isolator: Isolator, seen: u16, of: Option<&Pod<'_>>) -> Result<(), &'static str> {
    if seen & 1 << isolator as u8 != 0 {
        return Err("it is there twice");
    }
    if isolator == Isolator::Refused {
        return Err("it is not kept here");
    }
    if let Some(other) = isolator.excludes()
        && seen & 1 << other as u8 != 0
    {
        return Err("there is the other set, too");
    }
    match of {
        None if !isolator.is_of_pod() => Err("it is an app's, not a pod's"),
        Some(pod) if isolator.is_of_pod() && pod.count > 1 => {
            Err("with several apps it is the pod's: put it there")
        }
        Some(pod) if isolator.is_of_pod() && has(pod.isolators, isolator) => {
            Err("the pod has it, too")
        }
        _ => Ok(()),
    }
}

/// Whether it is among these.
fn has(isolators: Field<'_>, isolator: Isolator) -> bool {
    let mut found = false;
    super::pod::each_name(isolators, "name", &mut |_, mut reader| {
        let name = reader.string();
        found |= name.is_ok_and(|name| Isolator::of(name) == Some(isolator));
    });
    found
}
