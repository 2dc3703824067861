//! A batch becomes visible: into the log, then into memory, then published.
//!
//! Batches enter memory one at a time and in the log's order, so that a replay
//! makes of the log what memory made of it. While one is applied, its page keeps
//! what the batch found, and readers from before go by that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::append::{Batch, PendingFloat, PendingHistogram, PendingRun};
use super::ooo::{OooSample, OooValue};
use super::open::{ChunkRules, ClosedChunk};
use super::page::{PageData, TOUCHED_AT_ONCE, flag};
use super::slots::place;
use super::{Head, HeadRules};

/// Figures of one applied batch.
#[derive(Default)]
struct Applied {
    floats: u64,
    histograms: u64,
    min: i64,
    max: i64,
    stale: i64,
    chunks: i64,
}

/// An out-of-order sample that waits for its own step.
pub(crate) struct LateSample {
    /// Its series.
    pub(crate) slot: u32,
    /// The series' number.
    pub(crate) series_ref: u64,
    /// The sample.
    pub(crate) sample: OooSample,
}

impl Head {
    /// Puts a batch into memory and publishes it. Callers hold `apply`. Answers
    /// the out-of-order samples, which are not stored here, and the pages with
    /// chunks to be written.
    pub(crate) fn apply(&self, batch: &mut Batch, rules: &HeadRules) -> (Vec<LateSample>, Vec<u32>) {
        let number = self.isolation.published() + 1;
        let oldest = self.isolation.oldest_reader();
        let mut run = Run {
            head: self,
            rules: &rules.chunks,
            takes_late: rules.ooo_window_ms > 0,
            number,
            oldest,
            touched: Vec::new(),
            closing: Vec::new(),
            late: Vec::new(),
            applied: Applied { min: i64::MAX, max: i64::MIN, ..Applied::default() },
        };
        let (mut float, mut histogram) = (0, 0);
        for kind in std::mem::take(&mut batch.runs) {
            match kind {
                PendingRun::Floats(n) => {
                    let starts = batch.starts.get(float..float + n).unwrap_or_default();
                    run.floats(&batch.floats[float..float + n], starts);
                    float += n;
                }
                PendingRun::Histograms(n) => {
                    run.histograms(&batch.histograms[histogram..histogram + n]);
                    histogram += n;
                }
            }
        }
        run.metadata(batch);
        let Run { applied, mut touched, mut closing, late, .. } = run;
        if applied.min <= applied.max {
            self.times.extend(applied.min, applied.max);
        }
        self.counts.floats_appended.fetch_add(applied.floats, Ordering::Relaxed);
        self.counts.histograms_appended.fetch_add(applied.histograms, Ordering::Relaxed);
        self.counts.stale_series.fetch_add(applied.stale, Ordering::Relaxed);
        self.counts.chunks.fetch_add(applied.chunks, Ordering::Relaxed);
        self.counts.chunks_created.fetch_add(applied.chunks.unsigned_abs(), Ordering::Relaxed);
        self.isolation.publish(number);
        // Nobody needs what was before, unless a reader started meanwhile.
        let oldest = self.isolation.oldest_reader();
        if oldest >= number {
            touched.sort_unstable();
            touched.dedup();
            for page in touched {
                if let Some(page) = self.slots.page(page as usize) {
                    page.lock().forget_before(oldest);
                }
            }
        }
        closing.sort_unstable();
        closing.dedup();
        (late, closing)
    }
}

struct Run<'a> {
    head: &'a Head,
    rules: &'a ChunkRules,
    /// What came in order when it was appended, and no longer does, is late.
    takes_late: bool,
    number: u64,
    oldest: u64,
    touched: Vec<u32>,
    closing: Vec<u32>,
    late: Vec<LateSample>,
    applied: Applied,
}

impl Run<'_> {
    fn enter(&mut self, page_number: usize, page: &mut PageData, series: usize) {
        page.begin_batch(self.number, self.oldest, series);
        self.touched.push(page_number as u32);
    }

    fn floats(&mut self, floats: &[PendingFloat], starts: &[i64]) {
        let mut n = 0;
        while n < floats.len() {
            let (page_number, _) = place(floats[n].slot);
            let (page, _) = self.head.slots.of(floats[n].slot);
            let mut page = page.lock();
            let elsewhere = floats[n..].iter().position(|float| place(float.slot).0 != page_number);
            let end = elsewhere.map_or(floats.len(), |len| n + len);
            self.enter(page_number, &mut page, end - n);
            for group in floats[n..end].chunks(TOUCHED_AT_ONCE) {
                page.touch(group.iter().map(|float| place(float.slot).1));
                for float in group {
                    self.float(&mut page, page_number, float, starts.get(n).copied().unwrap_or(0));
                    n += 1;
                }
            }
        }
    }

    fn float(&mut self, page: &mut PageData, page_number: usize, float: &PendingFloat, start: i64) {
        let (_, i) = place(float.slot);
        if page.hot[i].series_ref != float.series_ref {
            return;
        }
        let last_t = page.last_t(i);
        if float.out_of_order || (self.takes_late && float.t < last_t) {
            let sample = OooSample { t: float.t, start, value: OooValue::Float(float.v) };
            self.late.push(LateSample { slot: float.slot, series_ref: float.series_ref, sample });
            return;
        }
        if float.t <= last_t {
            // Another batch, or this one, was there before.
            if float.t != last_t {
                self.head.counts.floats_out_of_order.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        page.note_before(i);
        let was_stale = page.hot[i].flags & flag::STALE != 0;
        let was_empty = !page.has_open(i);
        let closed = page.push_float(i, float.t, float.v, start, self.rules);
        let is_stale = page.hot[i].flags & flag::STALE != 0;
        self.applied.floats += 1;
        self.stored(page, page_number, i, float.t, closed, was_empty, (was_stale, is_stale));
    }

    fn stored(
        &mut self,
        page: &mut PageData,
        page_number: usize,
        i: usize,
        t: i64,
        closed: Option<ClosedChunk>,
        was_empty: bool,
        (was_stale, is_stale): (bool, bool),
    ) {
        self.applied.min = self.applied.min.min(t);
        self.applied.max = self.applied.max.max(t);
        self.applied.stale += i64::from(is_stale) - i64::from(was_stale);
        if was_empty || closed.is_some() {
            self.applied.chunks += 1;
        }
        if let Some(closed) = closed {
            page.closing.push((i as u16, Arc::new(closed)));
            self.closing.push(page_number as u32);
        }
    }

    fn histograms(&mut self, histograms: &[PendingHistogram]) {
        for pending in histograms {
            let (page_number, i) = place(pending.slot);
            let (page, _) = self.head.slots.of(pending.slot);
            let mut page = page.lock();
            if page.hot[i].series_ref != pending.series_ref {
                continue;
            }
            if pending.out_of_order || (self.takes_late && pending.t < page.last_t(i)) {
                let value = OooValue::Histogram(Box::new(pending.value.clone()));
                let sample = OooSample { t: pending.t, start: pending.start, value };
                self.late.push(LateSample { slot: pending.slot, series_ref: pending.series_ref, sample });
                continue;
            }
            let last_t = page.last_t(i);
            if pending.t <= last_t {
                if pending.t != last_t {
                    self.head.counts.histograms_out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            if self.touched.last() != Some(&(page_number as u32)) {
                self.enter(page_number, &mut page, 1);
            }
            page.note_before(i);
            let was_stale = page.hot[i].flags & flag::STALE != 0;
            let was_empty = !page.has_open(i);
            let closed = page.push_histogram(i, pending.t, pending.start, &pending.value, self.rules);
            let is_stale = page.hot[i].flags & flag::STALE != 0;
            self.applied.histograms += 1;
            self.stored(&mut page, page_number, i, pending.t, closed, was_empty, (was_stale, is_stale));
        }
    }

    fn metadata(&mut self, batch: &mut Batch) {
        for (slot, series_ref, metadata) in batch.metadata.drain(..) {
            let (page, i) = self.head.slots.of(slot);
            let mut page = page.lock();
            if page.hot[i].series_ref == series_ref {
                page.cold[i].extra_mut().metadata = Some(Arc::new(metadata));
            }
        }
    }
}
