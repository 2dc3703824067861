//! The life of a store, decided by a seed: samples of every kind in and out of
//! order, staleness, changes of type, exemplars, metadata, series that go and come
//! back, deletions; and what the store must answer after it.
//!
//! ```text
//! step  ─ a batch ─► store            known: series → time → values, how sure
//! delete ─ a range ─► store           check: all that is sure is answered,
//! settle ◄─ what a restart found ──          nothing is answered that never was
//! ```

mod given;
mod read;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use model::admin::TsdbAdmin;
use model::append::{Existing, Outcome};
use model::exemplar::SeriesExemplars;
use model::{
    Appendable, Durability, Exemplar, FloatBatch, HistogramSample, Labels, Matcher, Metadata, MetricType,
    SeriesHandle, StorageError, TimeRange, Timestamps,
};

use crate::Rng;
use given::{Counts, Given};
use told::Told;

pub use read::{Answer, Point, Sample, read};

/// How sure it is that a sample is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surety {
    /// Its commit failed, or what it stands on is gone: either is right.
    Maybe,
    /// Its commit was answered: a kill leaves it.
    Acknowledged,
    /// The log was synced since: a power cut leaves it.
    Synced,
}

/// What a life is made of.
#[derive(Clone, Debug)]
pub struct LifeOptions {
    /// How many series report at a time.
    pub series: u64,
    /// How late samples may come in ms; 0: none does.
    pub late_window_ms: i64,
    /// Least and most time between two batches in ms.
    pub step_ms: (i64, i64),
    /// Whether samples carry start timestamps, and the store keeps them.
    pub starts: bool,
    /// Whether histograms come.
    pub histograms: bool,
    /// Whether the store lets go of series that ended: what comes back is a new one,
    /// which may be older than what was there.
    pub evictions: bool,
}

impl Default for LifeOptions {
    fn default() -> LifeOptions {
        LifeOptions {
            series: 7,
            late_window_ms: 0,
            step_ms: (60_000, 600_000),
            starts: false,
            histograms: true,
            evictions: false,
        }
    }
}

/// A time of a series: values that may be there, and how sure it is that one is.
#[derive(Clone, Debug)]
struct Known {
    samples: Vec<Sample>,
    surety: Surety,
    /// How sure it is that it was deleted since.
    deleted: Option<Surety>,
}

impl Known {
    fn must_be_there(&self, at_least: Surety) -> bool {
        self.surety >= at_least && self.deleted.is_none()
    }
}

/// A life.
#[derive(Clone)]
pub struct Life {
    rng: Rng,
    options: LifeOptions,
    /// The time of the newest batch in ms.
    pub now_ms: i64,
    n_steps: u64,
    counts: Vec<Counts>,
    known: BTreeMap<Labels, BTreeMap<i64, Known>>,
    deleted: BTreeMap<Labels, Vec<TimeRange>>,
    exemplars: BTreeMap<Labels, Vec<(Exemplar, Surety)>>,
    told: Told,
    /// The newest sample of each series that came in order.
    newest: BTreeMap<Labels, (i64, Given)>,
    /// What was taken and is not yet acknowledged.
    pending: Vec<(Labels, i64)>,
    pending_exemplars: Vec<(Labels, Exemplar)>,
    pending_metadata: Vec<Labels>,
    pending_deletion: Option<(Labels, TimeRange)>,
    /// What the store answered against the rules.
    wrong: Vec<String>,
}

/// A sample of a batch and what the rules say of it.
struct Entry {
    labels: Labels,
    t: i64,
    start: i64,
    value: Given,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Newer than all of the series: it must go in.
    InOrder,
    /// Inside the window: it must go in, in order or not.
    Late,
    /// Older than the window: it must not go in.
    TooLate,
    /// The newest sample again.
    Again,
    /// The newest sample's time with another value.
    Other,
}

impl Rule {
    fn allows(self, outcome: &Outcome) -> bool {
        match self {
            Rule::InOrder => matches!(outcome, Outcome::Accepted),
            Rule::Late => matches!(outcome, Outcome::Accepted | Outcome::AcceptedOutOfOrder),
            Rule::TooLate => {
                matches!(outcome, Outcome::TooOld | Outcome::OutOfOrder | Outcome::OutOfBounds)
            }
            Rule::Again => matches!(outcome, Outcome::Unchanged),
            Rule::Other => {
                matches!(outcome, Outcome::DuplicateTimestamp { existing } if matches!(existing, Existing::Float(_) | Existing::Histogram))
            }
        }
    }
}

impl Life {
    /// A life that starts at `now_ms`.
    pub fn new(seed: u64, now_ms: i64, options: LifeOptions) -> Life {
        Life {
            rng: Rng::new(seed),
            counts: (0..options.series).map(|_| Counts::default()).collect(),
            options,
            now_ms,
            n_steps: 0,
            known: BTreeMap::new(),
            deleted: BTreeMap::new(),
            exemplars: BTreeMap::new(),
            told: Told::default(),
            newest: BTreeMap::new(),
            pending: Vec::new(),
            pending_exemplars: Vec::new(),
            pending_metadata: Vec::new(),
            pending_deletion: None,
            wrong: Vec::new(),
        }
    }

    /// Which kind of series number `n` is, and its labels now: every 40 batches it
    /// is replaced by another, every 120 it is the first again.
    fn labels(&self, n: u64) -> Labels {
        let pod = (self.n_steps / 40 + n) % 3;
        let name = if self.options.histograms {
            given::KINDS[(n % given::KINDS.len() as u64) as usize]
        } else {
            "float"
        };
        Labels::from_pairs([
            ("__name__", name.to_owned()),
            ("n", n.to_string()),
            ("pod", format!("pod-{pod}")),
            ("zone", if n.is_multiple_of(2) { "even" } else { "odd" }.to_owned()),
        ])
    }

    fn is_free(&self, labels: &Labels, t: i64) -> bool {
        !self.known.get(labels).is_some_and(|times| times.contains_key(&t))
            && !self.deleted.get(labels).is_some_and(|all| all.iter().any(|range| range.contains(t)))
    }

    fn plan(&mut self) -> Vec<Entry> {
        self.n_steps += 1;
        let (least, most) = self.options.step_ms;
        self.now_ms += least + self.rng.below((most - least + 1) as u64) as i64;
        let mut entries = Vec::new();
        for n in 0..self.options.series {
            // Some pause, now and then for long.
            if (self.n_steps / 30 + n).is_multiple_of(5) || self.rng.one_in(4) {
                continue;
            }
            let labels = self.labels(n);
            let t = self.now_ms + n as i64;
            if self.rng.one_in(12)
                && !self.options.evictions
                && let Some((last_t, value)) = self.newest.get(&labels).cloned()
                && self.now_ms - last_t < 2 * most
                && self
                    .known
                    .get(&labels)
                    .and_then(|times| times.get(&last_t))
                    .is_some_and(|known| known.must_be_there(Surety::Acknowledged))
            {
                let other = self.rng.one_in(2);
                // What a restart left of the series is not known to the value, which then
                // is a marker. One more than the marker would be another number.
                let is_known = !matches!(value, Given::Float(v) if model::is_stale_nan(v));
                let (rule, value) = match value {
                    Given::Float(v) if other && (v + 1.0).to_bits() != v.to_bits() => {
                        (Rule::Other, Given::Float(v + 1.0))
                    }
                    value => (Rule::Again, value),
                };
                if is_known {
                    entries.push(Entry { labels: labels.clone(), t: last_t, start: 0, value, rule });
                }
            }
            let counts = &mut self.counts[n as usize];
            let value = counts.next(labels.get("__name__").unwrap_or_default(), &mut self.rng);
            let start = if self.options.starts && !self.rng.one_in(3) {
                t - 1 - self.rng.below(5_000) as i64
            } else {
                0
            };
            entries.push(Entry { labels, t, start, value, rule: Rule::InOrder });
        }
        for _ in 0..self.rng.below(4) {
            self.plan_late(&mut entries);
        }
        entries
    }

    /// The newest sample that the store surely has.
    fn reaches_ms(&self) -> i64 {
        let newest = |times: &BTreeMap<i64, Known>| {
            times.iter().rev().find(|(_, known)| known.must_be_there(Surety::Acknowledged)).map(|(t, _)| *t)
        };
        self.known.values().filter_map(newest).max().unwrap_or(i64::MIN / 2)
    }

    fn plan_late(&mut self, entries: &mut Vec<Entry>) {
        let window = self.options.late_window_ms;
        let n = self.rng.below(self.options.series);
        let labels = self.labels(n);
        let Some(&(newest, _)) = self.newest.get(&labels) else { return };
        let too_late = window == 0 || self.rng.one_in(8);
        // Where a restart lost samples, nobody knows how far the head reaches.
        let reaches_ms = self.reaches_ms();
        let is_sure = |times: &BTreeMap<i64, Known>| {
            times.get(&newest).is_some_and(|known| known.must_be_there(Surety::Acknowledged))
        };
        if too_late && (self.options.evictions || !self.known.get(&labels).is_some_and(is_sure)) {
            return;
        }
        // A batch is judged by the head's newest sample before it; this one's may be
        // up to `step_ms` and `series` later.
        let slack = 2 * self.options.step_ms.1 + self.options.series as i64;
        let t = if too_late {
            newest.min(reaches_ms - window - slack) - 1 - self.rng.below(1_000_000) as i64
        } else {
            self.now_ms - self.rng.below((window - slack).max(1) as u64) as i64
        };
        if !self.is_free(&labels, t) || entries.iter().any(|entry| entry.labels == labels && entry.t == t) {
            return;
        }
        let rule = match (too_late, t > newest) {
            (true, _) => Rule::TooLate,
            (false, true) => return,
            (false, false) => Rule::Late,
        };
        let value = self.counts[n as usize].late(labels.get("__name__").unwrap_or_default(), &mut self.rng);
        entries.push(Entry { labels, t, start: 0, value, rule });
    }

    /// Appends a batch, which counts as acknowledged.
    ///
    /// # Errors
    /// The store did not take it: its samples may be there or not.
    pub fn step(&mut self, store: &dyn Appendable) -> Result<(), StorageError> {
        self.give(store)?;
        self.acknowledge();
        Ok(())
    }

    /// Appends a batch whose samples may be there or not until
    /// [`Life::acknowledge`].
    ///
    /// # Errors
    /// The store did not take it.
    pub fn give(&mut self, store: &dyn Appendable) -> Result<(), StorageError> {
        self.forget_pending();
        let entries = self.plan();
        let mut appender = store.appender()?;
        let mut handles: Vec<SeriesHandle> = Vec::new();
        for entry in &entries {
            match appender.series(&entry.labels) {
                Ok(handle) => handles.push(handle),
                Err(error) => return Err(StorageError::Invalid(error.to_string())),
            }
        }
        let mut outcomes: Vec<Option<Outcome>> = vec![None; entries.len()];
        let mut found = Vec::new();
        // In runs of a kind, so that the order of a series' samples is kept.
        let mut from = 0;
        while from < entries.len() {
            let is_float = matches!(entries[from].value, Given::Float(_));
            let until = (from..entries.len())
                .find(|&i| matches!(entries[i].value, Given::Float(_)) != is_float)
                .unwrap_or(entries.len());
            let run = &entries[from..until];
            if is_float {
                let times: Vec<i64> = run.iter().map(|entry| entry.t).collect();
                let starts: Vec<i64> = run.iter().map(|entry| entry.start).collect();
                let values: Vec<f64> = run.iter().map(|entry| entry.value.float()).collect();
                let batch = FloatBatch {
                    series: &handles[from..until],
                    timestamps: Timestamps::Each(&times),
                    start_timestamps: self.options.starts.then_some(&starts),
                    values: &values,
                    in_order_only: false,
                };
                appender.append_floats(batch, &mut found);
            } else {
                let samples = run.iter().zip(&handles[from..until]).filter_map(|(entry, &series)| {
                    let Given::Histogram(value) = &entry.value else { return None };
                    Some(HistogramSample {
                        series,
                        timestamp_ms: entry.t,
                        start_timestamp_ms: entry.start,
                        value: value.clone(),
                    })
                });
                appender.append_histograms(samples.collect(), &mut found);
            }
            for (place, outcome) in outcomes[from..until].iter_mut().zip(found.drain(..)) {
                *place = Some(outcome);
            }
            from = until;
        }
        let (mut exemplars, mut told) = (Vec::new(), Vec::new());
        for (entry, &handle) in entries.iter().zip(&handles) {
            if entry.rule == Rule::InOrder && self.rng.one_in(6) {
                let exemplar = Exemplar {
                    labels: Labels::from_pairs([("trace", format!("{:x}", self.rng.next_u64()))]),
                    value: self.rng.unit(),
                    timestamp_ms: entry.t,
                    has_timestamp: true,
                };
                if appender.append_exemplar(handle, &exemplar).is_ok() {
                    exemplars.push((entry.labels.clone(), exemplar));
                }
            }
            if entry.rule == Rule::InOrder && self.rng.one_in(10) {
                let metadata = Metadata {
                    metric_type: MetricType::Gauge,
                    unit: "bytes".to_owned(),
                    help: format!("help {}", self.rng.below(3)),
                };
                appender.update_metadata(handle, &metadata);
                told.push((entry.labels.clone(), entry.t, metadata));
            }
        }
        let committed = appender.commit();
        for (entry, outcome) in entries.into_iter().zip(outcomes) {
            self.note(entry, outcome);
        }
        for (labels, exemplar) in exemplars {
            self.exemplars.entry(labels.clone()).or_default().push((exemplar.clone(), Surety::Maybe));
            self.pending_exemplars.push((labels, exemplar));
        }
        for (labels, t, metadata) in told {
            self.told.note(labels.clone(), t, metadata);
            self.pending_metadata.push(labels);
        }
        let acknowledged = committed.and_then(|durability| match durability {
            Durability::Logged => Ok(()),
            Durability::MemoryOnly => Err(StorageError::Io {
                op: "write",
                path: "wal".into(),
                source: std::io::Error::other("the batch is only in memory"),
            }),
        });
        acknowledged.inspect_err(|_| self.forget_pending())
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending_exemplars.clear();
        self.pending_metadata.clear();
        self.pending_deletion = None;
    }

    /// What was given or deleted last was acknowledged.
    pub fn acknowledge(&mut self) {
        for (labels, t) in std::mem::take(&mut self.pending) {
            if let Some(known) = self.known.get_mut(&labels).and_then(|times| times.get_mut(&t)) {
                known.surety = known.surety.max(Surety::Acknowledged);
            }
        }
        for (labels, exemplar) in std::mem::take(&mut self.pending_exemplars) {
            let all = self.exemplars.get_mut(&labels).into_iter().flatten();
            all.filter(|(given, _)| *given == exemplar)
                .for_each(|(_, surety)| *surety = Surety::Acknowledged);
        }
        for labels in std::mem::take(&mut self.pending_metadata) {
            self.told.acknowledge(&labels);
        }
        if let Some((labels, range)) = self.pending_deletion.take()
            && let Some(times) = self.known.get_mut(&labels)
        {
            times.range_mut(range.start_ms..=range.end_ms).for_each(|(_, known)| {
                if known.deleted.is_some() {
                    known.deleted = Some(Surety::Acknowledged);
                }
            });
        }
    }

    fn note(&mut self, entry: Entry, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return self.wrong.push("a sample had no outcome".to_owned()) };
        if !entry.rule.allows(&outcome) {
            let Entry { labels, t, rule, .. } = &entry;
            self.wrong.push(format!("{labels} at {t}: {outcome:?}, by the rules {rule:?}"));
        }
        if !matches!(outcome, Outcome::Accepted | Outcome::AcceptedOutOfOrder) {
            return;
        }
        let sample = entry.value.stored(if self.options.starts { entry.start } else { 0 });
        if entry.rule == Rule::InOrder {
            self.newest.insert(entry.labels.clone(), (entry.t, entry.value));
        }
        self.pending.push((entry.labels.clone(), entry.t));
        let known = self.known.entry(entry.labels).or_default();
        let fresh = || Known { samples: Vec::new(), surety: Surety::Maybe, deleted: None };
        known.entry(entry.t).or_insert_with(fresh).samples.push(sample);
    }

    /// Everything that was acknowledged survives a power cut from now on.
    pub fn synced(&mut self) {
        for known in self.known.values_mut().flat_map(BTreeMap::values_mut) {
            for surety in [Some(&mut known.surety), known.deleted.as_mut()].into_iter().flatten() {
                if *surety == Surety::Acknowledged {
                    *surety = Surety::Synced;
                }
            }
        }
        for (_, surety) in self.exemplars.values_mut().flatten() {
            if *surety == Surety::Acknowledged {
                *surety = Surety::Synced;
            }
        }
        self.told.synced();
    }

    /// Deletes a range of one series; its samples may be there or not until
    /// [`Life::acknowledge`].
    ///
    /// # Errors
    /// The store did not.
    pub fn delete(&mut self, store: &dyn TsdbAdmin) -> Result<(), StorageError> {
        self.forget_pending();
        let all: Vec<Labels> = self.known.keys().cloned().collect();
        if all.is_empty() {
            return Ok(());
        }
        let labels = all[self.rng.below(all.len() as u64) as usize].clone();
        let end = self.now_ms - self.rng.below(36_000_000) as i64;
        let range = TimeRange::new(end - self.rng.below(36_000_000) as i64, end);
        let matchers = labels.iter().map(|label| Matcher::equal(label.name, label.value)).collect();
        let result = store.delete_series(range, &[matchers]);
        self.deleted.entry(labels.clone()).or_default().push(range);
        if let Some(times) = self.known.get_mut(&labels) {
            for (_, known) in times.range_mut(range.start_ms..=range.end_ms) {
                if result.is_ok() && known.surety > Surety::Maybe {
                    known.deleted = known.deleted.max(Some(Surety::Maybe));
                } else {
                    known.surety = Surety::Maybe;
                }
            }
        }
        if result.is_ok() {
            self.pending_deletion = Some((labels, range));
        }
        result
    }

    /// What is wrong with an answer to everything: samples at least this sure that
    /// are missing, samples that were never given, outcomes against the rules.
    pub fn faults(&self, answer: &Answer, at_least: Surety) -> Vec<String> {
        let mut faults = self.wrong.clone();
        let nothing = BTreeMap::new();
        for (labels, times) in &self.known {
            let found = answer.get(labels).unwrap_or(&nothing);
            for (t, known) in times {
                match found.get(t) {
                    Some(_)
                        if known
                            .deleted
                            .is_some_and(|surety| surety >= at_least && surety > Surety::Maybe) =>
                    {
                        faults.push(format!("{labels} at {t} is back and was deleted: {known:?}"));
                    }
                    None if known.must_be_there(at_least) => {
                        faults.push(format!("{labels} at {t} is lost: {known:?}"))
                    }
                    Some(sample) if !known.samples.contains(sample) => {
                        faults.push(format!("{labels} at {t} is {sample:?} and was {:?}", known.samples));
                    }
                    _ => {}
                }
            }
        }
        for (labels, found) in answer {
            let times = self.known.get(labels);
            for (t, sample) in found.iter().filter(|(t, _)| !times.is_some_and(|times| times.contains_key(t)))
            {
                faults.push(format!("{labels} at {t} is {sample:?} and was never given, or is deleted"));
            }
        }
        faults
    }

    /// What is wrong with an answer to all exemplars: those newer than `since_ms`
    /// and sure that are missing, and those never given.
    pub fn exemplar_faults(
        &self,
        answer: &[SeriesExemplars],
        since_ms: i64,
        at_least: Surety,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (labels, all) in &self.exemplars {
            let found =
                answer.iter().find(|of| of.series == *labels).map_or(&[][..], |of| of.exemplars.as_slice());
            for (exemplar, surety) in all {
                if *surety >= at_least && exemplar.timestamp_ms >= since_ms && !found.contains(exemplar) {
                    faults.push(format!("{labels}: {exemplar:?} is lost"));
                }
            }
        }
        for of in answer {
            let all = self.exemplars.get(&of.series).map_or(&[][..], Vec::as_slice);
            for exemplar in &of.exemplars {
                if !all.iter().any(|(given, _)| given == exemplar) {
                    faults.push(format!("{}: {exemplar:?} was never given", of.series));
                }
            }
        }
        faults
    }

    /// What is wrong with the newest metadata of each series: those told surely since
    /// `since_ms` that are missing, those older than what is sure, those never told.
    pub fn metadata_faults(
        &self,
        answer: &BTreeMap<Labels, Metadata>,
        since_ms: i64,
        at_least: Surety,
    ) -> Vec<String> {
        self.told.faults(answer, since_ms, at_least)
    }

    /// Takes what a restart found for what is there: all of it is on disk.
    pub fn settle(&mut self, answer: &Answer) {
        let nothing = BTreeMap::new();
        for (labels, times) in &mut self.known {
            let found = answer.get(labels).unwrap_or(&nothing);
            times.retain(|t, _| found.contains_key(t));
            times.values_mut().for_each(|known| {
                known.surety = Surety::Synced;
                known.deleted = None;
            });
        }
        for (_, surety) in self.exemplars.values_mut().flatten() {
            *surety = Surety::Maybe;
        }
        self.told.doubt();
        let gone: BTreeSet<Labels> = self
            .newest
            .iter()
            .filter(|(labels, (t, _))| !self.known.get(*labels).is_some_and(|times| times.contains_key(t)))
            .map(|(labels, _)| labels.clone())
            .collect();
        for labels in gone {
            // Rules of repeats need a sample that is there; late ones a bound.
            if let Some(times) = self.known.get(&labels)
                && let Some((&t, _)) = times.last_key_value()
            {
                self.newest.insert(labels, (t, Given::Float(model::stale_nan())));
            } else {
                self.newest.remove(&labels);
            }
        }
    }

    /// How many samples must be there.
    pub fn n_sure(&self) -> usize {
        self.known
            .values()
            .flat_map(BTreeMap::values)
            .filter(|known| known.must_be_there(Surety::Acknowledged))
            .count()
    }

    /// The series that have a sample for sure.
    pub fn series(&self) -> impl Iterator<Item = &Labels> {
        self.known
            .iter()
            .filter(|(_, times)| times.values().any(|known| known.must_be_there(Surety::Acknowledged)))
            .map(|(labels, _)| labels)
    }
}
