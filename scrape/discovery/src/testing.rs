//! For tests of mechanisms: a context, and a local server with canned replies.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::metrics::Registry;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::group::TargetGroup;
use crate::mechanism::{Context, Surroundings};
use crate::metrics::DiscoveryMetrics;

/// A context with metrics of its own and no environment.
pub(crate) fn context() -> Context {
    context_with(&[])
}

/// A context with environment variables.
pub(crate) fn context_with(variables: &[(&str, &str)]) -> Context {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Context {
        clock: Arc::new(testkit::TestClock::new(1_700_000_000_000)),
        metrics: Arc::new(DiscoveryMetrics::new(&Registry::new())),
        surroundings: Surroundings { variables: Arc::new(variables), ..Surroundings::default() },
        mechanism: "test",
        manager: "scrape".to_owned(),
        set: "job".to_owned(),
        stop: CancellationToken::new(),
    }
}

/// A group as the conformance data has it; `edit` changes texts.
pub(crate) fn shown(group: &TargetGroup, edit: impl Fn(&str) -> String) -> Value {
    let labels = |labels: &model::Labels| -> Value {
        Value::Object(labels.iter().map(|l| (l.name.to_owned(), Value::from(edit(l.value)))).collect())
    };
    serde_json::json!({
        "source": edit(&group.source),
        "labels": labels(&group.labels),
        "targets": group.targets.iter().map(labels).collect::<Vec<_>>(),
    })
}

/// Targets as the conformance data has them: without empty labels, which a
/// label set cannot have.
pub(crate) fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| v.as_str() != Some(""));
            Value::Object(kept.map(|(k, v)| (k.clone(), without_empty(v))).collect())
        }
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let found = form_urlencoded::parse(query.as_bytes()).find(|(have, _)| have == name);
        found.map_or(String::new(), |(_, value)| value.into_owned())
    }
}

/// What is answered.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Further pieces, sent as they come; the connection ends with them.
    stream: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..Reply::status(200) }
    }

    pub(crate) fn status(status: u16) -> Reply {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Reply { status, headers, body: Vec::new(), stream: None }
    }

    pub(crate) fn stream(pieces: mpsc::UnboundedReceiver<Vec<u8>>) -> Reply {
        Reply { stream: Some(pieces), ..Reply::status(200) }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self
    }
}

/// A server on a loopback port, one request a connection.
pub(crate) struct TestServer {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answer = Arc::new(answer);
        let task = tokio::spawn({
            let requests = requests.clone();
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(serve(connection, answer.clone(), requests.clone()));
                }
            }
        });
        TestServer { address, requests, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.requests.lock().clone()
    }
}

async fn serve(
    mut connection: TcpStream,
    answer: Arc<impl Fn(&Seen) -> Reply>,
    requests: Arc<Mutex<Vec<Seen>>>,
) {
    let Some(seen) = receive(&mut connection).await else { return };
    requests.lock().push(seen.clone());
    let Reply { status, headers, body, stream } = answer(&seen);
    let reason = http::StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if stream.is_none() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    if connection.write_all(head.as_bytes()).await.is_err() || connection.write_all(&body).await.is_err() {
        return;
    }
    if let Some(mut pieces) = stream {
        while let Some(piece) = pieces.recv().await {
            if connection.write_all(&piece).await.is_err() {
                return;
            }
        }
    }
    drop(connection.shutdown().await);
}

async fn receive(connection: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_len + length {
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&bytes[head_len..]).into_owned();
    Some(Seen { method, target, headers, body })
}
