//! `Obj`, an owned reference, and what is done with one.

use std::cell::UnsafeCell;
use std::ptr::NonNull;

use pyo3_ffi::*;

use super::cells::Locked;
use super::leaf::none_borrowed;
pub use super::py::{NULL, Raw};
use super::py::{Nullable, Object, Py, Ref};
use super::refcount;

/// An exception is set in the interpreter. Carries nothing, so that `Result<Obj, Raised>` is one word.
#[derive(Debug, Clone, Copy)]
pub struct Raised;

pub type Res<T = Obj> = Result<T, Raised>;

/// A strong reference. `Option<Obj>` is one word, so it can stand in the body of a Python object as a nullable slot:
/// `drop(slot.take())` empties the slot before the object that it held is released, which may run any code.
#[repr(transparent)]
pub struct Obj(NonNull<PyObject>);

impl Obj {
    /// Takes over a reference that the C API returned; null means that an exception is set.
    ///
    /// # Safety
    /// `raw` is a live object that the caller owns a reference to, or null.
    #[inline(always)]
    pub unsafe fn steal(raw: Raw) -> Res {
        NonNull::new(raw).map(Obj).ok_or(Raised)
    }

    /// Takes over a reference that is known not to be null.
    ///
    /// # Safety
    /// `raw` is a live object and the caller owns one reference to it.
    #[inline(always)]
    pub unsafe fn own(raw: Raw) -> Obj {
        // SAFETY: callers pass what a call of the C API returned after it was seen not to be null.
        Obj(unsafe { NonNull::new_unchecked(raw) })
    }

    /// A new reference to a borrowed object.
    #[inline(always)]
    pub fn new(object: impl Object) -> Obj {
        // SAFETY: the object lives, and has a reference for this value now.
        unsafe {
            refcount::incref(object.raw());
            Obj::own(object.raw())
        }
    }

    /// A new reference, or nothing for null.
    #[inline(always)]
    pub fn maybe(object: impl Nullable) -> Option<Obj> {
        // SAFETY: null, or an object that lives for as long as what led to it.
        unsafe { Ref::maybe(object.raw_or_null()) }.map(Obj::new)
    }

    #[inline(always)]
    pub fn as_ptr(&self) -> Raw {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub fn borrow(&self) -> Ref<'_> {
        // SAFETY: this value owns a reference, and keeps to the thread that holds the GIL.
        unsafe { Ref::new(self.as_ptr()) }
    }

    #[inline(always)]
    pub fn into_raw(self) -> Raw {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    #[inline(always)]
    pub fn type_of(&self) -> *mut PyTypeObject {
        // SAFETY: a live object has a type.
        unsafe { Py_TYPE(self.as_ptr()) }
    }
}

impl Clone for Obj {
    #[inline(always)]
    fn clone(&self) -> Obj {
        Obj::new(self)
    }
}

impl Drop for Obj {
    #[inline(always)]
    fn drop(&mut self) {
        none_borrowed();
        // SAFETY: this value owns one reference.
        unsafe { refcount::decref(self.as_ptr()) }
    }
}

impl Ref<'_> {
    /// A new reference.
    #[inline(always)]
    pub fn to_obj(self) -> Obj {
        Obj::new(self)
    }
}

// SAFETY: it owns a reference.
unsafe impl Object for &Obj {
    #[inline(always)]
    fn raw(self) -> Raw {
        self.as_ptr()
    }
}

/// Turns a `Res` into what a slot returns: the reference, or null with the exception set.
#[inline(always)]
pub fn ret(result: Res) -> Raw {
    match result {
        Ok(obj) => obj.into_raw(),
        Err(Raised) => NULL,
    }
}

/// A new reference to `None`.
#[inline(always)]
pub fn none() -> Obj {
    // SAFETY: None always lives.
    unsafe { Ref::new(Py_None()) }.to_obj()
}

pub fn not_implemented() -> Obj {
    // SAFETY: the interpreter's own object, which lives for ever.
    unsafe { Ref::new(Py_NotImplemented()) }.to_obj()
}

#[inline(always)]
pub fn boolean(value: bool) -> Obj {
    // SAFETY: True and False always live.
    unsafe { Ref::new(if value { Py_True() } else { Py_False() }) }.to_obj()
}

pub fn float(value: f64) -> Res {
    // SAFETY: plain constructor.
    unsafe { Obj::steal(PyFloat_FromDouble(value)) }
}

pub fn int(value: i64) -> Res {
    // SAFETY: plain constructor.
    unsafe { Obj::steal(PyLong_FromLongLong(value)) }
}

pub fn string(text: &str) -> Res {
    // SAFETY: `text` is valid UTF-8 of that length.
    unsafe { Obj::steal(PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as Py_ssize_t)) }
}

pub fn bytes(data: &[u8]) -> Res {
    // SAFETY: copies `data.len()` bytes from a live slice.
    unsafe { Obj::steal(PyBytes_FromStringAndSize(data.as_ptr().cast(), data.len() as Py_ssize_t)) }
}

pub fn list(items: &[Obj]) -> Res {
    none_borrowed();
    // SAFETY: a new list of that size, each item set once with a new reference.
    unsafe {
        let made = Obj::steal(PyList_New(items.len() as Py_ssize_t))?;
        for (i, item) in items.iter().enumerate() {
            PyList_SET_ITEM(made.as_ptr(), i as Py_ssize_t, item.clone().into_raw());
        }
        Ok(made)
    }
}

#[inline(always)]
pub fn getattr(obj: impl Object, name: impl Object) -> Res {
    none_borrowed();
    // SAFETY: both are live objects.
    unsafe { Obj::steal(PyObject_GetAttr(obj.raw(), name.raw())) }
}

/// The attribute, or `None` where it does not exist; other errors stay errors.
pub fn getattr_opt(obj: impl Object, name: impl Object) -> Res<Option<Obj>> {
    match getattr(obj, name) {
        Ok(value) => Ok(Some(value)),
        // SAFETY: an exception is set, which is looked at, and cleared if it is of that class.
        Err(Raised) => unsafe {
            if PyErr_ExceptionMatches(PyExc_AttributeError) == 0 {
                return Err(Raised);
            }
            PyErr_Clear();
            Ok(None)
        },
    }
}

pub fn setattr(obj: impl Object, name: impl Object, value: impl Object) -> Res<()> {
    none_borrowed();
    // SAFETY: all are live objects.
    check(unsafe { PyObject_SetAttr(obj.raw(), name.raw(), value.raw()) })
}

pub fn truth(obj: impl Object) -> Res<bool> {
    none_borrowed();
    // SAFETY: a live object.
    match unsafe { PyObject_IsTrue(obj.raw()) } {
        -1 => Err(Raised),
        value => Ok(value == 1),
    }
}

pub fn import(module: &std::ffi::CStr) -> Res {
    none_borrowed();
    // SAFETY: a NUL-terminated name.
    unsafe { Obj::steal(PyImport_ImportModule(module.as_ptr())) }
}

/// `module.name`, for what is looked up once at import.
pub fn import_from(module: &std::ffi::CStr, name: &std::ffi::CStr) -> Res {
    let module = import(module)?;
    // SAFETY: a live module and a NUL-terminated name.
    unsafe { Obj::steal(PyObject_GetAttrString(module.as_ptr(), name.as_ptr())) }
}

/// For C functions that return -1 with an exception set.
#[inline(always)]
pub fn check(status: std::ffi::c_int) -> Res<()> {
    if status < 0 { Err(Raised) } else { Ok(()) }
}

/// A value of the one interpreter that this module can be loaded in: written at import, read ever after, all under
/// the GIL.
pub struct Global<T>(Locked<UnsafeCell<Option<T>>>);

impl<T> Global<T> {
    pub const fn new() -> Self {
        Global(Locked::new(UnsafeCell::new(None)))
    }

    #[inline(always)]
    fn place(&self) -> *mut Option<T> {
        // SAFETY: the import of a module holds the GIL, and what is set then is only read ever after.
        self.0.get(unsafe { Py::assume() }).get()
    }

    pub fn set(&self, value: T) {
        // SAFETY: called at import only, before any reader exists.
        unsafe { *self.place() = Some(value) }
    }

    /// # Safety
    /// `set` has been called: true for everything that runs after the module's import.
    #[inline(always)]
    pub unsafe fn get(&self) -> &T {
        // SAFETY: written once, at import, before anything that reads it can run; never again.
        unsafe { (*self.place()).as_ref().unwrap_unchecked() }
    }

    pub fn is_set(&self) -> bool {
        // SAFETY: nobody writes but `set`.
        unsafe { (*self.place()).is_some() }
    }
}

/// A nullable owned reference in the body of a Python object. Shared code reads and writes it, so it hands out no
/// borrow of its inside: `get` gives a pointer that holds until the next write.
#[repr(transparent)]
pub struct Slot(UnsafeCell<Option<Obj>>);

impl Slot {
    pub const fn empty() -> Slot {
        Slot(UnsafeCell::new(None))
    }

    /// The object or null, borrowed.
    #[inline(always)]
    pub fn get(&self) -> Raw {
        // SAFETY: under the GIL, and the borrow ends here.
        unsafe { (*self.0.get()).as_ref().map_or(NULL, Obj::as_ptr) }
    }

    /// As `get`.
    ///
    /// # Safety
    /// Nothing writes the slot while the reference is in use.
    #[inline(always)]
    pub unsafe fn peek(&self) -> Option<Ref<'_>> {
        // SAFETY: the slot owns a reference, or has null.
        unsafe { Ref::maybe(self.get()) }
    }

    #[inline(always)]
    pub fn is_set(&self) -> bool {
        !self.get().is_null()
    }

    /// A new reference.
    #[inline(always)]
    pub fn share(&self) -> Option<Obj> {
        // SAFETY: nothing writes the slot before there is a reference.
        unsafe { self.peek() }.map(Ref::to_obj)
    }

    /// A new reference to the object, or to `None`.
    #[inline(always)]
    pub fn or_none(&self) -> Obj {
        self.share().unwrap_or_else(none)
    }

    #[inline(always)]
    pub fn take(&self) -> Option<Obj> {
        // SAFETY: as `get`; taking runs no code.
        unsafe { (*self.0.get()).take() }
    }

    /// Replaces the object. The old one is returned, so that it is released after the slot is whole again.
    #[inline(always)]
    pub fn replace(&self, value: Option<Obj>) -> Option<Obj> {
        // SAFETY: as `get`; replacing runs no code.
        unsafe { std::mem::replace(&mut *self.0.get(), value) }
    }

    #[inline(always)]
    pub fn set(&self, value: Obj) {
        drop(self.replace(Some(value)));
    }

    #[inline(always)]
    pub fn clear(&self) {
        drop(self.take());
    }
}
