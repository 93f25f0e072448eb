//! The program `kickstage-bench`.

use std::process::ExitCode;

use kickstage_bench::{options::Options, run};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let outcome = Options::parse(arguments).and_then(|options| match options {
        Some(options) => run::run(&options),
        None => Ok(true),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A ratio of the budget was missed.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kickstage-bench: {error}");
            ExitCode::from(2)
        }
    }
}
