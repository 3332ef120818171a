//! The one error type that reaches a client.

use std::fmt;

/// An error answer of a service: one of its model's exceptions, or one of the protocol's own.
///
/// Constructors for each modelled exception are generated (`ecs::error::cluster_not_found(…)`).
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceError {
    /// The shape's name, e.g. `ClusterNotFoundException`: `__type` on JSON protocols.
    pub code: &'static str,
    /// The code on query protocols, where it differs.
    pub query_code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened: names the resource and the offending value, and says what to do.
    pub message: String,
    /// Further members of the exception's shape.
    pub details: Vec<(&'static str, crate::Value)>,
}

impl ServiceError {
    /// A client's fault (HTTP 400) under `code`.
    #[must_use]
    pub fn client(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, query_code: code, status: 400, message: message.into(), details: Vec::new() }
    }

    /// Our fault (HTTP 500) under `code`.
    #[must_use]
    pub fn server(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, query_code: code, status: 500, message: message.into(), details: Vec::new() }
    }

    /// The same error with a further member of its shape, e.g. `resourceIds`.
    #[must_use]
    pub fn with_detail(mut self, member: &'static str, value: impl Into<crate::Value>) -> Self {
        self.details.push((member, value.into()));
        self
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ServiceError {}
