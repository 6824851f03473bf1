//! The queue of a thread pool: calls that wait, workers that wait, and the numbers. Guarded by the GIL; only the word
//! that an idle worker waits on is looked at without it.
//!
//! Idle workers stand on a stack: the one that came last is called first, so that its caches are warm and the others can
//! retire. A call that comes in calls one worker, unless one is on its way already: that one, when it takes its call and
//! sees another, calls the next. So a burst wakes as many workers as it keeps busy, and not one more.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::call::{Call, Waiter};
use super::seat::Seat;
use super::work_item;
use crate::calls::counters::Counters;
use crate::calls::future::{PoolFuture, State};
use crate::calls::room::{self, Room};
use crate::engine::spinner::Spinner;
use crate::ffi::calls::call;
use crate::ffi::class::{Collected, Native, derives};
use crate::ffi::error::runtime_error;
use crate::ffi::guard::{visit, visit_opt};
use crate::ffi::names::imported;
use crate::ffi::{Global, Leaf, Obj, Py, Ref, Res, Slot, error};
use crate::task::finish::Outcome;

#[derive(Clone, Copy)]
pub struct Limits {
    /// Calls that may wait before `submit` blocks; 0 for any number.
    pub max_pending: usize,
    /// Seconds after which an idle worker ends; none for never.
    pub idle_timeout: Option<f64>,
    /// The longest spin in ticks; 0 is off.
    pub spin: u64,
}

pub struct Queue {
    calls: Leaf<VecDeque<Call>>,
    idle: Leaf<Vec<Arc<Seat>>>,
    /// All workers that have come to serve.
    seats: Leaf<Vec<Arc<Seat>>>,
    room: Room,
    limits: Limits,
    /// How often somebody is to be woken though there is no call: `put(None)`.
    nones: Cell<u32>,
    /// Threads that exist or are being started.
    threads: Cell<u32>,
    /// Threads of these that have not come to serve yet.
    starting: Cell<u32>,
    /// The thread that was counted last has not been asked to start yet: an interrupt now means that it never will.
    unborn: Cell<bool>,
    /// Workers that were called and have not taken their call yet.
    in_transit: Cell<u32>,
    shutdown: Cell<bool>,
    /// The pool was garbage-collected.
    orphaned: Cell<bool>,
    /// Why nothing runs any more, a str.
    broken: Slot,
    /// What makes the exception for that.
    broken_class: Slot,
    spinner: Spinner,
    counters: Counters,
    /// Grows with each fork that this queue has survived in the child.
    generation: Cell<u32>,
}

/// The interpreter is about to end: no pool takes calls any more, and workers end when nothing is left to run.
static ENDING: AtomicBool = AtomicBool::new(false);

pub fn end_all() {
    ENDING.store(true, Ordering::Relaxed);
}

impl Queue {
    pub fn new(max_workers: u32, limits: Limits) -> Queue {
        Queue {
            calls: Leaf::new(VecDeque::new()),
            idle: Leaf::new(Vec::new()),
            seats: Leaf::new(Vec::new()),
            room: Room::new(max_workers),
            limits,
            nones: Cell::new(0),
            threads: Cell::new(0),
            starting: Cell::new(0),
            unborn: Cell::new(false),
            in_transit: Cell::new(0),
            shutdown: Cell::new(false),
            orphaned: Cell::new(false),
            broken: Slot::empty(),
            broken_class: Slot::empty(),
            spinner: Spinner::new(),
            counters: Counters::default(),
            generation: Cell::new(0),
        }
    }

    /// All of it that a future may touch.
    pub fn room(&self) -> &Room {
        &self.room
    }

    #[inline(always)]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether idle workers of this queue spin.
    pub fn spinner(&self) -> &Spinner {
        &self.spinner
    }

    /// Times in ticks.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.calls.with(|calls| calls.len())
    }

    pub fn idle_len(&self) -> usize {
        self.idle.with(|idle| idle.len())
    }

    pub fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.with(|seats| seats.clone())
    }

    // ---------------------------------------------------------------------------------------------- coming in

    /// Raises what `submit` raises on a pool that takes no calls.
    #[inline(always)]
    pub fn check_open(&self) -> Res<()> {
        if self.shutdown.get() || ENDING.load(Ordering::Relaxed) || self.broken.is_set() {
            self.refuse_call()
        } else {
            Ok(())
        }
    }

    #[cold]
    fn refuse_call(&self) -> Res<()> {
        if self.broken.is_set() {
            error::raise_value(self.broken_error()?);
            return Err(error::Raised);
        }
        if self.shutdown.get() {
            return runtime_error(c"cannot schedule new futures after shutdown");
        }
        runtime_error(c"cannot schedule new futures after interpreter shutdown")
    }

    fn broken_error(&self) -> Res {
        call(&self.broken_class.or_none(), &[self.broken.or_none().borrow()])
    }

    /// Waits until there is room for one more call, where the pool has a limit and the thread may wait: a worker of
    /// this pool may not, as it would wait for itself.
    pub fn wait_for_room(&self) -> Res<()> {
        while self.is_full() && room::current() != std::ptr::from_ref(&self.room) {
            self.room.wait();
            let goes_on = error::check_signals().and_then(|()| self.check_open());
            if goes_on.is_err() {
                // There may be room, of which this thread alone was told.
                self.room.tell(false);
            }
            goes_on?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        if self.limits.max_pending == 0 || self.len() < self.limits.max_pending {
            return false;
        }
        self.drop_cancelled();
        self.len() >= self.limits.max_pending
    }

    /// Takes out what nobody waits for any more.
    fn drop_cancelled(&self) {
        let mut gone = Vec::new();
        self.calls.with(|calls| {
            let all = std::mem::take(calls);
            for call in all {
                if call.is_cancelled() { gone.push(call) } else { calls.push_back(call) }
            }
        });
        for call in gone {
            if let Waiter::Target(target) = &call.waiter
                && target.acknowledge().is_err()
            {
                error::unraisable(target.future().borrow());
            }
            self.count_dropped(call);
        }
    }

    #[inline(always)]
    pub fn push(&self, call: Call) {
        self.counters.note_submitted();
        self.calls.with(|calls| calls.push_back(call));
    }

    /// Whether one more thread is to be started: fewer workers are free than there are calls.
    #[inline(always)]
    pub fn wants_thread(&self) -> bool {
        self.threads.get() < self.room.max_workers()
            && self.len() > self.idle_len() + (self.in_transit.get() + self.starting.get()) as usize
    }

    /// Calls a worker that is idle, unless one is on its way.
    #[inline(always)]
    pub fn call_worker(&self) {
        if self.in_transit.get() == 0
            && let Some(seat) = self.idle.with(Vec::pop)
        {
            self.in_transit.set(1);
            seat.call();
        }
    }

    /// Takes a call out again: no thread could be started to run it.
    pub fn take_back(&self, future: Ref) -> Option<Call> {
        self.calls.with(|calls| {
            let at = calls.iter().rposition(|call| call.waiter.object().borrow() == future)?;
            calls.remove(at).inspect(Call::leave)
        })
    }

    /// Takes all calls out.
    fn take_all(&self) -> VecDeque<Call> {
        let calls = self.calls.with(std::mem::take);
        calls.iter().for_each(Call::leave);
        calls
    }

    // ---------------------------------------------------------------------------------------------- going out

    /// The next call, for a worker.
    #[inline(always)]
    pub fn next(&self) -> Option<Call> {
        let call = self.calls.with(VecDeque::pop_front)?;
        call.leave();
        if self.len() > 0 {
            self.call_worker();
        }
        self.room.tell(false);
        Some(call)
    }

    /// One who looks for a call finds none, but was to be woken.
    pub fn take_none(&self) -> bool {
        let nones = self.nones.get();
        self.nones.set(nones.saturating_sub(1));
        nones > 0
    }

    pub fn put_none(&self) {
        self.nones.set(self.nones.get().saturating_add(1));
        self.call_worker();
    }

    /// A call that was cancelled is dropped without having run.
    pub fn count_dropped(&self, call: Call) {
        self.counters.note_cancelled(1);
        drop(call);
    }

    /// Whether a worker that finds no call should end.
    pub fn is_over(&self) -> bool {
        self.shutdown.get() || self.orphaned.get() || self.broken.is_set() || ENDING.load(Ordering::Relaxed)
    }

    /// When the call that is next was queued, in ticks.
    pub fn next_queued(&self) -> Option<u64> {
        self.calls.with(|calls| calls.front().map(|call| call.queued))
    }

    // ------------------------------------------------------------------------------------------------ workers

    /// A thread is counted, which is about to be asked to start.
    pub fn begin_start(&self) {
        self.threads.set(self.threads.get() + 1);
        self.starting.set(self.starting.get() + 1);
        self.unborn.set(true);
    }

    /// It is asked now: from here on `uncount` has to be called if it does not come.
    pub fn note_asked(&self) {
        self.unborn.set(false);
    }

    /// What asks it has returned; if it was cut short before that, it does not come.
    pub fn end_start(&self, failed: bool) {
        if self.unborn.replace(false) && failed {
            self.uncount();
        }
    }

    /// A thread that was counted does not come.
    pub fn uncount(&self) {
        self.threads.set(self.threads.get().saturating_sub(1));
        self.starting.set(self.starting.get().saturating_sub(1));
    }

    pub fn has_threads(&self) -> bool {
        self.threads.get() > 0
    }

    /// A thread has come, and sits there; what is returned says of which generation it is.
    pub fn join(&self, seat: &Arc<Seat>) -> u32 {
        self.starting.set(self.starting.get().saturating_sub(1));
        self.seats.with(|seats| seats.push(Arc::clone(seat)));
        self.generation.get()
    }

    /// Whether workers of that generation are the parent's: a call has forked, and this is the child.
    pub fn has_forgotten(&self, generation: u32) -> bool {
        self.generation.get() != generation
    }

    pub fn leave(&self, seat: &Arc<Seat>) {
        let gone = self.seats.with(|seats| {
            let at = seats.iter().position(|other| Arc::ptr_eq(other, seat))?;
            Some(seats.swap_remove(at))
        });
        drop(gone);
        self.threads.set(self.threads.get().saturating_sub(1));
    }

    pub fn push_idle(&self, seat: Arc<Seat>) {
        self.idle.with(|idle| idle.push(seat));
    }

    /// The worker is idle no more, though nobody called it. False if somebody has.
    pub fn remove_idle(&self, seat: &Arc<Seat>) -> bool {
        let gone = self.idle.with(|idle| {
            let at = idle.iter().position(|other| Arc::ptr_eq(other, seat))?;
            Some(idle.remove(at))
        });
        gone.is_some()
    }

    /// A worker that was called has come.
    #[inline(always)]
    pub fn arrived(&self) {
        self.in_transit.set(self.in_transit.get().saturating_sub(1));
    }

    /// Calls all that are idle: to look whether they should end.
    pub fn call_all(&self) {
        let idle = self.idle.with(std::mem::take);
        self.in_transit.set(self.in_transit.get() + idle.len() as u32);
        for seat in idle {
            seat.call();
        }
        self.room.tell(true);
    }

    // ------------------------------------------------------------------------------------------------- ending

    pub fn is_shut_down(&self) -> bool {
        self.shutdown.get()
    }

    /// As its pool has it; workers look whether they should end.
    pub fn set_shut_down(&self, value: bool) {
        self.shutdown.set(value);
        self.call_all();
    }

    /// Why nothing runs any more, a str.
    pub fn why_broken(&self) -> Option<Obj> {
        self.broken.share()
    }

    /// No call is taken any more; what is queued runs still, unless `cancel` says otherwise.
    pub fn shut_down(&self, cancel: bool) {
        self.shutdown.set(true);
        if cancel {
            for call in self.take_all() {
                self.counters.note_cancelled(1);
                call.refuse(Outcome::Cancelled);
            }
        }
        self.call_all();
    }

    /// The pool is gone: idle workers end, the others when nothing is left to run.
    pub fn orphan(&self) {
        self.orphaned.set(true);
        self.call_all();
    }

    /// An initializer failed: all that waits fails with `class(reason)`, and so will each `submit`.
    pub fn break_down(&self, class: Obj, reason: Obj) {
        self.broken_class.set(class);
        self.broken.set(reason);
        for call in self.take_all() {
            self.counters.note_outcome(false);
            call.refuse(Outcome::of(self.broken_error().and_then(|exception| {
                error::raise_value(exception);
                Err(error::Raised)
            })));
        }
        self.call_all();
    }

    /// In a child of fork: none of the threads is there, and what they ran or would have run is the parent's. Futures
    /// of these calls are ended without a word to their callbacks, so that nobody waits for ever.
    pub fn after_fork(&self, py: Py) {
        let calls = self.take_all();
        let seats = self.seats.with(std::mem::take);
        let idle = self.idle.with(std::mem::take);
        for cell in [&self.threads, &self.starting, &self.in_transit] {
            cell.set(0);
        }
        self.room.after_fork();
        self.generation.set(self.generation.get() + 1);
        let waiting = calls.iter().filter_map(|call| {
            if let Waiter::Item(item) = &call.waiter {
                work_item::leave_behind(item);
            }
            call.waiter.pool_future().map(|future| future.object().to_obj())
        });
        let futures: Vec<Obj> = waiting.chain(seats.iter().filter_map(|seat| seat.left_behind(py))).collect();
        for future in futures {
            // SAFETY: a pool's own future.
            let future: &PoolFuture = unsafe { future.borrow().cast_unchecked() };
            if !future.is_done() {
                future.enter(State::Notified);
            }
        }
        // Its owner's stack, with the references on it, is lost; what it shares is not freed.
        std::mem::forget(seats);
        drop((calls, idle));
    }
}

/// Ticks since a reading of the counter.
#[inline(always)]
pub fn since(ticks: u64) -> u64 {
    clock::ticks().wrapping_sub(ticks)
}

/// What a thread that runs a loop must not do is wait: `submit` gives it a future whose call waits its turn instead.
pub fn may_wait() -> Res<bool> {
    Ok(call(imported().get_running_loop, &[])?.borrow().is_none())
}

/// An object that Python code holds.
#[repr(C)]
pub struct WorkQueue {
    header: PyObject,
    pub queue: Queue,
}

/// The type that `queue_type` makes.
pub(super) static TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above; its fields are cells.
unsafe impl Native for WorkQueue {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

// SAFETY: what a call and a queue hold is visited, but for the threads' seats, which hold nothing.
unsafe impl Collected for WorkQueue {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the visitor neither calls back into us nor changes references.
        unsafe {
            for call in self.queue.calls.visited() {
                visit!(call.function.as_ptr(), visitor, arg);
                visit_opt!(call.args, visitor, arg);
                visit!(call.waiter.object().as_ptr(), visitor, arg);
            }
            for slot in [&self.queue.broken, &self.queue.broken_class] {
                visit!(slot.get(), visitor, arg);
            }
        }
        0
    }

    fn clear(&self) {
        drop(self.queue.take_all());
        self.queue.broken.clear();
        self.queue.broken_class.clear();
    }
}

impl WorkQueue {
    /// A new object of a type of queues.
    ///
    /// # Safety
    /// `kind` is the type, or derived from it.
    pub unsafe fn make(kind: *mut PyTypeObject, queue: Queue) -> Res {
        // SAFETY: the body of a fresh object, which is filled before anybody sees it.
        unsafe {
            let made = Obj::steal(PyType_GenericAlloc(kind, 0))?;
            (&raw mut (*WorkQueue::place(made.borrow())).queue).write(queue);
            Ok(made)
        }
    }
}
