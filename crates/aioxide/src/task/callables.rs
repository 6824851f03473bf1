//! Steps of a task as Python callables: what a loop or future that is not ours is given to call, and what debug mode shows.
//! What they do stands above them, in `step`.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::null;

use pyo3_ffi::*;

use super::task::{self, TaskObj};
use crate::ffi::guard::{getter, guarded, onearg};
use crate::ffi::held::{Held, fields};
use crate::ffi::object::ret;
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, NULL, Obj, Raw, Res, Slot, error, none};

/// `step::run_called`: a step of a task, with an exception to throw or without.
type Run = fn(TaskObj, Option<Obj>) -> Res<()>;
/// `step::wake_called`: a step of a task that waited for a future, with that.
type Wake = fn(TaskObj, Obj) -> Res<()>;

static RUN: Global<Run> = Global::new();
static WAKE: Global<Wake> = Global::new();
static TYPE: Global<*mut PyTypeObject> = Global::new();

/// `task_wakeup`, bound to a task: what a foreign future or loop calls when the future is done.
pub fn wakeup(task: Raw) -> Res {
    struct Definition(UnsafeCell<PyMethodDef>);
    // SAFETY: never written.
    unsafe impl Sync for Definition {}
    static WAKEUP: Definition = Definition(UnsafeCell::new(PyMethodDef {
        ml_name: c"task_wakeup".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: py_wakeup },
        ml_flags: METH_O,
        ml_doc: null(),
    }));
    // SAFETY: a static definition and a live receiver.
    Obj::steal(unsafe { PyCFunction_NewEx(WAKEUP.0.get(), task, NULL) })
}

onearg!(py_wakeup, |slf, future| {
    WAKE.get()(task::of(slf).hold(), Obj::new(future))?;
    Ok(none())
});

/// A step of a task, with an exception to throw or without: what a foreign loop is given to call.
#[repr(C)]
struct StepCallable {
    header: PyObject,
    task: Slot,
    exception: Slot,
}

/// # Safety
/// `raw` is a `StepCallable` that lives for `'a`.
unsafe fn step_of<'a>(raw: Raw) -> &'a StepCallable {
    // SAFETY: the type of `raw` was made for it.
    unsafe { fields(raw) }
}

// SAFETY: as laid out above.
unsafe impl Held for StepCallable {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.task, &self.exception]
    }
}

pub fn step(task: Raw, exception: Option<Obj>) -> Res {
    // SAFETY: a zeroed object of the type, whose slots are filled before anyone sees it.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))?;
        step_of(made.as_ptr()).task.set(Obj::new(task));
        drop(step_of(made.as_ptr()).exception.replace(exception));
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
        let Some(task) = step_of(slf).task.share() else { return none().into_raw() };
        let exception = step_of(slf).exception.share();
        ret(RUN.get()(TaskObj::new(task), exception).map(|()| none()))
    })
}

getter!(step_self, |slf| Ok(step_of(slf).task.or_none()));

/// Makes the type of steps, and takes what the two callables do.
pub fn load(run: Run, wake: Wake) -> Res<()> {
    RUN.set(run);
    WAKE.set(wake);
    let made =
        TypeDef::new(c"aioxide.TaskStepMethWrapper", size_of::<StepCallable>() - size_of::<PyObject>())
            .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
            .held::<StepCallable>()
            .slot(Py_tp_call, step_call as *mut c_void)
            .get(c"__self__", step_self)
            .build(NULL)?;
    TYPE.set(made);
    Ok(())
}
