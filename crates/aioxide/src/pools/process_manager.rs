//! The one place that calls the Python part of a process pool (`aioxide._process_manager`), but for what its methods are given.

use super::process::Pool;
use crate::ffi::names::intern;
use crate::ffi::object::call_method;
use crate::ffi::{Raised, Raw, Res, error};

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
