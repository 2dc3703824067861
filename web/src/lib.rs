//! The HTTP API: routes, JSON, federation, own metrics.
