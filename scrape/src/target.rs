//! One thing to scrape: where it is, what its samples are labelled with, and
//! how the last scrape went.
//!
//! ```text
//! discovered labels ─┐
//! job's defaults ────┴─▶ relabel rules ─▶ checks ─▶ Target { labels, url, hash }
//!                            └─ drop ─▶ remembered as dropped
//! ```

use std::sync::Arc;
use std::time::Duration;

use model::labels::Label;
use model::{Labels, LabelsBuilder, relabel};
use net::go_url::{escaped_host, escaped_path};
use parking_lot::Mutex;

use crate::job::Job;
use crate::metadata::MetadataCache;

/// Host and port.
pub const ADDRESS_LABEL: &str = "__address__";
/// `http` or `https`.
pub const SCHEME_LABEL: &str = "__scheme__";
/// The URL's path.
pub const METRICS_PATH_LABEL: &str = "__metrics_path__";
/// Before the name of a URL parameter.
pub const PARAM_LABEL_PREFIX: &str = "__param_";
/// Time between two scrapes.
pub const SCRAPE_INTERVAL_LABEL: &str = "__scrape_interval__";
/// How long a scrape may take.
pub const SCRAPE_TIMEOUT_LABEL: &str = "__scrape_timeout__";
/// A socket to dial instead of the address.
pub const UNIX_SOCKET_LABEL: &str = "__unix_socket__";
const CONVERT_LABEL: &str = "__convert_classic_histograms_to_nhcb__";
const KEEP_CLASSIC_LABEL: &str = "__always_scrape_classic_histograms__";
const NATIVE_LABEL: &str = "__scrape_native_histograms__";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";
const JOB_LABEL: &str = "job";
const INSTANCE_LABEL: &str = "instance";

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape was good.
    Up,
    /// The last scrape failed.
    Down,
}

impl TargetHealth {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetHealth::Unknown => "unknown",
            TargetHealth::Up => "up",
            TargetHealth::Down => "down",
        }
    }
}

/// How the last scrape went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetStatus {
    /// Whether it was good.
    pub health: TargetHealth,
    /// Why it was not.
    pub last_error: Option<String>,
    /// When it began, in ms; `None` before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took.
    pub last_duration: Duration,
}

/// What discovery said of a target: kept in its parts, which many targets share.
#[derive(Clone)]
pub struct Origin {
    job: Arc<Job>,
    target: Labels,
    group: Labels,
}

impl Origin {
    /// The labels before relabelling.
    pub fn labels(&self) -> Labels {
        discovered_labels(&self.job, &self.target, &self.group).labels()
    }
}

/// A target as it came out of discovery and relabelling.
pub struct Target {
    labels: Labels,
    /// `None` where it was not discovered.
    origin: Mutex<Option<Origin>>,
    url: Arc<str>,
    hash: u64,
    status: Mutex<TargetStatus>,
    metadata: Mutex<Arc<Mutex<MetadataCache>>>,
}

/// Why a discovered target cannot be scraped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Relabelling left no address.
    #[error("no address")]
    NoAddress,
    /// The address is no host and port.
    #[error("{0}")]
    Address(String),
    /// The interval is no duration.
    #[error("error parsing scrape interval: {0}")]
    Interval(model::time::DurationError),
    /// The interval is 0.
    #[error("scrape interval cannot be 0")]
    IntervalZero,
    /// The timeout is no duration.
    #[error("error parsing scrape timeout: {0}")]
    Timeout(model::time::DurationError),
    /// The timeout is 0.
    #[error("scrape timeout cannot be 0")]
    TimeoutZero,
    /// A scrape may take longer than the time to the next.
    #[error("scrape timeout cannot be greater than scrape interval (\"{timeout}\" > \"{interval}\")")]
    TimeoutAboveInterval {
        /// The timeout label.
        timeout: String,
        /// The interval label.
        interval: String,
    },
    /// A label that must be a boolean is none.
    #[error(
        "error parsing {what}: strconv.ParseBool: parsing {}: invalid syntax",
        model::labels::go_quote(value)
    )]
    Bool {
        /// What the label is for.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

/// What became of a discovered target.
pub enum Discovered {
    /// It is to be scraped.
    Kept(Target),
    /// Relabelling dropped it.
    Dropped(Origin),
}

impl Target {
    /// Makes the target of a discovered one.
    ///
    /// # Errors
    /// It was kept but cannot be scraped.
    pub fn discover(job: &Arc<Job>, target: &Labels, group: &Labels) -> Result<Discovered, TargetError> {
        let mut builder = discovered_labels(job, target, group);
        let origin = Origin { job: job.clone(), target: target.clone(), group: group.clone() };
        if !relabel::process(&mut builder, &job.relabel_rules) {
            return Ok(Discovered::Dropped(origin));
        }
        check(&builder)?;
        builder.retain(|name| !name.starts_with(META_PREFIX));
        if builder.get(INSTANCE_LABEL).is_none() {
            let address = builder.get(ADDRESS_LABEL).unwrap_or("").to_owned();
            builder.set(INSTANCE_LABEL, &address);
        }
        let labels = builder.labels();
        if labels.iter().all(|label| label.name.starts_with(RESERVED_PREFIX)) {
            return Ok(Discovered::Dropped(origin));
        }
        Ok(Discovered::Kept(Target::new(job, labels, Some(origin))))
    }

    /// A target of final labels.
    pub fn new(job: &Job, labels: Labels, origin: Option<Origin>) -> Target {
        let url: Arc<str> = url_of(job, &labels).into();
        let hash = fnv64a(format!("{:016}", labels.stable_hash()).bytes().chain(url.bytes()));
        Target {
            labels,
            origin: Mutex::new(origin),
            url,
            hash,
            status: Mutex::default(),
            metadata: Mutex::default(),
        }
    }

    /// All labels, those for the server itself too.
    pub fn all_labels(&self) -> &Labels {
        &self.labels
    }

    /// The labels that samples get.
    pub fn labels(&self) -> Labels {
        self.labels.filter(|name| !name.starts_with(RESERVED_PREFIX))
    }

    /// The labels that samples get, one by one.
    pub fn public_labels(&self) -> impl Iterator<Item = Label<'_>> {
        self.labels.iter().filter(|label| !label.name.starts_with(RESERVED_PREFIX))
    }

    /// The labels before relabelling.
    pub fn discovered_labels(&self) -> Labels {
        let origin = self.origin.lock().clone();
        origin.map_or_else(Labels::empty, |origin| origin.labels())
    }

    /// Takes over what was discovered newer of the same target.
    pub(crate) fn take_origin(&self, newer: &Target) {
        let origin = newer.origin.lock().clone();
        *self.origin.lock() = origin;
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn shared_url(&self) -> Arc<str> {
        self.url.clone()
    }

    /// Tells targets apart by labels and URL.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// A socket to dial instead of the address.
    pub fn unix_socket(&self) -> Option<&str> {
        self.labels.get(UNIX_SOCKET_LABEL)
    }

    /// Time between two scrapes.
    pub fn interval(&self) -> Duration {
        self.duration_label(SCRAPE_INTERVAL_LABEL)
    }

    /// How long a scrape may take.
    pub fn timeout(&self) -> Duration {
        self.duration_label(SCRAPE_TIMEOUT_LABEL)
    }

    /// Whether native histograms are read.
    pub fn reads_native_histograms(&self, job: &Job) -> bool {
        self.bool_label(NATIVE_LABEL).or(job.config.scrape_native_histograms).unwrap_or(false)
    }

    /// Whether classic histograms are kept beside native ones.
    pub fn keeps_classic_histograms(&self, job: &Job) -> bool {
        self.bool_label(KEEP_CLASSIC_LABEL).or(job.config.always_scrape_classic_histograms).unwrap_or(false)
    }

    /// Whether classic histograms become native ones.
    pub fn converts_classic_histograms(&self, job: &Job) -> bool {
        self.bool_label(CONVERT_LABEL).or(job.config.convert_classic_histograms_to_nhcb).unwrap_or(false)
    }

    /// Time from now to the target's first scrape: targets and servers are
    /// spread over the interval, always the same way.
    pub fn offset(&self, interval: Duration, now_ms: i64, seed: u64) -> Duration {
        let interval_ns = i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX).max(1);
        let now_ns = i128::from(now_ms) * 1_000_000;
        let base = interval_ns - now_ns.rem_euclid(interval_ns);
        let next = base + i128::from(self.hash ^ seed) % interval_ns;
        let next = if next > interval_ns { next - interval_ns } else { next };
        Duration::from_nanos(u64::try_from(next).unwrap_or(0))
    }

    /// How the last scrape went.
    pub fn status(&self) -> TargetStatus {
        self.status.lock().clone()
    }

    pub(crate) fn report(&self, start_ms: i64, duration: Duration, error: Option<String>) {
        let health = if error.is_none() { TargetHealth::Up } else { TargetHealth::Down };
        *self.status.lock() = TargetStatus {
            health,
            last_error: error,
            last_scrape_ms: Some(start_ms),
            last_duration: duration,
        };
    }

    /// What the target says about its metrics.
    pub fn metadata(&self) -> Arc<Mutex<MetadataCache>> {
        self.metadata.lock().clone()
    }

    pub(crate) fn set_metadata(&self, metadata: Arc<Mutex<MetadataCache>>) {
        *self.metadata.lock() = metadata;
    }

    fn duration_label(&self, name: &str) -> Duration {
        let ms = model::time::parse_duration_ms(self.labels.value_or_empty(name)).unwrap_or(0);
        Duration::from_millis(ms.unsigned_abs())
    }

    fn bool_label(&self, name: &str) -> Option<bool> {
        parse_bool(self.labels.get(name)?)
    }
}

/// Labels of a target before relabelling: its own, its group's, the job's.
fn discovered_labels(job: &Job, target: &Labels, group: &Labels) -> LabelsBuilder {
    let config = &job.config;
    let mut builder = target.to_builder();
    let mut add = |name: &str, value: &str| {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    };
    for label in group {
        add(label.name, label.value);
    }
    add(JOB_LABEL, &config.job_name);
    add(SCRAPE_INTERVAL_LABEL, &config.scrape_interval.to_string());
    add(SCRAPE_TIMEOUT_LABEL, &config.scrape_timeout.to_string());
    add(METRICS_PATH_LABEL, &config.metrics_path);
    add(SCHEME_LABEL, &config.scheme);
    let flag = |on: Option<bool>| if on.unwrap_or(false) { "true" } else { "false" };
    add(CONVERT_LABEL, flag(config.convert_classic_histograms_to_nhcb));
    add(KEEP_CLASSIC_LABEL, flag(config.always_scrape_classic_histograms));
    add(NATIVE_LABEL, flag(config.scrape_native_histograms));
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            add(&format!("{PARAM_LABEL_PREFIX}{name}"), first);
        }
    }
    builder
}

fn check(labels: &LabelsBuilder) -> Result<(), TargetError> {
    let address = labels.get(ADDRESS_LABEL).unwrap_or("");
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    config::discovery::check_target_address(address).map_err(TargetError::Address)?;
    let interval = labels.get(SCRAPE_INTERVAL_LABEL).unwrap_or("");
    let interval_ms = model::time::parse_duration_ms(interval).map_err(TargetError::Interval)?;
    if interval_ms == 0 {
        return Err(TargetError::IntervalZero);
    }
    let timeout = labels.get(SCRAPE_TIMEOUT_LABEL).unwrap_or("");
    let timeout_ms = model::time::parse_duration_ms(timeout).map_err(TargetError::Timeout)?;
    if timeout_ms == 0 {
        return Err(TargetError::TimeoutZero);
    }
    if timeout_ms > interval_ms {
        let (timeout, interval) = (timeout.to_owned(), interval.to_owned());
        return Err(TargetError::TimeoutAboveInterval { timeout, interval });
    }
    for (name, what) in [
        (CONVERT_LABEL, "convert classic histograms to nhcb"),
        (KEEP_CLASSIC_LABEL, "always scrape classic histograms"),
        (NATIVE_LABEL, "scrape native histograms"),
    ] {
        if let Some(value) = labels.get(name)
            && parse_bool(value).is_none()
        {
            return Err(TargetError::Bool { what, value: value.to_owned() });
        }
    }
    Ok(())
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn url_of(job: &Job, labels: &Labels) -> String {
    let mut params: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, values) in &job.config.params {
        params.insert(name, values.iter().map(String::as_str).collect());
    }
    for label in labels {
        if let Some(name) = label.name.strip_prefix(PARAM_LABEL_PREFIX) {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = label.value,
                None => values.push(label.value),
            }
        }
    }
    let host = match labels.value_or_empty(ADDRESS_LABEL) {
        "" => "localhost",
        host => host,
    };
    let path = labels.value_or_empty(METRICS_PATH_LABEL);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    let scheme = match labels.value_or_empty(SCHEME_LABEL) {
        "" => String::new(),
        scheme => format!("{scheme}:"),
    };
    // Alone it stands for itself, as the path of a whole server.
    let path = if path == "*" { path.to_owned() } else { escaped_path(path) };
    let mut url = format!("{scheme}//{}{slash}{path}", escaped_host(host));
    let mut query = String::new();
    for (name, values) in &params {
        for value in values {
            if !query.is_empty() {
                query.push('&');
            }
            push_query_escaped(&mut query, name);
            query.push('=');
            push_query_escaped(&mut query, value);
        }
    }
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query);
    }
    url
}

/// A name or value of a URL parameter.
fn push_query_escaped(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => query.push(byte as char),
            b' ' => query.push('+'),
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// The FNV-1a hash of 64 bits.
pub(crate) fn fnv64a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use model::time::PromDuration;

    use super::*;

    fn job(change: impl FnOnce(&mut config::ScrapeConfig)) -> Arc<Job> {
        let mut config = config::ScrapeConfig {
            job_name: "j".to_owned(),
            scrape_interval: PromDuration(60_000),
            scrape_timeout: PromDuration(10_000),
            ..config::ScrapeConfig::default()
        };
        change(&mut config);
        Arc::new(Job::new(Arc::new(config)))
    }

    fn discover(job: &Arc<Job>, labels: &[(&str, &str)]) -> Result<Target, String> {
        let labels = Labels::from_pairs(labels.iter().copied());
        match Target::discover(job, &labels, &Labels::empty()) {
            Ok(Discovered::Kept(target)) => Ok(target),
            Ok(Discovered::Dropped(_)) => Err("dropped".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn defaults_come_from_the_job_and_meta_labels_go() {
        let target =
            discover(&job(|_| {}), &[("__address__", "a:80"), ("__meta_x", "y"), ("own", "1")]).unwrap();
        assert_eq!(target.labels().to_string(), r#"{instance="a:80", job="j", own="1"}"#);
        assert_eq!(target.url(), "http://a:80/metrics");
        assert_eq!((target.interval().as_secs(), target.timeout().as_secs()), (60, 10));
        assert!(!target.all_labels().has("__meta_x"));
        let discovered = target.discovered_labels();
        assert_eq!(discovered.get("__scrape_interval__"), Some("1m"));
        assert_eq!(discovered.get("__meta_x"), Some("y"));
        assert_eq!(discovered.get("__scrape_native_histograms__"), Some("false"));
    }

    #[test]
    fn labels_of_the_target_win_over_its_group() {
        let own = Labels::from_pairs([("__address__", "a"), ("x", "target"), ("instance", "named")]);
        let group = Labels::from_pairs([("x", "group"), ("y", "group"), ("__scheme__", "https")]);
        let Ok(Discovered::Kept(target)) = Target::discover(&job(|_| {}), &own, &group) else {
            panic!("kept")
        };
        assert_eq!(target.labels().to_string(), r#"{instance="named", job="j", x="target", y="group"}"#);
        assert_eq!(target.url(), "https://a/metrics");
    }

    #[test]
    fn urls_have_parameters_in_order_and_escaped() {
        let job = job(|config| {
            config.metrics_path = "/probe it/\u{e9}".to_owned();
            config.params.insert("module".to_owned(), vec!["http_2xx".to_owned(), "b&c".to_owned()]);
            config.params.insert("a".to_owned(), vec!["x y~*".to_owned()]);
        });
        let target = discover(
            &job,
            &[("__address__", "a"), ("__param_module", "icmp"), ("__param_target", "http://b/?q=1")],
        )
        .unwrap();
        assert_eq!(
            target.url(),
            "http://a/probe%20it/%C3%A9?a=x+y~%2A&module=icmp&module=b%26c&target=http%3A%2F%2Fb%2F%3Fq%3D1"
        );
    }

    #[test]
    fn hosts_are_escaped_as_urls_have_them() {
        for (address, url) in [
            ("[::1]:80", "http://[::1]:80/metrics"),
            ("b\u{fc}cher:80", "http://b%C3%BCcher:80/metrics"),
            ("user:pw@a:80", "http://user:pw%40a:80/metrics"),
            ("a?b#c", "http://a%3Fb%23c/metrics"),
        ] {
            assert_eq!(discover(&job(|_| {}), &[("__address__", address)]).unwrap().url(), url);
        }
        let without_scheme = job(|config| config.scheme = String::new());
        assert_eq!(discover(&without_scheme, &[("__address__", "a")]).unwrap().url(), "//a/metrics");
    }

    #[test]
    fn what_cannot_be_scraped_is_refused() {
        for (labels, text) in [
            (vec![], "no address"),
            (vec![("__address__", "a/b")], "\"a/b\" is not a valid hostname"),
            (
                vec![("__address__", "a"), ("__scrape_interval__", "soon")],
                "error parsing scrape interval: not a valid duration string: \"soon\"",
            ),
            (vec![("__address__", "a"), ("__scrape_interval__", "0s")], "scrape interval cannot be 0"),
            (vec![("__address__", "a"), ("__scrape_timeout__", "0")], "scrape timeout cannot be 0"),
            (
                vec![("__address__", "a"), ("__scrape_timeout__", "2m")],
                "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")",
            ),
            (
                vec![("__address__", "a"), ("__scrape_native_histograms__", "maybe")],
                "error parsing scrape native histograms: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(discover(&job(|_| {}), &labels).err().as_deref(), Some(text));
        }
    }

    #[test]
    fn targets_and_servers_are_spread_over_the_interval() {
        let job = job(|_| {});
        let interval = Duration::from_secs(60);
        let now_ms = 1_700_000_012_345;
        let mut offsets = Vec::new();
        for i in 0..200 {
            let target = discover(&job, &[("__address__", &format!("host-{i}:9100"))]).unwrap();
            let offset = target.offset(interval, now_ms, 7);
            assert!(offset <= interval);
            // The same moment of every interval, whenever it is asked for.
            let later = target.offset(interval, now_ms + 17_000, 7) + Duration::from_secs(17);
            assert_eq!(later.as_nanos() % interval.as_nanos(), offset.as_nanos() % interval.as_nanos());
            offsets.push(offset.as_secs() / 10);
        }
        for part in 0..6 {
            assert!(offsets.iter().filter(|p| **p == part).count() > 15, "a part of the interval is empty");
        }
    }
}
