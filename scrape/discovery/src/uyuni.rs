//! `uyuni_sd_configs`: exporters on systems that Uyuni manages, by XML-RPC.
//!
//! ```text
//! login ─▶ systems with the entitlement ─▶ their endpoints, their names ─▶ targets
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use config::Secret;
use config::discovery::UyuniSdConfig;
use http::Method;
use model::Labels;
use net::xml::Element;

use crate::client::Client;
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

const PATH: &str = "/rpc/api";
/// How long a session lasts; half of it passes before the next login.
const SESSION_S: u64 = 600;
/// An answer takes no longer, whatever the interval.
const TIMEOUT_MIN: Duration = Duration::from_secs(60);

impl Periodic for UyuniSdConfig {
    const NAME: &'static str = "uyuni";
    type Look = Uyuni;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Uyuni, DiscoveryError> {
        let timeout = interval_of(self.refresh_interval).max(TIMEOUT_MIN);
        Ok(Uyuni {
            url: format!("{}{PATH}", self.server.trim_end_matches('/')),
            client: Client::new(&self.http_client, context, timeout)?,
            config: self.clone(),
            session: None,
            context: context.clone(),
        })
    }
}

pub(crate) struct Uyuni {
    url: String,
    client: Client,
    config: UyuniSdConfig,
    /// Its key, and on the monotonic clock when it is renewed.
    session: Option<(Secret, Duration)>,
    context: Context,
}

/// A parameter of a call.
enum Value<'a> {
    Text(&'a str),
    Int(u64),
    Ids(&'a [String]),
}

impl Refresh for Uyuni {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let key = self.session().await?;
        let targets = self.targets(key.expose()).await;
        if targets.is_err() {
            self.session = None;
        }
        Ok(single_group(self.url.as_str(), targets?))
    }
}

fn told(what: &str) -> impl Fn(DiscoveryError) -> DiscoveryError {
    let what = what.to_owned();
    move |error| DiscoveryError::Request(format!("{what}: {error}"))
}

impl Uyuni {
    async fn session(&mut self) -> Result<Secret, DiscoveryError> {
        let now = self.context.clock.monotonic();
        if let Some((key, until)) = &self.session
            && now < *until
        {
            return Ok(key.clone());
        }
        let config = &self.config;
        let parameters =
            [Value::Text(&config.username), Value::Text(config.password.expose()), Value::Int(SESSION_S)];
        let answer = self.call("auth.login", &parameters).await;
        let answer = answer.map_err(told("unable to login to Uyuni API"))?;
        let key = Secret::new(scalar(&answer));
        self.session = Some((key.clone(), now + Duration::from_secs(SESSION_S / 2)));
        Ok(key)
    }

    async fn targets(&self, key: &str) -> Result<Vec<Labels>, DiscoveryError> {
        let entitlement = [Value::Text(key), Value::Text(&self.config.entitlement)];
        let systems = self.call("system.listSystemGroupsForSystemsWithEntitlement", &entitlement).await;
        let systems = systems
            .map_err(told("unable to get the managed system groups information of monitored clients"))?;
        let groups: BTreeMap<String, String> = items(&systems)
            .map(|system| {
                let names: Vec<&str> = member(system, "system_groups")
                    .into_iter()
                    .flat_map(items)
                    .map(|group| member(group, "name").map_or("", scalar))
                    .collect();
                (text(system, "id").to_owned(), names.join(&self.config.separator))
            })
            .collect();
        let ids: Vec<String> = groups.keys().cloned().collect();
        let of_systems = [Value::Text(key), Value::Ids(&ids)];
        let endpoints = self.call("system.monitoring.listEndpoints", &of_systems).await;
        let endpoints = endpoints.map_err(told("unable to get endpoints information"))?;
        let networks = self.call("system.getNetworkForSystems", &of_systems).await;
        let networks = networks.map_err(told("unable to get the systems network information"))?;
        let networks: BTreeMap<&str, &Element> =
            items(&networks).map(|network| (text(network, "system_id"), network)).collect();
        let target = |endpoint: &Element| {
            let id = text(endpoint, "system_id");
            let of_network = |name| networks.get(id).map_or("", |network| text(network, name));
            let is_tls = matches!(text(endpoint, "tls_enabled"), "1" | "true");
            let mut labels = MetaLabels::new("__meta_uyuni_");
            labels
                .set_plain(
                    crate::ADDRESS_LABEL,
                    &format!("{}:{}", of_network("hostname"), text(endpoint, "port")),
                )
                .set("minion_hostname", of_network("hostname"))
                .set("primary_fqdn", of_network("primary_fqdn"))
                .set("system_id", id)
                .set("groups", groups.get(id).map_or("", String::as_str))
                .set("endpoint_name", text(endpoint, "endpoint_name"))
                .set("exporter", text(endpoint, "exporter_name"))
                .set("proxy_module", text(endpoint, "module"))
                .set("metrics_path", text(endpoint, "path"))
                .set("scheme", if is_tls { "https" } else { "http" });
            labels.finish()
        };
        Ok(items(&endpoints).map(target).collect())
    }

    /// Calls a method; yields the `value` that it answers with.
    async fn call(&self, method: &str, parameters: &[Value<'_>]) -> Result<Element, DiscoveryError> {
        let mut body =
            format!("<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>");
        for parameter in parameters {
            body.push_str("<param>");
            write(&mut body, parameter);
            body.push_str("</param>");
        }
        body.push_str("</params></methodCall>");
        let headers = [("Content-Type", "text/xml")];
        let answer = self.client.request(Method::POST, &self.url, &headers, body).await?.success(method)?;
        let document = Element::parse(&answer.body)?;
        if let Some(fault) = document.at(&["fault", "value"]) {
            let (code, message) = (text(fault, "faultCode"), text(fault, "faultString"));
            return Err(DiscoveryError::Request(format!("error: {message:?} code: {code}")));
        }
        let value = document.children.into_iter().find(|child| child.name == "params");
        let value = value.and_then(|params| params.children.into_iter().next());
        let value = value.and_then(|param| param.children.into_iter().find(|child| child.name == "value"));
        value.ok_or_else(|| DiscoveryError::Malformed(format!("{method} answers without a value")))
    }
}

fn write(body: &mut String, value: &Value<'_>) {
    match value {
        Value::Text(text) => {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            body.push_str(&format!("<value><string>{escaped}</string></value>"));
        }
        Value::Int(number) => body.push_str(&format!("<value><int>{number}</int></value>")),
        Value::Ids(ids) => {
            body.push_str("<value><array><data>");
            ids.iter().for_each(|id| body.push_str(&format!("<value><int>{id}</int></value>")));
            body.push_str("</data></array></value>");
        }
    }
}

/// The text of a `value`, whatever its type.
fn scalar(value: &Element) -> &str {
    value.children.first().map_or(&value.text, |typed| &typed.text).trim()
}

/// The values of a `value` that is a list.
fn items(value: &Element) -> impl Iterator<Item = &Element> {
    value.at(&["array", "data"]).into_iter().flat_map(|data| data.children("value"))
}

/// The value of a member of a `value` that is a structure.
fn member<'a>(value: &'a Element, name: &str) -> Option<&'a Element> {
    let members = value.child("struct").into_iter().flat_map(|members| members.children("member"));
    members.filter(|member| member.text_of("name").trim() == name).find_map(|member| member.child("value"))
}

fn text<'a>(value: &'a Element, name: &str) -> &'a str {
    member(value, name).map_or("", scalar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};

    fn structure(members: &[(&str, &str)]) -> String {
        let members: String = members
            .iter()
            .map(|(name, value)| format!("<member><name>{name}</name><value>{value}</value></member>"))
            .collect();
        format!("<struct>{members}</struct>")
    }

    fn list(values: &[String]) -> String {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        format!("<array><data>{values}</data></array>")
    }

    fn answer(method: &str) -> String {
        match method {
            "auth.login" => "<string>k3y</string>".to_owned(),
            "system.listSystemGroupsForSystemsWithEntitlement" => {
                let group = |name: &str| structure(&[("id", "<int>1</int>"), ("name", name)]);
                list(&[structure(&[
                    ("id", "<int>42</int>"),
                    ("system_groups", &list(&[group("<string>a</string>"), group("b")])),
                ])])
            }
            "system.monitoring.listEndpoints" => list(&[structure(&[
                ("system_id", "<int>42</int>"),
                ("endpoint_name", "<string>node</string>"),
                ("port", "<int>9100</int>"),
                ("path", "<string>/metrics</string>"),
                ("module", "<string></string>"),
                ("exporter_name", "<string>node_exporter</string>"),
                ("tls_enabled", "<boolean>1</boolean>"),
            ])]),
            _ => list(&[structure(&[
                ("system_id", "<int>42</int>"),
                ("hostname", "<string>minion</string>"),
                ("primary_fqdn", "<string>minion.example</string>"),
            ])]),
        }
    }

    fn config(server: &TestServer) -> UyuniSdConfig {
        UyuniSdConfig {
            server: server.url(""),
            username: "u".to_owned(),
            password: Secret::new("p&<w"),
            ..UyuniSdConfig::default()
        }
    }

    #[tokio::test]
    async fn endpoints_of_entitled_systems_are_targets() {
        let server = TestServer::start(|request| {
            let method = request.body.split("<methodName>").nth(1).unwrap().split('<').next().unwrap();
            assert_eq!(request.path(), "/rpc/api");
            assert!(request.body.contains("k3y") || request.body.contains("<string>p&amp;&lt;w</string>"));
            let value = answer(method);
            Reply::json(format!(
                "<?xml version=\"1.0\"?><methodResponse><params><param><value>{value}</value></param></params>\
                 </methodResponse>"
            ))
        })
        .await;
        let mut look = config(&server).look(&context()).unwrap();
        let groups = look.refresh().await.unwrap();
        assert_eq!(groups[0].source, server.url("/rpc/api"));
        assert_eq!(
            groups[0].targets[0].to_string(),
            "{__address__=\"minion:9100\", __meta_uyuni_endpoint_name=\"node\", \
             __meta_uyuni_exporter=\"node_exporter\", __meta_uyuni_groups=\"a,b\", \
             __meta_uyuni_metrics_path=\"/metrics\", __meta_uyuni_minion_hostname=\"minion\", \
             __meta_uyuni_primary_fqdn=\"minion.example\", __meta_uyuni_scheme=\"https\", \
             __meta_uyuni_system_id=\"42\"}"
        );
        look.refresh().await.unwrap();
        let logins = server.requests().iter().filter(|request| request.body.contains("auth.login")).count();
        assert_eq!(logins, 1, "the session is kept");
    }

    #[tokio::test]
    async fn a_refused_login_is_told_without_the_password() {
        let server = TestServer::start(|_| {
            let fault =
                structure(&[("faultCode", "<int>2950</int>"), ("faultString", "<string>no</string>")]);
            Reply::json(format!("<methodResponse><fault><value>{fault}</value></fault></methodResponse>"))
        })
        .await;
        let error = config(&server).look(&context()).unwrap().refresh().await.unwrap_err().to_string();
        assert_eq!(error, "unable to login to Uyuni API: error: \"no\" code: 2950");
    }
}
