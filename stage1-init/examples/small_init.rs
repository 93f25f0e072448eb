//! The smallest init: `small_init PROGRAM [ARGUMENT...]` passes signals on, reaps,
//! and exits with the program's code.
#![no_std]
#![no_main]

use fly::sys::{entry::Start, signal::Set};
use stage1_init::events::{self, Event, Events};

fly::entry!(main, bytes = 0, words = 0);

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let (mut events, mask) = Events::begin(Set::ALL);
    let program = start.arguments.without_first();
    let Ok(pid) = events::start(program, &start.environment, mask) else {
        return 127;
    };
    loop {
        match events.next() {
            Event::Ended(ended, end) if ended == pid => return end.code(),
            Event::Signal(number) => events::pass(pid, number),
            _ => {}
        }
    }
}
