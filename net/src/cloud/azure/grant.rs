//! From a way to what is asked for tokens, and with which proof.

use std::path::PathBuf;

use config::Secret;

use super::Way;
use super::certificate::CertificateFile;
use super::chain::Chain;
use super::machine::Machine;
use super::tool::Tool;
use crate::client::Variables;
use crate::cloud::CloudError;

/// Where the cluster writes federated tokens unless it says otherwise.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";

/// Where tokens come from.
pub(super) enum Source {
    /// The one that the configuration says.
    One(Grant),
    /// The first that gives one.
    Chain(Chain),
}

/// How a token is got.
pub(super) enum Grant {
    Form { url: String, client: String, proof: Proof },
    Machine(Machine),
    Tool { tool: Tool, tenant: String },
}

/// What an application shows.
pub(super) enum Proof {
    Secret(Secret),
    Password { user: String, password: Secret },
    Federated(PathBuf),
    Certificate(CertificateFile),
}

/// The source of a way.
///
/// # Errors
/// The environment lacks what the way needs, or a certificate cannot be used.
pub(super) fn source(
    way: Way,
    login: &str,
    scope: &str,
    variables: &Variables,
) -> Result<Source, CloudError> {
    let grant = match way {
        Way::Secret { tenant, client, secret } => form(login, &tenant, client, Proof::Secret(secret)),
        Way::Certificate { tenant, client, path, key_path, password, send_chain } => {
            let file = CertificateFile { path, key_path, password, send_chain };
            file.read()?;
            form(login, &tenant, client, Proof::Certificate(file))
        }
        Way::Workload { tenant, client, token_file } => {
            let file = match (token_file.as_str(), variables.get("AZURE_FEDERATED_TOKEN_FILE")) {
                ("", "") => TOKEN_FILE.to_owned(),
                ("", file) => file.to_owned(),
                _ => token_file,
            };
            workload(login, tenant, client, file, variables)?
        }
        Way::Machine { client } => Grant::Machine(Machine::of(&client, scope, variables)?),
        Way::Environment { tenant } => return Chain::new(tenant, login, variables).map(Source::Chain),
    };
    Ok(Source::One(grant))
}

pub(super) fn form(login: &str, tenant: &str, client: String, proof: Proof) -> Grant {
    Grant::Form { url: format!("{login}/{tenant}/oauth2/v2.0/token"), client, proof }
}

pub(super) fn workload(
    login: &str,
    tenant: String,
    client: String,
    file: String,
    variables: &Variables,
) -> Result<Grant, CloudError> {
    let or = |given: String, name: &str| match (given.as_str(), variables.get(name)) {
        ("", "") => {
            let why = format!("no value for {name}: check the pod's workload identity");
            Err(CloudError::Unusable(why))
        }
        ("", value) => Ok(value.to_owned()),
        _ => Ok(given),
    };
    let client = or(client, "AZURE_CLIENT_ID")?;
    Ok(form(login, &or(tenant, "AZURE_TENANT_ID")?, client, Proof::Federated(file.into())))
}
