//! The client against servers in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use net::{ClientOptions, HttpClient, ProxyEnvironment};
use servers::{Seen, Server, TlsFiles};
use testkit::TestClock;

fn options(clock: &Arc<TestClock>) -> ClientOptions {
    ClientOptions::new("Prometheus/3.14.0", Arc::clone(clock) as Arc<dyn model::Clock>)
}

fn client(yaml: &str) -> HttpClient {
    HttpClient::new(&HttpClientConfig::load(yaml).unwrap(), options(&clock())).unwrap()
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::new(1_700_000_000_000))
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn body(response: Response<net::Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn ok(text: &str) -> Response<String> {
    Response::new(text.to_owned())
}

#[tokio::test]
async fn requests_share_a_connection_and_say_who_sends_them() {
    let server = Server::http(|_| ok("metrics")).await;
    let client = client("http_headers: {X-Own: {values: [a], secrets: [b]}}");
    for _ in 0..3 {
        let response = client.send(get(&server.url("/m"))).await.unwrap();
        assert_eq!(body(response).await, "metrics");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(server.n_connections(), 1);
    assert_eq!(seen[0].header("user-agent"), "Prometheus/3.14.0");
    assert_eq!(seen[0].headers.get_all("x-own").iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn secret_files_are_read_at_each_use() {
    let server = Server::http(|_| ok("")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let client = client(&format!("authorization: {{credentials_file: {}}}", file.display()));
    for token in ["one", "two"] {
        std::fs::write(&file, format!(" {token}\n")).unwrap();
        client.send(get(&server.url("/"))).await.unwrap();
    }
    let sent: Vec<String> = server.seen().iter().map(|seen| seen.header("authorization")).collect();
    assert_eq!(sent, ["Bearer one", "Bearer two"]);
    std::fs::remove_file(&file).unwrap();
    let error = client.send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.contains("unable to read authorization credentials: unable to read file"), "{error}");
    assert!(error.ends_with("no such file or directory"), "{error}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let other = Server::http(|_| ok("there")).await;
    let target = other.url("/x").replace("127.0.0.1", "localhost");
    let server = Server::http(move |_| {
        Response::builder().status(302).header("location", &target).body(String::new()).unwrap()
    })
    .await;
    let text = "basic_auth: {username: u, password: p}\nhttp_headers: {X-Key: {secrets: [k]}}";
    let response = client(text).send(get(&server.url("/"))).await.unwrap();
    assert_eq!(body(response).await, "there");
    assert_eq!(server.seen()[0].header("authorization"), "Basic dTpw");
    let there = &other.seen()[0];
    assert!(!there.headers.contains_key("authorization") && !there.headers.contains_key("x-key"));
    let stays =
        client(&format!("{text}\nfollow_redirects: false")).send(get(&server.url("/"))).await.unwrap();
    assert_eq!(stays.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn endless_redirects_end() {
    let server = Server::http(|seen| {
        let next = format!("{}x", seen.path);
        Response::builder().status(301).header("location", next).body(String::new()).unwrap()
    })
    .await;
    let error = client("{}").send(get(&server.url("/"))).await.unwrap_err().to_string();
    // The last one is told of as the server wrote it.
    assert_eq!(error, "Get \"/xxxxxxxxxx\": stopped after 10 redirects");
    assert_eq!((server.seen().len(), server.n_connections()), (10, 1));
}

#[tokio::test]
async fn faults_read_as_go_says_them() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client("{}").send(get(&format!("http://{free}/metrics"))).await.unwrap_err().to_string();
    let wanted = format!("Get \"http://{free}/metrics\": dial tcp {free}: connect: connection refused");
    assert_eq!(error, wanted);
    let plain = Server::http(|_| ok("")).await;
    let url = plain.url("/").replace("http:", "https:");
    let error = client("{}").send(get(&url)).await.unwrap_err().to_string();
    assert!(error.ends_with("http: server gave HTTP response to HTTPS client"), "{error}");
    let error = client("{}").send(get("ftp://x/")).await.unwrap_err().to_string();
    assert_eq!(error, "Get \"ftp://x/\": unsupported protocol scheme \"ftp\"");
    let silent = Server::raw(b"").await;
    let error = client("{}").send(get(&silent.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with(": EOF"), "{error}");
    let babble = Server::raw(b"no http\r\n\r\n").await;
    let error = client("{}").send(get(&babble.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("transport connection broken: malformed HTTP status code \"http\""), "{error}");
    let noise = Server::raw(b"\x80\x01").await;
    let error = client("{}").send(get(&noise.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("broken: malformed HTTP response \"\\x80\\x01\""), "{error}");
    let cut = Server::raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n").await;
    let error = client("{}").send(get(&cut.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("transport connection broken: unexpected EOF"), "{error}");
    let packed = Server::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx").await;
    let error = client("{}").send(get(&packed.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("broken: unsupported transfer encoding: \"gzip\""), "{error}");
}

#[tokio::test]
async fn odd_heads_are_taken_as_go_takes_them() {
    for (head, version) in [("HTTP/9.9 200 OK", "1.1"), ("HTTP/0.9 200 OK", "1.0")] {
        let text = format!("{head}\r\nX Y : z\r\nContent-Type: a b\r\nContent-Length: 2\r\n\r\nX Y: Z");
        let server = Server::raw(text.leak().as_bytes()).await;
        let response = client("{}").send(get(&server.url("/"))).await.unwrap();
        assert_eq!(
            (format!("{:?}", response.version()), response.status().as_u16()),
            (format!("HTTP/{version}"), 200)
        );
        assert_eq!(response.headers()["content-type"], "a b");
        assert_eq!(body(response).await, "X ");
    }
    let server = Server::raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n").await;
    let error = client("{}").send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("broken: malformed MIME header: missing colon: \"no colon\""), "{error}");
}

#[tokio::test]
async fn servers_without_tls_are_known_by_their_first_bytes() {
    for (bytes, why) in [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n".as_slice(), "http: server gave HTTP response to HTTPS client"),
        (b"SSH-2.0-x\r\n", "tls: first record does not look like a TLS handshake"),
        (b"\x16\x50\x01\x00\x02ab", "tls: first record does not look like a TLS handshake"),
        (b"\x80\x2e\x01\x00\x02ab", "tls: unsupported SSLv2 handshake received"),
        (b"", "EOF"),
    ] {
        let server = Server::raw(bytes).await;
        let url = server.url("/").replace("http:", "https:");
        let error = client("{}").send(get(&url)).await.unwrap_err().to_string();
        assert_eq!(error, format!("Get \"{url}\": {why}"));
    }
}

#[tokio::test]
async fn urls_are_read_as_go_reads_them() {
    let sent = async |url: &str| {
        let answer = client("{}").send_to(Method::GET, url, HeaderMap::new(), Bytes::new()).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
    };
    for (url, wanted) in [
        ("http://a:port/x", "parse \"http://a:port/x\": invalid port \":port\" after host"),
        ("http://[::1/x", "parse \"http://[::1/x\": missing ']' in host"),
        (
            "http://127.0.0.1:99999/x",
            "Get \"http://127.0.0.1:99999/x\": dial tcp: address 99999: invalid port",
        ),
        ("http://127.1:1/x", "Get \"http://127.1:1/x\": dial tcp: lookup 127.1: no such host"),
        ("//a/x", "Get \"//a/x\": unsupported protocol scheme \"\""),
        ("http:///x", "Get \"http:///x\": http: no Host in request URL"),
    ] {
        assert_eq!(sent(url).await, Err(wanted.to_owned()));
    }
    // Without a host it is this machine.
    let server = Server::http(|_| ok("")).await;
    let port = server.url("").rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(sent(&format!("http://:{port}/x")).await, Ok(200));
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let wanted = format!("Get \"http://:{free}/x\": dial tcp :{free}: connect: connection refused");
    assert_eq!(sent(&format!("http://:{free}/x")).await, Err(wanted));
}

#[tokio::test]
async fn redirects_lead_where_go_follows_them() {
    let sent = async |location: &'static str| {
        let server = Server::http(move |seen| match seen.path.as_str() {
            "/" => Response::builder().status(302).header("location", location).body(String::new()).unwrap(),
            _ => ok(""),
        })
        .await;
        let answer = client("{}").send(get(&server.url("/"))).await;
        let seen = server.seen();
        let text = answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string());
        (text.map_err(|text| text.replace(&server.url("/"), "/")), seen.last().unwrap().path.clone())
    };
    assert_eq!(sent("a/../b?c").await, (Ok(200), "/b?c".to_owned()));
    assert_eq!(sent("").await, (Ok(302), "/".to_owned()));
    for (location, wanted) in [
        ("/%zz", "parse \"/%zz\": invalid URL escape \"%zz\""),
        ("http://[", "parse \"http://[\": missing ']' in host"),
        (":x", "parse \":x\": missing protocol scheme"),
    ] {
        let wanted = format!("Get \"/\": failed to parse Location header {location:?}: {wanted}");
        assert_eq!(sent(location).await.0, Err(wanted));
    }
    let scheme = "Get \"mailto:x\": unsupported protocol scheme \"mailto\"";
    assert_eq!(sent("mailto:x").await.0, Err(scheme.to_owned()));
}

#[tokio::test]
async fn certificates_are_verified_by_the_configured_authority_and_name() {
    let files = TlsFiles::new(&["metrics.example"]);
    let server = Server::https(&files, |_| ok("safe")).await;
    let ca = files.ca.display();
    let good = client(&format!("tls_config: {{ca_file: {ca}, server_name: metrics.example}}"));
    let response = good.send(get(&server.url("/"))).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(body(response).await, "safe");
    let old = client(&format!(
        "enable_http2: false\ntls_config: {{ca_file: {ca}, server_name: metrics.example, max_version: TLS12}}"
    ));
    assert_eq!(old.send(get(&server.url("/"))).await.unwrap().version(), http::Version::HTTP_11);
    let error = client(&format!("tls_config: {{ca_file: {ca}}}")).send(get(&server.url("/"))).await;
    let error = error.unwrap_err().to_string();
    let wanted = "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs";
    assert!(error.ends_with(wanted), "{error}");
    let text = format!("tls_config: {{ca_file: {ca}, server_name: other.example}}");
    let error = client(&text).send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("x509: certificate is valid for metrics.example, not other.example"), "{error}");
    let other = TlsFiles::new(&["x"]);
    let text = format!("tls_config: {{ca_file: {}, server_name: metrics.example}}", other.ca.display());
    let error = client(&text).send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.ends_with("x509: certificate signed by unknown authority"), "{error}");
    let blind = client("tls_config: {insecure_skip_verify: true}");
    assert_eq!(body(blind.send(get(&server.url("/"))).await.unwrap()).await, "safe");
}

#[tokio::test]
async fn refused_certificates_are_told_of_in_gos_words() {
    let refusal = async |params: rcgen::CertificateParams, name: &str| {
        let files = TlsFiles::of(params);
        let server = Server::https(&files, |_| ok("")).await;
        let text = format!("tls_config: {{ca_file: {}, server_name: '{name}'}}", files.ca.display());
        let error = client(&text).send(get(&server.url("/"))).await.unwrap_err().to_string();
        error.split_once("x509: ").unwrap().1.to_owned()
    };
    let params = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "*.example");
        params
    };
    assert_eq!(
        refusal(params(&[]), "a.example").await,
        "certificate relies on legacy Common Name field, use SANs instead"
    );
    assert_eq!(
        refusal(params(&[]), "a.other").await,
        "certificate is not valid for any names, but wanted to match a.other"
    );
    assert_eq!(
        refusal(params(&["10.0.0.1", "a.example"]), "127.0.0.1").await,
        "certificate is valid for 10.0.0.1, not 127.0.0.1"
    );
    let mut old = params(&["a.example"]);
    old.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let error = refusal(old, "a.example").await;
    let (now, end) = error.split_once("Z is after ").unwrap();
    assert!(now.starts_with("certificate has expired or is not yet valid: current time 2"), "{error}");
    assert_eq!(end, "2020-01-02T00:00:00Z");
    let mut early = params(&["a.example"]);
    early.not_before = rcgen::date_time_ymd(4000, 1, 2);
    assert!(refusal(early, "a.example").await.ends_with("Z is before 4000-01-02T00:00:00Z"));
}

#[tokio::test]
async fn changed_authorities_are_read_again() {
    let files = TlsFiles::new(&["localhost"]);
    let server = Server::https(&files, |_| ok("")).await;
    let url = server.url("/").replace("127.0.0.1", "localhost");
    let other = TlsFiles::new(&["localhost"]);
    let watched = other.ca.clone();
    let clock = clock();
    let text = format!("tls_config: {{ca_file: {}}}", watched.display());
    let client = HttpClient::new(&HttpClientConfig::load(&text).unwrap(), options(&clock)).unwrap();
    assert!(client.send(get(&url)).await.is_err());
    std::fs::copy(&files.ca, &watched).unwrap();
    clock.advance(Duration::from_secs(2));
    client.send(get(&url)).await.unwrap();
}

#[tokio::test]
async fn client_certificates_are_presented() {
    let files = TlsFiles::new(&["localhost"]);
    let server = Server::https_with_client_auth(&files, |_| ok("known")).await;
    let url = server.url("/").replace("127.0.0.1", "localhost");
    let (ca, cert, key) = (files.ca.display(), files.cert.display(), files.key.display());
    let known = client(&format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}"));
    assert_eq!(body(known.send(get(&url)).await.unwrap()).await, "known");
    assert!(client(&format!("tls_config: {{ca_file: {ca}}}")).send(get(&url)).await.is_err());
}

#[test]
fn impossible_settings_are_refused_when_the_client_is_built() {
    for (text, fault) in [
        ("tls_config: {max_version: TLS11}", "TLS 1.0 and TLS 1.1 are not supported"),
        ("tls_config: {ca_file: /no/such/file}", "unable to read CA cert: unable to read file /no/such/file"),
        ("tls_config: {ca_file: /}", "unable to read CA cert: unable to read file /: read /: is a directory"),
        ("tls_config: {ca: nonsense}", "unable to use specified CA cert inline"),
        ("tls_config: {ca_file: /dev/null}", "unable to use specified CA cert file /dev/null"),
        (
            "tls_config: {cert: x, key_file: /dev/null}",
            "client cert (inline) & key (file /dev/null): tls: failed",
        ),
        ("basic_auth: {username: u, password_ref: r}", "cannot use secret ref without manager"),
        ("proxy_url: 'http://x:99999'", "invalid proxy URL"),
    ] {
        let outcome = HttpClient::new(&HttpClientConfig::load(text).unwrap(), options(&clock()));
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(fault), "{text}: {error}");
    }
}

#[tokio::test]
async fn unix_sockets_are_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let server = Server::unix(&path, |seen| ok(&seen.header("host"))).await;
    let options = ClientOptions { unix_socket: Some(path), ..options(&clock()) };
    let client = HttpClient::new(&HttpClientConfig::default(), options).unwrap();
    assert_eq!(body(client.send(get("http://app/metrics")).await.unwrap()).await, "app");
    drop(server);
}

#[tokio::test]
async fn proxies_carry_plain_and_tunnelled_requests() {
    let files = TlsFiles::new(&["localhost"]);
    let plain = Server::http(|_| ok("plain")).await;
    let safe = Server::https(&files, |_| ok("safe")).await;
    let proxy = Server::proxy().await;
    let proxy_url = proxy.url("").replace("http://", "http://me:pw@");
    let text = format!(
        "proxy_url: '{proxy_url}'\nproxy_connect_header: {{X-Team: [t]}}\ntls_config: {{ca_file: {}}}",
        files.ca.display()
    );
    let client = client(&text);
    assert_eq!(body(client.send(get(&plain.url("/a"))).await.unwrap()).await, "plain");
    let url = safe.url("/b").replace("127.0.0.1", "localhost");
    assert_eq!(body(client.send(get(&url)).await.unwrap()).await, "safe");
    let seen = proxy.seen();
    assert_eq!(seen[0].path, plain.url("/a"));
    assert_eq!(seen[0].header("proxy-authorization"), "Basic bWU6cHc=");
    assert!(seen[1].method == "CONNECT" && seen[1].header("x-team") == "t");
}

#[tokio::test]
async fn oauth2_tokens_are_kept_until_shortly_before_they_end() {
    let issuer = Server::http(|seen| {
        if seen.body.contains("scope=a+b") && seen.header("authorization") == "Basic aWQ6cw==" {
            let json = r#"{"access_token": "tok", "token_type": "bearer", "expires_in": 60}"#;
            return Response::builder()
                .header("content-type", "application/json")
                .body(json.to_owned())
                .unwrap();
        }
        Response::builder().status(401).body("who?".to_owned()).unwrap()
    })
    .await;
    let server = Server::http(|_| ok("")).await;
    let clock = clock();
    let text = format!(
        "oauth2: {{client_id: id, client_secret: s, scopes: [a, b], token_url: '{}'}}",
        issuer.url("/token")
    );
    let client = HttpClient::new(&HttpClientConfig::load(&text).unwrap(), options(&clock)).unwrap();
    for (wait_s, n_asked) in [(0, 1), (45, 1), (10, 2)] {
        clock.advance(Duration::from_secs(wait_s));
        client.send(get(&server.url("/"))).await.unwrap();
        assert_eq!(issuer.seen().len(), n_asked);
    }
    assert_eq!(server.seen()[2].header("authorization"), "Bearer tok");
    let text = text.replace("scopes: [a, b], ", "");
    let refused = HttpClient::new(&HttpClientConfig::load(&text).unwrap(), options(&clock)).unwrap();
    let error = refused.send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.contains(": oauth2: cannot fetch token: 401 Unauthorized\nResponse: who?"), "{error}");
}

/// What the server of tokens is asked with is no fault of the client: its
/// requests fail, until the file is there.
#[tokio::test]
async fn files_for_an_oauth2_server_may_come_later() {
    let files = TlsFiles::new(&["127.0.0.1"]);
    let tokens = Server::https(&files, |_| ok(r#"{"access_token": "t"}"#)).await;
    let server = Server::http(|seen| ok(&seen.header("authorization"))).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let client = client(&format!(
        "oauth2: {{client_id: id, client_secret: s, token_url: '{}', tls_config: {{ca_file: {}}}}}",
        tokens.url("/"),
        ca.display()
    ));
    let fault = client.send(get(&server.url("/"))).await.err().unwrap().to_string();
    assert!(fault.contains(": unable to read CA cert: unable to read file "), "{fault}");
    std::fs::copy(&files.ca, &ca).unwrap();
    assert_eq!(body(client.send(get(&server.url("/"))).await.unwrap()).await, "Bearer t");
}

#[tokio::test]
async fn a_proxy_of_any_scheme_is_one_for_http() {
    let (proxy, server) = (Server::proxy().await, Server::http(|_| ok("seen")).await);
    let client = client(&format!("proxy_url: '{}'", proxy.url("").replace("http://", "gopher://")));
    assert_eq!(body(client.send(get(&server.url("/a"))).await.unwrap()).await, "seen");
    assert_eq!(proxy.n_connections(), 1);
}

#[tokio::test]
async fn signed_oauth2_requests_carry_the_configured_claims() {
    let issuer = Server::http(|_| ok(r#"{"access_token": "tok"}"#)).await;
    let server = Server::http(|_| ok("")).await;
    let key = servers::rsa_key();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pem");
    std::fs::write(&file, key).unwrap();
    let text = format!(
        "oauth2: {{client_id: id, client_certificate_key_file: {}, client_certificate_key_id: k1, \
         grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', claims: {{level: 3}}, token_url: '{}'}}",
        file.display(),
        issuer.url("/token")
    );
    client(&text).send(get(&server.url("/"))).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), "Bearer tok");
    let asked: &Seen = &issuer.seen()[0];
    let form: std::collections::HashMap<String, String> =
        form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
    let parts: Vec<serde_json::Value> = form["assertion"].split('.').take(2).map(servers::decoded).collect();
    assert_eq!(parts[0], serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(parts[1]["level"], 3);
    assert_eq!(parts[1]["iat"], 1_700_000_000);
}

#[tokio::test]
async fn the_environment_names_the_proxy_and_what_is_reached_without() {
    let proxy = Server::http(|seen| ok(&format!("proxied {}", seen.path))).await;
    let direct = Server::http(|_| ok("direct")).await;
    let environment = ProxyEnvironment {
        http_proxy: proxy.url("").replace("http://", "http://user:pa%20ss@"),
        no_proxy: "127.0.0.1".to_owned(),
        ..ProxyEnvironment::default()
    };
    let options = ClientOptions { proxies: Arc::new(environment), ..options(&clock()) };
    let config = HttpClientConfig::load("proxy_from_environment: true").unwrap();
    let client = HttpClient::new(&config, options.clone()).unwrap();
    let answer = client.send(get("http://metrics.example/m?x=1")).await.unwrap();
    assert_eq!(body(answer).await, "proxied http://metrics.example/m?x=1");
    assert_eq!(proxy.seen()[0].header("proxy-authorization"), "Basic dXNlcjpwYSBzcw==");
    assert_eq!(body(client.send(get(&direct.url("/"))).await.unwrap()).await, "direct");
    // Who does not ask for it is not sent through it.
    let plain = HttpClient::new(&HttpClientConfig::default(), options).unwrap();
    assert_eq!(body(plain.send(get(&direct.url("/"))).await.unwrap()).await, "direct");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn header_files_are_read_at_each_use() {
    let server = Server::http(|_| ok("")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("header");
    let client = client(&format!("http_headers: {{X-Key: {{files: [{}]}}}}", file.display()));
    for value in ["one", "two"] {
        std::fs::write(&file, format!("{value}\n")).unwrap();
        client.send(get(&server.url("/"))).await.unwrap();
    }
    let sent: Vec<String> = server.seen().iter().map(|seen| seen.header("x-key")).collect();
    assert_eq!(sent, ["one", "two"]);
    std::fs::remove_file(&file).unwrap();
    let error = client.send(get(&server.url("/"))).await.unwrap_err().to_string();
    assert!(error.contains("headers file") && error.contains("no such file"), "{error}");
}

#[tokio::test]
async fn rotated_client_certificates_are_presented() {
    let files = TlsFiles::new(&["localhost"]);
    let server = Server::https_with_client_auth(&files, |_| ok("known")).await;
    let url = server.url("/").replace("127.0.0.1", "localhost");
    let stranger = TlsFiles::new(&["localhost"]);
    let (ca, cert, key) = (files.ca.display(), stranger.cert.clone(), stranger.key.clone());
    let text =
        format!("tls_config: {{ca_file: {ca}, cert_file: {}, key_file: {}}}", cert.display(), key.display());
    let clock = clock();
    let client = HttpClient::new(&HttpClientConfig::load(&text).unwrap(), options(&clock)).unwrap();
    assert!(client.send(get(&url)).await.is_err());
    std::fs::copy(&files.cert, &cert).unwrap();
    std::fs::copy(&files.key, &key).unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(body(client.send(get(&url)).await.unwrap()).await, "known");
}

#[tokio::test]
async fn nothing_that_is_printed_has_a_secret() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = format!(
        "basic_auth: {{username: u, password: hunter2}}\nproxy_url: 'http://p:hunter3@{free}'\n\
         http_headers: {{X: {{secrets: [hunter4]}}}}\ntls_config: {{key: hunter5, cert: x}}\n"
    );
    let config = HttpClientConfig::load(&text).unwrap();
    let fault = HttpClient::new(&config, options(&clock())).unwrap_err();
    assert!(!format!("{config:?} {fault} {fault:?}").contains("hunter"), "{fault:?}");
    let config = HttpClientConfig::load(text.rsplit_once("tls_config").unwrap().0).unwrap();
    let client = HttpClient::new(&config, options(&clock())).unwrap();
    let fault = client.send(get("http://u:hunter6@metrics.example/")).await.unwrap_err();
    assert!(!format!("{client:?} {fault} {fault:?}").contains("hunter"), "{fault:?}");
}
