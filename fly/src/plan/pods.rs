//! What the steps of several apps are to each other: names and order.

use core::ffi::CStr;

use super::{Kind, MAX_APPS, Plan, Problem, Reason, check::at_end};

/// For each app the apps that it waits for: bit `n` is app `n`.
pub type Order = [u64; MAX_APPS];

/// The same, without the answer. One app alone has nobody to be mixed up with, and
/// pid 1 then saves the memory.
#[inline(never)]
pub(super) fn check(plan: &Plan<'_>) -> Result<(), Problem> {
    let mut records = plan.steps().records();
    if plan.app(1).is_none() && !records.any(|record| record.is(Kind::After)) {
        return Ok(());
    }
    order(plan).map(drop)
}

/// Who waits for whom.
///
/// # Errors
/// Two apps of one name, a name that no app has ([`Reason::Name`]), or apps that
/// wait for each other ([`Reason::Order`]).
#[cold]
#[inline(never)]
pub fn order(plan: &Plan<'_>) -> Result<Order, Problem> {
    let mut order = [0; MAX_APPS];
    let mut names = [c""; MAX_APPS];
    let mut count = 0;
    for record in plan.steps().records() {
        if record.is(Kind::App) {
            let name = record.list.first();
            let (before, place) = names.split_at_mut_checked(count).unwrap_or_default();
            if before.contains(&name) {
                return Err(problem(Kind::App, Reason::Name));
            }
            if let Some(place) = place.first_mut() {
                *place = name;
            }
            count += 1;
        }
    }
    let mut waits = false;
    let mut app = 0_usize;
    for record in plan.steps().records() {
        if record.is(Kind::App) {
            app += 1;
        } else if record.is(Kind::After) {
            waits = true;
            let place = order.get_mut(app.wrapping_sub(1));
            if let Some(place) = place {
                *place |= bits(
                    &mut record.list.iter(),
                    names.get(..count).unwrap_or_default(),
                )?;
            }
        }
    }
    if waits && has_circle(&order) {
        return Err(problem(Kind::After, Reason::Order));
    }
    Ok(order)
}

/// The apps of these names.
fn bits(wanted: &mut dyn Iterator<Item = &CStr>, names: &[&CStr]) -> Result<u64, Problem> {
    let mut bits = 0;
    for name in wanted {
        match names.iter().position(|other| *other == name) {
            Some(index) => bits |= 1_u64.wrapping_shl(u32::try_from(index).unwrap_or(0)),
            None => return Err(problem(Kind::After, Reason::Name)),
        }
    }
    Ok(bits)
}

/// Takes away who waits for nobody that is left, until that takes nobody.
fn has_circle(order: &Order) -> bool {
    let mut left = u64::MAX;
    loop {
        let before = left;
        for (index, waits_for) in order.iter().enumerate() {
            if waits_for & left == 0 {
                left &= !1_u64.wrapping_shl(u32::try_from(index).unwrap_or(0));
            }
        }
        if left == before {
            return left != 0;
        }
    }
}

fn problem(kind: Kind, reason: Reason) -> Problem {
    Problem {
        kind: Some(kind),
        ..at_end(0, reason)
    }
}
