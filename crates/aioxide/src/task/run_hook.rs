//! Whether a program has put its own function in place of `asyncio.Handle._run`, as monitors of slow callbacks do
//! (aiodebug, logfire). A native loop calls no `_run`; where there is such a function, `engine::observed` does.
//!
//! From 3.12 on the interpreter tells of changes of a class, so that each callback looks at one flag. Before, the class's
//! version tag is compared: that of `TimerHandle`, which changes with its base's too.

use std::cell::Cell;
#[cfg(Py_3_12)]
use std::ffi::c_int;

use pyo3_ffi::*;

use super::handle_type;
use crate::ffi::names::{names, stdlib};
use crate::ffi::object::{getattr, import_from};
use crate::ffi::{Global, Obj, Raw, compat, error};

struct Known {
    /// Something may have been replaced since it was looked.
    changed: Cell<bool>,
    /// The version tag of `TimerHandle` for which it is known that nothing was.
    tag: Cell<u32>,
    /// Nothing tells of changes.
    unwatched: Cell<bool>,
}

// SAFETY: read and written under the GIL.
unsafe impl Sync for Known {}

/// No class has this tag.
const NOTHING: u32 = u32::MAX;

static KNOWN: Known =
    Known { changed: Cell::new(true), tag: Cell::new(NOTHING), unwatched: Cell::new(cfg!(not(Py_3_12))) };

/// The namespace of `asyncio.events`: what asyncio's own functions see as their globals, however they are wrapped.
static ASYNCIO: Global<Obj> = Global::new();

pub fn load() -> crate::ffi::Res<()> {
    ASYNCIO.set(import_from(c"asyncio.events", c"__dict__")?);
    #[cfg(Py_3_12)]
    watch();
    Ok(())
}

fn classes() -> [Raw; 3] {
    [stdlib().handle_type, stdlib().timer_handle_type, stdlib().thread_safe_handle_type]
}

#[cfg(Py_3_12)]
fn watch() {
    // SAFETY: live classes, which the module keeps for ever, and a function of the type that is asked for.
    unsafe {
        let id = PyType_AddWatcher(Some(note_change));
        if id < 0 || classes().iter().any(|class| PyType_Watch(id, *class) < 0) {
            // All eight watchers are taken: then tags are compared.
            error::clear();
            KNOWN.unwatched.set(true);
        }
    }
}

#[cfg(Py_3_12)]
extern "C" fn note_change(_: Raw) -> c_int {
    KNOWN.changed.set(true);
    KNOWN.tag.set(NOTHING);
    0
}

/// Asked before each callback.
#[inline(always)]
pub fn is_set() -> bool {
    KNOWN.changed.get() && look_again()
}

#[inline(always)]
fn look_again() -> bool {
    compat::version_tag(stdlib().timer_handle_type.cast()) != KNOWN.tag.get() && look()
}

#[cold]
#[inline(never)]
fn look() -> bool {
    let found = classes().iter().any(|class| replaced_in(*class).is_some());
    // The look-ups have given the classes tags, unless the interpreter has run out of them: then each callback looks.
    let tag = compat::version_tag(stdlib().timer_handle_type.cast());
    let sure = !found && tag != 0;
    KNOWN.tag.set(if sure { tag } else { NOTHING });
    KNOWN.changed.set(!sure || KNOWN.unwatched.get());
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
    replaced_in(handle_type::class_of(handle)).or_else(|| replaced_in(stdlib().handle_type))
}

#[cfg(Py_3_12)]
unsafe extern "C" {
    fn PyType_AddWatcher(callback: Option<unsafe extern "C" fn(Raw) -> c_int>) -> c_int;
    fn PyType_Watch(id: c_int, class: Raw) -> c_int;
}
