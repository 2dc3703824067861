//! Tokens that the machine's own service issues: of a virtual machine, of the
//! services that run programs, of machines elsewhere that Azure Arc manages.
//! Source: Microsoft's library for authentication, `managedidentity`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Secret;
use http::header::{ACCEPT, WWW_AUTHENTICATE};
use http::{Method, StatusCode};

use super::SCOPE_END;
use super::chain::Refusal;
use crate::client::{HttpClient, Variables};
use crate::cloud::token::IssuedToken;
use crate::cloud::{Answer, CloudError, FORM, TIMEOUT, ask, form};

/// A virtual machine's service, and Arc's.
const VIRTUAL: &str = "http://169.254.169.254";
const ARC: &str = "http://127.0.0.1:40342/metadata/identity/oauth2/token";
/// Stands where Arc's agent is installed.
const ARC_AGENT: &str = "/opt/azcmagent/bin/himds";
/// The one folder that Arc's keys are read from, and how long they are at most.
const ARC_KEYS: &str = "/var/opt/azcmagent/tokens";
const ARC_KEY_BYTES_MAX: u64 = 4096;

/// How long a virtual machine's service has to show that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which service is asked, and what is shown to it.
pub(super) enum Machine {
    /// A virtual machine's, which may be none.
    Virtual {
        url: String,
        is_chosen: bool,
    },
    Get {
        url: String,
        header: &'static str,
        value: Secret,
    },
    Shell {
        url: String,
        resource: String,
    },
    Arc {
        url: String,
    },
}

impl Machine {
    /// The service that the environment names, else a virtual machine's.
    ///
    /// # Errors
    /// The environment is one whose service cannot be asked.
    pub(super) fn of(client: &str, scope: &str, variables: &Variables) -> Result<Machine, CloudError> {
        let resource = scope.strip_suffix(SCOPE_END).unwrap_or(scope);
        let (endpoint, header) = (variables.get("IDENTITY_ENDPOINT"), variables.get("IDENTITY_HEADER"));
        let only_own = |what: &str| match client {
            "" => Ok(()),
            _ => {
                Err(CloudError::Unusable(format!("{what} doesn't support user-assigned managed identities")))
            }
        };
        if !endpoint.is_empty() && !header.is_empty() {
            if !variables.get("IDENTITY_SERVER_THUMBPRINT").is_empty() {
                // Its certificate is checked as any other: upstream does not look at the thumbprint.
                only_own("Service Fabric")?;
                let url = with_query(endpoint, "2019-07-01-preview", resource, ("", ""));
                return Ok(Machine::Get { url, header: "Secret", value: Secret::new(header) });
            }
            let url = with_query(endpoint, "2019-08-01", resource, ("client_id", client));
            return Ok(Machine::Get { url, header: "X-IDENTITY-HEADER", value: Secret::new(header) });
        }
        let (service, secret) = (variables.get("MSI_ENDPOINT"), variables.get("MSI_SECRET"));
        if !service.is_empty() {
            if secret.is_empty() {
                only_own("Cloud Shell")?;
                return Ok(Machine::Shell { url: service.to_owned(), resource: resource.to_owned() });
            }
            let client = if client.is_empty() { variables.get("DEFAULT_IDENTITY_CLIENT_ID") } else { client };
            let url = with_query(service, "2017-09-01", resource, ("clientid", client));
            return Ok(Machine::Get { url, header: "secret", value: Secret::new(secret) });
        }
        let is_told = !endpoint.is_empty() && !variables.get("IMDS_ENDPOINT").is_empty();
        if is_told || Path::new(ARC_AGENT).exists() {
            only_own("Azure Arc")?;
            let endpoint = if endpoint.is_empty() { ARC } else { endpoint };
            return Ok(Machine::Arc { url: with_query(endpoint, "2020-06-01", resource, ("", "")) });
        }
        let base = match variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            "" => VIRTUAL,
            base => base.trim_end_matches('/'),
        };
        let endpoint = format!("{base}/metadata/identity/oauth2/token");
        let url = with_query(&endpoint, "2018-02-01", resource, ("client_id", client));
        Ok(Machine::Virtual { url, is_chosen: !client.is_empty() })
    }

    /// Whether a virtual machine's service is there: it answers anything to a
    /// request that it would refuse. Others are named by their environment.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn probe(&self, http: &HttpClient) -> Result<(), String> {
        let Machine::Virtual { url, .. } = self else { return Ok(()) };
        let url = url.split('?').next().unwrap_or_default();
        let asked = ask(http, Method::GET, url, &[], "", TIMEOUT);
        match tokio::time::timeout(PROBE_TIMEOUT, asked).await {
            Ok(answered) => answered.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("managed identity timed out".to_owned()),
        }
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// None is issued.
    pub(super) async fn issue(&self, http: &HttpClient) -> Result<IssuedToken, Refusal> {
        let get = |url: &str, headers: Vec<(&'static str, String)>| {
            let url = url.to_owned();
            async move {
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                ask(http, Method::GET, &url, &headers, "", TIMEOUT).await
            }
        };
        let metadata = ("Metadata", "true".to_owned());
        let (url, answer) = match self {
            Machine::Virtual { url, is_chosen } => {
                return of_virtual(url, get(url, vec![metadata]).await?, *is_chosen);
            }
            Machine::Get { url, header, value } => {
                let accept = (ACCEPT.as_str(), "application/json".to_owned());
                (url, get(url, vec![accept, (*header, value.expose().to_owned())]).await?)
            }
            Machine::Shell { url, resource } => {
                let body = form([("resource", resource.as_str())]);
                (url, ask(http, Method::POST, url, &[FORM, ("Metadata", "true")], body, TIMEOUT).await?)
            }
            Machine::Arc { url } => {
                let refused = get(url, vec![metadata.clone()]).await?;
                let key = arc_key(&challenge_of(&refused)?, Path::new(ARC_KEYS))?;
                let authorization = ("Authorization", format!("Basic {}", key.expose()));
                (url, get(url, vec![metadata, authorization]).await?)
            }
        };
        Ok(answer.success(url)?.json()?)
    }
}

/// What a virtual machine's service answered: without an identity it is as good
/// as none, and so is what else may answer at its address.
fn of_virtual(url: &str, answer: Answer, is_chosen: bool) -> Result<IssuedToken, Refusal> {
    let unavailable = |error: CloudError| Refusal::Unavailable(error.to_string());
    let is_none = match answer.status {
        StatusCode::BAD_REQUEST => !is_chosen,
        // A proxy of containers says so.
        StatusCode::FORBIDDEN => answer.text().contains("unreachable"),
        _ => false,
    };
    let success = answer.success(url).map_err(|error| match is_none {
        true => unavailable(error),
        false => Refusal::Failed(error),
    });
    success?.json().map_err(unavailable)
}

fn with_query(endpoint: &str, version: &str, resource: &str, client: (&str, &str)) -> String {
    let pairs = [("api-version", version), ("resource", resource)];
    let client = (!client.1.is_empty()).then_some(client);
    let sign = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{sign}{}", form(pairs.into_iter().chain(client)))
}

/// What Arc asks to be shown.
fn challenge_of(answer: &Answer) -> Result<String, CloudError> {
    let wrong = |why: String| Err(CloudError::Request(format!("Azure Arc: {why}")));
    if answer.status != StatusCode::UNAUTHORIZED {
        return wrong(format!("expected a 401 response, received {}", answer.status.as_u16()));
    }
    match answer.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()) {
        Some(challenge) => Ok(challenge.to_owned()),
        None => wrong("response has no www-authenticate header".to_owned()),
    }
}

/// The key in the file that a challenge names: only who may read it may have
/// a token. Other files are none of the asker's business.
fn arc_key(challenge: &str, folder: &Path) -> Result<Secret, CloudError> {
    let wrong = |why: String| CloudError::Request(format!("Azure Arc: {why}"));
    let path = challenge.split("Basic realm=").nth(1).map(PathBuf::from);
    let path = path
        .ok_or_else(|| wrong(format!("basic realm= not found in the string, instead found: {challenge}")))?;
    if path.extension().is_none_or(|extension| extension != "key") {
        return Err(wrong("invalid file extension, expected .key".to_owned()));
    }
    if path.parent() != Some(folder) {
        return Err(wrong(format!("invalid file path, expected {}", folder.display())));
    }
    let read = |source| CloudError::Read { path: path.clone(), source };
    let n_bytes = std::fs::metadata(&path).map_err(read)?.len();
    if n_bytes > ARC_KEY_BYTES_MAX {
        let why = format!("invalid secret file size, expected {ARC_KEY_BYTES_MAX}, file size was {n_bytes}");
        return Err(wrong(why));
    }
    std::fs::read_to_string(&path).map(Secret::new).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_arc_come_from_its_own_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| format!("Basic realm={}", folder.path().join(name).display());
        std::fs::write(folder.path().join("a.key"), "k3y").unwrap();
        std::fs::write(folder.path().join("big.key"), vec![b'k'; 5000]).unwrap();
        std::fs::write(folder.path().join("a.txt"), "text").unwrap();
        assert_eq!(arc_key(&named("a.key"), folder.path()).unwrap().expose(), "k3y");
        for (challenge, why) in [
            (named("a.txt"), "extension"),
            (named("big.key"), "file size was 5000"),
            (named("none.key"), "no such file"),
            ("Basic realm=/etc/ssl/x.key".to_owned(), "invalid file path"),
            (named("../a.key"), "invalid file path"),
            ("Bearer".to_owned(), "not found in the string"),
        ] {
            let fault = arc_key(&challenge, folder.path()).unwrap_err().to_string();
            assert!(fault.contains(why), "{challenge}: {fault}");
        }
    }
}
