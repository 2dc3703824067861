//! Secrets: readable by the code that needs them, never printed.

use std::fmt;

use crate::decode::{Value, Walk};
use crate::tree::Node;
use crate::yaml::Yaml;

/// What stands for a secret wherever it is printed.
pub const SECRET_TOKEN: &str = "<secret>";

/// A text that must not appear in any output. It has no `Display`, its `Debug`
/// and its printed form hide it, and only [`Secret::expose`] yields it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the request it belongs to.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { SECRET_TOKEN })
    }
}

impl Value for Secret {
    fn zero() -> Secret {
        Secret::default()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Secret> {
        String::decode(node, walk).map(Secret)
    }

    fn encode(&self) -> Yaml {
        if self.0.is_empty() { Yaml::Null } else { Yaml::Str(SECRET_TOKEN.to_owned()) }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert_eq!(secret.encode(), Yaml::Str("<secret>".to_owned()));
        assert_eq!(secret.expose(), "hunter2");
    }
}
