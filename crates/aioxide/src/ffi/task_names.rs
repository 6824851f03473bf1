//! The number in a task's automatic name: `Task-7`. asyncio counts in C, where no Python code can read it; tasks of ours
//! count on in the same place, so that a name is given once, whoever makes the task.
//!
//! The place is looked for at import: what grows by one with each of three specimen tasks. Where it is not found, ours
//! are counted apart.

use std::cell::Cell;
use std::ffi::CStr;
use std::ops::Range;

use pyo3_ffi::*;

use super::calls::{call_kw, call_method, tuple};
use super::cells::Locked;
use super::error::{self, Res};
use super::names::{imported, interned, text};
use super::object::{Obj, import};
use super::py::{Py, Ref};

/// Where the last number that was given stands.
static PLACE: Locked<Cell<*mut u64>> = Locked::new(Cell::new(std::ptr::null_mut()));

/// The next automatic name's number.
#[inline(always)]
pub fn next(py: Py) -> u64 {
    // SAFETY: set by `load` to a word of asyncio's that lives for ever, or to our own; under the GIL.
    unsafe {
        let place = PLACE.get(py).get();
        *place += 1;
        *place
    }
}

/// Looks for asyncio's counter with tasks of `owner`.
pub fn load(owner: Ref, coro: Ref) -> Res<()> {
    let found = find(owner, coro)?;
    PLACE.get(owner.py()).set(found.unwrap_or_else(|| Box::leak(Box::new(0))));
    Ok(())
}

fn find(owner: Ref, coro: Ref) -> Res<Option<*mut u64>> {
    let area = area()?;
    let mut tasks = Vec::new();
    let mut places: Option<Vec<*mut u64>> = None;
    for _ in 0..3 {
        let (task, number) = specimen(owner, coro)?;
        tasks.push(task);
        // A name of another form: no word may be taken for its number.
        let Some(number) = number else { return Ok(None) };
        let shows = |place: &*mut u64| {
            // SAFETY: an aligned word within the area, which is mapped and not written meanwhile: the GIL is held.
            unsafe { place.read_volatile() == number }
        };
        places = Some(match places {
            None => words(&area).filter(shows).collect(),
            Some(places) => places.into_iter().filter(shows).collect(),
        });
    }
    let places = places.unwrap_or_default();
    let [place] = places[..] else { return Ok(None) };
    // SAFETY: the counter; the three names were never seen.
    unsafe { *place -= 3 };
    Ok(Some(place))
}

fn words(area: &Range<usize>) -> impl Iterator<Item = *mut u64> {
    area.clone().step_by(size_of::<u64>()).map(|address| address as *mut u64)
}

/// A task with an automatic name, and the number in that.
fn specimen(owner: Ref, coro: Ref) -> Res<(Obj, Option<u64>)> {
    let kwnames = tuple(&[interned().loop_])?;
    let task = call_kw(imported().task_type, &[coro, owner], Some(kwnames.borrow()))?;
    // SAFETY: a live task; a text of ASCII.
    unsafe {
        super::object::check(PyObject_SetAttrString(
            task.as_ptr(),
            c"_log_destroy_pending".as_ptr(),
            Py_False(),
        ))?;
        let name = call_method(text(c"get_name")?, &[task.borrow()])?;
        let shown = PyUnicode_AsUTF8(name.as_ptr());
        let shown = if shown.is_null() { c"" } else { CStr::from_ptr(shown) };
        let number =
            shown.to_str().ok().and_then(|shown| shown.strip_prefix("Task-")).and_then(|n| n.parse().ok());
        Ok((task, number))
    }
}

/// Where it can be: in the state of the module `_asyncio`, or, where that has none (3.11), in the data of its library,
/// which its types are part of.
fn area() -> Res<Range<usize>> {
    let module = import(c"_asyncio")?;
    // SAFETY: a live module, whose definition lives as long.
    unsafe {
        let state = PyModule_GetState(module.as_ptr()) as usize;
        let definition = PyModule_GetDef(module.as_ptr());
        error::clear();
        let size = if definition.is_null() { 0 } else { (*definition).m_size.max(0) as usize };
        if state != 0 && size >= size_of::<u64>() {
            return Ok(state.next_multiple_of(size_of::<u64>())..(state + size) & !(size_of::<u64>() - 1));
        }
    }
    let kind = imported().task_type.as_ptr() as usize;
    let all = aioxide_sys::memory::writable_around(kind);
    Ok(all.start.max(kind.saturating_sub(FARTHEST))..all.end.min(kind + FARTHEST))
}

/// In bytes: `_asyncio`'s own data are a tenth of it.
const FARTHEST: usize = 1 << 18;
