//! Daemons: one task on every container instance of their capacity providers.
//!
//! The API model is all that is public about them; where it is silent they follow services and
//! task definitions.

mod record;
mod rules;
mod task_definition;

pub use record::{
    DaemonDeploymentRecord, DaemonRecord, DaemonRevisionRecord, DaemonStatus, MAX_DEPLOYMENTS, Rollback, Target,
};
pub use rules::{at_once, bake_time, check_name, check_runnable, configuration, failure_threshold};
pub use task_definition::{DaemonPart, arn as task_definition_arn, status, validate, view};
