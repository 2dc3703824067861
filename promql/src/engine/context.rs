//! What every operator of one query shares: the store's view, the dictionary,
//! limits, and where annotations and counters go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::memory::{Lease, Pressure};
use model::query::CancelToken;
use model::{Clock, Dictionary, Querier};
use parking_lot::Mutex;

use super::buckets::NativesWithBounds;
use super::depth::Depth;
use super::error::{EVALUATION, EXECUTION, QueryError, Result};
use super::parts::Parts;
use super::rows::Names;
use crate::annotations::Annotations;
use crate::stats::{ExplainNode, SampleCounters};

/// Times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) interval_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    /// From `start_ms` by `interval_ms` up to `end_ms`; none where it ends before it starts.
    pub(crate) fn new(start_ms: i64, end_ms: i64, interval_ms: i64) -> Steps {
        let interval_ms = interval_ms.max(1);
        let count = if end_ms < start_ms {
            0
        } else {
            let steps = (i128::from(end_ms) - i128::from(start_ms)) / i128::from(interval_ms) + 1;
            usize::try_from(steps).unwrap_or(usize::MAX)
        };
        Steps { start_ms, interval_ms, count }
    }

    pub(crate) fn at(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.interval_ms.saturating_mul(step as i64))
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// Only the first of them.
    pub(crate) fn first_only(&self) -> Steps {
        Steps { count: self.count.min(1), ..*self }
    }
}

/// Bytes that the query holds, against its lease.
pub(crate) struct QueryMemory {
    /// Shared with the query's answer, which goes on holding some of it.
    lease: Arc<Lease>,
    bytes: AtomicU64,
    peak: AtomicU64,
    /// How much of the dictionary is in `bytes`.
    dictionary: AtomicU64,
}

impl QueryMemory {
    pub(crate) fn new(lease: Lease) -> QueryMemory {
        QueryMemory {
            lease: Arc::new(lease.stoppable()),
            bytes: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            dictionary: AtomicU64::new(0),
        }
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What only the query needed is given back: an answer of so many bytes is left,
    /// and the dictionary, in which its labels are.
    pub(crate) fn of_answer(&self, bytes: u64) -> Arc<Lease> {
        self.lease.shrink_to(bytes + self.dictionary.load(Ordering::Relaxed));
        self.lease.unstoppable();
        self.lease.clone()
    }

    /// Takes room for what the dictionary has grown by.
    fn hold_dictionary(&self, dictionary: &Dictionary) -> Result<()> {
        let bytes = dictionary.heap_bytes() as u64;
        let before = self.dictionary.load(Ordering::Relaxed);
        if bytes <= before {
            return Ok(());
        }
        match self.dictionary.compare_exchange(before, bytes, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => self.grow(bytes - before).inspect_err(|_| {
                self.dictionary.fetch_sub(bytes - before, Ordering::Relaxed);
            }),
            // Another thread does it.
            Err(_) => Ok(()),
        }
    }

    fn grow(&self, bytes: u64) -> Result<()> {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(all, Ordering::Relaxed);
        self.lease.grow_to(all).map_err(|refused| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            QueryError::Memory(refused)
        })
    }
}

/// After so many rows [`Reservation::follow`] looks.
const FOLLOWED_ROWS: usize = 1024;

/// Bytes that an operator holds; given back when dropped.
pub(crate) struct Reservation {
    query: Arc<QueryContext>,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn new(query: &Arc<QueryContext>, bytes: u64) -> Result<Reservation> {
        query.memory.grow(bytes)?;
        Ok(Reservation { query: query.clone(), bytes })
    }

    /// How large it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it at least so large.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            self.query.memory.grow(bytes - self.bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// For loops that fill something row by row: every so often asks whether the
    /// query may go on, and takes room for what is filled.
    pub(crate) fn follow(&mut self, row: usize, filled: impl FnOnce() -> u64) -> Result<()> {
        if row % FOLLOWED_ROWS != FOLLOWED_ROWS - 1 {
            return Ok(());
        }
        self.query.check()?;
        self.grow_to(filled())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.query.memory.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A duration in ns; those of centuries are cut.
pub(crate) fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What all operators of a query share.
pub(crate) struct QueryContext {
    pub(crate) dictionary: Arc<Dictionary>,
    pub(crate) names: Names,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) lookback_ms: i64,
    pub(crate) delayed_name_removal: bool,
    pub(crate) use_start_timestamps: bool,
    pub(crate) type_and_unit_labels: bool,
    pub(crate) default_subquery_interval_ms: i64,
    pub(crate) cancel: CancelToken,
    /// Measures what operators take, and when time is up.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    /// The clock's reading at which time is up.
    pub(crate) deadline_ns: u64,
    /// `query.max-samples`.
    pub(crate) max_samples: u64,
    pub(crate) memory: QueryMemory,
    pub(crate) depth: Depth,
    pub(crate) pool: Option<Arc<rayon::ThreadPool>>,
    pub(crate) natives_with_bounds: Arc<NativesWithBounds>,
    /// Warnings of the store, as it words them.
    pub(crate) storage_warnings: Mutex<Vec<String>>,
    /// Operators that were evaluated whole while another was built, such as those
    /// below a scalar parameter: they are shown as that one's children.
    pub(crate) aside: Mutex<Vec<ExplainNode>>,
}

impl QueryContext {
    /// An error once the query was stopped or its time is up.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_time().map(|_| ())
    }

    /// The same without a look at the clock: for loops that turn fast. Where the
    /// process nears its ceiling of memory, queries that hold much of it end, the
    /// largest first.
    pub(crate) fn check_canceled(&self) -> Result<()> {
        if let Some(reason) = self.cancel.reason() {
            return Err(QueryError::stopped(reason));
        }
        self.hold_dictionary()?;
        self.memory.lease.check(Pressure::RefuseSeries).map_err(QueryError::Memory)
    }

    /// Refuses what holds too many samples, as upstream counts them.
    pub(crate) fn check_samples(&self, samples: u64) -> Result<()> {
        if samples > self.max_samples { Err(QueryError::TooManySamples(EXECUTION)) } else { Ok(()) }
    }

    /// Takes room for strings that came to the dictionary.
    pub(crate) fn hold_dictionary(&self) -> Result<()> {
        self.memory.hold_dictionary(&self.dictionary)
    }

    /// Checks, and answers the clock's reading.
    pub(crate) fn check_time(&self) -> Result<u64> {
        self.check_canceled()?;
        let now_ns = self.now_ns();
        if self.clock.is_some() && now_ns >= self.deadline_ns {
            return Err(QueryError::TimedOut(EVALUATION));
        }
        Ok(now_ns)
    }

    /// The clock's reading in ns; 0 where there is none.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| nanoseconds(clock.monotonic()))
    }
}

/// Where remarks go: they stay here, or go on to where those of a larger part stay.
#[derive(Default)]
pub(crate) struct Remarked {
    own: Mutex<Annotations>,
    onward: OnceLock<Arc<Remarked>>,
}

impl Remarked {
    pub(crate) fn annotate(&self, annotations: Annotations) {
        if annotations.is_empty() {
            return;
        }
        match self.onward.get() {
            Some(onward) => onward.annotate(annotations),
            None => self.own.lock().merge(annotations),
        }
    }

    /// What came until now.
    pub(crate) fn taken(&self) -> Annotations {
        self.own.lock().clone()
    }

    /// Hands on what came and what will come.
    pub(crate) fn forward(&self, to: &Arc<Remarked>) {
        to.annotate(std::mem::take(&mut *self.own.lock()));
        self.onward.get_or_init(|| to.clone());
    }
}

/// One evaluation: the query's own steps, or those of a subquery inside.
#[derive(Clone)]
pub(crate) struct EvalContext {
    pub(crate) query: Arc<QueryContext>,
    pub(crate) steps: Steps,
    /// It begins and ends at one time. Of a subquery whose only step lies inside
    /// its window this is not so.
    pub(crate) instant: bool,
    pub(crate) counters: Arc<SampleCounters>,
    /// Selectors that are not pinned find nothing behind this time, nor what they
    /// look at from it.
    pub(crate) selected_until_ms: Option<i64>,
    /// Where remarks go.
    pub(crate) remarks: Arc<Remarked>,
    /// What is evaluated once though it stands more than once.
    pub(crate) parts: Arc<Parts>,
}

/// Most steps of one evaluation: a series takes nine bytes for each.
const STEPS_MAX: usize = 1 << 28;

impl EvalContext {
    /// Refuses evaluations at so many steps that one series would not fit:
    /// short steps of a long subquery are easy to write.
    pub(crate) fn check_steps(&self) -> Result<Option<Reservation>> {
        let count = self.steps.count;
        if count > STEPS_MAX {
            return Err(QueryError::TooManySamples(EXECUTION));
        }
        // Below this the blocks of the threads are not worth an entry.
        if count < 1 << 16 {
            return Ok(None);
        }
        let threads = self.query.pool.as_ref().map_or(1, |pool| pool.current_num_threads() * 2);
        Reservation::new(&self.query, (count * 9 * (threads + 1)) as u64).map(Some)
    }

    /// The same query at other steps, with counters of its own.
    pub(crate) fn child(&self, steps: Steps, per_step: bool) -> EvalContext {
        EvalContext {
            query: self.query.clone(),
            steps,
            instant: steps.count <= 1,
            counters: Arc::new(SampleCounters::new(steps.count, per_step)),
            selected_until_ms: self.selected_until_ms,
            remarks: self.remarks.clone(),
            parts: Arc::default(),
        }
    }

    /// First and last time for which selectors find samples; both may lie before the
    /// first step.
    pub(crate) fn selected_times(&self) -> (i64, i64) {
        let last = self.selected_until_ms.unwrap_or(i64::MAX).min(self.steps.last_ms());
        (self.steps.start_ms.min(last), last)
    }

    /// The same with counters and remarks of its own, for a part that may stand
    /// in the query more than once.
    pub(crate) fn of_part(&self) -> EvalContext {
        let counters = SampleCounters::new(self.steps.count, self.counters.wants_steps());
        EvalContext { counters: Arc::new(counters), remarks: Arc::default(), ..self.clone() }
    }

    pub(crate) fn annotate(&self, annotations: Annotations) {
        self.remarks.annotate(annotations);
    }
}
