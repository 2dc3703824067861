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
        let root = Element::parse(&answer.body)?;
        let applications = root.children("application");
        let targets = applications.flat_map(|application| {
            application.children("instance").map(|instance| target(application.text_of("name"), instance))
        });
        Ok(single_group("eureka", targets.collect()))
    }
}

fn target(application: &str, instance: &Element) -> model::Labels {
    let text = |name: &str| instance.text_of(name).trim();
    let id = text("instanceId");
    let port = instance.child("port");
    let mut labels = MetaLabels::new("__meta_eureka_");
    labels
        .address(text("hostName"), port.map_or("80", |port| port.text.trim()))
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
    labels.set("app_instance_country_id", if text("countryId").is_empty() { "0" } else { text("countryId") });
    for (name, port) in [("port", port), ("secure_port", instance.child("securePort"))] {
        if let Some(port) = port {
            let is_enabled = port.attribute("enabled") == "true";
            labels.set(&format!("app_instance_{name}"), port.text.trim());
            labels.set_shown(&format!("app_instance_{name}_enabled"), is_enabled);
        }
    }
    if let Some(info) = instance.child("dataCenterInfo") {
        labels.set("app_instance_datacenterinfo_name", info.text_of("name"));
        labels.set_texts("app_instance_datacenterinfo_metadata_", metadata(info));
    }
    labels.set_texts("app_instance_metadata_", metadata(instance));
    labels.finish()
}

fn metadata(element: &Element) -> impl Iterator<Item = (&str, &str)> {
    let items = element.child("metadata").into_iter().flat_map(|metadata| &metadata.children);
    // Upstream takes what stands there as it is written.
    items.map(|item| (item.name.as_str(), item.raw.as_str()))
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
        <metadata><management.port>8090</management.port><q>a&lt;b</q></metadata>
      </instance></application></applications>"#;

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
            ("__meta_eureka_app_instance_metadata_q", "a&lt;b"),
        ] {
            assert_eq!(target.get(name), Some(value), "{name}");
        }
        let config = EurekaSdConfig { server: server.url("/other"), ..config };
        let error = config.look(&context()).unwrap().refresh().await.unwrap_err();
        assert_eq!(error.to_string(), "non 2xx status '503' response during eureka service discovery");
    }
}
