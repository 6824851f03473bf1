//! A work item of the standard library's thread pool: what is done with one is Python's, in `aioxide._threads.items`.

use std::ffi::CStr;

use crate::ffi::object::{call, import_from, is_none, truth};
use crate::ffi::{Obj, Raw, Res, error, none};
use crate::task::finish::Outcome;

/// What became of an item that was run.
pub enum Ran {
    Returned,
    Raised,
    Cancelled,
}

fn helper(name: &CStr, args: &[Raw]) -> Res {
    call(import_from(c"aioxide._threads.items", name)?.as_ptr(), args)
}

/// Has the item run, by the worker's context (`run` is a bound method of it, or null).
pub fn run(item: &Obj, run: Raw) -> Res<Ran> {
    let run = Obj::maybe(run).unwrap_or_else(none);
    let failed = helper(c"run", &[item.as_ptr(), run.as_ptr()])?;
    Ok(match is_none(failed.as_ptr()) {
        true => Ran::Cancelled,
        false if truth(failed.as_ptr())? => Ran::Raised,
        false => Ran::Returned,
    })
}

/// Ends its future without having run it.
pub fn refuse(item: &Obj, outcome: Outcome) {
    let exception = match outcome {
        Outcome::Raised(exception) => exception,
        _ => none(),
    };
    if helper(c"refuse", &[item.as_ptr(), exception.as_ptr()]).is_err() {
        error::unraisable(item.as_ptr());
    }
}

/// In a child of fork: the parent's call does not run here.
pub fn leave_behind(item: &Obj) {
    if helper(c"leave_behind", &[item.as_ptr()]).is_err() {
        error::unraisable(item.as_ptr());
    }
}
