//! The `Authorization` header of each request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{HttpClientConfig, Secret};
use http::{HeaderMap, HeaderValue};

use super::ClientOptions;
use super::oauth2::TokenSource;
use crate::error::{BuildError, Fault};
use crate::go_url::GoUrl;
use crate::secrets::SecretSource;

/// How requests say who sends them.
pub(super) enum Authenticator {
    None,
    Basic { username: SecretSource, password: SecretSource },
    Scheme { scheme: String, credentials: SecretSource },
    OAuth2(Box<TokenSource>),
}

impl Authenticator {
    pub(super) fn new(
        config: &HttpClientConfig,
        options: &ClientOptions,
    ) -> Result<Authenticator, BuildError> {
        if let Some(authorization) = &config.authorization {
            let credentials = SecretSource::new(
                &authorization.credentials,
                &authorization.credentials_file,
                &authorization.credentials_ref,
                "credentials",
            )?;
            return Ok(Authenticator::Scheme { scheme: authorization.scheme.clone(), credentials });
        }
        if let Some(basic) = &config.basic_auth {
            let name = Secret::new(basic.username.as_str());
            return Ok(Authenticator::Basic {
                username: SecretSource::new(&name, &basic.username_file, &basic.username_ref, "username")?,
                password: SecretSource::new(
                    &basic.password,
                    &basic.password_file,
                    &basic.password_ref,
                    "password",
                )?,
            });
        }
        if let Some(oauth2) = &config.oauth2 {
            return Ok(Authenticator::OAuth2(Box::new(TokenSource::new(oauth2, options)?)));
        }
        Ok(Authenticator::None)
    }

    /// The header's value now; `None` where requests say nothing.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Fault> {
        let fetch = |source: &SecretSource, what| source.fetch().map_err(|why| Fault::Secret { what, why });
        let text = match self {
            Authenticator::None => return Ok(None),
            Authenticator::Basic { username, password } => {
                let username = fetch(username, "basic auth username")?;
                let password = fetch(password, "basic auth password")?;
                basic(username.expose(), password.expose())
            }
            Authenticator::Scheme { scheme, credentials } => {
                let credentials = fetch(credentials, "authorization credentials")?;
                format!("{scheme} {}", credentials.expose()).trim_end().to_owned()
            }
            Authenticator::OAuth2(source) => source.authorization().await?,
        };
        sensitive(&text).map(Some)
    }
}

/// `Basic …`
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| Fault::HeaderValue("\"Authorization\"".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Turns `user:password@` of the URL into a header, unless there is one.
pub(super) fn add_userinfo(url: &GoUrl, headers: &mut HeaderMap) {
    let Some(userinfo) = url.userinfo() else { return };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    if let Ok(value) = sensitive(&basic(&unescaped(user), &unescaped(password)))
        && !headers.contains_key(http::header::AUTHORIZATION)
    {
        headers.insert(http::header::AUTHORIZATION, value);
    }
}

/// A percent-encoded text decoded.
pub(super) fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urls_user_becomes_a_header() {
        let url = GoUrl::parse("http://us%65r:p%40ss@host:1/p").unwrap();
        let mut headers = HeaderMap::new();
        add_userinfo(&url, &mut headers);
        assert_eq!(headers["authorization"], basic("user", "p@ss"));
        assert_eq!(url.host(), "host:1");
    }
}
