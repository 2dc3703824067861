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
async fn the_first_targets_are_taken_over_at_once_and_later_ones_once_an_interval() {
    let world = World::new(job(|_| {}), AppendOptions::default()).await;
    let active = || world.manager.targets().first().map_or(0, |job| job.active.len());
    let until = async |n: usize| {
        let mut waited_ms = 0;
        while active() != n {
            assert!(waited_ms < 60_000);
            world.pass(10).await;
            waited_ms += 10;
        }
        waited_ms
    };
    let addresses: Vec<String> = (1..=20).map(|n| format!("t:{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut waits = Vec::new();
    for n in 1..=addresses.len() {
        world.manager.update_groups("j", group(&addresses[..n]));
        waits.push(until(n).await);
    }
    assert!(waits[0] <= 20 && waits[1] <= 100 && waits[..4].iter().sum::<u64>() <= 1_000, "{waits:?}");
    assert!(waits[10..].iter().all(|&wait| (4_980..=5_020).contains(&wait)), "{waits:?}");
    world.pass(30_000).await;
    world.manager.update_groups("j", Vec::new());
    assert!(until(0).await <= 20, "after a quiet time");
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
    assert_eq!(targets.dropped[0].labels().get("__address__"), Some("u:1"));
    assert_eq!(world.metric("prometheus_target_scrape_pool_targets"), 1.0);
    assert_eq!(world.metric("prometheus_target_sync_failed_total"), 1.0);
    assert_eq!(world.manager.scrape_pools(), ["j"]);
}

#[tokio::test(start_paused = true)]
async fn of_targets_that_come_to_the_same_the_last_one_is_shown() {
    let world = World::new(job(|_| {}), AppendOptions::default()).await;
    let seen = |from: &str| TargetGroup {
        source: from.to_owned(),
        targets: vec![Labels::from_pairs([("__address__", "t:1"), ("__meta_from", from)])],
        labels: Labels::empty(),
    };
    for _ in 0..2 {
        world.manager.update_groups("j", vec![seen("first"), seen("last")]);
        world.manager.sync().await;
        let targets = &world.manager.targets()[0];
        assert_eq!(targets.active.len(), 1);
        assert_eq!(targets.active[0].discovered_labels().get("__meta_from"), Some("last"));
    }
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

#[tokio::test(start_paused = true)]
async fn a_removed_job_lets_its_scrape_end() {
    let world = World::scraping("a 1\n", |_| {}).await;
    world.targets.answer(URL, Answer::Hangs);
    world.pass(11_000).await;
    assert_eq!(world.targets.asked().len(), 2, "a scrape is under way");
    world.manager.apply(vec![], &Labels::empty()).await.unwrap();
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(0.0)]);
    assert_eq!(world.store.values(&series("a")), [Some(1.0), None], "it failed, so the series ended");
    world.pass(60_000).await;
    assert_eq!(world.store.values(&series("up")).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_scrapes_of_all_jobs_end_side_by_side() {
    let named = |name: &str, limit| {
        job(|config| {
            config.job_name = name.to_owned();
            config.sample_limit = limit;
        })
    };
    let world = World::new(named("j", 0), AppendOptions::default()).await;
    world.manager.apply(vec![named("j", 0), named("k", 0)], &Labels::empty()).await.unwrap();
    world.targets.answer(URL, Answer::Hangs);
    for name in ["j", "k"] {
        world.manager.update_groups(name, group(&["t:1"]));
    }
    world.manager.sync().await;
    // Until both have a scrape under way at the same time, as they often have.
    while world.targets.asked().len() < 2 {
        world.pass(10).await;
    }
    let before = tokio::time::Instant::now();
    world.manager.apply(vec![named("j", 9), named("k", 9)], &Labels::empty()).await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs(5), "one timeout, not two: {:?}", before.elapsed());
    assert_eq!(world.metric("prometheus_target_scrape_pool_reloads_total"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn honored_labels_win_even_without_value() {
    let page = "a{instance=\"\",job=\"own\"} 1\nb{instance=\"x\"} 2\nc 3\n";
    let world = World::scraping(page, |config| config.honor_labels = true).await;
    assert_eq!(world.store.values(r#"{__name__="a", job="own"}"#), [Some(1.0)]);
    assert_eq!(world.store.values(r#"{__name__="b", instance="x", job="j"}"#), [Some(2.0)]);
    assert_eq!(world.store.values(&series("c")), [Some(3.0)]);
}

#[tokio::test(start_paused = true)]
async fn the_whole_scrape_is_timed_where_extra_metrics_are_asked_for() {
    let count = |world: &World| {
        let families = world.registry.gather();
        let family = families.iter().find(|f| f.name == "prometheus_target_scrape_duration_seconds");
        format!("{:?}", family.map(|f| &f.metrics[0].value))
    };
    let world = World::scraping("a 1\n", |config| config.extra_scrape_metrics = Some(true)).await;
    let once = count(&world);
    world.next().await;
    assert_ne!(once, count(&world));
    let world = World::scraping("a 1\n", |_| {}).await;
    let none = count(&world);
    world.next().await;
    assert_eq!(none, count(&world));
}

/// A page with one native histogram of so many equal buckets.
fn native_page(buckets: u8, sum: f64) -> Answer {
    let mut spans = vec![0x62, 4, 0x08, 0, 0x10, buckets];
    // Deltas: the first bucket has one, the others as many.
    for i in 0..buckets {
        spans.extend([0x68, if i == 0 { 2 } else { 0 }]);
    }
    let mut histogram = vec![0x08, buckets, 0x11];
    histogram.extend(sum.to_le_bytes());
    // Schema 3, zero threshold of 1.
    histogram.extend([0x28, 6, 0x31]);
    histogram.extend(1f64.to_le_bytes());
    histogram.extend(spans);
    let metric = [&[0x3a, histogram.len() as u8][..], &histogram].concat();
    let mut family = vec![0x0a, 1, b'h', 0x18, 4, 0x22, metric.len() as u8];
    family.extend(&metric);
    let page = [vec![family.len() as u8], family].concat();
    Answer::Bytes(page, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily".to_owned())
}

async fn scraping_native(
    page: Answer,
    append: AppendOptions,
    change: impl FnOnce(&mut config::ScrapeConfig),
) -> World {
    let config = job(|config| {
        config.scrape_native_histograms = Some(true);
        change(config);
    });
    let world = World::new(config, append).await;
    world.targets.answer(URL, page);
    world.manager.update_groups("j", group(&["t:1"]));
    while world.targets.asked().is_empty() {
        world.pass(50).await;
    }
    world.pass(50).await;
    world
}

fn integer(world: &World, i: usize) -> model::histogram::Histogram {
    match world.store.series(&series("h")).histograms.get(i) {
        Some((_, HistogramValue::Integer(histogram))) => histogram.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn histograms_are_kept_no_finer_than_allowed() {
    let plain = scraping_native(native_page(16, 5.0), AppendOptions::default(), |_| {}).await;
    assert_eq!((integer(&plain, 0).schema, integer(&plain, 0).positive_buckets.len()), (3, 16));
    let factor = |config: &mut config::ScrapeConfig| config.native_histogram_min_bucket_factor = 1.5;
    let coarse = scraping_native(native_page(16, 5.0), AppendOptions::default(), factor).await;
    assert_eq!(integer(&coarse, 0).schema, 0);
    assert_eq!(integer(&coarse, 0).count, 16);
    let limit = |config: &mut config::ScrapeConfig| config.native_histogram_bucket_limit = 5;
    let few = scraping_native(native_page(16, 5.0), AppendOptions::default(), limit).await;
    assert!(integer(&few, 0).positive_buckets.len() <= 5);
    assert_eq!(few.store.values(&series("up")), [Some(1.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_histogram_that_cannot_be_made_small_enough_fails_the_scrape() {
    // Bounds of their own cannot be merged.
    let page = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\nb 1\n";
    let world = World::scraping(page, |config| {
        config.convert_classic_histograms_to_nhcb = Some(true);
        config.native_histogram_bucket_limit = 2;
    })
    .await;
    assert_eq!(world.store.values(&series("up")), [Some(0.0)]);
    assert_eq!(world.store.values(&series("b")), []);
    assert_eq!(world.store.values(&series("scrape_samples_scraped")), [Some(2.0)]);
    let error = world.manager.targets()[0].active[0].status().last_error;
    assert_eq!(error.as_deref(), Some("histogram bucket limit exceeded"));
    let name = "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total";
    assert_eq!(world.metric(name), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_histogram_cannot_expose_a_staleness_marker() {
    let page = native_page(2, model::stale_nan());
    let world = scraping_native(page, AppendOptions::default(), |_| {}).await;
    let sum = integer(&world, 0).sum;
    assert!(sum.is_nan() && !model::is_stale_nan(sum));
    let page = native_page(2, model::stale_nan());
    let classic = World::new(job(|_| {}), AppendOptions::default()).await;
    classic.targets.answer(URL, page);
    classic.manager.update_groups("j", group(&["t:1"]));
    classic.pass(16_000).await;
    let sums = classic.store.values(&series("h_sum"));
    assert!(!sums.is_empty() && sums.iter().all(|sum| sum.is_some_and(f64::is_nan)));
}

#[tokio::test(start_paused = true)]
async fn made_up_starts_come_before_limits_and_begin_anew_after_a_refusal() {
    let append = AppendOptions {
        start_timestamps: true,
        synthesize_start_timestamps: true,
        ..AppendOptions::default()
    };
    // The limit would refuse the page, but a first sample is only a start.
    let limit = |config: &mut config::ScrapeConfig| config.native_histogram_bucket_limit = 1;
    let world = scraping_native(native_page(16, 5.0), append, limit).await;
    world.next().await;
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    assert_eq!((integer(&world, 0).count, integer(&world, 0).sum), (0, 0.0));

    let page = |value: u32, time_ms: i64| format!("# TYPE c counter\nc {value} {time_ms}\n");
    let world = World::scraping_with(&page(10, START_MS), append, |_| {}).await;
    assert_eq!(world.store.values(&series("c")), [], "only the start");
    world.targets.set(URL, &page(14, START_MS + 1000));
    world.next().await;
    world.targets.set(URL, &page(15, START_MS + 500));
    world.next().await;
    assert_eq!(world.metric("prometheus_target_scrapes_sample_out_of_order_total"), 1.0);
    // After the marker that ended it.
    world.targets.set(URL, &page(20, START_MS + 60_000));
    world.next().await;
    world.targets.set(URL, &page(26, START_MS + 61_000));
    world.next().await;
    let floats = world.store.floats(&series("c"));
    assert_eq!(floats.iter().filter_map(|(_, v)| *v).collect::<Vec<f64>>(), [4.0, 6.0]);
}

#[tokio::test(start_paused = true)]
async fn samples_out_of_order_are_dropped_and_counted() {
    let page = |time_ms: i64| format!("a 1 {time_ms}\nb 1\n");
    let world = World::scraping(&page(START_MS), |_| {}).await;
    world.targets.set(URL, &page(START_MS - 1000));
    world.next().await;
    assert_eq!(world.store.floats(&series("a")), [(START_MS, Some(1.0))]);
    assert_eq!(world.store.values(&series("b")), [Some(1.0), Some(1.0)]);
    assert_eq!(world.store.values(&series("up")), [Some(1.0), Some(1.0)]);
    assert_eq!(world.metric("prometheus_target_scrapes_sample_out_of_order_total"), 1.0);
    assert_eq!(world.store.values(&series("scrape_samples_post_metric_relabeling")), [Some(2.0), Some(2.0)]);
}
