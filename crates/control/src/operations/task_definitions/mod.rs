//! Task definitions.

mod describe;
mod list;
#[cfg(test)]
mod parameter_tests;
mod register;
mod retire;
#[cfg(test)]
mod tests;

pub use describe::describe;
pub use list::{list, list_families};
pub use register::{check_constraints, register};
pub use retire::{delete, deregister, finish_deletions};

use std::sync::Arc;

use longshore_api::ecs::{self, error};
use longshore_api::{ServiceError, ecs::TaskDefinition};
use longshore_model::records::{TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_model::{Arn, Scope};

use crate::state::ScopeState;

/// How a request names a task definition: `FAMILY`, `FAMILY:REVISION`, or either behind an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The family.
    pub family: &'a str,
    /// The revision; none means the newest ACTIVE one.
    pub revision: Option<u32>,
}

impl<'a> Reference<'a> {
    /// Reads `text`. `None` when it is the ARN of something else or of another account or region.
    ///
    /// # Errors
    /// `ClientException` for a revision that is no number.
    pub fn parse(scope: &Scope, text: &'a str) -> Result<Option<Self>, ServiceError> {
        let name = if text.starts_with("arn:") {
            match Arn::parse(text).filter(|arn| arn.is_ecs_in(scope)).and_then(|arn| arn.resource_of("task-definition"))
            {
                Some(name) => name,
                None => return Ok(None),
            }
        } else {
            text
        };
        let Some((family, revision)) = name.split_once(':') else {
            return Ok(Some(Self { family: name, revision: None }));
        };
        let digits = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_digit());
        match revision.parse().ok().filter(|_| digits) {
            Some(revision) => Ok(Some(Self { family, revision: Some(revision) })),
            None => Err(error::client_exception(format!("Invalid revision number. Number: {revision}"))),
        }
    }

    /// The revision it means, whatever its status; for a family alone the newest ACTIVE one.
    #[must_use]
    pub fn find<'s>(&self, state: &'s ScopeState) -> Option<&'s Arc<TaskDefinitionRecord>> {
        let family = state.families.get(self.family)?;
        match self.revision {
            Some(revision) => family.revisions.get(&revision),
            None => family.newest_active(),
        }
    }
}

/// The ACTIVE revision that a request to run something names.
///
/// # Errors
/// `ClientException` when there is none, or it was deregistered.
pub fn resolve_active<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: &str,
) -> Result<&'a Arc<TaskDefinitionRecord>, ServiceError> {
    let found = Reference::parse(scope, named)?.and_then(|reference| reference.find(state));
    match found {
        None => Err(error::client_exception("TaskDefinition not found.")),
        Some(record) if record.status != TaskDefinitionStatus::Active => {
            Err(error::client_exception("TaskDefinition is inactive"))
        }
        Some(record) => Ok(record),
    }
}

fn arn(scope: &Scope, record: &TaskDefinitionRecord) -> String {
    scope.task_definition_arn(&record.family, record.revision)
}

/// The API's view of a task definition.
#[must_use]
pub fn view(scope: &Scope, record: &TaskDefinitionRecord) -> TaskDefinition {
    TaskDefinition {
        task_definition_arn: Some(arn(scope, record)),
        revision: i32::try_from(record.revision).ok(),
        status: Some(ecs::TaskDefinitionStatus::from(record.status.as_str())),
        registered_at: Some(record.registered_at),
        registered_by: Some(record.registered_by.clone()),
        deregistered_at: record.deregistered_at,
        delete_requested_at: record.delete_requested_at,
        ..record.definition.clone()
    }
}
