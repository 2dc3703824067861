//! Start timestamps inside chunks (XOR2 and the histogram ST chunks).
//!
//! One header byte says what the stream holds:
//!
//! ```text
//! bit 7      the first sample carries t0 - st0 (varint)
//! bits 6-0   index n of the first later sample that carries one, 0: none
//! ```
//!
//! Sample n carries `t[n-1] - st[n]` in full, each one after it the change of
//! that difference. Samples before n repeat the first. n is forced at 127, as
//! seven bits cannot say later.

use super::ChunkError;
use super::bits::BitReader;

/// The last sample index that the header byte can name.
pub(super) const CHANGE_INDEX_MAX: u16 = 0x7f;
/// The header bit for the first sample's start timestamp.
pub(super) const FIRST_KNOWN: u8 = 0x80;

/// What an appender remembers of start timestamps: 24 bytes beside its state,
/// needed only for series that have any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartState {
    /// The newest sample's start timestamp, 0 where unknown.
    pub(super) last_ms: i64,
    /// `t[n-1] - st[n]` of the newest sample that carries one.
    pub(super) last_diff: i64,
    /// The header byte.
    pub(super) header: u8,
}

/// What a sample must write for its start timestamp.
pub(super) enum StartField {
    /// Nothing.
    Nothing,
    /// A varint: the first sample.
    First(i64),
    /// A varbit number.
    Diff(i64),
}

impl StartState {
    /// The newest sample's start timestamp in ms, 0 where unknown.
    pub fn last_start_ms(&self) -> i64 {
        self.last_ms
    }

    /// The field for sample `index`, whose predecessor is at `previous_ms`.
    pub(super) fn next(
        &mut self,
        index: u16,
        previous_ms: i64,
        timestamp_ms: i64,
        start_ms: i64,
    ) -> StartField {
        let changed = start_ms != self.last_ms;
        self.last_ms = start_ms;
        if index == 0 {
            if start_ms == 0 {
                return StartField::Nothing;
            }
            self.header = FIRST_KNOWN;
            return StartField::First(timestamp_ms.wrapping_sub(start_ms));
        }
        let diff = previous_ms.wrapping_sub(start_ms);
        if self.header & !FIRST_KNOWN != 0 {
            let change = diff.wrapping_sub(self.last_diff);
            self.last_diff = diff;
            return StartField::Diff(change);
        }
        if changed || index == CHANGE_INDEX_MAX {
            self.header |= index as u8;
            self.last_diff = diff;
            return StartField::Diff(diff);
        }
        StartField::Nothing
    }
}

/// Follows start timestamps while a chunk is read.
#[derive(Clone, Copy, Default)]
pub(super) struct StartDecoder {
    state: StartState,
}

impl StartDecoder {
    pub(super) fn new(header: u8) -> StartDecoder {
        StartDecoder { state: StartState { header, ..StartState::default() } }
    }

    /// The first sample that carries a difference, where any does.
    pub(super) fn change_index(&self) -> Option<usize> {
        match self.state.header & !FIRST_KNOWN {
            0 => None,
            index => Some(index as usize),
        }
    }

    /// The newest start timestamp.
    pub(super) fn current_ms(&self) -> i64 {
        self.state.last_ms
    }

    /// To append more.
    pub(super) fn state(&self) -> StartState {
        self.state
    }

    /// Reads what stands behind sample `index`.
    pub(super) fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        index: usize,
        previous_ms: i64,
        timestamp_ms: i64,
    ) -> Result<(), ChunkError> {
        if index == 0 {
            if self.state.header & FIRST_KNOWN != 0 {
                self.state.last_ms = timestamp_ms.wrapping_sub(reader.take_varint()?);
            }
            return Ok(());
        }
        let Some(change) = self.change_index() else { return Ok(()) };
        if index >= change {
            let field = reader.take_varbit_int();
            let base = if index == change { 0 } else { self.state.last_diff };
            self.state.last_diff = base.wrapping_add(field);
            self.state.last_ms = previous_ms.wrapping_sub(self.state.last_diff);
        }
        Ok(())
    }
}
