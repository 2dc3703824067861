//! The notation of series in tests: labels, then values.
//!
//! ```text
//! up{job="node"} 1 2+3x2 _ stale {{schema:1 buckets:[1 2]}}x3
//!                └┬┘└─┬─┘
//!                 1   2 5 8
//! ```
//!
//! Source: Prometheus `promql/parser/generated_parser.y`, `series_description`.

mod histogram;

use std::sync::Arc;

use model::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, stale_nan};

use crate::lexer::{Lexer, TokenKind};
use crate::parser::{Features, ParseErrors, Parser, Rule, Stop, is_metric_name, parse_count, span};
use histogram::combine;

/// Most values of one series: repetitions are short to write.
pub const SERIES_VALUES_MAX: usize = 10_000_000;

/// One value of a series in test notation.
#[derive(Clone, Debug)]
pub struct SequenceValue {
    /// Whether there is no sample.
    pub omitted: bool,
    /// The sample where it is no histogram.
    pub value: f64,
    /// The sample where it is one. Repeated values share it.
    pub histogram: Option<Arc<FloatHistogram>>,
    /// Whether the histogram's counter-reset hint was written, so that tests
    /// compare it.
    pub counter_reset_hint_set: bool,
}

impl SequenceValue {
    fn omitted() -> SequenceValue {
        SequenceValue { omitted: true, ..SequenceValue::float(0.0) }
    }

    fn float(value: f64) -> SequenceValue {
        SequenceValue { omitted: false, value, histogram: None, counter_reset_hint_set: false }
    }

    fn histogram(histogram: Arc<FloatHistogram>, counter_reset_hint_set: bool) -> SequenceValue {
        SequenceValue { histogram: Some(histogram), counter_reset_hint_set, ..SequenceValue::float(0.0) }
    }
}

/// Parses a series in test notation. `1x2` are three values: the first and two more.
///
/// ```
/// let (labels, values) = promql::parse_series_description("up{job=\"a\"} 1+2x2 _ stale").unwrap();
/// assert_eq!(labels.get("job"), Some("a"));
/// let floats: Vec<f64> = values.iter().take(3).map(|v| v.value).collect();
/// assert_eq!(floats, [1.0, 3.0, 5.0]);
/// assert!(values[3].omitted && model::is_stale_nan(values[4].value));
/// ```
///
/// # Errors
/// The text is no series description, or stands for more than
/// [`SERIES_VALUES_MAX`] values.
pub fn parse_series_description(text: &str) -> Result<(Labels, Vec<SequenceValue>), ParseErrors> {
    let bytes = text.as_bytes();
    let mut parser = Parser::new(bytes, Lexer::for_series(bytes), Features::default())?;
    let parsed = parser.series_description();
    parser.finish(parsed)
}

impl Parser<'_> {
    fn series_description(&mut self) -> Rule<(Labels, Vec<SequenceValue>)> {
        let labels = self.metric()?;
        let mut values = Vec::new();
        while self.accept(TokenKind::Space).is_some() {
            let item = self.series_item(&mut values);
            if item == Err(Stop::Unexpected) {
                self.unexpected("series values", "");
                // Upstream goes on behind a space, and only there.
                if self.peek() != TokenKind::Space {
                    return Err(Stop::Reported);
                }
                continue;
            }
            item?;
        }
        self.expect(TokenKind::Eof)?;
        Ok((labels, values))
    }

    /// A name with or without labels, or labels alone.
    fn metric(&mut self) -> Rule<Labels> {
        let name = if is_metric_name(self.peek()) {
            let token = self.take();
            Some(self.text(token))
        } else {
            None
        };
        let mut labels = LabelsBuilder::new();
        if self.peek() == TokenKind::LeftBrace {
            self.label_set(&mut labels)?;
        }
        if let Some(name) = name {
            labels.set(METRIC_NAME, name);
        }
        Ok(labels.labels())
    }

    fn label_set(&mut self, labels: &mut LabelsBuilder) -> Rule<()> {
        const CONTEXT: &str = "label set";
        self.take();
        loop {
            if self.accept(TokenKind::RightBrace).is_some() {
                return Ok(());
            }
            self.label_set_item(labels, CONTEXT)?;
            if self.accept(TokenKind::RightBrace).is_some() {
                return Ok(());
            }
            let comma = self.expect(TokenKind::Comma);
            self.within(comma, CONTEXT, "\",\" or \"}\"")?;
        }
    }

    fn label_set_item(&mut self, labels: &mut LabelsBuilder, context: &str) -> Rule<()> {
        let token = match self.peek() {
            TokenKind::Identifier | TokenKind::String => self.take(),
            _ => return self.within(Err(Stop::Unexpected), context, "identifier or \"}\""),
        };
        let quoted = token.kind == TokenKind::String;
        let name = if quoted { self.label_text(token) } else { self.text(token).to_owned() };
        if self.accept(TokenKind::Eql).is_none() {
            if quoted {
                labels.set(METRIC_NAME, &name);
                return Ok(());
            }
            return self.within(Err(Stop::Unexpected), context, "\"=\"");
        }
        let value = self.expect(TokenKind::String);
        let value = self.within(value, context, "string")?;
        let value = self.label_text(value);
        labels.set(&name, &value);
        Ok(())
    }

    /// One value or a run of them; nothing where none starts here.
    fn series_item(&mut self, values: &mut Vec<SequenceValue>) -> Rule<()> {
        match self.peek() {
            TokenKind::Blank => {
                self.take();
                let count = match self.accept(TokenKind::Times) {
                    Some(_) => self.repetitions(values.len(), 0)?,
                    None => 1,
                };
                values.extend(std::iter::repeat_n(SequenceValue::omitted(), count));
                Ok(())
            }
            TokenKind::OpenHist => self.histogram_item(values),
            TokenKind::Identifier
            | TokenKind::Number
            | TokenKind::Duration
            | TokenKind::Add
            | TokenKind::Sub => self.float_item(values),
            _ => Ok(()),
        }
    }

    fn float_item(&mut self, values: &mut Vec<SequenceValue>) -> Rule<()> {
        let mut value = if let Some(token) = self.accept(TokenKind::Identifier) {
            if self.text(token) != "stale" {
                self.unexpected("series values", "number or \"stale\"");
            }
            stale_nan()
        } else {
            self.signed_number()?
        };
        let step = match self.peek() {
            TokenKind::Times => None,
            TokenKind::Add | TokenKind::Sub => Some(self.signed_number()?),
            _ => {
                values.push(SequenceValue::float(value));
                return Ok(());
            }
        };
        self.expect(TokenKind::Times)?;
        let count = self.repetitions(values.len(), 1)?;
        for _ in 0..count {
            values.push(SequenceValue::float(value));
            value += step.unwrap_or(0.0);
        }
        Ok(())
    }

    fn histogram_item(&mut self, values: &mut Vec<SequenceValue>) -> Rule<()> {
        let (base, mut hint_set) = self.histogram_value()?;
        let base = Arc::new(base);
        match self.peek() {
            TokenKind::Times => {
                self.take();
                let count = self.repetitions(values.len(), 1)?;
                values.extend(std::iter::repeat_n(SequenceValue::histogram(base, hint_set), count));
            }
            kind @ (TokenKind::Add | TokenKind::Sub) => {
                self.take();
                let step;
                (step, hint_set) = self.histogram_value()?;
                self.expect(TokenKind::Times)?;
                let count = self.repetitions(values.len(), 1)?;
                let mut current = base;
                values.push(SequenceValue::histogram(current.clone(), hint_set));
                for _ in 1..count {
                    match combine(&current, &step, kind == TokenKind::Sub) {
                        Ok(next) => current = Arc::new(next),
                        Err(message) => {
                            let pos = self.last_span();
                            self.error(pos, message);
                            break;
                        }
                    }
                    values.push(SequenceValue::histogram(current.clone(), hint_set));
                }
            }
            _ => values.push(SequenceValue::histogram(base, hint_set)),
        }
        Ok(())
    }

    /// The number behind `x`, and `more`: how many values that makes.
    fn repetitions(&mut self, so_far: usize, more: usize) -> Rule<usize> {
        let token = self.expect(TokenKind::Number)?;
        let count = parse_count(self.text(token)).unwrap_or_else(|error| {
            self.error(span(token), format!("invalid repetition in series values: {error}"));
            0
        });
        let count = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(more);
        if so_far.saturating_add(count) > SERIES_VALUES_MAX {
            let message = format!("too many series values: more than {SERIES_VALUES_MAX}");
            return self.stop(span(token), message);
        }
        Ok(count)
    }
}
