//! Whether somebody has wrapped `submit` of the standard library's pool class, which a pool of ours stands for.
//!
//! Tracers do (OpenTelemetry, Sentry, Datadog): to carry a span or a scope into the thread. They wrap the standard class,
//! where asyncio's own default executor finds it, and so must a call of ours. They do it in two ways: by setting the
//! class's attribute, which its version tag tells, or by giving the function other code, which only a look at that tells.

use std::cell::Cell;

use pyo3_ffi::*;

use crate::ffi::names::{interned, text};
use crate::ffi::object::getattr;
use crate::ffi::{NULL, Obj, Raw, Ref, Res, Slot, compat, error};

/// A class of `concurrent.futures`, watched.
pub struct Standard {
    class: Obj,
    /// A name that the body of the class's own `submit` uses, and no wrapper's.
    mark: Obj,
    /// The class's version tag for which the rest holds.
    version: Cell<u32>,
    /// The function that was found, and the code that it had; nothing where it is no function.
    function: Slot,
    code: Slot,
    /// Where in the function its code stands: a look there is cheaper than a call. Null where it was not found.
    place: Cell<*const Raw>,
    wrapped: Cell<bool>,
}

impl Standard {
    /// Watches `class` for as long as the process lives. `mark`: see the field.
    pub fn watch(class: Obj, mark: Obj) -> &'static Standard {
        Box::leak(Box::new(Standard {
            class,
            mark,
            version: Cell::new(0),
            function: Slot::empty(),
            code: Slot::empty(),
            place: Cell::new(std::ptr::null()),
            wrapped: Cell::new(false),
        }))
    }

    pub fn class(&self) -> &Obj {
        &self.class
    }

    /// Whether `submit` is not what the standard library has it be.
    #[inline(always)]
    pub fn is_wrapped(&self) -> bool {
        let version = compat::version_tag(self.class.as_ptr().cast());
        if version != self.version.get() || version == 0 || self.code() != self.code.get() {
            self.look();
        }
        self.wrapped.get()
    }

    #[inline(always)]
    fn code(&self) -> Raw {
        let place = self.place.get();
        // SAFETY: a word of the function, which the slot holds.
        if place.is_null() { self.asked_code() } else { unsafe { *place } }
    }

    fn asked_code(&self) -> Raw {
        let function = self.function.get();
        // SAFETY: a function, held by the slot.
        if function.is_null() { NULL } else { unsafe { PyFunction_GetCode(function) } }
    }

    /// Looks for the place of the code in the function: all of its layout that is needed here.
    fn find_place(&self) -> *const Raw {
        let (function, code) = (self.function.get(), self.asked_code());
        if code.is_null() {
            return std::ptr::null();
        }
        // SAFETY: reads the words of a live function, which is as large as its type says.
        unsafe {
            let words = (*Py_TYPE(function)).tp_basicsize as usize / size_of::<Raw>();
            let start = function.cast::<Raw>().cast_const();
            let header = size_of::<PyObject>() / size_of::<Raw>();
            (header..words).map(|at| start.add(at)).find(|place| **place == code).unwrap_or(std::ptr::null())
        }
    }

    #[cold]
    fn look(&self) {
        let found = getattr(&self.class, interned().submit).ok();
        let own = found.as_ref().is_some_and(|method| self.is_own(method.borrow()).unwrap_or(false));
        error::clear();
        let function = found.filter(|method| is_function(method.borrow()));
        self.place.set(std::ptr::null());
        drop(self.function.replace(function));
        // SAFETY: the code is a part of the function, which the slot holds.
        let code = unsafe { Ref::maybe(self.asked_code()) };
        drop(self.code.replace(code.map(Ref::to_obj)));
        self.place.set(self.find_place());
        self.wrapped.set(!own);
        // The look-up has given the type a tag, unless the interpreter has run out of them.
        self.version.set(compat::version_tag(self.class.as_ptr().cast()));
    }

    /// A function of the class's own module whose code is that of the standard library. A wrapper copies name and module
    /// (`functools.wraps`), even the name of the file (Datadog), but neither its globals nor what its code does.
    fn is_own(&self, method: Ref) -> Res<bool> {
        if !is_function(method) {
            return Ok(false);
        }
        let module = getattr(&self.class, text(c"__module__")?)?;
        // SAFETY: live objects; what is borrowed from the function is used at once.
        unsafe {
            let module = Obj::steal(PyImport_GetModule(module.as_ptr()))?;
            if PyFunction_GetGlobals(method.as_ptr()) != PyModule_GetDict(module.as_ptr()) {
                return Ok(false);
            }
            let used = getattr(Ref::new(PyFunction_GetCode(method.as_ptr())), text(c"co_names")?)?;
            Ok(PySequence_Contains(used.as_ptr(), self.mark.as_ptr()) == 1)
        }
    }
}

fn is_function(object: Ref) -> bool {
    // SAFETY: asks for the type of a live object.
    unsafe { PyFunction_Check(object.as_ptr()) != 0 }
}
