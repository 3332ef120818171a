//! Daemon task definitions.

mod list;
mod register;
mod retire;
#[cfg(test)]
mod tests;

pub use list::list;
pub use register::{describe, register};
pub use retire::{delete, finish_deletions};

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::error;
use longshore_model::records::{TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_model::{Arn, Scope};

use crate::state::ScopeState;

fn missing(named: &str) -> ServiceError {
    error::client_exception(format!(
        "The specified daemon task definition does not exist: {named}. Specify a valid account, family, revision and try again."
    ))
}

/// Family and revision in `named`: `FAMILY`, `FAMILY:REVISION`, or either behind an ARN.
///
/// # Errors
/// `ClientException` for a revision that is no number; as for a missing one for another resource's ARN.
pub(crate) fn parse<'a>(scope: &Scope, named: &'a str) -> Result<(&'a str, Option<u32>), ServiceError> {
    let name = if named.starts_with("arn:") {
        let arn = Arn::parse(named).filter(|arn| arn.is_ecs_in(scope));
        arn.and_then(|arn| arn.resource_of("daemon-task-definition")).ok_or_else(|| missing(named))?
    } else {
        named
    };
    let Some((family, revision)) = name.split_once(':') else { return Ok((name, None)) };
    let digits = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_digit());
    match revision.parse().ok().filter(|_| digits) {
        Some(revision) => Ok((family, Some(revision))),
        None => Err(error::client_exception(format!("Invalid revision number. Number: {revision}"))),
    }
}

/// The revision that `named` means, whatever its status; for a family alone the newest ACTIVE one.
///
/// # Errors
/// `ClientException` when there is none.
pub(crate) fn find<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: &str,
) -> Result<&'a Arc<TaskDefinitionRecord>, ServiceError> {
    let (family, revision) = parse(scope, named)?;
    let family = state.daemon_families.get(family).ok_or_else(|| missing(named))?;
    let found = match revision {
        Some(revision) => family.revisions.get(&revision),
        None => family.newest_active(),
    };
    found.ok_or_else(|| missing(named))
}

/// The ACTIVE revision that a daemon is to use.
///
/// # Errors
/// `ClientException` when there is none, or it is being deleted.
pub(crate) fn resolve_active<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: &str,
) -> Result<&'a Arc<TaskDefinitionRecord>, ServiceError> {
    let found = find(state, scope, named)?;
    if found.status == TaskDefinitionStatus::Active {
        return Ok(found);
    }
    Err(error::client_exception(format!(
        "The daemon task definition {}:{} is being deleted: specify an ACTIVE one.",
        found.family, found.revision
    )))
}
