//! Queries that a seed makes up, with data that gives them something to do:
//! every function, operator, aggregation and modifier comes up, also in ways
//! that are an error when the query runs.
//!
//! ```text
//! QueryGen::new(seed) ─ query() ─▶ "sum by (x) (rate(requests_total[90s] offset 1m))"
//! data::fill(store, …)          ─▶ counters with resets, gaps, stale markers, NaN;
//!                                  classic and native histograms, mixes of both
//! ```

pub mod data;

use promql::ast::ValueType;
use promql::{FUNCTIONS, function};

use crate::Rng;

/// Operators between two operands that are not sets.
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const TRIMS: [&str; 2] = ["</", ">/"];
const SETS: [&str; 3] = ["and", "or", "unless"];
const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const LABELS: [&str; 8] = ["instance", "job", "code", "le", "__name__", "nothing", "host.name", "__type__"];
const DURATIONS: [&str; 10] = ["1m", "90s", "5m", "7m30s", "15s", "47s", "10m", "1s", "20m", "300"];
/// Durations that are computed.
const COMPUTED: [&str; 12] = [
    "1m + 1m30s",
    "max_of(step(), 2m)",
    "min_of(range() + 1m, 7m)",
    "2 * 90s",
    "10m / 3",
    "7m % 4m + 1s",
    "2 ^ 8",
    "-(-90s)",
    "+step() + 47s",
    "(1m + step()) * 2",
    "1 * step()",
    "5m / step()",
];
const NUMBERS: [&str; 20] = [
    "0", "1", "-1", "2", "0.5", "0.9", "1.5", "3", "10", "-0.5", "NaN", "Inf", "-Inf", "1e3", "7", "100",
    "0x10", "1_000", "1m30s", ".25",
];

/// Which queries are made.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Leave out what two right engines may answer differently: the order of
    /// ties, and digits that depend on the order of summing.
    pub deterministic: bool,
    /// Levels of operators.
    pub depth: u32,
    /// The times that `@` names, in seconds.
    pub times_s: (i64, i64),
}

/// Makes up queries.
pub struct QueryGen {
    rng: Rng,
    choice: Choice,
}

impl QueryGen {
    /// The same seed makes the same queries.
    pub fn new(seed: u64, choice: Choice) -> QueryGen {
        QueryGen { rng: Rng::new(seed), choice }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// A query for one or many times: mostly vectors.
    pub fn query(&mut self) -> String {
        let depth = 1 + self.rng.below(u64::from(self.choice.depth.max(1))) as u32;
        match self.rng.below(60) {
            0..=2 => self.scalar(depth),
            // No answer of a range query.
            3 => self.matrix(depth, ""),
            4 if self.chance(20) => r#"'a \\ \u00e4 text'"#.to_owned(),
            _ => self.vector(depth),
        }
    }

    /// A query whose outermost function is the one named.
    pub fn query_of(&mut self, name: &str) -> String {
        match function(name) {
            Some(f) if f.return_type == ValueType::Scalar => {
                let call = self.call(name, 2);
                if self.chance(50) { format!("vector({call})") } else { call }
            }
            Some(_) => self.call(name, 2),
            None => self.vector(2),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return if self.chance(8) { self.vector_of_scalar() } else { self.selector() };
        }
        match self.rng.below(100) {
            0..=4 => self.selector(),
            5..=24 => self.range_function(depth),
            25..=44 => self.any_function(depth),
            45..=62 => self.aggregation(depth),
            63..=72 => self.with_scalar(depth),
            73..=93 => self.binary(depth),
            94..=96 => format!("-{}", self.operand(depth - 1)),
            97 => format!("+{}", self.operand(depth - 1)),
            _ => format!("({})", self.vector(depth - 1)),
        }
    }

    /// A vector that may stand beside an operator.
    fn operand(&mut self, depth: u32) -> String {
        format!("({})", self.vector(depth))
    }

    fn vector_of_scalar(&mut self) -> String {
        let scalar = self.scalar(0);
        format!("vector({scalar})")
    }

    fn scalar(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.rng.below(8) {
                0 => "time()".to_owned(),
                1 => "pi()".to_owned(),
                2 => self.pick(&["start()", "end()", "range()", "step()"]).to_owned(),
                _ => self.pick(&NUMBERS).to_owned(),
            };
        }
        match self.rng.below(8) {
            0 | 1 => format!("scalar({})", self.vector(depth - 1)),
            2 => {
                let op = self.pick(&ARITHMETIC);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            3 => {
                let op = self.pick(&COMPARISONS);
                format!("({} {op} bool {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            4 => {
                let name = self.pick(&["min_of", "max_of"]);
                format!("{name}({}, {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            5 => format!("-({})", self.scalar(depth - 1)),
            _ => self.scalar(0),
        }
    }

    /// A number that a parameter may sensibly have.
    fn parameter(&mut self, usual: &[&str]) -> String {
        if self.chance(75) { self.pick(usual).to_owned() } else { self.scalar(1) }
    }

    fn metric(&mut self) -> &'static str {
        let (name, _) = data::METRICS[self.rng.below(data::METRICS.len() as u64) as usize];
        name
    }

    fn matchers(&mut self) -> String {
        let mut out = Vec::new();
        for _ in 0..self.rng.below(3) {
            let matcher = match self.rng.below(11) {
                7 => "\"host.name\"=~\"x|\"",
                8 => "__type__=\"gauge\"",
                9 => "instance!~\"[ab]\"",
                10 => "job=~\"o.+\"",
                0 => "instance=\"a\"",
                1 => "instance!=\"b\"",
                2 => "job=~\"one|two\"",
                3 => "code=~\"[45]..\"",
                4 => "code!~\"2.*\"",
                5 => "nothing=\"\"",
                _ => "instance=~\"(a|c)?\"",
            };
            out.push(matcher);
        }
        out.join(",")
    }

    fn bare_selector(&mut self) -> String {
        let matchers = self.matchers();
        if self.chance(6) {
            // Several metrics, whose series are the same without their names.
            let names = self.pick(&[
                "__name__=~\"temp.*|requests_total\"",
                "__name__=~\"(temperature|strange)\"",
                "__name__=~\".*_total\"",
                "__name__=~\"latency|sizes\"",
            ]);
            let comma = if matchers.is_empty() { "" } else { "," };
            return format!("{{{names}{comma}{matchers}}}");
        }
        selector(self.metric(), &matchers)
    }

    /// Offset and `@`, in either order, mostly none.
    fn modifiers(&mut self) -> String {
        let mut out = String::new();
        if self.chance(15) {
            let (first, last) = self.choice.times_s;
            let at = match self.rng.below(8) {
                0 | 1 => "start()".to_owned(),
                2 | 3 => "end()".to_owned(),
                4 => format!("{}.75", first + 700),
                _ => (first + self.rng.below((last - first).max(1).unsigned_abs()) as i64).to_string(),
            };
            out = format!(" @ {at}");
        }
        if self.chance(20) {
            let offset = match self.rng.below(7) {
                0 => format!(" offset -{}", self.pick(&DURATIONS)),
                1 => format!(" offset ({} + step())", self.pick(&DURATIONS)),
                2 => format!(" offset ({})", self.pick(&COMPUTED)),
                3 => " offset -min_of(step(), 1m)".to_owned(),
                _ => format!(" offset {}", self.pick(&DURATIONS)),
            };
            out = if self.chance(50) { format!("{out}{offset}") } else { format!("{offset}{out}") };
        }
        out
    }

    fn selector(&mut self) -> String {
        let (selector, modifiers) = (self.bare_selector(), self.modifiers());
        let smoothed = if self.chance(3) { " smoothed" } else { "" };
        format!("{selector}{smoothed}{modifiers}")
    }

    fn duration(&mut self) -> String {
        if self.chance(25) { self.pick(&COMPUTED).to_owned() } else { self.pick(&DURATIONS).to_owned() }
    }

    fn matrix(&mut self, depth: u32, function: &str) -> String {
        if depth > 0 && self.chance(30) {
            let inner = self.operand(depth - 1);
            let step = match self.rng.below(8) {
                0 | 1 => String::new(),
                2 => self.pick(&["step() + 30s", "2m / 3", "max_of(step(), 20s)"]).to_owned(),
                _ => self.pick(&["30s", "1m", "47s", "2m"]).to_owned(),
            };
            return format!("{inner}[{}:{step}]{}", self.duration(), self.modifiers());
        }
        let selector = self.bare_selector();
        let range = self.duration();
        let word = match function {
            "rate" | "increase" | "delta" if self.chance(15) => self.pick(&[" anchored", " smoothed"]),
            "changes" | "resets" if self.chance(15) => " anchored",
            _ => "",
        };
        format!("{selector}[{range}]{word}{}", self.modifiers())
    }

    fn range_function(&mut self, depth: u32) -> String {
        let names: Vec<&str> =
            FUNCTIONS.iter().filter(|f| f.arg_types.contains(&ValueType::Matrix)).map(|f| f.name).collect();
        let name = self.pick(&names);
        self.call(name, depth)
    }

    fn any_function(&mut self, depth: u32) -> String {
        let names: Vec<&str> =
            FUNCTIONS.iter().filter(|f| f.return_type == ValueType::Vector).map(|f| f.name).collect();
        let name = self.pick(&names);
        self.call(name, depth)
    }

    /// A call with arguments of the right types.
    fn call(&mut self, name: &str, depth: u32) -> String {
        let below = depth.saturating_sub(1);
        let quoted = |list: &[&str]| list.iter().map(|l| format!("\"{l}\"")).collect::<Vec<_>>().join(", ");
        match name {
            "label_replace" => {
                let v = self.vector(below);
                let dst = self.pick(&["new", "instance", "job", "__name__"]);
                let (replacement, regex) = [("$1-x", "(.*)"), ("", ".*"), ("y", "a"), ("$1$2", "(.)(.*)")]
                    [self.rng.below(4) as usize];
                let src = self.pick(&LABELS);
                format!("label_replace({v}, \"{dst}\", \"{replacement}\", \"{src}\", \"{regex}\")")
            }
            "label_join" => {
                let v = self.vector(below);
                let dst = self.pick(&["new", "instance", "__name__"]);
                let sources = quoted(&LABELS[..1 + self.rng.below(3) as usize]);
                format!("label_join({v}, \"{dst}\", \"-\", {sources})")
            }
            "histogram_quantiles" => {
                let v = self.histogram_vector(below);
                let mut qs = Vec::new();
                for _ in 0..1 + self.rng.below(3) {
                    qs.push(self.parameter(&["0.5", "0.9", "0.99", "0", "1"]));
                }
                format!("histogram_quantiles({v}, \"q\", {})", qs.join(", "))
            }
            "histogram_quantile" => {
                let q = self.parameter(&["0.5", "0.9", "0.99", "0", "1", "0.1"]);
                format!("histogram_quantile({q}, {})", self.histogram_vector(below))
            }
            "histogram_fraction" => {
                let lower = self.parameter(&["0", "-Inf", "0.1", "1"]);
                let upper = self.parameter(&["1", "0.5", "+Inf", "5"]);
                format!("histogram_fraction({lower}, {upper}, {})", self.histogram_vector(below))
            }
            "sort_by_label" | "sort_by_label_desc" => {
                let v = self.vector(below);
                format!("{name}({v}, {})", quoted(&LABELS[..1 + self.rng.below(3) as usize]))
            }
            "info" => {
                let v = self.vector(below);
                match self.rng.below(8) {
                    0 | 1 => format!("info({v})"),
                    2 => format!("info({v}, {{version=~\".+\"}})"),
                    3 => format!("info({v}, {{__name__!=\"target_info\"}})"),
                    4 => format!("info({v}, {{\"build_info\", revision!=\"x\"}})"),
                    5 => format!("info({v}, {{nothing=\"\"}})"),
                    6 => format!("info({v}, {{__name__=~\"(target|build)_info\"}})"),
                    _ => format!("info({v}, {{version=\"1.0\", os=~\".*\"}})"),
                }
            }
            "quantile_over_time" => {
                let q = self.parameter(&["0.5", "0.9", "0", "1", "0.25"]);
                format!("quantile_over_time({q}, {})", self.matrix(below, name))
            }
            "predict_linear" => {
                let m = self.matrix(below, name);
                format!("predict_linear({m}, {})", self.parameter(&["60", "3600", "-60"]))
            }
            "double_exponential_smoothing" => {
                let m = self.matrix(below, name);
                let (a, b) = (self.parameter(&["0.5", "0.1"]), self.parameter(&["0.3", "0.9"]));
                format!("double_exponential_smoothing({m}, {a}, {b})")
            }
            "timestamp" | "start_timestamp" if self.chance(60) => format!("{name}({})", self.selector()),
            "absent" if self.chance(60) => format!("absent({})", self.selector()),
            "vector" => format!("vector({})", self.scalar(below)),
            _ if name.starts_with("histogram_") => format!("{name}({})", self.histogram_vector(below)),
            _ => self.plain_call(name, below),
        }
    }

    fn plain_call(&mut self, name: &str, below: u32) -> String {
        let Some(f) = function(name) else { return self.selector() };
        let optional = usize::from(f.variadic > 0 && self.chance(50));
        let count = f.arg_types.len() - optional;
        let mut args = Vec::new();
        for kind in &f.arg_types[..count] {
            args.push(match kind {
                ValueType::Vector => self.vector(below),
                ValueType::Matrix => self.matrix(below, name),
                _ => self.parameter(&["0", "1", "0.5", "10", "-2"]),
            });
        }
        format!("{name}({})", args.join(", "))
    }

    /// A vector that likely holds histograms.
    fn histogram_vector(&mut self, depth: u32) -> String {
        if self.chance(30) {
            return self.vector(depth);
        }
        let name = self.pick(&[
            "latency_bucket",
            "latency",
            "sizes",
            "nhcb",
            "mixed",
            "broken_bucket",
            "odd",
            "durations",
        ]);
        let metric = selector(name, &self.matchers());
        let range = self.pick(&DURATIONS);
        let by = if self.chance(60) { "by (le, instance)" } else { "by (le)" };
        match self.rng.below(5) {
            0 => metric,
            1 => format!("rate({metric}[{range}])"),
            2 => format!("sum {by} (rate({metric}[{range}]))"),
            3 => format!("sum {by} ({metric})"),
            _ => format!("increase({metric}[{range}])"),
        }
    }

    fn label_list(&mut self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        for _ in 0..self.rng.below(4) {
            let label = match self.pick(&LABELS) {
                "host.name" => "\"host.name\"",
                plain => plain,
            };
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels.join(", ")
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let mut op = self.pick(&AGGREGATIONS);
        if self.choice.deterministic && matches!(op, "topk" | "bottomk" | "limitk") && self.chance(60) {
            op = "sum";
        }
        let v = self.vector(depth - 1);
        let grouping = match self.rng.below(4) {
            0 => String::new(),
            1 => format!(" without ({})", self.label_list()),
            _ => format!(" by ({})", self.label_list()),
        };
        let parameter = match op {
            "topk" | "bottomk" => Some(self.parameter(&["1", "2", "3", "5", "0", "100"])),
            "limitk" => Some(self.parameter(&["1", "2", "10", "0"])),
            "limit_ratio" => Some(self.parameter(&["0.5", "-0.5", "0.1", "1", "2", "-0.9"])),
            "quantile" => Some(self.parameter(&["0.5", "0.9", "0", "1", "-1", "2"])),
            "count_values" => Some(["\"value\"", "\"instance\""][self.rng.below(2) as usize].to_owned()),
            _ => None,
        };
        match parameter {
            Some(p) => format!("{op}{grouping} ({p}, {v})"),
            None => format!("{op}{grouping} ({v})"),
        }
    }

    fn with_scalar(&mut self, depth: u32) -> String {
        let (v, s) = (self.operand(depth - 1), self.scalar(1));
        let op = match self.rng.below(10) {
            0..=4 => self.pick(&ARITHMETIC).to_owned(),
            5..=7 => {
                let op = self.pick(&COMPARISONS);
                if self.chance(40) { format!("{op} bool") } else { op.to_owned() }
            }
            _ => {
                let op = self.pick(&TRIMS);
                return format!("{v} {op} {s}");
            }
        };
        if self.chance(30) { format!("{s} {op} {v}") } else { format!("{v} {op} {s}") }
    }

    fn binary(&mut self, depth: u32) -> String {
        let mut lhs = self.operand(depth - 1);
        let mut rhs = self.operand(depth - 1);
        if self.chance(40) {
            // Two views of one metric have partners for each other.
            let selector = self.bare_selector();
            lhs = selector.clone();
            rhs = if self.chance(50) { format!("rate({selector}[5m])") } else { selector };
        }
        if self.chance(30) {
            let op = self.pick(&SETS);
            let matching = match self.rng.below(3) {
                0 => String::new(),
                1 => format!(" on ({})", self.label_list()),
                _ => format!(" ignoring ({})", self.label_list()),
            };
            return format!("{lhs} {op}{matching} {rhs}");
        }
        let op = if self.chance(60) {
            self.pick(&ARITHMETIC).to_owned()
        } else {
            let op = self.pick(&COMPARISONS);
            if self.chance(30) { format!("{op} bool") } else { op.to_owned() }
        };
        let on = self.chance(50);
        let labels = self.label_list();
        let mut matching = match self.rng.below(4) {
            0 => String::new(),
            _ if on => format!(" on ({labels})"),
            _ => format!(" ignoring ({labels})"),
        };
        if !matching.is_empty() && self.chance(45) {
            let side = self.pick(&["group_left", "group_right"]);
            let include = self.pick(&["version", "code", "", "os"]);
            let include = if labels.contains(include) { "" } else { include };
            matching = format!("{matching} {side} ({include})");
        }
        if self.chance(12) {
            let fill = self.pick(&["fill", "fill_left", "fill_right", "fill_left (3) fill_right"]);
            let value = self.pick(&["0", "1", "-2", "NaN", "1m"]);
            matching = format!("{matching} {fill} ({value})");
        }
        format!("{lhs} {op}{matching} {rhs}")
    }
}

/// A selector; names with dots stand in quotes.
fn selector(name: &str, matchers: &str) -> String {
    match (name.contains('.'), matchers.is_empty()) {
        (true, true) => format!("{{\"{name}\"}}"),
        (true, false) => format!("{{\"{name}\",{matchers}}}"),
        (false, true) => name.to_owned(),
        (false, false) => format!("{name}{{{matchers}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::Features;

    const CHOICE: Choice = Choice { deterministic: false, depth: 3, times_s: (0, 1000) };

    #[test]
    fn what_is_made_parses_and_holds_every_function_and_aggregation() {
        let mut made = QueryGen::new(1, CHOICE);
        let mut all = String::new();
        for _ in 0..5000 {
            let query = made.query();
            if let Err(errors) = promql::parse(&query, Features::all()) {
                panic!("{query}: {errors}");
            }
            all.push_str(&query);
            all.push('\n');
        }
        for f in &FUNCTIONS {
            assert!(all.contains(&format!("{}(", f.name)), "{} is never called", f.name);
        }
        for op in AGGREGATIONS.iter().chain(&ARITHMETIC).chain(&COMPARISONS).chain(&SETS).chain(&TRIMS) {
            assert!(all.contains(&format!("{op} ")), "{op} never comes up");
        }
        let words = [
            " offset ",
            " @ ",
            "group_left",
            "group_right",
            "fill_left",
            "fill_right",
            "fill (",
            " bool ",
            "anchored",
            "smoothed",
            "step()",
            "range()",
            "min_of(",
            "max_of(",
            "[5m:",
            "{\"queue.length\"",
            "(temperature|strange)",
        ];
        for word in words {
            assert!(all.contains(word), "{word} never comes up");
        }
        for (metric, _) in data::METRICS {
            assert!(all.contains(metric), "{metric} never comes up");
        }
    }

    #[test]
    fn a_function_can_be_asked_for() {
        for f in &FUNCTIONS {
            let query = QueryGen::new(3, CHOICE).query_of(f.name);
            assert!(query.contains(&format!("{}(", f.name)), "{query}");
            assert!(promql::parse(&query, Features::all()).is_ok(), "{query}");
        }
    }
}
