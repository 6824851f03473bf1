//! `contextvars` contexts: every callback and every task runs in one (PEP 567).

use pyo3_ffi::*;

use super::calls::call_method;
use super::error::Res;
use super::names::interned;
use super::object::Obj;
use super::py::{Nullable, Object, Ref};

/// A copy of the current context: what `call_soon` and `create_task` take where the caller gives none.
#[inline(always)]
pub fn copy_current() -> Res {
    // SAFETY: plain constructor.
    unsafe { Obj::steal(PyContext_CopyCurrent()) }
}

/// The context to run in: the caller's, or a copy of the current one where `given` is null.
#[inline(always)]
pub fn given_or_copy(given: impl Nullable) -> Res {
    Obj::maybe(given).map_or_else(copy_current, Ok)
}

/// Enters `context`; raises `RuntimeError` when it is entered already and `TypeError` when it is none.
#[inline(always)]
pub fn enter(context: impl Object) -> Res<()> {
    // SAFETY: checks the type itself.
    super::object::check(unsafe { PyContext_Enter(context.raw()) })
}

/// Leaves `context`, which was entered last, whether or not an exception is set.
#[inline(always)]
pub fn exit(context: impl Object) {
    // SAFETY: `enter` succeeded for it. PyContext_Exit neither reads nor changes the error indicator unless it fails,
    // which it does only where the context is not the current one.
    unsafe { PyContext_Exit(context.raw()) };
}

/// `context.run(callable, *args)`, for what a user gave as a context and is none: `enter` has refused it.
#[cold]
pub fn run_by_method(context: impl Object, callable: impl Object, args: &[Ref]) -> Res {
    let all = [&[context.reference(), callable.reference()], args].concat();
    call_method(interned().run, &all)
}

pub fn is_context(object: impl Object) -> bool {
    // SAFETY: looks at the type of a live object.
    unsafe { PyContext_CheckExact(object.raw()) != 0 }
}

/// Runs `body` in `context`.
#[inline(always)]
pub fn run<T>(context: impl Object, body: impl FnOnce() -> Res<T>) -> Res<T> {
    enter(context)?;
    let result = body();
    exit(context);
    result
}
