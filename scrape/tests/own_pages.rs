//! The pages of `testdata/exposition` read as is written down beside them.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fmt::Write as _;
use std::path::Path;

use scrape::exposition::{Entry, Format, LabelBuf, ParseOptions, Parser};

/// One line for each entry.
fn described(page: &[u8], format: Format) -> String {
    let options = ParseOptions { start_timestamps: true, keep_classic: true, ..ParseOptions::default() };
    let mut parser = Parser::new(page, format, options);
    let mut text = String::new();
    let mut labels = LabelBuf::new();
    while let Some(entry) = parser.next_entry().unwrap() {
        let family = String::from_utf8_lossy(parser.metric()).into_owned();
        let time = match entry {
            Entry::Comment => {
                writeln!(text, "comment {:?}", parser.text()).unwrap();
                continue;
            }
            Entry::Type(metric_type) => {
                writeln!(text, "type {family} {metric_type}").unwrap();
                continue;
            }
            Entry::Help => {
                writeln!(text, "help {family} {:?}", parser.text()).unwrap();
                continue;
            }
            Entry::Unit => {
                writeln!(text, "unit {family} {:?}", parser.text()).unwrap();
                continue;
            }
            Entry::Series { value, timestamp_ms } => {
                parser.labels(&mut labels);
                write!(text, "{} {}", labels.to_labels(), model::float::format_g(value)).unwrap();
                timestamp_ms
            }
            Entry::Histogram { timestamp_ms } => {
                parser.labels(&mut labels);
                let histogram = match parser.take_histogram().unwrap() {
                    model::HistogramValue::Integer(histogram) => histogram.to_float(),
                    model::HistogramValue::Float(histogram) => histogram,
                };
                write!(text, "{} {histogram}", labels.to_labels()).unwrap();
                timestamp_ms
            }
        };
        if let Some(time) = time {
            write!(text, " at {time}").unwrap();
        }
        match parser.start_timestamp_ms() {
            0 => {}
            start => write!(text, " since {start}").unwrap(),
        }
        while let Some(exemplar) = parser.next_exemplar() {
            write!(text, " # {} {}", exemplar.labels, model::float::format_g(exemplar.value)).unwrap();
            if exemplar.has_timestamp {
                write!(text, " at {}", exemplar.timestamp_ms).unwrap();
            }
        }
        text.push('\n');
    }
    text
}

fn check(name: &str, format: Format) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/exposition");
    let found = described(&std::fs::read(dir.join(name)).unwrap(), format);
    let expected = dir.join(format!("{name}.entries"));
    if std::env::var_os("NARTHEX_UPDATE").is_some() {
        std::fs::write(&expected, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&expected).unwrap_or_default(), "{name}");
}

#[test]
fn text_page_reads_as_written_down() {
    check("text.prom.txt", Format::Text);
}

#[test]
fn openmetrics_page_reads_as_written_down() {
    check("openmetrics.om.txt", Format::OpenMetrics);
}

#[test]
fn protobuf_page_reads_as_written_down() {
    check("protobuf.pb", Format::Protobuf);
}
