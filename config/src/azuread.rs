//! `azuread` of a remote write block: tokens of Azure AD.
//! Source: Prometheus `storage/remote/azuread/azuread.go`.

use crate::block::{Block, Fields, block, zero_default};
use crate::decode::Walk;
use crate::secret::Secret;

/// The cloud unless another is named.
const PUBLIC: &str = "AzurePublic";

block! {
    /// Exactly one way to a token.
    pub struct AzureAdConfig: "azuread.plain" {
        /// The machine's own identity.
        managed_identity: Option<ManagedIdentity> => omit "managed_identity",
        /// A federated token from a file.
        workload_identity: Option<WorkloadIdentity> => omit "workload_identity",
        /// A client secret.
        oauth: Option<AzureOAuth> => omit "oauth",
        /// What the environment offers.
        sdk: Option<AzureSdk> => omit "sdk",
        /// A client certificate.
        certificate: Option<AzureCertificate> => omit "certificate",
        /// Which cloud.
        cloud: String => omit "cloud",
        /// For what the token is; the cloud's own where empty.
        scope: String => omit "scope",
    }
}

block! {
    /// The machine's own identity.
    pub struct ManagedIdentity: "azuread.ManagedIdentityConfig" {
        /// Which of several; the system's where empty.
        client_id: String => omit "client_id",
    }
}

block! {
    /// A federated token from a file.
    pub struct WorkloadIdentity: "azuread.WorkloadIdentityConfig" {
        /// The application.
        client_id: String => omit "client_id",
        /// Its directory.
        tenant_id: String => omit "tenant_id",
        /// The token's file; named by the environment where empty.
        token_file_path: String => omit "token_file_path",
    }
}

block! {
    /// A client secret.
    pub struct AzureOAuth: "azuread.OAuthConfig" {
        /// The application.
        client_id: String => omit "client_id",
        /// Its secret.
        client_secret: Secret => omit "client_secret",
        /// Its directory.
        tenant_id: String => omit "tenant_id",
    }
}

block! {
    /// What the environment offers.
    pub struct AzureSdk: "azuread.SDKConfig" {
        /// The directory.
        tenant_id: String => omit "tenant_id",
    }
}

block! {
    /// A client certificate.
    pub struct AzureCertificate: "azuread.CertificateConfig" {
        /// The application.
        client_id: String => omit "client_id",
        /// Its directory.
        tenant_id: String => omit "tenant_id",
        /// The certificate's file, PEM or PKCS #12.
        certificate_path: String => omit "certificate_path",
        /// The key's file, where the certificate's has none.
        certificate_key_path: String => omit "certificate_key_path",
        /// The password of the certificate's file.
        certificate_password: Secret => omit "certificate_password",
        /// Whether the chain is sent.
        send_certificate_chain: bool => omit "send_certificate_chain",
    }
}

zero_default!(ManagedIdentity, WorkloadIdentity, AzureOAuth, AzureSdk, AzureCertificate);

impl Block for ManagedIdentity {}
impl Block for WorkloadIdentity {}
impl Block for AzureOAuth {}
impl Block for AzureSdk {}
impl Block for AzureCertificate {}

impl Default for AzureAdConfig {
    fn default() -> AzureAdConfig {
        AzureAdConfig { cloud: PUBLIC.to_owned(), ..AzureAdConfig::zeroed() }
    }
}

impl Block for AzureAdConfig {
    fn finish(&mut self, walk: &mut Walk) {
        if self.cloud.is_empty() {
            self.cloud = PUBLIC.to_owned();
        }
        if let Err(fault) = self.checked() {
            walk.invalid(fault);
        }
    }
}

impl AzureAdConfig {
    /// Reads a document that holds this block alone.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(text: &str) -> Result<AzureAdConfig, crate::ConfigErrors> {
        crate::load::block_from_text(text)
    }

    fn checked(&self) -> Result<(), String> {
        if !["AzureChina", "AzureGovernment", PUBLIC].contains(&self.cloud.as_str()) {
            return Err("must provide a cloud in the Azure AD config".to_owned());
        }
        let n_ways = [
            self.managed_identity.is_some(),
            self.workload_identity.is_some(),
            self.oauth.is_some(),
            self.sdk.is_some(),
            self.certificate.is_some(),
        ]
        .into_iter()
        .filter(|given| *given)
        .count();
        match n_ways {
            0 => {
                return Err("must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, \
                     Azure Certificate or Azure SDK in the Azure AD config"
                    .to_owned());
            }
            1 => {}
            _ => {
                return Err(
                    "cannot provide multiple authentication methods in the Azure AD config".to_owned()
                );
            }
        }
        self.check_way()?;
        let scope_chars = |c: char| c.is_ascii_alphanumeric() || "/.:-_ \t\n\r\u{c}".contains(c);
        if !self.scope.chars().all(scope_chars) {
            return Err("the provided scope contains invalid characters".to_owned());
        }
        Ok(())
    }

    fn check_way(&self) -> Result<(), String> {
        if let Some(managed) = &self.managed_identity {
            let id = &managed.client_id;
            if !id.is_empty() && !is_uuid(id) {
                return Err("the provided Azure Managed Identity client_id is invalid".to_owned());
            }
        }
        if let Some(workload) = &self.workload_identity {
            let name = "Azure Workload Identity";
            given(name, "client_id", !workload.client_id.is_empty())?;
            given(name, "tenant_id", !workload.tenant_id.is_empty())?;
            valid(name, "client_id", is_uuid(&workload.client_id))?;
            valid(name, "tenant_id", is_tenant(&workload.tenant_id))?;
        }
        if let Some(oauth) = &self.oauth {
            let name = "Azure OAuth";
            given(name, "client_id", !oauth.client_id.is_empty())?;
            given(name, "client_secret", !oauth.client_secret.is_empty())?;
            given(name, "tenant_id", !oauth.tenant_id.is_empty())?;
            // Upstream's check of this tenant, and those below, lets any text pass.
            valid(name, "client_id", is_uuid(&oauth.client_id))?;
        }
        if let Some(certificate) = &self.certificate {
            let name = "Azure Certificate";
            given(name, "client_id", !certificate.client_id.is_empty())?;
            given(name, "tenant_id", !certificate.tenant_id.is_empty())?;
            given(name, "certificate_path", !certificate.certificate_path.is_empty())?;
            valid(name, "client_id", is_uuid(&certificate.client_id))?;
        }
        Ok(())
    }
}

fn given(name: &str, field: &str, is_given: bool) -> Result<(), String> {
    if is_given { Ok(()) } else { Err(format!("must provide an {name} {field} in the Azure AD config")) }
}

fn valid(name: &str, field: &str, is_valid: bool) -> Result<(), String> {
    if is_valid { Ok(()) } else { Err(format!("the provided {name} {field} is invalid")) }
}

/// `00000000-0000-0000-0000-000000000000`, also bare, in braces or as a URN.
fn is_uuid(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let inner = lower.strip_prefix("urn:uuid:").unwrap_or(&lower);
    let inner = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(inner);
    let is_hex = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = inner.split('-').collect();
    match parts.as_slice() {
        [bare] => is_hex(bare, 32),
        [a, b, c, d, e] => is_hex(a, 8) && is_hex(b, 4) && is_hex(c, 4) && is_hex(d, 4) && is_hex(e, 12),
        _ => false,
    }
}

fn is_tenant(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}
