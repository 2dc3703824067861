//! Requests signed for clouds, against services in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use config::remote::{GoogleIamConfig, SigV4Config};
use config::{HttpClientConfig, Secret};
use http::{Request, Response};
use net::{ClientOptions, HttpClient, Signing};
use servers::world::{World, json, parts, status};
use servers::{Seen, Server};
use testkit::TestClock;

fn sigv4(edit: impl FnOnce(&mut SigV4Config)) -> Signing {
    let mut config = SigV4Config { region: "eu-west-1".to_owned(), ..SigV4Config::default() };
    edit(&mut config);
    Signing::SigV4(config)
}

/// The key that a request is signed with, and for what.
fn key_of(seen: &Seen) -> String {
    let text = seen.header("authorization");
    let text = text.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap();
    text.split(',').next().unwrap().to_owned()
}

fn token_service(seen: &Seen) -> Response<String> {
    let action = parts(&seen.body)["Action"].clone();
    Response::new(format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{action}-id</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>2023-11-14T23:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    ))
}

#[tokio::test]
async fn the_blocks_own_key_signs() {
    let world = World::new(|_| status(404)).await;
    let signing = sigv4(|config| {
        config.access_key = "AK".to_owned();
        config.secret_key = Secret::new("SK");
        config.service_name = "es".to_owned();
    });
    let seen = world.signed(&signing, &[]).await.unwrap();
    assert_eq!(key_of(&seen), "AK/20231114/eu-west-1/es/aws4_request");
    assert_eq!(seen.header("x-amz-date"), "20231114T221320Z");
    let signed = "SignedHeaders=content-length;content-type;host;x-amz-date,";
    assert!(seen.header("authorization").contains(signed), "{}", seen.header("authorization"));
    assert!(!format!("{signing:?}").contains("SK"));
}

#[tokio::test]
async fn keys_are_found_in_the_environment_and_in_profiles() {
    let world = World::new(|_| status(404)).await;
    let environment =
        [("AWS_ACCESS_KEY_ID", "EK"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_SESSION_TOKEN", "tok")];
    let seen = world.signed(&sigv4(|_| {}), &environment).await.unwrap();
    assert_eq!(key_of(&seen), "EK/20231114/eu-west-1/aps/aws4_request");
    assert_eq!(seen.header("x-amz-security-token"), "tok");
    world.file(".aws/credentials", "[default]\naws_access_key_id = DK\naws_secret_access_key = s\n[p]\naws_access_key_id = PK\naws_secret_access_key = s\n");
    world.file(".aws/config", "[profile p]\nregion = us-west-2\n");
    assert!(key_of(&world.signed(&sigv4(|_| {}), &[]).await.unwrap()).starts_with("DK/"));
    // A profile of the block goes before the environment, and names the region.
    let signing = sigv4(|config| {
        config.profile = "p".to_owned();
        config.region = String::new();
    });
    let seen = world.signed(&signing, &environment).await.unwrap();
    assert_eq!(key_of(&seen), "PK/20231114/us-west-2/aps/aws4_request");
    let fault = world.signed(&sigv4(|config| config.profile = "none".to_owned()), &[]).await.unwrap_err();
    assert!(fault.ends_with("failed to get shared config profile, none"), "{fault}");
}

#[test]
fn a_region_must_be_known_when_the_client_is_built() {
    let options = ClientOptions::new("x", Arc::new(TestClock::new(0)));
    let signing = Signing::SigV4(SigV4Config::default());
    let outcome = HttpClient::with_signing(&HttpClientConfig::default(), Some(&signing), options);
    let wanted = "region not configured in sigv4 or in default credentials chain";
    assert_eq!(outcome.unwrap_err().to_string(), wanted);
}

#[tokio::test]
async fn roles_are_taken_on_and_asked_for_again_before_they_end() {
    let world = World::new(token_service).await;
    let url = world.issuer.url("");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let signing = sigv4(|config| {
        config.role_arn = "arn:aws:iam::1:role/r".to_owned();
        config.external_id = "x1".to_owned();
    });
    let client = world.client(&signing, &variables);
    for (wait_s, n_asked) in [(0, 1), (60, 1), (2700, 2)] {
        world.clock.advance(Duration::from_secs(wait_s));
        let seen = world.send(&client).await.unwrap();
        assert!(key_of(&seen).starts_with("AssumeRole-id/"));
        assert_eq!(seen.header("x-amz-security-token"), "t");
        assert_eq!(world.issuer.seen().len(), n_asked);
    }
    let asked = &world.issuer.seen()[0];
    assert_eq!(key_of(asked), "AKID/20231114/eu-west-1/sts/aws4_request");
    let form = parts(&asked.body);
    assert_eq!((form["RoleArn"].as_str(), form["ExternalId"].as_str()), ("arn:aws:iam::1:role/r", "x1"));
}

#[tokio::test]
async fn a_refused_role_is_told_without_secrets() {
    let world = World::new(|_| {
        let text =
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        Response::builder().status(403).body(text.to_owned()).unwrap()
    })
    .await;
    let url = world.issuer.url("");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let fault =
        world.signed(&sigv4(|config| config.role_arn = "r".to_owned()), &variables).await.unwrap_err();
    assert!(fault.contains("StatusCode: 403, api error AccessDenied: no"), "{fault}");
    assert!(!fault.contains("hidden"));
    assert!(world.target.seen().is_empty(), "nothing is sent unsigned");
}

#[tokio::test]
async fn federated_tokens_are_shown_by_workloads_and_by_profiles() {
    let world = World::new(token_service).await;
    let file = world.file("token", "jwt-1\n");
    let url = world.issuer.url("");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
        ("AWS_ROLE_ARN", "arn:r"),
        ("AWS_ROLE_SESSION_NAME", "me"),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let seen = world.signed(&sigv4(|_| {}), &variables).await.unwrap();
    assert!(key_of(&seen).starts_with("AssumeRoleWithWebIdentity-id/"));
    let form = parts(&world.issuer.seen()[0].body);
    assert_eq!(
        (form["WebIdentityToken"].as_str(), form["RoleArn"].as_str(), form["RoleSessionName"].as_str()),
        ("jwt-1", "arn:r", "me")
    );
    world.file(".aws/config", &format!("[profile w]\nrole_arn = arn:w\nweb_identity_token_file = {file}\n"));
    let signing = sigv4(|config| config.profile = "w".to_owned());
    world.signed(&signing, &[("AWS_ENDPOINT_URL_STS", &url)]).await.unwrap();
    assert_eq!(parts(&world.issuer.seen()[1].body)["RoleArn"], "arn:w");
}

#[tokio::test]
async fn profiles_take_on_roles_with_what_other_profiles_have() {
    let world = World::new(token_service).await;
    let url = world.issuer.url("");
    world.file(
        ".aws/config",
        "[profile top]\nrole_arn = arn:top\nsource_profile = middle\nexternal_id = e\n[profile middle]\nrole_arn = arn:middle\n\
         source_profile = base\n[profile base]\naws_access_key_id = BK\naws_secret_access_key = s\n\
         [profile round]\nrole_arn = a\nsource_profile = robin\n[profile robin]\nrole_arn = a\nsource_profile = round\n\
         [profile env]\nrole_arn = arn:env\ncredential_source = Environment\n",
    );
    let with = |profile: &str| sigv4(|config| config.profile = profile.to_owned());
    let sts = ("AWS_ENDPOINT_URL_STS", url.as_str());
    world.signed(&with("top"), &[sts]).await.unwrap();
    let asked: Vec<(String, String)> =
        world.issuer.seen().iter().map(|seen| (parts(&seen.body)["RoleArn"].clone(), key_of(seen))).collect();
    assert!(asked[0].0 == "arn:middle" && asked[0].1.starts_with("BK/"), "{asked:?}");
    assert!(asked[1].0 == "arn:top" && asked[1].1.starts_with("AssumeRole-id/"), "{asked:?}");
    let environment = [sts, ("AWS_ACCESS_KEY_ID", "EK"), ("AWS_SECRET_ACCESS_KEY", "s")];
    world.signed(&with("env"), &environment).await.unwrap();
    assert!(key_of(&world.issuer.seen()[2]).starts_with("EK/"));
    let fault = world.signed(&with("round"), &[sts]).await.unwrap_err();
    assert!(fault.ends_with("AWS profiles name each other in a circle"), "{fault}");
}

/// Where the token of `key` is kept: the name is its SHA-1.
fn sso_file(key: &str) -> &'static str {
    match key {
        "corp" => ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json",
        _ => ".aws/sso/cache/98383e6608d65e46b24bbd92582bc8d916605a21.json",
    }
}

#[tokio::test]
async fn tokens_of_single_sign_on_become_keys_of_a_role() {
    let world = World::new(|seen| match (seen.method.as_str(), seen.path.split('?').next().unwrap()) {
        ("GET", "/federation/credentials") if seen.header("x-amz-sso_bearer_token").starts_with("tok") => {
            json(
                r#"{"roleCredentials": {"accessKeyId": "SK", "secretAccessKey": "s", "sessionToken": "st",
                "expiration": 1700003600000}}"#,
            )
        }
        ("POST", "/token") => json(r#"{"accessToken": "tok-2", "expiresIn": 3600, "refreshToken": "r2"}"#),
        _ => status(401),
    })
    .await;
    let url = world.issuer.url("/");
    let variables = [("AWS_ENDPOINT_URL_SSO", url.as_str()), ("AWS_ENDPOINT_URL_SSO_OIDC", url.as_str())];
    world.file(
        ".aws/config",
        "[profile new]\nsso_session = corp\nsso_account_id = 12\nsso_role_name = r o\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp\n\
         [profile old]\nsso_region = eu-west-1\nsso_start_url = https://x\nsso_account_id = 1\nsso_role_name = r\n\
         [profile half]\nsso_region = eu-west-1\n[profile lost]\nsso_session = gone\n",
    );
    let with = |profile: &str| sigv4(|config| config.profile = profile.to_owned());
    let token = |token: &str, expires: &str, more: &str| {
        format!("{{\"accessToken\": \"{token}\", \"expiresAt\": \"{expires}\"{more}}}")
    };
    // A token that is good is shown as it is.
    world.file(sso_file("old"), &token("tok", "2023-11-15T00:00:00Z", ""));
    let seen = world.signed(&with("old"), &variables).await.unwrap();
    assert!(key_of(&seen).starts_with("SK/"));
    assert_eq!(seen.header("x-amz-security-token"), "st");
    assert!(
        world.issuer.seen()[0].path.ends_with("?role_name=r&account_id=1"),
        "{:?}",
        world.issuer.seen()[0]
    );
    // One of a session that has ended is renewed, and kept for the next.
    let more =
        ", \"clientId\": \"c\", \"clientSecret\": \"cs\", \"refreshToken\": \"r1\", \"startUrl\": \"u\"";
    let path = world.file(sso_file("corp"), &token("tok-1", "2023-11-14T00:00:00Z", more));
    world.signed(&with("new"), &variables).await.unwrap();
    let asked: serde_json::Value = serde_json::from_str(&world.issuer.seen()[1].body).unwrap();
    assert_eq!(
        (asked["refreshToken"].as_str(), asked["grantType"].as_str()),
        (Some("r1"), Some("refresh_token"))
    );
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((kept["accessToken"].as_str(), kept["startUrl"].as_str()), (Some("tok-2"), Some("u")));
    assert_eq!(kept["expiresAt"], "2023-11-14T23:13:20Z");
    assert_eq!(world.issuer.seen()[2].header("x-amz-sso_bearer_token"), "tok-2");
    // What cannot be used says why.
    world.file(sso_file("old"), &token("tok", "2023-11-14T00:00:00Z", ""));
    for (profile, want) in [
        ("old", "the SSO session has expired or is invalid"),
        ("half", "missing required configuration: sso_start_url, sso_account_id, sso_role_name"),
        (
            "lost",
            "profile \"lost\" is configured to use SSO but is missing required configuration: sso-session",
        ),
    ] {
        let fault = world.signed(&with(profile), &variables).await.unwrap_err();
        assert!(fault.ends_with(want), "{fault}");
        assert!(!fault.contains("tok"), "{fault}");
    }
}

#[tokio::test]
async fn programs_that_profiles_name_give_keys() {
    let world = World::new(token_service).await;
    let says = |answer: &str| {
        world.file("answer", answer);
        let command = format!("cat {}/answer", world.home.path().display());
        world.file(".aws/config", &format!("[default]\nregion = here\ncredential_process = {command}\n"));
    };
    let signing = sigv4(|_| {});
    says(r#"{"Version": 1, "AccessKeyId": "PK", "SecretAccessKey": "s3", "SessionToken": "t"}"#);
    let seen = world.signed(&signing, &[]).await.unwrap();
    assert!(key_of(&seen).starts_with("PK/"));
    assert_eq!(seen.header("x-amz-security-token"), "t");
    for (answer, fault) in [
        (
            r#"{"Version": 2, "AccessKeyId": "PK", "SecretAccessKey": "s3"}"#,
            "wrong version in process output (not 1)",
        ),
        (
            r#"{"Version": 1, "AccessKeyId": "", "SecretAccessKey": "s3"}"#,
            "missing AccessKeyId in process output",
        ),
        (r#"{"s3": "#, "parse failed of process output"),
    ] {
        says(answer);
        let found = world.signed(&signing, &[]).await.unwrap_err();
        assert!(found.ends_with(&format!("process provider error: {fault}")), "{found}");
    }
    world.file(".aws/config", "[default]\nregion = here\ncredential_process = exit 3\n");
    let found = world.signed(&signing, &[]).await.unwrap_err();
    assert!(found.ends_with("process provider error: exit status: 3"), "{found}");
}

const ISSUED: &str =
    r#"{"AccessKeyId": "MK", "SecretAccessKey": "s", "Token": "t", "Expiration": "2023-11-15T00:00:00Z"}"#;

#[tokio::test]
async fn machines_and_containers_give_their_keys() {
    let machine = |with_tokens: bool| {
        move |seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("PUT", "/latest/api/token") if with_tokens => Response::new("t0k".to_owned()),
            ("PUT", _) => status(405),
            (_, "/container") if seen.header("authorization") == "pod-token" => json(ISSUED),
            _ if with_tokens && seen.header("x-aws-ec2-metadata-token") != "t0k" => status(401),
            (_, "/latest/meta-data/iam/security-credentials/") => Response::new("role\n".to_owned()),
            (_, "/latest/meta-data/iam/security-credentials/role") => json(ISSUED),
            _ => status(404),
        }
    };
    for with_tokens in [true, false] {
        let world = World::new(machine(with_tokens)).await;
        let url = world.issuer.url("/");
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
        let seen = world.signed(&sigv4(|_| {}), &variables).await.unwrap();
        assert!(key_of(&seen).starts_with("MK/"), "tokens: {with_tokens}");
    }
    let world = World::new(machine(true)).await;
    let (url, file) = (world.issuer.url("/container"), world.file("pod", "pod-token\n"));
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.as_str()),
    ];
    assert!(key_of(&world.signed(&sigv4(|_| {}), &variables).await.unwrap()).starts_with("MK/"));
    let elsewhere = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keys")];
    let fault = world.signed(&sigv4(|_| {}), &elsewhere).await.unwrap_err();
    assert!(fault.contains("only loopback/ecs/eks hosts are allowed"), "{fault}");
    let fault = world.signed(&sigv4(|_| {}), &[("AWS_EC2_METADATA_DISABLED", "true")]).await.unwrap_err();
    assert!(fault.contains("access disabled to EC2 IMDS via environment variable"), "{fault}");
}

fn google(file: &str) -> Signing {
    Signing::GoogleIam(GoogleIamConfig { credentials_file: file.to_owned() })
}

fn key_file(world: &World) -> String {
    let key = serde_json::json!({
        "type": "service_account", "client_email": "a@b", "private_key_id": "kid", "private_key": servers::rsa_key(),
        "token_uri": world.issuer.url("/token"),
    });
    world.file("key.json", &key.to_string())
}

#[tokio::test]
async fn google_service_accounts_sign_requests_for_tokens() {
    let world =
        World::new(|_| json(r#"{"access_token": "go", "expires_in": 3600, "token_type": "Bearer"}"#)).await;
    let file = key_file(&world);
    let client = world.client(&google(&file), &[]);
    for (wait_s, n_asked) in [(0, 1), (3400, 1), (100, 2)] {
        world.clock.advance(Duration::from_secs(wait_s));
        assert_eq!(world.send(&client).await.unwrap().header("authorization"), "Bearer go");
        assert_eq!(world.issuer.seen().len(), n_asked);
    }
    let form = parts(&world.issuer.seen()[0].body);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let decoded: Vec<serde_json::Value> =
        form["assertion"].split('.').take(2).map(servers::decoded).collect();
    assert_eq!(decoded[0], serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "kid"}));
    let claims = serde_json::json!({
        "iss": "a@b", "scope": "https://www.googleapis.com/auth/monitoring.write",
        "aud": world.issuer.url("/token"), "iat": 1_700_000_000, "exp": 1_700_003_600,
    });
    assert_eq!(decoded[1], claims);
    // The environment may name the file too.
    let seen = world.signed(&google(""), &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer go");
}

#[tokio::test]
async fn google_machines_and_users_have_tokens_too() {
    let world = World::new(|seen| match seen.header("metadata-flavor").as_str() {
        "Google" => json(r#"{"access_token": "vm", "expires_in": 3600}"#),
        _ if parts(&seen.body).get("refresh_token").map(String::as_str) == Some("r") => {
            json(r#"{"access_token": "user", "expires_in": 3600}"#)
        }
        _ => status(400),
    })
    .await;
    let host = world.issuer.url("").replace("http://", "");
    let seen = world.signed(&google(""), &[("GCE_METADATA_HOST", &host)]).await.unwrap();
    assert_eq!(seen.header("authorization"), "Bearer vm");
    assert!(
        world.issuer.seen()[0]
            .path
            .starts_with("/computeMetadata/v1/instance/service-accounts/default/token")
    );
    let user = serde_json::json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "quota_project_id": "billed", "token_uri": world.issuer.url("/token"),
    });
    let file = world.file(".config/gcloud/application_default_credentials.json", &user.to_string());
    let seen = world.signed(&google(""), &[]).await.unwrap();
    assert_eq!(
        (seen.header("authorization").as_str(), seen.header("x-goog-user-project").as_str()),
        ("Bearer user", "billed")
    );
    // The block's own file must be a service account's.
    let options = world.options(&[]);
    let outcome = HttpClient::with_signing(&HttpClientConfig::default(), Some(&google(&file)), options);
    assert!(
        outcome.unwrap_err().to_string().ends_with("credentials type mismatch: expected \"service_account\"")
    );
}

#[tokio::test]
async fn tokens_of_other_providers_are_exchanged() {
    let world = World::new(|seen| match seen.path.as_str() {
        "/subject" if seen.header("x-who") == "me" => json(r#"{"value": "from-url"}"#),
        "/exchange" => {
            let form = parts(&seen.body);
            let token = format!("{} {} {}", form["subject_token"], form["audience"], form["scope"]);
            json(&serde_json::json!({"access_token": token, "expires_in": 3600}).to_string())
        }
        "/account" => {
            let asked: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
            let token =
                format!("{} {}", asked["lifetime"].as_str().unwrap(), asked["scope"][0].as_str().unwrap());
            let by = seen.header("authorization");
            assert!(
                by.starts_with("Bearer from-url aud https://www.googleapis.com/auth/cloud-platform"),
                "{by}"
            );
            json(&serde_json::json!({"accessToken": token, "expireTime": "2023-11-15T00:00:00Z"}).to_string())
        }
        _ => status(400),
    })
    .await;
    let subject = world.file("subject", "from-file\n");
    let mut account = serde_json::json!({
        "type": "external_account", "audience": "aud", "token_url": world.issuer.url("/exchange"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": subject},
        "client_id": "c", "client_secret": "s",
    });
    let file = world.file("account.json", &account.to_string());
    let named = [("GOOGLE_APPLICATION_CREDENTIALS", file.as_str())];
    let seen = world.signed(&google(""), &named).await.unwrap();
    let scope = "https://www.googleapis.com/auth/monitoring.write";
    assert_eq!(seen.header("authorization"), format!("Bearer from-file aud {scope}"));
    let asked = &world.issuer.seen()[0];
    assert_eq!(asked.header("authorization"), "Basic Yzpz");
    assert_eq!(parts(&asked.body)["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    account["credential_source"] = serde_json::json!({
        "url": world.issuer.url("/subject"), "headers": {"X-Who": "me"},
        "format": {"type": "json", "subject_token_field_name": "value"},
    });
    account["service_account_impersonation_url"] = world.issuer.url("/account").into();
    account["service_account_impersonation"] = serde_json::json!({"token_lifetime_seconds": 600});
    world.file("account.json", &account.to_string());
    let seen = world.signed(&google(""), &named).await.unwrap();
    assert_eq!(seen.header("authorization"), format!("Bearer 600s {scope}"));
}

#[test]
fn key_files_that_cannot_be_used_are_refused_without_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    let build = |path: &Path| {
        let options = ClientOptions::new("x", Arc::new(TestClock::new(0)));
        let signing = google(&path.display().to_string());
        let outcome = HttpClient::with_signing(&HttpClientConfig::default(), Some(&signing), options);
        outcome.unwrap_err().to_string()
    };
    assert!(build(&path).contains("no such file or directory"));
    std::fs::write(&path, r#"{"type": "service_account", "private_key": 12345"#).unwrap();
    let fault = build(&path);
    assert!(fault.contains("no key file (line 1") && !fault.contains("12345"), "{fault}");
    std::fs::write(&path, r#"{"type": "impersonated_service_account"}"#).unwrap();
    assert!(build(&path).contains("credentials of type \"impersonated_service_account\" are not supported"));
    for (text, fault) in [
        (r#"{"type": "external_account"}"#, "Audience must be set"),
        (
            r#"{"type": "external_account", "audience": "a", "subject_token_type": "t"}"#,
            "unable to parse credential source",
        ),
        (
            r#"{"type": "external_account", "audience": "a", "subject_token_type": "t",
                "credential_source": {"executable": {"command": "x"}}}"#,
            "a credential source that runs a program is not supported",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let found = build(&path);
        assert!(found.ends_with(&format!("oauth2/google/externalaccount: {fault}")), "{found}");
    }
}

#[tokio::test]
async fn signatures_stay_behind_when_a_redirect_leaves_the_host() {
    let other = Server::http(|_| Response::new(String::new())).await;
    let target = other.url("/x").replace("127.0.0.1", "localhost");
    let first = Server::http(move |_| {
        Response::builder().status(307).header("location", &target).body(String::new()).unwrap()
    })
    .await;
    let world = World::new(|_| status(404)).await;
    let signing = sigv4(|config| {
        config.access_key = "AK".to_owned();
        config.secret_key = Secret::new("SK");
    });
    let client = world.client(&signing, &[]);
    client.send(Request::get(first.url("/")).body(Bytes::new()).unwrap()).await.unwrap();
    assert!(first.seen()[0].headers.contains_key("authorization"));
    let there = &other.seen()[0];
    assert!(!there.headers.contains_key("authorization") && !there.headers.contains_key("x-amz-date"));
}
