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
        self.pieces().concat()
    }

    /// Bytes of all that is to be sent.
    pub fn total(&self) -> usize {
        self.len() + self.buffers.iter().map(View::len).sum::<usize>()
    }

    /// The pieces of the pickle, in order.
    pub fn pieces(&self) -> Vec<&[u8]> {
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (before, view) in &self.inserts {
            pieces.extend([&self.body[at..*before], view.bytes()]);
            at = *before;
        }
        pieces.push(&self.body[at..]);
        pieces
    }
}
