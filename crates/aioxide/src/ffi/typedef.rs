//! The builder of heap types.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use pyo3_ffi::*;

use super::calls::tuple;
use super::error::{self, Raised, Res};
use super::held::{self, Held};
use super::object::{NULL, Obj, Raw};
use super::py::{Object, Ref};

pub type Fast = unsafe extern "C" fn(Raw, *const Raw, Py_ssize_t, Raw) -> Raw;
pub type Getter = unsafe extern "C" fn(Raw, *mut c_void) -> Raw;
pub type Setter = unsafe extern "C" fn(Raw, Raw, *mut c_void) -> c_int;

/// Collects slots, methods and attributes, and makes the type once. The tables live as long as the type: for ever.
pub struct TypeDef {
    name: &'static CStr,
    body: usize,
    flags: u64,
    slots: Vec<PyType_Slot>,
    methods: Vec<PyMethodDef>,
    getset: Vec<PyGetSetDef>,
    members: Vec<PyMemberDef>,
}

impl TypeDef {
    /// `body` is the size of what follows the base's fields (or the object header, where the base is `object`).
    pub fn new(name: &'static CStr, body: usize) -> TypeDef {
        TypeDef {
            name,
            body,
            flags: Py_TPFLAGS_DEFAULT,
            slots: Vec::new(),
            methods: Vec::new(),
            getset: Vec::new(),
            members: Vec::new(),
        }
    }

    pub fn flags(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }

    /// A slot function. The caller answers for its signature being the slot's.
    pub fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(PyType_Slot { slot, pfunc: function });
        self
    }

    /// The three slots of a type whose objects the collector visits.
    pub fn collector(self, traverse: traverseproc, clear: inquiry, dealloc: destructor) -> Self {
        self.flags(Py_TPFLAGS_HAVE_GC)
            .slot(Py_tp_traverse, traverse as *mut c_void)
            .slot(Py_tp_clear, clear as *mut c_void)
            .slot(Py_tp_dealloc, dealloc as *mut c_void)
    }

    /// The same for objects that are a `T`.
    pub fn collected<T: Held>(self, dealloc: destructor) -> Self {
        self.collector(held::traverse::<T>, held::clear::<T>, dealloc)
    }

    /// The same, of which nothing but slots needs an end.
    pub fn held<T: Held>(self) -> Self {
        self.collected::<T>(held::dealloc::<T>)
    }

    pub fn doc(self, text: &'static CStr) -> Self {
        self.slot(Py_tp_doc, text.as_ptr().cast_mut().cast())
    }

    pub fn noargs(self, name: &'static CStr, function: PyCFunction, doc: &'static CStr) -> Self {
        self.method(name, PyMethodDefPointer { PyCFunction: function }, METH_NOARGS, doc)
    }

    pub fn onearg(self, name: &'static CStr, function: PyCFunction, doc: &'static CStr) -> Self {
        self.method(name, PyMethodDefPointer { PyCFunction: function }, METH_O, doc)
    }

    pub fn fast(self, name: &'static CStr, function: Fast, doc: &'static CStr) -> Self {
        let pointer = PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        self.method(name, pointer, METH_FASTCALL | METH_KEYWORDS, doc)
    }

    fn method(
        mut self,
        name: &'static CStr,
        ml_meth: PyMethodDefPointer,
        flags: c_int,
        doc: &'static CStr,
    ) -> Self {
        self.methods.push(PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        });
        self
    }

    pub fn get(self, name: &'static CStr, getter: Getter) -> Self {
        self.attribute(name, getter, None)
    }

    pub fn getset(self, name: &'static CStr, getter: Getter, setter: Setter) -> Self {
        self.attribute(name, getter, Some(setter))
    }

    fn attribute(mut self, name: &'static CStr, getter: Getter, setter: Option<Setter>) -> Self {
        let doc = std::ptr::null();
        self.getset.push(PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter),
            set: setter,
            doc,
            closure: std::ptr::null_mut(),
        });
        self
    }

    /// Declares the word at `offset` from the object as the type's `__dict__` or `__weakref__` list.
    pub fn offset_member(mut self, name: &'static CStr, offset: usize) -> Self {
        self.members.push(PyMemberDef {
            name: name.as_ptr(),
            type_code: Py_T_PYSSIZET,
            offset: offset as Py_ssize_t,
            flags: Py_READONLY,
            doc: std::ptr::null(),
        });
        self
    }

    /// Makes the type; `base` is none for `object`.
    pub fn build(mut self, base: Option<Ref>) -> Res<*mut PyTypeObject> {
        let base_size = base.map_or(size_of::<PyObject>(), size_of_type);
        for method in &mut self.methods {
            if let Some(doc) = with_signature(base, method) {
                method.ml_doc = doc;
            }
        }
        // SAFETY: all-zero entries end these tables.
        unsafe {
            self.methods.push(std::mem::zeroed());
            self.getset.push(std::mem::zeroed());
            self.members.push(std::mem::zeroed());
            let methods = Box::leak(self.methods.into_boxed_slice()).as_mut_ptr();
            let getset = Box::leak(self.getset.into_boxed_slice()).as_mut_ptr();
            let members = Box::leak(self.members.into_boxed_slice()).as_mut_ptr();
            self.slots.push(PyType_Slot { slot: Py_tp_methods, pfunc: methods.cast() });
            self.slots.push(PyType_Slot { slot: Py_tp_getset, pfunc: getset.cast() });
            self.slots.push(PyType_Slot { slot: Py_tp_members, pfunc: members.cast() });
            self.slots.push(std::mem::zeroed());
        }
        let mut spec = PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: (base_size + self.body) as c_int,
            itemsize: 0,
            flags: self.flags as std::ffi::c_uint,
            slots: Box::leak(self.slots.into_boxed_slice()).as_mut_ptr(),
        };
        let bases = base.map(|base| tuple(&[base])).transpose()?;
        // SAFETY: a complete spec, whose tables are never freed; the type is kept for ever.
        let made = unsafe { PyType_FromSpecWithBases(&mut spec, bases.as_ref().map_or(NULL, Obj::as_ptr)) };
        if made.is_null() { Err(Raised) } else { Ok(made.cast()) }
    }
}

/// Our text of a method that the base has in C too, behind the base's signature, which is what `inspect` and editors read: it
/// differs between versions. None where ours has a signature of its own, or the base has none.
fn with_signature(base: Option<Ref>, method: &PyMethodDef) -> Option<*const c_char> {
    const END: &[u8] = b")\n--\n\n";
    // SAFETY: the texts of two tables, which live as long as their types: for ever.
    let (ours, theirs) =
        unsafe { (CStr::from_ptr(method.ml_doc), CStr::from_ptr(inherited_doc(base, method.ml_name)?)) };
    let end_of = |text: &CStr| text.to_bytes().windows(END.len()).position(|part| part == END);
    if end_of(ours).is_some() {
        return None;
    }
    let signature = &theirs.to_bytes()[..end_of(theirs)? + END.len()];
    let text = CString::new([signature, ours.to_bytes()].concat()).ok()?;
    Some(text.into_raw().cast_const())
}

/// What the base says of a method that it has in C too.
fn inherited_doc(base: Option<Ref>, name: *const c_char) -> Option<*const c_char> {
    let base = base?.as_ptr();
    // SAFETY: the type of what was found says what it is; its definition, with the text, lives as long as the base.
    unsafe {
        let Ok(found) = Obj::steal(PyObject_GetAttrString(base, name)) else {
            error::clear();
            return None;
        };
        if found.type_of() != &raw mut PyMethodDescr_Type {
            return None;
        }
        let definition = (*found.as_ptr().cast::<PyMethodDescrObject>()).d_method;
        Some((*definition).ml_doc).filter(|doc| !doc.is_null())
    }
}

/// `base.tp_basicsize`: where the body of a type derived from it begins.
pub fn size_of_type(base: impl Object) -> usize {
    // SAFETY: `base` is a type object.
    unsafe { (*base.raw().cast::<PyTypeObject>()).tp_basicsize as usize }
}
