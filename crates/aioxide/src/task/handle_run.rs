//! How a handle, or a call that has none, is run: in its context, and what its exception does.

use std::ptr::null;

use pyo3_ffi::*;

use super::handle::{Handle, Kind, of, of_call};
use super::loop_state::{LoopState, thread_ident};
use super::ready::Call;
use super::report::{aside, callback_message, report_made, unless_exit};
use crate::ffi::calls::{call, call_method};
use crate::ffi::names::{imported, interned};
use crate::ffi::refcount::refcount;
use crate::ffi::{NULL, Obj, Raised, Ref, Res, Slot, context, error, snapshot};

/// Calls what was queued, in its context. Errors as `run`.
///
/// # Safety
/// `call` has just left the queue of the loop of `state`, or was in none.
#[inline(always)]
pub unsafe fn run_call(state: &LoopState, call: Call) -> Res<()> {
    // SAFETY: the call owns its callback and arguments until both have been used.
    unsafe {
        if !call.handle.is_null() {
            return run(of_call(state, call)?);
        }
        if !snapshot::is_snapshot(call.context.borrow()) {
            return run_given(state, call);
        }
        let Call { callback, args, several, context, .. } = call;
        let (raw, given) = (callback.as_ptr(), args.as_ref().map_or(NULL, Obj::as_ptr));
        run_in_spare(
            &state.spare_context,
            context,
            || invoke(Ref::new(raw), Ref::maybe(given), several),
            move |context| call_failed(state, callback, args, several, context),
        )
    }
}

/// As `run_call`, in the context that the caller gave.
///
/// # Safety
/// As `run_call`; no handle stands for the call.
#[inline(never)]
unsafe fn run_given(state: &LoopState, call: Call) -> Res<()> {
    let Call { callback, args, several, context, .. } = call;
    // SAFETY: as in `run_call`.
    match unsafe { invoke_in(&context, callback.borrow(), args.as_ref().map(Obj::borrow), several) } {
        Ok(_) => Ok(()),
        Err(Raised) => call_failed(state, callback, args, several, context),
    }
}

#[cold]
fn call_failed(state: &LoopState, callback: Obj, args: Option<Obj>, several: bool, context: Obj) -> Res<()> {
    unless_exit(|exception| {
        let call = Call { callback, args, several, context, handle: null() };
        // SAFETY: the call is in no queue, and has no handle.
        report_failure(&unsafe { of_call(state, call) }?, exception)
    })
}

/// Runs `body` in what a snapshot stands for. `failed` is told in which context it raised.
#[inline(always)]
fn run_in_spare(
    spare: &Slot,
    snapshot: Obj,
    body: impl FnOnce() -> Res,
    failed: impl FnOnce(Obj) -> Res<()>,
) -> Res<()> {
    let entered = snapshot::enter(spare, snapshot)?;
    let result = body();
    context::exit(entered.borrow());
    let result = match result {
        Ok(_) => Ok(()),
        Err(Raised) => failed(entered.clone()),
    };
    snapshot::put_back(spare, entered);
    result
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
        let this = of(&handle);
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
        let spare = alone && snapshot::is_snapshot(held.borrow());
        run_once(this, || {
            let callback = callback;
            if !spare {
                return run_in_own(&handle, callback.borrow());
            }
            let body = || {
                let args = this.args.share();
                invoke(callback.borrow(), args.as_ref().map(Obj::borrow), this.several.get())
            };
            run_in_spare(&this.state().spare_context, held, body, |entered| {
                this.context.set(entered);
                failed(&handle)
            })
        })
    }
}

#[inline(always)]
fn run_once(this: &Handle, body: impl FnOnce() -> Res<()>) -> Res<()> {
    if this.kind.get() == Kind::ThreadSafe {
        this.running.set(thread_ident() == this.state().thread.get());
    }
    let result = body();
    if this.kind.get() != Kind::Repeats {
        this.retire();
        if this.running.get() {
            ended(this);
        }
    }
    result
}

/// As `run`, but by a function that the program has put in place of `asyncio.Handle._run`. What that raises is raised.
///
/// # Safety
/// `handle` is a handle.
pub unsafe fn run_by(handle: &Obj, function: &Obj) -> Res<()> {
    // SAFETY: the caller's word.
    let this = unsafe { of(handle) };
    if this.cancelled.get() {
        return Ok(());
    }
    run_once(this, || call(function, &[handle.borrow()]).map(drop))
}

/// # Safety
/// As `run`; `callback` is held.
unsafe fn run_in_own(handle: &Obj, callback: Ref) -> Res<()> {
    // SAFETY: a handle, held by the caller; its context and arguments are held here.
    unsafe {
        let this = of(handle);
        let context = this.true_context()?;
        let args = this.args.share();
        match invoke_in(&context, callback, args.as_ref().map(Obj::borrow), this.several.get()) {
            Ok(_) => Ok(()),
            Err(Raised) => failed(handle),
        }
    }
}

/// A thread-safe handle has run: whoever waits for that goes on.
fn ended(this: &Handle) {
    this.running.set(false);
    if let Some(lock) = this.extra.with(|extra| extra.as_mut().and_then(|extra| extra.ended.take())) {
        aside(lock.borrow(), || call_method(interned().release, &[lock.borrow()]).map(drop));
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
        let fresh = call(imported().allocate_lock, &[])?;
        call_method(interned().acquire, &[fresh.borrow()])?;
        // Those calls may have let the callback end. From here to the wait, nothing can.
        if !this.running.get() {
            break;
        }
        // One that another waiter has put there goes before ours, which is released outside.
        let lock = this.with_extra(|extra| extra.ended.get_or_insert_with(|| fresh.clone()).clone());
        call_method(interned().acquire, &[lock.borrow()])?;
        // For the next who waits.
        call_method(interned().release, &[lock.borrow()])?;
    }
    Ok(())
}

/// As `invoke`, in a context that others may know.
///
/// # Safety
/// As `invoke`.
#[inline(always)]
unsafe fn invoke_in(context: &Obj, callback: Ref, args: Option<Ref>, several: bool) -> Res {
    // SAFETY: as the caller says.
    unsafe {
        if context::enter(context).is_err() {
            return refused(context, callback, args, several);
        }
        let result = invoke(callback, args, several);
        context::exit(context);
        result
    }
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
///
/// # Safety
/// As `invoke_in`.
#[cold]
unsafe fn refused(context: &Obj, callback: Ref, args: Option<Ref>, several: bool) -> Res {
    if context::is_context(context) {
        return Err(Raised);
    }
    error::clear();
    let items = match args {
        // SAFETY: a tuple, whose items are borrowed for the call.
        Some(args) if several => unsafe {
            (0..PyTuple_GET_SIZE(args.as_ptr()))
                .map(|i| Ref::new(PyTuple_GET_ITEM(args.as_ptr(), i)))
                .collect()
        },
        _ => Vec::from_iter(args),
    };
    context::run_by_method(context, callback, &items)
}

/// # Safety
/// `args` is the one argument of the callback, a tuple where there are `several`, or none.
#[inline(always)]
unsafe fn invoke(callback: Ref, args: Option<Ref>, several: bool) -> Res {
    let callback = callback.as_ptr();
    // SAFETY: all are borrowed for the call; several arguments are a tuple.
    unsafe {
        let Some(args) = args else { return Obj::steal(PyObject_CallNoArgs(callback)) };
        if several {
            return Obj::steal(PyObject_Call(callback, args.as_ptr(), NULL));
        }
        let args = [NULL, args.as_ptr()];
        let count = 1 | PY_VECTORCALL_ARGUMENTS_OFFSET;
        Obj::steal(PyObject_Vectorcall(callback, args.as_ptr().add(1), count, NULL))
    }
}

/// What `asyncio.Handle._run` does with an exception.
#[cold]
fn failed(handle: &Obj) -> Res<()> {
    unless_exit(|exception| report_failure(handle, exception))
}

/// Tells the loop's exception handler that the callback of `handle` raised.
pub fn report_failure(handle: &Obj, exception: Obj) -> Res<()> {
    // SAFETY: a handle.
    let this = unsafe { of(handle) };
    this.settle();
    let (callback, args) = (this.callback.or_none(), this.args_tuple()?);
    let message = callback_message(this.state(), callback.borrow(), args.borrow())?;
    let n = interned();
    let pairs =
        [(n.message, message.borrow()), (n.exception, exception.borrow()), (n.handle, handle.borrow())];
    report_made(this.state().object(), &pairs, this.source_traceback())
}
