//! What the mechanisms of AWS share: credentials, signatures, requests.

mod ec2;
mod lightsail;

use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;
use config::discovery::aws::{AwsRole, AwsSdConfig};
use config::discovery::{Ec2SdConfig, LightsailSdConfig};
use http::Method;

use net::cloud::aws::{Account, Credentials, Signer, Source};
use net::xml::Element;

use crate::client::{Answer, Client, Patience, headers_of};
use crate::group::TargetGroup;
use crate::mechanism::{Context, DiscoveryError};
use crate::polled::{Periodic, interval_of};
use crate::refresh::Refresh;

/// A service of a region, asked with signed requests.
pub(crate) struct Service {
    name: &'static str,
    endpoint: String,
    named_region: String,
    account: Account,
    client: Client,
    source: Source,
    /// Found at the first request: the machine may have to be asked.
    region: Option<String>,
    credentials: Option<Credentials>,
    context: Context,
}

impl Service {
    pub(crate) fn new(
        name: &'static str,
        (endpoint, region, account): (String, String, Account),
        http: &HttpClientConfig,
        timeout: Duration,
        context: &Context,
    ) -> Result<Service, DiscoveryError> {
        Ok(Service {
            name,
            client: Client::new(http, context, timeout)?,
            source: Source::new(&context.client_options())?,
            endpoint,
            named_region: region,
            account,
            region: None,
            credentials: None,
            context: context.clone(),
        })
    }

    /// The region: the block's, the environment's or the machine's.
    pub(crate) async fn region(&mut self) -> Result<String, DiscoveryError> {
        if let Some(region) = &self.region {
            return Ok(region.clone());
        }
        let region = match self.named_region.as_str() {
            "" => self.source.region(&self.account.profile).await.map_err(|error| {
                DiscoveryError::Request(format!("could not determine AWS region: {error}"))
            })?,
            region => region.to_owned(),
        };
        self.region = Some(region.clone());
        Ok(region)
    }

    /// Sends a signed POST to the service, again where it says that it is busy.
    pub(crate) async fn post(
        &mut self,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, DiscoveryError> {
        let region = self.region().await?;
        let now = self.context.clock.now_ms();
        if self.credentials.as_ref().is_none_or(|have| have.is_old(now)) {
            self.credentials =
                Some(self.source.credentials(&self.account, &region, self.client.http()).await?);
        }
        let credentials = self.credentials.as_ref().expect("they were set just now");
        let url = self.source.endpoint(&self.endpoint, self.name, &region);
        let signer = Signer { credentials, region: &region, service: self.name, now_ms: now };
        let ask = || signed_post(&self.client, &signer, &url, headers, body.clone());
        let answer = PATIENCE.ask(ask, is_busy).await?;
        // Credentials that are refused are looked for anew the next time.
        if matches!(answer.status.as_u16(), 401 | 403) {
            self.credentials = None;
        }
        Ok(answer)
    }

    /// Asks the query API, which takes forms and answers with XML.
    pub(crate) async fn query(&mut self, pairs: &[(String, String)]) -> Result<Element, DiscoveryError> {
        let form = crate::client::query(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let content_type = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        answer_of(&self.post(&[content_type], form).await?)
    }
}

/// As the cloud's own clients are.
const PATIENCE: Patience = Patience { attempts: 3, pause: Duration::from_millis(500) };
/// Errors of a service that has too much to do.
const BUSY: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

fn is_busy(answer: &Answer) -> bool {
    let status = answer.status.as_u16();
    let says_so = || {
        let document = Element::parse(&answer.body).unwrap_or_default();
        BUSY.contains(&error_of(&document).text_of("Code"))
    };
    matches!(status, 500 | 502 | 503 | 504) || (status >= 400 && says_so())
}

async fn signed_post(
    client: &Client,
    signer: &Signer<'_>,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Answer, DiscoveryError> {
    let uri: http::Uri = url.parse().map_err(|error| DiscoveryError::Malformed(format!("{url}: {error}")))?;
    let mut all = headers_of(headers)?;
    signer.sign(&Method::POST, &uri, &mut all, body.as_bytes())?;
    client.request_with(Method::POST, url, all, Bytes::from(body)).await
}

/// The document of a success; else what the service says is wrong.
fn answer_of(answer: &Answer) -> Result<Element, DiscoveryError> {
    if answer.status.is_success() {
        return Ok(Element::parse(&answer.body)?);
    }
    let document = Element::parse(&answer.body).unwrap_or_default();
    let error = error_of(&document);
    let (code, message) = (error.text_of("Code"), error.text_of("Message"));
    Err(DiscoveryError::Request(format!(
        "https response error StatusCode: {}, api error {code}: {message}",
        answer.status.as_u16()
    )))
}

/// Where a refusal says what is wrong.
fn error_of(document: &Element) -> &Element {
    document.at(&["Errors", "Error"]).or(document.child("Error")).unwrap_or(document)
}

/// Endpoint, region and account of a block.
macro_rules! account_of {
    ($config:expr) => {{
        let account = Account {
            access_key: $config.access_key.clone(),
            secret_key: $config.secret_key.clone(),
            profile: $config.profile.clone(),
            role_arn: $config.role_arn.clone(),
            external_id: $config.external_id.clone(),
            fips_sts: false,
        };
        ($config.endpoint.clone(), $config.region.clone(), account)
    }};
}

/// The service of an `aws_sd_configs` block.
pub(crate) enum AnyService {
    Ec2(Box<ec2::Ec2>),
    Lightsail(Box<lightsail::Lightsail>),
}

/// The time between two looks where the block names none.
const INTERVAL_MS: i64 = 60_000;
/// The port of targets where the block names none.
const PORT: i64 = 80;

impl Periodic for AwsSdConfig {
    const NAME: &'static str = "aws";
    type Look = AnyService;

    fn look_name(&self) -> &'static str {
        self.role.0.map_or(Self::NAME, AwsRole::as_str)
    }

    fn interval(&self) -> config::Duration {
        if self.refresh_interval.0 == 0 {
            model::time::PromDuration(INTERVAL_MS)
        } else {
            self.refresh_interval
        }
    }

    fn look(&self, context: &Context) -> Result<AnyService, DiscoveryError> {
        let port = if self.port == 0 { PORT } else { self.port };
        let account = account_of!(self);
        let interval = interval_of(self.interval());
        match self.role.0 {
            Some(AwsRole::Ec2) => {
                let service = Service::new("ec2", account, &self.http_client, interval, context)?;
                Ok(AnyService::Ec2(Box::new(ec2::Ec2::new(service, &self.filters, port))))
            }
            Some(AwsRole::Lightsail) => {
                let service = Service::new("lightsail", account, &self.http_client, interval, context)?;
                Ok(AnyService::Lightsail(Box::new(lightsail::Lightsail::new(service, port))))
            }
            role => {
                let role = role.map_or("", AwsRole::as_str);
                Err(DiscoveryError::Unusable(format!("AWS SD role {role} is not served")))
            }
        }
    }
}

/// Whether a role of `aws_sd_configs` is served.
pub(crate) fn serves(config: &AwsSdConfig) -> bool {
    matches!(config.role.0, Some(AwsRole::Ec2 | AwsRole::Lightsail))
}

impl Refresh for AnyService {
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        match self {
            AnyService::Ec2(ec2) => ec2.refresh().await,
            AnyService::Lightsail(lightsail) => lightsail.refresh().await,
        }
    }
}

impl Periodic for Ec2SdConfig {
    const NAME: &'static str = "ec2";
    type Look = ec2::Ec2;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<ec2::Ec2, DiscoveryError> {
        let interval = interval_of(self.refresh_interval);
        let service = Service::new("ec2", account_of!(self), &self.http_client, interval, context)?;
        Ok(ec2::Ec2::new(service, &self.filters, self.port))
    }
}

impl Periodic for LightsailSdConfig {
    const NAME: &'static str = "lightsail";
    type Look = lightsail::Lightsail;

    fn interval(&self) -> config::Duration {
        self.refresh_interval
    }

    fn look(&self, context: &Context) -> Result<lightsail::Lightsail, DiscoveryError> {
        let interval = interval_of(self.refresh_interval);
        let service = Service::new("lightsail", account_of!(self), &self.http_client, interval, context)?;
        Ok(lightsail::Lightsail::new(service, self.port))
    }
}
