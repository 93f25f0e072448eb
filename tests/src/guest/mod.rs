//! A guest with another kernel: Debian's 6.1 under QEMU without KVM, or that of another
//! release ([`kernel::SUITE`]).
//!
//! Its root is the machine's own, read-only over 9p under a tmpfs, so the
//! programs, the tests and the caches are all there. The guest's first program
//! is a script that runs one of the machine's, such as this very runner with
//! `--guest`, and what that prints comes back over the serial console.

pub mod image;
pub mod initramfs;
pub mod kernel;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    command::{Output, Run},
    requirement::in_path,
    roots::{BUSYBOX, atomically, cache, hash},
    runner::{CACHE, IN_GUEST, PROGRAMS},
};

/// Runs first in the guest's memory, then as the last thing in its root.
const SCRIPT: &str = include_str!("../../guest/init.sh");

const QEMU: &str = "qemu-system-x86_64";

/// Whether a guest can run here.
#[must_use]
pub fn possible() -> bool {
    in_path(QEMU) && in_path("xz") && fs::exists(BUSYBOX).unwrap_or(false) && kernel::possible()
}

fn initramfs_path() -> PathBuf {
    let modules = kernel::MODULES.join(" ");
    let hash = hash(&[SCRIPT, &kernel::recipe(), &modules]);
    cache("guest").join(format!("initramfs-{hash}.cpio"))
}

/// Fetches and unpacks the kernel and packs the first root, unless they are
/// there; true if something was made.
///
/// # Errors
/// In words.
pub fn make() -> Result<bool, String> {
    let made = kernel::make()?;
    let path = initramfs_path();
    if path.exists() {
        return Ok(made);
    }
    atomically(&path, |new| {
        let archive = initramfs::pack(SCRIPT, &kernel::modules()?)?;
        fs::write(new, archive).map_err(|error| error.to_string())
    })
}

/// How the guest's time goes on.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// As everybody's does; it has two processors, or one with the kernel of another release:
    /// QEMU 7 lets newer ones see instructions of each other that are half written.
    Real,
    /// By two nanoseconds with each instruction of its one processor, and while that has
    /// nothing to do to the next timer at once: what is measured is how much is done, and
    /// is the same in each run, however busy the machine is and however slowly the emulator
    /// goes about what it has not met before.
    Counted,
}

/// Boots the guest and runs `program` in it with `words`, which have no commas and no
/// spaces; the output is the console's.
///
/// # Panics
/// If QEMU can't be started.
#[must_use]
pub fn run(program: &Path, words: &[&str], time: Time, limit: Duration) -> Output {
    let words = words.join(",");
    let programs = env::var(PROGRAMS).expect("the runner checks it");
    let cache_folder = env::var(CACHE).expect("the runner sets it");
    // The kernel hands what it does not know to init as its environment.
    let append = format!(
        "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on mitigations=off \
         {IN_GUEST}={} KICKSTAGE_GUEST_WORDS={words} {PROGRAMS}={programs} {CACHE}={cache_folder}",
        program.display()
    );
    let processors: &[&str] = match time {
        Time::Real if kernel::suite().is_some() => &["-smp", "1"],
        Time::Real => &["-smp", "2"],
        Time::Counted => &["-smp", "1", "-icount", "shift=1,sleep=off"],
    };
    Run::new(QEMU)
        .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-m", "1024"])
        .args(processors)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-serial", "stdio", "-append", &append])
        .arg("-kernel")
        .arg(kernel::image())
        .arg("-initrd")
        .arg(initramfs_path())
        .args([
            "-fsdev",
            "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        ])
        .args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=root"])
        // A disk whose rates are limited, and that nobody reads.
        .args(["-drive", "if=none,id=disk,driver=null-co,size=1M"])
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .limit(limit)
        .output()
}

/// The kernel's command line of [`boot`].
#[must_use]
pub fn command_line(settings: &str) -> String {
    format!(
        "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on mitigations=off {settings}"
    )
}

/// Boots a machine whose first root is `initramfs`, with `settings` on the kernel's
/// command line and an exit device at port 0xf4; what comes back is the console's.
#[must_use]
pub fn boot(initramfs: &Path, settings: &str) -> Run {
    Run::new(QEMU)
        .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-m", "256"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args([
            "-no-reboot",
            "-serial",
            "stdio",
            "-append",
            &command_line(settings),
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .arg("-kernel")
        .arg(kernel::image())
        .arg("-initrd")
        .arg(initramfs)
        .limit(Duration::from_secs(40))
}

/// Runs a tool of the preparation.
///
/// # Errors
/// With its last lines.
fn tool(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!(
            "{name}: {}",
            crate::roots::last_lines(&output.stderr)
        ))
    }
}
