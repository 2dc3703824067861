//! Tokens of Google: for a key file, for what `gcloud` leaves in the home
//! folder, for the token of another provider, or from the machine's own service.
//! Source: `golang.org/x/oauth2/google`; Prometheus `storage/remote/googleiam`.

mod external;

use std::path::{Path, PathBuf};

use config::http_client::GRANT_TYPE_JWT_BEARER;
use config::{HttpClientConfig, Secret};
use http::Method;
use serde::Deserialize;
use tokio::sync::Mutex;

use self::external::ExternalAccount;
use super::token::{IssuedToken, Renewal, TokenCell};
use super::{CloudError, FORM, TIMEOUT, ask, form, surrounding_client};
use crate::client::{ClientOptions, HttpClient, jwt};

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// The machine's own service.
const MACHINE: &str = "metadata.google.internal";
/// Tokens are renewed so long before they end.
const RENEWAL_MS: i64 = 120_000;
/// How long a signed request for a token is good.
const ASSERTION_LIFE_S: i64 = 3600;

/// How a token is got.
enum Grant {
    /// The key of a service account signs requests for tokens.
    Key { url: String, email: String, key_id: String, key: Secret },
    /// For a refresh token: where, and the form to send.
    Refresh { url: String, form: Secret },
    /// For a token of another provider.
    External(Box<ExternalAccount>),
    /// The machine issues tokens at this URL.
    Machine { url: String },
}

/// Gets tokens and keeps them.
pub struct Tokens {
    grant: Grant,
    scope: String,
    client: HttpClient,
    options: ClientOptions,
    token: Mutex<TokenCell>,
    /// What requests are counted for, where that is not the token's own project.
    quota_project: String,
}

/// A file with credentials.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyFile {
    r#type: String,
    client_email: String,
    private_key: JsonSecret,
    private_key_id: String,
    token_uri: String,
    client_id: String,
    client_secret: JsonSecret,
    refresh_token: JsonSecret,
    quota_project_id: String,
}

/// A secret as JSON has it.
#[derive(Default)]
struct JsonSecret(Secret);

impl<'de> Deserialize<'de> for JsonSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<JsonSecret, D::Error> {
        String::deserialize(deserializer).map(|text| JsonSecret(Secret::new(text)))
    }
}

impl Tokens {
    /// Tokens for a scope, by the default credentials.
    ///
    /// # Errors
    /// A file with credentials is named or there, but cannot be used.
    pub fn of_surroundings(scope: &str, options: &ClientOptions) -> Result<Tokens, CloudError> {
        let variables = &options.variables;
        let named = variables.get("GOOGLE_APPLICATION_CREDENTIALS");
        if !named.is_empty() {
            return Tokens::of_file(Path::new(named), scope, options);
        }
        let home =
            PathBuf::from(variables.get("HOME")).join(".config/gcloud/application_default_credentials.json");
        if !variables.get("HOME").is_empty() && home.is_file() {
            return Tokens::of_file(&home, scope, options);
        }
        let host = match variables.get("GCE_METADATA_HOST") {
            "" => MACHINE,
            host => host,
        };
        let query = form([("scopes", scope)]);
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token?{query}");
        Tokens::new(Grant::Machine { url }, scope, options, String::new())
    }

    /// Tokens for a scope, by the key of a service account in a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn of_service_account(
        path: &Path,
        scope: &str,
        options: &ClientOptions,
    ) -> Result<Tokens, CloudError> {
        let tokens = Tokens::of_file(path, scope, options)?;
        match tokens.grant {
            Grant::Key { .. } => Ok(tokens),
            _ => Err(CloudError::Unusable(format!(
                "{}: credentials type mismatch: expected \"service_account\"",
                path.display()
            ))),
        }
    }

    fn new(
        grant: Grant,
        scope: &str,
        options: &ClientOptions,
        quota_project: String,
    ) -> Result<Tokens, CloudError> {
        // The machine's own service is near: no proxy leads there.
        let client = match &grant {
            Grant::Machine { .. } => HttpClient::new(&HttpClientConfig::default(), options.plain()),
            _ => surrounding_client(options),
        };
        Ok(Tokens {
            grant,
            scope: scope.to_owned(),
            client: client.map_err(|error| CloudError::Unusable(error.to_string()))?,
            options: options.clone(),
            token: Mutex::default(),
            quota_project,
        })
    }

    fn of_file(path: &Path, scope: &str, options: &ClientOptions) -> Result<Tokens, CloudError> {
        let text = super::secret_of(path)?;
        let malformed = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            CloudError::Malformed(format!("{}: no key file (line {line}, column {column})", path.display()))
        };
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(malformed)?;
        let url = if file.token_uri.is_empty() { TOKEN_URL } else { &file.token_uri }.to_owned();
        let grant = match file.r#type.as_str() {
            "service_account" => Grant::Key {
                url,
                email: file.client_email,
                key_id: file.private_key_id,
                key: file.private_key.0,
            },
            "authorized_user" => {
                let form = form([
                    ("grant_type", "refresh_token"),
                    ("client_id", &file.client_id),
                    ("client_secret", file.client_secret.0.expose()),
                    ("refresh_token", file.refresh_token.0.expose()),
                ]);
                Grant::Refresh { url, form: Secret::new(form) }
            }
            "external_account" => {
                let account: ExternalAccount = serde_json::from_str(text.expose()).map_err(malformed)?;
                account.check()?;
                Grant::External(Box::new(account))
            }
            other => {
                return Err(CloudError::Unusable(format!(
                    "{}: credentials of type {} are not supported: use a service account's key, a federated \
                     identity or the machine's",
                    path.display(),
                    model::labels::go_quote(other)
                )));
            }
        };
        let quota_project = match options.variables.get("GOOGLE_CLOUD_QUOTA_PROJECT") {
            "" => file.quota_project_id,
            project => project.to_owned(),
        };
        Tokens::new(grant, scope, options, quota_project)
    }

    /// What requests are counted for; mostly empty.
    pub fn quota_project(&self) -> &str {
        &self.quota_project
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// None is issued.
    pub async fn token(&self) -> Result<Secret, CloudError> {
        // Requests that need a new token wait for the one that asks for it.
        let mut cell = self.token.lock().await;
        let clock = &*self.options.clock;
        if let Some(token) = cell.get(clock) {
            return Ok(token);
        }
        let issued = self.issue().await;
        let issued = issued.map_err(|error| CloudError::Request(format!("cannot fetch token: {error}")))?;
        let missing =
            || CloudError::Malformed("cannot fetch token: the answer has no access_token".to_owned());
        cell.keep(&issued, clock, Renewal::Early(RENEWAL_MS)).ok_or_else(missing)
    }

    /// Forgets a token that is refused.
    pub async fn forget(&self) {
        self.token.lock().await.forget();
    }

    async fn issue(&self) -> Result<IssuedToken, CloudError> {
        let (url, body) = match &self.grant {
            Grant::Machine { url } => {
                let headers = [("Metadata-Flavor", "Google")];
                return ask(&self.client, Method::GET, url, &headers, "", TIMEOUT)
                    .await?
                    .success(url)?
                    .json();
            }
            Grant::External(account) => return account.issue(&self.scope, &self.client).await,
            Grant::Refresh { url, form } => (url, form.expose().to_owned()),
            Grant::Key { url, email, key_id, key } => {
                let now_s = self.options.clock.now_ms() / 1000;
                let claims = serde_json::json!({
                    "iss": email, "scope": self.scope, "aud": url, "iat": now_s, "exp": now_s + ASSERTION_LIFE_S,
                });
                let signed = jwt::sign(&claims, key.expose(), key_id, "RS256", serde_json::Map::new());
                let signed = signed.map_err(CloudError::Unusable)?;
                (url, form([("grant_type", GRANT_TYPE_JWT_BEARER), ("assertion", &signed)]))
            }
        };
        ask(&self.client, Method::POST, url, &[FORM], body, TIMEOUT).await?.success(url)?.json()
    }
}
