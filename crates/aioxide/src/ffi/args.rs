//! The arguments of a fast call, and the error texts of Python functions for wrong ones.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;

use pyo3_ffi::*;

use super::calls::{call_kw, tuple};
use super::error::{self, Raised, Res};
use super::names::text;
use super::object::{NULL, Obj, Raw, getattr};
use super::py::{Ref, raws};

/// Who says what is wrong with arguments that do not fit.
pub trait Callee: Copy {
    /// Raises the TypeError. `text` makes its message, given the function's name.
    fn refuse(self, args: &Args, text: impl FnOnce(&str) -> String) -> Raised;
}

/// A function of our own: its name.
impl Callee for &str {
    fn refuse(self, _: &Args, text: impl FnOnce(&str) -> String) -> Raised {
        raise_type_error(text(self))
    }
}

/// A method that stands for one of asyncio's: given the same arguments, that one raises the running version's error, and
/// runs none of its body.
#[derive(Clone, Copy)]
pub struct Overriding<'r> {
    pub receiver: Ref<'r>,
    /// The class that asyncio's method is in, asked for only when it has to refuse.
    pub class: fn(Ref) -> Ref<'static>,
    pub name: &'static CStr,
}

impl Callee for Overriding<'_> {
    #[cold]
    fn refuse(self, args: &Args, message: impl FnOnce(&str) -> String) -> Raised {
        let asked = || {
            let method = getattr((self.class)(self.receiver), text(self.name)?)?;
            call_kw(&method, &[&[self.receiver], args.with_keywords()].concat(), args.kwnames())
        };
        match asked() {
            Err(Raised) => Raised,
            Ok(_) => raise_type_error(message(&self.name.to_string_lossy())),
        }
    }
}

/// Positional arguments, and keyword arguments behind them, borrowed for the time of one call.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    values: *const Raw,
    count: usize,
    kwnames: Raw,
    call: PhantomData<Ref<'a>>,
}

/// Keeps what `Args::placed` has moved, for the time of one call.
#[derive(Default)]
pub struct Named {
    values: Vec<Raw>,
    kwnames: Option<Obj>,
}

impl<'a> Args<'a> {
    /// # Safety
    /// The three are what the interpreter handed to a `METH_FASTCALL | METH_KEYWORDS` function, whose call lasts for `'a`.
    #[inline(always)]
    pub unsafe fn new(values: *const Raw, count: Py_ssize_t, kwnames: Raw) -> Args<'a> {
        Args { values, count: count as usize, kwnames, call: PhantomData }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The positional arguments.
    #[inline(always)]
    pub fn given(self) -> &'a [Ref<'a>] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the interpreter passes `count` objects, which live for the time of the call.
        unsafe { std::slice::from_raw_parts(self.values.cast(), self.count) }
    }

    /// The first positional arguments, as many as `require` or `placed` has seen to, and the rest.
    #[inline(always)]
    pub fn split<const N: usize>(self) -> (&'a [Ref<'a>; N], &'a [Ref<'a>]) {
        let Some(parts) = self.given().split_first_chunk() else {
            unreachable!("{N} arguments were asked for")
        };
        parts
    }

    /// The first positional arguments, for parameters of these names; raises where there are too few.
    #[inline(always)]
    pub fn first<const N: usize>(self, names: [&str; N], function: impl Callee) -> Res<[Ref<'a>; N]> {
        self.require(&names, function)?;
        Ok(*self.split().0)
    }

    /// The values that were given by these names, none for the others; any other name raises as a Python function does.
    #[inline(always)]
    pub fn named<const N: usize>(self, names: [Ref; N], function: impl Callee) -> Res<[Option<Ref<'a>>; N]> {
        if self.kwnames.is_null() {
            return Ok([None; N]);
        }
        let mut found = [None; N];
        self.keywords(&names, &mut found, function)?;
        Ok(found)
    }

    /// The names of the arguments by keyword, which stand behind the positional ones in `with_keywords`.
    #[inline(always)]
    pub fn kwnames(self) -> Option<Ref<'a>> {
        // SAFETY: a tuple that lives for the time of the call, or null.
        unsafe { Ref::maybe(self.kwnames) }
    }

    /// Positional and keyword values as they lie in memory: for passing a call on.
    pub fn with_keywords(self) -> &'a [Ref<'a>] {
        let total = self.count + self.keyword_count();
        if total == 0 {
            return &[];
        }
        // SAFETY: the interpreter passes the keyword values right behind the positional ones.
        unsafe { std::slice::from_raw_parts(self.values.cast(), total) }
    }

    fn keyword_count(&self) -> usize {
        if self.kwnames.is_null() {
            return 0;
        }
        // SAFETY: kwnames is a tuple.
        unsafe { PyTuple_GET_SIZE(self.kwnames) as usize }
    }

    fn keyword(&self, i: usize) -> (Ref<'a>, Ref<'a>) {
        // SAFETY: `i` is below keyword_count(); the names and the values live for the time of the call.
        unsafe {
            let name = PyTuple_GET_ITEM(self.kwnames, i as Py_ssize_t);
            (Ref::new(name), Ref::new(*self.values.add(self.count + i)))
        }
    }

    /// The one keyword that the function takes, none where absent or `None`; any other raises as a Python function does.
    #[inline(always)]
    pub fn only(self, name: Ref, function: impl Callee) -> Res<Option<Ref<'a>>> {
        let [found] = self.named([name], function)?;
        Ok(found.filter(|value| !value.is_none()))
    }

    /// Sorts the keyword values into `into`, in the order of `names`; a name that is not there raises.
    fn keywords(&self, names: &[Ref], into: &mut [Option<Ref<'a>>], function: impl Callee) -> Res<()> {
        'next: for i in 0..self.keyword_count() {
            let (key, value) = self.keyword(i);
            for (slot, name) in into.iter_mut().zip(names) {
                if same_name(key, *name)? {
                    *slot = Some(value);
                    continue 'next;
                }
            }
            return Err(function.refuse(self, |function| unexpected(function, key)));
        }
        Ok(())
    }

    /// Binds a signature of which the first `positional` names may be given by position: the way of Argument
    /// Clinic; none for what was not given.
    pub fn bound<const N: usize>(
        self,
        names: [Ref; N],
        positional: usize,
        function: impl Callee,
    ) -> Res<[Option<Ref<'a>>; N]> {
        if self.count > positional {
            let plural = if positional == 1 { "" } else { "s" };
            return Err(function.refuse(&self, |function| {
                format!(
                    "{function}() takes at most {positional} positional argument{plural} ({} given)",
                    self.count
                )
            }));
        }
        let given = self.given();
        let mut found = [None; N];
        self.keywords(&names, &mut found, function)?;
        for (i, (slot, value)) in found.iter_mut().zip(given).enumerate() {
            if slot.replace(*value).is_some() {
                return Err(function.refuse(&self, |function| {
                    format!(
                        "argument for {function}() given by name ({:?}) and position ({})",
                        text_of(names[i]),
                        i + 1
                    )
                }));
            }
        }
        Ok(found)
    }

    /// The same arguments with the first `names.len()` by position, wherever the caller named them; raises where one is
    /// missing. `named` keeps what has to be moved for that.
    #[inline(always)]
    pub fn placed<'n>(self, names: &[&str], function: impl Callee, named: &'n mut Named) -> Res<Args<'n>>
    where
        'a: 'n,
    {
        if self.count >= names.len() { Ok(self) } else { self.place(names, function, named) }
    }

    #[cold]
    fn place<'n>(self, names: &[&str], function: impl Callee, named: &'n mut Named) -> Res<Args<'n>>
    where
        'a: 'n,
    {
        let rest = &names[self.count..];
        let mut placed = vec![NULL; rest.len()];
        let (mut others, mut keys) = (Vec::new(), Vec::new());
        for i in 0..self.keyword_count() {
            let (key, value) = self.keyword(i);
            let text = text_of(key);
            match rest.iter().position(|name| *name == text) {
                Some(at) => placed[at] = value.as_ptr(),
                None if names.contains(&text.as_str()) => {
                    return Err(function.refuse(&self, |function| {
                        format!("{function}() got multiple values for argument '{text}'")
                    }));
                }
                None => {
                    others.push(value.as_ptr());
                    keys.push(key);
                }
            }
        }
        let lacking: Vec<&str> =
            rest.iter().zip(&placed).filter(|(_, value)| value.is_null()).map(|(name, _)| *name).collect();
        if !lacking.is_empty() {
            return Err(function.refuse(&self, |function| missing(function, &lacking)));
        }
        let count = names.len();
        named.kwnames = Some(tuple(&keys)?);
        named.values = [raws(self.given()), &placed, &others].concat();
        Ok(Args {
            values: named.values.as_ptr(),
            count,
            kwnames: named.kwnames.as_ref().map_or(NULL, Obj::as_ptr),
            call: PhantomData,
        })
    }

    /// Raises where fewer than `names.len()` positional arguments were given.
    #[inline(always)]
    pub fn require(&self, names: &[&str], function: impl Callee) -> Res<()> {
        if self.count >= names.len() {
            return Ok(());
        }
        Err(function.refuse(self, |function| missing(function, &names[self.count..])))
    }

    /// Raises where more than `at_most` positional arguments were given, or any by name.
    #[inline(always)]
    pub fn no_more(&self, at_most: usize, function: impl Callee) -> Res<()> {
        if !self.kwnames.is_null() {
            self.keywords(&[], &mut [], function)?;
        }
        self.at_most(at_most, function)
    }

    /// Raises where a method without arguments beyond `at_most` positional ones got more.
    #[inline(always)]
    pub fn at_most(&self, at_most: usize, function: impl Callee) -> Res<()> {
        if self.count <= at_most {
            return Ok(());
        }
        // A Python method counts its receiver.
        Err(function.refuse(self, |function| {
            format!(
                "{function}() takes {} positional argument{} but {} were given",
                at_most + 1,
                if at_most == 0 { "" } else { "s" },
                self.count + 1
            )
        }))
    }

    /// The argument of a method that takes one, by position.
    #[inline(always)]
    pub fn one(self, function: impl Callee) -> Res<Ref<'a>> {
        if self.count == 1 && self.kwnames.is_null() {
            // SAFETY: the interpreter passes one object, which lives for the time of the call.
            return Ok(unsafe { Ref::new(*self.values) });
        }
        Err(function.refuse(&self, |function| format!("{function}() takes exactly one argument")))
    }

    /// Raises where arguments were given by name to a C function that takes none so, in the interpreter's words.
    #[inline(always)]
    pub fn refuse_names(&self, function: &str) -> Res<()> {
        if self.kwnames.is_null() {
            return Ok(());
        }
        type_error_text(format!("{function}() takes no keyword arguments"))
    }

    /// Raises where a C function got fewer than `least` arguments or more than `most`, in the interpreter's words.
    #[inline(always)]
    pub fn between(&self, least: usize, most: usize, function: &str) -> Res<()> {
        let (word, bound) = match self.count {
            count if count < least => ("least", least),
            count if count > most => ("most", most),
            _ => return Ok(()),
        };
        let plural = if bound == 1 { "" } else { "s" };
        let count = self.count;
        type_error_text(format!("{function} expected at {word} {bound} argument{plural}, got {count}"))
    }

    /// Raises where a method without arguments got any.
    #[inline(always)]
    pub fn none(&self, function: impl Callee) -> Res<()> {
        if self.count == 0 && self.kwnames.is_null() { Ok(()) } else { self.no_more(0, function) }
    }
}

#[inline(always)]
fn same_name(key: Ref, name: Ref) -> Res<bool> {
    if key == name {
        return Ok(true);
    }
    // SAFETY: both are str; keyword names always are.
    match unsafe { PyUnicode_Compare(key.as_ptr(), name.as_ptr()) } {
        0 => Ok(true),
        -1 if error::occurred() => Err(Raised),
        _ => Ok(false),
    }
}

fn missing(function: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    format!(
        "{function}() missing {} required positional argument{plural}: {}",
        names.len(),
        quoted.join(" and ")
    )
}

fn unexpected(function: &str, key: Ref) -> String {
    format!("{function}() got an unexpected keyword argument '{}'", text_of(key))
}

fn text_of(name: Ref) -> String {
    // SAFETY: `name` is a str; the UTF-8 is owned by it and copied at once.
    unsafe {
        let mut size = 0;
        let data = PyUnicode_AsUTF8AndSize(name.as_ptr(), &mut size);
        if data.is_null() {
            error::clear();
            return String::from("?");
        }
        String::from_utf8_lossy(std::slice::from_raw_parts(data.cast(), size as usize)).into_owned()
    }
}

#[cold]
pub fn type_error_text<T>(text: String) -> Res<T> {
    Err(raise_type_error(text))
}

#[cold]
fn raise_type_error(text: String) -> Raised {
    let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
    match error::type_error::<()>(&text) {
        Ok(()) | Err(Raised) => Raised,
    }
}

/// Binds the arguments of a constructor (`tp_init`'s tuple and dict) to `names`, of which the first `positional` may be
/// given by position; nothing where they do not fit.
///
/// # Safety
/// `args` is a tuple and `kwargs` a dict or null, as the interpreter hands them to `tp_init`, whose call lasts for `'a`.
pub unsafe fn bind_init<'a, const N: usize>(
    args: Raw,
    kwargs: Raw,
    names: [Ref; N],
    positional: usize,
) -> Res<Option<[Option<Ref<'a>>; N]>> {
    let mut into = [None; N];
    // SAFETY: a tuple and a dict or null; the dict's items are borrowed from it, and no Python runs here.
    unsafe {
        let count = PyTuple_GET_SIZE(args) as usize;
        if count > positional {
            return Ok(None);
        }
        for (i, slot) in into.iter_mut().enumerate().take(count) {
            *slot = Some(Ref::new(PyTuple_GET_ITEM(args, i as Py_ssize_t)));
        }
        if kwargs.is_null() {
            return Ok(Some(into));
        }
        let (mut at, mut key, mut value) = (0, NULL, NULL);
        'next: while PyDict_Next(kwargs, &mut at, &mut key, &mut value) != 0 {
            for (i, (slot, name)) in into.iter_mut().zip(names).enumerate() {
                if i >= count && same_name(Ref::new(key), name)? {
                    *slot = Some(Ref::new(value));
                    continue 'next;
                }
            }
            return Ok(None);
        }
        Ok(Some(into))
    }
}

/// Raises what the `__init__` of a base raises for arguments that did not fit ours: the running version's error.
///
/// # Safety
/// As `bind_init`; `base` is a type that the type of `slf` is derived from.
#[cold]
pub unsafe fn refuse_init<T>(slf: Raw, args: Raw, kwargs: Raw, base: Ref) -> Res<T> {
    // SAFETY: the new tuple is filled before anyone sees it; a tuple's items are borrowed from it.
    unsafe {
        let init = getattr(base, text(c"__init__")?)?;
        let all = Obj::steal(PyTuple_New(PyTuple_GET_SIZE(args) + 1))?;
        Py_INCREF(slf);
        PyTuple_SET_ITEM(all.as_ptr(), 0, slf);
        for i in 0..PyTuple_GET_SIZE(args) {
            let item = PyTuple_GET_ITEM(args, i);
            Py_INCREF(item);
            PyTuple_SET_ITEM(all.as_ptr(), i + 1, item);
        }
        Obj::steal(PyObject_Call(init.as_ptr(), all.as_ptr(), kwargs))?;
    }
    error::type_error(c"the arguments do not fit")
}
