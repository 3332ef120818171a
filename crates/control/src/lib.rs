//! The control plane: operations (one file per resource), reconcilers (one file per loop), the
//! agent gateway. The only room that joins store, scheduler and agents.
//!
//! Invariant: no call waits for a container, and none leaves work half done in a crash: an
//! operation is one transaction, or a resumable sequence of them.

pub mod accounts;
pub mod admin;
pub mod authorizer;
pub mod bootstrap;
pub mod changes;
pub mod engine;
mod event_log;
pub mod events;
mod explain;
pub mod gateway;
pub mod history;
pub mod identity;
pub mod keyring;
mod keys;
mod launch_rate;
pub mod operations;
pub mod pagination;
pub mod quotas;
pub mod reconcilers;
mod role_sessions;
pub mod service;
pub mod state;
