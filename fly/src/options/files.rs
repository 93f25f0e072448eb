//! The root file system and what is mounted and made in it.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{fs::Mode, process};

use super::{Choice, Name, Options, ROOT, SOURCE, namespaces::mapped_slot};
use crate::{
    error::{Advice, Error, What, Why},
    lower::{
        self, HOST,
        kernel_files::{DEV_ATTRIBUTES, KernelFiles},
    },
    plan::{Builder, List, Slot, Step},
    text::{Digits, decimal, size, split},
};

/// The /dev that is being made.
const DEV: Slot = Slot(24);
/// Its terminals.
const PTS: Slot = Slot(25);
/// Its shared memory.
const SHM: Slot = Slot(26);
/// The file system that a writable layer needs.
const LAYER: Slot = Slot(27);

/// What a file system of the kernel is given.
const QUIET: u64 = (raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV | raw::MOUNT_ATTR_NOEXEC) as u64;
const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;

/// The options that put new ones in the places of [`HOST`].
static NEW: [Name; 3] = [Name::Dev, Name::Proc, Name::Sys];

/// What the options say of the root; what is mounted and made in it is read in
/// its order later.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    pub(super) read_only_root: bool,
    ephemeral: bool,
    /// Where the writable layer is kept.
    overlay: Option<&'a CStr>,
    /// Which of [`HOST`] are left out, a bit each.
    left_out: u8,
    /// Whether something is mounted or made.
    mounts: bool,
    /// Whether a descriptor of the caller's is read.
    copies: bool,
}

impl<'a> Settings<'a> {
    const ALL: u8 = 0b111;

    /// Whether the root gets a writable layer.
    pub(super) fn has_layer(&self) -> bool {
        self.ephemeral || self.overlay.is_some()
    }

    /// Whether a host's file system, by its index in [`HOST`], is left out.
    fn leaves_out(&self, index: usize) -> bool {
        self.left_out & (1 << index) != 0
    }

    /// Whether none of the kernel's file systems is wanted.
    pub(super) fn is_minimal(&self) -> bool {
        self.left_out == Self::ALL
    }

    /// Takes the option if it is one of these.
    ///
    /// # Errors
    /// Names the option whose value is bad.
    pub(super) fn take(&mut self, choice: &Choice<'a>) -> Result<(), Error<'a>> {
        match choice.name {
            Name::ReadOnlyRoot => self.read_only_root = true,
            Name::Ephemeral => self.ephemeral = true,
            Name::Overlay => self.overlay = Some(choice.first),
            Name::Minimal => self.left_out = Self::ALL,
            Name::Proc | Name::Sys | Name::Dev => {
                for (index, ((_, place), name)) in HOST.iter().zip(&NEW).enumerate() {
                    if *name == choice.name && is_at(choice.first, place) {
                        self.left_out |= 1 << index;
                    }
                }
            }
            Name::File => self.copies = true,
            _ => {}
        }
        self.mounts |= is_in_order(choice.name) || choice.name == Name::MapBind;
        Ok(())
    }
}

/// Whether the option mounts or makes something, or changes how the next one
/// does.
fn is_in_order(name: Name) -> bool {
    name as u8 <= Name::Permissions as u8
}

/// The attributes of a bind, and whether its source may be missing.
fn bind_of(name: Name) -> Option<(u64, bool)> {
    Some(match name {
        Name::Bind => (lower::DATA, false),
        Name::BindTry => (lower::DATA, true),
        Name::ReadOnlyBind => (lower::DATA | RDONLY, false),
        Name::ReadOnlyBindTry => (lower::DATA | RDONLY, true),
        Name::DeviceBind => (0, false),
        Name::DeviceBindTry => (0, true),
        _ => return None,
    })
}

/// Whether `target` is the name `place` at the top of the root.
fn is_at(target: &CStr, place: &CStr) -> bool {
    let mut parts = split(target.to_bytes(), b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.next() == Some(place.to_bytes()) && parts.next().is_none()
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Closes what was inherited, but for what is used later.
    pub(super) fn lower_close(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if self.files.copies
            || self.namespaces.has(Name::Status)
            || self.process.has(Name::KeepDescriptor)
        {
            return self.lower_close_others(plan);
        }
        plan.push(Step::CloseInherited {});
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn lower_close_others(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        plan.begin_list(Step::CloseOthers { keep: List::EMPTY });
        let mut choices = self.choices.clone();
        let mut status = None;
        while let Some(choice) = choices.known() {
            if matches!(
                choice.name,
                Name::File | Name::Status | Name::KeepDescriptor
            ) {
                let number = descriptor(choice.first)?;
                if choice.name == Name::KeepDescriptor {
                    self.check_kept(choice.first, number)?;
                }
                plan.joined(&[Digits::new(number, 10).as_bytes()]);
                if choice.name == Name::Status {
                    status = Some(number);
                }
            }
        }
        plan.end();
        if let Some(descriptor) = status {
            plan.push(Step::KeepStatus { descriptor });
        }
        Ok(())
    }

    pub(super) fn lower_root(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if self.namespaces.any() || self.files.has_layer() {
            return self.lower_other_root(plan);
        }
        self.lower_tree(plan, if self.files.read_only_root { RDONLY } else { 0 });
        self.lower_host_files(plan, false);
        Ok(())
    }

    /// The root as it is, or a clone of its mounts that has attributes.
    pub(super) fn lower_tree(&self, plan: &mut Builder<'_>, attributes: u64) {
        let (into, path) = (ROOT, self.rootfs);
        if attributes == 0 {
            plan.push(Step::OpenDirectory { into, path });
            return;
        }
        plan.push(Step::OpenTree {
            into,
            flags: Step::RECURSIVE,
            attributes,
            path,
        })
        .push(Step::AttachRoot { mount: ROOT });
    }

    /// The host's /dev, /proc and /sys. In a new pid namespace its /proc would
    /// show the host's processes, and nothing of the namespace: with `own_proc`
    /// there is a new one.
    pub(super) fn lower_host_files(&self, plan: &mut Builder<'_>, own_proc: bool) {
        for (index, ((path, target), name)) in HOST.iter().zip(&NEW).enumerate() {
            if self.files.leaves_out(index) {
                continue;
            }
            if own_proc && *name == Name::Proc {
                new_kernel(plan, c"proc", QUIET);
                lower::attach_in_place(plan, SOURCE, ROOT, target);
            } else {
                lower::host_file_system(plan, SOURCE, ROOT, path, target);
            }
        }
    }

    /// A writable layer over the root, in memory or in a directory.
    #[cold]
    #[inline(never)]
    pub(super) fn lower_layer(
        &self,
        plan: &mut Builder<'_>,
        attributes: u64,
    ) -> Result<(), Error<'a>> {
        let (into, layer, path) = (ROOT, LAYER, self.rootfs);
        lower::tmpfs(plan, LAYER, raw::MOUNT_ATTR_NOSUID.into(), b"0755");
        match self.files.overlay {
            Some(_) if self.files.ephemeral => {
                return Err(
                    Error::new(What::ReadModifier, c"--ephemeral", Why::TwoLayers)
                        .advice(Advice::ChooseLayer),
                );
            }
            Some(directory) => plan.push(Step::OverlayIn {
                into,
                layer,
                attributes,
                path,
                directory,
            }),
            None => plan.push(Step::Overlay {
                into,
                layer,
                attributes,
                path,
            }),
        };
        plan.push(Step::AttachRoot { mount: ROOT });
        Ok(())
    }

    pub(super) fn lower_mounts(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if !self.files.mounts {
            return Ok(());
        }
        let mut choices = self.choices.clone();
        let mut modifiers = Modifiers::default();
        let mut mapped = 0;
        while let Some(choice) = choices.known() {
            match choice.name {
                Name::Size => modifiers.size = Some(choice.first),
                Name::Permissions => modifiers.permissions = Some(choice.first),
                Name::NoRecurse => modifiers.flat = true,
                Name::MapBind => {
                    // It was opened outside of the user namespace.
                    check_target(choice.second)?;
                    lower::attach(plan, mapped_slot(mapped), ROOT, choice.second.to_bytes());
                    mapped += 1;
                    modifiers.refuse_rest()?;
                }
                name if is_in_order(name) => {
                    lower_one(plan, &choice, &mut modifiers)?;
                    modifiers.refuse_rest()?;
                }
                _ => {}
            }
        }
        modifiers.refuse_rest()
    }
}

/// What the next option of files is told by those before it.
#[derive(Default)]
struct Modifiers<'a> {
    size: Option<&'a CStr>,
    permissions: Option<&'a CStr>,
    flat: bool,
}

impl<'a> Modifiers<'a> {
    /// What was not taken was meant for something else.
    fn refuse_rest(&self) -> Result<(), Error<'a>> {
        let name = match self {
            Self { size: Some(_), .. } => c"--size",
            Self {
                permissions: Some(_),
                ..
            } => c"--perms",
            Self { flat: true, .. } => c"--no-recurse",
            _ => return Ok(()),
        };
        Err(Error::new(What::ReadModifier, name, Why::NotForWhatFollows).advice(Advice::Modifiers))
    }

    /// The mode of what is made.
    fn mode(&mut self, default: u16) -> Result<u16, Error<'a>> {
        match self.permissions.take() {
            Some(text) => octal(text).ok_or(Error::new(What::ReadMode, text, Why::NoMode)),
            None => Ok(default),
        }
    }

    /// The size in bytes.
    fn size(&mut self) -> Result<Option<u64>, Error<'a>> {
        let size = self
            .size
            .take()
            .map(|text| size(text.to_bytes()).ok_or(Error::new(What::ReadSize, text, Why::NoSize)));
        size.transpose()
    }
}

/// A mode of permissions, with the sticky bit.
pub(super) fn octal(text: &CStr) -> Option<u16> {
    let digits = text.to_bytes();
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mode = digits.iter().try_fold(0, |mode: u16, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        mode.checked_mul(8)?.checked_add(u16::from(digit))
    });
    mode.filter(|mode| *mode <= 0o1777)
}

/// The number of a descriptor.
pub(super) fn descriptor(text: &CStr) -> Result<u64, Error<'_>> {
    decimal(text.to_bytes())
        .filter(|number| i32::try_from(*number).is_ok())
        .ok_or(Error::new(What::ReadDescriptor, text, Why::NoDescriptor))
}

/// One mount, or one thing that is made.
fn lower_one<'a>(
    plan: &mut Builder<'_>,
    choice: &Choice<'a>,
    modifiers: &mut Modifiers<'a>,
) -> Result<(), Error<'a>> {
    match bind_of(choice.name) {
        Some((attributes, optional)) => lower_bind(plan, choice, attributes, optional, modifiers),
        None => lower_other(plan, choice, modifiers),
    }
}

/// # Errors
/// The target is one that confinement relies on.
fn check_target(target: &CStr) -> Result<(), Error<'_>> {
    lower::check_target(target, target.to_bytes())
        .map_err(|error| error.advice(Advice::KernelTarget))
}

fn lower_bind<'a>(
    plan: &mut Builder<'_>,
    choice: &Choice<'a>,
    attributes: u64,
    optional: bool,
    modifiers: &mut Modifiers<'a>,
) -> Result<(), Error<'a>> {
    let target = choice.second;
    check_target(target)?;
    let optional = if optional { Step::OPTIONAL } else { 0 };
    let recursive = if core::mem::take(&mut modifiers.flat) {
        0
    } else {
        Step::RECURSIVE
    };
    plan.push(Step::OpenTree {
        into: SOURCE,
        flags: recursive | optional,
        attributes,
        path: choice.first,
    })
    .push(Step::Attach {
        mount: SOURCE,
        under: ROOT,
        flags: Step::CREATE | Step::CLOSE | optional,
        target,
    });
    Ok(())
}

#[cold]
#[inline(never)]
fn lower_other<'a>(
    plan: &mut Builder<'_>,
    choice: &Choice<'a>,
    modifiers: &mut Modifiers<'a>,
) -> Result<(), Error<'a>> {
    let (first, second) = (choice.first, choice.second);
    let path = match choice.name {
        Name::File | Name::Symlink => second,
        _ => first,
    };
    if path.is_empty() {
        return Err(Error::new(What::ReadMountTarget, path, Why::Empty));
    }
    let under = ROOT;
    match choice.name {
        Name::Tmpfs => {
            check_target(path)?;
            lower_tmpfs(plan, modifiers.mode(0o755)?, modifiers.size()?);
            lower::attach(plan, SOURCE, ROOT, path.to_bytes());
        }
        Name::Proc => kernel(plan, c"proc", QUIET, c"proc", path)?,
        Name::Sys => kernel(plan, c"sysfs", QUIET | RDONLY, c"sys", path)?,
        Name::MessageQueues => kernel(plan, c"mqueue", QUIET, c"", path)?,
        Name::Dev => lower_dev(plan, path)?,
        Name::Directory => {
            let mode = modifiers.mode(0o755)?.into();
            plan.push(Step::MakeDirectory { under, mode, path });
        }
        Name::File => {
            let (descriptor, mode) = (descriptor(first)?, modifiers.mode(0o644)?);
            plan.push(Step::CopyFile {
                under,
                mode,
                descriptor,
                path,
            });
        }
        Name::Symlink => {
            plan.push(Step::MakeLink {
                under,
                path,
                target: first,
            });
        }
        _ => {
            plan.push(Step::Remount { under, path });
        }
    }
    Ok(())
}

fn lower_tmpfs(plan: &mut Builder<'_>, mode: u16, size: Option<u64>) {
    plan.begin_list(Step::FileSystem {
        into: SOURCE,
        attributes: lower::DATA,
        options: List::EMPTY,
    })
    .string(c"tmpfs")
    .string(c"mode")
    .joined(&[Digits::new(mode.into(), 8).as_bytes()]);
    if let Some(size) = size {
        plan.string(c"size")
            .joined(&[Digits::new(size, 10).as_bytes()]);
    }
    plan.end();
}

/// A file system of the kernel; at `place`, its own, nothing is followed.
fn kernel<'a>(
    plan: &mut Builder<'_>,
    name: &CStr,
    attributes: u64,
    place: &CStr,
    target: &'a CStr,
) -> Result<(), Error<'a>> {
    new_kernel(plan, name, attributes);
    attach_kernel(plan, SOURCE, Step::CLOSE, place, target)
}

fn new_kernel(plan: &mut Builder<'_>, name: &CStr, attributes: u64) {
    plan.begin_list(Step::FileSystem {
        into: SOURCE,
        attributes,
        options: List::EMPTY,
    })
    .string(name)
    .end();
}

fn attach_kernel<'a>(
    plan: &mut Builder<'_>,
    mount: Slot,
    flags: u16,
    place: &CStr,
    target: &'a CStr,
) -> Result<(), Error<'a>> {
    let own = is_at(target, place);
    if !own {
        check_target(target)?;
    }
    plan.push(Step::Attach {
        mount,
        under: ROOT,
        flags: flags | Step::CREATE | if own { Step::NO_FOLLOW } else { 0 },
        target: if own { place } else { target },
    });
    Ok(())
}

/// A /dev of a few devices, with terminals and shared memory of its own.
fn lower_dev<'a>(plan: &mut Builder<'_>, target: &'a CStr) -> Result<(), Error<'a>> {
    let files = KernelFiles {
        root: ROOT,
        dev: DEV,
        proc: SOURCE,
        sys: SOURCE,
        pts: PTS,
        shm: SHM,
        masked: false,
        in_user_namespace: false,
        own_proc: true,
        own_sys: true,
    };
    lower::tmpfs(plan, DEV, DEV_ATTRIBUTES, b"0755");
    attach_kernel(plan, DEV, 0, c"dev", target)?;
    // Everybody may use the devices, whatever the caller's mask is, which is the
    // program's.
    let mask = process::umask(Mode::empty());
    process::umask(mask);
    plan.push(Step::Umask { mask: 0 });
    files.fill_dev(plan);
    plan.push(Step::Umask {
        mask: mask.bits().into(),
    });
    files.pts_and_shm(plan, true);
    Ok(())
}
