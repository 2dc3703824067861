//! `ec2_sd_configs`: instances of EC2.

use std::collections::BTreeMap;

use config::discovery::aws::AwsFilter;
use model::Labels;
use net::xml::Element;

use super::Service;
use crate::group::TargetGroup;
use crate::labels::{MetaLabels, single_group, surrounded};
use crate::mechanism::DiscoveryError;
use crate::refresh::Refresh;

/// The version of the API.
const VERSION: &str = "2016-11-15";
/// Network cards of an instance, at most: more is no sensible answer.
const CARDS_MAX: usize = 256;

/// Instances of a region.
pub(crate) struct Ec2 {
    service: Service,
    filters: Vec<AwsFilter>,
    port: i64,
    /// The id of each availability zone, once they were asked for.
    zone_ids: Option<BTreeMap<String, String>>,
}

impl Ec2 {
    pub(super) fn new(service: Service, filters: &[Option<AwsFilter>], port: i64) -> Ec2 {
        Ec2 { service, filters: filters.iter().flatten().cloned().collect(), port, zone_ids: None }
    }
}

fn action(name: &str) -> Vec<(String, String)> {
    vec![("Action".to_owned(), name.to_owned()), ("Version".to_owned(), VERSION.to_owned())]
}

impl Refresh for Ec2 {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let region = self.service.region().await?;
        if self.zone_ids.is_none() {
            // Not everybody may ask for zones: their ids are left out then.
            match self.service.query(&action("DescribeAvailabilityZones")).await {
                Ok(answer) => self.zone_ids = Some(zone_ids(&answer)),
                Err(error) => tracing::debug!(err = %error, "Unable to describe availability zones"),
            }
        }
        let mut targets = Vec::new();
        let mut next = String::new();
        loop {
            let mut form = action("DescribeInstances");
            for (f, filter) in (1..).zip(&self.filters) {
                form.push((format!("Filter.{f}.Name"), filter.name.clone()));
                let values = (1..).zip(&filter.values);
                form.extend(values.map(|(v, value)| (format!("Filter.{f}.Value.{v}"), value.clone())));
            }
            if !next.is_empty() {
                form.push(("NextToken".to_owned(), next));
            }
            let answer = self.service.query(&form).await;
            let answer = answer
                .map_err(|error| DiscoveryError::Request(format!("could not describe instances: {error}")))?;
            for reservation in answer.items("reservationSet") {
                let owner = reservation.text_of("ownerId");
                let instances = reservation.items("instancesSet");
                targets.extend(instances.filter_map(|instance| self.target(instance, owner, &region)));
            }
            next = answer.text_of("nextToken").to_owned();
            if next.is_empty() {
                return Ok(single_group(region, targets));
            }
        }
    }
}

fn zone_ids(answer: &Element) -> BTreeMap<String, String> {
    let zones = answer.items("availabilityZoneInfo");
    zones.map(|zone| (zone.text_of("zoneName").to_owned(), zone.text_of("zoneId").to_owned())).collect()
}

/// Addresses of version 6: those marked as primary by their card, and all.
fn ipv6_addresses(instance: &Element) -> (Vec<String>, Vec<String>) {
    let (mut primary, mut all) = (Vec::new(), Vec::new());
    if instance.text_of("vpcId").is_empty() {
        return (primary, all);
    }
    for card in instance.items("networkInterfaceSet").filter(|card| !card.text_of("subnetId").is_empty()) {
        for address in card.items("ipv6AddressesSet") {
            let text = address.text_of("ipv6Address").to_owned();
            if address.text_of("isPrimaryIpv6") == "true" {
                let index: usize = card.text_at(&["attachment", "deviceIndex"]).parse().unwrap_or(0);
                if index < CARDS_MAX {
                    primary.resize(primary.len().max(index + 1), String::new());
                    primary[index].clone_from(&text);
                }
            }
            all.push(text);
        }
    }
    (primary, all)
}

impl Ec2 {
    fn target(&self, instance: &Element, owner: &str, region: &str) -> Option<Labels> {
        let text = |name: &str| instance.text_of(name);
        let (primary, all) = ipv6_addresses(instance);
        let default = primary.iter().chain(&all).find(|address| !address.is_empty());
        let host = match text("privateIpAddress") {
            "" => default?.as_str(),
            private => private,
        };
        let zone = instance.text_at(&["placement", "availabilityZone"]);
        let zone_id = self.zone_ids.as_ref().and_then(|ids| ids.get(zone));
        let mut labels = MetaLabels::new("__meta_ec2_");
        labels
            .address(host, self.port)
            .set("instance_id", text("instanceId"))
            .set("region", region)
            .set("owner_id", owner)
            .set("default_ipv6_address", default.map_or("", String::as_str))
            .set("private_ip", text("privateIpAddress"))
            .set("private_dns_name", text("privateDnsName"))
            .set("platform", text("platform"))
            .set("ami", text("imageId"))
            .set("availability_zone", zone)
            .set("availability_zone_id", zone_id.map_or("", String::as_str))
            .set("instance_state", instance.text_at(&["instanceState", "name"]))
            .set("instance_type", text("instanceType"))
            .set("instance_lifecycle", text("instanceLifecycle"))
            .set("architecture", text("architecture"));
        if !text("ipAddress").is_empty() {
            labels.set("public_ip", text("ipAddress")).set("public_dns_name", text("dnsName"));
        }
        for (name, addresses) in [("primary_ipv6_addresses", &primary), ("ipv6_addresses", &all)] {
            if !addresses.is_empty() {
                labels.set(name, surrounded(addresses, ","));
            }
        }
        if !text("vpcId").is_empty() {
            let mut subnets: Vec<&str> = Vec::new();
            for card in instance.items("networkInterfaceSet") {
                let subnet = card.text_of("subnetId");
                if !subnet.is_empty() && !subnets.contains(&subnet) {
                    subnets.push(subnet);
                }
            }
            labels
                .set("vpc_id", text("vpcId"))
                .set("primary_subnet_id", text("subnetId"))
                .set("subnet_id", surrounded(&subnets, ","));
        }
        labels.set_texts(
            "tag_",
            instance.items("tagSet").map(|tag| (tag.text_of("key"), tag.text_of("value"))),
        );
        Some(labels.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polled::Periodic;
    use crate::testing::{Reply, Seen, TestServer, context};
    use config::Secret;
    use config::discovery::Ec2SdConfig;

    const ZONES: &str = "<R><availabilityZoneInfo><item><zoneName>eu-west-1a</zoneName><zoneId>euw1-az2</zoneId>\
                         </item></availabilityZoneInfo></R>";
    const FIRST: &str = "<R><reservationSet><item><ownerId>123</ownerId><instancesSet><item>\
        <instanceId>i-1</instanceId><imageId>ami-1</imageId><instanceState><name>running</name></instanceState>\
        <privateDnsName>p.internal</privateDnsName><dnsName>p.example</dnsName><instanceType>t3.nano</instanceType>\
        <placement><availabilityZone>eu-west-1a</availabilityZone></placement><subnetId>s-1</subnetId>\
        <vpcId>vpc-1</vpcId><privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>1.2.3.4</ipAddress>\
        <architecture>x86_64</architecture><tagSet><item><key>my-tag</key><value>v</value></item></tagSet>\
        <networkInterfaceSet><item><subnetId>s-1</subnetId><attachment><deviceIndex>1</deviceIndex></attachment>\
        <ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>\
        </ipv6AddressesSet></item></networkInterfaceSet></item></instancesSet></item></reservationSet>\
        <nextToken>more</nextToken></R>";
    const SECOND: &str = "<R><reservationSet><item><instancesSet><item><instanceId>i-2</instanceId></item>\
        </instancesSet></item></reservationSet></R>";

    fn answer(request: &Seen) -> Reply {
        if request.body.contains("DescribeAvailabilityZones") {
            Reply::json(ZONES)
        } else if request.body.contains("NextToken=more") {
            Reply::json(SECOND)
        } else {
            Reply::json(FIRST)
        }
    }

    fn config(server: &TestServer) -> Ec2SdConfig {
        let filter = AwsFilter { name: "tag:a".to_owned(), values: vec!["x".to_owned(), "y".to_owned()] };
        Ec2SdConfig {
            endpoint: server.url(""),
            region: "eu-west-1".to_owned(),
            access_key: "AKID".to_owned(),
            secret_key: Secret::new("secret"),
            filters: vec![Some(filter)],
            ..Ec2SdConfig::default()
        }
    }

    #[tokio::test]
    async fn instances_come_in_pages_and_without_address_not_at_all() {
        let server = TestServer::start(answer).await;
        let groups = config(&server).look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!((groups[0].source.as_str(), groups[0].targets.len()), ("eu-west-1", 1));
        for (name, value) in [
            ("__address__", "10.0.0.1:80"),
            ("__meta_ec2_availability_zone_id", "euw1-az2"),
            ("__meta_ec2_owner_id", "123"),
            ("__meta_ec2_public_dns_name", "p.example"),
            ("__meta_ec2_subnet_id", ",s-1,"),
            ("__meta_ec2_ipv6_addresses", ",2001:db8::1,"),
            ("__meta_ec2_primary_ipv6_addresses", ",,2001:db8::1,"),
            ("__meta_ec2_default_ipv6_address", "2001:db8::1"),
            ("__meta_ec2_tag_my_tag", "v"),
        ] {
            assert_eq!(groups[0].targets[0].get(name), Some(value), "{name}");
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests[1].body.contains("Filter.1.Name=tag%3Aa&Filter.1.Value.1=x&Filter.1.Value.2=y"));
        assert!(requests[1].header("authorization").contains("/eu-west-1/ec2/aws4_request"));
    }

    #[tokio::test]
    async fn a_service_that_is_busy_is_asked_again() {
        let busy = std::sync::atomic::AtomicU32::new(2);
        let server = TestServer::start(move |request| {
            let before = busy.load(std::sync::atomic::Ordering::Relaxed);
            if request.body.contains("DescribeInstances") && before > 0 {
                busy.store(before - 1, std::sync::atomic::Ordering::Relaxed);
                let body =
                    "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>";
                return Reply::status(400).body(body).header("Retry-After", "0");
            }
            answer(request)
        })
        .await;
        let groups = config(&server).look(&context()).unwrap().refresh().await.unwrap();
        assert_eq!((groups[0].targets.len(), server.requests().len()), (1, 5));
    }

    #[test]
    fn a_role_of_aws_is_counted_as_the_service_it_is() {
        use config::decode::Chosen;
        use config::discovery::aws::{AwsRole, AwsSdConfig};
        let block = AwsSdConfig { role: Chosen::some(AwsRole::Ec2), ..AwsSdConfig::default() };
        assert_eq!((AwsSdConfig::NAME, block.look_name()), ("aws", "ec2"));
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_code() {
        let server = TestServer::start(|_| {
            let body = "<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors></Response>";
            Reply::status(401).body(body)
        })
        .await;
        let error = config(&server).look(&context()).unwrap().refresh().await.unwrap_err();
        assert!(error.to_string().ends_with("api error AuthFailure: no"), "{error}");
    }
}
