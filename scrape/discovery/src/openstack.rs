//! `openstack_sd_configs`: instances, hypervisors or load balancers.
//!
//! ```text
//! Keystone ─▶ token and catalogue ─▶ Nova, Neutron, Octavia
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use config::HttpClientConfig;
use config::discovery::OpenStackSdConfig;
use config::discovery::openstack::{OpenStackAvailability, OpenStackRole};
use http::Method;
use model::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::{Client, null_as_empty};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const PREFIX: &str = "__meta_openstack_";
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
    Ok(OpenStackSdConfig {
        identity_endpoint,
        username: variable(&["OS_USERNAME"]),
        userid: variable(&["OS_USERID", "OS_USER_ID"]),
        password: config::Secret::new(variable(&["OS_PASSWORD"])),
        project_id: variable(&["OS_PROJECT_ID", "OS_TENANT_ID"]),
        project_name: variable(&["OS_PROJECT_NAME", "OS_TENANT_NAME"]),
        domain_id: variable(&["OS_DOMAIN_ID", "OS_USER_DOMAIN_ID", "OS_PROJECT_DOMAIN_ID"]),
        domain_name: variable(&["OS_DOMAIN_NAME", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"]),
        application_credential_id: variable(&["OS_APPLICATION_CREDENTIAL_ID"]),
        application_credential_name: variable(&["OS_APPLICATION_CREDENTIAL_NAME"]),
        application_credential_secret: config::Secret::new(variable(&["OS_APPLICATION_CREDENTIAL_SECRET"])),
        ..config.clone()
    })
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
    addresses: BTreeMap<String, Vec<Address>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    addr: String,
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

/// What is sent to Keystone.
fn request_of(config: &OpenStackSdConfig) -> Value {
    let domain = match (config.domain_id.as_str(), config.domain_name.as_str()) {
        ("", "") => None,
        ("", name) => Some(json!({ "name": name })),
        (id, _) => Some(json!({ "id": id })),
    };
    let user = || {
        if !config.userid.is_empty() {
            return json!({"id": config.userid});
        }
        let mut user = json!({"name": config.username});
        if let Some(domain) = &domain {
            user["domain"] = domain.clone();
        }
        user
    };
    let secret = config.application_credential_secret.expose();
    if !config.application_credential_id.is_empty() || !config.application_credential_name.is_empty() {
        let mut credential = json!({ "secret": secret });
        if config.application_credential_id.is_empty() {
            credential["name"] = json!(config.application_credential_name);
            credential["user"] = user();
        } else {
            credential["id"] = json!(config.application_credential_id);
        }
        let identity = json!({"methods": ["application_credential"], "application_credential": credential});
        return json!({"auth": {"identity": identity}});
    }
    let mut user = user();
    user["password"] = json!(config.password.expose());
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    let scope = match (config.project_id.as_str(), config.project_name.as_str(), &domain) {
        ("", "", None) => None,
        ("", "", Some(domain)) => Some(json!({ "domain": domain })),
        ("", name, Some(domain)) => Some(json!({"project": {"name": name, "domain": domain}})),
        ("", name, None) => Some(json!({"project": {"name": name}})),
        (id, _, _) => Some(json!({"project": {"id": id}})),
    };
    match scope {
        Some(scope) => json!({"auth": {"identity": identity, "scope": scope}}),
        None => json!({"auth": {"identity": identity}}),
    }
}

impl OpenStack {
    async fn authenticate(&self) -> Result<Session, DiscoveryError> {
        let base = self.config.identity_endpoint.trim_end_matches('/');
        let base = if base.ends_with("/v3") { base.to_owned() } else { format!("{base}/v3") };
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let body = request_of(&self.config).to_string();
        let answer =
            self.client.request(Method::POST, &format!("{base}/auth/tokens"), &headers, body).await?;
        let answer = answer.success("POST auth/tokens")?;
        let token = answer.header("x-subject-token").to_owned();
        let body: TokenAnswer = answer.json()?;
        Ok(Session { token, catalog: body.token.catalog })
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
            endpoint.interface == interface && (endpoint.region == *region || endpoint.region_id == *region)
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
            let list = page.remove(name).unwrap_or_default();
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
        let network = self.endpoint(session, "network")?;
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
                for address in addresses.iter().filter(|address| !present.contains(address.addr.as_str())) {
                    let public = by_fixed.get(&(server.id.as_str(), address.addr.as_str())).copied();
                    let mut labels = common.clone();
                    labels
                        .address(&address.addr, self.config.port)
                        .set("address_pool", pool)
                        .set("private_ip", &address.addr)
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
        let octavia = self.endpoint(session, "load-balancer")?;
        let network = self.endpoint(session, "network")?;
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
        if request.path() == "/identity/v3/auth/tokens" {
            let endpoint = |kind: &str, path: &str| {
                let url = format!("{base}{path}");
                let other = json!({"interface": "admin", "region": "RegionOne", "url": "http://unused"});
                let public = json!({"interface": "public", "region_id": "RegionOne", "url": url});
                json!({"type": kind, "endpoints": [other, public]})
            };
            let catalog = [
                endpoint("compute", "/nova/"),
                endpoint("network", "/neutron"),
                endpoint("load-balancer", "/octavia"),
            ];
            let body = json!({"token": {"catalog": catalog}}).to_string();
            return Reply::status(201).body(body).header("X-Subject-Token", "t0k");
        }
        assert_eq!(request.header("x-auth-token"), "t0k");
        let body = match (request.path(), request.parameter("marker").as_str()) {
            ("/nova/servers/detail", "") => json!({
                "servers": [{"id": "s1", "name": "vm", "status": "ACTIVE", "tenant_id": "p", "user_id": "u",
                    "flavor": {"id": "1"}, "image": {"id": "img"}, "metadata": {"env-x": "prod"},
                    "addresses": {"private": [{"addr": "10.0.0.5"}, {"addr": "172.24.4.1"}]}}],
                "servers_links": [{"rel": "next", "href": format!("{base}/nova/servers/detail?marker=s1")}],
            }),
            ("/nova/servers/detail", _) => {
                json!({"servers": [{"id": "s2", "flavor": {"id": "1"}, "image": "",
                "addresses": {}}]})
            }
            ("/nova/os-hypervisors/detail", _) => {
                json!({"hypervisors": [{"id": 7, "host_ip": "172.16.70.14", "state": "up", "status": "enabled"}]})
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

    async fn look(role: OpenStackRole) -> (Vec<Labels>, Vec<Seen>) {
        let server = TestServer::start(answer).await;
        let config = OpenStackSdConfig {
            identity_endpoint: server.url("/identity"),
            username: "u".to_owned(),
            password: Secret::new("p"),
            domain_name: "Default".to_owned(),
            project_name: "proj".to_owned(),
            region: "RegionOne".to_owned(),
            role: Chosen::some(role),
            ..OpenStackSdConfig::default()
        };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
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
        let sent: Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(sent["auth"]["scope"]["project"]["domain"]["name"], "Default");
        assert_eq!(sent["auth"]["identity"]["password"]["user"]["password"], "p");
    }

    #[tokio::test]
    async fn hypervisors_and_load_balancers_are_roles() {
        let (targets, _) = look(OpenStackRole::Hypervisor).await;
        assert_eq!(targets[0].get("__meta_openstack_hypervisor_id"), Some("7"));
        let (targets, _) = look(OpenStackRole::LoadBalancer).await;
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].get("__address__"), Some("10.0.0.9:9273"));
        assert_eq!(targets[0].get("__meta_openstack_loadbalancer_tags"), Some("a,b"));
        assert_eq!(targets[0].get("__meta_openstack_loadbalancer_floating_ip"), Some("172.24.4.1"));
    }

    #[test]
    fn the_environment_names_what_the_block_does_not() {
        let context = context_with(&[("OS_AUTH_URL", "http://k"), ("OS_APPLICATION_CREDENTIAL_ID", "id")]);
        let config = with_environment(&OpenStackSdConfig::default(), &context).unwrap();
        let sent = request_of(&config);
        assert_eq!(sent["auth"]["identity"]["methods"][0], "application_credential");
        assert!(with_environment(&OpenStackSdConfig::default(), &crate::testing::context()).is_err());
    }
}
