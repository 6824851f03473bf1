//! A call that waits for a thread, and who waits for it.

use pyo3_ffi::*;

use super::work_item;
use crate::calls::future::PoolFuture;
use crate::calls::target::Target;
use crate::ffi::calls::tuple;
use crate::ffi::object::check;
use crate::ffi::{Obj, Res};
use crate::task::finish::Outcome;

/// Who waits for a call.
pub enum Waiter {
    Target(Target),
    /// A work item of the standard library's, which knows its future itself.
    Item(Obj),
}

impl Waiter {
    /// The future, or the item; to compare with, and to visit.
    pub fn object(&self) -> &Obj {
        match self {
            Waiter::Target(target) => target.future(),
            Waiter::Item(item) => item,
        }
    }

    /// The future of `concurrent.futures`, if it is one.
    #[inline(always)]
    pub fn pool_future(&self) -> Option<&PoolFuture> {
        match self {
            Waiter::Target(target) => target.pool_future(),
            Waiter::Item(_) => None,
        }
    }
}

/// A call that waits for a worker.
pub struct Call {
    pub function: Obj,
    /// Positional arguments, and behind them the values for `kwnames`; nothing for a call without any.
    pub args: Option<Obj>,
    pub positional: usize,
    pub kwnames: Option<Obj>,
    pub waiter: Waiter,
    /// The tick counter when it was queued.
    pub queued: u64,
}

impl Call {
    /// Whether nobody waits for it any more.
    pub fn is_cancelled(&self) -> bool {
        match &self.waiter {
            Waiter::Target(target) => !target.is_wanted(),
            // To ask it could run Python code; whoever runs it asks.
            Waiter::Item(_) => false,
        }
    }

    /// It is taken out of its queue.
    #[inline(always)]
    pub fn leave(&self) {
        if let Some(future) = self.waiter.pool_future() {
            future.leave_queue();
        }
    }

    /// Ends it without having run.
    pub fn refuse(self, outcome: Outcome) {
        let Call { waiter, .. } = self;
        match waiter {
            Waiter::Target(target) => target.refuse(outcome),
            Waiter::Item(item) => work_item::refuse(&item, outcome),
        }
    }

    /// The positional arguments, as a tuple, and the others, as a dict.
    pub fn arguments(&self) -> Res<(Obj, Obj)> {
        let Some(all) = &self.args else {
            // SAFETY: a new dict.
            return Ok((tuple(&[])?, unsafe { Obj::steal(PyDict_New()) }?));
        };
        // SAFETY: slices of a tuple, and a dict of its last items.
        unsafe {
            let size = PyTuple_GET_SIZE(all.as_ptr());
            let positional = self.positional as Py_ssize_t;
            let args = Obj::steal(PyTuple_GetSlice(all.as_ptr(), 0, positional))?;
            let kwargs = Obj::steal(PyDict_New())?;
            if let Some(kwnames) = &self.kwnames {
                for (i, at) in (positional..size).enumerate() {
                    let key = PyTuple_GET_ITEM(kwnames.as_ptr(), i as Py_ssize_t);
                    check(PyDict_SetItem(kwargs.as_ptr(), key, PyTuple_GET_ITEM(all.as_ptr(), at)))?;
                }
            }
            Ok((args, kwargs))
        }
    }
}
