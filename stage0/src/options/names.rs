//! Options of the files by which names are resolved: /etc/resolv.conf and /etc/hosts.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    text::{Split, decimal, split},
};

use super::{Choice, Choices};

/// One of these options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called like the options")]
pub enum NameOption {
    Dns,
    DnsSearch,
    DnsOpt,
    DnsDomain,
    HostsEntry,
}

/// Where a file of a pod is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nothing was said.
    #[default]
    Default,
    /// It is the host's.
    Host,
    /// It is the root's own.
    Root,
    /// It holds what the options say.
    Written,
}

/// Where both files are from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names {
    /// /etc/resolv.conf
    pub resolver: Source,
    /// /etc/hosts
    pub hosts: Source,
}

impl NameOption {
    /// All of them.
    const ALL: [Self; 5] = [
        Self::Dns,
        Self::DnsSearch,
        Self::DnsOpt,
        Self::DnsDomain,
        Self::HostsEntry,
    ];

    /// The option's name.
    #[must_use]
    pub fn name(self) -> &'static CStr {
        match self {
            Self::Dns => c"--dns",
            Self::DnsSearch => c"--dns-search",
            Self::DnsOpt => c"--dns-opt",
            Self::DnsDomain => c"--dns-domain",
            Self::HostsEntry => c"--hosts-entry",
        }
    }

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|option| option.name().to_bytes() == name)
    }

    /// What the option's value makes of its file.
    fn source(self, value: &[u8]) -> Source {
        match (self, value) {
            (Self::Dns | Self::HostsEntry, b"host") => Source::Host,
            (Self::Dns, b"none") => Source::Root,
            _ => Source::Written,
        }
    }

    /// Nothing but what the file's format takes comes into it.
    pub(super) fn check(self, text: &CStr) -> Result<&CStr, Error<'_>> {
        let value = text.to_bytes();
        if self.source(value) != Source::Written {
            return Ok(text);
        }
        let (good, why) = match self {
            Self::Dns => (is_address(value), Why::NotAddress),
            Self::DnsSearch | Self::DnsDomain => (is_name(value), Why::NotName),
            Self::DnsOpt => (
                split(value, b':').all(is_name) && split(value, b':').count() <= 2,
                Why::NotDnsOption,
            ),
            Self::HostsEntry => (
                pairs(value).all(|(address, name)| is_address(address) && is_name(name)),
                Why::NotHostsEntry,
            ),
        };
        if good {
            Ok(text)
        } else {
            Err(Error::new(What::ReadOption, text, why))
        }
    }
}

impl Names {
    /// Whether anything was said of them.
    #[must_use]
    pub fn any(&self) -> bool {
        [self.resolver, self.hosts]
            .iter()
            .any(|source| *source != Source::Default)
    }

    pub(super) fn add<'a>(&mut self, option: NameOption, text: &'a CStr) -> Result<(), Error<'a>> {
        let place = match option {
            NameOption::HostsEntry => &mut self.hosts,
            _ => &mut self.resolver,
        };
        let source = option.source(text.to_bytes());
        // Only lines can be added to each other.
        match (*place, source) {
            (Source::Default, _) | (Source::Written, Source::Written) => {
                *place = source;
                Ok(())
            }
            _ => Err(Error::new(
                What::ReadOption,
                option.name(),
                Why::NotWithHost,
            )),
        }
    }

    /// An option of a file that is written, if there is any.
    #[must_use]
    pub fn written(&self) -> Option<&'static CStr> {
        match (self.resolver, self.hosts) {
            (Source::Written, _) => Some(c"--dns"),
            (_, Source::Written) => Some(c"--hosts-entry"),
            _ => None,
        }
    }
}

/// The addresses and names of all `--hosts-entry`.
#[derive(Clone, Debug)]
pub struct Entries<'a, I> {
    choices: Choices<I>,
    pairs: Pairs<'a>,
}

impl<'a, I> Entries<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Those among these options, which were read before.
    pub fn of(choices: &Choices<I>) -> Self {
        Self {
            choices: choices.clone(),
            pairs: Pairs {
                parts: None,
                address: b"",
            },
        }
    }
}

impl<'a, I> Iterator for Entries<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.pairs.next() {
                return Some(pair);
            }
            if let Choice::Name(NameOption::HostsEntry, text) = self.choices.take().ok()?? {
                self.pairs = pairs(text.to_bytes());
            }
        }
    }
}

/// What one `--hosts-entry` says, as `IP=NAME[,NAME...][,IP=NAME...]`.
#[derive(Clone, Debug)]
struct Pairs<'a> {
    parts: Option<Split<'a>>,
    address: &'a [u8],
}

fn pairs(value: &[u8]) -> Pairs<'_> {
    Pairs {
        parts: Some(split(value, b',')),
        address: b"",
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.parts.as_mut()?.next()?;
        let mut halves = split(part, b'=');
        let first = halves.next()?;
        if part.len() == first.len() {
            return Some((self.address, first));
        }
        self.address = first;
        Some((first, halves.rest()))
    }
}

/// An IP address; one of version 6 may have a scope behind a percent sign.
fn is_address(text: &[u8]) -> bool {
    let mut parts = split(text, b'%');
    let address = parts.next().unwrap_or_default();
    match parts.next() {
        None => is_version_4(address) || is_version_6(address),
        Some(scope) => parts.next().is_none() && is_version_6(address) && is_name(scope),
    }
}

fn is_version_4(text: &[u8]) -> bool {
    let is_byte = |part| decimal(part).is_some_and(|number| number <= 255);
    split(text, b'.').count() == 4 && split(text, b'.').all(is_byte)
}

/// RFC 4291, 2.2: eight groups, or fewer and once `::` for those that are zero; the last
/// two may be an address of version 4. (The parser of `core` costs 3 KB.)
fn is_version_6(text: &[u8]) -> bool {
    let is_group =
        |part: &[u8]| (1..=4).contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit);
    let parts = split(text, b':').count();
    let (mut groups, mut empty) = (0, 0);
    for (index, part) in split(text, b':').enumerate() {
        if part.is_empty() {
            // A `::` at an end is parted into two, of which one counts.
            empty += usize::from(index != 0 && index + 1 != parts);
        } else if index + 1 == parts && parts > 1 && is_version_4(part) {
            groups += 2;
        } else if is_group(part) {
            groups += 1;
        } else {
            return false;
        }
    }
    let begins = text.starts_with(b":") && !text.starts_with(b"::");
    let ends = text.ends_with(b":") && !text.ends_with(b"::");
    !begins && !ends && (empty == 1 && groups < 8 || empty == 0 && groups == 8)
}

/// The host name that was given: it becomes a line of /etc/hosts, and of what terminals show.
///
/// # Errors
/// It is empty, longer than the kernel takes, or has other characters than names have.
#[cold]
#[inline(never)]
pub fn host(name: &CStr) -> Result<&CStr, Error<'_>> {
    // __NEW_UTS_LEN (sethostname(2)).
    const MOST: usize = 64;
    let why = match name.count_bytes() {
        1..=MOST if is_name(name.to_bytes()) => return Ok(name),
        1..=MOST => Why::NotName,
        _ => Why::BadHostName,
    };
    Err(Error::new(What::ReadOption, c"--hostname", why))
}

fn is_name(text: &[u8]) -> bool {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    !text.is_empty() && text.iter().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["1.2.3.4", "::1", "fe80::1%eth0", "2001:db8::1"] {
            assert!(is_address(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4%lo",
            "fe80::1%",
            "::1%a%b",
            "::1\n",
            "01.2.3.4",
            "a",
        ] {
            assert!(!is_address(bad.as_bytes()), "{bad}");
        }
    }

    /// As the parser of `core`, which knows no scopes.
    #[test]
    fn addresses_as_core() {
        let parts = [
            "", ":", "::", "1", "ffff", "12345", "g", "1.2.3.4", ".", "256", "0",
        ];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = texts
                .iter()
                .flat_map(|text| parts.map(|part| format!("{text}{part}")));
            texts = longer.collect();
            texts.sort();
            texts.dedup();
        }
        let eight = [
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:1.2.3.4",
            "::2:3:4:5:6:7:8",
        ];
        let more = [
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::",
            "1::3:4:5:6:7:8",
            "1:2:3:4:5:6:7:1.2.3.4",
        ];
        for text in texts.iter().map(String::as_str).chain(eight).chain(more) {
            let good = text.parse::<core::net::IpAddr>().is_ok();
            assert_eq!(is_address(text.as_bytes()), good, "{text}");
        }
    }

    #[test]
    fn values() {
        for (option, good) in [
            (NameOption::Dns, c"host"),
            (NameOption::Dns, c"none"),
            (NameOption::DnsSearch, c"a.b_c-d"),
            (NameOption::DnsSearch, c"."),
            (NameOption::DnsOpt, c"ndots:2"),
            (NameOption::DnsOpt, c"use-vc"),
            (NameOption::HostsEntry, c"host"),
            (NameOption::HostsEntry, c"::1=a,b,1.2.3.4=c"),
        ] {
            assert!(option.check(good).is_ok(), "{good:?}");
        }
        for (option, bad) in [
            (NameOption::Dns, c"HOST"),
            (NameOption::DnsSearch, c""),
            (NameOption::DnsSearch, c"a b"),
            (NameOption::DnsDomain, c"a\nnameserver 1.2.3.4"),
            (NameOption::DnsOpt, c"a:b:c"),
            (NameOption::DnsOpt, c":"),
            (NameOption::HostsEntry, c"none"),
            (NameOption::HostsEntry, c"1.2.3.4"),
            (NameOption::HostsEntry, c"1.2.3.4="),
            (NameOption::HostsEntry, c"1.2.3.4=a,"),
            (NameOption::HostsEntry, c"1.2.3.4=a=b"),
            (NameOption::HostsEntry, c"=a"),
            (NameOption::HostsEntry, c"a=1.2.3.4"),
            (NameOption::HostsEntry, c""),
        ] {
            assert!(option.check(bad).is_err(), "{bad:?}");
        }
    }
}
