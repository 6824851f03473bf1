//! The Python type `aioxide._aioxide.PoolFuture`: what stands before `concurrent.futures.Future` in the bases of
//! `aioxide.PoolFuture`. The names of the standard class's attributes are those that inherited code uses.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::future::{self, PoolFuture, State, list_in};
use crate::ffi::args::{Named, Overriding, bind_init, refuse_init, type_error_text};
use crate::ffi::calls::call;
use crate::ffi::class::{Class, Native};
use crate::ffi::guard::guarded;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::getattr;
use crate::ffi::{Args, Global, Raised, Raw, Ref, Res, Slot, builtin, error, none};

// ------------------------------------------------------------------------------------------------------- methods

/// The method of the standard class that ours of this name stands for.
#[inline(always)]
fn base<'r>(receiver: &'r PoolFuture, name: &'static CStr) -> Overriding<'r> {
    Overriding { receiver: receiver.object(), class: |_| imported().pool_future, name }
}

/// Raises where a method without arguments got any, and has `f` run.
#[inline(always)]
fn bare<T>(this: &PoolFuture, args: Args, name: &'static CStr, f: impl FnOnce() -> T) -> Res<T> {
    args.none(base(this, name))?;
    Ok(f())
}

/// Hands the argument of a method that takes one, by its place or its name, to `f`.
fn taking(
    this: &PoolFuture,
    args: Args,
    name: &'static CStr,
    argument: &str,
    f: impl FnOnce(Ref) -> Res<()>,
) -> Res<()> {
    let mut named = Named::default();
    let args = args.placed(&[argument], base(this, name), &mut named)?;
    args.no_more(1, base(this, name))?;
    f(args.given()[0])
}

fn py_result(this: &PoolFuture, args: Args) -> Res {
    if !wait(this, args, c"result", "Future.result")? {
        return timed_out();
    }
    this.outcome()
}

fn py_exception(this: &PoolFuture, args: Args) -> Res {
    if !wait(this, args, c"exception", "Future.exception")? {
        return timed_out();
    }
    if this.has_finished() { Ok(this.exception.or_none()) } else { future::cancelled() }
}

/// Waits as the arguments of `result` and `exception` say. False when the time is over.
#[inline(always)]
fn wait(this: &PoolFuture, args: Args, method: &'static CStr, shown: &str) -> Res<bool> {
    if args.len() > 1 {
        return type_error_text(format!(
            "{shown}() takes from 1 to 2 positional arguments but {} were given",
            args.len() + 1
        ));
    }
    let [timeout] = args.bound([interned().timeout], 1, shown)?;
    if this.is_done() {
        return Ok(true);
    }
    match (future::plain_timeout(timeout), timeout) {
        (Some(timeout), _) if timeout.is_some() => this.wait(timeout),
        (None, Some(timeout)) => {
            // Waits, or says what is wrong with the number; either way the state tells.
            let inherited = getattr(imported().pool_future, text(method)?)?;
            let waited = call(&inherited, &[this.object(), timeout]);
            if this.is_done() {
                error::clear();
                return Ok(true);
            }
            waited.map(|_| false)
        }
        _ => this.wait_forever().map(|()| true),
    }
}

#[cold]
fn timed_out() -> Res {
    error::raise_value(call(builtin::timeout_error(), &[])?);
    Err(Raised)
}

// ---------------------------------------------------------------------------------------------------- attributes

/// `concurrent.futures._base`'s names of the states, in the order of `STATES`.
static STATE_NAMES: Global<[Ref<'static>; 5]> = Global::new();
const STATES: [State; 5] =
    [State::Pending, State::Running, State::Cancelled, State::Notified, State::Finished];

fn state_names() -> &'static [Ref<'static>; 5] {
    // SAFETY: set when the type was made.
    unsafe { STATE_NAMES.get() }
}

fn set_state(this: &PoolFuture, value: Option<Ref>) -> Res<()> {
    let is = |name: &Ref| {
        // SAFETY: compares live objects.
        value.is_some_and(|value| unsafe {
            PyObject_RichCompareBool(value.as_ptr(), name.as_ptr(), Py_EQ) == 1
        })
    };
    if let Some(at) = state_names().iter().position(is) {
        this.enter(STATES[at]);
        return Ok(());
    }
    if error::occurred() {
        return Err(Raised);
    }
    let shown = value.map_or_else(none, Ref::to_obj);
    error::raise_with(builtin::value_error(), c"%R is not a state of a future", &shown, None)
}

fn put(slot: &Slot, value: Option<Ref>) -> Res<()> {
    drop(slot.replace(value.filter(|value| !value.is_none()).map(Ref::to_obj)));
    Ok(())
}

fn set_list(slot: &Slot, value: Option<Ref>) -> Res<()> {
    // SAFETY: looks at the type of a live object.
    if value.is_none_or(|value| unsafe { PyList_Check(value.as_ptr()) } == 0) {
        return error::type_error(c"a future keeps its waiters and callbacks in a list");
    }
    put(slot, value)
}

// ------------------------------------------------------------------------------------------------ life and death

/// The standard class's `__init__` would make a condition, and set what is set.
///
/// # Safety
/// `slf` is a pool's future, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_init(slf: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: a slot of the type; a tuple, and a dict or null.
    guarded(-1, || unsafe {
        let bound = bind_init(args, kwargs, [], 0).and_then(|fit| {
            fit.map_or_else(|| refuse_init(slf, args, kwargs, imported().pool_future), |[]| Ok(()))
        });
        if bound.is_ok() { 0 } else { -1 }
    })
}

pub fn load() -> Res<*mut PyTypeObject> {
    STATE_NAMES.set([
        text(c"PENDING")?,
        text(c"RUNNING")?,
        text(c"CANCELLED")?,
        text(c"CANCELLED_AND_NOTIFIED")?,
        text(c"FINISHED")?,
    ]);
    let class = Class::new(c"aioxide._aioxide.PoolFuture").also(|def| {
        def.flags(Py_TPFLAGS_BASETYPE)
            .doc(c"PoolFuture()\n--\n\nThe native part of aioxide.PoolFuture.")
            .slot(Py_tp_new, PyType_GenericNew as *mut c_void)
            .slot(Py_tp_init, tp_init as *mut c_void)
            .held::<PoolFuture>()
    });
    let made = attributes(methods(class)).build(None)?;
    future::TYPE.set(made);
    Ok(made)
}

fn methods(class: Class<PoolFuture>) -> Class<PoolFuture> {
    class
        .fast(c"result", py_result, c"result($self, timeout=None)\n--\n\nReturn the result of the call; wait for it for at most timeout seconds.")
        .fast(c"exception", py_exception, c"exception($self, timeout=None)\n--\n\nReturn the exception of the call, or None; wait for it for at most timeout seconds.")
        .fast(c"done", |this, args| bare(this, args, c"done", || this.is_done()), c"done($self)\n--\n\nReturn True if the call was cancelled or has finished.")
        .fast(c"running", |this, args| bare(this, args, c"running", || this.seen_state() == State::Running), c"running($self)\n--\n\nReturn True if the call runs.")
        .fast(c"cancelled", |this, args| bare(this, args, c"cancelled", || this.is_cancelled()), c"cancelled($self)\n--\n\nReturn True if the call was cancelled.")
        .fast(c"cancel", |this, args| bare(this, args, c"cancel", || this.cancel())?, c"cancel($self)\n--\n\nCancel the call, if it does not run yet; return whether it is cancelled.")
        .fast(c"add_done_callback", |this, args| taking(this, args, c"add_done_callback", "fn", |callback| this.add_done_callback(callback)), c"add_done_callback($self, fn, /)\n--\n\nCall fn with the future when it is done: now, if it is.")
        .fast(c"set_running_or_notify_cancel", |this, args| bare(this, args, c"set_running_or_notify_cancel", || this.set_running())?, c"set_running_or_notify_cancel($self)\n--\n\nFor executors: the call starts. Return False if it was cancelled.")
        .fast(c"set_result", |this, args| taking(this, args, c"set_result", "result", |value| this.set_result(value.to_obj())), c"set_result($self, result, /)\n--\n\nFor executors: set the result of the call.")
        .fast(c"set_exception", |this, args| taking(this, args, c"set_exception", "exception", |value| this.set_exception(value.to_obj())), c"set_exception($self, exception, /)\n--\n\nFor executors: set what the call has raised.")
        .noargs(c"_invoke_callbacks", PoolFuture::invoke_callbacks, c"_invoke_callbacks($self)\n--\n\nCall the callbacks.")
}

fn attributes(class: Class<PoolFuture>) -> Class<PoolFuture> {
    class
        .getset(c"_state", |this| state_names()[this.seen_state() as usize].to_obj(), set_state)
        .getset(c"_result", |this| this.result.or_none(), |this, value| put(&this.result, value))
        .getset(c"_exception", |this| this.exception.or_none(), |this, value| put(&this.exception, value))
        .getset(c"_condition", PoolFuture::condition, |this, value| put(&this.condition, value))
        .getset(c"_waiters", |this| list_in(&this.waiters), |this, value| set_list(&this.waiters, value))
        .getset(
            c"_done_callbacks",
            |this| list_in(&this.callbacks),
            |this, value| set_list(&this.callbacks, value),
        )
}
