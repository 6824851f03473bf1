//! The two types themselves, and what `isinstance` and `issubclass` say of `aioxide.Future` and `aioxide.Task`.
//!
//! Both inherit from `_asyncio`'s; that Task is a Future as well, two layouts in one object, the interpreter's own rules
//! cannot express. Our methods ask where in an object its fields are, so Future's serve tasks too, and Future is put into
//! Task's method resolution order by hand. And where these two stand in for asyncio's own names, futures that CPython or
//! another loop has made must not stop being futures: so the two ask whether an object is one of `_asyncio`'s.

use pyo3_ffi::*;

use crate::ffi::calls::call;
use crate::ffi::class::{Class, Head, Native, derives};
use crate::ffi::names::{imported, text};
use crate::ffi::object::{boolean, getattr, import_from};
use crate::ffi::{Global, Obj, Raised, Ref, Res, compat};

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
pub fn is_exactly_ours(object: Ref) -> bool {
    let kind = object.type_of();
    kind == future() || kind == task()
}

/// Whether objects of a type are futures or tasks of ours.
pub fn are_ours(kind: *mut PyTypeObject) -> bool {
    derives(kind, &FUTURE) || are_tasks(kind)
}

pub fn are_tasks(kind: *mut PyTypeObject) -> bool {
    derives(kind, &TASK)
}

/// `abc.ABCMeta`, the base of our metaclass: with `type` as its base, no class could derive from a future and an
/// abstract class, `collections.abc.Awaitable` say.
static ABC_META: Global<Obj> = Global::new();

static META: Global<*mut PyTypeObject> = Global::new();

/// A class of our metaclass.
#[repr(transparent)]
struct ClassHead(Head);

// SAFETY: it is the header of an object.
unsafe impl Native for ClassHead {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &META)
    }
}

impl ClassHead {
    fn kind(&self) -> *mut PyTypeObject {
        self.object().as_ptr().cast()
    }
}

/// Our metaclass's `mro`, to see whether a class has another.
static MRO: Global<Obj> = Global::new();

/// Whose instances count as instances of `class`, if it is exactly our Future or Task.
fn stands_for(class: &ClassHead) -> Option<Ref<'static>> {
    match class.kind() {
        kind if kind == future() => Some(imported().future_type),
        kind if kind == task() => Some(imported().task_type),
        _ => None,
    }
}

fn instance_check(class: &ClassHead, object: Ref) -> Res {
    match stands_for(class) {
        // SAFETY: looks at a live object and a live class.
        Some(stock) => answer(unsafe { PyObject_IsInstance(object.as_ptr(), stock.as_ptr()) }),
        None => usual(class, object, text(c"__instancecheck__")?),
    }
}

fn subclass_check(class: &ClassHead, other: Ref) -> Res {
    match stands_for(class) {
        // SAFETY: as above.
        Some(stock) => answer(unsafe { PyObject_IsSubclass(other.as_ptr(), stock.as_ptr()) }),
        None => usual(class, other, text(c"__subclasscheck__")?),
    }
}

fn answer(status: std::ffi::c_int) -> Res {
    if status < 0 { Err(Raised) } else { Ok(boolean(status != 0)) }
}

fn type_type() -> Ref<'static> {
    // SAFETY: `type` itself lives for ever.
    unsafe { Ref::new((&raw mut PyType_Type).cast()) }
}

/// The rule for classes that users derive: `type`'s, then that of abstract classes if it is one.
fn usual(class: &ClassHead, object: Ref, name: Ref) -> Res {
    let check = |meta: Ref| call(&getattr(meta, name)?, &[class.object(), object]);
    let found = check(type_type())?;
    let name = text(c"_abc_impl")?;
    // Not there in a class that C code has made past `ABCMeta.__new__`.
    // SAFETY: a live class, whose dict is borrowed for one look-up; `ABC_META` was set at import.
    unsafe {
        let abstract_class = PyDict_Contains((*class.kind()).tp_dict, name.as_ptr());
        if found.as_ptr() == Py_True() || abstract_class != 1 {
            return Ok(found);
        }
        check(ABC_META.get().borrow())
    }
}

// A class that is derived gets its order before the interpreter looks at it. That look asks of each class in the order
// whether the new one's layout begins with it: of a class that adds fields (`__slots__`) along `tp_base` alone, where our
// Future is not. What already has an order is asked by that. And it is left as it is: one that comes from a metaclass's
// `mro` would keep the class out of the attribute cache.
fn mro(class: &ClassHead) -> Res {
    let name = text(c"mro")?;
    let order = call(&getattr(type_type(), name)?, &[class.object()])?;
    // SAFETY: set at import.
    let own = unsafe { MRO.get() };
    // What another metaclass makes of the order is for the interpreter to take.
    if getattr(class.object().class(), name)?.as_ptr() == own.as_ptr() {
        compat::begin_order(class.kind(), &order)?;
    }
    Ok(order)
}

/// Makes Task a subclass of Future, and gives both the metaclass.
pub fn load() -> Res<()> {
    ABC_META.set(import_from(c"abc", c"ABCMeta")?);
    // SAFETY: set above.
    let base = unsafe { ABC_META.get() };
    let doc =
        c"The class of aioxide.Future and aioxide.Task: asyncio's own futures and tasks count as theirs.";
    let meta = Class::<ClassHead>::behind(c"aioxide.FutureMeta", 0)
        .also(|def| def.flags(Py_TPFLAGS_BASETYPE).doc(doc))
        .onearg(c"__instancecheck__", instance_check, c"Implement isinstance(object, cls).")
        .onearg(c"__subclasscheck__", subclass_check, c"Implement issubclass(other, cls).")
        .noargs(c"mro", mro, c"Return a type's method resolution order.")
        .build(Some(base.borrow()))?;
    META.set(meta);
    // SAFETY: types that were made, and are kept for ever.
    let (meta, ours) = unsafe { (Ref::new(meta.cast()), Ref::new(future().cast())) };
    MRO.set(getattr(meta, text(c"mro")?)?);
    compat::insert_base(task(), imported().future_type, ours)?;
    for kind in [future(), task()] {
        // SAFETY: heap types without instances, whose metaclass was `type`, of which ours is a subclass without fields of
        // its own.
        unsafe {
            compat::without_inline_values(kind);
            (*kind.cast::<PyObject>()).ob_type = meta.to_obj().into_raw().cast();
            PyType_Modified(kind);
        }
    }
    Ok(())
}
