//! A client that signs, what it asks for keys and tokens, and what it sends to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use config::HttpClientConfig;
use http::{Request, Response};
use hyper::body::Bytes;
use net::{ClientOptions, HttpClient, Signing};
use testkit::TestClock;

use super::{Seen, Server};

/// A server for metadata and tokens, one that is sent to, and a clock.
pub struct World {
    pub issuer: Server,
    pub target: Server,
    pub clock: Arc<TestClock>,
    pub home: tempfile::TempDir,
}

impl World {
    pub async fn new(answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static) -> World {
        World {
            issuer: Server::http(answer).await,
            target: Server::http(|_| Response::new(String::new())).await,
            clock: Arc::new(TestClock::new(1_700_000_000_000)),
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub fn options(&self, variables: &[(&str, &str)]) -> ClientOptions {
        let mut all: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.entry("HOME".to_owned()).or_insert_with(|| self.home.path().display().to_string());
        ClientOptions {
            variables: all.into(),
            ..ClientOptions::new("Prometheus/3.14.0", Arc::clone(&self.clock) as Arc<dyn model::Clock>)
        }
    }

    pub fn client(&self, signing: &Signing, variables: &[(&str, &str)]) -> HttpClient {
        let config = HttpClientConfig::default();
        HttpClient::with_signing(&config, Some(signing), self.options(variables)).unwrap()
    }

    /// Sends a request, and yields what was seen of it, or the fault.
    pub async fn send(&self, client: &HttpClient) -> Result<Seen, String> {
        let request =
            Request::post(self.target.url("/api/v1/write")).header("content-type", "application/x-protobuf");
        let outcome = client.send(request.body(Bytes::from_static(b"body")).unwrap()).await;
        outcome.map_err(|error| error.to_string())?;
        Ok(self.target.seen().pop().unwrap())
    }

    pub async fn signed(&self, signing: &Signing, variables: &[(&str, &str)]) -> Result<Seen, String> {
        self.send(&self.client(signing, variables)).await
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

pub fn json(text: &str) -> Response<String> {
    Response::builder().header("content-type", "application/json").body(text.to_owned()).unwrap()
}

pub fn status(status: u16) -> Response<String> {
    Response::builder().status(status).body(String::new()).unwrap()
}

pub fn parts(body: &str) -> HashMap<String, String> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}
