//! Pages that mean harm, or none at all: nothing panics, nothing grows without
//! bound, and the short way past a known line says what the long way says.

mod support;

use std::sync::Arc;

use model::Labels;
use model::metrics::Registry;
use model::series_cache::SeriesKey;
use proptest::prelude::*;
use scrape::exposition::{Entry, Format, LabelBuf, ParseOptions, Parser};
use scrape::job::Job;
use scrape::{AppendOptions, PageAppender, PageError, Target};
use support::Recorder;

const FORMATS: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

fn all_options() -> Vec<ParseOptions> {
    (0..32u8)
        .map(|bits| ParseOptions {
            type_and_unit_labels: bits & 1 != 0,
            ignore_native_histograms: bits & 2 != 0,
            convert_classic_to_nhcb: bits & 4 != 0,
            keep_classic: bits & 8 != 0,
            start_timestamps: bits & 16 != 0,
        })
        .collect()
}

/// Reads all there is; how many entries.
fn read(page: &[u8], format: Format, options: ParseOptions) -> usize {
    let mut parser = Parser::new(page, format, options);
    let mut labels = LabelBuf::new();
    let mut entries = 0;
    while let Ok(Some(entry)) = parser.next_entry() {
        entries += 1;
        let _text = parser.text();
        if matches!(entry, Entry::Series { .. } | Entry::Histogram { .. }) {
            parser.labels(&mut labels);
            parser.start_timestamp_ms();
            parser.take_histogram();
            while parser.next_exemplar().is_some() {}
        }
        assert!(entries <= page.len() + 1, "entries come from bytes");
    }
    entries
}

/// Pieces of pages, so that random pages go deep.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        fixed("# TYPE h histogram\n"),
        fixed("# TYPE c counter\n"),
        fixed("# TYPE s summary\n"),
        fixed("# HELP h some \\n help\n"),
        fixed("# UNIT h_seconds seconds\n"),
        fixed("# EOF\n"),
        fixed("h_bucket{le=\"1\"} 1\n"),
        fixed("h_bucket{le=\"+Inf\"} 2 # {id=\"x\"} 1 2\n"),
        fixed("h_count 2\nh_sum 3\n"),
        fixed("h_created 1.5\n"),
        fixed("c_total{a=\"b\",c=\"d\\\"\"} 1 1000\n"),
        fixed("{\"n.a\",\"l.b\"=\"c\"} NaN\n"),
        fixed("a "),
        fixed("{"),
        fixed("}"),
        fixed("\""),
        fixed("\\"),
        fixed("="),
        fixed("# "),
        fixed("\n"),
        fixed(" 1e400"),
        fixed("\0"),
        proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

fn random_page() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_page_panics_a_parser(page in random_page()) {
        for format in FORMATS {
            for options in all_options() {
                read(&page, format, options);
            }
        }
    }

    #[test]
    fn a_known_line_reads_the_same_both_ways(page in random_page()) {
        for format in [Format::Text, Format::OpenMetrics] {
            for options in [ParseOptions::default(), ParseOptions { start_timestamps: true, ..ParseOptions::default() }] {
                let long = series(&page, format, options, &[]);
                let keys: Vec<Vec<u8>> = long.iter().map(|(key, ..)| key.clone()).collect();
                let short = series(&page, format, options, &keys);
                prop_assert_eq!(long, short);
            }
        }
    }

    #[test]
    fn a_cut_or_damaged_page_panics_nobody(cut in 0usize..4000, at in 0usize..4000, byte in any::<u8>()) {
        for (format, page) in [
            (Format::Text, include_bytes!("../../testdata/exposition/text.prom.txt").as_slice()),
            (Format::OpenMetrics, include_bytes!("../../testdata/exposition/openmetrics.om.txt").as_slice()),
            (Format::Protobuf, include_bytes!("../../testdata/exposition/protobuf.pb").as_slice()),
        ] {
            let mut page = page.to_vec();
            let damaged = at % page.len();
            page[damaged] = byte;
            page.truncate(cut % (page.len() + 1));
            for options in all_options() {
                read(&page, format, options);
            }
        }
    }
}

/// Key, value bits and time of each series up to the first fault; `known` are
/// keys expected one after the other.
fn series(
    page: &[u8],
    format: Format,
    options: ParseOptions,
    known: &[Vec<u8>],
) -> Vec<(Vec<u8>, u64, Option<i64>)> {
    let mut parser = Parser::new(page, format, options);
    let mut found = Vec::new();
    loop {
        if let Some(key) = known.get(found.len())
            && let Some(line) =
                parser.next_known(key.len(), |bytes| SeriesKey::of(bytes) == SeriesKey::of(key))
        {
            assert_eq!(parser.metric(), key.as_slice());
            found.push((key.clone(), line.value.to_bits(), line.timestamp_ms));
            continue;
        }
        match parser.next_entry() {
            Ok(Some(Entry::Series { value, timestamp_ms })) => {
                found.push((parser.metric().to_vec(), value.to_bits(), timestamp_ms));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return found,
        }
    }
}

struct Appending {
    appender: PageAppender,
    store: Recorder,
    registry: Registry,
    time_ms: i64,
}

fn appending(change: impl FnOnce(&mut config::ScrapeConfig)) -> Appending {
    let mut config = config::ScrapeConfig { job_name: "j".to_owned(), ..config::ScrapeConfig::default() };
    change(&mut config);
    let job = Arc::new(Job::new(Arc::new(config)));
    let target = Target::new(&job, Labels::from_pairs([("__address__", "t"), ("job", "j")]), None);
    let registry = Registry::new();
    let appender = PageAppender::new(job, target, AppendOptions::default(), &registry);
    Appending { appender, store: Recorder::new(), registry, time_ms: 1_700_000_000_000 }
}

impl Appending {
    fn append(&mut self, page: &[u8], content_type: &str) -> Result<u64, PageError> {
        self.time_ms += 15_000;
        self.appender.append(&self.store, page, content_type, self.time_ms).map(|counts| counts.kept)
    }

    fn text(&mut self, page: &str) -> Result<u64, PageError> {
        self.append(page.as_bytes(), "text/plain")
    }
}

#[test]
fn a_label_bomb_meets_the_label_limit() {
    let mut bomb = String::from("m{");
    for i in 0..100_000 {
        bomb.push_str(&format!("l{i}=\"v\","));
    }
    bomb.push_str("} 1\n");
    let mut world = appending(|config| config.label_limit = 30);
    let error = world.text(&bomb).unwrap_err().to_string();
    assert_eq!(error, "label_limit exceeded (metric: m, number of labels: 100002, limit: 30)");
    assert!(world.store.names().is_empty());
}

#[test]
fn a_name_of_a_megabyte_meets_the_length_limit() {
    let mut world = appending(|config| config.label_value_length_limit = 200);
    let error = world.text(&format!("{} 1\n", "m".repeat(1 << 20))).unwrap_err().to_string();
    assert!(error.len() < 400, "errors stay short");
    assert!(error.starts_with("label_value_length_limit exceeded"), "{error}");
}

#[test]
fn half_a_page_stores_nothing() {
    let mut world = appending(|_| {});
    assert_eq!(world.text("a 1\nb 2\n").unwrap(), 2);
    for half in ["a 1\nb", "a 1\nb{x=\"", "a 1\nb{x", "a 1\nb 2 3x"] {
        assert!(world.text(half).is_err(), "{half}");
    }
    assert_eq!(world.store.values(r#"{__name__="a", job="j"}"#), [Some(1.0), None]);
    assert_eq!(world.text("a 1\nb 2").unwrap(), 2, "the last line break may be missing");
}

#[test]
fn invalid_utf8_fails_the_scrape() {
    let mut world = appending(|_| {});
    assert!(matches!(world.append(b"a{x=\"\xff\"} 1\n", "text/plain"), Err(PageError::Parse(_))));
    assert!(matches!(world.append(b"{\"a\xff\"} 1\n", "text/plain"), Err(PageError::Label(_))));
    assert!(matches!(world.append(b"a{\"x\xff\"=\"y\"} 1\n", "text/plain"), Err(PageError::Label(_))));
}

#[test]
fn a_staleness_marker_cannot_be_exposed() {
    let mut world = appending(|_| {});
    world.text("a NaN\n").unwrap();
    // A gauge of 1 with the marker's bits, as protobuf.
    let metric = [&[0x12, 9, 9][..], &model::STALE_NAN_BITS.to_le_bytes()].concat();
    let mut family = vec![0x0a, 1, b'b', 0x18, 1, 0x22, metric.len() as u8];
    family.extend(&metric);
    let page = [vec![family.len() as u8], family].concat();
    world.append(&page, "application/vnd.google.protobuf").unwrap();
    for name in ["a", "b"] {
        let value = world.store.series(&format!("{{__name__=\"{name}\", job=\"j\"}}")).floats[0].1;
        assert!(value.is_nan() && !model::is_stale_nan(value));
    }
}

#[test]
fn ever_new_series_that_fail_do_not_fill_the_cache() {
    let mut world = appending(|_| {});
    for round in 0..20 {
        let mut page = String::new();
        for i in 0..1000 {
            page.push_str(&format!("m{{round=\"{round}\",i=\"{i}\"}} 1\n"));
        }
        page.push_str("broken\n");
        assert!(world.text(&page).is_err());
    }
    assert!(world.appender.cache_bytes() < 200_000, "{} bytes", world.appender.cache_bytes());
    let forced = world
        .registry
        .gather()
        .into_iter()
        .find(|f| f.name == "prometheus_target_scrapes_cache_flush_forced_total");
    assert!(forced.is_some());
}

#[test]
fn spans_that_promise_too_much_are_refused() {
    // A histogram whose one span is four thousand million buckets long.
    let span = [0x08, 0x00, 0x10, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let histogram = [&[0x62, span.len() as u8][..], &span].concat();
    let metric = [&[0x3a, histogram.len() as u8][..], &histogram].concat();
    let mut family = vec![0x0a, 1, b'h', 0x18, 4, 0x22, metric.len() as u8];
    family.extend(&metric);
    let page = [vec![family.len() as u8], family].concat();
    let mut world = appending(|config| config.scrape_native_histograms = Some(true));
    let error = world.append(&page, "application/vnd.google.protobuf").unwrap_err().to_string();
    assert_eq!(error, "histogram \"h\": positive side: spans require 4294967295 buckets, have 0");
}
