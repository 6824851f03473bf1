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

use super::pool::{Pool, PoolRef};
use super::results;
use super::service_threads::{self, start_thread};
use crate::engine::futex::Futex;
use crate::engine::loop_object::io_result;
use crate::engine::spin;
use crate::engine::spinner::Spinner;
use crate::ffi::cells::Locked;
use crate::ffi::class::Native;
use crate::ffi::guard::guarded;
use crate::ffi::{Leaf, Py, Raised, Res, error, gil};

/// How long a turn may last before another thread takes over.
const PATIENCE: Duration = Duration::from_millis(10);

struct Reactor {
    shared: Arc<Shared>,
    pools: Vec<PoolRef>,
    /// The number of the pool whose turn it is; 0 for none.
    serving: u64,
    /// Counts the terms of service: each thread that takes over begins one.
    term: u64,
    /// Whether there is a thread that would take over.
    deputy: bool,
}

impl Reactor {
    fn find(&self, number: u64) -> Option<&PoolRef> {
        self.pools.iter().find(|pool| number_of(pool) == number)
    }
}

/// What tells pools apart in events, whose other numbers are 0: its address.
fn number_of(pool: &Pool) -> u64 {
    std::ptr::from_ref(pool) as u64
}

struct Shared {
    epoll: Epoll,
    wakeup: Wakeup,
    /// Between the thread that serves and the deputy: a done callback of a user's may wait, for instance for a call in another
    /// pool.
    gate: Gate<Futex>,
}

static REACTOR: Locked<Leaf<Option<Reactor>>> = Locked::new(Leaf::new(None));

fn with<T>(py: Py, body: impl FnOnce(&mut Option<Reactor>) -> T) -> T {
    REACTOR.get(py).with(body)
}

/// The reactor, as long as it is the one of that thread.
fn with_ours<T>(py: Py, shared: &Arc<Shared>, body: impl FnOnce(&mut Reactor) -> T) -> Option<T> {
    with(py, |reactor| reactor.as_mut().filter(|reactor| Arc::ptr_eq(&reactor.shared, shared)).map(body))
}

/// Whether it has paid of late to look for what is under way before the thread sleeps.
static SPINNER: Locked<Spinner> = Locked::new(Spinner::new());

/// Serves a pool from now on.
pub fn add(pool: &Pool, fd: i32) -> Res<()> {
    let py = pool.py();
    let shared = match with(py, |reactor| reactor.as_ref().map(|reactor| reactor.shared.clone())) {
        Some(shared) => shared,
        None => io_result(start(py))?,
    };
    // Not the first, or a pool that is in the middle of a callback makes it.
    let alone = with_ours(py, &shared, |reactor| reactor.pools.is_empty() && reactor.serving == 0);
    if alone == Some(false) {
        io_result(start_deputy(py, &shared))?;
    }
    io_result(shared.epoll.add(fd, Interest::IN, number_of(pool)))?;
    with_ours(py, &shared, |reactor| reactor.pools.push(pool.hold()));
    shared.gate.stir();
    shared.wakeup.wake();
    Ok(())
}

/// Serves it no more; the thread ends when it has none left.
pub fn remove(pool: &Pool, fd: i32) {
    let removed = with(pool.py(), |reactor| {
        let reactor = reactor.as_mut()?;
        let _ = reactor.shared.epoll.delete(fd);
        let at = reactor.pools.iter().position(|other| number_of(other) == number_of(pool))?;
        reactor.shared.wakeup.wake();
        Some(reactor.pools.swap_remove(at))
    });
    drop(removed);
}

fn start(py: Py) -> io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared { epoll: Epoll::new()?, wakeup: Wakeup::new()?, gate: Gate::default() });
    shared.epoll.add(shared.wakeup.fileno(), Interest::IN, 0)?;
    let for_thread = shared.clone();
    start_thread(py, move || run(&for_thread, Some(0)))?;
    let reactor = Reactor { shared: shared.clone(), pools: Vec::new(), serving: 0, term: 0, deputy: false };
    with(py, |place| *place = Some(reactor));
    Ok(shared)
}

/// Starts the thread that takes over where a turn lasts too long, if there is none.
fn start_deputy(py: Py, shared: &Arc<Shared>) -> io::Result<()> {
    if with_ours(py, shared, |reactor| reactor.deputy) != Some(false) {
        return Ok(());
    }
    let for_thread = shared.clone();
    start_thread(py, move || run(&for_thread, None))?;
    with_ours(py, shared, |reactor| reactor.deputy = true);
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
        let go_on =
            |py: Py| term.or_else(|| take_over(py, shared, stuck)).map(|term| serve(py, shared, term));
        // SAFETY: `end` waits for this thread before the interpreter takes the GIL away.
        let next = unsafe { gil::with(go_on) };
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
fn take_over(py: Py, shared: &Arc<Shared>, turn: u32) -> Option<u64> {
    let (term, many) = with_ours(py, shared, |reactor| {
        let serving = reactor.serving;
        if !shared.gate.lasts(turn) || reactor.pools.iter().all(|pool| number_of(pool) == serving) {
            return None;
        }
        if let Some(pool) = reactor.find(serving) {
            listen(shared, pool, Interest::empty());
        }
        reactor.serving = 0;
        reactor.term += 1;
        reactor.deputy = false;
        shared.gate.leave();
        Some((reactor.term, reactor.pools.len() > 2))
    })??;
    if many {
        // Should that fail: who is held up is the deputy later.
        let _ = start_deputy(py, shared);
    }
    Some(term)
}

/// Has events of a pool of the list come, or not.
fn listen(shared: &Shared, pool: &Pool, interest: Interest) {
    if let Some(fd) = pool.epoll_fd() {
        // Not there if it has another home meanwhile.
        let _ = shared.epoll.modify(fd, interest, number_of(pool));
    }
}

/// Serves until there is nothing left to serve, or another thread has taken over.
fn serve(py: Py, shared: &Arc<Shared>, term: u64) -> Next {
    let mut events = Events::default();
    loop {
        let limit = if is_busy(py, shared) { SPINNER.get(py).limit(spin::limit(py)) } else { 0 };
        // SAFETY: waits for descriptors.
        let won = unsafe { gil::without(|| wait(shared, &mut events, limit)) };
        if limit > 0 {
            SPINNER.get(py).record(won);
        }
        match guarded(Next::End, || turn(py, shared, term, &events)) {
            Next::Serve => {}
            next => return next,
        }
    }
}

fn is_busy(py: Py, shared: &Arc<Shared>) -> bool {
    with_ours(py, shared, |reactor| reactor.pools.iter().any(|pool| pool.outstanding() > 0)) == Some(true)
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
fn turn(py: Py, shared: &Arc<Shared>, term: u64, events: &Events) -> Next {
    for (data, _) in events.iter() {
        if data == 0 {
            shared.wakeup.clear();
            continue;
        }
        let found = with_ours(py, shared, |reactor| {
            let pool = reactor.find(data)?.hold();
            reactor.serving = data;
            Some(pool)
        });
        let Some(pool) = found.flatten() else { continue };
        shared.gate.enter();
        let crowded = pool.is_being_served();
        if let Err(Raised) = results::pump(&pool) {
            error::unraisable(None);
        }
        if with_ours(py, shared, |reactor| reactor.term) != Some(term) {
            return come_back(shared, &pool);
        }
        with_ours(py, shared, |reactor| reactor.serving = 0);
        shared.gate.leave();
        if crowded {
            // Another thread is in the middle of serving the pool: lets it.
            // SAFETY: sleeps.
            unsafe { gil::without(|| std::thread::sleep(Duration::from_millis(1))) };
        }
    }
    let done = with_ours(py, shared, |reactor| reactor.pools.is_empty()) != Some(false);
    if !done {
        return Next::Serve;
    }
    shared.gate.end();
    if with_ours(py, shared, |_| ()).is_some() {
        drop(with(py, Option::take));
    }
    Next::End
}

/// Another thread has taken over while this one was in a turn of that pool's: from now on it serves this pool too.
fn come_back(shared: &Arc<Shared>, pool: &Pool) -> Next {
    let is_deputy = with_ours(pool.py(), shared, |reactor| {
        if reactor.find(number_of(pool)).is_some() {
            listen(shared, pool, Interest::IN);
        }
        !std::mem::replace(&mut reactor.deputy, true)
    });
    if is_deputy == Some(true) { Next::BeDeputy } else { Next::End }
}

/// At interpreter exit: serves no pool any more, and waits until the threads are gone. A thread that asks for the GIL when the
/// interpreter has let go of it is ended by CPython below 3.14 where it stands, which Rust's frames do not survive.
pub fn end(py: Py) {
    super::patience::end(py);
    let pools = with(py, |reactor| {
        let reactor = reactor.as_mut()?;
        reactor.shared.wakeup.wake();
        Some(std::mem::take(&mut reactor.pools))
    });
    drop(pools);
    service_threads::join(py);
}

/// In a child of fork: the threads are not there.
pub fn forked(py: Py) {
    service_threads::forked(py);
    drop(with(py, Option::take));
}
