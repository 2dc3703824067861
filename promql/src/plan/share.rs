//! Common subexpressions: parts of a plan that stand in it more than once, to be
//! evaluated once.
//!
//! ```text
//! a / (a + b)      a is part 0, both times; it is evaluated where it first
//! ▲    ▲           stands, and what it took is counted where it stands again
//! ```
//!
//! Nothing is seen of it: parts are equal but for their place in the text, so
//! values and counts of samples are the same, and remarks are made again at the
//! other places. Only parts that are evaluated at the same steps are one.

use std::collections::HashMap;

use super::{Kind, Operator, Plan, Selector};
use crate::annotations::Place;
use crate::ast::ValueType;

/// Marks the parts of a plan that stand in it more than once.
pub(crate) fn share(plan: &mut Plan) {
    let mut sight = Sight::default();
    sight.walk(plan, 0);
    let mut parts: HashMap<u32, u32> = HashMap::new();
    for &id in &sight.again {
        let next = parts.len() as u32;
        parts.entry(id).or_insert(next);
    }
    if !parts.is_empty() {
        let mut ids = sight.order.into_iter();
        mark(plan, &mut ids, &parts);
    }
}

/// Where parts stand that were seen, in the order of the walk.
#[derive(Default)]
struct Sight {
    /// Number of each part, by its scope, its words, and its operands' numbers.
    ids: HashMap<String, u32>,
    /// The same whatever the scope.
    shapes: HashMap<String, u32>,
    /// How many evaluations with steps of their own were met.
    scopes: u32,
    /// The number of each node, before those below it.
    order: Vec<u32>,
    again: Vec<u32>,
}

impl Sight {
    /// Numbers a plan that is evaluated in a scope; equal ones have one number.
    /// The second number is the same in every scope.
    fn walk(&mut self, plan: &Plan, scope: u32) -> (u32, u32) {
        let place = self.order.len();
        self.order.push(0);
        let before = self.again.len();
        let own_scope = matches!(plan.kind, Kind::Invariant(_) | Kind::Subquery(_));
        self.scopes += u32::from(own_scope);
        let inner_scope = if own_scope { self.scopes } else { scope };
        let mut words = describe(plan);
        let mut shape = words.clone();
        for operand in operands(plan) {
            let (id, operand_shape) = self.walk(operand, inner_scope);
            words.push_str(&format!("|{id}"));
            shape.push_str(&format!("|{operand_shape}"));
        }
        let next = self.shapes.len() as u32;
        let shape = *self.shapes.entry(shape).or_insert(next);
        // What has a scope of its own is told by its shape: no scope is like another.
        let words = if own_scope { format!("{scope}|{shape}") } else { format!("{scope}|{words}") };
        let known = self.ids.len();
        let id = *self.ids.entry(words).or_insert(known as u32);
        if self.ids.len() == known {
            // All that lies inside is met again with it.
            self.again.truncate(before);
            if plan.value_type == ValueType::Vector {
                self.again.push(id);
            }
        }
        self.order[place] = id;
        (id, shape)
    }
}

fn mark(plan: &mut Plan, ids: &mut impl Iterator<Item = u32>, parts: &HashMap<u32, u32>) {
    let id = ids.next();
    plan.part = id.and_then(|id| parts.get(&id).copied());
    for operand in operands_mut(plan) {
        mark(operand, ids, parts);
    }
}

/// What a node is, but for its operands.
fn describe(plan: &Plan) -> String {
    match &plan.kind {
        Kind::Number(v) => format!("number {}", v.to_bits()),
        Kind::String(s) => format!("string {:?} {:?}", s.value, s.bytes),
        Kind::Negate(_) => "negate".to_owned(),
        Kind::Same(_) => "same".to_owned(),
        Kind::Invariant(_) => "once".to_owned(),
        Kind::Binary(e) => operator(&e.operator),
        Kind::Chain(e) => {
            let mut words = "chain".to_owned();
            for link in &e.links {
                words.push(' ');
                words.push_str(&operator(&link.operator));
            }
            words
        }
        Kind::Aggregate(e) => format!("{} {} {:?}", e.op.as_str(), e.without, e.grouping),
        Kind::Call(e) => e.func.to_owned(),
        Kind::Selector(s) => selector(s),
        Kind::Matrix(m) => format!("{} {}", m.range_ms, selector(&m.selector)),
        Kind::Subquery(s) => {
            format!("subquery {} {} {} {:?} {:?}", s.range_ms, s.step_ms, s.offset_ms, s.at_ms, s.pin)
        }
    }
}

fn operator(e: &Operator) -> String {
    format!("{} {} {:?}", e.op.as_str(), e.return_bool, e.matching)
}

fn selector(s: &Selector) -> String {
    let matchers: Vec<String> = s.matchers.iter().map(ToString::to_string).collect();
    let time = (s.offset_ms, s.at_ms, s.pin, s.anchored, s.smoothed, s.stats_only);
    // The store may use what stands around a selector to read less.
    format!("{matchers:?} {time:?} {:?} {:?}", s.func, s.grouping)
}

/// Operands that are evaluated as vectors or scalars, or hold such.
fn operands(plan: &Plan) -> Vec<&Plan> {
    match &plan.kind {
        Kind::Number(_) | Kind::String(_) | Kind::Selector(_) | Kind::Matrix(_) => Vec::new(),
        Kind::Negate(e) | Kind::Same(e) | Kind::Invariant(e) => vec![e],
        Kind::Binary(e) => vec![&e.lhs, &e.rhs],
        Kind::Chain(e) => e.operands().collect(),
        Kind::Aggregate(e) => std::iter::once(&e.expr).chain(&e.param).collect(),
        Kind::Call(e) => e.args.iter().collect(),
        Kind::Subquery(s) => vec![&s.expr],
    }
}

fn operands_mut(plan: &mut Plan) -> Vec<&mut Plan> {
    match &mut plan.kind {
        Kind::Number(_) | Kind::String(_) | Kind::Selector(_) | Kind::Matrix(_) => Vec::new(),
        Kind::Negate(e) | Kind::Same(e) | Kind::Invariant(e) => vec![e],
        Kind::Binary(e) => vec![&mut e.lhs, &mut e.rhs],
        Kind::Chain(e) => e.operands_mut().collect(),
        Kind::Aggregate(e) => std::iter::once(&mut e.expr).chain(&mut e.param).collect(),
        Kind::Call(e) => e.args.iter_mut().collect(),
        Kind::Subquery(s) => vec![&mut s.expr],
    }
}

/// What a plan's nodes show of the text, and their ranks, in the order of a walk:
/// those of two equal plans go together.
pub(crate) fn places(plan: &Plan) -> Vec<Place> {
    let mut all = Vec::new();
    let mut open = vec![plan];
    while let Some(plan) = open.pop() {
        all.push(plan.place());
        match &plan.kind {
            Kind::Aggregate(e) => all.push(e.place),
            Kind::Chain(e) => all.extend(e.links.iter().map(|link| link.place)),
            _ => {}
        }
        open.extend(operands(plan).into_iter().rev());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{QueryTimes, lower};

    /// The marks of all nodes that have one, by what they show of the text.
    fn parts(text: &str) -> Vec<(u32, String)> {
        let expr = crate::parse(text, crate::Features::all()).expect("the text is PromQL");
        let times = QueryTimes { start_ms: 0, end_ms: 60_000, step_ms: 1000 };
        let mut plan = lower(&expr, &times, false).expect("no durations to compute");
        share(&mut plan);
        let mut found = Vec::new();
        let mut open = vec![&plan];
        while let Some(plan) = open.pop() {
            let shown = &text[plan.pos.start as usize..plan.pos.end as usize];
            found.extend(plan.part.map(|part| (part, shown.to_owned())));
            open.extend(operands(plan).into_iter().rev());
        }
        found
    }

    #[test]
    fn a_part_that_stands_twice_is_one() {
        let two = |a: &str, b: &str| vec![(0, a.to_owned()), (0, b.to_owned())];
        assert_eq!(parts("a / (a + b)"), two("a", "a"));
        assert_eq!(parts("sum(rate(a[5m])) / (sum( rate(a[300s]) ) + b)").len(), 2);
        assert_eq!(parts("a + b"), []);
        assert_eq!(parts("rate(a[5m]) / rate(a[6m])"), []);
        assert_eq!(parts("a offset 1m + a"), []);
    }

    #[test]
    fn what_lies_inside_a_part_is_no_part_unless_it_stands_elsewhere() {
        assert_eq!(parts("(a + b) * (a + b)").iter().filter(|(part, _)| *part == 0).count(), 2);
        assert_eq!(parts("(a + b) * (a + b)").len(), 2);
        // `a` stands inside the part, and once more.
        assert_eq!(parts("(a + b) * (a + b) - a").len(), 5);
    }

    #[test]
    fn parts_have_the_same_steps() {
        assert_eq!(parts("a + max_over_time(a[5m:1m])"), []);
        assert_eq!(parts("a @ 5 + a @ 5").len(), 2);
        assert_eq!(parts("max_over_time(a[5m:1m]) - max_over_time(a[5m:1m])").len(), 2);
        assert_eq!(parts("timestamp(a) - a"), []);
    }
}
