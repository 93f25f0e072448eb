//! A plan for people: one line a step, in the order in which it is done.

use core::ffi::CStr;

use super::{Kind, Plan, Record, Step, record::List};
use crate::{
    capability, packed,
    packed::Packed,
    seccomp, signal,
    text::{Line, numbered},
};

/// Where the details of a line begin.
const COLUMN: usize = 14;

/// Writes `plan` to descriptor `descriptor`; false if that failed.
#[cold]
#[inline(never)]
pub fn print(plan: &Plan<'_>, descriptor: i32) -> bool {
    plan.steps().records().all(|step| {
        let mut line = Line::new(descriptor);
        write(&step, &mut line);
        line.end()
    })
}

static TEXTS: Packed = packed!(Kind::TEXTS);
static POLICY_TEXTS: Packed = packed!(Kind::POLICY_TEXTS);

/// Adds the first word of the step's line to `line`, of one that has a time; returns what the step is about,
/// if that is a string.
pub fn verb<'a>(step: &Record<'a>, line: &mut Line) -> Option<&'a CStr> {
    let (mut is_verb, mut is_field, mut has_string) = (true, false, false);
    numbered(TEXTS, step.kind).each(&mut |byte| {
        has_string |= is_field && matches!(byte, b't' | b'f');
        is_field = byte == b'%';
        is_verb &= byte != b' ';
        if is_verb {
            line.byte(byte);
        }
    });
    has_string.then(|| step.list.first())
}

/// Adds the step's words to `line`, without ending it: the text of its kind, in
/// which `%` and a letter stand for what a place of the record holds (see
/// `field`), and `[`, a condition (see `holds`), `YES|NO]` for one of two texts.
#[inline(never)]
pub fn write(step: &Record<'_>, line: &mut Line) {
    const VERB: u8 = 0;
    const TEXT: u8 = 1;
    // One of these, or the sign that says what the next byte is.
    let mut state = VERB;
    let mut shown = true;
    let text = match numbered(TEXTS, step.kind) {
        Packed(b"") => numbered(POLICY_TEXTS, step.kind),
        text => text,
    };
    text.each(&mut |byte| {
        let before = core::mem::replace(&mut state, TEXT);
        match (before, byte) {
            (b'%', _) if !shown => {}
            (b'%', _) => field(step, byte, line),
            (b'[', _) => shown = holds(step, byte),
            (_, b'%' | b'[') => state = byte,
            (_, b'|') => shown = !shown,
            (_, b']') => shown = true,
            (VERB, b' ') => _ = line.column(COLUMN),
            _ => {
                if before == VERB {
                    state = VERB;
                }
                if shown {
                    line.byte(byte);
                }
            }
        }
    });
}

/// A condition: a digit is the number of a bit of the flags.
fn holds(step: &Record<'_>, condition: u8) -> bool {
    match condition {
        b's' => step.slot != Step::NO_SLOT.0,
        b'd' => step.flags & (Step::TERMINAL | Step::DETACHED) != 0,
        b'n' => step.number != 0,
        b'p' => step.number != Step::NO_STAMPS,
        b'o' => step.other != Step::NO_SLOT.0,
        b'l' => !step.list.as_bytes().is_empty(),
        digit => step.flags >> (digit & 15) & 1 != 0,
    }
}

/// What a place of the record holds, as the letter says.
fn field(step: &Record<'_>, letter: u8, line: &mut Line) {
    let number = step.number;
    match letter {
        b's' => slot(line, step.slot),
        b'o' => slot(line, step.other),
        b'n' => line.number(number),
        b'm' => line.octal(number),
        b'w' => line.number(step.flags.into()),
        b'p' => line.octal(step.flags.into()),
        // A device.
        b'd' => line.number(number >> 8).text(":").number(number & 0xff),
        b't' | b'h' => line.quoted(step.list.first().to_bytes()),
        b'u' => line.quoted(step.list.second().to_bytes()),
        b'l' => list(line, step.list, 0),
        b'r' => list(line, step.list, 1),
        b'g' => {
            for id in step.list.as_bytes().as_chunks().0 {
                line.number(u32::from_ne_bytes(*id).into()).text(" ");
            }
            line
        }
        // The instructions of a filter.
        b'i' => line.number((step.list.as_bytes().len() / seccomp::INSTRUCTION) as u64),
        b'f' => file_system(line, step.list),
        b'e' => exec(line, number, step.list),
        b'M' => maps(line, number, step.list),
        b'N' => names(line, NAMESPACES, number),
        b'a' => names(line, ATTRIBUTES, number),
        b'c' => {
            capability::write(line, number);
            line
        }
        b'S' => match signal::name(step.flags.into()) {
            Some(name) => line.bytes(name),
            None => line.number(step.flags.into()),
        },
        _ => line,
    };
}

fn slot(line: &mut Line, slot: u8) -> &mut Line {
    line.text("#").number(slot.into())
}

fn list<'l>(line: &'l mut Line, list: List<'_>, skip: usize) -> &'l mut Line {
    for text in list.iter().skip(skip) {
        line.quoted(text.to_bytes()).text(" ");
    }
    line
}

fn maps<'l>(line: &'l mut Line, users: u64, lines: List<'_>) -> &'l mut Line {
    for (index, text) in (0..).zip(lines.iter()) {
        line.text(match index {
            0 => "uids ",
            index if index == users => ", gids ",
            _ => ", ",
        });
        line.quoted(text.to_bytes());
    }
    line
}

/// A type, then pairs of option and value.
fn file_system<'l>(line: &'l mut Line, options: List<'_>) -> &'l mut Line {
    for (index, text) in (0_usize..).zip(options.iter()) {
        match index {
            0 => {}
            index if index % 2 == 1 => _ = line.text(" "),
            _ if text.is_empty() => {}
            _ => _ = line.text("="),
        }
        line.quoted(text.to_bytes());
    }
    line
}

/// Behind the path `arguments` arguments, then variables.
fn exec<'l>(line: &'l mut Line, arguments: u64, strings: List<'_>) -> &'l mut Line {
    line.text("[");
    for (index, text) in (0..).zip(strings.iter().skip(1)) {
        let is_argument = index < arguments;
        if index == arguments {
            line.text("] with ");
        } else if index > 0 {
            line.text(if is_argument { ", " } else { " " });
        }
        let mark = if is_argument { "\"" } else { "" };
        line.text(mark).quoted(text.to_bytes()).text(mark);
    }
    if strings.len() as u64 == arguments.saturating_add(1) {
        line.text("] with ");
    }
    line
}

/// The names of flags: each behind the number of its bit, as a byte.
type Names = [u8];

/// CLONE_NEW*, sched.h.
const NAMESPACES: &Names = b"\x1cuser \x1dpid \x11mount \x1bipc \x1auts \x1enet \x19cgroup ";
/// MOUNT_ATTR_*, linux/mount.h.
const ATTRIBUTES: &Names = b"\x00 ro\x01 nosuid\x02 nodev\x03 noexec\x05 strictatime";

fn names<'l>(line: &'l mut Line, names: &Names, flags: u64) -> &'l mut Line {
    let mut shown = false;
    for byte in names {
        if *byte < b' ' {
            shown = flags >> byte & 1 != 0;
        } else if shown {
            line.bytes(&[*byte]);
        }
    }
    line
}
