//! The HTTP client block and the server's TLS, authentication and limits.
