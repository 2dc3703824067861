//! What an operator may ask: deletion, settings at run time.

use model::admin::RuntimeSettings;
use model::query::ChunkEncoding;
use model::{Matcher, SeriesRef, StorageError, TimeRange};

use super::records::Records;
use super::store::Store;
use crate::head::HeadRules;
use crate::head::page::NO_TIME;
use crate::query::matchers::matching_slots;
use crate::wal::record::{RefTombstone, put_tombstones};

impl Store {
    /// Marks samples of matching series in the head as deleted. The marks reach
    /// no further than the samples that are there now, so that later ones show.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn delete_in_head(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
    ) -> Result<(), StorageError> {
        let wal = self.wal.get().ok_or(StorageError::NotReady)?;
        let mut stones: Vec<(u32, RefTombstone)> = Vec::new();
        for set in matcher_sets {
            for slot in matching_slots(&self.head, set) {
                let (page, i) = self.head.slots.of(slot);
                let page = page.lock();
                let hot = &page.hot[i];
                if hot.series_ref == 0 {
                    continue;
                }
                let (first, last) = page.time_bounds(i);
                let (min_ms, max_ms) = (range.start_ms.max(first), range.end_ms.min(last));
                if last != NO_TIME && min_ms <= max_ms {
                    let stone = RefTombstone { series: SeriesRef(hot.series_ref), min_ms, max_ms };
                    stones.push((slot, stone));
                }
            }
        }
        if stones.is_empty() {
            return Ok(());
        }
        let mut records = Records::default();
        records.add(|out| put_tombstones(out, stones.iter().map(|(_, stone)| *stone)));
        wal.log(&records)?;
        for (slot, stone) in stones {
            self.mark_deleted(slot, stone.min_ms, stone.max_ms);
        }
        Ok(())
    }

    /// Applies settings that may change while the database is open.
    ///
    /// # Errors
    /// The settings contradict how the database was opened: none is applied.
    pub(crate) fn apply_settings(&self, settings: &RuntimeSettings) -> Result<(), StorageError> {
        let xor2 = settings.float_encoding == ChunkEncoding::Xor2;
        if self.options.start_timestamp_storage && !xor2 {
            return Err(StorageError::Invalid(
                "start timestamp storage needs the XOR2 encoding for float chunks".to_owned(),
            ));
        }
        let window = i64::try_from(settings.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        self.head.rules.rcu(|rules| {
            let mut rules: HeadRules = rules.as_ref().clone();
            rules.ooo_window_ms = window;
            rules.chunks.xor2 = xor2;
            rules
        });
        if self.options.exemplar_storage {
            self.exemplars.resize(settings.max_exemplars);
        }
        if window > 0 {
            let _apply = self.head.apply.lock();
            self.wbl()?;
        }
        *self.runtime.lock() = settings.clone();
        Ok(())
    }
}
