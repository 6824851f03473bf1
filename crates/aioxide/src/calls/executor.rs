//! `loop.run_in_executor`: which executors take a call of a loop directly, past `concurrent.futures.Future`.
//!
//! A pool of ours has a method `_run_for_loop(loop, func, args)` that returns a future of that loop. It is called where
//! the user has not put a `submit` of his own in its place (tracers do): in a subclass, in the class, in the standard
//! library's class, or in the pool.

use std::cell::Cell;

use pyo3_ffi::*;

use super::standard::Standard;
use crate::engine::loop_object::loop_of;
use crate::ffi::args::type_error_text;
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call, call_kw, call_method, getattr, import_from, is_none, truth, tuple};
use crate::ffi::{Args, Leaf, NULL, Obj, Raw, Res, compat, error, names};
use crate::task::loop_state::LoopState;

/// A class of pools, with its methods as they were when it was made, and the standard class that it stands for.
struct PoolClass {
    class: Obj,
    submit: Obj,
    run_for_loop: Obj,
    standard: &'static Standard,
}

struct Known {
    classes: Leaf<Vec<PoolClass>>,
    /// The type that was looked at last, its version tag then, and the standard class that it stands for; nothing where it
    /// takes no calls directly.
    last: Cell<(*mut PyTypeObject, u32, Option<&'static Standard>)>,
}

// SAFETY: read and written under the GIL.
unsafe impl Sync for Known {}

static KNOWN: Known =
    Known { classes: Leaf::new(Vec::new()), last: Cell::new((std::ptr::null_mut(), 0, None)) };

/// Tells of a class of pools, and of the standard one that it stands for.
pub fn register(class: Raw, standard: &'static Standard) -> Res<()> {
    let made = PoolClass {
        class: Obj::new(class),
        submit: getattr(class, names().submit)?,
        run_for_loop: getattr(class, names().run_for_loop)?,
        standard,
    };
    KNOWN.classes.with(|classes| classes.push(made));
    Ok(())
}

/// Whether instances of `kind` take calls of a loop directly.
#[inline(always)]
fn is_direct(kind: *mut PyTypeObject) -> bool {
    let (last, version, known) = KNOWN.last.get();
    let stands_for = if last == kind && version != 0 && version == compat::version_tag(kind) {
        known
    } else {
        look_at(kind)
    };
    stands_for.is_some_and(|standard| !standard.is_wrapped())
}

#[cold]
fn look_at(kind: *mut PyTypeObject) -> Option<&'static Standard> {
    // The look-ups below may run Python code, so what they need is copied out before.
    let found = KNOWN.classes.with(|classes| {
        let of_kind = |known: &&PoolClass| compat::is_subtype(kind, known.class.as_ptr().cast());
        let found = classes.iter().find(of_kind);
        found.map(|known| (known.submit.clone(), known.run_for_loop.clone(), known.standard))
    });
    let (submit, run_for_loop, standard) = found?;
    let is_own = |name, own: &Obj| match getattr(kind.cast(), name) {
        Ok(method) => method.as_ptr() == own.as_ptr(),
        Err(_) => {
            error::clear();
            false
        }
    };
    let direct = is_own(names().submit, &submit) && is_own(names().run_for_loop, &run_for_loop);
    let answer = direct.then_some(standard);
    // The look-ups have given the type a tag, unless the interpreter has run out of them.
    KNOWN.last.set((kind, compat::version_tag(kind), answer));
    answer
}

/// Whether somebody has wrapped `submit` of the standard class that `class`, a registered one, stands for.
pub fn is_wrapped(class: Raw) -> bool {
    let found = KNOWN.classes.with(|classes| {
        classes.iter().find(|known| known.class.as_ptr() == class).map(|known| known.standard)
    });
    found.is_some_and(Standard::is_wrapped)
}

/// Whether the instance itself has a `submit` that hides its class's.
fn hides_submit(executor: Raw) -> bool {
    // SAFETY: a live object; the dict is looked at and released.
    unsafe {
        let Ok(dict) = Obj::steal(PyObject_GenericGetDict(executor, std::ptr::null_mut())) else {
            error::clear();
            return false;
        };
        PyDict_Contains(dict.as_ptr(), names().submit) != 0
    }
}

unsafe extern "C" {
    fn PyObject_GenericGetDict(object: Raw, context: *mut std::ffi::c_void) -> Raw;
}

// --------------------------------------------------------------------------------------------------- the method

const METHOD: &str = "BaseEventLoop.run_in_executor";

/// `run_in_executor(executor, func, *args)`: checks and errors of `BaseEventLoop.run_in_executor`.
pub fn run_in_executor(state: &LoopState, args: Args) -> Res {
    let (executor, func, rest) = bind(args)?;
    state.check_closed()?;
    if state.debug.get() {
        check_callback(state, func)?;
    }
    let executor = if is_none(executor) { default_executor(state)? } else { Obj::new(executor) };
    // SAFETY: a live object has a type.
    let kind = unsafe { Py_TYPE(executor.as_ptr()) };
    if is_direct(kind) && !hides_submit(executor.as_ptr()) {
        let args = tuple(rest)?;
        return call_method(names().run_for_loop, &[executor.as_ptr(), state.object, func, args.as_ptr()]);
    }
    // SAFETY: a loop's state.
    unsafe { loop_of(state) }.engine.calls.note_begin();
    let future = call_method(names().submit, &[&[executor.as_ptr(), func], rest].concat())?;
    let wrap = import_from(c"asyncio.futures", c"wrap_future")?;
    let keywords = tuple(&[names().loop_])?;
    call_kw(wrap.as_ptr(), &[future.as_ptr(), state.object], 1, keywords.as_ptr())
}

/// Both arguments may be given by name, as in asyncio's own method.
fn bind<'a>(args: Args<'a>) -> Res<(Raw, Raw, &'a [Raw])> {
    let mut named = [NULL; 2];
    args.keywords(&[names().executor, names().func], &mut named, METHOD)?;
    let given = args.len();
    for (i, name) in ["executor", "func"].into_iter().enumerate() {
        if given > i && !named[i].is_null() {
            return type_error_text(format!("{METHOD}() got multiple values for argument '{name}'"));
        }
    }
    let at = |i: usize| if given > i { args.get(i) } else { named[i] };
    let missing: Vec<&str> = ["executor", "func"]
        .into_iter()
        .enumerate()
        .filter(|(i, _)| at(*i).is_null())
        .map(|(_, n)| n)
        .collect();
    match missing.as_slice() {
        [] => Ok((at(0), at(1), args.after(2))),
        [name] => type_error_text(format!("{METHOD}() missing 1 required positional argument: '{name}'")),
        _ => type_error_text(format!(
            "{METHOD}() missing 2 required positional arguments: 'executor' and 'func'"
        )),
    }
}

#[cold]
fn check_callback(state: &LoopState, func: Raw) -> Res<()> {
    let check = getattr(stdlib().base_event_loop, intern(c"_check_callback")?)?;
    call(check.as_ptr(), &[state.object, func, intern(c"run_in_executor")?]).map(drop)
}

/// The loop's own pool, made when it is first needed.
fn default_executor(state: &LoopState) -> Res {
    let n = names();
    let executor = getattr(state.object, n.default_executor)?;
    if truth(getattr(state.object, n.executor_shutdown_called)?.as_ptr())? {
        call_method(n.check_default_executor, &[state.object])?;
    }
    if !is_none(executor.as_ptr()) {
        return Ok(executor);
    }
    call_method(n.make_default_executor, &[state.object])
}
