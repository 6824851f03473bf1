//! Steps of a task as Python callables: what a loop or future that is not ours is given to call, and what debug mode shows.
//! What they do stands above them, in `step`.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::null;

use pyo3_ffi::*;

use super::task::{TaskHead, TaskObj};
use crate::ffi::cells::Locked;
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::guard::guarded;
use crate::ffi::held::Held;
use crate::ffi::object::ret;
use crate::ffi::{Global, NULL, Obj, Raw, Ref, Res, Slot, error, none};

/// `step::run_called`: a step of a task, with an exception to throw or without.
type Run = fn(TaskObj, Option<Obj>) -> Res<()>;
/// `step::wake_called`: a step of a task that waited for a future, with that.
type Wake = fn(TaskObj, Obj) -> Res<()>;

static RUN: Global<Run> = Global::new();
static WAKE: Global<Wake> = Global::new();
static TYPE: Global<*mut PyTypeObject> = Global::new();

/// `task_wakeup`, bound to a task: what a foreign future or loop calls when the future is done.
pub fn wakeup(task: Ref) -> Res {
    static WAKEUP: Locked<UnsafeCell<PyMethodDef>> = Locked::new(UnsafeCell::new(PyMethodDef {
        ml_name: c"task_wakeup".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: py_wakeup },
        ml_flags: METH_O,
        ml_doc: null(),
    }));
    // SAFETY: a static definition, which nobody writes, and a live receiver.
    unsafe { Obj::steal(PyCFunction_NewEx(WAKEUP.get(task.py()).get(), task.as_ptr(), NULL)) }
}

/// # Safety
/// `slf` is a task of ours, to which `wakeup` has bound it; `future` is an object.
unsafe extern "C" fn py_wakeup(slf: Raw, future: Raw) -> Raw {
    // SAFETY: the interpreter calls it with both alive; `load` has set what is called.
    guarded(NULL, || unsafe {
        let task: &TaskHead = Ref::new(slf).cast_unchecked();
        ret(WAKE.get()(task.hold(), Ref::new(future).to_obj()).map(|()| none()))
    })
}

/// A step of a task, with an exception to throw or without: what a foreign loop is given to call.
#[repr(C)]
struct StepCallable {
    header: PyObject,
    task: Slot,
    exception: Slot,
}

// SAFETY: as laid out above, for the type that `load` makes.
unsafe impl Native for StepCallable {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

// SAFETY: as laid out above.
unsafe impl Held for StepCallable {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.task, &self.exception]
    }
}

pub fn step(task: Ref, exception: Option<Obj>) -> Res {
    // SAFETY: a zeroed object of the type, whose slots are filled before anyone sees it.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))?;
        let this: &StepCallable = made.borrow().cast_unchecked();
        this.task.set(task.to_obj());
        drop(this.exception.replace(exception));
        Ok(made)
    }
}

/// # Safety
/// `slf` is a `StepCallable`, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn step_call(slf: Raw, args: Raw, kwargs: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe {
        let given = PyTuple_GET_SIZE(args) > 0 || (!kwargs.is_null() && PyDict_Size(kwargs) > 0);
        if given {
            return ret(error::type_error(c"function takes no positional arguments"));
        }
        let this: &StepCallable = Ref::new(slf).cast_unchecked();
        let Some(task) = this.task.share() else { return none().into_raw() };
        let exception = this.exception.share();
        ret(RUN.get()(TaskObj::new(task), exception).map(|()| none()))
    })
}

/// Makes the type of steps, and takes what the two callables do.
pub fn load(run: Run, wake: Wake) -> Res<()> {
    RUN.set(run);
    WAKE.set(wake);
    let class = Class::<StepCallable>::new(c"aioxide.TaskStepMethWrapper")
        .get(c"__self__", |this| this.task.or_none())
        .also(|def| {
            def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
                .held::<StepCallable>()
                .slot(Py_tp_call, step_call as *mut c_void)
        });
    class.build(None).map(|made| TYPE.set(made))
}
