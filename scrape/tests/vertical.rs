//! From discovered groups to stored samples, with a store that records and
//! targets that answer from memory; time is tokio's, and paused.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use discovery::TargetGroup;
use model::metrics::Registry;
use model::time::PromDuration;
use model::{HistogramValue, Labels};
use scrape::{AppendOptions, ManagerOptions, ScrapeManager};
use support::{Answer, FakeTargets, Recorder, TokioClock};

const URL: &str = "http://t:1/metrics";
const START_MS: i64 = 1_700_000_000_000;

struct World {
    manager: ScrapeManager,
    store: Recorder,
    targets: FakeTargets,
    registry: Registry,
    cancel: tokio_util::sync::CancellationToken,
}

fn job(change: impl FnOnce(&mut config::ScrapeConfig)) -> Arc<config::ScrapeConfig> {
    let mut config = config::ScrapeConfig {
        job_name: "j".to_owned(),
        scrape_interval: PromDuration(10_000),
        scrape_timeout: PromDuration(5_000),
        ..config::ScrapeConfig::default()
    };
    change(&mut config);
    Arc::new(config)
}

fn group(addresses: &[&str]) -> Vec<TargetGroup> {
    vec![TargetGroup {
        source: "0".to_owned(),
        labels: Labels::empty(),
        targets: addresses.iter().map(|a| Labels::from_pairs([("__address__", *a)])).collect(),
    }]
}

fn series(name: &str) -> String {
    format!(r#"{{__name__="{name}", instance="t:1", job="j"}}"#)
}

impl World {
    async fn new(config: Arc<config::ScrapeConfig>, append: AppendOptions) -> World {
        let targets = FakeTargets::default();
        let store = Recorder::new();
        let registry = Registry::new();
        let mut options = ManagerOptions::new(Arc::new(targets.clone()));
        options.append = append;
        let clock = Arc::new(TokioClock::new(START_MS));
        let manager = ScrapeManager::new(options, Arc::new(store.clone()), clock, &registry);
        manager.apply(vec![config], &Labels::empty()).await.unwrap();
        let cancel = tokio_util::sync::CancellationToken::new();
        let running = (manager.clone(), cancel.clone());
        tokio::spawn(async move { running.0.run(running.1).await });
        World { manager, store, targets, registry, cancel }
    }

    /// With one target whose first scrape was just made.
    async fn scraping(page: &str, change: impl FnOnce(&mut config::ScrapeConfig)) -> World {
        World::scraping_with(page, AppendOptions::default(), change).await
    }

    async fn scraping_with(
        page: &str,
        append: AppendOptions,
        change: impl FnOnce(&mut config::ScrapeConfig),
    ) -> World {
        let world = World::new(job(change), append).await;
        world.targets.set(URL, page);
        world.manager.update_groups("j", group(&["t:1"]));
        while world.targets.asked().is_empty() {
            world.pass(50).await;
        }
        world.pass(50).await;
        world
    }

    async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Lets one more scrape happen.
    async fn next(&self) {
        self.pass(10_000).await;
    }

    fn metric(&self, name: &str) -> f64 {
        let family = self.registry.gather().into_iter().find(|family| family.name == name);
        match family.map(|family| family.metrics[0].value.clone()) {
            Some(model::metrics::MetricValue::Single(value)) => value,
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn samples_arrive_labelled_and_the_scrape_is_reported() {
    let world = World::scraping("# TYPE a counter\na 1\nb{x=\"y\"} 2.5\n", |_| {}).await;
    world.targets.set(URL, "# TYPE a counter\na 2\nb{x=\"y\"} 2.5\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(2.0)]);
    assert_eq!(
        world.store.values(r#"{__name__="b", instance="t:1", job="j", x="y"}"#),
        [Some(2.5), Some(2.5)]
    );
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    assert_eq!(world.store.values(&series("scrape_samples_scraped")), [Some(2.0), Some(2.0)]);
    assert_eq!(world.store.values(&series("scrape_samples_post_metric_relabeling")), [Some(2.0), Some(2.0)]);
    assert_eq!(world.store.values(&series("scrape_series_added")), [Some(2.0), Some(0.0)]);
    assert_eq!(world.store.names().len(), 7);
    let times: Vec<i64> = world.store.floats(&series("a")).iter().map(|(t, _)| *t).collect();
    assert_eq!(times[1] - times[0], 10_000);
    let pools = world.manager.targets();
    let target = &pools[0].active[0];
    assert_eq!(target.status().health.as_str(), "up");
    assert_eq!(target.status().last_scrape_ms, Some(times[1]));
    assert_eq!(target.metadata().lock().get("a").unwrap().metric_type.as_str(), "counter");
    assert_eq!(target.discovered_labels().get("__metrics_path__"), Some("/metrics"));
}

#[tokio::test(start_paused = true)]
async fn vanished_series_and_failed_scrapes_end_series() {
    let world = World::scraping("a 1\nb 1\n", |_| {}).await;
    world.targets.set(URL, "b 2\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), None]);
    world.targets.answer(URL, Answer::Fails("broken".to_owned()));
    world.next().await;
    world.next().await;
    assert_eq!(world.store.values(&series("b")), [Some(1.0), Some(2.0), None]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(world.manager.targets()[0].active[0].status().last_error.as_deref(), Some("broken"));
    world.targets.set(URL, "a 3\nb 3\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), None, Some(3.0)]);
    assert_eq!(world.store.values(&series("b")), [Some(1.0), Some(2.0), None, Some(3.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_page_stores_nothing_and_ends_all() {
    let world = World::scraping("a 1\nb 1\n", |_| {}).await;
    world.targets.set(URL, "a 2\nb x1\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), None]);
    assert_eq!(world.store.values(&series("b")), [Some(1.0), None]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(0.0)]);
    assert_eq!(world.store.values(&series("scrape_samples_scraped"))[1], Some(1.0));
    let error = world.manager.targets()[0].active[0].status().last_error.unwrap();
    assert!(error.contains("strconv.ParseFloat: parsing \"x1\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn own_timestamps_are_kept_and_not_tracked() {
    let page = format!("a 1 {}\nb 1\n", START_MS - 1000);
    let world = World::scraping(&page, |_| {}).await;
    world.targets.set(URL, "b 2\n");
    world.next().await;
    assert_eq!(world.store.floats(&series("a")), [(START_MS - 1000, Some(1.0))]);

    let world = World::scraping(&page, |config| config.track_timestamps_staleness = true).await;
    world.targets.set(URL, "b 2\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), None]);

    let world = World::scraping(&page, |config| config.honor_timestamps = false).await;
    assert!(world.store.floats(&series("a"))[0].0 > START_MS);
}

#[tokio::test(start_paused = true)]
async fn samples_of_the_far_future_are_dropped_and_counted() {
    let page = format!("a 1 {}\nb 1\n", START_MS + 20 * 60_000);
    let world = World::scraping(&page, |_| {}).await;
    assert_eq!(world.store.values(&series("a")), []);
    assert_eq!(world.store.values(&series("up")), [Some(1.0)]);
    assert_eq!(world.metric("prometheus_target_scrapes_sample_out_of_bounds_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_series_twice_in_a_page_is_a_duplicate() {
    let world = World::scraping("a 1\na 2\n", |_| {}).await;
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(1.0)]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    assert_eq!(world.metric("prometheus_target_scrapes_sample_duplicate_timestamp_total"), 2.0);
    assert_eq!(world.store.values(&series("scrape_samples_post_metric_relabeling")), [Some(2.0), Some(2.0)]);
}

#[tokio::test(start_paused = true)]
async fn the_sample_limit_counts_on_and_stores_nothing() {
    let world = World::scraping("a 1\nb 1\nc 1\n", |config| config.sample_limit = 2).await;
    world.next().await;
    assert_eq!(world.store.values(&series("a")), []);
    assert_eq!(world.store.values(&series("up")), [Some(0.0), Some(0.0)]);
    assert_eq!(world.store.values(&series("scrape_samples_scraped")), [Some(3.0), Some(3.0)]);
    assert_eq!(world.store.values(&series("scrape_series_added")), [Some(2.0), Some(0.0)]);
    assert_eq!(world.metric("prometheus_target_scrapes_exceeded_sample_limit_total"), 2.0);
    let error = world.manager.targets()[0].active[0].status().last_error;
    assert_eq!(error.as_deref(), Some("sample limit exceeded"));
}

#[tokio::test(start_paused = true)]
async fn the_target_limit_fails_all_targets_of_the_job() {
    let world = World::new(job(|config| config.target_limit = 1), AppendOptions::default()).await;
    world.targets.set(URL, "a 1\n");
    world.targets.set("http://u:1/metrics", "a 1\n");
    world.manager.update_groups("j", group(&["t:1", "u:1"]));
    world.pass(30_000).await;
    assert_eq!(world.store.values(&series("a")), []);
    assert!(world.store.values(&series("up")).iter().all(|up| *up == Some(0.0)));
    let error = world.manager.targets()[0].active[0].status().last_error;
    assert_eq!(error.as_deref(), Some("target_limit exceeded (number of targets: 2, limit: 1)"));
    world.manager.update_groups("j", group(&["t:1"]));
    world.pass(30_000).await;
    assert!(!world.store.values(&series("a")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn metric_relabelling_drops_and_renames() {
    use model::relabel::RelabelAction;
    let mut rule = config::relabel::RelabelRule {
        source_labels: config::relabel::SourceLabels(Some(vec!["__name__".to_owned()])),
        regex: config::relabel::RulePattern(Some("drop_.*".to_owned())),
        action: config::decode::Chosen(Some(RelabelAction::Drop)),
        ..config::relabel::RelabelRule::default()
    };
    rule.check(model::names::ValidationScheme::Utf8).unwrap();
    let world = World::scraping("keep 1\ndrop_me 2\n", |config| {
        config.metric_relabel_configs = vec![Some(rule)];
    })
    .await;
    world.next().await;
    world.next().await;
    assert_eq!(world.store.values(&series("keep")), [Some(1.0); 3]);
    assert!(world.store.names().iter().all(|name| !name.contains("drop_me")));
    assert_eq!(world.store.values(&series("scrape_samples_scraped")), [Some(2.0); 3]);
    assert_eq!(world.store.values(&series("scrape_samples_post_metric_relabeling")), [Some(1.0); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_ends_after_two_ticks() {
    let world = World::scraping("a 1\n", |_| {}).await;
    let before = world.store.floats(&series("a")).len();
    world.manager.update_groups("j", vec![]);
    world.pass(5_000).await;
    let scraped = world.store.floats(&series("a"));
    assert!(scraped.iter().all(|(_, v)| v.is_some()));
    assert!(scraped.len() <= before + 1);
    world.pass(40_000).await;
    let after = world.store.floats(&series("a"));
    assert_eq!(after.len(), scraped.len() + 1);
    let (last, marker) = (scraped[scraped.len() - 1].0, after[after.len() - 1]);
    assert_eq!(marker, (last + 10_000, None));
    assert_eq!(world.store.floats(&series("up")).last(), Some(&(last + 10_000, None)));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_does_not_end() {
    let world = World::scraping("a 1\n", |_| {}).await;
    world.manager.update_groups("j", vec![]);
    world.pass(6_000).await;
    world.manager.update_groups("j", group(&["t:1"]));
    world.pass(60_000).await;
    assert!(world.store.values(&series("a")).iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_known() {
    let world = World::scraping("a 1\nb 1\n", |_| {}).await;
    let known = world.store.names().len();
    world.manager.apply(vec![job(|config| config.sample_limit = 100)], &Labels::empty()).await.unwrap();
    world.targets.set(URL, "a 2\n");
    world.pass(20_000).await;
    assert!(world.store.values(&series("a")).iter().all(Option::is_some));
    assert_eq!(world.store.values(&series("b")), [Some(1.0), None]);
    assert_eq!(world.store.names().len(), known);
    assert_eq!(world.store.values(&series("scrape_series_added"))[1], Some(0.0));
    assert_eq!(world.metric("prometheus_target_scrape_pool_reloads_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn series_that_the_store_forgot_are_found_again() {
    let world = World::scraping("a 1\nb{l=\"1\"} 2\n", |_| {}).await;
    world.store.forget_handles();
    world.targets.set(URL, "a 3\nb{l=\"1\"} 4\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(3.0)]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(3.0), Some(3.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_still_takes_known_series() {
    let world = World::scraping("a 1\n", |_| {}).await;
    world.store.refuse_new_series_above(world.store.names().len());
    world.targets.set(URL, "a 2\nnew 1\n");
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(2.0)]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    assert!(!world.store.names().contains(&series("new")));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_open_fails_the_scrape_only() {
    let world = World::scraping("a 1\n", |_| {}).await;
    world.store.set_ready(false);
    world.next().await;
    assert_eq!(world.manager.targets()[0].active[0].status().health.as_str(), "down");
    world.store.set_ready(true);
    world.next().await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0), Some(1.0)]);
}

#[tokio::test(start_paused = true)]
async fn histograms_exemplars_starts_and_metadata_arrive() {
    let page = "# TYPE h histogram\n# HELP h help\nh_bucket{le=\"1\"} 1 # {id=\"x\"} 0.5\nh_bucket{le=\"+Inf\"} 2\n\
                h_count 2\nh_sum 3\nh_created 1699999999\n# EOF\n";
    let append = AppendOptions {
        append_metadata: true,
        start_timestamps: true,
        start_timestamp_zeros: true,
        ..AppendOptions::default()
    };
    let world =
        World::new(job(|config| config.convert_classic_histograms_to_nhcb = Some(true)), append).await;
    let content_type = "application/openmetrics-text; version=1.0.0".to_owned();
    world.targets.answer(URL, Answer::Bytes(page.as_bytes().to_vec(), content_type));
    world.manager.update_groups("j", group(&["t:1"]));
    world.pass(15_500).await;
    let stored = world.store.series(&series("h"));
    assert!(!stored.histograms.is_empty());
    let HistogramValue::Integer(histogram) = &stored.histograms[0].1 else { panic!("whole counts") };
    assert_eq!((histogram.count, histogram.sum, histogram.custom_values.to_vec()), (2, 3.0, vec![1.0]));
    assert_eq!(stored.zeros, [1_699_999_999_000]);
    assert_eq!(stored.metadata[0].help, "help");
    assert_eq!(stored.exemplars.len(), 0, "without a time they are not taken");
    assert!(world.store.names().iter().all(|name| !name.contains("h_bucket") && !name.contains("h_created")));
    assert_eq!(world.store.series(&series("up")).metadata.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_times_out_and_stop_gives_up_at_once() {
    let world = World::new(job(|_| {}), AppendOptions::default()).await;
    world.targets.answer(URL, Answer::Hangs);
    world.manager.update_groups("j", group(&["t:1"]));
    world.pass(20_500).await;
    let error = world.manager.targets()[0].active[0].status().last_error;
    assert_eq!(error.as_deref(), Some("Get \"http://t:1/metrics\": context deadline exceeded"));
    let up = world.store.values(&series("up")).len();
    world.manager.stop().await;
    world.cancel.cancel();
    world.pass(60_000).await;
    assert_eq!(world.store.values(&series("up")).len(), up, "nothing is written after the end");
}

#[tokio::test(start_paused = true)]
async fn extra_metrics_and_label_limits_are_reported() {
    let world = World::scraping("a{x=\"1\"} 1\n", |config| {
        config.extra_scrape_metrics = Some(true);
        config.label_limit = 3;
    })
    .await;
    assert_eq!(world.store.values(&series("scrape_timeout_seconds")), [Some(5.0)]);
    assert_eq!(world.store.values(&series("scrape_sample_limit")), [Some(0.0)]);
    assert_eq!(world.store.values(&series("scrape_body_size_bytes")), [Some(11.0)]);
    assert_eq!(world.store.values(&series("up")), [Some(0.0)]);
    assert_eq!(world.metric("prometheus_target_scrape_pool_exceeded_label_limits_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn failed_scrapes_are_logged_in_the_jobs_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("failures.log");
    let log = path.to_str().unwrap().to_owned();
    let world = World::scraping("a 1\n", |config| config.scrape_failure_log_file = log).await;
    world.targets.answer(URL, Answer::Fails("broken".to_owned()));
    world.next().await;
    world.next().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0]["msg"].as_str(), lines[0]["job_name"].as_str()), (Some("broken"), Some("j")));
    assert_eq!((lines[0]["target"].as_str(), lines[0]["level"].as_str()), (Some(URL), Some("ERROR")));
}

#[tokio::test(start_paused = true)]
async fn dropped_targets_are_remembered_up_to_a_number() {
    let mut rule = config::relabel::RelabelRule {
        source_labels: config::relabel::SourceLabels(Some(vec!["__address__".to_owned()])),
        regex: config::relabel::RulePattern(Some("t.*".to_owned())),
        action: config::decode::Chosen(Some(model::relabel::RelabelAction::Keep)),
        ..config::relabel::RelabelRule::default()
    };
    rule.check(model::names::ValidationScheme::Utf8).unwrap();
    let config = job(|config| {
        config.relabel_configs = vec![Some(rule)];
        config.keep_dropped_targets = 2;
    });
    let world = World::new(config, AppendOptions::default()).await;
    world.manager.update_groups("j", group(&["t:1", "t:1", "u:1", "u:2", "u:3", "t/1", ""]));
    world.manager.sync().await;
    let targets = &world.manager.targets()[0];
    assert_eq!((targets.active.len(), targets.dropped.len(), targets.dropped_count), (1, 2, 4));
    assert_eq!(targets.dropped[0].get("__address__"), Some("u:1"));
    assert_eq!(world.metric("prometheus_target_scrape_pool_targets"), 1.0);
    assert_eq!(world.metric("prometheus_target_sync_failed_total"), 1.0);
    assert_eq!(world.manager.scrape_pools(), ["j"]);
}

#[tokio::test(start_paused = true)]
async fn a_series_under_another_spelling_goes_on() {
    let world = World::scraping("a{x=\"1\",y=\"2\"} 1\n", |_| {}).await;
    world.targets.set(URL, "a{y=\"2\",x=\"1\"} 2\n");
    world.next().await;
    let name = r#"{__name__="a", instance="t:1", job="j", x="1", y="2"}"#;
    assert_eq!(world.store.values(name), [Some(1.0), Some(2.0)]);
    world.next().await;
    assert_eq!(world.store.values(name), [Some(1.0), Some(2.0), Some(2.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_job_just_stops() {
    let world = World::scraping("a 1\n", |_| {}).await;
    world.manager.apply(vec![], &Labels::empty()).await.unwrap();
    world.pass(60_000).await;
    assert_eq!(world.store.values(&series("a")), [Some(1.0)]);
    assert!(world.manager.targets().is_empty());
    assert!(
        world.registry.gather().iter().all(|family| family.name != "prometheus_target_scrape_pool_targets")
    );
}
