//! A machine's /etc with subordinate ids, and its /run, for the programs of one test.

use std::{fs, path::PathBuf};

use crate::{command::Run, roots, sys};

/// What the programs of a test find at /etc and /run in place of this machine's.
#[derive(Clone, Debug)]
pub struct Ids {
    etc: PathBuf,
    /// Where the locks of ids are.
    pub run: PathBuf,
}

impl Ids {
    /// With these lines of /etc/subuid and of /etc/subgid.
    #[must_use]
    pub fn new(users: &str, groups: &str) -> Self {
        let ids = Self {
            etc: roots::directory("etc"),
            run: roots::directory("run"),
        };
        let passwd = "root:x:0:0::/:\nkickstage:x:990:990::/:\nalice:x:1000:1000::/:\n";
        for (name, text) in [("passwd", passwd), ("subuid", users), ("subgid", groups)] {
            fs::write(ids.etc.join(name), text).expect("a file");
        }
        ids
    }

    /// The same lines of both.
    #[must_use]
    pub fn both(lines: &str) -> Self {
        Self::new(lines, lines)
    }

    /// Runs the program with them: in a mount namespace of its own.
    #[must_use]
    pub fn with(&self, run: Run) -> Run {
        let etc = self.etc.to_str().expect("UTF-8").to_owned();
        let folder = self.run.to_str().expect("UTF-8").to_owned();
        run.hook(move || {
            sys::unshare(libc::CLONE_NEWNS)?;
            sys::make_mounts("/", libc::MS_PRIVATE)?;
            sys::bind(&etc, "/etc")?;
            sys::bind(&folder, "/run")
        })
    }

    /// The same as user 1000.
    #[must_use]
    pub fn unprivileged(&self, run: Run) -> Run {
        self.with(run).hook(|| sys::become_user(1000, 1000))
    }
}

/// The words of a script of the probe.
#[must_use]
pub fn words(script: &'static str) -> Vec<&'static str> {
    script.split_whitespace().collect()
}
