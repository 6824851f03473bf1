//! A wait that spins before it sleeps, where that has paid of late.

use super::spin::Bets;

pub struct Spinner(Bets);

impl Spinner {
    pub const fn new() -> Spinner {
        Spinner(Bets::new())
    }

    /// For how many ticks to spin now: as many as are allowed, or none.
    #[inline(always)]
    pub fn limit(&self, allowed: u64) -> u64 {
        if allowed > 0 && self.0.bet() { allowed } else { 0 }
    }

    /// Whether what was waited for came within the ticks that are allowed, be it that the wait has spun or not.
    #[inline(always)]
    pub fn record(&self, in_time: bool) {
        self.0.record(in_time);
    }

    /// A spin has found what it waited for, or not: for who records, too, what it could have found.
    pub fn paid(&self, found: bool) {
        self.0.paid(found);
    }

    /// As `paid`, for who records only what came in time: one that has found nothing is recorded here.
    pub fn spun(&self, found: bool) {
        if !found {
            self.0.record(false);
        }
        self.0.paid(found);
    }
}
