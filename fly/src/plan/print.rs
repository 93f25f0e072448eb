//! A plan for people: one line a step, in the order in which it is done.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use super::{Plan, Slot, Step, record::List};
use crate::{capability, seccomp, signal, text::Line};

/// Where the details of a line begin.
const COLUMN: usize = 14;

/// Writes `plan` to descriptor `descriptor`; false if that failed.
#[inline(never)]
pub fn print(plan: &Plan<'_>, descriptor: i32) -> bool {
    plan.steps().all(|step| {
        let mut line = Line::new(descriptor);
        write(&step, &mut line);
        line.end()
    })
}

/// Adds the step's words to `line`, without ending it.
#[allow(clippy::too_many_lines, reason = "an arm a step, nothing else")]
pub fn write(step: &Step<'_>, line: &mut Line) {
    line.text(step.kind().verb());
    if !is_bare(step) {
        line.column(COLUMN);
    }
    match *step {
        Step::Seal { into, flags, path } => {
            line.quoted(path.to_bytes());
            if flags & Step::ALONE == 0 {
                line.text(" and the apps' plan");
            }
            arrow(line, into);
        }
        Step::KeepStatus { descriptor } => {
            line.text("to descriptor ").number(descriptor);
        }
        Step::UserNamespace { into, users, lines } => {
            maps(line, users, lines);
            arrow(line, into);
        }
        Step::MappedTree {
            into,
            map,
            flags,
            attributes,
            path,
        } => {
            line.quoted(path.to_bytes());
            if flags & Step::RECURSIVE != 0 {
                line.text(" recursive");
            }
            attribute_names(line, attributes);
            slot(line.text(" by "), map);
            arrow(line, into);
        }
        Step::Mapper { into } => arrow(line.text("forked"), into),
        Step::Maps {
            mapper,
            users,
            lines,
        } => {
            maps(line, users, lines);
            if mapper != Step::NO_SLOT {
                slot(line.text(" by "), mapper);
            }
        }
        Step::Stamps { reader, writer } => arrow(slot(line, reader), writer),
        Step::Terminal {
            devpts,
            master,
            peer,
        } => {
            line.text("devpts");
            arrow(line, devpts);
            arrow(line, master);
            line.text(" -> #").number(peer);
        }
        Step::HandOver { path: text, .. }
        | Step::WorkingDirectory { path: text }
        | Step::Limit { limit: text }
        | Step::Nice { value: text }
        | Step::Processors { list: text }
        | Step::Scheduling { policy: text }
        | Step::OomScore { adjustment: text } => quoted(line, text),
        Step::Landlock { writable, paths } => {
            list(line.number(writable).text(" writable: "), paths);
        }
        Step::OpenCgroup { into, path } => arrow(line.quoted(path.to_bytes()), into),
        Step::Unshare { namespaces } | Step::NoteNamespaces { namespaces } => {
            names(line, namespaces);
        }
        Step::Clone { cgroup, namespaces } => {
            names(line, namespaces);
            if cgroup != Step::NO_SLOT {
                slot(line.text("in "), cgroup);
            }
        }
        Step::AppDieWithParent { parent } if parent != Step::LAUNCHER => {
            line.text("with the parent ").number(parent);
        }
        Step::DieWithParent {} | Step::AppDieWithParent { .. } => {
            line.text("with the launcher");
        }
        Step::Session { flags } => {
            line.text(if flags & Step::NO_TERMINAL != 0 {
                "of the caller, own process group"
            } else {
                "own"
            });
        }
        Step::Umask { mask } | Step::AppUmask { mask } => {
            line.octal(mask);
        }
        Step::OpenDirectory { into, path } => arrow(line.quoted(path.to_bytes()), into),
        Step::OpenTree {
            into,
            flags,
            attributes,
            path,
        } => {
            line.quoted(path.to_bytes());
            if flags & Step::RECURSIVE != 0 {
                line.text(" recursive");
            }
            if flags & Step::OPTIONAL != 0 {
                line.text(" if present");
            }
            attribute_names(line, attributes);
            arrow(line, into);
        }
        Step::Overlay {
            into,
            layer,
            attributes,
            path,
        } => {
            slot(line.quoted(path.to_bytes()).text(" under "), layer);
            attribute_names(line, attributes);
            arrow(line, into);
        }
        Step::AttachRoot { mount } => {
            slot(line, mount).text(" on /");
        }
        Step::FileSystem {
            into,
            attributes,
            options,
        } => {
            file_system(line, options);
            attribute_names(line, attributes);
            arrow(line, into);
        }
        Step::Attach {
            mount,
            under,
            flags,
            target,
        } => {
            slot(line, mount).text(" at ").quoted(target.to_bytes());
            slot(line.text(" of "), under);
            if flags & Step::CREATE != 0 {
                line.text(" (made if missing)");
            }
            if flags & Step::OPTIONAL != 0 {
                line.text(" if present");
            }
        }
        Step::Directory { under, mode, name } | Step::File { under, mode, name } => {
            line.quoted(name.to_bytes()).text(" ").octal(mode);
            slot(line.text(" in "), under);
        }
        Step::Device {
            under,
            device,
            name,
        } => {
            line.quoted(name.to_bytes())
                .text(" ")
                .number(device >> 8)
                .text(":")
                .number(device & 0xff);
            slot(line.text(" in "), under);
        }
        Step::Link {
            under,
            name,
            target,
        } => {
            line.quoted(name.to_bytes())
                .text(" to ")
                .quoted(target.to_bytes());
            slot(line.text(" in "), under);
        }
        Step::Mask {
            under,
            covers,
            names,
        } => {
            for name in names.iter().skip(1) {
                line.quoted(name.to_bytes()).text(" ");
            }
            slot(line.text("of "), under);
            line.text(" by ").quoted(names.first().to_bytes());
            slot(line.text(" of "), covers);
        }
        Step::ReadOnly { under, names } => {
            list(line, names);
            slot(line.text("of "), under);
        }
        Step::Bind {
            into,
            under,
            attributes,
            name,
        } => {
            slot(line.quoted(name.to_bytes()).text(" of "), under);
            attribute_names(line, attributes);
            arrow(line, into);
        }
        Step::Console { peer, under, name } => {
            slot(line, peer).text(" at ").quoted(name.to_bytes());
            slot(line.text(" of "), under);
        }
        Step::CloseOthers { keep } => {
            list(line.text("but "), keep);
        }
        Step::OverlayIn {
            into,
            layer,
            attributes,
            path,
            directory,
        } => {
            line.quoted(path.to_bytes()).text(" under ");
            slot(line.quoted(directory.to_bytes()).text(" by "), layer);
            attribute_names(line, attributes);
            arrow(line, into);
        }
        Step::MakeDirectory { under, mode, path } => {
            line.quoted(path.to_bytes()).text(" ").octal(mode);
            slot(line.text(" in "), under);
        }
        Step::CopyFile {
            under,
            mode,
            descriptor,
            path,
        } => {
            line.quoted(path.to_bytes()).text(" ").octal(mode.into());
            line.text(" from descriptor ").number(descriptor);
            slot(line.text(" in "), under);
        }
        Step::MakeLink {
            under,
            path,
            target,
        } => {
            line.quoted(path.to_bytes())
                .text(" to ")
                .quoted(target.to_bytes());
            slot(line.text(" in "), under);
        }
        Step::Remount { under, path } => {
            slot(line.quoted(path.to_bytes()).text(" of "), under).text(" ro");
        }
        Step::Hostname { name } | Step::App { name } => quoted(line, name),
        Step::Pivot { root } | Step::Chroot { root } => {
            slot(line.text("into "), root);
        }
        Step::TerminalStdio { peer } => {
            slot(line, peer);
        }
        Step::PodBounding { keep }
        | Step::Bounding { keep }
        | Step::Capabilities { keep }
        | Step::Ambient { keep } => {
            capability::write(line, keep);
        }
        Step::ExecInit { program, stamps } => {
            slot(line, program);
            if stamps != Step::NO_STAMPS {
                line.text(" #").number(stamps);
            }
        }
        Step::Stop {
            signal: number,
            deadline,
        } => {
            match signal::name(u32::from(number)) {
                Some(name) => line.text(name),
                None => line.number(u64::from(number)),
            };
            line.text(" then KILL after ").number(deadline).text(" ms");
        }
        Step::AppSession { flags } => {
            line.text(if flags & Step::TERMINAL != 0 {
                "own, with a terminal"
            } else if flags & Step::DETACHED != 0 {
                "own"
            } else {
                "of pid 1, own process group"
            });
        }
        Step::Seccomp { filter } => {
            let count = filter.len() / seccomp::INSTRUCTION;
            line.number(count as u64).text(" instructions");
        }
        Step::Groups { ids } => {
            if ids.is_empty() {
                line.text("none");
            }
            list(line, ids);
        }
        Step::Group { id } | Step::User { id } => {
            line.number(id);
        }
        Step::Exec {
            flags,
            arguments,
            strings,
        } => exec(line, flags, arguments, strings),
        Step::ExecSealed {
            program,
            arguments,
            strings,
        } => {
            slot(line, program).text(" ");
            exec(line, 0, arguments, strings);
        }
        _ => {}
    }
}

/// Whether the verb says it all.
fn is_bare(step: &Step<'_>) -> bool {
    matches!(
        step,
        Step::CloseInherited {}
            | Step::Supervise {}
            | Step::Private {}
            | Step::Loopback {}
            | Step::CgroupNamespace {}
            | Step::NoNewPrivileges {}
            | Step::KeepCapabilities {}
            | Step::Unblock {}
    )
}

fn quoted(line: &mut Line, text: &CStr) {
    line.quoted(text.to_bytes());
}

fn slot(line: &mut Line, slot: Slot) -> &mut Line {
    line.text("#").number(u64::from(slot.0))
}

fn arrow(line: &mut Line, into: Slot) {
    slot(line.text(" -> "), into);
}

fn maps(line: &mut Line, users: u64, lines: List<'_>) {
    for (index, text) in (0..).zip(lines.iter()) {
        line.text(match index {
            0 => "uids ",
            index if index == users => ", gids ",
            _ => ", ",
        });
        line.quoted(text.to_bytes());
    }
}

fn list(line: &mut Line, list: List<'_>) {
    for text in list.iter() {
        line.quoted(text.to_bytes()).text(" ");
    }
}

fn file_system(line: &mut Line, options: List<'_>) {
    let mut texts = options.iter();
    if let Some(name) = texts.next() {
        line.quoted(name.to_bytes());
    }
    while let Some(key) = texts.next() {
        line.text(" ").quoted(key.to_bytes());
        match texts.next() {
            Some(value) if !value.is_empty() => line.text("=").quoted(value.to_bytes()),
            _ => continue,
        };
    }
}

fn exec(line: &mut Line, flags: u16, arguments: u64, strings: List<'_>) {
    let count = usize::try_from(arguments).unwrap_or(usize::MAX);
    line.quoted(strings.first().to_bytes());
    if flags & Step::GUARD != 0 {
        line.text(" guarded");
    }
    line.text(" [");
    let mut separator = "";
    for argument in strings.iter().skip(1).take(count) {
        line.text(separator)
            .text("\"")
            .quoted(argument.to_bytes())
            .text("\"");
        separator = ", ";
    }
    line.text("] with ");
    separator = "";
    for variable in strings.iter().skip(1).skip(count) {
        line.text(separator).quoted(variable.to_bytes());
        separator = " ";
    }
}

fn names(line: &mut Line, namespaces: u64) {
    for (flag, name) in [
        (raw::CLONE_NEWUSER, "user "),
        (raw::CLONE_NEWPID, "pid "),
        (raw::CLONE_NEWNS, "mount "),
        (raw::CLONE_NEWIPC, "ipc "),
        (raw::CLONE_NEWUTS, "uts "),
        (raw::CLONE_NEWNET, "net "),
        (raw::CLONE_NEWCGROUP, "cgroup "),
    ] {
        if namespaces & u64::from(flag) != 0 {
            line.text(name);
        }
    }
}

fn attribute_names(line: &mut Line, attributes: u64) {
    for (flag, name) in [
        (raw::MOUNT_ATTR_RDONLY, " ro"),
        (raw::MOUNT_ATTR_NOSUID, " nosuid"),
        (raw::MOUNT_ATTR_NODEV, " nodev"),
        (raw::MOUNT_ATTR_NOEXEC, " noexec"),
        (raw::MOUNT_ATTR_STRICTATIME, " strictatime"),
    ] {
        if attributes & u64::from(flag) != 0 {
            line.text(name);
        }
    }
}
