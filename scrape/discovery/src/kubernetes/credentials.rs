//! Where a cluster's API is and how to show who asks: named in the
//! configuration, found inside a pod, or in a kubeconfig file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::discovery::KubernetesSdConfig;
use config::http_client::{Authorization, BasicAuth};
use config::{HttpClientConfig, Secret, Url};
use serde::Deserialize;

use crate::client::{Client, null_as_empty};
use crate::file::document_of_yaml;
use crate::labels::join_host_port;
use crate::mechanism::{Context, DiscoveryError};

/// Where a pod finds its service account.
pub(super) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The time limit of a list; watches are bounded on their own.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A way to a cluster.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) client: Client,
    /// The API's URL without slash at the end.
    pub(super) base: String,
    /// The pod's own namespace, where it is asked for.
    pub(super) own_namespace: Option<String>,
}

/// The way that the settings name. `account` is the folder of the service
/// account.
pub(super) fn access(
    config: &KubernetesSdConfig,
    context: &Context,
    account: &Path,
) -> Result<Access, DiscoveryError> {
    let (base, http, own_namespace) = if !config.kubeconfig_file.is_empty() {
        let (base, http) = from_kubeconfig(Path::new(&config.kubeconfig_file))?;
        (base, http, None)
    } else if let Some(server) = &config.api_server {
        (server.expose().to_owned(), config.http_client.clone(), None)
    } else {
        let (base, http) = in_cluster(context, account)?;
        tracing::info!(
            component = context.component(),
            discovery = "kubernetes",
            config = context.set,
            "Using pod service account via in-cluster config"
        );
        let own = config.namespaces.own_namespace.then(|| own_namespace(account)).transpose()?;
        (base, http, own)
    };
    let client = Client::new(&http, context, TIMEOUT)?;
    Ok(Access { client, base: base.trim_end_matches('/').to_owned(), own_namespace })
}

/// The API as a pod sees it. The token's file is read at each request, as the
/// cluster renews it.
fn in_cluster(context: &Context, account: &Path) -> Result<(String, HttpClientConfig), DiscoveryError> {
    let host = context.surroundings.variable("KUBERNETES_SERVICE_HOST");
    let port = context.surroundings.variable("KUBERNETES_SERVICE_PORT");
    if host.is_empty() || port.is_empty() {
        return Err(DiscoveryError::Unusable(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be \
             defined"
                .to_owned(),
        ));
    }
    let token = account.join("token");
    read(&token)?;
    let mut http = HttpClientConfig {
        authorization: Some(Authorization {
            scheme: "Bearer".to_owned(),
            credentials_file: token.display().to_string(),
            ..Authorization::default()
        }),
        ..HttpClientConfig::default()
    };
    let authority = account.join("ca.crt");
    if authority.is_file() {
        http.tls_config.ca_file = authority.display().to_string();
    }
    Ok((format!("https://{}", join_host_port(host, port)), http))
}

fn own_namespace(account: &Path) -> Result<String, DiscoveryError> {
    let fault = |what: String| DiscoveryError::Unusable(what);
    let text = read(&account.join("namespace"))
        .map_err(|error| fault(format!("could not determine the pod's namespace: {error}")))?;
    if text.is_empty() {
        return Err(fault("could not read own namespace name (empty file)".to_owned()));
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String, DiscoveryError> {
    std::fs::read_to_string(path).map_err(|source| DiscoveryError::Read { path: path.to_path_buf(), source })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct KubeConfig {
    #[serde(deserialize_with = "null_as_empty")]
    current_context: String,
    #[serde(deserialize_with = "null_as_empty")]
    clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "null_as_empty")]
    users: Vec<NamedUser>,
    #[serde(deserialize_with = "null_as_empty")]
    contexts: Vec<NamedContext>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

/// All scalars come as texts.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    tls_server_name: String,
    insecure_skip_tls_verify: String,
    certificate_authority: String,
    certificate_authority_data: String,
    proxy_url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    #[serde(deserialize_with = "null_as_empty")]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: Secret64,
    token: Secret64,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: Secret64,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

/// A text that is not shown.
#[derive(Default)]
struct Secret64(Secret);

impl<'de> Deserialize<'de> for Secret64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret64, D::Error> {
        Ok(Secret64(Secret::new(String::deserialize(deserializer)?)))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: CurrentContext,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CurrentContext {
    cluster: String,
    user: String,
}

/// The server and the client's block of a file's current context.
fn from_kubeconfig(path: &Path) -> Result<(String, HttpClientConfig), DiscoveryError> {
    let fault = |what: String| DiscoveryError::Unusable(format!("kubeconfig {}: {what}", path.display()));
    let text = read(path)?;
    let document = document_of_yaml(&text).map_err(|error| fault(error.to_string()))?;
    let file: KubeConfig = serde_json::from_value(document).map_err(|error| fault(error.to_string()))?;
    let missing =
        |what: &str, name: &str| fault(format!("{what} {} does not exist", model::labels::go_quote(name)));
    let context = file.contexts.iter().find(|context| context.name == file.current_context);
    let context = &context.ok_or_else(|| missing("context", &file.current_context))?.context;
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut http = HttpClientConfig::default();
    add_cluster(&mut http, cluster, folder).map_err(&fault)?;
    if !context.user.is_empty() {
        let user = file.users.iter().find(|user| user.name == context.user);
        let user = &user.ok_or_else(|| missing("user", &context.user))?.user;
        add_user(&mut http, user, folder).map_err(&fault)?;
    }
    let server = if cluster.server.is_empty() { "http://localhost:8080" } else { &cluster.server };
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    Ok((server, http))
}

fn add_cluster(http: &mut HttpClientConfig, cluster: &Cluster, folder: &Path) -> Result<(), String> {
    let tls = &mut http.tls_config;
    tls.server_name.clone_from(&cluster.tls_server_name);
    tls.insecure_skip_verify = cluster.insecure_skip_tls_verify == "true";
    match cluster.certificate_authority_data.as_str() {
        "" => tls.ca_file = below(folder, &cluster.certificate_authority),
        data => tls.ca = decoded(data, "certificate-authority-data")?,
    }
    if !cluster.proxy_url.is_empty() {
        let url = Url::parse(&cluster.proxy_url).map_err(|error| format!("proxy-url: {error}"))?;
        http.proxy.proxy_url = Some(url);
    }
    Ok(())
}

fn add_user(http: &mut HttpClientConfig, user: &User, folder: &Path) -> Result<(), String> {
    if user.exec.is_some() {
        return Err(
            "users with exec plug-ins are not supported: use a token or a client certificate".to_owned()
        );
    }
    if user.auth_provider.is_some() {
        return Err(
            "users with auth-provider are not supported: use a token or a client certificate".to_owned()
        );
    }
    let tls = &mut http.tls_config;
    match user.client_certificate_data.as_str() {
        "" => tls.cert_file = below(folder, &user.client_certificate),
        data => tls.cert = decoded(data, "client-certificate-data")?,
    }
    match user.client_key_data.0.expose() {
        "" => tls.key_file = below(folder, &user.client_key),
        data => tls.key = Secret::new(decoded(data, "client-key-data")?),
    }
    if !user.token.0.is_empty() || !user.token_file.is_empty() {
        http.authorization = Some(Authorization {
            scheme: "Bearer".to_owned(),
            // Where both are given the file's token is the newer one.
            credentials: if user.token_file.is_empty() { user.token.0.clone() } else { Secret::default() },
            credentials_file: below(folder, &user.token_file),
            ..Authorization::default()
        });
    } else if !user.username.is_empty() || !user.password.0.is_empty() {
        http.basic_auth = Some(BasicAuth {
            username: user.username.clone(),
            password: user.password.0.clone(),
            ..BasicAuth::default()
        });
    }
    Ok(())
}

/// A path of the file, which may be relative to the file's folder.
fn below(folder: &Path, path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let path: PathBuf = folder.join(path);
    path.display().to_string()
}

fn decoded(data: &str, what: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(data.trim()).map_err(|error| format!("{what}: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("{what}: not PEM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(user: &str) -> Result<(String, HttpClientConfig), DiscoveryError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let authority = STANDARD.encode("PEM");
        std::fs::write(
            &path,
            format!(
                "current-context: here\ncontexts:\n- name: here\n  context: {{cluster: c, user: u}}\n\
                 clusters:\n- name: c\n  cluster:\n    server: https://k8s.example:6443\n    \
                 certificate-authority-data: {authority}\nusers:\n- name: u\n  user:\n    {user}\n"
            ),
        )
        .unwrap();
        from_kubeconfig(&path)
    }

    #[test]
    fn a_kubeconfig_names_server_authority_and_token() {
        let (server, http) = kubeconfig("token: abc").unwrap();
        assert_eq!(server, "https://k8s.example:6443");
        assert_eq!(http.tls_config.ca, "PEM");
        assert_eq!(http.authorization.unwrap().credentials.expose(), "abc");

        let (_, http) = kubeconfig("client-certificate: a.pem\n    client-key: /b.pem").unwrap();
        assert!(http.tls_config.cert_file.ends_with("/a.pem"));
        assert_eq!(http.tls_config.key_file, "/b.pem");
    }

    #[test]
    fn users_of_plug_ins_are_refused_with_reasons() {
        let error = kubeconfig("exec: {command: aws}").unwrap_err().to_string();
        assert!(error.contains("exec plug-ins are not supported"), "{error}");
    }

    #[test]
    fn outside_of_a_cluster_the_error_is_upstreams() {
        let error = in_cluster(&crate::testing::context(), Path::new(SERVICE_ACCOUNT)).unwrap_err();
        assert!(error.to_string().starts_with("unable to load in-cluster configuration"));
    }
}
