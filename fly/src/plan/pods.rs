//! What the steps of several apps are to each other: names and order.

use core::ffi::CStr;

use super::{
    Kind, MAX_APPS, Problem, Reason, Records,
    check::at_end,
    record::{Header, Record, put},
};

/// For each app the apps that it waits for: bit `n` is app `n`.
type Order = [u64; MAX_APPS];

/// Of a plan some of whose apps wait for these.
///
/// # Errors
/// Apps that wait for each other, or for none of the plan ([`Reason::Order`]): they
/// would never start.
#[cold]
#[inline(never)]
pub(super) fn check(records: &Records<'_>, waited_for: u64) -> Result<(), Problem> {
    // Takes away who waits for nobody that is left, until that takes nobody. Who is no
    // app is always left.
    let mut left = u64::MAX;
    loop {
        let before = left;
        let (mut app, mut waits) = (1_u64, false);
        for record in records.clone() {
            waits |= record.is(Kind::After) && record.number & left != 0;
            // The last step of an app.
            if record.is(Kind::Exec) {
                if !waits {
                    left &= !app;
                }
                (app, waits) = (app.wrapping_shl(1), false);
            }
        }
        if left == before {
            break;
        }
    }
    if left & waited_for == 0 {
        Ok(())
    } else {
        Err(problem(Kind::After, Reason::Order))
    }
}

/// Writes into the steps of a checked plan who waits for whom, of whom they hold the
/// names: pid 1 then compares none.
///
/// # Errors
/// Two apps of one name, or a name that no app has ([`Reason::Name`]); as of [`check`].
#[cold]
#[inline(never)]
pub(super) fn resolve(plan: &mut [u8]) -> Result<(), Problem> {
    let order = order(&Records {
        rest: plan.get(Header::SIZE..).unwrap_or_default(),
    })?;
    let mut at = Header::SIZE;
    let (mut app, mut waited_for) = (0_usize, 0);
    loop {
        let mut rest = plan.get(at..).unwrap_or_default();
        let Some(record) = Record::take(&mut rest) else {
            break;
        };
        let after = plan.len() - rest.len();
        if record.is(Kind::App) {
            app += 1;
        } else if record.is(Kind::After) {
            let waits_for = order.get(app.wrapping_sub(1)).copied().unwrap_or(0);
            put(plan, at + Record::NUMBER, waits_for.to_ne_bytes());
            waited_for |= waits_for;
        }
        at = after;
    }
    if waited_for == 0 {
        return Ok(());
    }
    let rest = plan.get(Header::SIZE..).unwrap_or_default();
    check(&Records { rest }, waited_for)
}

/// Who waits for whom.
fn order(records: &Records<'_>) -> Result<Order, Problem> {
    let mut order = [0; MAX_APPS];
    let mut names = [c""; MAX_APPS];
    let mut count = 0;
    for record in records.clone().filter(|record| record.is(Kind::App)) {
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
    let mut app = 0_usize;
    for record in records.clone() {
        if record.is(Kind::App) {
            app += 1;
        } else if record.is(Kind::After)
            && let Some(place) = order.get_mut(app.wrapping_sub(1))
        {
            let names = names.get(..count).unwrap_or_default();
            *place |= bits(&mut record.list.iter(), names)?;
        }
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

fn problem(kind: Kind, reason: Reason) -> Problem {
    Problem {
        kind: Some(kind),
        ..at_end(0, reason)
    }
}
