//! `stage0 status`.

use core::ffi::CStr;

use fly::{
    error::Error,
    launch::path::Path,
    sys::{descriptor, entry::Start},
    text::{Digits, Line},
};

use rustix::fd::AsFd;

use super::{
    clock,
    json::Json,
    pods::{Pod, Pods, State, each_app},
    ready, statistics, words,
};
use crate::state::Folder;

/// Carries out `stage0 status`; returns the exit code.
///
/// # Errors
/// Names the pod that is not there, or not ready.
pub fn status(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags =
        words::STATE_DIRECTORY | words::FORMAT | words::UUID_FILE | words::WAIT | words::WAIT_READY;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let bytes = start.bytes;
    let several = match words.operand() {
        Ok(one) => one.is_some() && words.uuid_file.is_some(),
        Err(_) => true,
    };
    let mut told = true;
    let code = pods.each_meant(&words, &mut |name, mut pod| {
        if words.has(words::WAIT) || words.has(words::WAIT_READY) {
            let ready = words.has(words::WAIT_READY);
            ready::wait(name, &pods, &mut pod, ready, words.limit)?;
            // It may have moved.
            for folder in Folder::ALL {
                if let Ok(found) = pods.open(folder, &pod.uuid) {
                    pod = found;
                }
            }
        }
        told &= tell(&pod, (words.json, several), bytes);
        Ok(())
    })?;
    Error::said(told, code)
}

/// One line a fact; or an object of them.
struct Facts {
    line: Line,
    json: Option<Json>,
    /// All of it could be written.
    good: bool,
}

impl Facts {
    fn text(&mut self, key: &str, value: &[u8]) {
        match &mut self.json {
            Some(json) => _ = json.key(key).string(value),
            None => self.good &= self.line.text(key).text("=").quoted(value).end(),
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        match &mut self.json {
            Some(json) => _ = json.key(key).number(value),
            None => self.good &= self.line.text(key).text("=").number(value).end(),
        }
    }
}

/// The uuid goes first where there is an object for it, or `several` pods are told of.
fn tell(pod: &Pod, (json, several): (bool, bool), bytes: &mut [u8]) -> bool {
    let state = pod.state();
    let mut facts = Facts {
        line: Line::new(1),
        json: json.then(|| Json::pretty(1)),
        good: true,
    };
    if let Some(json) = &mut facts.json {
        json.object();
    }
    if json || several {
        facts.text("uuid", &pod.uuid);
    }
    facts.text("state", state.name().as_bytes());
    for (key, file) in [
        ("created", stage1_init::LOCK),
        ("started", c"pid"),
        ("finished", c"code"),
    ] {
        if let Some(time) = pod.time(file) {
            facts.text(key, &clock::text(time));
        }
    }
    if let (State::Running | State::Parked, Some(pid)) = (state, pod.number(c"pid")) {
        facts.number("pid", pid);
    }
    let is_ready = state == State::Running && pod.time(c"ready").is_some();
    let has_ended = state == State::Exited;
    match &mut facts.json {
        Some(json) => {
            json.key("ready").boolean(is_ready);
            json.key("exited").boolean(has_ended);
        }
        None => {
            let word = |yes| if yes { b"true".as_slice() } else { b"false" };
            facts.text("ready", word(is_ready));
            facts.text("exited", word(has_ended));
        }
    }
    if let Some(code) = pod.number(c"code") {
        facts.number("code", code);
    }
    codes(pod, bytes, &mut facts);
    // Who may not read the plan is told the rest.
    if state == State::Running
        && let Ok(plan) = pod.plan(bytes)
    {
        statistics::each(plan, &mut |key, value| facts.number(key, value));
    }
    if let Some(json) = &mut facts.json {
        facts.good &= json.end_object().end();
    }
    facts.good
}

/// The exit codes of the apps that have one: those of the plan, then those that came later.
/// Who may not read the plan sees all of them in any order.
fn codes(pod: &Pod, bytes: &mut [u8], facts: &mut Facts) {
    let plan = pod.beginning(c"plan", bytes);
    if let Some(json) = &mut facts.json {
        json.key("apps").object();
    }
    each_app(plan, &mut |name| code(pod, name, facts));
    let status = Path::of_descriptor(b"/proc/self/fd/", pod.directory.as_fd());
    if let Ok(mut path) = status
        && path.append(&[b"/status"]).is_ok()
    {
        descriptor::each_name(path.as_c_str(), &mut |name| {
            let mut is_known = name.starts_with(b".");
            each_app(plan, &mut |app| is_known |= app == name);
            if !is_known {
                code(pod, name, facts);
            }
        });
    }
    if let Some(json) = &mut facts.json {
        json.end_object();
    }
}

fn code(pod: &Pod, name: &[u8], facts: &mut Facts) {
    let mut path = [0; 300];
    let length = b"status/".len();
    fly::text::copy(&mut path, b"status/");
    fly::text::copy(path.get_mut(length..).unwrap_or_default(), name);
    let path: &CStr = fly::sys::memory::c_str(&path).unwrap_or_default();
    let Some(code) = pod.number(path) else { return };
    match &mut facts.json {
        Some(json) => _ = json.key_bytes(name).number(code),
        None => {
            let digits = Digits::new(code, 10);
            let line = facts.line.text("app-").quoted(name);
            facts.good &= line.text("=").bytes(digits.as_bytes()).end();
        }
    }
}
