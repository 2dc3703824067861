//! What a query cost: samples as upstream counts them, times, and a tree of
//! counters, one node an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;

use crate::ast::PositionRange;
use crate::engine::context::Steps;

/// Figures of one query, as `stats` in the API shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryStats {
    /// Samples that the query looked at; windows count whole at each step.
    pub total_queryable_samples: u64,
    /// Samples that were read; windows count what is new at each step.
    pub samples_read: u64,
    /// Most samples held at a time, as upstream's evaluation would hold them.
    pub peak_samples: u64,
    /// `total_queryable_samples` by step as (ms, count), where asked for.
    pub total_queryable_samples_per_step: Option<Vec<(i64, u64)>>,
    /// `samples_read` by step as (ms, count), where asked for.
    pub samples_read_per_step: Option<Vec<(i64, u64)>>,
    /// Most bytes of memory that operators held at a time.
    pub peak_memory_bytes: u64,
    /// Seconds by phase; all zero where the query was given no clock.
    pub timings: Timings,
}

/// Seconds spent, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From the first to the last phase.
    pub eval_total: f64,
    /// Sorting the result.
    pub result_sort: f64,
    /// Selecting series.
    pub query_preparation: f64,
    /// Evaluating.
    pub inner_eval: f64,
    /// Waiting for a place; filled by who queues queries.
    pub exec_queue: f64,
    /// All of it, waiting included.
    pub exec_total: f64,
}

impl Timings {
    /// The same in whole nanoseconds, as clocks count: a difference of two times
    /// prints as short as they do.
    pub fn rounded(self) -> Timings {
        let rounded = |seconds: f64| (seconds * 1e9).round() / 1e9;
        Timings {
            eval_total: rounded(self.eval_total),
            result_sort: rounded(self.result_sort),
            query_preparation: rounded(self.query_preparation),
            inner_eval: rounded(self.inner_eval),
            exec_queue: rounded(self.exec_queue),
            exec_total: rounded(self.exec_total),
        }
    }
}

/// One operator of a query: what it is and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplainNode {
    /// The operator, such as `rate` or `select`.
    pub operator: String,
    /// What tells it from others of its kind: matchers, grouping, window.
    pub detail: String,
    /// Where it stands in the query's text.
    pub position: Option<PositionRange>,
    /// Series it yields.
    pub series: u64,
    /// Points it has yielded.
    pub points: u64,
    /// Samples it has decoded; 0 but for selectors.
    pub samples: u64,
    /// Chunks it has opened; 0 but for selectors.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub bytes: u64,
    /// Time that it took itself, on all threads together; its children's is not
    /// in it. 0 where the query was given no clock.
    pub nanoseconds: u64,
    /// What it is fed by.
    pub children: Vec<ExplainNode>,
    /// Time that whoever is fed by it took while it was drained: that one's own.
    pub(crate) consumer_nanoseconds: u64,
}

impl ExplainNode {
    /// Its time and that of all below.
    pub fn total_nanoseconds(&self) -> u64 {
        let mut total = 0;
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            total += node.nanoseconds;
            open.extend(&node.children);
        }
        total
    }

    /// The tree as JSON, its names as in the API:
    ///
    /// ```text
    /// {"operator":"sum","detail":"by (job)","position":{"start":0,"end":33},
    ///  "series":2,"points":20,"samples":0,"chunks":0,"bytes":0,
    ///  "nanoseconds":1200,"totalNanoseconds":91000,"children":[…]}
    /// ```
    ///
    /// `nanoseconds` is the operator's own time on all threads together, and
    /// `totalNanoseconds` that of all below it, too. Children stand in the order
    /// in which they are written; parameters come behind operands. What lies
    /// deeper than 60 levels is left out: the last node shown has `"cut":true`.
    pub fn to_json(&self) -> serde_json::Value {
        self.json(JSON_LEVELS_MAX).0
    }

    fn json(&self, levels: usize) -> (serde_json::Value, u64) {
        let cut = levels == 0 && !self.children.is_empty();
        let (children, total) = if cut {
            (Vec::new(), self.total_nanoseconds())
        } else {
            let made: Vec<_> = self.children.iter().map(|child| child.json(levels - 1)).collect();
            let total = made.iter().map(|(_, total)| total).sum::<u64>() + self.nanoseconds;
            (made.into_iter().map(|(child, _)| child).collect(), total)
        };
        let mut node = json!({
            "operator": self.operator,
            "detail": self.detail,
            "series": self.series,
            "points": self.points,
            "samples": self.samples,
            "chunks": self.chunks,
            "bytes": self.bytes,
            "nanoseconds": self.nanoseconds,
            "totalNanoseconds": total,
            "children": children,
        });
        if cut {
            node["cut"] = true.into();
        }
        if let Some(at) = self.position {
            node["position"] = json!({"start": at.start, "end": at.end});
        }
        (node, total)
    }
}

/// Levels of the tree in JSON. Each is an object in a list, and usual readers
/// stop at 128 of both.
const JSON_LEVELS_MAX: usize = 60;

/// Live counters of an operator.
#[derive(Debug, Default)]
pub(crate) struct OperatorCounters {
    pub(crate) points: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) chunks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
}

impl OperatorCounters {
    /// Writes the figures into a node; times add up.
    pub(crate) fn fill(&self, node: &mut ExplainNode) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        node.points = load(&self.points);
        node.samples = load(&self.samples);
        node.chunks = load(&self.chunks);
        node.bytes = load(&self.bytes);
        node.nanoseconds += load(&self.nanoseconds);
    }
}

/// How a part of a query that is evaluated at steps of its own counts in the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Relation {
    /// Evaluated at the same steps, for one of the places where it stands.
    Part,
    /// Evaluated once, standing at every step.
    Invariant,
    /// Evaluated at its own steps. Where a function slides over the result, that
    /// function counts the windows, and what lies between windows of `range_ms`
    /// counts as not read; a subquery that stands alone counts itself.
    Subquery { steps: Steps, parent: Steps, offset_ms: i64, range_ms: i64, alone: bool },
}

/// Sample counts of one evaluation: the query's, or a subquery's.
#[derive(Debug)]
pub(crate) struct SampleCounters {
    total: AtomicU64,
    read: AtomicU64,
    steps: usize,
    per_step: Option<Mutex<SampleTotals>>,
    children: Mutex<Vec<(Arc<SampleCounters>, Relation)>>,
}

/// Evaluations at more steps count as a whole only.
const PER_STEP_MAX: usize = 1 << 20;

/// Counts with those of all parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SampleTotals {
    pub(crate) total: u64,
    pub(crate) read: u64,
    /// By step; empty where not asked for.
    pub(crate) total_by_step: Vec<u64>,
    pub(crate) read_by_step: Vec<u64>,
}

impl SampleCounters {
    pub(crate) fn new(steps: usize, per_step: bool) -> SampleCounters {
        let by_step = || SampleTotals {
            total_by_step: vec![0; steps],
            read_by_step: vec![0; steps],
            ..SampleTotals::default()
        };
        SampleCounters {
            total: AtomicU64::new(0),
            read: AtomicU64::new(0),
            steps,
            per_step: (per_step && steps <= PER_STEP_MAX).then(|| Mutex::new(by_step())),
            children: Mutex::default(),
        }
    }

    /// Adds a series' counts.
    pub(crate) fn add(&self, tally: &StepTally) {
        self.total.fetch_add(tally.total, Ordering::Relaxed);
        self.read.fetch_add(tally.read, Ordering::Relaxed);
        if let Some(per_step) = &self.per_step {
            let mut per_step = per_step.lock();
            for &(step, total, read) in &tally.by_step {
                per_step.total_by_step[step as usize] += total;
                per_step.read_by_step[step as usize] += read;
            }
        }
    }

    /// Counts a part's samples in this evaluation's.
    pub(crate) fn adopt(&self, child: Arc<SampleCounters>, relation: Relation) {
        self.children.lock().push((child, relation));
    }

    pub(crate) fn wants_steps(&self) -> bool {
        self.per_step.is_some()
    }

    /// All counts, parts included. Call when the evaluation is over.
    pub(crate) fn totals(&self) -> SampleTotals {
        let mut all = self.per_step.as_ref().map(|p| p.lock().clone()).unwrap_or_default();
        all.total += self.total.load(Ordering::Relaxed);
        all.read += self.read.load(Ordering::Relaxed);
        for (child, relation) in self.children.lock().iter() {
            let part = child.totals();
            match *relation {
                Relation::Part => {
                    all.total += part.total;
                    all.read += part.read;
                    let add = |to: &mut Vec<u64>, from: &[u64]| {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    };
                    add(&mut all.total_by_step, &part.total_by_step);
                    add(&mut all.read_by_step, &part.read_by_step);
                }
                Relation::Invariant => {
                    all.total += part.total * self.steps as u64;
                    all.read += part.read;
                    for step in &mut all.total_by_step {
                        *step += part.total;
                    }
                    if let Some(first) = all.read_by_step.first_mut() {
                        *first += part.read;
                    }
                }
                Relation::Subquery { steps, parent, offset_ms, range_ms, alone } => {
                    let gaps = !alone && parent.count > 1 && !part.read_by_step.is_empty();
                    if !gaps {
                        all.read += part.read;
                    }
                    if alone {
                        all.total += part.total;
                        if let Some(last) = all.total_by_step.last_mut() {
                            *last += part.total;
                        }
                    }
                    for (i, &read) in part.read_by_step.iter().enumerate() {
                        let Some(step) = first_step_seeing(steps.at(i), parent, offset_ms) else { continue };
                        if gaps {
                            let seen_from = parent.at(step).saturating_sub(range_ms);
                            if steps.at(i).saturating_add(offset_ms) <= seen_from {
                                continue;
                            }
                            all.read += read;
                        }
                        if let Some(slot) = all.read_by_step.get_mut(step) {
                            *slot += read;
                        }
                    }
                }
            }
        }
        all
    }
}

/// The first of the parent's steps whose window has a subquery step in it; the
/// last one for steps that no window has.
fn first_step_seeing(at_ms: i64, parent: Steps, offset_ms: i64) -> Option<usize> {
    let last = parent.count.checked_sub(1)?;
    let behind = at_ms.saturating_add(offset_ms).saturating_sub(parent.start_ms);
    if behind <= 0 {
        return Some(0);
    }
    let interval = parent.interval_ms.max(1);
    let step = behind / interval + i64::from(behind % interval > 0);
    Some(usize::try_from(step).unwrap_or(last).min(last))
}

/// Samples that one series cost, gathered before they are added under the lock.
#[derive(Debug, Default)]
pub(crate) struct StepTally {
    steps_wanted: bool,
    total: u64,
    read: u64,
    by_step: Vec<(u32, u64, u64)>,
}

impl StepTally {
    pub(crate) fn start(&mut self, counters: &SampleCounters) {
        self.steps_wanted = counters.wants_steps();
        self.total = 0;
        self.read = 0;
        self.by_step.clear();
    }

    pub(crate) fn add(&mut self, step: usize, total: u64, read: u64) {
        self.add_all(total, read);
        self.note(step, total, read);
    }

    /// Adds to the totals what was [noted](StepTally::note) step by step.
    pub(crate) fn add_all(&mut self, total: u64, read: u64) {
        self.total += total;
        self.read += read;
    }

    /// Whether somebody asks for counts by step.
    pub(crate) fn wants_steps(&self) -> bool {
        self.steps_wanted
    }

    /// Keeps a step's counts, if somebody asks for them.
    #[inline]
    pub(crate) fn note(&mut self, step: usize, total: u64, read: u64) {
        if self.steps_wanted {
            self.by_step.push((step as u32, total, read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_times_print_as_short_as_times() {
        let timings = Timings { inner_eval: 0.000_032_821 - 0.000_026_56, ..Timings::default() };
        assert_ne!(timings.inner_eval.to_string(), "0.000006261");
        assert_eq!(timings.rounded().inner_eval.to_string(), "0.000006261");
    }
}
