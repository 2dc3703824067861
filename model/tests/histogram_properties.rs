//! What must hold of histograms whatever their buckets.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::quantile::{histogram_fraction, histogram_quantile};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, ClassicHistogram, Span, TrimKeep, nhcb_to_classic};
use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Labels};
use proptest::prelude::*;

type Side = BTreeMap<i32, i64>;

fn side() -> impl Strategy<Value = Side> {
    proptest::collection::btree_map(-40..40i32, 0..50i64, 0..12)
}

/// Spans of populated and unpopulated buckets, some split or padded with empty spans.
fn layout(buckets: &Side) -> (Arc<[Span]>, Vec<i64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for (i, index) in buckets.keys().enumerate() {
        let gap = index - next;
        match spans.last_mut() {
            Some(last) if gap == 0 && i % 3 != 0 => last.length += 1,
            _ => {
                spans.push(Span { offset: gap, length: 1 });
                if i % 5 == 4 {
                    spans.push(Span { offset: 0, length: 0 });
                }
            }
        }
        next = index + 1;
    }
    (Arc::from(spans), buckets.values().copied().collect())
}

fn integer_of(schema: i32, positive: &Side, negative: &Side, zero: u64) -> Histogram {
    let differences = |counts: Vec<i64>| {
        let mut before = 0;
        counts.into_iter().map(|count| count - std::mem::replace(&mut before, count)).collect::<Vec<i64>>()
    };
    let (positive_spans, positive_counts) = layout(positive);
    let (negative_spans, negative_counts) = layout(negative);
    let all = positive.values().sum::<i64>() + negative.values().sum::<i64>();
    Histogram {
        schema,
        zero_count: zero,
        count: all as u64 + zero,
        sum: all as f64 * 1.5,
        positive_spans,
        negative_spans,
        positive_buckets: differences(positive_counts),
        negative_buckets: differences(negative_counts),
        ..Histogram::default()
    }
}

prop_compose! {
    fn integer()(schema in -2..4i32, positive in side(), negative in side(), zero in 0..9u64) -> Histogram {
        integer_of(schema, &positive, &negative, zero)
    }
}

prop_compose! {
    fn custom()(
        bounds in proptest::collection::btree_set(-20..20i32, 1..10),
        counts in proptest::collection::vec(0..50i64, 11),
    ) -> FloatHistogram {
        let buckets: Vec<f64> = counts.iter().take(bounds.len() + 1).map(|count| *count as f64).collect();
        let spans = [Span { offset: 0, length: u32::try_from(buckets.len()).unwrap() }];
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: buckets.iter().sum(),
            sum: 7.0,
            positive_spans: Arc::from(spans.as_slice()),
            positive_buckets: buckets,
            custom_values: bounds.iter().map(|bound| f64::from(*bound)).collect(),
            ..FloatHistogram::default()
        }
    }
}

/// What is in which bucket, empty ones left out.
fn contents(h: &FloatHistogram) -> [BTreeMap<i32, u64>; 2] {
    let populated = |buckets: Vec<model::histogram::Bucket>| {
        buckets.into_iter().filter(|b| b.count != 0.0).map(|b| (b.index, b.count.to_bits())).collect()
    };
    [populated(h.positive_buckets().collect()), populated(h.negative_buckets().collect())]
}

fn total(h: &FloatHistogram) -> f64 {
    h.zero_count + h.positive_buckets.iter().sum::<f64>() + h.negative_buckets.iter().sum::<f64>()
}

proptest! {
    #[test]
    fn made_histograms_are_valid(h in integer()) {
        prop_assert_eq!(h.validate(), Ok(()));
        prop_assert_eq!(h.to_float().validate(), Ok(()));
    }

    #[test]
    fn compacting_keeps_bucket_contents(h in integer(), allowed in 0..6usize) {
        let mut whole = h.clone();
        whole.compact(allowed);
        prop_assert_eq!(whole.validate(), Ok(()));
        let mut float = h.to_float();
        float.compact(allowed);
        prop_assert_eq!(float.validate(), Ok(()));
        prop_assert_eq!(contents(&float), contents(&h.to_float()));
        prop_assert!(float.equals(&whole.to_float()), "{:?} {:?}", float, whole);
        let again = float.clone();
        float.compact(allowed);
        prop_assert!(float.equals(&again));
    }

    #[test]
    fn lowering_the_resolution_keeps_totals(h in integer(), steps in 1..3i32) {
        let mut lower = h.clone();
        lower.reduce_resolution(h.schema - steps).unwrap();
        prop_assert_eq!(lower.validate(), Ok(()));
        let float = h.to_float().copy_to_schema(h.schema - steps).unwrap();
        prop_assert!(float.equals(&lower.to_float()));
        prop_assert_eq!(total(&float), total(&h.to_float()));
    }

    #[test]
    fn subtracting_undoes_adding(a in integer(), b in integer()) {
        let (a, b) = (a.to_float(), b.to_float());
        let mut sum = a.clone();
        sum.add(&b).unwrap();
        prop_assert_eq!(total(&sum), total(&a) + total(&b));
        sum.sub(&b).unwrap();
        let mut wanted = a.copy_to_schema(a.schema.min(b.schema)).unwrap();
        wanted.compact(0);
        sum.compact(0);
        prop_assert!(sum.equals(&wanted), "{} {}", sum, wanted);
    }

    #[test]
    fn adding_is_commutative(a in integer(), b in integer()) {
        let (a, b) = (a.to_float(), b.to_float());
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.add(&b).unwrap();
        ba.add(&a).unwrap();
        ab.compact(0);
        ba.compact(0);
        prop_assert!(ab.equals(&ba), "{} {}", ab, ba);
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_what_it_covers(
        a in (side(), side()), b in (side(), side()), zero in 0..9u64, exponent in -40..30i32,
    ) {
        let a = integer_of(0, &a.0, &a.1, zero).to_float();
        let outside = |side: &Side| side.range(exponent + 1..).map(|(i, c)| (*i, *c)).collect::<Side>();
        let mut b = integer_of(0, &outside(&b.0), &outside(&b.1), zero).to_float();
        b.zero_threshold = 2f64.powi(exponent);
        for (mut sum, other) in [(a.clone(), &b), (b.clone(), &a)] {
            let mut exact = sum.clone();
            sum.add(other).unwrap();
            prop_assert_eq!(total(&sum), total(&a) + total(&b), "{} {} {}", a, b, sum);
            prop_assert!(sum.zero_threshold >= b.zero_threshold);
            let mut lost = None;
            exact.kahan_add(other, &mut lost).unwrap();
            exact.compact(0);
            sum.compact(0);
            prop_assert!(exact.equals(&sum), "{} {}", exact, sum);
        }
    }

    #[test]
    fn compensated_adding_is_exact(parts in proptest::collection::vec((integer(), 1e-3..1e17f64), 1..8)) {
        // Adding everything and its opposite leaves nothing, to the last bit.
        let mut sum = FloatHistogram { schema: 3, ..FloatHistogram::default() };
        let mut lost = None;
        let scaled: Vec<FloatHistogram> = parts.iter().map(|(h, factor)| {
            let mut h = h.to_float();
            h.mul(factor.floor().max(1.0));
            h
        }).collect();
        for part in &scaled {
            sum.kahan_add(part, &mut lost).unwrap();
        }
        for part in scaled.iter().rev() {
            let mut opposite = part.clone();
            opposite.negate();
            sum.kahan_add(&opposite, &mut lost).unwrap();
        }
        sum.add(&lost.unwrap()).unwrap();
        sum.compact(0);
        prop_assert_eq!(total(&sum), 0.0);
        prop_assert_eq!(sum.count, 0.0);
    }

    #[test]
    fn growing_counters_are_not_reset(a in integer(), b in integer()) {
        let before = a.to_float();
        let mut now = a.to_float();
        now.add(&b.to_float()).unwrap();
        prop_assert!(!now.detect_reset(&before), "{} after {}", now, before);
        now.counter_reset_hint = CounterResetHint::CounterReset;
        prop_assert!(now.detect_reset(&before));
        if b.count > 0 {
            prop_assert!(before.detect_reset(&now));
        }
    }

    #[test]
    fn growing_custom_buckets_are_not_reset(a in custom(), b in custom()) {
        let mut now = a.clone();
        let notes = now.add(&b).unwrap();
        prop_assert_eq!(notes.nhcb_bounds_reconciled, a.custom_values != b.custom_values);
        prop_assert_eq!(now.validate(), Ok(()));
        prop_assert!(!now.detect_reset(&a), "{} after {}", now, a);
        prop_assert_eq!(total(&now), total(&a) + total(&b));
    }

    #[test]
    fn quantiles_rise(h in prop_oneof![integer().prop_map(|h| h.to_float()), custom()], a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
        prop_assume!(h.count > 0.0);
        let [low, high] = [a.min(b), a.max(b)].map(|q| histogram_quantile(q, &h).value);
        prop_assert!(low <= high + 1e-9 * high.abs().max(1.0), "{low} > {high} of {h}");
    }

    #[test]
    fn fractions_are_shares(h in integer(), a in -50.0..50.0f64, b in -50.0..50.0f64) {
        let h = h.to_float();
        prop_assume!(h.count > 0.0 && a < b);
        let share = histogram_fraction(a, b, &h).value;
        prop_assert!((-1e-12..=1.0 + 1e-12).contains(&share), "{}", share);
        prop_assert_eq!(histogram_fraction(f64::NEG_INFINITY, f64::INFINITY, &h).value, 1.0);
    }

    #[test]
    fn trims_share_out_the_buckets(h in integer(), at in -100.0..100.0f64) {
        let h = h.to_float();
        let (mut below, mut above) = (h.clone(), h.clone());
        below.trim_buckets(at, TrimKeep::Below);
        above.trim_buckets(at, TrimKeep::Above);
        prop_assert!((total(&below) + total(&above) - total(&h)).abs() < 1e-9 * h.count.max(1.0));
    }

    #[test]
    fn walking_back_is_walking_reversed(h in integer()) {
        let h = h.to_float();
        let mut back: Vec<_> = h.all_buckets().rev().collect();
        back.reverse();
        prop_assert_eq!(h.all_buckets().collect::<Vec<_>>(), back);
    }

    #[test]
    fn classic_series_survive_the_way_there_and_back(h in custom()) {
        let labels = Labels::from_pairs([("__name__", "x")]);
        let mut classic = ClassicHistogram::default();
        nhcb_to_classic(&HistogramValue::Float(h.clone()), &labels, |labels, value| match labels.get("le") {
            Some(le) => classic.set_bucket_count(model::float::parse(le).unwrap(), value).unwrap(),
            None if labels.metric_name() == "x_sum" => classic.set_sum(value).unwrap(),
            None => classic.set_count(value).unwrap(),
        }).unwrap();
        let mut back = classic.convert().unwrap().to_float();
        let mut wanted = h;
        wanted.compact(0);
        back.compact(0);
        prop_assert!(back.equals(&wanted), "{} {}", back, wanted);
    }

    #[test]
    fn malformed_histograms_are_refused_not_fatal(
        offsets in proptest::collection::vec((any::<i32>(), prop_oneof![0..5u32, any::<u32>()]), 0..5),
        counts in proptest::collection::vec(any::<f64>(), 0..8),
        schema in any::<i32>(),
        zero_threshold in any::<f64>(),
        custom_values in proptest::collection::vec(any::<f64>(), 0..4),
        pick in 0..3u8,
    ) {
        let schema = match pick { 0 => schema, 1 => schema.rem_euclid(13) - 4, _ => CUSTOM_BUCKETS_SCHEMA };
        let spans: Arc<[Span]> = offsets.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        let h = FloatHistogram {
            schema, zero_threshold, count: 3.0, zero_count: 1.0,
            positive_spans: spans.clone(), negative_spans: spans,
            positive_buckets: counts.clone(), negative_buckets: counts,
            custom_values: Arc::from(custom_values),
            ..FloatHistogram::default()
        };
        let _ = h.validate();
        let _ = (h.to_string(), h.test_expression());
        let _ = (histogram_quantile(0.3, &h), histogram_quantile(0.7, &h), histogram_fraction(-1.0, 1.0, &h));
        let _ = h.detect_reset(&h);
        let mut copy = h.clone();
        let _ = copy.reduce_resolution(schema.saturating_sub(3));
        copy.compact(3);
        for other in [&h, &FloatHistogram::default()] {
            let mut sum = copy.clone();
            let _ = sum.add(other);
            let mut lost = None;
            let mut sum = copy.clone();
            let _ = sum.kahan_add(other, &mut lost);
            let mut sum = other.clone();
            let _ = sum.sub(&copy);
            let _ = other.detect_reset(&copy);
        }
        copy.trim_buckets(0.5, TrimKeep::Above);
    }
}
