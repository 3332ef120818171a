//! Services: their records, what may be asked of them, and the arithmetic of deployments.

pub mod connect;
pub mod connectors;
mod hook;
mod lattice;
mod record;
mod revision;
mod revision_settings;
mod rollout;
mod rules;
mod service_deployment;
mod stage;
mod strategy;
mod task_set;

pub use hook::{HookAnswer, HookFunction, HookRecord};
pub use record::{DeploymentRecord, MAX_EVENTS, ServiceRecord, ServiceStatus};
pub use revision::ServiceRevisionRecord;
pub use revision_settings::RevisionSettings;
pub use rollout::{Bounds, Counts, Step, step, throttle};
pub use rules::{check, check_task_set, from_request, settle_platform, updated, whole_strategy, with_public_ip};
pub use service_deployment::{RevisionCounts, RollbackRecord, ServiceDeploymentRecord, failure_threshold};
pub use stage::{Advance, Facts, Progress, Stage};
pub use task_set::{MAX_TASK_SETS, TaskSetRecord, TaskSetStatus, check_scale, computed_desired_count};
