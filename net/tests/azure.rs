//! Tokens of Azure, against services in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::path::{Path, PathBuf};
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
    let cases: [Case<'_>; 11] = [
        (vec![("AZURE_CLIENT_SECRET", "s"), certificate], "app", "client_secret=s"),
        (vec![certificate, password, workload], "app", "client_assertion=ey"),
        (user.to_vec(), "app", "grant_type=password&username=u&password=p%26w"),
        (vec![workload], "app", "client_assertion=jwt"),
        // A certificate that cannot be read is passed over.
        (vec![certificate, workload], "app", "client_assertion=jwt"),
        (vec![], "vm", "client_id=00000000"),
        (vec![workload, ("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")], "vm", "client_id=0000"),
        (vec![workload, ("AZURE_TOKEN_CREDENTIALS", "prod")], "app", "client_assertion=jwt"),
        (vec![("MSI_ENDPOINT", &url)], "shell", "resource=https%3A%2F%2Fmonitor.azure.com%2F"),
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
    for (variables, why) in [
        (("AZURE_TOKEN_CREDENTIALS", "dev"), "names command-line tools, which are not asked"),
        (("AZURE_TOKEN_CREDENTIALS", "Moon"), "is no way to a token"),
        (
            ("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential"),
            "EnvironmentCredential: missing environment variable AZURE_TENANT_ID",
        ),
    ] {
        let options = world.options(&[variables]);
        let outcome =
            HttpClient::with_signing(&HttpClientConfig::default(), Some(&azure("sdk: {}")), options);
        let fault = outcome.unwrap_err().to_string();
        assert!(fault.contains(why), "{fault}");
    }
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
