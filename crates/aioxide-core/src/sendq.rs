//! The bytes that a connection has still to send: chunks in order, gathered for one `writev`.

use std::collections::{TryReserveError, VecDeque};

/// Chunks of bytes, of which the first may have left in part.
pub struct SendQueue<C> {
    chunks: VecDeque<C>,
    /// How much of the first chunk has left.
    sent: usize,
    /// Bytes that have not left.
    len: usize,
}

impl<C> Default for SendQueue<C> {
    fn default() -> Self {
        SendQueue { chunks: VecDeque::new(), sent: 0, len: 0 }
    }
}

impl<C: AsRef<[u8]>> SendQueue<C> {
    /// Bytes that have not left.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues a chunk; an empty one is dropped, and so is one for which there is no memory.
    #[inline]
    pub fn push(&mut self, chunk: C) -> Result<(), TryReserveError> {
        let size = chunk.as_ref().len();
        if size > 0 {
            self.chunks.try_reserve(1)?;
            self.len += size;
            self.chunks.push_back(chunk);
        }
        Ok(())
    }

    /// Queues all chunks, or none where there is no memory.
    pub fn extend(&mut self, chunks: Vec<C>) -> Result<(), TryReserveError> {
        self.chunks.try_reserve(chunks.len())?;
        chunks.into_iter().try_for_each(|chunk| self.push(chunk))
    }

    /// The unsent bytes, a slice a chunk: what one `writev` takes.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let sent = self.sent;
        self.chunks.iter().enumerate().map(move |(i, chunk)| &chunk.as_ref()[if i == 0 { sent } else { 0 }..])
    }

    /// The chunk that leaves next, which may have left in part.
    pub fn first(&self) -> Option<&C> {
        self.chunks.front()
    }

    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Records that `count` more bytes have left, and hands the chunks that left whole to `done`.
    pub fn advance(&mut self, count: usize, mut done: impl FnMut(C)) {
        self.len -= count;
        self.sent += count;
        while let Some(first) = self.chunks.front() {
            let size = first.as_ref().len();
            if self.sent < size {
                return;
            }
            self.sent -= size;
            if let Some(chunk) = self.chunks.pop_front() {
                done(chunk);
            }
        }
    }

    /// Drops everything, returning the chunks so that the caller chooses when they are released.
    pub fn take(&mut self) -> VecDeque<C> {
        self.sent = 0;
        self.len = 0;
        std::mem::take(&mut self.chunks)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
            steps in prop::collection::vec(1usize..30, 0..60),
        ) {
            let mut queue = SendQueue::default();
            for chunk in &chunks {
                queue.push(chunk.clone()).unwrap();
            }
            let all = chunks.concat();
            let (mut left, mut released) = (Vec::new(), Vec::new());
            for step in steps {
                let unsent: Vec<u8> = queue.slices().flatten().copied().collect();
                prop_assert_eq!(&unsent[..], &all[left.len()..]);
                prop_assert_eq!(queue.len(), unsent.len());
                let count = step.min(unsent.len());
                left.extend_from_slice(&unsent[..count]);
                queue.advance(count, |chunk| released.extend(chunk));
                prop_assert!(left.starts_with(&released));
            }
            prop_assert!(all.starts_with(&left));
            if queue.is_empty() {
                prop_assert_eq!(released, all);
            }
        }
    }
}
