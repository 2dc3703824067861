//! Expanding a template: text for annotations, HTML for pages.
//! Source: Prometheus `template/template.go`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::metrics::{Counter, Registry};
use model::{FloatHistogram, Labels};

use crate::error::{EscapeError, ExecError, ExpandError};
use crate::exec::{self, Limits, Surroundings, Templates};
use crate::function::Function;
use crate::html::Page;
use crate::node::Tree;
use crate::parse::{ParseError, parse};
use crate::value::{Map, Sample, Struct, Value};

/// A query that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

/// Answers the queries of a template.
pub trait Query: Sync {
    /// The samples of an instant query.
    ///
    /// # Errors
    /// The query is malformed, fails, or yields no vector or scalar.
    fn query(&self, expression: &str, at_ms: i64) -> Result<Vec<Sample>, QueryError>;

    /// Whether nobody waits for the result any more.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// What `--web.external-url` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalUrl {
    /// All of it.
    pub text: String,
    /// Its path.
    pub path: String,
}

/// `prometheus_template_text_expansion…`.
#[derive(Clone)]
pub struct Metrics {
    expansions: Counter,
    failures: Counter,
}

impl Metrics {
    /// The counters, registered.
    pub fn new(registry: &Registry) -> Metrics {
        Metrics {
            failures: registry.counter(
                "prometheus_template_text_expansion_failures_total",
                "The total number of template text expansion failures.",
            ),
            expansions: registry.counter(
                "prometheus_template_text_expansions_total",
                "The total number of template text expansions.",
            ),
        }
    }
}

/// The value of an alert or of a sample.
#[derive(Clone, Debug)]
pub enum Number {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl Number {
    /// The value as templates see it.
    pub fn value(self) -> Value {
        match self {
            Number::Float(value) => Value::Float(value),
            Number::Histogram(histogram) => Value::Histogram(histogram),
        }
    }
}

/// What the labels and annotations of an alert are expanded with: `.Labels`,
/// `.ExternalLabels`, `.ExternalURL`, `.Value`.
pub fn alert_data(
    labels: &Labels,
    external_labels: &Labels,
    external_url: &ExternalUrl,
    value: Number,
) -> Value {
    Value::Struct(Arc::new(Struct::anonymous(vec![
        ("Labels", Value::Map(label_map(labels))),
        ("ExternalLabels", Value::Map(label_map(external_labels))),
        ("ExternalURL", Value::text(&external_url.text)),
        ("Value", Value::any(value.value())),
    ])))
}

/// What the text of an alert's label or annotation begins with, so that it can
/// say `$labels`, `$externalLabels`, `$externalURL` and `$value`.
pub const ALERT_DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Labels as templates see them.
pub fn label_map(labels: &Labels) -> Map {
    Map::of_strings(labels.iter().map(|label| (label.name, label.value)))
}

/// What a page is expanded with: `.RawParams`, `.Params`, `.Path`, `.ExternalLabels`.
///
/// `params`: names and values of the URL's query in their order; `path`: below
/// `/consoles/`.
pub fn page_data(params: &[(Vec<u8>, Vec<u8>)], path: &str, external_labels: &Labels) -> Value {
    let mut first: BTreeMap<Arc<[u8]>, Value> = BTreeMap::new();
    for (name, value) in params {
        first.entry(name.as_slice().into()).or_insert_with(|| Value::text(value));
    }
    let first = Map::new(crate::value::MapType::Strings, first);
    Value::Struct(Arc::new(Struct::anonymous(vec![
        ("RawParams", Value::Map(Map::of_url_values(params))),
        ("Params", Value::Map(first)),
        ("Path", Value::text(path)),
        ("ExternalLabels", Value::Map(label_map(external_labels))),
    ])))
}

/// What a page's text begins with, so that it can say `$rawParams` and so on.
pub const PAGE_DEFINITIONS: &str = "{{$rawParams := .RawParams }}{{$params := .Params}}{{$path := .Path}}\
    {{$externalLabels := .ExternalLabels}}";

/// A file with templates that a page may call.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its name without folders.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// A template with what it is expanded with.
pub struct Expander<'e> {
    /// The name in messages.
    pub name: &'e str,
    /// The text.
    pub text: &'e [u8],
    /// What `.` is at the start.
    pub data: Value,
    /// What `now` is, and when queries are evaluated.
    pub now_ms: i64,
    /// Answers queries.
    pub query: &'e dyn Query,
    /// What `externalURL` and `pathPrefix` tell.
    pub external_url: &'e ExternalUrl,
    /// What it may take.
    pub limits: Limits,
}

/// Checks a text without expanding it, as a rule file is checked.
///
/// # Errors
/// The text is not well formed, or calls a function that does not exist.
pub fn check(name: &str, text: &[u8]) -> Result<(), ParseError> {
    with_stack(text, || parse(name.as_bytes(), text, &|word| Function::by_name(word, false).is_some()))
        .unwrap_or_else(|reason| Err(ParseError { name: name.to_owned(), line: 0, message: reason }))
        .map(|_| ())
}

/// Trees of one text by name.
struct TextTemplates(BTreeMap<Arc<[u8]>, Arc<Tree>>);

impl Templates for TextTemplates {
    fn lookup(&self, name: &[u8]) -> Option<Arc<Tree>> {
        self.0.get(name).cloned()
    }

    fn ready(&self, name: &[u8]) -> Result<Arc<Tree>, EscapeError> {
        self.lookup(name).ok_or_else(|| EscapeError(format!("no template {}", crate::text::quote(name))))
    }
}

impl Expander<'_> {
    /// Expands a text as it is, nothing escaped.
    ///
    /// # Errors
    /// The text is not well formed, or stops while it runs.
    pub fn expand(&self, metrics: &Metrics) -> Result<Vec<u8>, ExpandError> {
        metrics.expansions.inc();
        let expanded =
            with_stack(self.text, || self.expand_here()).unwrap_or_else(|reason| self.no_thread(reason));
        if expanded.is_err() {
            metrics.failures.inc();
        }
        expanded
    }

    /// Expands a page: values are escaped for where they stand. The page may call
    /// the templates of the libraries.
    ///
    /// # Errors
    /// A text is not well formed, cannot be escaped, or stops while it runs.
    pub fn expand_page(&self, libraries: &[Library]) -> Result<Vec<u8>, ExpandError> {
        on_thread(|| self.expand_page_here(libraries)).unwrap_or_else(|reason| self.no_thread(reason))
    }

    fn no_thread(&self, reason: String) -> Result<Vec<u8>, ExpandError> {
        Err(ExpandError::Thread { name: self.name.to_owned(), reason })
    }

    fn expand_here(&self) -> Result<Vec<u8>, ExpandError> {
        let known = |word: &[u8]| Function::by_name(word, false).is_some();
        let trees = parse(self.name.as_bytes(), self.text, &known)
            .map_err(|source| ExpandError::Parse { name: self.name.to_owned(), source })?;
        let trees: BTreeMap<_, _> = trees.into_iter().map(|(name, tree)| (name, Arc::new(tree))).collect();
        let templates = TextTemplates(trees);
        let tree = templates.lookup(self.name.as_bytes()).expect("a text yields a tree of its own name");
        self.run(&templates, tree, false)
    }

    fn expand_page_here(&self, libraries: &[Library]) -> Result<Vec<u8>, ExpandError> {
        let name = || self.name.to_owned();
        let known = |word: &[u8]| Function::by_name(word, true).is_some();
        let mut trees: BTreeMap<Arc<[u8]>, Arc<Tree>> = BTreeMap::new();
        let mut add = |parsed: BTreeMap<Arc<[u8]>, Tree>| {
            for (name, tree) in parsed {
                // A template without text does not take the place of one with.
                if !tree.root.is_empty() || !trees.contains_key(&name) {
                    trees.insert(name, Arc::new(tree));
                }
            }
        };
        add(parse(self.name.as_bytes(), self.text, &known)
            .map_err(|source| ExpandError::Parse { name: name(), source })?);
        for library in libraries {
            add(parse(library.name.as_bytes(), &library.text, &known)
                .map_err(|source| ExpandError::ParseFile { name: name(), source })?);
        }
        let page = Page::new(trees);
        let tree =
            page.main(self.name.as_bytes()).map_err(|source| ExpandError::Escape { name: name(), source })?;
        self.run(&page, tree, true)
    }

    fn run(&self, templates: &dyn Templates, tree: Arc<Tree>, in_page: bool) -> Result<Vec<u8>, ExpandError> {
        let surroundings = Surroundings {
            query: self.query,
            now_ms: self.now_ms,
            external_url: self.external_url,
            limits: self.limits,
            made_bytes: Cell::new(0),
            in_page,
        };
        exec::execute(&surroundings, templates, tree, self.data.clone())
            .map_err(|source: ExecError| ExpandError::Exec { name: self.name.to_owned(), source })
    }
}

/// Stack for the deepest nesting that the limits allow.
const STACK_BYTES: usize = 256 << 20;
/// Texts with fewer openings than this cannot nest deep.
const SHALLOW: usize = 64;

/// Runs where there is stack enough: here for texts that cannot nest deep.
fn with_stack<T: Send>(text: &[u8], run: impl FnOnce() -> T + Send) -> Result<T, String> {
    let opens =
        text.windows(2).filter(|pair| *pair == b"{{").count() + text.iter().filter(|b| **b == b'(').count();
    let calls = [&b"template"[..], b"block"].iter().any(|word| crate::text::find(text, word).is_some());
    if opens < SHALLOW && !calls { Ok(run()) } else { on_thread(run) }
}

fn on_thread<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, run)
            .map_err(|fault| fault.to_string())?;
        thread.join().map_err(|_| "the template's thread ended early".to_owned())
    })
}
