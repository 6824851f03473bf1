//! Whether a program has put its own function in place of `asyncio.Handle._run`, as monitors of slow callbacks do
//! (aiodebug, logfire). A native loop calls no `_run`; where there is such a function, `engine::observed` does.
//!
//! A class's version tag tells, for one load and one comparison a callback. It is the tag of `TimerHandle`, which changes
//! with its base's too.

use std::cell::Cell;

use pyo3_ffi::*;

use super::handle;
use crate::ffi::names::{names, stdlib};
use crate::ffi::object::{getattr, import_from};
use crate::ffi::{Global, Obj, Raw, compat, error};

/// The tag for which it is known that nothing was replaced.
struct Known(Cell<u32>);

// SAFETY: read and written under the GIL.
unsafe impl Sync for Known {}

/// No class has this tag.
const NOTHING: u32 = u32::MAX;

static KNOWN: Known = Known(Cell::new(NOTHING));

/// The namespace of `asyncio.events`: what asyncio's own functions see as their globals, however they are wrapped.
static ASYNCIO: Global<Obj> = Global::new();

pub fn load() -> crate::ffi::Res<()> {
    ASYNCIO.set(import_from(c"asyncio.events", c"__dict__")?);
    Ok(())
}

/// Asked before each callback.
#[inline(always)]
pub fn is_set() -> bool {
    compat::version_tag(stdlib().timer_handle_type.cast()) != KNOWN.0.get() && look()
}

#[cold]
#[inline(never)]
fn look() -> bool {
    let all = [stdlib().handle_type, stdlib().timer_handle_type, stdlib().thread_safe_handle_type];
    let found = all.iter().any(|class| replaced_in(*class).is_some());
    // The look-ups have given the class a tag, unless the interpreter has run out of them: then each callback looks.
    let tag = compat::version_tag(stdlib().timer_handle_type.cast());
    KNOWN.0.set(if found || tag == 0 { NOTHING } else { tag });
    found
}

/// What the program has put in place of `class._run`.
fn replaced_in(class: Raw) -> Option<Obj> {
    let Ok(function) = getattr(class, names().private_run) else {
        error::clear();
        return None;
    };
    // SAFETY: a live object; the globals of a function are borrowed. The namespace was remembered at import.
    let own = unsafe {
        PyFunction_Check(function.as_ptr()) != 0
            && PyFunction_GetGlobals(function.as_ptr()) == ASYNCIO.get().as_ptr()
    };
    if own { None } else { Some(function) }
}

/// What is to run `handle` in place of native code. A thread-safe handle of ours has no lock, which asyncio's own
/// `_ThreadSafeHandle._run` takes before it calls its base's: so the base's is called.
pub fn function_for(handle: Raw) -> Option<Obj> {
    replaced_in(handle::class_of(handle)).or_else(|| replaced_in(stdlib().handle_type))
}
