//! Throughput of the exposition parsers, each format and way of use:
//! `exposition_parse [file …]`: pages ending in `.om.txt` are OpenMetrics, in `.pb`
//! or `protobuf` protobuf, others text.
//!
//! Without files, the pages are 4,000 series like those of node_exporter. The
//! number of series is checked before anything is timed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use model::series_cache::SeriesKey;
use scrape::exposition::{Entry, Format, LabelBuf, ParseOptions, Parser};

const FAMILIES: usize = 200;
const SERIES_PER_FAMILY: usize = 20;
const LEAST_TIME: Duration = Duration::from_millis(400);

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn text_page(open_metrics: bool) -> Vec<u8> {
    let mut page = String::new();
    for family in 0..FAMILIES {
        let suffix = if open_metrics { "" } else { "_total" };
        page.push_str(&format!("# HELP node_metric_{family}{suffix} What metric number {family} tells.\n"));
        page.push_str(&format!("# TYPE node_metric_{family}{suffix} counter\n"));
        for series in 0..SERIES_PER_FAMILY {
            let value = (family * 31 + series) as f64 * 1.25;
            page.push_str(&format!(
                "node_metric_{family}_total{{device=\"dev{series}\",mode=\"user\",namespace=\"monitoring\"}} {value}\n"
            ));
        }
    }
    if open_metrics {
        page.push_str("# EOF\n");
    }
    page.into_bytes()
}

fn push_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    push_varint(message, bytes.len());
    message.extend_from_slice(bytes);
}

fn push_varint(message: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn protobuf_page() -> Vec<u8> {
    let mut page = Vec::new();
    for family in 0..FAMILIES {
        let mut message = Vec::new();
        push_field(&mut message, 1, format!("node_metric_{family}_total").as_bytes());
        push_field(&mut message, 2, b"What a metric tells.");
        message.extend([3 << 3, 0]);
        for series in 0..SERIES_PER_FAMILY {
            let mut metric = Vec::new();
            for (name, value) in
                [("device", format!("dev{series}")), ("mode", "user".into()), ("namespace", "m".into())]
            {
                let mut pair = Vec::new();
                push_field(&mut pair, 1, name.as_bytes());
                push_field(&mut pair, 2, value.as_bytes());
                push_field(&mut metric, 1, &pair);
            }
            let mut counter = vec![1 << 3 | 1];
            counter.extend(((family * 31 + series) as f64).to_le_bytes());
            push_field(&mut metric, 3, &counter);
            push_field(&mut message, 4, &metric);
        }
        push_varint(&mut page, message.len());
        page.extend(message);
    }
    page
}

/// Counts series; with `labels` their labels are decoded, too.
fn parse(page: &[u8], format: Format, labels: bool) -> usize {
    let mut parser = Parser::new(page, format, ParseOptions::default());
    let mut buffer = LabelBuf::new();
    let mut series = 0;
    while let Some(entry) = parser.next_entry().expect("the page is well formed") {
        if let Entry::Series { value, .. } = entry {
            series += 1;
            black_box(value);
            black_box(parser.metric());
            if labels {
                parser.labels(&mut buffer);
                black_box(&buffer);
            }
        }
    }
    series
}

/// As a scrape does that knows all lines.
fn parse_known(page: &[u8], format: Format, lines: &[(usize, SeriesKey)]) -> usize {
    let mut parser = Parser::new(page, format, ParseOptions::default());
    let mut series = 0;
    loop {
        if let Some((len, key)) = lines.get(series)
            && let Some(line) = parser.next_known(*len, |bytes| SeriesKey::of(bytes) == *key)
        {
            black_box(line.value);
            series += 1;
            continue;
        }
        match parser.next_entry().expect("the page is well formed") {
            Some(Entry::Series { .. }) => series += 1,
            Some(_) => {}
            None => return series,
        }
    }
}

fn keys(page: &[u8], format: Format) -> Vec<(usize, SeriesKey)> {
    let mut parser = Parser::new(page, format, ParseOptions::default());
    let mut keys = Vec::new();
    while let Some(entry) = parser.next_entry().expect("the page is well formed") {
        if let Entry::Series { .. } = entry {
            keys.push((parser.metric().len(), SeriesKey::of(parser.metric())));
        }
    }
    keys
}

fn report(what: &str, page: &[u8], mut run: impl FnMut() -> usize) {
    let series = run();
    let start = now();
    let mut rounds = 0u32;
    while start.elapsed() < LEAST_TIME {
        assert_eq!(run(), series, "every round reads the same");
        rounds += 1;
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(rounds);
    println!(
        "{what:32} {series:7} series  {:8.0} MB/s  {:7.1} ns/series",
        page.len() as f64 / seconds / 1e6,
        seconds * 1e9 / series as f64
    );
}

/// A page from a file.
fn recorded(path: &str) -> (String, Format, Vec<u8>) {
    let page = std::fs::read(path).expect("the file can be read");
    let format = match path {
        _ if path.ends_with(".om.txt") => Format::OpenMetrics,
        _ if path.ends_with(".pb") || path.ends_with("protobuf") => Format::Protobuf,
        _ => Format::Text,
    };
    let name = path.rsplit('/').next().unwrap_or(path).chars().take(16).collect();
    (name, format, page)
}

fn made_up() -> Vec<(String, Format, Vec<u8>)> {
    let pages = vec![
        ("text".to_owned(), Format::Text, text_page(false)),
        ("openmetrics".to_owned(), Format::OpenMetrics, text_page(true)),
        ("protobuf".to_owned(), Format::Protobuf, protobuf_page()),
    ];
    for (name, format, page) in &pages {
        assert_eq!(parse(page, *format, false), FAMILIES * SERIES_PER_FAMILY, "{name}");
    }
    pages
}

fn main() {
    let files: Vec<(String, Format, Vec<u8>)> =
        std::env::args().skip(1).map(|path| recorded(&path)).collect();
    let pages = if files.is_empty() { made_up() } else { files };
    for (name, format, page) in &pages {
        report(&format!("{name}, series only"), page, || parse(page, *format, false));
        report(&format!("{name}, with labels"), page, || parse(page, *format, true));
        if *format != Format::Protobuf {
            let lines = keys(page, *format);
            report(&format!("{name}, known lines"), page, || parse_known(page, *format, &lines));
        }
    }
}
