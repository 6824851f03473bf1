//! A histogram of durations: buckets that grow with what they count, so that a microsecond and an hour fit in.

/// Buckets to a doubling: a value is known to within a quarter of itself.
const PER_DOUBLING: u32 = 4;
const BITS: u32 = PER_DOUBLING.trailing_zeros();
const BUCKETS: usize = (64 * PER_DOUBLING) as usize;

/// Counts whole numbers of any unit.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, sum: 0, largest: 0 }
    }
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.largest = self.largest.max(value);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// The buckets that are not empty, in order: the first value that is too large for each, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(at, n)| (upper_bound(at), *n))
    }
}

/// The two bits below the highest one choose among the buckets of a doubling; small numbers have one each.
#[inline]
fn bucket_of(value: u64) -> usize {
    if value < u64::from(PER_DOUBLING) {
        return value as usize;
    }
    let exponent = value.ilog2() - BITS;
    let within = (value >> exponent) as usize - PER_DOUBLING as usize;
    (exponent as usize + 1) * PER_DOUBLING as usize + within
}

fn upper_bound(bucket: usize) -> u64 {
    let per = PER_DOUBLING as usize;
    if bucket < per {
        return bucket as u64 + 1;
    }
    let (exponent, within) = ((bucket / per - 1) as u32, (bucket % per) as u64);
    (u64::from(PER_DOUBLING) + within + 1)
        .checked_shl(exponent)
        .filter(|bound| *bound != 0)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_and_sums() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 3, 4, 5, 1000, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.count(), 7);
        assert_eq!(histogram.sum(), u64::MAX);
        assert_eq!(histogram.largest(), u64::MAX);
        assert_eq!(histogram.buckets().map(|(_, n)| n).sum::<u64>(), 7);
    }

    proptest! {
        #[test]
        fn a_bound_is_above_its_values_by_a_quarter_at_most(value in 0..u64::MAX) {
            let bound = upper_bound(bucket_of(value));
            prop_assert!(bound > value || bound == u64::MAX);
            prop_assert!(bound - value <= value / 4 + 1);
        }

        #[test]
        fn larger_values_stand_in_later_buckets(a: u64, b: u64) {
            prop_assert_eq!(a.max(b) == a, bucket_of(a) > bucket_of(b) || bucket_of(a) == bucket_of(b) && a >= b);
        }
    }
}
