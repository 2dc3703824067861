//! The HTTP API: routes, JSON, federation, own metrics.
//!
//! Meets storage only through `model`'s traits, so that any store can stand
//! behind it. A request's way: `router` → `api/*` (parameters, work on a worker
//! thread) → `json` (the answer, streamed from columns).

#![forbid(unsafe_code)]

pub mod api;
mod body;
mod compress;
mod consoles;
mod cors;
pub mod error;
pub mod exposition;
pub mod federate;
mod files;
pub mod instrument;
pub mod json;
pub mod notifications;
pub mod ops;
pub mod pages;
pub mod params;
pub mod profiles;
mod protobuf;
pub mod router;
mod running;
pub mod state;

pub use router::router;
pub use state::{Readiness, Reload, ReplayProgressFn, Storage, Web, WebOptions};
