//! Services: their records, what may be asked of them, and the arithmetic of deployments.

mod record;
mod rollout;
mod rules;

pub use record::{DeploymentRecord, MAX_EVENTS, ServiceRecord, ServiceStatus};
pub use rollout::{Bounds, Counts, Step, step, throttle};
pub use rules::{check, from_request, updated};
