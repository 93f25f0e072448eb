use super::{
    groups::{FLY, STAGE0},
    *,
};

#[test]
fn an_error_fits_two_registers() {
    assert_eq!(size_of::<Result<(), Error<'_>>>(), 16);
}

#[test]
fn numbers_lead_to_their_texts() {
    let packed = |text: &str| packed::pack_to_vec(text);
    for (errno, text) in [
        (2, "No such file or directory"),
        (1, "Operation not permitted"),
        (122, "Disk quota exceeded"),
        (12_345, ""),
    ] {
        assert_eq!(describe(errno).0, packed(text));
    }
    for (number, group, text) in [
        (What::Exec as u8, What::CORE, "exec"),
        (
            What::WalkTo as u8 - FLY.from,
            What::FLY,
            "walk to mount point",
        ),
        (
            Why::InitKilled as u8 - STAGE0.from,
            Why::STAGE0,
            "it was killed",
        ),
        (Advice::None as u8, Advice::CORE, ""),
        (
            Reason::Path as u8,
            REASONS,
            "a path that is empty, too long or not absolute",
        ),
    ] {
        assert_eq!(nth_line(group, number).0, packed(text));
    }
}

#[test]
fn groups_keep_apart() {
    for groups in [What::UNPACKED, Why::UNPACKED, Advice::UNPACKED] {
        for (from, _) in groups {
            assert!(ALL_TEXTS.iter().any(|texts| texts.from == *from));
        }
        for (group, next) in groups.iter().zip(groups.iter().skip(1)) {
            assert!(usize::from(group.0) + group.1.lines().count() <= usize::from(next.0));
        }
    }
}

/// All texts as they are written, for the choice of how they are packed.
pub(crate) fn texts_unpacked() -> String {
    let groups = [What::UNPACKED, Why::UNPACKED, Advice::UNPACKED].concat();
    let mut all: Vec<&str> = groups.iter().map(|(_, text)| *text).collect();
    all.extend([Reason::TEXTS, numbers::ERROR_TEXTS]);
    all.join("\n")
}
