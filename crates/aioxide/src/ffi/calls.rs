//! What is done to objects with a list of others: calls, tuples, dicts. (`object` has the same for rooms whose lists are of
//! pointers still.)

use pyo3_ffi::*;

use super::leaf::none_borrowed;
use super::object::{Obj, Raised, Res};
use super::py::{NULL, Object, Ref, raws};

#[inline(always)]
pub fn call(callable: impl Object, args: &[Ref]) -> Res {
    call_kw(callable, args, args.len(), None)
}

/// `args` are the positional arguments followed by the values for `kwnames`, a tuple of strings.
#[inline(always)]
pub fn call_kw(callable: impl Object, args: &[Ref], positional: usize, kwnames: Option<Ref>) -> Res {
    none_borrowed();
    debug_assert!(positional <= args.len());
    // SAFETY: all are borrowed for the call. The interpreter reads as many values as there are positional ones and names,
    // and refuses what is no tuple of strings only in its debug build: names come from such calls, or from `names`.
    Obj::steal(unsafe {
        PyObject_Vectorcall(
            callable.raw(),
            raws(args).as_ptr(),
            positional,
            kwnames.map_or(NULL, Ref::as_ptr),
        )
    })
}

/// As `call_kw`, the last of `args` being those that `kwnames` names.
pub fn call_with_names(callable: impl Object, args: &[Ref], kwnames: Option<Ref>) -> Res {
    // SAFETY: a tuple, where it is one; what is none the call refuses.
    let count = kwnames.map_or(0, |names| unsafe { PyTuple_Size(names.as_ptr()) }).max(0) as usize;
    call_kw(callable, args, args.len().saturating_sub(count), kwnames)
}

/// Calls `args[0].name(*args[1:])`.
#[inline(always)]
pub fn call_method(name: impl Object, args: &[Ref]) -> Res {
    none_borrowed();
    debug_assert!(!args.is_empty());
    // SAFETY: all are borrowed for the call, the receiver first.
    Obj::steal(unsafe { PyObject_VectorcallMethod(name.raw(), raws(args).as_ptr(), args.len(), NULL) })
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
