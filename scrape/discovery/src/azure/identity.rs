//! Tokens of Azure: for an application's secret, a federated token or the
//! machine's own identity. `SDK` tries these in this order, with what the
//! environment names; command-line tools are not asked.

use std::path::PathBuf;
use std::time::Duration;

use config::discovery::AzureSdConfig;
use config::discovery::azure::AzureAuthentication;
use config::{HttpClientConfig, Secret};
use http::Method;

use crate::client::{Client, query, with_query};
use crate::mechanism::{Context, DiscoveryError};
use crate::tokens::{IssuedToken, TokenCell};

/// The machine's own service.
const MACHINE: &str = "http://169.254.169.254";
const TIMEOUT: Duration = Duration::from_secs(30);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a token is got.
enum Grant {
    Secret { url: String, client_id: String, secret: Secret },
    Federated { url: String, client_id: String, file: PathBuf },
    Machine { url: String },
    AppService { url: String, header: Secret },
}

/// Gets tokens and keeps them.
pub(super) struct Identity {
    grant: Grant,
    client: Client,
    /// What the tokens are for.
    resource: String,
    token: TokenCell,
    context: Context,
}

impl Identity {
    pub(super) fn new(
        config: &AzureSdConfig,
        manager: &str,
        login: &str,
        context: &Context,
    ) -> Result<Identity, DiscoveryError> {
        let login = match context.surroundings.variable("AZURE_AUTHORITY_HOST") {
            "" => login,
            host => host.trim_end_matches('/'),
        };
        let resource = manager.to_owned();
        let grant = match config.authentication_method.0 {
            Some(AzureAuthentication::OAuth) | None => Grant::Secret {
                url: token_url(login, &config.tenant_id),
                client_id: config.client_id.clone(),
                secret: config.client_secret.clone(),
            },
            Some(AzureAuthentication::WorkloadIdentity) => federated(login, context)?,
            Some(AzureAuthentication::ManagedIdentity) => of_machine(&config.client_id, &resource, context),
            Some(AzureAuthentication::Sdk) => from_environment(login, &config.tenant_id, &resource, context)?,
        };
        // Tokens are fetched without the block's settings, as upstream does.
        let client = Client::new(&HttpClientConfig::default(), context, TIMEOUT)?;
        Ok(Identity { grant, client, resource, token: TokenCell::default(), context: context.clone() })
    }

    /// The value of the `Authorization` header.
    pub(super) async fn authorization(&mut self) -> Result<String, DiscoveryError> {
        let clock = self.context.clock.clone();
        if let Some(header) = self.token.header(&*clock) {
            return Ok(header);
        }
        let issued = self.issue().await;
        let issued =
            issued.map_err(|error| DiscoveryError::Request(format!("could not get a token: {error}")))?;
        Ok(self.token.keep(&issued, &*clock))
    }

    async fn issue(&self) -> Result<IssuedToken, DiscoveryError> {
        let scope = format!("{}/.default", self.resource);
        let (url, form) = match &self.grant {
            Grant::Machine { url } => return self.client.get_json(url, &[("Metadata", "true")]).await,
            Grant::AppService { url, header } => {
                return self.client.get_json(url, &[("X-IDENTITY-HEADER", header.expose())]).await;
            }
            Grant::Secret { url, client_id, secret } => {
                (url, query([("client_id", client_id.as_str()), ("client_secret", secret.expose())]))
            }
            Grant::Federated { url, client_id, file } => {
                // The cluster renews the file.
                let token = std::fs::read_to_string(file)
                    .map_err(|source| DiscoveryError::Read { path: file.clone(), source })?;
                let pairs = [
                    ("client_id", client_id.as_str()),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", token.trim()),
                ];
                (url, query(pairs))
            }
        };
        let common = query([("grant_type", "client_credentials"), ("scope", &scope)]);
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = self.client.request(Method::POST, url, &headers, format!("{common}&{form}")).await?;
        answer.success(url)?.json()
    }
}

fn token_url(login: &str, tenant: &str) -> String {
    format!("{login}/{tenant}/oauth2/v2.0/token")
}

fn federated(login: &str, context: &Context) -> Result<Grant, DiscoveryError> {
    let required = |name: &str| match context.surroundings.variable(name) {
        "" => {
            let what = format!("no value for {name}: check the pod's workload identity");
            Err(DiscoveryError::Unusable(what))
        }
        value => Ok(value.to_owned()),
    };
    Ok(Grant::Federated {
        url: token_url(login, &required("AZURE_TENANT_ID")?),
        client_id: required("AZURE_CLIENT_ID")?,
        file: required("AZURE_FEDERATED_TOKEN_FILE")?.into(),
    })
}

fn of_machine(client_id: &str, resource: &str, context: &Context) -> Grant {
    let variable = |name: &str| context.surroundings.variable(name);
    let id = (!client_id.is_empty()).then_some(("client_id", client_id));
    // App Service has an agent of its own.
    if !variable("IDENTITY_ENDPOINT").is_empty() && !variable("IDENTITY_HEADER").is_empty() {
        let pairs = [("api-version", "2019-08-01"), ("resource", resource)];
        return Grant::AppService {
            url: with_query(variable("IDENTITY_ENDPOINT"), pairs.into_iter().chain(id)),
            header: Secret::new(variable("IDENTITY_HEADER")),
        };
    }
    let base = match variable("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
        "" => MACHINE,
        base => base.trim_end_matches('/'),
    };
    let pairs = [("api-version", "2018-02-01"), ("resource", resource)];
    let url = with_query(&format!("{base}/metadata/identity/oauth2/token"), pairs.into_iter().chain(id));
    Grant::Machine { url }
}

fn from_environment(
    login: &str,
    tenant: &str,
    resource: &str,
    context: &Context,
) -> Result<Grant, DiscoveryError> {
    let variable = |name: &str| context.surroundings.variable(name).to_owned();
    let (id, secret) = (variable("AZURE_CLIENT_ID"), variable("AZURE_CLIENT_SECRET"));
    if !id.is_empty() && !secret.is_empty() {
        let tenant = if tenant.is_empty() { variable("AZURE_TENANT_ID") } else { tenant.to_owned() };
        return Ok(Grant::Secret {
            url: token_url(login, &tenant),
            client_id: id,
            secret: Secret::new(secret),
        });
    }
    if !variable("AZURE_FEDERATED_TOKEN_FILE").is_empty() {
        return federated(login, context);
    }
    Ok(of_machine(&id, resource, context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context_with};
    use config::decode::Chosen;

    async fn token(config: AzureSdConfig, variables: &[(&str, &str)]) -> (String, crate::testing::Seen) {
        let server = TestServer::start(|_| Reply::json(r#"{"access_token": "t", "expires_in": 3600}"#)).await;
        let url = server.url("/");
        let mut variables = variables.to_vec();
        variables.push(("AZURE_AUTHORITY_HOST", &url));
        let mut identity = Identity::new(
            &config,
            "https://management.azure.com",
            "https://unused",
            &context_with(&variables),
        )
        .unwrap();
        let header = identity.authorization().await.unwrap();
        assert_eq!(identity.authorization().await.unwrap(), header);
        assert_eq!(server.requests().len(), 1, "tokens are kept");
        (header, server.requests().remove(0))
    }

    fn config(method: AzureAuthentication) -> AzureSdConfig {
        AzureSdConfig {
            tenant_id: "ten".to_owned(),
            client_id: "cid".to_owned(),
            client_secret: Secret::new("sec&ret"),
            authentication_method: Chosen::some(method),
            ..AzureSdConfig::default()
        }
    }

    #[tokio::test]
    async fn an_application_shows_its_secret() {
        let (header, request) = token(config(AzureAuthentication::OAuth), &[]).await;
        assert_eq!(header, "Bearer t");
        assert_eq!(request.target, "/ten/oauth2/v2.0/token");
        assert_eq!(
            request.body,
            "grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default&client_id=cid\
             &client_secret=sec%26ret"
        );
    }

    #[tokio::test]
    async fn a_pod_shows_its_federated_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "jwt\n").unwrap();
        let variables = [
            ("AZURE_TENANT_ID", "t2"),
            ("AZURE_CLIENT_ID", "c2"),
            ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ];
        let (_, request) = token(config(AzureAuthentication::WorkloadIdentity), &variables).await;
        assert_eq!(request.target, "/t2/oauth2/v2.0/token");
        assert!(request.body.ends_with("&client_assertion=jwt"), "{}", request.body);
    }
}
