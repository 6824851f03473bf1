//! The bounded spin: a thread that waits for a call in another thread, or for the next call, looks at a flag for a few
//! microseconds before it sleeps in the kernel, from where it would take 25 to 50 to come back.

use std::cell::Cell;

use aioxide_core::gauge::Gauge;
use aioxide_sys::{clock, cpus};
use pyo3_ffi::*;

use crate::ffi::object::{call, getattr_opt, import};
use crate::ffi::{Res, error, names};

/// How long, in microseconds. Spinning for as long as sleeping and waking would have cost at most doubles the price of
/// a wait that was not worth it.
const MICROSECONDS: f64 = 50.0;

/// What is found out once.
struct Once<T>(Cell<Option<T>>);

// SAFETY: read and written under the GIL.
unsafe impl<T> Sync for Once<T> {}

static LIMIT: Once<u64> = Once(Cell::new(None));
static PROCESSORS: Once<usize> = Once(Cell::new(None));

/// The longest spin in ticks: 0 on one processor, or where `AIOXIDE_SPIN=0` says so. That variable gives it in
/// microseconds; what is no number is as good as not set.
pub fn limit() -> u64 {
    if let Some(known) = LIMIT.0.get() {
        return known;
    }
    let wanted = std::env::var("AIOXIDE_SPIN").ok().and_then(|text| text.trim().parse().ok());
    let limit = if processors() > 1 { ticks(wanted.unwrap_or(MICROSECONDS)) } else { 0 };
    LIMIT.0.set(Some(limit));
    limit
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
pub fn processors() -> usize {
    if let Some(known) = PROCESSORS.0.get() {
        return known;
    }
    let count = ask_processors();
    PROCESSORS.0.set(Some(count));
    count
}

fn ask_processors() -> usize {
    let ask = || -> Res<Option<i64>> {
        let os = import(c"os")?;
        let Some(count) = getattr_opt(os.as_ptr(), names().process_cpu_count)? else { return Ok(None) };
        let count = call(count.as_ptr(), &[])?;
        // SAFETY: converts or raises.
        Ok(Some(unsafe { PyLong_AsLongLong(count.as_ptr()) }))
    };
    let asked = ask();
    if error::occurred() {
        error::clear();
    }
    match asked {
        Ok(Some(count @ 1..)) => (count as usize).min(cpus::usable()),
        _ => cpus::usable(),
    }
}

/// A gauge that shared code reads and writes.
pub struct Bets(Cell<Gauge>);

// SAFETY: read and written under the GIL.
unsafe impl Sync for Bets {}

impl Bets {
    pub const fn new() -> Bets {
        Bets(Cell::new(Gauge::new()))
    }

    pub fn bet(&self) -> bool {
        let mut gauge = self.0.get();
        let answer = gauge.bet();
        self.0.set(gauge);
        answer
    }

    pub fn record(&self, won: bool) {
        let mut gauge = self.0.get();
        gauge.record(won);
        self.0.set(gauge);
    }

    pub fn paid(&self, in_fact: bool) {
        let mut gauge = self.0.get();
        gauge.paid(in_fact);
        self.0.set(gauge);
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
