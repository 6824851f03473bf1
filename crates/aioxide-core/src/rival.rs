//! Whether another thread wants the GIL all the time, and for how long the loop may then wait without letting go of it.
//!
//! A thread that computes takes the GIL whenever the loop lets go of it, and keeps it for the interpreter's switch interval:
//! five milliseconds for each wait, however short. So while there is such a rival and messages come thick, the loop asks for
//! events once with the GIL in its hands. Before it has had the GIL for as long as the rival had, it lets the rival have it.

use crate::gauge::Gauge;

/// Spans of time in ticks of one counter.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// A loop that has waited for the GIL for so long waited for a rival.
    pub long: u64,
    /// The longest wait with the GIL held: whoever answers at once has done so by then.
    pub dense: u64,
    /// For how long the loop keeps the GIL at most, waits included: less than the switch interval, after which the
    /// interpreter takes it away, in the midst of a callback.
    pub most: u64,
}

/// How to wait for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Without the GIL, for as long as it takes.
    LetGo,
    /// With the GIL, for at most so many ticks.
    Hold(u64),
    /// Not at all: the rival is to have the GIL for one stint, and then there will be events.
    Yield,
}

/// For so many waits without a rival it is believed that there is one.
const MEMORY: u8 = 16;

#[derive(Debug, Clone, Copy)]
pub struct Rival {
    spans: Spans,
    /// In how many waits it will be forgotten.
    memory: u8,
    /// When the loop got the GIL back from it.
    since: u64,
    /// For how long it had the GIL then.
    stint: u64,
    /// The last wait with the GIL held brought nothing: the next one lets go.
    in_vain: bool,
    bets: Gauge,
}

impl Rival {
    pub const fn new(spans: Spans) -> Rival {
        Rival { spans, memory: 0, since: 0, stint: 0, in_vain: false, bets: Gauge::new() }
    }

    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.memory > 0
    }

    /// The loop let go of the GIL for a wait, and asked for `waited` ticks until it had it again, at `now`.
    #[inline(always)]
    pub fn took(&mut self, waited: u64, now: u64) {
        if waited > self.spans.long {
            *self = Rival { memory: MEMORY, since: now, stint: waited, ..*self };
        } else {
            self.memory = self.memory.saturating_sub(1);
        }
    }

    /// How to wait at `now`, by a loop that last looked at its descriptors at `looked`.
    pub fn way(&mut self, looked: u64, now: u64) -> Way {
        if !self.is_known() || std::mem::take(&mut self.in_vain) || !self.bets.bet() {
            return Way::LetGo;
        }
        if now.wrapping_sub(looked) >= self.stint.max(self.spans.most) {
            // The interpreter has taken the GIL away in so long a turn: the rival has had its share.
            self.since = now;
        }
        let left = self.spans.most.min(self.stint).saturating_sub(now.wrapping_sub(self.since));
        if left > 0 { Way::Hold(left.min(self.spans.dense)) } else { Way::Yield }
    }

    /// The wait with the GIL held has ended: has anything come?
    pub fn waited(&mut self, came: bool) {
        self.bets.record(came);
        self.in_vain = !came;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans { long: 10, dense: 4, most: 40 };

    /// One whose rival gave the GIL back at 1000, after 50 ticks.
    fn rival() -> Rival {
        let mut rival = Rival::new(SPANS);
        rival.took(50, 1000);
        rival
    }

    #[test]
    fn without_a_rival_the_loop_lets_go() {
        let mut alone = Rival::new(SPANS);
        alone.took(10, 1000);
        assert!(!alone.is_known());
        assert_eq!(alone.way(1000, 1000), Way::LetGo);
    }

    #[test]
    fn a_rival_is_forgotten_when_it_has_not_shown_up_for_a_while() {
        let mut rival = rival();
        for _ in 0..MEMORY - 1 {
            rival.took(1, 1001);
        }
        assert_eq!(rival.way(1001, 1001), Way::Hold(4));
        rival.took(1, 1001);
        assert_eq!(rival.way(1001, 1001), Way::LetGo);
    }

    #[test]
    fn holds_on_for_no_longer_than_the_rival_had_it_and_yields() {
        let mut rival = rival();
        let mut now = 1000;
        while rival.way(now, now) != Way::Yield {
            rival.waited(true);
            now += 1;
        }
        assert_eq!(now, 1040);
        rival.took(20, 2000);
        assert_eq!(rival.way(2019, 2019), Way::Hold(1));
        assert_eq!(rival.way(2020, 2020), Way::Yield);
    }

    #[test]
    fn after_a_wait_in_vain_the_next_one_lets_go() {
        let mut rival = rival();
        assert_eq!(rival.way(1000, 1000), Way::Hold(4));
        rival.waited(false);
        assert_eq!(rival.way(1004, 1004), Way::LetGo);
        assert_eq!(rival.way(1005, 1005), Way::Hold(4));
    }

    #[test]
    fn without_traffic_the_rival_has_nearly_everything() {
        let mut rival = rival();
        let mut held = 0;
        for round in 0..1000 {
            let now = 1000 + round * 100;
            if rival.way(now, now) != Way::LetGo {
                held += 1;
                rival.waited(false);
            }
            rival.took(50, now + 60);
        }
        assert!(held < 50, "held on in {held} of 1000 waits for nothing");
    }

    #[test]
    fn a_turn_in_which_the_interpreter_took_the_gil_away_begins_anew() {
        let mut rival = rival();
        assert_eq!(rival.way(1001, 1045), Way::Yield, "a turn of 44: the time is up");
        assert_eq!(rival.way(1001, 1051), Way::Hold(4), "a turn of 50: the rival has had its share");
    }
}
