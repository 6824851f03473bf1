//! How another thread finishes a future of a loop: it puts what it worked out into the loop's ready queue, and the loop
//! sets it. A future changes in its loop's thread only: code between two awaits relies on that.

use super::future::of;
pub use super::outcome::Outcome;
use super::{cancel, waiters};
use crate::ffi::calls::call;
use crate::ffi::names::imported;
use crate::ffi::object::import_from;
use crate::ffi::py::Object;
use crate::ffi::{Obj, Raised, Ref, Res, error};

/// Finishes `future` (one of ours), unless it is done: whoever waited for it may have cancelled it.
///
/// # Safety
/// `future` is an `aioxide.Future`.
pub unsafe fn finish(future: impl Object, outcome: Outcome) -> Res<()> {
    // SAFETY: a future of ours, held by the item that is run.
    let (future, this) = unsafe { (Ref::new(future.raw()), of(future)) };
    if !this.is_pending() {
        return Ok(());
    }
    match outcome {
        Outcome::Returned(value) => waiters::wake(future, this.set_result(value)?),
        Outcome::Cancelled => cancel::end(future, this, None).map(drop),
        Outcome::Raised(exception) => {
            let exception = as_asyncio(exception)?;
            let set = this.set_exception(exception.borrow()).or_else(|Raised| {
                // A StopIteration, where this version refuses one. asyncio logs it and leaves the future pending for
                // ever; its waiter gets the TypeError that says so.
                match error::take() {
                    Some(refused) if this.is_pending() => Ok(this.finish_exception(refused)),
                    other => {
                        error::restore(other);
                        Err(Raised)
                    }
                }
            });
            waiters::wake(future, set?)
        }
    }
}

/// `asyncio.futures._convert_future_exc`: the errors of `concurrent.futures` that asyncio has classes of its own for.
fn as_asyncio(exception: Obj) -> Res {
    let others = [imported().pool_cancelled_error, imported().pool_invalid_state_error];
    if !others.iter().any(|other| other.as_ptr() == exception.type_of().cast()) {
        return Ok(exception);
    }
    let convert = import_from(c"asyncio.futures", c"_convert_future_exc")?;
    call(&convert, &[exception.borrow()])
}
