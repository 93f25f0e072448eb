//! Paths at which something is mounted.

use fly::json::{Characters, Reader, Text};

use super::read::{Read, path_in_list, wrong};

/// A path in an app's root on which a volume can be mounted. What an image's links make
/// of it is found by the launch.
pub(super) fn mountable<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let path = path_in_list(reader)?;
    let rest_behind = |directory: &str| {
        let mut characters = Normal::of(path);
        let found = directory
            .chars()
            .all(|expected| characters.next() == Some(expected));
        found.then(|| characters.next())
    };
    let is_in = |directory| matches!(rest_behind(directory), Some(None | Some('/')));
    if Normal::of(path).next().is_none() {
        wrong(path.at, "it is the root itself")
    } else if is_in("/proc") || is_in("/sys") {
        wrong(path.at, "it covers or lies in /proc or /sys of the pod")
    } else if rest_behind("/dev") == Some(None) {
        wrong(path.at, "it covers /dev")
    } else {
        Ok(path)
    }
}

/// The characters of an absolute path without slashes and dots that say nothing: of
/// `/./a//b/` they are `/a/b`, of `/` none.
pub(super) struct Normal<'a> {
    rest: Characters<'a>,
}

impl<'a> Normal<'a> {
    pub(super) fn of(path: Text<'a>) -> Self {
        Self {
            rest: path.characters(),
        }
    }
}

impl Iterator for Normal<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = self.rest.next()?.ok()?;
        if first != '/' {
            return Some(first);
        }
        loop {
            let mut ahead = self.rest.clone().flatten();
            match (ahead.next(), ahead.next()) {
                (None, _) => return None,
                (Some('/'), _) | (Some('.'), None) => _ = self.rest.next(),
                // The slash behind the dot is the next one to be looked at.
                (Some('.'), Some('/')) => _ = self.rest.next(),
                _ => return Some('/'),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        for (path, normal) in [
            ("/", ""),
            ("//", ""),
            ("/.", ""),
            ("/././", ""),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/.", "/a"),
            ("//a/./b//", "/a/b"),
            (r"\/a\u002f\u002e\/b", "/a/b"),
            ("/.a/..b/...", "/.a/..b/..."),
            ("/a/../b", "/a/../b"),
            ("/a./b.", "/a./b."),
        ] {
            let text = Text {
                raw: path.as_bytes(),
                at: 0,
            };
            assert_eq!(Normal::of(text).collect::<String>(), normal, "{path}");
        }
    }
}
