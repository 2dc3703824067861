//! `/targets`, `/scrape_pools`, `/scrape_pools/config`, `/targets/relabel_steps`:
//! what is scraped, and how it came to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use config::decode::Value as _;
use model::relabel;
use model::{Labels, LabelsBuilder};
use scrape::target::{ADDRESS_LABEL, SCRAPE_INTERVAL_LABEL, SCRAPE_TIMEOUT_LABEL};
use scrape::{PoolTargets, Target};
use serde::Serialize;
use url::Url;

use super::{Answer, success};
use crate::api::status::rfc3339;
use crate::error::ApiError;
use crate::json::{GoFloat, LabelMap};
use crate::params::Params;
use crate::state::Web;

/// `/scrape_pools`: the names of all jobs.
pub async fn scrape_pools(State(web): State<Arc<Web>>) -> Answer {
    #[derive(Serialize)]
    struct Pools {
        #[serde(rename = "scrapePools")]
        scrape_pools: Vec<String>,
    }
    let mut scrape_pools = web.scrape.scrape_pools();
    scrape_pools.sort();
    success(&Pools { scrape_pools }, &[])
}

/// `/scrape_pools/config`: the effective configuration of a job, secrets hidden.
pub async fn scrape_pool_config(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    let job = scrape_pool(&web, &params)?;
    success(&serde_json::json!({ "yaml": job.encode().to_text() }), &[])
}

fn scrape_pool(web: &Web, params: &Params) -> Result<Arc<config::ScrapeConfig>, ApiError> {
    let name = params.get("scrapePool");
    if name.is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let unknown = || {
        let name = model::labels::go_quote(name);
        ApiError::bad_data(format!("error retrieving scrape config: scrape pool {name} not found"))
    };
    web.scrape.pool_config(name).ok_or_else(unknown)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovery<'a> {
    active_targets: Vec<ActiveTarget<'a>>,
    dropped_targets: Vec<DroppedTarget<'a>>,
    dropped_target_counts: Option<BTreeMap<String, usize>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActiveTarget<'a> {
    discovered_labels: LabelMap,
    labels: LabelMap,
    scrape_pool: &'a str,
    scrape_url: &'a str,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: GoFloat,
    health: &'static str,
    scrape_interval: &'a str,
    scrape_timeout: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DroppedTarget<'a> {
    discovered_labels: LabelMap,
    scrape_pool: &'a str,
}

/// `/targets`: all targets by state and job.
pub async fn targets(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::from_query(request.uri().query().unwrap_or_default());
    let state = params.get("state").to_lowercase();
    let shows = |wanted: &str| state.is_empty() || state == "any" || state == wanted;
    let pool = params.get("scrapePool");
    let mut pools = web.scrape.targets();
    // The counts are those of all jobs, whichever job is asked for.
    let counts: BTreeMap<String, usize> =
        pools.iter().map(|pool| (pool.job.clone(), pool.dropped_count)).collect();
    pools.retain(|targets| pool.is_empty() || targets.job == pool);
    let mut discovery =
        Discovery { active_targets: Vec::new(), dropped_targets: Vec::new(), dropped_target_counts: None };
    if shows("active") {
        let active = pools.iter().flat_map(|pool| pool.active.iter().map(move |target| (pool, target)));
        discovery.active_targets = active.map(|(pool, target)| active_target(&web, pool, target)).collect();
    }
    if shows("dropped") {
        let dropped = pools.iter().flat_map(|pool| pool.dropped.iter().map(move |origin| (pool, origin)));
        discovery.dropped_targets = dropped
            .map(|(pool, origin)| DroppedTarget {
                discovered_labels: LabelMap(origin.labels()),
                scrape_pool: &pool.job,
            })
            .collect();
        discovery.dropped_target_counts = Some(counts);
    }
    success(&discovery, &[])
}

fn active_target<'a>(web: &Web, pool: &'a PoolTargets, target: &'a Target) -> ActiveTarget<'a> {
    let status = target.status();
    ActiveTarget {
        discovered_labels: LabelMap(target.discovered_labels()),
        labels: LabelMap(target.labels()),
        scrape_pool: &pool.job,
        scrape_url: target.url(),
        global_url: global_url(target.url(), &web.options.listen_address, &web.options.external_url),
        last_error: last_error(target, status.last_error),
        last_scrape: rfc3339(status.last_scrape_ms.unwrap_or(0)),
        last_scrape_duration: GoFloat(status.last_duration.as_secs_f64()),
        health: status.health.as_str(),
        scrape_interval: target.all_labels().value_or_empty(SCRAPE_INTERVAL_LABEL),
        scrape_timeout: target.all_labels().value_or_empty(SCRAPE_TIMEOUT_LABEL),
    }
}

/// Why the last scrape failed, and what is wrong with the target's address.
fn last_error(target: &Target, error: Option<String>) -> String {
    let error = error.unwrap_or_default();
    let address = target.all_labels().value_or_empty(ADDRESS_LABEL);
    match address_fault(address) {
        Some(fault) => format!("{error}: address {address}: {fault}"),
        None => error,
    }
}

/// Why an address cannot be split into host and port; a missing port is no fault.
/// Source: Go `net.SplitHostPort`.
fn address_fault(address: &str) -> Option<&'static str> {
    let colon = address.rfind(':')?;
    let (host_start, after_host) = match address.strip_prefix('[') {
        Some(_) => {
            let Some(end) = address.find(']') else { return Some("missing ']' in address") };
            match address[end + 1..].chars().next() {
                Some(':') if end + 1 == colon => (1, end + 1),
                Some(':') => return Some("too many colons in address"),
                _ => return None,
            }
        }
        None if address[..colon].contains(':') => return Some("too many colons in address"),
        None => (0, 0),
    };
    if address[host_start..].contains('[') {
        return Some("unexpected '[' in address");
    }
    address[after_host..].contains(']').then_some("unexpected ']' in address")
}

/// The URL under which a target can be reached from outside: a target on this
/// machine is reached by the host of the external URL, this server itself by
/// that URL's scheme and port too.
fn global_url(target: &str, listen_address: &str, external: &str) -> String {
    let (Ok(mut url), Ok(external)) = (Url::parse(target), Url::parse(external)) else {
        return target.to_owned();
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if !["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) {
        return target.to_owned();
    }
    let own_port = listen_address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let ours = own_port.is_some() && url.port_or_known_default() == own_port;
    // Each of these fails only for URLs without a host, which both have.
    if ours {
        let _ = url.set_scheme(external.scheme());
        let _ = url.set_port(external.port());
    }
    let _ = url.set_host(external.host_str());
    let text = url.to_string();
    // A path that was not there is not added.
    match url.path() == "/" && url.query().is_none() && !target.ends_with('/') {
        true => text.trim_end_matches('/').to_owned(),
        false => text,
    }
}

#[derive(Serialize)]
struct Steps<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    rule: Rule<'a>,
    output: LabelMap,
    keep: bool,
}

/// A relabelling rule with the keys of the configuration.
#[derive(Serialize)]
struct Rule<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source_labels: Option<&'a [String]>,
    #[serde(skip_serializing_if = "str::is_empty")]
    separator: &'a str,
    regex: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    modulus: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    target_label: &'a str,
    replacement: &'a str,
    action: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// `/targets/relabel_steps`: what each rule of a job makes of a label set.
pub async fn relabel_steps(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    if params.get("scrapePool").is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let given = params.get("labels");
    if given.is_empty() {
        return Err(ApiError::bad_data("no labels parameter provided"));
    }
    let pairs: BTreeMap<String, String> = serde_json::from_str(given)
        .map_err(|error| ApiError::bad_data(format!("error parsing labels: {error}")))?;
    let job = scrape_pool(&web, &params)?;
    let compiled = job.relabel_rules();
    let mut labels: LabelsBuilder = Labels::from_pairs(pairs).to_builder();
    let mut keep = true;
    let mut steps = Vec::new();
    for (rule, compiled) in job.relabel_configs.iter().flatten().zip(compiled) {
        keep = keep && relabel::process(&mut labels, std::slice::from_ref(&compiled));
        let output = if keep { labels.labels() } else { Labels::empty() };
        let rule = Rule {
            source_labels: rule.source_labels.0.as_deref().filter(|names| !names.is_empty()),
            separator: &rule.separator,
            regex: rule.regex.0.as_deref().unwrap_or("(.*)"),
            modulus: rule.modulus,
            target_label: &rule.target_label,
            replacement: &rule.replacement,
            action: compiled.action().as_str().to_owned(),
        };
        steps.push(Step { rule, output: LabelMap(output), keep });
    }
    success(&Steps { steps }, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_host_and_port_are_told_of() {
        for (address, fault) in [
            ("a", None),
            ("a:80", None),
            (":80", None),
            ("[::1]:80", None),
            ("[::1]", None),
            ("::1", Some("too many colons in address")),
            ("u:p@a:1", Some("too many colons in address")),
            ("[::1]:80:1", Some("too many colons in address")),
            ("[::1", Some("missing ']' in address")),
            ("a[:1", Some("unexpected '[' in address")),
            ("a]:1", Some("unexpected ']' in address")),
        ] {
            assert_eq!(address_fault(address), fault, "{address}");
        }
    }

    #[test]
    fn targets_on_this_machine_are_reached_from_outside() {
        let of = |target: &str| global_url(target, "[::]:9090", "https://prom.example.org/base");
        assert_eq!(of("http://localhost:9090/metrics"), "https://prom.example.org/metrics");
        assert_eq!(of("http://127.0.0.1:9100/metrics"), "http://prom.example.org:9100/metrics");
        assert_eq!(of("http://[::1]:9100/metrics?a=b"), "http://prom.example.org:9100/metrics?a=b");
        assert_eq!(of("http://node:9090/metrics"), "http://node:9090/metrics");
        assert_eq!(of("no url"), "no url");
    }
}
