//! The one thread that serves the pools which no loop serves: made when the first needs it, gone with the last. It holds
//! the GIL only while it hands out results.

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use aioxide_sys::epoll::{Epoll, Events, Interest};
use aioxide_sys::process::Wakeup;
use pyo3_ffi::*;

use super::{process as pool, process_pump as pump};
use crate::engine::loop_object::io_result;
use crate::engine::spin::{self, Bets};
use crate::ffi::guard::guarded;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, error};

struct Reactor {
    shared: Arc<Shared>,
    pools: Vec<Obj>,
}

struct Shared {
    epoll: Epoll,
    wakeup: Wakeup,
}

struct Place(UnsafeCell<Option<Reactor>>);

// SAFETY: used under the GIL, in closures that call nothing.
unsafe impl Sync for Place {}

static REACTOR: Place = Place(UnsafeCell::new(None));

fn with<T>(body: impl FnOnce(&mut Option<Reactor>) -> T) -> T {
    // SAFETY: under the GIL, and every `body` in this file is leaf code.
    body(unsafe { &mut *REACTOR.0.get() })
}

/// The threads that were started and may not have ended yet.
struct Threads(UnsafeCell<Vec<JoinHandle<()>>>);

// SAFETY: as `Place`.
unsafe impl Sync for Threads {}

static THREADS: Threads = Threads(UnsafeCell::new(Vec::new()));

fn with_threads<T>(body: impl FnOnce(&mut Vec<JoinHandle<()>>) -> T) -> T {
    // SAFETY: as `with`.
    body(unsafe { &mut *THREADS.0.get() })
}

/// Whether it has paid of late to look for what is under way before the thread sleeps.
static BETS: Bets = Bets::new();

/// Serves a pool from now on.
pub fn add(slf: Raw, fd: i32) -> Res<()> {
    let shared = match with(|reactor| reactor.as_ref().map(|reactor| reactor.shared.clone())) {
        Some(shared) => shared,
        None => io_result(start())?,
    };
    io_result(shared.epoll.add(fd, Interest::IN, slf as u64))?;
    with(|reactor| {
        if let Some(reactor) = reactor {
            reactor.pools.push(Obj::new(slf));
        }
    });
    shared.wakeup.wake();
    Ok(())
}

/// Serves it no more; the thread ends when it has none left.
pub fn remove(slf: Raw, fd: i32) {
    let removed = with(|reactor| {
        let reactor = reactor.as_mut()?;
        let _ = reactor.shared.epoll.delete(fd);
        let at = reactor.pools.iter().position(|pool| pool.as_ptr() == slf)?;
        reactor.shared.wakeup.wake();
        Some(reactor.pools.swap_remove(at))
    });
    drop(removed);
}

fn start() -> io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared { epoll: Epoll::new()?, wakeup: Wakeup::new()? });
    shared.epoll.add(shared.wakeup.fileno(), Interest::IN, 0)?;
    let for_thread = shared.clone();
    let thread = std::thread::Builder::new().name("aioxide-pools".into()).spawn(move || run(&for_thread))?;
    with_threads(|threads| {
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    });
    with(|reactor| *reactor = Some(Reactor { shared: shared.clone(), pools: Vec::new() }));
    Ok(shared)
}

fn run(shared: &Arc<Shared>) {
    let mut events = Events::default();
    // SAFETY: one thread state for the life of this thread; Python is entered between restore and save only. `end`
    // waits for this thread before the interpreter takes the GIL away.
    unsafe {
        let gil = PyGILState_Ensure();
        loop {
            let limit = if is_busy(shared) && BETS.bet() { spin::limit() } else { 0 };
            let thread = PyEval_SaveThread();
            let won = wait(shared, &mut events, limit);
            PyEval_RestoreThread(thread);
            if limit > 0 {
                BETS.record(won);
            }
            if guarded(true, || turn(shared, &events)) {
                break;
            }
        }
        PyGILState_Release(gil);
    }
}

fn is_busy(shared: &Arc<Shared>) -> bool {
    with(|reactor| {
        let pools = reactor.as_ref().filter(|reactor| Arc::ptr_eq(&reactor.shared, shared));
        let is_busy = |pool: &Obj| {
            // SAFETY: the list holds pools.
            unsafe { pool::of(pool.as_ptr()) }.outstanding.get() > 0
        };
        pools.is_some_and(|reactor| reactor.pools.iter().any(is_busy))
    })
}

/// Waits for events; true if they came within the spin, which lasts for at most `limit` ticks.
fn wait(shared: &Shared, events: &mut Events, limit: u64) -> bool {
    if limit > 0 {
        let mut found = || shared.epoll.wait(events, Some(0.0)).is_ok() && events.iter().next().is_some();
        let found = std::cell::RefCell::new(&mut found);
        if spin::spin(limit, || (found.borrow_mut())()) {
            return true;
        }
    }
    // A failure other than EINTR cannot be but for a descriptor that is ours; looking again is all that can be done.
    let _ = shared.epoll.wait(events, None);
    false
}

/// Serves what is ready; true when the thread has nothing left to do.
fn turn(shared: &Arc<Shared>, events: &Events) -> bool {
    for (data, _) in events.iter() {
        if data == 0 {
            shared.wakeup.clear();
            continue;
        }
        let pool = with(|reactor| {
            let reactor = reactor.as_ref().filter(|reactor| Arc::ptr_eq(&reactor.shared, shared))?;
            reactor.pools.iter().find(|pool| pool.as_ptr() as u64 == data).cloned()
        });
        let Some(pool) = pool else { continue };
        // SAFETY: the list holds pools.
        let crowded = unsafe { pool::of(pool.as_ptr()) }.pumping.get();
        // SAFETY: as above.
        if let Err(Raised) = unsafe { pump::pump(pool.as_ptr()) } {
            error::unraisable(NULL);
        }
        if crowded {
            pause();
        }
    }
    with(|reactor| match reactor {
        Some(ours) if Arc::ptr_eq(&ours.shared, shared) => {
            let done = ours.pools.is_empty();
            if done {
                *reactor = None;
            }
            done
        }
        _ => true,
    })
}

/// Another thread is in the middle of serving the pool: lets it.
fn pause() {
    // SAFETY: nothing between the two calls touches a Python object.
    unsafe {
        let thread = PyEval_SaveThread();
        std::thread::sleep(std::time::Duration::from_millis(1));
        PyEval_RestoreThread(thread);
    }
}

/// At interpreter exit: serves no pool any more, and waits until the thread is gone. A thread that asks for the GIL when the
/// interpreter has let go of it is ended by CPython below 3.14 where it stands, which Rust's frames do not survive.
pub fn end() {
    let pools = with(|reactor| {
        let reactor = reactor.as_mut()?;
        reactor.shared.wakeup.wake();
        Some(std::mem::take(&mut reactor.pools))
    });
    drop(pools);
    let threads = with_threads(std::mem::take);
    // SAFETY: nothing between the two calls touches a Python object.
    unsafe {
        let thread = PyEval_SaveThread();
        for each in threads {
            let _ = each.join();
        }
        PyEval_RestoreThread(thread);
    }
}

/// In a child of fork: the thread is not there.
pub fn forked() {
    with_threads(|threads| threads.drain(..).for_each(std::mem::forget));
    let reactor = with(Option::take);
    drop(reactor);
}
