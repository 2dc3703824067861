//! The samples of one series, and windows that slide over them.

use std::collections::VecDeque;
use std::sync::Arc;

use model::query::SampleKind;
use model::{Columns, FloatHistogram, is_stale_nan};

use crate::annotations::{Annotation, Annotations, Place};

/// Samples of one series without staleness markers, floats and histograms apart.
#[derive(Debug, Default)]
pub(crate) struct SeriesData {
    pub(crate) float_ts: Vec<i64>,
    pub(crate) floats: Vec<f64>,
    /// As long as `floats` where start timestamps are in use, else empty.
    pub(crate) float_sts: Vec<i64>,
    pub(crate) hist_ts: Vec<i64>,
    pub(crate) hists: Vec<Arc<FloatHistogram>>,
    pub(crate) hist_sts: Vec<i64>,
    /// Floats that are smaller than the one before, by position, ascending.
    drops: Vec<u32>,
}

impl SeriesData {
    pub(crate) fn clear(&mut self) {
        self.float_ts.clear();
        self.floats.clear();
        self.float_sts.clear();
        self.hist_ts.clear();
        self.hists.clear();
        self.hist_sts.clear();
        self.drops.clear();
    }

    /// Takes over what was read from a store.
    pub(crate) fn load(&mut self, columns: &mut Columns) {
        self.clear();
        let start_timestamps = !columns.start_timestamps_ms.is_empty();
        if columns.histograms.is_empty() && !start_timestamps {
            // All are looked at: to stop at the first would be a choice at each.
            if !columns.floats.iter().fold(false, |some, &v| some | is_stale_nan(v)) {
                std::mem::swap(&mut self.float_ts, &mut columns.timestamps_ms);
                std::mem::swap(&mut self.floats, &mut columns.floats);
            } else {
                for (&t, &v) in columns.timestamps_ms.iter().zip(&columns.floats) {
                    if !is_stale_nan(v) {
                        self.push_float(t, v);
                    }
                }
            }
            self.find_drops();
            return;
        }
        let mut sample = 0;
        let mut float = 0;
        let mut hists = columns.histograms.drain(..);
        for run in &columns.runs {
            for _ in 0..run.len {
                let t = columns.timestamps_ms[sample];
                let st = if start_timestamps { Some(columns.start_timestamps_ms[sample]) } else { None };
                sample += 1;
                match run.kind {
                    SampleKind::Float => {
                        let v = columns.floats[float];
                        float += 1;
                        if !is_stale_nan(v) {
                            self.push_float(t, v);
                            self.float_sts.extend(st);
                        }
                    }
                    SampleKind::Histogram => {
                        let Some(h) = hists.next() else { continue };
                        if !h.is_stale() {
                            self.hist_ts.push(t);
                            self.hists.push(Arc::new(h));
                            self.hist_sts.extend(st);
                        }
                    }
                }
            }
        }
        self.find_drops();
    }

    pub(crate) fn push_float(&mut self, t: i64, v: f64) {
        self.float_ts.push(t);
        self.floats.push(v);
    }

    pub(crate) fn push_hist(&mut self, t: i64, h: Arc<FloatHistogram>) {
        self.hist_ts.push(t);
        self.hists.push(h);
    }

    /// Floats that are smaller than the one before, by position, ascending.
    pub(crate) fn drops(&self) -> &[u32] {
        &self.drops
    }

    /// Whether there are only floats, and nothing is known of starts.
    pub(crate) fn is_plain(&self) -> bool {
        self.hists.is_empty() && self.float_sts.is_empty()
    }

    /// Notes where floats fall. Call once all are in.
    pub(crate) fn find_drops(&mut self) {
        /// Looked at without a choice; where none of them falls, that was all.
        const AT_ONCE: usize = 64;
        self.drops.clear();
        let Some(later) = self.floats.get(1..) else { return };
        let blocks = self.floats.chunks(AT_ONCE).zip(later.chunks(AT_ONCE));
        for (first, (before, after)) in (1..).step_by(AT_ONCE).zip(blocks) {
            let pairs = || before.iter().zip(after);
            if pairs().fold(false, |falls, (before, after)| falls | (after < before)) {
                let falls = (first..).zip(pairs()).filter(|(_, (before, after))| after < before);
                self.drops.extend(falls.map(|(at, _)| at));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.hists.is_empty()
    }

    /// A window over everything.
    pub(crate) fn all(&self) -> Samples<'_> {
        let (float_end, hist_end) = (self.floats.len(), self.hists.len());
        Cursor { float_end, hist_end, ..Cursor::default() }.window(self)
    }
}

/// Positions in the samples of a series that a window covers; it only moves right.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    float_start: usize,
    float_end: usize,
    hist_start: usize,
    hist_end: usize,
}

impl Cursor {
    /// Behind the last float and the last histogram that the window has.
    pub(crate) fn ends(&self) -> (usize, usize) {
        (self.float_end, self.hist_end)
    }

    /// How many floats of the window, and which of its histograms, come behind
    /// those ends of an earlier window.
    pub(crate) fn since(&self, (floats, hists): (usize, usize)) -> (usize, usize) {
        let new_floats = self.float_end.saturating_sub(floats.max(self.float_start));
        (new_floats, hists.saturating_sub(self.hist_start))
    }

    /// Moves to the window `(start, end]`.
    pub(crate) fn slide(&mut self, series: &SeriesData, start_ms: i64, end_ms: i64) {
        advance(&mut self.float_start, &series.float_ts, start_ms);
        advance(&mut self.float_end, &series.float_ts, end_ms);
        advance(&mut self.hist_start, &series.hist_ts, start_ms);
        advance(&mut self.hist_end, &series.hist_ts, end_ms);
    }

    pub(crate) fn window<'a>(&self, series: &'a SeriesData) -> Samples<'a> {
        let floats = self.float_start..self.float_end.max(self.float_start);
        let hists = self.hist_start..self.hist_end.max(self.hist_start);
        Samples {
            drops: &series.drops,
            extreme: None,
            first: floats.start,
            float_ts: &series.float_ts[floats.clone()],
            floats: &series.floats[floats.clone()],
            float_sts: if series.float_sts.is_empty() { &[] } else { &series.float_sts[floats] },
            hist_ts: &series.hist_ts[hists.clone()],
            hists: &series.hists[hists.clone()],
            hist_sts: if series.hist_sts.is_empty() { &[] } else { &series.hist_sts[hists] },
        }
    }
}

/// The largest or smallest float of a window that slides: candidates in order,
/// each one worse than the one before it, so that the first is the answer.
#[derive(Debug)]
pub(crate) struct Extremes {
    max: bool,
    /// Whether the last of equal values counts, not the first.
    last: bool,
    candidates: VecDeque<usize>,
    seen: usize,
}

impl Extremes {
    pub(crate) fn new(max: bool, last: bool) -> Extremes {
        Extremes { max, last, candidates: VecDeque::new(), seen: 0 }
    }

    /// Follows the cursor; the position inside its window. Without any number
    /// in it, that is its last NaN.
    pub(crate) fn slide(&mut self, series: &SeriesData, cursor: &Cursor) -> Option<usize> {
        let (start, end) = (cursor.float_start, cursor.float_end);
        for i in self.seen.max(start)..end {
            let new = series.floats[i];
            if new.is_nan() {
                continue;
            }
            while let Some(&back) = self.candidates.back() {
                let have = series.floats[back];
                let beaten = if self.max { new > have } else { new < have };
                if !(beaten || self.last && new == have) {
                    break;
                }
                self.candidates.pop_back();
            }
            self.candidates.push_back(i);
        }
        self.seen = self.seen.max(end);
        while self.candidates.front().is_some_and(|&i| i < start) {
            self.candidates.pop_front();
        }
        let found = self.candidates.front().copied().or_else(|| end.checked_sub(1))?;
        found.checked_sub(start)
    }
}

/// Moves `at` to the first timestamp after `bound`.
#[inline]
pub(crate) fn advance(at: &mut usize, timestamps: &[i64], bound: i64) {
    // Windows move by few samples a step; a far jump is searched.
    let near = timestamps.len().min(at.saturating_add(16));
    let mut i = *at;
    while i < near && timestamps[i] <= bound {
        i += 1;
    }
    *at = if i < near { i } else { search(timestamps, i, bound) };
}

#[inline(never)]
fn search(timestamps: &[i64], from: usize, bound: i64) -> usize {
    from + timestamps.get(from..).unwrap_or_default().partition_point(|&t| t <= bound)
}

/// The samples inside a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'a> {
    pub(crate) float_ts: &'a [i64],
    pub(crate) floats: &'a [f64],
    pub(crate) float_sts: &'a [i64],
    pub(crate) hist_ts: &'a [i64],
    pub(crate) hists: &'a [Arc<FloatHistogram>],
    pub(crate) hist_sts: &'a [i64],
    /// Those of the whole series.
    drops: &'a [u32],
    /// The position in `floats` of what an [`Extremes`] looks for, where one was asked.
    pub(crate) extreme: Option<usize>,
    first: usize,
}

impl<'a> Samples<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.hists.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len() + self.hists.len()
    }

    /// Positions in `floats`, ascending, of those smaller than the one before.
    pub(crate) fn drops(&self) -> impl Iterator<Item = usize> + 'a {
        let (first, end) = (self.first, self.first + self.floats.len());
        let first_drop = self.drops.partition_point(|&i| (i as usize) <= first);
        let inside = self.drops[first_drop..].iter().take_while(move |&&i| (i as usize) < end);
        inside.map(move |&i| i as usize - first)
    }
}

/// One call of a range function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) samples: Samples<'a>,
    /// Where the window starts (outside) and ends (inside), in ms; `anchored`
    /// and `smoothed` see samples beyond it.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Its width in ms.
    pub(crate) range_ms: i64,
    /// The evaluation time in ms.
    pub(crate) at_ms: i64,
}

/// A float or a histogram that a function answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Float(f64),
    Hist(Arc<FloatHistogram>),
}

/// Where a function leaves its remarks.
pub(crate) struct Remarks<'a> {
    /// Gives the metric's name when a remark needs it.
    pub(crate) metric: &'a dyn Fn() -> String,
    /// Where the range argument stands.
    pub(crate) pos: Place,
    pub(crate) annotations: &'a mut Annotations,
}

impl Remarks<'_> {
    pub(crate) fn add(&mut self, annotation: Annotation) {
        self.annotations.add(annotation);
    }

    pub(crate) fn mixed_floats_histograms(&mut self) {
        self.add(Annotation::mixed_floats_histograms(&(self.metric)(), self.pos));
    }

    pub(crate) fn histograms_ignored(&mut self) {
        self.add(Annotation::histograms_ignored_in_mixed_range(&(self.metric)(), self.pos));
    }

    pub(crate) fn mixed_exponential_custom(&mut self) {
        self.add(Annotation::mixed_exponential_custom(&(self.metric)(), self.pos));
    }

    pub(crate) fn not_counter(&mut self) {
        self.add(Annotation::not_counter(&(self.metric)(), self.pos));
    }

    pub(crate) fn not_gauge(&mut self) {
        self.add(Annotation::not_gauge(&(self.metric)(), self.pos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_on_the_left() {
        let mut series = SeriesData::default();
        for (t, v) in [(0, 1.0), (10, 5.0), (20, 3.0), (30, 4.0)] {
            series.push_float(t, v);
        }
        series.find_drops();
        let mut cursor = Cursor::default();
        cursor.slide(&series, 0, 20);
        let window = cursor.window(&series);
        assert_eq!(window.floats, [5.0, 3.0]);
        assert_eq!(window.drops().collect::<Vec<_>>(), [1]);
        cursor.slide(&series, 10, 30);
        assert_eq!(cursor.window(&series).floats, [3.0, 4.0]);
        assert_eq!(cursor.window(&series).drops().count(), 0, "the drop is at the window's first sample");
    }
}
