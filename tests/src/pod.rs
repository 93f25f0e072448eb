//! `stage0 run` and `fly` with the options of a test.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::command::{Output, Run};

/// The path of the probe in the roots of the tests.
pub const PROBE: &str = "/bin/probe";

/// Which program starts the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launcher {
    Stage0,
    Fly,
}

/// A start that is described option by option.
#[derive(Clone, Debug)]
pub struct Pod {
    launcher: Launcher,
    root: OsString,
    options: Vec<OsString>,
}

impl Pod {
    /// `stage0 run --rootfs ROOT`.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self {
            launcher: Launcher::Stage0,
            root: root.as_ref().as_os_str().to_owned(),
            options: Vec::new(),
        }
    }

    /// `fly ROOT`.
    pub fn fly(root: impl AsRef<Path>) -> Self {
        Self {
            launcher: Launcher::Fly,
            ..Self::new(root)
        }
    }

    /// Adds options as they are.
    #[must_use]
    pub fn options(mut self, options: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.options
            .extend(options.into_iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Adds one option that needs no value.
    #[must_use]
    pub fn flag(self, option: &str) -> Self {
        self.options([option])
    }

    /// Adds `--volume SOURCE:TARGET` (of stage0) or `--bind SOURCE TARGET`.
    #[must_use]
    pub fn volume(self, source: impl AsRef<Path>, target: &str) -> Self {
        let source = source.as_ref().as_os_str().to_owned();
        match self.launcher {
            Launcher::Fly => self.options([OsStr::new("--bind"), &source, OsStr::new(target)]),
            Launcher::Stage0 => {
                let mut value = source;
                value.push(":");
                value.push(target);
                self.options([OsStr::new("--volume"), &value])
            }
        }
    }

    /// The command, ready for the settings that only a process has.
    #[must_use]
    pub fn command(&self, program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        let run = match self.launcher {
            Launcher::Stage0 => Run::ours("stage0")
                .args(["run"])
                .args(&self.options)
                .arg("--rootfs")
                .arg(&self.root),
            Launcher::Fly => Run::ours("fly").args(&self.options).arg(&self.root),
        };
        run.arg("--").args(program)
    }

    /// The same with the probe as program.
    #[must_use]
    pub fn probe_command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        let program = std::iter::once(OsString::from(PROBE));
        self.command(program.chain(arguments.into_iter().map(|word| word.as_ref().to_owned())))
    }

    /// Runs a program to its end.
    #[must_use]
    pub fn run(&self, program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(program).output()
    }

    /// Runs the probe to its end.
    #[must_use]
    pub fn probe(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.probe_command(arguments).output()
    }

    /// Runs a script by the busybox root's shell.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        self.run(["/bin/sh", "-c", script])
    }
}
