//! What is done to objects with a list of others: calls, tuples, dicts.

use pyo3_ffi::*;

use super::error::type_error;
use super::leaf::none_borrowed;
use super::object::{Obj, Raised, Res};
use super::py::{NULL, Object, Ref, raws};

#[inline(always)]
pub fn call(callable: impl Object, args: &[Ref]) -> Res {
    none_borrowed();
    // SAFETY: all are borrowed for the call.
    unsafe { Obj::steal(PyObject_Vectorcall(callable.raw(), raws(args).as_ptr(), args.len(), NULL)) }
}

/// How many of `args` are positional: the last are those that `kwnames` has names for.
fn positional(args: &[Ref], kwnames: Ref) -> Res<usize> {
    // SAFETY: raises for what is no tuple.
    let count = usize::try_from(unsafe { PyTuple_Size(kwnames.as_ptr()) }).map_err(|_| Raised)?;
    let positional = args.len().checked_sub(count);
    positional.map_or_else(|| type_error(c"a call has more names than arguments"), Ok)
}

/// The last of `args` are those that `kwnames`, a tuple of strings, has names for.
pub fn call_kw(callable: impl Object, args: &[Ref], kwnames: Option<Ref>) -> Res {
    none_borrowed();
    let Some(kwnames) = kwnames else { return call(callable, args) };
    let positional = positional(args, kwnames)?;
    // SAFETY: all are borrowed for the call, and as many as are positional and named.
    unsafe {
        Obj::steal(PyObject_Vectorcall(callable.raw(), raws(args).as_ptr(), positional, kwnames.as_ptr()))
    }
}

/// Calls `args[0].name(*args[1:])`.
#[inline(always)]
pub fn call_method(name: impl Object, args: &[Ref]) -> Res {
    none_borrowed();
    debug_assert!(!args.is_empty());
    // SAFETY: all are borrowed for the call, the receiver first.
    unsafe { Obj::steal(PyObject_VectorcallMethod(name.raw(), raws(args).as_ptr(), args.len(), NULL)) }
}

/// As `call_method`; the last of `args` are those that `kwnames`, a tuple of strings, has names for.
pub fn call_method_kw(name: impl Object, args: &[Ref], kwnames: Ref) -> Res {
    none_borrowed();
    let positional = positional(args, kwnames)?;
    // SAFETY: all are borrowed for the call, and as many as are positional, the receiver first, and named.
    unsafe {
        Obj::steal(PyObject_VectorcallMethod(name.raw(), raws(args).as_ptr(), positional, kwnames.as_ptr()))
    }
}

pub fn tuple(items: &[Ref]) -> Res {
    none_borrowed();
    // SAFETY: a new tuple of that size, each slot filled once with a new reference.
    unsafe {
        let made = Obj::steal(PyTuple_New(items.len() as Py_ssize_t))?;
        for (i, item) in items.iter().enumerate() {
            PyTuple_SET_ITEM(made.as_ptr(), i as Py_ssize_t, item.to_obj().into_raw());
        }
        Ok(made)
    }
}

/// A dict from pairs of interned names and objects.
pub fn dict(pairs: &[(Ref, Ref)]) -> Res {
    none_borrowed();
    // SAFETY: keys and values are borrowed for the call.
    unsafe {
        let made = Obj::steal(PyDict_New())?;
        for (key, value) in pairs {
            if PyDict_SetItem(made.as_ptr(), key.as_ptr(), value.as_ptr()) < 0 {
                return Err(Raised);
            }
        }
        Ok(made)
    }
}
