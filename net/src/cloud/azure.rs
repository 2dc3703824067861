//! Tokens of Azure: for an application's secret or certificate, a federated
//! token, or the machine's own identity.
//! Source: Azure SDK for Go, `azidentity`; Prometheus `storage/remote/azuread`.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::Secret;
use config::azuread::AzureAdConfig;
use http::Method;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::token::{IssuedToken, Renewal, TokenCell};
use super::{CloudError, FORM, TIMEOUT, ask, form, secret_of, surrounding_client};
use crate::client::{ClientOptions, HttpClient, Variables, jwt, tls};

/// The machine's own service.
const MACHINE: &str = "http://169.254.169.254";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Where the cluster writes federated tokens unless it says otherwise.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
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
    /// Whatever the environment offers: secret, certificate, workload, machine.
    /// Command-line tools are not asked.
    Environment {
        /// The directory; named by the environment where empty.
        tenant: String,
    },
}

/// How a token is got.
enum Grant {
    Form { url: String, client: String, proof: Proof },
    Machine { url: String },
    AppService { url: String, header: Secret },
}

enum Proof {
    Secret(Secret),
    Federated(PathBuf),
    Certificate { path: PathBuf, key_path: Option<PathBuf>, send_chain: bool },
}

/// Gets tokens and keeps them.
pub struct Tokens {
    grant: Grant,
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
        let login = match options.variables.get("AZURE_AUTHORITY_HOST") {
            "" => login,
            host => host,
        };
        let grant = grant(way, login.trim_end_matches('/'), scope, &options.variables)?;
        if let Grant::Form { proof: Proof::Certificate { path, key_path, .. }, .. } = &grant {
            certificate(path, key_path.as_deref())?;
        }
        let client = surrounding_client(options);
        let client = client.map_err(|error| CloudError::Unusable(error.to_string()))?;
        let (scope, options) = (scope.to_owned(), options.clone());
        Ok(Tokens { grant, client, scope, options, token: Mutex::default() })
    }

    /// Tokens as an `azuread` block wants them.
    ///
    /// # Errors
    /// As [`Tokens::new`]; or the cloud is none.
    pub fn of_block(config: &AzureAdConfig, options: &ClientOptions) -> Result<Tokens, CloudError> {
        let (login, audience) = match config.cloud.to_ascii_lowercase().as_str() {
            "azurechina" => ("https://login.chinacloudapi.cn", "https://monitor.azure.cn/"),
            "azuregovernment" => ("https://login.microsoftonline.us", "https://monitor.azure.us/"),
            "azurepublic" => ("https://login.microsoftonline.com", "https://monitor.azure.com/"),
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
        let failed = |why: String| CloudError::Request(format!("Failed to get access token: {why}"));
        let issued = self.issue().await.map_err(|error| failed(error.to_string()))?;
        let kept = cell.keep(&issued, clock, Renewal::Halfway);
        kept.ok_or_else(|| failed("access token is empty".to_owned()))
    }

    async fn issue(&self) -> Result<IssuedToken, CloudError> {
        let ask_machine = |url: &str, name: &'static str, value: &str| {
            let (url, value) = (url.to_owned(), value.to_owned());
            async move {
                let answer = ask(&self.client, Method::GET, &url, &[(name, &value)], "", TIMEOUT).await?;
                answer.success(&url)?.json()
            }
        };
        let (url, client, proof) = match &self.grant {
            Grant::Machine { url } => return ask_machine(url, "Metadata", "true").await,
            Grant::AppService { url, header } => {
                return ask_machine(url, "X-IDENTITY-HEADER", header.expose()).await;
            }
            Grant::Form { url, client, proof } => (url, client, proof),
        };
        let mut pairs =
            vec![("grant_type", "client_credentials"), ("scope", &self.scope), ("client_id", client)];
        let secret = match proof {
            Proof::Secret(secret) => secret.clone(),
            // The cluster renews the file.
            Proof::Federated(file) => secret_of(file)?,
            Proof::Certificate { .. } => Secret::new(self.assertion(url, client, proof)?),
        };
        if matches!(proof, Proof::Secret(_)) {
            pairs.push(("client_secret", secret.expose()));
        } else {
            pairs.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", secret.expose())]);
        }
        ask(&self.client, Method::POST, url, &[FORM], form(pairs), TIMEOUT).await?.success(url)?.json()
    }

    /// A request signed with the certificate's key.
    fn assertion(&self, url: &str, client: &str, proof: &Proof) -> Result<String, CloudError> {
        let Proof::Certificate { path, key_path, send_chain } = proof else {
            return Err(CloudError::Unusable("there is no certificate".to_owned()));
        };
        let (chain, pem) = certificate(path, key_path.as_deref())?;
        let now_ms = self.options.clock.now_ms();
        let now_s = now_ms / 1000;
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&chain[0]));
        let mut header = serde_json::Map::new();
        header.insert("x5t#S256".to_owned(), thumbprint.as_str().into());
        if *send_chain {
            let chain: Vec<String> = chain.iter().map(|certificate| STANDARD.encode(certificate)).collect();
            header.insert("x5c".to_owned(), chain.into());
        }
        let claims = serde_json::json!({
            "aud": url, "iss": client, "sub": client, "jti": format!("{client}-{now_ms}"),
            "nbf": now_s, "exp": now_s + ASSERTION_LIFE_S,
        });
        jwt::sign(&claims, pem.expose(), "", "PS256", header).map_err(CloudError::Unusable)
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
    if !certificate.certificate_password.is_empty() {
        return Err(CloudError::Unusable(
            "certificates with a password (PKCS #12) are not supported: use PEM without one".to_owned(),
        ));
    }
    let key = &certificate.certificate_key_path;
    Ok(Way::Certificate {
        tenant: certificate.tenant_id.clone(),
        client: certificate.client_id.clone(),
        path: PathBuf::from(&certificate.certificate_path),
        key_path: (!key.is_empty()).then(|| PathBuf::from(key)),
        send_chain: certificate.send_certificate_chain,
    })
}

fn grant(way: Way, login: &str, scope: &str, variables: &Variables) -> Result<Grant, CloudError> {
    let with = |tenant: &str, client: String, proof| {
        Ok(Grant::Form { url: format!("{login}/{tenant}/oauth2/v2.0/token"), client, proof })
    };
    match way {
        Way::Secret { tenant, client, secret } => with(&tenant, client, Proof::Secret(secret)),
        Way::Certificate { tenant, client, path, key_path, send_chain } => {
            with(&tenant, client, Proof::Certificate { path, key_path, send_chain })
        }
        Way::Workload { tenant, client, token_file } => {
            let or = |given: String, name: &str| match (given.as_str(), variables.get(name)) {
                ("", "") => Err(CloudError::Unusable(format!(
                    "no value for {name}: check the pod's workload identity"
                ))),
                ("", value) => Ok(value.to_owned()),
                _ => Ok(given),
            };
            let file = or(token_file, "AZURE_FEDERATED_TOKEN_FILE").unwrap_or_else(|_| TOKEN_FILE.to_owned());
            let client = or(client, "AZURE_CLIENT_ID")?;
            with(&or(tenant, "AZURE_TENANT_ID")?, client, Proof::Federated(file.into()))
        }
        Way::Machine { client } => Ok(of_machine(&client, scope, variables)),
        Way::Environment { tenant } => {
            let variable = |name: &str| variables.get(name).to_owned();
            let tenant = if tenant.is_empty() { variable("AZURE_TENANT_ID") } else { tenant };
            let (client, secret) = (variable("AZURE_CLIENT_ID"), variable("AZURE_CLIENT_SECRET"));
            if !client.is_empty() && !secret.is_empty() {
                return with(&tenant, client, Proof::Secret(Secret::new(secret)));
            }
            let path = variable("AZURE_CLIENT_CERTIFICATE_PATH");
            if !client.is_empty() && !path.is_empty() {
                let proof = Proof::Certificate { path: path.into(), key_path: None, send_chain: false };
                return with(&tenant, client, proof);
            }
            let token_file = variable("AZURE_FEDERATED_TOKEN_FILE");
            if !token_file.is_empty() {
                return grant(Way::Workload { tenant, client, token_file }, login, scope, variables);
            }
            Ok(of_machine(&client, scope, variables))
        }
    }
}

fn of_machine(client: &str, scope: &str, variables: &Variables) -> Grant {
    let resource = scope.strip_suffix(SCOPE_END).unwrap_or(scope);
    let id = (!client.is_empty()).then_some(("client_id", client));
    let url = |base: &str, version: &str| {
        let pairs = [("api-version", version), ("resource", resource)];
        let sign = if base.contains('?') { '&' } else { '?' };
        format!("{base}{sign}{}", form(pairs.into_iter().chain(id)))
    };
    // App Service has an agent of its own.
    let (endpoint, header) = (variables.get("IDENTITY_ENDPOINT"), variables.get("IDENTITY_HEADER"));
    if !endpoint.is_empty() && !header.is_empty() {
        return Grant::AppService { url: url(endpoint, "2019-08-01"), header: Secret::new(header) };
    }
    let base = match variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
        "" => MACHINE,
        base => base.trim_end_matches('/'),
    };
    Grant::Machine { url: url(&format!("{base}/metadata/identity/oauth2/token"), "2018-02-01") }
}

/// The chain, and the text with the key.
fn certificate(path: &Path, key_path: Option<&Path>) -> Result<(Vec<Vec<u8>>, Secret), CloudError> {
    let told = |path: &Path, why: &str| CloudError::Unusable(format!("{}: {why}", path.display()));
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| CloudError::Read { path: path.to_owned(), source })
    };
    let bytes = read(path)?;
    let chain = tls::certificates(&bytes).map_err(|error| told(path, &error))?;
    if chain.is_empty() {
        return Err(told(path, "found no certificate (PEM is read, PKCS #12 is not)"));
    }
    let key_path = key_path.unwrap_or(path);
    let key = String::from_utf8(if key_path == path { bytes } else { read(key_path)? });
    let key = key.map_err(|_| told(key_path, "found no private key in PEM"))?;
    Ok((chain.iter().map(|certificate| certificate.to_vec()).collect(), Secret::new(key)))
}
