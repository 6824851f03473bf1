//! What an extension module tells the interpreter of itself: the main one and the workers' are alike.

use std::ffi::{CStr, c_void};

use pyo3_ffi::*;

const SLOT_COUNT: usize = if cfg!(Py_3_13) {
    4
} else if cfg!(Py_3_12) {
    3
} else {
    2
};

pub type Slots = [PyModuleDef_Slot; SLOT_COUNT];

/// It needs the GIL, and works in the main interpreter alone; `exec` is the function that fills it.
pub const fn slots(exec: *mut c_void) -> Slots {
    // SAFETY: an all-zero slot ends the table.
    let mut slots: Slots = unsafe { std::mem::zeroed() };
    slots[0] = PyModuleDef_Slot { slot: Py_mod_exec, value: exec };
    #[cfg(Py_3_12)]
    {
        slots[1] = PyModuleDef_Slot {
            slot: Py_mod_multiple_interpreters,
            value: Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED,
        };
    }
    #[cfg(Py_3_13)]
    {
        slots[2] = PyModuleDef_Slot { slot: Py_mod_gil, value: Py_MOD_GIL_USED };
    }
    slots
}

/// Both tables live as long as the process.
pub const fn definition(
    name: &'static CStr,
    doc: &'static CStr,
    methods: *mut PyMethodDef,
    slots: *mut PyModuleDef_Slot,
) -> PyModuleDef {
    PyModuleDef {
        m_base: PyModuleDef_HEAD_INIT,
        m_name: name.as_ptr(),
        m_doc: doc.as_ptr(),
        m_size: 0,
        m_methods: methods,
        m_slots: slots,
        m_traverse: None,
        m_clear: None,
        m_free: None,
    }
}
