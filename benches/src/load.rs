//! A server under load from outside: targets in a process of their own, and
//! what the server's process costs.

pub mod exporter;
pub mod pages;
pub mod server;
