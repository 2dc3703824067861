//! What stands before the router: the rate limit, users, and headers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use config::WebConfig;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use http::{Request, Response, StatusCode, Version};
use model::Clock;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::web_file::WebConfigSource;

/// Verdicts on credentials that are remembered.
const CACHE_MAX: usize = 100;
/// Compared with when there is no such user, so that the time tells nothing. No
/// password has this hash: its salt and sum are zeros.
const NOBODY: &str = "$2y$10$.....................................................";

/// Refuses a request of HTTP/1.1 that does not say in one place which host it is
/// for: servers on its way may have understood different ones.
pub(super) fn misaddressed<B>(request: &Request<B>) -> Option<Response<Bytes>> {
    let fault = match request.headers().get_all(HOST).iter().count() {
        _ if request.version() != Version::HTTP_11 => return None,
        0 => "missing required Host header",
        1 => return None,
        _ => "too many Host headers",
    };
    let mut response = Response::new(Bytes::from(format!("400 Bad Request: {fault}")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}

/// What stands before the router.
pub(super) struct Gate {
    source: WebConfigSource,
    limiter: Option<Mutex<Bucket>>,
    clock: Arc<dyn Clock>,
    verdicts: Mutex<HashMap<[u8; 32], bool>>,
    /// One comparison at a time: each takes a processor for long.
    comparing: tokio::sync::Mutex<()>,
}

/// Whether a request goes on.
pub(super) enum Verdict {
    /// It does, and its answer gets the headers of this configuration.
    Pass(Arc<WebConfig>),
    /// It is answered at once.
    Refuse(Response<Bytes>),
}

impl Gate {
    pub(super) fn new(source: WebConfigSource, web: &WebConfig, clock: Arc<dyn Clock>) -> Gate {
        let interval = web.rate_limit.interval.as_std();
        let limiter = (!interval.is_zero()).then(|| {
            let burst = u64::try_from(web.rate_limit.burst).unwrap_or(0);
            Mutex::new(Bucket::new(interval, burst, clock.monotonic()))
        });
        Gate { source, limiter, clock, verdicts: Mutex::default(), comparing: tokio::sync::Mutex::new(()) }
    }

    pub(super) async fn admit(&self, headers: &HeaderMap) -> Verdict {
        let web = match self.source.load() {
            Ok(web) => web,
            Err(error) => {
                tracing::error!(err = %error, "Unable to parse configuration");
                return Verdict::Refuse(refusal(StatusCode::INTERNAL_SERVER_ERROR));
            }
        };
        if let Some(limiter) = &self.limiter
            && !limiter.lock().take(self.clock.monotonic())
        {
            return Verdict::Refuse(refusal(StatusCode::TOO_MANY_REQUESTS));
        }
        if web.basic_auth_users.is_empty() {
            return Verdict::Pass(web);
        }
        if let Some((user, password)) = basic_credentials(headers)
            && self.is_user(&web, &user, password).await
        {
            return Verdict::Pass(web);
        }
        let mut response = refusal(StatusCode::UNAUTHORIZED);
        add_headers(response.headers_mut(), &web);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        Verdict::Refuse(response)
    }

    async fn is_user(&self, web: &WebConfig, user: &[u8], password: Vec<u8>) -> bool {
        let known = std::str::from_utf8(user).ok().and_then(|user| web.basic_auth_users.get(user));
        let hash = known.map_or(NOBODY, config::Secret::expose);
        let key = credential_key(user, hash, &password);
        if let Some(verdict) = self.verdicts.lock().get(&key) {
            return *verdict;
        }
        let hash = hash.to_owned();
        let turn = self.comparing.lock().await;
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
        let matches = matches!(compared.await, Ok(Ok(true)));
        drop(turn);
        let verdict = known.is_some() && matches;
        let mut verdicts = self.verdicts.lock();
        if verdicts.len() >= CACHE_MAX {
            // Any entry will do: it costs one comparison.
            let some = verdicts.keys().next().copied();
            some.map(|key| verdicts.remove(&key));
        }
        verdicts.insert(key, verdict);
        verdict
    }
}

/// One hash over user, hash and password, each with its length.
fn credential_key(user: &[u8], hash: &str, password: &[u8]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for part in [user, hash.as_bytes(), password] {
        sum.update((part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}

fn basic_credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

/// An answer as Go's `http.Error` gives it: the status text and a newline.
fn refusal(status: StatusCode) -> Response<Bytes> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or(""));
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Adds the configured headers that the answer does not have.
pub(super) fn add_headers(headers: &mut HeaderMap, web: &WebConfig) {
    for (name, value) in &web.http_server_config.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.entry(name).or_insert(value);
        }
    }
}

/// A token bucket: starts full, one token each interval.
struct Bucket {
    interval: Duration,
    burst: u64,
    tokens: u64,
    /// When the last token that is counted came.
    filled: Duration,
}

impl Bucket {
    fn new(interval: Duration, burst: u64, now: Duration) -> Bucket {
        Bucket { interval, burst, tokens: burst, filled: now }
    }

    fn take(&mut self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.filled);
        let came = elapsed.as_nanos() / self.interval.as_nanos().max(1);
        if came > 0 {
            let came = u64::try_from(came).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(came).min(self.burst);
            let spent = u32::try_from(came).ok().and_then(|came| self.interval.checked_mul(came));
            self.filled = spent.map_or(now, |spent| self.filled + spent);
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_yields_its_burst_then_one_each_interval() {
        let mut bucket = Bucket::new(Duration::from_secs(1), 2, Duration::ZERO);
        let at = |ms| Duration::from_millis(ms);
        assert!(bucket.take(at(0)) && bucket.take(at(0)) && !bucket.take(at(999)));
        assert!(bucket.take(at(1_500)) && !bucket.take(at(1_900)));
        assert!(bucket.take(at(2_000)));
        assert!(bucket.take(at(60_000)) && bucket.take(at(60_000)) && !bucket.take(at(60_000)));
    }

    #[test]
    fn credentials_of_other_splits_have_other_keys() {
        assert_ne!(credential_key(b"ab", "h", b"c"), credential_key(b"a", "h", b"bc"));
    }

    #[test]
    fn nobodys_hash_is_well_formed() {
        assert!(matches!(bcrypt::verify("anything", NOBODY), Ok(false)));
    }
}
