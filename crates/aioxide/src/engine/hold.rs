//! A wait with the GIL held, beside a thread that would keep it for the whole switch interval.

use std::io;
use std::time::Duration;

use aioxide_core::rival::Spans;
use aioxide_sys::clock;
use aioxide_sys::epoll::{Epoll, Events};

use super::spin;
use crate::ffi::Py;

/// In microseconds, as `Spans` has them. A switch interval has 5,000.
const LONG: f64 = 1000.0;
const DENSE: f64 = 400.0;
const MOST: f64 = 4500.0;

pub fn spans() -> Spans {
    Spans { long: spin::ticks(LONG), dense: spin::ticks(DENSE), most: spin::ticks(MOST) }
}

/// Waits for at most `limit` ticks: first awake, for as long as a spin may take, then asleep. On one processor asleep from
/// the start: whoever is to send something cannot run meanwhile.
pub fn wait(py: Py, epoll: &Epoll, events: &mut Events, limit: u64) -> io::Result<()> {
    let start = clock::ticks();
    let awake = spin::limit(py).min(limit);
    loop {
        let spent = clock::ticks().wrapping_sub(start);
        let asleep = if spent < awake { 0 } else { limit.saturating_sub(spent) };
        epoll.wait(events, Some(spin::seconds(asleep)))?;
        if !events.is_empty() || asleep > 0 || spent >= limit {
            return Ok(());
        }
        std::hint::spin_loop();
    }
}

/// A thread that sleeps until the GIL is free needs some 50 microseconds to wake. Who takes the GIL again before that starves
/// it: the interpreter gives it a fresh switch interval to sleep.
const WAKING: Duration = Duration::from_micros(50);

pub fn let_others_take_it() {
    std::thread::sleep(WAKING);
}
