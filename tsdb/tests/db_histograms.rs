//! Which histograms the database takes.

mod db_support;

use db_support::{labels, open, options};
use model::{Appendable, FloatHistogram, Histogram, HistogramSample, HistogramValue, Outcome, Span};

fn integer() -> Histogram {
    Histogram {
        schema: 1,
        count: 3,
        sum: 4.0,
        positive_spans: [Span { offset: 0, length: 2 }].into(),
        positive_buckets: vec![1, 1],
        ..Histogram::default()
    }
}

fn float() -> FloatHistogram {
    FloatHistogram {
        schema: 1,
        count: 3.0,
        sum: 4.0,
        positive_spans: [Span { offset: 0, length: 2 }].into(),
        positive_buckets: vec![1.0, 2.0],
        ..FloatHistogram::default()
    }
}

#[test]
fn malformed_histograms_are_refused_at_append() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(options(dir.path()));
    let mut appender = db.appender().unwrap();
    let series = appender.series(&labels("h", &[])).unwrap();
    let mut t = 0;
    let mut append = |value: HistogramValue| {
        t += 1;
        let sample = HistogramSample { series, timestamp_ms: t, start_timestamp_ms: 0, value };
        let mut outcomes = Vec::new();
        appender.append_histograms(vec![sample], &mut outcomes);
        outcomes.remove(0)
    };
    let malformed = [
        HistogramValue::Integer(Histogram { schema: 99, ..integer() }),
        HistogramValue::Integer(Histogram { count: 4, ..integer() }),
        HistogramValue::Integer(Histogram { positive_buckets: vec![1, -2], ..integer() }),
        HistogramValue::Integer(Histogram { positive_buckets: vec![3], ..integer() }),
        HistogramValue::Integer(Histogram {
            positive_spans: [Span { offset: 0, length: 1 }, Span { offset: -5, length: 1 }].into(),
            ..integer()
        }),
        HistogramValue::Float(FloatHistogram { count: -1.0, ..float() }),
        HistogramValue::Float(FloatHistogram { zero_count: -1.0, ..float() }),
        HistogramValue::Float(FloatHistogram { positive_buckets: vec![1.0, -2.0], ..float() }),
        HistogramValue::Float(FloatHistogram { positive_buckets: vec![1.0], ..float() }),
    ];
    for (n, value) in malformed.into_iter().enumerate() {
        let outcome = append(value);
        assert!(matches!(outcome, Outcome::InvalidHistogram(_)), "{n}: {outcome:?}");
    }
    assert_eq!(append(HistogramValue::Integer(integer())), Outcome::Accepted);
    assert_eq!(append(HistogramValue::Float(float())), Outcome::Accepted);
}
