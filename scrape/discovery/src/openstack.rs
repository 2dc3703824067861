//! `openstack_sd_configs`: instances, hypervisors or load balancers.
//!
//! ```text
//! Keystone ─▶ token and catalogue ─▶ Nova, Neutron, Octavia
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use config::HttpClientConfig;
use config::discovery::OpenStackSdConfig;
use config::discovery::openstack::{OpenStackAvailability, OpenStackRole};
use http::header::ACCEPT;
use http::{Method, StatusCode};
use model::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::{Client, drop_nulls, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const PREFIX: &str = "__meta_openstack_";
/// The version of the services' APIs; endpoints that name another are passed over.
const VERSION: u32 = 2;
/// Pages that are asked for at most.
const PAGES_MAX: usize = 10_000;

impl Periodic for OpenStackSdConfig {
    const NAME: &'static str = "openstack";
    type Look = OpenStack;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<OpenStack, DiscoveryError> {
        let config = with_environment(self, context)?;
        let http = HttpClientConfig { tls_config: config.tls_config.clone(), ..HttpClientConfig::default() };
        Ok(OpenStack { client: Client::new(&http, context, interval_of(self.refresh_interval))?, config })
    }
}

/// Without an identity endpoint all of it is taken from the environment.
fn with_environment(
    config: &OpenStackSdConfig,
    context: &Context,
) -> Result<OpenStackSdConfig, DiscoveryError> {
    if !config.identity_endpoint.is_empty() {
        return Ok(config.clone());
    }
    let variable = |names: &[&str]| {
        let found =
            names.iter().map(|name| context.surroundings.variable(name)).find(|value| !value.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let identity_endpoint = variable(&["OS_AUTH_URL"]);
    if identity_endpoint.is_empty() {
        return Err(DiscoveryError::Unusable("Missing environment variable [OS_AUTH_URL]".to_owned()));
    }
    let found = OpenStackSdConfig {
        identity_endpoint,
        username: variable(&["OS_USERNAME"]),
        userid: variable(&["OS_USERID"]),
        password: config::Secret::new(variable(&["OS_PASSWORD"])),
        project_id: variable(&["OS_PROJECT_ID", "OS_TENANT_ID"]),
        project_name: variable(&["OS_PROJECT_NAME", "OS_TENANT_NAME"]),
        domain_id: variable(&["OS_DOMAIN_ID"]),
        domain_name: variable(&["OS_DOMAIN_NAME"]),
        application_credential_id: variable(&["OS_APPLICATION_CREDENTIAL_ID"]),
        application_credential_name: variable(&["OS_APPLICATION_CREDENTIAL_NAME"]),
        application_credential_secret: config::Secret::new(variable(&["OS_APPLICATION_CREDENTIAL_SECRET"])),
        ..config.clone()
    };
    // Said at the start, as upstream says it.
    match missing_variable(&found) {
        None => Ok(found),
        Some(names) => {
            let what = if names.contains(',') {
                "one of the following environment variables"
            } else {
                "environment variable"
            };
            Err(DiscoveryError::Unusable(format!("Missing {what} [{names}]")))
        }
    }
}

/// What the environment does not say although it must.
/// Source: gophercloud `openstack/auth_env.go`.
fn missing_variable(found: &OpenStackSdConfig) -> Option<&'static str> {
    let no_user = found.userid.is_empty() && found.username.is_empty();
    let no_domain = found.domain_id.is_empty() && found.domain_name.is_empty();
    let (id, name) = (&found.application_credential_id, &found.application_credential_name);
    let (no_credential, no_secret) =
        (id.is_empty() && name.is_empty(), found.application_credential_secret.is_empty());
    if no_user && id.is_empty() && no_secret {
        Some("OS_USERID, OS_USERNAME")
    } else if found.password.is_empty() && no_credential {
        Some("OS_PASSWORD")
    } else if !no_credential && no_secret {
        Some("OS_APPLICATION_CREDENTIAL_SECRET")
    } else if no_domain && found.project_id.is_empty() && !found.project_name.is_empty() {
        Some("OS_PROJECT_ID")
    } else if id.is_empty() && !name.is_empty() && no_user {
        Some("OS_USERID, OS_USERNAME")
    } else if id.is_empty() && !name.is_empty() && !found.username.is_empty() && no_domain {
        Some("OS_DOMAIN_ID, OS_DOMAIN_NAME")
    } else {
        None
    }
}

pub(crate) struct OpenStack {
    config: OpenStackSdConfig,
    client: Client,
}

/// A token and where the services are.
struct Session {
    token: String,
    catalog: Vec<CatalogEntry>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: TokenBody,
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    catalog: Vec<CatalogEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CatalogEntry {
    r#type: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    interface: String,
    region: String,
    region_id: String,
    url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server {
    id: String,
    name: String,
    status: String,
    tenant_id: String,
    user_id: String,
    flavor: Value,
    image: Value,
    #[serde(deserialize_with = "null_as_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    addresses: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    id: String,
    device_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FloatingIp {
    floating_ip_address: String,
    #[serde(deserialize_with = "null_as_empty")]
    fixed_ip_address: String,
    #[serde(deserialize_with = "null_as_empty")]
    port_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hypervisor {
    id: Value,
    host_ip: String,
    hypervisor_hostname: String,
    hypervisor_type: String,
    state: String,
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    id: String,
    name: String,
    project_id: String,
    provider: String,
    operating_status: String,
    provisioning_status: String,
    #[serde(deserialize_with = "null_as_empty")]
    availability_zone: String,
    vip_address: String,
    #[serde(deserialize_with = "null_as_empty")]
    vip_port_id: String,
    #[serde(deserialize_with = "null_as_empty")]
    tags: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listener {
    protocol: String,
    protocol_port: i64,
    #[serde(deserialize_with = "null_as_empty")]
    loadbalancers: Vec<Id>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Id {
    id: String,
}

impl Refresh for OpenStack {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let session = self.authenticate().await.map_err(|error| {
            DiscoveryError::Request(format!("could not authenticate to OpenStack: {error}"))
        })?;
        let targets = match self.config.role.0 {
            Some(OpenStackRole::Hypervisor) => self.hypervisors(&session).await?,
            Some(OpenStackRole::LoadBalancer) => self.load_balancers(&session).await?,
            Some(OpenStackRole::Instance) | None => self.instances(&session).await?,
        };
        Ok(single_group(format!("OS_{}", self.config.region), targets))
    }
}

/// What is sent to Keystone: a password if there is one, else an application
/// credential; for a project if one is named, else for whatever the user has.
/// Source: gophercloud `auth_options.go`.
///
/// # Errors
/// Too little or too much is given to know who asks.
fn request_of(config: &OpenStackSdConfig) -> Result<Value, DiscoveryError> {
    let unusable = |what: &str| Err(DiscoveryError::Unusable(what.to_owned()));
    let (id, name) = (config.domain_id.as_str(), config.domain_name.as_str());
    let domain = match (id, name) {
        ("", "") => None,
        ("", name) => Some(json!({ "name": name })),
        (id, _) => Some(json!({ "id": id })),
    };
    let needs_domain = "You must provide exactly one of DomainID or DomainName to authenticate by Username";
    let identity = if !config.password.is_empty() {
        let password = config.password.expose();
        let user = match (config.userid.as_str(), config.username.as_str(), &domain) {
            ("", "", _) => {
                return unusable(
                    "Exactly one of Username and UserID must be provided for password authentication",
                );
            }
            ("", _, None) => return unusable(needs_domain),
            ("", _, Some(_)) if !id.is_empty() && !name.is_empty() => return unusable(needs_domain),
            ("", user, Some(domain)) => json!({"name": user, "password": password, "domain": domain}),
            (_, "", Some(_)) => {
                return unusable("You must not provide a DomainID or DomainName to authenticate by UserID");
            }
            (user, "", None) => json!({"id": user, "password": password}),
            _ => {
                return unusable(
                    "Exactly one of Username and UserID must be provided for password authentication",
                );
            }
        };
        json!({"methods": ["password"], "password": {"user": user}})
    } else {
        let mut credential = json!({"secret": config.application_credential_secret.expose()});
        if !config.application_credential_id.is_empty() {
            credential["id"] = json!(config.application_credential_id);
        } else if !config.application_credential_name.is_empty() {
            credential["name"] = json!(config.application_credential_name);
            credential["user"] = match (config.userid.as_str(), config.username.as_str(), &domain) {
                ("", "", _) => {
                    return unusable(
                        "Exactly one of Username and UserID must be provided for password authentication",
                    );
                }
                ("", _, None) => return unusable(needs_domain),
                ("", user, Some(domain)) => json!({"name": user, "domain": domain}),
                (user, _, _) => json!({ "id": user }),
            };
        } else {
            return unusable("You must provide a password to authenticate");
        }
        if config.application_credential_secret.is_empty() {
            return unusable("You must provide an Application Credential Secret");
        }
        json!({"methods": ["application_credential"], "application_credential": credential})
    };
    let scope = match (config.project_id.as_str(), config.project_name.as_str(), domain) {
        ("", "", _) => return Ok(json!({"auth": {"identity": identity}})),
        ("", _, None) => {
            return unusable(
                "You must provide exactly one of DomainID or DomainName in a Scope with ProjectName",
            );
        }
        ("", project, Some(domain)) => json!({"project": {"name": project, "domain": domain}}),
        (project, _, _) => json!({"project": {"id": project}}),
    };
    Ok(json!({"auth": {"identity": identity, "scope": scope}}))
}

impl OpenStack {
    async fn authenticate(&self) -> Result<Session, DiscoveryError> {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let body = request_of(&self.config)?.to_string();
        let base = self.identity().await?;
        let answer =
            self.client.request(Method::POST, &format!("{base}/auth/tokens"), &headers, body).await?;
        let answer = answer.success("POST auth/tokens")?;
        let token = answer.header("x-subject-token").to_owned();
        let body: TokenAnswer = answer.json()?;
        Ok(Session { token, catalog: body.token.catalog })
    }

    /// The URL of version 3 of Keystone, without slash at the end: as given, or
    /// as the list of versions at the given URL names it.
    async fn identity(&self) -> Result<String, DiscoveryError> {
        let base = self.config.identity_endpoint.trim_end_matches('/');
        if base.ends_with("/v3") {
            return Ok(base.to_owned());
        }
        let url = format!("{base}/");
        let answer = self.client.get(&url, &[(ACCEPT.as_str(), "application/json")]).await?;
        // Several versions are answered as several choices.
        let answer =
            if answer.status == StatusCode::MULTIPLE_CHOICES { answer } else { answer.success(&url)? };
        let list: Value = answer.json()?;
        let named = list["versions"]["values"].as_array().into_iter().flatten().find_map(|version| {
            let status = version["status"].as_str().unwrap_or_default().to_ascii_lowercase();
            let is_usable = version["id"].as_str().is_some_and(|id| id.contains("v3"))
                && matches!(status.as_str(), "current" | "supported" | "stable");
            let links = is_usable.then(|| version["links"].as_array())??;
            let own = links.iter().rev().find(|link| link["rel"] == "self")?;
            Some(own["href"].as_str()?.trim_end_matches('/').to_owned())
        });
        named.ok_or_else(|| {
            DiscoveryError::Malformed(format!("no supported version available from endpoint {url}"))
        })
    }

    /// The URL of a service, without slash at the end.
    fn endpoint(&self, session: &Session, kind: &str) -> Result<String, DiscoveryError> {
        let interface = match self.config.availability.0 {
            Some(OpenStackAvailability::Internal) => "internal",
            Some(OpenStackAvailability::Admin) => "admin",
            Some(OpenStackAvailability::Public) | None => "public",
        };
        let region = &self.config.region;
        let endpoints =
            session.catalog.iter().filter(|entry| entry.r#type == kind).flat_map(|entry| &entry.endpoints);
        let mut fitting = endpoints.filter(|endpoint| {
            endpoint.interface == interface
                && (endpoint.region == *region || endpoint.region_id == *region)
                && version_of(&endpoint.url).is_none_or(|version| version == VERSION)
        });
        let found = fitting.next().ok_or_else(|| {
            let what =
                format!("could not create OpenStack {kind} session: No suitable endpoint could be found");
            DiscoveryError::Request(format!("{what} in the service catalog."))
        })?;
        Ok(found.url.trim_end_matches('/').to_owned())
    }

    /// All items of a list, whose pages name the next one.
    async fn list<T: DeserializeOwned>(
        &self,
        session: &Session,
        url: String,
        name: &str,
    ) -> Result<Vec<T>, DiscoveryError> {
        let headers = [("X-Auth-Token", session.token.as_str())];
        let (mut url, mut items) = (url, Vec::new());
        for _ in 0..PAGES_MAX {
            let mut page: BTreeMap<String, Value> = self.client.get_json(&url, &headers).await?;
            // Without the list the answer is none, and what is known stays.
            let list = page.remove(name);
            let mut list =
                list.ok_or_else(|| DiscoveryError::Malformed(format!("the answer has no {name}")))?;
            drop_nulls(&mut list);
            let list: Option<Vec<T>> =
                serde_json::from_value(list).map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
            items.extend(list.into_iter().flatten());
            let links = page.remove(&format!("{name}_links")).unwrap_or_default();
            let next = links.as_array().into_iter().flatten().find(|link| link["rel"] == "next");
            match next.and_then(|link| link["href"].as_str()) {
                Some(next) if next != url => url = next.to_owned(),
                _ => break,
            }
        }
        Ok(items)
    }

    async fn floating_ips(
        &self,
        session: &Session,
        network: &str,
    ) -> Result<Vec<FloatingIp>, DiscoveryError> {
        self.list(session, format!("{network}/v2.0/floatingips"), "floatingips").await
    }

    async fn instances(&self, session: &Session) -> Result<Vec<Labels>, DiscoveryError> {
        let compute = self.endpoint(session, "compute")?;
        let network = unversioned(self.endpoint(session, "network")?);
        let ports: Vec<Port> = self.list(session, format!("{network}/v2.0/ports"), "ports").await?;
        let devices: HashMap<&str, &str> =
            ports.iter().map(|p| (p.id.as_str(), p.device_id.as_str())).collect();
        let floating = self.floating_ips(session, &network).await?;
        // The floating address by device and its fixed address.
        let mut by_fixed: HashMap<(&str, &str), &str> = HashMap::new();
        let mut present: HashSet<&str> = HashSet::new();
        for ip in floating.iter().filter(|ip| !ip.port_id.is_empty() && !ip.fixed_ip_address.is_empty()) {
            if let Some(device) = devices.get(ip.port_id.as_str()) {
                by_fixed.insert((device, &ip.fixed_ip_address), &ip.floating_ip_address);
                present.insert(&ip.floating_ip_address);
            }
        }
        let all = if self.config.all_tenants { "?all_tenants=true" } else { "" };
        let servers: Vec<Server> =
            self.list(session, format!("{compute}/servers/detail{all}"), "servers").await?;
        let mut targets = Vec::new();
        for server in &servers {
            let Some(common) = instance_labels(server) else { continue };
            for (pool, addresses) in &server.addresses {
                // What is no address is passed over.
                let addresses = addresses.as_array().into_iter().flatten();
                let addresses = addresses.filter_map(|address| address["addr"].as_str());
                for address in addresses.filter(|address| !present.contains(address)) {
                    let public = by_fixed.get(&(server.id.as_str(), address)).copied();
                    let mut labels = common.clone();
                    labels
                        .address(address, self.config.port)
                        .set("address_pool", pool)
                        .set("private_ip", address)
                        .set("public_ip", public.unwrap_or_default());
                    targets.push(labels.finish());
                }
            }
        }
        Ok(targets)
    }

    async fn hypervisors(&self, session: &Session) -> Result<Vec<Labels>, DiscoveryError> {
        let url = format!("{}/os-hypervisors/detail", self.endpoint(session, "compute")?);
        let hypervisors: Vec<Hypervisor> = self.list(session, url, "hypervisors").await?;
        let target = |hypervisor: &Hypervisor| {
            let id = hypervisor.id.as_str().map_or_else(|| hypervisor.id.to_string(), str::to_owned);
            MetaLabels::new(PREFIX)
                .address(&hypervisor.host_ip, self.config.port)
                .set("hypervisor_id", id)
                .set("hypervisor_hostname", &hypervisor.hypervisor_hostname)
                .set("hypervisor_host_ip", &hypervisor.host_ip)
                .set("hypervisor_status", &hypervisor.status)
                .set("hypervisor_state", &hypervisor.state)
                .set("hypervisor_type", &hypervisor.hypervisor_type)
                .finish()
        };
        Ok(hypervisors.iter().map(target).collect())
    }

    async fn load_balancers(&self, session: &Session) -> Result<Vec<Labels>, DiscoveryError> {
        let octavia = unversioned(self.endpoint(session, "load-balancer")?);
        let network = unversioned(self.endpoint(session, "network")?);
        let url = |what: &str| format!("{octavia}/v2.0/lbaas/{what}");
        let balancers: Vec<LoadBalancer> = self.list(session, url("loadbalancers"), "loadbalancers").await?;
        let listeners: Vec<Listener> = self.list(session, url("listeners"), "listeners").await?;
        let floating = self.floating_ips(session, &network).await?;
        let targets = balancers.iter().filter_map(|balancer| {
            // Only those that listen for Prometheus have metrics.
            let serves = |listener: &&Listener| {
                listener.protocol == "PROMETHEUS"
                    && listener.loadbalancers.iter().any(|lb| lb.id == balancer.id)
            };
            let listener = listeners.iter().find(serves)?;
            let public =
                floating.iter().find(|ip| !ip.port_id.is_empty() && ip.port_id == balancer.vip_port_id);
            let mut labels = MetaLabels::new(PREFIX);
            labels
                .address(&balancer.vip_address, listener.protocol_port)
                .set("project_id", &balancer.project_id)
                .set("loadbalancer_id", &balancer.id)
                .set("loadbalancer_name", &balancer.name)
                .set("loadbalancer_operating_status", &balancer.operating_status)
                .set("loadbalancer_provisioning_status", &balancer.provisioning_status)
                .set("loadbalancer_availability_zone", &balancer.availability_zone)
                .set("loadbalancer_vip", &balancer.vip_address)
                .set("loadbalancer_provider", &balancer.provider)
                .set("loadbalancer_tags", balancer.tags.join(","))
                .set("loadbalancer_floating_ip", public.map_or("", |ip| &ip.floating_ip_address));
            Some(labels.finish())
        });
        Ok(targets.collect())
    }
}

/// Without the version that is added to it: some catalogues name it already.
fn unversioned(url: String) -> String {
    url.strip_suffix("/v2.0").map(str::to_owned).unwrap_or(url)
}

/// The version of an API that its URL names, without what stands behind a point.
fn version_of(url: &str) -> Option<u32> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let versions = path.split('/').skip(1).filter_map(|part| {
        let (major, minor) = part.strip_prefix('v')?.split_once('.').unwrap_or((&part[1..], "0"));
        minor.parse::<u32>().ok()?;
        major.parse().ok()
    });
    versions.last()
}

/// The labels of a server; `None` where its flavour cannot be told.
fn instance_labels(server: &Server) -> Option<MetaLabels> {
    let flavor = server.flavor["original_name"].as_str().or(server.flavor["id"].as_str())?;
    let mut labels = MetaLabels::new(PREFIX);
    labels
        .set("instance_id", &server.id)
        .set("instance_status", &server.status)
        .set("instance_name", &server.name)
        .set("project_id", &server.tenant_id)
        .set("user_id", &server.user_id)
        .set("instance_flavor", flavor)
        .set("instance_image", server.image["id"].as_str().unwrap_or_default())
        .set_texts("tag_", &server.metadata);
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, Seen, TestServer, context, context_with};
    use config::Secret;
    use config::decode::Chosen;

    fn answer(request: &Seen) -> Reply {
        let base = format!("http://{}", request.header("host"));
        if request.path() == "/identity/" {
            let link = |rel: &str, href: String| json!({"rel": rel, "href": href});
            let version = |id: &str, status: &str, path: &str| json!({"id": id, "status": status, "links": [link("x", String::new()), link("self", format!("{base}{path}"))]});
            let values =
                [version("v3.99", "experimental", "/unused"), version("v3.14", "stable", "/keystone/v3/")];
            return Reply::status(300).body(json!({"versions": {"values": values}}).to_string());
        }
        if request.path() == "/keystone/v3/auth/tokens" {
            let endpoint = |kind: &str, path: &str| {
                let url = format!("{base}{path}");
                let other = json!({"interface": "admin", "region": "RegionOne", "url": "http://unused"});
                let newer =
                    json!({"interface": "public", "region": "RegionOne", "url": "http://unused/v3.1/p"});
                let public = json!({"interface": "public", "region_id": "RegionOne", "url": url});
                json!({"type": kind, "endpoints": [other, newer, public]})
            };
            let catalog = [
                endpoint("compute", "/v1x/nova/v2.1/"),
                endpoint("network", "/neutron"),
                endpoint("load-balancer", "/octavia/v2.0/"),
            ];
            let body = json!({"token": {"catalog": catalog}}).to_string();
            return Reply::status(201).body(body).header("X-Subject-Token", "t0k");
        }
        assert_eq!(request.header("x-auth-token"), "t0k");
        let body = match (request.path(), request.parameter("marker").as_str()) {
            ("/v1x/nova/v2.1/servers/detail", "") => json!({
                "servers": [{"id": "s1", "name": "vm", "status": "ACTIVE", "tenant_id": "p", "user_id": "u",
                    "flavor": {"id": "1"}, "image": {"id": "img"}, "metadata": {"env-x": "prod"},
                    "addresses": {"private": [{"addr": "10.0.0.5"}, {"addr": "172.24.4.1"}, "x", {"addr": 7}],
                        "odd": {}}}],
                "servers_links": [{"rel": "next", "href": format!("{base}/v1x/nova/v2.1/servers/detail?marker=s1")}],
            }),
            ("/v1x/nova/v2.1/servers/detail", _) => {
                json!({"servers": [{"id": "s2", "flavor": {"id": "1"}, "image": "",
                "addresses": {}}]})
            }
            ("/v1x/nova/v2.1/os-hypervisors/detail", _) => {
                json!({"hypervisors": [{"id": 7, "host_ip": "172.16.70.14", "state": "up", "status": "enabled"},
                    {"id": "uuid", "host_ip": null, "hypervisor_type": "ironic"}]})
            }
            ("/neutron/v2.0/ports", _) => json!({"ports": [{"id": "port1", "device_id": "s1"}]}),
            ("/neutron/v2.0/floatingips", _) => json!({"floatingips": [
                {"floating_ip_address": "172.24.4.1", "fixed_ip_address": "10.0.0.5", "port_id": "port1"},
                {"floating_ip_address": "172.24.4.2", "fixed_ip_address": null, "port_id": null}]}),
            ("/octavia/v2.0/lbaas/loadbalancers", _) => json!({"loadbalancers": [
                {"id": "lb1", "vip_address": "10.0.0.9", "vip_port_id": "port1", "tags": ["a", "b"]}, {"id": "lb2"}]}),
            ("/octavia/v2.0/lbaas/listeners", _) => json!({"listeners": [
                {"protocol": "PROMETHEUS", "protocol_port": 9273, "loadbalancers": [{"id": "lb1"}]}]}),
            _ => return Reply::status(404),
        };
        Reply::json(body.to_string())
    }

    fn config_of(role: OpenStackRole, server: &TestServer) -> OpenStackSdConfig {
        OpenStackSdConfig {
            identity_endpoint: server.url("/identity"),
            username: "u".to_owned(),
            password: Secret::new("p"),
            domain_name: "Default".to_owned(),
            project_name: "proj".to_owned(),
            region: "RegionOne".to_owned(),
            role: Chosen::some(role),
            ..OpenStackSdConfig::default()
        }
    }

    /// Whoever takes such an answer for an empty list loses all targets.
    #[tokio::test]
    async fn an_answer_without_the_list_is_a_failure() {
        for (role, path, name) in [
            (OpenStackRole::Instance, "/servers/detail", "servers"),
            (OpenStackRole::Instance, "/ports", "ports"),
            (OpenStackRole::Hypervisor, "/os-hypervisors/detail", "hypervisors"),
            (OpenStackRole::LoadBalancer, "/listeners", "listeners"),
            (OpenStackRole::LoadBalancer, "/floatingips", "floatingips"),
        ] {
            for (body, why) in
                [("{}".to_owned(), "the answer has no"), (format!("{{\"{name}\": {{}}}}"), "invalid type")]
            {
                let server = TestServer::start(move |request| match request.path().ends_with(path) {
                    true => Reply::json(body.clone()),
                    false => answer(request),
                })
                .await;
                let fault = config_of(role, &server).look(&context()).unwrap().refresh().await.unwrap_err();
                assert!(fault.to_string().contains(why), "{path}: {fault}");
            }
        }
    }

    #[test]
    fn urls_name_versions() {
        for (url, version) in [
            ("http://v3.example/compute/v2.1/v1x/project", Some(2)),
            ("http://h/v3/", Some(3)),
            ("http://h:9696", None),
            ("http://h/v2.x/volume", None),
        ] {
            assert_eq!(version_of(url), version, "{url}");
        }
    }

    async fn look(role: OpenStackRole) -> (Vec<Labels>, Vec<Seen>) {
        let server = TestServer::start(answer).await;
        let groups = config_of(role, &server).look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!(groups[0].source, "OS_RegionOne");
        (groups[0].targets.clone(), server.requests())
    }

    #[tokio::test]
    async fn instances_know_their_floating_address() {
        let (targets, requests) = look(OpenStackRole::Instance).await;
        assert_eq!(targets.len(), 1, "floating addresses are no targets of their own");
        for (name, value) in [
            ("__address__", "10.0.0.5:80"),
            ("__meta_openstack_public_ip", "172.24.4.1"),
            ("__meta_openstack_address_pool", "private"),
            ("__meta_openstack_tag_env_x", "prod"),
            ("__meta_openstack_instance_image", "img"),
        ] {
            assert_eq!(targets[0].get(name), Some(value), "{name}");
        }
        let sent: Value = serde_json::from_str(&requests[1].body).unwrap();
        assert_eq!(sent["auth"]["scope"]["project"]["domain"]["name"], "Default");
        assert_eq!(sent["auth"]["identity"]["password"]["user"]["password"], "p");
    }

    #[tokio::test]
    async fn hypervisors_and_load_balancers_are_roles() {
        let (targets, _) = look(OpenStackRole::Hypervisor).await;
        assert_eq!(targets[0].get("__meta_openstack_hypervisor_id"), Some("7"));
        assert_eq!(targets[1].get("__meta_openstack_hypervisor_id"), Some("uuid"));
        assert_eq!(targets[1].get("__address__"), Some(":80"));
        let (targets, _) = look(OpenStackRole::LoadBalancer).await;
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].get("__address__"), Some("10.0.0.9:9273"));
        assert_eq!(targets[0].get("__meta_openstack_loadbalancer_tags"), Some("a,b"));
        assert_eq!(targets[0].get("__meta_openstack_loadbalancer_floating_ip"), Some("172.24.4.1"));
    }

    #[test]
    fn the_environment_names_what_the_block_does_not() {
        let start = [("OS_AUTH_URL", "http://k"), ("OS_APPLICATION_CREDENTIAL_ID", "id")];
        let with = |more: &[(&str, &str)]| {
            let all: Vec<(&str, &str)> = start.iter().chain(more).copied().collect();
            with_environment(&OpenStackSdConfig::default(), &context_with(&all))
        };
        let config = with(&[("OS_APPLICATION_CREDENTIAL_SECRET", "s")]).unwrap();
        let sent = request_of(&config).unwrap();
        assert_eq!(sent["auth"]["identity"]["methods"][0], "application_credential");
        let error = with(&[("OS_USERNAME", "u")]).unwrap_err().to_string();
        assert_eq!(error, "Missing environment variable [OS_APPLICATION_CREDENTIAL_SECRET]");
        assert!(with_environment(&OpenStackSdConfig::default(), &crate::testing::context()).is_err());
    }

    #[test]
    fn who_asks_must_be_said_once() {
        let config = |user: &str, id: &str, domain: &str, project: &str| OpenStackSdConfig {
            username: user.to_owned(),
            userid: id.to_owned(),
            domain_name: domain.to_owned(),
            project_name: project.to_owned(),
            password: Secret::new("p"),
            application_credential_id: "not asked for".to_owned(),
            ..OpenStackSdConfig::default()
        };
        let sent = request_of(&config("u", "", "D", "")).unwrap();
        assert_eq!(sent["auth"]["identity"]["methods"], json!(["password"]));
        assert!(sent["auth"].get("scope").is_none(), "a domain alone is no scope");
        for refused in [
            config("", "", "D", ""),
            config("u", "", "", ""),
            config("u", "id", "", ""),
            config("", "id", "D", ""),
            config("", "id", "", "project"),
        ] {
            assert!(request_of(&refused).is_err());
        }
        assert!(request_of(&config("", "id", "", "")).is_ok());
        let none = OpenStackSdConfig { password: Secret::default(), ..config("u", "", "D", "") };
        let error = request_of(&none).unwrap_err().to_string();
        assert_eq!(error, "You must provide an Application Credential Secret");
    }
}
