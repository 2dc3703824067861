//! `dns_sd_configs`: targets from the records of names.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use config::discovery::DnsSdConfig;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use model::{Labels, LabelsBuilder};

use crate::group::{ADDRESS_LABEL, TargetGroup};
use crate::mechanism::{Context, DiscoveryError, Mechanism, Updates, same};
use crate::refresh::{self, Refresh};

/// One `dns_sd_configs` block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dns {
    pub(crate) config: DnsSdConfig,
}

impl Mechanism for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn is_same(&self, other: &dyn Mechanism) -> bool {
        same(self, other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn run(self: Arc<Self>, context: Context, updates: Updates) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let interval = Duration::from_millis(self.config.refresh_interval.0.max(100).unsigned_abs());
            let lookup = Lookup { config: self.config.clone(), context: context.clone(), resolver: None };
            refresh::run("dns", lookup, interval, context, updates).await;
        })
    }
}

struct Lookup {
    config: DnsSdConfig,
    context: Context,
    resolver: Option<TokioResolver>,
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
        let mut groups = Vec::new();
        let mut failed = None;
        for name in &self.config.names {
            self.context.metrics.dns_lookups.inc();
            match resolver.lookup(name.as_str(), kind).await {
                Ok(found) => {
                    let records = found
                        .answers()
                        .iter()
                        .filter_map(|record| target(name, &record.data, self.config.port));
                    groups.push(TargetGroup {
                        source: name.clone(),
                        labels: Labels::empty(),
                        targets: records.collect(),
                    });
                }
                // No such name, or no such record: there is no target.
                Err(error) if error.is_no_records_found() => {
                    groups.push(TargetGroup { source: name.clone(), ..TargetGroup::default() });
                }
                Err(error) => {
                    self.context.metrics.dns_lookup_failures.inc();
                    failed = Some(DiscoveryError::Request(format!("could not resolve {name:?}: {error}")));
                }
            }
        }
        match failed {
            Some(error) if groups.is_empty() => Err(error),
            _ => Ok(groups),
        }
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
            join(&host(&target), i64::from(srv.port))
        }
        RData::MX(mx) => {
            labels.set("__meta_dns_mx_record_target", &mx.exchange.to_string());
            join(&host(&mx.exchange), port)
        }
        RData::NS(ns) => {
            labels.set("__meta_dns_ns_record_target", &ns.0.to_string());
            join(&host(&ns.0), port)
        }
        RData::A(a) => join(&a.0.to_string(), port),
        RData::AAAA(aaaa) => join(&aaaa.0.to_string(), port),
        _ => return None,
    };
    labels.set(ADDRESS_LABEL, &address);
    Some(labels.labels())
}

/// Host and port; an IPv6 address in brackets.
fn join(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
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
