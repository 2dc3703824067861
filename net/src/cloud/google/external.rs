//! Workload identity federation: a token of another provider, from a file or a
//! URL, is exchanged for one of Google.
//! Source: `golang.org/x/oauth2/google/externalaccount`.
//!
//! ```text
//! subject token ─▶ token service ─▶ token ─▶ (service account) ─▶ token
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::Secret;
use http::Method;
use serde::Deserialize;

use super::super::token::IssuedToken;
use super::super::{CloudError, FORM, TIMEOUT, ask, form, secret_of};
use super::JsonSecret;
use crate::client::HttpClient;

const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What the first token is for where a service account issues the second.
const CLOUD_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Life of a service account's token where the file does not say.
const LIFE_S: u64 = 3600;

/// A file with credentials of this kind.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: String,
    service_account_impersonation: Impersonation,
    credential_source: SubjectSource,
    client_id: String,
    client_secret: JsonSecret,
    workforce_pool_user_project: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Impersonation {
    token_lifetime_seconds: u64,
}

/// Where the other provider's token is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SubjectSource {
    file: String,
    url: String,
    headers: BTreeMap<String, String>,
    format: SubjectFormat,
    executable: Option<serde_json::Value>,
    environment_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubjectFormat {
    r#type: String,
    subject_token_field_name: String,
}

/// A service account's token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

impl ExternalAccount {
    /// Checks that the file says enough.
    pub(super) fn check(&self) -> Result<(), CloudError> {
        let source = &self.credential_source;
        let faults = [
            (self.audience.is_empty(), "Audience must be set"),
            (self.subject_token_type.is_empty(), "Subject token type must be set"),
            (source.executable.is_some(), "a credential source that runs a program is not supported"),
            (
                !source.environment_id.is_empty(),
                "a credential source of AWS is not supported: use a file or a URL",
            ),
            (source.file.is_empty() && source.url.is_empty(), "unable to parse credential source"),
            (
                !matches!(source.format.r#type.as_str(), "" | "text" | "json"),
                "invalid credential_source file format type",
            ),
        ];
        match faults.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, why)) => Err(CloudError::Unusable(format!("oauth2/google/externalaccount: {why}"))),
            None => Ok(()),
        }
    }

    /// A token for a scope.
    pub(super) async fn issue(&self, scope: &str, client: &HttpClient) -> Result<IssuedToken, CloudError> {
        let service_account = &self.service_account_impersonation_url;
        let first_scope = if service_account.is_empty() { scope } else { CLOUD_SCOPE };
        let token = self.exchange(first_scope, client).await?;
        if service_account.is_empty() {
            return Ok(token);
        }
        let life_s = match self.service_account_impersonation.token_lifetime_seconds {
            0 => LIFE_S,
            life_s => life_s,
        };
        let body = serde_json::json!({"lifetime": format!("{life_s}s"), "scope": [scope]}).to_string();
        let bearer = format!("Bearer {}", token.access_token);
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let answer = ask(client, Method::POST, service_account, &headers, body, TIMEOUT).await?;
        let issued: Impersonated = answer.success(service_account)?.json()?;
        let ends = issued.expire_time.parse::<jiff::Timestamp>();
        let ends = ends.map_err(|error| CloudError::Malformed(format!("unable to parse expiry: {error}")))?;
        Ok(IssuedToken { access_token: issued.access_token, expires_in: 0, expires_on: ends.as_second() })
    }

    async fn exchange(&self, scope: &str, client: &HttpClient) -> Result<IssuedToken, CloudError> {
        let subject = self.subject_token(client).await?;
        let mut pairs = vec![
            ("audience", self.audience.as_str()),
            ("grant_type", EXCHANGE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", &self.subject_token_type),
            ("subject_token", subject.expose()),
            ("scope", scope),
        ];
        let options = serde_json::json!({"userProject": self.workforce_pool_user_project}).to_string();
        if self.client_id.is_empty() && !self.workforce_pool_user_project.is_empty() {
            pairs.push(("options", &options));
        }
        let credentials = format!("{}:{}", self.client_id, self.client_secret.0.expose());
        let basic = format!("Basic {}", STANDARD.encode(credentials));
        let all = [FORM, ("authorization", basic.as_str())];
        let headers = if self.client_id.is_empty() { &all[..1] } else { &all[..] };
        let url = if self.token_url.is_empty() { TOKEN_URL } else { &self.token_url };
        ask(client, Method::POST, url, headers, form(pairs), TIMEOUT).await?.success(url)?.json()
    }

    async fn subject_token(&self, client: &HttpClient) -> Result<Secret, CloudError> {
        let source = &self.credential_source;
        let text = if source.file.is_empty() {
            let headers: Vec<(&str, &str)> =
                source.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = ask(client, Method::GET, &source.url, &headers, "", TIMEOUT).await?;
            Secret::new(answer.success(&source.url)?.text())
        } else {
            secret_of(PathBuf::from(&source.file))?
        };
        if source.format.r#type != "json" {
            return Ok(text);
        }
        let malformed = || {
            CloudError::Malformed(
                "oauth2/google/externalaccount: provided subject_token_field_name not found in credentials"
                    .to_owned(),
            )
        };
        let json: serde_json::Value = serde_json::from_str(text.expose()).map_err(|_| malformed())?;
        json[source.format.subject_token_field_name.as_str()].as_str().map(Secret::new).ok_or_else(malformed)
    }
}
