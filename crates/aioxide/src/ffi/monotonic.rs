//! `time.monotonic`, which tests put a function of their own in place of: asyncio's clock follows, and so must ours. A look
//! at the module for each reading of the clock would cost half of that; so its namespace is watched.

use std::cell::Cell;
#[cfg(Py_3_12)]
use std::ffi::c_int;

use pyo3_ffi::*;

use super::calls::call;
use super::cells::Locked;
#[cfg(Py_3_12)]
use super::error;
use super::error::Res;
use super::number::as_f64;
use super::object::{Global, Obj, Raw, import_from};
use super::py::{Py, Ref};

struct Watched {
    namespace: Raw,
    own: Obj,
    name: Raw,
}

static WATCHED: Global<Watched> = Global::new();

/// From 3.12 on: the namespace was changed since it was looked at.
#[cfg(Py_3_12)]
static CHANGED: Locked<Cell<bool>> = Locked::new(Cell::new(true));

/// Before: the version of the namespace for which it is known that nothing was replaced.
#[cfg(not(Py_3_12))]
static CHANGED: Locked<Cell<u64>> = Locked::new(Cell::new(0));

pub fn load(#[cfg_attr(not(Py_3_12), allow(unused))] py: Py) -> Res<()> {
    let namespace = import_from(c"time", c"__dict__")?.into_raw();
    let name = super::names::text(c"monotonic")?.as_ptr();
    let own = import_from(c"time", c"monotonic")?;
    WATCHED.set(Watched { namespace, own, name });
    #[cfg(Py_3_12)]
    // SAFETY: a live dict, which is never freed, and a function of the type that is asked for.
    unsafe {
        let id = PyDict_AddWatcher(Some(note_change));
        if id < 0 || PyDict_Watch(id, namespace) < 0 {
            // All eight watchers are taken: then each reading looks.
            error::clear();
            UNWATCHED.get(py).set(true);
        }
    }
    Ok(())
}

/// Nothing tells of changes.
#[cfg(Py_3_12)]
static UNWATCHED: Locked<Cell<bool>> = Locked::new(Cell::new(false));

#[cfg(Py_3_12)]
extern "C" fn note_change(_: c_int, _: Raw, _: Raw, _: Raw) -> c_int {
    // SAFETY: the interpreter calls it where a dict is changed.
    CHANGED.get(unsafe { Py::assume() }).set(true);
    0
}

/// Whether something may have been put in place of it.
#[cfg(Py_3_12)]
#[inline(always)]
pub fn has_changed(py: Py) -> bool {
    CHANGED.get(py).get()
}

/// As above.
#[cfg(not(Py_3_12))]
#[inline(always)]
pub fn has_changed(py: Py) -> bool {
    // SAFETY: a dict, which is never freed.
    unsafe { version(WATCHED.get().namespace) != CHANGED.get(py).get() }
}

/// # Safety
/// `dict` is a dict.
#[cfg(not(Py_3_12))]
unsafe fn version(dict: Raw) -> u64 {
    // SAFETY: all dicts of these versions have the field.
    unsafe { (*dict.cast::<PyDictObject>()).ma_version_tag }
}

/// What the program's own clock says, in seconds, if it has put one in place of `time.monotonic`.
#[inline(always)]
pub fn replaced(py: Py) -> Option<Res<f64>> {
    if has_changed(py) { look(py) } else { None }
}

#[cold]
#[inline(never)]
fn look(py: Py) -> Option<Res<f64>> {
    // SAFETY: set at import; a live dict, from which a borrowed reference is taken and held.
    unsafe {
        let watched = WATCHED.get();
        let now = Ref::maybe(PyDict_GetItemWithError(watched.namespace, watched.name))?.to_obj();
        if now.as_ptr() != watched.own.as_ptr() {
            return Some(call(&now, &[]).and_then(|value| as_f64(&value)));
        }
        #[cfg(Py_3_12)]
        CHANGED.get(py).set(UNWATCHED.get(py).get());
        #[cfg(not(Py_3_12))]
        CHANGED.get(py).set(version(watched.namespace));
        None
    }
}

#[cfg(Py_3_12)]
unsafe extern "C" {
    fn PyDict_AddWatcher(callback: Option<unsafe extern "C" fn(c_int, Raw, Raw, Raw) -> c_int>) -> c_int;
}
