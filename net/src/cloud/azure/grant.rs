//! From a way to what is asked for tokens, and with which proof.
//!
//! ```text
//! environment: secret, certificate, password ─▶ workload ─▶ machine
//! ```

use std::path::PathBuf;

use config::Secret;

use super::Way;
use super::certificate::CertificateFile;
use super::machine::Machine;
use crate::client::Variables;
use crate::cloud::CloudError;

/// Where the cluster writes federated tokens unless it says otherwise.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// Names which ways of the environment are tried.
const CHOICE: &str = "AZURE_TOKEN_CREDENTIALS";

/// How a token is got.
pub(super) enum Grant {
    Form { url: String, client: String, proof: Proof },
    Machine(Machine),
}

/// What an application shows.
pub(super) enum Proof {
    Secret(Secret),
    Password { user: String, password: Secret },
    Federated(PathBuf),
    Certificate(CertificateFile),
}

/// The grant, and which ways of the environment were passed over.
///
/// # Errors
/// The environment lacks what the way needs, or a certificate cannot be used.
pub(super) fn grant(
    way: Way,
    login: &str,
    scope: &str,
    variables: &Variables,
) -> Result<(Grant, Vec<String>), CloudError> {
    let sure = |grant| Ok((grant, Vec::new()));
    match way {
        Way::Secret { tenant, client, secret } => sure(form(login, &tenant, client, Proof::Secret(secret))),
        Way::Certificate { tenant, client, path, key_path, password, send_chain } => {
            let file = CertificateFile { path, key_path, password, send_chain };
            file.read()?;
            sure(form(login, &tenant, client, Proof::Certificate(file)))
        }
        Way::Workload { tenant, client, token_file } => {
            let file = match (token_file.as_str(), variables.get("AZURE_FEDERATED_TOKEN_FILE")) {
                ("", "") => TOKEN_FILE.to_owned(),
                ("", file) => file.to_owned(),
                _ => token_file,
            };
            sure(workload(login, tenant, client, file, variables)?)
        }
        Way::Machine { client } => sure(Grant::Machine(Machine::of(&client, scope, variables)?)),
        Way::Environment { tenant } => of_environment(tenant, login, scope, variables),
    }
}

fn form(login: &str, tenant: &str, client: String, proof: Proof) -> Grant {
    Grant::Form { url: format!("{login}/{tenant}/oauth2/v2.0/token"), client, proof }
}

fn workload(
    login: &str,
    tenant: String,
    client: String,
    file: String,
    variables: &Variables,
) -> Result<Grant, CloudError> {
    let or = |given: String, name: &str| match (given.as_str(), variables.get(name)) {
        ("", "") => Err(unusable(format!("no value for {name}: check the pod's workload identity"))),
        ("", value) => Ok(value.to_owned()),
        _ => Ok(given),
    };
    let client = or(client, "AZURE_CLIENT_ID")?;
    Ok(form(login, &or(tenant, "AZURE_TENANT_ID")?, client, Proof::Federated(file.into())))
}

/// The ways of the environment, in the order they are tried.
#[derive(Clone, Copy, PartialEq)]
enum Offer {
    Variables,
    Workload,
    Machine,
}

impl Offer {
    const ALL: [Offer; 3] = [Offer::Variables, Offer::Workload, Offer::Machine];

    fn name(self) -> &'static str {
        match self {
            Offer::Variables => "EnvironmentCredential",
            Offer::Workload => "WorkloadIdentityCredential",
            Offer::Machine => "ManagedIdentityCredential",
        }
    }
}

/// Which ways are to be tried.
fn chosen(choice: &str) -> Result<Vec<Offer>, CloudError> {
    if matches!(choice, "" | "prod") {
        return Ok(Offer::ALL.to_vec());
    }
    if let Some(offer) = Offer::ALL.into_iter().find(|offer| offer.name().eq_ignore_ascii_case(choice)) {
        return Ok(vec![offer]);
    }
    let tools = ["dev", "AzureCLICredential", "AzureDeveloperCLICredential", "AzurePowerShellCredential"];
    let why = match tools.iter().any(|tool| tool.eq_ignore_ascii_case(choice)) {
        true => "names command-line tools, which are not asked: use prod, or leave it out",
        false => {
            "is no way to a token: use prod, or one of EnvironmentCredential, \
                  WorkloadIdentityCredential, ManagedIdentityCredential"
        }
    };
    Err(unusable(format!("{CHOICE} value \"{choice}\" {why}")))
}

fn of_environment(
    tenant: String,
    login: &str,
    scope: &str,
    variables: &Variables,
) -> Result<(Grant, Vec<String>), CloudError> {
    let mut passed_over = Vec::new();
    for offer in chosen(variables.get(CHOICE))? {
        let grant = match offer {
            Offer::Variables => of_variables(login, variables),
            Offer::Workload => match variables.get("AZURE_FEDERATED_TOKEN_FILE") {
                "" => Err(unusable("no token file specified".to_owned())),
                file => workload(login, tenant.clone(), String::new(), file.to_owned(), variables),
            },
            Offer::Machine => {
                Machine::of(variables.get("AZURE_CLIENT_ID"), scope, variables).map(Grant::Machine)
            }
        };
        match grant {
            Ok(grant) => return Ok((grant, passed_over)),
            Err(error) => passed_over.push(format!("{}: {error}", offer.name())),
        }
    }
    Err(unusable(passed_over.join("; ")))
}

/// An application that the variables name, with its secret, certificate or password.
fn of_variables(login: &str, variables: &Variables) -> Result<Grant, CloudError> {
    let given = |name: &str| match variables.get(name) {
        "" => Err(unusable(format!("missing environment variable {name}"))),
        value => Ok(value.to_owned()),
    };
    let (tenant, client) = (given("AZURE_TENANT_ID")?, given("AZURE_CLIENT_ID")?);
    let proof = if let Ok(secret) = given("AZURE_CLIENT_SECRET") {
        Proof::Secret(Secret::new(secret))
    } else if let Ok(path) = given("AZURE_CLIENT_CERTIFICATE_PATH") {
        let chain = variables.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN");
        let file = CertificateFile {
            path: path.into(),
            key_path: None,
            password: Secret::new(variables.get("AZURE_CLIENT_CERTIFICATE_PASSWORD")),
            send_chain: chain == "1" || chain.eq_ignore_ascii_case("true"),
        };
        file.read()?;
        Proof::Certificate(file)
    } else if let Ok(user) = given("AZURE_USERNAME") {
        Proof::Password { user, password: Secret::new(given("AZURE_PASSWORD")?) }
    } else {
        let why =
            "incomplete environment variable configuration. Only AZURE_TENANT_ID and AZURE_CLIENT_ID are set";
        return Err(unusable(why.to_owned()));
    };
    Ok(form(login, &tenant, client, proof))
}

fn unusable(why: String) -> CloudError {
    CloudError::Unusable(why)
}
