//! `alerting`: which Alertmanagers get which alerts.
//! Source: Prometheus `config/config.go`, `AlertingConfig`.

use std::path::Path;

use crate::block::{Block, Fields, block, choice, zero_default};
use crate::decode::{Chosen, Walk};
use crate::discovery::{DiscoveryConfigs, check_static_targets};
use crate::http_client::HttpClientConfig;
use crate::relabel::{RelabelRule, check_present, check_rules};
use crate::remote::SigV4Config;
use crate::values::Duration;
use model::names::ValidationScheme;

block! {
    /// Alerts and who gets them.
    pub struct AlertingConfig: "config.plain" {
        /// Rules for all alerts.
        alert_relabel_configs: Vec<Option<RelabelRule>> => omit "alert_relabel_configs",
        /// The Alertmanagers.
        alertmanagers: Vec<Option<AlertmanagerConfig>> => omit "alertmanagers",
    }
}

choice! {
    /// The version of Alertmanager's API.
    pub enum AlertmanagerApi: |text| {
        format!("expected Alertmanager api version to be one of [v2] but got {text}")
    } => {
        /// The only one left.
        V2 = "v2",
    }
}

block! {
    /// A group of Alertmanagers.
    pub struct AlertmanagerConfig: "config.AlertmanagerConfig" {
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Requests signed for AWS.
        sigv4: Option<SigV4Config> => omit "sigv4",
        /// `http` or `https`.
        scheme: String => omit "scheme",
        /// What is put before the path.
        path_prefix: String => omit "path_prefix",
        /// How long a request may take.
        timeout: Duration => omit "timeout",
        /// The version of the API.
        api_version: Chosen<AlertmanagerApi> => always "api_version",
        /// Rules for the Alertmanagers found.
        relabel_configs: Vec<Option<RelabelRule>> => omit "relabel_configs",
        /// Rules for alerts to this group.
        alert_relabel_configs: Vec<Option<RelabelRule>> => omit "alert_relabel_configs",
        /// Where they are found.
        discovery: DiscoveryConfigs => inline,
    }
}

zero_default!(AlertingConfig);

impl Default for AlertmanagerConfig {
    fn default() -> AlertmanagerConfig {
        AlertmanagerConfig {
            scheme: "http".to_owned(),
            timeout: model::time::PromDuration(10_000),
            api_version: Chosen::some(AlertmanagerApi::V2),
            http_client: HttpClientConfig::default(),
            ..AlertmanagerConfig::zeroed()
        }
    }
}

impl Block for AlertingConfig {
    fn finish(&mut self, walk: &mut Walk) {
        check_present(&self.alert_relabel_configs, "alert_relabel_configs", "alert relabeling rule", walk);
    }
}

impl Block for AlertmanagerConfig {
    fn finish(&mut self, walk: &mut Walk) {
        self.discovery.check_present(walk);
        self.http_client.check(walk);
        if self.http_client.has_auth() && self.sigv4.is_some() {
            walk.invalid("at most one of basic_auth, authorization, oauth2, & sigv4 must be configured");
        }
        if self.relabel_configs.is_empty() {
            check_static_targets(&self.discovery, walk);
        }
        check_present(&self.relabel_configs, "relabel_configs", "Alertmanager target relabeling rule", walk);
        let what = "Alertmanager alert relabeling rule";
        check_present(&self.alert_relabel_configs, "alert_relabel_configs", what, walk);
    }
}

impl AlertingConfig {
    /// Whether the block says nothing.
    pub fn is_empty(&self) -> bool {
        self.alert_relabel_configs.is_empty() && self.alertmanagers.is_empty()
    }

    /// The groups of Alertmanagers with their names, `config-0` and so on.
    pub fn groups(&self) -> impl Iterator<Item = (String, &AlertmanagerConfig)> {
        let named = self.alertmanagers.iter().enumerate();
        named.filter_map(|(i, group)| group.as_ref().map(|group| (format!("config-{i}"), group)))
    }

    /// Checks all rules; `walk` stands at the document's root.
    pub(crate) fn check_rules(&mut self, scheme: ValidationScheme, walk: &mut Walk) {
        walk.within("alerting", |walk| {
            check_rules(&mut self.alert_relabel_configs, "alert_relabel_configs", scheme, walk);
            for (index, group) in self.alertmanagers.iter_mut().enumerate() {
                let Some(group) = group else { continue };
                walk.within("alertmanagers", |walk| {
                    walk.within(index, |walk| {
                        check_rules(&mut group.alert_relabel_configs, "alert_relabel_configs", scheme, walk);
                        check_rules(&mut group.relabel_configs, "relabel_configs", scheme, walk);
                    });
                });
            }
        });
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        for group in self.alertmanagers.iter_mut().flatten() {
            group.discovery.set_directory(dir);
            group.http_client.set_directory(dir);
        }
    }
}
