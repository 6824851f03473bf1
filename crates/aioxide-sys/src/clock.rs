//! Clocks: the one that timers go by, and a cheaper one to ask whether it is worth looking.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in seconds: `time.monotonic()`.
#[inline]
pub fn monotonic() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline]
pub fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Something that counts up steadily, at one to a few steps a nanosecond, for a third of the cost of the clock.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and Linux lets user code read it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How many `ticks` a second has. Found out once, against the clock, over the time since the first call of
/// `calibrate`; a call within the first milliseconds waits until there is something to measure.
pub fn ticks_per_second() -> f64 {
    static KNOWN: OnceLock<f64> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        const ENOUGH: f64 = 0.002;
        let (ticks0, time0) = *ORIGIN.get_or_init(origin);
        loop {
            let (ticks1, time1) = origin();
            let elapsed = time1 - time0;
            if elapsed >= ENOUGH {
                return ticks1.wrapping_sub(ticks0) as f64 / elapsed;
            }
            std::hint::spin_loop();
        }
    })
}

/// Starts the measurement for `ticks_per_second`.
pub fn calibrate() {
    ORIGIN.get_or_init(origin);
}

static ORIGIN: OnceLock<(u64, f64)> = OnceLock::new();

/// Both at one moment: the pair of readings that no other thread came between, as far as a few tries tell.
fn origin() -> (u64, f64) {
    let read = |_| {
        let (before, time, after) = (ticks(), monotonic(), ticks());
        (after.wrapping_sub(before), (before, time))
    };
    let best = (0..8).map(read).min_by_key(|(apart, _)| *apart);
    best.map_or((0, 0.0), |(_, pair)| pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_count_seconds() {
        let rate = ticks_per_second();
        let (ticks0, time0) = origin();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (ticks1, time1) = origin();
        let measured = (ticks1 - ticks0) as f64 / rate / (time1 - time0);
        assert!((0.9..1.1).contains(&measured), "{measured}");
    }
}
