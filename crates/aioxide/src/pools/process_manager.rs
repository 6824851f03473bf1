//! The one place that calls the Python part of a process pool (`aioxide._process_manager`), but for what its methods are given.

use super::process::Pool;
use crate::ffi::names::intern;
use crate::ffi::object::call_method;
use crate::ffi::{Obj, Raised, Raw, Res, error};

/// Calls the Python part. Its errors are reported, and only those that must leave a loop get through.
pub fn tell(pool: &Pool, method: &'static std::ffi::CStr, args: &[Raw]) -> Res<()> {
    let Some(manager) = pool.manager.share() else { return Ok(()) };
    let mut all = vec![manager.as_ptr()];
    all.extend_from_slice(args);
    match call_method(intern(method)?, &all) {
        Ok(_) => Ok(()),
        Err(Raised) if error::is_exit() => Err(Raised),
        Err(Raised) => {
            error::unraisable(manager.as_ptr());
            Ok(())
        }
    }
}

/// Tells the manager that less is under way, or waits.
pub fn tell_room(pool: &Pool) {
    if tell(pool, c"on_room", &[]).is_err() {
        error::unraisable(pool.manager.get());
    }
}

/// Raises the exception that a method of the manager returns.
pub fn raise_from(
    pool: &Pool,
    method: &'static std::ffi::CStr,
    args: &[Raw],
    interrupt: &mut Option<Obj>,
) -> Res {
    let manager = pool.manager.or_none();
    let mut all = vec![manager.as_ptr()];
    all.extend_from_slice(args);
    let name = intern(method)?;
    let mut exception = call_method(name, &all);
    if exception.is_err() && error::is_interrupted() {
        *interrupt = error::take();
        exception = call_method(name, &all);
    }
    error::raise_value(exception?);
    Err(Raised)
}
