//! A pod in a user namespace: its maps, and the mounts that have to be made outside of
//! it, since only there their ids can be mapped.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::{List, Slot, Step},
    text::Digits,
    user::Identity,
};

use super::{
    DIRECTORY, Features, Lowering, MASTER, NODEV, NOEXEC, NOSUID, PEER, RDONLY, ROOT,
    own::Programs, roots,
};
use crate::{
    options::{Choice, Each, Network},
    users::Users,
    volume::{self, Kind, Mount, Short},
};

/// The helper that writes the maps.
const MAPPER: Slot = Slot(2);
/// The user namespace whose maps mounts have.
const MAP: Slot = Slot(14);
/// The mounts of the host, from here on downwards.
const LAST: u8 = 30;
/// As many of them, and of empty volumes, there may be.
const MOST: usize = 16;
/// The pod's directory.
pub(super) const MAPPED_DIRECTORY: Slot = Slot(31);

/// Where the mount of the host number `index` is.
pub(super) fn slot_of(index: u8) -> Slot {
    Slot(LAST.saturating_sub(index))
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// Whether there is a user namespace.
    #[inline]
    pub(super) fn has_users(&self) -> bool {
        F::ALL && self.host.users.is_own()
    }

    /// Whether the ids of files are mapped by their mounts.
    #[inline]
    pub(super) fn maps_mounts(&self) -> bool {
        F::ALL && self.host.users.maps_mounts()
    }

    /// Whether nobody is there but root.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        F::ALL && self.host.users.is_alone()
    }

    /// A network namespace that is there already may be joined by its owner only, who is root.
    pub(super) fn check_network(&self) -> Result<(), Error<'a>> {
        match self.options.network {
            Network::Path(_) | Network::Pool if !self.maps_mounts() => {
                let error = Error::new(What::ReadOption, c"--net", Why::NotWithUsers);
                Err(error.advice(Advice::NeedsRoot))
            }
            _ => Ok(()),
        }
    }

    /// In the launcher, before there is a user namespace.
    #[cold]
    #[inline(never)]
    pub(super) fn before_user_namespace(&mut self) -> Result<(), Error<'a>> {
        if self.has_terminal() {
            self.plan.push(Step::TerminalPair {
                sender: PEER,
                receiver: MASTER,
            });
        }
        if self.maps_mounts() {
            self.mapped_mounts()?;
        }
        Ok(())
    }

    fn mapped_mounts(&mut self) -> Result<(), Error<'a>> {
        self.plan.begin_list(Step::UserNamespace {
            into: MAP,
            users: 1,
            lines: List::EMPTY,
        });
        self.map_lines();
        self.mapped_roots()?;
        self.mapped_volumes()?;
        if let Some(path) = self.host.directory {
            self.plan.push(Step::MappedTree {
                into: MAPPED_DIRECTORY,
                map: MAP,
                flags: 0,
                attributes: NOSUID | NODEV | NOEXEC,
                path,
            });
            if self.host.wants.streams {
                self.mapped_streams(MAP);
            }
        }
        Ok(())
    }

    fn mapped_roots(&mut self) -> Result<(), Error<'a>> {
        if !self.options.several {
            let options = self.options;
            self.mapped_root(
                ROOT,
                options.ephemeral,
                options.read_only_root,
                options.rootfs,
            );
            return Ok(());
        }
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            let root = program.root(self.options)?;
            let into = roots::slot(&program)?;
            self.mapped_root(into, root.ephemeral, root.read_only, program.rootfs);
        }
        Ok(())
    }

    fn mapped_root(&mut self, into: Slot, ephemeral: bool, read_only: bool, path: &'a CStr) {
        // An overlay has no mounts below its lower directory, and attributes of its own.
        let (flags, attributes) = if ephemeral {
            (0, 0)
        } else {
            (Step::RECURSIVE, self.attributes_of_root(read_only))
        };
        self.plan.push(Step::MappedTree {
            into,
            map: MAP,
            flags,
            attributes,
            path,
        });
    }

    /// In the order in which they are mounted.
    fn mapped_volumes(&mut self) -> Result<(), Error<'a>> {
        self.check_volumes()?;
        let mut empty = 0;
        let mut choices = self.options.each();
        while let Some(choice) = choices.take()? {
            empty += usize::from(matches!(choice, Choice::Volume(text) if !volume::is_short(text)));
        }
        let mut count = 0;
        if !self.options.several {
            return self.mapped_volumes_of(self.options.each(), empty, &mut count);
        }
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            self.mapped_volumes_of(program.each(self.options), empty, &mut count)?;
        }
        Ok(())
    }

    fn mapped_volumes_of(
        &mut self,
        mut choices: Each<I>,
        empty: usize,
        count: &mut u8,
    ) -> Result<(), Error<'a>> {
        while let Some(choice) = choices.take()? {
            let (text, source, recursive, read_only) = match choice {
                Choice::Volume(text) if volume::is_short(text) => {
                    let volume = Short::parse(text)?;
                    (text, volume.source, true, volume.read_only)
                }
                Choice::Mount(text) => {
                    let mount = Mount::parse(text)?;
                    match self.find(mount.volume)? {
                        Some((volume, _)) if volume.kind == Kind::Host => {
                            let read_only = mount.read_only || volume.read_only;
                            (text, volume.source, volume.recursive, read_only)
                        }
                        _ => continue,
                    }
                }
                _ => continue,
            };
            if usize::from(*count) + empty >= MOST {
                return Err(Error::new(What::ReadVolume, text, Why::TooManyMappedMounts));
            }
            self.plan
                .begin_list(Step::MappedTree {
                    into: slot_of(*count),
                    map: MAP,
                    flags: if recursive { Step::RECURSIVE } else { 0 },
                    attributes: if read_only { RDONLY } else { 0 },
                    path: c"",
                })
                .joined(&[source])
                .end();
            *count += 1;
        }
        Ok(())
    }

    /// The helper comes right before the process that asks it.
    #[cold]
    #[inline(never)]
    pub(super) fn mapper(&mut self) {
        match self.host.users {
            Users::Range { .. } => _ = self.plan.push(Step::Mapper { into: MAPPER }),
            Users::Caller {
                others: Some(others),
                ..
            } => {
                self.plan.push(Step::OutsideMapper {
                    into: MAPPER,
                    path: others.folder,
                });
            }
            _ => {}
        }
    }

    /// What the pod's first process does as soon as it has joined its cgroups as who
    /// the caller is.
    #[cold]
    #[inline(never)]
    pub(super) fn maps(&mut self) {
        let users = &self.host.users;
        self.plan.begin_list(Step::Maps {
            mapper: if users.is_alone() {
                Step::NO_SLOT
            } else {
                MAPPER
            },
            users: match users {
                Users::Caller {
                    others: Some(_), ..
                } => 2,
                _ => 1,
            },
            lines: List::EMPTY,
        });
        self.map_lines();
    }

    /// The lines of the step that is open, and its end.
    fn map_lines(&mut self) {
        match self.host.users {
            Users::Host => {}
            Users::Range { start, count } => {
                for _ in 0..2 {
                    self.map_line(0, start, count);
                }
            }
            Users::Caller {
                user,
                group,
                others,
            } => {
                for (own, others) in [
                    (user, others.map(|others| others.users)),
                    (group, others.map(|others| others.groups)),
                ] {
                    self.map_line(0, own.into(), 1);
                    if let Some((start, count)) = others {
                        self.map_line(1, start, count);
                    }
                }
            }
        }
        self.plan.end();
    }

    fn map_line(&mut self, inside: u64, outside: u64, count: u64) {
        let [inside, outside, count] =
            [inside, outside, count].map(|number| Digits::new(number, 10));
        self.plan.joined(&[
            inside.as_bytes(),
            b":",
            outside.as_bytes(),
            b":",
            count.as_bytes(),
        ]);
    }

    /// Where only the caller is mapped, programs can be nobody else.
    #[cold]
    #[inline(never)]
    pub(super) fn check_alone(
        &self,
        identity: Option<&Identity>,
        user: Option<&'a CStr>,
        group: Option<&'a CStr>,
    ) -> Result<(), Error<'a>> {
        let (what, object) = match identity {
            Some(identity) if identity.user != 0 => (What::LookUpUser, user),
            Some(identity) if identity.group != 0 => (What::LookUpGroup, group.or(user)),
            _ => return Ok(()),
        };
        Err(only_caller(what, object.unwrap_or_default()))
    }

    /// The directory's slot.
    pub(super) fn directory(&self) -> Slot {
        match self.host.directory {
            Some(_) if self.maps_mounts() => MAPPED_DIRECTORY,
            Some(_) => DIRECTORY,
            None => Step::NO_SLOT,
        }
    }
}

pub(super) fn only_caller(what: What, object: &CStr) -> Error<'_> {
    Error::new(what, object, Why::OnlyCaller).advice(Advice::SubordinateIds)
}
