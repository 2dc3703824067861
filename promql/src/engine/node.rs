//! The interface of operators, and the loop that drives them.
//!
//! An operator is built with its labels known and yields values by row, in
//! blocks, from any thread: so a chain of selector, function and comparison
//! holds one block a thread, however many series there are. What needs all of
//! its input (aggregations, joins with repeats, sorts) folds it when it is
//! built, in row order, and yields from what it kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Columns;
use model::query::LatestColumns;

use super::account::{Account, RowSet, Runs, Spare};
use super::batch::Batch;
use super::context::{EvalContext, QueryContext, Remarked, Reservation};
use super::error::{QueryError, Result};
use super::rows::Rows;
use super::spans::Spans;
use crate::annotations::Annotations;
use crate::ast::PositionRange;
use crate::functions::window::SeriesData;
use crate::stats::{ExplainNode, OperatorCounters, StepTally};

/// Cells that a block should have: its floats fill half of a core's cache.
const BLOCK_CELLS: usize = 16 * 1024;
/// Most series in a block.
const BLOCK_ROWS: usize = 1024;

/// Bytes of a block's cells: a number each, and whether it is there.
pub(crate) fn cell_bytes(cells: usize) -> u64 {
    (cells as u64).saturating_mul(8) + cells as u64 / 8
}

/// Yields the values of rows.
pub(crate) trait Node: Send + Sync {
    /// Fills `out`, which is shaped and empty, with the values of `rows` at all steps.
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()>;

    /// What the operator is, and its inputs.
    fn explain(&self) -> ExplainNode;
}

/// Buffers of one thread, kept from block to block.
#[derive(Default)]
pub(crate) struct Worker {
    batches: Vec<Batch>,
    pub(crate) columns: Columns,
    pub(crate) latest: LatestColumns,
    pub(crate) series: SeriesData,
    pub(crate) tally: StepTally,
    /// Where the windows of a row lie.
    pub(crate) spans: Spans,
    pub(crate) annotations: Annotations,
    /// What rows with windows held.
    pub(crate) runs: Runs,
    /// What the last row with windows held: most at a time, and at its last step.
    pub(crate) window: (u64, u64),
    spare: Spare,
    /// Time taken by operators below the one that is evaluated.
    nested_ns: u64,
}

impl Worker {
    /// Notes time that another operator's counters have.
    pub(crate) fn counted_elsewhere(&mut self, nanoseconds: u64) {
        self.nested_ns += nanoseconds;
    }

    /// The list of runs, empty; an operator below may take another meanwhile.
    pub(crate) fn take_runs(&mut self) -> Runs {
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        runs
    }

    /// Borrows a block of the given shape; give it back with [`Worker::put_batch`].
    pub(crate) fn take_batch(&mut self, rows: usize, steps: usize) -> Batch {
        let mut batch = self.batches.pop().unwrap_or_default();
        batch.reset(rows, steps);
        batch
    }

    pub(crate) fn put_batch(&mut self, batch: Batch) {
        self.batches.push(batch);
    }
}

/// An operator with the labels of what it yields.
pub(crate) struct Vectors {
    pub(crate) rows: Rows,
    node: Box<dyn Node>,
    query: Arc<QueryContext>,
    steps: usize,
    account: Arc<Account>,
    /// Rows that the account has; `None` for what upstream has no operator for.
    counted: Option<RowSet>,
    remarks: Arc<Remarked>,
    counters: Arc<OperatorCounters>,
    /// Time that consumers took while this was drained.
    consumer_ns: AtomicU64,
    position: Option<PositionRange>,
    /// What tells it from others, where the node does not say.
    detail: String,
    /// What was evaluated whole to build this.
    aside: Vec<ExplainNode>,
    _memory: Reservation,
}

impl Vectors {
    /// An operator of upstream's, with the account of its samples.
    pub(crate) fn new(
        ctx: &EvalContext,
        rows: Rows,
        node: impl Node + 'static,
        account: Arc<Account>,
    ) -> Result<Vectors> {
        let counted = Some(RowSet::new(rows.len()));
        Ok(Vectors { counted, ..Vectors::passing(ctx, rows, node, account)? })
    }

    /// What hands on samples that an account has already.
    pub(crate) fn passing(
        ctx: &EvalContext,
        rows: Rows,
        node: impl Node + 'static,
        account: Arc<Account>,
    ) -> Result<Vectors> {
        let memory = Reservation::new(&ctx.query, rows.heap_bytes())?;
        Ok(Vectors {
            rows,
            node: Box::new(node),
            query: ctx.query.clone(),
            steps: ctx.steps.count,
            account,
            counted: None,
            remarks: ctx.remarks.clone(),
            counters: Arc::default(),
            consumer_ns: AtomicU64::new(0),
            position: None,
            detail: String::new(),
            aside: Vec::new(),
            _memory: memory,
        })
    }

    /// Says where it stands in the query's text, unless that is known, and what
    /// else was evaluated for it.
    pub(crate) fn at(mut self, position: PositionRange, aside: Vec<ExplainNode>) -> Vectors {
        self.position.get_or_insert(position);
        self.aside.extend(aside);
        self
    }

    /// Says what tells it from others of its kind.
    pub(crate) fn detailed(mut self, detail: String) -> Vectors {
        self.detail = detail;
        self
    }

    /// Has its samples counted by another account, which has them already.
    pub(crate) fn counted_by(mut self, account: Arc<Account>) -> Vectors {
        (self.account, self.counted) = (account, None);
        self
    }

    pub(crate) fn account(&self) -> Arc<Account> {
        self.account.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Shares the counters with the node inside.
    pub(crate) fn with_counters(mut self, counters: Arc<OperatorCounters>) -> Vectors {
        self.counters = counters;
        self
    }

    /// The values of `rows` at all steps.
    pub(crate) fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let start = self.query.check_time()?;
        // More than blocks are: a whole side of a join, the samples of a quantile.
        let cells = rows.len().saturating_mul(self.steps);
        let _room = match cells > 2 * BLOCK_CELLS {
            true => Some(Reservation::new(&self.query, cell_bytes(cells))?),
            false => None,
        };
        out.reset(rows.len(), self.steps);
        let around = std::mem::take(&mut worker.nested_ns);
        let result = self.node.eval(rows, worker, out);
        let took = self.query.now_ns().saturating_sub(start);
        let own = took.saturating_sub(worker.nested_ns);
        self.counters.nanoseconds.fetch_add(own, Ordering::Relaxed);
        worker.nested_ns = around + took;
        result?;
        let samples = out.sample_count();
        self.counters.points.fetch_add(samples, Ordering::Relaxed);
        match &self.counted {
            Some(counted) => self.account.add(out, &counted.claim(rows), samples, &mut worker.spare),
            None => Ok(()),
        }
    }

    /// Evaluates rows (all of them for `None`), several blocks at a time where
    /// there are threads, and hands each block to `each` in row order.
    pub(crate) fn for_each(
        &self,
        rows: Option<&[u32]>,
        mut each: impl FnMut(&[u32], &Batch) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<u32>;
        let rows = match rows {
            Some(rows) => rows,
            None => {
                all = (0..self.len() as u32).collect();
                &all
            }
        };
        if rows.is_empty() || self.steps == 0 {
            return Ok(());
        }
        let rows_per_block = (BLOCK_CELLS / self.steps).clamp(1, BLOCK_ROWS);
        // A thread of the pool does not wait for others of it.
        let pool = self.query.pool.as_ref().filter(|pool| {
            pool.current_num_threads() > 1
                && pool.current_thread_index().is_none()
                && rows.len() > rows_per_block.min(32)
        });
        let Some(pool) = pool else {
            let mut worker = Worker::default();
            let mut batch = Batch::default();
            let mut run = || {
                for block in rows.chunks(rows_per_block) {
                    self.eval(block, &mut worker, &mut batch)?;
                    self.hand_over(|| each(block, &batch))?;
                }
                Ok(())
            };
            let result = run();
            self.remarks.annotate(worker.annotations);
            return result;
        };
        self.for_each_parallel(rows, rows_per_block, pool, each)
    }

    /// Measures what the consumer does with a block.
    fn hand_over(&self, each: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = self.query.now_ns();
        let result = each();
        let took = self.query.now_ns().saturating_sub(start);
        self.consumer_ns.fetch_add(took, Ordering::Relaxed);
        result
    }

    /// [`Vectors::for_each`] with threads: they evaluate the next blocks while this one
    /// hands over those that are done.
    ///
    /// ```text
    /// threads    1  2 │ 4  3 │ 5  …          a slot (buffers) each, two a thread
    ///                 ▼ channel, as they end
    /// this one      1, 2 │ 4 waits │ 3, 4 …  in row order; a slot is free then
    /// ```
    fn for_each_parallel(
        &self,
        rows: &[u32],
        rows_per_block: usize,
        pool: &rayon::ThreadPool,
        mut each: impl FnMut(&[u32], &Batch) -> Result<()>,
    ) -> Result<()> {
        let n_slots = pool.current_num_threads() * 2;
        // Small inputs are cut so that every thread gets some.
        let rows_per_block = rows_per_block.min(rows.len().div_ceil(n_slots)).max(1);
        let (done, evaluated) = std::sync::mpsc::channel();
        pool.in_place_scope(|scope| {
            let start = |(nth, block), mut slot: Box<Slot>| {
                let returning = Returning { done: done.clone(), nth, ended: None };
                scope.spawn(move |_| {
                    let result = self.eval(block, &mut slot.worker, &mut slot.batch);
                    returning.end(slot, result);
                });
            };
            let mut to_start = rows.chunks(rows_per_block).enumerate();
            to_start.by_ref().take(n_slots).for_each(|block| start(block, Box::default()));
            let mut waiting = Vec::with_capacity(n_slots);
            for (nth, block) in rows.chunks(rows_per_block).enumerate() {
                let (mut slot, result) = loop {
                    if let Some(at) = waiting.iter().position(|(of, _)| *of == nth) {
                        break waiting.swap_remove(at).1;
                    }
                    match evaluated.recv() {
                        Ok((of, Some(ended))) => waiting.push((of, ended)),
                        // It panicked: so does the scope, once the others have ended.
                        Ok((_, None)) | Err(_) => return Ok(()),
                    }
                };
                self.remarks.annotate(std::mem::take(&mut slot.worker.annotations));
                result?;
                self.hand_over(|| each(block, &slot.batch))?;
                if let Some(next) = to_start.next() {
                    start(next, slot);
                }
            }
            Ok(())
        })
    }

    /// Evaluates rows that nobody needs, for the errors and remarks that are in
    /// them, and for the count of samples: upstream evaluates every operand whole.
    pub(crate) fn drain(&self, mut is_needed: impl FnMut(u32) -> bool) -> Result<()> {
        let rows: Vec<u32> = (0..self.len() as u32).filter(|&row| !is_needed(row)).collect();
        self.for_each(Some(&rows), |_, _| Ok(()))
    }

    /// What comes behind this operand. Upstream evaluates this one first: where
    /// the other cannot be answered, nor can perhaps this, and then says so.
    pub(crate) fn before<T>(&self, other: Result<T>) -> Result<T> {
        if matches!(other, Err(QueryError::Execution(_))) {
            self.for_each(None, |_, _| Ok(()))?;
        }
        other
    }

    /// Evaluates everything into one block that is then held.
    pub(crate) fn collect(&self, memory: &mut Reservation) -> Result<Batch> {
        let mut all = Batch::default();
        memory.grow_to(cell_bytes(self.len().saturating_mul(self.steps)))?;
        all.reset(self.len(), self.steps);
        self.for_each(None, |rows, batch| {
            for (i, &row) in rows.iter().enumerate() {
                all.copy_row(row as usize, batch, i);
            }
            Ok(())
        })?;
        memory.grow_to(all.heap_bytes())?;
        Ok(all)
    }

    pub(crate) fn explain(&self) -> ExplainNode {
        let mut node = self.node.explain();
        self.counters.fill(&mut node);
        node.series = self.len() as u64;
        node.position = self.position;
        if node.detail.is_empty() {
            node.detail.clone_from(&self.detail);
        }
        node.consumer_nanoseconds = self.consumer_ns.load(Ordering::Relaxed);
        node.nanoseconds += self.aside.iter().map(|child| child.consumer_nanoseconds).sum::<u64>();
        node.children.extend(self.aside.iter().cloned());
        node
    }
}

/// Buffers of a block on its way.
#[derive(Default)]
struct Slot {
    worker: Worker,
    batch: Batch,
}

/// A block that was evaluated: its buffers, and how that went.
type Ended = (Box<Slot>, Result<()>);

/// Sends a block when it ends, or its loss where it panicked.
struct Returning {
    done: std::sync::mpsc::Sender<(usize, Option<Ended>)>,
    nth: usize,
    ended: Option<Ended>,
}

impl Returning {
    fn end(mut self, slot: Box<Slot>, result: Result<()>) {
        self.ended = Some((slot, result));
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // Nobody waits for it once an earlier block has failed.
        _ = self.done.send((self.nth, self.ended.take()));
    }
}

/// Yields from a block that is held.
pub(crate) struct Held {
    pub(crate) batch: Batch,
    pub(crate) explain: ExplainNode,
    pub(crate) memory: Reservation,
}

impl Node for Held {
    fn eval(&self, rows: &[u32], _: &mut Worker, out: &mut Batch) -> Result<()> {
        for (i, &row) in rows.iter().enumerate() {
            out.copy_row(i, &self.batch, row as usize);
        }
        Ok(())
    }

    fn explain(&self) -> ExplainNode {
        let _ = &self.memory;
        self.explain.clone()
    }
}

/// Says what an operator is, before its counters are known; what it did with its
/// inputs while they were drained is its own time.
pub(crate) fn explain(operator: &str, detail: impl Into<String>, children: Vec<ExplainNode>) -> ExplainNode {
    let nanoseconds = children.iter().map(|child| child.consumer_nanoseconds).sum();
    ExplainNode {
        operator: operator.to_owned(),
        detail: detail.into(),
        nanoseconds,
        children,
        ..ExplainNode::default()
    }
}
