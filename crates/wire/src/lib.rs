//! The front door: HTTP, TLS, signatures, limits, routing to (service, operation), protocols, the
//! error envelope, request ids, the audit record.
//!
//! One listener serves every service. A request goes: signature → body → parse → route →
//! [`Service::resources`] → [`Authorizer`] → [`Service::call`] → answer, in [`door`]. Three pages
//! need no signature and tell nothing of anybody's resources: `/health`, `/ready`, `/metrics`.
//!
//! Invariant: knows no ECS rule.

mod answer;
mod audit;
mod body;
mod config;
mod connection;
mod door;
mod metrics;
mod route;
mod server;
mod service;
mod tls;
mod websocket;

pub use config::{Config, Limits, StartError, Tls};
pub use door::Rooms;
pub use metrics::Metrics;
pub use server::Server;
pub use service::{
    AuditRecord, AuditSink, AuthorizationRequest, Authorizer, Credential, CredentialStore, Output, Principal,
    Readiness, RequestContext, Service, Upgrade,
};
