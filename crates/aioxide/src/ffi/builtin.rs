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
    buffer_error = PyExc_BufferError,
    connection_error = PyExc_ConnectionError,
    import_error = PyExc_ImportError,
    interrupted_error = PyExc_InterruptedError,
    blocking_io_error = PyExc_BlockingIOError,
    broken_pipe_error = PyExc_BrokenPipeError,
    connection_reset_error = PyExc_ConnectionResetError,
    exception = PyExc_Exception,
    keyboard_interrupt = PyExc_KeyboardInterrupt,
    memory_error = PyExc_MemoryError,
    os_error = PyExc_OSError,
    overflow_error = PyExc_OverflowError,
    runtime_error = PyExc_RuntimeError,
    stop_iteration = PyExc_StopIteration,
    system_exit = PyExc_SystemExit,
    timeout_error = PyExc_TimeoutError,
    type_error = PyExc_TypeError,
    value_error = PyExc_ValueError,
}
