//! The HTTP API over a store in memory: every endpoint by a table of cases,
//! the answers that need a closer look, and garbage.

#![expect(clippy::unwrap_used, reason = "a test ends where its data is not what it must be")]

mod api_table;
mod behaviour;
mod conformance;
mod consoles;
mod federation;
mod garbage;
mod secrets;
mod server;
