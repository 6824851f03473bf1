//! Whether a program has put its own function in place of `asyncio.Handle._run`, as monitors of slow callbacks do
//! (aiodebug, logfire). A native loop calls no `_run`; where there is such a function, `engine::observed` does.
//!
//! From 3.12 on the interpreter tells of changes of a class, so that each callback looks at one flag. Before, the class's
//! version tag is compared: that of `TimerHandle`, which changes with its base's too.

use std::cell::Cell;
#[cfg(Py_3_12)]
use std::ffi::c_int;

use pyo3_ffi::*;

use super::handle::Handle;
use super::handle_type;
#[cfg(Py_3_12)]
use crate::ffi::Raw;
use crate::ffi::cells::Locked;
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{getattr, import_from};
use crate::ffi::{Global, Obj, Py, Ref, compat, error};

struct Known {
    /// Something may have been replaced since it was looked.
    changed: Cell<bool>,
    /// The version tag of `TimerHandle` for which it is known that nothing was.
    tag: Cell<u32>,
    /// Nothing tells of changes.
    unwatched: Cell<bool>,
}

/// No class has this tag.
const NOTHING: u32 = u32::MAX;

static KNOWN: Locked<Known> = Locked::new(Known {
    changed: Cell::new(true),
    tag: Cell::new(NOTHING),
    unwatched: Cell::new(cfg!(not(Py_3_12))),
});

/// The namespace of `asyncio.events`: what asyncio's own functions see as their globals, however they are wrapped.
static ASYNCIO: Global<Obj> = Global::new();

pub fn load(py: Py) -> crate::ffi::Res<()> {
    ASYNCIO.set(import_from(c"asyncio.events", c"__dict__")?);
    #[cfg(Py_3_12)]
    watch(py);
    #[cfg(not(Py_3_12))]
    let _ = py;
    Ok(())
}

fn classes() -> [Ref<'static>; 3] {
    let i = imported();
    [i.handle_type, i.timer_handle_type, i.thread_safe_handle_type]
}

#[cfg(Py_3_12)]
fn watch(py: Py) {
    // SAFETY: live classes, which the module keeps for ever, and a function of the type that is asked for.
    unsafe {
        let id = PyType_AddWatcher(Some(note_change));
        if id < 0 || classes().iter().any(|class| PyType_Watch(id, class.as_ptr()) < 0) {
            // All eight watchers are taken: then tags are compared.
            error::clear();
            KNOWN.get(py).unwatched.set(true);
        }
    }
}

/// # Safety
/// The calling thread holds the GIL.
#[cfg(Py_3_12)]
unsafe extern "C" fn note_change(_: Raw) -> c_int {
    // SAFETY: the caller's word.
    let known = KNOWN.get(unsafe { Py::assume() });
    known.changed.set(true);
    known.tag.set(NOTHING);
    0
}

/// Asked before each callback.
#[inline(always)]
pub fn is_set(py: Py) -> bool {
    let known = KNOWN.get(py);
    known.changed.get() && tag() != known.tag.get() && look(known)
}

#[inline(always)]
fn tag() -> u32 {
    compat::version_tag(imported().timer_handle_type.as_ptr().cast())
}

#[cold]
#[inline(never)]
fn look(known: &Known) -> bool {
    let found = classes().iter().any(|class| replaced_in(*class).is_some());
    // The look-ups have given the classes tags, unless the interpreter has run out of them: then each callback looks.
    let tag = tag();
    let sure = !found && tag != 0;
    known.tag.set(if sure { tag } else { NOTHING });
    known.changed.set(!sure || known.unwatched.get());
    found
}

/// What the program has put in place of `class._run`.
fn replaced_in(class: Ref) -> Option<Obj> {
    let Ok(function) = getattr(class, interned().private_run) else {
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
pub fn function_for(handle: &Handle) -> Option<Obj> {
    replaced_in(handle_type::class_of(handle)).or_else(|| replaced_in(imported().handle_type))
}

#[cfg(Py_3_12)]
unsafe extern "C" {
    fn PyType_AddWatcher(callback: Option<unsafe extern "C" fn(Raw) -> c_int>) -> c_int;
    fn PyType_Watch(id: c_int, class: Raw) -> c_int;
}
