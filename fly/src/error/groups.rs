//! Which texts which program holds.

use super::{Advice, What, Why};
use crate::packed::Packed;

/// The texts that some programs need and others don't: each kind in one string,
/// a text a line, since a table of them would be larger than they are.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// The first of its numbers.
    pub(super) from: u8,
    pub(super) what: Packed,
    pub(super) why: Packed,
    pub(super) advice: Packed,
}

/// The texts of `stage1-init`.
pub const INIT_TEXTS: &[Texts] = &[CORE, INIT];
/// The texts of `stage1-machine`.
pub const MACHINE_TEXTS: &[Texts] = &[CORE, INIT, MACHINE];
/// The texts of `fly`.
pub const FLY_TEXTS: &[Texts] = &[CORE, FLY];
/// The texts of `fly-full`.
pub const FULL_TEXTS: &[Texts] = &[CORE, FLY, FULL];
/// All texts, those of `stage0`.
pub const ALL_TEXTS: &[Texts] = &[CORE, FLY, FULL, INIT, MACHINE, STAGE0];

pub(super) const NO_TEXT: Packed = Packed(&[]);
const CORE: Texts = Texts {
    from: 0,
    what: What::CORE,
    why: Why::CORE,
    advice: Advice::CORE,
};
pub(super) const FLY: Texts = Texts {
    from: 32,
    what: What::FLY,
    why: Why::FLY,
    advice: Advice::FLY,
};
const FULL: Texts = Texts {
    from: 152,
    what: NO_TEXT,
    why: Why::FULL,
    advice: NO_TEXT,
};
const INIT: Texts = Texts {
    from: 160,
    what: What::INIT,
    why: Why::INIT,
    advice: Advice::INIT,
};
const MACHINE: Texts = Texts {
    from: 172,
    what: What::MACHINE,
    why: Why::MACHINE,
    advice: NO_TEXT,
};
pub(super) const STAGE0: Texts = Texts {
    from: 184,
    what: What::STAGE0,
    why: Why::STAGE0,
    advice: Advice::STAGE0,
};
