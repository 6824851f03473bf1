//! Parking a thread on a word of memory until another thread changes it: futex(2), private to this process.

use std::sync::atomic::AtomicU32;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};

/// Why a thread that was parked runs again.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparked {
    /// The word is different, or somebody woke the thread, or a signal came to it, or nobody knows: look at the word.
    Look,
    /// The time was over.
    TimedOut,
}

/// Sleeps while `word` is `expected`, for at most `timeout` seconds; `None` sleeps for ever.
pub fn park(word: &AtomicU32, expected: u32, timeout: Option<f64>) -> Unparked {
    let limit = timeout.map(timespec);
    match futex::wait(word, Flags::PRIVATE, expected, limit.as_ref()) {
        Err(Errno::TIMEDOUT) => Unparked::TimedOut,
        _ => Unparked::Look,
    }
}

/// Wakes at most `count` threads that are parked on `word`, which was changed before.
pub fn unpark(word: &AtomicU32, count: u32) {
    // The kernel takes the number for a signed one, and a negative one for 1. The call fails only for an address that is
    // none.
    let _ = futex::wake(word, Flags::PRIVATE, count.min(i32::MAX as u32));
}

/// Rounds up: nobody is to be woken early.
fn timespec(seconds: f64) -> Timespec {
    /// A year: nothing parks for longer without looking again.
    const LONGEST: f64 = 365.0 * 86400.0;
    let seconds = seconds.clamp(0.0, LONGEST);
    let whole = seconds.floor();
    let nanoseconds = ((seconds - whole) * 1e9).ceil().min(999_999_999.0);
    Timespec { tv_sec: whole as i64, tv_nsec: nanoseconds as _ }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Instant;

    #[test]
    fn does_not_sleep_on_a_word_that_has_changed() {
        assert_eq!(park(&AtomicU32::new(1), 0, None), Unparked::Look);
    }

    #[test]
    fn is_never_early() {
        let word = AtomicU32::new(0);
        for seconds in [0.0, 0.000_05, 0.002] {
            let start = Instant::now();
            assert_eq!(park(&word, 0, Some(seconds)), Unparked::TimedOut);
            assert!(start.elapsed().as_secs_f64() >= seconds);
        }
    }

    #[test]
    fn wakes_all_who_sleep() {
        let word = Arc::new(AtomicU32::new(0));
        let sleep = |word: Arc<AtomicU32>| {
            move || {
                while word.load(SeqCst) == 0 {
                    let _ = park(&word, 0, Some(60.0));
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(sleep(Arc::clone(&word)))).collect();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let start = Instant::now();
        word.store(1, SeqCst);
        unpark(&word, u32::MAX);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(start.elapsed().as_secs_f64() < 30.0);
    }
}
