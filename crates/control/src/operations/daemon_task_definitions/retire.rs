//! DeleteDaemonTaskDefinition, and what ends a deletion.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonTaskDefinitionStatus, DeleteDaemonTaskDefinitionRequest, DeleteDaemonTaskDefinitionResponse, error,
};
use longshore_model::daemon::{self, DaemonPart};
use longshore_model::records::{TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::{find, parse};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::service::scope_of;
use crate::state::{ScopeState, State};

/// Most revisions that one transaction moves on.
const DELETION_BATCH: usize = 90;
/// How long a DELETED revision can still be described.
const DELETED_LIFE: Duration = Duration::from_secs(3600);

/// Asks for the deletion of a revision: DELETE_IN_PROGRESS while a daemon or a task uses it, DELETED
/// then. No daemon can be made or updated with it any more.
///
/// # Errors
/// `ClientException` when no revision is named, or it does not exist or is not ACTIVE.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteDaemonTaskDefinitionRequest,
) -> Result<DeleteDaemonTaskDefinitionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.daemon_task_definition.unwrap_or_default();
    if let (family, None) = parse(&scope, &named)? {
        return Err(error::client_exception(format!(
            "Specify which revision of the daemon task definition '{family}' is meant: FAMILY:REVISION or the full ARN."
        )));
    }
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let found = find(state.scope(&scope), &scope, &named)?;
            let arn = daemon::task_definition_arn(&scope, &found.family, found.revision);
            match daemon::status(found) {
                DaemonTaskDefinitionStatus::Deleted => {
                    return Err(error::client_exception(format!("The daemon task definition {arn} was deleted.")));
                }
                DaemonTaskDefinitionStatus::Active => {
                    let record = TaskDefinitionRecord {
                        status: TaskDefinitionStatus::DeleteInProgress,
                        delete_requested_at: Some(now),
                        ..TaskDefinitionRecord::clone(found)
                    };
                    changes.push(Change::PutDaemonTaskDefinition(scope.clone(), Arc::new(record)));
                }
                _ => {
                    return Err(error::client_exception(format!(
                        "The daemon task definition {arn} is being deleted already: only an ACTIVE one can be deleted."
                    )));
                }
            }
            Ok::<_, ServiceError>(DeleteDaemonTaskDefinitionResponse { daemon_task_definition_arn: Some(arn) })
        })
        .await
}

/// Makes DELETED what is to be deleted and nothing uses, and forgets what has been DELETED for an
/// hour; answers how many revisions that were, at most one transaction's worth.
///
/// # Errors
/// Only when a transaction would be too large, which it is not.
pub async fn finish_deletions(engine: &Engine) -> Result<usize, ServiceError> {
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            plan(state, now, changes);
            Ok(changes.len())
        })
        .await
}

fn plan(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, records) in state.scopes() {
        for (name, family) in &records.daemon_families {
            for revision in family.with_status(TaskDefinitionStatus::DeleteInProgress) {
                if changes.len() == DELETION_BATCH {
                    return;
                }
                let Some(record) = family.revisions.get(revision) else { continue };
                let part = record.daemon.clone().unwrap_or_default();
                match part.deleted_at {
                    Some(at) if now.since(at) > DELETED_LIFE => {
                        changes.push(Change::DeleteDaemonTaskDefinition(scope.clone(), name.clone(), *revision));
                    }
                    None if !family.tasks.contains_key(revision) && !is_used(records, name, *revision) => {
                        let record = TaskDefinitionRecord {
                            daemon: Some(DaemonPart { deleted_at: Some(now), ..part }),
                            ..TaskDefinitionRecord::clone(record)
                        };
                        changes.push(Change::PutDaemonTaskDefinition(scope.clone(), Arc::new(record)));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn is_used(records: &ScopeState, family: &str, revision: u32) -> bool {
    records.clusters.values().any(|cluster| cluster.daemons.values().any(|daemon| daemon.uses(family, revision)))
}
