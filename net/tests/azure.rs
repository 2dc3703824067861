//! Tokens of Azure, against services in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use config::HttpClientConfig;
use config::azuread::AzureAdConfig;
use http::Response;
use net::{HttpClient, Signing};
use servers::world::{World, json, parts, status};

fn azure(text: &str) -> Signing {
    Signing::AzureAd(AzureAdConfig::load(text).unwrap())
}

const ID: &str = "00000000-0000-0000-0000-00000000000a";

#[tokio::test]
async fn azure_tokens_are_renewed_when_half_of_their_life_is_over() {
    let world = World::new(|_| json(r#"{"access_token": "az", "expires_in": 3600}"#)).await;
    let text = format!("oauth: {{client_id: {ID}, client_secret: 's&t', tenant_id: ten}}");
    let client = world.client(&azure(&text), &[("AZURE_AUTHORITY_HOST", &world.issuer.url("/"))]);
    for (wait_s, n_asked) in [(0, 1), (1700, 1), (200, 2)] {
        world.clock.advance(Duration::from_secs(wait_s));
        let seen = world.send(&client).await.unwrap();
        assert_eq!(seen.header("authorization"), "Bearer az");
        assert_eq!(world.issuer.seen().len(), n_asked);
    }
    let asked = &world.issuer.seen()[0];
    assert_eq!(asked.path, "/ten/oauth2/v2.0/token");
    let form = parts(&asked.body);
    assert_eq!(form["scope"], "https://monitor.azure.com//.default");
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), (ID, "s&t"));
}

#[tokio::test]
async fn azure_workloads_show_the_token_that_the_cluster_writes() {
    let world = World::new(|_| json(r#"{"access_token": "az", "expires_in": "60"}"#)).await;
    let file = world.file("token", "jwt\n");
    let url = world.issuer.url("/");
    let text = format!("workload_identity: {{client_id: {ID}, tenant_id: ten}}");
    let variables = [("AZURE_AUTHORITY_HOST", url.as_str()), ("AZURE_FEDERATED_TOKEN_FILE", file.as_str())];
    world.signed(&azure(&text), &variables).await.unwrap();
    let form = parts(&world.issuer.seen()[0].body);
    assert_eq!(form["client_assertion"], "jwt");
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(form["scope"], "https://monitor.azure.com//.default");
}

#[tokio::test]
async fn azure_machines_give_their_identitys_token() {
    let world = World::new(|seen| match seen.header("metadata").as_str() {
        "true" => json(r#"{"access_token": "vm", "expires_in": "", "expires_on": "1700003600"}"#),
        _ if seen.header("x-identity-header") == "h" => {
            json(r#"{"access_token": "app", "expires_on": "1700003600"}"#)
        }
        _ => status(400),
    })
    .await;
    let url = world.issuer.url("");
    let text = format!("managed_identity: {{client_id: {ID}}}\nscope: api://x/.default");
    let seen = world.signed(&azure(&text), &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url)]).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer vm");
    let wanted = format!(
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx&client_id={ID}"
    );
    assert_eq!(world.issuer.seen()[0].path, wanted);
    let variables = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", "h")];
    let seen = world.signed(&azure("sdk: {}"), &variables).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer app");
}

#[tokio::test]
async fn machines_of_a_service_fabric_have_their_own_identity_only() {
    let world = World::new(|seen| match seen.header("secret").as_str() {
        "h" => json(r#"{"access_token": "sf", "expires_on": 1700003600, "token_type": "Bearer"}"#),
        _ => status(401),
    })
    .await;
    let url = world.issuer.url("/metadata/identity/oauth2/token");
    let variables = [
        ("IDENTITY_ENDPOINT", url.as_str()),
        ("IDENTITY_HEADER", "h"),
        ("IDENTITY_SERVER_THUMBPRINT", "ABCD"),
    ];
    let seen = world.signed(&azure("managed_identity: {}"), &variables).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer sf");
    let asked = world.issuer.seen().pop().unwrap();
    assert_eq!(asked.header("accept"), "application/json");
    let wanted = "/metadata/identity/oauth2/token?api-version=2019-07-01-preview&resource=https%3A%2F%2Fmonitor.azure.com%2F";
    assert_eq!(asked.path, wanted);
    let shell = [("MSI_ENDPOINT", url.as_str())];
    for (variables, what) in [(&variables[..], "Service Fabric"), (&shell[..], "Cloud Shell")] {
        let text = format!("managed_identity: {{client_id: {ID}}}");
        let options = world.options(variables);
        let outcome = HttpClient::with_signing(&HttpClientConfig::default(), Some(&azure(&text)), options);
        let fault = outcome.unwrap_err().to_string();
        assert_eq!(fault, format!("{what} doesn't support user-assigned managed identities"));
    }
}

/// A file with a certificate, as people have it.
fn certificate_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/certificates").join(name)
}

/// The head and the claims of what was signed.
fn assertion_of(world: &World) -> [serde_json::Value; 2] {
    let form = parts(&world.issuer.seen().pop().unwrap().body);
    let mut parts = form["client_assertion"].split('.').map(servers::decoded);
    [parts.next().unwrap(), parts.next().unwrap()]
}

/// What `openssl x509 -outform der | sha256sum` tells of the application's certificate.
const THUMBPRINT: &str = "piebyUqXMNbYUqE0SH7gJb7TSbmPagzHaXd9LXx0M5k";

#[tokio::test]
async fn azure_certificates_sign_the_request_for_a_token() {
    let world = World::new(|_| json(r#"{"access_token": "az", "expires_in": 3600}"#)).await;
    let url = world.issuer.url("");
    let variables = [("AZURE_AUTHORITY_HOST", url.as_str())];
    for (name, password, n_certificates) in [
        ("chain-first.pem", "", 2),
        ("legacy.pfx", "geheim", 2),
        ("modern.pfx", "geheim", 2),
        ("no-password.pfx", "", 1),
    ] {
        let text = format!(
            "certificate: {{client_id: {ID}, tenant_id: ten, certificate_path: {}, certificate_password: '{password}', \
             send_certificate_chain: true}}",
            certificate_file(name).display()
        );
        let seen = world.signed(&azure(&text), &variables).await.unwrap();
        assert_eq!(seen.header("authorization"), "Bearer az", "{name}");
        let [head, claims] = assertion_of(&world);
        assert_eq!((&head["alg"], &head["x5t#S256"]), (&"PS256".into(), &THUMBPRINT.into()), "{name}");
        assert_eq!(head["x5c"].as_array().unwrap().len(), n_certificates, "{name}");
        assert_eq!((&claims["iss"], &claims["exp"]), (&ID.into(), &1_700_000_600.into()));
    }
    // A certificate and its key in two files.
    let both = std::fs::read_to_string(certificate_file("chain-first.pem")).unwrap();
    let key = world.file("key.pem", &both[both.find("-----BEGIN PRIVATE").unwrap()..]);
    let text = format!(
        "certificate: {{client_id: {ID}, tenant_id: ten, certificate_path: {}, certificate_key_path: {key}}}",
        certificate_file("app.pem").display()
    );
    world.signed(&azure(&text), &variables).await.unwrap();
    assert_eq!(assertion_of(&world)[0].get("x5c"), None);
}

#[tokio::test]
async fn azure_certificates_that_cannot_be_used_are_told() {
    let world = World::new(|_| status(500)).await;
    for (name, password, why) in [
        ("/no/file", "", "open /no/file: no such file or directory"),
        ("app.pem", "", "found no private key"),
        ("app.pem", "geheim", "the file is in PEM, and a password is for PKCS #12 only"),
        ("README.md", "", "the file is neither PEM nor PKCS #12"),
        ("legacy.pfx", "falsch", "pkcs12: decryption password incorrect"),
        ("modern.pfx", "", "pkcs12: decryption password incorrect"),
        ("encrypted.pem", "", "the private key is encrypted"),
        ("elliptic.pem", "", "key must be an RSA key"),
        ("other-key.pem", "", "key doesn't match any certificate"),
    ] {
        let path = certificate_file(name);
        let text = format!(
            "certificate: {{client_id: {ID}, tenant_id: ten, certificate_path: {}, certificate_password: '{password}'}}",
            path.display()
        );
        let outcome =
            HttpClient::with_signing(&HttpClientConfig::default(), Some(&azure(&text)), world.options(&[]));
        let fault = outcome.unwrap_err().to_string();
        assert!(fault.contains(why), "{name}: {fault}");
        assert!(!fault.contains("falsch") && !fault.contains("geheim"), "{fault}");
    }
}

#[tokio::test]
async fn azures_environment_offers_one_way_after_the_other() {
    let world = World::new(|seen| match (seen.method.as_str(), seen.header("metadata").as_str()) {
        ("POST", "") => json(r#"{"access_token": "app", "expires_in": 3600}"#),
        ("POST", "true") => json(r#"{"access_token": "shell", "expires_in": 3600}"#),
        (_, "true") => json(r#"{"access_token": "vm", "expires_in": 3600}"#),
        _ if seen.header("secret") == "ml" => json(r#"{"access_token": "ml", "expires_on": "1700003600"}"#),
        _ => status(400),
    })
    .await;
    let url = world.issuer.url("");
    let token = world.file("token", "jwt");
    let pfx = certificate_file("legacy.pfx").display().to_string();
    let application = [("AZURE_TENANT_ID", "ten"), ("AZURE_CLIENT_ID", ID)];
    let certificate = ("AZURE_CLIENT_CERTIFICATE_PATH", pfx.as_str());
    let password = ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "geheim");
    let workload = ("AZURE_FEDERATED_TOKEN_FILE", token.as_str());
    let user = [("AZURE_USERNAME", "u"), ("AZURE_PASSWORD", "p&w")];
    // (variables, token, what the last request holds)
    type Case<'a> = (Vec<(&'a str, &'a str)>, &'a str, &'a str);
    let cases: [Case<'_>; 10] = [
        (vec![("AZURE_CLIENT_SECRET", "s"), certificate], "app", "client_secret=s"),
        (vec![certificate, password, workload], "app", "client_assertion=ey"),
        (user.to_vec(), "app", "grant_type=password&username=u&password=p%26w"),
        (vec![workload], "app", "client_assertion=jwt"),
        // A certificate that cannot be read is passed over.
        (vec![certificate, workload], "app", "client_assertion=jwt"),
        (vec![], "vm", "client_id=00000000"),
        (vec![workload, ("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")], "vm", "client_id=0000"),
        (vec![workload, ("AZURE_TOKEN_CREDENTIALS", "prod")], "app", "client_assertion=jwt"),
        (vec![("MSI_ENDPOINT", &url), ("MSI_SECRET", "ml")], "ml", "clientid=00000000"),
        (vec![workload, ("AZURE_TOKEN_CREDENTIALS", "workloadidentitycredential")], "app", "jwt"),
    ];
    for (variables, token, held) in cases {
        let hosts = [("AZURE_AUTHORITY_HOST", url.as_str()), ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url)];
        let all: Vec<(&str, &str)> =
            hosts.into_iter().chain(application).chain(variables.iter().copied()).collect();
        let seen = world.signed(&azure("sdk: {}"), &all).await.unwrap();
        assert_eq!(seen.header("authorization"), format!("Bearer {token}"), "{variables:?}");
        let asked = world.issuer.seen().pop().unwrap();
        let (path, body) = (&asked.path, &asked.body);
        assert!(path.contains(held) || body.contains(held), "{variables:?}: {path} {body}");
    }
    let shell = [("MSI_ENDPOINT", url.as_str())];
    let seen = world.signed(&azure("sdk: {}"), &shell).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer shell");
    assert_eq!(world.issuer.seen().pop().unwrap().body, "resource=https%3A%2F%2Fmonitor.azure.com%2F");
    let options = world.options(&[("AZURE_TOKEN_CREDENTIALS", "Moon")]);
    let outcome = HttpClient::with_signing(&HttpClientConfig::default(), Some(&azure("sdk: {}")), options);
    let fault = outcome.unwrap_err().to_string();
    assert!(fault.contains(r#"AZURE_TOKEN_CREDENTIALS value "Moon" is no way to a token"#), "{fault}");
    let only = [("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")];
    let fault = world.signed(&azure("sdk: {}"), &only).await.unwrap_err();
    let why = "Failed to get access token: DefaultAzureCredential: failed to acquire a token. \
               Attempted credentials: EnvironmentCredential: missing environment variable AZURE_TENANT_ID";
    assert!(fault.ends_with(why), "{fault}");
}

/// Tools in a folder of their own; each notes how it was called.
struct Tools<'a> {
    world: &'a World,
    folder: PathBuf,
}

impl<'a> Tools<'a> {
    fn new(world: &'a World) -> Tools<'a> {
        let folder = world.home.path().join("tools");
        std::fs::create_dir(&folder).unwrap();
        Tools { world, folder }
    }

    fn says(&self, name: &str, script: &str) {
        let note = format!("#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> \"$HOME/calls\"\n{script}\n");
        // Written by another process: one that is open for writing in this one,
        // and thereby in whatever it starts just now, could not be run.
        let path = self.folder.join(name);
        let script = r#"printf %s "$1" > "$0" && chmod +x "$0""#;
        let written = Command::new("/bin/sh").args(["-c", script]).arg(&path).arg(note).status().unwrap();
        assert!(written.success());
    }

    fn are(&self, all: &[(&str, &str)]) {
        all.iter().for_each(|(name, script)| self.says(name, script));
    }

    /// How they were called since the last look.
    fn calls(&self) -> Vec<String> {
        let path = self.world.home.path().join("calls");
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        calls.lines().map(str::to_owned).collect()
    }

    fn variables<'b>(&'b self, url: &'b str, more: &[(&'b str, &'b str)]) -> Vec<(&'b str, &'b str)> {
        let own = [
            ("PATH", self.folder.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", url),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", url),
        ];
        own.iter().chain(more).copied().collect()
    }
}

const CLI: (&str, &str) = ("az", r#"echo '{"accessToken": "cli", "expires_on": 1700003600}'"#);
const DEVELOPER: (&str, &str) =
    ("azd", r#"echo '{"token": "developer", "expiresOn": "2023-11-14T23:13:20Z"}'"#);
const POWER: (&str, &str) = ("pwsh", r#"echo '{"Token": "power", "ExpiresOn": 1700003600}'"#);

#[tokio::test]
async fn azures_tools_give_the_token_of_whoever_signed_on() {
    let world = World::new(|_| status(400)).await;
    let tools = Tools::new(&world);
    tools.are(&[CLI, DEVELOPER, POWER]);
    let url = world.issuer.url("");
    let asked = "https://monitor.azure.com/";
    for (choice, tenant, token, call) in [
        ("dev", "", "cli", format!("az account get-access-token -o json --resource {asked}")),
        (
            "AzureCLICredential",
            "a-1.b",
            "cli",
            format!("az account get-access-token -o json --resource {asked} --tenant a-1.b"),
        ),
        (
            "azuredeveloperclicredential",
            "ten",
            "developer",
            format!("azd auth token -o json --no-prompt --scope {asked}/.default --tenant-id ten"),
        ),
        (
            "AzurePowerShellCredential",
            "",
            "power",
            "pwsh -NoProfile -NonInteractive -OutputFormat Text -EncodedCommand ".to_owned(),
        ),
    ] {
        let variables = tools.variables(&url, &[("AZURE_TOKEN_CREDENTIALS", choice)]);
        let text = format!("sdk: {{tenant_id: '{tenant}'}}");
        let seen = world.signed(&azure(&text), &variables).await.unwrap();
        assert_eq!(seen.header("authorization"), format!("Bearer {token}"), "{choice}");
        let calls = tools.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        match choice {
            "AzurePowerShellCredential" => assert!(calls[0].starts_with(&call), "{calls:?}"),
            _ => assert_eq!(calls[0], call),
        }
    }
    assert_eq!(world.issuer.seen().len(), 0, "the machine is not asked");
}

#[tokio::test]
async fn what_is_unavailable_is_passed_over_and_the_first_success_is_kept() {
    let world = World::new(|_| status(400)).await;
    let tools = Tools::new(&world);
    tools.says("az", "echo 'no sign-on' >&2; exit 1");
    tools.are(&[DEVELOPER, POWER]);
    let url = world.issuer.url("");
    let client = world.client(&azure("sdk: {}"), &tools.variables(&url, &[]));
    let seen = world.send(&client).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer developer");
    let names = |calls: Vec<String>| -> Vec<String> {
        calls.iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(tools.calls()), ["az", "azd"]);
    let asked = world.issuer.seen();
    let headers: Vec<String> = asked.iter().map(|seen| seen.header("metadata")).collect();
    assert_eq!(headers, ["", "true"], "first whether it is there, then for a token");
    // Others that could give one by now are not asked any more.
    tools.are(&[CLI, ("azd", "exit 1")]);
    world.clock.advance(Duration::from_secs(1801));
    let fault = world.send(&client).await.unwrap_err();
    let why = "Failed to get access token: AzureDeveloperCLICredential: exit status: 1";
    assert!(fault.ends_with(why), "{fault}");
    assert_eq!((names(tools.calls()), world.issuer.seen().len()), (vec!["azd".to_owned()], 2));
}

#[tokio::test]
async fn a_source_that_is_there_and_refuses_is_the_last() {
    let answers = |seen: &servers::Seen| match (seen.path.as_str(), seen.method.as_str()) {
        (path, "GET") if path.starts_with("/none/") && path.contains("api-version") => status(400),
        (path, "GET") if path.starts_with("/proxy/") => {
            Response::builder().status(403).body("connecting: network unreachable".to_owned()).unwrap()
        }
        (path, "GET") if path.starts_with("/other/") => json("<html>"),
        (path, "GET") if path.starts_with("/broken/") => status(500),
        (_, "POST") => Response::builder().status(401).body("invalid_client".to_owned()).unwrap(),
        _ => status(404),
    };
    let world = World::new(answers).await;
    let tools = Tools::new(&world);
    tools.are(&[CLI]);
    let application = [("AZURE_TENANT_ID", "ten"), ("AZURE_CLIENT_SECRET", "hidden")];
    let client = ("AZURE_CLIENT_ID", ID);
    // (machine, variables, token or fault)
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Result<(), &'a str>);
    let cases: [Case<'_>; 6] = [
        ("/none", vec![], Ok(())),
        ("/proxy", vec![], Ok(())),
        ("/other", vec![], Ok(())),
        ("/broken", vec![], Err("ManagedIdentityCredential: ")),
        ("/none", vec![client], Err("ManagedIdentityCredential: ")),
        ("/none", [&application[..], &[client]].concat(), Err("EnvironmentCredential: ")),
    ];
    for (machine, more, outcome) in cases {
        let url = world.issuer.url(machine);
        let variables = tools.variables(&url, &more);
        let sent = world.signed(&azure("sdk: {}"), &variables).await;
        match outcome {
            Ok(()) => assert_eq!(sent.unwrap().header("authorization"), "Bearer cli", "{machine}"),
            Err(last) => {
                let fault = sent.unwrap_err();
                let (_, tried) = fault.split_once("Attempted credentials: ").unwrap();
                assert!(tried.split("; ").last().unwrap().starts_with(last), "{machine}: {fault}");
                assert!(!fault.contains("hidden"), "{fault}");
            }
        }
        let n_calls = usize::from(outcome.is_ok());
        assert_eq!(tools.calls().len(), n_calls, "{machine} {more:?}");
    }
}

#[tokio::test]
async fn a_chain_without_any_token_says_why_each_gave_none() {
    let world = World::new(|_| status(400)).await;
    let tools = Tools::new(&world);
    tools.are(&[
        ("az", r#"echo '{"accessToken": "s3cret", "expires_on": "soon"}'"#),
        ("azd", r#"echo '{"error": "not signed on"}' >&2; exit 1"#),
    ]);
    // Nothing answers here, and nothing refuses: it is given up within a second.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let fault = world.signed(&azure("sdk: {}"), &tools.variables(&url, &[])).await.unwrap_err();
    let (_, tried) = fault.split_once("Attempted credentials: ").unwrap();
    let tried: Vec<&str> = tried.split("; ").collect();
    assert_eq!(
        tried,
        [
            "EnvironmentCredential: missing environment variable AZURE_TENANT_ID",
            "WorkloadIdentityCredential: no token file specified",
            "ManagedIdentityCredential: managed identity timed out",
            "AzureCLICredential: the output is not the JSON expected (line 1, column 46)",
            "AzureDeveloperCLICredential: not signed on",
            "AzurePowerShellCredential: executable not found on path",
        ]
    );
    assert!(!fault.contains("s3cret"), "{fault}");
    // A scope that no shell and no script could be given is refused before a tool is.
    tools.calls();
    let dev = [("AZURE_TOKEN_CREDENTIALS", "dev")];
    let block = azure("sdk: {}\nscope: 'api://x y/.default'");
    let fault = world.signed(&block, &tools.variables(&url, &dev)).await.unwrap_err();
    assert!(fault.ends_with(r#"AzureCLICredential: invalid scope "api://x y/.default""#), "{fault}");
    let block = azure("sdk: {tenant_id: 'a;b'}");
    let fault = world.signed(&block, &tools.variables(&url, &dev)).await.unwrap_err();
    assert!(fault.contains(r#"AzureCLICredential: invalid tenantID "a;b"; Azure"#), "{fault}");
    assert_eq!(tools.calls().len(), 0);
}

#[tokio::test]
async fn a_certificate_may_come_later_than_what_names_it() {
    let world = World::new(|_| json(r#"{"access_token": "app", "expires_in": 3600}"#)).await;
    let (url, path) = (world.issuer.url(""), world.home.path().join("app.pem"));
    let variables = [
        ("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential"),
        ("AZURE_AUTHORITY_HOST", &url),
        ("AZURE_TENANT_ID", "ten"),
        ("AZURE_CLIENT_ID", ID),
        ("AZURE_CLIENT_CERTIFICATE_PATH", path.to_str().unwrap()),
    ];
    let client = world.client(&azure("sdk: {}"), &variables);
    let fault = world.send(&client).await.unwrap_err();
    assert!(fault.contains("app.pem: no such file or directory"), "{fault}");
    std::fs::copy(certificate_file("chain-first.pem"), &path).unwrap();
    assert_eq!(world.send(&client).await.unwrap().header("authorization"), "Bearer app");
}

#[tokio::test]
async fn azure_arc_asks_for_a_key_that_only_the_machine_can_read() {
    let world = World::new(|seen| {
        assert_eq!(seen.header("metadata"), "true");
        let challenge = "Basic realm=/etc/shadow.key";
        Response::builder().status(401).header("www-authenticate", challenge).body(String::new()).unwrap()
    })
    .await;
    let url = world.issuer.url("/arc");
    let variables = [("IDENTITY_ENDPOINT", url.as_str()), ("IMDS_ENDPOINT", "x")];
    let fault = world.signed(&azure("managed_identity: {}"), &variables).await.unwrap_err();
    assert!(fault.contains("invalid file path, expected /var/opt/azcmagent/tokens"), "{fault}");
    let asked = world.issuer.seen().pop().unwrap().path;
    assert_eq!(asked, "/arc?api-version=2020-06-01&resource=https%3A%2F%2Fmonitor.azure.com%2F");
}

#[tokio::test]
async fn refusals_of_azure_are_told() {
    let world = World::new(|_| {
        Response::builder().status(401).body(r#"{"error": "invalid_client"}"#.to_owned()).unwrap()
    })
    .await;
    let text = format!("oauth: {{client_id: {ID}, client_secret: hidden, tenant_id: ten}}");
    let variables = [("AZURE_AUTHORITY_HOST", world.issuer.url(""))];
    let fault = world.signed(&azure(&text), &[(variables[0].0, &variables[0].1)]).await.unwrap_err();
    assert!(fault.contains("Failed to get access token") && fault.contains("invalid_client"), "{fault}");
    assert!(!fault.contains("hidden"));
}
