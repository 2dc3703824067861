//! A page as it comes in: bounded, and on the account.

use model::memory::{Accountant, Lease, Pressure};

use super::FetchError;

/// Room is made in steps of so much at least.
const STEP_BYTES: usize = 16 << 10;
/// A promise of more is not believed before it comes.
const PROMISE_BYTES_MAX: usize = 256 << 20;

/// A page under way.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Bytes at which it is too large; 0 for none.
    limit: u64,
    lease: Lease,
}

impl Page {
    /// An empty page in a buffer.
    pub(super) fn new(bytes: Vec<u8>, limit: u64, accountant: &Accountant) -> Page {
        Page { bytes, limit, lease: accountant.lease("scrape", u64::MAX, Pressure::RefuseWrites) }
    }

    /// Room for a page whose length was announced: as it grows it need not be moved.
    pub(super) fn expect(&mut self, bytes: u64) -> Result<(), FetchError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match bytes {
            _ if self.limit > 0 && bytes as u64 >= self.limit => Err(FetchError::BodySizeLimit),
            ..=PROMISE_BYTES_MAX => self.reserve(bytes),
            _ => Ok(()),
        }
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        if self.limit > 0 && (self.bytes.len() + bytes.len()) as u64 >= self.limit {
            return Err(FetchError::BodySizeLimit);
        }
        self.make_room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Room for `more` bytes at least.
    pub(super) fn make_room(&mut self, more: usize) -> Result<(), FetchError> {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return Ok(());
        }
        let needed = self.bytes.len().saturating_add(more);
        self.reserve(needed.max(self.bytes.capacity().saturating_mul(2)).max(STEP_BYTES))
    }

    /// What came so far. Whoever writes to it calls [`Page::check_limit`] after.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn check_limit(&self) -> Result<(), FetchError> {
        if self.limit > 0 && self.bytes.len() as u64 >= self.limit {
            return Err(FetchError::BodySizeLimit);
        }
        Ok(())
    }

    /// The whole page.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), FetchError> {
        if capacity > self.bytes.capacity() {
            self.lease.grow_to(capacity as u64)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }
}
