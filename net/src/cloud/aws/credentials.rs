//! Where credentials of AWS come from, in this order: the block, its profile,
//! the environment, a federated token, the shared files (keys, sign-on, programs),
//! the container's agent, the machine itself. A role to take on comes on top.
//! Source: aws-sdk-go-v2 `config/resolve_credentials.go`.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use config::{HttpClientConfig, Secret};
use http::{Method, Uri};
use model::Clock;
use serde::Deserialize;

use super::profile::{Profile, name_of, profile};
use super::sso::sign_on;
use super::{Account, Endpoints, Signer, named_endpoint};
use crate::client::{ClientOptions, HttpClient, Variables};
use crate::cloud::process::{self, ProgramError};
use crate::cloud::{Answer, CloudError, FORM, TIMEOUT, ask, form, secret_of};
use crate::error::BuildError;
use crate::xml::Element;

/// The machine's own service.
const MACHINE: &str = "http://169.254.169.254";
const MACHINE_V6: &str = "http://[fd00:ec2::254]";
/// The agent of containers, and hosts that may take its place without TLS.
const CONTAINER: &str = "http://169.254.170.2";
const AGENTS: [&str; 5] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "127.0.0.1", "localhost"];
/// Both answer at once, or not at all.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a program that a profile names may take.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);
/// Credentials are renewed so long before they end.
const RENEWAL_MS: i64 = 300_000;
/// Profiles that name each other, at most.
const PROFILES_MAX: usize = 8;
const SESSION: &str = "narthex";

/// A key, perhaps for a while only.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The key's name.
    pub id: String,
    /// The key.
    pub secret: Secret,
    /// Goes with keys that end.
    pub token: Secret,
    /// When they end, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
}

impl Credentials {
    /// Whether they have ended, or soon will.
    pub fn is_old(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|end| now_ms + RENEWAL_MS >= end)
    }
}

/// Finds credentials.
pub struct Source {
    local: HttpClient,
    clock: Arc<dyn Clock>,
    variables: Variables,
}

/// As agents and machines answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, alias = "SessionToken")]
    token: String,
    /// Of what a program writes.
    #[serde(default)]
    version: u64,
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

/// What a program that a profile names writes: `credential_process`.
/// Source: `aws-sdk-go-v2/credentials/processcreds`.
async fn of_process(command: &str, variables: &Variables) -> Result<Credentials, CloudError> {
    let failed = |why: &str| CloudError::Malformed(format!("process provider error: {why}"));
    let mut program = Command::new("sh");
    program.args(["-c", command]).envs(variables.iter());
    let output = process::output_of(&mut program, PROGRAM_TIMEOUT).await;
    let output = output.map_err(|error| match error {
        ProgramError::Late => failed("credential process timed out"),
        error => failed(&error.to_string()),
    })?;
    // Its text would quote the secret.
    let issued: Issued =
        serde_json::from_slice(&output).map_err(|_| failed("parse failed of process output"))?;
    match issued {
        Issued { version, .. } if version != 1 => Err(failed("wrong version in process output (not 1)")),
        Issued { ref access_key_id, .. } if access_key_id.is_empty() => {
            Err(failed("missing AccessKeyId in process output"))
        }
        Issued { ref secret_access_key, .. } if secret_access_key.is_empty() => {
            Err(failed("missing SecretAccessKey in process output"))
        }
        issued => Ok(issued.into()),
    }
}

fn time_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

/// What a machine says of itself.
#[derive(Deserialize)]
struct Identity {
    #[serde(default)]
    region: String,
}

/// A role that a profile or the block takes on.
struct Role<'a> {
    arn: &'a str,
    external_id: &'a str,
    session: &'a str,
}

impl Source {
    /// A source with what the options know of the surroundings.
    ///
    /// # Errors
    /// No plain client can be built.
    pub fn new(options: &ClientOptions) -> Result<Source, BuildError> {
        // Local services know nothing of proxies and authorization.
        let local = HttpClient::new(&HttpClientConfig::default(), options.plain())?;
        Ok(Source { local, clock: options.clock.clone(), variables: options.variables.clone() })
    }

    /// The region that the environment or a profile names.
    pub fn configured_region(&self, name: &str) -> Option<String> {
        let set = |name: &&str| !self.variables.get(name).is_empty();
        if let Some(name) = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find(|name| set(name)) {
            return Some(self.variables.get(name).to_owned());
        }
        profile(name, &self.variables)?.remove("region").filter(|region| !region.is_empty())
    }

    /// The same, or the region that the machine is in.
    ///
    /// # Errors
    /// The machine does not say.
    pub async fn region(&self, profile: &str) -> Result<String, CloudError> {
        if let Some(region) = self.configured_region(profile) {
            return Ok(region);
        }
        let document = self.machine_answer("/latest/dynamic/instance-identity/document").await;
        let region = document.and_then(|document| document.json::<Identity>());
        match region
            .map_err(|error| CloudError::Request(format!("failed to get region from IMDS: {error}")))?
        {
            Identity { region } if region.is_empty() => {
                Err(CloudError::Malformed("region not found in AWS config or IMDS".to_owned()))
            }
            Identity { region } => Ok(region),
        }
    }

    /// The URL of a service: as a block names it, else where the environment or
    /// the region says.
    pub fn endpoint(&self, named: &str, service: &str, region: &str) -> String {
        match named {
            "" => Endpoints { variables: &self.variables }.of(&service.to_ascii_uppercase(), service, region),
            named => named_endpoint(named),
        }
    }

    /// The credentials of an account, its role taken on; `client` asks the
    /// service that issues tokens.
    ///
    /// # Errors
    /// None are configured, or those that are cannot be had.
    pub async fn credentials(
        &self,
        account: &Account,
        region: &str,
        client: &HttpClient,
    ) -> Result<Credentials, CloudError> {
        let service = self.token_service(region, account.fips_sts);
        let own = self.own(account, region, &service, client).await?;
        if account.role_arn.is_empty() {
            return Ok(own);
        }
        let role = Role { arn: &account.role_arn, external_id: &account.external_id, session: SESSION };
        self.take_on(&role, &own, region, &service, client).await
    }

    async fn take_on(
        &self,
        role: &Role<'_>,
        own: &Credentials,
        region: &str,
        service: &str,
        client: &HttpClient,
    ) -> Result<Credentials, CloudError> {
        let mut pairs = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role.arn),
            ("RoleSessionName", role.session),
        ];
        if !role.external_id.is_empty() {
            pairs.push(("ExternalId", role.external_id));
        }
        let body = form(pairs);
        let malformed = |error: &dyn std::fmt::Display| CloudError::Malformed(format!("{service}: {error}"));
        let uri: Uri = service.parse().map_err(|error| malformed(&error))?;
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(FORM.1));
        let signer = Signer { credentials: own, region, service: "sts", now_ms: self.clock.now_ms() };
        signer.sign(&Method::POST, &uri, &mut headers, body.as_bytes())?;
        let headers: Vec<(&str, &str)> =
            headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        let answer = ask(client, Method::POST, service, &headers, body, TIMEOUT).await?;
        of_token_service(&answer, "AssumeRole")
    }

    fn token_service(&self, region: &str, fips: bool) -> String {
        let host = if fips { "sts-fips" } else { "sts" };
        Endpoints { variables: &self.variables }.of("STS", host, region)
    }

    async fn own(
        &self,
        account: &Account,
        region: &str,
        service: &str,
        client: &HttpClient,
    ) -> Result<Credentials, CloudError> {
        if !account.access_key.is_empty() && !account.secret_key.is_empty() {
            return Ok(Credentials {
                id: account.access_key.clone(),
                secret: account.secret_key.clone(),
                ..Credentials::default()
            });
        }
        if account.profile.is_empty() {
            if let Some(found) = self.of_environment() {
                return Ok(found);
            }
            let file = self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE");
            if !file.is_empty() {
                let session = match self.variables.get("AWS_ROLE_SESSION_NAME") {
                    "" => SESSION,
                    name => name,
                };
                let role = Role { arn: self.variables.get("AWS_ROLE_ARN"), external_id: "", session };
                return federated(&role, file, service, client).await;
            }
        }
        self.of_profile(&account.profile, region, service, client).await
    }

    fn of_environment(&self) -> Option<Credentials> {
        let first = |names: [&str; 2]| {
            names.iter().map(|name| self.variables.get(name)).find(|value| !value.is_empty())
        };
        Some(Credentials {
            id: first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"])?.to_owned(),
            secret: Secret::new(first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"])?),
            token: Secret::new(self.variables.get("AWS_SESSION_TOKEN")),
            expires_ms: None,
        })
    }

    /// What a profile, or the profiles that it names, lead to; without any, the
    /// container's or the machine's own.
    async fn of_profile(
        &self,
        name: &str,
        region: &str,
        service: &str,
        client: &HttpClient,
    ) -> Result<Credentials, CloudError> {
        let mut chain = vec![self.named_profile(name)?];
        let mut current = name.to_owned();
        while let Some(next) = chain.last().and_then(|settings| settings.get("source_profile")).cloned() {
            if next == current {
                break;
            }
            if chain.len() == PROFILES_MAX {
                return Err(CloudError::Unusable("AWS profiles name each other in a circle".to_owned()));
            }
            chain.push(self.named_profile(&next)?);
            current = next;
        }
        let base = chain.last().expect("the first profile is there");
        let setting = |name: &str| base.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let mut found = if let (Some(id), Some(secret)) =
            (setting("aws_access_key_id"), setting("aws_secret_access_key"))
        {
            Credentials {
                id: id.to_owned(),
                secret: Secret::new(secret),
                token: Secret::new(setting("aws_session_token").unwrap_or_default()),
                expires_ms: None,
            }
        } else if let Some(from) = setting("credential_source") {
            self.of_source(from).await?
        } else if let (Some(file), Some(role)) = (setting("web_identity_token_file"), role_of(base)) {
            return federated(&role, file, service, client).await;
        } else if let Some(sign_on) = sign_on(name_of(&current, &self.variables), base, &self.variables)? {
            let endpoints = Endpoints { variables: &self.variables };
            sign_on.credentials(&endpoints, client, self.clock.now_ms()).await?
        } else if let Some(command) = setting("credential_process") {
            of_process(command, &self.variables).await?
        } else {
            match self.of_container().await? {
                Some(found) => found,
                None => self.of_machine().await?,
            }
        };
        for role in chain.iter().rev().filter_map(role_of) {
            found = self.take_on(&role, &found, region, service, client).await?;
        }
        Ok(found)
    }

    /// The settings of a profile; only the default one may be absent.
    fn named_profile(&self, name: &str) -> Result<Profile, CloudError> {
        match profile(name, &self.variables) {
            Some(settings) => Ok(settings),
            None if name.is_empty() => Ok(Profile::new()),
            None => Err(CloudError::Unusable(format!("failed to get shared config profile, {name}"))),
        }
    }

    async fn of_source(&self, name: &str) -> Result<Credentials, CloudError> {
        let none = |what: &str| CloudError::Unusable(format!("credential_source {name}: {what}"));
        match name {
            "Environment" => self.of_environment().ok_or_else(|| none("no credentials in the environment")),
            "Ec2InstanceMetadata" => self.of_machine().await,
            "EcsContainer" => self
                .of_container()
                .await?
                .ok_or_else(|| none("EcsContainer was specified as the source, but not set")),
            _ => Err(none("invalid value")),
        }
    }

    async fn of_container(&self) -> Result<Option<Credentials>, CloudError> {
        let relative = self.variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = match (relative, self.variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            ("", "") => return Ok(None),
            ("", full) => full.to_owned(),
            (relative, _) => format!("{CONTAINER}{relative}"),
        };
        let uri: Uri =
            url.parse().map_err(|error| CloudError::Malformed(format!("container URI: {error}")))?;
        let host = uri.host().unwrap_or_default();
        if uri.scheme_str() != Some("https") && !AGENTS.contains(&host) {
            return Err(CloudError::Unusable(format!(
                "invalid endpoint host, {}, only loopback/ecs/eks hosts are allowed",
                model::labels::go_quote(host)
            )));
        }
        let token = match self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            "" => Secret::new(self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").trim()),
            path => secret_of(path)?,
        };
        let header = [("Authorization", token.expose())];
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &header };
        let answer = ask(&self.local, Method::GET, &url, headers, "", LOCAL_TIMEOUT).await?;
        let issued: Issued = answer.success(&url)?.json()?;
        Ok(Some(issued.into()))
    }

    async fn of_machine(&self) -> Result<Credentials, CloudError> {
        let path = "/latest/meta-data/iam/security-credentials/";
        let role = self.machine_answer(path).await.map_err(|error| {
            CloudError::Request(format!("no EC2 IMDS role found, and no other credentials: {error}"))
        })?;
        let role = role.text().lines().next().unwrap_or_default().trim().to_owned();
        let issued: Issued = self.machine_answer(&format!("{path}{role}")).await?.json()?;
        Ok(issued.into())
    }

    /// What the machine says of itself.
    async fn machine_answer(&self, path: &str) -> Result<Answer, CloudError> {
        if self.variables.get("AWS_EC2_METADATA_DISABLED").eq_ignore_ascii_case("true") {
            return Err(CloudError::Unusable(
                "access disabled to EC2 IMDS via environment variable".to_owned(),
            ));
        }
        let mode = self.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
        let base = match self.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            "" if mode.eq_ignore_ascii_case("ipv6") => MACHINE_V6,
            "" => MACHINE,
            base => base.trim_end_matches('/'),
        };
        let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let url = format!("{base}/latest/api/token");
        let token = ask(&self.local, Method::PUT, &url, &ttl, "", LOCAL_TIMEOUT).await?;
        // Older services know no tokens.
        let knows_none = matches!(token.status.as_u16(), 403..=405)
            && !self.variables.get("AWS_EC2_METADATA_V1_DISABLED").eq_ignore_ascii_case("true");
        let token = if knows_none { String::new() } else { token.success("EC2 IMDS token")?.text() };
        let header = [("X-aws-ec2-metadata-token", token.as_str())];
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &header };
        let url = format!("{base}{path}");
        ask(&self.local, Method::GET, &url, headers, "", LOCAL_TIMEOUT).await?.success(path)
    }
}

fn role_of(settings: &Profile) -> Option<Role<'_>> {
    let setting = |name: &str| settings.get(name).map_or("", String::as_str);
    let session = match setting("role_session_name") {
        "" => SESSION,
        name => name,
    };
    let arn = setting("role_arn");
    (!arn.is_empty()).then(|| Role { arn, external_id: setting("external_id"), session })
}

/// For a token that the cluster or a build system wrote into a file.
async fn federated(
    role: &Role<'_>,
    file: &str,
    service: &str,
    client: &HttpClient,
) -> Result<Credentials, CloudError> {
    let token = secret_of(file)?;
    let body = form([
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role.arn),
        ("RoleSessionName", role.session),
        ("WebIdentityToken", token.expose()),
    ]);
    let answer = ask(client, Method::POST, service, &[FORM], body, TIMEOUT).await?;
    of_token_service(&answer, "AssumeRoleWithWebIdentity")
}

fn of_token_service(answer: &Answer, action: &str) -> Result<Credentials, CloudError> {
    let document = Element::parse(&answer.body);
    if !answer.status.is_success() {
        let document = document.unwrap_or_default();
        let error = document.child("Error").unwrap_or(&document);
        let (code, message) = (error.text_of("Code"), error.text_of("Message"));
        return Err(CloudError::Request(format!(
            "operation error STS: {action}, https response error StatusCode: {}, api error {code}: {message}",
            answer.status.as_u16()
        )));
    }
    let document = document.map_err(|error| CloudError::Malformed(error.to_string()))?;
    let result = format!("{action}Result");
    let text = |name: &str| document.text_at(&[&result, "Credentials", name]).to_owned();
    if text("AccessKeyId").is_empty() {
        return Err(CloudError::Malformed("the token service answers without credentials".to_owned()));
    }
    Ok(Credentials {
        id: text("AccessKeyId"),
        secret: Secret::new(text("SecretAccessKey")),
        token: Secret::new(text("SessionToken")),
        expires_ms: time_ms(&text("Expiration")),
    })
}
