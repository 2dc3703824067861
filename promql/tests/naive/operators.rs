//! Operators between two operands, sample by sample.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::rc::Rc;

use model::{Labels, elementary};
use promql::ast::{BinaryExpr, BinaryOp, Cardinality, VectorMatching};

use super::{Fault, Hist, Outcome, Point, Vector, nameless, unique};

pub fn compare(op: BinaryOp, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eql => l == r,
        BinaryOp::Neq => l != r,
        BinaryOp::Lss => l < r,
        BinaryOp::Gtr => l > r,
        BinaryOp::Lte => l <= r,
        BinaryOp::Gte => l >= r,
        _ => return None,
    })
}

pub fn arithmetic(op: BinaryOp, l: f64, r: f64) -> Outcome<f64> {
    Ok(match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => elementary::pow(l, r),
        BinaryOp::Atan2 => elementary::atan2(l, r),
        _ => return Err(Fault::Unknown),
    })
}

/// What an operator makes of two samples: nothing where they do not go together.
enum Made {
    /// The left one, if the comparison holds.
    Compared(bool),
    Computed(Point),
    Nothing,
}

fn element(op: BinaryOp, l: &Point, r: &Point) -> Outcome<Made> {
    let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    let compares = op.is_comparison();
    let made = |h: Option<Hist>| match h {
        Some(h) => Made::Computed(Point::Hist(Rc::new(h.compacted()))),
        None => Made::Nothing,
    };
    Ok(match (l, r) {
        (Point::Float(l), Point::Float(r)) => match compare(op, *l, *r) {
            Some(holds) => Made::Compared(holds),
            // Trimming is for histograms: floats go.
            None if trims => Made::Nothing,
            None => Made::Computed(Point::Float(arithmetic(op, *l, *r)?)),
        },
        (Point::Hist(h), Point::Float(v)) | (Point::Float(v), Point::Hist(h)) if op == BinaryOp::Mul => {
            made(Some(h.scaled(*v)))
        }
        (Point::Hist(_), Point::Float(v)) if op == BinaryOp::Div && *v == 0.0 => return Err(Fault::Unknown),
        (Point::Hist(h), Point::Float(v)) if op == BinaryOp::Div => made(Some(h.scaled(1.0 / v))),
        (Point::Hist(_), Point::Float(_)) if trims => return Err(Fault::Unknown),
        (Point::Hist(l), Point::Hist(r)) if op == BinaryOp::Add => made(l.combined(r, 1.0)),
        (Point::Hist(l), Point::Hist(r)) if op == BinaryOp::Sub => made(l.combined(r, -1.0)),
        (Point::Hist(_), Point::Hist(_)) if compares => match op {
            BinaryOp::Eql | BinaryOp::Neq => return Err(Fault::Unknown),
            _ => Made::Nothing,
        },
        _ => Made::Nothing,
    })
}

pub fn with_scalar(e: &BinaryExpr, v: Vector, s: f64, swapped: bool) -> Outcome<Vector> {
    let mut out = Vec::new();
    for (labels, point) in v {
        let s = Point::Float(s);
        let (l, r) = if swapped { (&s, &point) } else { (&point, &s) };
        match element(e.op, l, r)? {
            Made::Compared(holds) if e.return_bool => {
                out.push((nameless(&labels), Point::Float(f64::from(u8::from(holds)))));
            }
            Made::Compared(true) => out.push((labels, point)),
            Made::Computed(made) => out.push((nameless(&labels), made)),
            Made::Compared(false) | Made::Nothing => {}
        }
    }
    unique(out)
}

fn signature(matching: &VectorMatching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|l| l == name);
    labels.filter(|name| if matching.on { listed(name) } else { name != "__name__" && !listed(name) })
}

pub fn sets(op: BinaryOp, matching: &VectorMatching, l: Vector, r: Vector) -> Outcome<Vector> {
    let keys =
        |side: &Vector| -> HashSet<Labels> { side.iter().map(|(l, _)| signature(matching, l)).collect() };
    let (left, right) = (keys(&l), keys(&r));
    let has = |keys: &HashSet<Labels>, labels: &Labels| keys.contains(&signature(matching, labels));
    match op {
        BinaryOp::And => Ok(l.into_iter().filter(|(labels, _)| has(&right, labels)).collect()),
        BinaryOp::Unless => Ok(l.into_iter().filter(|(labels, _)| !has(&right, labels)).collect()),
        _ => {
            let more: Vec<_> = r.into_iter().filter(|(labels, _)| !has(&left, labels)).collect();
            unique(l.into_iter().chain(more).collect())
        }
    }
}

pub fn join(e: &BinaryExpr, matching: &VectorMatching, l: Vector, r: Vector) -> Outcome<Vector> {
    // Left and right are those after `group_right` swapped the sides.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let swapped = matching.card == Cardinality::OneToMany;
    let (many, one) = if swapped { (r, l) } else { (l, r) };
    let fills = fill_many.is_some() || fill_one.is_some();
    if (many.is_empty() && one.is_empty()) || ((many.is_empty() || one.is_empty()) && !fills) {
        return Ok(Vec::new());
    }
    let mut ones: BTreeMap<Labels, (Labels, Point)> = BTreeMap::new();
    for (labels, v) in one {
        if ones.insert(signature(matching, &labels), (labels, v)).is_some() {
            return Err(Fault::Query);
        }
    }
    let one_to_one = matching.card == Cardinality::OneToOne;
    let mut seen: HashSet<(Labels, Labels)> = HashSet::new();
    let mut out = Vec::new();
    let mut todo: VecDeque<_> = many.into();
    let mut fill_many = fill_many;
    loop {
        let Some((labels, m)) = todo.pop_front() else {
            // Those of the one side that were not matched; a pair of kinds that do not
            // go together was not.
            let Some(fill) = fill_many.take() else { break };
            let lonely = ones.keys().filter(|key| !seen.iter().any(|(matched, _)| matched == *key));
            todo.extend(lonely.map(|key| (key.clone(), Point::Float(fill))));
            continue;
        };
        let key = signature(matching, &labels);
        let filled = fill_one.map(|fill| (key.clone(), Point::Float(fill)));
        let Some((one_labels, o)) = ones.get(&key).or(filled.as_ref()) else { continue };
        let (left, right) = if swapped { (o, &m) } else { (&m, o) };
        let (holds, value) = match element(e.op, left, right)? {
            Made::Compared(holds) if e.return_bool => (Some(holds), Point::Float(f64::from(u8::from(holds)))),
            Made::Compared(holds) => (Some(holds), left.clone()),
            Made::Computed(made) => (None, made),
            Made::Nothing => continue,
        };
        let listed = |name: &str| matching.labels.iter().any(|l| l == name);
        let mut named = labels.to_builder();
        if holds.is_none() || e.return_bool {
            for name in ["__name__", "__type__", "__unit__"] {
                named.del(name);
            }
        }
        if one_to_one {
            named.retain(|name| listed(name) == matching.on);
        }
        for name in &matching.include {
            match one_labels.value_or_empty(name) {
                "" => named.del(name),
                value => named.set(name, value),
            };
        }
        let named = named.labels();
        let slot = if one_to_one { Labels::empty() } else { named.clone() };
        if !seen.insert((key, slot)) {
            return Err(Fault::Query);
        }
        if holds != Some(false) || e.return_bool {
            out.push((named, value));
        }
    }
    unique(out)
}
