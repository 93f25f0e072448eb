//! The plan that is printed is what is done.

use kickstage_tests::{TestResult, requirement::Requirement, tests};

tests![printed_is_done];

fn printed_is_done() -> TestResult {
    Requirement::Strace.require()?;
    Ok(())
}
