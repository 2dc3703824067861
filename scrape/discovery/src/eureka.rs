//! `eureka_sd_configs`: instances of a Eureka registry.

use config::discovery::EurekaSdConfig;
use net::xml::Element;

use crate::client::Client;
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group};
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

impl Periodic for EurekaSdConfig {
    const NAME: &'static str = "eureka";
    type Look = Eureka;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Eureka, DiscoveryError> {
        let client = Client::new(&self.http_client, context, interval_of(self.refresh_interval))?;
        Ok(Eureka { url: format!("{}/apps", self.server), client })
    }
}

pub(crate) struct Eureka {
    url: String,
    client: Client,
}

impl Refresh for Eureka {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let answer = self.client.get(&self.url, &[]).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            let what = format!("non 2xx status '{status}' response during eureka service discovery");
            return Err(DiscoveryError::Request(what));
        }
        let document = &answer.body[..];
        let root = Element::parse(document)?;
        let mut targets = Vec::new();
        for application in root.children("application") {
            for instance in application.children("instance") {
                targets.push(target(application.text_of("name"), instance, document)?);
            }
        }
        Ok(single_group("eureka", targets))
    }
}

/// A number as the registry writes it, `0` where there is none.
fn number(text: &str) -> Result<i64, DiscoveryError> {
    match text.trim() {
        "" if text.is_empty() => Ok(0),
        digits => digits.parse().map_err(|_| {
            DiscoveryError::Malformed(format!("parsing {}: invalid syntax", model::labels::go_quote(digits)))
        }),
    }
}

/// A flag as the registry writes it, false where there is none.
fn flag(text: &str) -> Result<bool, DiscoveryError> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "" if text.is_empty() => Ok(false),
        other => {
            let what = format!("parsing {}: invalid syntax", model::labels::go_quote(other));
            Err(DiscoveryError::Malformed(what))
        }
    }
}

fn target(application: &str, instance: &Element, document: &[u8]) -> Result<model::Labels, DiscoveryError> {
    let text = |name: &str| instance.text_of(name);
    let id = text("instanceId");
    let port = instance.child("port");
    let mut labels = MetaLabels::new("__meta_eureka_");
    labels
        .address(text("hostName"), port.map_or(Ok(80), |port| number(&port.text))?)
        .set_plain("instance", id)
        .set("app_name", application)
        .set("app_instance_id", id);
    for (name, field) in [
        ("hostname", "hostName"),
        ("homepage_url", "homePageUrl"),
        ("statuspage_url", "statusPageUrl"),
        ("healthcheck_url", "healthCheckUrl"),
        ("ip_addr", "ipAddr"),
        ("vip_address", "vipAddress"),
        ("secure_vip_address", "secureVipAddress"),
        ("status", "status"),
    ] {
        labels.set(&format!("app_instance_{name}"), text(field));
    }
    labels.set_shown("app_instance_country_id", number(text("countryId"))?);
    for (name, port) in [("port", port), ("secure_port", instance.child("securePort"))] {
        if let Some(port) = port {
            labels.set_shown(&format!("app_instance_{name}"), number(&port.text)?);
            labels.set_shown(&format!("app_instance_{name}_enabled"), flag(port.attribute("enabled"))?);
        }
    }
    if let Some(info) = instance.child("dataCenterInfo") {
        labels.set("app_instance_datacenterinfo_name", info.text_of("name"));
        labels.set_texts("app_instance_datacenterinfo_metadata_", metadata(info, document));
    }
    labels.set_texts("app_instance_metadata_", metadata(instance, document));
    Ok(labels.finish())
}

fn metadata<'a>(element: &'a Element, document: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let items = element.child("metadata").into_iter().flat_map(|metadata| &metadata.children);
    // Upstream takes what stands there as it is written, elements and comments included.
    items.map(|item| (item.name.as_str(), item.written(document)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context};

    const APPS: &str = r#"<?xml version="1.0"?><applications><versions__delta>1</versions__delta>
      <application><name>WEB</name><instance>
        <instanceId>web:1</instanceId><hostName>web.example</hostName><ipAddr>10.1.1.1</ipAddr><status>UP</status>
        <port enabled="true">8080</port><securePort enabled="false">443</securePort><countryId>1</countryId>
        <homePageUrl>http://web.example/?a=1&amp;b=2</homePageUrl>
        <dataCenterInfo class="x"><name>MyOwn</name><metadata><zone>z1</zone></metadata></dataCenterInfo>
        <metadata><management.port>8090</management.port><q>a&lt;b<!-- c --></q>
          <jmx><port>1</port><x/></jmx></metadata>
      </instance><instance><hostName>2001:db8::9</hostName><securePort>8443</securePort></instance></application></applications>"#;

    #[tokio::test]
    async fn instances_are_read_from_xml() {
        let server = TestServer::start(|request| match request.path() {
            "/eureka/v2/apps" => Reply::json(APPS),
            _ => Reply::status(503),
        })
        .await;
        let config = EurekaSdConfig { server: server.url("/eureka/v2"), ..EurekaSdConfig::default() };
        let groups = config.look(&context()).unwrap().refresh().await.unwrap();
        let target = &groups[0].targets[0];
        for (name, value) in [
            ("__address__", "web.example:8080"),
            ("instance", "web:1"),
            ("__meta_eureka_app_name", "WEB"),
            ("__meta_eureka_app_instance_port_enabled", "true"),
            ("__meta_eureka_app_instance_secure_port", "443"),
            ("__meta_eureka_app_instance_secure_port_enabled", "false"),
            ("__meta_eureka_app_instance_country_id", "1"),
            ("__meta_eureka_app_instance_homepage_url", "http://web.example/?a=1&b=2"),
            ("__meta_eureka_app_instance_datacenterinfo_name", "MyOwn"),
            ("__meta_eureka_app_instance_datacenterinfo_metadata_zone", "z1"),
            ("__meta_eureka_app_instance_metadata_management_port", "8090"),
            ("__meta_eureka_app_instance_metadata_q", "a&lt;b<!-- c -->"),
            ("__meta_eureka_app_instance_metadata_jmx", "<port>1</port><x/>"),
        ] {
            assert_eq!(target.get(name), Some(value), "{name}");
        }
        let second = &groups[0].targets[1];
        assert_eq!(second.get("__address__"), Some("[2001:db8::9]:80"));
        assert_eq!(second.get("__meta_eureka_app_instance_secure_port_enabled"), Some("false"));
        assert_eq!(second.get("__meta_eureka_app_instance_country_id"), Some("0"));
        let config = EurekaSdConfig { server: server.url("/other"), ..config };
        let error = config.look(&context()).unwrap().refresh().await.unwrap_err();
        assert_eq!(error.to_string(), "non 2xx status '503' response during eureka service discovery");
    }
}
