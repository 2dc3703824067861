//! Access tokens that end: kept until shortly before.

use model::Clock;
use serde::{Deserialize, Deserializer};

use config::Secret;

/// Tokens are renewed so long before they end.
const RENEWAL_MS: i64 = 120_000;

/// A token as OAuth2 servers and metadata services issue it.
#[derive(Deserialize)]
pub(crate) struct IssuedToken {
    access_token: String,
    /// Seconds; some servers write a text.
    #[serde(default, deserialize_with = "seconds")]
    expires_in: i64,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_i64().unwrap_or(0),
        serde_json::Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    })
}

/// The token last issued.
#[derive(Default)]
pub(crate) struct TokenCell {
    header: Secret,
    expires_ms: i64,
}

impl TokenCell {
    /// The value of the `Authorization` header, while the token is good.
    pub(crate) fn header(&self, clock: &dyn Clock) -> Option<String> {
        let is_good = !self.header.is_empty() && clock.now_ms() + RENEWAL_MS < self.expires_ms;
        is_good.then(|| self.header.expose().to_owned())
    }

    /// Keeps a token; answers the value of the header.
    pub(crate) fn keep(&mut self, issued: &IssuedToken, clock: &dyn Clock) -> String {
        self.header = Secret::new(format!("Bearer {}", issued.access_token));
        self.expires_ms = clock.now_ms().saturating_add(issued.expires_in.saturating_mul(1000));
        self.header.expose().to_owned()
    }

    /// Forgets a token that is refused.
    pub(crate) fn forget(&mut self) {
        *self = TokenCell::default();
    }
}
