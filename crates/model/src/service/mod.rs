//! Services: their records, what may be asked of them, and the arithmetic of deployments.

mod record;
mod revision;
mod rollout;
mod rules;
mod service_deployment;

pub use record::{DeploymentRecord, MAX_EVENTS, ServiceRecord, ServiceStatus};
pub use revision::ServiceRevisionRecord;
pub use rollout::{Bounds, Counts, Step, step, throttle};
pub use rules::{check, from_request, settle_platform, updated};
pub use service_deployment::{RevisionCounts, RollbackRecord, ServiceDeploymentRecord, failure_threshold};
