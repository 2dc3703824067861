//! Templates: lexer, parser, executor, formats, and the escaping of pages.

use model::Labels;
use model::metrics::Registry;
use template::{
    ALERT_DEFINITIONS, Expander, ExternalUrl, Library, Limits, Metrics, Number, PAGE_DEFINITIONS, Query,
    QueryError, Sample, Value, alert_data, check, page_data,
};

pub(crate) const WORDS: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    "{{/*",
    "*/}}",
    "if ",
    "else ",
    "else if ",
    "end",
    "range ",
    "with ",
    "define \"t\"",
    "template \"t\" .",
    "tmpl \"t\" .",
    "block \"b\" .",
    "break",
    "continue",
    "nil",
    "true",
    "$x := ",
    "$x = ",
    "$i, $e := ",
    "$value",
    "$labels",
    ".Labels.job",
    ".Value",
    "query \"up\"",
    "first",
    "index ",
    "slice ",
    "len ",
    "args 1 2",
    "printf \"%",
    "%[2]*.[1]*f",
    "%#v",
    "%+q",
    "%x",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "humanize ",
    "toTime ",
    ".Format \"2006-01-02 .000\"",
    "toDuration ",
    "reReplaceAll \"(.)\" \"$1\" ",
    "safeHtml ",
    "html",
    "urlquery",
    "js ",
    "(",
    ")",
    "|",
    "\"",
    "`",
    "'a'",
    "1e9",
    "0x1p4",
    "-1",
    "<a href=\"",
    "<b title=",
    "<script>",
    "</script>",
    "<style>",
    "<!--",
    "-->",
    "onclick='",
    "url(",
    "/",
    "${",
    ">",
    "&quot;",
];

/// Answers every query with one sample.
struct OneSample;

impl Query for OneSample {
    fn query(&self, expression: &str, _: i64) -> Result<Vec<Sample>, QueryError> {
        match expression {
            "" => Err(QueryError("nothing was asked".to_owned())),
            _ => Ok(vec![Sample::new([("job", "<a>"), ("instance", "b:1")], Value::Float(1.5))]),
        }
    }
}

fn limits() -> Limits {
    Limits { steps: 20_000, output_bytes: 200_000, made_bytes: 1_000_000, depth: 300 }
}

fn expander<'e>(text: &'e [u8], data: Value, url: &'e ExternalUrl) -> Expander<'e> {
    Expander {
        name: "t",
        text,
        data,
        now_ms: 1_700_000_000_000,
        query: &OneSample,
        external_url: url,
        limits: limits(),
    }
}

/// As an annotation: bounded, the same twice, and refused where a check refuses it.
pub(crate) fn text(bytes: &[u8]) {
    let metrics = Metrics::new(&Registry::new());
    let url = ExternalUrl { text: "http://a/b".to_owned(), path: "/b".to_owned() };
    let labels = Labels::from_pairs([("job", "node"), ("instance", "a:1")]);
    let text = [ALERT_DEFINITIONS.as_bytes(), &bytes[..bytes.len().min(2000)]].concat();
    let run = || {
        let data = alert_data(&labels, &Labels::empty(), &url, Number::Float(1.0));
        expander(&text, data, &url).expand(&metrics)
    };
    let first = run();
    assert_eq!(first, run(), "a template makes the same twice");
    if check("t", &text).is_err() {
        assert!(first.is_err(), "what does not parse does not run");
    }
    if let Ok(out) = first {
        assert!(out.len() <= limits().output_bytes);
    }
}

/// As a page: bounded; text of a sample never becomes a tag of its own.
pub(crate) fn page(bytes: &[u8]) {
    let url = ExternalUrl::default();
    let text = [PAGE_DEFINITIONS.as_bytes(), &bytes[..bytes.len().min(2000)]].concat();
    let data = page_data(&[(b"q".to_vec(), b"\"'><x-injected>".to_vec())], "p", &Labels::empty());
    let library = Library { name: "l".to_owned(), text: b"{{define \"t\"}}<i>{{.}}</i>{{end}}".to_vec() };
    if let Ok(out) = expander(&text, data, &url).expand_page(&[library]) {
        assert!(out.len() <= limits().output_bytes);
        let wrote_it = |name: &[u8]| bytes.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
        if !wrote_it(b"injected") && !wrote_it(b"safeHtml") {
            assert!(!out.windows(11).any(|part| part == b"<x-injected"), "a parameter became a tag");
        }
    }
}

pub(crate) fn text_corpus() -> Vec<Vec<u8>> {
    let all = [
        "{{ $labels.instance }} of {{ .Labels.job }} is {{ $value | humanize }}",
        "{{ range query \"up\" }}{{ .Labels.job }}: {{ .Value | printf \"%.2f\" }}\n{{ end }}",
        "{{ with query \"up\" | first }}{{ .Value }}{{ else }}none{{ end }}",
        "{{- if gt $value 0.5 -}} high {{- else if eq $value 0.0 }} none {{ end }}",
        "{{ define \"a\" }}<{{ . }}>{{ end }}{{ template \"a\" 1 }}{{ block \"b\" . }}{{ .Value }}{{ end }}",
        "{{ (toTime 1.5e9).Format \"Mon Jan _2 15:04:05.000 2006\" }} {{ (toDuration 90).String }}",
        "{{ printf \"%+08.3f|%-8q|%#x|%[1]v|%T\" 1.5 \"a\" 255 nil }}",
        "{{ $x := args 1 \"b\" nil }}{{ $x.arg1 }}{{ range $k, $v := $x }}{{ $k }}{{ end }}{{ len $x }}",
        "{{ slice \"abcdef\" 1 3 }}{{ index \"abc\" 1 }}{{ and 1 0 }}{{ or \"\" 2 }}{{ not nil }}",
        "{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance | title | toUpper }}{{ match \"^a\" \"ab\" }}",
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).chain(crate::finds::of("template_text")).collect()
}

pub(crate) fn page_corpus() -> Vec<Vec<u8>> {
    let all = [
        "<a href=\"/x?q={{ $params.q }}\" title='{{ $params.q }}'>{{ $params.q }}</a>",
        "<script>var a = {{ $params.q }}, b = \"{{ $params.q }}\", c = /{{ $params.q }}/, d = `${ {{ 1 }} }`;</script>",
        "<style>p { color: {{ $params.q }}; background: url('{{ $params.q }}') }</style>",
        "<b {{ $params.q }}=x title={{ $params.q }} style=\"{{ $params.q }}\" onclick=\"f({{ $params.q }})\">",
        "{{ range query \"up\" }}<li>{{ .Labels.job }}{{ template \"t\" .Value }}</li>{{ end }}{{ tmpl \"t\" $params.q }}",
        "<!-- {{ $params.q }} --><textarea>{{ $params.q }}</textarea><title>{{ . }}</title>",
        "<img srcset=\"{{ $params.q }}\"><meta content=\"0;url={{ $params.q }}\">",
        "<p>{{ if $params.q }}<b>{{ else }}<i>{{ end }}{{ $params.q | html }}</p>",
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).chain(crate::finds::of("template_page")).collect()
}
