//! The same against a server that speaks the S3 protocol.
