//! Memory for what a program's size decides: its lack is an answer, where `Box` and `Vec` would end the process.

use std::alloc::{self, Layout};

/// What the box holds, which is made if there is none; `None` where there is no memory for that.
pub fn or_boxed<T: Default>(slot: &mut Option<Box<T>>) -> Option<&mut T> {
    if slot.is_none() {
        const { assert!(size_of::<T>() > 0) };
        // SAFETY: the size is not 0; a `Box` holds what the global allocator gave for its layout.
        *slot = Some(unsafe {
            let place = alloc::alloc(Layout::new::<T>()).cast::<T>();
            if place.is_null() {
                return None;
            }
            place.write(T::default());
            Box::from_raw(place)
        });
    }
    slot.as_deref_mut()
}

/// Adds to the end of a list; hands the item back where there is no memory for it.
#[inline(always)]
pub fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), T> {
    if list.len() == list.capacity() && list.try_reserve(1).is_err() {
        return Err(item);
    }
    list.push(item);
    Ok(())
}
