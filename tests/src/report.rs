//! Reads what `probe report` prints.

/// The lines of a report.
#[derive(Debug)]
pub struct Report {
    lines: Vec<(String, String)>,
}

/// A mount as the pod sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub target: String,
    /// The file system's type.
    pub kind: String,
    /// Options of the mount, `ro,nosuid`.
    pub options: Vec<String>,
    /// What.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
    /// `shared:1`, `master:1`, `-`.
    pub propagation: String,
}

impl Mount {
    /// Whether the mount has the option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|other| other == option)
    }
}

impl Report {
    /// Takes the lines `key=value` of `text`; others are left out.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// The value of the only line with this key.
    #[must_use]
    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        match self.all(key)[..] {
            [value] => value,
            _ => panic!("expected one line {key}= in {:#?}", self.lines),
        }
    }

    /// The value, where the line may be missing.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&str> {
        self.all(key).first().copied()
    }

    /// The values of all lines with this key.
    #[must_use]
    pub fn all(&self, key: &str) -> Vec<&str> {
        let found = self.lines.iter().filter(|(other, _)| other == key);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The keys and values below `key`, without `key.` itself.
    #[must_use]
    pub fn below(&self, key: &str) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for (name, value) in &self.lines {
            if let Some(rest) = name
                .strip_prefix(key)
                .and_then(|rest| rest.strip_prefix('.'))
            {
                found.push((rest, value.as_str()));
            }
        }
        found
    }

    /// Asserts one value.
    #[track_caller]
    pub fn is(&self, key: &str, value: &str) -> &Self {
        assert_eq!(self.get(key), value, "{key}");
        self
    }

    /// All mounts, in order.
    #[must_use]
    #[track_caller]
    pub fn mounts(&self) -> Vec<Mount> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        self.all("mount")
            .iter()
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let [target, kind, options, source, super_options, propagation] = fields[..] else {
                    panic!("not a mount: {line}");
                };
                Mount {
                    target: target.to_owned(),
                    kind: kind.to_owned(),
                    options: list(options),
                    source: source.to_owned(),
                    super_options: list(super_options),
                    propagation: propagation.to_owned(),
                }
            })
            .collect()
    }

    /// The topmost mount on `target`.
    #[must_use]
    #[track_caller]
    pub fn mount(&self, target: &str) -> Mount {
        let mut mounts = self.mounts();
        mounts.retain(|mount| mount.target == target);
        mounts
            .pop()
            .unwrap_or_else(|| panic!("no mount on {target} in {:#?}", self.lines))
    }
}
