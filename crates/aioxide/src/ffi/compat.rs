//! All that depends on a CPython version and cannot be asked of its public API: found out at import by looking into
//! one task and one future of `_asyncio`.
//!
//! Our Task and Future inherit from `_asyncio`'s, so that `isinstance`, `asyncio.all_tasks()` and tools outside the
//! process see them; foreign code reads some of the base's fields directly (unbound methods, `python -m asyncio ps`).
//! Where a probe does not find what it looks for, `Layout::probe` says why and the loop makes CPython's own tasks.

use std::ffi::{CStr, c_int};

use pyo3_ffi::*;

use super::calls::{call_method, dict, tuple};
use super::error::{self, Res};
use super::names::{imported, interned};
use super::object::{self, Global, NULL, Obj, Raw};
use super::py::{Object, Ref, raws};
#[cfg(Py_3_14)]
use super::thread_state::Places;
use super::typedef::size_of_type;

/// A C function taken out of `_asyncio`, called without the detour through its Python object.
#[derive(Clone, Copy)]
pub struct CFunction {
    convention: Convention,
    module: Raw,
}

type Positional = unsafe extern "C" fn(Raw, *const Raw, Py_ssize_t) -> Raw;

#[derive(Clone, Copy)]
enum Convention {
    /// `METH_FASTCALL`
    Positional(Positional),
    /// `METH_FASTCALL | METH_KEYWORDS`
    Keywords(super::typedef::Fast),
}

impl CFunction {
    /// `_asyncio.name`, where it exists and has a calling convention that we know.
    fn find(name: &CStr) -> Res<Option<CFunction>> {
        const KEYWORDS: c_int = METH_FASTCALL | METH_KEYWORDS;
        let module = object::import(c"_asyncio")?;
        // SAFETY: checks the object's type before taking its parts; the module keeps the function alive for ever.
        unsafe {
            let Ok(found) = Obj::steal(PyObject_GetAttrString(module.as_ptr(), name.as_ptr())) else {
                error::clear();
                return Ok(None);
            };
            if PyCFunction_CheckExact(found.as_ptr()) == 0 {
                return Ok(None);
            }
            let Some(function) = PyCFunction_GetFunction(found.as_ptr()) else { return Ok(None) };
            // The flags say what the function's true signature is.
            let convention = match PyCFunction_GetFlags(found.as_ptr()) {
                METH_FASTCALL => {
                    Convention::Positional(std::mem::transmute::<PyCFunction, Positional>(function))
                }
                KEYWORDS => {
                    Convention::Keywords(std::mem::transmute::<PyCFunction, super::typedef::Fast>(function))
                }
                _ => return Ok(None),
            };
            let module = PyCFunction_GetSelf(found.as_ptr());
            std::mem::forget(found);
            Ok(Some(CFunction { convention, module }))
        }
    }

    #[inline(always)]
    pub fn call(self, args: &[Ref]) -> Res<()> {
        let (values, count) = (raws(args).as_ptr(), args.len() as Py_ssize_t);
        // SAFETY: the signature was checked when it was found, the arguments are live.
        let result = unsafe {
            Obj::steal(match self.convention {
                Convention::Positional(function) => function(self.module, values, count),
                Convention::Keywords(function) => function(self.module, values, count, NULL),
            })
        };
        result.map(drop)
    }
}

/// Where `asyncio.current_task()` looks.
#[derive(Clone, Copy)]
pub enum CurrentTask {
    /// 3.11 to 3.13: the dict `_asyncio._current_tasks`.
    #[cfg(not(Py_3_14))]
    Dict(Raw),
    /// 3.14 and later: the thread state, directly or through `_swap_current_task(loop, task)`.
    #[cfg(Py_3_14)]
    Swap(CFunction),
}

/// Where `asyncio.all_tasks()` looks.
#[derive(Clone, Copy)]
pub enum AllTasks {
    /// 3.11 to 3.13: a `WeakSet`, whose set of references the registry replaces by one that knows our lists.
    #[cfg(not(Py_3_14))]
    WeakSet,
    /// 3.14 and later: the C lists, which `python -m asyncio ps` reads too, directly or through these.
    #[cfg(Py_3_14)]
    Register { add: CFunction, remove: CFunction },
}

/// Offsets into `_asyncio`'s objects, in bytes from the object.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Where our fields begin in a Future that is no Task.
    pub future_body: usize,
    /// Where they begin in a Task: `_asyncio`'s is larger.
    pub task_body: usize,
    pub coro: usize,
    pub name: usize,
    pub context: usize,
    /// The byte that tells `asyncio ps` that a future is a task (3.14).
    pub is_task: Option<usize>,
    /// Who awaits a future, for the call graph (3.14).
    pub awaited_by: Option<usize>,
    pub current: CurrentTask,
    #[cfg_attr(not(Py_3_14), allow(dead_code, reason = "before 3.14 the lists are ours"))]
    pub all: AllTasks,
    /// Where both of them are, if that is known.
    #[cfg(Py_3_14)]
    pub places: Option<Places>,
    /// `_asyncio.future_add_to_awaited_by` and its opposite (3.14).
    pub add_awaited_by: Option<CFunction>,
    pub discard_awaited_by: Option<CFunction>,
    pub habits: Habits,
}

static LAYOUT: Global<Layout> = Global::new();

/// Only called where `probe` has succeeded: without a layout no native Task or Future exists.
#[inline(always)]
pub fn layout() -> &'static Layout {
    // SAFETY: the Task and Future types are only made after a successful probe has set it.
    unsafe { LAYOUT.get() }
}

pub fn has_layout() -> bool {
    LAYOUT.is_set()
}

const SPECIMENS: &CStr = c"
import _asyncio, contextvars
class Loop:
    def get_debug(self): return False
    def is_running(self): return False
    def call_soon(self, *args, **kwargs): pass
async def coroutine(): pass
loop, coro, name, context = Loop(), coroutine(), 'aioxide probe', contextvars.copy_context()
task = _asyncio.Task(coro, loop=loop, name=name, context=context)
task._log_destroy_pending = False
future = _asyncio.Future(loop=loop)
awaited = _asyncio.Future(loop=loop)
add = getattr(_asyncio, 'future_add_to_awaited_by', None)
if add: add(awaited, task)

def refuses(kind, function, *args, **options):
    try: made = function(*args, **options)
    except kind: return True
    if isinstance(made, _asyncio.Task): made._log_destroy_pending = False
    return False
asked = _asyncio.Future(loop=loop)
refuses_stop = refuses(TypeError, asked.set_exception, StopIteration())
asked._log_traceback = False
init_once = refuses(RuntimeError, asked.__init__, loop=loop)
checks_context = refuses(TypeError, _asyncio.Task, coro, loop=loop, name=name, context=7)
# Not the first task: of that one, only what tells a task from a future may differ from a future.
cancelled = _asyncio.Task(coro, loop=loop, name=name)
cancelled._log_destroy_pending = False
cancelled.cancel()
cancelled.uncancel()
uncancel_forgets = not cancelled._must_cancel
done = _asyncio.Future(loop=loop)
done.set_result(1)
iterator = iter(done)
def take():
    try: next(iterator)
    except StopIteration as stop: return stop.value
iterates_again = (take(), take()) == (1, 1)
";

/// What differs between versions, and at times between patch releases of one, and shows in what `_asyncio` does.
#[derive(Clone, Copy)]
pub struct Habits {
    /// `set_exception(StopIteration())` raises TypeError, rather than setting a RuntimeError (before 3.11.8, 3.12.2).
    pub refuses_stop: bool,
    /// A second `__init__` raises (3.15).
    pub init_once: bool,
    /// `Task(context=...)` raises for what is no context (3.15).
    pub checks_context: bool,
    /// `uncancel()` to zero takes a cancellation back that was not delivered yet (3.13).
    pub uncancel_forgets: bool,
    /// A future's iterator gives its result as often as it is asked (3.14).
    pub iterates_again: bool,
}

struct Specimens(Obj);

/// The functions among them hold the namespace that holds them: emptied here, for `asyncio ps` would show the specimen
/// tasks until a collection came by.
impl Drop for Specimens {
    fn drop(&mut self) {
        let pending = error::take();
        // SAFETY: the namespace is a dict, and ours alone.
        unsafe { PyDict_Clear(self.0.as_ptr()) };
        error::restore(pending);
    }
}

impl Specimens {
    fn make() -> Res<Specimens> {
        // SAFETY: runs the code above in a fresh namespace.
        unsafe {
            let scope = dict(&[])?;
            object::check(PyDict_SetItemString(
                scope.as_ptr(),
                c"__builtins__".as_ptr(),
                PyEval_GetBuiltins(),
            ))?;
            let code =
                Obj::steal(Py_CompileString(SPECIMENS.as_ptr(), c"<aioxide probe>".as_ptr(), Py_file_input))?;
            Obj::steal(PyEval_EvalCode(code.as_ptr(), scope.as_ptr(), scope.as_ptr()))?;
            Ok(Specimens(scope))
        }
    }

    fn get(&self, name: &CStr) -> Ref<'_> {
        // SAFETY: one of the names that the code binds; the namespace lives as long as this value.
        unsafe { Ref::new(PyDict_GetItemString(self.0.as_ptr(), name.as_ptr())) }
    }

    fn is_true(&self, name: &CStr) -> bool {
        // SAFETY: compares addresses.
        self.get(name).as_ptr() == unsafe { Py_True() }
    }

    /// The offset of the one word in `object` that points to `target`.
    fn find(&self, object: &CStr, target: &CStr) -> Option<usize> {
        let (object, target) = (self.get(object).as_ptr(), self.get(target).as_ptr());
        // SAFETY: reads the fields between the header and the end of an object of that size.
        unsafe {
            let size = (*Py_TYPE(object)).tp_basicsize as usize;
            let mut found = (size_of::<PyObject>()..size)
                .step_by(size_of::<Raw>())
                .filter(|at| *object.cast::<u8>().add(*at).cast::<Raw>() == target);
            let first = found.next();
            if found.next().is_some() { None } else { first }
        }
    }

    /// The byte that is 1 in a task and 0 in a future, all else in the future's part being equal.
    fn find_is_task(&self) -> Option<usize> {
        let (task, future) = (self.get(c"task").as_ptr(), self.get(c"future").as_ptr());
        // SAFETY: both objects are at least as large as a future.
        unsafe {
            let size = (*Py_TYPE(future)).tp_basicsize as usize;
            let byte = |object: Raw, at: usize| *object.cast::<u8>().add(at);
            let mut found = (size_of::<PyObject>()..size).filter(|at| byte(task, *at) != byte(future, *at));
            let at = found.next()?;
            (found.next().is_none() && byte(task, at) == 1 && byte(future, at) == 0).then_some(at)
        }
    }

    fn dispose(self) -> Res<()> {
        let coro = self.get(c"coro").to_obj();
        call_method(interned().close, &[coro.borrow()]).map(drop)
    }
}

/// What the probe is told not to find, for tests of what stands in its place: the environment variable `AIOXIDE_TASKS`.
fn is_hidden(what: &str) -> bool {
    std::env::var_os("AIOXIDE_TASKS").is_some_and(|value| value == what)
}

impl Layout {
    /// Looks into `_asyncio`. `Ok(Err(reason))` where this interpreter is not as we know it.
    pub fn probe() -> Res<Result<(), &'static str>> {
        if is_hidden("inherited") {
            return Ok(Err("AIOXIDE_TASKS=inherited"));
        }
        let specimens = Specimens::make()?;
        let layout = Self::measure(&specimens)?;
        super::task_names::load(specimens.get(c"loop"), specimens.get(c"coro"))?;
        specimens.dispose()?;
        Ok(layout.map(|layout| LAYOUT.set(layout)))
    }

    fn measure(specimens: &Specimens) -> Res<Result<Layout, &'static str>> {
        let (Some(coro), Some(name), Some(context)) = (
            specimens.find(c"task", c"coro"),
            specimens.find(c"task", c"name"),
            specimens.find(c"task", c"context"),
        ) else {
            return Ok(Err("the fields of _asyncio.Task were not found"));
        };
        let Some(current) = Self::current()? else {
            return Ok(Err("asyncio's current task can't be set"));
        };
        let Some(all) = Self::all()? else {
            return Ok(Err("_asyncio._register_task was not found"));
        };
        Ok(Ok(Layout {
            future_body: size_of_type(imported().future_type).next_multiple_of(align_of::<u64>()),
            task_body: size_of_type(imported().task_type).next_multiple_of(align_of::<u64>()),
            coro,
            name,
            context,
            is_task: specimens.find_is_task(),
            awaited_by: if cfg!(Py_3_14) { specimens.find(c"awaited", c"task") } else { None },
            current,
            all,
            #[cfg(Py_3_14)]
            places: Self::places(specimens)?,
            add_awaited_by: CFunction::find(c"future_add_to_awaited_by")?,
            discard_awaited_by: CFunction::find(c"future_discard_from_awaited_by")?,
            habits: Habits {
                refuses_stop: specimens.is_true(c"refuses_stop"),
                init_once: specimens.is_true(c"init_once"),
                checks_context: specimens.is_true(c"checks_context"),
                uncancel_forgets: specimens.is_true(c"uncancel_forgets"),
                iterates_again: specimens.is_true(c"iterates_again"),
            },
        }))
    }

    #[cfg(Py_3_14)]
    fn places(specimens: &Specimens) -> Res<Option<Places>> {
        if is_hidden("by-functions") {
            return Ok(None);
        }
        let tasks = [specimens.get(c"task"), specimens.get(c"cancelled")];
        Places::find(tasks, specimens.get(c"loop"))
    }

    /// Whether asyncio's records of tasks are written without a call of its functions (3.14).
    pub fn lists_in_place(&self) -> bool {
        #[cfg(Py_3_14)]
        return self.places.is_some();
        #[cfg(not(Py_3_14))]
        false
    }

    #[cfg(Py_3_14)]
    fn current() -> Res<Option<CurrentTask>> {
        Ok(CFunction::find(c"_swap_current_task")?.map(CurrentTask::Swap))
    }

    #[cfg(Py_3_14)]
    fn all() -> Res<Option<AllTasks>> {
        let functions = (CFunction::find(c"_register_task")?, CFunction::find(c"_unregister_task")?);
        let (Some(add), Some(remove)) = functions else { return Ok(None) };
        Ok(Some(AllTasks::Register { add, remove }))
    }

    #[cfg(not(Py_3_14))]
    fn all() -> Res<Option<AllTasks>> {
        Ok(Some(AllTasks::WeakSet))
    }

    #[cfg(not(Py_3_14))]
    fn current() -> Res<Option<CurrentTask>> {
        let found = object::import_from(c"_asyncio", c"_current_tasks")?;
        // SAFETY: checks a live object; the module keeps the dict, and we keep a reference for ever.
        Ok((unsafe { PyDict_CheckExact(found.as_ptr()) } != 0).then(|| CurrentTask::Dict(found.into_raw())))
    }
}

/// Whether a class of the same object is `kind` or derived from it.
#[inline(always)]
pub fn is_subtype(kind: *mut PyTypeObject, of: *mut PyTypeObject) -> bool {
    // SAFETY: both are live types.
    kind == of || unsafe { PyType_IsSubtype(kind, of) } != 0
}

/// The type's version tag: 0, or a number that changes whenever an attribute of the type or of one of its bases does.
#[inline(always)]
pub fn version_tag(kind: *mut PyTypeObject) -> u32 {
    // SAFETY: a live type.
    unsafe { (*kind).tp_version_tag }
}

/// Puts `base` into the method resolution order of `kind`, before `before`. Attributes are then found there, and
/// `isinstance` and the type checks of methods hold, though `kind` was not made with this base: what `base` has must ask
/// where in `kind` it finds its fields. `base` must be immutable, as its changes would not reach the method cache of `kind`.
pub fn insert_base(kind: *mut PyTypeObject, before: impl Object, base: impl Object) -> Res<()> {
    // SAFETY: a type that was just made, and that nobody derives from yet; the old tuple is released after the type has
    // the new one.
    unsafe {
        let old = (*kind).tp_mro;
        let mut order = Vec::new();
        for i in 0..PyTuple_GET_SIZE(old) {
            let class = Ref::new(PyTuple_GET_ITEM(old, i));
            if class == before.reference() {
                order.push(base.reference());
            }
            order.push(class);
        }
        (*kind).tp_mro = tuple(&order)?.into_raw();
        PyType_Modified(kind);
        drop(Obj::steal(old));
        Ok(())
    }
}

/// Gives a type that is being made its method resolution order, a list, if it has none yet. The interpreter sees that it has one
/// and takes it, as if the type's metaclass had made it ready (`mro_internal` calls that reentrance, from 3.4 on).
pub fn begin_order(kind: *mut PyTypeObject, order: impl Object) -> Res<()> {
    // SAFETY: a live type, and a list.
    unsafe {
        if (*kind).tp_mro.is_null() {
            (*kind).tp_mro = Obj::steal(PySequence_Tuple(order.raw()))?.into_raw();
        }
    }
    Ok(())
}

unsafe extern "C" {
    #[cfg(Py_3_13)]
    fn PyObject_ClearManagedDict(object: Raw);
}

/// Releases the weak references and the `__dict__` that the base's layout carries, in a `tp_dealloc`.
///
/// # Safety
/// `object` is an instance of a type derived from `_asyncio.Future`, its reference count is 0.
#[inline(always)]
pub unsafe fn clear_weakrefs(object: Raw, kind: *mut PyTypeObject) {
    // SAFETY: the type's own offset says where the list of weak references is, before the object or in it.
    unsafe {
        let list = object.cast::<u8>().offset((*kind).tp_weaklistoffset).cast::<Raw>();
        if !(*list).is_null() {
            PyObject_ClearWeakRefs(object);
        }
    }
}

/// `Py_TPFLAGS_INLINE_VALUES` (cpython/object.h): each instance has room behind it for the values of its `__dict__`.
#[cfg(Py_3_14)]
const INLINE_VALUES: std::ffi::c_ulong = 1 << 2;

/// Takes that room from a type: few futures are given attributes, and those get an ordinary dict. CPython itself does
/// without it where the size of instances varies. Its debug build leaves it: that asserts, when a cycle is collected, that a
/// class has the room as its base has, and subclasses in Python do.
///
/// # Safety
/// `kind` is a heap type that has no instances yet.
pub unsafe fn without_inline_values(kind: *mut PyTypeObject) {
    #[cfg(all(Py_3_14, not(py_sys_config = "Py_DEBUG")))]
    // SAFETY: no instance is laid out by the flag yet; the GIL is held.
    unsafe {
        (*kind).tp_flags &= !INLINE_VALUES;
    }
    #[cfg(not(all(Py_3_14, not(py_sys_config = "Py_DEBUG"))))]
    let _ = kind;
}

/// Whether an object that was released can be given to the next user as it is: values behind it would have to be made
/// anew.
///
/// # Safety
/// `kind` is a type.
#[inline(always)]
pub unsafe fn is_reusable(kind: *mut PyTypeObject) -> bool {
    #[cfg(all(Py_3_14, py_sys_config = "Py_DEBUG"))]
    // SAFETY: a live type's flags.
    return unsafe { (*kind).tp_flags & INLINE_VALUES == 0 };
    #[cfg(not(all(Py_3_14, py_sys_config = "Py_DEBUG")))]
    {
        let _ = kind;
        true
    }
}

/// Releases the attributes that a user has set on an object: from 3.13 on its `__dict__` stands before it, from 3.14 on
/// the values of a subclass's instance can be behind it.
///
/// # Safety
/// `object` is an instance of a type derived from `_asyncio.Future`.
#[inline(always)]
pub unsafe fn clear_managed_dict(object: Raw) {
    #[cfg(Py_3_14)]
    // SAFETY: a live object's type.
    let inline = unsafe { (*Py_TYPE(object)).tp_flags & INLINE_VALUES != 0 };
    #[cfg(all(Py_3_13, not(Py_3_14)))]
    let inline = false;
    #[cfg(Py_3_13)]
    // SAFETY: the base's type has a managed dict from 3.13 on, three words before the object.
    unsafe {
        if inline || !(*object.cast::<Raw>().offset(-3)).is_null() {
            PyObject_ClearManagedDict(object);
        }
    }
    #[cfg(not(Py_3_13))]
    let _ = object;
}
