//! Runs the cases of `testdata/promql-parser`; its README describes the form.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use promql::{Features, ParseErrors};

/// What the cases that follow a `%` line ask for.
#[derive(Clone, Copy)]
struct Wanted {
    features: Features,
    pretty: Option<usize>,
    json: bool,
    series: bool,
}

impl Wanted {
    fn parse(line: &str) -> Wanted {
        let mut wanted = Wanted { features: Features::none(), pretty: None, json: false, series: false };
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "none" => {}
                "default" => wanted.features = Features::default(),
                "all" => wanted.features = Features::all(),
                "experimental_functions" => wanted.features.experimental_functions = true,
                "extended_range_selectors" => wanted.features.extended_range_selectors = true,
                "binop_fill_modifiers" => wanted.features.binop_fill_modifiers = true,
                "pretty" => wanted.pretty = Some(words.next().unwrap().parse().unwrap()),
                "json" => wanted.json = true,
                "series" => wanted.series = true,
                other => panic!("unknown switch {other}"),
            }
        }
        wanted
    }

    /// The lines that a text yields.
    fn outcome(&self, text: &str) -> String {
        let mut out = String::new();
        let failed = |errors: ParseErrors| format!("! {errors}\n");
        if self.series {
            return promql::parse_series_description(text).map_or_else(failed, |(labels, values)| {
                let values: Vec<String> = values.iter().map(value).collect();
                format!("> {labels}\n> {}\n", values.join(", "))
            });
        }
        let expr = match promql::parse(text, self.features) {
            Ok(expr) => expr,
            Err(errors) => return failed(errors),
        };
        let _ = writeln!(out, "= {} {expr}", expr.value_type().as_str());
        if let Some(max) = self.pretty {
            for line in promql::prettify(&expr, max).lines() {
                let _ = writeln!(out, "| {line}");
            }
        }
        if self.json {
            let json = promql::to_json(&expr);
            let value: serde_json::Value = serde_json::from_str(json.get()).unwrap();
            assert_eq!(
                value.to_string(),
                json.get(),
                "keys are sorted and nothing is escaped that need not be"
            );
            let _ = writeln!(out, "{{ {}", json.get());
        }
        let again = promql::parse(&expr.to_string(), self.features).map(|again| again.to_string());
        assert_eq!(again, Ok(expr.to_string()), "printing {text:?} is not stable");
        out
    }
}

fn value(value: &promql::SequenceValue) -> String {
    let Some(h) = &value.histogram else {
        return match value.value {
            _ if value.omitted => "_".to_owned(),
            v if model::is_stale_nan(v) => "stale".to_owned(),
            v => model::float::format_g(v),
        };
    };
    let side = |spans: &[model::Span], buckets: &[f64]| {
        let spans: Vec<String> = spans.iter().map(|s| format!("{}:{}", s.offset, s.length)).collect();
        format!("{} {buckets:?}", spans.join(" "))
    };
    let hint = if value.counter_reset_hint_set { "!" } else { "" };
    format!(
        "{{{:?}{hint} schema {} count {} sum {} zero {} below {} positive {} negative {} custom {:?}}}",
        h.counter_reset_hint,
        h.schema,
        h.count,
        h.sum,
        h.zero_count,
        h.zero_threshold,
        side(&h.positive_spans, &h.positive_buckets),
        side(&h.negative_spans, &h.negative_buckets),
        h.custom_values
    )
}

/// Runs a file: as it is, and as it should be.
fn run(text: &str) -> String {
    let mut wanted = Wanted::parse("default");
    let mut query: Option<String> = None;
    let mut out = String::new();
    for line in text.lines().chain([""]) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("?", more) => {
                out.push_str(line);
                out.push('\n');
                match &mut query {
                    Some(query) => {
                        query.push('\n');
                        query.push_str(more);
                    }
                    None => query = Some(more.to_owned()),
                }
                continue;
            }
            // What was expected: replaced by what comes.
            ("=" | "|" | "{" | ">" | "!", _) => continue,
            ("%", switches) => wanted = Wanted::parse(switches),
            ("#" | "", _) => {}
            (other, _) => panic!("unknown mark {other}"),
        }
        if let Some(query) = query.take() {
            out.push_str(&wanted.outcome(&query));
        }
        out.push_str(line);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn case_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/promql-parser");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "cases"))
        .collect();
    files.sort();
    files
}

#[test]
fn cases_come_out_as_written() {
    let files = case_files();
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let got = run(&text);
        if std::env::var_os("NARTHEX_UPDATE_TESTDATA").is_some() {
            std::fs::write(&path, &got).unwrap();
            continue;
        }
        for (i, (got, want)) in got.lines().zip(text.lines()).enumerate() {
            assert_eq!(got, want, "{} line {}", path.display(), i + 1);
        }
        assert_eq!(got.lines().count(), text.lines().count(), "{}", path.display());
    }
}
