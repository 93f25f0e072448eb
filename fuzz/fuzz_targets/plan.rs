//! A plan as it is found in a file. What passes the check can be walked, printed,
//! and handed over in part.
#![no_main]

use fly::{
    plan::{Kind, Plan, print},
    text::Line,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    // The length is in the header: without this nearly nothing would pass.
    let length = data.len() as u64;
    if let Some(place) = data.get_mut(16..24) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
    let Ok(plan) = Plan::check(&data) else {
        return;
    };
    let mut steps = 0;
    for record in plan.steps().records() {
        print::write(&record, &mut Line::new(-1));
        let _ = print::verb(&record, &mut Line::new(-1));
        steps += 1;
    }
    assert_eq!(plan.steps().count(), steps, "each record is a step");
    assert!(plan.app(0).is_some(), "a checked plan has an app");
    // The part is a pod's; these are steps of a program that is no pod's.
    let others = [Kind::ExecSealed, Kind::Check, Kind::AppDieWithParent];
    let mut records = plan.steps().records();
    if records.any(|step| others.iter().any(|kind| step.is(*kind))) {
        return;
    }
    let (header, records) = plan.apps_part();
    let part = [&header[..], records].concat();
    assert!(Plan::check(&part).is_ok(), "the apps' part is a plan");
    assert!(Plan::check_apps(&part).is_ok(), "and pid 1 takes it");
});
