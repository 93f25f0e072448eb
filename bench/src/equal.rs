//! The proof of equal work: what the payload sees must be the same.

use std::{collections::BTreeMap, fs};

/// What a payload saw, as far as it has to be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Lines of text that are compared, by what they are about.
    facts: BTreeMap<String, String>,
    /// The mounts: target, type, and the flags that confine; sorted.
    mounts: Vec<String>,
}

/// Keys of the report that are compared as they are.
const SAME: [&str; 8] = [
    "groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];
/// Mount flags that matter; others (relatime) are the kernel's defaults.
const FLAGS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

impl View {
    /// Reads what `probe report` has printed; `host` gives the harness's own
    /// namespace of a kind.
    ///
    /// # Errors
    /// The text is no report.
    pub fn read(report: &str, host: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut view = Self::default();
        let mut descriptors = Vec::new();
        for line in report.lines() {
            let Some((key, value)) = line.split_once('=') else {
                return Err(format!("the payload printed {line:?}"));
            };
            if let Some(kind) = key.strip_prefix("ns.") {
                let whose = if host(kind).as_deref() == Some(value) {
                    "the host's"
                } else {
                    "its own"
                };
                view.facts.insert(format!("{kind} namespace"), whose.into());
            } else if let Some(number) = key.strip_prefix("fd.") {
                descriptors.push(number.to_owned());
            } else if SAME.contains(&key) {
                view.facts.insert(key.into(), value.into());
            } else if key == "mount" {
                view.mounts.push(mount(value));
            }
        }
        if view.facts.is_empty() || view.mounts.is_empty() {
            return Err("the payload printed no report".into());
        }
        descriptors.sort();
        view.facts
            .insert("descriptors".into(), descriptors.join(" "));
        view.mounts.sort();
        Ok(view)
    }

    /// What differs, one line each; `this` and `that` name the two sides.
    #[must_use]
    pub fn differences(&self, this: &str, other: &Self, that: &str) -> Vec<String> {
        let mut found = Vec::new();
        let keys = self.facts.keys().chain(other.facts.keys());
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let text = |view: &Self| {
                view.facts
                    .get(key)
                    .cloned()
                    .unwrap_or_else(|| "none".into())
            };
            let (own, others) = (text(self), text(other));
            if own != others {
                found.push(format!("{key}: {own} under {this}, {others} under {that}"));
            }
        }
        let mut only = |one: &Self, another: &Self, name: &str| {
            let mut rest = another.mounts.clone();
            for mount in &one.mounts {
                match rest.iter().position(|other| other == mount) {
                    Some(index) => drop(rest.swap_remove(index)),
                    None => found.push(format!("mount {mount}: only under {name}")),
                }
            }
        };
        only(self, other, this);
        only(other, self, that);
        found
    }

    /// Whether the payload had a /proc to look at: without one it can't tell
    /// mounts and capabilities.
    #[must_use]
    pub fn has_proc(&self) -> bool {
        self.facts.contains_key("CapBnd")
    }

    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let own = self
            .facts
            .iter()
            .filter(|(_, value)| *value == "its own")
            .count();
        let descriptors = self.facts.get("descriptors").map_or("", String::as_str);
        format!(
            "{own} namespaces of its own, {} mounts, CapBnd {}, descriptors {descriptors}",
            self.mounts.len(),
            self.facts.get("CapBnd").map_or("?", String::as_str),
        )
    }
}

/// `TARGET TYPE FLAGS` of a line `TARGET TYPE OPTIONS SOURCE SUPER PROPAGATION`.
fn mount(value: &str) -> String {
    let mut fields = value.split(' ');
    let target = fields.next().unwrap_or_default();
    // The root's type is that of the file system it is on.
    let kind = fields.next().unwrap_or_default();
    let options = fields.next().unwrap_or_default();
    let flags = FLAGS
        .iter()
        .filter(|flag| options.split(',').any(|option| option == **flag));
    let flags: Vec<_> = flags.copied().collect();
    format!("{target} {kind} {}", flags.join(","))
}

/// The harness's own namespace of a kind.
#[must_use]
pub fn own_namespace(kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> View {
        View::read(text, |kind| Some(format!("{kind}:[1]"))).unwrap()
    }

    #[test]
    fn the_same_work_is_equal() {
        let a = "ns.mnt=mnt:[5]\nfd.0=/dev/null\nCapBnd=1\nmount=/ tmpfs rw,relatime tmpfs rw -\n";
        let b = "ns.mnt=mnt:[6]\nfd.0=pipe\nCapBnd=1\nmount=/ tmpfs rw none rw -\n";
        assert_eq!(
            view(a).differences("a", &view(b), "b"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_difference_is_told() {
        let a = "ns.mnt=mnt:[5]\nfd.0=x\nCapBnd=1\nmount=/ tmpfs rw tmpfs rw -\n";
        let b = "ns.mnt=mnt:[1]\nfd.0=x\nfd.7=y\nCapBnd=1\nmount=/ tmpfs ro,nosuid tmpfs rw -\n";
        let found = view(a).differences("a", &view(b), "b");
        assert_eq!(
            found,
            [
                "descriptors: 0 under a, 0 7 under b",
                "mnt namespace: its own under a, the host's under b",
                "mount / tmpfs : only under a",
                "mount / tmpfs ro,nosuid: only under b",
            ]
        );
    }

    #[test]
    fn an_error_is_no_report() {
        assert!(View::read("exec: ENOENT\n", |_| None).is_err());
        assert!(View::read("", |_| None).is_err());
    }
}
