//! Runs a program under ptrace: to make a call with certain flags fail, which
//! a seccomp filter can't see (clone3's are in memory), and to kill a process
//! at a chosen system call.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    init, isolate,
    registered::lives,
    sys::{self, Registers},
};

/// What the tracer does.
#[derive(Clone, Copy)]
pub enum Plan {
    /// Makes those calls fail for which `when` is true.
    Fail {
        /// Sees the stopped process and its registers.
        when: fn(i32, &Registers) -> bool,
        /// With this error.
        errno: i32,
    },
    /// Kills at the `stop`-th system call stop of all processes together.
    Kill {
        /// Counted from 0.
        stop: usize,
        /// Whom.
        victim: Victim,
    },
}

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The program that was started, wherever the stop was.
    First,
    /// The process that makes the call, if it is not the first one.
    Other,
}

/// How it went.
#[derive(Debug)]
pub struct Traced {
    /// Exit code of the first process, or 128 + signal.
    pub code: i32,
    /// System call stops that were seen.
    pub stops: usize,
    /// Whether the plan did anything.
    pub acted: bool,
    /// Processes that were still there when the time was over.
    pub stuck: Vec<i32>,
}

struct Tracer<'t> {
    plan: Plan,
    /// Whether others outlive the first one.
    leaves: bool,
    /// What happens when somebody was killed, before the others go on.
    then: &'t mut (dyn FnMut() + Send),
    first: i32,
    stops: usize,
    acted: bool,
    code: Option<i32>,
    /// The traced processes: whether each is inside a call, and whether that
    /// call is to fail.
    tasks: BTreeMap<i32, Task>,
}

#[derive(Clone, Copy, Default)]
struct Task {
    inside: bool,
    failing: bool,
}

/// What may take so long is stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs `program` by `plan`; both outputs go to the file `output`.
#[must_use]
pub fn run(program: &Path, arguments: &[&str], output: &Path, plan: Plan) -> Traced {
    begin(program, arguments, output, (plan, false), &mut || ())
}

/// The same of a program that leaves others behind, which live on; calls `then` when the
/// victim of a [`Plan::Kill`] is dead, and everybody else still is where they were.
#[must_use]
pub fn run_leaving(
    program: &Path,
    arguments: &[&str],
    output: &Path,
    plan: Plan,
    then: &mut (dyn FnMut() + Send),
) -> Traced {
    begin(program, arguments, output, (plan, true), then)
}

fn begin(
    program: &Path,
    arguments: &[&str],
    output: &Path,
    (plan, leaves): (Plan, bool),
    then: &mut (dyn FnMut() + Send),
) -> Traced {
    let file = File::create(output).expect("an output file");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a descriptor"))
        .stderr(file);
    sys::before_exec(&mut command, sys::trace_me);
    #[expect(
        clippy::zombie_processes,
        reason = "the tracer waits for all of its tasks"
    )]
    let child = command.spawn().expect("the program starts");
    let first = i32::try_from(child.id()).expect("a pid");
    let mut tracer = Tracer {
        plan,
        leaves,
        then,
        first,
        stops: 0,
        acted: false,
        code: None,
        tasks: BTreeMap::new(),
    };
    tracer.tasks.insert(first, Task::default());
    // The stop after exec.
    sys::wait_any(first, 0).expect("a stopped child");
    sys::trace_options(first).expect("ptrace");
    let _ = sys::trace_on(first, 0, false);
    tracer.follow()
}

impl Tracer<'_> {
    fn follow(mut self) -> Traced {
        let deadline = Instant::now() + LIMIT;
        while !self.tasks.is_empty() && Instant::now() < deadline {
            let Some((pid, status)) = sys::wait_any(-1, libc::WNOHANG) else {
                std::thread::sleep(Duration::from_micros(20));
                continue;
            };
            if libc::WIFSTOPPED(status) {
                self.tasks.entry(pid).or_default();
                self.stopped(pid, status);
            } else {
                self.tasks.remove(&pid);
                if pid == self.first {
                    self.code = Some(if libc::WIFEXITED(status) {
                        libc::WEXITSTATUS(status)
                    } else {
                        128 + libc::WTERMSIG(status)
                    });
                    self.leave();
                }
            }
        }
        let stuck: Vec<i32> = self.tasks.keys().copied().collect();
        for pid in &stuck {
            let _ = sys::kill(*pid, libc::SIGKILL);
        }
        Traced {
            code: self.code.unwrap_or(-1),
            stops: self.stops,
            acted: self.acted,
            stuck,
        }
    }

    /// The first one has ended: the others stop, and are no longer traced.
    fn leave(&self) {
        let left = self.tasks.keys().filter(|_| self.leaves);
        for pid in left {
            let _ = sys::kill(*pid, libc::SIGSTOP);
        }
    }

    fn stopped(&mut self, pid: i32, status: i32) {
        let signal = libc::WSTOPSIG(status);
        if self.leaves && self.code.is_some() && signal == libc::SIGSTOP {
            self.tasks.remove(&pid);
            // SAFETY: takes no pointer.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
            return;
        }
        let event = status >> 16;
        if matches!(event, libc::PTRACE_EVENT_FORK..=libc::PTRACE_EVENT_CLONE) {
            self.born(pid);
        }
        // A stop by ptrace itself is no signal to deliver; a new child starts
        // with SIGSTOP.
        let deliver = if signal == libc::SIGTRAP | 0x80 {
            self.call(pid);
            0
        } else if event != 0 || signal == libc::SIGTRAP || signal == libc::SIGSTOP {
            0
        } else {
            signal
        };
        // After a kill the rest runs on freely.
        let free = self.acted && matches!(self.plan, Plan::Kill { .. });
        let _ = sys::trace_on(pid, deliver, free);
    }

    /// The child of `pid` is traced before anything is heard of it, unless it has been heard
    /// of, and is gone.
    fn born(&mut self, pid: i32) {
        let mut child: libc::c_ulong = 0;
        let request = libc::PTRACE_GETEVENTMSG;
        // SAFETY: the kernel writes one number.
        let done = unsafe { libc::ptrace(request, pid, 0, &raw mut child) };
        if let (0, Ok(child)) = (done, i32::try_from(child))
            && !matches!(&*init::status(child, "TracerPid"), "" | "0")
        {
            self.tasks.entry(child).or_default();
        }
    }

    fn call(&mut self, pid: i32) {
        let stop = self.stops;
        self.stops += 1;
        let task = self.tasks.entry(pid).or_default();
        task.inside = !task.inside;
        let (inside, failing) = (task.inside, task.failing);
        match self.plan {
            Plan::Kill {
                stop: wanted,
                victim,
            } => {
                if stop < wanted || self.acted {
                    return;
                }
                let target = match victim {
                    Victim::First => self.first,
                    Victim::Other if pid == self.first => return,
                    Victim::Other => pid,
                };
                self.acted = sys::kill(target, libc::SIGKILL).is_ok();
                if self.acted && self.leaves {
                    self.dies(target);
                }
            }
            Plan::Fail { when, errno } => {
                let Ok(registers) = sys::registers(pid) else {
                    return;
                };
                if inside && when(pid, &registers) {
                    self.acted = sys::skip_call(pid, registers).is_ok();
                    self.mark(pid, true);
                } else if !inside && failing {
                    let _ = sys::set_value(pid, registers, i64::from(-errno));
                    self.mark(pid, false);
                }
            }
        }
    }

    /// Calls `then` when it is dead. Meanwhile nobody goes on, but what dies is collected: a
    /// pid 1 is only dead when all are that die with it, and they are only when who traces
    /// them has seen that.
    fn dies(&mut self, target: i32) {
        let kept = [target, self.first];
        let deadline = Instant::now() + LIMIT;
        while lives(target.to_string()) && Instant::now() < deadline {
            collect(&mut self.tasks, kept);
        }
        let then = &mut self.then;
        std::thread::scope(|scope| {
            let done = scope.spawn(then);
            while !done.is_finished() {
                collect(&mut self.tasks, kept);
            }
        });
    }

    fn mark(&mut self, pid: i32, failing: bool) {
        if let Some(task) = self.tasks.get_mut(&pid) {
            task.failing = failing;
        }
    }
}

/// Collects those that are dead, but for `kept`; also who was just born, and was not seen
/// yet.
fn collect(tasks: &mut BTreeMap<i32, Task>, kept: [i32; 2]) {
    let dead = isolate::processes().into_iter().filter(|pid| {
        let is_traced = init::status(*pid, "TracerPid") != "0";
        !kept.contains(pid) && is_traced && !lives(pid.to_string())
    });
    for pid in dead {
        if sys::wait_any(pid, libc::WNOHANG).is_some() {
            tasks.remove(&pid);
        }
    }
    std::thread::sleep(Duration::from_micros(200));
}
