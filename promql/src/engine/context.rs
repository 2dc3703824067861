//! What every operator of one query shares: the store's view, the dictionary,
//! limits, and where annotations and counters go.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::memory::{Lease, Pressure};
use model::query::CancelToken;
use model::{Clock, Dictionary, Querier};
use parking_lot::Mutex;

use super::error::{EVALUATION, EXECUTION, QueryError, Result};
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

/// `query.max-samples`: samples that upstream's evaluation would hold now.
#[derive(Debug)]
pub(crate) struct SampleBudget {
    current: AtomicI64,
    peak: AtomicI64,
    max: i64,
}

impl SampleBudget {
    pub(crate) fn new(max: usize) -> SampleBudget {
        SampleBudget {
            current: AtomicI64::new(0),
            peak: AtomicI64::new(0),
            max: i64::try_from(max).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn take(&self, samples: u64) -> Result<()> {
        let now = self.current.fetch_add(samples as i64, Ordering::Relaxed) + samples as i64;
        self.note(now)
    }

    /// Checks `samples` that are held for a moment, such as a window.
    pub(crate) fn pass(&self, samples: u64) -> Result<()> {
        self.note(self.current.load(Ordering::Relaxed) + samples as i64)
    }

    pub(crate) fn give_back(&self, samples: u64) {
        self.current.fetch_sub(samples as i64, Ordering::Relaxed);
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(0) as u64
    }

    fn note(&self, now: i64) -> Result<()> {
        self.peak.fetch_max(now, Ordering::Relaxed);
        if now > self.max { Err(QueryError::TooManySamples(EXECUTION)) } else { Ok(()) }
    }
}

/// Bytes that the query holds, against its lease.
pub(crate) struct QueryMemory {
    /// Shared with the query's answer, which goes on holding some of it.
    lease: Arc<Lease>,
    bytes: AtomicU64,
    peak: AtomicU64,
}

impl QueryMemory {
    pub(crate) fn new(lease: Lease) -> QueryMemory {
        QueryMemory { lease: Arc::new(lease), bytes: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What only the query needed is given back: an answer of so many bytes is left.
    pub(crate) fn of_answer(&self, bytes: u64) -> Arc<Lease> {
        self.lease.shrink_to(bytes);
        self.lease.clone()
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
    pub(crate) budget: SampleBudget,
    pub(crate) memory: QueryMemory,
    pub(crate) pool: Option<Arc<rayon::ThreadPool>>,
    pub(crate) annotations: Mutex<Annotations>,
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
    /// process nears its ceiling of memory, queries that hold much of it end.
    pub(crate) fn check_canceled(&self) -> Result<()> {
        if let Some(reason) = self.cancel.reason() {
            return Err(QueryError::stopped(reason));
        }
        self.memory.lease.check(Pressure::RefuseSeries).map_err(QueryError::Memory)
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

    pub(crate) fn annotate(&self, annotations: Annotations) {
        if !annotations.is_empty() {
            self.annotations.lock().merge(annotations);
        }
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
        }
    }
}
