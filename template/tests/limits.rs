//! Templates that would take for ever, or all there is, are stopped.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::Labels;
use model::metrics::Registry;
use template::{
    Expander, ExternalUrl, Library, Limits, Metrics, NESTING_MAX, Query, QueryError, Sample, Value, page_data,
};

/// Answers nothing, a number of times.
struct Nothing {
    queries_left: AtomicUsize,
}

impl Query for Nothing {
    fn query(&self, _: &str, _: i64) -> Result<Vec<Sample>, QueryError> {
        self.queries_left.fetch_sub(1, Ordering::Relaxed);
        Ok(Vec::new())
    }

    fn is_cancelled(&self) -> bool {
        self.queries_left.load(Ordering::Relaxed) == 0
    }
}

fn limits() -> Limits {
    Limits { steps: 200_000, output_bytes: 1 << 20, made_bytes: 4 << 20, depth: 2000 }
}

fn text(text: &str) -> Result<usize, String> {
    let registry = Registry::new();
    let expander = Expander {
        name: "t",
        text: text.as_bytes(),
        data: Value::Nothing,
        now_ms: 0,
        query: &Nothing { queries_left: AtomicUsize::new(100) },
        external_url: &ExternalUrl::default(),
        limits: limits(),
    };
    expander.expand(&Metrics::new(&registry)).map(|out| out.len()).map_err(|fault| fault.to_string())
}

fn page(text: &str, library: &str) -> Result<usize, String> {
    let expander = Expander {
        name: "p",
        text: text.as_bytes(),
        data: page_data(&[], "p", &Labels::empty()),
        now_ms: 0,
        query: &Nothing { queries_left: AtomicUsize::new(100) },
        external_url: &ExternalUrl::default(),
        limits: limits(),
    };
    let library = Library { name: "l".to_owned(), text: library.into() };
    expander.expand_page(&[library]).map(|out| out.len()).map_err(|fault| fault.to_string())
}

fn stopped(result: Result<usize, String>, why: &str) {
    match result {
        Err(fault) => assert!(fault.contains(why), "{fault}"),
        Ok(len) => panic!("{len} bytes were written"),
    }
}

#[test]
fn loops_end() {
    stopped(text("{{range 1000000000}}{{end}}"), "exceeded maximum of 200000 steps");
    stopped(text("{{range 1000}}{{range 1000}}{{1}}{{end}}{{end}}"), "exceeded maximum of 200000 steps");
    stopped(text("{{range 1000}}{{query \"x\"}}{{end}}"), "template was cancelled");
}

#[test]
fn recursion_ends() {
    stopped(
        text("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}"),
        "exceeded maximum template depth",
    );
    stopped(
        page("{{template \"a\"}}", "{{define \"a\"}}{{template \"a\"}}{{end}}"),
        "exceeded maximum template depth",
    );
    stopped(
        page("{{tmpl \"a\" 1}}", "{{define \"a\"}}{{tmpl \"a\" 1}}{{end}}"),
        "exceeded maximum template depth",
    );
}

#[test]
fn the_deepest_that_is_allowed_has_stack_enough() {
    let (query, external_url) = (Nothing { queries_left: AtomicUsize::new(1) }, ExternalUrl::default());
    let expander = |text: &'static str| Expander {
        name: "t",
        text: text.as_bytes(),
        data: Value::Nothing,
        now_ms: 0,
        query: &query,
        external_url: &external_url,
        limits: Limits::default(),
    };
    let recursion = "{{define \"a\"}}{{if true}}{{with (((1)))}}{{template \"a\" (print (print .))}}{{end}}{{end}}{{end}}\
                     {{template \"a\"}}";
    let metrics = Metrics::new(&Registry::new());
    let fault = expander(recursion).expand(&metrics).unwrap_err().to_string();
    assert!(fault.contains("exceeded maximum template depth (5000)"), "{fault}");
    let inserted = "{{define \"a\"}}{{with tmpl \"a\" 1}}{{.}}{{end}}{{end}}{{tmpl \"a\" 1}}";
    let fault = expander(inserted).expand_page(&[]).unwrap_err().to_string();
    assert!(fault.contains("exceeded maximum template depth (5000)"), "{}", fault.len());
}

#[test]
fn text_does_not_grow_without_end() {
    stopped(
        text("{{$x := \"aaaaaaaa\"}}{{range 40}}{{$x = print $x $x}}{{end}}"),
        "template makes too much text",
    );
    stopped(text("{{range 100}}{{printf \"%100000d\" 1}}{{end}}"), "output is longer than 1048576 bytes");
    stopped(
        text("{{$x := printf \"%100000d\" 1}}{{reReplaceAll \"\" $x $x}}"),
        "template makes too much text",
    );
    stopped(
        text("{{$x := args 1 2}}{{range 60}}{{$x = args $x $x}}{{end}}{{printf \"%v\" $x}}"),
        "template makes too much text",
    );
    stopped(text("{{$x := args 1}}{{range 200}}{{$x = args $x}}{{end}}"), "args within args");
}

#[test]
fn nesting_is_run_as_deep_as_it_is_read() {
    let ifs = |n: usize| format!("{}x{}", "{{if true}}".repeat(n), "{{end}}".repeat(n));
    assert_eq!(text(&ifs(NESTING_MAX)), Ok(1));
    stopped(text(&ifs(NESTING_MAX + 1)), "max expression depth exceeded");
    let parentheses = |n: usize| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n));
    assert_eq!(text(&parentheses(NESTING_MAX)), Ok(1));
    assert_eq!(page(&ifs(NESTING_MAX), ""), Ok(1));
}

#[test]
fn pages_are_read_in_bounded_time() {
    // Each loop's body is read twice.
    let loops = |n: usize| format!("{}x{}", "{{range 1}}".repeat(n), "{{end}}".repeat(n));
    assert_eq!(page(&loops(10), ""), Ok(1));
    stopped(page(&loops(60), ""), "nodes to read");
    let many: String = (0..600)
        .map(|i| format!("{{{{define \"a{i}\"}}}}<b>{{{{template \"a{}\"}}}}{{{{end}}}}", i + 1))
        .collect();
    stopped(page("{{template \"a0\"}}", &many), "templates call each other more than 400 deep");
}
