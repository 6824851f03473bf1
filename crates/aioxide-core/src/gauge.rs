//! Whether a bet pays: for waits that first spin for a while, in the hope that what they wait for is about to come.

/// Remembers how the last bets ended. Starts hopeful; a run of losses stops the betting but for one now and then, so
/// that it starts again when times change.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    score: i8,
    passed: u8,
}

const BEST: i8 = 8;
const WORST: i8 = -8;
/// While the score is negative, one bet in so many is made.
const PROBE: u8 = 32;

impl Gauge {
    pub const fn new() -> Gauge {
        Gauge { score: BEST, passed: 0 }
    }

    /// Whether to bet now.
    #[inline]
    pub fn bet(&mut self) -> bool {
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
