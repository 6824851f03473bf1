//! Memory that is shared with another process and held here, and what becomes of it when this process forks: parent and
//! child each keep the bytes as they are, as of all other memory. The place where they lie is not given back to be written
//! again, and what either writes from then on is its own.
//!
//! A private mapping alone would not do: a page that was not copied yet shows what is written to the file (mmap(2)). Nor
//! would private mappings from the start: they would have to be dropped and faulted in again each time the other side has
//! written. Measured with 16 MiB: 1 ms more to read, 7 ms more to write, where a shared mapping costs nothing.
//!
//! `os.register_at_fork` does not see forks of C code, so the handlers are pthread_atfork's. What copies no memory (vfork,
//! posix_spawn) does not call them, and need not.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process has begun or ended a fork since this was first asked: as long as it stays the same, no other process has
/// got a copy of what was opened meanwhile. Counted before as well: a thread may ask when the child is there already, and
/// the one that made it has not come back. What copies no memory (vfork, posix_spawn) is not counted: such a
/// child has copies until it runs another program.
pub fn count() -> u32 {
    static REGISTERED: Once = Once::new();
    extern "C" fn one_more() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    REGISTERED.call_once(|| {
        // SAFETY: a function that lives as long as this library, which Python never unloads. It fails only without memory for
        // three pointers.
        unsafe { libc::pthread_atfork(Some(one_more), Some(one_more), Some(one_more)) };
    });
    FORKS.load(Ordering::Relaxed)
}

use crate::memfd::Spare;

/// The bit that a fork sets in the word which tells owner and holder who may write.
pub const SPENT: u32 = 2;

struct Held {
    /// Where the shared bytes are mapped.
    at: usize,
    /// What takes their place; none after a fork.
    spare: Option<Spare>,
    word: *const AtomicU32,
}

// SAFETY: no thread owns the mappings; the word is only used as an atomic, by whoever has the lock, and lives until `let_go`.
unsafe impl Send for Held {}

#[derive(Default)]
struct All {
    held: Vec<Held>,
    /// Threads that are about to fork, and have put the spares in place.
    forking: usize,
}

/// Never freed; null before the first use, and again in a child.
static ALL: AtomicPtr<Mutex<All>> = AtomicPtr::new(null_mut());

/// The lock is not kept across a fork: handlers of others run meanwhile, which may let go of Python's lock and ask for it
/// again (grpc's), while a thread that has that one waits here.
fn all() -> MutexGuard<'static, All> {
    let mut known = ALL.load(Ordering::Acquire);
    if known.is_null() {
        let made = Box::into_raw(Box::default());
        match ALL.compare_exchange(null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => known = made,
            Err(first) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                known = first;
            }
        }
    }
    // SAFETY: made by `Box::into_raw`, and never freed.
    unsafe { &*known }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a fork puts `spare` in the place of the shared bytes at `at`, and sets `SPENT` in `word`. Gives the spare back
/// where a thread is about to fork: these bytes would stay shared with its child.
///
/// # Safety
/// `spare` shows the bytes that are mapped at `at`; these and the word, which lies elsewhere, stay mapped until `let_go`.
pub unsafe fn hold(at: *mut u8, spare: Spare, word: &AtomicU32) -> Result<(), Spare> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: functions that live as long as this library, which Python never unloads. It fails only without memory
        // for three pointers.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after_in_child)) };
    });
    let mut all = all();
    if all.forking > 0 {
        return Err(spare);
    }
    all.held.push(Held { at: at as usize, spare: Some(spare), word });
    Ok(())
}

/// Nothing looks at these bytes any more. Gives the spare back, if there was no fork meanwhile.
pub fn let_go(at: *mut u8) -> Option<Spare> {
    let mut all = all();
    // What came last often goes first.
    let found = all.held.iter().rposition(|held| held.at == at as usize)?;
    all.held.swap_remove(found).spare
}

/// Called by the thread that forks, whether it has the GIL or not.
extern "C" fn before() {
    let mut all = all();
    all.forking += 1;
    for held in &mut all.held {
        if let Some(spare) = held.spare.take() {
            // SAFETY: by `hold`. Where the kernel refuses, the bytes stay shared between parent and child, but nobody else
            // writes there: a fork must not fail for it.
            unsafe {
                (*held.word).fetch_or(SPENT, Ordering::AcqRel);
                let _ = spare.replace(held.at as *mut u8);
            }
        }
    }
}

extern "C" fn after() {
    // A thread that forked while `before` was registered has not called it.
    let mut all = all();
    all.forking = all.forking.saturating_sub(1);
}

/// Another thread of the parent may have had the lock, and have been in the middle of a change. What is held has no spare
/// any more, so nothing is lost with the list.
extern "C" fn after_in_child() {
    ALL.store(null_mut(), Ordering::Release);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memfd::{self, Mapping};

    const SIZE: usize = 1 << 17;

    /// Forks a child that ends with what `body` returns.
    fn child(body: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child calls nothing but `body`, which only looks at memory, and _exit.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(body());
            }
            pid
        }
    }

    fn status_of(pid: i32) -> i32 {
        let mut status = 0;
        // SAFETY: waits for a child of ours.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        libc::WEXITSTATUS(status)
    }

    #[test]
    fn neither_side_of_a_fork_sees_what_is_written_afterwards() {
        let fd = memfd::create("aioxide-test", SIZE).unwrap();
        let (owner, ours) = (Mapping::new(&fd, SIZE).unwrap(), Mapping::new(&fd, SIZE).unwrap());
        let (word, at) = (AtomicU32::new(1), ours.start());
        let mut gate = [0; 2];
        // SAFETY: both are mapped to the end of the test, and the word lives as long; a pipe for one byte.
        unsafe {
            assert_eq!(libc::pipe(gate.as_mut_ptr()), 0);
            *owner.start() = 42;
            assert!(hold(at, Spare::new(&fd, 0, SIZE).unwrap(), &word).is_ok());
            *at.add(1) = 43;
            let pid = child(|| {
                *at.add(9000) = 44;
                libc::read(gate[0], [0u8; 1].as_mut_ptr().cast(), 1);
                i32::from((*at, *at.add(1), *at.add(70_000)) == (42, 43, 0))
            });
            assert_eq!(word.load(Ordering::Acquire), 1 | SPENT);
            assert_eq!((*at, *at.add(1)), (42, 43));
            (*at.add(1), *at.add(70_000)) = (99, 99);
            assert_eq!(libc::write(gate[1], b"x".as_ptr().cast(), 1), 1);
            assert_eq!(status_of(pid), 1);
            assert_eq!((*at.add(9000), *owner.start().add(1), *owner.start().add(9000)), (0, 43, 0));
            assert!(let_go(at).is_none() && let_go(at).is_none());
        }
    }

    #[test]
    fn a_fork_is_counted_on_both_sides() {
        let before = count();
        let pid = child(|| i32::from(count() != before));
        assert_eq!(status_of(pid), 1);
        assert_ne!(count(), before);
    }

    #[test]
    fn a_fork_is_counted_before_there_is_a_child() {
        let before = count();
        // Once before, in memory that it has got, and once when it has begun.
        let pid = child(|| i32::from(count().wrapping_sub(before) >= 2));
        assert_eq!(status_of(pid), 1);
    }

    #[test]
    fn without_a_fork_it_comes_back_as_it_was() {
        let fd = memfd::create("aioxide-test", SIZE).unwrap();
        let ours = Mapping::new(&fd, SIZE).unwrap();
        let word = AtomicU32::new(1);
        // SAFETY: mapped to the end of the test, and the word lives as long.
        let held = unsafe { hold(ours.start(), Spare::new(&fd, 0, SIZE).unwrap(), &word) };
        // Another test may fork at this moment.
        if held.is_err() {
            return;
        }
        assert_eq!(let_go(ours.start()).is_none(), word.load(Ordering::Acquire) & SPENT != 0);
    }
}
