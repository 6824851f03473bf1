//! What comes from the workers: results, deaths, the timer. Served by whoever is the pool's home.

use std::os::fd::AsRawFd;

use aioxide_core::frames::{BODY_IN_SLAB, Decoder, Frame, Kind, RETIRES, SHARED};
use aioxide_sys::channel;
use aioxide_sys::epoll::Events;

use super::ends::{finish, task_gone};
use super::interrupts::Whole;
use super::pool::Pool;
use super::worker::{Event, HangUp, Worker, event_of};
use super::{live, patience, schedule};
use crate::ffi::class::Native;
use crate::ffi::{First, Raised, Res, error, none};
use crate::wire::slab::Slab;
use crate::wire::{buffer, pickle};

/// Bytes that are asked for at a time.
const ROOM: usize = 1 << 16;

/// Serves everything that is there. `Err` is an exception that must leave the loop.
pub fn pump(pool: &Pool) -> Res<()> {
    // Whatever code of users does.
    let _alive = pool.hold();
    if !pool.begin_serving() {
        return Ok(());
    }
    let mut raised = First::default();
    raised.note(pump_all(pool));
    pool.end_serving();
    raised.note(schedule::dispatch(pool));
    raised.note(schedule::steal(pool));
    live::forget_gone(pool.py());
    patience::served(pool);
    raised.raise()
}

fn pump_all(pool: &Pool) -> Res<()> {
    let published = pool.with(|state| {
        let news = state.workers().iter().filter(|worker| worker.has_news());
        news.map(Worker::key).collect::<Vec<_>>()
    });
    for key in &published {
        receive(pool, *key)?;
    }
    if pool.skips_descriptors(!published.is_empty()) {
        return Ok(());
    }
    pump_descriptors(pool)
}

fn pump_descriptors(pool: &Pool) -> Res<()> {
    let Some(epoll) = pool.with(|state| state.epoll()) else { return Ok(()) };
    let mut events = Events::default();
    if epoll.wait(&mut events, Some(0.0)).is_err() {
        return Ok(());
    }
    let mut dead = Vec::new();
    for (data, flags) in events.iter() {
        match event_of(data) {
            (key, Event::Socket) => {
                if flags.contains(aioxide_sys::epoll::Interest::OUT) {
                    pool.with(|state| state.flush(key));
                }
                receive(pool, key)?;
            }
            (key, Event::Death) => dead.push(key),
            (_, Event::Timer) => {
                if let Some(timer) = pool.with(|state| state.timer()) {
                    timer.clear();
                }
                pool.manager().on_timer()?;
            }
        }
    }
    for key in dead {
        pool.manager().on_death(key)?;
    }
    Ok(())
}

/// Receives from one worker until its socket is empty or something more urgent may have come.
pub fn receive(pool: &Pool, key: u32) -> Res<()> {
    let Some((mut decoder, sock)) = pool.with(|state| state.begin_receiving(key)) else { return Ok(()) };
    let mut passed = Vec::new();
    let result = loop {
        let room = decoder.room(ROOM);
        let size = room.len();
        let count = match channel::recv(sock.as_raw_fd(), room, &mut passed, false) {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => break Ok(()),
            Ok(count @ 1..) => count,
            // The end of the stream, or an error that ends it: the pidfd says the rest.
            Ok(0) | Err(_) => break hang_up(pool, key),
        };
        decoder.filled(count);
        pool.with(|state| {
            if let Some(worker) = state.worker(key) {
                worker.note_passed(&mut passed);
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
    pool.with(|state| state.end_receiving(key, decoder));
    result
}

/// A socket whose other end is gone would be ready for ever: only the process's end is waited for now.
fn hang_up(pool: &Pool, key: u32) -> Res<()> {
    let news = pool.with(|state| {
        let epoll = state.epoll();
        state.worker(key)?.note_hang_up(epoll.as_deref())
    });
    match news {
        Some(HangUp::Surprise) => pool.manager().on_hang_up(key),
        Some(HangUp::Death) => pool.manager().on_death(key),
        Some(HangUp::Expected) | None => Ok(()),
    }
}

/// Hands out all frames that are there: behind an exception that must leave the loop too, for nobody would look at them again
/// before the worker sends more.
fn take_frames(pool: &Pool, key: u32, decoder: &mut Decoder) -> Res<()> {
    let mut raised = First::default();
    loop {
        match decoder.take() {
            Ok(Some(frame)) => drop(raised.note(take_frame(pool, key, decoder, &frame))),
            Ok(None) => break,
            Err(_) => {
                pool.with(|state| state.worker(key).is_some_and(|worker| worker.signal(9)));
                break;
            }
        }
    }
    raised.raise()
}

fn take_frame(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame) -> Res<()> {
    let header = frame.header;
    match header.kind {
        Kind::Result | Kind::Failure | Kind::Unreadable => take_result(pool, key, decoder, frame),
        Kind::Slab => {
            let learnt = pool.with(|state| {
                let worker = state.worker(key)?;
                let fd = worker.next_passed()?;
                let slab = Slab::open(header.id, fd, header.slab_size, header.flags & SHARED != 0).ok()?;
                worker.learn(slab)
            });
            drop(learnt);
            Ok(())
        }
        Kind::Forget => {
            drop(pool.with(|state| state.worker(key).and_then(|worker| worker.unlearn(header.id))));
            Ok(())
        }
        Kind::Ready => {
            pool.with(|state| {
                if let Some(worker) = state.worker(key) {
                    worker.note_ready();
                }
            });
            Ok(())
        }
        Kind::InitFailed => {
            let text = String::from_utf8_lossy(decoder.body(frame)).into_owned();
            pool.manager().on_initializer_failed(key, &text)
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
            worker.retire();
        }
        Some((task, worker.leaves()))
    });
    let Some((task, leaves)) = found else { return Ok(()) };
    pool.note_answer(task.submitted, header.nanos);
    let mut interrupt = First::default();
    let outcome = read_outcome(pool, key, decoder, frame, &mut interrupt);
    let (target, call) = task.into_parts();
    drop(call);
    finish(pool, target, outcome);
    task_gone(pool);
    pool.with(|state| state.arena().map_pages());
    if leaves {
        interrupt.note(pool.manager().on_retire(key));
    }
    interrupt.raise()
}

/// What the function returned (`Ok`), or the exception that it raised, or that says why its result cannot be read (set).
/// `interrupt` is one of this thread, that came meanwhile.
fn read_outcome(pool: &Pool, key: u32, decoder: &Decoder, frame: &Frame, interrupt: &mut First) -> Res {
    match load(pool, key, decoder, frame) {
        Ok(value) if frame.header.kind == Kind::Result => Ok(value),
        Ok(told) => {
            let unreadable = frame.header.kind == Kind::Unreadable;
            raise_from(pool.manager().rebuild(&told, unreadable), interrupt)
        }
        Err(Raised) => {
            let interrupted = error::is_interrupted();
            let why = error::take().unwrap_or_else(none);
            if interrupted {
                interrupt.keep(Some(why.clone()));
            }
            raise_from(pool.manager().unreadable(&why), interrupt)
        }
    }
}

/// Raises the exception that the manager has made.
fn raise_from(made: Res<Whole>, interrupt: &mut First) -> Res {
    let (exception, raised) = made?;
    interrupt.keep(raised.exception());
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
        let mut known = state.worker(key).map(|worker| worker.known().clone()).unwrap_or_default();
        let lent = places.iter().filter_map(|place| state.arena().lent(place.slab, key));
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
