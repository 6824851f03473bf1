//! Snapshots of a context: what a context holds, without the context.
//!
//! `call_soon` runs its callback in a copy of the current context (PEP 567). A context is an object around one immutable
//! mapping, and to copy it is to make another object around the same mapping. So until the call runs the mapping is all that
//! is kept, of which a thousand calls share one; and where nobody keeps the handle, the context to run in is one that is
//! used again and again.
//!
//! Where in a context its mapping is, and where in the thread state the current context, is found out at import, by what
//! the public functions do to a specimen. Where it is not found, a snapshot is a copy.

use pyo3_ffi::*;

use super::context;
use super::error::Res;
use super::object::{Global, NULL, Obj, Slot};
use super::places::{self, WORD, only, thread_state, word};
use super::py::{Nullable, Object};
use super::refcount::refcount;
use super::typedef::size_of_type;

/// Offsets in bytes, and what is found there.
struct Places {
    /// Of the current context from the thread state.
    current: usize,
    /// Of the mapping from a context, and of the head of its weak references.
    mapping: usize,
    weakrefs: usize,
    mapping_type: *mut PyTypeObject,
    empty: Obj,
}

static PLACES: Global<Option<Places>> = Global::new();

pub fn load() -> Res<()> {
    PLACES.set(Places::find()?);
    Ok(())
}

#[inline(always)]
fn places() -> Option<&'static Places> {
    // SAFETY: set at import.
    unsafe { PLACES.get() }.as_ref()
}

impl Places {
    fn find() -> Res<Option<Places>> {
        // SAFETY: public constructors, and reads of words within objects that are alive.
        unsafe {
            let [first, variable] =
                [PyContext_New(), PyContextVar_New(c"aioxide".as_ptr(), NULL)].map(|made| Obj::steal(made));
            let (first, variable) = (first?, variable?);
            context::enter(&first)?;
            let current = only(places::words_with(thread_state(), places::THREAD_STATE, first.as_ptr()));
            let set = Obj::steal(PyContextVar_Set(variable.as_ptr(), variable.as_ptr()));
            context::exit(&first);
            drop(set?);
            let copy = Obj::steal(PyContext_Copy(first.as_ptr()))?;
            let (Some(current), Some(mapping)) = (current, shared_word(&first, &copy)) else {
                return Ok(None);
            };
            let mapping_type = Py_TYPE(word(first.as_ptr().cast(), mapping).get());
            let named = std::ffi::CStr::from_ptr((*mapping_type).tp_name) == c"hamt";
            let weakrefs = (*Py_TYPE(first.as_ptr())).tp_weaklistoffset;
            let fresh = Obj::steal(PyContext_New())?;
            let empty = word(fresh.as_ptr().cast(), mapping).share();
            let released = word(thread_state(), current).get() != first.as_ptr();
            let (true, true, true, Some(empty)) = (named, released, weakrefs > 0, empty) else {
                return Ok(None);
            };
            if empty.type_of() != mapping_type {
                return Ok(None);
            }
            Ok(Some(Places { current, mapping, weakrefs: weakrefs as usize, mapping_type, empty }))
        }
    }
}

/// The one word behind the head that a context and its copy have in common.
fn shared_word(context: &Obj, copy: &Obj) -> Option<usize> {
    let size = size_of_type(context.borrow().class());
    let at = |object: &Obj, offset: usize| {
        // SAFETY: within the object; what is no reference is compared only.
        unsafe { *object.as_ptr().cast::<u8>().add(offset).cast::<usize>() }
    };
    // The last word is a number of 32 bits, 0 here, and four bytes that nobody has written.
    let same = |offset: &usize| at(context, *offset) as u32 != 0 && at(context, *offset) == at(copy, *offset);
    only((size_of::<PyObject>()..=size - WORD).step_by(WORD).filter(same))
}

/// Whether the places were found; else a snapshot is a copy.
pub fn can_be_taken() -> bool {
    places().is_some()
}

/// The caller's context, or a snapshot of the current one where `given` is null.
#[inline(always)]
pub fn given_or_current(given: impl Nullable) -> Res {
    if let Some(given) = Obj::maybe(given) {
        return Ok(given);
    }
    let Some(places) = places() else { return context::copy_current() };
    // SAFETY: the places were found in a thread state and a context; the current context is alive.
    unsafe {
        let current = word(thread_state(), places.current).get();
        // A thread that has used no context yet has none.
        if current.is_null() {
            return context::copy_current();
        }
        Obj::steal(word(current.cast(), places.mapping).or_none().into_raw())
    }
}

/// Whether this is a snapshot, and not what a user gave as a context.
#[inline(always)]
pub fn is_snapshot(object: impl Object) -> bool {
    // SAFETY: a live object has a type.
    places().is_some_and(|places| unsafe { Py_TYPE(object.raw()) } == places.mapping_type)
}

/// A new context that holds what the snapshot does.
pub fn to_context(snapshot: Obj) -> Res {
    // SAFETY: plain constructor.
    let fresh = unsafe { Obj::steal(PyContext_New()) }?;
    swap(&fresh, snapshot);
    Ok(fresh)
}

/// What a user sees of a context or of a snapshot: a context.
pub fn shown(held: Obj) -> Res {
    if is_snapshot(&held) { to_context(held) } else { Ok(held) }
}

/// Puts another mapping into a context that nobody has entered; returns the one before.
#[inline(always)]
fn swap(context: &Obj, mapping: Obj) -> Option<Obj> {
    let places = places()?;
    // SAFETY: the place was found in a context, which never is without a mapping.
    unsafe { word(context.as_ptr().cast(), places.mapping).replace(Some(mapping)) }
}

/// Enters a context that holds what the snapshot does: the one in `spare`, or a new one.
#[inline(always)]
pub fn enter(spare: &Slot, snapshot: Obj) -> Res {
    let used = match spare.take() {
        Some(context) => {
            drop(swap(&context, snapshot));
            context
        }
        None => to_context(snapshot)?,
    };
    context::enter(&used)?;
    Ok(used)
}

/// Puts a context that was left back into `spare`, empty, unless somebody else has it by now.
#[inline(always)]
pub fn put_back(spare: &Slot, context: Obj) {
    let Some(places) = places() else { return };
    // SAFETY: the place was found in the type; no weak reference may lead to what is used again.
    let alone = unsafe {
        refcount(context.as_ptr()) == 1 && !word(context.as_ptr().cast(), places.weakrefs).is_set()
    };
    if alone {
        let held = swap(&context, places.empty.clone());
        drop(spare.replace(Some(context)));
        drop(held);
    }
}
