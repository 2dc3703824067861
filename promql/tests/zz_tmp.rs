use promql::{Engine, EngineOptions, Query};
use testkit::MemoryStore;
use testkit::promqltest::{ScriptStore, run_script};
#[test]
fn stats() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string("/tmp/promeng_stats.json").unwrap()).unwrap();
    let store = MemoryStore::new();
    let engine = Engine::new(EngineOptions { per_step_stats: true, default_subquery_interval_ms: 60_000, ..EngineOptions::default() });
    let s2 = store.clone();
    run_script("load 10s\n metricWith1SampleEvery10Seconds 1+1x100\n metricWith3SampleEvery10Seconds{a=\"1\",b=\"1\"} 1+1x100\n metricWith3SampleEvery10Seconds{a=\"2\",b=\"2\"} 1+1x100\n metricWith3SampleEvery10Seconds{a=\"3\",b=\"2\"} 1+1x100\n metricWith1HistogramEvery10Seconds {{schema:1 count:5 sum:20 buckets:[1 2 1 1]}}+{{schema:1 count:10 sum:5 buckets:[1 2 3 4]}}x100\n", &engine, &move || -> Box<dyn ScriptStore> { Box::new(s2.clone()) }).unwrap();
    let mut bad = [0; 5];
    for c in &cases {
        let text = c["query"].as_str().unwrap();
        let start = c["start"].as_i64().unwrap();
        let mut q = match c["end"].as_i64() { Some(e) => Query::range(text, start, e, c["step"].as_i64().unwrap()), None => Query::instant(text, start) };
        q.per_step_stats = true;
        let r = if c["end"].is_null() { engine.instant(&store, &q) } else { engine.range(&store, &q) };
        let s = match r { Ok(o) => o.stats, Err(e) => { println!("ERR {text}: {e}"); continue } };
        let map = |v: &Option<Vec<(i64, u64)>>| -> serde_json::Value { serde_json::Value::Object(v.clone().unwrap_or_default().into_iter().map(|(t, n)| (t.to_string(), n.into())).collect()) };
        let mut say = |i: usize, what: &str, want: &serde_json::Value, have: serde_json::Value| if *want != have { bad[i] += 1; println!("{text} [{}..{}]: {what} want {want} have {have}", c["start"], c["end"]); };
        say(0, "total", &c["total"], s.total_queryable_samples.into());
        say(1, "read", &c["read"], s.samples_read.into());
        say(2, "peak", &c["peak"], s.peak_samples.into());
        say(3, "tps", &c["tps"], map(&s.total_queryable_samples_per_step));
        if c["rps"].as_object().is_some_and(|m| !m.is_empty()) { say(4, "rps", &c["rps"], map(&s.samples_read_per_step)); }
    }
    println!("{} cases, bad {bad:?}", cases.len());
}
