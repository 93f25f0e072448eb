//! One app of a pod manifest.

use fly::json::{Reader, Text};

use super::{
    names::Names,
    pod::{Pod, group},
    read::{Field, Manifest, Pass, Read, filled, name, path, text, wrong},
    target::mountable,
};

/// What separates the words of a handler, in the option: it can be in a path, but is not.
const SEPARATOR: u8 = 0x1f;

/// A mount of an app.
struct Mount<'a> {
    /// The volume's name, unless it is one of the app's own.
    volume: Text<'a>,
    own: bool,
    target: Text<'a>,
    read_only: bool,
}

impl<'a> Manifest<'a, '_, '_> {
    pub(super) fn app(
        &mut self,
        pod: &Pod<'a>,
        number: usize,
        names: &mut Names<'a>,
        reader: &mut Reader<'a>,
    ) -> Read<()> {
        let at = reader.at();
        let fields = self.object(
            reader,
            &[
                "name",
                "image",
                "app",
                "readOnlyRootFS",
                "mounts",
                "annotations",
            ],
        )?;
        let [called, image, app, read_only, mounts, notes] = fields;
        let name = self.required(at, "name", called, |_, reader| {
            let name = name(reader)?;
            if !names.add(name) {
                return wrong(name.at, "two apps have this name");
            }
            Ok(name)
        })?;
        let root = self.required(at, "image", image, Self::image)?;
        let read_only = self.flag_if("readOnlyRootFS", read_only)?;
        // The root's options stand behind those of the pod, and would count more.
        let read_only = read_only.filter(|_| !self.beside.read_only_root);
        self.pairs("annotations", notes)?;
        if let Some(arena) = self.in_pass(Pass::Apps) {
            if number > 0 {
                arena.word(b"---");
            }
            arena.bytes(b"dir:").text(root).end();
            arena.bytes(b"--name=").text(name).end();
            if read_only == Some(true) {
                arena.word(b"--readonly-rootfs");
            }
        }
        let mut paths = Names::of_paths();
        self.items("mounts", mounts, &mut |manifest, index, reader| {
            let mount = manifest.mount(pod, number, index, reader)?;
            if !paths.add(mount.target) {
                return manifest.refuse("path", mount.target.at, "two mounts have this path");
            }
            manifest.write_mount(&mount, number, index);
            Ok(())
        })?;
        self.required(at, "app", app, |manifest, reader| {
            manifest.program(pod, &paths, reader)
        })
    }

    /// The root of the app, the directory that `dir:PATH` names.
    fn image(&mut self, reader: &mut Reader<'a>) -> Read<Text<'a>> {
        let at = reader.at();
        let [name, id, labels] = self.object(reader, &["name", "id", "labels"])?;
        let root = self.required(at, "name", name, |_, reader| {
            let name = text(reader)?;
            let path = behind(name, "dir:");
            match path.filter(|path| path.characters().next() == Some(Ok('/'))) {
                Some(path) => Ok(path),
                None => wrong(
                    name.at,
                    "it is not dir:PATH with an absolute path: images come later",
                ),
            }
        })?;
        self.missing("id", id, "a directory has no id: images come later")?;
        self.labels(labels)?;
        Ok(root)
    }

    /// A mount: of a volume of the pod, or of one of its own.
    fn mount(
        &mut self,
        pod: &Pod<'a>,
        app: usize,
        index: usize,
        reader: &mut Reader<'a>,
    ) -> Read<Mount<'a>> {
        let at = reader.at();
        let [volume, target, own] = self.object(reader, &["volume", "path", "appVolume"])?;
        let volume = self.required(at, "volume", volume, |_, reader| {
            let volume = name(reader)?;
            if own.is_none() && !pod.mount(volume) {
                return wrong(volume.at, "there is no volume of this name");
            }
            Ok(volume)
        })?;
        let target = self.text_of(at, "path", target, mountable)?;
        self.optional("appVolume", own, |manifest, reader| {
            let own = manifest.volume(pod, reader)?;
            if let Some(arena) = manifest.in_pass(Pass::Pod) {
                own_name(arena.bytes(b"--volume="), app, index);
                own.write(arena);
            }
            Ok(())
        })?;
        Ok(Mount {
            volume,
            own: own.is_some(),
            target,
            read_only: false,
        })
    }

    fn write_mount(&mut self, mount: &Mount<'a>, app: usize, index: usize) {
        let Some(arena) = self.in_pass(Pass::Apps) else {
            return;
        };
        arena.bytes(b"--mount=volume=");
        if mount.own {
            own_name(arena, app, index);
        } else {
            arena.text(mount.volume);
        }
        arena.bytes(b",target=").text(mount.target);
        if mount.read_only {
            arena.bytes(b",readOnly=true");
        }
        arena.end();
    }

    /// What the image would say: the program, and how it runs.
    #[allow(clippy::too_many_lines, reason = "a field each")]
    fn program(&mut self, pod: &Pod<'a>, mounted: &Names<'a>, reader: &mut Reader<'a>) -> Read<()> {
        let at = reader.at();
        let fields = self.object(
            reader,
            &[
                "exec",
                "user",
                "group",
                "supplementaryGIDs",
                "eventHandlers",
                "workingDirectory",
                "environment",
                "mountPoints",
                "ports",
                "isolators",
                "userAnnotations",
                "userLabels",
            ],
        )?;
        let [
            exec,
            user,
            own_group,
            groups,
            handlers,
            directory,
            environment,
            points,
            ports,
            isolators,
            notes,
            labels,
        ] = fields;
        self.strings("userAnnotations", notes)?;
        self.strings("userLabels", labels)?;
        self.word_of("user", b"--user=", at, user)?;
        self.word_of("group", b"--group=", at, own_group)?;
        self.groups(groups)?;
        let directory = self.text_if("workingDirectory", directory, path)?;
        if let (Some(arena), Some(directory)) = (self.in_pass(Pass::Apps), directory) {
            arena.bytes(b"--working-dir=").text(directory).end();
        }
        self.environment(environment)?;
        self.mount_points(pod, mounted, points)?;
        let activated = self.ports(ports)?;
        if let (Some(arena), true) = (self.in_pass(Pass::Apps), activated) {
            arena.word(b"--listen-fds");
        }
        self.isolators("isolators", isolators, Some(pod))?;
        let mut events = Names::new();
        self.items("eventHandlers", handlers, &mut |manifest, _, reader| {
            let name = manifest.handler(reader)?;
            if !events.add(name) {
                let text = "there are two handlers for this event";
                return manifest.refuse("name", name.at, text);
            }
            Ok(())
        })?;
        if let Some(arena) = self.in_pass(Pass::Apps) {
            arena.word(b"--");
        }
        self.required(at, "exec", exec, |manifest, reader| {
            manifest.exec(reader, b"")
        })?;
        Ok(())
    }

    /// An option whose value is a string.
    fn word_of(
        &mut self,
        field: &'static str,
        option: &[u8],
        at: usize,
        value: Field<'a>,
    ) -> Read<()> {
        let text = self.required(at, field, value, |_, reader| {
            let text = filled(reader)?;
            if text.characters().next() == Some(Ok('/')) {
                return wrong(
                    text.at,
                    "the owner of a file can't be named: use a name or a number",
                );
            }
            Ok(text)
        })?;
        if let Some(arena) = self.in_pass(Pass::Apps) {
            arena.bytes(option).text(text).end();
        }
        Ok(())
    }

    fn groups(&mut self, groups: Field<'a>) -> Read<()> {
        let mut any = false;
        self.items(
            "supplementaryGIDs",
            groups,
            &mut |manifest, index, reader| {
                let at = reader.at();
                let id = group(reader)?;
                if index >= 64 {
                    return wrong(at, "there may be 64 of them");
                }
                any = true;
                if let Some(arena) = manifest.in_pass(Pass::Apps) {
                    arena.bytes(if index == 0 { b"--groups=" } else { b"," });
                    arena.number(id);
                }
                Ok(())
            },
        )?;
        if let (Some(arena), true) = (self.in_pass(Pass::Apps), any) {
            arena.end();
        }
        Ok(())
    }

    fn environment(&mut self, environment: Field<'a>) -> Read<()> {
        let mut names = Names::new();
        self.items("environment", environment, &mut |manifest, _, reader| {
            let at = reader.at();
            let [name, value] = manifest.object(reader, &["name", "value"])?;
            let name = manifest.required(at, "name", name, |_, reader| {
                let name = variable(reader)?;
                if !names.add(name) {
                    return wrong(name.at, "two variables have this name");
                }
                Ok(name)
            })?;
            let value = manifest.text_of(at, "value", value, text)?;
            if let Some(arena) = manifest.in_pass(Pass::Apps) {
                arena.bytes(b"--set-env=").text(name);
                arena.bytes(b"=").text(value).end();
            }
            Ok(())
        })
        .map(drop)
    }

    /// Mount points that no mount is on get the volume of their name.
    fn mount_points(&mut self, pod: &Pod<'a>, mounts: &Names<'a>, points: Field<'a>) -> Read<()> {
        let mut paths = Names::of_paths();
        self.items("mountPoints", points, &mut |manifest, _, reader| {
            let at = reader.at();
            let [called, target, read_only] =
                manifest.object(reader, &["name", "path", "readOnly"])?;
            let target = manifest.text_of(at, "path", target, mountable)?;
            let mounted = mounts.has(target);
            let volume = manifest.required(at, "name", called, |_, reader| {
                let volume = name(reader)?;
                if !mounted && !pod.mount(volume) {
                    return wrong(volume.at, "there is no volume of this name");
                }
                Ok(volume)
            })?;
            if !paths.add(target) {
                let text = "two mount points have this path";
                return manifest.refuse("path", target.at, text);
            }
            let flag_at = read_only.map_or(at, |reader| reader.at());
            let read_only = manifest.flag_if("readOnly", read_only)?;
            let read_only = read_only == Some(true);
            if mounted && read_only {
                let text = "a mount is on this path already: make its volume read-only";
                return manifest.refuse("readOnly", flag_at, text);
            }
            if !mounted {
                let own = false;
                let mount = Mount {
                    volume,
                    own,
                    target,
                    read_only,
                };
                manifest.write_mount(&mount, 0, 0);
            }
            Ok(())
        })
        .map(drop)
    }

    /// What runs before or behind the program.
    fn handler(&mut self, reader: &mut Reader<'a>) -> Read<Text<'a>> {
        let at = reader.at();
        let [name, exec] = self.object(reader, &["name", "exec"])?;
        let name = self.required(at, "name", name, |_, reader| {
            let name = text(reader)?;
            if name.is("pre-start") || name.is("post-stop") {
                Ok(name)
            } else {
                wrong(name.at, "it is neither pre-start nor post-stop")
            }
        })?;
        if let Some(arena) = self.in_pass(Pass::Apps) {
            arena.bytes(b"--").text(name).bytes(b"=");
        }
        self.required(at, "exec", exec, |manifest, reader| {
            manifest.exec(reader, &[SEPARATOR])
        })?;
        if let Some(arena) = self.in_pass(Pass::Apps) {
            arena.end();
        }
        Ok(name)
    }

    /// A program and its arguments: words, or one word with separators.
    fn exec(&mut self, reader: &mut Reader<'a>, separator: &[u8]) -> Read<()> {
        let at = reader.at();
        let is_handler = !separator.is_empty();
        let count = self.list(reader, &mut |manifest, index, reader| {
            let word = if index == 0 {
                filled(reader)?
            } else {
                text(reader)?
            };
            if !is_handler && word.is("---") {
                return wrong(word.at, "--- parts programs, and can't be an argument");
            }
            if is_handler
                && word
                    .characters()
                    .any(|byte| byte == Ok(char::from(SEPARATOR)))
            {
                return wrong(word.at, "it has the character U+001F");
            }
            if let Some(arena) = manifest.in_pass(Pass::Apps) {
                arena.bytes(separator).text(word);
                if !is_handler {
                    arena.end();
                }
            }
            Ok(())
        })?;
        if count == 0 {
            return wrong(at, "it is empty");
        }
        Ok(())
    }
}

/// The name of a volume that is one app's: no name of the pod's has a dot.
fn own_name(arena: &mut super::words::Arena<'_>, app: usize, index: usize) {
    arena.bytes(b"app.").number(app as u64);
    arena.bytes(b".").number(index as u64);
}

/// What stands behind `prefix`, letters and the like, of which each may be an escape, too.
fn behind<'a>(text: Text<'a>, prefix: &str) -> Option<Text<'a>> {
    let mut rest = text;
    for expected in prefix.chars() {
        if rest.characters().next() != Some(Ok(expected)) {
            return None;
        }
        // As it is, or \uXXXX: no letter has a shorter escape.
        let length = if rest.raw.starts_with(b"\\") { 6 } else { 1 };
        rest = Text {
            raw: rest.raw.get(length..)?,
            at: rest.at + length,
        };
    }
    Some(rest)
}

/// The name of a variable.
fn variable<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let name = filled(reader)?;
    if name.characters().any(|character| character == Ok('=')) {
        return wrong(name.at, "the name of a variable has no =");
    }
    Ok(name)
}
