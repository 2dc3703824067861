//! Histograms as text, in two forms.
//!
//! ```text
//! {count:4, sum:5.3, [-1,1]:2, (1,2]:2}                     answers, labels of count_values
//! {{schema:1 count:4 sum:5.3 buckets:[2 2] offset:1}}       rule tests
//! ```

use std::fmt;

use super::{Bucket, CounterResetHint, FloatHistogram, Histogram};
use crate::float::format_g;

impl fmt::Display for FloatHistogram {
    /// Count, sum and the populated buckets from the lowest up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        let below = self.negative_buckets().rev();
        for bucket in below.chain(self.zero_bucket()).chain(self.positive_buckets()) {
            if bucket.count != 0.0 {
                write!(f, ", {bucket}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Display for Histogram {
    /// Count, sum and the populated buckets from the lowest up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, format_g(self.sum))?;
        let below: Vec<Bucket<u64>> = self.negative_buckets().collect();
        let all = below.into_iter().rev().chain(self.zero_bucket()).chain(self.positive_buckets());
        for bucket in all.filter(|bucket| bucket.count != 0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

fn list(values: &[f64]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format_g(*value)).collect();
    format!("[{}]", texts.join(" "))
}

impl FloatHistogram {
    /// The histogram in the notation of rule tests, `{{schema:1 count:4 …}}`.
    /// Fields of the usual value are left out, gaps between buckets written as
    /// zeros; buckets more than a million apart are written as neighbours, as
    /// the notation has no gaps.
    pub fn test_expression(&self) -> String {
        let mut whole = self.clone();
        whole.compact(usize::MAX);
        let mut fields = Vec::new();
        if whole.schema != 0 {
            fields.push(format!("schema:{}", whole.schema));
        }
        let numbers = [
            ("count", whole.count),
            ("sum", whole.sum),
            ("z_bucket", whole.zero_count),
            ("z_bucket_w", whole.zero_threshold),
        ];
        for (name, value) in numbers {
            if value != 0.0 {
                fields.push(format!("{name}:{}", format_g(value)));
            }
        }
        if whole.uses_custom_buckets() {
            fields.push(format!("custom_values:{}", list(&whole.custom_values)));
        }
        match whole.counter_reset_hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::CounterReset => fields.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotCounterReset => fields.push("counter_reset_hint:not_reset".to_owned()),
            CounterResetHint::Gauge => fields.push("counter_reset_hint:gauge".to_owned()),
        }
        let sides = [
            ("", &whole.positive_spans, &whole.positive_buckets),
            ("n_", &whole.negative_spans, &whole.negative_buckets),
        ];
        for (prefix, spans, counts) in sides {
            if let Some(offset) = spans.first().map(|span| span.offset).filter(|offset| *offset != 0) {
                fields.push(format!("{prefix}offset:{offset}"));
            }
            if !counts.is_empty() {
                fields.push(format!("{prefix}buckets:{}", list(counts)));
            }
        }
        format!("{{{{{}}}}}", fields.join(" "))
    }
}
