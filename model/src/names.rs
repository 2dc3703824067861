//! Which metric and label names are valid, and how names are escaped for
//! readers that know only the older character set.
//!
//! ```text
//! http.status_code:sum
//!   underscores  http_status_code:sum
//!   dots         http_dot_status__code:sum
//!   values       U__http_2e_status__code:sum
//! ```
//!
//! Source: prometheus/common `model.ValidationScheme`, `model.EscapeName`.

use std::borrow::Cow;
use std::fmt;

/// Which names are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValidationScheme {
    /// Any text that is not empty.
    #[default]
    Utf8,
    /// Letters, digits, underscores, and colons in metric names.
    Legacy,
}

/// A text that names no validation scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized ValidationScheme: {}", crate::labels::go_quote(.0))]
pub struct UnknownValidationScheme(pub String);

impl ValidationScheme {
    /// The name as in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            ValidationScheme::Utf8 => "utf8",
            ValidationScheme::Legacy => "legacy",
        }
    }

    /// The scheme of that name, as in a configuration file.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn from_name(name: &str) -> Result<ValidationScheme, UnknownValidationScheme> {
        match name {
            "utf8" => Ok(ValidationScheme::Utf8),
            "legacy" => Ok(ValidationScheme::Legacy),
            _ => Err(UnknownValidationScheme(name.to_owned())),
        }
    }

    /// Whether a metric may have that name.
    pub fn is_valid_metric_name(self, name: &str) -> bool {
        match self {
            ValidationScheme::Utf8 => !name.is_empty(),
            ValidationScheme::Legacy => is_legacy_metric_name(name),
        }
    }

    /// Whether a label may have that name.
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            ValidationScheme::Utf8 => !name.is_empty(),
            ValidationScheme::Legacy => is_legacy_label_name(name),
        }
    }
}

impl fmt::Display for ValidationScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a metric name is valid in the older character set.
pub fn is_legacy_metric_name(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, c)| is_legacy_char(c, at))
}

/// Whether a label name is valid in the older character set.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// Whether the older character set has the character `at` bytes into a metric's name.
fn is_legacy_char(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

/// How names are written for readers of the older character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// As they are.
    NoEscaping,
    /// Each invalid character becomes an underscore.
    Underscores,
    /// Dots become `_dot_`; underscores and other invalid characters become `__`.
    Dots,
    /// `U__`, then each invalid character as its code: `_2e_`; can be read back whole.
    Values,
}

/// A text that names no escaping scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEscapingScheme {
    /// Nothing was given.
    #[error("got empty string instead of escaping scheme")]
    Empty,
    /// Something else was given.
    #[error("unknown format scheme {0}")]
    Unknown(String),
}

impl EscapingScheme {
    /// The name as in an Accept header.
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::NoEscaping => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }

    /// The scheme of that name, as in an Accept header or a configuration file.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn from_name(name: &str) -> Result<EscapingScheme, UnknownEscapingScheme> {
        match name {
            "" => Err(UnknownEscapingScheme::Empty),
            "allow-utf-8" => Ok(EscapingScheme::NoEscaping),
            "underscores" => Ok(EscapingScheme::Underscores),
            "dots" => Ok(EscapingScheme::Dots),
            "values" => Ok(EscapingScheme::Values),
            _ => Err(UnknownEscapingScheme::Unknown(name.to_owned())),
        }
    }

    /// The name as this scheme writes it.
    ///
    /// ```
    /// # use model::names::EscapingScheme;
    /// assert_eq!(EscapingScheme::Values.escape("http.code"), "U__http_2e_code");
    /// assert_eq!(EscapingScheme::Values.unescape("U__http_2e_code"), "http.code");
    /// ```
    pub fn escape(self, name: &str) -> Cow<'_, str> {
        let as_it_is = match self {
            EscapingScheme::NoEscaping => true,
            EscapingScheme::Underscores | EscapingScheme::Values => is_legacy_metric_name(name),
            // Underscores are doubled even in valid names.
            EscapingScheme::Dots => false,
        };
        if as_it_is || name.is_empty() {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == EscapingScheme::Values {
            out.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            match self {
                EscapingScheme::Underscores if !is_legacy_char(c, at) => out.push('_'),
                EscapingScheme::Dots if c == '.' => out.push_str("_dot_"),
                EscapingScheme::Dots if c == '_' || !is_legacy_char(c, at) => out.push_str("__"),
                EscapingScheme::Values if c == '_' => out.push_str("__"),
                EscapingScheme::Values if !is_legacy_char(c, at) => {
                    out.push_str(&format!("_{:x}_", u32::from(c)));
                }
                _ => out.push(c),
            }
        }
        Cow::Owned(out)
    }

    /// The name that was written so, as far as the scheme can be read back; a
    /// name that it cannot have written comes back as it is.
    pub fn unescape(self, name: &str) -> Cow<'_, str> {
        match self {
            EscapingScheme::NoEscaping | EscapingScheme::Underscores => Cow::Borrowed(name),
            EscapingScheme::Dots => Cow::Owned(name.replace("_dot_", ".").replace("__", "_")),
            EscapingScheme::Values => unescape_values(name).map_or(Cow::Borrowed(name), Cow::Owned),
        }
    }
}

impl fmt::Display for EscapingScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn unescape_values(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::with_capacity(rest.len());
    while let Some((plain, tail)) = rest.split_once('_') {
        out.push_str(plain);
        if let Some(tail) = tail.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let (code, tail) = tail.split_once('_')?;
        // Upstream gives up at a sixth digit, though the last plane has six.
        if code.len() > 5 || !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn older_names_are_letters_digits_underscores_and_colons() {
        for (name, metric, label) in [
            ("up", true, true),
            ("job:up:sum", true, false),
            ("_9", true, true),
            ("9_", false, false),
            ("", false, false),
            ("http.code", false, false),
            ("é", false, false),
        ] {
            assert_eq!(ValidationScheme::Legacy.is_valid_metric_name(name), metric, "{name}");
            assert_eq!(ValidationScheme::Legacy.is_valid_label_name(name), label, "{name}");
            assert_eq!(ValidationScheme::Utf8.is_valid_metric_name(name), !name.is_empty());
        }
    }

    #[test]
    fn names_are_escaped_by_scheme() {
        for (name, underscores, dots, values) in [
            ("", "", "", ""),
            ("no_change:9", "no_change:9", "no__change:9", "no_change:9"),
            (
                "mysystem.prod.west",
                "mysystem_prod_west",
                "mysystem_dot_prod_dot_west",
                "U__mysystem_2e_prod_2e_west",
            ),
            ("a.b_c", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"),
            ("9é", "__", "____", "U___39__e9_"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
        ] {
            assert_eq!(EscapingScheme::Underscores.escape(name), underscores);
            assert_eq!(EscapingScheme::Dots.escape(name), dots);
            assert_eq!(EscapingScheme::Values.escape(name), values);
            assert_eq!(EscapingScheme::NoEscaping.escape(name), name);
        }
    }

    #[test]
    fn what_values_cannot_have_written_stays() {
        for name in ["plain", "U__a_", "U__a_zz_", "U__a_2e", "U__d800_", "U___d800_", "U__a_000041_"] {
            assert_eq!(EscapingScheme::Values.unescape(name), name);
        }
        assert_eq!(EscapingScheme::Values.unescape("U__a__b_2E_c"), "a_b.c");
        assert_eq!(EscapingScheme::Dots.unescape("a_dot_b__c"), "a.b_c");
    }

    #[test]
    fn schemes_are_found_by_name() {
        for scheme in [
            EscapingScheme::NoEscaping,
            EscapingScheme::Underscores,
            EscapingScheme::Dots,
            EscapingScheme::Values,
        ] {
            assert_eq!(EscapingScheme::from_name(scheme.as_str()), Ok(scheme));
        }
        assert_eq!(EscapingScheme::from_name("x").unwrap_err().to_string(), "unknown format scheme x");
        assert_eq!(
            ValidationScheme::from_name("x").unwrap_err().to_string(),
            "unrecognized ValidationScheme: \"x\""
        );
    }

    proptest! {
        #[test]
        fn values_are_read_back_whole(name in "[a-z_.:0-9é😱]{1,12}") {
            let escaped = EscapingScheme::Values.escape(&name);
            prop_assert!(is_legacy_metric_name(&escaped));
            // A name that looks escaped already is ambiguous, there as here.
            if !name.starts_with("U__") {
                prop_assert_eq!(EscapingScheme::Values.unescape(&escaped), name.as_str());
            }
        }

        #[test]
        fn escaped_names_are_valid_in_the_older_set(name in "\\PC{1,12}") {
            for scheme in [EscapingScheme::Underscores, EscapingScheme::Dots, EscapingScheme::Values] {
                prop_assert!(is_legacy_metric_name(&scheme.escape(&name)));
            }
        }
    }
}
