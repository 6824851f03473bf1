//! Who serves a pool: the loop that uses it, or the reactor thread.
//!
//! A pool that nothing is under way in has no home. `run_in_executor` makes the loop its home if it is free to; `submit`
//! makes it the reactor's, as whoever submits may then block on the result; and when a loop stops or closes with tasks
//! under way, its pools go to the reactor, so that every task finishes. A loop that has no time for a pool while tasks wait
//! (`processes::patience`) lends it to the reactor until it comes round again.

use aioxide_sys::epoll::{Epoll, Interest};

use super::live::live_pools;
use super::pool::{Flag, Home, Pool};
use super::{patience, reactor, results};
use crate::engine::LoopObject;
use crate::engine::loop_object::io_result;
use crate::engine::source::Owner;
use crate::ffi::cells::Turn;
use crate::ffi::class::Native;
use crate::ffi::{Py, Raw, Ref, Res, error};
use crate::task::loop_state::{Item, LoopState};

/// The descriptor that is ready whenever the pool has something to serve; made when first asked for.
pub fn epoll_of(pool: &Pool) -> Res<i32> {
    if let Some(fd) = pool.epoll_fd() {
        return Ok(fd);
    }
    let epoll = std::rc::Rc::new(io_result(Epoll::new())?);
    let fd = epoll.fileno();
    pool.set_epoll(epoll);
    Ok(fd)
}

/// Makes `wanted` the pool's home if that can be.
pub fn use_from_loop(pool: &Pool, wanted: &LoopObject) -> Res<()> {
    if pool.is_at(wanted.object()) {
        return Ok(());
    }
    match pool.home() {
        Home::None => {}
        _ if pool.outstanding() == 0 => leave(pool),
        // Two loops at once, or threads too: neither may wait for the other.
        Home::Loop(_) => return to_reactor(pool),
        Home::Lent(lender) if lender.borrow() != wanted.object() => return to_reactor(pool),
        Home::Lent(_) | Home::Reactor => return Ok(()),
    }
    adopt(pool, wanted)
}

/// Makes a loop the home of a pool that has none.
fn adopt(pool: &Pool, wanted: &LoopObject) -> Res<()> {
    let engine = &wanted.engine;
    let fd = epoll_of(pool)?;
    drop(engine.sources.set_owner(fd, Some(Owner::of(pool, on_ready))));
    if let Err(why) = engine.watch(fd, Interest::IN) {
        drop(engine.sources.set_owner(fd, None));
        return io_result(Err(why));
    }
    drop(pool.move_to(Home::Loop(wanted.object().to_obj())));
    Ok(())
}

/// The loop that serves a pool has no time for it: the reactor takes over until that loop comes round again.
pub fn lend(pool: &Pool) -> Res<()> {
    let Home::Loop(home) = pool.home() else { return Ok(()) };
    let Some(loop_) = home.borrow().cast::<LoopObject>() else { return Ok(()) };
    to_reactor(pool)?;
    if matches!(pool.home(), Home::Reactor) {
        drop(pool.move_to(Home::Lent(home.clone())));
        loop_.state.push_or_report(Item::Job { object: pool.object().to_obj(), run: take_home });
        drop(loop_.engine.wake.bell());
    }
    Ok(())
}

/// The loop has time again.
///
/// # Safety
/// `slf` is a process pool.
unsafe fn take_home(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: as `lend` queued it.
    let pool: &Pool = unsafe { Ref::new(slf).cast_unchecked() };
    let loop_ = LoopObject::of(state);
    if !pool.is_lent_by(loop_.object()) {
        return Ok(());
    }
    leave(pool);
    adopt(pool, loop_)
}

fn on_ready(state: &LoopState, pool: &Pool, _: Turn, _: Interest) {
    if pool.begin_wait_in_loop() {
        state.push_or_report(Item::Job { object: pool.object().to_obj(), run: serve_in_loop });
    }
}

/// # Safety
/// `slf` is a process pool.
unsafe fn serve_in_loop(_: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: as `on_ready` queued it.
    let pool: &Pool = unsafe { Ref::new(slf).cast_unchecked() };
    pool.end_wait_in_loop();
    results::pump(pool)
}

/// Makes the reactor thread the pool's home; not of one that has ended meanwhile: whoever asks may have been a moment late.
pub fn to_reactor(pool: &Pool) -> Res<()> {
    match pool.home() {
        // That loop does not get it back.
        Home::Lent(_) => drop(pool.move_to(Home::Reactor)),
        Home::None | Home::Loop(_) if !pool.has_ended() => {
            leave(pool);
            reactor::add(pool, epoll_of(pool)?)?;
            drop(pool.move_to(Home::Reactor));
        }
        _ => {}
    }
    Ok(())
}

/// Leaves the home, whichever it is.
pub fn leave(pool: &Pool) {
    let home = pool.move_to(Home::None);
    let Some(fd) = pool.epoll_fd() else { return };
    match home {
        Home::None => {}
        Home::Reactor | Home::Lent(_) => reactor::remove(pool, fd),
        Home::Loop(loop_) => {
            if let Some(loop_) = loop_.borrow().cast::<LoopObject>()
                && loop_.engine.sources.is_owner(fd, pool.object())
            {
                let _ = loop_.engine.watch(fd, Interest::empty());
                drop(loop_.engine.sources.set_owner(fd, None));
            }
        }
    }
}

/// A loop stops running, or closes: pools with tasks under way go to the reactor, others have no home any more.
pub fn loop_stops(loop_: Ref) {
    for pool in live_pools(loop_.py()) {
        if !pool.is_at(loop_) {
            continue;
        }
        if pool.outstanding() == 0 && !pool.has(Flag::Stays) {
            leave(&pool);
        } else if to_reactor(&pool).is_err() {
            error::unraisable(pool.object());
        }
    }
}

/// In a child of fork: the pools, their workers and the reactor are the parent's. Closes what was inherited of them, or the
/// workers would not see their parent end.
pub fn forked(py: Py) {
    patience::forked(py);
    reactor::forked(py);
    live_pools(py).iter().for_each(|pool| pool.disown());
}
