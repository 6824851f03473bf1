//! Futures: the state and its transitions. Who is told of them is in `waiters`, the Python type in `future_type`.

use std::cell::Cell;
use std::ops::Deref;

use pyo3_ffi::*;

use super::classes;
use super::loop_state::{LoopHead, LoopState};
use super::marks::{Mark, Marks};
use crate::ffi::calls::{call, call_method};
use crate::ffi::class::{Head, Native};
use crate::ffi::compat::layout;
use crate::ffi::error::{self, raise, raise_value, type_error, type_name};
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{getattr, getattr_opt, truth};
use crate::ffi::py::Object;
use crate::ffi::{Global, Leaf, Obj, Raised, Raw, Ref, Res, Slot, builtin, room};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    Pending,
    Cancelled,
    /// Finished with a result.
    Returned,
    /// Finished with an exception.
    Raised,
}

/// Somebody to tell when the future is done: a callback with its context, or a task that waits (no context).
#[derive(Clone)]
pub struct Waiter {
    pub callback: Obj,
    pub context: Option<Obj>,
}

/// A future is done, and has its waiters still: `waiters::wake` takes them out and tells them.
#[must_use = "whoever waits for the future has not been told"]
pub struct Woken<'a>(pub &'a Future);

/// Our fields, behind those of `_asyncio.Future` or `Task`. A word here is a word in each future that somebody waits for: what
/// is a bit is kept as one, and what can be worked out is not kept.
#[repr(C)]
pub struct Future {
    /// Null in an object that was not initialised.
    pub owner: Slot,
    /// The result, the exception, or the `CancelledError` that a cancelled task ended with.
    outcome: Slot,
    first: Slot,
    first_context: Slot,
    rare: Leaf<Option<Box<Rare>>>,
    state: Cell<State>,
    /// `_asyncio_future_blocking`: it is on its way from an iterator to the task that runs.
    pub blocking: Cell<bool>,
    pub log_traceback: Cell<bool>,
    pub marks: Marks,
    /// A task's own: how often it was cancelled. Here, where there is room.
    pub cancels: Cell<i32>,
}

/// The higher floor's: takes back what is under way for a future that was cancelled.
pub static CALLED_OFF: Global<fn(Raw)> = Global::new();

/// What few futures have.
#[derive(Default)]
struct Rare {
    /// Waiters behind the first.
    more: Vec<Waiter>,
    cancel_message: Option<Obj>,
    /// The exception's traceback as it was set.
    traceback: Option<Obj>,
    source_traceback: Option<Obj>,
}

/// A future or task of ours, whatever its class: a `Future` stands where the fields of `_asyncio`'s end.
#[repr(transparent)]
pub struct FutureHead(Head);

// SAFETY: it is the header of an object.
unsafe impl Native for FutureHead {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        classes::are_ours(kind)
    }
}

impl Deref for FutureHead {
    type Target = Future;

    #[inline(always)]
    fn deref(&self) -> &Future {
        let kind = self.object().type_of();
        let at = if kind == classes::future() {
            layout().future_body
        } else if kind == classes::task() {
            layout().task_body
        } else {
            body_in_subclass(self)
        };
        // SAFETY: ours begin with the base's fields, and the body of each class stands where `layout` found that those end.
        unsafe { &*self.object().as_ptr().cast::<u8>().add(at).cast::<Future>() }
    }
}

/// The body of a future or task.
///
/// # Safety
/// `object` is an instance of our Future or Task, alive for `'a`.
#[inline(always)]
pub unsafe fn of<'a>(object: impl Object) -> &'a Future {
    // SAFETY: as the caller says.
    unsafe { Ref::new(object.raw()).cast_unchecked::<FutureHead>() }
}

/// The body of a future that is no task, whatever its class.
///
/// # Safety
/// `object` is an instance of our Future and not of our Task.
#[inline(always)]
pub unsafe fn of_plain(object: Ref<'_>) -> &Future {
    // SAFETY: as in `FutureHead`, where the class is known to be made of ours.
    unsafe { &*object.as_ptr().cast::<u8>().add(layout().future_body).cast::<Future>() }
}

/// Where the body is in instances of a subclass. A class lies in memory as its `tp_base` does, whatever its other bases,
/// and that chain leads to the one of our types that it was made of.
#[inline(never)]
fn body_in_subclass(this: &FutureHead) -> usize {
    let mut kind = this.object().type_of();
    // SAFETY: the instance keeps its class alive, and a class its bases.
    unsafe {
        while !kind.is_null() && kind != classes::task() {
            if kind == classes::future() {
                return layout().future_body;
            }
            kind = (*kind).tp_base;
        }
    }
    layout().task_body
}

impl Future {
    #[inline(always)]
    pub fn state(&self) -> State {
        self.state.get()
    }

    #[inline(always)]
    pub fn is_pending(&self) -> bool {
        self.state.get() == State::Pending
    }

    /// The loop's state if the loop is ours.
    #[inline(always)]
    pub fn native(&self) -> Option<&LoopState> {
        // SAFETY: the mark says that `owner` is a loop of ours; it keeps the loop alive, whose part the state is.
        let head = || unsafe { Ref::new(self.owner.get()).cast_unchecked::<LoopHead>() };
        self.marks.has(Mark::Native).then(|| &head().state)
    }

    /// Binds a fresh body to a loop of ours.
    #[inline(always)]
    pub fn bind(&self, state: &LoopState) {
        self.owner.replace(Some(state.object().to_obj()));
        self.marks.only(&[Mark::Native]);
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
    }

    /// Binds a body that may have been in use to any loop, as `__init__` does.
    pub fn init(&self, slf: Ref, owner: Ref) -> Res<()> {
        if self.owner.is_set() && layout().habits.init_once {
            let text = c"%S object is already initialized";
            return error::raise_with(builtin::runtime_error(), text, &type_name(slf)?, None);
        }
        self.release();
        self.owner.set(owner.to_obj());
        self.marks.put(Mark::Native, owner.cast::<LoopHead>().is_some());
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        let debug = match self.native() {
            Some(state) if state.is_plain() => false,
            _ => truth(&call_method(interned().get_debug, &[owner])?)?,
        };
        if debug {
            self.record_source()?;
        }
        Ok(())
    }

    /// Where the future was made, for debug mode.
    pub fn record_source(&self) -> Res<()> {
        let frames = call(imported().extract_stack, &[])?;
        drop(self.with_rare(|rare| rare.source_traceback.replace(frames)));
        Ok(())
    }

    /// Leaf code on what few futures have, which this one gets if it had none.
    fn with_rare<T>(&self, body: impl FnOnce(&mut Rare) -> T) -> T {
        self.rare.with(|rare| body(rare.get_or_insert_default()))
    }

    /// The same, if it has any of that.
    #[inline(always)]
    fn look_at_rare<T>(&self, body: impl FnOnce(&Rare) -> T) -> Option<T> {
        self.rare.with(|rare| rare.as_deref().map(body))
    }

    #[inline(always)]
    fn has_rare(&self) -> bool {
        self.look_at_rare(|_| ()).is_some()
    }

    pub fn cancel_message(&self) -> Option<Obj> {
        self.look_at_rare(|rare| rare.cancel_message.clone()).flatten()
    }

    pub fn set_cancel_message(&self, message: Option<Ref>) {
        let message = message.filter(|message| !message.is_none()).map(Ref::to_obj);
        if message.is_some() || self.has_rare() {
            drop(self.with_rare(|rare| std::mem::replace(&mut rare.cancel_message, message)));
        }
    }

    pub fn source_traceback(&self) -> Option<Obj> {
        self.look_at_rare(|rare| rare.source_traceback.clone()).flatten()
    }

    pub fn exception_traceback(&self) -> Option<Obj> {
        self.look_at_rare(|rare| rare.traceback.clone()).flatten()
    }

    /// The value or exception, without a look at the state.
    pub fn outcome(&self) -> Option<Obj> {
        self.outcome.share()
    }

    /// Raises where the object was not initialised: a subclass's `__init__` need not call ours.
    #[inline(always)]
    pub fn check_alive(&self) -> Res<()> {
        if self.owner.is_set() { Ok(()) } else { self.not_alive() }
    }

    #[cold]
    fn not_alive(&self) -> Res<()> {
        error::runtime_error(c"Future object is not initialized.")
    }

    #[inline(always)]
    fn check_pending(&self) -> Res<()> {
        if self.is_pending() { Ok(()) } else { raise(imported().invalid_state_error, c"invalid state") }
    }

    // --------------------------------------------------------------------------------------------- transitions

    /// Finishes with a result.
    #[inline(always)]
    pub fn set_result(&self, result: Obj) -> Res<Woken<'_>> {
        self.check_pending()?;
        self.outcome.replace(Some(result));
        self.state.set(State::Returned);
        Ok(Woken(self))
    }

    /// Finishes with an exception instance or class, checked as `Future.set_exception` checks it.
    pub fn set_exception(&self, given: Ref) -> Res<Woken<'_>> {
        self.check_pending()?;
        let exception = instance_of(given)?;
        // Making the instance ran user code.
        self.check_pending()?;
        Ok(self.finish_exception(exception))
    }

    /// Finishes with an exception instance.
    pub fn finish_exception(&self, exception: Obj) -> Woken<'_> {
        // SAFETY: an exception instance.
        let traceback = unsafe { Obj::steal(PyException_GetTraceback(exception.as_ptr())) }.ok();
        if traceback.is_some() {
            drop(self.with_rare(|rare| std::mem::replace(&mut rare.traceback, traceback)));
        }
        self.outcome.replace(Some(exception));
        self.state.set(State::Raised);
        self.log_traceback.set(true);
        Woken(self)
    }

    /// Finishes as cancelled; nothing if it was done.
    pub fn set_cancelled(&self, message: Option<Ref>) -> Option<Woken<'_>> {
        self.log_traceback.set(false);
        if !self.is_pending() {
            return None;
        }
        self.state.set(State::Cancelled);
        self.set_cancel_message(message);
        Some(Woken(self))
    }

    /// Keeps the `CancelledError` that ended a task, so that whoever asks for the result gets that very one.
    pub fn keep_cancelled_error(&self, exception: Obj) {
        self.outcome.set(exception);
    }

    /// The `CancelledError` to raise: the kept one the first time, a new one after.
    pub fn make_cancelled_error(&self) -> Res {
        if self.state() != State::Returned
            && self.state() != State::Raised
            && let Some(kept) = self.outcome.take()
        {
            return Ok(kept);
        }
        match self.cancel_message() {
            None => call(imported().cancelled_error, &[]),
            Some(message) => call(imported().cancelled_error, &[message.borrow()]),
        }
    }

    /// The result; or raises the exception, `CancelledError`, or `InvalidStateError` if it is not done.
    #[inline(always)]
    pub fn result(&self) -> Res {
        match self.state() {
            State::Returned => Ok(self.outcome.or_none()),
            _ => self.no_result(),
        }
    }

    #[cold]
    fn no_result(&self) -> Res {
        match self.state() {
            State::Returned => Ok(self.outcome.or_none()),
            State::Pending => raise(imported().invalid_state_error, c"Result is not set."),
            State::Cancelled => {
                raise_value(self.make_cancelled_error()?);
                Err(Raised)
            }
            State::Raised => {
                self.log_traceback.set(false);
                let exception = self.outcome.or_none();
                if let Some(traceback) = self.exception_traceback() {
                    // SAFETY: an exception and a traceback.
                    unsafe { PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
                }
                raise_value(exception);
                Err(Raised)
            }
        }
    }

    /// The exception, or nothing for a result; raises as `result` does otherwise.
    pub fn exception(&self) -> Res<Option<Obj>> {
        match self.state() {
            State::Returned => Ok(None),
            State::Pending => raise(imported().invalid_state_error, c"Exception is not set."),
            State::Cancelled => {
                raise_value(self.make_cancelled_error()?);
                Err(Raised)
            }
            State::Raised => {
                self.log_traceback.set(false);
                Ok(self.outcome.share())
            }
        }
    }

    // ------------------------------------------------------------------------------------------------- waiters

    /// Queues a waiter of a future that is pending; hands it back where there is no memory for another.
    #[inline(always)]
    pub fn add_waiter(&self, waiter: Waiter) -> Result<(), Waiter> {
        // There can be others without a first: it was removed.
        if !self.first.is_set() && self.look_at_rare(|rare| rare.more.is_empty()).unwrap_or(true) {
            self.first.replace(Some(waiter.callback));
            self.first_context.replace(waiter.context);
            return Ok(());
        }
        self.rare.with(|rare| match room::or_boxed(rare).map(|rare| &mut rare.more) {
            Some(more) => room::push(more, waiter),
            None => Err(waiter),
        })
    }

    #[inline(always)]
    pub(super) fn take_first(&self) -> Option<Waiter> {
        self.first.take().map(|callback| Waiter { callback, context: self.first_context.take() })
    }

    /// Takes out the waiters behind the first.
    #[inline(always)]
    pub(super) fn take_more(&self) -> Vec<Waiter> {
        if self.has_rare() { self.with_more(std::mem::take) } else { Vec::new() }
    }

    /// Copies of all waiters.
    pub fn waiters(&self) -> Vec<Waiter> {
        self.first_waiter().into_iter().chain(self.with_more(|more| more.clone())).collect()
    }

    fn first_waiter(&self) -> Option<Waiter> {
        self.first.share().map(|callback| Waiter { callback, context: self.first_context.share() })
    }

    /// Removes the waiters that are meant, and counts them. Comparing runs user code, which may come back here, add or
    /// remove callbacks, or finish the future: the waiters stay in place while they are looked at, and what is counted then
    /// is what `_asyncio` counts (future_remove_done_callback in Modules/_asynciomodule.c).
    pub fn remove_waiters(&self, meant: impl Fn(&Waiter) -> Res<bool>) -> Res<isize> {
        let mut removed = 0;
        if let Some(first) = self.first_waiter()
            && meant(&first)?
        {
            drop(self.take_first());
            removed = 1;
        }
        let before = self.with_more(|more| more.len());
        let kept = match before {
            0 => return Ok(removed),
            1 => {
                // A single one is looked at alone: what its comparison adds is not compared, and goes with it.
                let Some(only) = self.with_more(|more| more.first().cloned()) else { return Ok(removed) };
                if !meant(&only)? {
                    return Ok(removed);
                }
                Vec::new()
            }
            _ => self.not_meant(meant)?,
        };
        let (left, there) = (kept.len(), self.with_more(|more| more.len()));
        if left == 0 || there == 0 {
            drop(self.with_more(std::mem::take));
            return Ok(removed + before as isize);
        }
        if left != there {
            drop(self.with_more(|more| std::mem::replace(more, kept)));
        }
        // Below 0 where comparisons have removed more themselves.
        Ok(removed + there as isize - left as isize)
    }

    fn not_meant(&self, meant: impl Fn(&Waiter) -> Res<bool>) -> Res<Vec<Waiter>> {
        let (mut kept, mut at) = (Vec::new(), 0);
        while let Some(waiter) = self.with_more(|more| more.get(at).cloned()) {
            if !meant(&waiter)? {
                kept.push(waiter);
            }
            at += 1;
        }
        Ok(kept)
    }

    /// Leaf code on the waiters behind the first.
    fn with_more<T>(&self, body: impl FnOnce(&mut Vec<Waiter>) -> T) -> T {
        self.rare.with(|rare| match rare {
            Some(rare) => body(&mut rare.more),
            None => body(&mut Vec::new()),
        })
    }

    // --------------------------------------------------------------------------------------- garbage collection

    /// Visits what our fields hold.
    ///
    /// # Safety
    /// Called from a `tp_traverse`.
    pub unsafe fn traverse(&self, visit: visitproc, arg: *mut std::ffi::c_void) -> std::ffi::c_int {
        // SAFETY: the collector changes no slot while it visits.
        unsafe {
            for slot in [&self.owner, &self.outcome, &self.first, &self.first_context] {
                crate::ffi::guard::visit!(slot.get(), visit, arg);
            }
            if let Some(rare) = self.rare.visited() {
                for waiter in rare.more.iter() {
                    crate::ffi::guard::visit!(waiter.callback.as_ptr(), visit, arg);
                    crate::ffi::guard::visit_opt!(waiter.context, visit, arg);
                }
                crate::ffi::guard::visit_opt!(rare.cancel_message, visit, arg);
                crate::ffi::guard::visit_opt!(rare.traceback, visit, arg);
                crate::ffi::guard::visit_opt!(rare.source_traceback, visit, arg);
            }
        }
        0
    }

    /// Releases everything but the loop: while that stands, no method needs to ask whether the object is whole.
    #[inline(always)]
    pub fn release(&self) {
        self.outcome.clear();
        if self.first.is_set() || self.look_at_rare(|rare| !rare.more.is_empty()) == Some(true) {
            drop((self.take_first(), self.take_more()));
        }
        drop(self.rare.with(Option::take));
    }

    /// Releases the loop too, at the end of the object's life.
    #[inline(always)]
    pub fn release_owner(&self) {
        self.marks.put(Mark::Native, false);
        self.owner.clear();
    }
}

/// What `set_exception` was given, as an instance that may be set.
fn instance_of(given: Ref) -> Res {
    // SAFETY: looks at the type of a live object.
    let is_class = unsafe { PyExceptionClass_Check(given.as_ptr()) } != 0;
    let exception = if is_class { call(given, &[])? } else { given.to_obj() };
    // SAFETY: as above.
    if unsafe { PyExceptionInstance_Check(exception.as_ptr()) } == 0 {
        return type_error(c"invalid exception object");
    }
    if !error::is_instance(&exception, builtin::stop_iteration()) {
        return Ok(exception);
    }
    let text = c"StopIteration interacts badly with generators and cannot be raised into a Future";
    if layout().habits.refuses_stop {
        return type_error(text);
    }
    // SAFETY: a NUL-terminated text.
    let message = unsafe { Obj::steal(PyUnicode_FromString(text.as_ptr())) }?;
    let wrapped = call(builtin::runtime_error(), &[message.borrow()])?;
    // SAFETY: two exceptions, of which the one takes over a reference to the other each time.
    unsafe {
        PyException_SetCause(wrapped.as_ptr(), exception.clone().into_raw());
        PyException_SetContext(wrapped.as_ptr(), exception.into_raw());
    }
    Ok(wrapped)
}

/// `future.get_loop()`, or `future._loop` where it has no such method: `asyncio.futures._get_loop`.
pub fn loop_of(future: Ref) -> Res {
    match getattr_opt(future, interned().get_loop)? {
        Some(method) => call(&method, &[]),
        None => getattr(future, interned().private_loop),
    }
}

/// What was given, unless it is `None`.
#[inline(always)]
pub fn given(value: Option<Ref>) -> Option<Ref> {
    value.filter(|value| !value.is_none())
}
