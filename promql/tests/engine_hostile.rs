//! Expressions from the field, and those that try every corner of the grammar,
//! on a store that finds something for every selector: whatever comes out,
//! nothing panics and the answer is well formed.

use std::sync::Arc;

use model::query::{ReadOptions, ReadStats, SeriesReader};
use model::{
    Columns, CounterResetHint, Dictionary, FloatHistogram, LabelTable, LabelsBuilder, MatchOp, Querier,
    Queryable, SelectRequest, SelectedSeries, Span, StorageError, TimeRange, stale_nan,
};
use promql::value::Value;
use promql::{Engine, EngineOptions, Features, Query, QueryError};
use testkit::{conformance_dir, json_lines};

/// Finds series for every selector: floats, histograms, and both.
struct Wild;

impl Queryable for Wild {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(Wild))
    }
}

impl Querier for Wild {
    fn select(
        &self,
        request: &SelectRequest,
        dictionary: &Dictionary,
    ) -> Result<SelectedSeries, StorageError> {
        let mut sets = Vec::new();
        for i in 0..6 {
            let mut labels = LabelsBuilder::new();
            labels.set("__name__", "wild_total").set("instance", &format!("i{}", i % 3)).set("job", "j");
            labels.set("le", ["0.1", "1", "+Inf", "", "x", "5"][i]);
            for matcher in &request.matchers {
                if matcher.op() == MatchOp::Equal {
                    labels.set(matcher.name(), matcher.value());
                }
            }
            sets.push(labels.labels());
        }
        sets.sort();
        sets.dedup();
        let mut table = LabelTable::new();
        let mut writer = dictionary.write();
        for set in &sets {
            table.push(set.iter().map(|l| (writer.intern(l.name), writer.intern(l.value))));
        }
        Ok(SelectedSeries { labels: table, reader: Arc::new(Wild), warnings: Vec::new() })
    }
}

fn histogram(i: i64) -> FloatHistogram {
    let custom = i % 5 == 0;
    FloatHistogram {
        counter_reset_hint: [CounterResetHint::Unknown, CounterResetHint::Gauge][(i % 2) as usize],
        schema: if custom { model::histogram::CUSTOM_BUCKETS_SCHEMA } else { (i % 3) as i32 },
        count: (i % 7 + 6) as f64,
        sum: i as f64,
        positive_spans: Arc::from([Span { offset: 0, length: 2 }]),
        positive_buckets: vec![(i % 7) as f64, 6.0],
        custom_values: if custom { Arc::from([1.0, 2.0]) } else { model::histogram::no_bounds() },
        ..FloatHistogram::default()
    }
}

impl SeriesReader for Wild {
    fn read(
        &self,
        series: usize,
        range: TimeRange,
        options: ReadOptions,
        columns: &mut Columns,
    ) -> Result<ReadStats, StorageError> {
        columns.clear();
        let end = range.end_ms.min(range.start_ms.saturating_add(600_000));
        let mut t = range.start_ms.saturating_add(30_000 - range.start_ms.rem_euclid(30_000));
        while t <= end {
            let i = (t / 30_000).wrapping_mul(7).wrapping_add(series as i64).rem_euclid(1000);
            match (series + i as usize / 10) % 4 {
                0 => columns.push_histogram(t, histogram(i)),
                1 if i % 11 == 0 => columns.push_float(t, stale_nan()),
                2 if i % 13 == 0 => columns.push_float(t, f64::NAN),
                2 if i % 17 == 0 => columns.push_float(t, f64::INFINITY),
                3 if i % 3 == 0 => {
                    t += 30_000;
                    continue;
                }
                _ => columns.push_float(t, (i % 50) as f64 - 10.0),
            }
            if options.start_timestamps {
                columns.start_timestamps_ms.push(if i % 2 == 0 { t - 20_000 } else { 0 });
            }
            t += 30_000;
        }
        Ok(ReadStats::default())
    }
}

fn check_matrix(text: &str, value: &Value, start_ms: i64, end_ms: i64) {
    let Value::Matrix(matrix) = value else { panic!("{text}: a range query answers a matrix") };
    for i in 0..matrix.len() {
        let series = &matrix.series[i];
        assert!(i == 0 || matrix.labels(i - 1) < matrix.labels(i), "{text}: not sorted");
        assert!(series.floats.len() + series.histograms.len() > 0, "{text}: an empty series");
        assert_eq!(series.floats.len(), series.float_timestamps_ms.len(), "{text}");
        let times = series.float_timestamps_ms.iter().chain(series.histograms.iter().map(|(t, _)| t));
        assert!(times.into_iter().all(|t| (start_ms..=end_ms).contains(t)), "{text}");
    }
}

fn run_all(expressions: impl Iterator<Item = String>) {
    let engines: Vec<Engine> = [false, true]
        .into_iter()
        .map(|on| {
            Engine::new(EngineOptions {
                features: Features::all(),
                delayed_name_removal: on,
                use_start_timestamps: on,
                type_and_unit_labels: on,
                max_samples: 1_000_000,
                threads: if on { 2 } else { 1 },
                ..EngineOptions::default()
            })
        })
        .collect();
    let (mut answered, mut refused) = (0, 0);
    let (start, end) = (1_000_000_000, 1_000_600_000);
    for text in expressions {
        for engine in &engines {
            let instant = engine.instant(&Wild, &Query::instant(text.clone(), start));
            let range = engine.range(&Wild, &Query::range(text.clone(), start, end, 60_000));
            if let Ok(output) = &range {
                check_matrix(&text, &output.value, start, end);
            }
            for result in [instant, range] {
                match result {
                    Ok(_) => answered += 1,
                    Err(QueryError::Parse(_)) => {}
                    Err(_) => refused += 1,
                }
            }
        }
    }
    println!("{answered} answered, {refused} refused");
    assert!(answered > refused, "most of it is answered");
}

#[test]
fn expressions_of_dashboards_and_rules_are_answered() {
    let Some(dir) = conformance_dir("realworld") else { return };
    let lines = json_lines(&dir.join("promql-expressions.jsonl"));
    run_all(lines.into_iter().filter_map(|line| {
        ["expr", "input", "expression", "query"].iter().find_map(|key| Some(line[key].as_str()?.to_owned()))
    }));
}

#[test]
fn expressions_of_the_parsers_cases_are_answered() {
    let Some(dir) = conformance_dir("promql-parser") else { return };
    let lines = json_lines(&dir.join("expressions.jsonl"));
    let valid = lines.into_iter().filter(|line| line["ok"] == true);
    run_all(valid.filter_map(|line| Some(line["input"].as_str()?.to_owned())));
}

#[test]
fn expressions_of_the_scripts_are_answered() {
    let Some(dir) = conformance_dir("promql-parser") else { return };
    let lines = json_lines(&dir.join("test-file-expressions.jsonl"));
    run_all(lines.into_iter().filter_map(|line| Some(line["input"].as_str()?.to_owned())));
}

/// Queries that would take a server down, each with a part of what it is answered.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let tower = |levels: usize, range: &str, step: &str| {
        format!(
            "{}wild_total{}",
            "max_over_time(".repeat(levels),
            format!("[{range}:{step}])").repeat(levels)
        )
    };
    vec![
        ("10,000-way or", vec!["wild_total"; 10_000].join(" or "), ""),
        ("10,000 sums", vec!["wild_total"; 10_000].join(" + "), ""),
        ("deep parentheses", format!("{}1{}", "(".repeat(5000), ")".repeat(5000)), "parse error"),
        ("deep calls", format!("{}up{}", "abs(".repeat(3000), ")".repeat(3000)), "parse error"),
        ("deep aggregations", format!("{}up{}", "sum(".repeat(3000), ")".repeat(3000)), "parse error"),
        ("nested repetition", "up{job=~\"((a{100}){100}){100}\"}".to_owned(), "invalid repeat count"),
        ("a regex of a million letters", format!("up{{job=~\"{}\"}}", "a|".repeat(500_000)), ""),
        (
            "cartesian join",
            "{__name__=~\".+\"} * on () group_left () {__name__=~\".+\"}".to_owned(),
            "found duplicate series",
        ),
        (
            "many to many",
            "{__name__=~\".+\"} + on (job) {__name__=~\".+\"}".to_owned(),
            "found duplicate series",
        ),
        ("subquery tower", tower(6, "1d", "1s"), "of 67108864 are in use"),
        ("subquery tower of milliseconds", tower(3, "1y", "1ms"), "too many samples"),
        ("years at one second", "sum_over_time(wild_total[5y:1s])".to_owned(), "of 67108864 are in use"),
        ("a century at a millisecond", "wild_total[100y:1ms]".to_owned(), "too many samples"),
        ("a billion best", "topk(9e18, wild_total)".to_owned(), ""),
        (
            "labels that double",
            format!("label_replace(up, \"x\", \"{}\", \"job\", \"(.*)\")", "$1".repeat(5000)),
            "",
        ),
        ("no bytes", String::new(), "no expression found in input"),
        ("other bytes", "\u{0}\u{1}\u{fffd}".to_owned(), "parse error"),
    ]
}

#[test]
fn hostile_queries_get_their_errors_within_their_budget() {
    const BUDGET: u64 = 64 << 20;
    let memory = model::memory::Accountant::new(1 << 30);
    let engine = Engine::new(EngineOptions {
        features: Features::all(),
        memory: memory.clone(),
        query_memory_budget: BUDGET,
        threads: 2,
        ..EngineOptions::default()
    });
    for (name, text, part) in hostile() {
        let outcome = engine.instant(&Wild, &Query::instant(text, 1_000_000_000));
        match outcome {
            Ok(output) => {
                assert!(part.is_empty(), "{name} must be refused with {part:?}");
                assert!(output.stats.peak_memory_bytes <= BUDGET, "{name}");
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(part), "{name}: {}", error.chars().take(300).collect::<String>());
            }
        }
        assert_eq!(memory.used(), 0, "{name} holds nothing in the end");
    }
    // As ranges: each second of a year, of many series.
    let year = Query::range("wild_total * 2", 0, 365 * 86_400_000, 1_000);
    let error = engine.range(&Wild, &year).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("of 67108864 are in use"), "{error}");
}
