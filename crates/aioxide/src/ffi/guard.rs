//! The one place where a Rust panic is kept from crossing into the interpreter, and the macros that make slots.
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

/// What a method or getter returns for its body, in which `?` and `return` leave the body only.
#[inline(always)]
pub fn answer(body: impl FnOnce() -> crate::ffi::Res) -> crate::ffi::Raw {
    crate::ffi::object::ret(body())
}

/// What a setter returns for its body.
#[inline(always)]
pub fn status(body: impl FnOnce() -> crate::ffi::Res<()>) -> std::ffi::c_int {
    if body().is_ok() { 0 } else { -1 }
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

/// `METH_NOARGS`: `noargs!(name, |slf| expr)`, where `expr` is a `Res`.
macro_rules! noargs {
    ($(#[$doc:meta])* $name:ident, |$slf:ident| $body:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the interpreter, as a slot or method of the type for which it is registered.
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name($slf: $crate::ffi::Raw, _: $crate::ffi::Raw) -> $crate::ffi::Raw {
            // SAFETY: the interpreter calls it with a receiver of the method's type.
            $crate::ffi::guard::guarded($crate::ffi::NULL, || $crate::ffi::guard::answer(|| unsafe { $body }))
        }
    };
}

/// `METH_O`: `onearg!(name, |slf, arg| expr)`.
macro_rules! onearg {
    ($(#[$doc:meta])* $name:ident, |$slf:ident, $arg:ident| $body:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the interpreter, as a slot or method of the type for which it is registered.
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name($slf: $crate::ffi::Raw, $arg: $crate::ffi::Raw) -> $crate::ffi::Raw {
            // SAFETY: the interpreter calls it with a receiver of the method's type and one argument.
            $crate::ffi::guard::guarded($crate::ffi::NULL, || $crate::ffi::guard::answer(|| unsafe { $body }))
        }
    };
}

/// `METH_FASTCALL | METH_KEYWORDS`: `fastcall!(name, |slf, args| expr)`, `args` an `Args`.
macro_rules! fastcall {
    ($(#[$doc:meta])* $name:ident, |$slf:ident, $args:ident| $body:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the interpreter, as a slot or method of the type for which it is registered.
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name(
            $slf: $crate::ffi::Raw,
            values: *const $crate::ffi::Raw,
            count: pyo3_ffi::Py_ssize_t,
            kwnames: $crate::ffi::Raw,
        ) -> $crate::ffi::Raw {
            // SAFETY: the interpreter calls it with a receiver of the method's type and the arguments of the call.
            $crate::ffi::guard::guarded($crate::ffi::NULL, || unsafe {
                let $args = $crate::ffi::Args::new(values, count, kwnames);
                $crate::ffi::guard::answer(|| $body)
            })
        }
    };
}

/// A method without arguments that stands for one of asyncio's, or with one:
/// `overriding!(name, base, c"name", |slf| expr)`, `overriding!(name, base, c"name", |slf, arg| expr)`, where `base` gives the
/// `Overriding` for a receiver and a name. It is registered by `TypeDef::fast`: for `METH_NOARGS` and `METH_O` the interpreter
/// itself refuses arguments, in words of its own.
macro_rules! overriding {
    ($name:ident, $base:ident, $text:literal, |$slf:ident| $body:expr) => {
        $crate::ffi::guard::fastcall!($name, |$slf, args| {
            args.none($base($slf, $text))?;
            $body
        });
    };
    ($name:ident, $base:ident, $text:literal, |$slf:ident, $arg:ident| $body:expr) => {
        $crate::ffi::guard::fastcall!($name, |$slf, args| {
            let $arg = args.one($base($slf, $text))?;
            $body
        });
    };
}

/// A getter of an attribute: `getter!(name, |slf| expr)`.
macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, |$slf:ident| $body:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the interpreter, as a slot or method of the type for which it is registered.
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name($slf: $crate::ffi::Raw, _: *mut std::ffi::c_void) -> $crate::ffi::Raw {
            // SAFETY: the interpreter calls it with a receiver of the attribute's type.
            $crate::ffi::guard::guarded($crate::ffi::NULL, || $crate::ffi::guard::answer(|| unsafe { $body }))
        }
    };
}

/// A setter: `setter!(name, |slf, value| expr)`, `value` null for a deletion, `expr` a `Res<()>`.
macro_rules! setter {
    ($(#[$doc:meta])* $name:ident, |$slf:ident, $value:ident| $body:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the interpreter, as a slot or method of the type for which it is registered.
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name(
            $slf: $crate::ffi::Raw,
            $value: $crate::ffi::Raw,
            _: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            // SAFETY: the interpreter calls it with a receiver of the attribute's type.
            $crate::ffi::guard::guarded(-1, || $crate::ffi::guard::status(|| unsafe { $body }))
        }
    };
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

pub(crate) use {fastcall, getter, noargs, onearg, overriding, setter, visit, visit_opt};
