//! How the apps of a pod are, all together.

use fly::sys::time;

use super::Pod;
use crate::apps::State;

/// How the apps of a pod are, a bit each.
pub(super) struct Look {
    /// Those that have not ended for good.
    pub(super) left: u64,
    pub(super) ready: u64,
    /// Those for which an app that lives has waited.
    pub(super) awaited: u64,
    /// The next moment at which one has to be looked at.
    pub(super) due: u64,
}

impl Pod<'_, '_> {
    /// How the apps are.
    #[inline(never)]
    pub(super) fn look(&self) -> Look {
        let mut look = Look {
            left: 0,
            ready: 0,
            awaited: 0,
            due: u64::MAX,
        };
        for (index, app) in self.places.iter().take(self.count).enumerate() {
            let bit = bit(index);
            if app.state != State::Done && !app.entered {
                look.left |= bit;
            }
            if app.ready {
                look.ready |= bit;
            }
            if app.lives() {
                look.awaited |= app.after;
            }
            for due in [app.due, app.kill_at] {
                if due != 0 {
                    look.due = look.due.min(due);
                }
            }
        }
        look
    }
}

/// The bit of an app.
pub(crate) fn bit(index: usize) -> u64 {
    1 << (index & 63)
}

/// Whether this moment, unless it is none, has come.
pub(super) fn is_over(moment: u64) -> bool {
    moment != 0 && moment <= time::monotonic()
}
