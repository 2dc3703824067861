//! What a query makes beside samples counts against its memory, too: strings
//! that functions put into its dictionary, rows of labels, groups and partners.

use model::memory::{Accountant, Pressure};
use model::{Dictionary, LabelTable, SymbolId};
use promql::{Engine, EngineOptions, Features, Output, Query, QueryError};
use testkit::MadeUp;

const SERIES: usize = 20_000;

/// `m_total{id="s0000000", job="all"}` and so on.
fn labels(series: usize, dictionary: &Dictionary, rows: &mut LabelTable) {
    let mut writer = dictionary.write();
    let (metric, id, job) = (writer.intern("m_total"), writer.intern("id"), writer.intern("job"));
    let one_job = writer.intern("all");
    for i in 0..series {
        let value = writer.intern(&format!("s{i:07}"));
        rows.push([(SymbolId::METRIC_NAME, metric), (id, value), (job, one_job)]);
    }
}

const STORE: MadeUp = MadeUp {
    series: SERIES,
    interval_ms: 15_000,
    labels,
    value: |series, i| series as f64 * 1.25 + i as f64,
};

fn ask(memory: &Accountant, budget: u64, text: &str) -> Result<Output, QueryError> {
    let engine = Engine::new(EngineOptions {
        features: Features::all(),
        memory: memory.clone(),
        query_memory_budget: budget,
        ..EngineOptions::default()
    });
    engine.instant(&STORE, &Query::instant(text, 1_000_000))
}

/// What the query held at its peak.
fn peak(text: &str) -> u64 {
    let memory = Accountant::unlimited();
    let output = ask(&memory, u64::MAX, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let peak = output.stats.peak_memory_bytes;
    drop(output);
    assert_eq!(memory.used(), 0, "{text} holds nothing in the end");
    peak
}

#[test]
fn what_is_made_is_counted() {
    let replaced = format!("label_replace(m_total, \"x\", \"{}\", \"id\", \"(.*)\")", "$1".repeat(100));
    let joined = format!("label_join(m_total, \"x\", \"\"{})", ", \"id\"".repeat(100));
    let plain = peak("m_total");
    let series = SERIES as u64;
    // Texts of 800 bytes a series, kept until the answer is sent.
    for text in [&replaced, &joined] {
        let more = peak(text) - plain;
        assert!((series * 800..series * 1100).contains(&more), "{more}");
        let more = peak(&format!("count({text})")) - peak("count(m_total)");
        assert!(more > series * 800, "{more}");
    }
    // A text, a row and a place of a table for each value.
    assert!(peak("count_values(\"v\", m_total)") - plain > series * (7 + 8 + 100));
    // A key for each group, or each partner.
    for text in [
        "count by (id) (m_total)",
        "topk by (id) (1, m_total)",
        "m_total + on (id) m_total",
        "m_total and on (id) m_total",
        "m_total or on (id) m_total",
        "histogram_quantile(0.9, m_total)",
    ] {
        assert!(peak(text) > series * 100, "{text}: {}", peak(text));
    }
}

#[test]
fn what_is_made_ends_where_the_budget_does() {
    const BUDGET: u64 = 4 << 20;
    let memory = Accountant::new(1 << 30);
    let doubled = |series: &str, levels: usize| {
        (0..levels).fold(series.to_owned(), |inner, level| {
            let source = if level == 0 { "id".to_owned() } else { format!("x{}", level - 1) };
            let text = "$1".repeat(50);
            format!("label_replace({inner}, \"x{level}\", \"{text}\", \"{source}\", \"(.*)\")")
        })
    };
    for text in [
        doubled("m_total", 2),
        doubled("m_total", 4),
        format!("label_join(m_total, \"x\", \"{}\", \"id\", \"id\")", "-".repeat(1000)),
        "count_values(\"v\", m_total)".to_owned(),
        "count by (id, job, __name__) (m_total) + on (id) m_total".to_owned(),
    ] {
        let error = ask(&memory, BUDGET, &text).map(|_| ()).unwrap_err();
        let QueryError::Memory(refused) = &error else { panic!("{text}: {error}") };
        assert_eq!(refused.limit, BUDGET, "{error}");
        assert_eq!(memory.used(), 0, "{text} holds nothing in the end");
    }
    assert!(ask(&memory, BUDGET, "count(m_total)").is_ok(), "what is small enough is answered");
    // A text that no memory holds is not begun.
    let text = doubled("topk(1, m_total)", 5);
    let error = ask(&Accountant::unlimited(), u64::MAX, &text).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is longer than the 1073741824 that are allowed"), "{error}");
}

/// A pattern that needs an automaton, the larger the more words it has.
fn pattern(words: usize) -> String {
    (0..words).map(|i| format!("x.{i}y+")).collect::<Vec<_>>().join("|")
}

#[test]
fn regular_expressions_are_counted_and_refused() {
    let plain = peak("count(m_total)");
    let large = pattern(2000);
    let matched = format!("count(m_total{{id!~\"{large}\"}})");
    let more = peak(&matched) - plain;
    assert!(more > 200_000, "{more} bytes for a matcher");
    let replaced = |levels: usize| {
        let close = format!(", \"x\", \"$1\", \"id\", \"({large})\")").repeat(levels);
        format!("{}m_total{close}", "label_replace(".repeat(levels))
    };
    let (once, twice) = (peak(&replaced(1)), peak(&replaced(2)));
    assert!(once > peak("m_total") + 200_000 && twice > once + 100_000, "{once} and {twice}");
    let memory = Accountant::new(1 << 30);
    for text in [format!("{matched} + {matched} + {matched}"), replaced(8)] {
        let error = ask(&memory, more + (512 << 10), &text).map(|_| ()).unwrap_err();
        assert!(matches!(error, QueryError::Memory(_)), "{error}");
        assert_eq!(memory.used(), 0, "what is refused holds nothing");
    }
}

#[test]
fn regular_expressions_of_a_query_are_bounded_together() {
    // Each is within its own bound; a page of them would take gigabytes.
    let one = format!("m{{id=~\"(?:{}){{200}}\"}}", "[α-ω]x|".repeat(20));
    let error =
        promql::parse(&vec![one.as_str(); 1000].join(" + "), Features::all()).unwrap_err().to_string();
    assert!(error.contains("regular expressions are too large"), "{error}");
    assert!(promql::parse(&one, Features::all()).is_ok());
}

#[test]
fn near_the_ceiling_a_query_ends_while_it_makes_labels() {
    let memory = Accountant::new(64 << 20);
    let rest = memory.owner("rest");
    // Queries are refused from 90 % on: what they make is what brings it there.
    rest.set((64 << 20) * 81 / 100);
    let text = format!("label_replace(m_total, \"x\", \"{}\", \"id\", \"(.*)\")", "$1".repeat(100));
    let error = ask(&memory, u64::MAX, &text).map(|_| ()).unwrap_err();
    let QueryError::Memory(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.limit, 64 << 20);
    assert_eq!(memory.used(), rest.get());
    assert_eq!(memory.pressure(), Pressure::ShrinkCaches);
}
