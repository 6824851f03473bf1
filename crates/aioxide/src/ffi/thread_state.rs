//! What asyncio keeps in the interpreter's thread state from 3.14 on: the running loop, the current task, and the list of
//! live tasks, which `asyncio.current_task()`, `asyncio.all_tasks()` and `python -m asyncio ps` read.
//!
//! `_asyncio` writes there with two or three machine instructions, and its functions need thirty times as many to check
//! and unpack their arguments: for each switch between tasks, and twice for each task. So the places are looked for at
//! import, in what those functions do to a specimen. Where they are not found, the functions are called.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::calls::call;
use super::error::Res;
use super::object::{Obj, Raw, import_from, none};
use super::places::{WORD, only, thread_state, word};
use super::py::{Nullable, Object, Ref};

/// Offsets in bytes: of the loop and the task in use and of the list's head from the thread state, of a task's link
/// from the task.
#[derive(Clone, Copy)]
pub struct Places {
    running_loop: usize,
    running_task: usize,
    head: usize,
    link: usize,
}

/// `struct llist_node`: a circular list; a node that is in none has nulls.
#[repr(C)]
struct Link {
    next: *mut Link,
    before: *mut Link,
}

/// No thread state is larger: what is farther away is no part of one.
const FARTHEST: usize = 4096;

impl Places {
    /// Looks for the places with two tasks of `_asyncio`, made one right after the other, and a loop.
    pub fn find(tasks: [Ref; 2], owner: Ref) -> Res<Option<Places>> {
        // SAFETY: specimens are alive, and the list that they are in is whole.
        let Some((link, head)) = (unsafe { find_list(tasks.map(Ref::as_ptr)) }) else { return Ok(None) };
        let thread = thread_state();
        let Some(head) = (head as usize).checked_sub(thread as usize) else { return Ok(None) };
        if !(2 * WORD..=FARTHEST).contains(&head) {
            return Ok(None);
        }
        let places = Places { running_loop: head - 2 * WORD, running_task: head - WORD, head, link };
        Ok(if places.hold(tasks[0], owner)? { Some(places) } else { None })
    }

    /// Makes `owner` the running loop and `task` its current task for a moment, and looks whether that shows.
    fn hold(&self, task: Ref, owner: Ref) -> Res<bool> {
        let function = |name: &CStr| import_from(c"_asyncio", name);
        let (get, set) = (function(c"_get_running_loop")?, function(c"_set_running_loop")?);
        let swap = function(c"_swap_current_task")?;
        let before = call(&get, &[])?;
        call(&set, &[owner])?;
        let task_before = call(&swap, &[owner, task])?;
        let thread = thread_state();
        // SAFETY: both words stand right before the head of the list, which is part of the thread state.
        let shown = unsafe { [self.running_loop, self.running_task].map(|at| word(thread, at).get()) };
        call(&swap, &[owner, task_before.borrow()])?;
        call(&set, &[before.borrow()])?;
        // SAFETY: as above.
        let after = unsafe { word(thread, self.running_task).get() };
        let restored = if after.is_null() { none().as_ptr() } else { after };
        Ok(shown == [owner.as_ptr(), task.as_ptr()] && restored == task_before.as_ptr())
    }

    /// Makes `task`, or none for null, the current one of `owner`, if that is the loop that runs in this thread. Another one
    /// that was current is returned, to be released.
    #[inline(always)]
    pub fn swap(&self, owner: impl Object, task: impl Nullable) -> Result<Option<Obj>, NotRunning> {
        let thread = thread_state();
        // SAFETY: the places were found in a thread state; every thread that holds the GIL has one like it.
        unsafe {
            if word(thread, self.running_loop).get() != owner.raw() {
                return Err(NotRunning);
            }
            let current = word(thread, self.running_task);
            Ok(if current.get() == task.raw_or_null() { None } else { current.replace(Obj::maybe(task)) })
        }
    }

    /// Appends a task to this thread's list, if it is in none.
    ///
    /// # Safety
    /// `task` is an instance of a type derived from `_asyncio.Task`. It takes itself out before it goes.
    #[inline(always)]
    pub unsafe fn append(&self, task: Raw) {
        // SAFETY: the offsets were found in a task and a thread state. The list is circular and so never has a null in
        // it.
        unsafe {
            let link = self.link_of(task);
            if !(*link).next.is_null() {
                return;
            }
            let head = thread_state().add(self.head).cast::<Link>();
            let last = (*head).before;
            *link = Link { next: head, before: last };
            (*last).next = link;
            (*head).before = link;
        }
    }

    /// Takes a task out of the list that it is in.
    ///
    /// # Safety
    /// As `append`.
    #[inline(always)]
    pub unsafe fn remove(&self, task: Raw) {
        // SAFETY: as `append`.
        unsafe {
            let link = self.link_of(task);
            let Link { next, before } = *link;
            if next.is_null() {
                return;
            }
            (*before).next = next;
            (*next).before = before;
            *link = Link { next: std::ptr::null_mut(), before: std::ptr::null_mut() };
        }
    }

    /// # Safety
    /// As `append`.
    #[inline(always)]
    unsafe fn link_of(&self, task: Raw) -> *mut Link {
        // SAFETY: the offset was found in a task, and those of derived types begin as it does.
        unsafe { task.cast::<u8>().add(self.link).cast() }
    }
}

/// The loop does not run in this thread.
#[derive(Debug)]
pub struct NotRunning;

/// Where in a task its link is, and where the list begins: the one place at which the first specimen is followed by the
/// second, the second preceded by the first and followed by something that is preceded by it in turn.
///
/// # Safety
/// Both are live tasks of `_asyncio`.
unsafe fn find_list([first, second]: [Raw; 2]) -> Option<(usize, *mut Link)> {
    // SAFETY: reads words within the two objects, and one that words in both agree to be part of a list.
    unsafe {
        let size = (*Py_TYPE(first)).tp_basicsize as usize;
        let link = |task: Raw, at: usize| task.cast::<u8>().add(at).cast::<Link>();
        let last = size.checked_sub(size_of::<Link>())?;
        let at = only((size_of::<PyObject>()..=last).step_by(WORD).filter(|at| {
            let (one, other) = (link(first, *at), link(second, *at));
            (*one).next == other && (*other).before == one && !(*other).next.is_null()
        }))?;
        let head = (*link(second, at)).next;
        ((*head).before == link(second, at)).then_some((at, head))
    }
}
