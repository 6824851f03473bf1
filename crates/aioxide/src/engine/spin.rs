//! The bounded spin: a thread that waits for a call in another thread, or for the next call, looks at a flag for a few
//! microseconds before it sleeps in the kernel, from where it would take 25 to 50 to come back.

use std::cell::Cell;

use aioxide_sys::{clock, cpus};

use crate::ffi::calls::call;
use crate::ffi::cells::Locked;
use crate::ffi::names::interned;
use crate::ffi::object::{getattr_opt, import};
use crate::ffi::{Py, Raised, Res, error, number};

/// How long, in microseconds. Spinning for as long as sleeping and waking would have cost at most doubles the price of
/// a wait that was not worth it.
const MICROSECONDS: f64 = 50.0;

/// What is found out once.
static LIMIT: Locked<Cell<Option<u64>>> = Locked::new(Cell::new(None));
static PROCESSORS: Locked<Cell<Option<usize>>> = Locked::new(Cell::new(None));

/// The longest spin in ticks: 0 on one processor, or where `AIOXIDE_SPIN=0` says so. That variable gives it in
/// microseconds; what is no number is as good as not set.
pub fn limit(py: Py) -> u64 {
    let limit = LIMIT.get(py);
    if let Some(known) = limit.get() {
        return known;
    }
    let wanted = std::env::var("AIOXIDE_SPIN").ok().and_then(|text| text.trim().parse().ok());
    let found = if processors(py) > 1 { ticks(wanted.unwrap_or(MICROSECONDS)) } else { 0 };
    limit.set(Some(found));
    found
}

/// Microseconds in ticks.
pub fn ticks(microseconds: f64) -> u64 {
    (microseconds.max(0.0) * 1e-6 * clock::ticks_per_second()) as u64
}

/// Ticks in seconds.
pub fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock::ticks_per_second()
}

/// `os.process_cpu_count()`, which `-X cpu_count` and `PYTHON_CPU_COUNT` can set; before 3.13 the affinity mask.
pub fn processors(py: Py) -> usize {
    let processors = PROCESSORS.get(py);
    if let Some(known) = processors.get() {
        return known;
    }
    let count = ask_processors();
    processors.set(Some(count));
    count
}

fn ask_processors() -> usize {
    let ask = || -> Res<Option<i64>> {
        let os = import(c"os")?;
        let Some(count) = getattr_opt(&os, interned().process_cpu_count)? else { return Ok(None) };
        number::as_i64(&call(&count, &[])?).map(Some)
    };
    match ask() {
        Ok(Some(count @ 1..)) => (count as usize).min(cpus::usable()),
        Ok(_) => cpus::usable(),
        Err(Raised) => {
            error::clear();
            cpus::usable()
        }
    }
}

/// Spins until `ready` says so, or for `limit` ticks. Without the GIL.
#[inline(always)]
pub fn spin(limit: u64, mut ready: impl FnMut() -> bool) -> bool {
    let start = clock::ticks();
    loop {
        if ready() {
            return true;
        }
        if clock::ticks().wrapping_sub(start) >= limit {
            return false;
        }
        std::hint::spin_loop();
    }
}
