//! Tokens of Azure: for an application's secret or certificate, a federated
//! token, the machine's own identity, or a developer's sign-on.
//! Source: Azure SDK for Go, `azidentity`; Prometheus `storage/remote/azuread`.
//!
//! ```text
//! way ─▶ one grant, or a chain of them ─▶ request (signed with a certificate) or program ─▶ token
//! ```

mod certificate;
mod chain;
mod grant;
mod machine;
mod tool;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::Secret;
use config::azuread::AzureAdConfig;
use http::Method;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use self::certificate::CertificateFile;
use self::chain::{Chain, Offer, Refusal};
use self::grant::{Grant, Proof, Source};
use super::token::{IssuedToken, Renewal, TokenCell};
use super::{CloudError, FORM, TIMEOUT, ask, form, secret_of, surrounding_client};
use crate::client::{ClientOptions, HttpClient, jwt};

/// Where the public cloud's directories are.
const PUBLIC_LOGIN: &str = "https://login.microsoftonline.com";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SCOPE_END: &str = "/.default";
/// How long a signed request for a token is good.
const ASSERTION_LIFE_S: i64 = 600;

/// Who asks for tokens.
#[derive(Clone, Debug)]
pub enum Way {
    /// An application, by its secret.
    Secret {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// Its secret.
        secret: Secret,
    },
    /// An application, by its certificate.
    Certificate {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// The certificate's file.
        path: PathBuf,
        /// The key's file, where it stands in another.
        key_path: Option<PathBuf>,
        /// The password of a file in PKCS #12.
        password: Secret,
        /// Whether the whole chain is sent.
        send_chain: bool,
    },
    /// A workload of a cluster, by the token in a file. Parts that are empty
    /// are named by the environment.
    Workload {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// The file.
        token_file: String,
    },
    /// The machine, by one of its identities.
    Machine {
        /// Which; its own where empty.
        client: String,
    },
    /// The first that gives a token of what the environment offers: secret,
    /// certificate or password, workload, machine, command-line tools.
    Environment {
        /// The directory of a workload or a tool; they name their own where empty.
        tenant: String,
    },
}

/// Gets tokens and keeps them.
pub struct Tokens {
    source: Source,
    client: HttpClient,
    scope: String,
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: TokenCell,
    /// What gave the first token of a chain.
    chosen: Option<(Offer, Grant)>,
}

impl Tokens {
    /// Tokens for a scope, which ends in `/.default`, from the directory at `login`.
    ///
    /// # Errors
    /// The environment lacks what the way needs, or a certificate cannot be used.
    pub fn new(way: Way, login: &str, scope: &str, options: &ClientOptions) -> Result<Tokens, CloudError> {
        // A cloud that the block names is asked where it is.
        let login = match options.variables.get("AZURE_AUTHORITY_HOST") {
            host if !host.is_empty() && login == PUBLIC_LOGIN => host,
            _ => login,
        };
        let source = grant::source(way, login.trim_end_matches('/'), scope, &options.variables)?;
        let client = surrounding_client(options);
        let client = client.map_err(|error| CloudError::Unusable(error.to_string()))?;
        let (scope, options) = (scope.to_owned(), options.clone());
        Ok(Tokens { source, client, scope, options, state: Mutex::default() })
    }

    /// Tokens as an `azuread` block wants them.
    ///
    /// # Errors
    /// As [`Tokens::new`]; or the cloud is none.
    pub fn of_block(config: &AzureAdConfig, options: &ClientOptions) -> Result<Tokens, CloudError> {
        let (login, audience) = match config.cloud.to_ascii_lowercase().as_str() {
            "azurechina" => ("https://login.chinacloudapi.cn", "https://monitor.azure.cn/"),
            "azuregovernment" => ("https://login.microsoftonline.us", "https://monitor.azure.us/"),
            "azurepublic" => (PUBLIC_LOGIN, "https://monitor.azure.com/"),
            _ => {
                let cloud = &config.cloud;
                return Err(CloudError::Unusable(format!("Cloud is not specified or is incorrect: {cloud}")));
            }
        };
        let scope = match config.scope.as_str() {
            "" => format!("{audience}{SCOPE_END}"),
            scope => scope.to_owned(),
        };
        Tokens::new(way_of(config)?, login, &scope, options)
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// None is issued.
    pub async fn token(&self) -> Result<Secret, CloudError> {
        // Requests that need a new token wait for the one that asks for it.
        let mut state = self.state.lock().await;
        let State { token, chosen } = &mut *state;
        let clock = &*self.options.clock;
        if let Some(token) = token.get(clock) {
            return Ok(token);
        }
        let issued = match (&self.source, &*chosen) {
            (Source::One(grant), _) => self.issue(grant).await.map_err(CloudError::from),
            (Source::Chain(_), Some((offer, grant))) => {
                self.issue(grant).await.map_err(|refusal| refusal.of(*offer))
            }
            (Source::Chain(chain), None) => match self.first_of(chain).await {
                Ok((offer, grant, issued)) => {
                    *chosen = Some((offer, grant));
                    Ok(issued)
                }
                Err(error) => Err(error),
            },
        };
        let failed = |why: &str| CloudError::Request(why.to_owned());
        if token.keep(&issued?, clock, Renewal::Halfway).is_none() {
            return Err(failed("access token is empty"));
        }
        token.get(clock).ok_or_else(|| failed("access token expiry is less than the current time"))
    }

    /// The first source that gives a token.
    async fn first_of(&self, chain: &Chain) -> Result<(Offer, Grant, IssuedToken), CloudError> {
        let is_alone = chain.offers.len() == 1;
        let mut tried = Vec::new();
        for &offer in &chain.offers {
            let refusal = match chain.grant(offer, &self.scope, &self.options.variables) {
                Ok(grant) => match self.issue_of(&grant, is_alone).await {
                    Ok(issued) => return Ok((offer, grant, issued)),
                    Err(refusal) => refusal,
                },
                Err(error) => Refusal::Unavailable(error.to_string()),
            };
            let is_last = matches!(refusal, Refusal::Failed(_));
            tried.push(refusal.of(offer).to_string());
            if is_last {
                break;
            }
        }
        let what = "DefaultAzureCredential: failed to acquire a token. Attempted credentials";
        Err(CloudError::Request(format!("{what}: {}", tried.join("; "))))
    }

    /// The token of a source among others: a machine that may be none is first
    /// asked whether it is there, since that is known within a second.
    async fn issue_of(&self, grant: &Grant, is_alone: bool) -> Result<IssuedToken, Refusal> {
        if let Grant::Machine(machine) = grant
            && !is_alone
        {
            machine.probe(&self.client).await.map_err(Refusal::Unavailable)?;
        }
        self.issue(grant).await
    }

    async fn issue(&self, grant: &Grant) -> Result<IssuedToken, Refusal> {
        let (url, client, proof) = match grant {
            Grant::Machine(machine) => return machine.issue(&self.client).await,
            Grant::Tool { tool, tenant } => {
                return tool.issue(&self.scope, tenant, &self.options.variables).await;
            }
            Grant::Form { url, client, proof } => (url, client, proof),
        };
        let mut pairs = vec![("scope", self.scope.as_str()), ("client_id", client)];
        let assertion;
        match proof {
            Proof::Secret(secret) => {
                pairs.extend([("grant_type", "client_credentials"), ("client_secret", secret.expose())]);
            }
            Proof::Password { user, password } => {
                pairs.extend([
                    ("grant_type", "password"),
                    ("username", user),
                    ("password", password.expose()),
                ]);
            }
            Proof::Federated(_) | Proof::Certificate(_) => {
                assertion = match proof {
                    Proof::Certificate(file) => Secret::new(self.assertion(url, client, file)?),
                    // The cluster renews the file.
                    Proof::Federated(file) => secret_of(file)?,
                    _ => Secret::default(),
                };
                pairs.extend([
                    ("grant_type", "client_credentials"),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", assertion.expose()),
                ]);
            }
        }
        let answer = ask(&self.client, Method::POST, url, &[FORM], form(pairs), TIMEOUT).await?;
        Ok(answer.success(url)?.json()?)
    }

    /// A request signed with the certificate's key.
    fn assertion(&self, url: &str, client: &str, file: &CertificateFile) -> Result<String, CloudError> {
        let signer = file.read()?;
        let now_ms = self.options.clock.now_ms();
        let now_s = now_ms / 1000;
        let mut header = serde_json::Map::new();
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(signer.own()));
        header.insert("x5t#S256".to_owned(), thumbprint.into());
        if file.send_chain {
            let chain: Vec<String> =
                signer.chain.iter().map(|certificate| STANDARD.encode(certificate)).collect();
            header.insert("x5c".to_owned(), chain.into());
        }
        let claims = serde_json::json!({
            "aud": url, "iss": client, "sub": client, "jti": format!("{client}-{now_ms}"),
            "nbf": now_s, "exp": now_s + ASSERTION_LIFE_S,
        });
        jwt::sign_with(&*signer.key, &claims, "", "PS256", header).map_err(CloudError::Unusable)
    }
}

fn way_of(config: &AzureAdConfig) -> Result<Way, CloudError> {
    if let Some(managed) = &config.managed_identity {
        return Ok(Way::Machine { client: managed.client_id.clone() });
    }
    if let Some(workload) = &config.workload_identity {
        return Ok(Way::Workload {
            tenant: workload.tenant_id.clone(),
            client: workload.client_id.clone(),
            token_file: workload.token_file_path.clone(),
        });
    }
    if let Some(oauth) = &config.oauth {
        return Ok(Way::Secret {
            tenant: oauth.tenant_id.clone(),
            client: oauth.client_id.clone(),
            secret: oauth.client_secret.clone(),
        });
    }
    if let Some(sdk) = &config.sdk {
        return Ok(Way::Environment { tenant: sdk.tenant_id.clone() });
    }
    let Some(certificate) = &config.certificate else {
        return Err(CloudError::Unusable("no way to a token is configured".to_owned()));
    };
    let key = &certificate.certificate_key_path;
    Ok(Way::Certificate {
        tenant: certificate.tenant_id.clone(),
        client: certificate.client_id.clone(),
        path: PathBuf::from(&certificate.certificate_path),
        key_path: (!key.is_empty()).then(|| PathBuf::from(key)),
        password: certificate.certificate_password.clone(),
        send_chain: certificate.send_certificate_chain,
    })
}
