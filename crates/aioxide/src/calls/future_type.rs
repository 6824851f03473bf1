//! The Python type `aioxide._aioxide.PoolFuture`: what stands before `concurrent.futures.Future` in the bases of
//! `aioxide._pools.futures.Future`. The names of the standard class's attributes are those that inherited code uses.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::future::{self, BODY, Object, State, of};
use crate::ffi::args::{Named, Overriding, bind_init, refuse_init, type_error_text};
use crate::ffi::guard::{fastcall, getter, guarded, noargs, overriding, setter};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{boolean, call, getattr, is_none};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Args, Global, NULL, Obj, Raised, Raw, Res, Slot, error, names, none};

// ------------------------------------------------------------------------------------------------------- methods

/// The method of the standard class that ours of this name stands for.
#[inline(always)]
fn base(receiver: Raw, name: &'static CStr) -> Overriding {
    Overriding { receiver, class: |_| stdlib().pool_future, name }
}

/// The argument of a method that takes one, by its place or its name.
macro_rules! taking {
    ($name:ident, $method:literal, $argument:literal, |$slf:ident, $value:ident| $body:expr) => {
        fastcall!($name, |$slf, args| {
            let mut named = Named::default();
            let args = args.placed(&[$argument], base($slf, $method), &mut named)?;
            args.no_more(1, base($slf, $method))?;
            let $value = args.positional()[0];
            $body?;
            Ok(none())
        });
    };
}

fastcall!(py_result, |slf, args| {
    if !wait(slf, args, c"result", "Future.result")? {
        return timed_out();
    }
    future::outcome(of(slf))
});

fastcall!(py_exception, |slf, args| {
    if !wait(slf, args, c"exception", "Future.exception")? {
        return timed_out();
    }
    if of(slf).has_finished() { Ok(of(slf).exception.or_none()) } else { future::cancelled() }
});

/// Waits as the arguments of `result` and `exception` say. False when the time is over.
///
/// # Safety
/// `slf` is a pool's future.
#[inline(always)]
unsafe fn wait(slf: Raw, args: Args, method: &'static CStr, shown: &str) -> Res<bool> {
    if args.len() > 1 {
        return type_error_text(format!(
            "{shown}() takes from 1 to 2 positional arguments but {} were given",
            args.len() + 1
        ));
    }
    let mut timeout = [NULL];
    args.bind(&[names().timeout], 1, &mut timeout, shown)?;
    // SAFETY: called by the methods of the type.
    let this = unsafe { of(slf) };
    if this.is_done() {
        return Ok(true);
    }
    match future::plain_timeout(timeout[0]) {
        Some(None) => this.wait_forever().map(|()| true),
        Some(timeout) => this.wait(timeout),
        None => {
            // Waits, or says what is wrong with the number; either way the state tells.
            let inherited = getattr(stdlib().pool_future, intern(method)?)?;
            let waited = call(inherited.as_ptr(), &[slf, timeout[0]]);
            if this.is_done() {
                error::clear();
                return Ok(true);
            }
            waited.map(|_| false)
        }
    }
}

#[cold]
fn timed_out() -> Res {
    // SAFETY: reads a static of the interpreter.
    error::raise_value(call(unsafe { PyExc_TimeoutError }, &[])?);
    Err(Raised)
}

overriding!(py_done, base, c"done", |slf| Ok(boolean(of(slf).is_done())));
overriding!(py_running, base, c"running", |slf| Ok(boolean(of(slf).seen_state(slf) == State::Running)));
overriding!(py_cancelled, base, c"cancelled", |slf| Ok(boolean(of(slf).is_cancelled())));
overriding!(py_cancel, base, c"cancel", |slf| Ok(boolean(future::cancel(slf)?)));

taking!(py_add_done_callback, c"add_done_callback", "fn", |slf, callback| {
    future::add_done_callback(slf, callback)
});

overriding!(py_set_running_or_notify_cancel, base, c"set_running_or_notify_cancel", |slf| {
    Ok(boolean(future::set_running(slf)?))
});

taking!(py_set_result, c"set_result", "result", |slf, value| future::set_result(slf, Obj::new(value)));

taking!(py_set_exception, c"set_exception", "exception", |slf, value| {
    future::set_exception(slf, Obj::new(value))
});

noargs!(py_invoke_callbacks, |slf| {
    future::invoke_callbacks(slf, of(slf))?;
    Ok(none())
});

// ---------------------------------------------------------------------------------------------------- attributes

/// `concurrent.futures._base`'s names of the states, in the order of `STATES`.
static STATE_NAMES: Global<[Raw; 5]> = Global::new();
const STATES: [State; 5] =
    [State::Pending, State::Running, State::Cancelled, State::Notified, State::Finished];

getter!(get_state, |slf| Ok(Obj::new(STATE_NAMES.get()[of(slf).seen_state(slf) as usize])));
setter!(set_state, |slf, value| {
    for (state, name) in STATES.iter().zip(STATE_NAMES.get()) {
        if !value.is_null() && PyObject_RichCompareBool(value, *name, Py_EQ) == 1 {
            of(slf).enter(*state);
            return Ok(());
        }
    }
    if error::occurred() {
        return Err(Raised);
    }
    let shown = Obj::maybe(value).unwrap_or_else(none);
    error::raise_with(PyExc_ValueError, c"%R is not a state of a future", shown.as_ptr(), NULL)
});

fn put(slot: &Slot, value: Raw) {
    let value = Obj::maybe(value).filter(|value| !is_none(value.as_ptr()));
    drop(slot.replace(value));
}

getter!(get_result, |slf| Ok(of(slf).result.or_none()));
setter!(set_result_attr, |slf, value| {
    put(&of(slf).result, value);
    Ok(())
});
getter!(get_exception, |slf| Ok(of(slf).exception.or_none()));
setter!(set_exception_attr, |slf, value| {
    put(&of(slf).exception, value);
    Ok(())
});
getter!(get_condition, |slf| future::condition(of(slf)));
setter!(set_condition, |slf, value| {
    put(&of(slf).condition, value);
    Ok(())
});
getter!(get_waiters, |slf| future::list_in(&of(slf).waiters));
setter!(set_waiters, |slf, value| set_list(&of(slf).waiters, value));
getter!(get_callbacks, |slf| future::list_in(&of(slf).callbacks));
setter!(set_callbacks, |slf, value| set_list(&of(slf).callbacks, value));

fn set_list(slot: &Slot, value: Raw) -> Res<()> {
    // SAFETY: looks at the type of a live object.
    if value.is_null() || unsafe { PyList_Check(value) } == 0 {
        return error::type_error(c"a future keeps its waiters and callbacks in a list");
    }
    put(slot, value);
    Ok(())
}

// ------------------------------------------------------------------------------------------------ life and death

/// The standard class's `__init__` would make a condition, and set what is set.
///
/// # Safety
/// `slf` is a pool's future, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_init(slf: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: a slot of the type; a tuple, and a dict or null.
    guarded(-1, || unsafe {
        let bound = bind_init(args, kwargs, &[], 0, &mut [])
            .and_then(|fit| if fit { Ok(()) } else { refuse_init(slf, args, kwargs, stdlib().pool_future) });
        if bound.is_ok() { 0 } else { -1 }
    })
}

/// # Safety
/// `kind` is the future's type or one derived from it.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, _: Raw, _: Raw) -> Raw {
    // SAFETY: a zeroed body is a pending future.
    guarded(NULL, || unsafe { PyType_GenericAlloc(kind, 0) })
}

pub fn load() -> Res<*mut PyTypeObject> {
    STATE_NAMES.set([
        intern(c"PENDING")?,
        intern(c"RUNNING")?,
        intern(c"CANCELLED")?,
        intern(c"CANCELLED_AND_NOTIFIED")?,
        intern(c"FINISHED")?,
    ]);
    let def = TypeDef::new(c"aioxide._aioxide.PoolFuture", BODY)
        .flags(Py_TPFLAGS_BASETYPE)
        .doc(c"The native part of aioxide._pools.futures.Future.")
        .slot(Py_tp_new, tp_new as *mut c_void)
        .slot(Py_tp_init, tp_init as *mut c_void)
        .held::<Object>();
    attributes(methods(def)).build(NULL)
}

fn methods(def: TypeDef) -> TypeDef {
    def.fast(c"result", py_result, c"result($self, timeout=None)\n--\n\nReturn the result of the call; wait for it for at most timeout seconds.")
        .fast(c"exception", py_exception, c"exception($self, timeout=None)\n--\n\nReturn the exception of the call, or None; wait for it for at most timeout seconds.")
        .fast(c"done", py_done, c"done($self)\n--\n\nReturn True if the call was cancelled or has finished.")
        .fast(c"running", py_running, c"running($self)\n--\n\nReturn True if the call runs.")
        .fast(c"cancelled", py_cancelled, c"cancelled($self)\n--\n\nReturn True if the call was cancelled.")
        .fast(c"cancel", py_cancel, c"cancel($self)\n--\n\nCancel the call, if it does not run yet; return whether it is cancelled.")
        .fast(c"add_done_callback", py_add_done_callback, c"add_done_callback($self, fn, /)\n--\n\nCall fn with the future when it is done: now, if it is.")
        .fast(c"set_running_or_notify_cancel", py_set_running_or_notify_cancel, c"set_running_or_notify_cancel($self)\n--\n\nFor executors: the call starts. Return False if it was cancelled.")
        .fast(c"set_result", py_set_result, c"set_result($self, result, /)\n--\n\nFor executors: set the result of the call.")
        .fast(c"set_exception", py_set_exception, c"set_exception($self, exception, /)\n--\n\nFor executors: set what the call has raised.")
        .noargs(c"_invoke_callbacks", py_invoke_callbacks, c"_invoke_callbacks($self)\n--\n\nCall the callbacks.")
}

fn attributes(def: TypeDef) -> TypeDef {
    def.getset(c"_state", get_state, set_state)
        .getset(c"_result", get_result, set_result_attr)
        .getset(c"_exception", get_exception, set_exception_attr)
        .getset(c"_condition", get_condition, set_condition)
        .getset(c"_waiters", get_waiters, set_waiters)
        .getset(c"_done_callbacks", get_callbacks, set_callbacks)
}
