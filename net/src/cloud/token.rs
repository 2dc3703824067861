//! Access tokens that end: kept until they are to be renewed.

use config::Secret;
use model::Clock;
use serde::{Deserialize, Deserializer};

/// A token as OAuth2 servers and metadata services issue it.
#[derive(Deserialize)]
pub(super) struct IssuedToken {
    pub(super) access_token: String,
    /// Seconds; some servers write a text.
    #[serde(default, deserialize_with = "seconds")]
    pub(super) expires_in: i64,
    /// The same as a time in seconds since 1970, where that is all there is.
    #[serde(default, deserialize_with = "seconds")]
    pub(super) expires_on: i64,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_i64().unwrap_or(0),
        serde_json::Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    })
}

/// When a token is renewed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewal {
    /// So many milliseconds before it ends.
    Early(i64),
    /// When half of its life is over.
    Halfway,
}

/// The token last issued.
#[derive(Default)]
pub(super) struct TokenCell {
    token: Secret,
    renew_ms: i64,
}

impl TokenCell {
    /// The token, while it is good.
    pub(super) fn get(&self, clock: &dyn Clock) -> Option<Secret> {
        (!self.token.is_empty() && clock.now_ms() < self.renew_ms).then(|| self.token.clone())
    }

    /// Keeps a token and answers it; `None` where the answer holds none.
    pub(super) fn keep(
        &mut self,
        issued: &IssuedToken,
        clock: &dyn Clock,
        renewal: Renewal,
    ) -> Option<Secret> {
        if issued.access_token.is_empty() {
            return None;
        }
        let now = clock.now_ms();
        let life_ms = if issued.expires_in > 0 {
            issued.expires_in.saturating_mul(1000)
        } else {
            issued.expires_on.saturating_mul(1000).saturating_sub(now)
        };
        self.renew_ms = match renewal {
            Renewal::Early(by) => now.saturating_add(life_ms).saturating_sub(by),
            Renewal::Halfway => now.saturating_add(life_ms / 2),
        };
        self.token = Secret::new(issued.access_token.as_str());
        Some(self.token.clone())
    }

    /// Forgets a token that is refused.
    pub(super) fn forget(&mut self) {
        *self = TokenCell::default();
    }
}
