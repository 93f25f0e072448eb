//! Volumes and tmpfs, in the order of the command line.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    lower as common,
    plan::{List, Slot, Step},
};

use super::{Features, Lowering, RDONLY, ROOT, SOURCE, own::Programs, users::slot_of};
use crate::{
    options::{Choice, Each},
    volume::{self, Kind, Mount, Short, Volume},
};

/// The first slot of the empty volumes, which may be mounted more than once.
const EMPTY: u8 = 15;
/// The most empty volumes of a pod.
pub const MAX_EMPTY: usize = 17;

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// Volumes and tmpfs of one root, in the order of the command line.
    pub(super) fn mounts(&mut self, mut choices: Each<I>, root: Slot) -> Result<(), Error<'a>> {
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::Tmpfs(target) => {
                    common::check_target(target, target.to_bytes())?;
                    common::tmpfs(self.plan, SOURCE, common::DATA, b"1777");
                    common::attach(self.plan, SOURCE, root, target.to_bytes());
                }
                Choice::Volume(text) if volume::is_short(text) => {
                    let volume = Short::parse(text)?;
                    common::check_target(text, volume.target)?;
                    let attributes = if volume.read_only { RDONLY } else { 0 };
                    let source = self.open(volume.source, true, attributes);
                    common::attach(self.plan, source, root, volume.target);
                }
                Choice::Mount(text) => self.mount(text, root)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Those among the options of all, in the root of the pod.
    pub(super) fn mounts_of_all(&mut self) -> Result<(), Error<'a>> {
        if self.options.has_mounts() {
            self.mounts(self.options.each(), ROOT)?;
        }
        Ok(())
    }

    /// Returns where it is.
    fn open(&mut self, source: &[u8], recursive: bool, attributes: u64) -> Slot {
        if self.maps_mounts() {
            self.mapped = self.mapped.saturating_add(1);
            return slot_of(self.mapped - 1);
        }
        self.plan
            .begin_list(Step::OpenTree {
                into: SOURCE,
                flags: if recursive { Step::RECURSIVE } else { 0 },
                attributes,
                path: c"",
            })
            .joined(&[source])
            .end();
        SOURCE
    }

    fn mount(&mut self, text: &'a CStr, root: Slot) -> Result<(), Error<'a>> {
        let mount = Mount::parse(text)?;
        common::check_target(text, mount.target)?;
        let Some((volume, empty)) = self.find(mount.volume)? else {
            return Err(Error::new(What::ReadMount, text, Why::NoSuchVolume));
        };
        let read_only = mount.read_only || volume.read_only;
        let attributes = if read_only { RDONLY } else { 0 };
        let source = match volume.kind {
            Kind::Host => self.open(volume.source, volume.recursive, attributes),
            Kind::Empty => {
                let slot = Slot(EMPTY.saturating_add(u8::try_from(empty).unwrap_or(u8::MAX)));
                let before = self.made;
                self.made |= 1 << empty;
                if before == self.made {
                    self.plan.push(Step::Bind {
                        into: SOURCE,
                        under: slot,
                        flags: 0,
                        attributes: attributes | common::DATA,
                        name: c".",
                    });
                } else {
                    self.empty(slot, &volume);
                    self.first_mount(slot, root, &mount, read_only);
                    return Ok(());
                }
                SOURCE
            }
        };
        common::attach(self.plan, source, root, mount.target);
        Ok(())
    }

    /// The file system of an empty volume.
    fn empty(&mut self, into: Slot, volume: &Volume<'_>) {
        self.plan
            .begin_list(Step::FileSystem {
                into,
                attributes: common::DATA,
                options: List::EMPTY,
            })
            .string(c"tmpfs")
            .string(c"mode")
            .joined(&[volume.mode]);
        for (name, value) in [(c"uid", volume.user), (c"gid", volume.group)] {
            if !value.is_empty() {
                self.plan.string(name).joined(&[value]);
            }
        }
        self.plan.end();
    }

    /// An empty volume is made and mounted by the first mount of it, and cloned
    /// by the others: before Linux 6.15 only what is mounted can be cloned. If
    /// the first is read-only, a read-only clone covers it.
    fn first_mount(&mut self, slot: Slot, root: Slot, mount: &Mount<'_>, read_only: bool) {
        self.plan
            .begin_list(Step::Attach {
                mount: slot,
                under: root,
                flags: Step::CREATE,
                target: c"",
            })
            .joined(&[mount.target])
            .end();
        if read_only {
            self.plan
                .begin_list(Step::ReadOnly {
                    under: slot,
                    names: List::EMPTY,
                })
                .string(c".")
                .end();
        }
    }

    /// The volume `name`, and how many empty ones come before it.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<(Volume<'a>, usize)>, Error<'a>> {
        let mut choices = self.options.each();
        let mut empty = 0;
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::Volume(text) if !volume::is_short(text) => {
                    let volume = Volume::parse(text)?;
                    if volume.name == name {
                        return Ok(Some((volume, empty)));
                    }
                    empty += usize::from(volume.kind == Kind::Empty);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether some program mounts the volume `name`.
    fn is_mounted(&self, name: &[u8]) -> Result<bool, Error<'a>> {
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            let mut choices = program.each(self.options);
            while let Some(choice) = choices.take()? {
                match choice {
                    Choice::Mount(text) if Mount::parse(text)?.volume == name => return Ok(true),
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    /// Names are unique, every volume is mounted, and there are not too many.
    pub(super) fn check_volumes(&self) -> Result<(), Error<'a>> {
        if !self.options.has_mounts() {
            return Ok(());
        }
        let mut choices = self.options.each();
        let mut empty = 0;
        while let Some(choice) = choices.take()? {
            let Choice::Volume(text) = choice else {
                continue;
            };
            if volume::is_short(text) {
                continue;
            }
            let volume = Volume::parse(text)?;
            let failed = |why: Why| Err(Error::new(What::ReadVolume, text, why));
            empty += usize::from(volume.kind == Kind::Empty);
            if empty > MAX_EMPTY {
                return failed(Why::TooManyEmpty);
            }
            let mut others = choices.clone();
            while let Some(other) = others.take()? {
                match other {
                    Choice::Volume(other)
                        if !volume::is_short(other)
                            && Volume::parse(other)?.name == volume.name =>
                    {
                        return failed(Why::VolumeTwice);
                    }
                    _ => {}
                }
            }
            if !self.is_mounted(volume.name)? {
                return failed(Why::NotMounted);
            }
        }
        Ok(())
    }
}
