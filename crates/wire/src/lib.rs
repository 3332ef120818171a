//! The front door: HTTP, TLS, signatures, limits, routing to (service, operation), protocols, the
//! error envelope, request ids, the audit record.
//!
//! Invariant: knows no ECS rule.

mod service;

pub use service::{
    AuditRecord, AuditSink, AuthorizationRequest, Authorizer, Credential, CredentialStore, Output, Principal,
    RequestContext, Service, Upgrade,
};
