//! Tokens of Azure: for an application's secret or certificate, a federated
//! token, or the machine's own identity.
//! Source: Azure SDK for Go, `azidentity`; Prometheus `storage/remote/azuread`.
//!
//! ```text
//! way (block, environment) ─▶ grant ─▶ request, signed where there is a certificate ─▶ token
//! ```

mod certificate;
mod grant;
mod machine;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::Secret;
use config::azuread::AzureAdConfig;
use http::Method;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use self::certificate::CertificateFile;
use self::grant::{Grant, Proof};
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
    /// Whatever the environment offers: secret, certificate, password, workload,
    /// machine. Command-line tools are not asked.
    Environment {
        /// The directory of a workload; named by the environment where empty.
        tenant: String,
    },
}

/// Gets tokens and keeps them.
pub struct Tokens {
    grant: Grant,
    /// What the environment might have offered and did not, and why.
    passed_over: Vec<String>,
    client: HttpClient,
    scope: String,
    options: ClientOptions,
    token: Mutex<TokenCell>,
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
        let (grant, passed_over) = grant::grant(way, login.trim_end_matches('/'), scope, &options.variables)?;
        let client = surrounding_client(options);
        let client = client.map_err(|error| CloudError::Unusable(error.to_string()))?;
        let (scope, options) = (scope.to_owned(), options.clone());
        Ok(Tokens { grant, passed_over, client, scope, options, token: Mutex::default() })
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
        let mut cell = self.token.lock().await;
        let clock = &*self.options.clock;
        if let Some(token) = cell.get(clock) {
            return Ok(token);
        }
        let failed = |why: String| {
            let tried: Vec<&str> = self.passed_over.iter().map(String::as_str).chain([&*why]).collect();
            CloudError::Request(format!("Failed to get access token: {}", tried.join("; ")))
        };
        let issued = self.issue().await.map_err(|error| failed(error.to_string()))?;
        let kept = cell.keep(&issued, clock, Renewal::Halfway);
        kept.ok_or_else(|| failed("access token is empty".to_owned()))
    }

    async fn issue(&self) -> Result<IssuedToken, CloudError> {
        let (url, client, proof) = match &self.grant {
            Grant::Machine(machine) => return machine.issue(&self.client).await,
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
        ask(&self.client, Method::POST, url, &[FORM], form(pairs), TIMEOUT).await?.success(url)?.json()
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
