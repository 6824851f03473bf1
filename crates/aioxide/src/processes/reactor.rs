//! The thread that serves the pools which no loop serves: made when the first needs it, gone with the last. It holds the
//! GIL only while it hands out results.
//!
//! Done callbacks run in it, and they may wait for a call in another pool. So with two pools there is a second thread,
//! the deputy: where a turn lasts too long it goes on in the other's place, with all pools but the one whose turn that
//! is, as in the standard library, where each pool has a thread of its own. The thread that was held up hands that
//! pool over when it is back, and is the deputy then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aioxide_core::gate::Gate;
use aioxide_sys::epoll::{Epoll, Events, Interest};
use aioxide_sys::wakeup::Wakeup;
use pyo3_ffi::*;

use super::service_threads::{self, start_thread};
use super::{pool, results};
use crate::engine::futex::Futex;
use crate::engine::loop_object::io_result;
use crate::engine::spin;
use crate::engine::spinner::Spinner;
use crate::ffi::guard::guarded;
use crate::ffi::{Leaf, NULL, Obj, Raised, Raw, Res, error};

/// How long a turn may last before another thread takes over.
const PATIENCE: Duration = Duration::from_millis(10);

struct Reactor {
    shared: Arc<Shared>,
    pools: Vec<Obj>,
    /// The pool whose turn it is; only to compare with.
    serving: Raw,
    /// Counts the terms of service: each thread that takes over begins one.
    term: u64,
    /// Whether there is a thread that would take over.
    deputy: bool,
}

impl Reactor {
    fn find(&self, slf: Raw) -> Option<&Obj> {
        self.pools.iter().find(|pool| pool.as_ptr() == slf)
    }
}

struct Shared {
    epoll: Epoll,
    wakeup: Wakeup,
    /// Between the thread that serves and the deputy: a done callback of a user's may wait, for instance for a call in another
    /// pool.
    gate: Gate<Futex>,
}

struct Place(Leaf<Option<Reactor>>);

// SAFETY: used under the GIL.
unsafe impl Sync for Place {}

static REACTOR: Place = Place(Leaf::new(None));

fn with<T>(body: impl FnOnce(&mut Option<Reactor>) -> T) -> T {
    REACTOR.0.with(body)
}

/// The reactor, as long as it is the one of that thread.
fn with_ours<T>(shared: &Arc<Shared>, body: impl FnOnce(&mut Reactor) -> T) -> Option<T> {
    with(|reactor| reactor.as_mut().filter(|reactor| Arc::ptr_eq(&reactor.shared, shared)).map(body))
}

/// Whether it has paid of late to look for what is under way before the thread sleeps.
static SPINNER: Spinner = Spinner::new();

/// Serves a pool from now on.
pub fn add(slf: Raw, fd: i32) -> Res<()> {
    let shared = match with(|reactor| reactor.as_ref().map(|reactor| reactor.shared.clone())) {
        Some(shared) => shared,
        None => io_result(start())?,
    };
    // Not the first, or a pool that is in the middle of a callback makes it.
    let alone = with_ours(&shared, |reactor| reactor.pools.is_empty() && reactor.serving.is_null());
    if alone == Some(false) {
        io_result(start_deputy(&shared))?;
    }
    io_result(shared.epoll.add(fd, Interest::IN, slf as u64))?;
    with_ours(&shared, |reactor| reactor.pools.push(Obj::new(slf)));
    shared.gate.stir();
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
    let shared = Arc::new(Shared { epoll: Epoll::new()?, wakeup: Wakeup::new()?, gate: Gate::default() });
    shared.epoll.add(shared.wakeup.fileno(), Interest::IN, 0)?;
    let for_thread = shared.clone();
    start_thread(move || run(&for_thread, Some(0)))?;
    let reactor =
        Reactor { shared: shared.clone(), pools: Vec::new(), serving: NULL, term: 0, deputy: false };
    with(|place| *place = Some(reactor));
    Ok(shared)
}

/// Starts the thread that takes over where a turn lasts too long, if there is none.
fn start_deputy(shared: &Arc<Shared>) -> io::Result<()> {
    if with_ours(shared, |reactor| reactor.deputy) != Some(false) {
        return Ok(());
    }
    let for_thread = shared.clone();
    start_thread(move || run(&for_thread, None))?;
    with_ours(shared, |reactor| reactor.deputy = true);
    Ok(())
}

/// What a thread does next.
#[derive(Clone, Copy)]
enum Next {
    Serve,
    BeDeputy,
    End,
}

/// A thread's life: serves for a `term`, or is the deputy.
fn run(shared: &Arc<Shared>, mut term: Option<u64>) {
    loop {
        let stuck = match term {
            Some(_) => 0,
            None => match shared.gate.watch(|| std::thread::sleep(PATIENCE)) {
                Some(turn) => turn,
                None => return,
            },
        };
        // SAFETY: one thread state for a time of serving; Python is entered within only. `end` waits for this thread
        // before the interpreter takes the GIL away.
        let next = unsafe {
            let gil = PyGILState_Ensure();
            let next = term.or_else(|| take_over(shared, stuck)).map(|term| serve(shared, term));
            PyGILState_Release(gil);
            next
        };
        match next {
            // There was nothing to take over.
            None => shared.gate.sleep(stuck),
            Some(Next::BeDeputy) => term = None,
            Some(Next::Serve | Next::End) => return,
        }
    }
}

/// This thread's term, if another thread is still held up in that turn and there is a pool besides that
/// one's. That pool waits: its events would come again and again.
fn take_over(shared: &Arc<Shared>, turn: u32) -> Option<u64> {
    let (term, many) = with_ours(shared, |reactor| {
        let serving = reactor.serving;
        if !shared.gate.lasts(turn) || reactor.pools.iter().all(|pool| pool.as_ptr() == serving) {
            return None;
        }
        if reactor.find(serving).is_some() {
            listen(shared, serving, Interest::empty());
        }
        reactor.serving = NULL;
        reactor.term += 1;
        reactor.deputy = false;
        shared.gate.leave();
        Some((reactor.term, reactor.pools.len() > 2))
    })??;
    if many {
        // Should that fail: who is held up is the deputy later.
        let _ = start_deputy(shared);
    }
    Some(term)
}

/// Has events of a pool of the list come, or not.
fn listen(shared: &Shared, slf: Raw, interest: Interest) {
    // SAFETY: the list holds pools.
    let fd = unsafe { pool::of(slf) }.epoll_fd();
    if let Some(fd) = fd {
        // Not there if it has another home meanwhile.
        let _ = shared.epoll.modify(fd, interest, slf as u64);
    }
}

/// Serves until there is nothing left to serve, or another thread has taken over.
///
/// # Safety
/// With the GIL.
unsafe fn serve(shared: &Arc<Shared>, term: u64) -> Next {
    let mut events = Events::default();
    loop {
        let limit = if is_busy(shared) { SPINNER.limit(spin::limit()) } else { 0 };
        // SAFETY: nothing between the two calls touches a Python object.
        let won = unsafe {
            let thread = PyEval_SaveThread();
            let won = wait(shared, &mut events, limit);
            PyEval_RestoreThread(thread);
            won
        };
        if limit > 0 {
            SPINNER.record(won);
        }
        match guarded(Next::End, || turn(shared, term, &events)) {
            Next::Serve => {}
            next => return next,
        }
    }
}

fn is_busy(shared: &Arc<Shared>) -> bool {
    let is_busy = |pool: &Obj| {
        // SAFETY: the list holds pools.
        unsafe { pool::of(pool.as_ptr()) }.outstanding() > 0
    };
    with_ours(shared, |reactor| reactor.pools.iter().any(is_busy)) == Some(true)
}

/// Waits for events; true if they came within the spin, which lasts for at most `limit` ticks.
fn wait(shared: &Shared, events: &mut Events, limit: u64) -> bool {
    let look = || shared.epoll.wait(events, Some(0.0)).is_ok() && events.iter().next().is_some();
    if limit > 0 && spin::spin(limit, look) {
        return true;
    }
    // A failure other than EINTR cannot be but for a descriptor that is ours; looking again is all that can be done.
    let _ = shared.epoll.wait(events, None);
    false
}

/// Serves what is ready.
fn turn(shared: &Arc<Shared>, term: u64, events: &Events) -> Next {
    for (data, _) in events.iter() {
        if data == 0 {
            shared.wakeup.clear();
            continue;
        }
        let found = with_ours(shared, |reactor| {
            let pool = reactor.pools.iter().find(|pool| pool.as_ptr() as u64 == data).cloned()?;
            reactor.serving = pool.as_ptr();
            Some(pool)
        });
        let Some(pool) = found.flatten() else { continue };
        shared.gate.enter();
        // SAFETY: the list holds pools.
        let crowded = unsafe { pool::of(pool.as_ptr()) }.is_being_served();
        // SAFETY: as above.
        if let Err(Raised) = unsafe { results::pump(pool.as_ptr()) } {
            error::unraisable(NULL);
        }
        if with_ours(shared, |reactor| reactor.term) != Some(term) {
            return come_back(shared, pool.as_ptr());
        }
        with_ours(shared, |reactor| reactor.serving = NULL);
        shared.gate.leave();
        if crowded {
            pause();
        }
    }
    let done = with_ours(shared, |reactor| reactor.pools.is_empty()) != Some(false);
    if !done {
        return Next::Serve;
    }
    shared.gate.end();
    if with_ours(shared, |_| ()).is_some() {
        drop(with(Option::take));
    }
    Next::End
}

/// Another thread has taken over while this one was in a turn of that pool's: from now on it serves this pool too.
fn come_back(shared: &Arc<Shared>, slf: Raw) -> Next {
    let is_deputy = with_ours(shared, |reactor| {
        if reactor.find(slf).is_some() {
            listen(shared, slf, Interest::IN);
        }
        !std::mem::replace(&mut reactor.deputy, true)
    });
    if is_deputy == Some(true) { Next::BeDeputy } else { Next::End }
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

/// At interpreter exit: serves no pool any more, and waits until the threads are gone. A thread that asks for the GIL when the
/// interpreter has let go of it is ended by CPython below 3.14 where it stands, which Rust's frames do not survive.
pub fn end() {
    super::patience::end();
    let pools = with(|reactor| {
        let reactor = reactor.as_mut()?;
        reactor.shared.wakeup.wake();
        Some(std::mem::take(&mut reactor.pools))
    });
    drop(pools);
    service_threads::join();
}

/// In a child of fork: the threads are not there.
pub fn forked() {
    service_threads::forked();
    let reactor = with(Option::take);
    drop(reactor);
}
