//! Arithmetic and comparisons between two vectors.
//!
//! Series meet by signature: the labels of `on`, or all but those of
//! `ignoring`. Where a signature has one series on the "one" side, each pair
//! is computed block by block as it is asked for. Where it has more, which of
//! them are there differs from step to step: such groups are evaluated whole,
//! step by step, when the operator is built, and so are joins with `fill`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::SymbolId;

use super::account::Account;
use super::batch::{Batch, Point, histogram_bytes};
use super::binop::{self, Outcome};
use super::context::{EvalContext, QueryContext, Reservation};
use super::error::{QueryError, Result};
use super::labels::merged;
use super::node::{Node, Vectors, Worker, explain};
use super::rows::{HashMap, HashSet, LabelFilter, PAIRS_BYTES, Pair, Pairs, Rows, set_label, value_of};
use crate::annotations::{Annotation, Annotations, Place, StepOf};
use crate::ast::{Cardinality, VectorMatching};
use crate::functions::window::Answer;
use crate::plan::Operator;
use crate::stats::ExplainNode;

/// Which labels make a signature.
pub(crate) fn signature_filter(ctx: &EvalContext, matching: &VectorMatching) -> LabelFilter {
    let dictionary = &ctx.query.dictionary;
    if matching.on {
        LabelFilter::only(dictionary, &matching.labels)
    } else {
        LabelFilter::without(dictionary, &matching.labels)
    }
}

/// How pairs are computed and named.
struct Joining {
    e: Operator,
    pos: Place,
    /// Labels kept (`on`) or deleted (`ignoring`) of one-to-one results.
    listed: Vec<SymbolId>,
    include: Vec<SymbolId>,
    /// The "many" side stands on the right.
    swapped: bool,
    signature: LabelFilter,
}

/// The series of one signature.
#[derive(Default)]
struct Group {
    many: Vec<u32>,
    one: Vec<u32>,
}

/// An operator between two vectors that is no set operator.
pub(crate) fn vectors(
    ctx: &EvalContext,
    e: &Operator,
    (lhs, rhs): (Vectors, Vectors),
    pos: Place,
) -> Result<Vectors> {
    let dictionary = &ctx.query.dictionary;
    let account = Account::steps(ctx, vec![lhs.account(), rhs.account()]);
    let swapped = e.matching.card == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let joining = Joining {
        listed: e.matching.labels.iter().map(|name| dictionary.intern(name)).collect(),
        include: e.matching.include.iter().map(|name| dictionary.intern(name)).collect(),
        swapped,
        signature: signature_filter(ctx, &e.matching),
        pos,
        e: e.clone(),
    };
    let mut room = Reservation::new(&ctx.query, 0)?;
    let groups = joining.groups(&many.rows, &one.rows, &mut room)?;
    joining.build(ctx, (many, one), groups, room, account)
}

impl Joining {
    fn groups(&self, many: &Rows, one: &Rows, room: &mut Reservation) -> Result<Vec<Group>> {
        let mut ids: HashMap<Pairs, u32> = HashMap::default();
        let mut groups: Vec<Group> = Vec::new();
        // A list of few rows takes as much as an entry of the heap does at least.
        let bytes = |ids: &HashMap<Pairs, u32>, groups: &Vec<Group>, listed: usize| {
            let entries = ids.capacity() * (PAIRS_BYTES + 8) + groups.capacity() * size_of::<Group>();
            (entries + groups.len() * 16 + listed * 8) as u64
        };
        let mut listed = 0;
        for (rows, is_many) in [(many, true), (one, false)] {
            for i in 0..rows.len() {
                let next = groups.len() as u32;
                let id = *ids.entry(self.signature.apply(rows.row(i))).or_insert(next);
                if id == next {
                    groups.push(Group::default());
                }
                let group = &mut groups[id as usize];
                if is_many {
                    group.many.push(i as u32)
                } else {
                    group.one.push(i as u32)
                }
                room.follow(listed, || bytes(&ids, &groups, listed))?;
                listed += 1;
            }
        }
        Ok(groups)
    }

    /// Labels of a result. Source: Prometheus `promql/engine.go`, `resultMetric`.
    fn labels(&self, query: &QueryContext, many: &[Pair], one: &[Pair]) -> Pairs {
        let drop_name =
            binop::changes_meaning(self.e.op) || (self.e.return_bool && !query.delayed_name_removal);
        let one_to_one = self.e.matching.card == Cardinality::OneToOne;
        let mut row: Pairs = many
            .iter()
            .copied()
            .filter(|(name, _)| !(drop_name && query.names.is_metadata(*name)))
            .filter(|(name, _)| !one_to_one || self.listed.contains(name) == self.e.matching.on)
            .collect();
        for &name in &self.include {
            set_label(&mut row, &query.dictionary, name, value_of(one, name));
        }
        row
    }

    /// Applies the operator to a pair at a step. Of the remarks on a step's pairs
    /// the last one stands: `order` is the pair's place among them, which is that
    /// of its row on the "many" side.
    fn apply(
        &self,
        (many, one): (Point<'_>, Point<'_>),
        step: usize,
        order: u64,
        annotations: &mut Annotations,
    ) -> Option<(Answer, bool)> {
        let (l, r) = if self.swapped { (one, many) } else { (many, one) };
        let at = StepOf { rank: self.pos.rank, step: step as u32 };
        let mut note = |annotation: Annotation| annotations.add_last(at, order, annotation);
        match binop::elements(self.e.op, l, r, self.pos, &mut note) {
            Outcome::Dropped => None,
            Outcome::Value { keep, .. } if self.e.return_bool => {
                Some((Answer::Float(f64::from(u8::from(keep))), true))
            }
            Outcome::Value { value, keep } => Some((value, keep)),
        }
    }

    /// `room` is what the groups take.
    fn build(
        self,
        ctx: &EvalContext,
        (many, one): (Vectors, Vectors),
        groups: Vec<Group>,
        mut room: Reservation,
        account: Arc<Account>,
    ) -> Result<Vectors> {
        let groups_bytes = room.bytes();
        let fill = self.e.matching.fill_left.is_some() || self.e.matching.fill_right.is_some();
        let mut plain: Vec<(u32, u32)> = Vec::new();
        let mut rows = Rows::default();
        let mut whole: Vec<Group> = Vec::new();
        for group in groups {
            // Duplicates on the "one" side are an error also without a partner.
            if fill || group.one.len() > 1 {
                whole.push(group);
            } else if group.many.is_empty() {
                continue;
            } else if group.one.len() == 1 {
                let one_row = group.one[0];
                let names_bytes = (group.many.len() * (PAIRS_BYTES + 24)) as u64;
                room.grow_to(groups_bytes + rows.heap_bytes() + names_bytes)?;
                let names: Vec<Pairs> = group
                    .many
                    .iter()
                    .map(|&m| {
                        self.labels(&ctx.query, many.rows.row(m as usize), one.rows.row(one_row as usize))
                    })
                    .collect();
                let unique = names.len() == 1
                    || (self.e.matching.card != Cardinality::OneToOne
                        && names.iter().collect::<HashSet<_>>().len() == names.len());
                if !unique {
                    whole.push(group);
                    continue;
                }
                for (&m, name) in group.many.iter().zip(names) {
                    plain.push((m, one_row));
                    rows.push(name, self.e.return_bool);
                    let made = || rows.heap_bytes() + (plain.capacity() * 8) as u64;
                    room.follow(rows.len(), || groups_bytes + made())?;
                }
            }
        }
        let Whole { batch: held, memory: held_memory, order } =
            self.evaluate_whole(ctx, (&many, &one), &whole, &mut rows, &account)?;
        // An instant query shows the pairs in the order of the "many" side.
        let mut shown = None;
        if ctx.steps.count == 1 {
            let order: Vec<u64> = plain.iter().map(|&(m, _)| u64::from(m)).chain(order).collect();
            if !order.is_sorted() {
                let mut places: Vec<u32> = (0..rows.len() as u32).collect();
                places.sort_by_key(|&row| order[row as usize]);
                let made = std::mem::take(&mut rows);
                for &row in &places {
                    rows.push(made.row(row as usize).iter().copied(), made.drop_name[row as usize]);
                }
                shown = Some(places);
            }
        }
        // The groups are gone but for the whole ones; the rows are reserved anew.
        drop(room);
        let mut needed = (vec![false; many.len()], vec![false; one.len()]);
        for &(m, o) in &plain {
            (needed.0[m as usize], needed.1[o as usize]) = (true, true);
        }
        for group in &whole {
            group.many.iter().for_each(|&row| needed.0[row as usize] = true);
            group.one.iter().for_each(|&row| needed.1[row as usize] = true);
        }
        many.drain(|row| needed.0[row as usize])?;
        one.drain(|row| needed.1[row as usize])?;
        // A "one" series with many partners is evaluated once and kept.
        let repeated = plain.len() > plain.iter().map(|&(_, o)| o).collect::<HashSet<_>>().len();
        let kept = if repeated {
            let mut memory = Reservation::new(&ctx.query, 0)?;
            let mut used: Vec<u32> = plain.iter().map(|&(_, o)| o).collect();
            used.sort_unstable();
            used.dedup();
            let mut batch = Batch::default();
            memory.grow_to((used.len() * ctx.steps.count * 9) as u64)?;
            batch.reset(used.len(), ctx.steps.count);
            let mut at = 0;
            one.for_each(Some(&used), |rows, block| {
                for i in 0..rows.len() {
                    batch.copy_row(at, block, i);
                    at += 1;
                }
                Ok(())
            })?;
            memory.grow_to(batch.heap_bytes())?;
            for pair in &mut plain {
                pair.1 = used.binary_search(&pair.1).expect("every partner was listed") as u32;
            }
            Some((batch, memory))
        } else {
            None
        };
        let steps = ctx.steps.count;
        let node =
            Join { joining: self, steps, many, one, kept, pairs: plain, held, shown, _memory: held_memory };
        merged(ctx, Vectors::new(ctx, rows, node, account)?)
    }

    fn duplicate(&self, ctx: &EvalContext, one: &Vectors, (a, b): (u32, u32)) -> QueryError {
        let dictionary = &ctx.query.dictionary;
        let text = |row: u32| dictionary.labels(one.rows.row(row as usize)).to_string();
        let (mut first, mut second) = (text(a), text(b));
        if first > second {
            std::mem::swap(&mut first, &mut second);
        }
        let group = dictionary.labels(&self.signature.apply(one.rows.row(b as usize)));
        let side = if self.swapped { "left" } else { "right" };
        QueryError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    fn not_unique(&self) -> QueryError {
        QueryError::execution(match self.e.matching.card {
            Cardinality::OneToOne => {
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            }
            _ => "multiple matches for labels: grouping labels must ensure unique matches",
        })
    }

    /// Evaluates groups step by step; their series are added to `rows`.
    fn evaluate_whole(
        &self,
        ctx: &EvalContext,
        (many, one): (&Vectors, &Vectors),
        groups: &[Group],
        rows: &mut Rows,
        account: &Account,
    ) -> Result<Whole> {
        let steps = ctx.steps.count;
        let mut memory = Reservation::new(&ctx.query, 0)?;
        let mut bytes = 0u64;
        let mut results: Vec<Vec<(u32, Answer)>> = Vec::new();
        let mut order: Vec<u64> = Vec::new();
        let first_row = rows.len();
        let mut worker = Worker::default();
        let (mut many_batch, mut one_batch) = (Batch::default(), Batch::default());
        let mut faults = Faults::default();
        let mut annotations = Annotations::default();
        for group in groups {
            many.eval(&group.many, &mut worker, &mut many_batch)?;
            memory.grow_to(bytes + many_batch.heap_bytes() + one_batch.heap_bytes())?;
            one.eval(&group.one, &mut worker, &mut one_batch)?;
            let inputs_bytes = many_batch.heap_bytes() + one_batch.heap_bytes();
            memory.grow_to(bytes + inputs_bytes)?;
            let mut names: HashMap<Pairs, usize> = HashMap::default();
            for step in 0..steps {
                let labels_bytes = rows.heap_bytes() + (names.capacity() * (PAIRS_BYTES + 8)) as u64;
                memory.grow_to(bytes + inputs_bytes + labels_bytes)?;
                ctx.query.check_canceled()?;
                let mut add = |name: Pairs, answer: Answer, place: u64| {
                    let slot = *names.entry(name).or_insert_with_key(|name| {
                        rows.push(name.iter().copied(), self.e.return_bool);
                        results.push(Vec::new());
                        order.push(place);
                        bytes += (size_of::<Vec<(u32, Answer)>>() + size_of::<u64>()) as u64;
                        results.len() - 1
                    });
                    if let Answer::Hist(h) = &answer {
                        bytes += histogram_bytes(h) as u64;
                    }
                    let points = &mut results[slot];
                    let room = points.capacity();
                    points.push((step as u32, answer));
                    bytes += ((points.capacity() - room) * size_of::<(u32, Answer)>()) as u64;
                };
                let inputs = Inputs { many, one, group, many_batch: &many_batch, one_batch: &one_batch };
                self.evaluate_step(ctx, &inputs, step, (&mut annotations, &mut faults), &mut add);
            }
        }
        ctx.annotate(worker.annotations);
        ctx.annotate(annotations);
        self.check(ctx, (many, one), &faults, account)?;
        let mut batch = Batch::default();
        let cells = ((rows.len() - first_row) * steps) as u64;
        memory.grow_to(bytes + cells * 9)?;
        batch.reset(rows.len() - first_row, steps);
        for (row, points) in results.into_iter().enumerate() {
            for (step, answer) in points {
                match answer {
                    Answer::Float(v) => batch.set_float(row * steps + step as usize, v),
                    Answer::Hist(h) => batch.set_hist(row * steps + step as usize, h),
                }
            }
        }
        memory.grow_to(batch.heap_bytes())?;
        Ok(Whole { batch, memory, order })
    }

    /// Raises the error of the earliest step that has one. At a step duplicates
    /// come first; they are an error where the "many" side has any sample, of
    /// whatever signature, or where what is missing is filled in.
    fn check(
        &self,
        ctx: &EvalContext,
        (many, one): (&Vectors, &Vectors),
        faults: &Faults,
        account: &Account,
    ) -> Result<()> {
        let steps = ctx.steps.count;
        let fill = self.e.matching.fill_left.is_some() || self.e.matching.fill_right.is_some();
        let mut duplicate = faults.duplicates.iter().next();
        if duplicate.is_some() && !fill {
            let mut any_many = vec![false; steps];
            many.for_each(None, |rows, batch| {
                for cell in 0..rows.len() * steps {
                    any_many[cell % steps] |= batch.is_present(cell);
                }
                Ok(())
            })?;
            duplicate = faults.duplicates.iter().find(|(step, _)| any_many[**step]);
        }
        let (step, error) = match (duplicate, faults.not_unique) {
            (Some((&step, &rows)), other) if other.is_none_or(|other| step <= other) => {
                (step, self.duplicate(ctx, one, rows))
            }
            (_, Some(step)) => (step, self.not_unique()),
            (_, None) => return Ok(()),
        };
        many.for_each(None, |_, _| Ok(()))?;
        one.for_each(None, |_, _| Ok(()))?;
        account.check_operands(step)?;
        Err(error)
    }

    fn evaluate_step(
        &self,
        ctx: &EvalContext,
        inputs: &Inputs<'_>,
        step: usize,
        (annotations, faults): (&mut Annotations, &mut Faults),
        add: &mut dyn FnMut(Pairs, Answer, u64),
    ) {
        let Inputs { many, one, group, many_batch, one_batch } = *inputs;
        let steps = ctx.steps.count;
        let matching = &self.e.matching;
        let one_to_one = matching.card == Cardinality::OneToOne;
        // Upstream's left and right are those after `group_right` swapped the sides.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let present = |batch: &Batch, count: usize| {
            (0..count).filter(|&i| batch.is_present(i * steps + step)).collect::<Vec<_>>()
        };
        let ones = present(one_batch, group.one.len());
        if let [a, b, ..] = ones[..] {
            return faults.duplicate(step, group.one[a], group.one[b]);
        }
        let row = |vectors: &Vectors, rows: &[u32], i: usize| -> Pairs {
            vectors.rows.row(rows[i] as usize).iter().copied().collect()
        };
        let mut names: HashSet<Pairs> = HashSet::default();
        let mut matched = |i: usize, one_row: &[Pair], points: (Point<'_>, Point<'_>)| {
            let order = u64::from(group.many[i]);
            let Some((answer, keep)) = self.apply(points, step, order, annotations) else { return };
            let name = self.labels(&ctx.query, &row(many, &group.many, i), one_row);
            if (one_to_one && !names.is_empty()) || !names.insert(name.clone()) {
                faults.not_unique(step);
            } else if keep {
                add(name, answer, order);
            }
        };
        for i in present(many_batch, group.many.len()) {
            let Some(m) = many_batch.get(i * steps + step) else { continue };
            match (ones.first(), fill_one) {
                (Some(&o), _) => {
                    let Some(point) = one_batch.get(o * steps + step) else { continue };
                    matched(i, &row(one, &group.one, o), (m, point));
                }
                (None, Some(fill)) => {
                    let one_row = self.signature.apply(&row(many, &group.many, i));
                    matched(i, &one_row, (m, Point::Float(fill)));
                }
                (None, None) => {}
            }
        }
        if let (Some(fill), Some(&o), true) = (fill_many, ones.first(), names.is_empty())
            && let Some(point) = one_batch.get(o * steps + step)
        {
            // Behind all that the "many" side has.
            let order = 1 << 32 | u64::from(group.one[o]);
            let one_row = row(one, &group.one, o);
            let filled = self.apply((Point::Float(fill), point), step, order, annotations);
            if let Some((answer, true)) = filled {
                add(self.labels(&ctx.query, &self.signature.apply(&one_row), &one_row), answer, order);
            }
        }
    }
}

/// Both sides of a group, evaluated.
struct Inputs<'a> {
    many: &'a Vectors,
    one: &'a Vectors,
    group: &'a Group,
    many_batch: &'a Batch,
    one_batch: &'a Batch,
}

/// Groups that were evaluated step by step.
struct Whole {
    batch: Batch,
    memory: Reservation,
    /// For each row its place among the pairs: its row on the "many" side, or
    /// behind those that on the "one" side.
    order: Vec<u64>,
}

/// What is wrong with a join, by step.
#[derive(Default)]
struct Faults {
    /// Rows of the "one" side with the same signature: of all groups the pair
    /// whose second row comes first.
    duplicates: BTreeMap<usize, (u32, u32)>,
    /// The earliest step at which matches are not unique.
    not_unique: Option<usize>,
}

impl Faults {
    fn duplicate(&mut self, step: usize, a: u32, b: u32) {
        let rows = self.duplicates.entry(step).or_insert((a, b));
        if b < rows.1 {
            *rows = (a, b);
        }
    }

    fn not_unique(&mut self, step: usize) {
        self.not_unique = Some(self.not_unique.map_or(step, |have| have.min(step)));
    }
}

struct Join {
    joining: Joining,
    steps: usize,
    many: Vectors,
    one: Vectors,
    /// The "one" side, where it is used more than once: then the second of a
    /// pair is a row of it.
    kept: Option<(Batch, Reservation)>,
    pairs: Vec<(u32, u32)>,
    /// Results behind those of the pairs.
    held: Batch,
    /// Which of these each row is, where not in turn.
    shown: Option<Vec<u32>>,
    _memory: Reservation,
}

impl Node for Join {
    fn eval(&self, rows: &[u32], worker: &mut Worker, out: &mut Batch) -> Result<()> {
        let split = self.pairs.len();
        let shown: Vec<u32>;
        let rows = match &self.shown {
            Some(order) => {
                shown = rows.iter().map(|&row| order[row as usize]).collect();
                &shown
            }
            None => rows,
        };
        let mut places = Vec::with_capacity(rows.len());
        for (i, &row) in rows.iter().enumerate() {
            if (row as usize) < split {
                places.push(i);
            } else {
                out.copy_row(i, &self.held, row as usize - split);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let many_rows: Vec<u32> = places.iter().map(|&i| self.pairs[rows[i] as usize].0).collect();
        let one_rows: Vec<u32> = places.iter().map(|&i| self.pairs[rows[i] as usize].1).collect();
        let mut many = worker.take_batch(many_rows.len(), self.steps);
        let mut one = worker.take_batch(0, self.steps);
        let mut result = self.many.eval(&many_rows, worker, &mut many);
        if result.is_ok() && self.kept.is_none() {
            result = self.one.eval(&one_rows, worker, &mut one);
        }
        if result.is_ok() {
            for (i, &place) in places.iter().enumerate() {
                let (ones, one_row) = match &self.kept {
                    Some((kept, _)) => (kept, one_rows[i] as usize),
                    None => (&one, i),
                };
                let order = u64::from(many_rows[i]);
                self.pair((&many, i), (ones, one_row), (&mut *out, place), order, &mut worker.annotations);
            }
        }
        worker.put_batch(many);
        worker.put_batch(one);
        result
    }

    fn explain(&self) -> ExplainNode {
        explain(self.joining.e.op.as_str(), "", vec![self.many.explain(), self.one.explain()])
    }
}

impl Join {
    fn pair(
        &self,
        (many, many_row): (&Batch, usize),
        (one, one_row): (&Batch, usize),
        (out, place): (&mut Batch, usize),
        order: u64,
        annotations: &mut Annotations,
    ) {
        let steps = self.steps;
        for step in 0..steps {
            let (Some(m), Some(o)) = (many.get(many_row * steps + step), one.get(one_row * steps + step))
            else {
                continue;
            };
            match self.joining.apply((m, o), step, order, annotations) {
                Some((Answer::Float(v), true)) => out.set_float(place * steps + step, v),
                Some((Answer::Hist(h), true)) => out.set_hist(place * steps + step, h),
                _ => {}
            }
        }
    }
}
