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
        (What::Exec as u16, What::CORE.1, "exec"),
        (
            What::WalkTo as u16 - FLY.what.0,
            What::FLY.1,
            "walk to mount point",
        ),
        (
            Why::InitKilled as u16 - STAGE0.why.0,
            Why::STAGE0.1,
            "it was killed",
        ),
        (Advice::None as u16, Advice::CORE.1, ""),
        (
            Reason::Path as u16,
            REASONS,
            "a path that is empty, too long or not absolute",
        ),
    ] {
        assert_eq!(nth_line(group, number).0, packed(text));
    }
}

#[test]
fn groups_keep_apart() {
    type Kind = fn(&Texts) -> groups::Group;
    let kinds: [(_, Kind); 3] = [
        (What::UNPACKED, |texts| texts.what),
        (Why::UNPACKED, |texts| texts.why),
        (Advice::UNPACKED, |texts| texts.advice),
    ];
    for (groups, kind) in kinds {
        for (from, _) in groups {
            assert!(ALL_TEXTS.iter().any(|texts| kind(texts).0 == *from));
        }
        for (group, next) in groups.iter().zip(groups.iter().skip(1)) {
            assert!(usize::from(group.0) + group.1.lines().count() <= usize::from(next.0));
        }
    }
}

/// How much more than others the texts of `stage1-init` count, which has the least room.
const WEIGHT: usize = 5;

/// All texts as they are written, for the choice of how they are packed.
pub(crate) fn texts_unpacked() -> String {
    let groups = [What::UNPACKED, Why::UNPACKED, Advice::UNPACKED].concat();
    let mut all: Vec<&str> = groups.iter().map(|(_, text)| *text).collect();
    // What several programs share, and what is its own.
    let of_init = [0, groups::INIT.what.0];
    let mut own: Vec<&str> = vec![Reason::TEXTS, numbers::ERROR_TEXTS];
    let groups = groups.iter().filter(|(from, _)| of_init.contains(from));
    own.extend(groups.map(|(_, text)| *text));
    for _ in 0..=WEIGHT {
        all.extend(&own);
    }
    all.join("\n")
}
