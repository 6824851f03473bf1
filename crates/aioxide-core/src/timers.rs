//! Timers: a heap of deadlines that keeps equal deadlines in the order in which they were made.
//!
//! A cancelled timer stays until it is due or `take_out` sweeps it: taking an entry out of the middle would need each
//! entry's place written back on every move, which costs more than the sweep.

use std::cmp::Ordering;
use std::collections::TryReserveError;

/// Children of a node. Four instead of two: half the depth, and the children share a cache line or two.
const ARITY: usize = 4;
/// So many due timers are popped one by one; where more are due, sorting them all at once is cheaper.
const POP_SINGLY: usize = 16;

struct Entry<T> {
    /// The deadline, mapped to an integer of the same order.
    key: u64,
    /// The number of the timer: makes equal deadlines first in, first out.
    seq: u64,
    value: T,
}

impl<T> Entry<T> {
    #[inline(always)]
    fn rank(&self) -> (u64, u64) {
        (self.key, self.seq)
    }
}

/// Deadlines (seconds on any one clock) with a value each.
pub struct Timers<T> {
    heap: Vec<Entry<T>>,
    next_seq: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { heap: Vec::new(), next_seq: 0 }
    }
}

/// Maps an f64 to a u64 of the same total order: NaN behind infinity, so a timer at NaN never comes first.
#[inline(always)]
fn key_of(when: f64) -> u64 {
    let bits = if when.is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { when.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

#[inline(always)]
fn when_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & (u64::MAX >> 1) } else { !key })
}

impl<T> Timers<T> {
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline.
    #[inline(always)]
    pub fn next(&self) -> Option<f64> {
        self.heap.first().map(|entry| when_of(entry.key))
    }

    /// The value that is due first.
    #[inline(always)]
    pub fn first(&self) -> Option<&T> {
        self.heap.first().map(|entry| &entry.value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.value)
    }

    /// Adds a timer; nothing changes where there is no memory for it.
    #[inline]
    pub fn push(&mut self, when: f64, value: T) -> Result<(), T> {
        if self.heap.len() == self.heap.capacity() && self.heap.try_reserve(1).is_err() {
            return Err(value);
        }
        let entry = Entry { key: key_of(when), seq: self.next_seq, value };
        self.next_seq += 1;
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1);
        Ok(())
    }

    pub fn pop(&mut self) -> Option<T> {
        if self.heap.is_empty() {
            return None;
        }
        let first = self.heap.swap_remove(0);
        if !self.heap.is_empty() {
            self.sift_down(0);
        }
        Some(first.value)
    }

    /// Hands out all that is due at `now`, earliest first, until one is handed back: that and the others stay.
    pub fn take_due(&mut self, now: f64, mut out: impl FnMut(T) -> Result<(), T>) {
        let limit = key_of(now);
        for _ in 0..POP_SINGLY {
            match self.heap.first() {
                Some(entry) if entry.key <= limit => {}
                _ => return,
            }
            let Entry { key, seq, value } = self.heap.swap_remove(0);
            let refused = out(value).err();
            if let Some(value) = refused {
                self.heap.push(Entry { key, seq, value });
                return self.heapify();
            }
            if !self.heap.is_empty() {
                self.sift_down(0);
            }
        }
        if self.heap.first().is_some_and(|entry| entry.key <= limit) {
            self.take_many(limit, &mut out);
        }
    }

    fn take_many(&mut self, limit: u64, out: &mut impl FnMut(T) -> Result<(), T>) {
        let kept = self.put_behind(|entry| entry.key <= limit);
        self.heap[kept..].sort_unstable_by_key(|entry| std::cmp::Reverse(entry.rank()));
        while self.heap.len() > kept {
            let Some(Entry { key, seq, value }) = self.heap.pop() else { break };
            if let Err(value) = out(value) {
                self.heap.push(Entry { key, seq, value });
                break;
            }
        }
        self.settle();
    }

    /// Moves what is to go behind the others, which are so many. No heap any more, and no memory asked for.
    fn put_behind(&mut self, mut goes: impl FnMut(&Entry<T>) -> bool) -> usize {
        let mut kept = 0;
        for at in 0..self.heap.len() {
            if !goes(&self.heap[at]) {
                self.heap.swap(kept, at);
                kept += 1;
            }
        }
        kept
    }

    /// Makes a heap of it again. Of many that all are gone, their memory goes as well.
    fn settle(&mut self) {
        if self.heap.is_empty() {
            self.heap = Vec::new();
        }
        self.heapify();
    }

    /// Takes out the timers for which `gone` says so, in no order; none where there is no memory to list them in.
    pub fn take_out(&mut self, mut gone: impl FnMut(&T) -> bool) -> Result<Vec<T>, TryReserveError> {
        let mut out = Vec::new();
        out.try_reserve_exact(self.heap.iter().filter(|entry| gone(&entry.value)).count())?;
        let kept = self.put_behind(|entry| gone(&entry.value));
        out.extend(self.heap.drain(kept..).map(|entry| entry.value));
        self.settle();
        Ok(out)
    }

    /// Empties the heap, in no order.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.heap).into_iter().map(|entry| entry.value)
    }

    fn heapify(&mut self) {
        for at in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sift_down(at);
        }
    }

    #[inline(always)]
    fn before(&self, a: usize, b: usize) -> bool {
        self.heap[a].rank().cmp(&self.heap[b].rank()) == Ordering::Less
    }

    #[inline]
    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if !self.before(at, parent) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let first = at * ARITY + 1;
            if first >= self.heap.len() {
                return;
            }
            let last = (first + ARITY).min(self.heap.len());
            let mut least = first;
            for child in first + 1..last {
                if self.before(child, least) {
                    least = child;
                }
            }
            if !self.before(least, at) {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain_at<T>(timers: &mut Timers<T>, now: f64) -> Vec<T> {
        let mut out = Vec::new();
        timers.take_due(now, |value| {
            out.push(value);
            Ok(())
        });
        out
    }

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut timers = Timers::default();
        for i in 0..1000 {
            timers.push(1.0, i).unwrap();
        }
        assert_eq!(drain_at(&mut timers, 1.0), (0..1000).collect::<Vec<_>>());
        assert!(timers.is_empty());
    }

    #[test]
    fn nothing_is_early() {
        let mut timers = Timers::default();
        timers.push(2.0, "late").unwrap();
        timers.push(f64::NAN, "never").unwrap();
        timers.push(f64::INFINITY, "at the end of time").unwrap();
        assert!(drain_at(&mut timers, 1.999_999_999).is_empty());
        assert_eq!(timers.next(), Some(2.0));
        assert_eq!(drain_at(&mut timers, 2.0), ["late"]);
        assert_eq!(timers.next(), Some(f64::INFINITY));
    }

    #[test]
    fn what_is_handed_back_stays_and_so_does_what_comes_after() {
        for (count, taken) in [(3_u16, 0), (3, 2), (1000, 0), (1000, 10), (1000, 16), (1000, 500)] {
            let mut timers = Timers::default();
            for i in 0..count {
                timers.push(f64::from(i % 7), i).unwrap();
            }
            let mut out = Vec::new();
            timers.take_due(6.0, |value| {
                if out.len() == taken {
                    return Err(value);
                }
                out.push(value);
                Ok(())
            });
            assert_eq!((out.len(), timers.len()), (taken, usize::from(count) - taken));
            out.extend(drain_at(&mut timers, 6.0));
            let mut expected: Vec<_> = (0..count).collect();
            expected.sort_by_key(|i| i % 7);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn is_a_stable_sort(whens in prop::collection::vec(-5i32..50, 0..400), now in -5i32..50, odd in any::<bool>()) {
            let mut timers = Timers::default();
            for (i, when) in whens.iter().enumerate() {
                timers.push(f64::from(*when), (*when, i)).unwrap();
            }
            if odd {
                prop_assert!(timers.take_out(|(_, i)| i % 2 == 0).unwrap().iter().all(|(_, i)| i % 2 == 0));
            }
            let mut expected: Vec<_> =
                whens.iter().copied().enumerate().map(|(i, when)| (when, i)).filter(|(_, i)| !odd || i % 2 == 1).collect();
            expected.sort();
            let due = drain_at(&mut timers, f64::from(now));
            let rest = drain_at(&mut timers, f64::INFINITY);
            prop_assert!(due.iter().all(|(when, _)| *when <= now) && rest.iter().all(|(when, _)| *when > now));
            prop_assert_eq!([due, rest].concat(), expected);
        }

        #[test]
        fn keys_keep_the_order(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan() && a != b);
            prop_assert_eq!(a < b, key_of(a) < key_of(b));
            prop_assert_eq!(when_of(key_of(a)), a);
        }
    }
}
