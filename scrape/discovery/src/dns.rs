//! `dns_sd_configs`: targets from the records of names.

use std::collections::BTreeMap;

use config::discovery::DnsSdConfig;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use model::{Labels, LabelsBuilder};

use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::labels::join_host_port;
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::Periodic;
use crate::refresh::Refresh;

impl Periodic for DnsSdConfig {
    const NAME: &'static str = "dns";
    type Look = Lookup;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<Lookup, DiscoveryError> {
        Ok(Lookup { config: self.clone(), context: context.clone(), resolver: None, last: BTreeMap::new() })
    }
}

pub(crate) struct Lookup {
    config: DnsSdConfig,
    context: Context,
    resolver: Option<TokioResolver>,
    /// What each name had when it could last be looked up.
    last: BTreeMap<String, TargetGroup>,
}

impl Refresh for Lookup {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let resolver = match &self.resolver {
            Some(resolver) => resolver.clone(),
            None => {
                let malformed = |error: &dyn std::fmt::Display| DiscoveryError::Malformed(error.to_string());
                let builder = TokioResolver::builder_tokio().map_err(|error| malformed(&error))?;
                let resolver = builder.build().map_err(|error| malformed(&error))?;
                self.resolver.insert(resolver).clone()
            }
        };
        let kind = match self.config.record_type.to_uppercase().as_str() {
            "A" => RecordType::A,
            "AAAA" => RecordType::AAAA,
            "MX" => RecordType::MX,
            "NS" => RecordType::NS,
            _ => RecordType::SRV,
        };
        for name in &self.config.names {
            self.context.metrics.dns_lookups.inc();
            match resolver.lookup(name.as_str(), kind).await {
                Ok(found) => {
                    let records = found
                        .answers()
                        .iter()
                        .filter_map(|record| target(name, &record.data, self.config.port));
                    let targets = records.collect();
                    let group = TargetGroup { source: name.clone(), labels: Labels::empty(), targets };
                    self.last.insert(name.clone(), group);
                }
                // No such name, or no such record: there is no target.
                Err(error) if error.is_no_records_found() => {
                    self.last.remove(name);
                }
                // Nothing is known of the name now: its last targets stay.
                Err(error) => {
                    self.context.metrics.dns_lookup_failures.inc();
                    tracing::error!(
                        component = "discovery manager",
                        discovery = "dns",
                        config = self.context.set,
                        err = format!("could not resolve {name:?}: {error}"),
                        "Error refreshing DNS targets"
                    );
                }
            }
        }
        Ok(self.last.values().cloned().collect())
    }
}

/// The target of a record, `None` for one of another kind, such as an alias on the way.
fn target(name: &str, data: &RData, port: i64) -> Option<Labels> {
    let mut labels = LabelsBuilder::new();
    labels.set("__meta_dns_name", name);
    let host = |name: &dyn std::fmt::Display| name.to_string().trim_end_matches('.').to_owned();
    let address = match data {
        RData::SRV(srv) => {
            let target = srv.target.to_string();
            labels.set("__meta_dns_srv_record_target", &target);
            labels.set("__meta_dns_srv_record_port", &srv.port.to_string());
            join_host_port(&host(&target), i64::from(srv.port))
        }
        RData::MX(mx) => {
            labels.set("__meta_dns_mx_record_target", &mx.exchange.to_string());
            join_host_port(&host(&mx.exchange), port)
        }
        RData::NS(ns) => {
            labels.set("__meta_dns_ns_record_target", &ns.0.to_string());
            join_host_port(&host(&ns.0), port)
        }
        RData::A(a) => join_host_port(&a.0.to_string(), port),
        RData::AAAA(aaaa) => join_host_port(&aaaa.0.to_string(), port),
        _ => return None,
    };
    labels.set(ADDRESS_LABEL, &address);
    Some(labels.labels())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::{Name, rdata};

    #[test]
    fn a_service_record_names_host_and_port() {
        let srv = rdata::SRV::new(0, 0, 3306, Name::from_ascii("db1.example.com.").unwrap());
        let labels = target("_mysql._tcp.db.example.com.", &RData::SRV(srv), 0).unwrap();
        assert_eq!(labels.get("__address__"), Some("db1.example.com:3306"));
        assert_eq!(labels.get("__meta_dns_srv_record_target"), Some("db1.example.com."));
        assert_eq!(labels.get("__meta_dns_srv_record_port"), Some("3306"));
        assert_eq!(labels.get("__meta_dns_name"), Some("_mysql._tcp.db.example.com."));
    }

    #[test]
    fn addresses_take_the_port_of_the_block() {
        let labels = target("web.example.com.", &RData::A(rdata::A::new(192, 0, 2, 2)), 80).unwrap();
        assert_eq!(labels.get("__address__"), Some("192.0.2.2:80"));
        let v6 = rdata::AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let labels = target("web.example.com.", &RData::AAAA(v6), 80).unwrap();
        assert_eq!(labels.get("__address__"), Some("[2001:db8::1]:80"));
    }
}
