//! Virtual machines of Azure.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::http_client::HttpClientConfig;
use crate::secret::Secret;
use crate::values::{Duration, quoted};

choice! {
    /// How a token is got.
    pub enum AzureAuthentication: |text| unknown_method(text) => {
        /// With a client secret.
        OAuth = "OAuth",
        /// From the machine's own identity.
        ManagedIdentity = "ManagedIdentity",
        /// From what the environment offers.
        Sdk = "SDK",
        /// With a federated token.
        WorkloadIdentity = "WorkloadIdentity",
    }
}

fn unknown_method(text: &str) -> String {
    format!(
        "unknown authentication_type {}. Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \
         \"WorkloadIdentity\"",
        quoted(text)
    )
}

block! {
    /// Virtual machines of Azure.
    pub struct AzureSdConfig: "azure.plain" {
        /// Which cloud.
        environment: String => omit "environment",
        /// The port of targets.
        port: i64 => always "port",
        /// The subscription.
        subscription_id: String => always "subscription_id",
        /// The directory.
        tenant_id: String => omit "tenant_id",
        /// The application.
        client_id: String => omit "client_id",
        /// Its secret.
        client_secret: Secret => omit "client_secret",
        /// Time between two look-ups.
        refresh_interval: Duration => omit "refresh_interval",
        /// How a token is got.
        authentication_method: Chosen<AzureAuthentication> => omit "authentication_method",
        /// The resource group; all where empty.
        resource_group: String => omit "resource_group",
        /// How requests are made.
        http_client: HttpClientConfig => inline,
    }
}

impl Default for AzureSdConfig {
    fn default() -> AzureSdConfig {
        AzureSdConfig {
            environment: "AzurePublicCloud".to_owned(),
            port: 80,
            refresh_interval: model::time::PromDuration(300000),
            authentication_method: Chosen::some(AzureAuthentication::OAuth),
            http_client: HttpClientConfig::default(),
            ..AzureSdConfig::zeroed()
        }
    }
}

impl Block for AzureSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        let mut require = |field: &str, is_given: bool| {
            if !is_given {
                walk.invalid_field(field, format!("azure SD configuration requires a {field}"));
            }
        };
        require("subscription_id", !self.subscription_id.is_empty());
        if self.authentication_method == AzureAuthentication::OAuth {
            require("tenant_id", !self.tenant_id.is_empty());
            require("client_id", !self.client_id.is_empty());
            require("client_secret", !self.client_secret.is_empty());
        }
        if self.authentication_method.0.is_none() {
            walk.invalid_field("authentication_method", unknown_method(""));
        }
        self.http_client.check(walk);
    }
}

impl Located for AzureSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.http_client.set_directory(dir);
    }
}
