//! Histograms in test notation: `{{schema:1 count:3 buckets:[1 2] offset:-1}}`.

use std::sync::Arc;

use model::histogram::no_spans;
use model::{CounterResetHint, FloatHistogram, Span};

use crate::ast::PositionRange;
use crate::lexer::TokenKind;
use crate::parser::{Parser, Rule, Stop, parse_count, span};

/// The keys that were written.
#[derive(Default)]
struct Description {
    schema: Option<i64>,
    sum: Option<f64>,
    count: Option<f64>,
    z_bucket: Option<f64>,
    z_bucket_w: Option<f64>,
    custom_values: Option<Vec<f64>>,
    buckets: Option<Vec<f64>>,
    offset: Option<i64>,
    n_buckets: Option<Vec<f64>>,
    n_offset: Option<i64>,
    counter_reset_hint: Option<CounterResetHint>,
}

impl Description {
    fn build(self) -> FloatHistogram {
        let (positive_spans, positive_buckets) = side(self.buckets, self.offset);
        let (negative_spans, negative_buckets) = side(self.n_buckets, self.n_offset);
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint.unwrap_or_default(),
            schema: self.schema.unwrap_or_default() as i32,
            zero_threshold: self.z_bucket_w.unwrap_or_default(),
            zero_count: self.z_bucket.unwrap_or_default(),
            count: self.count.unwrap_or_default(),
            sum: self.sum.unwrap_or_default(),
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: self.custom_values.unwrap_or_default().into(),
        }
    }
}

/// Buckets of one sign, which start at `offset`.
fn side(buckets: Option<Vec<f64>>, offset: Option<i64>) -> (Arc<[Span]>, Vec<f64>) {
    let buckets = buckets.unwrap_or_default();
    if buckets.is_empty() {
        return (no_spans(), buckets);
    }
    let length = u32::try_from(buckets.len()).unwrap_or(u32::MAX);
    (Arc::new([Span { offset: offset.unwrap_or_default() as i32, length }]), buckets)
}

/// Sets a key, unless it was set before.
fn set<T>(slot: &mut Option<T>, value: T, key: &'static str) -> Option<&'static str> {
    if slot.is_some() {
        return Some(key);
    }
    *slot = Some(value);
    None
}

/// The next histogram of a series that grows or shrinks by `step`.
pub(super) fn combine(
    current: &FloatHistogram,
    step: &FloatHistogram,
    subtract: bool,
) -> Result<FloatHistogram, String> {
    if current.schema > step.schema {
        return Err(format!(
            "error combining histograms: cannot merge from schema {} to {}",
            step.schema, current.schema
        ));
    }
    let mut next = current.clone();
    let outcome = if subtract { next.sub(step) } else { next.add(step) };
    outcome.map_err(|error| error.to_string())?;
    Ok(next)
}

impl Parser<'_> {
    /// A histogram, and whether its counter-reset hint was written; the next
    /// token is the opening one.
    pub(super) fn histogram_value(&mut self) -> Rule<(FloatHistogram, bool)> {
        self.expect(TokenKind::OpenHist)?;
        let mut description = Description::default();
        if self.accept(TokenKind::Space).is_some() {
            self.expect(TokenKind::CloseHist)?;
        } else if self.accept(TokenKind::CloseHist).is_none() {
            self.histogram_key(&mut description)?;
            let rest = self.histogram_keys(&mut description);
            let expected = "histogram description key, e.g. buckets:[5 10 7]";
            self.within(rest, "histogram description", expected)?;
        }
        let hint_set = description.counter_reset_hint.is_some();
        Ok((description.build(), hint_set))
    }

    /// The keys behind the first, and the end.
    fn histogram_keys(&mut self, description: &mut Description) -> Rule<()> {
        loop {
            if self.accept(TokenKind::CloseHist).is_some() {
                return Ok(());
            }
            self.expect(TokenKind::Space)?;
            if self.accept(TokenKind::CloseHist).is_some() {
                return Ok(());
            }
            self.histogram_key(description)?;
        }
    }

    fn histogram_key(&mut self, d: &mut Description) -> Rule<()> {
        use TokenKind::*;
        let key = self.peek();
        if !matches!(
            key,
            SchemaDesc
                | SumDesc
                | CountDesc
                | ZeroBucketDesc
                | ZeroBucketWidthDesc
                | CustomValuesDesc
                | BucketsDesc
                | OffsetDesc
                | NegativeBucketsDesc
                | NegativeOffsetDesc
                | CounterResetHintDesc
        ) {
            return Err(Stop::Unexpected);
        }
        self.take();
        self.expect(Colon)?;
        let duplicate = match key {
            SchemaDesc => set(&mut d.schema, self.integer()?, "schema"),
            SumDesc => set(&mut d.sum, self.signed_number()?, "sum"),
            CountDesc => set(&mut d.count, self.signed_number()?, "count"),
            ZeroBucketDesc => set(&mut d.z_bucket, self.signed_number()?, "z_bucket"),
            ZeroBucketWidthDesc => {
                let token = self.number_token()?;
                set(&mut d.z_bucket_w, self.number_value(token), "z_bucket_w")
            }
            CustomValuesDesc => set(&mut d.custom_values, self.bucket_list()?, "custom_values"),
            BucketsDesc => set(&mut d.buckets, self.bucket_list()?, "buckets"),
            OffsetDesc => set(&mut d.offset, self.integer()?, "offset"),
            NegativeBucketsDesc => set(&mut d.n_buckets, self.bucket_list()?, "n_buckets"),
            NegativeOffsetDesc => set(&mut d.n_offset, self.integer()?, "n_offset"),
            _ => set(&mut d.counter_reset_hint, self.counter_reset_hint()?, "counter_reset_hint"),
        };
        if let Some(key) = duplicate {
            self.error(PositionRange::default(), format!("duplicate key \"{key}\" in histogram"));
        }
        Ok(())
    }

    fn integer(&mut self) -> Rule<i64> {
        let negative = self.accept(TokenKind::Sub).is_some();
        let token = self.expect(TokenKind::Number)?;
        let count = parse_count(self.text(token)).unwrap_or_else(|error| {
            self.error(span(token), format!("invalid repetition in series values: {error}"));
            0
        });
        let value = count as i64;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    fn counter_reset_hint(&mut self) -> Rule<CounterResetHint> {
        let hint = match self.peek() {
            TokenKind::UnknownCounterReset => CounterResetHint::Unknown,
            TokenKind::CounterReset => CounterResetHint::CounterReset,
            TokenKind::NotCounterReset => CounterResetHint::NotCounterReset,
            TokenKind::GaugeType => CounterResetHint::Gauge,
            _ => return Err(Stop::Unexpected),
        };
        self.take();
        Ok(hint)
    }

    fn bucket_list(&mut self) -> Rule<Vec<f64>> {
        self.expect(TokenKind::LeftBracket)?;
        let mut buckets = vec![self.signed_number()?];
        loop {
            match self.peek() {
                TokenKind::RightBracket => {
                    self.take();
                    return Ok(buckets);
                }
                TokenKind::Space => {
                    self.take();
                    if self.accept(TokenKind::RightBracket).is_some() {
                        return Ok(buckets);
                    }
                    buckets.push(self.signed_number()?);
                }
                TokenKind::Eof | TokenKind::Error => return Err(Stop::Unexpected),
                // Upstream drops what sticks to a number: `[5-3]` is `[5]`.
                _ => {
                    self.take();
                }
            }
        }
    }
}
