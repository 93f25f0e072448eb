//! Which texts which program holds.

use super::{Advice, What, Why};
use crate::packed::Packed;

/// The texts that some programs need and others don't: each kind in one string,
/// a text a line, since a table of them would be larger than they are.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    pub(super) what: Group,
    pub(super) why: Group,
    pub(super) advice: Group,
}

/// The texts of one kind, and the number of the first.
pub(super) type Group = (u16, Packed);

/// The texts of `stage1-init`.
pub const INIT_TEXTS: &[Texts] = &[CORE, INIT];
/// The texts of `stage1-machine`.
pub const MACHINE_TEXTS: &[Texts] = &[CORE, INIT, MACHINE];
/// The texts of `fly`.
pub const FLY_TEXTS: &[Texts] = &[CORE, FLY];
/// The texts of `fly-full`.
pub const FULL_TEXTS: &[Texts] = &[CORE, FLY, FULL];
/// The texts of `stage0`.
pub const STAGE0_TEXTS: &[Texts] = &[CORE, FLY, FULL, INIT, MACHINE, STAGE0, STARTS];
/// All texts, those of `stage0-full`.
pub const ALL_TEXTS: &[Texts] = &[CORE, FLY, FULL, INIT, MACHINE, STAGE0, PODS, STARTS];

pub(super) const NO_TEXT: Group = (u16::MAX, Packed(&[]));
const CORE: Texts = Texts {
    what: What::CORE,
    why: Why::CORE,
    advice: Advice::CORE,
};
pub(super) const FLY: Texts = Texts {
    what: What::FLY,
    why: Why::FLY,
    advice: Advice::FLY,
};
const FULL: Texts = Texts {
    what: NO_TEXT,
    why: Why::FULL,
    advice: NO_TEXT,
};
pub(super) const INIT: Texts = Texts {
    what: What::INIT,
    why: Why::INIT,
    advice: Advice::INIT,
};
const MACHINE: Texts = Texts {
    what: What::MACHINE,
    why: Why::MACHINE,
    advice: NO_TEXT,
};
pub(super) const STAGE0: Texts = Texts {
    what: What::STAGE0,
    why: Why::STAGE0,
    advice: Advice::STAGE0,
};
const PODS: Texts = Texts {
    what: What::PODS,
    why: Why::PODS,
    advice: Advice::PODS,
};
/// More of what a start may say.
const STARTS: Texts = Texts {
    what: NO_TEXT,
    why: Why::STARTS,
    advice: NO_TEXT,
};
