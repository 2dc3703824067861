//! Instances, hypervisors and load balancers of OpenStack.

use std::path::Path;

use crate::block::{Block, Fields, block, choice};
use crate::decode::{Chosen, Walk};
use crate::discovery::Located;
use crate::secret::Secret;
use crate::tls::TlsConfig;
use crate::values::{Duration, quoted};

choice! {
    /// What is looked for.
    pub enum OpenStackRole: |text| format!("unknown OpenStack SD role {}", quoted(text)) => {
        /// Hypervisors.
        Hypervisor = "hypervisor",
        /// Instances.
        Instance = "instance",
        /// Load balancers.
        LoadBalancer = "loadbalancer",
    }
}

choice! {
    /// Which endpoint is used.
    pub enum OpenStackAvailability: |text| unknown_availability(text) => {
        /// The public one.
        Public = "public",
        /// The internal one.
        Internal = "internal",
        /// The administrative one.
        Admin = "admin",
    }
}

fn unknown_availability(text: &str) -> String {
    format!("unknown availability {text}, must be one of admin, internal or public")
}

block! {
    /// Instances, hypervisors or load balancers of OpenStack.
    pub struct OpenStackSdConfig: "openstack.plain" {
        /// The URL of Keystone; named by the environment where empty.
        identity_endpoint: String => always "identity_endpoint",
        /// The user's name.
        username: String => always "username",
        /// The user's id.
        userid: String => always "userid",
        /// The user's password.
        password: Secret => always "password",
        /// The project's name.
        project_name: String => always "project_name",
        /// The project's id.
        project_id: String => always "project_id",
        /// The domain's name.
        domain_name: String => always "domain_name",
        /// The domain's id.
        domain_id: String => always "domain_id",
        /// The application credential's name.
        application_credential_name: String => always "application_credential_name",
        /// The application credential's id.
        application_credential_id: String => always "application_credential_id",
        /// The application credential's secret.
        application_credential_secret: Secret => always "application_credential_secret",
        /// What is looked for.
        role: Chosen<OpenStackRole> => always "role",
        /// The region.
        region: String => always "region",
        /// Time between two look-ups.
        refresh_interval: Duration => always "refresh_interval",
        /// The port of targets.
        port: i64 => always "port",
        /// Whether instances of all projects are listed.
        all_tenants: bool => omit "all_tenants",
        /// TLS.
        tls_config: TlsConfig => omit "tls_config",
        /// Which endpoint is used.
        availability: Chosen<OpenStackAvailability> => omit "availability",
    }
}

impl Default for OpenStackSdConfig {
    fn default() -> OpenStackSdConfig {
        OpenStackSdConfig {
            port: 80,
            refresh_interval: model::time::PromDuration(60000),
            availability: Chosen::some(OpenStackAvailability::Public),
            ..OpenStackSdConfig::zeroed()
        }
    }
}

impl Block for OpenStackSdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.availability.0.is_none() {
            walk.invalid_field("availability", unknown_availability(""));
        }
        if self.role.0.is_none() {
            walk.invalid_field("role", "role missing (one of: instance, hypervisor, loadbalancer)");
        }
        if self.region.is_empty() {
            walk.invalid_field("region", "openstack SD configuration requires a region");
        }
    }
}

impl Located for OpenStackSdConfig {
    fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
    }
}
