//! Debian's kernel, from its package, unpacked and not installed.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    guest::tool,
    requirement::in_path,
    roots::{atomically, cache, hash},
};

/// What is fetched and how it is unpacked; a change makes a new one.
const RECIPE: &str = "linux-image-amd64 3";

/// The variable that names another Debian release, such as `trixie`, whose kernel the guest
/// gets in place of this machine's.
pub const SUITE: &str = "KICKSTAGE_GUEST_SUITE";

/// That release.
#[must_use]
pub fn suite() -> Option<String> {
    env::var(SUITE).ok().filter(|suite| !suite.is_empty())
}

/// What the guest needs before it has its root, and a disk.
pub const MODULES: &[&str] = &["virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_blk"];
/// For a root on a disk; the last but one is what ext4 asks the kernel for by another
/// name.
pub const DISK: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
/// For a network card, a channel to the host, a watchdog, and vsock without a host.
pub const DEVICES: &[&str] = &["virtio_pci", "virtio_net", "virtio_console", "i6300esb"];
/// See [`DEVICES`].
pub const VSOCK: &[&str] = &["vsock_loopback"];
/// The same with a host.
pub const VSOCK_HOST: &[&str] = &["virtio_pci", "vmw_vsock_virtio_transport"];

/// The recipe of this kernel.
#[must_use]
pub fn recipe() -> String {
    suite().map_or_else(|| RECIPE.into(), |suite| format!("{RECIPE} of {suite}"))
}

fn folder() -> PathBuf {
    cache("guest").join(format!("kernel-{}", hash(&[&recipe()])))
}

/// The unpacked kernel.
#[must_use]
pub fn image() -> PathBuf {
    folder().join("vmlinux")
}

/// Whether it is there or can be fetched.
#[must_use]
pub fn possible() -> bool {
    image().exists() || (in_path("apt-get") && in_path("apt-cache") && in_path("dpkg-deb"))
}

/// Fetches and unpacks it unless it is there.
///
/// # Errors
/// In words.
pub fn make() -> Result<bool, String> {
    let path = folder();
    if path.exists() {
        return Ok(false);
    }
    atomically(&path, |new| {
        fs::create_dir(new).map_err(|error| error.to_string())?;
        let tree = new.join("tree");
        let apt = Apt::new(new)?;
        for package in apt.packages()? {
            tool(
                apt.command("apt-get")
                    .args(["download", "-q", &package])
                    .current_dir(new),
            )?;
            let archive =
                find(new, &|name| name.ends_with(".deb")).ok_or("apt-get fetched nothing")?;
            tool(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
            fs::remove_file(&archive).map_err(|error| error.to_string())?;
        }
        let compressed =
            find(&tree, &|name| name.starts_with("vmlinuz")).ok_or("no kernel in the package")?;
        let image = fs::read(compressed).map_err(|error| error.to_string())?;
        fs::write(new.join("vmlinux"), unpack(&image)?).map_err(|error| error.to_string())?;
        let kept = [MODULES, DISK, DEVICES, VSOCK, VSOCK_HOST].concat();
        for module in load_order(&tree, &kept)? {
            let name = module.file_stem().ok_or("a module without a name")?;
            // Also of a compressed one.
            let name = new.join(name).with_extension("ko");
            fs::write(name, read_module(&module)?).map_err(|error| error.to_string())?;
        }
        // 400 MB of other modules.
        fs::remove_dir_all(&tree).map_err(|error| error.to_string())?;
        apt.remove().map_err(|error| error.to_string())
    })
}

/// apt with the packages of this machine, or of another release: then in a folder of its own.
/// Their signatures are checked by the keys of this machine in both cases.
struct Apt {
    options: Vec<String>,
    own: Option<PathBuf>,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self, String> {
        let Some(suite) = suite() else {
            return Ok(Self {
                options: Vec::new(),
                own: None,
            });
        };
        let own = folder.join("apt");
        let made = || -> std::io::Result<()> {
            fs::create_dir_all(own.join("lists/partial"))?;
            fs::create_dir_all(own.join("cache/archives/partial"))?;
            fs::write(own.join("status"), "")?;
            let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
            let line = format!("deb [signed-by={key}] http://deb.debian.org/debian {suite} main\n");
            fs::write(own.join("sources.list"), line)
        };
        made().map_err(|error| format!("{}: {error}", own.display()))?;
        let path = |name: &str| own.join(name).display().to_string();
        let apt = Self {
            options: [
                format!("Dir::State::lists={}", path("lists")),
                format!("Dir::State::status={}", path("status")),
                format!("Dir::Cache={}", path("cache")),
                format!("Dir::Etc::sourcelist={}", path("sources.list")),
                "Dir::Etc::sourceparts=-".into(),
                // It may not be able to enter the folder otherwise.
                "APT::Sandbox::User=root".into(),
            ]
            .into_iter()
            .flat_map(|option| ["-o".into(), option])
            .collect(),
            own: Some(own.clone()),
        };
        tool(apt.command("apt-get").args(["update", "-qq"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// What holds the kernel that linux-image-amd64 stands for, `linux-image-6.1.0-...`, and
    /// where these are packages of their own its image and its modules.
    fn packages(&self) -> Result<Vec<String>, String> {
        let depends = |package: &str, kinds: &[&str]| -> Result<Vec<String>, String> {
            let words = ["depends", "--important", package];
            let text = tool(self.command("apt-cache").args(words))?;
            let names = String::from_utf8_lossy(&text)
                .split_whitespace()
                .filter(|word| kinds.iter().any(|kind| word.starts_with(kind)))
                .map(|word| word.split(':').next().unwrap_or_default().to_owned())
                .collect();
            Ok(names)
        };
        let version = match self.own {
            Some(_) => "linux-image-",
            None => "linux-image-6.1.",
        };
        let image = depends("linux-image-amd64", &[version])?;
        let image = image.into_iter().find(|name| name != "linux-image-amd64");
        let image = image.ok_or("apt has no kernel linux-image-amd64 of that release")?;
        let mut packages = depends(&image, &["linux-binary-", "linux-modules-"])?;
        packages.push(image);
        Ok(packages)
    }

    fn remove(self) -> std::io::Result<()> {
        self.own.map_or(Ok(()), fs::remove_dir_all)
    }
}

/// The first file below `folder` whose name `wanted` accepts.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let here = entries.iter().find(|path| {
        path.is_file()
            && path
                .file_name()
                .is_some_and(|name| wanted(&name.to_string_lossy()))
    });
    here.cloned().or_else(|| {
        entries
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|path| find(path, wanted))
    })
}

/// The ELF kernel inside a bzImage. QEMU boots it through its PVH note, which
/// saves the guest from unpacking it, 0.3 to 2 s without KVM.
fn unpack(image: &[u8]) -> Result<Vec<u8>, String> {
    // Where the payload is: Documentation/arch/x86/boot.rst.
    let field = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let payload = (|| {
        let setup = usize::from(*image.get(0x1f1)?);
        let start = (setup + 1) * 512 + field(0x248)?;
        image.get(start..start + field(0x24c)?)
    })()
    .ok_or("not a bzImage")?;
    // Its last four bytes are a size, not part of the stream.
    let stream = &payload[..payload.len().saturating_sub(4)];
    let bytes = decompress(stream)?;
    if bytes.starts_with(b"\x7fELF") {
        Ok(bytes)
    } else {
        Err("the kernel's payload is no ELF file".to_owned())
    }
}

/// What xz(1) or zstd(1) makes of it.
fn decompress(stream: &[u8]) -> Result<Vec<u8>, String> {
    let words: &[&str] = if stream.starts_with(b"\x28\xb5\x2f\xfd") {
        &["zstd", "-dcq"]
    } else {
        &["xz", "-dc", "--single-stream"]
    };
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let mut input = child.stdin.take().ok_or("no pipe")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(stream));
        child.wait_with_output()
    })
    .map_err(|error| format!("{}: {error}", words[0]))?;
    Ok(output.stdout)
}

/// A module, which may be compressed.
fn read_module(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    decompress(&bytes)
}

/// These modules and what they need, in the order of loading.
fn load_order(tree: &Path, modules: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut order = Vec::new();
    for module in modules {
        add(tree, module, &mut order)?;
    }
    Ok(order)
}

/// Adds a module after its dependencies, which it names itself: no depmod.
fn add(tree: &Path, module: &str, order: &mut Vec<PathBuf>) -> Result<(), String> {
    let same = |name: &str| {
        let stem = [".ko", ".ko.xz", ".ko.zst"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let name = stem.unwrap_or_default();
        name.replace('-', "_") == module.replace('-', "_")
    };
    let Some(path) = find(tree, &same) else {
        // Built in.
        return Ok(());
    };
    if order.contains(&path) {
        return Ok(());
    }
    let bytes = read_module(&path)?;
    for key in [&b"\0depends="[..], b"\0softdep=pre: "] {
        for name in values(&bytes, key) {
            add(tree, &name, order)?;
        }
    }
    order.push(path);
    Ok(())
}

/// The names in a list of the module's .modinfo section.
fn values(module: &[u8], key: &[u8]) -> Vec<String> {
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let rest = &module[at + key.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&rest[..end]);
    text.split([',', ' '])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The files of these modules and of what they need, in the order of loading.
///
/// # Errors
/// If the cache is damaged.
pub fn files(modules: &[&str]) -> Result<Vec<PathBuf>, String> {
    load_order(&folder(), modules)
}

/// Name and contents of each module that the guest needs, in the order of loading.
///
/// # Errors
/// If the cache is damaged.
pub fn modules() -> Result<Vec<(String, Vec<u8>)>, String> {
    let read = |path: PathBuf| {
        let name = path.file_name().ok_or("a module without a name")?;
        let data = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((name.to_string_lossy().into_owned(), data))
    };
    files(MODULES)?.into_iter().map(read).collect()
}
