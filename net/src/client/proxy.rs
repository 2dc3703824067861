//! Which requests go through which proxy.
//! Source: Go `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use config::http_client::ProxyConfig;
use config::values::split_url;
use http::{HeaderName, HeaderValue, Uri};

use super::auth::{basic, unescaped};
use crate::error::BuildError;

/// The process environment's proxies, read by the server and passed down.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    /// `HTTP_PROXY` or `http_proxy`: for `http://`.
    pub http_proxy: String,
    /// `HTTPS_PROXY` or `https_proxy`: for `https://`.
    pub https_proxy: String,
    /// `NO_PROXY` or `no_proxy`: hosts reached directly.
    pub no_proxy: String,
}

/// The proxies' URLs may have passwords: they are not shown.
impl std::fmt::Debug for ProxyEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyEnvironment").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    Http,
    Https,
    Socks5,
}

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) kind: ProxyKind,
    pub(super) host: String,
    pub(super) port: u16,
    /// User and password, decoded.
    pub(super) credentials: Option<(String, String)>,
}

/// The rules of one client.
#[derive(Default)]
pub(super) struct ProxyRules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<DirectRule>,
    /// Whether hosts that are this machine are reached directly in any case.
    direct_loopback: bool,
    /// Sent with `CONNECT`.
    pub(super) connect_headers: Vec<(HeaderName, HeaderValue)>,
}

enum DirectRule {
    All,
    Ip(IpAddr, Option<u16>),
    Net(IpAddr, u8),
    /// A domain; whether the name itself counts, beside the names below it.
    Domain(String, bool, Option<u16>),
}

impl Proxy {
    fn parse(text: &str) -> Result<Proxy, BuildError> {
        let invalid = || BuildError::Proxy("it is no URL, or has no such port");
        let with_scheme;
        let text = if text.contains("://") {
            text
        } else {
            with_scheme = format!("http://{text}");
            &with_scheme
        };
        let parts = split_url(text).map_err(|_| invalid())?;
        let (kind, default_port) = match parts.scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Https, 443),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            // As in Go, which then knows no port either.
            _ => (ProxyKind::Http, 0),
        };
        let (host, port) = match parts.host.rsplit_once(':') {
            Some((host, "")) => (host, default_port),
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| invalid())?),
            _ => (parts.host, default_port),
        };
        let credentials = (!parts.userinfo.is_empty()).then(|| {
            let (user, password) = parts.userinfo.split_once(':').unwrap_or((parts.userinfo, ""));
            (unescaped(user), unescaped(password))
        });
        Ok(Proxy { kind, host: host.to_owned(), port, credentials })
    }

    /// The `Proxy-Authorization` header.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.credentials.as_ref()?;
        let mut value = HeaderValue::from_str(&basic(user, password)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl ProxyRules {
    pub(super) fn new(
        config: &ProxyConfig,
        environment: &ProxyEnvironment,
    ) -> Result<ProxyRules, BuildError> {
        let parse = |text: &str| if text.is_empty() { Ok(None) } else { Proxy::parse(text).map(Some) };
        let mut rules = ProxyRules { connect_headers: connect_headers(config), ..ProxyRules::default() };
        if config.proxy_from_environment {
            rules.http = parse(&environment.http_proxy)?;
            rules.https = parse(&environment.https_proxy)?;
            rules.direct = direct_rules(&environment.no_proxy);
            rules.direct_loopback = true;
        } else if let Some(url) = &config.proxy_url {
            rules.http = parse(url.expose())?;
            rules.https = rules.http.clone();
            rules.direct = direct_rules(&config.no_proxy);
            rules.direct_loopback = !config.no_proxy.is_empty();
        }
        Ok(rules)
    }

    /// The proxy for a URL; `None`: reached directly.
    pub(super) fn route(&self, uri: &Uri) -> Option<&Proxy> {
        let is_https = uri.scheme_str() == Some("https");
        let proxy = if is_https { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = uri.host()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let ip: Option<IpAddr> = host.parse().ok();
        if self.direct_loopback && (host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())) {
            return None;
        }
        let direct = self.direct.iter().any(|rule| rule.matches(&host, ip, port));
        (!direct).then_some(proxy)
    }

    /// What a plain request through a proxy says of itself.
    pub(super) fn authorization_for(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let proxy = self.route(uri)?;
        if proxy.kind == ProxyKind::Socks5 { None } else { proxy.authorization() }
    }
}

fn connect_headers(config: &ProxyConfig) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = Vec::new();
    for (name, values) in &config.proxy_connect_header {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        for value in values {
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                out.push((name.clone(), value));
            }
        }
    }
    out
}

fn direct_rules(text: &str) -> Vec<DirectRule> {
    text.split(',')
        .map(|part| part.trim().to_ascii_lowercase())
        .filter_map(|part| direct_rule(&part))
        .collect()
}

fn direct_rule(part: &str) -> Option<DirectRule> {
    if part.is_empty() {
        return None;
    }
    if part == "*" {
        return Some(DirectRule::All);
    }
    if let Some((net, bits)) = part.split_once('/') {
        let ip: IpAddr = net.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        return (bits <= max).then_some(DirectRule::Net(ip, bits));
    }
    if let Ok(ip) = part.trim_matches(['[', ']']).parse() {
        return Some(DirectRule::Ip(ip, None));
    }
    let (host, port) = match part.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (part, None),
    };
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Some(DirectRule::Ip(ip, port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    Some(match host.strip_prefix('.') {
        Some(domain) => DirectRule::Domain(domain.to_owned(), false, port),
        None => DirectRule::Domain(host.to_owned(), true, port),
    })
}

impl DirectRule {
    fn matches(&self, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
        match self {
            DirectRule::All => true,
            DirectRule::Ip(own, own_port) => ip == Some(*own) && own_port.is_none_or(|p| p == port),
            DirectRule::Net(net, bits) => ip.is_some_and(|ip| in_net(ip, *net, *bits)),
            DirectRule::Domain(domain, itself, own_port) => {
                let below = host.strip_suffix(domain.as_str()).is_some_and(|front| front.ends_with('.'));
                (below || (*itself && host == domain)) && own_port.is_none_or(|p| p == port)
            }
        }
    }
}

fn in_net(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(bits);
        shift >= 128 || (a >> shift) == (b >> shift)
    };
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => same(u32::from(ip).into(), u32::from(net).into(), 32),
        (IpAddr::V6(ip), IpAddr::V6(net)) => same(ip.into(), net.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_direct(no_proxy: &str, url: &str) -> bool {
        let config = ProxyConfig {
            proxy_url: Some(config::Url::parse("http://proxy:3128").unwrap()),
            no_proxy: no_proxy.to_owned(),
            ..ProxyConfig::default()
        };
        let rules = ProxyRules::new(&config, &ProxyEnvironment::default()).unwrap();
        rules.route(&url.parse().unwrap()).is_none()
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        for (no_proxy, url, direct) in [
            ("", "http://localhost/", false),
            ("x", "http://localhost/", true),
            ("a.b", "http://a.b/", true),
            ("a.b", "http://x.a.b/", true),
            ("a.b", "http://xa.b/", false),
            (".a.b", "http://a.b/", false),
            ("*.a.b", "http://x.a.b/", true),
            ("a.b:81", "http://a.b/", false),
            ("a.b:81", "http://a.b:81/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("fd00::/8, c", "https://[fd00::1]/", true),
            ("*", "https://any/", true),
        ] {
            assert_eq!(goes_direct(no_proxy, url), direct, "{no_proxy} {url}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let environment = ProxyEnvironment {
            https_proxy: "user:p%40ss@proxy:3128".to_owned(),
            ..ProxyEnvironment::default()
        };
        let config = ProxyConfig { proxy_from_environment: true, ..ProxyConfig::default() };
        let rules = ProxyRules::new(&config, &environment).unwrap();
        assert!(rules.route(&"http://a/".parse().unwrap()).is_none());
        let https = "https://a/".parse().unwrap();
        let proxy = rules.route(&https).unwrap();
        assert_eq!((proxy.kind, proxy.port), (ProxyKind::Http, 3128));
        assert_eq!(proxy.credentials, Some(("user".to_owned(), "p@ss".to_owned())));
    }
}
