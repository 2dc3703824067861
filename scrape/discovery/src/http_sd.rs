//! `http_sd_configs`: groups that a URL answers with.

use std::time::Duration;

use config::Url;
use config::discovery::HttpSdConfig;

use crate::client::{Answer, Client};
use crate::group::{TargetGroup, parse_groups};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// The label that tells which URL a target is from.
const URL_LABEL: &str = "__meta_url";

impl Periodic for HttpSdConfig {
    const NAME: &'static str = "http";
    type Look = HttpLook;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<HttpLook, DiscoveryError> {
        let interval = interval_of(self.refresh_interval);
        Ok(HttpLook {
            url: self.url.clone(),
            interval,
            client: Client::new(&self.http_client, context, interval)?,
            context: context.clone(),
        })
    }
}

pub(crate) struct HttpLook {
    url: Url,
    interval: Duration,
    client: Client,
    context: Context,
}

impl Refresh for HttpLook {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let outcome = self.fetch().await;
        if outcome.is_err() {
            self.context.metrics.http_failures.inc();
        }
        outcome
    }
}

impl HttpLook {
    async fn fetch(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let seconds = model::float::format_f(self.interval.as_secs_f64());
        let headers = [("Accept", "application/json"), ("X-Prometheus-Refresh-Interval-Seconds", &seconds)];
        let answer = self.client.get(self.url.expose(), &headers).await?;
        // A password is none of the targets' business.
        groups_of(&answer, &self.url.redacted())
    }
}

fn groups_of(answer: &Answer, url: &str) -> Result<Vec<TargetGroup>, DiscoveryError> {
    if answer.status != http::StatusCode::OK {
        let status = answer.status;
        return Err(DiscoveryError::Request(format!("server returned HTTP status {status}")));
    }
    let content_type = answer.header("content-type");
    if !is_json(content_type.trim()) {
        return Err(DiscoveryError::Malformed(format!(
            "unsupported content type {}",
            model::labels::go_quote(content_type)
        )));
    }
    let document = answer.json()?;
    let groups = parse_groups(&document, url);
    let mut groups = groups.map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
    for group in &mut groups {
        group.labels = group.labels.to_builder().set(URL_LABEL, url).labels();
    }
    Ok(groups)
}

/// Whether a content type is `application/json`, its character set UTF-8 where
/// one is named. Nothing else may stand there.
pub(crate) fn is_json(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("application/json") else { return false };
    if rest.is_empty() {
        return true;
    }
    let Some(parameter) = rest.strip_prefix(';') else { return false };
    matches!(parameter.trim_start(), "charset=utf-8" | "charset=\"utf-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context, shown};
    use serde_json::Value;

    fn conformance() -> Option<(std::path::PathBuf, Value)> {
        let dir = testkit::conformance_dir("discovery")?.join("http");
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        Some((dir, serde_json::from_str(&text).unwrap()))
    }

    fn look(url: &str) -> HttpLook {
        let config = HttpSdConfig { url: Url::parse(url).unwrap(), ..HttpSdConfig::default() };
        config.look(&context()).unwrap()
    }

    #[tokio::test]
    async fn conformance_replies_give_their_group() {
        let Some((dir, expected)) = conformance() else { return };
        let file = dir.join(expected["refresh"]["file"].as_str().unwrap());
        let body = std::fs::read(file).unwrap();
        let server = TestServer::start(move |_| Reply::json(body.clone())).await;
        let url = server.url("/sd");
        let groups = look(&url).refresh().await.unwrap();
        let got: Vec<Value> =
            groups.iter().map(|group| shown(group, |text| text.replace(&url, "<url>"))).collect();
        assert_eq!(Value::Array(got), expected["refresh"]["groups"]);

        let cases = expected["content_type"].as_array().unwrap();
        for case in cases {
            let header = case["header"].as_str().unwrap();
            assert_eq!(Value::Bool(is_json(header)), case["accepted"], "{header}");
        }
        println!("discovery/http: {0} / {0}", cases.len() + 1);
    }

    #[tokio::test]
    async fn requests_say_how_often_they_come() {
        let server = TestServer::start(|_| Reply::json("[]")).await;
        assert_eq!(look(&server.url("/sd?a=b")).refresh().await.unwrap(), []);
        let request = &server.requests()[0];
        assert_eq!(request.target, "/sd?a=b");
        assert_eq!(request.header("x-prometheus-refresh-interval-seconds"), "60");
        assert_eq!(request.header("accept"), "application/json");
        assert_eq!(request.header("user-agent"), "Prometheus/3.14.0");
    }

    #[tokio::test]
    async fn other_answers_are_refused_and_counted() {
        let server = TestServer::start(|request| match request.target.as_str() {
            "/400" => Reply::status(400),
            "/text" => Reply::json("[]").header("Content-Type", "text/plain; charset=utf-8"),
            "/null" => Reply::json("[null]"),
            _ => Reply::json("{"),
        })
        .await;
        for (path, text) in [
            ("/400", "server returned HTTP status 400 Bad Request"),
            ("/text", "unsupported content type \"text/plain; charset=utf-8\""),
            ("/null", "nil target group item found (index 0)"),
        ] {
            let mut look = look(&server.url(path));
            assert_eq!(look.refresh().await.unwrap_err().to_string(), text);
            assert_eq!(look.context.metrics.http_failures.get(), 1.0);
        }
        assert!(look(&server.url("/broken")).refresh().await.is_err());
    }
}
