//! `stage0 cat-manifest`: a registered pod as an appc pod manifest, out of its plan. What
//! the plan does not say is left out.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Error, What},
    plan::{List, Plan, Slot, Step, Steps},
    sys::entry::Start,
    text::{Digits, copy, decimal, split},
};

use super::{json::Json, pods::Pods, words};
use crate::lower::DEV;

/// The version of the specification whose words are used.
const VERSION: &[u8] = b"0.8.11";
/// MOUNT_ATTR_RDONLY of mount_setattr(2).
const READ_ONLY: u64 = 1;

/// Carries out `stage0 cat-manifest`; returns the exit code.
///
/// # Errors
/// The command line.
pub fn manifest(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::UUID_FILE;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let bytes = start.bytes;
    let mut told = true;
    let code = pods.each_meant(&words, &mut |name, pod| {
        let plan = pod.plan(bytes).map_err(|error| match error.errno() {
            Some(errno) => Error::new(What::Describe, name, errno),
            None => error,
        })?;
        let mut json = Json::pretty(1);
        json.object().key("acVersion").string(VERSION);
        json.key("acKind").string(b"PodManifest");
        json.key("apps").array();
        let mut index = 0;
        while let Some(app) = plan.app(index) {
            describe(&app, &plan, &mut json);
            index += 1;
        }
        json.end_array().key("volumes").array();
        let mut number = 0;
        each_volume(&plan, &mut |source, attributes, _, _| {
            json.object();
            volume_name(number, "name", &mut json);
            json.key("kind").string(b"host");
            json.key("source").string(source.to_bytes());
            json.key("readOnly").boolean(attributes & READ_ONLY != 0);
            json.end_object();
            number += 1;
        });
        json.end_array().key("isolators").array();
        limits(&plan, &mut json);
        json.end_array().end_object();
        told &= json.end();
        Ok(())
    })?;
    Error::said(told, code)
}

/// One app, of which these are the steps, and those of the apps behind it.
#[allow(clippy::too_many_lines, reason = "a field each")]
fn describe(steps: &Steps<'_>, plan: &Plan<'_>, json: &mut Json) {
    let own = |index: usize, step: &Step<'_>| index == 0 || !matches!(step, Step::App { .. });
    let numbered = || (0_usize..).zip(steps.clone());
    let mut own = numbered().take_while(|(index, step)| own(*index, step));
    let (mut user, mut group, mut directory) = (0, 0, c"/");
    let (mut kept, mut has_root, mut no_new) = (None, false, false);
    let (mut groups, mut exec): (&[u8], _) = (&[], None);
    json.object();
    for (_, step) in own.by_ref() {
        match step {
            Step::App { name } => _ = json.key("name").string(name.to_bytes()),
            Step::User { id } => user = id,
            Step::Group { id } => group = id,
            Step::Groups { ids } => groups = ids,
            Step::WorkingDirectory { path } => directory = path,
            Step::Capabilities { keep } => kept = kept.or(Some(keep)),
            Step::Ambient { keep } => kept = Some(keep),
            Step::NoNewPrivileges {} => no_new = true,
            Step::AppRoot { .. } => has_root = true,
            Step::Exec {
                arguments, strings, ..
            } => exec = Some((arguments, strings)),
            _ => {}
        }
    }
    json.key("app").object();
    if let Some((arguments, strings)) = exec {
        command(arguments, strings, json);
    }
    for (key, id) in [("user", user), ("group", group)] {
        json.key(key).string(Digits::new(id, 10).as_bytes());
    }
    json.key("supplementaryGIDs").array();
    for id in groups.as_chunks().0 {
        json.number(u32::from_ne_bytes(*id).into());
    }
    json.end_array();
    json.key("workingDirectory").string(directory.to_bytes());
    json.key("isolators").array();
    if let Some(kept) = kept {
        json.object();
        let name = b"os/linux/capabilities-retain-set";
        json.key("name").string(name).key("value").object();
        json.key("set").array();
        for (number, name) in split(capability::NAMES.as_bytes(), b' ').enumerate() {
            if kept >> number & 1 == 1 {
                let mut upper = [0; 32];
                copy(&mut upper, name);
                upper.make_ascii_uppercase();
                let upper = upper.get(..name.len()).unwrap_or_default();
                json.strings(&[b"CAP_", upper]);
            }
        }
        json.end_array().end_object().end_object();
    }
    json.object().key("name");
    json.string(b"os/linux/no-new-privileges");
    json.key("value").boolean(no_new).end_object();
    json.end_array().end_object();
    json.key("mounts").array();
    let mut number = 0;
    each_volume(plan, &mut |_, _, target, under| {
        // A root of its own has mounts of its own, which are not told.
        if !has_root && root(plan) == Some(under) {
            json.object();
            volume_name(number, "volume", json);
            let target = target.to_bytes();
            let slash: &[u8] = if target.starts_with(b"/") { b"" } else { b"/" };
            json.key("path").strings(&[slash, target]).end_object();
        }
        number += 1;
    });
    json.end_array().end_object();
}

/// The program and its arguments, and its variables.
fn command(arguments: u64, strings: List<'_>, json: &mut Json) {
    let arguments = usize::try_from(arguments).unwrap_or(0);
    json.key("exec").array();
    json.string(strings.first().to_bytes());
    // The first one is the program's own name.
    for word in strings.iter().skip(2).take(arguments.saturating_sub(1)) {
        json.string(word.to_bytes());
    }
    json.end_array().key("environment").array();
    for variable in strings.iter().skip(1 + arguments) {
        let mut parts = split(variable.to_bytes(), b'=');
        json.object().key("name");
        json.string(parts.next().unwrap_or_default());
        json.key("value").string(parts.rest()).end_object();
    }
    json.end_array();
}

fn volume_name(number: u64, key: &str, json: &mut Json) {
    let digits = Digits::new(number, 10);
    json.key(key).strings(&[b"volume-", digits.as_bytes()]);
}

/// The root of all apps that have none of their own.
fn root(plan: &Plan<'_>) -> Option<Slot> {
    plan.steps().find_map(|step| match step {
        Step::AttachRoot { mount } => Some(mount),
        _ => None,
    })
}

/// Calls `each` for what is mounted of the host: its path, the attributes, the target, and
/// what that is in.
fn each_volume<'p>(plan: &Plan<'p>, each: &mut dyn FnMut(&'p CStr, u64, &'p CStr, Slot)) {
    let mut steps = plan.steps();
    while let Some(step) = steps.next() {
        let (into, attributes, path) = match step {
            Step::OpenTree {
                into,
                attributes,
                path,
                ..
            }
            | Step::MappedTree {
                into,
                attributes,
                path,
                ..
            } => (into, attributes, path),
            Step::App { .. } => return,
            _ => continue,
        };
        // The root of the pod is attached elsewhere.
        let next = steps.clone().find_map(|step| match step {
            Step::Attach {
                mount,
                under,
                target,
                ..
            } if mount == into => Some(Some((target, under))),
            Step::AttachRoot { mount } if mount == into => Some(None),
            _ => None,
        });
        // What is in /dev is none of the user's volumes.
        if let Some(Some((target, under))) = next
            && under != DEV
        {
            each(path, attributes, target, under);
        }
    }
}

/// The limits of the pod, of which appc knows those of memory and of processors.
fn limits(plan: &Plan<'_>, json: &mut Json) {
    for step in plan.steps() {
        let Step::LimitCgroup { path, value, .. } = step else {
            continue;
        };
        let name = path.to_bytes().rsplit(|byte| *byte == b'/').next();
        let first = split(value.to_bytes(), b' ').next().unwrap_or_default();
        let Some(number) = decimal(first) else {
            continue;
        };
        let number = Digits::new(number, 10);
        let (name, text): (&[u8], &[&[u8]]) = match name.unwrap_or_default() {
            b"memory.max" | b"memory.limit_in_bytes" => (b"resource/memory", &[number.as_bytes()]),
            // Of 100 ms.
            b"cpu.max" | b"cpu.cfs_quota_us" => {
                let thousandths = decimal(first).unwrap_or(0) / 100;
                let digits = Digits::new(thousandths, 10);
                limit(b"resource/cpu", &[digits.as_bytes(), b"m"], json);
                continue;
            }
            _ => continue,
        };
        limit(name, text, json);
    }
}

fn limit(name: &[u8], value: &[&[u8]], json: &mut Json) {
    json.object().key("name").string(name);
    json.key("value").object();
    json.key("limit").strings(value);
    json.end_object().end_object();
}
