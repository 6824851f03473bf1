//! The control page of a worker (`aioxide_core::page`), in memory that pool and worker both see.

use aioxide_core::page::Page;
use aioxide_sys::memfd::Mapping;

pub use aioxide_core::page::SIZE;

/// # Safety
/// The mapping is a control page and lives as long as the result is used.
pub unsafe fn of<'a>(mapping: &Mapping) -> &'a Page {
    // SAFETY: page-aligned, no smaller than a page, all atomics, and mapped for as long as the result is used.
    unsafe { &*mapping.start().cast::<Page>() }
}
