//! An entry of the ready queue that is native work, as something that Python can call: for a handle that a program's own
//! `Handle._run` is given.

use std::cell::Cell;
use std::ffi::c_void;

use pyo3_ffi::*;

use super::run::run_one;
use crate::ffi::guard::{getter, guarded};
use crate::ffi::held::{Held, fields};
use crate::ffi::object::ret;
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, Obj, Raw, Res, Slot, none};
use crate::task::finish::Outcome;
use crate::task::loop_state::{Item, JobFn, LoopState, native_state};

#[repr(C)]
struct NativeCall {
    header: PyObject,
    owner: Slot,
    /// What the work is for: a transport, or a future.
    object: Slot,
    value: Slot,
    work: Cell<Work>,
}

#[derive(Clone, Copy)]
enum Work {
    /// It has been called.
    Done,
    Job(JobFn),
    Return,
    Raise,
    Cancel,
}

static TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above; the two cells hold nothing to release.
unsafe impl Held for NativeCall {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.owner, &self.object, &self.value]
    }
}

/// # Safety
/// `raw` is a `NativeCall` that lives for `'a`.
unsafe fn of<'a>(raw: Raw) -> &'a NativeCall {
    // SAFETY: the type of `raw` was made for it.
    unsafe { fields(raw) }
}

/// Of a job, or of a future to finish; nothing else comes here.
pub fn new(state: &LoopState, item: Item) -> Res {
    let (object, value, work) = match item {
        Item::Job { object, run } => (object, None, Work::Job(run)),
        Item::Finish { future, outcome } => match outcome {
            Outcome::Returned(value) => (future, Some(value), Work::Return),
            Outcome::Raised(exception) => (future, Some(exception), Work::Raise),
            Outcome::Cancelled => (future, None, Work::Cancel),
        },
        _ => (none(), None, Work::Done),
    };
    // SAFETY: a zeroed object of the type, whose fields are filled before anyone sees it.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))?;
        let this = of(made.as_ptr());
        this.work.set(Work::Done);
        this.owner.set(Obj::new(state.object));
        this.object.set(object);
        drop(this.value.replace(value));
        this.work.set(work);
        Ok(made)
    }
}

fn call(this: &NativeCall) -> Res {
    let work = this.work.replace(Work::Done);
    let (Some(owner), Some(object)) = (this.owner.share(), this.object.share()) else { return Ok(none()) };
    let value = this.value.take();
    let item = match (work, value) {
        (Work::Job(run), _) => Item::Job { object, run },
        (Work::Return, Some(value)) => Item::Finish { future: object, outcome: Outcome::Returned(value) },
        (Work::Raise, Some(value)) => Item::Finish { future: object, outcome: Outcome::Raised(value) },
        (Work::Cancel, _) => Item::Finish { future: object, outcome: Outcome::Cancelled },
        _ => return Ok(none()),
    };
    if let Some(state) = native_state(owner.as_ptr()) {
        // SAFETY: a part of the loop, which is held here.
        run_one(unsafe { &*state }, item)?;
    }
    Ok(none())
}

/// # Safety
/// `slf` is a `NativeCall`.
unsafe extern "C" fn tp_call(slf: Raw, _: Raw, _: Raw) -> Raw {
    // SAFETY: the interpreter holds it for the call.
    guarded(std::ptr::null_mut(), || ret(call(unsafe { of(slf) })))
}

getter!(get_self, |slf| Ok(of(slf).object.or_none()));
getter!(get_qualname, |slf| crate::ffi::error::type_name(of(slf).object.or_none().as_ptr()));

pub fn load() -> Res<()> {
    let made = TypeDef::new(c"aioxide.NativeCall", size_of::<NativeCall>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .held::<NativeCall>()
        .doc(c"Work of the loop itself, as a callback.")
        .slot(Py_tp_call, tp_call as *mut c_void)
        .get(c"__self__", get_self)
        .get(c"__qualname__", get_qualname)
        .build(std::ptr::null_mut())?;
    TYPE.set(made);
    Ok(())
}
