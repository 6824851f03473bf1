//! Calls of the pool's manager, its part in Python (`_process_manager.py`). They run in the thread that serves the pool or
//! submits to it, mostly a user's: Ctrl-C, what else a handler of a signal raises, and what another thread raises in this one
//! (`PyThreadState_SetAsyncExc`) can cut them short between any two bytecodes. So each of them may be repeated from its
//! beginning, and finds what it has done already; it is called until it has come to its end. What cut it short is raised then.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::pool::{self, Pool};
use super::worker::Worker;
use crate::calls::future;
use crate::ffi::guard::{fastcall, onearg};
use crate::ffi::names::intern;
use crate::ffi::object::{call, call_method, check, int, none};
use crate::ffi::{Obj, Raised, Raw, Res, error};
use crate::task::loop_state::thread_ident;

/// So often, an exception is taken for one that only came meanwhile. What raises each time is the call's own.
pub const TRIES: usize = 6;

/// What was returned, and what had cut an earlier attempt short.
pub type Whole = (Obj, Option<Obj>);

/// Calls until nothing cuts it short. `Err` is an exception of its own.
pub fn whole(mut attempt: impl FnMut() -> Res) -> Res<Whole> {
    let mut first = None;
    for _ in 0..TRIES {
        match attempt() {
            Ok(value) => return Ok((value, first)),
            Err(Raised) => {
                let raised = error::take();
                first = first.or(raised);
            }
        }
    }
    error::restore(first);
    Err(Raised)
}

/// As it stands where nothing is held back: the value, or what cut the call short.
pub fn told((value, raised): Whole) -> Res {
    if raised.is_none() {
        return Ok(value);
    }
    drop(value);
    error::restore(raised);
    Err(Raised)
}

/// Calls a method of the manager.
pub fn ask(pool: &Pool, method: &'static CStr, args: &[Raw]) -> Res<Whole> {
    let manager = pool.manager.or_none();
    let mut all = vec![manager.as_ptr()];
    all.extend_from_slice(args);
    let name = intern(method)?;
    let first_key = pool.next_key.get();
    whole(|| {
        let answer = call_method(name, &all);
        if answer.is_err() && pool.next_key.get() != first_key {
            undo_starts(pool, first_key);
        }
        answer
    })
}

/// Ends what was begun of workers in this thread, from that number on, and was cut short. The exception that is set stays.
pub fn undo_starts(pool: &Pool, first_key: u32) {
    let raised = error::take();
    let thread = thread_ident();
    let keys = pool.with(|state| {
        let begun = |worker: &&Worker| worker.key >= first_key && worker.pid == 0 && worker.starter == thread;
        state.workers.iter().filter(begun).map(|worker| worker.key).collect::<Vec<_>>()
    });
    for key in keys {
        let undone = intern(c"undo_start").and_then(|name| {
            let (manager, key) = (pool.manager.or_none(), int(key.into())?);
            whole(|| call_method(name, &[manager.as_ptr(), key.as_ptr()]))
        });
        if undone.is_err() {
            error::unraisable(pool.manager.get());
        }
    }
    error::restore(raised);
}

/// Tells the manager. `Err` is what must leave the loop: what cut the call short, and of the call's own exceptions those that
/// leave every loop. The others are reported.
pub fn tell(pool: &Pool, method: &'static CStr, args: &[Raw]) -> Res<()> {
    if !pool.manager.is_set() {
        return Ok(());
    }
    match ask(pool, method, args).map(told) {
        Ok(answer) => answer.map(drop),
        Err(Raised) if error::is_exit() => Err(Raised),
        Err(Raised) => {
            error::unraisable(pool.manager.get());
            Ok(())
        }
    }
}

/// For where nobody can be raised to: the exception that is set is reported; but one that is an interrupt of this thread is
/// raised in it a moment later.
pub fn report(source: Raw) {
    if !error::is_interrupted() {
        return error::unraisable(source);
    }
    error::clear();
    // SAFETY: a class of exceptions, for this thread.
    unsafe {
        PyThreadState_SetAsyncExc(PyThread_get_thread_ident() as std::ffi::c_long, PyExc_KeyboardInterrupt)
    };
}

// Methods of the pool that its Python part gives to others to call: as functions in C, they begin and end in one piece.

// `collected(reference)`: the executor is gone.
onearg!(collected, |slf, _reference| {
    if tell(pool::of(slf), c"on_collected", &[]).is_err() {
        report(slf);
    }
    Ok(none())
});

// `stop(future)`: cancels it though a worker runs its call.
onearg!(stop, |slf, future| told(ask(pool::of(slf), c"stop", &[future])?));

// `stop_cancelled(future)`: a future of a loop is done.
onearg!(stop_cancelled, |slf, future| told(ask(pool::of(slf), c"stop_cancelled", &[future])?));

// `begin_shutdown(cancel_futures)`: takes no more calls.
onearg!(begin_shutdown, |slf, cancel| told(ask(pool::of(slf), c"begin_shutdown", &[cancel])?));

// `call_back(futures, future)`: calls the callbacks of a future of ours that is a key of the dict, and takes it out: once.
fastcall!(call_back, |_slf, args| {
    args.require(&["futures", "future"], "call_back")?;
    let given = args.positional();
    let (futures, future) = (given[0], Obj::new(given[1]));
    match PyDict_Contains(futures, future.as_ptr()) {
        0 => return Ok(none()),
        1 => check(PyDict_DelItem(futures, future.as_ptr()))?,
        _ => return Err(Raised),
    }
    future::invoke_callbacks(future.as_ptr(), future::of(future.as_ptr()))?;
    Ok(none())
});

onearg!(
    /// `whole((function, *args))`: calls it until nothing cuts it short, and raises then what did.
    py_whole,
    |_module, args| {
        let function = PyTuple_GetItem(args, 0);
        if function.is_null() {
            return Err(Raised);
        }
        let items: Vec<Raw> = (1..PyTuple_GET_SIZE(args)).map(|at| PyTuple_GET_ITEM(args, at)).collect();
        told(whole(|| call(function, &items))?)
    }
);
