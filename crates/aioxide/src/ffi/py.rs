//! Borrowed references, and the proof that the GIL is held.
//!
//! Who can touch an object holds the GIL: `Obj` and `Ref` cannot leave their thread, and whoever lets go of the GIL
//! (`gil::release`) answers for it that nothing of them is used until it has it again. So every reference has the proof
//! with it (`Ref::py`), as has every body of a native object that one is cast to (`class::Native::py`); only where there
//! is no object yet is it assumed, by the few who have just taken the GIL or were called by the interpreter. What gives out
//! an object for nothing (`none`, `int`, `interned`, `builtin`) does not ask for it: whoever lets go of the GIL answers for
//! not calling that either.

use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3_ffi::*;

/// A pointer to an object, as the C API hands it around: no proof of anything.
pub type Raw = *mut PyObject;

pub const NULL: Raw = std::ptr::null_mut();

/// The calling thread holds the GIL while this is in use.
#[derive(Clone, Copy)]
pub struct Py<'py>(PhantomData<(&'py (), Raw)>);

impl<'py> Py<'py> {
    /// # Safety
    /// The calling thread holds the GIL, and does not let go of it while the token or what was made with it is in use.
    #[inline(always)]
    pub unsafe fn assume() -> Py<'py> {
        Py(PhantomData)
    }
}

/// A borrowed reference to an object that lives for `'a`. `Option<Ref>` is one word, which may be null.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ref<'a>(NonNull<PyObject>, PhantomData<&'a PyObject>);

impl<'a> Ref<'a> {
    /// # Safety
    /// `raw` is an object that lives for `'a`; the thread holds the GIL.
    #[inline(always)]
    pub unsafe fn new(raw: Raw) -> Ref<'a> {
        // SAFETY: an object's address is not null.
        Ref(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }

    /// # Safety
    /// As `new`, or `raw` is null.
    #[inline(always)]
    pub unsafe fn maybe(raw: Raw) -> Option<Ref<'a>> {
        NonNull::new(raw).map(|object| Ref(object, PhantomData))
    }

    #[inline(always)]
    pub fn as_ptr(self) -> Raw {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub fn py(self) -> Py<'a> {
        Py(PhantomData)
    }

    #[inline(always)]
    pub fn type_of(self) -> *mut PyTypeObject {
        // SAFETY: a live object has a type.
        unsafe { Py_TYPE(self.as_ptr()) }
    }

    /// Its type, which it keeps.
    #[inline(always)]
    pub fn class(self) -> Ref<'a> {
        // SAFETY: an instance has a reference to its type, or that lives for ever.
        unsafe { Ref::new(self.type_of().cast()) }
    }

    #[inline(always)]
    pub fn is_none(self) -> bool {
        // SAFETY: compares addresses only.
        self.as_ptr() == unsafe { Py_None() }
    }
}

/// The references as pointers.
#[inline(always)]
pub fn raws<'s>(references: &'s [Ref]) -> &'s [Raw] {
    // SAFETY: a reference is a pointer, laid out as one.
    unsafe { std::slice::from_raw_parts(references.as_ptr().cast(), references.len()) }
}

/// What leads to a live object.
///
/// # Safety
/// `raw` is that object, which lives for as long as this value.
pub unsafe trait Object: Copy {
    fn raw(self) -> Raw;

    #[inline(always)]
    fn reference<'a>(self) -> Ref<'a>
    where
        Self: 'a,
    {
        // SAFETY: the object lives for as long as this value.
        unsafe { Ref::new(self.raw()) }
    }
}

// SAFETY: that is what a borrowed reference says.
unsafe impl Object for Ref<'_> {
    #[inline(always)]
    fn raw(self) -> Raw {
        self.as_ptr()
    }
}

/// What may lead to an object, or to none.
///
/// # Safety
/// `raw_or_null` is null, or as `Object::raw`.
pub unsafe trait Nullable: Copy {
    fn raw_or_null(self) -> Raw;
}

// SAFETY: a borrowed reference, or none.
unsafe impl Nullable for Option<Ref<'_>> {
    #[inline(always)]
    fn raw_or_null(self) -> Raw {
        self.map_or(NULL, Ref::as_ptr)
    }
}

// SAFETY: as the one above.
unsafe impl Nullable for Ref<'_> {
    #[inline(always)]
    fn raw_or_null(self) -> Raw {
        self.as_ptr()
    }
}
