//! A pool of network namespaces, and the processes that keep them.

use std::{fs, path::PathBuf};

use crate::{
    command::{Run, Running},
    registered::{Registry, lives, one_line, wait_until},
};

/// A pool of network namespaces.
pub struct Pool {
    /// Where it is.
    pub pods: Registry,
}

/// Its file for a namespace that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file's.
    pub name: String,
    /// Of the process that keeps it.
    pub pid: String,
    /// As a link of /proc shows it.
    pub namespace: String,
}

impl Pool {
    /// Of this size.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let pool = Self {
            pods: Registry::new(),
        };
        pool.resize(size);
        assert_eq!(pool.entries().len(), size);
        pool
    }

    /// Gives it another size.
    pub fn resize(&self, size: usize) {
        let words = ["--networks", &size.to_string()];
        self.pods.ask("pool", &words).code(0).quiet().printed("");
    }

    /// Its directory.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.pods.path().join("pods/networks")
    }

    /// All namespaces that wait.
    ///
    /// # Panics
    /// If a name is not UTF-8.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let Ok(folder) = fs::read_dir(self.folder()) else {
            return Vec::new();
        };
        let names = folder.flatten().map(|entry| entry.file_name());
        let names = names.map(|name| name.into_string().expect("UTF-8"));
        let entry = |name: String| {
            let mut parts = name.split('-');
            Some(Entry {
                pid: parts.next()?.to_owned(),
                namespace: format!("net:[{}]", parts.next()?),
                name,
            })
        };
        names.filter_map(entry).collect()
    }

    /// Waits until so many do.
    pub fn wait_for(&self, size: usize) {
        wait_until("it is full again", || self.entries().len() == size);
    }

    /// A pod with one of them.
    #[must_use]
    pub fn run(&self, probe: &[&str]) -> Run {
        self.pods.pod("run", &["--net=pool"], probe)
    }

    /// The network namespace of a pod that was run.
    #[must_use]
    pub fn namespace(&self) -> String {
        let output = self.run(&["report", "ns.net"]).output();
        output.code(0).quiet();
        one_line(&output).replace("ns.net=", "")
    }

    /// The same of one that runs, until it gets a line.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(&self) -> (Running, String) {
        let words = ["report", "ns.net", ",", "echo", "ready", ",", "line"];
        let running = self.run(&words).open_input().start();
        running.wait_for("ready");
        let pod = children(&running.pid().to_string()).remove(0);
        let path = format!("/proc/{pod}/ns/net");
        let namespace = fs::read_link(path).expect("a namespace");
        (running, namespace.display().to_string())
    }

    /// Who keeps the namespace of a pod that runs.
    ///
    /// # Panics
    /// If nobody does.
    #[must_use]
    pub fn holder_of(&self, namespace: &str) -> String {
        let known: Vec<String> = self.entries().into_iter().map(|entry| entry.pid).collect();
        let holder = holders().into_iter().find(|pid| !known.contains(pid));
        let holder = holder.expect("a process");
        let link = fs::read_link(format!("/proc/{holder}/ns/net")).expect("a namespace");
        assert_eq!(link.display().to_string(), namespace);
        holder
    }

    /// Ends it; nobody is there any more.
    ///
    /// # Panics
    /// If somebody is.
    pub fn end(self) {
        self.resize(0);
        wait_until("all have ended", || holders().is_empty());
        assert!(!self.folder().exists());
        self.pods.collected();
    }
}

/// The children of a process.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn children(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a process");
    text.split_whitespace().map(str::to_owned).collect()
}

/// All processes that keep namespaces, whether somebody knows of them or not.
///
/// # Panics
/// Without /proc.
#[must_use]
pub fn holders() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let holds = |pid: &String| {
        let first = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap_or_default();
        first.to_string_lossy().contains("/pods/networks")
    };
    names.filter(holds).filter(|pid| lives(pid)).collect()
}

/// The caller's own namespace.
///
/// # Panics
/// Without /proc.
#[must_use]
pub fn own() -> String {
    let link = fs::read_link("/proc/self/ns/net").expect("a namespace");
    link.display().to_string()
}
