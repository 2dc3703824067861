//! The sources of tokens that the environment may offer, asked one after the
//! other until one gives a token; from then on that one alone is asked.
//! Source: Azure SDK for Go, `azidentity`: `DefaultAzureCredential`,
//! `ChainedTokenCredential`.
//!
//! ```text
//! variables ─▶ workload ─▶ machine ─▶ az ─▶ azd ─▶ PowerShell
//!     unavailable: the next one · failed: no further
//! ```

use config::Secret;

use super::certificate::CertificateFile;
use super::grant::{self, Grant, Proof};
use super::machine::Machine;
use super::tool::Tool;
use crate::client::Variables;
use crate::cloud::CloudError;

/// Names which sources are asked.
const CHOICE: &str = "AZURE_TOKEN_CREDENTIALS";

/// Why a source gives no token.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not there, or not set up: the next one may be.
    Unavailable(String),
    /// It is there and refuses.
    Failed(CloudError),
}

impl Refusal {
    /// The same with the source's name.
    pub(super) fn of(self, offer: Offer) -> CloudError {
        CloudError::Request(format!("{}: {}", offer.name(), CloudError::from(self)))
    }
}

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Refusal {
        Refusal::Failed(error)
    }
}

impl From<Refusal> for CloudError {
    fn from(refusal: Refusal) -> CloudError {
        match refusal {
            Refusal::Unavailable(why) => CloudError::Unusable(why),
            Refusal::Failed(error) => error,
        }
    }
}

/// A source, in the order they are asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Offer {
    Variables,
    Workload,
    Machine,
    Tool(Tool),
}

impl Offer {
    const ALL: [Offer; 6] = [
        Offer::Variables,
        Offer::Workload,
        Offer::Machine,
        Offer::Tool(Tool::Cli),
        Offer::Tool(Tool::Developer),
        Offer::Tool(Tool::PowerShell),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Offer::Variables => "EnvironmentCredential",
            Offer::Workload => "WorkloadIdentityCredential",
            Offer::Machine => "ManagedIdentityCredential",
            Offer::Tool(tool) => tool.name(),
        }
    }
}

/// Sources to be asked.
pub(super) struct Chain {
    pub(super) offers: Vec<Offer>,
    /// Of workloads and tools; named by the environment or the tool where empty.
    tenant: String,
    login: String,
}

impl Chain {
    /// The sources that the environment chooses, or all.
    ///
    /// # Errors
    /// Its choice is none.
    pub(super) fn new(tenant: String, login: &str, variables: &Variables) -> Result<Chain, CloudError> {
        let choice = variables.get(CHOICE);
        let is_tool = |offer: &Offer| matches!(offer, Offer::Tool(_));
        let all = Offer::ALL.into_iter();
        let offers: Vec<Offer> = match choice {
            "" => all.collect(),
            "prod" => all.filter(|offer| !is_tool(offer)).collect(),
            "dev" => all.filter(is_tool).collect(),
            name => all.filter(|offer| offer.name().eq_ignore_ascii_case(name)).collect(),
        };
        if offers.is_empty() {
            let names = Offer::ALL.map(Offer::name).join(", ");
            let what = format!("{CHOICE} value {} is no way to a token", model::labels::go_quote(choice));
            return Err(CloudError::Unusable(format!("{what}: use prod, dev, or one of {names}")));
        }
        Ok(Chain { offers, tenant, login: login.to_owned() })
    }

    /// What a source needs to be asked; looked for anew each time, since a
    /// certificate may come later than what names it.
    ///
    /// # Errors
    /// The environment lacks some of it.
    pub(super) fn grant(
        &self,
        offer: Offer,
        scope: &str,
        variables: &Variables,
    ) -> Result<Grant, CloudError> {
        let tenant = self.tenant.clone();
        match offer {
            Offer::Variables => of_variables(&self.login, variables),
            Offer::Workload => match variables.get("AZURE_FEDERATED_TOKEN_FILE") {
                "" => Err(CloudError::Unusable("no token file specified".to_owned())),
                file => grant::workload(&self.login, tenant, String::new(), file.to_owned(), variables),
            },
            Offer::Machine => {
                Machine::of(variables.get("AZURE_CLIENT_ID"), scope, variables).map(Grant::Machine)
            }
            Offer::Tool(tool) => Ok(Grant::Tool { tool, tenant }),
        }
    }
}

/// An application that the variables name, with its secret, certificate or password.
fn of_variables(login: &str, variables: &Variables) -> Result<Grant, CloudError> {
    let given = |name: &str| match variables.get(name) {
        "" => Err(CloudError::Unusable(format!("missing environment variable {name}"))),
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
        return Err(CloudError::Unusable(why.to_owned()));
    };
    Ok(grant::form(login, &tenant, client, proof))
}
