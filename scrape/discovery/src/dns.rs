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
                        component = self.context.component(),
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

    use crate::testing::context;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
    use hickory_resolver::proto::rr::Record;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    /// The answer to a query; `big.example.` has too many addresses for a datagram.
    fn answer(query: &[u8], by_datagram: bool, is_down: bool) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let asked = query.queries[0].clone();
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        answer.add_query(asked.clone());
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let records: Vec<RData> = match (asked.name().to_string().as_str(), asked.query_type()) {
            _ if is_down => {
                answer.metadata.response_code = ResponseCode::ServFail;
                Vec::new()
            }
            ("_web._tcp.example.", RecordType::SRV) => vec![
                RData::SRV(rdata::SRV::new(0, 0, 8080, name("a.example."))),
                RData::SRV(rdata::SRV::new(0, 0, 8081, name("b.example."))),
            ],
            ("host.example.", RecordType::A) => vec![RData::A(rdata::A::new(192, 0, 2, 1))],
            ("host.example.", RecordType::AAAA) => {
                vec![RData::AAAA(rdata::AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))]
            }
            ("host.example.", RecordType::MX) => vec![RData::MX(rdata::MX::new(10, name("mail.example.")))],
            ("host.example.", RecordType::NS) => vec![RData::NS(rdata::NS(name("ns.example.")))],
            ("big.example.", RecordType::A) if by_datagram => {
                answer.metadata.truncation = true;
                Vec::new()
            }
            ("big.example.", RecordType::A) => {
                (0..200).map(|last| RData::A(rdata::A::new(192, 0, 2, last))).collect()
            }
            _ => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                Vec::new()
            }
        };
        for record in records {
            answer.add_answer(Record::from_rdata(asked.name().clone(), 0, record));
        }
        answer.to_vec().unwrap()
    }

    /// A server on a loopback port, by datagrams and connections; `down` makes it fail.
    async fn server(down: Arc<AtomicBool>) -> u16 {
        // A port that is free for datagrams may be taken for connections.
        let (datagrams, connections, port) = loop {
            let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let port = datagrams.local_addr().unwrap().port();
            if let Ok(connections) = TcpListener::bind(("127.0.0.1", port)).await {
                break (datagrams, connections, port);
            }
        };
        let is_down = down.clone();
        tokio::spawn(async move {
            let mut buffer = [0u8; 4096];
            while let Ok((len, from)) = datagrams.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..len], true, is_down.load(Ordering::SeqCst));
                datagrams.send_to(&answer, from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = connections.accept().await {
                while let Ok(len) = connection.read_u16().await {
                    let mut query = vec![0u8; usize::from(len)];
                    connection.read_exact(&mut query).await.unwrap();
                    let answer = answer(&query, false, down.load(Ordering::SeqCst));
                    connection.write_u16(answer.len() as u16).await.unwrap();
                    connection.write_all(&answer).await.unwrap();
                }
            }
        });
        port
    }

    fn lookup(port: u16, kind: &str, names: &[&str]) -> Lookup {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (port, port);
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![udp, tcp]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        builder.options_mut().attempts = 1;
        let config = DnsSdConfig {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            record_type: kind.to_owned(),
            port: 80,
            ..DnsSdConfig::default()
        };
        Lookup { resolver: Some(builder.build().unwrap()), ..config.look(&context()).unwrap() }
    }

    fn addresses(group: &TargetGroup) -> Vec<&str> {
        let mut all: Vec<&str> =
            group.targets.iter().filter_map(|target| target.get("__address__")).collect();
        all.sort_unstable();
        all
    }

    #[tokio::test]
    async fn records_of_every_kind_become_targets() {
        let port = server(Arc::default()).await;
        for (kind, name, wanted) in [
            ("SRV", "_web._tcp.example.", &["a.example:8080", "b.example:8081"][..]),
            ("A", "host.example.", &["192.0.2.1:80"]),
            ("AAAA", "host.example.", &["[2001:db8::1]:80"]),
            ("MX", "host.example.", &["mail.example:80"]),
            ("NS", "host.example.", &["ns.example:80"]),
        ] {
            let groups = lookup(port, kind, &[name]).refresh().await.unwrap();
            assert_eq!((groups.len(), groups[0].source.as_str()), (1, name), "{kind}");
            assert_eq!(addresses(&groups[0]), wanted, "{kind}");
            assert_eq!(groups[0].targets[0].get("__meta_dns_name"), Some(name));
        }
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_asked_for_again_by_a_connection() {
        let port = server(Arc::default()).await;
        let groups = lookup(port, "A", &["big.example."]).refresh().await.unwrap();
        assert_eq!(groups[0].targets.len(), 200);
    }

    #[tokio::test]
    async fn a_failing_server_leaves_targets_and_an_absent_name_has_none() {
        let down = Arc::new(AtomicBool::new(false));
        let port = server(down.clone()).await;
        let mut lookup = lookup(port, "A", &["host.example.", "none.example."]);
        let groups = lookup.refresh().await.unwrap();
        assert_eq!((groups.len(), groups[0].source.as_str()), (1, "host.example."));
        assert_eq!(lookup.context.metrics.dns_lookup_failures.get(), 0.0);
        down.store(true, Ordering::SeqCst);
        assert_eq!(lookup.refresh().await.unwrap(), groups);
        assert_eq!(lookup.context.metrics.dns_lookup_failures.get(), 2.0);
    }
}
