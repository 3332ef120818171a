//! The agent: turns what the control plane wants into containers, and tells it what became of them.
//!
//! [`Agent`] speaks only the public agent protocol, through the seam [`ControlPlane`]; it runs
//! containers through [`longshore_runtime::ContainerRuntime`]. Inside, one engine owns the list of
//! tasks, one actor owns each task, and everything between them is a message:
//!
//! ```text
//! session::acs ──payload──▶ engine ──▶ task::actor ──▶ runtime
//!      ▲ ack                  ▲ events      │ ├─▶ reports ──▶ SubmitTaskStateChange
//!                             └── runtime   │ ├─▶ logs::shipper ──▶ PutLogEvents
//!                                           │ └─▶ journal (runtime root)
//!                               view::Registry ◀─┘──▶ session::tcs (metrics, health)
//! ```
//!
//! Invariants: decides nothing about placement; a container's labels and the runtime root are the
//! truth, so the agent may be killed, and its cache deleted, at any moment; every queue is bounded.

mod agent;
mod backoff;
mod books;
mod config;
mod context;
mod endpoint;
mod engine;
pub mod http;
mod identity;
mod journal;
mod labels;
mod logs;
pub mod plane;
mod registration;
mod reports;
mod session;
mod task;
mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentError};
pub use config::{AgentConfig, CredentialSource, PullBehavior, host_capacity};
pub use http::HttpControlPlane;
pub use plane::ControlPlane;
pub use registration::capabilities;
pub use view::{ContainerView, Registry, TaskView};
