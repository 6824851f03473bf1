//! What a pool of either kind counts, for `stats()`.

use std::cell::Cell;

use aioxide_core::histogram::Histogram;

use crate::ffi::calls::tuple;
use crate::ffi::object::{float, int, list};
use crate::ffi::{Leaf, Obj, Res};

/// Times are in a unit of the pool's.
#[derive(Default)]
pub struct Counters {
    submitted: Cell<u64>,
    returned: Cell<u64>,
    failed: Cell<u64>,
    cancelled: Cell<u64>,
    waited: Leaf<Histogram>,
    ran: Leaf<Histogram>,
}

impl Counters {
    #[inline(always)]
    pub fn note_submitted(&self) {
        self.submitted.set(self.submitted.get() + 1);
    }

    /// A call has returned, or it has raised or could not run.
    #[inline(always)]
    pub fn note_outcome(&self, returned: bool) {
        let count = if returned { &self.returned } else { &self.failed };
        count.set(count.get() + 1);
    }

    /// So many calls were cancelled before they ran, and dropped.
    pub fn note_cancelled(&self, count: usize) {
        self.cancelled.set(self.cancelled.get() + count as u64);
    }

    #[inline(always)]
    pub fn note_waited(&self, time: u64) {
        self.waited.with(|times| times.record(time));
    }

    #[inline(always)]
    pub fn note_ran(&self, time: u64) {
        self.ran.with(|times| times.record(time));
    }

    /// As objects: how many were submitted, have returned, have failed, were cancelled.
    pub fn numbers(&self) -> Res<[Obj; 4]> {
        let [submitted, returned, failed, cancelled] =
            [&self.submitted, &self.returned, &self.failed, &self.cancelled].map(Cell::get);
        Ok([count(submitted)?, count(returned)?, count(failed)?, count(cancelled)?])
    }

    /// As objects: how long calls waited and ran; `seconds` of the pool's unit.
    pub fn times(&self, seconds: impl Fn(u64) -> f64) -> Res<[Obj; 2]> {
        Ok([describe(&self.waited, &seconds)?, describe(&self.ran, &seconds)?])
    }
}

pub fn count(number: u64) -> Res {
    int(number as i64)
}

/// (count, sum, largest, [(upper bound, count), ...]).
fn describe(times: &Leaf<Histogram>, seconds: &impl Fn(u64) -> f64) -> Res {
    // Copied out: making tuples can collect, and whoever runs then may come back here.
    let times = times.with(|times| times.clone());
    let mut buckets = Vec::new();
    for (bound, number) in times.buckets() {
        buckets.push(tuple(&[float(seconds(bound))?.borrow(), count(number)?.borrow()])?);
    }
    let (all, buckets) = (count(times.count())?, list(&buckets)?);
    let (sum, largest) = (float(seconds(times.sum()))?, float(seconds(times.largest()))?);
    tuple(&[&all, &sum, &largest, &buckets].map(Obj::borrow))
}
