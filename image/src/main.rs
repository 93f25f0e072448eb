//! kickstage-initramfs: packs stage1-machine as /init, a plan, and root trees.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use kickstage_image::{
    archive::{Archive, DEVICE, DIRECTORY, Entry, FILE},
    tree,
};

const NAME: &str = "kickstage-initramfs";
const HELP: &str = "\
Usage: kickstage-initramfs --output FILE [OPTIONS] [-- PLAN OPTIONS]

Packs an initramfs whose /init is stage1-machine. What follows -- goes to
`stage0 plan`, whose plan becomes /etc/kickstage/plan: --rootfs is a path of the
machine there.

  --output FILE      the archive
  --tree SRC:DST     a file or a directory of this machine, as DST; repeatable
  --module FILE      a kernel module that is loaded; repeatable, in order
  --plan FILE        a plan that is there already
  --stage0 PATH      default: beside this program
  --stage1 PATH      default: stage1-machine beside this program
  --keep-owner       owners as they are on the disk; default: root
  --zstd             compresses the archive by zstd(1)
  --help             this text
";

#[derive(Default)]
struct Options {
    output: PathBuf,
    trees: Vec<String>,
    modules: Vec<PathBuf>,
    plan: Option<PathBuf>,
    stage0: PathBuf,
    stage1: PathBuf,
    keep_owner: bool,
    zstd: bool,
    plan_options: Vec<String>,
}

fn main() -> ExitCode {
    match parse().and_then(|options| options.map_or(Ok(()), |options| pack(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // eprintln! would abort where nobody can hear it.
            let _ = writeln!(io::stderr(), "{NAME}: {error}");
            ExitCode::from(254)
        }
    }
}

fn parse() -> Result<Option<Options>, String> {
    let beside = env::current_exe().map_err(|error| format!("find {NAME}: {error}"))?;
    let mut options = Options {
        stage0: beside.with_file_name("stage0"),
        stage1: beside.with_file_name("stage1-machine"),
        ..Options::default()
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("read option {word}: its value is missing (see --help)"))
        };
        match word.as_str() {
            "--output" | "-o" => options.output = value()?.into(),
            "--tree" => options.trees.push(value()?),
            "--module" => options.modules.push(value()?.into()),
            "--plan" => options.plan = Some(value()?.into()),
            "--stage0" => options.stage0 = value()?.into(),
            "--stage1" => options.stage1 = value()?.into(),
            "--keep-owner" => options.keep_owner = true,
            "--zstd" => options.zstd = true,
            "--" => options.plan_options = words.by_ref().collect(),
            "--help" | "-h" => {
                let said = io::stdout().write_all(HELP.as_bytes());
                return said
                    .map(|()| None)
                    .map_err(|error| format!("write the help: {error}"));
            }
            _ => {
                return Err(format!(
                    "read option {word}: there is no such option (see --help)"
                ));
            }
        }
    }
    if options.output.as_os_str().is_empty() {
        return Err("read the command line: --output is missing (see --help)".to_owned());
    }
    Ok(Some(options))
}

fn pack(options: &Options) -> Result<(), String> {
    let mut archive = Archive::default();
    for name in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        archive.add(name.as_bytes(), entry(DIRECTORY | 0o755, Vec::new()));
    }
    // The kernel opens it for the first process, before /dev is mounted.
    archive.add(
        b"dev/console",
        Entry {
            device: (5, 1),
            ..entry(DEVICE | 0o600, Vec::new())
        },
    );
    for pair in &options.trees {
        let (source, target) = pair
            .rsplit_once(':')
            .ok_or_else(|| format!("read --tree {pair}: it is not SRC:DST"))?;
        tree::add(
            &mut archive,
            Path::new(source),
            target.as_bytes(),
            options.keep_owner,
        )?;
    }
    archive.add(b"init", entry(FILE | 0o755, read(&options.stage1)?));
    let mut list = Vec::new();
    for module in &options.modules {
        let name = module
            .file_name()
            .ok_or_else(|| format!("read {}: it is no file", module.display()))?;
        let path = [b"/etc/kickstage/modules.d/", name.as_bytes()].concat();
        archive.add(&path, entry(FILE | 0o644, read(module)?));
        list.extend_from_slice(&path);
        list.push(b'\n');
    }
    if !list.is_empty() {
        archive.add(b"etc/kickstage/modules", entry(FILE | 0o644, list));
    }
    if let Some(plan) = plan(options)? {
        archive.add(b"etc/kickstage/plan", entry(FILE | 0o644, plan));
    }
    let failed = |error: io::Error| format!("write {}: {error}", options.output.display());
    let bytes = archive.to_bytes()?;
    if !options.zstd {
        return fs::write(&options.output, bytes).map_err(failed);
    }
    compress(&options.output, &bytes)
}

fn entry(mode: u32, data: Vec<u8>) -> Entry {
    Entry {
        mode,
        data,
        ..Entry::default()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))
}

/// The plan: that of a file, or made by stage0, which says itself what is wrong.
fn plan(options: &Options) -> Result<Option<Vec<u8>>, String> {
    if let Some(path) = &options.plan {
        return read(path).map(Some);
    }
    if options.plan_options.is_empty() {
        return Ok(None);
    }
    let made = options.output.with_extension("plan");
    let status = Command::new(&options.stage0)
        .args(["plan", "--output"])
        .arg(&made)
        .args(&options.plan_options)
        .status()
        .map_err(|error| format!("run {}: {error}", options.stage0.display()))?;
    if !status.success() {
        return Err("make the plan: stage0 has failed".to_owned());
    }
    let plan = read(&made);
    let _ = fs::remove_file(&made);
    plan.map(Some)
}

fn compress(output: &Path, bytes: &[u8]) -> Result<(), String> {
    let failed = |error: io::Error| format!("run zstd: {error} (install zstd)");
    let mut child = Command::new("zstd")
        .args(["-q", "-f", "-19", "-o"])
        .arg(output)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(bytes).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("write {}: zstd has failed", output.display()))
    }
}
