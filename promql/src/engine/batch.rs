//! Blocks of values: some series by all steps of an evaluation.
//!
//! ```text
//!            step 0   1   2
//! series 0 [  1.0 |   – | 2.0 ]   floats, one cell a step, row after row
//! series 1 [    – |   H |   – ]   present: one bit a cell; histograms aside
//! ```
//!
//! Instant queries carry a thousand series a block, range queries a few: a
//! block stays near the size of a core's cache.

use std::sync::Arc;

use model::FloatHistogram;

use crate::functions::window::Samples;

/// A histogram shared between steps and operators.
pub(crate) type Hist = Arc<FloatHistogram>;

/// One cell's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    Float(f64),
    Hist(&'a Hist),
}

/// Values of `rows` series at `steps` steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    rows: usize,
    steps: usize,
    floats: Vec<f64>,
    present: Vec<u64>,
    /// Empty while no cell holds a histogram, else one entry a cell.
    hists: Vec<Option<Hist>>,
}

impl Batch {
    /// Empties the block and gives it a new shape.
    pub(crate) fn reset(&mut self, rows: usize, steps: usize) {
        let cells = rows * steps;
        self.rows = rows;
        self.steps = steps;
        self.floats.resize(cells, 0.0);
        self.present.clear();
        self.present.resize(cells.div_ceil(64), 0);
        self.hists.clear();
    }

    /// Adds an empty row behind the others.
    pub(crate) fn add_row(&mut self) {
        self.rows += 1;
        let cells = self.cells();
        self.floats.resize(cells, 0.0);
        self.present.resize(cells.div_ceil(64), 0);
        if !self.hists.is_empty() {
            self.hists.resize(cells, None);
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn cells(&self) -> usize {
        self.rows * self.steps
    }

    #[inline]
    pub(crate) fn is_present(&self, cell: usize) -> bool {
        self.present[cell / 64] >> (cell % 64) & 1 == 1
    }

    #[inline]
    pub(crate) fn get(&self, cell: usize) -> Option<Point<'_>> {
        if !self.is_present(cell) {
            return None;
        }
        Some(match self.hists.get(cell) {
            Some(Some(hist)) => Point::Hist(hist),
            _ => Point::Float(self.floats[cell]),
        })
    }

    #[inline]
    pub(crate) fn set_float(&mut self, cell: usize, value: f64) {
        self.floats[cell] = value;
        self.present[cell / 64] |= 1 << (cell % 64);
        if let Some(slot) = self.hists.get_mut(cell) {
            *slot = None;
        }
    }

    /// The floats of up to 64 cells from `cell` on, to be written; those of `some`
    /// hold one then, a bit each. Cells that hold a histogram are not to be given.
    pub(crate) fn floats_mut(&mut self, cell: usize, cells: usize, some: u64) -> &mut [f64] {
        debug_assert!(cells <= 64);
        let (word, shift) = (cell / 64, cell % 64);
        self.present[word] |= some << shift;
        if shift > 0
            && let Some(next) = self.present.get_mut(word + 1)
        {
            *next |= some >> (64 - shift);
        }
        &mut self.floats[cell..cell + cells]
    }

    pub(crate) fn set_hist(&mut self, cell: usize, hist: Hist) {
        if self.hists.is_empty() {
            self.hists.resize(self.cells(), None);
        }
        self.hists[cell] = Some(hist);
        self.present[cell / 64] |= 1 << (cell % 64);
    }

    pub(crate) fn set(&mut self, cell: usize, point: Point<'_>) {
        match point {
            Point::Float(v) => self.set_float(cell, v),
            Point::Hist(h) => self.set_hist(cell, h.clone()),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, cell: usize) {
        self.present[cell / 64] &= !(1 << (cell % 64));
        if let Some(slot) = self.hists.get_mut(cell) {
            *slot = None;
        }
    }

    /// The floats of a row, and whether it has one at every step.
    pub(crate) fn row_floats(&self, row: usize) -> (&[f64], bool) {
        let cells = row * self.steps..(row + 1) * self.steps;
        (&self.floats[cells], self.row_len(row) == self.steps)
    }

    /// Whether no cell holds a histogram.
    pub(crate) fn only_floats(&self) -> bool {
        self.hists.is_empty()
    }

    /// Applies `f` to every float and drops histograms.
    pub(crate) fn map_floats(&mut self, f: impl Fn(usize, f64) -> f64) {
        if self.hists.is_empty() {
            // Cells without a sample hold any number; computing on them costs
            // less than asking.
            let steps = self.steps.max(1);
            for (cell, value) in self.floats[..self.rows * self.steps].iter_mut().enumerate() {
                *value = f(cell % steps, *value);
            }
            return;
        }
        for cell in 0..self.cells() {
            match self.get(cell) {
                Some(Point::Float(v)) => self.floats[cell] = f(cell % self.steps, v),
                Some(Point::Hist(_)) => self.remove(cell),
                None => {}
            }
        }
        self.hists.clear();
    }

    /// How many cells of a row hold a sample.
    pub(crate) fn row_len(&self, row: usize) -> usize {
        let (start, end) = (row * self.steps, (row + 1) * self.steps);
        if end - start >= 64 {
            return self.count_bits(start, end);
        }
        (start..end).filter(|&cell| self.is_present(cell)).count()
    }

    fn count_bits(&self, start: usize, end: usize) -> usize {
        let mut count = 0;
        let mut cell = start;
        while cell < end {
            if cell.is_multiple_of(64) && cell + 64 <= end {
                count += self.present[cell / 64].count_ones() as usize;
                cell += 64;
            } else {
                count += usize::from(self.is_present(cell));
                cell += 1;
            }
        }
        count
    }

    /// Samples as upstream counts them: a float is one, a histogram as many as
    /// it is times sixteen bytes.
    pub(crate) fn sample_count(&self) -> u64 {
        if self.hists.is_empty() {
            return self.present.iter().map(|word| u64::from(word.count_ones())).sum();
        }
        (0..self.cells())
            .map(|cell| match self.get(cell) {
                None => 0,
                Some(Point::Float(_)) => 1,
                Some(Point::Hist(h)) => histogram_samples(h),
            })
            .sum()
    }

    /// Copies one row of another block of as many steps.
    pub(crate) fn copy_row(&mut self, row: usize, from: &Batch, from_row: usize) {
        for step in 0..self.steps {
            if let Some(point) = from.get(from_row * from.steps + step) {
                self.set(row * self.steps + step, point);
            }
        }
    }

    /// Bytes on the heap, histograms counted by their buckets.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let hists: usize = self.hists.iter().flatten().map(|h| histogram_bytes(h)).sum();
        (self.floats.capacity() * 8 + self.present.capacity() * 8 + self.hists.capacity() * 8 + hists) as u64
    }
}

/// How many samples a histogram counts as. Source: Prometheus `HPoint.size`.
pub(crate) fn histogram_samples(h: &FloatHistogram) -> u64 {
    ((histogram_size(h) + 8) / 16) as u64
}

/// The same while it stands in the result of a step.
/// Source: Prometheus `Vector.TotalSamples`.
pub(crate) fn histogram_samples_at_step(h: &FloatHistogram) -> u64 {
    1 + (histogram_size(h) / 16) as u64
}

/// How many samples a window counts as.
pub(crate) fn window_samples(window: &Samples<'_>) -> u64 {
    window.floats.len() as u64 + window.hists.iter().map(|h| histogram_samples(h)).sum::<u64>()
}

/// Upstream's size of a histogram in bytes: its header, 8 a bucket and 8 a span
/// and bound. Source: Prometheus `FloatHistogram.Size`.
fn histogram_size(h: &FloatHistogram) -> usize {
    let header = 8 + 4 + 4 + 8 + 8 + 8 + 8 + 24 * 5;
    header
        + (h.positive_spans.len() + h.negative_spans.len()) * 8
        + (h.positive_buckets.len() + h.negative_buckets.len()) * 8
        + h.custom_values.len() * 8
}

/// What a histogram takes, about.
pub(crate) fn histogram_bytes(h: &FloatHistogram) -> usize {
    size_of::<FloatHistogram>() + (h.positive_buckets.len() + h.negative_buckets.len()) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_floats_and_histograms_apart() {
        let mut batch = Batch::default();
        batch.reset(2, 100);
        batch.set_float(0, 1.5);
        batch.set_hist(150, Arc::new(FloatHistogram::default()));
        assert!(matches!(batch.get(0), Some(Point::Float(v)) if v == 1.5));
        assert!(matches!(batch.get(150), Some(Point::Hist(_))));
        assert!(batch.get(1).is_none());
        assert_eq!((batch.row_len(0), batch.row_len(1)), (1, 1));
        batch.map_floats(|_, v| v + 1.0);
        assert!(batch.get(150).is_none(), "a float function drops histograms");
        assert!(batch.only_floats());
    }
}
