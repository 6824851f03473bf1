//! What objects are reduced to, where that is not pickle's own business: numpy arrays, whose memory travels apart, and up to
//! CPython 3.13 everything, as the standard library's pool pickles by protocol 4 there. numpy, for one, keeps an array's
//! read-only flag and the order of its bytes from protocol 5 on only, and libraries may do anything by that number.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::slab;
use crate::ffi::buffer::View;
use crate::ffi::calls::{call, call_method, dict, tuple};
use crate::ffi::names::text;
use crate::ffi::object::{getattr, getattr_opt, import_from, int, not_implemented, setattr, string};
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Ref, Res, error};

/// `pickle.DEFAULT_PROTOCOL` of this version, which the standard library's pool uses.
const PROTOCOL: i64 = if cfg!(Py_3_14) { 5 } else { 4 };

struct Reducing {
    reduce_ex: Ref<'static>,
    byteorder: Ref<'static>,
    default: Obj,
    five: Obj,
    buffer_type: Obj,
    /// Makes an array of a buffer as protocol 4 does: writable.
    array_of: Obj,
    /// The tables of reducers.
    tables: [Obj; 2],
}

static REDUCING: Global<Reducing> = Global::new();

fn reducing() -> &'static Reducing {
    // SAFETY: filled by `load`, before there is a pickler.
    unsafe { REDUCING.get() }
}

/// Looks up what is used here; `tables` are dicts.
pub fn load(extra: &Obj, usual: &Obj) -> Res<()> {
    REDUCING.set(Reducing {
        reduce_ex: text(c"__reduce_ex__")?,
        byteorder: text(c"byteorder")?,
        default: int(PROTOCOL)?,
        five: int(5)?,
        buffer_type: import_from(c"_pickle", c"PickleBuffer")?,
        array_of: import_from(c"_aioxide_worker", c"array_of")?,
        tables: [extra.clone(), usual.clone()],
    });
    Ok(())
}

/// The pickler's type: one whose objects take a `reducer_override`, where that is needed.
pub fn pickler_type(base: Obj) -> Res {
    if PROTOCOL == 5 {
        return Ok(base);
    }
    let (name, bases, namespace) = (string("Pickler")?, tuple(&[base.borrow()])?, dict(&[])?);
    // SAFETY: the interpreter's own type of types.
    let kind = unsafe { Ref::new((&raw mut PyType_Type).cast()) };
    call(kind, &[name.borrow(), bases.borrow(), namespace.borrow()])
}

/// Has a pickler reduce objects by the version's protocol, though it writes protocol 5; `reducer` is called with each object.
pub fn set_up(pickler: &Obj, reducer: impl FnOnce() -> Res) -> Res<()> {
    if PROTOCOL == 5 {
        return Ok(());
    }
    setattr(pickler, text(c"reducer_override")?, &reducer()?)
}

/// Whether it is numpy's array itself, and no subclass: that is what protocol 5 takes apart.
pub fn is_array_type(kind: Ref) -> bool {
    // SAFETY: checks that it is a type.
    unsafe { PyType_Check(kind.as_ptr()) != 0 && type_name(kind.as_ptr().cast()) == c"numpy.ndarray" }
}

/// # Safety
/// `kind` is a type that lives for `'a`.
unsafe fn type_name<'a>(kind: *mut PyTypeObject) -> &'a CStr {
    // SAFETY: a type's name lives as long as it.
    unsafe { CStr::from_ptr((*kind).tp_name) }
}

/// What an array is reduced to, and the `PickleBuffer` over its memory that this holds, if there is one. Memory of less than
/// `small` bytes that is not shared is not worth one where it costs more than the pickle's own way.
pub fn array(array: Ref, small: usize) -> Res<(Obj, Raw)> {
    if PROTOCOL == 5 {
        let reduced = call_method(reducing().reduce_ex, &[array, reducing().five.borrow()])?;
        let buffer = buffer_of(&reduced).map_or(NULL, Ref::as_ptr);
        return Ok((reduced, buffer));
    }
    if let Some(reduced) = array_apart(array, small)? {
        return Ok(reduced);
    }
    Ok((call_method(reducing().reduce_ex, &[array, reducing().default.borrow()])?, NULL))
}

/// What stands for an array on a version of protocol 4, where its memory is to travel apart: what the other side makes of it
/// must be the same. An array whose bytes are swapped is better left to numpy, which puts them in order.
fn array_apart(array: Ref, small: usize) -> Res<Option<(Obj, Raw)>> {
    let r = reducing();
    let Ok(view) = View::new(array, PyBUF_ANY_CONTIGUOUS) else {
        error::clear();
        return Ok(None);
    };
    let shared = slab::find_shared(&view).is_some();
    if !shared && view.len() < small {
        return Ok(None);
    }
    drop(view);
    let reduced = call_method(r.reduce_ex, &[array, r.five.borrow()])?;
    let Some(buffer) = buffer_of(&reduced).map(Ref::as_ptr) else { return Ok(None) };
    if shared {
        return Ok(Some((reduced, buffer)));
    }
    // `buffer_of` has seen that they are there, and begin with the buffer.
    match item(reduced.borrow(), 1) {
        Some(args) if is_plain(args)? => Ok(Some((tuple(&[r.array_of.borrow(), args])?, buffer))),
        _ => Ok(None),
    }
}

/// Whether these are `(buffer, dtype, shape, order)`, and the bytes in this machine's order.
fn is_plain(args: Ref) -> Res<bool> {
    let Some(kind) = item(args, 1).filter(|_| item(args, 3).is_some() && item(args, 4).is_none()) else {
        return Ok(false);
    };
    let order = getattr(kind, reducing().byteorder)?;
    let swapped = if cfg!(target_endian = "little") { c">" } else { c"<" };
    // SAFETY: looks at the type of a live object.
    Ok(unsafe { PyUnicode_Check(order.as_ptr()) } != 0 && !says(&order, swapped))
}

/// Whether it is a str, and this one.
fn says(value: &Obj, text: &CStr) -> bool {
    // SAFETY: compares what is checked to be a str.
    unsafe {
        PyUnicode_Check(value.as_ptr()) != 0
            && PyUnicode_CompareWithASCIIString(value.as_ptr(), text.as_ptr()) == 0
    }
}

/// The item of a tuple that is long enough.
fn item(tuple: Ref, at: Py_ssize_t) -> Option<Ref> {
    // SAFETY: the tuple keeps its items.
    unsafe {
        let there = PyTuple_Check(tuple.as_ptr()) != 0 && PyTuple_GET_SIZE(tuple.as_ptr()) > at;
        there.then(|| Ref::new(PyTuple_GET_ITEM(tuple.as_ptr(), at)))
    }
}

/// The `PickleBuffer` that an array was reduced to: the first argument of what makes an array of it.
fn buffer_of(reduced: &Obj) -> Option<Ref<'_>> {
    let first = item(item(reduced.borrow(), 1)?, 0)?;
    (first.type_of().cast() == reducing().buffer_type.as_ptr()).then_some(first)
}

/// What any object is reduced to by the version's own protocol; `NotImplemented` where that makes no difference.
pub fn by_default_protocol(object: Ref) -> Res {
    let r = reducing();
    // SAFETY: looks at the type of a live object; the tables are dicts. Looking up a type runs no code of users but
    // hashing of metaclasses.
    let usual = unsafe {
        let kind = object.type_of().cast::<PyObject>();
        let mut usual = PyType_Check(object.as_ptr()) != 0
            || kind == (&raw mut PyFunction_Type).cast()
            || is_array_type(Ref::new(kind));
        for table in &r.tables {
            usual = usual || !PyDict_GetItemWithError(table.as_ptr(), kind).is_null();
            if error::occurred() {
                return Err(Raised);
            }
        }
        usual
    };
    if usual {
        return Ok(not_implemented());
    }
    let protocol = if is_handle(object)? { &r.five } else { &r.default };
    match getattr_opt(object, r.reduce_ex)? {
        Some(reduce) => call(&reduce, &[protocol.borrow()]),
        None => Ok(not_implemented()),
    }
}

/// Whether it is what `pool.share()` returns: that goes without a copy on every version.
fn is_handle(object: Ref) -> Res<bool> {
    // SAFETY: a live object has a type, which lives as long as it.
    let (name, kind) = unsafe { (type_name(object.type_of()), Ref::new(object.type_of().cast())) };
    Ok(name == c"Handle" && says(&getattr(kind, text(c"__module__")?)?, c"aioxide.shared"))
}
