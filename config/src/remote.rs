//! `remote_write` and `remote_read`.
//! Source: Prometheus `config/config.go`.

use std::collections::BTreeMap;
use std::path::Path;

use model::relabel::RelabelConfig;

use crate::azuread::AzureAdConfig;
use crate::block::{Block, Fields, block, zero_default};
use crate::decode::{Value, Walk};
use crate::http_client::HttpClientConfig;
use crate::names::LabelSet;
use crate::relabel::{RelabelRule, check_present, compiled};
use crate::secret::Secret;
use crate::tree::Node;
use crate::values::{Duration, Url};
use crate::yaml::Yaml;

/// Headers that no block may set, in lower case.
const RESERVED_HEADERS: [&str; 16] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

pub(crate) fn is_reserved_header(name: &str) -> bool {
    RESERVED_HEADERS.contains(&name.to_lowercase().as_str())
}

fn check_headers(headers: &BTreeMap<String, String>, walk: &mut Walk) {
    for name in headers.keys() {
        if name.eq_ignore_ascii_case("authorization") {
            walk.invalid_field(
                "headers",
                "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, \
                 azuread or google_iam parameter",
            );
        } else if is_reserved_header(name) {
            walk.invalid_field("headers", format!("{name} is a reserved header. It must not be changed"));
        }
    }
}

/// The message that samples are sent in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteMessage {
    /// Remote write 1.
    V1,
    /// Remote write 2.
    V2,
    /// None of these; no loaded configuration has it.
    Unknown(String),
}

impl WriteMessage {
    /// The name in the file.
    pub fn name(&self) -> &str {
        match self {
            WriteMessage::V1 => "prometheus.WriteRequest",
            WriteMessage::V2 => "io.prometheus.write.v2.Request",
            WriteMessage::Unknown(name) => name,
        }
    }
}

impl Value for WriteMessage {
    fn zero() -> WriteMessage {
        WriteMessage::Unknown(String::new())
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<WriteMessage> {
        let name = String::decode(node, walk)?;
        Some(match name.as_str() {
            "prometheus.WriteRequest" => WriteMessage::V1,
            "io.prometheus.write.v2.Request" => WriteMessage::V2,
            _ => WriteMessage::Unknown(name),
        })
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.name().to_owned())
    }

    fn is_zero(&self) -> bool {
        self.name().is_empty()
    }
}

block! {
    /// One place that samples are sent to.
    pub struct RemoteWriteConfig: "config.plain" {
        /// Where.
        url: Option<Url> => always "url",
        /// How long a request may take.
        remote_timeout: Duration => omit "remote_timeout",
        /// Further headers.
        headers: BTreeMap<String, String> => omit "headers",
        /// Rules for what is sent.
        write_relabel_configs: Vec<Option<RelabelRule>> => omit "write_relabel_configs",
        /// Its name in metrics and logs.
        name: String => omit "name",
        /// Whether exemplars are sent.
        send_exemplars: bool => omit "send_exemplars",
        /// Whether native histograms are sent in the older message.
        send_native_histograms: bool => omit "send_native_histograms",
        /// Whether each connection picks one of the host's addresses.
        round_robin_dns: bool => omit "round_robin_dns",
        /// The message.
        protobuf_message: WriteMessage => omit "protobuf_message",
        /// Whether refused requests are logged.
        failed_request_logging: bool => omit "failed_request_logging",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// The queue.
        queue_config: QueueConfig => omit "queue_config",
        /// Metadata.
        metadata_config: MetadataConfig => omit "metadata_config",
        /// Requests signed for AWS.
        sigv4: Option<SigV4Config> => omit "sigv4",
        /// Requests with a token of Azure AD.
        azuread: Option<AzureAdConfig> => omit "azuread",
        /// Requests with a token of Google.
        google_iam: Option<GoogleIamConfig> => omit "google_iam",
    }
}

impl Default for RemoteWriteConfig {
    fn default() -> RemoteWriteConfig {
        RemoteWriteConfig {
            remote_timeout: model::time::PromDuration(30_000),
            protobuf_message: WriteMessage::V1,
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            http_client: HttpClientConfig { enable_http2: false, ..HttpClientConfig::default() },
            ..RemoteWriteConfig::zeroed()
        }
    }
}

impl Block for RemoteWriteConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.url.is_none() {
            walk.invalid("url for remote_write is empty");
        }
        let what = "relabeling rule in remote write config";
        check_present(&self.write_relabel_configs, "write_relabel_configs", what, walk);
        check_headers(&self.headers, walk);
        if let WriteMessage::Unknown(name) = &self.protobuf_message {
            walk.invalid_field(
                "protobuf_message",
                format!(
                    "invalid protobuf_message value: unknown type for remote write protobuf message {name}, \
                     supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
                ),
            );
        }
        self.http_client.check(walk);
        self.queue_config.check(walk);
        self.check_auth(walk);
    }
}

impl RemoteWriteConfig {
    /// The rules for what is sent, compiled.
    pub fn write_relabel_rules(&self) -> Vec<RelabelConfig> {
        compiled(&self.write_relabel_configs)
    }

    fn check_auth(&self, walk: &mut Walk) {
        let given: Vec<&str> = [
            (self.http_client.basic_auth.is_some(), "basic_auth"),
            (self.http_client.authorization.is_some(), "authorization"),
            (self.http_client.oauth2.is_some(), "oauth2"),
            (self.sigv4.is_some(), "sigv4"),
            (self.azuread.is_some(), "azuread"),
            (self.google_iam.is_some(), "google_iam"),
        ]
        .into_iter()
        .filter_map(|(given, name)| given.then_some(name))
        .collect();
        if given.len() > 1 {
            walk.invalid(format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be \
                 configured. Currently configured: [{}]",
                given.join(" ")
            ));
        }
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}

block! {
    /// How samples wait and are sent.
    pub struct QueueConfig: "config.QueueConfig" {
        /// Samples that may wait per shard.
        capacity: i64 => omit "capacity",
        /// Shards at most.
        max_shards: i64 => omit "max_shards",
        /// Shards at least.
        min_shards: i64 => omit "min_shards",
        /// Samples per request at most.
        max_samples_per_send: i64 => omit "max_samples_per_send",
        /// How long a sample may wait for its request to fill.
        batch_send_deadline: Duration => omit "batch_send_deadline",
        /// The first wait after a failure.
        min_backoff: Duration => omit "min_backoff",
        /// The longest wait after a failure.
        max_backoff: Duration => omit "max_backoff",
        /// Whether 429 is tried again.
        retry_on_http_429: bool => omit "retry_on_http_429",
        /// Older samples are not sent; 0 is any age.
        sample_age_limit: Duration => omit "sample_age_limit",
    }
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: model::time::PromDuration(5_000),
            min_backoff: model::time::PromDuration(30),
            max_backoff: model::time::PromDuration(5_000),
            ..QueueConfig::zeroed()
        }
    }
}

impl Block for QueueConfig {}

impl QueueConfig {
    fn check(&self, walk: &mut Walk) {
        let positive = [
            ("max_shards", self.max_shards),
            ("min_shards", self.min_shards),
            ("max_samples_per_send", self.max_samples_per_send),
            ("capacity", self.capacity),
        ];
        for (field, number) in positive {
            if number <= 0 {
                let message = format!("remote write queue {field} must be positive");
                walk.invalid_at(["queue_config".into(), field.into()], message);
                return;
            }
        }
        if self.min_shards > self.max_shards {
            let message = "remote write queue min_shards must not be greater than max_shards";
            walk.invalid_at(["queue_config".into(), "min_shards".into()], message);
        }
        if self.max_backoff < self.min_backoff {
            let message = "remote write queue max_backoff must not be less than min_backoff";
            walk.invalid_at(["queue_config".into(), "max_backoff".into()], message);
        }
    }
}

block! {
    /// Metadata in the older message.
    pub struct MetadataConfig: "config.MetadataConfig" {
        /// Whether it is sent.
        send: bool => always "send",
        /// Time between two sendings.
        send_interval: Duration => always "send_interval",
        /// Entries per request at most.
        max_samples_per_send: i64 => omit "max_samples_per_send",
    }
}

impl Default for MetadataConfig {
    fn default() -> MetadataConfig {
        MetadataConfig {
            send: true,
            send_interval: model::time::PromDuration(60_000),
            max_samples_per_send: 2_000,
        }
    }
}

impl Block for MetadataConfig {}

block! {
    /// Requests signed for AWS.
    pub struct SigV4Config: "sigv4.plain" {
        /// The region; found out where empty.
        region: String => omit "region",
        /// The key's name; found out where empty.
        access_key: String => omit "access_key",
        /// The key.
        secret_key: Secret => omit "secret_key",
        /// A profile of the shared credentials file.
        profile: String => omit "profile",
        /// A role to take on.
        role_arn: String => omit "role_arn",
        /// Whether the role is asked for at a FIPS endpoint.
        use_fips_sts_endpoint: bool => omit "use_fips_sts_endpoint",
        /// What the role's owner asks for.
        external_id: String => omit "external_id",
        /// The service that is signed for.
        service_name: String => omit "service_name",
    }
}

zero_default!(SigV4Config, GoogleIamConfig);

impl Block for SigV4Config {
    fn finish(&mut self, walk: &mut Walk) {
        if self.access_key.is_empty() != self.secret_key.is_empty() {
            walk.invalid(
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the \
                 SigV4 config",
            );
        }
    }
}

block! {
    /// Requests with a token of Google.
    pub struct GoogleIamConfig: "googleiam.Config" {
        /// A credentials file; the machine's own where empty.
        credentials_file: String => omit "credentials_file",
    }
}

impl Block for GoogleIamConfig {}

block! {
    /// One place that samples are read from.
    pub struct RemoteReadConfig: "config.plain" {
        /// Where.
        url: Option<Url> => always "url",
        /// How long a request may take.
        remote_timeout: Duration => omit "remote_timeout",
        /// Bytes a streamed frame may have.
        chunked_read_limit: u64 => omit "chunked_read_limit",
        /// Further headers.
        headers: BTreeMap<String, String> => omit "headers",
        /// Whether what is stored here is asked for too.
        read_recent: bool => omit "read_recent",
        /// Its name in metrics and logs.
        name: String => omit "name",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
        /// Matchers that a selector must have for this place to be asked.
        required_matchers: LabelSet => omit "required_matchers",
        /// Whether external labels are matched there and removed from answers.
        filter_external_labels: bool => omit "filter_external_labels",
    }
}

impl Default for RemoteReadConfig {
    fn default() -> RemoteReadConfig {
        RemoteReadConfig {
            remote_timeout: model::time::PromDuration(60_000),
            chunked_read_limit: 50_000_000,
            http_client: HttpClientConfig::default(),
            filter_external_labels: true,
            ..RemoteReadConfig::zeroed()
        }
    }
}

impl Block for RemoteReadConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.url.is_none() {
            walk.invalid("url for remote_read is empty");
        }
        check_headers(&self.headers, walk);
        self.http_client.check(walk);
    }
}

impl RemoteReadConfig {
    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
