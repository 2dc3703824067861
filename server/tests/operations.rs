//! Running the server: what it says, what a reload does, how it is stopped.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test of the whole process")]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::Server;
use testkit::http;

const GOOD: &str = "global: {scrape_interval: 1m}\n";

fn write(dir: &Path, text: &str) {
    std::fs::write(dir.join("prometheus.yml"), text).unwrap();
}

fn log_to(path: &Path) -> Stdio {
    Stdio::from(std::fs::File::create(path).unwrap())
}

fn notifications(port: u16) -> String {
    http::get(port, "/api/v1/notifications").unwrap().1
}

const FAILED: &str = "Configuration reload has failed.";

#[test]
fn a_faulty_file_changes_nothing_and_is_told_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let port = http::free_port();
    let log = dir.path().join("log");
    let server = Server::start_logging(dir.path(), port, &["--web.enable-lifecycle"], log_to(&log));
    let successful = || Server::metric(port, "prometheus_config_last_reload_successful");
    let reloaded_at = || Server::metric(port, "prometheus_config_last_reload_success_timestamp_seconds");
    assert_eq!(successful(), 1.0);
    let first = reloaded_at();
    let shown = http::get(port, "/api/v1/status/config").unwrap().1;

    write(dir.path(), "global: {scrape_interval: 1m}\nscrape_config: [hidden]\n");
    server.signal(Signal::HUP);
    Server::until("SIGHUP must load the file", || successful() == 0.0);
    assert!(notifications(port).contains(FAILED));
    assert_eq!(reloaded_at(), first, "the time is that of the last success");
    assert_eq!(http::get(port, "/api/v1/status/config").unwrap().1, shown, "nothing was applied");
    assert_eq!(http::get(port, "/-/ready").unwrap().0, 200);
    let (status, _, body) = http::request(port, "POST", "/-/reload", &[], b"").unwrap();
    assert_eq!(status, 500);
    assert!(
        body.starts_with("failed to reload config: couldn't load configuration (--config.file="),
        "{body}"
    );
    assert!(body.contains("field scrape_config not found in type config.plain"), "{body}");
    let excerpt = "/prometheus.yml:2:1\n  |\n2 | scrape_config: […]\n  | ^^^^^^^^^^^^^ did you mean \"scrape_configs\"?\n";
    assert!(body.ends_with(excerpt), "{body}");

    write(dir.path(), "global: {scrape_interval: 2m}\nruntime: {gogc: -1}\n");
    let (status, _, body) = http::request(port, "PUT", "/-/reload", &[], b"").unwrap();
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(successful(), 1.0);
    assert!(reloaded_at() > first);
    assert!(!notifications(port).contains(FAILED));
    assert!(http::get(port, "/api/v1/status/config").unwrap().1.contains("scrape_interval: 2m"));
    assert!(http::get(port, "/api/v1/status/runtimeinfo").unwrap().1.contains(r#""GOGC":"off""#));

    server.signal(Signal::TERM);
    let mut server = server;
    assert!(server.0.wait().unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    let mut at = 0;
    for part in [
        "msg=\"Starting Prometheus Server\" mode=server version=",
        "msg=\"operational information\" build_context=",
        "msg=\"Start listening for connections\" component=web address=127.0.0.1:",
        "msg=\"Starting TSDB ...\"",
        "msg=\"Replaying WAL, this may take a while\" component=tsdb",
        "msg=\"WAL replay completed\" component=tsdb",
        "msg=\"TSDB started\"",
        "msg=\"Loading configuration file\" filename=",
        "msg=\"TSDB retention updated\" duration=15d size=0B percentage=0",
        "msg=\"Completed loading of configuration file\" db_storage=",
        "msg=\"Server is ready to receive web requests.\"",
        "level=ERROR",
        "msg=\"Error reloading config\" err=",
        "msg=\"Completed loading of configuration file\"",
        "msg=\"Received an OS signal, exiting gracefully...\" signal=terminated",
        "msg=\"Stopping scrape discovery manager...\"",
        "msg=\"Scrape manager stopped\"",
        "msg=\"See you next time!\"",
    ] {
        let found = log[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part} is missing, or too early:\n{log}")) + part.len();
    }
    assert!(!log.contains("hidden"), "{log}");
    assert!(
        log.lines()
            .all(|line| line.starts_with("time=") && line.contains(" level=") && line.contains(" source="))
    );
}

#[test]
fn a_changed_file_is_loaded_by_itself_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let port = http::free_port();
    let _server = Server::start(
        dir.path(),
        port,
        &["--config.auto-reload", "--config.auto-reload-interval=10ms", "--log.level=error"],
    );
    write(dir.path(), "global: {scrape_interval: 1m\n");
    let successful = || Server::metric(port, "prometheus_config_last_reload_successful");
    Server::until("the broken file is noticed", || successful() == 0.0);
    write(dir.path(), "global: {scrape_interval: 3m}\n");
    Server::until("the mended file is loaded", || {
        successful() == 1.0
            && http::get(port, "/api/v1/status/config").unwrap().1.contains("scrape_interval: 3m")
    });
}

#[test]
fn what_the_store_reloads_takes_effect() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let port = http::free_port();
    let server = Server::start(dir.path(), port, &["--enable-feature=exemplar-storage"]);
    assert_eq!(Server::metric(port, "prometheus_tsdb_retention_limit_seconds"), 15.0 * 86_400.0);
    assert_eq!(Server::metric(port, "prometheus_tsdb_exemplar_max_exemplars"), 100_000.0);
    write(
        dir.path(),
        "storage:\n  exemplars: {max_exemplars: 500}\n  tsdb:\n    out_of_order_time_window: 30m\n    retention: {time: 3d, size: 1GB}\n",
    );
    server.signal(Signal::HUP);
    Server::until("the retention is reloaded", || {
        Server::metric(port, "prometheus_tsdb_retention_limit_seconds") == 3.0 * 86_400.0
    });
    assert_eq!(Server::metric(port, "prometheus_tsdb_retention_limit_bytes"), f64::from(1u32 << 30));
    assert_eq!(Server::metric(port, "prometheus_tsdb_exemplar_max_exemplars"), 500.0);
}

#[test]
fn sections_without_effect_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "rule_files: [none/*.yml]\nremote_write: [{url: 'http://localhost:1/'}]\n");
    let port = http::free_port();
    let server = Server::start(dir.path(), port, &["--allow-inactive=rule_files,remote_write"]);
    assert_eq!(Server::metric(port, "narthex_config_inactive_sections{section=\"rule_files\"}"), 1.0);
    assert_eq!(Server::metric(port, "narthex_config_inactive_sections{section=\"remote_write\"}"), 1.0);
    write(dir.path(), GOOD);
    server.signal(Signal::HUP);
    Server::until("they are gone with the reload", || {
        !http::get(port, "/metrics").unwrap().1.contains("narthex_config_inactive_sections{")
    });
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let log = dir.path().join("log");
    let port = http::free_port();
    let flags = ["--log.format=json", "--enable-feature=exemplar-storage,nonsense,native-histograms"];
    let mut server = Server::start_logging(dir.path(), port, &flags, log_to(&log));
    server.signal(Signal::INT);
    assert!(server.0.wait().unwrap().success());
    let text = std::fs::read_to_string(&log).unwrap();
    let mut messages = Vec::new();
    for line in text.lines() {
        assert!(line.starts_with("{\"time\":\""), "{line}");
        let order = ["\"time\":", "\"level\":", "\"source\":", "\"msg\":"].map(|key| line.find(key).unwrap());
        assert!(order.is_sorted(), "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        messages.push((line["level"].as_str().unwrap().to_owned(), line["msg"].as_str().unwrap().to_owned()));
    }
    for (level, message) in [
        ("INFO", "Server is ready to receive web requests."),
        ("WARN", "Unknown option for --enable-feature"),
        ("INFO", "Completed loading of configuration file"),
        ("INFO", "See you next time!"),
    ] {
        assert!(messages.contains(&(level.to_owned(), message.to_owned())), "{message}: {messages:?}");
    }
}

/// Runs the binary to its end: exit code and what it says.
fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_narthex")).args(args).current_dir(dir).output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

#[test]
fn starts_that_cannot_be_end_with_their_code_and_say_why() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--web.listen-address={}", taken.local_addr().unwrap());
    std::fs::write(dir.path().join("bad.yml"), "nope: 1\n").unwrap();
    std::fs::write(dir.path().join("web.yml"), "nope: 1\n").unwrap();
    std::fs::write(dir.path().join("st.yml"), "storage: {tsdb: {chunk_encoding: {floats: xor}}}\n").unwrap();
    let free = format!("--web.listen-address=127.0.0.1:{}", http::free_port());
    for (args, code, phrase) in [
        (&["--nope"][..], 1, "unknown long flag '--nope'"),
        (&["--query.timeout=x"], 2, "not a valid duration string: \"x\""),
        (&["--agent", "--query.timeout=1s"], 3, "can not be used in agent mode: [\"--query.timeout\"]"),
        (&["--auto-gomemlimit.ratio=1.1"], 1, "--auto-gomemlimit.ratio must be greater than 0"),
        (&["--web.search.max-limit=-1"], 1, "--web.search.max-limit must be non-negative; got -1"),
        (&["--web.external-url=%zz"], 2, "parse external URL \"%zz\": parse \"%zz\": invalid URL escape"),
        (
            &["--web.cors.origin=("],
            2,
            "could not compile CORS regex string \"(\": error parsing regexp: missing closing ): `^(?s:()$`",
        ),
        (&["--config.file=missing.yml"], 2, "Error loading config (--config.file=missing.yml)"),
        (&["--config.file=bad.yml"], 2, "field nope not found in type config.plain"),
        (&["--config.file=bad.yml"], 2, "\n --> bad.yml:1:1\n  |\n1 | nope: …\n  | ^^^^"),
        (&["--config.file=/"], 2, "err=\"read /: is a directory\""),
        (
            &["--config.file=st.yml", "--enable-feature=st-storage"],
            1,
            "incompatible with start-timestamp storage",
        ),
        (&["--enable-feature=st-storage"], 1, "incompatible with start-timestamp storage"),
        (&["--web.listen-address=127.0.0.1:1:2"], 2, "too many colons in address"),
        (
            &["--enable-feature=otlp-deltatocumulative,otlp-native-delta-ingestion"],
            1,
            "Error parsing feature list: cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion",
        ),
        (&[&free, "--web.config.file=web.yml"], 1, "Unable to validate web configuration file"),
        (&[&taken], 1, "address already in use"),
        (&["--web.listen-address=127.0.0.1:99999"], 1, "listen tcp: address 99999: invalid port"),
        (&[&free, "--storage.tsdb.wal-segment-size=5MB"], 1, "must be set between 10MB and 256MB"),
        (&[&free, "--storage.tsdb.max-block-chunk-segment-size=10KB"], 1, "must be set over 1MB"),
    ] {
        let (got, said) = run(dir.path(), args);
        assert_eq!(got, code, "{args:?}: {said}");
        assert!(said.contains(phrase), "{args:?}: {said}");
    }
}

#[test]
fn a_bad_file_is_told_to_programs_in_lines_of_json_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.yml"), "nope: 1\n").unwrap();
    let (code, said) = run(dir.path(), &["--config.file=bad.yml", "--log.format=json"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{said}");
}

#[test]
fn a_stop_does_not_wait_for_clients_that_are_slow() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let port = http::free_port();
    let mut server = Server::start(dir.path(), port, &["--web.enable-lifecycle"]);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut half_head, mut half_body) = (connect(), connect());
    half_head.write_all(b"GET /-/ready HTTP/1.1\r\nHo").unwrap();
    half_body
        .write_all(b"POST /api/v1/query HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nquery")
        .unwrap();
    let started = std::time::Instant::now();
    server.signal(Signal::TERM);
    assert!(server.0.wait().unwrap().success());
    // Ten seconds were the most that a request could take.
    assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
}

#[test]
fn every_address_serves_under_the_prefix() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let (port, other) = (http::free_port(), http::free_port());
    let other_flag = format!("--web.listen-address=127.0.0.1:{other}");
    let log = dir.path().join("log");
    let child = Command::new(env!("CARGO_BIN_EXE_narthex"))
        .args(["--config.file=prometheus.yml", "--web.external-url=http://me:hidden@front.example/prom/"])
        .args([&format!("--web.listen-address=127.0.0.1:{port}"), &other_flag])
        .current_dir(dir.path())
        .stderr(log_to(&log))
        .spawn()
        .unwrap();
    let _server = Server(child);
    for port in [port, other] {
        Server::until("both addresses are served", || {
            matches!(http::get(port, "/prom/-/ready"), Ok((200, _)))
        });
        assert_eq!(http::get(port, "/prom/-/healthy").unwrap().1, "Prometheus Server is Healthy.\n");
        let (status, head, _) = http::request(port, "GET", "/", &[], b"").unwrap();
        assert_eq!(status, 302);
        assert!(head.to_lowercase().contains("location: /prom"), "{head}");
    }
    let flags = http::get(port, "/prom/api/v1/status/flags").unwrap().1;
    let flags: Value = serde_json::from_str(&flags).unwrap();
    for (name, value) in [
        ("web.route-prefix", "/prom"),
        ("storage.tsdb.retention.time", "15d"),
        ("storage.tsdb.max-block-duration", "1d12h"),
        ("storage.tsdb.retention.size", "0B"),
    ] {
        assert_eq!(flags["data"][name], value, "{name}");
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("url=http://me:***@front.example/prom/ "), "{log}");
    assert!(!log.contains("hidden"), "{log}");
}

/// Starts the server with a socket in the place where a service manager puts it.
fn handed(dir: &Path, socket: std::os::fd::OwnedFd) -> Server {
    let command = format!(
        "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1; exec '{}' --config.file=prometheus.yml --log.level=error",
        env!("CARGO_BIN_EXE_narthex")
    );
    let child = Command::new("sh")
        .args(["-c", &command])
        .current_dir(dir)
        .stdin(Stdio::from(socket))
        .spawn()
        .unwrap();
    Server(child)
}

#[test]
fn a_socket_of_the_service_manager_is_used() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let _server = handed(dir.path(), socket.into());
    Server::until("the handed socket is served", || matches!(http::get(port, "/-/ready"), Ok((200, _))));
}

#[test]
fn a_file_of_the_service_manager_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GOOD);
    let path = dir.path().join("narthex.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let _server = handed(dir.path(), socket.into());
    let ask = |target: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path)?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: narthex\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    Server::until("the file is served", || {
        ask("/-/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 OK"))
    });
    let answer = ask("/api/v1/query?query=1%2B1").unwrap();
    assert!(answer.contains(r#""resultType":"scalar""#), "{answer}");
}

/// Every secret is this word and a number, so that none can be overlooked.
const SECRET: &str = "hunter2secret";

#[test]
fn no_secret_reaches_the_log_or_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: a
    basic_auth: {{username: u, password: {SECRET}1}}
    static_configs: [{{targets: ['127.0.0.1:1']}}]
  - job_name: b
    authorization: {{credentials: {SECRET}2}}
    http_sd_configs: [{{url: 'http://user:{SECRET}3@127.0.0.1:1/', basic_auth: {{username: u, password: {SECRET}4}}}}]
  - job_name: c
    oauth2: {{client_id: i, client_secret: {SECRET}5, token_url: 'http://127.0.0.1:1/'}}
    consul_sd_configs: [{{server: '127.0.0.1:1', token: {SECRET}6}}]
  - job_name: d
    proxy_url: 'http://user:{SECRET}7@127.0.0.1:1/'
    http_headers: {{X-Key: {{secrets: [{SECRET}8]}}}}
    static_configs: [{{targets: ['127.0.0.1:1']}}]
remote_write:
  - url: 'http://user:{SECRET}9@127.0.0.1:1/'
    sigv4: {{access_key: k, secret_key: {SECRET}10}}
alerting:
  alertmanagers: [{{basic_auth: {{username: u, password: {SECRET}11}}, static_configs: [{{targets: ['127.0.0.1:1']}}]}}]
"
    );
    write(dir.path(), &config);
    let log = dir.path().join("log");
    let port = http::free_port();
    let flags = ["--log.level=debug", "--allow-inactive=remote_write,alerting", "--web.enable-lifecycle"];
    let server = Server::start_logging(dir.path(), port, &flags, log_to(&log));
    let failing = |job: &str| {
        let targets = http::get(port, "/api/v1/targets").unwrap().1;
        let targets: Value = serde_json::from_str(&targets).unwrap();
        let of_job = |target: &&Value| target["scrapePool"] == job && target["health"] == "down";
        targets["data"]["activeTargets"].as_array().unwrap().iter().any(|target| of_job(&target))
    };
    Server::until("scrapes fail and say why", || failing("a") && failing("d"));
    // Each faulty in another place, with the secrets around it.
    for (good, faulty) in [
        (format!("password: {SECRET}1"), format!("password: [{SECRET}1]")),
        ("username: u".to_owned(), "usename: u".to_owned()),
        ("global:".to_owned(), "globl:".to_owned()),
        (format!("credentials: {SECRET}2"), format!("credentials: {SECRET}2, type: Basic")),
        (format!("token: {SECRET}6"), format!("tokn: {SECRET}6")),
        (
            format!("url: 'http://user:{SECRET}9@127.0.0.1:1/'"),
            format!("url: 'http://user:{SECRET}9@127.0.0.1:x/'"),
        ),
        (
            format!("proxy_url: 'http://user:{SECRET}7@127.0.0.1:1/'"),
            format!("proxy_url: 'http://user:{SECRET}7@[::1/'"),
        ),
    ] {
        let text = config.replacen(&good, &faulty, 1);
        assert_ne!(text, config);
        write(dir.path(), &text);
        let (status, _, body) = http::request(port, "POST", "/-/reload", &[], b"").unwrap();
        assert_eq!(status, 500, "{faulty}: {body}");
        assert!(!body.contains(SECRET), "{faulty}: {body}");
    }
    for path in ["/api/v1/status/config", "/api/v1/targets", "/api/v1/status/flags", "/metrics", "/config"] {
        let (_, body) = http::get(port, path).unwrap();
        assert!(!body.contains(SECRET), "{path}");
    }
    server.signal(Signal::TERM);
    let mut server = server;
    server.0.wait().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("level=ERROR") && log.contains("level=DEBUG"), "something was logged");
    for line in log.lines() {
        assert!(!line.contains(SECRET), "{line}");
    }
}
