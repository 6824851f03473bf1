//! What the pool has written to a worker and the socket has not taken yet.

use std::collections::VecDeque;
use std::rc::Rc;

use aioxide_sys::channel;

use crate::wire::slab::Slab;

/// What is still to be sent to a worker; a slab's descriptor goes with the first byte of its frame.
#[derive(Default)]
pub struct Out {
    parts: VecDeque<(Vec<u8>, Option<Rc<Slab>>)>,
    sent: usize,
}

impl Out {
    /// A slab, in the frame that tells of it.
    pub fn pass(&mut self, frame: Vec<u8>, slab: Rc<Slab>) {
        self.parts.push_back((frame, Some(slab)));
    }

    /// Where the next frame is written to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        if self.parts.back().is_none_or(|(bytes, fd)| fd.is_some() || bytes.len() > 1 << 18) {
            self.parts.push_back((Vec::new(), None));
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last].0
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Sends what the socket takes. An error means that the worker is gone, which its pidfd will tell.
    pub fn flush(&mut self, fd: i32) {
        while let Some((bytes, slab)) = self.parts.front() {
            let passed = slab.as_ref().filter(|_| self.sent == 0).and_then(|slab| slab.descriptor());
            match channel::send(fd, &bytes[self.sent..], passed, false) {
                Ok(count) => self.sent += count,
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            if self.sent == bytes.len() {
                self.parts.pop_front();
                self.sent = 0;
            }
        }
    }
}
