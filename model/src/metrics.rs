//! Own metrics: counters, gauges, histograms and summaries of every subsystem.
//!
//! A subsystem makes its instruments through a [`Registry`], keeps the cheap
//! handles and updates them with atomics; `web` gathers all families and writes
//! them in the format that a reader asks for. Names, types and labels are
//! upstream's (ledger section SELF-METRICS), which has summaries and native
//! histograms beside the classic kinds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::histogram::FloatHistogram;
use crate::metadata::MetricType;

/// All metrics of one name at one moment.
#[derive(Clone, Debug)]
pub struct Family {
    /// The metric's name as exposed, `_total` included.
    pub name: String,
    /// Its help text.
    pub help: String,
    /// Its type.
    pub metric_type: MetricType,
    /// One entry a set of labels, sorted by labels.
    pub metrics: Vec<Metric>,
}

/// One metric of a family.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: MetricValue,
}

/// The value of a metric.
#[derive(Clone, Debug)]
pub enum MetricValue {
    /// A counter, gauge or untyped value.
    Single(f64),
    /// A summary.
    Summary {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// (quantile, value), NaN where nothing was observed lately.
        quantiles: Vec<(f64, f64)>,
    },
    /// A histogram.
    Histogram {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// (upper bound, cumulative count), without +Inf; empty where only native.
        buckets: Vec<(f64, u64)>,
        /// The native form where the instrument keeps one.
        native: Option<FloatHistogram>,
    },
}

/// Something that yields families when asked.
pub trait Collect: Send + Sync {
    /// Adds its families.
    fn collect(&self, families: &mut Vec<Family>);

    /// See [`Registry::age`].
    fn age(&self) {}
}

/// The instruments of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Registry {
    collectors: Arc<Mutex<Vec<Arc<dyn Collect>>>>,
}

impl Registry {
    /// A registry without instruments.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a source of families that computes them when asked.
    pub fn register(&self, collector: Arc<dyn Collect>) {
        self.collectors.lock().push(collector);
    }

    /// Adds a source of families from a function.
    pub fn register_fn(&self, collect: impl Fn(&mut Vec<Family>) + Send + Sync + 'static) {
        struct FromFn<F>(F);
        impl<F: Fn(&mut Vec<Family>) + Send + Sync> Collect for FromFn<F> {
            fn collect(&self, families: &mut Vec<Family>) {
                (self.0)(families);
            }
        }
        self.register(Arc::new(FromFn(collect)));
    }

    /// A gauge whose value is computed when asked.
    pub fn gauge_fn(&self, name: &str, help: &str, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.single_fn(name, help, MetricType::Gauge, value);
    }

    /// A counter whose value is computed when asked.
    pub fn counter_fn(&self, name: &str, help: &str, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.single_fn(name, help, MetricType::Counter, value);
    }

    fn single_fn(
        &self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let (name, help) = (name.to_owned(), help.to_owned());
        self.register_fn(move |families| {
            families.push(Family {
                name: name.clone(),
                help: help.clone(),
                metric_type,
                metrics: vec![Metric { labels: Vec::new(), value: MetricValue::Single(value()) }],
            });
        });
    }

    /// A counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counter_vec(name, help, &[]).with(&[])
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauge_vec(name, help, &[]).with(&[])
    }

    /// A histogram without labels.
    pub fn histogram(&self, name: &str, help: &str, options: HistogramOptions) -> HistogramMetric {
        self.histogram_vec(name, help, &[], options).with(&[])
    }

    /// A summary without labels.
    pub fn summary(&self, name: &str, help: &str, quantiles: &[f64]) -> Summary {
        self.summary_vec(name, help, &[], quantiles).with(&[])
    }

    /// Counters told apart by labels.
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> Vector<Counter> {
        self.vector(name, help, MetricType::Counter, labels, Counter::default)
    }

    /// Gauges told apart by labels.
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> Vector<Gauge> {
        self.vector(name, help, MetricType::Gauge, labels, Gauge::default)
    }

    /// Histograms told apart by labels.
    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        options: HistogramOptions,
    ) -> Vector<HistogramMetric> {
        self.vector(name, help, MetricType::Histogram, labels, move || HistogramMetric::new(options.clone()))
    }

    /// Summaries told apart by labels.
    pub fn summary_vec(&self, name: &str, help: &str, labels: &[&str], quantiles: &[f64]) -> Vector<Summary> {
        let quantiles = quantiles.to_vec();
        self.vector(name, help, MetricType::Summary, labels, move || Summary::new(quantiles.clone()))
    }

    fn vector<I: Instrument>(
        &self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        labels: &[&str],
        make: impl Fn() -> I + Send + Sync + 'static,
    ) -> Vector<I> {
        let vector = Vector {
            shared: Arc::new(VectorShared {
                name: name.to_owned(),
                help: help.to_owned(),
                metric_type,
                labels: labels.iter().map(|&l| l.to_owned()).collect(),
                make: Box::new(make),
                metrics: Mutex::new(BTreeMap::new()),
            }),
        };
        self.register(vector.shared.clone());
        vector
    }

    /// Makes all summaries older by one of the [`SUMMARY_AGES`] after which they
    /// forget: to be called every two minutes, as upstream's turn over.
    pub fn age(&self) {
        let collectors = self.collectors.lock().clone();
        collectors.iter().for_each(|collector| collector.age());
    }

    /// All families, sorted by name; families of the same name are joined.
    pub fn gather(&self) -> Vec<Family> {
        let collectors = self.collectors.lock().clone();
        let mut families = Vec::new();
        for collector in collectors {
            collector.collect(&mut families);
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families.dedup_by(|next, first| {
            let same = next.name == first.name;
            if same {
                first.metrics.append(&mut next.metrics);
            }
            same
        });
        families.retain(|family| !family.metrics.is_empty());
        for family in &mut families {
            family.metrics.iter_mut().for_each(|metric| metric.labels.sort());
            family.metrics.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        families
    }
}

/// An instrument that can say its value.
pub trait Instrument: Clone + Send + Sync + 'static {
    /// Its value now.
    fn value(&self) -> MetricValue;

    /// See [`Registry::age`].
    fn age(&self) {}
}

/// Instruments of one name, told apart by the values of their labels.
#[derive(Clone)]
pub struct Vector<I> {
    shared: Arc<VectorShared<I>>,
}

struct VectorShared<I> {
    name: String,
    help: String,
    metric_type: MetricType,
    labels: Vec<String>,
    make: Box<dyn Fn() -> I + Send + Sync>,
    metrics: Mutex<BTreeMap<Vec<String>, I>>,
}

impl<I: Instrument> Vector<I> {
    /// The instrument for these label values, in the order in which the labels
    /// were named.
    ///
    /// # Panics
    /// Another number of values than of labels: our bug.
    pub fn with(&self, values: &[&str]) -> I {
        assert_eq!(values.len(), self.shared.labels.len(), "label values of {}", self.shared.name);
        let mut metrics = self.shared.metrics.lock();
        let key: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
        metrics.entry(key).or_insert_with(|| (self.shared.make)()).clone()
    }

    /// Forgets the instrument for these label values.
    pub fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
        self.shared.metrics.lock().remove(&key);
    }

    /// Forgets the instruments whose label values the predicate refuses.
    pub fn retain(&self, mut keep: impl FnMut(&[String]) -> bool) {
        self.shared.metrics.lock().retain(|values, _| keep(values));
    }
}

impl<I: Instrument> Collect for VectorShared<I> {
    fn collect(&self, families: &mut Vec<Family>) {
        let metrics = self.metrics.lock();
        families.push(Family {
            name: self.name.clone(),
            help: self.help.clone(),
            metric_type: self.metric_type,
            metrics: metrics
                .iter()
                .map(|(values, instrument)| Metric {
                    labels: self.labels.iter().cloned().zip(values.iter().cloned()).collect(),
                    value: instrument.value(),
                })
                .collect(),
        });
    }

    fn age(&self) {
        self.metrics.lock().values().for_each(I::age);
    }
}

fn add_f64(cell: &AtomicU64, add: f64) {
    let mut have = cell.load(Ordering::Relaxed);
    loop {
        let sum = f64::from_bits(have) + add;
        match cell.compare_exchange_weak(have, sum.to_bits(), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => have = now,
        }
    }
}

/// A value that only goes up.
#[derive(Clone, Default)]
pub struct Counter {
    whole: Arc<AtomicU64>,
    fraction: Arc<AtomicU64>,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds a whole number.
    pub fn add(&self, n: u64) {
        self.whole.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds a number that need not be whole, such as seconds.
    pub fn add_f64(&self, n: f64) {
        add_f64(&self.fraction, n);
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        self.whole.load(Ordering::Relaxed) as f64 + f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }
}

impl Instrument for Counter {
    fn value(&self) -> MetricValue {
        MetricValue::Single(self.get())
    }
}

/// A value that goes up and down.
#[derive(Clone, Default)]
pub struct Gauge {
    bits: Arc<AtomicU64>,
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to the value; negative numbers take away.
    pub fn add(&self, n: f64) {
        add_f64(&self.bits, n);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

impl Instrument for Gauge {
    fn value(&self) -> MetricValue {
        MetricValue::Single(self.get())
    }
}

/// How a histogram divides its observations.
#[derive(Clone, Debug, Default)]
pub struct HistogramOptions {
    /// Upper bounds of classic buckets, ascending, without +Inf.
    pub buckets: Vec<f64>,
    /// Growth factor between native buckets, 0 for no native form.
    pub native_factor: f64,
}

impl HistogramOptions {
    /// Classic buckets only.
    pub fn classic(buckets: &[f64]) -> HistogramOptions {
        HistogramOptions { buckets: buckets.to_vec(), native_factor: 0.0 }
    }

    /// Classic and native buckets.
    pub fn with_native(mut self, factor: f64) -> HistogramOptions {
        self.native_factor = factor;
        self
    }
}

/// Observations in buckets.
#[derive(Clone)]
pub struct HistogramMetric {
    state: Arc<Mutex<HistogramState>>,
}

struct HistogramState {
    options: HistogramOptions,
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    /// Native buckets by index, positive observations only: all of ours are
    /// durations, sizes or counts.
    native: BTreeMap<i32, u64>,
    zero: u64,
}

/// Observations up to this size fall into the zero bucket of native histograms.
const NATIVE_ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

impl HistogramMetric {
    fn new(options: HistogramOptions) -> HistogramMetric {
        let counts = vec![0; options.buckets.len()];
        HistogramMetric {
            state: Arc::new(Mutex::new(HistogramState {
                options,
                counts,
                count: 0,
                sum: 0.0,
                native: BTreeMap::new(),
                zero: 0,
            })),
        }
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let mut state = self.state.lock();
        state.count += 1;
        state.sum += value;
        let bucket = state.options.buckets.partition_point(|&bound| bound < value);
        if let Some(count) = state.counts.get_mut(bucket) {
            *count += 1;
        }
        if state.options.native_factor > 1.0 {
            if value > NATIVE_ZERO_THRESHOLD {
                let schema = native_schema(state.options.native_factor);
                let index = (value.log2() * f64::from(schema).exp2()).ceil() as i32;
                *state.native.entry(index).or_insert(0) += 1;
            } else {
                state.zero += 1;
            }
        }
    }
}

/// The coarsest schema whose buckets grow by at most `factor`.
fn native_schema(factor: f64) -> i32 {
    (-factor.log2().log2()).ceil().clamp(-4.0, 8.0) as i32
}

impl Instrument for HistogramMetric {
    fn value(&self) -> MetricValue {
        let state = self.state.lock();
        let mut sum = 0;
        let buckets = state
            .options
            .buckets
            .iter()
            .zip(&state.counts)
            .map(|(&bound, &count)| {
                sum += count;
                (bound, sum)
            })
            .collect();
        let native = (state.options.native_factor > 1.0).then(|| native_form(&state));
        MetricValue::Histogram { count: state.count, sum: state.sum, buckets, native }
    }
}

fn native_form(state: &HistogramState) -> FloatHistogram {
    let mut spans: Vec<crate::Span> = Vec::new();
    let mut buckets = Vec::with_capacity(state.native.len());
    let mut next = 0;
    for (&index, &count) in &state.native {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(crate::Span { offset: index - next, length: 1 }),
        }
        next = index + 1;
        buckets.push(count as f64);
    }
    FloatHistogram {
        schema: native_schema(state.options.native_factor),
        zero_threshold: NATIVE_ZERO_THRESHOLD,
        zero_count: state.zero as f64,
        count: state.count as f64,
        sum: state.sum,
        positive_spans: spans.into(),
        positive_buckets: buckets,
        ..FloatHistogram::default()
    }
}

/// A summary's quantiles are those of so many of the newest observations.
const SUMMARY_WINDOW: usize = 512;
/// An observation counts until a summary has aged so often since then.
pub const SUMMARY_AGES: u32 = 5;

/// Observations as quantiles.
#[derive(Clone)]
pub struct Summary {
    state: Arc<Mutex<SummaryState>>,
}

struct SummaryState {
    quantiles: Vec<f64>,
    /// Values, and how old the summary was when they came.
    window: Vec<(f64, u32)>,
    age: u32,
    next: usize,
    count: u64,
    sum: f64,
}

impl Summary {
    fn new(quantiles: Vec<f64>) -> Summary {
        let state = SummaryState { quantiles, window: Vec::new(), age: 0, next: 0, count: 0, sum: 0.0 };
        Summary { state: Arc::new(Mutex::new(state)) }
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let mut state = self.state.lock();
        state.count += 1;
        state.sum += value;
        if state.quantiles.is_empty() {
            return;
        }
        let (next, one) = (state.next, (value, state.age));
        if next < state.window.len() {
            state.window[next] = one;
        } else {
            state.window.push(one);
        }
        state.next = (next + 1) % SUMMARY_WINDOW;
    }
}

impl Instrument for Summary {
    fn value(&self) -> MetricValue {
        let state = self.state.lock();
        let is_young = |&&(_, age): &&(f64, u32)| state.age - age < SUMMARY_AGES;
        let mut sorted: Vec<f64> = state.window.iter().filter(is_young).map(|&(value, _)| value).collect();
        sorted.sort_by(f64::total_cmp);
        let quantiles = state
            .quantiles
            .iter()
            .map(|&q| {
                let rank = (q * sorted.len() as f64).ceil() as usize;
                (q, sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN))
            })
            .collect();
        MetricValue::Summary { count: state.count, sum: state.sum, quantiles }
    }

    fn age(&self) {
        let mut state = self.state.lock();
        state.age = state.age.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_of_one_name_share_a_family() {
        let registry = Registry::new();
        let requests = registry.counter_vec("requests_total", "Requests.", &["code"]);
        requests.with(&["200"]).add(3);
        requests.with(&["500"]).inc();
        requests.with(&["200"]).inc();
        let families = registry.gather();
        assert_eq!(families.len(), 1);
        let values: Vec<_> = families[0]
            .metrics
            .iter()
            .map(|m| match m.value {
                MetricValue::Single(v) => (m.labels[0].1.as_str(), v),
                _ => panic!("a counter is a single value"),
            })
            .collect();
        assert_eq!(values, [("200", 4.0), ("500", 1.0)]);
    }

    #[test]
    fn a_summary_forgets_what_is_old_but_for_its_sum() {
        let registry = Registry::new();
        let summary = registry.summary("seconds", "Seconds.", &[0.5]);
        summary.observe(4.0);
        let shown = || match summary.value() {
            MetricValue::Summary { count, sum, quantiles } => (count, sum, quantiles[0].1),
            other => panic!("{other:?}"),
        };
        (1..SUMMARY_AGES).for_each(|_| registry.age());
        assert_eq!(shown(), (1, 4.0, 4.0));
        summary.observe(9.0);
        registry.age();
        assert_eq!(shown(), (2, 13.0, 9.0));
        (0..SUMMARY_AGES).for_each(|_| registry.age());
        assert!(shown().2.is_nan(), "nothing was observed lately");
        assert_eq!((shown().0, shown().1), (2, 13.0));
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_bounds_inclusive() {
        let registry = Registry::new();
        let histogram = registry.histogram("h", "", HistogramOptions::classic(&[1.0, 2.0]).with_native(1.1));
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let MetricValue::Histogram { count, sum, buckets, native } = histogram.value() else { panic!() };
        assert_eq!((count, sum, buckets), (4, 12.0, vec![(1.0, 2), (2.0, 3)]));
        let native = native.unwrap();
        assert_eq!(native.schema, 3, "2^(2^-3) = 1.09 is the first factor not above 1.1");
        assert_eq!(native.positive_buckets.iter().sum::<f64>(), 4.0);
    }

    #[test]
    fn a_summary_answers_quantiles_of_its_window() {
        let registry = Registry::new();
        let summary = registry.summary("s", "", &[0.5, 0.99]);
        for i in 1..=100 {
            summary.observe(f64::from(i));
        }
        let MetricValue::Summary { quantiles, .. } = summary.value() else { panic!() };
        assert_eq!(quantiles, [(0.5, 50.0), (0.99, 99.0)]);
    }
}
