//! AWS: whose requests, and their signatures.

mod credentials;
mod profile;
mod sha1;
mod sigv4;
mod sso;

use config::Secret;

pub use credentials::{Credentials, Source};

use crate::client::Variables;
pub use sigv4::Signer;

/// What blocks say of the account that signs.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// A key; others are found where it is empty.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
    /// A profile of the shared files.
    pub profile: String,
    /// A role to take on.
    pub role_arn: String,
    /// What the role's owner asks for.
    pub external_id: String,
    /// Whether roles are asked for at the endpoint for FIPS.
    pub fips_sts: bool,
}

/// Where services are: as the environment names them, else by their region.
pub(crate) struct Endpoints<'a> {
    pub(crate) variables: &'a Variables,
}

impl Endpoints<'_> {
    /// The URL of a service: `id` is its name in the environment's variables,
    /// `host` that of its host.
    pub(crate) fn of(&self, id: &str, host: &str, region: &str) -> String {
        let is_set = |name: &str| self.variables.get(name).eq_ignore_ascii_case("true");
        if !is_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
            let own = self.variables.get(&format!("AWS_ENDPOINT_URL_{id}"));
            match (own, self.variables.get("AWS_ENDPOINT_URL")) {
                ("", "") => {}
                ("", any) => return any.to_owned(),
                (own, _) => return own.to_owned(),
            }
        }
        let (domain, dual_stack) = domains(region);
        let wants_fips = is_set("AWS_USE_FIPS_ENDPOINT") && !host.ends_with("-fips");
        let fips = if wants_fips { "-fips" } else { "" };
        let domain = if is_set("AWS_USE_DUALSTACK_ENDPOINT") { dual_stack } else { domain };
        format!("https://{host}{fips}.{region}.{domain}/")
    }
}

/// The domain of a region's hosts, and of those that speak IPv6 too.
/// Source: aws-sdk-go-v2 `internal/endpoints/awsrulesfn/partitions.json`.
fn domains(region: &str) -> (&'static str, &'static str) {
    let is_of = |prefix: &str| region.starts_with(prefix);
    if is_of("cn-") {
        ("amazonaws.com.cn", "api.amazonwebservices.com.cn")
    } else if is_of("eusc-") {
        ("amazonaws.eu", "api.amazonwebservices.eu")
    } else if is_of("us-isob-") {
        ("sc2s.sgov.gov", "api.aws.scloud")
    } else if is_of("us-isof-") {
        ("csp.hci.ic.gov", "api.aws.hci.ic.gov")
    } else if is_of("us-iso-") {
        ("c2s.ic.gov", "api.aws.ic.gov")
    } else if is_of("eu-isoe-") {
        ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk")
    } else {
        ("amazonaws.com", "api.aws")
    }
}

/// The URL that a block names.
fn named_endpoint(named: &str) -> String {
    if named.contains("://") { named.to_owned() } else { format!("https://{named}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_where_the_environment_or_their_region_says() {
        let of = |variables: &[(&str, &str)], region: &str| {
            let all = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let variables: Variables = all.collect::<std::collections::BTreeMap<_, _>>().into();
            Endpoints { variables: &variables }.of("EC2", "ec2", region)
        };
        assert_eq!(of(&[], "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com/");
        assert_eq!(of(&[], "cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn/");
        assert_eq!(of(&[], "us-isob-east-1"), "https://ec2.us-isob-east-1.sc2s.sgov.gov/");
        let dual = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
        assert_eq!(
            of(&[dual, ("AWS_USE_FIPS_ENDPOINT", "true")], "us-east-1"),
            "https://ec2-fips.us-east-1.api.aws/"
        );
        let any = ("AWS_ENDPOINT_URL", "http://any");
        assert_eq!(of(&[any], "eu-west-1"), "http://any");
        assert_eq!(of(&[any, ("AWS_ENDPOINT_URL_EC2", "http://own")], "eu-west-1"), "http://own");
        let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(of(&[any, ignored], "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com/");
        assert_eq!(named_endpoint("vpce.example"), "https://vpce.example");
    }
}
