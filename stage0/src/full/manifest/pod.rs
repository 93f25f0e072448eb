//! A pod manifest as a whole, its volumes and its ports.

use core::cell::Cell;

use fly::json::{Reader, Text};

use super::{
    MAX_ITEMS,
    names::Names,
    path::Part,
    read::{Field, Manifest, Pass, Read, identifier, name, number, path_in_list, text, wrong},
    words::Arena,
};
use crate::lower::{MAX_EMPTY, MAX_ROOTS};

/// Of the pod, or of an app.
const TWO_PORTS: &str = "two ports have this name";
// What the texts say.
const _: () = assert!(MAX_ROOTS == 32 && MAX_EMPTY == 17);

/// What the apps of a pod can look up in it.
pub(super) struct Pod<'a> {
    /// How many apps there are.
    pub(super) count: usize,
    /// The names of the volumes.
    pub(super) volumes: Names<'a>,
    /// Which of them an app mounts.
    mounted: [Cell<bool>; MAX_ITEMS],
    /// Its isolators.
    pub(super) isolators: Field<'a>,
    /// How many volumes are empty ones, those of single apps too.
    empty: Cell<usize>,
}

impl Pod<'_> {
    /// An app mounts the volume of this name; whether there is one.
    pub(super) fn mount(&self, volume: Text<'_>) -> bool {
        let index = self.volumes.find(volume);
        if let Some(place) = index.and_then(|index| self.mounted.get(index)) {
            place.set(true);
        }
        index.is_some()
    }
}

impl<'a> Manifest<'a, '_, '_> {
    /// Reads the manifest, and writes the words of this pass.
    #[allow(clippy::too_many_lines, reason = "a field each")]
    pub(super) fn pod(&mut self, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let fields = self.object(
            reader,
            &[
                "acKind",
                "acVersion",
                "apps",
                "volumes",
                "isolators",
                "annotations",
                "ports",
                "userAnnotations",
                "userLabels",
            ],
        )?;
        reader.end()?;
        let [
            kind,
            version,
            apps,
            volumes,
            isolators,
            notes,
            ports,
            own,
            labels,
        ] = fields;
        self.required(at, "acKind", kind, |_, reader| {
            let kind = text(reader)?;
            if kind.is("PodManifest") {
                Ok(())
            } else {
                wrong(kind.at, "it is not PodManifest")
            }
        })?;
        self.required(at, "acVersion", version, |_, reader| semver(reader))?;
        self.pairs("annotations", notes)?;
        self.strings("userAnnotations", own)?;
        self.strings("userLabels", labels)?;
        self.exposed_ports(ports)?;
        let count = self.required(at, "apps", apps, |manifest, reader| {
            let at = reader.at();
            let count = manifest.list(reader, &mut |_, index, reader| {
                // Each has a root of its own.
                if index >= MAX_ROOTS {
                    return wrong(reader.at(), "there may be 32 apps");
                }
                Ok(reader.skip()?)
            })?;
            if count == 0 {
                return wrong(at, "there is no app");
            }
            Ok(count)
        })?;
        let pod = Pod {
            count,
            volumes: Names::of(volumes, "name"),
            mounted: [const { Cell::new(false) }; MAX_ITEMS],
            isolators,
            empty: Cell::new(0),
        };
        self.isolators("isolators", isolators, None)?;
        self.volumes(&pod, volumes)?;
        let mut names = Names::new();
        self.items("apps", apps, &mut |manifest, index, reader| {
            manifest.app(&pod, index, &mut names, reader)
        })?;
        self.all_mounted(&pod)
    }

    /// The volumes: their names are unique.
    fn volumes(&mut self, pod: &Pod<'a>, volumes: Field<'a>) -> Read<()> {
        self.items("volumes", volumes, &mut |manifest, index, reader| {
            let volume = manifest.volume(pod, reader)?;
            // Of two the first one is found.
            if pod.volumes.find(volume.name) != Some(index) {
                let text = "two volumes have this name";
                return manifest.refuse("name", volume.name.at, text);
            }
            if let Some(arena) = manifest.in_pass(Pass::Pod) {
                arena.bytes(b"--volume=").text(volume.name);
                volume.write(arena);
            }
            Ok(())
        })
        .map(drop)
    }

    /// Each volume is mounted.
    fn all_mounted(&mut self, pod: &Pod<'a>) -> Read<()> {
        let mut volumes = pod.volumes.iter().zip(&pod.mounted).enumerate();
        let Some((index, (name, _))) = volumes.find(|(_, (_, mounted))| !mounted.get()) else {
            return Ok(());
        };
        self.at(Part::Field("volumes"), |manifest| {
            manifest.at(Part::Index(index), |manifest| {
                manifest.refuse("name", name.at, "no app mounts this volume")
            })
        })
    }

    /// One volume.
    #[allow(clippy::too_many_lines, reason = "a field each")]
    pub(super) fn volume(&mut self, pod: &Pod<'a>, reader: &mut Reader<'a>) -> Read<Volume<'a>> {
        let at = reader.at();
        let fields = self.object(
            reader,
            &[
                "name",
                "kind",
                "source",
                "readOnly",
                "recursive",
                "mode",
                "uid",
                "gid",
            ],
        )?;
        let [called, kind, source, read_only, recursive, mode, uid, gid] = fields;
        let name = self.text_of(at, "name", called, name)?;
        let is_host = self.required(at, "kind", kind, |_, reader| {
            let kind = text(reader)?;
            match (kind.is("host"), kind.is("empty")) {
                (true, _) => Ok(true),
                (_, true) if pod.empty.get() >= MAX_EMPTY => {
                    wrong(kind.at, "there may be 17 empty volumes")
                }
                (_, true) => {
                    pod.empty.set(pod.empty.get() + 1);
                    Ok(false)
                }
                _ => wrong(kind.at, "it is neither host nor empty"),
            }
        })?;
        let read_only = self.flag_if("readOnly", read_only)?;
        let mut volume = Volume {
            name,
            source: None,
            read_only: read_only == Some(true),
            recursive: true,
            mode: None,
            user: None,
            group: None,
        };
        if is_host {
            let source = self.text_of(at, "source", source, path_in_list)?;
            volume.source = Some(source);
            let recursive = self.flag_if("recursive", recursive)?;
            volume.recursive = recursive.unwrap_or(true);
            for (field, value) in [("mode", mode), ("uid", uid), ("gid", gid)] {
                self.missing(field, value, "it is of empty volumes only")?;
            }
            return Ok(volume);
        }
        for (field, value) in [("source", source), ("recursive", recursive)] {
            self.missing(field, value, "it is of host volumes only")?;
        }
        volume.mode = self.text_if("mode", mode, octal)?;
        volume.user = self.number_if("uid", uid, id)?;
        volume.group = self.number_if("gid", gid, id)?;
        Ok(volume)
    }

    /// The ports of the host for those of the pod.
    #[inline(never)]
    fn exposed_ports(&mut self, ports: Field<'a>) -> Read<()> {
        if ports.is_none() {
            return Ok(());
        }
        let mut names = Names::new();
        self.items("ports", ports, &mut |manifest, _, reader| {
            let name = manifest.exposed(reader)?;
            manifest.unique(&mut names, name, TWO_PORTS)
        })
        .map(drop)
    }

    /// The ports of an app; tells whether one wants the descriptors of a service manager.
    #[inline(never)]
    pub(super) fn ports(&mut self, ports: Field<'a>) -> Read<bool> {
        if ports.is_none() {
            return Ok(false);
        }
        let mut names = Names::new();
        let mut activated = false;
        self.items("ports", ports, &mut |manifest, _, reader| {
            let (name, is_activated) = manifest.port(reader)?;
            activated |= is_activated;
            manifest.unique(&mut names, name, TWO_PORTS)
        })?;
        Ok(activated)
    }

    /// A port of the host for one of the pod: it is kept in the manifest, and nothing
    /// else is done with it.
    fn exposed(&mut self, reader: &mut Reader<'a>) -> Read<Text<'a>> {
        let at = reader.at();
        let names = &["name", "hostPort", "hostIP", "podPort"];
        let [called, host, address, inside] = self.object(reader, names)?;
        let name = self.text_of(at, "name", called, name)?;
        self.required(at, "hostPort", host, |_, reader| port(reader))?;
        self.optional("hostIP", address, |_, reader| {
            let address = text(reader)?;
            // Nothing listens there: that it could be one is enough.
            let is_one =
                |character: char| character.is_ascii_hexdigit() || matches!(character, '.' | ':');
            let mut all = address.characters().flatten();
            if address.raw.len() < 2 || !all.all(is_one) {
                return wrong(address.at, "it is no address");
            }
            Ok(())
        })?;
        self.optional("podPort", inside, Self::port)?;
        Ok(name)
    }

    /// A port of an app: its name, and whether it wants the descriptors of a service
    /// manager.
    fn port(&mut self, reader: &mut Reader<'a>) -> Read<(Text<'a>, bool)> {
        let at = reader.at();
        let names = &["name", "protocol", "port", "count", "socketActivated"];
        let [called, protocol, first, count, activated] = self.object(reader, names)?;
        let name = self.text_of(at, "name", called, name)?;
        self.required(at, "protocol", protocol, |_, reader| {
            let protocol = text(reader)?;
            if protocol.is("tcp") || protocol.is("udp") {
                Ok(())
            } else {
                wrong(protocol.at, "it is neither tcp nor udp")
            }
        })?;
        let first = self.required(at, "port", first, |_, reader| port(reader))?;
        self.optional("count", count, |_, reader| {
            let range = 1..=65_536 - first;
            number(
                reader,
                range,
                "it is no number from 1 on that leads to no port beyond 65535",
            )
        })?;
        let activated = self.flag_if("socketActivated", activated)?;
        Ok((name, activated == Some(true)))
    }
}

/// A checked volume.
pub(super) struct Volume<'a> {
    pub(super) name: Text<'a>,
    /// Of a host volume.
    source: Option<Text<'a>>,
    read_only: bool,
    recursive: bool,
    mode: Option<Text<'a>>,
    user: Option<u64>,
    group: Option<u64>,
}

impl Volume<'_> {
    /// Ends the word that begins with the volume's name.
    pub(super) fn write(&self, arena: &mut Arena<'_>) {
        match self.source {
            Some(source) => arena.bytes(b",kind=host,source=").text(source),
            None => arena.bytes(b",kind=empty"),
        };
        if self.read_only {
            arena.bytes(b",readOnly=true");
        }
        if !self.recursive {
            arena.bytes(b",recursive=false");
        }
        if let Some(mode) = self.mode {
            arena.bytes(b",mode=").text(mode);
        }
        if let Some(user) = self.user {
            arena.bytes(b",uid=").number(user);
        }
        if let Some(group) = self.group {
            arena.bytes(b",gid=").number(group);
        }
        arena.end();
    }
}

/// The value of the field `name` in each object of a list that was read before.
pub(super) fn each_name<'a>(
    list: Field<'a>,
    name: &'static str,
    each: &mut dyn FnMut(usize, Reader<'a>),
) {
    let Some(mut reader) = list else { return };
    let mut index = 0;
    let _ = reader.array(&mut |reader| {
        let begin = reader.peek();
        if begin != Some(b'{') {
            return reader.skip();
        }
        let done = reader.object(&mut |reader, called| {
            if called.is(name) {
                each(index, *reader);
            }
            reader.skip()
        });
        index += 1;
        done
    });
}

/// A version as semver.org has it: what follows the three numbers is not looked at.
fn semver(reader: &mut Reader<'_>) -> Read<()> {
    let version = text(reader)?;
    let mut room = [0; 64];
    let bytes = super::read::short(version, &mut room).unwrap_or_default();
    let end = bytes.iter().position(|byte| matches!(byte, b'-' | b'+'));
    let numbers = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let mut count = 0;
    let all = fly::text::split(numbers, b'.').all(|number| {
        count += 1;
        fly::text::decimal(number).is_some()
    });
    if all && count == 3 {
        Ok(())
    } else {
        wrong(version.at, "it is no version as 0.8.11")
    }
}

fn octal<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let mode = text(reader)?;
    let mut digits = 0;
    let all = mode.characters().all(|digit| {
        // Only a 0 may stand before the four that a mode has.
        digits += 1;
        matches!(digit, Ok('0'..='7')) && (digits < 5 || mode.characters().next() == Some(Ok('0')))
    });
    if all && (1..=5).contains(&digits) {
        Ok(mode)
    } else {
        wrong(mode.at, "it is no octal mode from 0 to 7777, as 0755")
    }
}

fn id(reader: &mut Reader<'_>) -> Read<u64> {
    let most = u64::from(u32::MAX - 1);
    number(
        reader,
        0..=most,
        "it is no number from 0 to 4294967294, in digits alone",
    )
}

fn port(reader: &mut Reader<'_>) -> Read<u64> {
    number(
        reader,
        1..=65_535,
        "it is no number from 1 to 65535, in digits alone",
    )
}

/// A group of an app.
pub(super) fn group(reader: &mut Reader<'_>) -> Read<u64> {
    id(reader)
}

impl<'a> Manifest<'a, '_, '_> {
    /// The labels of an image, which is a directory: of this system and machine, or none.
    #[inline(never)]
    pub(super) fn labels(&mut self, labels: Field<'a>) -> Read<()> {
        if labels.is_none() {
            return Ok(());
        }
        let mut names = Names::new();
        self.items("labels", labels, &mut |manifest, _, reader| {
            let at = reader.at();
            let [name, value] = manifest.object(reader, &["name", "value"])?;
            let name = manifest.text_of(at, "name", name, identifier)?;
            let value = manifest.text_of(at, "value", value, text)?;
            let here = match (name.is("os"), name.is("arch")) {
                (true, _) if !value.is("linux") => Err("this is linux"),
                (_, true) if !value.is("amd64") => Err("this is amd64"),
                (true, _) | (_, true) => Ok(()),
                _ => {
                    let text = "a directory has no labels but os and arch: images come later";
                    return manifest.refuse("name", name.at, text);
                }
            };
            if let Err(text) = here {
                return manifest.refuse("value", value.at, text);
            }
            manifest.unique(&mut names, name, "two labels have this name")
        })
        .map(drop)
    }
}
