//! What a loop knows of its calls that run elsewhere: in a thread, in a process.

use std::cell::Cell;

use super::spin;
use super::spinner::Spinner;

/// How many calls are out, and whether it has paid to spin for them.
pub struct Calls {
    in_flight: Cell<u32>,
    /// The longest spin that a pool of these calls allows, in ticks.
    limit: Cell<u64>,
    pub(super) spinner: Spinner,
    /// A call has begun since `has_short` was asked last; and when that was, in ticks.
    begun: Cell<bool>,
    begun_at: Cell<u64>,
}

/// A call that has been out for so many microseconds is not a short one.
const SHORT: f64 = 20_000.0;

impl Calls {
    pub fn new() -> Calls {
        Calls {
            in_flight: Cell::new(0),
            limit: Cell::new(0),
            spinner: Spinner::new(),
            begun: Cell::new(false),
            begun_at: Cell::new(0),
        }
    }

    /// For how many ticks the loop should spin before it sleeps: 0 when no call is out, or when it did not pay of late.
    #[inline(always)]
    pub fn spin_limit(&self) -> u64 {
        if self.in_flight.get() > 0 { self.spinner.limit(self.limit.get()) } else { 0 }
    }

    /// The loop has spun: has what it waited for come meanwhile?
    pub fn spun(&self, won: bool) {
        self.spinner.spun(won);
    }

    /// A call of this loop is about to begin elsewhere.
    pub fn note_begin(&self) {
        self.begun.set(true);
    }

    /// Whether a call may be out at `now` that began only lately.
    pub fn has_short(&self, now: u64) -> bool {
        if self.begun.replace(false) {
            self.begun_at.set(now);
        }
        now.wrapping_sub(self.begun_at.get()) < spin::ticks(SHORT)
    }

    pub fn begin(&self, spin: u64) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.limit.set(self.limit.get().max(spin));
    }

    pub fn end(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 {
            self.limit.set(0);
        }
    }
}
