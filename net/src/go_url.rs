//! URLs as Go's `net/url` reads, joins and prints them: what it refuses stands
//! on the targets page, and where it leads is where a scrape goes.
//! Source: Go `net/url/url.go`.
//!
//! ```text
//! http://user:pw@[::1]:9090/a%20b?q#f
//! scheme userinfo    host    path query fragment
//! ```

use std::fmt::{self, Write as _};

use model::labels::go_quote;

/// Why a text is no URL, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlFault(String);

/// A URL taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoUrl {
    scheme: String,
    /// What follows the scheme where no slash does: `mailto:x`.
    opaque: String,
    /// As written, still escaped.
    userinfo: Option<String>,
    /// Host and port, unescaped.
    host: String,
    /// Escaped as it is sent.
    path: String,
    query: Option<String>,
    /// As written.
    fragment: String,
}

/// Where a text stands in a URL: what must be escaped differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Zone,
    Path,
    Userinfo,
    Fragment,
}

impl GoUrl {
    /// Takes a text apart.
    ///
    /// # Errors
    /// What Go's `url.Parse` refuses, in its words.
    pub fn parse(text: &str) -> Result<GoUrl, UrlFault> {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(fault("net/url: invalid control character in URL"));
        }
        if text == "*" {
            return Ok(GoUrl { path: "*".to_owned(), ..GoUrl::default() });
        }
        let (scheme, rest) = split_scheme(text)?;
        let (mut rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let mut url = GoUrl { scheme: scheme.to_ascii_lowercase(), query, ..GoUrl::default() };
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_owned();
                return url.with_fragment(fragment);
            }
            if rest.split('/').next().unwrap_or_default().contains(':') {
                return Err(fault("first path segment in URL cannot contain colon"));
            }
        }
        if (!url.scheme.is_empty() || !rest.starts_with("///"))
            && let Some(after) = rest.strip_prefix("//")
        {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, tail) = after.split_at(end);
            rest = tail;
            url.read_authority(authority)?;
        }
        url.path = sent_path(rest)?;
        url.with_fragment(fragment)
    }

    /// The URL that a reference on this URL's page leads to.
    pub fn join(&self, reference: &GoUrl) -> GoUrl {
        let mut url = reference.clone();
        if reference.scheme.is_empty() {
            url.scheme.clone_from(&self.scheme);
        }
        if !reference.scheme.is_empty() || !reference.host.is_empty() || reference.userinfo.is_some() {
            url.path = without_dots(&reference.path);
            return url;
        }
        if !reference.opaque.is_empty() {
            return GoUrl { userinfo: None, host: String::new(), path: String::new(), ..url };
        }
        if reference.path.is_empty() && reference.query.is_none() {
            url.query.clone_from(&self.query);
            if reference.fragment.is_empty() {
                url.fragment.clone_from(&self.fragment);
            }
        }
        url.host.clone_from(&self.host);
        url.userinfo.clone_from(&self.userinfo);
        let full = match reference.path.as_str() {
            "" => self.path.clone(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{}{path}", &self.path[..self.path.rfind('/').map_or(0, |i| i + 1)]),
        };
        url.path = without_dots(&full);
        url
    }

    /// In lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host and port, unescaped.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without brackets and port.
    pub fn hostname(&self) -> &str {
        let host = self.host.strip_suffix(self.port()).unwrap_or(&self.host);
        let host = if self.port_follows() { host.strip_suffix(':').unwrap_or(host) } else { host };
        match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').unwrap_or(inner),
            None => host,
        }
    }

    /// The port as written, empty where there is none.
    pub fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(colon) if self.port_follows() => &self.host[colon + 1..],
            _ => "",
        }
    }

    /// `user:password`, still escaped.
    pub fn userinfo(&self) -> Option<&str> {
        self.userinfo.as_deref()
    }

    /// The path, its escapes resolved.
    pub fn plain_path(&self) -> String {
        // Parsing has refused what this refuses.
        unescape(&self.path, Place::Path).unwrap_or_default()
    }

    /// Path and query as a request's first line has them.
    pub fn request_target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// `host:` as a client takes it for `host`.
    pub fn without_empty_port(mut self) -> GoUrl {
        if self.port_follows() && self.host.ends_with(':') {
            self.host.pop();
        }
        self
    }

    fn port_follows(&self) -> bool {
        let after_brackets = self.host.rfind(']').map_or(0, |i| i + 1);
        let tail = &self.host[after_brackets..];
        match tail.rfind(':') {
            Some(colon) => tail[colon + 1..].bytes().all(|b| b.is_ascii_digit()),
            None => false,
        }
    }

    fn read_authority(&mut self, authority: &str) -> Result<(), UrlFault> {
        let Some((userinfo, host)) = authority.rsplit_once('@') else {
            self.host = read_host(authority)?;
            return Ok(());
        };
        self.host = read_host(host)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
        if !userinfo.bytes().all(allowed) {
            return Err(fault("net/url: invalid userinfo"));
        }
        unescape(userinfo, Place::Userinfo)?;
        self.userinfo = Some(userinfo.to_owned());
        Ok(())
    }

    fn with_fragment(mut self, fragment: &str) -> Result<GoUrl, UrlFault> {
        unescape(fragment, Place::Fragment)?;
        self.fragment = fragment.to_owned();
        Ok(self)
    }
}

/// Without password.
impl fmt::Display for GoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if self.opaque.is_empty() {
            if !self.scheme.is_empty() || !self.host.is_empty() || self.userinfo.is_some() {
                if !self.host.is_empty() || !self.path.is_empty() || self.userinfo.is_some() {
                    f.write_str("//")?;
                }
                match self.userinfo.as_deref().map(|info| info.split_once(':').ok_or(info)) {
                    Some(Ok((user, _))) => write!(f, "{user}:***@")?,
                    Some(Err(user)) => write!(f, "{user}@")?,
                    None => {}
                }
                f.write_str(&escaped_host(&self.host))?;
            }
            if !self.path.is_empty() && !self.path.starts_with('/') && !self.host.is_empty() {
                f.write_char('/')?;
            }
            f.write_str(&self.path)?;
        } else {
            f.write_str(&self.opaque)?;
        }
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if !self.fragment.is_empty() {
            write!(f, "#{}", self.fragment)?;
        }
        Ok(())
    }
}

/// A host and port as a URL has them.
pub fn escaped_host(host: &str) -> String {
    escape(host.as_bytes(), Place::Host)
}

/// A path as a URL has it.
pub fn escaped_path(path: &str) -> String {
    escape(path.as_bytes(), Place::Path)
}

fn fault(text: impl Into<String>) -> UrlFault {
    UrlFault(text.into())
}

fn split_scheme(text: &str) -> Result<(&str, &str), UrlFault> {
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err(fault("missing protocol scheme")),
            b':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn read_host(host: &str) -> Result<String, UrlFault> {
    let check_port = |port: &str| match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err(fault(format!("invalid port {} after host", go_quote(port)))),
    };
    if host.starts_with('[') {
        let Some(end) = host.rfind(']') else { return Err(fault("missing ']' in host")) };
        check_port(&host[end + 1..])?;
        let zone = host[..end].find("%25").unwrap_or(end);
        let parts =
            [(&host[..zone], Place::Host), (&host[zone..end], Place::Zone), (&host[end..], Place::Host)];
        let parts = parts.map(|(part, place)| unescape(part, place));
        let [address, zone, port] = parts;
        let whole = [address?, zone?].concat();
        check_ip_literal(whole.strip_prefix('[').unwrap_or(&whole))?;
        return Ok(whole + &port?);
    } else if let Some(colon) = host.rfind(':') {
        check_port(&host[colon..])?;
    }
    unescape(host, Place::Host)
}

/// Only an address of IPv6, with or without a zone, may stand in brackets.
/// Source: Go `net/netip.ParseAddr`; of what is wrong within an address it says
/// more.
fn check_ip_literal(text: &str) -> Result<(), UrlFault> {
    let not_parsed = |why: &str| Err(fault(format!("invalid host: ParseAddr({}): {why}", go_quote(text))));
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    match text.find(['.', ':', '%']).map(|i| text.as_bytes()[i]) {
        Some(b'%') => not_parsed("missing IPv6 address"),
        Some(b'.') if text.parse::<std::net::Ipv4Addr>().is_ok() => Err(fault("invalid IP-literal")),
        Some(b':') if zone == Some("") => not_parsed("zone must be a non-empty string"),
        Some(b':') if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        _ => not_parsed("unable to parse IP"),
    }
}

/// A path as it is sent: as written if that is well-formed, else escaped.
fn sent_path(path: &str) -> Result<String, UrlFault> {
    let plain = unescaped_bytes(path, Place::Path)?;
    let well_formed = |b: u8| b"!$&'()*+,;=:@[]%".contains(&b) || !must_escape(b, Place::Path);
    if path.bytes().all(well_formed) {
        return Ok(path.to_owned());
    }
    Ok(escape(&plain, Place::Path))
}

fn unescape(text: &str, place: Place) -> Result<String, UrlFault> {
    let bytes = unescaped_bytes(text, place)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned()))
}

fn unescaped_bytes(text: &str, place: Place) -> Result<Vec<u8>, UrlFault> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        if byte == b'%' {
            let shown = &bytes[i..bytes.len().min(i + 3)];
            let refused = || {
                let shown = String::from_utf8_lossy(shown);
                Err(fault(format!("invalid URL escape {}", go_quote(&shown))))
            };
            let hex = |at: usize| shown.get(at).and_then(|b| (*b as char).to_digit(16));
            let (Some(high), Some(low)) = (hex(1), hex(2)) else { return refused() };
            let value = (high * 16 + low) as u8;
            // In a host only what is not ASCII may be escaped, and a zone's mark.
            if place == Place::Host && high < 8 && shown != b"%25" {
                return refused();
            }
            let zone_may = shown == b"%25" || value == b' ' || !must_escape(value, Place::Host);
            if place == Place::Zone && !zone_may {
                return refused();
            }
            out.push(value);
            i += 3;
            continue;
        }
        if matches!(place, Place::Host | Place::Zone) && byte < 0x80 && must_escape(byte, place) {
            let shown = char::from(byte).to_string();
            return Err(fault(format!("invalid character {} in host name", go_quote(&shown))));
        }
        out.push(byte);
        i += 1;
    }
    Ok(out)
}

fn escape(bytes: &[u8], place: Place) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if must_escape(*byte, place) {
            out.push('%');
            out.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        } else {
            out.push(char::from(*byte));
        }
    }
    out
}

fn must_escape(byte: u8, place: Place) -> bool {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => false,
        _ => match place {
            Place::Host | Place::Zone => !b"!$&'()*+,;=:[]<>\"".contains(&byte),
            Place::Path => !b"$&+,/:;=@".contains(&byte),
            Place::Userinfo | Place::Fragment => true,
        },
    }
}

/// A path whose `.` and `..` are followed.
fn without_dots(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut out = String::from("/");
    let mut is_first = true;
    let mut last = "";
    for element in path.split('/') {
        last = element;
        match element {
            "." => is_first = false,
            ".." => match out[1..].rfind('/') {
                Some(slash) => out.truncate(slash + 1),
                None => {
                    out.truncate(1);
                    is_first = true;
                }
            },
            _ => {
                if !is_first {
                    out.push('/');
                }
                is_first = false;
                out.push_str(element);
            }
        }
    }
    if matches!(last, "." | "..") {
        out.push('/');
    }
    match out.strip_prefix("//") {
        Some(rest) => format!("/{rest}"),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        GoUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_url_is_refused_in_gos_words() {
        for (text, wanted) in [
            ("http://a:port/", "invalid port \":port\" after host"),
            ("http://a:-1/", "invalid port \":-1\" after host"),
            ("http://[::1/", "missing ']' in host"),
            ("http://[1.2.3.4]/", "invalid IP-literal"),
            ("http://[abc]:1/", "invalid host: ParseAddr(\"abc\"): unable to parse IP"),
            (
                "http://[fe80::1%25]:1/",
                "invalid host: ParseAddr(\"fe80::1%\"): zone must be a non-empty string",
            ),
            ("http://a b/", "invalid character \" \" in host name"),
            ("http://a%20b/", "invalid URL escape \"%20\""),
            ("http://u:p%40a/", "invalid port \":p%40a\" after host"),
            ("http://u:p%40127.0.0.1:1/", "invalid URL escape \"%40\""),
            ("/%zz", "invalid URL escape \"%zz\""),
            (":x", "missing protocol scheme"),
            ("a:b", ""),
            ("1:b", "first path segment in URL cannot contain colon"),
            ("http://a\n/", "net/url: invalid control character in URL"),
            ("http://u^@a/", "net/url: invalid userinfo"),
        ] {
            let found = GoUrl::parse(text).map_or_else(|e| e.to_string(), |_| String::new());
            assert_eq!(found, wanted, "{text}");
        }
        assert_eq!(error("http://a/%4"), "invalid URL escape \"%4\"");
    }

    #[test]
    fn a_url_prints_as_it_was_read() {
        for (text, host, port, printed) in [
            ("HTTP://a:80/x?y=1#z", "a", "80", "http://a:80/x?y=1#z"),
            ("http://[::1]:9090", "::1", "9090", "http://[::1]:9090"),
            ("http://u:p@a/", "a", "", "http://u:***@a/"),
            ("http://%25zz:80/", "%zz", "80", "http://%25zz:80/"),
            ("http://b%C3%BCcher:1/", "bücher", "1", "http://b%C3%BCcher:1/"),
            ("http:///x", "", "", "http:///x"),
            ("http://:21/x", "", "21", "http://:21/x"),
            ("//a/x", "a", "", "//a/x"),
            ("mailto:x", "", "", "mailto:x"),
            ("http://a/b c?d e", "a", "", "http://a/b%20c?d e"),
            ("http://a/!*'()[]", "a", "", "http://a/!*'()[]"),
        ] {
            let url = GoUrl::parse(text).unwrap();
            assert_eq!(
                (url.hostname(), url.port(), url.to_string().as_str()),
                (host, port, printed),
                "{text}"
            );
        }
        assert_eq!(GoUrl::parse("http://a:/x").unwrap().without_empty_port().to_string(), "http://a/x");
    }

    #[test]
    fn references_lead_where_rfc_3986_says() {
        let base = GoUrl::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, wanted) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("https://x/./y/../z", "https://x/z"),
        ] {
            assert_eq!(base.join(&GoUrl::parse(reference).unwrap()).to_string(), wanted, "{reference}");
        }
    }
}
