//! The future of a call in a pool: `concurrent.futures.Future` without a lock, until somebody asks for one.
//!
//! Why that is sound. The standard library guards each future by a `threading.Condition`. Here the GIL guards it:
//! native code looks at the state and changes it with no bytecode between, so to any Python code that is one step. A
//! condition is made when the attribute `_condition` is first read, and all of the standard library's own code that looks
//! at a future (`wait`, `as_completed`, a subclass, an inherited method) reads it before anything else, to hold it while
//! it looks. So:
//!
//! - No condition: nobody is within such code. Native code changes the state directly.
//! - A condition exists: somebody may hold it and rely on nothing changing. Native code steps aside and calls the
//!   inherited method, which takes it, looks again, tells `_waiters` and notifies.
//! - The condition is made while a native change goes on: impossible, a change has no bytecode in it. Two threads make
//!   one at the same time (making it runs Python code): the first to come back wins, and neither has held any yet.
//!
//! The races by name. *cancel() against the worker's start*: both are one step from PENDING; the second sees the first's
//! state (or, with a condition, both take it). *result() against completion*: the waiter sees PENDING and goes to sleep
//! on the word `done` in a futex, which does not sleep when the word has changed in between; every change to a state that
//! is final, inherited code's included (through the setter of `_state`), changes that word and then wakes the sleepers.
//! *add_done_callback() against completion*: one step as well; with a condition, the inherited code sets the state under
//! it and calls the callbacks afterwards, so a callback that is added before the state changed is in the list by then,
//! and one that is added later is called by `add_done_callback` itself.

use std::cell::Cell;
use std::ffi::CStr;

use aioxide_core::done_word::DoneWord;
use aioxide_core::parking::Parked;
use aioxide_sys::clock;
use pyo3_ffi::*;

use super::room::{self, Room};
use crate::engine::futex::Futex;
use crate::engine::spin;
use crate::engine::spinner::Spinner;
use crate::ffi::calls::{call, call_kw, tuple};
use crate::ffi::cells::Locked;
use crate::ffi::class::{Native, derives};
use crate::ffi::held::Held;
use crate::ffi::names::{imported, text};
use crate::ffi::object::{check, getattr, import_from, string, truth};
use crate::ffi::{First, Global, Obj, Raised, Ref, Res, Slot, builtin, error, gil, number};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    Pending,
    Running,
    Cancelled,
    /// Cancelled, and the pool knows.
    Notified,
    Finished,
}

impl State {
    pub fn is_final(self) -> bool {
        !matches!(self, State::Pending | State::Running)
    }
}

/// All zero behind the header is a pending future.
#[repr(C)]
pub struct PoolFuture {
    header: PyObject,
    state: Cell<State>,
    /// A worker process has the call, and may have begun with it (`processes::recall`).
    sent: Cell<bool>,
    /// What threads in `result()` sleep on.
    done: DoneWord<Futex>,
    pub(super) result: Slot,
    pub(super) exception: Slot,
    pub(super) condition: Slot,
    pub(super) waiters: Slot,
    pub(super) callbacks: Slot,
    /// That of the thread pool in whose queue the call stands; null when it does not.
    room: Cell<*const Room>,
    /// Workers of that very pool that wait for this call.
    blocked: Cell<u32>,
    /// For how many ticks a thread that waits for it may spin.
    spin: Cell<u64>,
}

/// The type that `future_type` makes.
pub(super) static TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above; its fields are cells and slots.
unsafe impl Native for PoolFuture {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

// SAFETY: as laid out above; a call in a pool's queue holds the future, so none ends whose `room` is set.
unsafe impl Held for PoolFuture {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.result, &self.exception, &self.condition, &self.waiters, &self.callbacks]
    }
}

/// What process pools do for a future whose call was sent to a worker (`processes::recall`).
pub struct Recall {
    /// Whether the worker has begun with it.
    pub has_begun: fn(&PoolFuture) -> bool,
    /// Takes it back; false if that comes too late.
    pub cancel: fn(&PoolFuture) -> Res<bool>,
}

pub static RECALL: Global<Recall> = Global::new();

#[cold]
fn has_begun(this: &PoolFuture) -> bool {
    // SAFETY: as in `cancel`.
    (unsafe { RECALL.get() }.has_begun)(this)
}

/// `aioxide.PoolFuture`: the native type and the standard one behind it.
static CLASS: Global<Obj> = Global::new();

pub fn set_class(class: Obj) {
    CLASS.set(class);
}

/// A pending future.
pub fn new() -> Res {
    if !CLASS.is_set() {
        return error::runtime_error(c"aioxide._pools.futures has not been imported");
    }
    // SAFETY: set; a zeroed body is a pending future.
    unsafe { Obj::steal(PyType_GenericAlloc(CLASS.get().as_ptr().cast(), 0)) }
}

impl PoolFuture {
    /// Whether native code may change the state itself: nobody can hold a lock that does not exist.
    #[inline(always)]
    fn is_free(&self) -> bool {
        !self.condition.is_set()
    }

    /// The state changes: sleepers learn of it.
    #[inline(always)]
    pub fn enter(&self, state: State) {
        self.state.set(state);
        if state != State::Pending && !self.room.get().is_null() {
            self.leave_queue();
        }
        if state.is_final() {
            self.done.finish();
        } else {
            // Somebody may have set it back by hand.
            self.done.reopen();
        }
    }

    pub fn set_sent(&self, sent: bool) {
        self.sent.set(sent);
    }

    /// The call stands in a queue.
    #[inline(always)]
    pub fn stand_in(&self, room: &Room, spin: u64) {
        self.room.set(room);
        self.spin.set(spin);
    }

    /// The call stands in its queue no more, or need not: if it was cancelled there, who waits for room finds some.
    #[inline(always)]
    pub fn leave_queue(&self) {
        let room = self.room.replace(std::ptr::null());
        let blocked = self.blocked.replace(0);
        let cancelled = self.state.get() == State::Cancelled;
        if !room.is_null() && (blocked > 0 || cancelled) {
            // SAFETY: a queue has each call that it lets go of leave it, so the call stands in it, and it lives.
            let room = unsafe { &*room };
            room.unblock(blocked);
            if cancelled {
                room.tell(false);
            }
        }
    }

    /// Waits for ever. A worker that waits for a call that stands in its own queue is counted until that call leaves
    /// the queue: when all workers are, nobody is left to run any of these calls, and the last of them is told.
    pub fn wait_forever(&self) -> Res<()> {
        let room = self.room.get();
        if room.is_null() || room != room::current() {
            return self.wait(None).map(drop);
        }
        // SAFETY: of the queue that this very thread serves.
        let room = unsafe { &*room };
        if !room.block() {
            return deadlock(room.max_workers());
        }
        self.blocked.set(self.blocked.get() + 1);
        let waited = self.wait(None);
        if !self.room.get().is_null() {
            // A signal handler has ended the wait; the call stands where it stood.
            room.unblock(1);
            self.blocked.set(self.blocked.get().saturating_sub(1));
        }
        waited.map(drop)
    }

    pub fn has_finished(&self) -> bool {
        self.state.get() == State::Finished
    }

    #[inline(always)]
    pub fn is_done(&self) -> bool {
        self.state.get().is_final()
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self.state.get(), State::Cancelled | State::Notified)
    }

    /// The state as others may see it: a worker process does not say when it begins with a call, so whoever asks looks.
    #[inline(always)]
    pub fn seen_state(&self) -> State {
        match self.state.get() {
            State::Pending if self.sent.get() && has_begun(self) => State::Running,
            state => state,
        }
    }

    /// The call starts. False where there is a condition: inherited code has to say so.
    pub fn announce_alone(&self) -> bool {
        if self.is_free() && self.state.get() == State::Pending {
            self.enter(State::Running);
        }
        self.is_free()
    }

    /// A worker process has begun with the call. Where there is a condition, somebody may hold it, and rely on nothing
    /// changing: `seen_state` tells as much.
    pub fn note_running(&self) {
        if self.is_free() && self.state.get() == State::Pending {
            self.enter(State::Running);
        }
    }

    /// Waits until it is done, for at most `timeout` seconds; false when the time is over.
    pub fn wait(&self, timeout: Option<f64>) -> Res<bool> {
        let deadline = timeout.map(|seconds| clock::monotonic() + seconds);
        let mut limit = if timeout == Some(0.0) { 0 } else { SPINNER.get(self.py()).limit(self.spin.get()) };
        loop {
            let outcome = self.wait_once(deadline, limit);
            limit = 0;
            if outcome != Parked::TimedOut {
                // As a lock of Python's: a signal handler that raises ends the wait.
                error::check_signals()?;
            }
            if self.is_done() {
                return Ok(true);
            }
            if outcome == Parked::TimedOut {
                return Ok(false);
            }
        }
    }

    /// One wait with the GIL released, which may end early.
    fn wait_once(&self, deadline: Option<f64>, limit: u64) -> Parked {
        // SAFETY: only the word is touched until the GIL is taken, and the caller has a reference to the future.
        let released = unsafe { gil::release() };
        let won = limit > 0 && spin::spin(limit, || self.done.is_done());
        let left = || deadline.map(|deadline| deadline - clock::monotonic());
        let outcome = if won { Parked::Look } else { self.done.sleep(left) };
        released.take(if won { limit } else { 0 });
        if limit > 0 {
            SPINNER.get(self.py()).spun(won);
        }
        outcome
    }
}

/// Whether it pays to spin in `result()`.
static SPINNER: Locked<Spinner> = Locked::new(Spinner::new());

// --------------------------------------------------------------------------------------------------- transitions

impl PoolFuture {
    /// A call of a thread pool took so many ticks: as `LoopCall::finish_after` for loops.
    pub fn note_run(&self, ran: u64) {
        SPINNER.get(self.py()).record(ran < self.spin.get());
    }

    /// The method of `concurrent.futures.Future`, which takes the condition.
    #[cold]
    fn inherited(&self, name: &CStr, args: &[Ref]) -> Res {
        let method = getattr(imported().pool_future, text(name)?)?;
        call(&method, &[&[self.object()], args].concat())
    }

    /// The call starts: false if it was cancelled.
    pub fn set_running(&self) -> Res<bool> {
        match self.state.get() {
            State::Pending if self.is_free() => {
                self.enter(State::Running);
                Ok(true)
            }
            State::Cancelled if self.is_free() => {
                self.enter(State::Notified);
                Ok(false)
            }
            _ => truth(&self.inherited(c"set_running_or_notify_cancel", &[])?),
        }
    }

    /// Tells a future that was cancelled that its pool knows: who waits for it in `concurrent.futures.wait` is told no
    /// sooner.
    pub fn acknowledge_cancelled(&self) -> Res<()> {
        if self.state.get() == State::Cancelled {
            self.set_running()?;
        }
        Ok(())
    }

    /// Finishes with a result, and calls the callbacks.
    pub fn set_result(&self, result: Obj) -> Res<()> {
        if self.is_done() || !self.is_free() {
            return self.inherited(c"set_result", &[result.borrow()]).map(drop);
        }
        self.result.replace(Some(result));
        self.enter(State::Finished);
        self.invoke_callbacks()
    }

    /// Finishes with an exception, and calls the callbacks.
    pub fn set_exception(&self, exception: Obj) -> Res<()> {
        if self.is_done() || !self.is_free() {
            return self.inherited(c"set_exception", &[exception.borrow()]).map(drop);
        }
        self.exception.replace(Some(exception).filter(|exception| !exception.borrow().is_none()));
        self.enter(State::Finished);
        self.invoke_callbacks()
    }

    /// Cancels it if it does not run yet; false if it does, or is finished.
    pub fn cancel(&self) -> Res<bool> {
        match self.state.get() {
            State::Running | State::Finished => Ok(false),
            State::Cancelled | State::Notified => Ok(true),
            // SAFETY: set when the type of process pools was made, of which those are that `sent` is set for.
            State::Pending if self.sent.get() => (unsafe { RECALL.get() }.cancel)(self),
            State::Pending if !self.is_free() => truth(&self.inherited(c"cancel", &[])?),
            State::Pending => {
                self.enter(State::Cancelled);
                self.invoke_callbacks()?;
                Ok(true)
            }
        }
    }

    /// The result, or what it raises. The state is final.
    pub fn outcome(&self) -> Res {
        if !self.has_finished() {
            return cancelled();
        }
        match self.exception.share() {
            None => Ok(self.result.or_none()),
            Some(exception) => {
                error::raise_value(exception);
                Err(Raised)
            }
        }
    }
}

#[cold]
fn deadlock(count: u32) -> Res<()> {
    let workers = if count == 1 { "the only worker".into() } else { format!("all {count} workers") };
    let text = format!(
        "deadlock: {workers} of a ThreadPoolExecutor would wait for calls that are queued in the same pool, and no \
         thread would be left to run them. Give the pool more workers (max_workers), use another pool for the inner \
         calls, or call the function itself"
    );
    error::raise_value(call(builtin::runtime_error(), &[string(&text)?.borrow()])?);
    Err(Raised)
}

#[cold]
pub fn cancelled<T>() -> Res<T> {
    error::raise_value(call(imported().pool_cancelled_error, &[])?);
    Err(Raised)
}

// ----------------------------------------------------------------------------------------------------- callbacks

/// The list behind a slot, made when it is first needed.
pub fn list_in(slot: &Slot) -> Res {
    if let Some(list) = slot.share() {
        return Ok(list);
    }
    // SAFETY: plain constructor.
    let list = unsafe { Obj::steal(PyList_New(0)) }?;
    slot.set(list.clone());
    Ok(list)
}

impl PoolFuture {
    /// Has `callback` called with the future when it is done: now, if it is.
    pub fn add_done_callback(&self, callback: Ref) -> Res<()> {
        if self.is_done() {
            return self.call_back(callback);
        }
        let list = list_in(&self.callbacks)?;
        // SAFETY: the slot holds nothing but lists.
        check(unsafe { PyList_Append(list.as_ptr(), callback.as_ptr()) })
    }

    /// Calls the callbacks in order, those included that are added meanwhile. What one of them lets through (Ctrl-C, for
    /// that is no `Exception`) does not keep the others from being called: nobody would do it later.
    #[inline(always)]
    pub fn invoke_callbacks(&self) -> Res<()> {
        let Some(list) = self.callbacks.share() else { return Ok(()) };
        let (mut at, mut raised) = (0, First::default());
        // SAFETY: a list, whose length is looked at before each item, as a callback may change it.
        while at < unsafe { PyList_Size(list.as_ptr()) } {
            // SAFETY: just looked.
            let callback = unsafe { Ref::new(PyList_GetItem(list.as_ptr(), at)) }.to_obj();
            raised.note(self.call_back(callback.borrow()));
            at += 1;
        }
        raised.raise()
    }

    /// Calls one; an exception is logged as the standard library logs it, unless it is none of `Exception`'s.
    fn call_back(&self, callback: Ref) -> Res<()> {
        let Err(Raised) = call(callback, &[self.object()]) else { return Ok(()) };
        if !error::matches(builtin::exception()) {
            return Err(Raised);
        }
        let Some(exception) = error::take() else { return Ok(()) };
        let logger = import_from(c"concurrent.futures._base", c"LOGGER")?;
        let message = string("exception calling callback for %r")?;
        let keywords = tuple(&[text(c"exc_info")?])?;
        let args = [message.borrow(), self.object(), exception.borrow()];
        call_kw(&getattr(&logger, text(c"error")?)?, &args, Some(keywords.borrow())).map(drop)
    }

    /// The condition, made when it is first asked for.
    pub fn condition(&self) -> Res {
        if let Some(condition) = self.condition.share() {
            return Ok(condition);
        }
        let made = call(imported().condition, &[])?;
        if !self.condition.is_set() {
            self.condition.replace(Some(made));
        }
        Ok(self.condition.or_none())
    }
}

/// The seconds of a `timeout`, where native code can wait for them: `Some(None)` for ever. What is odd (a type of the
/// user's, a number beyond the clock) is left to the inherited code and its errors.
pub fn plain_timeout(value: Option<Ref>) -> Option<Option<f64>> {
    /// Thirty years, far below what CPython's clock can hold.
    const LONGEST: f64 = 1e9;
    let Some(value) = value.filter(|value| !value.is_none()) else { return Some(None) };
    // SAFETY: looks at the type of a live object.
    if !number::is_float(value) && unsafe { PyLong_CheckExact(value.as_ptr()) } == 0 {
        return None;
    }
    let Ok(seconds) = number::as_f64(value) else {
        error::clear();
        return None;
    };
    (seconds < LONGEST).then(|| Some(seconds.max(0.0)))
}
