//! `stage0 app release` with more words: the plan of a parked pod, with other variables and
//! arguments, for its last moment.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::{Builder, Kind, List, MAX_BYTES, Plan, Step, Steps},
    sys::entry::Start,
};
use rustix::fd::OwnedFd;

use super::{before, change, manifest::Words, ready};
use crate::{
    client::{Pod, seal},
    options::{Choice, Choices},
    prepared::Asked,
    release::release,
    streams::Streams,
};

/// Releases the pod that the first of `words` names, where `given` says; returns its exit
/// code.
///
/// # Errors
/// Names what is wrong with the command line, or what the pod refuses.
#[cold]
#[inline(never)]
pub fn run<'a>(
    mut words: Words<'a>,
    mut given: Option<&'a CStr>,
    start: &mut Start,
) -> Result<i32, Error<'a>> {
    let missing = Error::new(What::Read, c"the command line", Why::NoPodDirectory);
    let directory = before::operand(&mut words, &mut given)?;
    let directory = directory.ok_or(missing.advice(Advice::SeeHelp))?;
    before::skip(&mut words, &mut given)?;
    let pod = super::pod_of(directory, given, &start.environment)?;
    if super::app::is_registered(directory) {
        let error = Error::new(What::Ask, directory, Why::IsRegistered);
        return Err(error.advice(Advice::RunPrepared));
    }
    ready::wait_for_start(&pod)?;
    if words.clone().next().is_none() {
        return release::<Option<Streams>>(&pod, None, start.bytes);
    }
    let plan = changed(&pod, words, start.bytes)?;
    release::<Option<Streams>>(&pod, Some(&plan), start.bytes)
}

/// The pod's plan with the variables and arguments of the command line.
fn changed<'a, I>(pod: &Pod<'a>, words: I, bytes: &mut [u8]) -> Result<OwnedFd, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let choices = Choices::new(words);
    let mut rest = choices.clone();
    while let Some(choice) = rest.take()? {
        if !matches!(choice, Choice::SetVariable(_)) {
            return Err(Error::new(
                What::Read,
                c"the command line",
                Why::OnlyVariables,
            ));
        }
    }
    let arguments = rest.operands();
    let count = arguments.clone().count() as u64;
    let (old, new) = bytes.split_at_mut_checked(MAX_BYTES).unwrap_or_default();
    let plan = pod.plan(old)?;
    if count != 0 && plan.app(1).is_some() {
        return Err(Error::new(What::Read, c"the command line", Why::OnlyOneApp));
    }
    let mut builder = Builder::new(new);
    let steps = plan.app(0).ok_or(pod.gone())?;
    write(steps, &choices, (arguments, count), &mut builder)?;
    let plan = builder.finish().map_err(crate::start::refused)?;
    seal(plan.as_bytes()).map_err(|errno| Error::new(What::Seal, c"the plan", errno))
}

/// The same of a prepared pod; `whole` if that is not parked.
///
/// # Errors
/// As of [`run`].
pub fn change<'b>(
    asked: &Asked,
    plan: &Plan<'_>,
    whole: bool,
    bytes: &'b mut [u8],
) -> Result<Plan<'b>, Error<'static>> {
    let choices = Choices::new(Words::Given(asked.words.iter()));
    let mut rest = choices.clone();
    while rest.take()?.is_some() {}
    // Behind the pod, unless it is any one of a pool, and the dashes.
    let mut arguments = rest.words();
    if arguments.next().is_some_and(|word| word != c"--") {
        let _ = arguments.next();
    }
    let count = arguments.clone().count() as u64;
    if count != 0 && plan.app(1).is_some() {
        return Err(Error::new(What::Read, c"the command line", Why::OnlyOneApp));
    }
    let steps = match plan.app(0) {
        Some(steps) if !whole => steps,
        _ => plan.steps(),
    };
    let mut builder = Builder::new(bytes);
    write(steps, &choices, (arguments, count), &mut builder)?;
    builder.finish().map_err(crate::start::refused)
}

fn write<'a, I>(
    steps: Steps<'_>,
    choices: &Choices<I>,
    (arguments, count): (I, u64),
    builder: &mut Builder<'_>,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    for record in steps.records() {
        if !record.is(Kind::Exec) {
            builder.copy(&record);
            continue;
        }
        let own = if count == 0 { record.number } else { 1 };
        builder.begin_list(Step::Exec {
            flags: record.flags,
            arguments: own.saturating_add(count),
            strings: List::EMPTY,
        });
        // The path, and the program's name.
        let kept = usize::try_from(own).unwrap_or(usize::MAX);
        for word in record.list.iter().take(kept.saturating_add(1)) {
            builder.string(word);
        }
        for word in arguments.clone() {
            builder.string(word);
        }
        change::variables(builder, &record, None, choices)?;
    }
    Ok(())
}
