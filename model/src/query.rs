//! The way out: series in label order, samples as columns.
//!
//! ```text
//! querier(range) ─ pins one immutable view
//!   └ select(matchers) ─ SelectedSeries
//!        labels: one row of (name id, value id) pairs a series, in label order
//!        reader: read(series, range) → Columns     random access, from any thread
//! ```
//!
//! Labels cross the seam as ids of one [`Dictionary`] which all selects of a
//! query share, so grouping, matching and joining compare integers; text is
//! looked up at the edge. Samples cross it as whole columns, decoded into
//! buffers that the caller owns: no call per sample.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::exemplar::SeriesExemplars;
use crate::histogram::FloatHistogram;
use crate::labels::{Label, Labels};
use crate::matcher::Matcher;
use crate::time::TimeRange;

/// A string of a query's [`Dictionary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

impl SymbolId {
    /// The empty string, in every dictionary.
    pub const EMPTY: SymbolId = SymbolId(0);
    /// `__name__`, in every dictionary.
    pub const METRIC_NAME: SymbolId = SymbolId(1);
}

/// The strings of one query, each once, numbered as they come.
///
/// Ids compare for equality only; order is that of the text.
pub struct Dictionary {
    inner: RwLock<DictionaryInner>,
    /// What it holds, to be read without its lock.
    bytes: AtomicUsize,
}

/// Text comes in pages of so many bytes, so that growing moves nothing; the first
/// page is smaller while it suffices, a longer string has a page of its own.
const PAGE_BYTES: usize = 256 * 1024;

struct DictionaryInner {
    pages: Vec<String>,
    /// Page and end of each string; it starts where the one before ends, or at
    /// the start of its page.
    ends: Vec<(u32, u32)>,
    /// Bytes of all pages but the last.
    full_bytes: usize,
    table: HashTable<u32>,
}

/// String `id` of so many pages.
fn text_of<'p>(pages: &'p [String], ends: &[(u32, u32)], id: u32) -> &'p str {
    let id = id as usize;
    let (page, end) = ends[id];
    let start = match id.checked_sub(1).map(|before| ends[before]) {
        Some((same, start)) if same == page => start,
        _ => 0,
    };
    &pages[page as usize][start as usize..end as usize]
}

impl DictionaryInner {
    fn get(&self, id: u32) -> &str {
        text_of(&self.pages, &self.ends, id)
    }

    fn find(&self, hash: u64, text: &str) -> Option<u32> {
        self.table.find(hash, |&id| self.get(id) == text).copied()
    }

    fn insert(&mut self, hash: u64, text: &str) -> u32 {
        let id = u32::try_from(self.ends.len()).expect("a query names fewer than 2^32 strings");
        let last = self.pages.last().map_or(0, String::len);
        if self.pages.is_empty() || (last > 0 && last + text.len() > PAGE_BYTES) {
            let bytes = if self.pages.is_empty() { 0 } else { PAGE_BYTES.max(text.len()) };
            self.full_bytes += self.pages.last().map_or(0, String::capacity);
            self.pages.push(String::with_capacity(bytes));
        }
        let at = self.pages.len() - 1;
        let page = &mut self.pages[at];
        page.push_str(text);
        let end = u32::try_from(page.len()).expect("stores and functions bound strings far below 4 GiB");
        self.ends.push((at as u32, end));
        let DictionaryInner { pages, ends, table, .. } = self;
        table.insert_unique(hash, id, |&id| text_hash(text_of(pages, ends, id)));
        id
    }

    fn heap_bytes(&self) -> usize {
        let last = self.pages.last().map_or(0, String::capacity);
        self.full_bytes + last + self.ends.capacity() * 8 + self.table.capacity() * 5
    }
}

fn text_hash(text: &str) -> u64 {
    rapidhash::v3::rapidhash_v3(text.as_bytes())
}

impl Default for Dictionary {
    fn default() -> Dictionary {
        Dictionary::new()
    }
}

impl Dictionary {
    /// A dictionary that knows the empty string and `__name__`.
    pub fn new() -> Dictionary {
        let mut inner =
            DictionaryInner { pages: Vec::new(), ends: Vec::new(), full_bytes: 0, table: HashTable::new() };
        for text in ["", crate::METRIC_NAME] {
            inner.insert(text_hash(text), text);
        }
        let bytes = AtomicUsize::new(inner.heap_bytes());
        Dictionary { inner: RwLock::new(inner), bytes }
    }

    /// The id of a string, which is added where it is new.
    pub fn intern(&self, text: &str) -> SymbolId {
        let hash = text_hash(text);
        if let Some(id) = self.inner.read().find(hash, text) {
            return SymbolId(id);
        }
        self.write().intern_hashed(hash, text)
    }

    /// The id of a string if the dictionary has it.
    pub fn lookup(&self, text: &str) -> Option<SymbolId> {
        self.inner.read().find(text_hash(text), text).map(SymbolId)
    }

    /// Adds many strings under one lock.
    pub fn write(&self) -> DictionaryWriter<'_> {
        DictionaryWriter { inner: self.inner.write(), bytes: &self.bytes }
    }

    /// Reads many strings under one lock. Do not intern while holding it.
    pub fn read(&self) -> DictionaryReader<'_> {
        DictionaryReader { inner: self.inner.read() }
    }

    /// The label set that a row of ids stands for.
    pub fn labels(&self, row: &[(SymbolId, SymbolId)]) -> Labels {
        self.read().labels(row)
    }

    /// Bytes the dictionary holds; asking takes no lock.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Adds strings to a [`Dictionary`] under one lock.
pub struct DictionaryWriter<'a> {
    inner: parking_lot::RwLockWriteGuard<'a, DictionaryInner>,
    bytes: &'a AtomicUsize,
}

impl DictionaryWriter<'_> {
    /// The id of a string, which is added where it is new.
    pub fn intern(&mut self, text: &str) -> SymbolId {
        self.intern_hashed(text_hash(text), text)
    }

    fn intern_hashed(&mut self, hash: u64, text: &str) -> SymbolId {
        match self.inner.find(hash, text) {
            Some(id) => SymbolId(id),
            None => {
                let id = self.inner.insert(hash, text);
                self.bytes.store(self.inner.heap_bytes(), Ordering::Relaxed);
                SymbolId(id)
            }
        }
    }
}

/// Reads strings of a [`Dictionary`] under one lock.
pub struct DictionaryReader<'a> {
    inner: RwLockReadGuard<'a, DictionaryInner>,
}

impl DictionaryReader<'_> {
    /// The text of an id of this dictionary.
    pub fn text(&self, id: SymbolId) -> &str {
        self.inner.get(id.0)
    }

    /// The labels of a row, in the row's order.
    pub fn row<'s>(&'s self, row: &'s [(SymbolId, SymbolId)]) -> impl Iterator<Item = Label<'s>> + 's {
        row.iter().map(|&(name, value)| Label { name: self.text(name), value: self.text(value) })
    }

    /// The label set that a row of ids stands for.
    pub fn labels(&self, row: &[(SymbolId, SymbolId)]) -> Labels {
        Labels::from_sorted(row.iter().map(|&(name, value)| (self.text(name), self.text(value))))
    }
}

/// Label sets as rows of (name id, value id), each row in order of its names'
/// text, without empty values.
#[derive(Clone, Debug, Default)]
pub struct LabelTable {
    pairs: Vec<(SymbolId, SymbolId)>,
    ends: Vec<u32>,
}

impl LabelTable {
    /// A table without rows.
    pub fn new() -> LabelTable {
        LabelTable::default()
    }

    /// Makes room for so many more rows with so many labels in all.
    pub fn reserve(&mut self, rows: usize, labels: usize) {
        self.pairs.reserve_exact(labels);
        self.ends.reserve_exact(rows);
    }

    /// Gives back room that no row takes.
    pub fn shrink_to_fit(&mut self) {
        self.pairs.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[(SymbolId, SymbolId)] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.pairs[start..self.ends[i] as usize]
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = (SymbolId, SymbolId)>) {
        self.pairs.extend(row);
        self.ends.push(u32::try_from(self.pairs.len()).expect("a select has fewer than 2^32 labels"));
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[(SymbolId, SymbolId)]> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Bytes the table holds.
    pub fn heap_bytes(&self) -> usize {
        self.pairs.capacity() * 8 + self.ends.capacity() * 4
    }
}

/// What kind of values a run of samples has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Floats.
    Float,
    /// Native histograms.
    Histogram,
}

/// Samples of one kind that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their kind.
    pub kind: SampleKind,
    /// How many they are.
    pub len: usize,
}

/// Samples of one series in ascending time, as columns.
///
/// `timestamps_ms` has all of them; `runs` says how they divide into floats and
/// histograms; `floats` and `histograms` hold the values of either kind in order.
/// Staleness markers are kept: floats by their NaN, histograms by their sum.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Time of each sample, strictly ascending.
    pub timestamps_ms: Vec<i64>,
    /// Start timestamps in ms, 0 where unknown: as long as `timestamps_ms` if
    /// they were asked for, else empty.
    pub start_timestamps_ms: Vec<i64>,
    /// The kinds in order of time; neighbours differ in kind.
    pub runs: Vec<Run>,
    /// Values of the float samples.
    pub floats: Vec<f64>,
    /// Values of the histogram samples.
    pub histograms: Vec<FloatHistogram>,
}

impl Columns {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.start_timestamps_ms.clear();
        self.runs.clear();
        self.floats.clear();
        self.histograms.clear();
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Times and values where all samples are floats: the common case.
    pub fn as_floats(&self) -> Option<(&[i64], &[f64])> {
        self.histograms.is_empty().then_some((&self.timestamps_ms, &self.floats))
    }

    /// Adds a float after all samples so far.
    pub fn push_float(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.floats.push(value);
        self.extend_run(SampleKind::Float, 1);
    }

    /// Adds a histogram after all samples so far.
    pub fn push_histogram(&mut self, timestamp_ms: i64, value: FloatHistogram) {
        self.timestamps_ms.push(timestamp_ms);
        self.histograms.push(value);
        self.extend_run(SampleKind::Histogram, 1);
    }

    /// Notes that `len` samples of a kind were added to the value columns.
    pub fn extend_run(&mut self, kind: SampleKind, len: usize) {
        if len == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(run) if run.kind == kind => run.len += len,
            _ => self.runs.push(Run { kind, len }),
        }
    }

    /// Bytes the columns hold.
    pub fn heap_bytes(&self) -> usize {
        let histograms: usize = self
            .histograms
            .iter()
            .map(|h| size_of::<FloatHistogram>() + (h.positive_buckets.len() + h.negative_buckets.len()) * 8)
            .sum();
        (self.timestamps_ms.capacity() + self.start_timestamps_ms.capacity() + self.floats.capacity()) * 8
            + histograms
    }
}

/// The newest samples of several series at one time.
#[derive(Clone, Debug, Default)]
pub struct LatestColumns {
    /// One entry a series.
    pub samples: Vec<Option<Latest>>,
    /// The histograms that [`LatestValue::Histogram`] points to.
    pub histograms: Vec<FloatHistogram>,
}

/// The newest sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    /// Its own time.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: LatestValue,
}

/// A float, or where the histogram stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatestValue {
    /// A float, possibly the staleness marker.
    Float(f64),
    /// Index into [`LatestColumns::histograms`].
    Histogram(usize),
}

/// Stops a query from outside. Clones stop together.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    state: Arc<AtomicU8>,
}

/// Why a query was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The client left, or an operator stopped it.
    Canceled,
    /// Its time is up.
    TimedOut,
}

impl CancelToken {
    /// A token that nobody has used yet.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Stops the query; the first reason stays.
    pub fn cancel(&self, reason: CancelReason) {
        let number = match reason {
            CancelReason::Canceled => 1,
            CancelReason::TimedOut => 2,
        };
        let _ = self.state.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why the query was stopped, `None` while it may go on.
    pub fn reason(&self) -> Option<CancelReason> {
        match self.state.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(CancelReason::Canceled),
            _ => Some(CancelReason::TimedOut),
        }
    }

    /// An error once the query was stopped.
    ///
    /// # Errors
    /// [`StorageError::Stopped`].
    pub fn check(&self) -> Result<(), StorageError> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(StorageError::Stopped(reason)),
        }
    }
}

/// What a store answers when it cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store is not open yet, or no longer.
    #[error("TSDB not ready")]
    NotReady,
    /// A file operation failed.
    #[error("{op} {}: {source}", .path.display())]
    Io {
        /// The operation, as a verb.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Stored bytes are damaged.
    #[error("{}: corrupt at byte {offset}: {what}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong, with the numbers.
        what: String,
    },
    /// The request was stopped.
    #[error("{}", match .0 { CancelReason::Canceled => "canceled", CancelReason::TimedOut => "timed out" })]
    Stopped(CancelReason),
    /// There is not enough memory for it.
    #[error(transparent)]
    Memory(#[from] crate::memory::MemoryRefused),
    /// The request itself is at fault.
    #[error("{0}")]
    Invalid(String),
    /// This store cannot do that.
    #[error("unsupported operation with WAL-only storage")]
    Unsupported,
}

/// What a query will do with a select: storage may use it, and must stay right without it.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// The function around the selector, such as `rate`; `series` means that no sample will be read.
    pub func: Option<&'static str>,
    /// Milliseconds between steps, 0 for an instant query.
    pub step_ms: i64,
    /// Width of a range selector in ms, 0 for an instant selector.
    pub range_ms: i64,
    /// Labels grouped by, and whether by (true) or without (false).
    pub grouping: Option<(Vec<String>, bool)>,
}

/// One select.
#[derive(Clone, Debug)]
pub struct SelectRequest {
    /// All must match. At least one should not match the empty string.
    pub matchers: Vec<Matcher>,
    /// Series without a chunk that touches this range are left out.
    pub range: TimeRange,
    /// At most so many series, 0 for all.
    pub limit: usize,
    /// What will be done with them.
    pub hints: SelectHints,
    /// Asked between pieces of work.
    pub cancel: CancelToken,
}

impl SelectRequest {
    /// A select without hints or limit.
    pub fn new(matchers: Vec<Matcher>, range: TimeRange) -> SelectRequest {
        SelectRequest { matchers, range, limit: 0, hints: SelectHints::default(), cancel: CancelToken::new() }
    }
}

/// What a select found.
pub struct SelectedSeries {
    /// One row a series, in label order, as ids of the dictionary given.
    pub labels: LabelTable,
    /// Reads their samples.
    pub reader: Arc<dyn SeriesReader>,
    /// What could not be read, or was cut.
    pub warnings: Vec<String>,
}

impl SelectedSeries {
    /// No series.
    pub fn none() -> SelectedSeries {
        SelectedSeries { labels: LabelTable::new(), reader: Arc::new(NoSeries), warnings: Vec::new() }
    }
}

struct NoSeries;

impl SeriesReader for NoSeries {
    fn read(
        &self,
        _: usize,
        _: TimeRange,
        _: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        columns.clear();
        Ok(ReadStats::default())
    }
}

/// What to decode.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Fill [`Columns::start_timestamps_ms`].
    pub start_timestamps: bool,
    /// Histograms need only count and sum right (for `histogram_count`, `_sum`, `_avg`).
    pub histogram_stats_only: bool,
}

/// What a read cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Chunks opened.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads the samples of selected series: random access, from any thread.
pub trait SeriesReader: Send + Sync {
    /// Decodes the samples of series `series` (a row of the select) inside
    /// `range` into `columns`, which is cleared first.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError>;

    /// The newest sample of each of several series in `(at_ms - lookback_ms, at_ms]`;
    /// `out` is cleared first and gets one entry a series.
    ///
    /// # Errors
    /// As [`SeriesReader::read`].
    fn read_latest(
        &self,
        series: Range<usize>,
        at_ms: i64,
        lookback_ms: i64,
        out: &mut LatestColumns,
    ) -> Result<ReadStats, StorageError> {
        let mut columns = Columns::default();
        let mut stats = ReadStats::default();
        out.samples.clear();
        out.histograms.clear();
        let range = TimeRange::new(at_ms.saturating_sub(lookback_ms).saturating_add(1), at_ms);
        for series in series {
            let read = self.read(series, range, ReadOptions::default(), &mut columns)?;
            stats.chunks += read.chunks;
            stats.bytes += read.bytes;
            let latest = columns.runs.last().copied().map(|run| {
                let timestamp_ms = columns.timestamps_ms[columns.len() - 1];
                let value = match run.kind {
                    SampleKind::Float => LatestValue::Float(columns.floats[columns.floats.len() - 1]),
                    SampleKind::Histogram => {
                        out.histograms.extend(columns.histograms.pop());
                        LatestValue::Histogram(out.histograms.len() - 1)
                    }
                };
                Latest { timestamp_ms, value }
            });
            out.samples.push(latest);
        }
        Ok(stats)
    }
}

/// A store that can be queried.
pub trait Queryable: Send + Sync {
    /// Pins one immutable view of what was committed when it was called and
    /// touches `range`.
    ///
    /// # Errors
    /// The store is not open.
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError>;
}

/// One pinned view.
pub trait Querier: Send + Sync {
    /// The series that match, in label order.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or the request was stopped.
    fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<SelectedSeries, StorageError>;
}

/// Names or values of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelList {
    /// Sorted and unique.
    pub values: Vec<String>,
    /// Whether the limit cut it.
    pub truncated: bool,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// A store that can say which labels it holds.
pub trait LabelQueryable: Send + Sync {
    /// Label names of series that match all of any one of the matcher sets (of
    /// all series where there is no set) and touch the range. `limit` 0: all.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_names(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError>;

    /// Values of one label, likewise.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_values(
        &self,
        name: &str,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError>;
}

/// A store that keeps exemplars.
pub trait ExemplarQueryable: Send + Sync {
    /// Exemplars in the range of series that match all of any one of the sets,
    /// series in label order.
    ///
    /// # Errors
    /// The store is not open.
    fn exemplars(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError>;
}

/// How the bytes of a chunk are encoded. Numbers are those on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkEncoding {
    /// Floats, XOR.
    Xor = 1,
    /// Histograms of whole counts.
    Histogram = 2,
    /// Histograms of float counts.
    FloatHistogram = 3,
    /// Floats, XOR2, may carry start timestamps.
    Xor2 = 4,
    /// Histograms of whole counts with start timestamps.
    HistogramSt = 5,
    /// Histograms of float counts with start timestamps.
    FloatHistogramSt = 6,
}

impl ChunkEncoding {
    /// The encoding of a number on disk.
    pub fn from_number(number: u8) -> Option<ChunkEncoding> {
        Some(match number {
            1 => ChunkEncoding::Xor,
            2 => ChunkEncoding::Histogram,
            3 => ChunkEncoding::FloatHistogram,
            4 => ChunkEncoding::Xor2,
            5 => ChunkEncoding::HistogramSt,
            6 => ChunkEncoding::FloatHistogramSt,
            _ => return None,
        })
    }

    /// Whether it holds histograms.
    pub fn is_histogram(self) -> bool {
        !matches!(self, ChunkEncoding::Xor | ChunkEncoding::Xor2)
    }
}

/// A chunk as stored.
#[derive(Clone, Debug)]
pub struct RawChunk {
    /// Time of its first sample in ms.
    pub min_ms: i64,
    /// Time of its last sample in ms.
    pub max_ms: i64,
    /// How its bytes are encoded.
    pub encoding: ChunkEncoding,
    /// Its bytes, without length, encoding or checksum.
    pub bytes: Vec<u8>,
}

/// A store that can give whole chunks: for remote read, StoreAPI and dumps.
pub trait ChunkQueryable: Send + Sync {
    /// Calls `each` for every matching series in label order with its chunks
    /// that touch the range, ascending and disjoint; the open head chunk is a
    /// copy. `each` answers whether to go on.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn chunks(
        &self,
        request: &SelectRequest,
        each: &mut dyn FnMut(&Labels, Vec<RawChunk>) -> bool,
    ) -> Result<(), StorageError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_again_on_every_page() {
        let dictionary = Dictionary::new();
        assert_eq!(dictionary.intern(""), SymbolId::EMPTY);
        assert_eq!(dictionary.intern("__name__"), SymbolId::METRIC_NAME);
        let long = "x".repeat(3 * PAGE_BYTES);
        let mut texts: Vec<String> = (0..50_000).map(|n| format!("value-{n}")).collect();
        texts.insert(20_000, long);
        let ids: Vec<SymbolId> = texts.iter().map(|text| dictionary.intern(text)).collect();
        for (text, &id) in texts.iter().zip(&ids) {
            assert_eq!(dictionary.read().text(id), text);
            assert_eq!(dictionary.lookup(text), Some(id));
        }
        assert_eq!(dictionary.read().text(SymbolId::METRIC_NAME), "__name__");
        let text_bytes: usize = texts.iter().map(String::len).sum();
        let held = dictionary.heap_bytes();
        assert!(held > text_bytes && held < text_bytes * 3, "{held} bytes for {text_bytes}");
        dictionary.write().intern("value-7");
        assert_eq!(dictionary.heap_bytes(), held, "nothing came to it");
    }
}
