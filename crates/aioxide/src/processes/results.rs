//! What comes from the workers: results, deaths, the timer. Served by whoever is the pool's home.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use aioxide_core::frames::{BODY_IN_SLAB, Decoder, Frame, Kind, RETIRES, SHARED};
use aioxide_sys::epoll::Events;
use aioxide_sys::socket;

use super::ends::{finish, task_gone};
use super::pool::{self, Event, Pool};
use super::task::Task;
use super::worker::Worker;
use super::{live, manager, patience, schedule};
use crate::ffi::object::{int, none, string};
use crate::ffi::{Obj, Raised, Raw, Res, error};
use crate::task::loop_state::thread_ident;
use crate::wire::slab::Slab;
use crate::wire::{buffer, pickle};

/// Bytes that are asked for at a time.
const ROOM: usize = 1 << 16;
/// After so many looks at memory only, the descriptors have their turn: a death must not wait for a quiet moment.
const QUICK: u32 = 16;

/// Serves everything that is there. `Err` is an exception that must leave the loop.
///
/// # Safety
/// `slf` is a pool object, alive for the call.
pub unsafe fn pump(slf: Raw) -> Res<()> {
    // SAFETY: a pool; the reference keeps it alive whatever user code does.
    let (_alive, pool) = unsafe { (Obj::new(slf), pool::of(slf)) };
    if pool.pumping.get() != 0 {
        return Ok(());
    }
    pool.pumping.set(thread_ident());
    let mut result = pump_all(pool);
    pool.pumping.set(0);
    for next in [schedule::dispatch, schedule::steal] {
        // What it calls must not find an exception set.
        let raised = if result.is_err() { error::take() } else { None };
        let done = next(pool);
        if raised.is_some() {
            error::restore(raised);
        }
        result = result.and(done);
    }
    live::forget_gone();
    patience::served(pool);
    result
}

fn pump_all(pool: &Pool) -> Res<()> {
    let quick = pool.quick.get();
    let published = pool.with(|state| {
        let news = |worker: &&Worker| worker.page().published.load(Ordering::Acquire) != worker.seen;
        state.workers.iter().filter(news).map(|worker| worker.key).collect::<Vec<_>>()
    });
    for key in &published {
        receive(pool, *key)?;
    }
    if !published.is_empty() && quick < QUICK {
        pool.quick.set(quick + 1);
        return Ok(());
    }
    pool.quick.set(0);
    pump_descriptors(pool)
}

fn pump_descriptors(pool: &Pool) -> Res<()> {
    let Some(epoll) = pool.with(|state| state.epoll.clone()) else { return Ok(()) };
    let mut events = Events::default();
    if epoll.wait(&mut events, Some(0.0)).is_err() {
        return Ok(());
    }
    let mut dead = Vec::new();
    for (data, flags) in events.iter() {
        match pool::event_of(data) {
            (key, Event::Socket) => {
                if flags.contains(aioxide_sys::epoll::Interest::OUT) {
                    pool.with(|state| state.flush(key));
                }
                receive(pool, key)?;
            }
            (key, Event::Death) => dead.push(key),
            (_, Event::Timer) => {
                if let Some(timer) = pool.with(|state| state.timer.clone()) {
                    timer.clear();
                }
                manager::tell(pool, c"on_timer", &[])?;
            }
        }
    }
    for key in dead {
        let key = int(key.into())?;
        manager::tell(pool, c"on_death", &[key.as_ptr()])?;
    }
    Ok(())
}

/// Receives from one worker until its socket is empty or something more urgent may have come.
pub fn receive(pool: &Pool, key: u32) -> Res<()> {
    let taken = pool.with(|state| {
        let worker = state.worker(key)?;
        worker.seen = worker.page().published.load(Ordering::Acquire);
        let (decoder, sock) = (std::mem::take(&mut worker.decoder), worker.sock.clone());
        let decoder = if decoder.has_room() { decoder } else { std::mem::take(&mut state.spare) };
        Some((decoder, sock))
    });
    let Some((mut decoder, sock)) = taken else { return Ok(()) };
    let mut passed = Vec::new();
    let result = loop {
        let room = decoder.room(ROOM);
        let size = room.len();
        let count = match socket::recv_with(sock.as_raw_fd(), room, &mut passed, false) {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => break Ok(()),
            Ok(count @ 1..) => count,
            // The end of the stream, or an error that ends it: the pidfd says the rest.
            Ok(0) | Err(_) => break hang_up(pool, key, &sock),
        };
        decoder.filled(count);
        pool.with(|state| {
            if let Some(worker) = state.worker(key) {
                worker.passed.append(&mut passed);
            }
        });
        if let Err(Raised) = take_frames(pool, key, &mut decoder) {
            break Err(Raised);
        }
        if count < size && passed.is_empty() && count < ROOM / 2 {
            break Ok(());
        }
    };
    decoder.shrink(1 << 20);
    pool.with(|state| {
        if decoder.is_empty() {
            state.spare = decoder;
        } else if let Some(worker) = state.worker(key) {
            worker.decoder = decoder;
        }
    });
    result
}

/// A socket whose other end is gone would be ready for ever: only the process's end is waited for now.
fn hang_up(pool: &Pool, key: u32, sock: &Rc<std::os::fd::OwnedFd>) -> Res<()> {
    let closed = pool.with(|state| {
        let epoll = state.epoll.clone();
        let worker = state.worker(key)?;
        if worker.hung_up {
            return None;
        }
        worker.hung_up = true;
        let _ = epoll?.delete(sock.as_raw_fd());
        Some(worker.inflight > 0 || !worker.closing)
    });
    if closed == Some(true) {
        let key = int(key.into())?;
        manager::tell(pool, c"on_hang_up", &[key.as_ptr()])?;
    }
    Ok(())
}

/// Hands out all frames that are there: behind an exception that must leave the loop too, for nobody would look at them again
/// before the worker sends more.
fn take_frames(pool: &Pool, key: u32, decoder: &mut Decoder) -> Res<()> {
    let mut raised = None;
    loop {
        match decoder.take() {
            Ok(Some(frame)) => {
                if take_frame(pool, key, decoder, &frame).is_err() {
                    let exception = error::take();
                    raised = raised.or(exception);
                }
            }
            Ok(None) => break,
            Err(_) => {
                pool.signal(key, 9);
                break;
            }
        }
    }
    if raised.is_none() {
        return Ok(());
    }
    error::restore(raised);
    Err(Raised)
}

fn take_frame(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame) -> Res<()> {
    let header = frame.header;
    match header.kind {
        Kind::Result | Kind::Failure | Kind::Unreadable => take_result(pool, key, decoder, frame),
        Kind::Slab => {
            let learnt = pool.with(|state| {
                let worker = state.worker(key)?;
                let fd = (!worker.passed.is_empty()).then(|| worker.passed.remove(0))?;
                let slab =
                    Slab::open(header.id, fd, header.slab_size as usize, header.flags & SHARED != 0).ok()?;
                worker.known.insert(header.id, slab)
            });
            drop(learnt);
            Ok(())
        }
        Kind::Forget => {
            drop(pool.with(|state| state.worker(key).and_then(|worker| worker.known.remove(&header.id))));
            Ok(())
        }
        Kind::Ready => {
            pool.with(|state| {
                if let Some(worker) = state.worker(key) {
                    worker.ready = true;
                }
            });
            Ok(())
        }
        Kind::InitFailed => {
            let text = String::from_utf8_lossy(decoder.body(frame)).into_owned();
            let (number, text) = (int(key.into())?, string(&text)?);
            manager::tell(pool, c"on_initializer_failed", &[number.as_ptr(), text.as_ptr()])
        }
        Kind::Task | Kind::Exit => Ok(()),
    }
}

fn take_result(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame) -> Res<()> {
    let header = frame.header;
    let found = pool.with(|state| {
        let worker = state.worker(key)?;
        let task = worker.finish(header.slot, header.id)?;
        if header.flags & RETIRES != 0 {
            worker.closing = true;
        }
        let leaves = worker.closing || worker.budget == 0 && worker.inflight == 0;
        Some((task, leaves && !worker.exit_sent))
    });
    let Some((task, leaves)) = found else { return Ok(()) };
    pool.learn(task.submitted, header.nanos);
    pool.answers.set(pool.answers.get() + 1);
    pool.tokens.set((pool.tokens.get() + 1).min(pool.max_workers.get()));
    let mut interrupt = None;
    let outcome = read_outcome(pool, key, decoder, frame, &mut interrupt);
    let Task { target, call, .. } = *task;
    drop(call);
    finish(pool, target, outcome);
    task_gone(pool);
    pool.with(|state| {
        if state.arena.unmapped {
            state.arena.map_pages();
        }
    });
    if leaves {
        let key = int(key.into())?;
        if manager::tell(pool, c"on_retire", &[key.as_ptr()]).is_err() {
            let raised = error::take();
            interrupt = interrupt.or(raised);
        }
    }
    if interrupt.is_none() {
        return Ok(());
    }
    error::restore(interrupt);
    Err(Raised)
}

/// What the function returned (`Ok`), or the exception that it raised, or that says why its result cannot be read (set).
/// `interrupt` is one of this thread, that came meanwhile.
fn read_outcome(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame, interrupt: &mut Option<Obj>) -> Res {
    match load(pool, key, decoder, frame) {
        Ok(value) if frame.header.kind == Kind::Result => Ok(value),
        Ok(told) => {
            let unreadable = crate::ffi::object::boolean(frame.header.kind == Kind::Unreadable);
            raise_from(pool, c"rebuild", &[told.as_ptr(), unreadable.as_ptr()], interrupt)
        }
        Err(Raised) => {
            let interrupted = error::is_interrupted();
            let why = error::take().unwrap_or_else(none);
            if interrupted {
                *interrupt = Some(why.clone());
            }
            raise_from(pool, c"unreadable", &[why.as_ptr()], interrupt)
        }
    }
}

/// Raises the exception that a method of the manager returns.
fn raise_from(
    pool: &Pool,
    method: &'static std::ffi::CStr,
    args: &[Raw],
    interrupt: &mut Option<Obj>,
) -> Res {
    let (exception, raised) = manager::ask(pool, method, args)?;
    if raised.is_some() {
        *interrupt = raised;
    }
    error::raise_value(exception);
    Err(Raised)
}

fn load(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame) -> Res {
    if frame.header.buffers == 0 {
        let body = decoder.body(frame);
        // SAFETY: the decoder is not written to before this returns.
        return unsafe { pickle::load_from(body.as_ptr(), body.len(), &[]) };
    }
    let places = decoder.places(frame);
    let known = pool.with(|state| {
        let mut known = state.worker(key).map(|worker| worker.known.clone()).unwrap_or_default();
        let lent = places.iter().filter_map(|place| state.arena.lent(place.slab, key));
        known.extend(lent.map(|slab| (slab.id, slab)));
        known
    });
    let in_slab = frame.header.flags & BODY_IN_SLAB != 0;
    let received = buffer::receive(&places, in_slab, &known, decoder.body(frame))?;
    // SAFETY: the lease keeps the slab; the decoder is not written to before this returns.
    unsafe {
        match &received.body {
            Some((_lease, start, size)) => pickle::load_from(*start, *size, &received.buffers),
            None => {
                let body = decoder.body(frame);
                pickle::load_from(body.as_ptr(), body.len(), &received.buffers)
            }
        }
    }
}
