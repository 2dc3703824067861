//! The threads that put replayed samples into series.
//!
//! Each looks after every n-th page, so that the samples of a series keep their
//! order and no two threads want the same page for long. What a series becomes
//! does not depend on how many threads there are.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::Scope;

use model::{HistogramValue, StorageError};
use parking_lot::Mutex;

use crate::db::Store;
use crate::head::open::ChunkRules;
use crate::head::page::PageData;
use crate::head::slots::place;

/// Samples that are handed over at once.
const FLOATS_AT_ONCE: usize = 8192;
/// Hand-overs that may wait for a thread.
const WAITING_MAX: usize = 4;

#[derive(Clone, Copy)]
struct LaneFloat {
    slot: u32,
    t: i64,
    v: f64,
}

/// Floats on their way, with start timestamps where any is known.
#[derive(Default)]
struct Floats {
    samples: Vec<LaneFloat>,
    starts: Vec<i64>,
}

/// A histogram on its way.
pub(super) struct LaneHistogram {
    pub(super) slot: u32,
    pub(super) t: i64,
    pub(super) start: i64,
    pub(super) value: HistogramValue,
}

enum Work {
    Floats(Floats),
    Histogram(Box<LaneHistogram>),
    Wait(Sender<()>),
}

struct Lane {
    work: SyncSender<Work>,
    /// Emptied buffers come back.
    spare: Receiver<Floats>,
    filling: Floats,
}

/// All threads, as the one that reads the log sees them.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    failed: Arc<Mutex<Option<StorageError>>>,
}

impl Lanes {
    /// Starts the threads; they end when this is dropped.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env Store,
        threads: usize,
        min_valid: i64,
    ) -> Lanes {
        let failed = Arc::new(Mutex::new(None));
        let lanes = (0..threads.max(1)).map(|_| {
            let (work, incoming) = mpsc::sync_channel(WAITING_MAX);
            let (emptied, spare) = mpsc::channel();
            let failed = failed.clone();
            scope.spawn(move || {
                let rules = store.head.rules.load().chunks;
                Worker { store, min_valid, rules, closing: Vec::new() }.run(&incoming, &emptied, &failed);
            });
            Lane { work, spare, filling: Floats::default() }
        });
        Lanes { lanes: lanes.collect(), failed }
    }

    fn of(&self, slot: u32) -> usize {
        place(slot).0 % self.lanes.len()
    }

    /// Puts a float behind all that the series was given before.
    pub(super) fn float(&mut self, slot: u32, t: i64, v: f64, start: i64) {
        let n = self.of(slot);
        let filling = &mut self.lanes[n].filling;
        if start != 0 || !filling.starts.is_empty() {
            filling.starts.resize(filling.samples.len(), 0);
            filling.starts.push(start);
        }
        filling.samples.push(LaneFloat { slot, t, v });
        if filling.samples.len() >= FLOATS_AT_ONCE {
            self.lanes[n].hand_over();
        }
    }

    /// Puts a histogram behind all that the series was given before.
    pub(super) fn histogram(&mut self, histogram: LaneHistogram) {
        let n = self.of(histogram.slot);
        self.lanes[n].hand_over();
        self.lanes[n].send(Work::Histogram(Box::new(histogram)));
    }

    /// Waits until everything is in its series.
    ///
    /// # Errors
    /// Full chunks could not be written.
    pub(super) fn wait(&mut self) -> Result<(), StorageError> {
        let (done, all_done) = mpsc::channel();
        for lane in &mut self.lanes {
            lane.hand_over();
            lane.send(Work::Wait(done.clone()));
        }
        drop(done);
        while all_done.recv().is_ok() {}
        self.failed.lock().take().map_or(Ok(()), Err)
    }
}

impl Lane {
    fn send(&self, work: Work) {
        // A thread ends early only by a panic, which its scope hands on.
        let _ = self.work.send(work);
    }

    fn hand_over(&mut self) {
        if self.filling.samples.is_empty() {
            return;
        }
        let next = self.spare.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.filling, next);
        self.send(Work::Floats(full));
    }
}

struct Worker<'a> {
    store: &'a Store,
    min_valid: i64,
    rules: ChunkRules,
    /// Pages with full chunks to be written.
    closing: Vec<u32>,
}

impl Worker<'_> {
    fn run(
        mut self,
        incoming: &Receiver<Work>,
        emptied: &Sender<Floats>,
        failed: &Mutex<Option<StorageError>>,
    ) {
        for work in incoming {
            match work {
                Work::Floats(mut floats) => {
                    self.floats(&floats);
                    floats.samples.clear();
                    floats.starts.clear();
                    // At the end nobody wants it back.
                    let _ = emptied.send(floats);
                }
                Work::Histogram(histogram) => self.histogram(&histogram),
                Work::Wait(done) => drop(done),
            }
            if self.closing.is_empty() {
                continue;
            }
            self.closing.sort_unstable();
            self.closing.dedup();
            if let Err(error) = self.store.write_closing(&self.closing) {
                failed.lock().get_or_insert(error);
            }
            self.closing.clear();
        }
    }

    fn floats(&mut self, floats: &Floats) {
        let samples = &floats.samples;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut n = 0;
        while n < samples.len() {
            let (page_number, _) = place(samples[n].slot);
            let (page, _) = self.store.head.slots.of(samples[n].slot);
            let mut page = page.lock();
            while n < samples.len() && place(samples[n].slot).0 == page_number {
                let LaneFloat { slot, t, v } = samples[n];
                let start = floats.starts.get(n).copied().unwrap_or(0);
                n += 1;
                let (_, i) = place(slot);
                if t < self.min_valid || t <= page.last_t(i) {
                    page.refine_newest(i, t, v);
                    continue;
                }
                (min, max) = (min.min(t), max.max(t));
                if let Some(closed) = page.push_float(i, t, v, start, &self.rules) {
                    self.close(&mut page, slot, closed);
                }
            }
        }
        if min <= max {
            self.store.head.times.extend(min, max);
        }
    }

    fn histogram(&mut self, histogram: &LaneHistogram) {
        let &LaneHistogram { slot, t, start, ref value } = histogram;
        let (page, i) = self.store.head.slots.of(slot);
        let mut page = page.lock();
        if t < self.min_valid || t <= page.last_t(i) {
            return;
        }
        if let Some(closed) = page.push_histogram(i, t, start, value, &self.rules) {
            self.close(&mut page, slot, closed);
        }
        drop(page);
        self.store.head.times.extend(t, t);
    }

    fn close(&mut self, page: &mut PageData, slot: u32, closed: crate::head::open::ClosedChunk) {
        let (number, i) = place(slot);
        page.closing.push((i as u16, Arc::new(closed)));
        self.closing.push(number as u32);
    }
}
