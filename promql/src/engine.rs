//! The engine: from a query's text and a store to its value.
//!
//! ```text
//! text ─parse─▶ Expr ─lower─▶ Plan ─build─▶ operators ─collect─▶ Value
//!                                             │
//!                    labels first (rows), then values in blocks:
//!                    selector ─▶ range ─▶ map ─▶ join ─▶ aggregate
//! ```
//!
//! It is synchronous and runs in the caller's thread, with helpers for the
//! work that divides. It never touches a file, a socket or a clock of its own.

mod account;
mod aggregate;
mod batch;
mod binop;
mod buckets;
mod build;
mod chain;
mod collect;
pub(crate) mod context;
mod count_values;
mod depth;
pub(crate) mod error;
mod info;
mod join;
mod labels;
mod map;
mod node;
mod parts;
mod plain_rate;
mod presence;
mod range;
mod rank;
mod repeat;
mod rows;
mod scalar;
mod selector;
mod setops;
mod spans;
mod unions;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::memory::{Accountant, Lease, Pressure};
use model::query::CancelToken;
use model::{Clock, Dictionary, Queryable, TimeRange};

use self::buckets::NativesWithBounds;
use self::context::{EvalContext, QueryContext, QueryMemory, Reservation, Steps};
use self::depth::{Depth, LEVELS_SHALLOW};
use self::rows::Names;
use crate::ast::{Expr, ValueType};
use crate::parser::Features;
use crate::plan::{self, QueryTimes};
use crate::stats::{ExplainNode, QueryStats, SampleCounters, SampleTotals, Timings};
use crate::value::Value;
use crate::visit::selectors;

pub use self::error::QueryError;

/// Settings of an engine.
#[derive(Clone)]
pub struct EngineOptions {
    /// Which parts of the language are switched on.
    pub features: Features,
    /// Most samples that a query may hold, as upstream counts them.
    pub max_samples: usize,
    /// How long a query may take in ms; needs [`Query::clock`].
    pub timeout_ms: i64,
    /// How far back an instant selector looks, in ms.
    pub lookback_delta_ms: i64,
    /// Step of subqueries that name none, in ms.
    pub default_subquery_interval_ms: i64,
    /// Whether metric names are dropped when the query ends, not on the way.
    pub delayed_name_removal: bool,
    /// Whether rates look at start timestamps.
    pub use_start_timestamps: bool,
    /// Whether `__type__` tells counters from others.
    pub type_and_unit_labels: bool,
    /// Whether queries may ask for counts by step.
    pub per_step_stats: bool,
    /// Whether what stands in a query more than once is evaluated once: nothing
    /// is seen of it but time.
    pub share_parts: bool,
    /// Whether operators in turn are always evaluated as the long chains are that
    /// no stack would hold, step by step: nothing is seen of it but time.
    pub chains_as_lists: bool,
    /// Threads that a query may use.
    pub threads: usize,
    /// The process' account of memory.
    pub memory: Accountant,
    /// Bytes that one query may hold.
    pub query_memory_budget: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            features: Features::default(),
            max_samples: 50_000_000,
            timeout_ms: 120_000,
            lookback_delta_ms: 300_000,
            default_subquery_interval_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            per_step_stats: false,
            share_parts: true,
            chains_as_lists: false,
            threads: 1,
            memory: Accountant::unlimited(),
            query_memory_budget: u64::MAX,
        }
    }
}

/// One query.
#[derive(Clone)]
pub struct Query {
    /// Its text.
    pub text: String,
    /// The only time of an instant query, the first of a range query, in ms.
    pub start_ms: i64,
    /// The last time in ms; as `start_ms` for instant queries.
    pub end_ms: i64,
    /// Milliseconds between times; 0 for instant queries.
    pub step_ms: i64,
    /// Overrides the engine's lookback.
    pub lookback_delta_ms: Option<i64>,
    /// Overrides the engine's timeout, where shorter.
    pub timeout_ms: Option<i64>,
    /// Whether counts by step are wanted.
    pub per_step_stats: bool,
    /// Stops the query from outside.
    pub cancel: CancelToken,
    /// Measures time: without it there are no timings and no timeout.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Query {
    /// A query at one time.
    pub fn instant(text: impl Into<String>, at_ms: i64) -> Query {
        Query::range(text, at_ms, at_ms, 0)
    }

    /// A query at many times.
    pub fn range(text: impl Into<String>, start_ms: i64, end_ms: i64, step_ms: i64) -> Query {
        Query {
            text: text.into(),
            start_ms,
            end_ms,
            step_ms,
            lookback_delta_ms: None,
            timeout_ms: None,
            per_step_stats: false,
            cancel: CancelToken::new(),
            clock: None,
        }
    }
}

/// What a query answered.
#[derive(Clone)]
pub struct Output {
    /// The value.
    pub value: Value,
    /// Warnings as the API prints them, those of the store included.
    pub warnings: Vec<String>,
    /// Infos as the API prints them.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
    /// What it cost, by operator.
    pub explain: ExplainNode,
    /// The value's part of the account of memory, until it is sent and dropped.
    pub memory: Arc<Lease>,
}

/// A query that failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why.
    #[source]
    pub error: QueryError,
    /// What it had cost by then; `None` where it was no query at all.
    pub stats: Option<Box<QueryStats>>,
}

impl Failure {
    /// Of a query that was not evaluated yet.
    fn early(error: QueryError) -> Failure {
        let was_run = !matches!(error, QueryError::Parse(_));
        Failure { error, stats: was_run.then(Box::default) }
    }
}

impl From<Failure> for QueryError {
    fn from(failure: Failure) -> QueryError {
        failure.error
    }
}

/// Evaluates queries.
pub struct Engine {
    options: EngineOptions,
    default_subquery_interval_ms: AtomicI64,
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Engine {
    /// An engine with `options.threads` threads of its own, if more than one.
    pub fn new(options: EngineOptions) -> Engine {
        let pool = (options.threads > 1)
            .then(|| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(options.threads)
                    .thread_name(|i| format!("query-{i}"))
                    .build()
                    .ok()
                    .map(Arc::new)
            })
            .flatten();
        let default_subquery_interval_ms = AtomicI64::new(options.default_subquery_interval_ms);
        Engine { options, default_subquery_interval_ms, pool }
    }

    /// Its settings.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Sets the step of subqueries that name none: the global evaluation interval.
    pub fn set_default_subquery_interval_ms(&self, interval_ms: i64) {
        self.default_subquery_interval_ms.store(interval_ms, Ordering::Relaxed);
    }

    /// Evaluates a query at `query.start_ms`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(&self, store: &dyn Queryable, query: &Query) -> Result<Output, QueryError> {
        let expr = self.parse(query)?;
        Ok(self.run(store, query, &expr, true)?)
    }

    /// Evaluates a query at all its times.
    ///
    /// # Errors
    /// See [`QueryError`]; the expression's type must be scalar or instant vector.
    pub fn range(&self, store: &dyn Queryable, query: &Query) -> Result<Output, QueryError> {
        let expr = self.parse_for_range(query)?;
        Ok(self.run(store, query, &expr, false)?)
    }

    /// Evaluates an instant query, or with a step one of a range; a failure tells
    /// what the query had cost.
    ///
    /// # Errors
    /// As of [`Engine::instant`] and [`Engine::range`].
    pub fn evaluate(&self, store: &dyn Queryable, query: &Query) -> Result<Output, Failure> {
        let instant = query.step_ms <= 0;
        let expr = if instant { self.parse(query) } else { self.parse_for_range(query) };
        self.run(store, query, &expr.map_err(Failure::early)?, instant)
    }

    fn parse_for_range(&self, query: &Query) -> Result<Expr, QueryError> {
        let expr = self.parse(query)?;
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(QueryError::Parse(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        Ok(expr)
    }

    fn parse(&self, query: &Query) -> Result<Expr, QueryError> {
        crate::parser::parse(&query.text, self.options.features)
            .map_err(|errors| QueryError::Parse(errors.to_string()))
    }

    /// Runs a query on this thread's stack, or on a larger one if it needs that.
    fn run(
        &self,
        store: &dyn Queryable,
        query: &Query,
        expr: &Expr,
        instant: bool,
    ) -> Result<Output, Failure> {
        let depth = Depth::of(expr, self.options.chains_as_lists);
        if depth.levels <= LEVELS_SHALLOW {
            return self.run_here(store, query, (expr, depth), instant, self.pool.clone());
        }
        std::thread::scope(|scope| {
            let run = || self.run_here(store, query, (expr, depth), instant, None);
            let thread = std::thread::Builder::new()
                .name("query-deep".to_owned())
                .stack_size(STACK_BYTES_PER_LEVEL * depth.levels)
                .spawn_scoped(scope, run);
            match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => {
                    Err(Failure::early(QueryError::execution(format!("no thread for a deep query: {error}"))))
                }
            }
        })
    }

    /// Evaluates a query; once more if it met what hardly any does, for which all
    /// others are not to pay.
    fn run_here(
        &self,
        store: &dyn Queryable,
        query: &Query,
        expr: (&Expr, Depth),
        instant: bool,
        pool: Option<Arc<rayon::ThreadPool>>,
    ) -> Result<Output, Failure> {
        let watch = Watch::start(query.clock.clone());
        let natives = Arc::new(NativesWithBounds::default());
        let result = self.attempt(store, query, expr, instant, &watch, pool.clone(), natives.clone());
        if !natives.met.load(Ordering::Relaxed) {
            return result;
        }
        drop(result);
        let natives = NativesWithBounds { expected: true, ..NativesWithBounds::default() };
        self.attempt(store, query, expr, instant, &watch, pool, Arc::new(natives))
    }

    #[expect(clippy::too_many_arguments, reason = "the query, and what two attempts share")]
    fn attempt(
        &self,
        store: &dyn Queryable,
        query: &Query,
        (expr, depth): (&Expr, Depth),
        instant: bool,
        watch: &Watch,
        pool: Option<Arc<rayon::ThreadPool>>,
        natives_with_bounds: Arc<NativesWithBounds>,
    ) -> Result<Output, Failure> {
        let step_ms = if instant { 0 } else { query.step_ms.max(1) };
        let end_ms = if instant { query.start_ms } else { query.end_ms };
        let times = QueryTimes { start_ms: query.start_ms, end_ms, step_ms };
        let mut plan = plan::lower(expr, &times, depth.chained).map_err(Failure::early)?;
        if self.options.share_parts {
            plan::share(&mut plan);
        }
        // At least one of them: upstream's default is never zero.
        let lookback_ms =
            query.lookback_delta_ms.filter(|&ms| ms > 0).unwrap_or(self.options.lookback_delta_ms);
        let reach = plan.reach(query.start_ms, end_ms, lookback_ms);
        let range = reach.map_or(TimeRange::new(0, 0), |r| TimeRange::new(r.start_ms, r.end_ms));
        let dictionary = Arc::new(Dictionary::new());
        let lease = self.options.memory.lease(
            error::MEMORY_OWNER,
            self.options.query_memory_budget,
            Pressure::RefuseQueries,
        );
        let timeout_ms = query.timeout_ms.unwrap_or(i64::MAX).min(self.options.timeout_ms);
        let context = Arc::new(QueryContext {
            names: Names::new(&dictionary),
            dictionary,
            querier: store.querier(range).map_err(|error| Failure::early(QueryError::reading(error)))?,
            lookback_ms,
            delayed_name_removal: self.options.delayed_name_removal,
            use_start_timestamps: self.options.use_start_timestamps,
            type_and_unit_labels: self.options.type_and_unit_labels,
            default_subquery_interval_ms: self.default_subquery_interval_ms.load(Ordering::Relaxed),
            cancel: query.cancel.clone(),
            deadline_ns: watch.start.as_ref().map_or(0, |(_, start)| {
                let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
                context::nanoseconds(start.saturating_add(timeout))
            }),
            clock: query.clock.clone(),
            max_samples: self.options.max_samples as u64,
            memory: QueryMemory::new(lease),
            depth,
            pool,
            natives_with_bounds,
            storage_warnings: Default::default(),
            aside: Default::default(),
        });
        let _patterns = Reservation::new(&context, pattern_bytes(expr))
            .map_err(|error| Failure::early(error.in_operator("regular expressions")))?;
        let steps = Steps::new(query.start_ms, end_ms, step_ms);
        let per_step = query.per_step_stats && self.options.per_step_stats;
        let eval = EvalContext {
            query: context.clone(),
            steps,
            instant: query.start_ms == end_ms,
            counters: Arc::new(SampleCounters::new(steps.count, per_step)),
            selected_until_ms: None,
            remarks: Arc::default(),
            parts: Arc::default(),
        };
        let prepared = watch.elapsed();
        let evaluated = evaluate(&eval, &plan, instant, watch);
        let sort = evaluated.as_ref().map_or(0.0, |(collected, _)| collected.sort);
        let eval_total = watch.elapsed();
        let timings = Timings {
            eval_total,
            result_sort: sort,
            query_preparation: prepared,
            inner_eval: eval_total - prepared - sort,
            exec_queue: 0.0,
            exec_total: eval_total,
        };
        let stats = QueryStats {
            peak_samples: evaluated.as_ref().map_or(0, |(_, peak_samples)| *peak_samples),
            peak_memory_bytes: context.memory.peak(),
            timings,
            ..stats(&eval.counters.totals(), steps, per_step)
        };
        let collect::Collected { value, explain, memory, .. } = match evaluated {
            Ok((collected, _)) => collected,
            Err(error) => return Err(Failure { error, stats: Some(Box::new(stats)) }),
        };
        let (mut warnings, infos) = eval.remarks.taken().print(&query.text);
        warnings.append(&mut context.storage_warnings.lock());
        let memory = context.memory.of_answer(memory.map_or(0, |held| held.bytes()));
        Ok(Output { value, warnings, infos, stats, explain, memory })
    }
}

/// Evaluates a plan within what the query may take; the number is the most samples
/// that upstream would have held.
fn evaluate(
    eval: &EvalContext,
    plan: &plan::Plan,
    instant: bool,
    watch: &Watch,
) -> Result<(collect::Collected, u64), QueryError> {
    let _room = eval.check_steps().map_err(|error| error.in_operator("steps"))?;
    let collected =
        collect::value(eval, plan, instant, watch).map_err(|error| error.in_operator("the result"))?;
    let held = collected.account.as_ref().map(|account| account.settle()).unwrap_or_default();
    eval.query.check_samples(held.checked)?;
    eval.query.check()?;
    Ok((collected, held.peak))
}

/// Stack that a level takes at most, in bytes, unoptimised builds included.
const STACK_BYTES_PER_LEVEL: usize = 64 * 1024;

/// What the compiled regular expressions of selectors take.
fn pattern_bytes(expr: &Expr) -> u64 {
    let selectors = selectors(expr).into_iter();
    let patterns =
        selectors.flat_map(|selector| &selector.matchers).filter(|matcher| matcher.op().is_regex());
    patterns.map(|matcher| (matcher.heap_bytes() + matcher.search_bytes()) as u64).sum()
}

/// The counts of samples.
fn stats(totals: &SampleTotals, steps: Steps, per_step: bool) -> QueryStats {
    let by_step = |counts: &[u64]| {
        per_step.then(|| counts.iter().enumerate().map(|(i, &n)| (steps.at(i), n)).collect())
    };
    QueryStats {
        total_queryable_samples: totals.total,
        samples_read: totals.read,
        total_queryable_samples_per_step: by_step(&totals.total_by_step),
        samples_read_per_step: by_step(&totals.read_by_step),
        ..QueryStats::default()
    }
}

/// Measures seconds, where there is a clock.
pub(crate) struct Watch {
    start: Option<(Arc<dyn Clock>, Duration)>,
}

impl Watch {
    fn start(clock: Option<Arc<dyn Clock>>) -> Watch {
        Watch { start: clock.map(|clock| (clock.clone(), clock.monotonic())) }
    }

    pub(crate) fn elapsed(&self) -> f64 {
        self.start
            .as_ref()
            .map_or(0.0, |(clock, start)| clock.monotonic().saturating_sub(*start).as_secs_f64())
    }
}
