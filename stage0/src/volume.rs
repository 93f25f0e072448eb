//! Volumes: what `--volume` and `--mount` say.

use core::ffi::CStr;

use fly::error::{Error, What, Why};

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory or file of the host.
    Host,
    /// A tmpfs of the pod's own.
    Empty,
}

/// A named volume: `NAME,kind=host|empty[,source=PATH][,readOnly=BOOL][,recursive=BOOL][,mode=MODE][,uid=N][,gid=N]`.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Where it is on the host; empty for an empty one.
    pub source: &'a [u8],
    /// Nothing in it can be written.
    pub read_only: bool,
    /// With the mounts below it.
    pub recursive: bool,
    /// The mode of an empty one's root, octal.
    pub mode: &'a [u8],
    /// The ids of an empty one's root; empty for 0.
    pub user: &'a [u8],
    /// Its group.
    pub group: &'a [u8],
}

/// A short volume, `SRC:DST[:ro|:rw]`.
#[derive(Clone, Copy, Debug)]
pub struct Short<'a> {
    /// Where it is on the host.
    pub source: &'a [u8],
    /// Where it goes in the pod.
    pub target: &'a [u8],
    /// Nothing in it can be written.
    pub read_only: bool,
}

/// A mount of a named volume: `volume=NAME,target=PATH[,readOnly=BOOL]`.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    /// The volume's name.
    pub volume: &'a [u8],
    /// Where it goes in the pod.
    pub target: &'a [u8],
    /// Nothing in it can be written through this mount.
    pub read_only: bool,
}

/// Whether the text is a short volume.
#[must_use]
pub fn is_short(text: &CStr) -> bool {
    !text
        .to_bytes()
        .split(|byte| *byte == b',')
        .any(|part| part.starts_with(b"kind="))
}

impl<'a> Short<'a> {
    /// Reads a short volume.
    ///
    /// # Errors
    /// Names the volume and what is wrong with it.
    pub fn parse(text: &'a CStr) -> Result<Self, Error<'a>> {
        let failed = |why: Why| Error::new(What::ReadVolume, text, why);
        let mut parts = text.to_bytes().split(|byte| *byte == b':');
        let source = parts.next().filter(|part| !part.is_empty());
        let target = parts.next().filter(|part| part.starts_with(b"/"));
        let (Some(source), Some(target)) = (source, target) else {
            return Err(failed(Why::NoShortVolume));
        };
        let read_only = match parts.next() {
            None | Some(b"rw") => false,
            Some(b"ro") => true,
            Some(_) => return Err(failed(Why::NoShortVolume)),
        };
        if parts.next().is_some() {
            return Err(failed(Why::NoShortVolume));
        }
        Ok(Self {
            source,
            target,
            read_only,
        })
    }
}

impl<'a> Volume<'a> {
    /// Reads a named volume.
    ///
    /// # Errors
    /// Names the volume and the field that is wrong.
    pub fn parse(text: &'a CStr) -> Result<Self, Error<'a>> {
        let failed = |why: Why| Error::new(What::ReadVolume, text, why);
        let mut parts = text.to_bytes().split(|byte| *byte == b',');
        let mut volume = Self {
            name: parts.next().unwrap_or_default(),
            kind: Kind::Host,
            source: b"",
            read_only: false,
            recursive: true,
            mode: b"0755",
            user: b"",
            group: b"",
        };
        if volume.name.is_empty() || volume.name.contains(&b'=') {
            return Err(failed(Why::NoVolumeName));
        }
        for part in parts {
            let (key, value) = pair(part).ok_or(failed(Why::NoKeyValue))?;
            match key {
                b"kind" => {
                    volume.kind = match value {
                        b"host" => Kind::Host,
                        b"empty" => Kind::Empty,
                        _ => return Err(failed(Why::NotHostOrEmpty)),
                    }
                }
                b"source" => volume.source = value,
                b"readOnly" => {
                    volume.read_only = boolean(value).ok_or(failed(Why::NotTrueOrFalse))?;
                }
                b"recursive" => {
                    volume.recursive = boolean(value).ok_or(failed(Why::NotTrueOrFalse))?;
                }
                b"mode" => {
                    // Of more than four digits the kernel would lose the first ones.
                    let digits = match value {
                        [b'0', digits @ ..] => digits,
                        digits => digits,
                    };
                    let octal = digits.len() <= 4
                        && !value.is_empty()
                        && digits.iter().all(|byte| matches!(byte, b'0'..=b'7'));
                    if !octal {
                        return Err(failed(Why::NotOctal));
                    }
                    volume.mode = value;
                }
                b"uid" => volume.user = id(value).ok_or(failed(Why::NoId))?,
                b"gid" => volume.group = id(value).ok_or(failed(Why::NoId))?,
                _ => return Err(failed(Why::UnknownKey)),
            }
        }
        match (volume.kind, volume.source.is_empty()) {
            (Kind::Host, true) => Err(failed(Why::NoSource)),
            (Kind::Empty, false) => Err(failed(Why::SourceOfEmpty)),
            _ => Ok(volume),
        }
    }
}

impl<'a> Mount<'a> {
    /// Reads a mount.
    ///
    /// # Errors
    /// Names the mount and the field that is wrong.
    pub fn parse(text: &'a CStr) -> Result<Self, Error<'a>> {
        let failed = |why: Why| Error::new(What::ReadMount, text, why);
        let mut mount = Self {
            volume: b"",
            target: b"",
            read_only: false,
        };
        for part in text.to_bytes().split(|byte| *byte == b',') {
            let (key, value) = pair(part).ok_or(failed(Why::NoKeyValue))?;
            match key {
                b"volume" => mount.volume = value,
                b"target" => mount.target = value,
                b"readOnly" => {
                    mount.read_only = boolean(value).ok_or(failed(Why::NotTrueOrFalse))?;
                }
                _ => return Err(failed(Why::UnknownKey)),
            }
        }
        if mount.volume.is_empty() || mount.target.is_empty() {
            return Err(failed(Why::NoVolumeOrTarget));
        }
        Ok(mount)
    }
}

/// A number of a user or a group, as it is written.
fn id(value: &[u8]) -> Option<&[u8]> {
    let number = fly::text::decimal(value)?;
    (number < u64::from(u32::MAX)).then_some(value)
}

fn pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = part.split_at_checked(at)?;
    Some((key, rest.get(1..)?))
}

fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_volumes() {
        let volume = Short::parse(c"/a:/b:ro").unwrap();
        assert_eq!(
            (volume.source, volume.target, volume.read_only),
            (&b"/a"[..], &b"/b"[..], true)
        );
        assert!(!Short::parse(c"a:/b:rw").unwrap().read_only);
        for bad in [
            c"",
            c"/a",
            c":/b",
            c"/a:",
            c"/a:b",
            c"/a:/b:x",
            c"/a:/b:ro:ro",
        ] {
            assert!(Short::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn named_volumes() {
        let volume =
            Volume::parse(c"data,kind=host,source=/srv,readOnly=true,recursive=false").unwrap();
        assert_eq!((volume.name, volume.source), (&b"data"[..], &b"/srv"[..]));
        assert!(volume.read_only && !volume.recursive);
        let volume = Volume::parse(c"data,kind=host,source=/srv").unwrap();
        assert!(!volume.read_only && volume.recursive);
        assert_eq!(
            Volume::parse(c"data,kind=empty").unwrap().mode,
            b"0755".as_slice()
        );
        for mode in ["0", "755", "1777", "07777", "00000"] {
            let text = std::ffi::CString::new(format!("data,kind=empty,mode={mode}")).unwrap();
            assert_eq!(Volume::parse(&text).unwrap().mode, mode.as_bytes());
        }
        for bad in [
            c"kind=host,source=/a",
            c",kind=empty",
            c"data,kind=host",
            c"data,kind=empty,source=/a",
            c"data,kind=disk",
            c"data,kind=host,source=/a,readOnly=yes",
            c"data,kind=empty,mode=9",
            c"data,kind=empty,mode=",
            c"data,kind=empty,mode=17777",
            c"data,kind=empty,mode=000000",
            c"data,kind=empty,uid=root",
            c"data,kind=empty,gid=4294967295",
            c"data,kind=empty,colour=red",
            c"data,kind=empty,nothing",
        ] {
            assert!(Volume::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mounts() {
        let mount = Mount::parse(c"volume=data,target=/x").unwrap();
        assert_eq!((mount.volume, mount.target), (&b"data"[..], &b"/x"[..]));
        for bad in [c"", c"volume=a", c"target=/x", c"volume=a,target=/x,mode=1"] {
            assert!(Mount::parse(bad).is_err(), "{bad:?}");
        }
    }
}
