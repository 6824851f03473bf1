//! The interpreter's own exception classes.

use super::py::Ref;

macro_rules! classes {
    ($($name:ident = $class:ident),* $(,)?) => {
        $(
            #[inline(always)]
            pub fn $name() -> Ref<'static> {
                // SAFETY: the interpreter makes its classes before it loads a module, and keeps them.
                unsafe { Ref::new(pyo3_ffi::$class) }
            }
        )*
    };
}

classes! {
    attribute_error = PyExc_AttributeError,
    keyboard_interrupt = PyExc_KeyboardInterrupt,
    os_error = PyExc_OSError,
    overflow_error = PyExc_OverflowError,
    runtime_error = PyExc_RuntimeError,
    stop_iteration = PyExc_StopIteration,
    system_exit = PyExc_SystemExit,
    type_error = PyExc_TypeError,
    value_error = PyExc_ValueError,
}
