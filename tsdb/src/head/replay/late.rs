//! Late samples of the log that the out-of-order log lacks.
//!
//! Both logs hold the late samples of a series in one order, the other log after
//! the first: what it lacks is the end of what the first has. So of the newest late
//! samples of the log those count as lacking that come after the last one of their
//! series that is anywhere in the database.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::query::ReadOptions;
use model::{Columns, Dictionary, Labels, Matcher, Querier, SelectRequest, StorageError, TimeRange};

use crate::db::Store;
use crate::head::commit::LateSample;
use crate::head::labels;
use crate::head::page::{NO_TIME, PageData};
use crate::query::DbQuerier;

/// So many late samples are remembered; what a crash cuts off is less by far.
pub(super) const REMEMBERED_MAX: usize = 16 * 1024;

/// What a lane knows of the samples that it passes over.
pub(super) struct PassedOver {
    /// By the lane's own count of slots: the newest sample so far of a series
    /// whose newest lies in a file.
    newest: Vec<i64>,
    /// The newest late samples, where they are looked for.
    late: VecDeque<LateSample>,
    is_looking: bool,
    late_max: usize,
}

impl PassedOver {
    /// Nothing yet; at most `late_max` late samples will be remembered.
    pub(super) fn new(late_max: usize) -> PassedOver {
        PassedOver { newest: Vec::new(), late: VecDeque::new(), is_looking: false, late_max }
    }

    /// From here on late samples are looked for.
    pub(super) fn look(&mut self) {
        self.is_looking = true;
    }

    /// A slot has another series from here on.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(newest) = self.newest.get_mut(place) {
            *newest = NO_TIME;
        }
    }

    /// A sample at `t` that is not newer than series `i` of a page, the lane's slot
    /// number `place`: it lies in a file or a block, or it is late.
    pub(super) fn note(
        &mut self,
        page: &PageData,
        i: usize,
        place: usize,
        t: i64,
        sample: impl FnOnce() -> LateSample,
    ) {
        let newest = if page.has_open(i) {
            page.last_t(i)
        } else {
            if self.newest.len() <= place {
                self.newest.resize(place + 1, NO_TIME);
            }
            let newest = &mut self.newest[place];
            let before = *newest;
            *newest = before.max(t);
            before
        };
        if t < newest && self.is_looking {
            if self.late.len() >= self.late_max {
                self.late.pop_front();
            }
            self.late.push_back(sample());
        }
    }

    /// The late samples, in the order of the log.
    pub(super) fn take_late(&mut self) -> Vec<LateSample> {
        std::mem::take(&mut self.late).into()
    }
}

/// Those of the late samples of the log that the database lacks, in their order.
///
/// # Errors
/// A block cannot be read.
pub(super) fn lacking(store: &Arc<Store>, late: Vec<LateSample>) -> Result<Vec<LateSample>, StorageError> {
    let mut by_series: BTreeMap<u32, Vec<LateSample>> = BTreeMap::new();
    for late in late {
        by_series.entry(late.slot).or_default().push(late);
    }
    let mut lacking = Vec::new();
    for (slot, all) in by_series {
        let Some(labels) = labels_of(store, slot, &all) else { continue };
        let times = || all.iter().map(|late| late.sample.t);
        let (Some(min), Some(max)) = (times().min(), times().max()) else { continue };
        let there = times_of(store, &labels, TimeRange::new(min, max))?;
        let deleted = store.tombstones.intervals(all[0].series_ref);
        let is_deleted = |t: i64| deleted.iter().any(|&(min, max)| min <= t && t <= max);
        let known = all.iter().rposition(|late| there.contains(&late.sample.t)).map_or(0, |at| at + 1);
        lacking.extend(all.into_iter().skip(known).filter(|late| !is_deleted(late.sample.t)));
    }
    Ok(lacking)
}

/// The labels of a slot's series; `None` where it is another by now, or where its
/// newest late sample is still in memory, so that nothing is lacking.
fn labels_of(store: &Store, slot: u32, all: &[LateSample]) -> Option<Labels> {
    let newest = all.last()?;
    let tables = store.head.symbols.read();
    let (page, i) = store.head.slots.of(slot);
    let page = page.lock();
    let is_there = page.cold[i].ooo().is_some_and(|ooo| ooo.open.iter().any(|s| s.t == newest.sample.t));
    (page.hot[i].series_ref == newest.series_ref && !is_there)
        .then(|| labels::to_labels(&tables, page.pairs(i)))
}

/// The times of a series' samples in a range, wherever they are.
fn times_of(store: &Arc<Store>, labels: &Labels, range: TimeRange) -> Result<BTreeSet<i64>, StorageError> {
    let matchers = labels.iter().map(|label| Matcher::equal(label.name, label.value)).collect();
    let dictionary = Dictionary::new();
    let selected = DbQuerier::new(store, range).select(&SelectRequest::new(matchers, range), &dictionary)?;
    let mut columns = Columns::default();
    let mut times = BTreeSet::new();
    for row in 0..selected.labels.len() {
        // Others may have these labels and more.
        if dictionary.labels(selected.labels.row(row)) == *labels {
            selected.reader.read(row, range, ReadOptions::default(), &mut columns)?;
            times.extend(&columns.timestamps_ms);
        }
    }
    Ok(times)
}
