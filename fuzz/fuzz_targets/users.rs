//! USER[:GROUP], /etc/passwd and /etc/group, separated by zero bytes. Numbers are
//! exact; whom a name means is told by another reading of the files.
#![no_main]

use std::{env, ffi::CString, fs, os::unix::fs::MetadataExt, path::PathBuf, sync::LazyLock};

use fly::user::resolve_pair;
use libfuzzer_sys::fuzz_target;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = env::temp_dir().join("root");
    fs::create_dir_all(root.join("etc")).expect("a directory");
    root
});

/// An id: digits without leading zeros, below the one that means "unchanged".
fn id(text: &[u8]) -> Option<u32> {
    let text = str::from_utf8(text).ok()?;
    let id: u32 = text.parse().ok()?;
    (id != u32::MAX && id.to_string() == text).then_some(id)
}

/// The id of the first line with this name, of those whose id is one.
fn named(file: &[u8], name: &[u8], needs_group: bool) -> Option<u32> {
    file.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let found = id(fields.get(2)?)?;
        if needs_group {
            id(fields.get(3)?)?;
        }
        (fields[0] == name).then_some(found)
    })
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let pair = parts.next().unwrap_or_default();
    let passwd = parts.next().unwrap_or_default();
    let group = parts.next().unwrap_or_default();
    // Longer lines are passed over by the one and not by the other.
    if passwd.len() > 4000 || group.len() > 4000 {
        return;
    }
    fs::write(ROOT.join("etc/passwd"), passwd).expect("a file");
    fs::write(ROOT.join("etc/group"), group).expect("a file");
    let root = CString::new(ROOT.to_str().expect("UTF-8")).expect("no zero byte");
    let text = CString::new(pair).expect("no zero byte");
    let found = resolve_pair(&root, &text);
    if pair.starts_with(b"@") {
        // All that is in the root is ours.
        if let Ok(identity) = found {
            assert_eq!(
                identity.user,
                fs::metadata(&*ROOT).expect("a directory").uid()
            );
        }
        return;
    }
    let colon = pair.iter().position(|byte| *byte == b':');
    let user = &pair[..colon.unwrap_or(pair.len())];
    let expected = match is_number(user) {
        true => id(user),
        false if user.is_empty() => None,
        false => named(passwd, user, true),
    };
    let group = colon
        .map(|at| &pair[at + 1..])
        .map(|name| match is_number(name) {
            true => id(name),
            false if name.is_empty() => None,
            false => named(group, name, false),
        });
    match found {
        Ok(identity) => {
            assert_eq!(Some(identity.user), expected);
            if let Some(group) = group {
                assert_eq!(Some(identity.group), group);
                assert!(identity.groups().is_empty());
            }
        }
        Err(_) => assert!(expected.is_none() || group == Some(None)),
    }
});
