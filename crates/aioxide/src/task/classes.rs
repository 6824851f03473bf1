//! The two types themselves, and what `isinstance` and `issubclass` say of `aioxide.Future` and `aioxide.Task`.
//!
//! Both inherit from `_asyncio`'s; that Task is a Future as well, two layouts in one object, the interpreter's own rules
//! cannot express. Our methods ask where in an object its fields are, so Future's serve tasks too, and Future is put into
//! Task's method resolution order by hand. And where these two stand in for asyncio's own names, futures that CPython or
//! another loop has made must not stop being futures: so the two ask whether an object is one of `_asyncio`'s.

use std::ffi::CStr;

use pyo3_ffi::*;

use crate::ffi::guard::{noargs, onearg};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{boolean, call, import_from};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, Obj, Raised, Raw, Res, compat};

static FUTURE: Global<*mut PyTypeObject> = Global::new();
static TASK: Global<*mut PyTypeObject> = Global::new();

/// Tells this file the type that `future_type` makes.
pub fn set_future(kind: *mut PyTypeObject) {
    FUTURE.set(kind);
}

/// Tells this file the type that `task_type` makes.
pub fn set_task(kind: *mut PyTypeObject) {
    TASK.set(kind);
}

/// `aioxide.Future` itself, not a subclass.
#[inline(always)]
pub fn future() -> *mut PyTypeObject {
    // SAFETY: set at import.
    unsafe { *FUTURE.get() }
}

/// `aioxide.Task` itself, not a subclass.
#[inline(always)]
pub fn task() -> *mut PyTypeObject {
    // SAFETY: set at import.
    unsafe { *TASK.get() }
}

/// Whether `object` is a future or task of exactly our types.
#[inline(always)]
pub fn is_exactly_ours(object: Raw) -> bool {
    // SAFETY: a live object.
    let kind = unsafe { Py_TYPE(object) };
    kind == future() || kind == task()
}

/// Whether `object` is a future or task of ours, or of a subclass.
pub fn is_ours(object: Raw) -> bool {
    // SAFETY: a live object.
    let kind = unsafe { Py_TYPE(object) };
    is_exactly_ours(object) || compat::is_subtype(kind, future()) || compat::is_subtype(kind, task())
}

/// `abc.ABCMeta`, the base of our metaclass: with `type` as its base, no class could derive from a future and an
/// abstract class, `collections.abc.Awaitable` say.
static ABC_META: Global<Obj> = Global::new();

/// Our metaclass's `mro`, to see whether a class has another.
static MRO: Global<Obj> = Global::new();

/// Whose instances count as instances of `class`, if it is exactly our Future or Task.
fn stands_for(class: Raw) -> Option<Raw> {
    match class.cast() {
        kind if kind == future() => Some(stdlib().future_type),
        kind if kind == task() => Some(stdlib().task_type),
        _ => None,
    }
}

onearg!(instance_check, |class, object| {
    match stands_for(class) {
        Some(stock) => answer(PyObject_IsInstance(object, stock)),
        None => usual(class, object, c"__instancecheck__"),
    }
});

onearg!(subclass_check, |class, other| {
    match stands_for(class) {
        Some(stock) => answer(PyObject_IsSubclass(other, stock)),
        None => usual(class, other, c"__subclasscheck__"),
    }
});

fn answer(status: std::ffi::c_int) -> Res {
    if status < 0 { Err(Raised) } else { Ok(boolean(status != 0)) }
}

/// The rule for classes that users derive: `type`'s, then that of abstract classes if it is one.
fn usual(class: Raw, object: Raw, name: &'static CStr) -> Res {
    // SAFETY: a live class, whose dict is borrowed for one look-up.
    unsafe {
        let check = |meta: Raw| {
            let method = Obj::steal(PyObject_GetAttrString(meta, name.as_ptr()))?;
            call(method.as_ptr(), &[class, object])
        };
        let found = check((&raw mut PyType_Type).cast())?;
        // Not there in a class that C code has made past `ABCMeta.__new__`.
        let abstract_class = PyDict_Contains((*class.cast::<PyTypeObject>()).tp_dict, intern(c"_abc_impl")?);
        if found.as_ptr() == Py_True() || abstract_class != 1 {
            return Ok(found);
        }
        check(ABC_META.get().as_ptr())
    }
}

// A class that is derived gets its order before the interpreter looks at it. That look asks of each class in the order
// whether the new one's layout begins with it: of a class that adds fields (`__slots__`) along `tp_base` alone, where our
// Future is not. What already has an order is asked by that. And it is left as it is: one that comes from a metaclass's
// `mro` would keep the class out of the attribute cache.
noargs!(mro, |class| {
    let usual = Obj::steal(PyObject_GetAttrString((&raw mut PyType_Type).cast(), c"mro".as_ptr()))?;
    let order = call(usual.as_ptr(), &[class])?;
    // What another metaclass makes of the order is for the interpreter to take.
    let asked = Obj::steal(PyObject_GetAttrString(Py_TYPE(class).cast(), c"mro".as_ptr()))?;
    if asked.as_ptr() == MRO.get().as_ptr() {
        compat::begin_order(class.cast(), order.as_ptr())?;
    }
    Ok(order)
});

/// Makes Task a subclass of Future, and gives both the metaclass.
pub fn load() -> Res<()> {
    ABC_META.set(import_from(c"abc", c"ABCMeta")?);
    // SAFETY: set above.
    let base = unsafe { ABC_META.get() };
    let meta = TypeDef::new(c"aioxide.FutureMeta", 0)
        .flags(Py_TPFLAGS_BASETYPE)
        .doc(
            c"The class of aioxide.Future and aioxide.Task: asyncio's own futures and tasks count as theirs.",
        )
        .onearg(c"__instancecheck__", instance_check, c"Implement isinstance(object, cls).")
        .onearg(c"__subclasscheck__", subclass_check, c"Implement issubclass(other, cls).")
        .noargs(c"mro", mro, c"Return a type's method resolution order.")
        .build(base.as_ptr())?;
    // SAFETY: the type that was just made.
    MRO.set(Obj::steal(unsafe { PyObject_GetAttrString(meta.cast(), c"mro".as_ptr()) })?);
    compat::insert_base(task(), stdlib().future_type, future().cast())?;
    for kind in [future(), task()] {
        // SAFETY: heap types without instances, whose metaclass was `type`, of which ours is a subclass without fields of
        // its own.
        unsafe {
            compat::without_inline_values(kind);
            (*kind.cast::<PyObject>()).ob_type = Obj::new(meta.cast()).into_raw().cast();
            PyType_Modified(kind);
        }
    }
    Ok(())
}
