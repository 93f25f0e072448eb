//! An init with a policy of its own: `keeper PROGRAM [ARGUMENT...]` starts the
//! program again when it fails, 100 ms later, at most three times, and then exits
//! with its code. SIGTERM ends it for good.
#![no_std]
#![no_main]

use fly::{
    sys::{entry::Start, signal::Set},
    text::Line,
};
use stage1_init::events::{self, Event, Events};

fly::entry!(main, bytes = 0, words = 0);

const TIMES: u64 = 3;
const PAUSE: u64 = 100_000_000;
const SIGTERM: u32 = 15;

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let (mut events, mask) = Events::begin(Set::ALL);
    let program = start.arguments.without_first();
    let run = || events::start(program, &start.environment, mask).ok();
    let (mut running, mut restarts, mut code, mut stopping) = (run(), 0, 127, false);
    loop {
        if running.is_none() && !events.has_deadline() {
            return code;
        }
        match events.next() {
            Event::Ended(pid, end) if running == Some(pid) => {
                (running, code) = (None, end.code());
                if code != 0 && restarts < TIMES && !stopping {
                    restarts += 1;
                    events.wake_in(PAUSE);
                }
            }
            Event::Deadline => {
                Line::new(2).text("keeper: start ").number(restarts).end();
                running = run();
            }
            Event::Signal(number) => {
                if number == SIGTERM {
                    stopping = true;
                    events.wake_at(None);
                }
                if let Some(pid) = running {
                    events::pass(pid, number);
                }
            }
            Event::Stopped(..) | Event::Collected { .. } | Event::Ended(..) => {}
        }
    }
}
