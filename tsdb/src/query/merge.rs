//! Samples of several sources as one column set: equal times once, the first
//! source wins.

use model::query::{Run, SampleKind};
use model::{Columns, CounterResetHint};

/// Walks columns sample by sample.
struct Cursor<'a> {
    columns: &'a mut Columns,
    at: usize,
    floats: usize,
    histograms: usize,
    run: usize,
    in_run: usize,
}

impl<'a> Cursor<'a> {
    fn new(columns: &'a mut Columns) -> Cursor<'a> {
        Cursor { columns, at: 0, floats: 0, histograms: 0, run: 0, in_run: 0 }
    }

    fn t(&self) -> Option<i64> {
        self.columns.timestamps_ms.get(self.at).copied()
    }

    fn kind(&self) -> SampleKind {
        self.columns.runs[self.run].kind
    }

    fn advance(&mut self) {
        match self.kind() {
            SampleKind::Float => self.floats += 1,
            SampleKind::Histogram => self.histograms += 1,
        }
        self.at += 1;
        self.in_run += 1;
        let Run { len, .. } = self.columns.runs[self.run];
        if self.in_run == len {
            self.run += 1;
            self.in_run = 0;
        }
    }

    /// Moves the sample to the end of `out`.
    fn move_to(&mut self, out: &mut Columns, source_changed: bool) {
        let t = self.columns.timestamps_ms[self.at];
        match self.kind() {
            SampleKind::Float => out.push_float(t, self.columns.floats[self.floats]),
            SampleKind::Histogram => {
                let mut histogram = std::mem::take(&mut self.columns.histograms[self.histograms]);
                if source_changed && histogram.counter_reset_hint != CounterResetHint::Gauge {
                    histogram.counter_reset_hint = CounterResetHint::Unknown;
                }
                out.push_histogram(t, histogram);
            }
        }
        if let Some(&start) = self.columns.start_timestamps_ms.get(self.at) {
            out.start_timestamps_ms.push(start);
        }
        self.advance();
    }
}

/// Merges sources into `out`, which is cleared. Of samples with the same time
/// that of the first source stays.
pub(crate) fn merge_columns(sources: &mut [Columns], out: &mut Columns) {
    out.clear();
    let mut cursors: Vec<Cursor<'_>> = sources.iter_mut().map(Cursor::new).collect();
    let mut last_source = None;
    let earliest = |cursors: &[Cursor<'_>]| {
        let heads = cursors.iter().enumerate().filter_map(|(n, cursor)| Some((cursor.t()?, n)));
        heads.min()
    };
    while let Some((t, source)) = earliest(&cursors) {
        let changed = last_source.is_some_and(|last| last != source);
        cursors[source].move_to(out, changed);
        last_source = Some(source);
        for cursor in &mut cursors {
            while cursor.t().is_some_and(|other| other <= t) {
                cursor.advance();
            }
        }
    }
}

/// Drops the samples inside closed intervals, which are sorted.
pub(crate) fn drop_intervals(columns: &mut Columns, intervals: &[(i64, i64)]) {
    let touched = |t: i64| intervals.iter().any(|&(min, max)| min <= t && t <= max);
    if !columns.timestamps_ms.iter().any(|&t| touched(t)) {
        return;
    }
    let mut all = std::mem::take(columns);
    let mut cursor = Cursor::new(&mut all);
    let mut dropped = false;
    while let Some(t) = cursor.t() {
        if touched(t) {
            cursor.advance();
            dropped = true;
        } else {
            cursor.move_to(columns, dropped);
            dropped = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FloatHistogram;

    fn floats(samples: &[(i64, f64)]) -> Columns {
        let mut columns = Columns::default();
        for &(t, v) in samples {
            columns.push_float(t, v);
        }
        columns
    }

    #[test]
    fn the_first_source_wins_at_equal_times() {
        let mut out = Columns::default();
        merge_columns(
            &mut [floats(&[(1, 1.0), (3, 3.0)]), floats(&[(1, 9.0), (2, 2.0), (4, 4.0)])],
            &mut out,
        );
        assert_eq!(out.timestamps_ms, [1, 2, 3, 4]);
        assert_eq!(out.floats, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(out.runs, [Run { kind: SampleKind::Float, len: 4 }]);
    }

    #[test]
    fn a_change_of_source_makes_the_hint_unknown() {
        let with_hint = || FloatHistogram {
            counter_reset_hint: CounterResetHint::NotCounterReset,
            ..FloatHistogram::default()
        };
        let mut a = Columns::default();
        a.push_histogram(1, with_hint());
        a.push_histogram(2, with_hint());
        let mut b = Columns::default();
        b.push_histogram(3, with_hint());
        let mut out = Columns::default();
        merge_columns(&mut [a, b], &mut out);
        let hints: Vec<_> = out.histograms.iter().map(|h| h.counter_reset_hint).collect();
        use CounterResetHint::{NotCounterReset, Unknown};
        assert_eq!(hints, [NotCounterReset, NotCounterReset, Unknown]);
    }

    #[test]
    fn deleted_intervals_are_closed() {
        let mut columns = floats(&[(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
        drop_intervals(&mut columns, &[(2, 3)]);
        assert_eq!(columns.timestamps_ms, [1, 4]);
        assert_eq!(columns.floats, [1.0, 4.0]);
    }
}
