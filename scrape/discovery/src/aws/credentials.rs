//! Where credentials of AWS come from, in this order: the block, its profile,
//! the environment, a federated token, the shared files, the container's agent,
//! the machine itself. A role to take on comes on top.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{HttpClientConfig, Secret};
use http::Method;
use model::Clock;
use serde::Deserialize;

use super::sigv4::Signer;
use super::{Account, answer_of, endpoint, signed_post};
use crate::client::{Client, query};
use crate::mechanism::{Context, DiscoveryError, Surroundings};
use crate::xml::Element;

/// The machine's own service.
const MACHINE: &str = "http://169.254.169.254";
/// The agent of containers.
const CONTAINER: &str = "http://169.254.170.2";
/// Both answer at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Credentials are renewed so long before they end.
const RENEWAL_MS: i64 = 300_000;

/// A key, perhaps for a while only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    /// Goes with keys that end.
    pub(crate) token: Secret,
    pub(crate) expires_ms: Option<i64>,
}

impl Credentials {
    /// Whether they end, or soon will.
    pub(crate) fn is_old(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|end| now_ms + RENEWAL_MS >= end)
    }
}

/// Finds credentials.
pub(crate) struct Source {
    local: Client,
    clock: Arc<dyn Clock>,
    surroundings: Surroundings,
}

/// As agents and machines answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    expiration: String,
}

impl From<Issued> for Credentials {
    fn from(issued: Issued) -> Credentials {
        Credentials {
            id: issued.access_key_id,
            secret: Secret::new(issued.secret_access_key),
            token: Secret::new(issued.token),
            expires_ms: time_ms(&issued.expiration),
        }
    }
}

fn time_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

impl Source {
    pub(crate) fn new(context: &Context) -> Result<Source, DiscoveryError> {
        // Local services know nothing of proxies and authorization.
        let local = Client::new(&HttpClientConfig::default(), context, TIMEOUT)?;
        Ok(Source { local, clock: context.clock.clone(), surroundings: context.surroundings.clone() })
    }

    fn variable(&self, name: &str) -> &str {
        self.surroundings.variable(name)
    }

    /// The region that the environment, a profile or the machine names.
    pub(crate) async fn region(&self, profile: &str) -> Result<String, DiscoveryError> {
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if !self.variable(name).is_empty() {
                return Ok(self.variable(name).to_owned());
            }
        }
        if let Some(region) = self.profile(profile).remove("region") {
            return Ok(region);
        }
        let region = self.machine("/latest/meta-data/placement/region").await;
        region.map_err(|error| DiscoveryError::Request(format!("failed to get region from IMDS: {error}")))
    }

    /// The credentials of an account, its role taken on.
    pub(super) async fn credentials(
        &self,
        account: &Account,
        region: &str,
        client: &Client,
    ) -> Result<Credentials, DiscoveryError> {
        let own = self.own(account, region, client).await?;
        if account.role_arn.is_empty() {
            return Ok(own);
        }
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &account.role_arn),
            ("RoleSessionName", "narthex"),
        ];
        if !account.external_id.is_empty() {
            form.push(("ExternalId", &account.external_id));
        }
        let signer = Signer { credentials: &own, region, service: "sts", now_ms: self.clock.now_ms() };
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = self.token_service(region);
        let answer = answer_of(&signed_post(client, &signer, &url, &headers, query(form)).await?)?;
        of_token_service(&answer, "AssumeRoleResult")
    }

    fn token_service(&self, region: &str) -> String {
        endpoint(self.variable("AWS_ENDPOINT_URL_STS"), "sts", region)
    }

    async fn own(
        &self,
        account: &Account,
        region: &str,
        client: &Client,
    ) -> Result<Credentials, DiscoveryError> {
        if !account.access_key.is_empty() && !account.secret_key.is_empty() {
            return Ok(Credentials {
                id: account.access_key.clone(),
                secret: account.secret_key.clone(),
                ..Credentials::default()
            });
        }
        if !account.profile.is_empty() {
            let found = self.of_profile(&account.profile)?;
            return found.ok_or_else(|| {
                let profile = &account.profile;
                DiscoveryError::Unusable(format!("failed to get shared config profile, {profile}"))
            });
        }
        let (id, secret) = (self.variable("AWS_ACCESS_KEY_ID"), self.variable("AWS_SECRET_ACCESS_KEY"));
        if !id.is_empty() && !secret.is_empty() {
            return Ok(Credentials {
                id: id.to_owned(),
                secret: Secret::new(secret),
                token: Secret::new(self.variable("AWS_SESSION_TOKEN")),
                expires_ms: None,
            });
        }
        if !self.variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_empty() {
            return self.federated(region, client).await;
        }
        if let Some(found) = self.of_profile("")? {
            return Ok(found);
        }
        if let Some(found) = self.of_container().await? {
            return Ok(found);
        }
        self.of_machine().await
    }

    /// For a token that the cluster or a build system wrote into a file.
    async fn federated(&self, region: &str, client: &Client) -> Result<Credentials, DiscoveryError> {
        let path = PathBuf::from(self.variable("AWS_WEB_IDENTITY_TOKEN_FILE"));
        let token = std::fs::read_to_string(&path).map_err(|source| DiscoveryError::Read { path, source })?;
        let session = match self.variable("AWS_ROLE_SESSION_NAME") {
            "" => "narthex",
            name => name,
        };
        let form = query([
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.variable("AWS_ROLE_ARN")),
            ("RoleSessionName", session),
            ("WebIdentityToken", token.trim()),
        ]);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = client.request(Method::POST, &self.token_service(region), &headers, form).await?;
        of_token_service(&answer_of(&answer)?, "AssumeRoleWithWebIdentityResult")
    }

    /// The settings of a profile, from both shared files.
    fn profile(&self, name: &str) -> BTreeMap<String, String> {
        let name = match (name, self.variable("AWS_PROFILE")) {
            ("", "") => "default",
            ("", name) => name,
            (name, _) => name,
        };
        let home = PathBuf::from(self.variable("HOME")).join(".aws");
        let mut settings = BTreeMap::new();
        for (variable, file, section) in [
            ("AWS_CONFIG_FILE", "config", format!("profile {name}")),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name.to_owned()),
        ] {
            let path = match self.variable(variable) {
                "" => home.join(file),
                path => PathBuf::from(path),
            };
            let text = std::fs::read_to_string(path).unwrap_or_default();
            settings.extend(section_of(&text, &[&section, name]));
        }
        settings
    }

    fn of_profile(&self, name: &str) -> Result<Option<Credentials>, DiscoveryError> {
        let mut settings = self.profile(name);
        let (Some(id), Some(secret)) =
            (settings.remove("aws_access_key_id"), settings.remove("aws_secret_access_key"))
        else {
            let others = ["credential_process", "sso_session", "sso_start_url", "source_profile", "role_arn"];
            return match others.iter().find(|other| settings.contains_key(**other)) {
                Some(other) => Err(DiscoveryError::Unusable(format!(
                    "the AWS profile uses {other}, which is not supported: use keys, role_arn of the block or the \
                     machine's role"
                ))),
                None => Ok(None),
            };
        };
        let token = settings.remove("aws_session_token").unwrap_or_default();
        Ok(Some(Credentials { id, secret: Secret::new(secret), token: Secret::new(token), expires_ms: None }))
    }

    async fn of_container(&self) -> Result<Option<Credentials>, DiscoveryError> {
        let relative = self.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = match (relative, self.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            ("", "") => return Ok(None),
            ("", full) => full.to_owned(),
            (relative, _) => format!("{CONTAINER}{relative}"),
        };
        let file = self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        let token = match file {
            "" => self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").to_owned(),
            path => std::fs::read_to_string(path)
                .map_err(|source| DiscoveryError::Read { path: PathBuf::from(path), source })?,
        };
        let header = [("Authorization", token.trim())];
        let headers: &[(&str, &str)] = if token.trim().is_empty() { &[] } else { &header };
        let issued: Issued = self.local.get_json(&url, headers).await?;
        Ok(Some(issued.into()))
    }

    async fn of_machine(&self) -> Result<Credentials, DiscoveryError> {
        let path = "/latest/meta-data/iam/security-credentials/";
        let role = self.machine(path).await.map_err(|error| {
            DiscoveryError::Request(format!("no EC2 IMDS role found, and no other credentials: {error}"))
        })?;
        let role = role.lines().next().unwrap_or_default().trim();
        let text = self.machine(&format!("{path}{role}")).await?;
        let issued: Issued =
            serde_json::from_str(&text).map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
        Ok(issued.into())
    }

    /// What the machine says of itself.
    async fn machine(&self, path: &str) -> Result<String, DiscoveryError> {
        if self.variable("AWS_EC2_METADATA_DISABLED").eq_ignore_ascii_case("true") {
            return Err(DiscoveryError::Unusable(
                "access disabled to EC2 IMDS via environment variable".to_owned(),
            ));
        }
        let base = match self.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            "" => MACHINE,
            base => base.trim_end_matches('/'),
        };
        let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let token = self.local.request(Method::PUT, &format!("{base}/latest/api/token"), &ttl, "").await?;
        let token = token.success("EC2 IMDS token")?;
        let token = String::from_utf8_lossy(&token.body).into_owned();
        let answer =
            self.local.get(&format!("{base}{path}"), &[("X-aws-ec2-metadata-token", token.trim())]).await?;
        Ok(String::from_utf8_lossy(&answer.success(path)?.body).into_owned())
    }
}

fn of_token_service(answer: &Element, result: &str) -> Result<Credentials, DiscoveryError> {
    let text = |name: &str| answer.text_at(&[result, "Credentials", name]).to_owned();
    if text("AccessKeyId").is_empty() {
        return Err(DiscoveryError::Malformed("the token service answers without credentials".to_owned()));
    }
    Ok(Credentials {
        id: text("AccessKeyId"),
        secret: Secret::new(text("SecretAccessKey")),
        token: Secret::new(text("SessionToken")),
        expires_ms: time_ms(&text("Expiration")),
    })
}

/// The settings of a section of a shared file, whichever name it has.
fn section_of(text: &str, names: &[&str]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            inside = names.contains(&name.trim());
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            settings.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, TestServer, context_with};

    #[test]
    fn sections_of_shared_files_are_found() {
        let text = "[default]\nregion = a\n# x = y\n[profile p]\nregion=b\naws_access_key_id = k\n";
        assert_eq!(section_of(text, &["default"])["region"], "a");
        assert_eq!(section_of(text, &["profile p", "p"])["region"], "b");
    }

    #[tokio::test]
    async fn the_machine_names_region_and_role() {
        let server = TestServer::start(|request| match (request.method.as_str(), request.path()) {
            ("PUT", _) => Reply::json("t0k"),
            _ if request.header("X-aws-ec2-metadata-token") != "t0k" => Reply::status(401),
            (_, "/latest/meta-data/placement/region") => Reply::json("eu-west-1"),
            (_, "/latest/meta-data/iam/security-credentials/") => Reply::json("role"),
            _ => Reply::json(
                r#"{"AccessKeyId": "id", "SecretAccessKey": "s", "Token": "t", "Expiration": "2023-11-15T00:00:00Z"}"#,
            ),
        })
        .await;
        let context = context_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url("/"))]);
        let source = Source::new(&context).unwrap();
        assert_eq!(source.region("").await.unwrap(), "eu-west-1");
        let credentials = source.credentials(&Account::default(), "eu-west-1", &source.local).await.unwrap();
        assert_eq!((credentials.id.as_str(), credentials.token.expose()), ("id", "t"));
        assert!(credentials.is_old(1_700_006_400_000 - 1000));
        assert!(!credentials.is_old(1_700_000_000_000));
    }

    #[tokio::test]
    async fn a_role_is_taken_on_with_the_environments_key() {
        let server = TestServer::start(|_| {
            Reply::json(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>role-id</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
            )
        })
        .await;
        let url = server.url("");
        let context = context_with(&[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL_STS", &url),
        ]);
        let source = Source::new(&context).unwrap();
        let account = Account {
            role_arn: "arn:aws:iam::1:role/r".to_owned(),
            external_id: "x1".to_owned(),
            ..Account::default()
        };
        let credentials = source.credentials(&account, "eu-west-1", &source.local).await.unwrap();
        assert_eq!(credentials.id, "role-id");
        let request = &server.requests()[0];
        assert!(
            request
                .header("authorization")
                .starts_with("AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-west-1/sts/")
        );
        assert!(request.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"), "{}", request.body);
        assert!(request.body.contains("ExternalId=x1"));
    }
}
