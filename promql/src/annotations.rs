//! Warnings and infos that an evaluation leaves beside its result.
//!
//! An annotation is found by its text without position: the same remark raised
//! at many steps or by many series stands once, at the place it was raised
//! last. Two kinds gather figures when they meet themselves again.

use std::collections::{BTreeMap, HashMap};

use model::float::format_g;
use model::labels::go_quote;

use crate::ast::PositionRange;
use crate::functions::format::{format_g_digits, format_rfc3339_seconds};

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The answer may be wrong.
    Warning,
    /// The answer is right, but perhaps not what was meant.
    Info,
}

/// What a histogram operation was, in annotation texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramOperation {
    /// `a + b`
    Addition,
    /// `a - b`
    Subtraction,
    /// Any aggregation.
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        }
    }
}

/// Where a remark belongs: what it shows of the text, and which operator makes
/// it. Ranks rise in the order in which upstream evaluates, operands first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    pub(crate) pos: PositionRange,
    pub(crate) rank: u32,
}

impl Place {
    /// The same operator's, showing another part of the text.
    pub(crate) fn at(self, pos: PositionRange) -> Place {
        Place { pos, ..self }
    }
}

/// One remark, before it is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    severity: Severity,
    /// Text with its prefix, without position and figures.
    text: String,
    place: Place,
    figures: Figures,
}

#[derive(Clone, Debug, PartialEq)]
enum Figures {
    None,
    Monotonicity { min_ms: i64, max_ms: i64, min_bucket: f64, max_bucket: f64, max_diff: f64, merged: u64 },
    Overlap { occurrences: u64 },
}

fn warning(place: Place, text: String) -> Annotation {
    Annotation {
        severity: Severity::Warning,
        text: format!("PromQL warning: {text}"),
        place,
        figures: Figures::None,
    }
}

fn info(place: Place, text: String) -> Annotation {
    let text = format!("PromQL info: {text}");
    Annotation { severity: Severity::Info, text, place, figures: Figures::None }
}

fn with_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {}", go_quote(metric)) }
}

/// `input to histogram_quantile needed to be fixed …`: what was wrong at one step.
#[derive(Clone, Copy, Debug)]
pub struct ForcedMonotonicity {
    /// The step in ms.
    pub at_ms: i64,
    /// Lowest bound that was changed.
    pub min_bucket: f64,
    /// Highest bound that was changed.
    pub max_bucket: f64,
    /// Largest change.
    pub max_diff: f64,
}

impl Annotation {
    pub(crate) fn invalid_quantile(q: f64, place: Place) -> Annotation {
        warning(place, format!("quantile value should be between 0 and 1, got {}", format_g(q)))
    }

    pub(crate) fn invalid_ratio(ratio: f64, to: f64, place: Place) -> Annotation {
        warning(
            place,
            format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                format_g(ratio),
                format_g(to)
            ),
        )
    }

    pub(crate) fn bad_bucket_label(metric: &str, value: &str, place: Place) -> Annotation {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", go_quote(value));
        warning(place, with_metric(&text, metric))
    }

    pub(crate) fn mixed_floats_histograms(metric: &str, place: Place) -> Annotation {
        warning(
            place,
            format!("encountered a mix of histograms and floats for metric name {}", go_quote(metric)),
        )
    }

    pub(crate) fn mixed_floats_histograms_agg(place: Place) -> Annotation {
        warning(place, "encountered a mix of histograms and floats for aggregation".to_owned())
    }

    pub(crate) fn mixed_classic_native(metric: &str, place: Place) -> Annotation {
        warning(place, with_metric("vector contains a mix of classic and native histograms", metric))
    }

    pub(crate) fn not_counter(metric: &str, place: Place) -> Annotation {
        warning(place, format!("this native histogram metric is not a counter: {}", go_quote(metric)))
    }

    pub(crate) fn not_gauge(metric: &str, place: Place) -> Annotation {
        warning(place, format!("this native histogram metric is not a gauge: {}", go_quote(metric)))
    }

    pub(crate) fn mixed_exponential_custom(metric: &str, place: Place) -> Annotation {
        warning(
            place,
            format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                go_quote(metric)
            ),
        )
    }

    pub(crate) fn possible_non_counter(metric: &str, place: Place) -> Annotation {
        info(
            place,
            format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                go_quote(metric)
            ),
        )
    }

    pub(crate) fn possible_non_counter_label(metric: &str, type_label: &str, place: Place) -> Annotation {
        info(
            place,
            format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                go_quote(type_label),
                go_quote(metric)
            ),
        )
    }

    pub(crate) fn forced_monotonicity(metric: &str, place: Place, at: ForcedMonotonicity) -> Annotation {
        let text = "input to histogram_quantile needed to be fixed for monotonicity \
                    (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        Annotation {
            figures: Figures::Monotonicity {
                min_ms: at.at_ms,
                max_ms: at.at_ms,
                min_bucket: at.min_bucket,
                max_bucket: at.max_bucket,
                max_diff: at.max_diff,
                merged: 0,
            },
            ..info(place, with_metric(text, metric))
        }
    }

    pub(crate) fn incompatible_types(lhs: &str, op: &str, rhs: &str, place: Place) -> Annotation {
        info(
            place,
            format!(
                "incompatible sample types encountered for binary operator {}: {lhs} {op} {rhs}",
                go_quote(op)
            ),
        )
    }

    pub(crate) fn histogram_ignored_in_aggregation(op: &str, place: Place) -> Annotation {
        info(place, format!("ignored histogram in {op} aggregation"))
    }

    pub(crate) fn histograms_ignored_in_mixed_range(metric: &str, place: Place) -> Annotation {
        info(
            place,
            format!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                go_quote(metric)
            ),
        )
    }

    pub(crate) fn incompatible_bucket_layout(op: &str, place: Place) -> Annotation {
        warning(place, format!("incompatible bucket layout encountered for binary operator {op}"))
    }

    pub(crate) fn sort_in_range_query(place: Place) -> Annotation {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        warning(place, text.to_owned())
    }

    pub(crate) fn quantile_nan_result(metric: &str, place: Place) -> Annotation {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        info(place, with_metric(text, metric))
    }

    pub(crate) fn quantile_nan_skew(metric: &str, place: Place) -> Annotation {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        info(place, with_metric(text, metric))
    }

    pub(crate) fn fraction_nans(metric: &str, place: Place) -> Annotation {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        info(place, with_metric(text, metric))
    }

    pub(crate) fn counter_reset_collision(op: HistogramOperation, place: Place) -> Annotation {
        warning(place, format!("conflicting counter resets during histogram {}", op.as_str()))
    }

    pub(crate) fn mismatched_custom_buckets(op: HistogramOperation, place: Place) -> Annotation {
        info(place, format!("mismatched custom buckets were reconciled during {}", op.as_str()))
    }

    pub(crate) fn start_time_overlap(metric: &str, place: Place) -> Annotation {
        let text = format!(
            "sample has start time that overlaps with previous sample timestamp for metric {}",
            go_quote(metric)
        );
        Annotation { figures: Figures::Overlap { occurrences: 1 }, ..warning(place, text) }
    }

    fn gathers(&self) -> bool {
        self.figures != Figures::None
    }

    /// Takes up what an earlier annotation of the same text had gathered.
    fn absorb(&mut self, earlier: &Annotation) {
        match (&mut self.figures, &earlier.figures) {
            (
                Figures::Monotonicity { min_ms, max_ms, min_bucket, max_bucket, max_diff, merged },
                Figures::Monotonicity {
                    min_ms: min_ms_o,
                    max_ms: max_ms_o,
                    min_bucket: min_bucket_o,
                    max_bucket: max_bucket_o,
                    max_diff: max_diff_o,
                    merged: merged_o,
                },
            ) => {
                *min_ms = (*min_ms).min(*min_ms_o);
                *max_ms = (*max_ms).max(*max_ms_o);
                *min_bucket = min_bucket.min(*min_bucket_o);
                *max_bucket = max_bucket.max(*max_bucket_o);
                *max_diff = max_diff.max(*max_diff_o);
                *merged += merged_o + 1;
            }
            (Figures::Overlap { occurrences }, Figures::Overlap { occurrences: earlier_occurrences }) => {
                *occurrences += earlier_occurrences;
            }
            _ => {}
        }
    }

    /// The text as the API shows it, with figures and `(line:column)`.
    fn print(&self, query: &str) -> String {
        let place = line_column(query, self.place.pos.start);
        match &self.figures {
            Figures::None => format!("{} ({place})", self.text),
            Figures::Monotonicity { min_ms, max_ms, min_bucket, max_bucket, max_diff, merged } => format!(
                "{}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {} ({place})",
                self.text,
                format_g(*min_bucket),
                format_g(*max_bucket),
                format_g_digits(*max_diff, 2),
                merged + 1,
                format_rfc3339_seconds(*min_ms),
                format_rfc3339_seconds(*max_ms),
            ),
            Figures::Overlap { occurrences } if *occurrences > 1 => {
                format!("{} ({occurrences} occurrences) ({place})", self.text)
            }
            Figures::Overlap { .. } => format!("{} ({place})", self.text),
        }
    }
}

/// `line:column` of a byte offset, both from 1, columns counted in bytes.
pub fn line_column(query: &str, offset: u32) -> String {
    let offset = (offset as usize).min(query.len());
    let before = &query.as_bytes()[..offset];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = offset - before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1) + 1;
    format!("{line}:{column}")
}

/// One step of an operator that makes one remark a step at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StepOf {
    /// The operator's.
    pub(crate) rank: u32,
    /// The step's number.
    pub(crate) step: u32,
}

/// The annotations of an evaluation, each text once.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    by_text: BTreeMap<String, Annotation>,
    /// Remarks of which the last one of a step counts, with their order in it.
    last: BTreeMap<StepOf, (u64, Annotation)>,
}

impl Annotations {
    /// Adds one. Of those that say the same the last one evaluated is shown, of
    /// those that gather figures the first.
    pub fn add(&mut self, mut annotation: Annotation) {
        if let Some(known) = self.by_text.get_mut(&annotation.text) {
            let comes_later = annotation.place.rank >= known.place.rank;
            if comes_later == annotation.gathers() {
                annotation.place = known.place;
            }
            annotation.absorb(known);
            *known = annotation;
        } else {
            self.by_text.insert(annotation.text.clone(), annotation);
        }
    }

    /// Adds one that stands only if no other of its step comes behind it.
    pub(crate) fn add_last(&mut self, at: StepOf, order: u64, annotation: Annotation) {
        let slot = self.last.entry(at).or_insert_with(|| (order, annotation.clone()));
        if slot.0 <= order {
            *slot = (order, annotation);
        }
    }

    /// Adds all of another evaluation's.
    pub fn merge(&mut self, other: Annotations) {
        for annotation in other.by_text.into_values() {
            self.add(annotation);
        }
        for (at, (order, annotation)) in other.last {
            self.add_last(at, order, annotation);
        }
    }

    /// The same at other places: what each of `from` says, `to` says there. What a
    /// remark shows of the text and which operator makes it move apart.
    pub(crate) fn moved(&self, from: &[Place], to: &[Place]) -> Annotations {
        let pairs = || from.iter().zip(to);
        let positions: HashMap<PositionRange, PositionRange> = pairs().map(|(f, t)| (f.pos, t.pos)).collect();
        let ranks: HashMap<u32, u32> = pairs().map(|(f, t)| (f.rank, t.rank)).collect();
        let rank = |rank: u32| ranks.get(&rank).copied().unwrap_or(rank);
        let moved = |annotation: &Annotation| {
            let place = annotation.place;
            let pos = positions.get(&place.pos).copied().unwrap_or(place.pos);
            Annotation { place: Place { pos, rank: rank(place.rank) }, ..annotation.clone() }
        };
        let last = |(at, (order, annotation)): (&StepOf, &(u64, Annotation))| {
            (StepOf { rank: rank(at.rank), ..*at }, (*order, moved(annotation)))
        };
        Annotations {
            by_text: self
                .by_text
                .iter()
                .map(|(text, annotation)| (text.clone(), moved(annotation)))
                .collect(),
            last: self.last.iter().map(last).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty() && self.last.is_empty()
    }

    /// Warnings and infos as the API shows them, sorted by text.
    pub fn print(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let mut warnings = Vec::new();
        let mut infos = Vec::new();
        let mut all = Annotations { by_text: self.by_text.clone(), last: BTreeMap::new() };
        for (_, annotation) in self.last.values() {
            all.add(annotation.clone());
        }
        for annotation in all.by_text.values() {
            let list = if annotation.severity == Severity::Warning { &mut warnings } else { &mut infos };
            list.push(annotation.print(query));
        }
        (warnings, infos)
    }
}

/// At most `max` of the texts (0 for all), and a last one that says how many were left out.
/// `kind` is `warning` or `info`.
pub fn cap(mut texts: Vec<String>, max: usize, kind: &str) -> Vec<String> {
    if max > 0 && texts.len() > max {
        let omitted = texts.len() - max;
        texts.truncate(max);
        texts.push(format!("{omitted} more {kind} annotations omitted"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_stands_once_at_its_last_place() {
        let mut all = Annotations::default();
        let place = |start, rank| Place { pos: PositionRange { start, end: start + 1 }, rank };
        all.add(Annotation::not_gauge("m", place(0, 0)));
        all.add(Annotation::not_gauge("m", place(4, 2)));
        // Evaluated later, as it was asked for later, but it stands before that.
        all.add(Annotation::not_gauge("m", place(2, 1)));
        let (warnings, infos) = all.print("a\nb c");
        assert_eq!(warnings, [r#"PromQL warning: this native histogram metric is not a gauge: "m" (2:3)"#]);
        assert!(infos.is_empty());
    }

    #[test]
    fn of_remarks_that_count_as_last_the_last_of_each_step_stands() {
        let at = |step| StepOf { rank: 3, step };
        let info = |lhs| Annotation::incompatible_types(lhs, "+", "float", Place::default());
        let (mut one, mut other) = (Annotations::default(), Annotations::default());
        one.add_last(at(0), 7, info("a"));
        one.add_last(at(1), 1, info("b"));
        other.add_last(at(0), 3, info("c"));
        other.add_last(at(1), 2, info("d"));
        one.merge(other);
        assert!(!one.is_empty());
        let infos = one.print("x").1;
        assert_eq!(infos.len(), 2);
        assert!(infos[0].contains("a + float") && infos[1].contains("d + float"), "{infos:?}");
    }

    #[test]
    fn figures_gather() {
        let mut all = Annotations::default();
        for (at_ms, rank) in [(60_000, 1), (0, 0)] {
            let at = ForcedMonotonicity { at_ms, min_bucket: 0.1, max_bucket: 2.0, max_diff: 3.25 };
            let place = Place { pos: PositionRange { start: 2 * rank, end: 9 }, rank };
            all.add(Annotation::forced_monotonicity("", place, at));
        }
        let text = all.print("x").1.remove(0);
        assert!(
            text.ends_with(
                ", from buckets 0.1 to 2, with a max diff of 3.2, over 2 samples from \
                 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)"
            ),
            "{text}"
        );
    }

    #[test]
    fn many_are_cut_with_a_count() {
        let texts = (0..12).map(|i| i.to_string()).collect();
        assert_eq!(cap(texts, 10, "warning").last().unwrap(), "2 more warning annotations omitted");
    }
}
