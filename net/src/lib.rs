//! The HTTP client block and the server's TLS, authentication and limits.
//!
//! ```text
//! config::HttpClientConfig ─▶ HttpClient ─▶ targets, Alertmanagers, remote storage
//! listeners ─▶ TLS ─▶ limits ─▶ basic auth ─▶ the web's router
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod cloud;
pub mod error;
pub mod go_url;
mod secrets;
pub mod server;
pub mod xml;

pub use client::{
    Body, ClientOptions, DialCounters, Dials, HttpClient, ProxyEnvironment, Signing, Variables,
};
pub use cloud::CloudError;
pub use error::{BodyError, BuildError, ConnectError, Fault, HttpError, IoFault};
