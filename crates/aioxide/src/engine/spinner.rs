//! A wait that spins before it sleeps, where that has paid of late.

use aioxide_core::gauge::Gauge;

use crate::ffi::Leaf;

pub struct Spinner(Leaf<Gauge>);

impl Spinner {
    pub const fn new() -> Spinner {
        Spinner(Leaf::new(Gauge::new()))
    }

    /// For how many ticks to spin now: as many as are allowed, or none.
    #[inline(always)]
    pub fn limit(&self, allowed: u64) -> u64 {
        if allowed > 0 && self.0.with(Gauge::bet) { allowed } else { 0 }
    }

    /// Whether what was waited for came within the ticks that are allowed, be it that the wait has spun or not.
    #[inline(always)]
    pub fn record(&self, in_time: bool) {
        self.0.with(|gauge| gauge.record(in_time));
    }

    /// A spin has found what it waited for, or not: for who records, too, what it could have found.
    pub fn paid(&self, found: bool) {
        self.0.with(|gauge| gauge.paid(found));
    }

    /// As `paid`, for who records only what came in time: one that has found nothing is recorded here.
    pub fn spun(&self, found: bool) {
        if !found {
            self.record(false);
        }
        self.paid(found);
    }
}
