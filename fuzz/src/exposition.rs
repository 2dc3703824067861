//! Pages of targets in their three formats.

use scrape::exposition::{Entry, Format, LabelBuf, ParseOptions, Parser};

pub(crate) const WORDS: &[&str] = &[
    "# HELP ",
    "# TYPE ",
    "# UNIT ",
    "# EOF\n",
    "counter",
    "gauge",
    "histogram",
    "summary",
    "unknown",
    "info",
    "stateset",
    "gaugehistogram",
    "_bucket",
    "_total",
    "_created",
    "_sum",
    "_count",
    "{le=\"",
    "le=\"+Inf\"",
    "\"}",
    "{",
    "}",
    ",",
    "=",
    "\"",
    "\\n",
    "\\\"",
    "\n",
    " ",
    "\t",
    "NaN",
    "+Inf",
    "-Inf",
    "1e309",
    "0x1p3",
    "1_000",
    " # {a=\"b\"} 1 1",
    "1395066363000",
    "-9223372036854775808",
    "{\"a.b\"",
    "\u{fffd}",
    "quantile=\"0.5\"",
    "#",
];

/// The options that some bits choose.
fn options(bits: u8) -> ParseOptions {
    ParseOptions {
        type_and_unit_labels: bits & 1 != 0,
        ignore_native_histograms: bits & 2 != 0,
        convert_classic_to_nhcb: bits & 4 != 0,
        keep_classic: bits & 8 != 0,
        start_timestamps: bits & 16 != 0,
    }
}

fn page(format: Format, bytes: &[u8]) {
    let Some((&bits, page)) = bytes.split_first() else { return };
    let mut parser = Parser::new(page, format, options(bits));
    let mut labels = LabelBuf::new();
    let mut n = 0;
    // A classic histogram of protobuf yields a few series for each bucket's bytes.
    let entries_max = 40 * page.len() + 40;
    while let Ok(Some(entry)) = parser.next_entry() {
        n += 1;
        assert!(n <= entries_max, "a page of {} bytes comes to an end", page.len());
        let _ = (parser.metric().len(), parser.text().len());
        match entry {
            Entry::Series { .. } | Entry::Histogram { .. } => {
                labels.clear();
                parser.labels(&mut labels);
                let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
                assert!(names.is_sorted(), "labels are sorted: {names:?}");
                let _ = parser.start_timestamp_ms();
                let mut exemplars = 0;
                while parser.next_exemplar().is_some() {
                    exemplars += 1;
                    assert!(exemplars <= page.len() + 1);
                }
                if matches!(entry, Entry::Histogram { .. })
                    && let Some(value) = parser.take_histogram()
                {
                    let _ = value.validate();
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn text(bytes: &[u8]) {
    page(Format::Text, bytes);
}

pub(crate) fn openmetrics(bytes: &[u8]) {
    page(Format::OpenMetrics, bytes);
}

pub(crate) fn protobuf(bytes: &[u8]) {
    page(Format::Protobuf, bytes);
}

fn with_options(page: &[u8], target: &str) -> Vec<Vec<u8>> {
    let chosen = [0u8, 1, 4, 12, 16, 31].map(|bits| [&[bits], page].concat());
    chosen.into_iter().chain(crate::finds::of(target)).collect()
}

pub(crate) fn text_corpus() -> Vec<Vec<u8>> {
    with_options(include_bytes!("../../testdata/exposition/text.prom.txt"), "exposition_text")
}

pub(crate) fn openmetrics_corpus() -> Vec<Vec<u8>> {
    with_options(include_bytes!("../../testdata/exposition/openmetrics.om.txt"), "exposition_openmetrics")
}

pub(crate) fn protobuf_corpus() -> Vec<Vec<u8>> {
    with_options(include_bytes!("../../testdata/exposition/protobuf.pb"), "exposition_protobuf")
}
