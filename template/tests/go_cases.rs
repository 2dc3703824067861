//! Templates with what Go made of them: output and messages must be equal.
//!
//! `testdata/template/*.jsonl` holds one case a line. `NARTHEX_TEMPLATE_CASES`
//! names a further file of such lines, to hold the engine against a fresh run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::metrics::Registry;
use model::{FloatHistogram, Labels, Span};
use serde_json::Value as Json;
use template::{
    ALERT_DEFINITIONS, ExpandError, Expander, ExternalUrl, Library, Limits, Metrics, Number,
    PAGE_DEFINITIONS, Query, QueryError, Sample, Value, alert_data, page_data,
};

fn histogram() -> Arc<FloatHistogram> {
    Arc::new(FloatHistogram {
        schema: 0,
        count: 10.0,
        sum: 18.4,
        zero_count: 2.0,
        zero_threshold: 0.001,
        positive_spans: [Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }].into(),
        positive_buckets: vec![3.0, 4.0, 1.0],
        ..FloatHistogram::default()
    })
}

/// Answers the queries that the cases ask.
struct Answers;

impl Query for Answers {
    fn query(&self, expression: &str, _: i64) -> Result<Vec<Sample>, QueryError> {
        let up = |instance: &str, job: &str, value: f64| {
            Sample::new([("__name__", "up"), ("instance", instance), ("job", job)], Value::Float(value))
        };
        Ok(match expression {
            "up" => vec![up("b:9090", "x", 1.0), up("a:9090", "y", 0.0), up("c<d>&\"'", "x", 1234567.5)],
            "scalar" => vec![Sample::new([], Value::Float(42.0))],
            "str" => vec![Sample::new([("__value__", "a string")], Value::Float(1.0))],
            "empty" => Vec::new(),
            "hist" => vec![Sample::new([("a", "h")], Number::Histogram(histogram()).value())],
            "fail" => return Err(QueryError("query failed: 1:1: parse error".to_owned())),
            other => return Err(QueryError(format!("unknown query {other:?}"))),
        })
    }
}

fn expand(case: &Json, metrics: &Metrics) -> Result<Vec<u8>, ExpandError> {
    let text = case["text"].as_str().expect("a case has a text");
    let external_url =
        ExternalUrl { text: "http://testhost:9090/path/prefix".to_owned(), path: "/path/prefix".to_owned() };
    let limits = Limits::default();
    let now_ms = 1_700_000_000_123;
    if case["mode"] == "text" {
        let labels = Labels::from_pairs([
            ("alertname", "A"),
            ("instance", "host.example.com:9100"),
            ("job", "node"),
            ("n", "12.5"),
            ("html", "<b>&amp; \"q\"</b>"),
            ("uni", "h\u{e9}llo w\u{f6}rld"),
        ]);
        let external_labels = Labels::from_pairs([("cluster", "c1"), ("replica", "r")]);
        let value = match case["hist"].as_bool() {
            Some(true) => Number::Histogram(histogram()),
            _ => Number::Float(1_048_576.5),
        };
        let data = alert_data(&labels, &external_labels, &external_url, value);
        let text = format!("{ALERT_DEFINITIONS}{text}");
        let expander = Expander {
            name: "__alert_T",
            text: text.as_bytes(),
            data,
            now_ms,
            query: &Answers,
            external_url: &external_url,
            limits,
        };
        return expander.expand(metrics);
    }
    let params =
        [("a", "1"), ("a", "2"), ("b", "<script>"), ("c", "x y"), ("d", ""), ("e", "javascript:alert(1)")];
    let params: Vec<(Vec<u8>, Vec<u8>)> =
        params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let data = page_data(&params, "dir/page.html", &Labels::from_pairs([("cluster", "c1")]));
    let text = format!("{PAGE_DEFINITIONS}{text}");
    let libraries: Vec<Library> = case["lib"]
        .as_str()
        .map(|text| Library { name: "lib.lib".to_owned(), text: text.into() })
        .into_iter()
        .collect();
    let expander = Expander {
        name: "__console_/page.html",
        text: text.as_bytes(),
        data,
        now_ms,
        query: &Answers,
        external_url: &external_url,
        limits,
    };
    expander.expand_page(&libraries)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/template");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files.extend(std::env::var_os("NARTHEX_TEMPLATE_CASES").map(PathBuf::from));
    files
}

#[test]
fn templates_make_what_go_makes() {
    let metrics = Metrics::new(&Registry::new());
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("a file of cases can be read");
        for line in text.lines() {
            let case: Json = serde_json::from_str(line).expect("a case is JSON");
            count += 1;
            let want_out = case["out"].as_str().unwrap_or_default();
            let want_error = case["err"].as_str().unwrap_or_default();
            let (out, error) = match expand(&case, &metrics) {
                Ok(out) => (String::from_utf8_lossy(&out).into_owned(), String::new()),
                Err(fault) => (String::new(), fault.to_string()),
            };
            if out != want_out || error != want_error {
                wrong.push(format!(
                    "{}\n  lib:  {}\n  want: {want_out:?} {want_error}\n  have: {out:?} {error}",
                    case["text"], case["lib"]
                ));
            }
        }
    }
    println!("{count} templates, {} differ", wrong.len());
    assert!(count >= 1000, "only {count} cases");
    let shown = wrong.len().min(200);
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong[..shown].join("\n"));
}
