//! `loop.run_in_executor`: which executors take a call of a loop directly, past `concurrent.futures.Future`.
//!
//! A pool of ours has a method `_run_for_loop(loop, func, args)` that returns a future of that loop. It is called where
//! the user has not put a `submit` of his own in its place (tracers do): in a subclass, in the class, in the standard
//! library's class, or in the pool.

use std::cell::Cell;

use pyo3_ffi::*;

use super::standard::Standard;
use crate::engine::LoopObject;
use crate::ffi::args::type_error_text;
use crate::ffi::calls::{call, call_kw, call_method, tuple};
use crate::ffi::cells::Locked;
use crate::ffi::class::Native;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{getattr, import_from, truth};
use crate::ffi::{Args, Leaf, Obj, Raw, Ref, Res, compat, error};

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

static KNOWN: Locked<Known> =
    Locked::new(Known { classes: Leaf::new(Vec::new()), last: Cell::new((std::ptr::null_mut(), 0, None)) });

/// Tells of a class of pools, and of the standard one that it stands for.
pub fn register(class: Ref, standard: &'static Standard) -> Res<()> {
    let made = PoolClass {
        class: class.to_obj(),
        submit: getattr(class, interned().submit)?,
        run_for_loop: getattr(class, interned().run_for_loop)?,
        standard,
    };
    KNOWN.get(class.py()).classes.with(|classes| classes.push(made));
    Ok(())
}

/// Whether instances of the executor's type take calls of a loop directly.
#[inline(always)]
fn is_direct(executor: Ref) -> bool {
    let kind = executor.type_of();
    let (last, version, known) = KNOWN.get(executor.py()).last.get();
    let stands_for = if last == kind && version != 0 && version == compat::version_tag(kind) {
        known
    } else {
        look_at(executor)
    };
    stands_for.is_some_and(|standard| !standard.is_wrapped())
}

#[cold]
fn look_at(executor: Ref) -> Option<&'static Standard> {
    let (known, kind) = (KNOWN.get(executor.py()), executor.type_of());
    // The look-ups below may run Python code, so what they need is copied out before.
    let found = known.classes.with(|classes| {
        let of_kind = |known: &&PoolClass| compat::is_subtype(kind, known.class.as_ptr().cast());
        let found = classes.iter().find(of_kind);
        found.map(|known| (known.submit.clone(), known.run_for_loop.clone(), known.standard))
    });
    let (submit, run_for_loop, standard) = found?;
    // SAFETY: the executor's type lives as long as it.
    let class = unsafe { Ref::new(kind.cast()) };
    let is_own = |name: Ref, own: &Obj| match getattr(class, name) {
        Ok(method) => method.as_ptr() == own.as_ptr(),
        Err(_) => {
            error::clear();
            false
        }
    };
    let direct = is_own(interned().submit, &submit) && is_own(interned().run_for_loop, &run_for_loop);
    let answer = direct.then_some(standard);
    // The look-ups have given the type a tag, unless the interpreter has run out of them.
    known.last.set((kind, compat::version_tag(kind), answer));
    answer
}

/// Whether somebody has wrapped `submit` of the standard class that `class`, a registered one, stands for.
pub fn is_wrapped(class: Ref) -> bool {
    let found = KNOWN.get(class.py()).classes.with(|classes| {
        classes.iter().find(|known| known.class.borrow() == class).map(|known| known.standard)
    });
    found.is_some_and(Standard::is_wrapped)
}

/// Whether the instance itself has a `submit` that hides its class's.
fn hides_submit(executor: Ref) -> bool {
    // SAFETY: a live object; the dict is looked at and released.
    unsafe {
        let Ok(dict) = Obj::steal(PyObject_GenericGetDict(executor.as_ptr(), std::ptr::null_mut())) else {
            error::clear();
            return false;
        };
        PyDict_Contains(dict.as_ptr(), interned().submit.as_ptr()) != 0
    }
}

unsafe extern "C" {
    fn PyObject_GenericGetDict(object: Raw, context: *mut std::ffi::c_void) -> Raw;
}

// --------------------------------------------------------------------------------------------------- the method

const METHOD: &str = "BaseEventLoop.run_in_executor";

/// `run_in_executor(executor, func, *args)`: checks and errors of `BaseEventLoop.run_in_executor`.
pub fn run_in_executor(this: &LoopObject, args: Args) -> Res {
    let (executor, func, rest) = bind(args)?;
    this.state.check_closed()?;
    if this.state.debug.get() {
        check_callback(this, func)?;
    }
    let executor = if executor.is_none() { default_executor(this)? } else { executor.to_obj() };
    let pool = executor.borrow();
    if is_direct(pool) && !hides_submit(pool) {
        let args = tuple(rest)?;
        return call_method(interned().run_for_loop, &[pool, this.object(), func, args.borrow()]);
    }
    this.engine.calls.note_begin();
    wrap(this.object(), &[&[pool, func], rest].concat())
}

/// `asyncio.wrap_future(pool.submit(func, *args), loop=owner)`, for `[pool, func, *args]`.
pub fn wrap(owner: Ref, call: &[Ref]) -> Res {
    let future = call_method(interned().submit, call)?;
    let wrap = import_from(c"asyncio.futures", c"wrap_future")?;
    let keywords = tuple(&[interned().loop_])?;
    call_kw(&wrap, &[future.borrow(), owner], Some(keywords.borrow()))
}

/// Both arguments may be given by name, as in asyncio's own method.
fn bind<'a>(args: Args<'a>) -> Res<(Ref<'a>, Ref<'a>, &'a [Ref<'a>])> {
    const NAMES: [&str; 2] = ["executor", "func"];
    let named = args.named([interned().executor, interned().func], METHOD)?;
    let given = args.given();
    let twice = named.iter().take(given.len()).position(Option::is_some);
    if let Some(name) = twice.map(|at| NAMES[at]) {
        return type_error_text(format!("{METHOD}() got multiple values for argument '{name}'"));
    }
    let at = |i: usize| given.get(i).copied().or(named[i]);
    match (at(0), at(1)) {
        (Some(executor), Some(func)) => Ok((executor, func, given.get(2..).unwrap_or_default())),
        (None, None) => type_error_text(format!(
            "{METHOD}() missing 2 required positional arguments: 'executor' and 'func'"
        )),
        (executor, _) => {
            let name = NAMES[usize::from(executor.is_some())];
            type_error_text(format!("{METHOD}() missing 1 required positional argument: '{name}'"))
        }
    }
}

#[cold]
fn check_callback(this: &LoopObject, func: Ref) -> Res<()> {
    let check = getattr(imported().base_event_loop, text(c"_check_callback")?)?;
    call(&check, &[this.object(), func, text(c"run_in_executor")?]).map(drop)
}

/// The loop's own pool, made when it is first needed.
fn default_executor(this: &LoopObject) -> Res {
    let (n, owner) = (interned(), this.object());
    let executor = getattr(owner, n.default_executor)?;
    if truth(&getattr(owner, n.executor_shutdown_called)?)? {
        call_method(n.check_default_executor, &[owner])?;
    }
    if !executor.borrow().is_none() {
        return Ok(executor);
    }
    call_method(n.make_default_executor, &[owner])
}
