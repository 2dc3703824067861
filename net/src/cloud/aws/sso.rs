//! Credentials by AWS' single sign-on: the token that `aws sso login` left in
//! the home folder is exchanged for those of a role.
//!
//! ```text
//! profile ─▶ file of the token ─▶ (renewed) ─▶ portal ─▶ credentials
//! ```
//!
//! Source: `aws-sdk-go-v2/credentials/ssocreds`.

use std::path::{Path, PathBuf};

use config::Secret;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::profile::{Profile, sso_session};
use super::sha1::sha1;
use super::{Credentials, Endpoints};
use crate::client::{HttpClient, Variables};
use crate::cloud::{CloudError, TIMEOUT, ask, form};
use crate::error::io_text;

/// What a profile says of its sign-on.
pub(super) struct SignOn {
    region: String,
    account: String,
    role: String,
    /// What the token's file is named after.
    key: String,
    /// Tokens of sessions can be renewed.
    has_session: bool,
}

/// The sign-on of a profile, if it has one.
///
/// # Errors
/// It lacks a part.
pub(super) fn sign_on(
    name: &str,
    profile: &Profile,
    variables: &Variables,
) -> Result<Option<SignOn>, CloudError> {
    let setting = |name: &str| profile.get(name).map_or("", String::as_str);
    let names = ["sso_region", "sso_start_url", "sso_account_id", "sso_role_name"];
    let unusable = |what: String| Err(CloudError::Unusable(what));
    let missing = |parts: &[&str]| {
        unusable(format!(
            "profile {} is configured to use SSO but is missing required configuration: {}",
            model::labels::go_quote(name),
            parts.join(", ")
        ))
    };
    let (account, role) = (setting("sso_account_id").to_owned(), setting("sso_role_name").to_owned());
    let session_name = setting("sso_session");
    if session_name.is_empty() {
        if names.iter().all(|name| setting(name).is_empty()) {
            return Ok(None);
        }
        let absent: Vec<&str> = names.into_iter().filter(|name| setting(name).is_empty()).collect();
        if !absent.is_empty() {
            return missing(&absent);
        }
        let (region, key) = (setting("sso_region").to_owned(), setting("sso_start_url").to_owned());
        return Ok(Some(SignOn { region, account, role, key, has_session: false }));
    }
    let Some(session) = sso_session(session_name, variables) else { return missing(&["sso-session"]) };
    let of_session = |name: &str| session.get(name).map_or("", String::as_str);
    let shared = ["sso_region", "sso_start_url"];
    let absent: Vec<&str> = shared.into_iter().filter(|name| of_session(name).is_empty()).collect();
    if !absent.is_empty() {
        return missing(&absent);
    }
    for part in shared {
        if !setting(part).is_empty() && setting(part) != of_session(part) {
            let profile = model::labels::go_quote(name);
            return unusable(format!("{part} in profile {profile} must match {part} in sso-session"));
        }
    }
    let (region, key) = (of_session("sso_region").to_owned(), session_name.to_owned());
    Ok(Some(SignOn { region, account, role, key, has_session: true }))
}

/// Where the token of a session or portal is kept.
fn token_file(key: &str, variables: &Variables) -> PathBuf {
    let name = sha1(key.as_bytes()).map(|byte| format!("{byte:02x}")).concat();
    PathBuf::from(variables.get("HOME")).join(".aws/sso/cache").join(format!("{name}.json"))
}

/// A token as its file has it: fields that are not known are kept.
struct Token {
    fields: Map<String, Value>,
    expires_ms: i64,
}

impl Token {
    fn read(path: &Path) -> Result<Token, CloudError> {
        let failed =
            |why: String| CloudError::Unusable(format!("failed to read cached SSO token file, {why}"));
        let text = std::fs::read_to_string(path)
            .map_err(|error| failed(format!("open {}: {}", path.display(), io_text(&error))))?;
        // Its text would quote the token.
        let fields: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|_| CloudError::Unusable("failed to parse cached SSO token file".to_owned()))?;
        let expires = fields.get("expiresAt").and_then(Value::as_str);
        let expires = expires.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        match expires {
            Some(expires)
                if fields.get("accessToken").and_then(Value::as_str).is_some_and(|t| !t.is_empty()) =>
            {
                Ok(Token { fields, expires_ms: expires.as_millisecond() })
            }
            _ => Err(CloudError::Unusable(
                "cached SSO token must contain accessToken and expiresAt fields".to_owned(),
            )),
        }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Puts the token in its file's place, for AWS' tools and the next start.
    fn write(&self, path: &Path) -> Result<(), CloudError> {
        let failed = |error: std::io::Error| {
            CloudError::Unusable(format!("unable to cache refreshed SSO token, {}", io_text(&error)))
        };
        let permissions = std::fs::metadata(path).map_err(failed)?.permissions();
        let fresh = path.with_extension("json.tmp-narthex");
        let written = std::fs::File::create(&fresh).and_then(|file| {
            file.set_permissions(permissions)?;
            serde_json::to_writer(&file, &self.fields)?;
            std::fs::rename(&fresh, path)
        });
        written.map_err(failed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    access_token: String,
    #[serde(default)]
    expires_in: i64,
    #[serde(default)]
    refresh_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleAnswer {
    role_credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: String,
    #[serde(default)]
    expiration: i64,
}

impl SignOn {
    /// The credentials of the role.
    ///
    /// # Errors
    /// There is no token, it has ended and cannot be renewed, or it is refused.
    pub(super) async fn credentials(
        &self,
        endpoints: &Endpoints<'_>,
        client: &HttpClient,
        now_ms: i64,
    ) -> Result<Credentials, CloudError> {
        let path = token_file(&self.key, endpoints.variables);
        let mut token = match Token::read(&path) {
            Err(error) if !self.has_session => {
                return Err(CloudError::Unusable(format!(
                    "the SSO session has expired or is invalid: {error}"
                )));
            }
            other => other?,
        };
        if now_ms > token.expires_ms {
            if !self.has_session {
                return Err(CloudError::Unusable("the SSO session has expired or is invalid".to_owned()));
            }
            let renewed = self.renew(&mut token, &path, endpoints, client, now_ms).await;
            renewed
                .map_err(|error| CloudError::Request(format!("refresh cached SSO token failed, {error}")))?;
        }
        let query = form([("role_name", self.role.as_str()), ("account_id", &self.account)]);
        let portal = endpoints.of("SSO", "portal.sso", &self.region);
        let url = format!("{}/federation/credentials?{query}", portal.trim_end_matches('/'));
        let headers = [("x-amz-sso_bearer_token", token.field("accessToken"))];
        let answer = ask(client, Method::GET, &url, &headers, "", TIMEOUT).await?;
        let answer: RoleAnswer = answer.success("operation error SSO: GetRoleCredentials")?.json()?;
        let role = answer.role_credentials;
        Ok(Credentials {
            id: role.access_key_id,
            secret: Secret::new(role.secret_access_key),
            token: Secret::new(role.session_token),
            expires_ms: Some(role.expiration),
        })
    }

    async fn renew(
        &self,
        token: &mut Token,
        path: &Path,
        endpoints: &Endpoints<'_>,
        client: &HttpClient,
        now_ms: i64,
    ) -> Result<(), CloudError> {
        let parts = ["clientId", "clientSecret", "refreshToken"];
        if parts.iter().any(|name| token.field(name).is_empty()) {
            return Err(CloudError::Unusable(
                "cached SSO token is expired, or not present, and cannot be refreshed".to_owned(),
            ));
        }
        let mut request = Map::from_iter([("grantType".to_owned(), Value::from("refresh_token"))]);
        request.extend(parts.map(|name| (name.to_owned(), Value::from(token.field(name)))));
        let service = endpoints.of("SSO_OIDC", "oidc", &self.region);
        let url = format!("{}/token", service.trim_end_matches('/'));
        let headers = [("content-type", "application/json")];
        let body = Value::Object(request).to_string();
        let answer = ask(client, Method::POST, &url, &headers, body, TIMEOUT).await?;
        let renewed: Renewed = answer.success("operation error SSO OIDC: CreateToken")?.json()?;
        token.expires_ms = now_ms.saturating_add(renewed.expires_in.saturating_mul(1000));
        let expires = jiff::Timestamp::from_millisecond(token.expires_ms);
        let expires = expires.map_err(|error| CloudError::Malformed(error.to_string()))?;
        for (name, value) in [
            ("accessToken", renewed.access_token),
            ("refreshToken", renewed.refresh_token),
            ("expiresAt", expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ] {
            token.fields.insert(name.to_owned(), Value::from(value));
        }
        token.write(path)
    }
}
