//! Places in memory that another process has named: whether they are inside what there is here. All arithmetic with its
//! numbers is done in this file; what it gives can be added and sliced with.

use std::ops::Range;

use crate::frames::Place;

/// Shared memory with a head of its own before the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    head: usize,
    size: usize,
}

impl Extent {
    /// One whose size, head and all, another process has told; none where that has no room for the head.
    pub fn announced(size: u64, head: usize) -> Option<Extent> {
        let size = usize::try_from(size).ok()?;
        (head <= size && size <= isize::MAX as usize).then_some(Extent { head, size })
    }

    /// One for so much data; none where no memory could be so large.
    pub fn with_data(data: usize, head: usize) -> Option<Extent> {
        Extent::announced(u64::try_from(data.checked_add(head)?).ok()?, head)
    }

    /// All of it.
    pub fn size(self) -> usize {
        self.size
    }

    /// Without the head.
    pub fn data(self) -> usize {
        self.size - self.head
    }

    /// Where a place lies in the data, if it lies there whole.
    #[inline]
    pub fn place(self, place: &Place) -> Option<Range<usize>> {
        within(place, self.data())
    }
}

/// Where a place lies in so many bytes, if it lies there whole.
#[inline]
pub fn within(place: &Place, size: usize) -> Option<Range<usize>> {
    let end = usize::try_from(place.offset.checked_add(place.size)?).ok()?;
    (end <= size).then(|| end - place.size as usize..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers near all borders: of the types, of the size, of a page.
    fn number(size: u64) -> impl Strategy<Value = u64> {
        let border =
            prop::sample::select(vec![0, size, u64::MAX, i64::MAX as u64, u64::from(u32::MAX), 4096]);
        let near = (border, -3i64..=3).prop_map(|(border, by)| border.wrapping_add_signed(by));
        prop_oneof![3 => near, 1 => any::<u64>(), 1 => 0..=size]
    }

    fn place() -> impl Strategy<Value = (u64, u64, u64)> {
        any::<u64>().prop_flat_map(number).prop_flat_map(|size| (Just(size), number(size), number(size)))
    }

    proptest! {
        #[test]
        fn a_place_is_inside_or_refused((size, offset, length) in place(), head in prop::sample::select(vec![0usize, 4096, 65536])) {
            let place = Place { slab: 1, offset, size: length };
            let Some(extent) = Extent::announced(size, head) else {
                prop_assert!(size < head as u64 || size > i64::MAX as u64);
                return Ok(());
            };
            prop_assert_eq!(extent.data() + head, extent.size());
            // As it is in numbers that do not end.
            let inside = u128::from(offset) + u128::from(length) + head as u128 <= u128::from(size);
            let found = extent.place(&place);
            prop_assert_eq!(found.is_some(), inside);
            if let Some(found) = found {
                prop_assert_eq!((found.start as u64, found.len() as u64), (offset, length));
                prop_assert!(found.start <= found.end && found.end <= extent.data());
            }
        }

        #[test]
        fn a_size_that_is_asked_for_fits_or_is_refused(data in any::<u64>().prop_flat_map(number), head in 0usize..100_000) {
            let wanted = data as u128 + head as u128;
            let made = Extent::with_data(data as usize, head);
            prop_assert_eq!(made.is_some(), wanted <= i64::MAX as u128);
            prop_assert!(made.is_none_or(|made| made.size() as u128 == wanted && made.data() as u64 == data));
        }

        #[test]
        fn a_place_of_a_frames_body_can_be_sliced(body in prop::collection::vec(any::<u8>(), 0..80), (_, offset, length) in place()) {
            let place = Place { slab: 0, offset, size: length };
            if let Some(part) = within(&place, body.len()) {
                prop_assert_eq!(body[part].len() as u64, length);
            }
        }
    }
}
