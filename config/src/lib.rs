//! The configuration file: types, defaults, validation, secrets that cannot print.
//!
//! ```text
//! text → tree (positions) → blocks (defaults, checks, all faults) → Config
//!                                              Config → text, secrets hidden
//! ```
//!
//! The files follow that walk: `tree` and `scalar` know YAML, `decode` and
//! `block` turn it into types, `values`, `secret`, `names` are what fields hold,
//! the others are the sections of the file, `load` puts all together, `yaml`
//! prints it back.

#![forbid(unsafe_code)]

pub mod alerting;
pub mod azuread;
pub mod block;
mod config;
pub mod decode;
mod defaults;
pub mod discovery;
pub mod error;
mod excerpt;
pub mod global;
pub mod http_client;
mod load;
pub mod names;
pub mod relabel;
pub mod remote;
pub mod scalar;
pub mod scrape;
pub mod secret;
pub mod storage;
pub mod tls;
pub mod tree;
pub mod values;
pub mod web;
pub mod yaml;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use config::{Config, Section};
pub use defaults::Defaults;
pub use error::{ConfigError, ConfigErrors, FaultKind};
pub use global::{GlobalConfig, RuntimeConfig};
pub use http_client::HttpClientConfig;
pub use load::{LoadOptions, Loaded, PatternFault, glob_files};
pub use names::LabelSet;
pub use remote::{RemoteReadConfig, RemoteWriteConfig};
pub use scrape::{ScrapeConfig, ScrapeProtocol};
pub use secret::Secret;
pub use storage::{OtlpConfig, StorageConfig, TracingConfig};
pub use tls::{TlsConfig, TlsVersion};
pub use values::{ByteSize, Duration, Url};
pub use web::WebConfig;
