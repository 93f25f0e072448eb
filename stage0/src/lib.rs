//! stage0: pods. The command line becomes a plan, the plan a running pod.
//!
//! No daemon, no allocator, no libc: the process that was called launches the
//! pod, waits for it, and returns its exit code. What is not a start is done by
//! another program of the same crate, [`full`], which this one becomes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod background;
mod cgroups;
mod client;
mod directory;
mod empty;
mod files;
pub mod full;
pub mod lower;
pub mod options;
mod parked;
mod pool;
mod prepared;
mod relay;
mod release;
mod remove;
mod run;
mod stage1;
mod start;
pub mod state;
mod streams;
pub mod users;
mod uuid;
pub mod volume;
mod wait;

use core::ffi::CStr;

use fly::{
    beside,
    error::{Advice, Error, FAILURE, STAGE0_TEXTS, What, Why},
    launch::ROOM,
    plan::{MAX_BYTES, MAX_STEPS, MAX_STRINGS},
    sys::entry::{Start, Strings},
};

use client::Pod;
use lower::Common;
use options::Options;
use prepared::Asked;
use state::Place;

/// The program's name in messages.
pub const NAME: &str = "stage0";
/// The same as a word.
const NAME_WORD: &core::ffi::CStr = c"stage0";

/// Bytes of scratch memory that [`main`] needs: the names of mount points, and a plan,
/// or two.
pub const BYTES: usize = MAX_BYTES + MAX_BYTES + ROOM;
/// Words of scratch memory that [`main`] needs: exec's pointers, and a time
/// stamp a step.
pub const WORDS: usize = MAX_STRINGS + 2 + MAX_STEPS;

/// What the program does. Returns the exit code.
pub fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    match arguments.next().map(CStr::to_bytes) {
        Some(b"run") => run(arguments, start),
        Some(b"app") if arguments.next() == Some(c"release") => release(arguments, start),
        Some(b"run-prepared") => run_prepared(start),
        _ => other(start),
    }
}

/// By itself, as it has much on the stack: a pod that is parked would have a page of it to
/// fault in for nothing.
#[inline(never)]
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn run<I>(arguments: I, start: Start) -> i32
where
    I: Iterator<Item = &'static CStr> + Clone,
{
    match options::parse(arguments) {
        Ok(Some(options)) if options.output.is_some() => fail(
            Error::new(What::ReadOption, c"--output", Why::OnlyForPlan).advice(Advice::SeeHelp),
        ),
        Ok(Some(options)) if !options.is_rare() && !wants_terminal(&options) => {
            start::pod(&options, start, run::Run(Common))
        }
        Ok(_) => other(start),
        Err(error) => fail(error),
    }
}

/// Who has a terminal at hand does not count microseconds.
fn wants_terminal<'a, I>(options: &Options<'a, I>) -> bool
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    !options.life.detach && relay::Terminal::wanted(options.terminal)
}

/// A pod that is named as a whole is here, another one has to be looked for.
#[cold]
#[inline(never)]
fn run_prepared(start: Start) -> i32 {
    match Asked::read(&start, |words| words) {
        Ok(asked) => match asked.whole() {
            Some(uuid) => {
                let others = prepared::Others {
                    program: become_full,
                    // That program does it.
                    change: |_, _, _, _| Err(Error::told()),
                };
                let done = prepared::run::<Common>(&asked, &uuid, start, &others);
                done.unwrap_or_else(fail)
            }
            None => other(start),
        },
        Err(error) => fail(error),
    }
}

/// A parked pod starts as it is, or with other variables, which few need.
#[cold]
#[inline(never)]
fn release<I>(mut words: I, start: Start) -> i32
where
    I: Iterator<Item = &'static CStr>,
{
    match (words.next(), words.next()) {
        (Some(directory), None)
            if directory.to_bytes().contains(&b'/') && !uuid::is_one(Place::of(directory).uuid) =>
        {
            Pod::open(directory)
                .and_then(|pod| release::release::<()>(&pod, None, start.bytes))
                .unwrap_or_else(fail)
        }
        _ => other(start),
    }
}

/// What is no start.
#[cold]
#[inline(never)]
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn other(start: Start) -> i32 {
    become_full(start.arguments, start.environment, start.words)
}

/// Returns if that could not be.
#[cold]
#[inline(never)]
fn become_full(arguments: Strings, environment: Strings, words: &'static mut [usize]) -> i32 {
    fail(beside::become_program(
        c"stage0-full",
        &mut arguments.iter(),
        &mut environment.iter(),
        words,
    ))
}

fn fail(error: Error<'_>) -> i32 {
    error.print_suggesting(NAME, STAGE0_TEXTS, options::NAMES);
    FAILURE
}
