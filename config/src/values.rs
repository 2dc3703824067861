//! Values with a syntax of their own: durations, sizes, URLs, and paths that
//! are relative to the file they stand in.

use std::fmt;
use std::path::Path;

use model::labels::go_quote;
use model::time::{PromDuration, parse_duration_ms};

use crate::decode::{Value, Walk};
use crate::tree::Node;
use crate::yaml::Yaml;

/// A duration as the file writes it (`1h30m`), in milliseconds.
pub type Duration = PromDuration;

impl Value for PromDuration {
    fn zero() -> PromDuration {
        PromDuration(0)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<PromDuration> {
        let text = String::decode(node, walk)?;
        match parse_duration_ms(&text) {
            Ok(duration_ms) => Some(PromDuration(duration_ms)),
            Err(error) => {
                walk.invalid(error.to_string());
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.to_string())
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// A size in bytes; units are powers of 1024, with or without the `i`: `1KB` is
/// `1KiB`. May be negative in the text; blocks that mind refuse it.
/// Source: github.com/alecthomas/units, `Base2Bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub i64);

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not of the form `10MB`.
    #[error("units: invalid {0}")]
    Invalid(String),
    /// A number without a known unit behind it.
    #[error("units: unknown unit {unit} in {text}")]
    UnknownUnit {
        /// The unit as written; empty where there is none.
        unit: String,
        /// The whole text.
        text: String,
    },
}

const LETTERS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

impl ByteSize {
    /// Parses `1GiB` or `512MB`, also several in a row; plain `0` needs no unit.
    ///
    /// # Errors
    /// Not of that form, or beyond 64 bits.
    pub fn parse(text: &str) -> Result<ByteSize, SizeError> {
        ByteSize::parse_with(text, "iB").or_else(|_| ByteSize::parse_with(text, "B"))
    }

    fn parse_with(text: &str, suffix: &str) -> Result<ByteSize, SizeError> {
        let invalid = || SizeError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(ByteSize(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total = 0.0f64;
        while !rest.is_empty() {
            let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let (number, tail) = rest.split_at(number_len);
            let number: f64 = number.parse().map_err(|_| invalid())?;
            let unit_len = tail.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
            let (unit, tail) = tail.split_at(unit_len);
            let power = LETTERS
                .iter()
                .position(|letter| {
                    unit.strip_prefix(letter)
                        .is_some_and(|end| end == if letter.is_empty() { "B" } else { suffix })
                })
                .ok_or_else(|| SizeError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
            total += number * 1024f64.powi(i32::try_from(power).unwrap_or(0));
            rest = tail;
        }
        if total >= 9.3e18 {
            return Err(invalid());
        }
        let total = total as i64;
        Ok(ByteSize(if negative { -total } else { total }))
    }
}

/// `15MiB`, `1GiB512MiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0B");
        }
        let mut parts = Vec::new();
        for letter in LETTERS {
            if rest % 1024 != 0 {
                let suffix = if letter.is_empty() { "B" } else { "iB" };
                parts.push(format!("{}{letter}{suffix}", rest % 1024));
            }
            rest /= 1024;
            if rest == 0 {
                break;
            }
        }
        parts.iter().rev().try_for_each(|part| f.write_str(part))
    }
}

impl Value for ByteSize {
    fn zero() -> ByteSize {
        ByteSize(0)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<ByteSize> {
        let text = String::decode(node, walk)?;
        match ByteSize::parse(&text) {
            Ok(size) => Some(size),
            Err(error) => {
                walk.invalid(error.to_string());
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.to_string())
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// A URL as written, whose password does not print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Url {
    text: String,
}

/// A text that is no URL. The text itself may hold a password: it is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins with a colon, or its first path segment has one.
    #[error("parse URL: missing protocol scheme")]
    MissingScheme,
    /// It has a control character.
    #[error("parse URL: net/url: invalid control character in URL")]
    ControlCharacter,
    /// A character cannot stand in a host.
    #[error("parse URL: invalid character in host name")]
    InvalidHost,
    /// What follows the host's colon is no number.
    #[error("parse URL: invalid port after host")]
    InvalidPort,
    /// A percent sign without two hexadecimal digits behind it.
    #[error("parse URL: invalid URL escape")]
    InvalidEscape,
}

/// The parts of a URL, borrowed; absent parts are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// `http`
    pub scheme: &'a str,
    /// `user:password`, percent-encoded as written.
    pub userinfo: &'a str,
    /// Host and port.
    pub host: &'a str,
    /// Path, query and fragment as written.
    pub rest: &'a str,
}

impl Url {
    /// Parses a URL as leniently as Go does: a path alone is one too.
    ///
    /// # Errors
    /// What Go's `url.Parse` refuses.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        split_url(text)?;
        Ok(Url { text: text.to_owned() })
    }

    /// The URL as written, password included: for the request only.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Its parts.
    pub fn parts(&self) -> UrlParts<'_> {
        split_url(&self.text).unwrap_or_default()
    }

    /// Whether it was written as an empty text.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The URL with `xxxxx` for its password.
    pub fn redacted(&self) -> String {
        let parts = self.parts();
        let Some((user, _)) = parts.userinfo.split_once(':') else { return self.text.clone() };
        format!("{}://{user}:xxxxx@{}{}", parts.scheme.to_ascii_lowercase(), parts.host, parts.rest)
    }
}

/// Splits a URL by Go's rules.
///
/// # Errors
/// What Go's `url.Parse` refuses.
pub fn split_url(text: &str) -> Result<UrlParts<'_>, UrlError> {
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(UrlError::ControlCharacter);
    }
    let (scheme, rest) = split_scheme(text)?;
    let mut parts = UrlParts { scheme, rest, ..UrlParts::default() };
    if let Some(after) = rest.strip_prefix("//") {
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        (parts.userinfo, parts.host) = authority.rsplit_once('@').unwrap_or(("", authority));
        parts.rest = tail;
        check_host(parts.host)?;
    } else if scheme.is_empty() {
        let first = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if first.contains(':') {
            return Err(UrlError::MissingScheme);
        }
    }
    let path = parts.rest.split(['?']).next().unwrap_or_default();
    check_escapes(path)?;
    Ok(parts)
}

fn split_scheme(text: &str) -> Result<(&str, &str), UrlError> {
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err(UrlError::MissingScheme),
            b':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), UrlError> {
    let port = match host.strip_prefix('[') {
        Some(inner) => {
            let (_, after) = inner.split_once(']').ok_or(UrlError::InvalidHost)?;
            if !after.is_empty() && !after.starts_with(':') {
                return Err(UrlError::InvalidPort);
            }
            after.strip_prefix(':').unwrap_or("")
        }
        None => host.rsplit_once(':').map_or("", |(_, port)| port),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::InvalidPort);
    }
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Err(UrlError::InvalidHost);
    }
    check_escapes(host)
}

fn check_escapes(text: &str) -> Result<(), UrlError> {
    let bytes = text.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, b)| **b == b'%');
    for (i, _) in escapes {
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        if !hex(i + 1) || !hex(i + 2) {
            return Err(UrlError::InvalidEscape);
        }
    }
    Ok(())
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Value for Url {
    fn zero() -> Url {
        Url::default()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Url> {
        let text = String::decode(node, walk)?;
        // Go's reader hands these to no type of its own, quoted or not.
        if matches!(text.as_str(), "null" | "~") {
            walk.mistyped(node, "config.URL");
            return None;
        }
        match Url::parse(&text) {
            Ok(url) => Some(url),
            Err(error) => {
                walk.invalid(error.to_string());
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.redacted())
    }

    fn is_zero(&self) -> bool {
        self.text.is_empty()
    }
}

/// Joins a relative path with the folder of the file it stands in; an empty
/// path stays empty. As Go's `filepath.Join`, `.` and `..` are resolved.
pub fn join_dir(dir: &Path, path: &mut String) {
    if path.is_empty() || Path::new(path.as_str()).is_absolute() {
        return;
    }
    // An empty folder means the present one, not the root.
    let dir = dir.to_string_lossy();
    *path = if dir.is_empty() { clean_path(path) } else { clean_path(&format!("{dir}/{path}")) };
}

/// A path without empty, `.` and resolvable `..` segments, as Go's
/// `filepath.Clean`.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Records a reserved or unknown value: `field "x"` in Go's quotes.
pub(crate) fn quoted(text: &str) -> String {
    go_quote(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print_in_powers_of_1024() {
        for (text, bytes, printed) in [
            ("15MB", 15 << 20, "15MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("0", 0, "0B"),
            ("1536KiB", 1536 << 10, "1MiB512KiB"),
            ("-1GiB", -(1 << 30), "-1GiB"),
            ("100B", 100, "100B"),
            ("1.5KB", 1536, "1KiB512B"),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), printed);
        }
        assert_eq!(ByteSize::parse("100").unwrap_err().to_string(), "units: unknown unit  in 100");
        assert!(ByteSize::parse("").is_err());
        assert!(ByteSize::parse("99999EB").is_err());
    }

    #[test]
    fn a_password_in_a_url_does_not_print() {
        let url = Url::parse("https://user:hunter2@host:1/p?q#f").unwrap();
        assert_eq!(url.redacted(), "https://user:xxxxx@host:1/p?q#f");
        assert!(!format!("{url:?} {url}").contains("hunter2"));
        assert_eq!(url.parts().host, "host:1");
    }

    #[test]
    fn urls_are_refused_as_go_does() {
        for text in
            ["://x", "http://a:b", "http://a b/", "localhost:80", "http://%zz/", "a\nb", "invalid\u{1}"]
        {
            // `localhost:80` parses as scheme and opaque part.
            assert_eq!(Url::parse(text).is_err(), text != "localhost:80", "{text:?}");
        }
        for text in ["", "/path", "http://h", "unix:///run/x.sock", "http://[::1]:80/"] {
            assert!(Url::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn relative_paths_join_the_files_folder() {
        let joined = |dir: &str, path: &str| {
            let mut path = path.to_owned();
            join_dir(Path::new(dir), &mut path);
            path
        };
        assert_eq!(joined("conf", "a/b"), "conf/a/b");
        assert_eq!(joined("conf", "/a/b"), "/a/b");
        assert_eq!(joined("conf", ""), "");
        assert_eq!(joined("/etc/x", "../y"), "/etc/y");
        assert_eq!(joined(".", "a"), "a");
        assert_eq!(joined("", "a"), "a");
    }
}
