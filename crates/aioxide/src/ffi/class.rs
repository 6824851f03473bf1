//! Types of ours whose methods are ordinary functions: `fn call_soon(this: &LoopObject, args: Args) -> Res`. What the
//! interpreter calls is made here, once for all of them: it gives the receiver its type, keeps a panic from Python
//! (`guard`) and turns the answer into a pointer.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3_ffi::*;

use super::args::Args;
use super::compat::is_subtype;
use super::guard::{guarded, visit};
use super::held;
use super::object::{Global, NULL, Obj, Res, boolean, none, ret};
use super::py::{Py, Raw, Ref};
use super::typedef::TypeDef;

/// What an instance of a type of ours consists of.
///
/// # Safety
/// Each instance of a type of which `is_in` holds has this struct at `place`, of which `object` is the opposite.
/// Unless those two are others here, instances begin with it: it is laid out as C does, and begins with the header of an
/// object. It cannot be sent to another thread, nor shared with one.
pub unsafe trait Native: Sized + 'static {
    /// Whether the instances of a type consist of it: see `derives`.
    fn is_in(kind: *mut PyTypeObject) -> bool;

    /// Where it is in an instance: behind the fields of a base that is not ours, for some.
    #[inline(always)]
    fn place(object: Ref) -> *mut Self {
        object.as_ptr().cast()
    }

    /// The object that consists of this.
    #[inline(always)]
    fn object(&self) -> Ref<'_> {
        // SAFETY: it begins with the header of an object, which lives for as long as it is borrowed.
        unsafe { Ref::new(std::ptr::from_ref(self).cast_mut().cast()) }
    }

    #[inline(always)]
    fn py(&self) -> Py<'_> {
        self.object().py()
    }
}

/// The header of an object: what a body begins with whose fields stand elsewhere. The interpreter counts in it at any time.
#[repr(transparent)]
pub struct Head(UnsafeCell<PyObject>);

/// Whether a type is `class`, or derived from it; none is before `class` is set.
#[inline(always)]
pub fn derives(kind: *mut PyTypeObject, class: &Global<*mut PyTypeObject>) -> bool {
    // SAFETY: it is asked for first.
    class.is_set() && is_subtype(kind, unsafe { *class.get() })
}

impl<'a> Ref<'a> {
    /// What the object consists of, if it is a `T`.
    #[inline(always)]
    pub fn cast<T: Native>(self) -> Option<&'a T> {
        // SAFETY: the type says so.
        T::is_in(self.type_of()).then(|| unsafe { self.cast_unchecked() })
    }

    /// # Safety
    /// The object is a `T`.
    #[inline(always)]
    pub unsafe fn cast_unchecked<T: Native>(self) -> &'a T {
        debug_assert!(T::is_in(self.type_of()), "a method or field of another type");
        // SAFETY: `Native` says so of the layout, and of the fields that shared references to them may be many.
        unsafe { &*T::place(self) }
    }
}

/// The one value of a function's or closure's own type, which is of no size as it captures nothing.
///
/// # Safety
/// One has been handed in.
#[inline(always)]
pub unsafe fn the<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "a method captures nothing") };
    // SAFETY: nothing is read; and what can be copied may be had twice.
    unsafe { NonNull::<F>::dangling().read() }
}

/// # Safety
/// `slf` is a `T`, as the interpreter sees to where it calls a method of the type's, and lives for the call.
#[inline(always)]
pub unsafe fn receiver<'a, T: Native>(slf: Raw) -> &'a T {
    // SAFETY: the caller's word.
    unsafe { Ref::new(slf).cast_unchecked() }
}

/// What a method may return: what becomes of it is an object, nothing being `None`.
pub trait Answer {
    fn answer(self) -> Res;
}

impl Answer for Obj {
    fn answer(self) -> Res {
        Ok(self)
    }
}

impl Answer for () {
    fn answer(self) -> Res {
        Ok(none())
    }
}

impl Answer for bool {
    fn answer(self) -> Res {
        Ok(boolean(self))
    }
}

impl<A: Answer> Answer for Res<A> {
    #[inline(always)]
    fn answer(self) -> Res {
        self.and_then(A::answer)
    }
}

/// # Safety
/// As `receiver`; `F` is registered for the type.
unsafe extern "C" fn noargs<T: Native, A: Answer, F: Fn(&T) -> A + Copy>(slf: Raw, _: Raw) -> Raw {
    // SAFETY: the interpreter calls it with a receiver of the type.
    guarded(NULL, || ret(unsafe { the::<F>()(receiver(slf)) }.answer()))
}

/// # Safety
/// As `noargs`; `arg` is an object.
unsafe extern "C" fn onearg<T: Native, A: Answer, F: Fn(&T, Ref) -> A + Copy>(slf: Raw, arg: Raw) -> Raw {
    // SAFETY: the interpreter calls it with a receiver of the type and one argument.
    guarded(NULL, || ret(unsafe { the::<F>()(receiver(slf), Ref::new(arg)) }.answer()))
}

/// # Safety
/// As `noargs`; the others are the arguments of a fast call.
unsafe extern "C" fn fast<T: Native, A: Answer, F: Fn(&T, Args) -> A + Copy>(
    slf: Raw,
    values: *const Raw,
    count: Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: the interpreter calls it with a receiver of the type and the arguments of the call.
    guarded(NULL, || ret(unsafe { the::<F>()(receiver(slf), Args::new(values, count, kwnames)) }.answer()))
}

/// # Safety
/// As `noargs`.
unsafe extern "C" fn getter<T: Native, A: Answer, F: Fn(&T) -> A + Copy>(slf: Raw, _: *mut c_void) -> Raw {
    // SAFETY: the interpreter calls it with a receiver of the type.
    guarded(NULL, || ret(unsafe { the::<F>()(receiver(slf)) }.answer()))
}

/// # Safety
/// As `noargs`.
unsafe extern "C" fn unary<T: Native, A: Answer, F: Fn(&T) -> A + Copy>(slf: Raw) -> Raw {
    // SAFETY: the interpreter calls it with an instance of the type.
    guarded(NULL, || ret(unsafe { the::<F>()(receiver(slf)) }.answer()))
}

/// # Safety
/// As `noargs`; `value` is an object, or null for a deletion.
unsafe extern "C" fn setter<T: Native, F: Fn(&T, Option<Ref>) -> Res<()> + Copy>(
    slf: Raw,
    value: Raw,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the interpreter calls it with a receiver of the type and a value.
    guarded(-1, || if unsafe { the::<F>()(receiver(slf), Ref::maybe(value)) }.is_ok() { 0 } else { -1 })
}

/// # Safety
/// As `onearg`; `slf` is the module.
unsafe extern "C" fn module_onearg<A: Answer, F: Fn(Ref, Ref) -> A + Copy>(slf: Raw, arg: Raw) -> Raw {
    // SAFETY: the interpreter calls it with the module and one argument, both alive for the call.
    guarded(NULL, || ret(unsafe { the::<F>()(Ref::new(slf), Ref::new(arg)) }.answer()))
}

/// # Safety
/// As `module_onearg`, without an argument.
unsafe extern "C" fn module_noargs<A: Answer, F: Fn(Ref) -> A + Copy>(slf: Raw, _: Raw) -> Raw {
    // SAFETY: the interpreter calls it with the module, alive for the call.
    guarded(NULL, || ret(unsafe { the::<F>()(Ref::new(slf)) }.answer()))
}

/// # Safety
/// As `module_onearg`; the others are the arguments of a fast call.
unsafe extern "C" fn module_fast<A: Answer, F: Fn(Ref, Args) -> A + Copy>(
    slf: Raw,
    values: *const Raw,
    count: Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: the interpreter calls it with the module and the arguments of the call.
    guarded(NULL, || ret(unsafe { the::<F>()(Ref::new(slf), Args::new(values, count, kwnames)) }.answer()))
}

/// A function of a module, given the module and one argument.
pub const fn function<A: Answer, F: Fn(Ref, Ref) -> A + Copy>(
    name: &'static CStr,
    _: F,
    doc: &'static CStr,
) -> PyMethodDef {
    in_module(name, PyMethodDefPointer { PyCFunction: module_onearg::<A, F> }, METH_O, doc)
}

/// The same without an argument.
pub const fn function_noargs<A: Answer, F: Fn(Ref) -> A + Copy>(
    name: &'static CStr,
    _: F,
    doc: &'static CStr,
) -> PyMethodDef {
    in_module(name, PyMethodDefPointer { PyCFunction: module_noargs::<A, F> }, METH_NOARGS, doc)
}

/// The same with any number of them.
pub const fn function_fast<A: Answer, F: Fn(Ref, Args) -> A + Copy>(
    name: &'static CStr,
    _: F,
    doc: &'static CStr,
) -> PyMethodDef {
    let pointer = PyMethodDefPointer { PyCFunctionFastWithKeywords: module_fast::<A, F> };
    in_module(name, pointer, METH_FASTCALL | METH_KEYWORDS, doc)
}

const fn in_module(
    name: &'static CStr,
    ml_meth: PyMethodDefPointer,
    ml_flags: c_int,
    doc: &'static CStr,
) -> PyMethodDef {
    PyMethodDef { ml_name: name.as_ptr(), ml_meth, ml_flags, ml_doc: doc.as_ptr() }
}

/// A native object that has more to end, or to be visited, than slots (for which there is `held::Held`).
///
/// # Safety
/// `traverse` visits what the object holds references to, and does no more.
pub unsafe trait Collected: Native {
    /// # Safety
    /// The visitor is the collector's, which runs no Python.
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int;

    /// Lets go of all that may lead back to the object.
    fn clear(&self);
}

/// # Safety
/// `slf` is a `T`; the visitor is the collector's.
unsafe extern "C" fn tp_traverse<T: Collected>(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: an instance, by which the collector has come here.
    unsafe {
        visit!(Py_TYPE(slf).cast(), visitor, arg);
        receiver::<T>(slf).traverse(visitor, arg)
    }
}

/// # Safety
/// `slf` is a `T`, held by whoever calls this.
unsafe extern "C" fn tp_clear<T: Collected>(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe { receiver::<T>(slf) }.clear());
    0
}

/// # Safety
/// `slf` is a `T`, to which no reference is left.
unsafe extern "C" fn tp_dealloc<T: Collected>(slf: Raw) {
    // SAFETY: the collector forgets the object first, and nobody else knows it; its header has no end of its own.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        tp_clear::<T>(slf);
        std::ptr::drop_in_place(T::place(Ref::new(slf)));
        held::free(slf);
    });
}

/// # Safety
/// `slf` is a `T` that the collector does not know, to which no reference is left.
unsafe extern "C" fn tp_drop<T: Native>(slf: Raw) {
    // SAFETY: nobody knows the object; its header has no end of its own.
    guarded((), || unsafe {
        std::ptr::drop_in_place(T::place(Ref::new(slf)));
        held::free(slf);
    });
}

/// Makes the type whose instances consist of a `T`.
pub struct Class<T>(TypeDef, PhantomData<T>);

impl<T: Native> Class<T> {
    /// For a `T` that begins with the header of an object.
    pub fn new(name: &'static CStr) -> Class<T> {
        Class::behind(name, size_of::<T>() - size_of::<PyObject>())
    }

    /// For a `T` that stands behind the fields of a base; `body` is its size and that of the gap before it, in bytes.
    pub fn behind(name: &'static CStr, body: usize) -> Class<T> {
        Class(TypeDef::new(name, body), PhantomData)
    }

    pub fn noargs<A: Answer, F>(self, name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(&T) -> A + Copy + 'static,
    {
        Class(self.0.noargs(name, noargs::<T, A, F>, doc), PhantomData)
    }

    pub fn onearg<A: Answer, F>(self, name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(&T, Ref) -> A + Copy + 'static,
    {
        Class(self.0.onearg(name, onearg::<T, A, F>, doc), PhantomData)
    }

    pub fn fast<A: Answer, F>(self, name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(&T, Args) -> A + Copy + 'static,
    {
        Class(self.0.fast(name, fast::<T, A, F>, doc), PhantomData)
    }

    pub fn get<A: Answer, F: Fn(&T) -> A + Copy + 'static>(self, name: &'static CStr, _: F) -> Self {
        Class(self.0.get(name, getter::<T, A, F>), PhantomData)
    }

    pub fn getset<A: Answer, F, G>(self, name: &'static CStr, _: F, _: G) -> Self
    where
        F: Fn(&T) -> A + Copy + 'static,
        G: Fn(&T, Option<Ref>) -> Res<()> + Copy + 'static,
    {
        Class(self.0.getset(name, getter::<T, A, F>, setter::<T, G>), PhantomData)
    }

    /// The same type, for methods that take a receiver as a `U`.
    ///
    /// # Safety
    /// Each instance of it is a `U` too.
    pub unsafe fn seen_as<U: Native>(self) -> Class<U> {
        Class(self.0, PhantomData)
    }

    pub fn collected(self) -> Self
    where
        T: Collected,
    {
        Class(self.0.collector(tp_traverse::<T>, tp_clear::<T>, tp_dealloc::<T>), PhantomData)
    }

    /// A function in a slot of the signature `unaryfunc`: the text of `repr`, an iterator. Whoever adds it answers for that.
    pub fn unary<A: Answer, F: Fn(&T) -> A + Copy + 'static>(self, slot: c_int, _: F) -> Self {
        Class(self.0.slot(slot, unary::<T, A, F> as *mut c_void), PhantomData)
    }

    /// As `collected`, for a type that ends its instances itself. Whoever adds the slot answers for its signature.
    pub fn collected_by(self, dealloc: destructor) -> Self
    where
        T: Collected,
    {
        Class(self.0.collector(tp_traverse::<T>, tp_clear::<T>, dealloc), PhantomData)
    }

    /// For a `T` that holds no objects which could lead back to it: it is dropped with its last reference.
    pub fn dropped(self) -> Self {
        self.also(|def| def.slot(Py_tp_dealloc, tp_drop::<T> as *mut c_void))
    }

    /// What has no form of its own here: slots, flags, the docstring. Whoever adds a slot answers for its signature.
    pub fn also(self, more: impl FnOnce(TypeDef) -> TypeDef) -> Self {
        Class(more(self.0), PhantomData)
    }

    /// Makes the type; `base` is none for `object`.
    pub fn build(self, base: Option<Ref>) -> Res<*mut PyTypeObject> {
        self.0.build(base)
    }
}
