//! The pool's memory in the parent: tasks that wait, workers and what each of them holds. All under the GIL, in closures
//! that call no Python code.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aioxide_core::frames::Decoder;
use aioxide_sys::epoll::{Epoll, Interest};
use aioxide_sys::process::{self, Timer};
use pyo3_ffi::*;

use super::seen::Seen;
use super::task::{Call, Task, TaskBox};
use super::worker::Worker;
use crate::calls::counters::Counters;
use crate::ffi::{Raw, Slot};
use crate::wire::arena::Arena;

/// Whose turn of waiting serves a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Nobody's: nothing is under way.
    None,
    /// A loop's; which one, `Pool::home_loop` says.
    Loop,
    /// The reactor thread's.
    Reactor,
}

#[derive(Default)]
pub struct State {
    pub epoll: Option<Rc<Epoll>>,
    pub timer: Option<Rc<Timer>>,
    pub pending: VecDeque<TaskBox>,
    pub workers: Vec<Worker>,
    /// The memory that workers without a part of a frame share for what comes next.
    pub spare: Decoder,
    /// Tasks that were with a worker when it died.
    pub lost: Vec<TaskBox>,
    pub arena: Arena,
}

impl State {
    pub fn worker(&mut self, key: u32) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.key == key)
    }

    /// The task of that number among those that wait.
    pub fn waiting(&mut self, id: u64) -> Option<&mut Task> {
        self.pending.iter_mut().find(|task| task.id == id).map(|task| &mut **task)
    }

    /// Has each worker unmap the shared slabs that have gone here.
    pub fn forget_gone(&mut self) {
        let listens = |worker: &Worker| worker.pid != 0 && !worker.exit_sent && !worker.hung_up;
        let tell = |worker: &mut Worker| (listens(worker) && worker.forget_shared()).then_some(worker.key);
        for key in self.workers.iter_mut().filter_map(tell).collect::<Vec<_>>() {
            self.flush(key);
        }
    }

    /// Sends what a worker has to get, and sees to it that the rest follows.
    pub fn flush(&mut self, key: u32) {
        let epoll = self.epoll.clone();
        let Some(worker) = self.worker(key) else { return };
        worker.out.flush(worker.sock.as_raw_fd());
        worker.page().sent.fetch_add(1, Ordering::Release);
        let wanted = !worker.out.is_empty();
        if wanted != worker.watching_out
            && let Some(epoll) = epoll
        {
            worker.watching_out = wanted;
            let interest = if wanted { Interest::IN | Interest::OUT } else { Interest::IN };
            let _ = epoll.modify(worker.sock.as_raw_fd(), interest, event_data(key, Event::Socket));
        }
    }
}

/// Which of a worker's descriptors an event is of; `Timer` is the pool's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Socket = 0,
    Death = 1,
    Timer = 2,
}

pub fn event_data(key: u32, event: Event) -> u64 {
    u64::from(key) << 2 | event as u64
}

pub fn event_of(data: u64) -> (u32, Event) {
    let event = match data & 3 {
        0 => Event::Socket,
        1 => Event::Death,
        _ => Event::Timer,
    };
    ((data >> 2) as u32, event)
}

/// The pool's part of a `_aioxide.ProcessPool` object.
pub struct Pool {
    /// The Python object that sees to what is rare: starting, dying, ending.
    pub manager: Slot,
    state: UnsafeCell<State>,
    pub home: Cell<Home>,
    pub home_loop: Slot,
    /// A look at the descriptors is queued in the home loop.
    pub queued: Cell<bool>,
    /// The thread that serves it at this moment; 0 for none.
    pub pumping: Cell<u64>,
    pub next_id: Cell<u64>,
    pub next_key: Cell<u32>,
    /// Tasks that are not finished.
    pub outstanding: Cell<usize>,
    /// `submit` must ask the manager first: it is shut down, broken, or so many tasks wait for a worker.
    pub closed: Cell<bool>,
    /// It has let go of everything, and nobody will serve it again.
    pub ended: Cell<bool>,
    pub max_pending: Cell<usize>,
    pub max_workers: Cell<usize>,
    /// What the standard pool's semaphore of idle workers counts: calls that have finished, less those that needed no new
    /// worker.
    pub tokens: Cell<usize>,
    /// Workers may be started when they are needed.
    pub on_demand: Cell<bool>,
    /// The manager wants to be told when nothing is under way any more.
    pub tell_idle: Cell<bool>,
    /// What is defined in `__main__` is sent by value: a worker cannot import it.
    pub by_value: Cell<bool>,
    /// It must be served though no task is under way: workers end, or are watched.
    pub stays: Cell<bool>,
    /// How long tasks take, smoothed, in nanoseconds; 0 while unknown.
    pub average: Cell<u64>,
    /// Times in nanoseconds; a call has waited from `submit` to its result, less the time that it ran.
    pub counters: Counters,
    /// Results and exceptions that workers have sent.
    pub answers: Cell<u64>,
    /// Pumps without a look at all descriptors.
    pub quick: Cell<u32>,
    /// Tasks are being handed to workers: pickling them may run code that comes back here.
    pub dispatching: Cell<bool>,
    /// What the watch sees of it, while a loop serves it.
    pub seen: Arc<Seen>,
    /// The reactor serves it only because its loop had no time.
    pub lent: Cell<bool>,
}

impl Pool {
    pub fn new() -> Pool {
        Pool {
            manager: Slot::empty(),
            state: UnsafeCell::default(),
            home: Cell::new(Home::None),
            home_loop: Slot::empty(),
            queued: Cell::new(false),
            pumping: Cell::new(0),
            next_id: Cell::new(1),
            next_key: Cell::new(1),
            outstanding: Cell::new(0),
            closed: Cell::new(false),
            ended: Cell::new(false),
            max_pending: Cell::new(usize::MAX),
            max_workers: Cell::new(1),
            tokens: Cell::new(0),
            on_demand: Cell::new(false),
            tell_idle: Cell::new(false),
            by_value: Cell::new(false),
            stays: Cell::new(false),
            average: Cell::new(0),
            counters: Counters::default(),
            answers: Cell::new(0),
            quick: Cell::new(0),
            dispatching: Cell::new(false),
            seen: Arc::default(),
            lent: Cell::new(false),
        }
    }

    /// Short access to the state. Nothing in `body` may call into Python or release a reference.
    #[inline(always)]
    pub fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        // SAFETY: under the GIL, and every `body` in this room is leaf code, so no second borrow can exist.
        body(unsafe { &mut *self.state.get() })
    }

    /// As many tasks wait for a worker as may.
    pub fn is_full(&self) -> bool {
        let limit = self.max_pending.get();
        limit != usize::MAX && self.with(|state| state.pending.len()) >= limit
    }

    /// How many tasks a worker is given ahead: two where they are long, so that it need not wait for the next; more where
    /// whoever serves the pool may come later than they take, a loop that has other things to do. All but what has begun can be
    /// taken back.
    pub fn depth(&self) -> usize {
        const AHEAD: u64 = 10_000_000;
        match self.average.get() {
            0 => 2,
            average => (AHEAD / average).clamp(2, 64) as usize,
        }
    }

    /// A task has ended: how long it ran counts for an eighth.
    pub fn learn(&self, submitted: u64, nanos: u64) {
        let since = aioxide_sys::clock::nanos().saturating_sub(submitted);
        self.counters.note_waited(since.saturating_sub(nanos));
        self.counters.note_ran(nanos);
        let average = self.average.get();
        let next = if average == 0 { nanos } else { average - average / 8 + nanos / 8 };
        self.average.set(next.max(1));
    }

    /// Takes a worker out. What it held stays with the value that is returned.
    pub fn remove_worker(&self, key: u32) -> Option<Worker> {
        self.with(|state| {
            let at = state.workers.iter().position(|worker| worker.key == key)?;
            let worker = state.workers.remove(at);
            if let Some(epoll) = &state.epoll {
                let _ = epoll.delete(worker.sock.as_raw_fd());
                if let Some(pidfd) = &worker.pidfd {
                    let _ = epoll.delete(pidfd.as_raw_fd());
                }
            }
            state.arena.worker_died(key);
            Some(worker)
        })
    }

    /// Kills a worker, by the process and not by its number.
    pub fn signal(&self, key: u32, number: i32) -> bool {
        self.with(|state| {
            let pidfd = state.worker(key).and_then(|worker| worker.pidfd.as_ref());
            pidfd.is_some_and(|pidfd| process::signal(pidfd, number).is_ok())
        })
    }

    /// Visits what the pool holds.
    ///
    /// # Safety
    /// Called from a `tp_traverse`.
    pub unsafe fn traverse(&self, visit: visitproc, arg: *mut std::ffi::c_void) -> std::ffi::c_int {
        // SAFETY: the visitor neither calls back into us nor changes references.
        unsafe {
            for slot in [&self.manager, &self.home_loop] {
                crate::ffi::guard::visit!(slot.get(), visit, arg);
            }
            let state = &*self.state.get();
            let held = state.workers.iter().flat_map(|worker| worker.slots.iter().flatten());
            for task in state.pending.iter().chain(&state.lost).chain(held) {
                crate::ffi::guard::visit!(task.target.future().as_ptr(), visit, arg);
                if let Call::Waits(call) = &task.call {
                    crate::ffi::guard::visit!(call.as_ptr(), visit, arg);
                }
            }
        }
        0
    }

    /// In a child of fork: closes the descriptors and unmaps what no object lies in, and leaves the objects to the garbage
    /// collector.
    pub fn disown(&self) {
        self.seen.disarm();
        self.seen.epoll.store(0, Ordering::Relaxed);
        self.with(|state| {
            state.epoll = None;
            state.timer = None;
            state.arena = Arena::default();
            for worker in &mut state.workers {
                worker.hang_up();
                worker.known.clear();
            }
        });
    }

    /// Lets go of all but the manager: no descriptor, no mapping, no task is left.
    pub fn clear(&self) {
        self.seen.disarm();
        self.seen.epoll.store(0, Ordering::Relaxed);
        let state = self.with(std::mem::take);
        let loop_ = self.home_loop.take();
        self.outstanding.set(0);
        drop(state);
        drop(loop_);
    }
}

/// The Python object around a pool.
#[repr(C)]
pub struct PoolObject {
    pub header: PyObject,
    pub pool: Pool,
}

/// # Safety
/// `raw` is a `_aioxide.ProcessPool`, alive for the time of use.
#[inline(always)]
pub unsafe fn of<'a>(raw: Raw) -> &'a Pool {
    // SAFETY: instances of the type are laid out as this struct; its fields are cells.
    unsafe { &(*raw.cast::<PoolObject>()).pool }
}
