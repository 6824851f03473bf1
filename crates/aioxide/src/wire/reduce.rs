//! What objects are reduced to, where that is not pickle's own business: numpy arrays, whose memory travels apart, and up to
//! CPython 3.13 everything, as the standard library's pool pickles by protocol 4 there. numpy, for one, keeps an array's
//! read-only flag and the order of its bytes from protocol 5 on only, and libraries may do anything by that number.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::slab;
use crate::ffi::buffer::View;
use crate::ffi::names::intern;
use crate::ffi::object::{call, call_method, dict, getattr, getattr_opt, import_from, int, string, tuple};
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Res, error};

/// `pickle.DEFAULT_PROTOCOL` of this version, which the standard library's pool uses.
const PROTOCOL: i64 = if cfg!(Py_3_14) { 5 } else { 4 };

struct Reducing {
    reduce_ex: Raw,
    byteorder: Raw,
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
        reduce_ex: intern(c"__reduce_ex__")?,
        byteorder: intern(c"byteorder")?,
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
    let (name, bases, namespace) = (string("Pickler")?, tuple(&[base.as_ptr()])?, dict(&[])?);
    let kind = (&raw mut PyType_Type).cast();
    call(kind, &[name.as_ptr(), bases.as_ptr(), namespace.as_ptr()])
}

/// Has a pickler reduce objects by the version's protocol, though it writes protocol 5; `reducer` is called with each object.
pub fn set_up(pickler: &Obj, reducer: impl FnOnce() -> Res) -> Res<()> {
    if PROTOCOL == 5 {
        return Ok(());
    }
    crate::ffi::object::setattr(pickler.as_ptr(), intern(c"reducer_override")?, reducer()?.as_ptr())
}

/// Whether it is numpy's array itself, and no subclass: that is what protocol 5 takes apart.
pub fn is_array_type(kind: Raw) -> bool {
    // SAFETY: a live object; the name of a type lives as long as it.
    unsafe {
        PyType_Check(kind) != 0 && CStr::from_ptr((*kind.cast::<PyTypeObject>()).tp_name) == c"numpy.ndarray"
    }
}

/// What an array is reduced to, and the `PickleBuffer` over its memory that this holds, if there is one. Memory of less than
/// `small` bytes that is not shared is not worth one where it costs more than the pickle's own way.
pub fn array(array: Raw, small: usize) -> Res<(Obj, Raw)> {
    if PROTOCOL == 5 {
        let reduced = call_method(reducing().reduce_ex, &[array, reducing().five.as_ptr()])?;
        let buffer = buffer_of(&reduced);
        return Ok((reduced, buffer));
    }
    if let Some(reduced) = array_apart(array, small)? {
        return Ok(reduced);
    }
    Ok((call_method(reducing().reduce_ex, &[array, reducing().default.as_ptr()])?, NULL))
}

/// What stands for an array on a version of protocol 4, where its memory is to travel apart: what the other side makes of it
/// must be the same. An array whose bytes are swapped is better left to numpy, which puts them in order.
fn array_apart(array: Raw, small: usize) -> Res<Option<(Obj, Raw)>> {
    let r = reducing();
    let Ok(view) = View::new(array, PyBUF_ANY_CONTIGUOUS) else {
        error::clear();
        return Ok(None);
    };
    let shared = slab::find_shared(view.start(), view.len()).is_some();
    if !shared && view.len() < small {
        return Ok(None);
    }
    drop(view);
    let reduced = call_method(r.reduce_ex, &[array, r.five.as_ptr()])?;
    let buffer = buffer_of(&reduced);
    if buffer.is_null() {
        return Ok(None);
    }
    if shared {
        return Ok(Some((reduced, buffer)));
    }
    // SAFETY: a tuple whose second item is a tuple that begins with the buffer, as `buffer_of` has seen.
    let args = unsafe { Obj::new(PyTuple_GET_ITEM(reduced.as_ptr(), 1)) };
    if !is_plain(&args)? {
        return Ok(None);
    }
    Ok(Some((tuple(&[r.array_of.as_ptr(), args.as_ptr()])?, buffer)))
}

/// Whether these are `(buffer, dtype, shape, order)`, and the bytes in this machine's order.
fn is_plain(args: &Obj) -> Res<bool> {
    // SAFETY: a tuple; the item is there.
    let kind = unsafe {
        if PyTuple_GET_SIZE(args.as_ptr()) != 4 {
            return Ok(false);
        }
        PyTuple_GET_ITEM(args.as_ptr(), 1)
    };
    let order = getattr(kind, reducing().byteorder)?;
    let swapped = if cfg!(target_endian = "little") { c">" } else { c"<" };
    // SAFETY: compares a str, which is checked.
    Ok(unsafe {
        PyUnicode_Check(order.as_ptr()) != 0
            && PyUnicode_CompareWithASCIIString(order.as_ptr(), swapped.as_ptr()) != 0
    })
}

/// The `PickleBuffer` that an array was reduced to: the first argument of what makes an array of it.
fn buffer_of(reduced: &Obj) -> Raw {
    let first_of = |raw: Raw, at: Py_ssize_t| {
        // SAFETY: checks that it is a tuple which is long enough.
        unsafe {
            if PyTuple_Check(raw) != 0 && PyTuple_GET_SIZE(raw) > at {
                PyTuple_GET_ITEM(raw, at)
            } else {
                NULL
            }
        }
    };
    let args = first_of(reduced.as_ptr(), 1);
    let first = if args.is_null() { NULL } else { first_of(args, 0) };
    // SAFETY: looks at the type of a live object.
    if !first.is_null() && unsafe { Py_TYPE(first) }.cast() == reducing().buffer_type.as_ptr() {
        return first;
    }
    NULL
}

/// What any object is reduced to by the version's own protocol; `NotImplemented` where that makes no difference.
pub fn by_default_protocol(object: Raw) -> Res {
    let r = reducing();
    // SAFETY: looks at the type of a live object; the tables are dicts. Looking up a type runs no code of users but
    // hashing of metaclasses.
    unsafe {
        let kind = Py_TYPE(object).cast::<PyObject>();
        let mut usual =
            PyType_Check(object) != 0 || kind == (&raw mut PyFunction_Type).cast() || is_array_type(kind);
        for table in &r.tables {
            usual = usual || !PyDict_GetItemWithError(table.as_ptr(), kind).is_null();
            if error::occurred() {
                return Err(Raised);
            }
        }
        if usual {
            return Ok(Obj::new(Py_NotImplemented()));
        }
    }
    let protocol = if is_handle(object)? { &r.five } else { &r.default };
    match getattr_opt(object, r.reduce_ex)? {
        Some(reduce) => call(reduce.as_ptr(), &[protocol.as_ptr()]),
        // SAFETY: it always lives.
        None => Ok(Obj::new(unsafe { Py_NotImplemented() })),
    }
}

/// Whether it is what `pool.share()` returns: that goes without a copy on every version.
fn is_handle(object: Raw) -> Res<bool> {
    // SAFETY: a live object; the name of a type lives as long as it, and the str is checked.
    unsafe {
        let kind = Py_TYPE(object);
        if CStr::from_ptr((*kind).tp_name) != c"Handle" {
            return Ok(false);
        }
        let module = getattr(kind.cast(), intern(c"__module__")?)?;
        Ok(PyUnicode_Check(module.as_ptr()) != 0
            && PyUnicode_CompareWithASCIIString(module.as_ptr(), c"aioxide.shared".as_ptr()) == 0)
    }
}
