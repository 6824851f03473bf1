//! Whether a bet pays: for waits that first spin for a while, in the hope that what they wait for is about to come.

/// Remembers how the last bets ended. Starts hopeful; a run of losses stops the betting but for one now and then, so
/// that it starts again when times change.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    score: i8,
    passed: u8,
    /// So many bets are still to be passed by, whatever the score.
    rest: u16,
    /// How long it rested after the last bet that did not pay.
    rested: u16,
}

const BEST: i8 = 8;
const WORST: i8 = -8;
/// While the score is negative, one bet in so many is made.
const PROBE: u8 = 32;

/// The shortest and the longest rest, in bets.
const REST: (u16, u16) = (4, 1024);

impl Gauge {
    pub const fn new() -> Gauge {
        Gauge { score: BEST, passed: 0, rest: 0, rested: 0 }
    }

    /// Whether to bet now.
    #[inline]
    pub fn bet(&mut self) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        if self.score >= 0 {
            return true;
        }
        self.passed += 1;
        if self.passed < PROBE {
            return false;
        }
        self.passed = 0;
        true
    }

    /// How a bet ended. A win counts for two losses: losing costs at most what the wait costs without a bet.
    #[inline]
    pub fn record(&mut self, won: bool) {
        self.score = if won { (self.score + 2).min(BEST) } else { (self.score - 1).max(WORST) };
    }

    /// Whether a bet that was made paid in fact, for users who record what a bet could have won. Where the other side has no
    /// processor to run on, everything looks winnable and every bet is lost: after each that did not pay, it rests for
    /// twice as long as after the one before.
    #[inline]
    pub fn paid(&mut self, in_fact: bool) {
        self.rested = if in_fact { 0 } else { (self.rested * 2).clamp(REST.0, REST.1) };
        self.rest = self.rested;
    }
}

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_when_it_loses_and_starts_again_when_it_wins() {
        let mut gauge = Gauge::new();
        let mut made = 0;
        for _ in 0..3200 {
            if gauge.bet() {
                made += 1;
                gauge.record(false);
            }
        }
        assert!((9..=120).contains(&made), "{made} bets were made and lost");
        let mut until_on = 0;
        while gauge.score < 0 {
            until_on += 1;
            if gauge.bet() {
                gauge.record(true);
            }
        }
        assert!(until_on <= i32::from(PROBE) * 4);
        assert!(gauge.bet() && gauge.bet());
    }

    #[test]
    fn bets_that_look_winnable_and_never_pay_become_rare() {
        let mut gauge = Gauge::new();
        let mut made = 0;
        for _ in 0..20_000 {
            gauge.record(true);
            if gauge.bet() {
                made += 1;
                gauge.paid(false);
            }
        }
        assert!((20..=40).contains(&made), "{made} bets were made");
        let until_made = (0..).take_while(|_| !gauge.bet()).count();
        assert!(until_made <= usize::from(REST.1));
        gauge.paid(true);
        assert!((0..100).all(|_| gauge.bet()), "one that pays ends the rest");
    }

    #[test]
    fn keeps_betting_while_a_third_pays() {
        let mut gauge = Gauge::new();
        let mut refused = 0;
        for i in 0..3000 {
            if gauge.bet() {
                gauge.record(i % 3 == 0);
            } else {
                refused += 1;
            }
        }
        assert_eq!(refused, 0);
    }
}
