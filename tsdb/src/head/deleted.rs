//! What was deleted from the head: closed intervals a series, until they are in
//! a block's tombstones or the samples are gone.

use hashbrown::HashMap;
use parking_lot::RwLock;

/// Deleted intervals by the series' number.
#[derive(Default)]
pub(crate) struct Deleted {
    by_series: RwLock<HashMap<u64, Vec<(i64, i64)>, rapidhash::fast::RandomState>>,
}

/// Adds a closed interval to sorted, disjoint ones.
pub(crate) fn add_interval(intervals: &mut Vec<(i64, i64)>, min: i64, max: i64) {
    if min > max {
        return;
    }
    let from = intervals.partition_point(|&(_, end)| end < min.saturating_sub(1));
    let to = intervals.partition_point(|&(start, _)| start <= max.saturating_add(1));
    if from >= to {
        intervals.insert(from, (min, max));
        return;
    }
    let merged = (min.min(intervals[from].0), max.max(intervals[to - 1].1));
    intervals.splice(from..to, [merged]);
}

impl Deleted {
    /// Adds an interval.
    pub(crate) fn add(&self, series_ref: u64, min: i64, max: i64) {
        add_interval(self.by_series.write().entry(series_ref).or_default(), min, max);
    }

    /// The intervals of a series.
    pub(crate) fn intervals(&self, series_ref: u64) -> Vec<(i64, i64)> {
        self.by_series.read().get(&series_ref).cloned().unwrap_or_default()
    }

    /// Calls `each` with all series and their intervals, in no order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u64, &[(i64, i64)])) {
        for (&series_ref, intervals) in self.by_series.read().iter() {
            each(series_ref, intervals);
        }
    }

    /// Forgets intervals that end before a time.
    pub(crate) fn forget_before(&self, t: i64) {
        self.by_series.write().retain(|_, intervals| {
            intervals.retain(|&(_, max)| max >= t);
            !intervals.is_empty()
        });
    }

    /// Forgets a series.
    pub(crate) fn forget(&self, series_ref: u64) {
        self.by_series.write().remove(&series_ref);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_touch_become_one() {
        let mut intervals = Vec::new();
        for (min, max) in [(10, 20), (40, 50), (30, 35), (21, 22), (0, 5)] {
            add_interval(&mut intervals, min, max);
        }
        assert_eq!(intervals, [(0, 5), (10, 22), (30, 35), (40, 50)]);
        add_interval(&mut intervals, 15, 45);
        assert_eq!(intervals, [(0, 5), (10, 50)]);
        add_interval(&mut intervals, i64::MIN, i64::MAX);
        assert_eq!(intervals, [(i64::MIN, i64::MAX)]);
    }
}
