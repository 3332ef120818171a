//! DeregisterTaskDefinition, DeleteTaskDefinitions, and what ends a deletion.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse, DeregisterTaskDefinitionRequest,
    DeregisterTaskDefinitionResponse, Failure, TaskDefinition, error,
};
use longshore_model::Scope;
use longshore_model::records::{TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::{Reference, arn, view};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::service::scope_of;
use crate::state::{ScopeState, State};

/// Most task definitions in one deletion.
const MAX_DELETED: usize = 10;
/// Most revisions that one transaction deletes for good.
const DELETION_BATCH: usize = 100;

/// How long a deletion can be seen going on, at least: AWS takes its time, too.
const MIN_DELETION: Duration = Duration::from_secs(60);

const MISSING: &str =
    "The specified task definition does not exist. Specify a valid account, family, revision and try again.";
const STILL_ACTIVE: &str =
    "The specified task definition is still in ACTIVE status. Please deregister the target and try again.";

/// Makes a revision INACTIVE; one that is INACTIVE already is answered as it is.
///
/// # Errors
/// `ClientException` when no revision is named, or it does not exist or is being deleted.
pub async fn deregister(
    engine: &Engine,
    context: &RequestContext,
    input: DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.task_definition.unwrap_or_default();
    let reference = revision_of(&scope, &named)?;
    let now = engine.seams().clock.now();
    let definition = engine
        .write(|state, changes| {
            let found = reference.and_then(|reference| reference.find(state.scope(&scope)));
            let record = found.ok_or_else(|| error::client_exception(MISSING))?;
            match record.status {
                TaskDefinitionStatus::Inactive => return Ok(view(&scope, record)),
                TaskDefinitionStatus::DeleteInProgress => {
                    let message =
                        format!("The task definition {}:{} is being deleted.", record.family, record.revision);
                    return Err(error::client_exception(message));
                }
                TaskDefinitionStatus::Active => {}
            }
            let record = Arc::new(TaskDefinitionRecord {
                status: TaskDefinitionStatus::Inactive,
                deregistered_at: Some(now),
                ..TaskDefinitionRecord::clone(record)
            });
            changes.push(Change::PutTaskDefinition(scope.clone(), record.clone()));
            Ok(view(&scope, &record))
        })
        .await?;
    Ok(DeregisterTaskDefinitionResponse { task_definition: Some(definition) })
}

/// A reference with a revision; `None` when it names nothing of this account and region.
fn revision_of<'a>(scope: &Scope, named: &'a str) -> Result<Option<Reference<'a>>, ServiceError> {
    match Reference::parse(scope, named)? {
        Some(Reference { revision: None, .. }) => Err(error::client_exception("Revision is missing.")),
        reference => Ok(reference),
    }
}

/// Asks for the deletion of INACTIVE revisions. They are DELETE_IN_PROGRESS until nothing uses them.
///
/// # Errors
/// `InvalidParameterException` for none or too many, `ClientException` for a name without revision.
/// What can't be deleted is among the failures.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.task_definitions.unwrap_or_default();
    if named.is_empty() || named.len() > MAX_DELETED {
        let message = format!("{} task definitions were given: specify 1 to {MAX_DELETED}.", named.len());
        return Err(error::invalid_parameter_exception(message));
    }
    let references = named.iter().map(|name| revision_of(&scope, name)).collect::<Result<Vec<_>, _>>()?;
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let mut response =
                DeleteTaskDefinitionsResponse { task_definitions: Some(Vec::new()), failures: Some(Vec::new()) };
            for (reference, name) in references.iter().zip(&named) {
                match request_deletion(state, &scope, *reference, name, now, changes) {
                    Ok(definition) => response.task_definitions.get_or_insert_default().push(definition),
                    Err(failure) => response.failures.get_or_insert_default().push(failure),
                }
            }
            Ok(response)
        })
        .await
}

fn request_deletion(
    state: &ScopeState,
    scope: &Scope,
    reference: Option<Reference<'_>>,
    named: &str,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<TaskDefinition, Failure> {
    let failure = |arn: String, reason: &str| Failure { arn: Some(arn), reason: Some(reason.to_owned()), detail: None };
    let Some(record) = reference.and_then(|reference| reference.find(state)) else {
        let arn = match reference {
            Some(Reference { family, revision: Some(revision) }) => scope.task_definition_arn(family, revision),
            _ => named.to_owned(),
        };
        return Err(failure(arn, MISSING));
    };
    match record.status {
        TaskDefinitionStatus::Active => Err(failure(arn(scope, record), STILL_ACTIVE)),
        TaskDefinitionStatus::DeleteInProgress => Ok(view(scope, record)),
        TaskDefinitionStatus::Inactive => {
            let record = Arc::new(TaskDefinitionRecord {
                status: TaskDefinitionStatus::DeleteInProgress,
                delete_requested_at: Some(now),
                ..TaskDefinitionRecord::clone(record)
            });
            changes.push(Change::PutTaskDefinition(scope.clone(), record.clone()));
            Ok(view(scope, &record))
        }
    }
}

/// Deletes for good what has been DELETE_IN_PROGRESS for a minute and no live task uses; answers how many revisions
/// that were, at most one transaction's worth. Takes no input, so it can be run at any time.
///
/// # Errors
/// Only when a transaction would be too large, which it is not.
pub async fn finish_deletions(engine: &Engine) -> Result<usize, ServiceError> {
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            for (scope, name, revision) in unused(state, now).take(DELETION_BATCH) {
                changes.push(Change::DeleteTaskDefinition(scope.clone(), name.to_owned(), revision));
            }
            Ok(changes.len())
        })
        .await
}

fn unused(state: &State, now: Timestamp) -> impl Iterator<Item = (&Scope, &str, u32)> {
    state.scopes().flat_map(move |(scope, state)| {
        state.families.iter().flat_map(move |(name, family)| {
            let deleting = family.with_status(TaskDefinitionStatus::DeleteInProgress).iter();
            let due = move |revision: &&u32| {
                let requested = family.revisions.get(revision).and_then(|record| record.delete_requested_at);
                requested.is_none_or(|requested| requested.plus(MIN_DELETION) <= now)
            };
            let unused = deleting.filter(|revision| !family.tasks.contains_key(revision)).filter(due);
            unused.map(move |revision| (scope, name.as_str(), *revision))
        })
    })
}
