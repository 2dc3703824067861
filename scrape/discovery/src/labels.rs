//! Names and addresses as labels have them.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Labels, LabelsBuilder};

use crate::group::{ADDRESS_LABEL, TargetGroup};

/// A name whose characters outside `[a-zA-Z0-9_]` are underscores.
pub(crate) fn sanitize(name: &str) -> Cow<'_, str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(is_fine) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if is_fine(c) { c } else { '_' }).collect())
}

/// An address of either version in its shortest form, its zone kept; `None`
/// where it is none.
pub(crate) fn canonical_ip(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, zone)) => (address.parse::<Ipv6Addr>().ok()?.into(), format!("%{zone}")),
        None => (text.parse::<IpAddr>().ok()?, String::new()),
    };
    Some(format!("{address}{zone}"))
}

/// A network such as `2001:db8::/64` with the host's part of its address
/// cleared; `None` where it is none.
pub(crate) fn canonical_network(text: &str) -> Option<String> {
    let (address, bits) = text.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let address: IpAddr = match address.parse().ok()? {
        IpAddr::V4(v4) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
        _ => return None,
    };
    Some(format!("{address}/{bits}"))
}

/// Host and port; an IPv6 address in brackets.
pub(crate) fn join_host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains([':', '%']) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Texts joined and surrounded by a separator, so that a regular expression can
/// look for `,tag,` wherever the tag stands; two separators where there is none.
pub(crate) fn surrounded<S: AsRef<str>>(texts: &[S], separator: &str) -> String {
    let mut out = separator.to_owned();
    for (index, text) in texts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { separator });
        out.push_str(text.as_ref());
    }
    out.push_str(separator);
    out
}

/// The labels of a target, all behind the prefix of its mechanism.
#[derive(Clone)]
pub(crate) struct MetaLabels {
    prefix: &'static str,
    labels: LabelsBuilder,
}

impl MetaLabels {
    /// None yet; `prefix` is as `__meta_ec2_`.
    pub(crate) fn new(prefix: &'static str) -> MetaLabels {
        MetaLabels { prefix, labels: LabelsBuilder::new() }
    }

    /// Sets a label behind the prefix; an empty value is none.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<str>) -> &mut MetaLabels {
        if !value.as_ref().is_empty() {
            self.labels.set(&format!("{}{name}", self.prefix), value.as_ref());
        }
        self
    }

    /// Sets a label to a number or a flag.
    pub(crate) fn set_shown(&mut self, name: &str, value: impl std::fmt::Display) -> &mut MetaLabels {
        self.set(name, value.to_string())
    }

    /// Sets a label for each text, its name sanitised.
    pub(crate) fn set_texts<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        name: &str,
        texts: impl IntoIterator<Item = (N, V)>,
    ) -> &mut MetaLabels {
        for (key, value) in texts {
            self.set(&format!("{name}{}", sanitize(key.as_ref())), value);
        }
        self
    }

    /// Sets a label that is not behind the prefix.
    pub(crate) fn set_plain(&mut self, name: &str, value: &str) -> &mut MetaLabels {
        self.labels.set(name, value);
        self
    }

    /// Sets the address.
    pub(crate) fn address(&mut self, host: &str, port: impl std::fmt::Display) -> &mut MetaLabels {
        self.set_plain(ADDRESS_LABEL, &join_host_port(host, port))
    }

    /// The labels.
    pub(crate) fn finish(&self) -> Labels {
        self.labels.labels()
    }
}

/// The one group of a mechanism that has but one.
pub(crate) fn single_group(source: impl Into<String>, targets: Vec<Labels>) -> Vec<TargetGroup> {
    vec![TargetGroup { source: source.into(), labels: Labels::empty(), targets }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_become_underscores() {
        assert_eq!(sanitize("app.kubernetes.io/name"), "app_kubernetes_io_name");
        assert_eq!(sanitize("é-1"), "__1");
    }

    #[test]
    fn addresses_and_networks_have_one_form() {
        assert_eq!(canonical_ip("2001:0db8:0::0001").as_deref(), Some("2001:db8::1"));
        assert_eq!(canonical_ip("fe80::01%eth0").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(canonical_ip("10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(canonical_ip("10.0.0.1%a"), None);
        assert_eq!(canonical_ip("host"), None);
        assert_eq!(canonical_network("2001:0db8:1::5/64").as_deref(), Some("2001:db8:1::/64"));
        assert_eq!(canonical_network("10.1.2.3/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(canonical_network("10.1.2.3/33"), None);
        assert_eq!(canonical_network("10.1.2.3"), None);
    }

    #[test]
    fn addresses_of_version_six_are_bracketed() {
        assert_eq!(join_host_port("2001:db8::1", 80), "[2001:db8::1]:80");
        assert_eq!(join_host_port("a.example", "http"), "a.example:http");
    }
}
