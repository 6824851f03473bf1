//! A work item of the standard library's thread pool: what is done with one is Python's, in `aioxide._threads.items`.

use std::ffi::CStr;

use crate::ffi::calls::call;
use crate::ffi::object::{import_from, truth};
use crate::ffi::{Obj, Ref, Res, error, none};
use crate::task::finish::Outcome;

/// What became of an item that was run.
pub enum Ran {
    Returned,
    Raised,
    Cancelled,
}

fn helper(name: &CStr, args: &[Ref]) -> Res {
    call(&import_from(c"aioxide._threads.items", name)?, args)
}

/// Has the item run, by the worker's context (`run` is a bound method of it, if there is one).
pub fn run(item: &Obj, run: Option<Ref>) -> Res<Ran> {
    let run = run.map_or_else(none, Ref::to_obj);
    let failed = helper(c"run", &[item.borrow(), run.borrow()])?;
    Ok(match failed.borrow().is_none() {
        true => Ran::Cancelled,
        false if truth(&failed)? => Ran::Raised,
        false => Ran::Returned,
    })
}

/// Ends its future without having run it.
pub fn refuse(item: &Obj, outcome: Outcome) {
    let exception = match outcome {
        Outcome::Raised(exception) => exception,
        _ => none(),
    };
    if helper(c"refuse", &[item.borrow(), exception.borrow()]).is_err() {
        error::unraisable(item.borrow());
    }
}

/// In a child of fork: the parent's call does not run here.
pub fn leave_behind(item: &Obj) {
    if helper(c"leave_behind", &[item.borrow()]).is_err() {
        error::unraisable(item.borrow());
    }
}
