//! `azure_sd_configs`: virtual machines, those of scale sets included.
//!
//! ```text
//! token ─▶ machines, scale sets ─▶ their machines ─▶ network cards (kept a while)
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use config::discovery::AzureSdConfig;
use config::discovery::azure::AzureAuthentication;
use http::header::ACCEPT;
use model::Labels;
use net::cloud::azure::{Tokens, Way};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Answer, Client, Patience, null_as_empty, with_query};
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// Versions of the two APIs.
const COMPUTE: &str = "2024-07-01";
const NETWORK: &str = "2024-05-01";
const SCALE_SET_NETWORK: &str = "2018-10-01";
/// Network cards that are kept, and for how many looks.
const CARDS_MAX: usize = 5000;
const CARD_LOOKS: i64 = 10;
/// As the cloud's own clients are.
const PATIENCE: Patience = Patience { attempts: 4, pause: Duration::from_millis(800) };
/// Cards that are asked for at a time.
const CARD_REQUESTS_MAX: usize = 32;
/// Pages that are asked for at most.
const PAGES_MAX: usize = 10_000;

/// Where a cloud is.
struct Cloud {
    manager: &'static str,
    /// What tokens for it are asked for.
    audience: &'static str,
    login: &'static str,
}

/// The cloud of a name.
fn cloud(name: &str) -> Result<Cloud, DiscoveryError> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "AZURECLOUD" | "AZUREPUBLICCLOUD" | "AZUREGERMANCLOUD" => Cloud {
            manager: "https://management.azure.com",
            audience: "https://management.core.windows.net/",
            login: "https://login.microsoftonline.com",
        },
        "AZURECHINACLOUD" => Cloud {
            manager: "https://management.chinacloudapi.cn",
            audience: "https://management.core.chinacloudapi.cn/",
            login: "https://login.chinacloudapi.cn",
        },
        "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => Cloud {
            manager: "https://management.usgovcloudapi.net",
            audience: "https://management.core.usgovcloudapi.net/",
            login: "https://login.microsoftonline.us",
        },
        _ => {
            let what = format!(
                "there is no cloud configuration matching the name {}",
                model::labels::go_quote(name)
            );
            return Err(DiscoveryError::Unusable(what));
        }
    })
}

impl Periodic for AzureSdConfig {
    const NAME: &'static str = "azure";
    type Look = Azure;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Azure, DiscoveryError> {
        Ok(Azure { config: self.clone(), asked: None, cards: HashMap::new(), context: context.clone() })
    }
}

fn way_of(config: &AzureSdConfig) -> Way {
    match config.authentication_method.0 {
        Some(AzureAuthentication::OAuth) | None => Way::Secret {
            tenant: config.tenant_id.clone(),
            client: config.client_id.clone(),
            secret: config.client_secret.clone(),
        },
        // The environment names everything.
        Some(AzureAuthentication::WorkloadIdentity) => {
            Way::Workload { tenant: String::new(), client: String::new(), token_file: String::new() }
        }
        Some(AzureAuthentication::ManagedIdentity) => Way::Machine { client: config.client_id.clone() },
        Some(AzureAuthentication::Sdk) => Way::Environment { tenant: config.tenant_id.clone() },
    }
}

pub(crate) struct Azure {
    config: AzureSdConfig,
    /// Set up by the first look that finds what it needs: a certificate may
    /// come later than the configuration that names it.
    asked: Option<Arc<Manager>>,
    /// Network cards by id, and until when they are good.
    cards: HashMap<String, (Card, i64)>,
    context: Context,
}

/// The cloud's API, asked with tokens.
struct Manager {
    client: Client,
    tokens: Tokens,
    base: String,
}

impl Manager {
    fn new(config: &AzureSdConfig, context: &Context) -> Result<Manager, DiscoveryError> {
        let cloud = cloud(&config.environment)?;
        // Tokens are fetched without the block's settings, as upstream does.
        let scope = format!("{}/.default", cloud.audience);
        let tokens = Tokens::new(way_of(config), cloud.login, &scope, &context.client_options())?;
        let client = Client::new(&config.http_client, context, interval_of(config.refresh_interval))?;
        Ok(Manager { client, tokens, base: cloud.manager.to_owned() })
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, DiscoveryError> {
        // The first that a token is asked for is the list of machines.
        let token = self.tokens.token().await;
        let token = token
            .map_err(|error| DiscoveryError::Request(format!("could not list virtual machines: {error}")))?;
        let authorization = format!("Bearer {}", token.expose());
        let headers = [(ACCEPT.as_str(), "application/json"), ("Authorization", &*authorization)];
        let is_temporary =
            |answer: &Answer| matches!(answer.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
        let answer = PATIENCE.ask(|| self.client.get(url, &headers), is_temporary).await?;
        answer.success(url)?.json()
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, DiscoveryError> {
        let mut url = with_query(&format!("{}{path}", self.base), [("api-version", COMPUTE)]);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.get(&url).await?;
            items.extend(page.value);
            if page.next_link.is_empty() {
                break;
            }
            // The token goes to the cloud's own server only.
            if !page.next_link.starts_with(&self.base) {
                return Err(DiscoveryError::Malformed(format!(
                    "the next page is elsewhere: {}",
                    page.next_link
                )));
            }
            url = page.next_link;
        }
        Ok(items)
    }
}

/// Network cards by id; `None` for those that do not exist.
type Cards = HashMap<String, Option<Card>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default, deserialize_with = "null_as_empty")]
    value: Vec<T>,
    #[serde(default, deserialize_with = "null_as_empty")]
    next_link: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Machine {
    id: String,
    name: String,
    location: String,
    /// Of machines of scale sets.
    instance_id: String,
    #[serde(deserialize_with = "null_as_empty")]
    tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    properties: Properties,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Properties {
    #[serde(deserialize_with = "null_as_empty")]
    storage_profile: StorageProfile,
    #[serde(deserialize_with = "null_as_empty")]
    network_profile: NetworkProfile,
    #[serde(deserialize_with = "null_as_empty")]
    os_profile: OsProfile,
    #[serde(deserialize_with = "null_as_empty")]
    hardware_profile: HardwareProfile,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StorageProfile {
    #[serde(deserialize_with = "null_as_empty")]
    os_disk: OsDisk,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OsDisk {
    #[serde(deserialize_with = "null_as_empty")]
    os_type: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NetworkProfile {
    #[serde(deserialize_with = "null_as_empty")]
    network_interfaces: Vec<Id>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Id {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OsProfile {
    #[serde(deserialize_with = "null_as_empty")]
    computer_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HardwareProfile {
    #[serde(deserialize_with = "null_as_empty")]
    vm_size: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ScaleSet {
    id: String,
    name: String,
}

/// A network card.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Card {
    properties: Option<CardProperties>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CardProperties {
    primary: Option<bool>,
    #[serde(deserialize_with = "null_as_empty")]
    ip_configurations: Vec<IpConfiguration>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct IpConfiguration {
    #[serde(deserialize_with = "null_as_empty")]
    properties: IpProperties,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct IpProperties {
    #[serde(rename = "privateIPAddress")]
    private: Option<String>,
    #[serde(rename = "publicIPAddress", deserialize_with = "null_as_empty")]
    public: PublicIp,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct PublicIp {
    #[serde(deserialize_with = "null_as_empty")]
    properties: PublicIpProperties,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct PublicIpProperties {
    #[serde(rename = "ipAddress", deserialize_with = "null_as_empty")]
    address: String,
}

/// The part of an id behind a name, as `…/resourceGroups/rg/…`.
fn part_of<'a>(id: &'a str, name: &str) -> &'a str {
    let mut parts = id.split('/');
    parts.find(|part| part.eq_ignore_ascii_case(name));
    parts.next().unwrap_or_default()
}

impl Refresh for Azure {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let outcome = self.look_around().await;
        if outcome.is_err() {
            self.context.metrics.azure_failures.inc();
        }
        outcome
    }
}

impl Azure {
    async fn look_around(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let told = |what: &str, error: DiscoveryError| DiscoveryError::Request(format!("{what}: {error}"));
        let asked = match &self.asked {
            Some(asked) => asked.clone(),
            None => {
                let made = Manager::new(&self.config, &self.context);
                Arc::new(made.map_err(|error| told("could not create Azure client", error))?)
            }
        };
        self.asked = Some(asked.clone());
        let mut machines: Vec<(Machine, String)> = Vec::new();
        let path = self.compute("virtualMachines");
        let own: Vec<Machine> =
            asked.list(&path).await.map_err(|error| told("could not get virtual machines", error))?;
        machines.extend(own.into_iter().map(|machine| (machine, String::new())));
        let path = self.compute("virtualMachineScaleSets");
        let sets: Vec<ScaleSet> = asked
            .list(&path)
            .await
            .map_err(|error| told("could not get virtual machine scale sets", error))?;
        for set in sets {
            let path = format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}/virtualMachines",
                self.config.subscription_id,
                part_of(&set.id, "resourceGroups"),
                set.name
            );
            let of_set: Vec<Machine> = asked
                .list(&path)
                .await
                .map_err(|error| told("could not get virtual machine scale set vms", error))?;
            machines.extend(of_set.into_iter().map(|machine| (machine, set.name.clone())));
        }
        let incomplete = |error| told("unable to complete Azure service discovery", error);
        let cards = self.cards(&asked, &machines).await.map_err(incomplete)?;
        let mut targets = Vec::new();
        for (machine, set) in &machines {
            targets.extend(self.target(machine, set, &cards).map_err(incomplete)?);
        }
        Ok(single_group("", targets))
    }

    fn compute(&self, what: &str) -> String {
        let group = match self.config.resource_group.as_str() {
            "" => String::new(),
            group => format!("/resourceGroups/{group}"),
        };
        format!("/subscriptions/{}{group}/providers/Microsoft.Compute/{what}", self.config.subscription_id)
    }

    /// The target of a machine, `None` where it is not running.
    fn target(&self, machine: &Machine, set: &str, cards: &Cards) -> Result<Option<Labels>, DiscoveryError> {
        let mut labels = self.labels(machine, set);
        for card in &machine.properties.network_profile.network_interfaces {
            let Some(Some(card)) = cards.get(&card.id) else { return Ok(None) };
            let Some(properties) = &card.properties else { continue };
            match properties.primary {
                // Cards of machines that are switched off do not say.
                None => return Ok(None),
                Some(false) => continue,
                Some(true) => {}
            }
            let Some(first) = properties.ip_configurations.first() else { continue };
            let Some(private) = &first.properties.private else {
                let what = format!("unable to find a private IP for VM {}", machine.name);
                return Err(DiscoveryError::Malformed(what));
            };
            labels
                .address(private, self.config.port)
                .set("machine_private_ip", private)
                .set("machine_public_ip", &first.properties.public.properties.address);
            return Ok(Some(labels.finish()));
        }
        Ok(None)
    }

    fn labels(&self, machine: &Machine, set: &str) -> MetaLabels {
        let properties = &machine.properties;
        let mut labels = MetaLabels::new("__meta_azure_");
        labels
            .set("subscription_id", &self.config.subscription_id)
            .set("tenant_id", &self.config.tenant_id)
            .set("machine_id", &machine.id)
            .set("machine_name", &machine.name)
            .set("machine_computer_name", &properties.os_profile.computer_name)
            .set("machine_os_type", &properties.storage_profile.os_disk.os_type)
            .set("machine_location", &machine.location)
            .set("machine_resource_group", part_of(&machine.id, "resourceGroups"))
            .set("machine_size", &properties.hardware_profile.vm_size)
            .set("machine_scale_set", set)
            .set_texts("machine_tag_", &machine.tags);
        labels
    }

    /// The network cards of all machines: those that are kept, and the others
    /// asked for, many at a time.
    async fn cards(
        &mut self,
        asked: &Arc<Manager>,
        machines: &[(Machine, String)],
    ) -> Result<Cards, DiscoveryError> {
        let now = self.context.clock.now_ms();
        let mut cards = Cards::new();
        let mut requests = JoinSet::new();
        let turns = Arc::new(Semaphore::new(CARD_REQUESTS_MAX));
        for (machine, set) in machines {
            for Id { id } in &machine.properties.network_profile.network_interfaces {
                if let Some((card, until)) = self.cards.get(id)
                    && now < *until
                {
                    self.context.metrics.azure_cache_hits.inc();
                    cards.insert(id.clone(), Some(card.clone()));
                } else if !cards.contains_key(id) {
                    cards.insert(id.clone(), None);
                    let path = self.card_path(id, set, &machine.instance_id);
                    let (url, id) = (format!("{}{path}", asked.base), id.clone());
                    let (manager, turns) = (asked.clone(), turns.clone());
                    requests.spawn(async move {
                        let _turn = turns.acquire().await;
                        (id, manager.get::<Card>(&url).await)
                    });
                }
            }
        }
        let life_ms = self.config.refresh_interval.0.saturating_mul(CARD_LOOKS);
        while let Some(answered) = requests.join_next().await {
            let Ok((id, card)) = answered else { continue };
            match card {
                Ok(card) => {
                    if self.cards.len() >= CARDS_MAX {
                        self.cards.retain(|_, (_, until)| now < *until);
                    }
                    if self.cards.len() < CARDS_MAX {
                        self.cards.insert(id.clone(), (card.clone(), now.saturating_add(life_ms)));
                    }
                    cards.insert(id, Some(card));
                }
                Err(DiscoveryError::Status { status: http::StatusCode::NOT_FOUND, .. }) => {
                    tracing::warn!(
                        component = self.context.component(),
                        discovery = "azure",
                        config = self.context.set,
                        name = id,
                        err = "network interface does not exist",
                        "Network interface does not exist"
                    );
                }
                Err(error) => {
                    let what = format!("failed to retrieve Interface {id} with error: {error}");
                    return Err(DiscoveryError::Request(what));
                }
            }
        }
        Ok(cards)
    }

    fn card_path(&self, id: &str, set: &str, instance: &str) -> String {
        let (path, version) = match set {
            "" => (id.to_owned(), NETWORK),
            set => (
                format!(
                    "/subscriptions/{}/resourceGroups/{}/providers/microsoft.Compute/virtualMachineScaleSets/{set}\
                     /virtualMachines/{instance}/networkInterfaces/{}",
                    self.config.subscription_id,
                    part_of(id, "resourceGroups"),
                    part_of(id, "networkInterfaces")
                ),
                SCALE_SET_NETWORK,
            ),
        };
        let pairs = [("api-version", version), ("$expand", "IPConfigurations/PublicIPAddress")];
        with_query(&path, pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, Seen, TestServer, context_with};
    use config::decode::Chosen;
    use std::sync::atomic::{AtomicBool, Ordering};

    const GROUP: &str = "/subscriptions/sub/resourceGroups/rg";

    fn answer(request: &Seen) -> Reply {
        if request.path() == "/metadata/identity/oauth2/token" {
            assert_eq!(request.header("metadata"), "true");
            assert_eq!(request.parameter("client_id"), "cid");
            assert_eq!(request.parameter("resource"), "https://management.core.windows.net/");
            return Reply::json(r#"{"access_token": "abc", "expires_in": "3600"}"#);
        }
        if request.header("authorization") != "Bearer abc" {
            return Reply::status(401);
        }
        let machine = |name: &str| {
            serde_json::json!({
                "id": format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"), "name": name,
                "location": "westeurope", "instanceId": "0", "tags": {"my tag": "v"},
                "properties": {
                    "storageProfile": {"osDisk": {"osType": "Linux"}}, "hardwareProfile": {"vmSize": "Standard_B1s"},
                    "osProfile": {"computerName": "host"},
                    "networkProfile": {"networkInterfaces": [
                        {"id": format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/nic-{name}")}]},
                },
            })
        };
        let body = match request.path() {
            "/subscriptions/sub/providers/Microsoft.Compute/virtualMachines" => {
                serde_json::json!({"value": [machine("vm1"), machine("off")]})
            }
            "/subscriptions/sub/providers/Microsoft.Compute/virtualMachineScaleSets" => {
                let id = format!("{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/set");
                serde_json::json!({"value": [{"id": id, "name": "set"}]})
            }
            path if path.ends_with("/virtualMachineScaleSets/set/virtualMachines") => {
                serde_json::json!({"value": [machine("set_0")]})
            }
            path if path.ends_with("/networkInterfaces/nic-off") => serde_json::json!({"properties": {}}),
            path if path.contains("/networkInterfaces/nic-") => {
                let public = serde_json::json!({"properties": {"ipAddress": "1.2.3.4"}});
                let properties =
                    serde_json::json!({"privateIPAddress": "10.0.0.4", "publicIPAddress": public});
                serde_json::json!({"properties": {"primary": true, "ipConfigurations": [{"properties": properties}]}})
            }
            _ => return Reply::status(404),
        };
        Reply::json(body.to_string())
    }

    #[tokio::test]
    async fn machines_of_scale_sets_are_targets_too_and_cards_are_kept() {
        // The cloud is busy once.
        let is_first = AtomicBool::new(true);
        let server = TestServer::start(move |request| {
            let is_list = request.path().ends_with("/Microsoft.Compute/virtualMachines");
            match is_list && is_first.swap(false, Ordering::Relaxed) {
                true => Reply::status(429).header("Retry-After", "0"),
                false => answer(request),
            }
        })
        .await;
        let context = context_with(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &server.url(""))]);
        let config = AzureSdConfig {
            subscription_id: "sub".to_owned(),
            client_id: "cid".to_owned(),
            authentication_method: Chosen::some(AzureAuthentication::ManagedIdentity),
            ..AzureSdConfig::default()
        };
        let mut look = config.look(&context).unwrap();
        let manager = Manager::new(&config, &context).unwrap();
        look.asked = Some(Arc::new(Manager { base: server.url(""), ..manager }));
        let groups = look.refresh().await.unwrap();
        assert_eq!(groups[0].targets.len(), 2, "one is switched off");
        for (name, value) in [
            ("__address__", "10.0.0.4:80"),
            ("__meta_azure_machine_public_ip", "1.2.3.4"),
            ("__meta_azure_machine_resource_group", "rg"),
            ("__meta_azure_machine_tag_my_tag", "v"),
            ("__meta_azure_machine_size", "Standard_B1s"),
        ] {
            assert_eq!(groups[0].targets[0].get(name), Some(value), "{name}");
        }
        assert_eq!(groups[0].targets[1].get("__meta_azure_machine_scale_set"), Some("set"));
        let before = server.requests().len();
        look.refresh().await.unwrap();
        assert_eq!(server.requests().len(), before + 3, "three lists");
        assert_eq!(context.metrics.azure_cache_hits.get(), 3.0);
    }

    #[tokio::test]
    async fn what_is_missing_at_first_may_come_later() {
        let looked = async |method: AzureAuthentication, variables: &[(&str, &str)]| {
            let context = context_with(variables);
            let config =
                AzureSdConfig { authentication_method: Chosen::some(method), ..AzureSdConfig::default() };
            let mut look = config.look(&context).unwrap();
            let fault = look.refresh().await.unwrap_err().to_string();
            assert_eq!(context.metrics.azure_failures.get(), 1.0);
            (fault, look.asked.is_some())
        };
        let (fault, is_set_up) = looked(AzureAuthentication::WorkloadIdentity, &[]).await;
        assert!(fault.starts_with("could not create Azure client: no value for AZURE_CLIENT_ID"), "{fault}");
        assert!(!is_set_up);
        // Its own sources look again each time.
        let only = [("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")];
        let (fault, is_set_up) = looked(AzureAuthentication::Sdk, &only).await;
        assert!(fault.contains("EnvironmentCredential: missing environment variable"), "{fault}");
        assert!(is_set_up);
    }

    #[test]
    fn clouds_have_names() {
        assert_eq!(cloud("azurechinacloud").unwrap().manager, "https://management.chinacloudapi.cn");
        assert_eq!(cloud("AzureGermanCloud").unwrap().manager, "https://management.azure.com");
        assert!(cloud("AzureMoonCloud").is_err());
    }
}
