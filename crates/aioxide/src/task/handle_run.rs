//! How a handle, or a call that has none, is run: in its context, and what its exception does.

use pyo3_ffi::*;

use super::handle::{Handle, Kind, of, of_call, retire};
use super::loop_state::{LoopState, thread_ident};
use super::ready::Call;
use super::report::{callback_message, report_context, unless_exit};
use crate::ffi::names::stdlib;
use crate::ffi::object::{call, call_method};
use crate::ffi::refcount::refcount;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, context, error, names, snapshot};

/// Calls what was queued, in its context. Errors as `run`.
///
/// # Safety
/// `call` has just left the queue of the loop of `state`.
#[inline(always)]
pub unsafe fn run_call(state: &LoopState, call: Call) -> Res<()> {
    // SAFETY: the call owns its callback, arguments and context until they are moved out here.
    unsafe {
        if !call.handle.is_null() || !snapshot::is_snapshot(call.context.as_ptr()) {
            return run(of_call(state, call)?);
        }
        let Call { callback, args, several, context, .. } = call;
        let entered = snapshot::enter(&state.spare_context, context)?;
        let result = invoke(callback.as_ptr(), args.as_ref(), several);
        context::exit(entered.as_ptr());
        let result = match result {
            Ok(_) => Ok(()),
            Err(Raised) => call_failed(state, callback, args, several, &entered),
        };
        snapshot::put_back(&state.spare_context, entered);
        result
    }
}

/// # Safety
/// An exception is set; `args` is a tuple where there are `several`.
#[cold]
unsafe fn call_failed(
    state: &LoopState,
    callback: Obj,
    args: Option<Obj>,
    several: bool,
    context: &Obj,
) -> Res<()> {
    unless_exit(|exception| {
        let call = Call { callback, args, several, context: context.clone(), handle: std::ptr::null() };
        // SAFETY: the call is no more queued, and has no handle.
        report_failure(&unsafe { of_call(state, call) }?, exception)
    })
}

/// Runs a handle in its context, unless it was cancelled. An exception of the callback goes to the loop's exception
/// handler; `Err` is an exception that must leave the loop.
///
/// # Safety
/// `handle` is a handle.
#[inline(always)]
pub unsafe fn run(handle: Obj) -> Res<()> {
    // SAFETY: a handle, held here while its callback runs.
    unsafe {
        let this = of(handle.as_ptr());
        if this.cancelled.get() {
            return Ok(());
        }
        this.settle();
        // Held here, since the callback may cancel its own handle.
        let (Some(callback), Some(held)) = (this.callback.share(), this.context.share()) else {
            return Ok(());
        };
        // Who keeps the handle, or finds it by a weak reference, may look at its context.
        let alone = refcount(handle.as_ptr()) == 1 && !this.weakrefs.is_set();
        let spare = alone && snapshot::is_snapshot(held.as_ptr());
        run_once(&handle, this, || {
            if spare { run_in_spare(&handle, callback, held) } else { run_in_own(&handle, callback) }
        })
    }
}

/// # Safety
/// `handle` is a handle, and `this` its fields.
#[inline(always)]
unsafe fn run_once(handle: &Obj, this: &Handle, body: impl FnOnce() -> Res<()>) -> Res<()> {
    if this.kind.get() == Kind::ThreadSafe {
        this.running.set(thread_ident() == this.state().thread.get());
    }
    let result = body();
    if this.kind.get() != Kind::Repeats {
        // SAFETY: a handle, held by the caller for longer than its callback runs.
        unsafe { retire(handle.as_ptr()) };
        if this.running.get() {
            ended(this);
        }
    }
    result
}

/// # Safety
/// `handle` is a handle, and `held` the snapshot that it had.
#[inline(always)]
unsafe fn run_in_spare(handle: &Obj, callback: Obj, held: Obj) -> Res<()> {
    // SAFETY: a handle, held by the caller; the spare context is nobody else's while it is taken out of its slot.
    unsafe {
        let this = of(handle.as_ptr());
        let spare = &this.state().spare_context;
        let entered = snapshot::enter(spare, held)?;
        let result = invoke(callback.as_ptr(), this.args.share().as_ref(), this.several.get());
        context::exit(entered.as_ptr());
        let result = match result {
            Ok(_) => Ok(()),
            Err(Raised) => {
                this.context.set(entered.clone());
                failed(handle)
            }
        };
        snapshot::put_back(spare, entered);
        result
    }
}

/// As `run`, but by a function that the program has put in place of `asyncio.Handle._run`. What that raises is raised.
///
/// # Safety
/// `handle` is a handle.
pub unsafe fn run_by(handle: &Obj, function: &Obj) -> Res<()> {
    // SAFETY: a handle, held by the caller while the program's function runs.
    unsafe {
        let this = of(handle.as_ptr());
        if this.cancelled.get() {
            return Ok(());
        }
        run_once(handle, this, || call(function.as_ptr(), &[handle.as_ptr()]).map(drop))
    }
}

/// # Safety
/// `handle` is a handle.
unsafe fn run_in_own(handle: &Obj, callback: Obj) -> Res<()> {
    // SAFETY: a handle, held by the caller; its context is held here.
    unsafe {
        let this = of(handle.as_ptr());
        let context = this.true_context()?;
        let result = match context::enter(context.as_ptr()) {
            Err(Raised) => refused(callback.as_ptr(), this, &context),
            Ok(()) => {
                let result = invoke(callback.as_ptr(), this.args.share().as_ref(), this.several.get());
                context::exit(context.as_ptr());
                result
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(Raised) => failed(handle),
        }
    }
}

/// A thread-safe handle has run: whoever waits for that goes on.
fn ended(this: &Handle) {
    this.running.set(false);
    if let Some(lock) = this.extra.with(|extra| extra.as_mut().and_then(|extra| extra.ended.take())) {
        let pending = error::take();
        if call_method(names().release, &[lock.as_ptr()]).is_err() {
            error::unraisable(lock.as_ptr());
        }
        error::restore(pending);
    }
}

/// Waits while a thread-safe handle runs in another thread, as asyncio's `_ThreadSafeHandle` does by a lock that each
/// of them has. In the thread that runs it there is nothing to wait for.
#[inline(always)]
pub(super) fn wait_until_ended(this: &Handle) -> Res<()> {
    if this.running.get() { wait_for_other_thread(this) } else { Ok(()) }
}

#[cold]
fn wait_for_other_thread(this: &Handle) -> Res<()> {
    while this.running.get() && this.state().thread.get() != thread_ident() {
        let fresh = call(stdlib().allocate_lock, &[])?;
        call_method(names().acquire, &[fresh.as_ptr()])?;
        // Those calls may have let the callback end. From here to the wait, nothing can.
        if !this.running.get() {
            break;
        }
        // One that another waiter has put there goes before ours, which is released outside.
        let lock = this.with_extra(|extra| extra.ended.get_or_insert_with(|| fresh.clone()).clone());
        call_method(names().acquire, &[lock.as_ptr()])?;
        // For the next who waits.
        call_method(names().release, &[lock.as_ptr()])?;
    }
    Ok(())
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
#[cold]
fn refused(callback: Raw, this: &Handle, context: &Obj) -> Res {
    if context::is_context(context.as_ptr()) {
        return Err(Raised);
    }
    error::clear();
    let args = this.args_tuple()?;
    // SAFETY: a live tuple, whose items are borrowed for the call.
    let items: Vec<Raw> =
        unsafe { (0..PyTuple_GET_SIZE(args.as_ptr())).map(|i| PyTuple_GET_ITEM(args.as_ptr(), i)).collect() };
    context::run_by_method(context.as_ptr(), callback, &items)
}

/// # Safety
/// `callback` is a live object; `args` is a tuple where there are `several`.
#[inline(always)]
unsafe fn invoke(callback: Raw, args: Option<&Obj>, several: bool) -> Res {
    // SAFETY: live objects; several arguments are a tuple.
    unsafe {
        match args {
            None => Obj::steal(PyObject_CallNoArgs(callback)),
            Some(args) if several => Obj::steal(PyObject_Call(callback, args.as_ptr(), NULL)),
            Some(only) => {
                let args = [NULL, only.as_ptr()];
                let count = 1 | PY_VECTORCALL_ARGUMENTS_OFFSET;
                Obj::steal(PyObject_Vectorcall(callback, args.as_ptr().add(1), count, NULL))
            }
        }
    }
}

/// What `asyncio.Handle._run` does with an exception.
///
/// # Safety
/// `handle` is a handle; an exception is set.
#[cold]
unsafe fn failed(handle: &Obj) -> Res<()> {
    unless_exit(|exception| report_failure(handle, exception))
}

/// Tells the loop's exception handler that the callback of `handle` raised.
pub fn report_failure(handle: &Obj, exception: Obj) -> Res<()> {
    // SAFETY: a handle.
    let this = unsafe { of(handle.as_ptr()) };
    this.settle();
    let (callback, args) = (this.callback.or_none(), this.args_tuple()?);
    let message = callback_message(this.state(), callback.as_ptr(), args.as_ptr())?;
    let n = names();
    let mut pairs =
        vec![(n.message, message.as_ptr()), (n.exception, exception.as_ptr()), (n.handle, handle.as_ptr())];
    let frames = this.source_traceback();
    if let Some(frames) = &frames {
        pairs.push((n.source_traceback, frames.as_ptr()));
    }
    report_context(this.owner.get(), &pairs)
}
