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

use super::late::{PassedOver, REMEMBERED_MAX};
use crate::db::Store;
use crate::head::commit::LateSample;
use crate::head::ooo::{OooSample, OooValue};
use crate::head::open::ChunkRules;
use crate::head::page::{PAGE_SLOTS, PageData, TOUCHED_AT_ONCE};
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
    /// Late samples are looked for from here on.
    LookForLate,
    /// The slot has another series from here on.
    Forget(u32),
    /// What late samples there were, lane by lane.
    TakeLate(Sender<Vec<LateSample>>),
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
    /// Starts the threads; they end when this is dropped. `with_late`: some of what
    /// is passed over may be late samples.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env Store,
        threads: usize,
        min_valid: i64,
        with_late: bool,
    ) -> Lanes {
        let failed = Arc::new(Mutex::new(None));
        let threads = threads.max(1);
        let lanes = (0..threads).map(|_| {
            let (work, incoming) = mpsc::sync_channel(WAITING_MAX);
            let (emptied, spare) = mpsc::channel();
            let failed = failed.clone();
            scope.spawn(move || {
                let rules = store.head.rules.load().chunks;
                let passed = with_late.then(|| PassedOver::new(REMEMBERED_MAX / threads));
                let worker = Worker { store, threads, min_valid, rules, passed, closing: Vec::new() };
                worker.run(&incoming, &emptied, &failed);
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

    /// Late samples behind what was given so far are remembered.
    pub(super) fn look_for_late(&mut self) {
        for lane in &mut self.lanes {
            lane.hand_over();
            lane.send(Work::LookForLate);
        }
    }

    /// A slot has another series from here on.
    pub(super) fn forget(&mut self, slot: u32) {
        let lane = self.of(slot);
        self.lanes[lane].hand_over();
        self.lanes[lane].send(Work::Forget(slot));
    }

    /// The late samples that were remembered; those of a series in order.
    pub(super) fn take_late(&mut self) -> Vec<LateSample> {
        let (late, all_late) = mpsc::channel();
        for lane in &mut self.lanes {
            lane.hand_over();
            lane.send(Work::TakeLate(late.clone()));
        }
        drop(late);
        all_late.iter().flatten().collect()
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
    /// How many share the pages.
    threads: usize,
    min_valid: i64,
    rules: ChunkRules,
    /// Samples that are not newer than their series, if any may be late.
    passed: Option<PassedOver>,
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
                Work::LookForLate => self.passed.iter_mut().for_each(PassedOver::look),
                Work::Forget(slot) => {
                    let place = self.place(slot);
                    self.passed.iter_mut().for_each(|passed| passed.forget(place));
                }
                Work::TakeLate(late) => {
                    let taken = self.passed.as_mut().map(PassedOver::take_late).unwrap_or_default();
                    // Whoever asked waits for it.
                    let _ = late.send(taken);
                }
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

    /// The number of a slot among those of this thread.
    fn place(&self, slot: u32) -> usize {
        let (page, i) = place(slot);
        page / self.threads * PAGE_SLOTS + i
    }

    fn pass_over(&mut self, page: &PageData, slot: u32, t: i64, sample: impl FnOnce() -> OooSample) {
        let own_place = self.place(slot);
        let Some(passed) = &mut self.passed else { return };
        let (_, i) = place(slot);
        let series_ref = page.hot[i].series_ref;
        passed.note(page, i, own_place, t, || LateSample { slot, series_ref, sample: sample() });
    }

    fn floats(&mut self, floats: &Floats) {
        let samples = &floats.samples;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut n = 0;
        while n < samples.len() {
            let (page_number, _) = place(samples[n].slot);
            let (page, _) = self.store.head.slots.of(samples[n].slot);
            let mut page = page.lock();
            let elsewhere = samples[n..].iter().position(|sample| place(sample.slot).0 != page_number);
            let end = elsewhere.map_or(samples.len(), |len| n + len);
            for group in samples[n..end].chunks(TOUCHED_AT_ONCE) {
                page.touch(group.iter().map(|sample| place(sample.slot).1));
                for &LaneFloat { slot, t, v } in group {
                    let start = floats.starts.get(n).copied().unwrap_or(0);
                    n += 1;
                    let (_, i) = place(slot);
                    if t < self.min_valid || t <= page.last_t(i) {
                        page.refine_newest(i, t, v);
                        self.pass_over(&page, slot, t, || OooSample { t, start, value: OooValue::Float(v) });
                        continue;
                    }
                    (min, max) = (min.min(t), max.max(t));
                    if let Some(closed) = page.push_float(i, t, v, start, &self.rules) {
                        self.close(&mut page, slot, closed);
                    }
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
            let value = || OooValue::Histogram(Box::new(value.clone()));
            self.pass_over(&page, slot, t, || OooSample { t, start, value: value() });
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
