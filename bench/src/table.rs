//! The output for people.

use crate::{
    budget::{Line, Verdict},
    cases::{Case, Role},
    machine::Machine,
    statistics::Summary,
};

/// The machine, in a line.
pub fn machine(machine: &Machine) {
    println!(
        "{} x {}, Linux {}",
        machine.processors, machine.processor, machine.kernel
    );
}

/// The machine, and how it is measured.
pub fn head(machine: &Machine, rounds: usize) {
    self::machine(machine);
    println!(
        "{rounds} rounds, cases alternating; spawn to reaped, a static no-op in a one-file root; state on {}; {} mounts; load {}; processors {}",
        machine.state, machine.mounts, machine.load, machine.idle
    );
}

/// One line a case.
pub fn cases(measured: &[(&Case, Summary)]) {
    println!();
    println!(
        "{:<14} {:>10} {:>10} {:>10}  {:>7}",
        "us", "p50", "p90", "p99", "samples"
    );
    for (case, summary) in measured {
        println!(
            "{:<14} {:>10} {:>10} {:>10}  {:>7}  {}{}",
            case.name,
            micros(summary.p50),
            micros(summary.p90),
            micros(summary.p99),
            summary.count,
            case.about,
            case.version
                .as_ref()
                .map_or_else(String::new, |version| format!(" ({version})")),
        );
    }
}

/// Cases that could not be measured, by name: nothing is passed over in silence.
pub fn missing(cases: &[Case]) {
    for case in cases {
        if let Some(reason) = &case.missing {
            println!("{:<14} {:>10}  {}", case.name, "missing", reason);
        }
    }
}

/// One line of the budget each.
pub fn budget(lines: &[Line]) {
    println!();
    for line in lines {
        let verdict = match line.verdict {
            Verdict::Pass => "PASS",
            Verdict::Miss => "MISS",
            Verdict::Unknown => "----",
        };
        println!(
            "{verdict}  {:<26} {:<26} {}",
            line.text, line.found, line.limit
        );
    }
}

/// Lines that tell something about the run, under a title.
pub fn notes(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    println!();
    println!("{title}");
    for line in lines {
        println!("  {line}");
    }
}

/// One sentence that can be quoted.
pub fn sentence(measured: &[(&Case, Summary)]) {
    let median = |name: &str| {
        let found = measured.iter().find(|(case, _)| case.name == name);
        found.map(|(_, summary)| summary.p50).filter(|p50| *p50 > 0)
    };
    let (Some(default), Some(exec)) = (median("default"), median("exec")) else {
        return;
    };
    let mut text = format!(
        "`stage0 run` starts, runs and reaps a no-op in an isolated pod in {} us, {:.1} times what vfork + exec of it costs",
        micros(default),
        default as f64 / exec as f64
    );
    let peers = measured.iter().filter(|(case, _)| case.role == Role::Peer);
    for (case, summary) in
        peers.filter(|(case, _)| matches!(case.name.as_str(), "bwrap" | "crun" | "runc"))
    {
        let times = summary.p50 as f64 / default as f64;
        text.push_str(&format!("; {} takes {times:.1} times as long", case.name));
    }
    println!();
    println!("{text}.");
}

/// Nanoseconds as microseconds with one digit.
#[must_use]
pub fn micros(nanoseconds: u64) -> String {
    let tenths = (nanoseconds + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_rounded() {
        assert_eq!(micros(0), "0.0");
        assert_eq!(micros(98_749), "98.7");
        assert_eq!(micros(98_750), "98.8");
    }
}
