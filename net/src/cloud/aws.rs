//! AWS: whose requests, and their signatures.

mod credentials;
mod process;
mod profile;
mod sigv4;

use config::Secret;

pub use credentials::{Credentials, Source};
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

/// The URL of a service of a region, unless another is named.
pub fn endpoint(named: &str, service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match named {
        "" => format!("https://{service}.{region}.{domain}/"),
        named if named.contains("://") => named.to_owned(),
        named => format!("https://{named}"),
    }
}
