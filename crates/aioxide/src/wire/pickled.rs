//! What pickling gives: the pickle, in pieces, and the memory that travels beside it.

use memchr::memmem;

use crate::ffi::buffer::View;

/// A pickle, and the buffers that were kept out of it, in order.
pub struct Pickled {
    pub body: Vec<u8>,
    /// Large strings of bytes of the pickle, not copied into `body`, and before which byte of it each belongs.
    pub inserts: Vec<(usize, View)>,
    pub buffers: Vec<View>,
}

impl Pickled {
    /// Bytes of the pickle.
    pub fn len(&self) -> usize {
        self.body.len() + self.inserts.iter().map(|(_, view)| view.len()).sum::<usize>()
    }

    /// Whether it may refer to something in the module `__main__`, whose name it then has.
    pub fn names_main(&self) -> bool {
        // A pickle may have megabytes: byte by byte this took longer than all the rest of a call.
        memmem::find(&self.body, b"__main__").is_some()
    }

    /// All of the pickle in one piece.
    pub fn into_body(self) -> Vec<u8> {
        if self.inserts.is_empty() {
            return self.body;
        }
        let mut whole = Vec::with_capacity(self.len());
        let mut at = 0;
        for (before, view) in &self.inserts {
            whole.extend_from_slice(&self.body[at..*before]);
            whole.extend_from_slice(view.bytes());
            at = *before;
        }
        whole.extend_from_slice(&self.body[at..]);
        whole
    }

    /// Bytes of all that is to be sent.
    pub fn total(&self) -> usize {
        self.len() + self.buffers.iter().map(View::len).sum::<usize>()
    }

    /// The pieces of the pickle, in order.
    pub fn pieces(&self) -> Vec<(*const u8, usize)> {
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (before, view) in &self.inserts {
            pieces.push((self.body[at..*before].as_ptr(), before - at));
            pieces.push((view.start(), view.len()));
            at = *before;
        }
        pieces.push((self.body[at..].as_ptr(), self.body.len() - at));
        pieces
    }
}
