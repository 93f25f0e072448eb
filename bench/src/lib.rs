//! The start-up harness: what a launcher costs, against the floor.
//!
//! Measuring ([`measure`]), statistics ([`statistics`]), the proof that both
//! sides of a comparison do the same work ([`equal`]), the budget ([`budget`]), the filter
//! ([`filter`]), the inits ([`inits`]), starts in a row ([`soak`])
//! and the two outputs ([`table`], [`json`]) know nothing of each other;
//! [`run`] joins them.

pub mod awake;
pub mod budget;
pub mod bundle;
pub mod cases;
pub mod equal;
pub mod filter;
pub mod inits;
pub mod json;
pub mod machine;
pub mod measure;
pub mod networks;
pub mod options;
pub mod place;
pub mod pods;
pub mod run;
pub mod soak;
pub mod statistics;
pub mod steps;
pub mod table;
