//! The head: the newest hours of every series, in memory and in files beside it.
//!
//! ```text
//! labels ─ lookup ─▶ slot ─▶ page: newest value, open chunk, labels as numbers
//! matchers ─ symbols ─ postings ─▶ slots
//! full chunks ─▶ chunks_head/        every commit ─▶ wal/ (and wbl/)
//! ```
//!
//! Locks are taken in this order and let go before the next where possible:
//! creation, log, apply, symbols, page. No file is touched under a page's lock.

pub(crate) mod append;
pub(crate) mod commit;
pub(crate) mod deleted;
pub(crate) mod full;
pub(crate) mod gc;
pub(crate) mod isolation;
pub(crate) mod labels;
pub(crate) mod lookup;
pub(crate) mod made;
pub(crate) mod ooo;
pub(crate) mod open;
pub(crate) mod open_histogram;
pub(crate) mod page;
pub(crate) mod parked;
pub(crate) mod postings;
pub(crate) mod refs;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod series;
pub(crate) mod slots;
pub(crate) mod symbols;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use isolation::Isolation;
use lookup::Lookup;
use open::ChunkRules;
use postings::Postings;
use slots::Slots;
use symbols::Symbols;

/// Bounds of the head in time, in ms.
pub(crate) struct HeadTimes {
    min: AtomicI64,
    max: AtomicI64,
    /// Samples before this are in blocks: none is taken.
    min_valid: AtomicI64,
}

impl HeadTimes {
    fn new() -> HeadTimes {
        HeadTimes {
            min: AtomicI64::new(i64::MAX),
            max: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(i64::MIN),
        }
    }

    /// Oldest sample's time, `i64::MAX` where there is none.
    pub(crate) fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    /// Newest sample's time, `i64::MIN` where there is none.
    pub(crate) fn max(&self) -> i64 {
        self.max.load(Ordering::Acquire)
    }

    /// Before this no in-order sample is taken.
    pub(crate) fn min_valid(&self) -> i64 {
        self.min_valid.load(Ordering::Acquire)
    }

    /// Widens the bounds.
    pub(crate) fn extend(&self, min: i64, max: i64) {
        self.min.fetch_min(min, Ordering::AcqRel);
        self.max.fetch_max(max, Ordering::AcqRel);
    }

    /// Raises the oldest time.
    pub(crate) fn set_min(&self, min: i64) {
        self.min.store(min, Ordering::Release);
    }

    /// Raises the time before which nothing is taken.
    pub(crate) fn raise_min_valid(&self, min_valid: i64) {
        self.min_valid.fetch_max(min_valid, Ordering::AcqRel);
    }

    /// As if no sample had come.
    pub(crate) fn reset(&self) {
        self.min.store(i64::MAX, Ordering::Release);
        self.max.store(i64::MIN, Ordering::Release);
    }

    /// Whether any sample came yet.
    pub(crate) fn is_initialised(&self) -> bool {
        self.max() != i64::MIN
    }
}

/// Settings of the head that a reload may change.
#[derive(Clone, Debug)]
pub(crate) struct HeadRules {
    /// How chunks end.
    pub(crate) chunks: ChunkRules,
    /// Samples so much older than the newest are taken, 0 for none.
    pub(crate) ooo_window_ms: i64,
    /// At most so many series, `None` for no limit.
    pub(crate) max_series: Option<u64>,
}

/// Figures that metrics and stats show.
#[derive(Default)]
pub(crate) struct HeadCounts {
    pub(crate) series: AtomicU64,
    pub(crate) series_created: AtomicU64,
    pub(crate) series_removed: AtomicU64,
    pub(crate) series_not_found: AtomicU64,
    pub(crate) stale_series: AtomicI64,
    pub(crate) chunks: AtomicI64,
    pub(crate) chunks_created: AtomicU64,
    pub(crate) chunks_removed: AtomicU64,
    pub(crate) appenders_created: AtomicU64,
    pub(crate) floats_appended: AtomicU64,
    pub(crate) histograms_appended: AtomicU64,
    pub(crate) ooo_floats_appended: AtomicU64,
    pub(crate) ooo_histograms_appended: AtomicU64,
    pub(crate) floats_out_of_bounds: AtomicU64,
    pub(crate) histograms_out_of_bounds: AtomicU64,
    pub(crate) floats_out_of_order: AtomicU64,
    pub(crate) histograms_out_of_order: AtomicU64,
    pub(crate) floats_too_old: AtomicU64,
    pub(crate) histograms_too_old: AtomicU64,
    pub(crate) mmap_chunks: AtomicU64,
    /// Series whose newest sample is a histogram, as of the last count.
    pub(crate) histogram_series: AtomicU64,
    /// Their buckets.
    pub(crate) histogram_buckets: AtomicU64,
}

/// Series that exist but are in no log record yet.
pub(crate) type Unlogged = Vec<(model::SeriesRef, model::Labels)>;

/// The head.
pub(crate) struct Head {
    pub(crate) slots: Slots,
    pub(crate) symbols: Symbols,
    pub(crate) lookup: Lookup,
    pub(crate) postings: Postings,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) times: HeadTimes,
    /// Bounds of the out-of-order samples.
    pub(crate) late_times: HeadTimes,
    pub(crate) rules: ArcSwap<HeadRules>,
    pub(crate) counts: HeadCounts,
    /// Held while a batch is put into memory: one at a time, in the log's order.
    pub(crate) apply: Mutex<()>,
    pub(crate) unlogged: Mutex<Unlogged>,
    creation: Mutex<series::Creation>,
    collection: Mutex<gc::Collection>,
}

impl Head {
    /// An empty head.
    pub(crate) fn new(rules: HeadRules) -> Head {
        Head {
            slots: Slots::default(),
            symbols: Symbols::default(),
            lookup: Lookup::default(),
            postings: Postings::default(),
            isolation: Arc::default(),
            times: HeadTimes::new(),
            late_times: HeadTimes::new(),
            rules: ArcSwap::from_pointee(rules),
            counts: HeadCounts::default(),
            apply: Mutex::new(()),
            unlogged: Mutex::default(),
            creation: Mutex::default(),
            collection: Mutex::default(),
        }
    }

    /// Before this no in-order sample is taken by an appender that starts now.
    pub(crate) fn appendable_from(&self) -> i64 {
        let range = self.rules.load().chunks.range_ms;
        let by_newest =
            if self.times.is_initialised() { self.times.max().saturating_sub(range / 2) } else { i64::MIN };
        self.times.min_valid().max(by_newest)
    }

    /// Counts series of histograms and their buckets.
    pub(crate) fn count_histograms(&self) {
        let (mut series, mut buckets) = (0, 0);
        for (_, page) in self.slots.pages() {
            let page = page.lock();
            let open = page.cold.iter().filter_map(|cold| cold.extra.as_ref()?.histogram.as_ref());
            for histogram in open {
                series += 1;
                buckets += histogram.num_buckets() as u64;
            }
        }
        self.counts.histogram_series.store(series, Ordering::Relaxed);
        self.counts.histogram_buckets.store(buckets, Ordering::Relaxed);
    }

    /// Counts what a replay or collection changed in many places.
    pub(crate) fn recount(&self) {
        let (mut chunks, mut stale) = (0i64, 0i64);
        for (_, page) in self.slots.pages() {
            let page = page.lock();
            for i in 0..page.hot.len() {
                if page.hot[i].series_ref == 0 {
                    continue;
                }
                chunks += page.cold[i].full.len() as i64 + i64::from(page.open_min(i).is_some());
                stale += i64::from(page.hot[i].flags & page::flag::STALE != 0);
            }
            chunks += page.closing.iter().filter(|(_, chunk)| !chunk.out_of_order).count() as i64;
        }
        self.counts.chunks.store(chunks, Ordering::Relaxed);
        self.counts.stale_series.store(stale, Ordering::Relaxed);
    }
}
