//! Tokens from an OAuth2 server: asked for when needed, kept until shortly
//! before they end.
//! Source: `golang.org/x/oauth2`; prometheus/common `config/oauth_assertion.go`.

use std::time::Duration;

use bytes::Bytes;
use config::http_client::{GRANT_TYPE_JWT_BEARER, OAuth2};
use config::yaml::Yaml;
use config::{HttpClientConfig, Secret};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::sync::Mutex;

use super::auth::basic;
use super::{ClientOptions, HttpClient, jwt};
use crate::error::{BuildError, Fault};
use crate::secrets::SecretSource;

/// A token is renewed this long before it ends.
const EARLY: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;
/// How long a signed request for a token is good.
const ASSERTION_LIFE_S: i64 = 600;

/// Where one block's tokens come from.
pub(super) struct TokenSource {
    config: OAuth2,
    credential: SecretSource,
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Made when it is first needed: files of TLS may come later, and until then
    /// it is requests that fail.
    client: Option<HttpClient>,
    token: Option<Token>,
    /// The secret that the token was asked for with.
    secret: Secret,
    /// Whether the server wants the client's name and secret in the form.
    in_form: bool,
    n_assertions: u64,
}

struct Token {
    header: Secret,
    /// On the monotonic clock; `None`: it does not end.
    ends: Option<Duration>,
}

impl TokenSource {
    pub(super) fn new(config: &OAuth2, options: &ClientOptions) -> Result<TokenSource, BuildError> {
        let credential = if config.grant_type == GRANT_TYPE_JWT_BEARER {
            SecretSource::new(
                &config.client_certificate_key,
                &config.client_certificate_key_file,
                &config.client_certificate_key_ref,
                "client certificate",
            )?
        } else {
            SecretSource::new(
                &config.client_secret,
                &config.client_secret_file,
                &config.client_secret_ref,
                "client secret",
            )?
        };
        let (config, options) = (config.clone(), options.plain());
        Ok(TokenSource { config, credential, options, state: Mutex::default() })
    }

    /// What asks for tokens.
    fn client(&self, state: &mut State) -> Result<HttpClient, Fault> {
        if let Some(client) = &state.client {
            return Ok(client.clone());
        }
        let config = HttpClientConfig {
            tls_config: self.config.tls_config.clone(),
            proxy: self.config.proxy.clone(),
            ..HttpClientConfig::default()
        };
        let client = HttpClient::new(&config, self.options.clone());
        let client = client.map_err(|error| Fault::Token(error.to_string()))?;
        state.client = Some(client.clone());
        Ok(client)
    }

    /// The `Authorization` header of a token that is good now.
    pub(super) async fn authorization(&self) -> Result<String, Fault> {
        let secret = self.credential.fetch();
        let secret = secret.map_err(|why| Fault::Secret { what: "oauth2 client secret", why })?;
        // Requests that need a new token wait for the one that asks for it.
        let mut state = self.state.lock().await;
        let now = self.options.clock.monotonic();
        if state.secret == secret
            && let Some(token) = &state.token
            && token.ends.is_none_or(|ends| now + EARLY < ends)
        {
            return Ok(token.header.expose().to_owned());
        }
        let client = self.client(&mut state)?;
        let token = self.fetch(&client, &mut state, &secret).await.map_err(Fault::Token)?;
        let header = token.header.expose().to_owned();
        state.token = Some(token);
        state.secret = secret;
        Ok(header)
    }

    async fn fetch(&self, client: &HttpClient, state: &mut State, secret: &Secret) -> Result<Token, String> {
        if self.config.grant_type == GRANT_TYPE_JWT_BEARER {
            let form = self.assertion_form(state, secret)?;
            return self.ask(client, form, None).await.map_err(|(_, why)| why);
        }
        if !state.in_form {
            let user = form_urlencoded::byte_serialize(self.config.client_id.as_bytes()).collect::<String>();
            let password = form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect::<String>();
            let outcome = self.ask(client, self.credentials_form(None), Some(basic(&user, &password))).await;
            match outcome {
                Ok(token) => return Ok(token),
                // Servers that refuse the header are asked again with a form.
                Err((Some(status), _)) if status.is_client_error() => {}
                Err((_, why)) => return Err(why),
            }
        }
        let token =
            self.ask(client, self.credentials_form(Some(secret)), None).await.map_err(|(_, why)| why)?;
        state.in_form = true;
        Ok(token)
    }

    fn credentials_form(&self, secret: Option<&Secret>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        if !self.config.endpoint_params.contains_key("grant_type") {
            form.append_pair("grant_type", "client_credentials");
        }
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        if let Some(secret) = secret {
            form.append_pair("client_id", &self.config.client_id);
            if !secret.is_empty() {
                form.append_pair("client_secret", secret.expose());
            }
        }
        form.extend_pairs(&self.config.endpoint_params);
        form.finish()
    }

    fn assertion_form(&self, state: &mut State, key: &Secret) -> Result<String, String> {
        let config = &self.config;
        let now_s = self.options.clock.now_ms() / 1000;
        state.n_assertions += 1;
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let mut claims = serde_json::json!({
            "iss": or(&config.iss, &config.client_id),
            "sub": config.client_id,
            "jti": format!("{}-{now_s}-{}", config.client_id, state.n_assertions),
            "aud": or(&config.audience, &config.token_url),
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFE_S,
        });
        let scope = config.scopes.join(" ");
        if !scope.is_empty() {
            claims["scope"] = scope.as_str().into();
        }
        for (name, claim) in &config.claims {
            claims[name.as_str()] = json(&claim.0);
        }
        let assertion = jwt::sign(
            &claims,
            key.expose(),
            &config.client_certificate_key_id,
            &config.signature_algorithm,
            serde_json::Map::new(),
        )?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        if !config.endpoint_params.contains_key("grant_type") {
            form.append_pair("grant_type", GRANT_TYPE_JWT_BEARER);
        }
        form.append_pair("assertion", &assertion);
        if !scope.is_empty() {
            form.append_pair("scope", &scope);
        }
        for (name, value) in &config.endpoint_params {
            if matches!(name.as_str(), "assertion" | "scope") {
                return Err(format!("oauth2: cannot overwrite parameter \"{name}\""));
            }
            form.append_pair(name, value);
        }
        Ok(form.finish())
    }

    /// Asks for a token; a refusal comes with its status.
    async fn ask(
        &self,
        client: &HttpClient,
        form: String,
        authorization: Option<String>,
    ) -> Result<Token, (Option<StatusCode>, String)> {
        let failed = |why: String| (None, format!("oauth2: cannot fetch token: {why}"));
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            self.config.token_url.parse().map_err(|_| failed("token_url is no URL".to_owned()))?;
        let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form_type);
        if let Some(text) = authorization.and_then(|text| http::HeaderValue::from_str(&text).ok()) {
            request.headers_mut().insert(AUTHORIZATION, text);
        }
        let response = Box::pin(client.send(request)).await.map_err(|error| (None, error.to_string()))?;
        let status = response.status();
        let form_answer = is_form(&response);
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !status.is_success() {
            let reason = status.canonical_reason().unwrap_or("");
            let shown = String::from_utf8_lossy(&body);
            let why = format!("oauth2: cannot fetch token: {} {reason}\nResponse: {shown}", status.as_u16());
            return Err((Some(status), why));
        }
        let (access, kind, life_s) = parse_answer(&body, form_answer).map_err(failed)?;
        if access.is_empty() {
            return Err((None, "oauth2: server response missing access_token".to_owned()));
        }
        let now = self.options.clock.monotonic();
        let ends = (life_s > 0).then(|| now + Duration::from_secs(life_s));
        Ok(Token { header: Secret::new(format!("{} {access}", token_scheme(&kind))), ends })
    }
}

fn is_form<B>(response: &http::Response<B>) -> bool {
    let content_type =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim();
    matches!(essence, "application/x-www-form-urlencoded" | "text/plain")
}

/// Access token, its kind, and its life in seconds (0: no end).
fn parse_answer(body: &[u8], is_form: bool) -> Result<(String, String, u64), String> {
    if is_form {
        let mut answer = (String::new(), String::new(), 0);
        for (name, value) in form_urlencoded::parse(body) {
            match name.as_ref() {
                "access_token" => answer.0 = value.into_owned(),
                "token_type" => answer.1 = value.into_owned(),
                "expires_in" => answer.2 = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        return Ok(answer);
    }
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("cannot parse json: {error}"))?;
    let text = |name: &str| json[name].as_str().unwrap_or("").to_owned();
    let life = &json["expires_in"];
    let life_s = life.as_u64().or_else(|| life.as_str().and_then(|text| text.parse().ok())).unwrap_or(0);
    Ok((text("access_token"), text("token_type"), life_s))
}

/// The scheme that a token's kind stands for.
fn token_scheme(kind: &str) -> &str {
    match kind.to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer",
        "mac" => "MAC",
        "basic" => "Basic",
        _ => kind,
    }
}

fn json(value: &Yaml) -> serde_json::Value {
    match value {
        Yaml::Null => serde_json::Value::Null,
        Yaml::Bool(value) => (*value).into(),
        Yaml::Int(value) => i64::try_from(*value).map_or_else(|_| (*value as f64).into(), Into::into),
        Yaml::Float(value) => (*value).into(),
        Yaml::Str(text) => text.as_str().into(),
        Yaml::Seq(items) | Yaml::FlowSeq(items) => items.iter().map(json).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
