//! Requests signed for a cloud: what `sigv4`, `azuread` and `google_iam` blocks
//! add to the shared block.

use std::path::PathBuf;

use config::Secret;
use config::azuread::AzureAdConfig;
use config::remote::{GoogleIamConfig, SigV4Config};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use http::{HeaderValue, Uri};
use tokio::sync::Mutex;

use super::redirect::Hop;
use super::{ClientOptions, HttpClient};
use crate::cloud::{CloudError, aws, azure, google, surrounding_client};
use crate::error::{BuildError, Fault};

/// The service that is signed for unless the block names another.
const AWS_SERVICE: &str = "aps";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/monitoring.write";
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// A block by which requests are signed.
#[derive(Clone, Debug, PartialEq)]
pub enum Signing {
    /// For AWS.
    SigV4(SigV4Config),
    /// With a token of Azure AD.
    AzureAd(AzureAdConfig),
    /// With a token of Google.
    GoogleIam(GoogleIamConfig),
}

/// What signs the requests of one client.
pub(super) enum RequestSigner {
    Aws(Box<AwsSigner>),
    Azure(Box<azure::Tokens>),
    Google(Box<google::Tokens>),
}

pub(super) struct AwsSigner {
    account: aws::Account,
    region: String,
    service: String,
    source: aws::Source,
    /// Asks for roles.
    client: HttpClient,
    options: ClientOptions,
    credentials: Mutex<Option<aws::Credentials>>,
}

impl RequestSigner {
    pub(super) fn new(signing: &Signing, options: &ClientOptions) -> Result<RequestSigner, BuildError> {
        let failed = |error: CloudError| BuildError::Cloud(error.to_string());
        Ok(match signing {
            Signing::SigV4(config) => RequestSigner::Aws(Box::new(AwsSigner::new(config, options)?)),
            Signing::AzureAd(config) => {
                RequestSigner::Azure(Box::new(azure::Tokens::of_block(config, options).map_err(failed)?))
            }
            Signing::GoogleIam(config) => {
                let tokens = match config.credentials_file.as_str() {
                    "" => google::Tokens::of_surroundings(GOOGLE_SCOPE, options),
                    file => google::Tokens::of_service_account(&PathBuf::from(file), GOOGLE_SCOPE, options),
                };
                RequestSigner::Google(Box::new(tokens.map_err(failed)?))
            }
        })
    }

    /// Signs a request whose headers are complete.
    pub(super) async fn sign(&self, hop: &Hop, uri: &Uri, headers: &mut HeaderMap) -> Result<(), Fault> {
        let failed = |error: CloudError| Fault::Token(error.to_string());
        match self {
            RequestSigner::Aws(signer) => signer.sign(hop, uri, headers).await.map_err(failed),
            RequestSigner::Azure(tokens) => {
                let token = tokens.token().await;
                let token =
                    token.map_err(|error| Fault::Token(format!("Failed to get access token: {error}")))?;
                bearer(&token, headers)
            }
            RequestSigner::Google(tokens) => {
                if let Ok(project) = HeaderValue::from_str(tokens.quota_project())
                    && !project.is_empty()
                {
                    headers.insert(QUOTA_PROJECT, project);
                }
                bearer(&tokens.token().await.map_err(failed)?, headers)
            }
        }
    }
}

fn bearer(token: &Secret, headers: &mut HeaderMap) -> Result<(), Fault> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| Fault::HeaderValue("\"Authorization\"".to_owned()))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

impl AwsSigner {
    fn new(config: &SigV4Config, options: &ClientOptions) -> Result<AwsSigner, BuildError> {
        let source = aws::Source::new(options)?;
        let region = match config.region.as_str() {
            "" => source.configured_region(&config.profile).ok_or_else(|| {
                BuildError::Cloud("region not configured in sigv4 or in default credentials chain".to_owned())
            })?,
            region => region.to_owned(),
        };
        Ok(AwsSigner {
            account: aws::Account {
                access_key: config.access_key.clone(),
                secret_key: config.secret_key.clone(),
                profile: config.profile.clone(),
                role_arn: config.role_arn.clone(),
                external_id: config.external_id.clone(),
                fips_sts: config.use_fips_sts_endpoint,
            },
            region,
            service: match config.service_name.as_str() {
                "" => AWS_SERVICE.to_owned(),
                name => name.to_owned(),
            },
            source,
            client: surrounding_client(options)?,
            options: options.clone(),
            credentials: Mutex::default(),
        })
    }

    async fn sign(&self, hop: &Hop, uri: &Uri, headers: &mut HeaderMap) -> Result<(), CloudError> {
        let now_ms = self.options.clock.now_ms();
        // Requests that need new credentials wait for the one that asks for them.
        let mut kept = self.credentials.lock().await;
        if kept.as_ref().is_none_or(|credentials| credentials.is_old(now_ms)) {
            let found = self.source.credentials(&self.account, &self.region, &self.client).await;
            let failed = |error| CloudError::Request(format!("error retrieving credentials: {error}"));
            *kept = Some(found.map_err(failed)?);
        }
        let credentials = kept.clone().expect("they were set just now");
        drop(kept);
        let signer =
            aws::Signer { credentials: &credentials, region: &self.region, service: &self.service, now_ms };
        signer.sign(&hop.method, uri, headers, &hop.body)
    }
}
