//! An entry of the ready queue that is native work, as something that Python can call: for a handle that a program's own
//! `Handle._run` is given.

use std::cell::Cell;
use std::ffi::c_void;

use pyo3_ffi::*;

use super::loop_object::LoopObject;
use super::run::run_one;
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::error::type_name;
use crate::ffi::guard::guarded;
use crate::ffi::held::Held;
use crate::ffi::object::ret;
use crate::ffi::{Global, NULL, Obj, Raw, Ref, Res, Slot, none};
use crate::task::finish::Outcome;
use crate::task::loop_state::{Item, JobFn, LoopState};

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

// SAFETY: as laid out above, for the type that `load` makes.
unsafe impl Native for NativeCall {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
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
        let this: &NativeCall = made.borrow().cast_unchecked();
        this.work.set(Work::Done);
        this.owner.set(state.object().to_obj());
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
    if let Some(this) = owner.borrow().cast::<LoopObject>() {
        run_one(&this.state, item)?;
    }
    Ok(none())
}

/// # Safety
/// `slf` is a `NativeCall`.
unsafe extern "C" fn tp_call(slf: Raw, _: Raw, _: Raw) -> Raw {
    // SAFETY: the interpreter holds it for the call.
    guarded(NULL, || ret(call(unsafe { Ref::new(slf).cast_unchecked() })))
}

pub fn load() -> Res<()> {
    let class = Class::<NativeCall>::new(c"aioxide.NativeCall")
        .get(c"__self__", |this| Ok(this.object.or_none()))
        .get(c"__qualname__", |this| type_name(&this.object.or_none()))
        .also(|def| {
            def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
                .held::<NativeCall>()
                .doc(c"Work of the loop itself, as a callback.")
                .slot(Py_tp_call, tp_call as *mut c_void)
        });
    class.build(None).map(|made| TYPE.set(made))
}
