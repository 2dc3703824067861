//! PromQL: text → syntax tree → checked tree → value.
//!
//! Never touches a file or a socket: storage is met through `model::query`,
//! the log of queries through the observer that the server hands in.

#![forbid(unsafe_code)]

pub mod ast;
