//! The one place where a Rust panic is kept from crossing into the interpreter, and the macros that visit slots.
//!
//! A panic in an `extern "C"` function aborts the process even with `panic = "unwind"`; so each slot runs its body in
//! `guarded`, and a panic becomes a `SystemError` that asks for a report.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3_ffi::*;

/// Runs `body`; a panic sets a `SystemError` and returns `failed`.
#[inline(always)]
pub fn guarded<T>(failed: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(panic) => {
            report(panic);
            failed
        }
    }
}

#[cold]
fn report(panic: Box<dyn Any + Send>) {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let text =
        format!("aioxide panicked: {what}. This is a bug in aioxide; please report it with this traceback");
    let text = text.replace('\0', " ");
    if let Ok(text) = std::ffi::CString::new(text) {
        // SAFETY: a NUL-terminated text; the indicator may be overwritten, the panic is the graver error.
        unsafe { PyErr_SetString(PyExc_SystemError, text.as_ptr()) };
    }
}

/// Visits one slot in a `tp_traverse`; returns from the function when the visitor says stop.
macro_rules! visit {
    ($ptr:expr, $visit:expr, $arg:expr) => {{
        let object: $crate::ffi::Raw = $ptr;
        if !object.is_null() {
            let stop = $visit(object, $arg);
            if stop != 0 {
                return stop;
            }
        }
    }};
}

/// Visits an `Option<Obj>`.
macro_rules! visit_opt {
    ($slot:expr, $visit:expr, $arg:expr) => {
        if let Some(object) = &$slot {
            $crate::ffi::guard::visit!(object.as_ptr(), $visit, $arg);
        }
    };
}

pub(crate) use {visit, visit_opt};
