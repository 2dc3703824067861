//! The receiver of remote write: upstream's messages and headers, our own
//! cases, and anything else that might be sent.

#![expect(clippy::unwrap_used, reason = "a test ends where its data is not what it must be")]

mod behaviour;
mod conformance;
mod oracle;
mod recording;
