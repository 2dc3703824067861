//! Room for pages, shared by all targets: a page needs it only from its first
//! byte until it is parsed.

use parking_lot::Mutex;

/// Buffers kept at most.
const KEPT_MAX: usize = 16;
/// A buffer that grew above this is not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Room for a first page.
const FIRST_BYTES: usize = 4 << 10;

/// Empty buffers.
#[derive(Default)]
pub(crate) struct PagePool {
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl PagePool {
    /// An empty buffer, with room for a page of `bytes` as a rule.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let wanted = bytes.max(FIRST_BYTES);
        let mut buffers = self.buffers.lock();
        let fitting = buffers.iter().position(|buffer| buffer.capacity() >= wanted);
        let found = fitting.map(|at| buffers.swap_remove(at)).or_else(|| buffers.pop());
        drop(buffers);
        // A little more than the page before: growing means moving.
        found.unwrap_or_else(|| Vec::with_capacity(wanted + wanted / 64))
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > KEPT_BYTES_MAX {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers.lock();
        if buffers.len() < KEPT_MAX {
            buffers.push(buffer);
        }
    }
}
