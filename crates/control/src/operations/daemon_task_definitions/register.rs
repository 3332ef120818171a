//! RegisterDaemonTaskDefinition and DescribeDaemonTaskDefinition.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeDaemonTaskDefinitionRequest, DescribeDaemonTaskDefinitionResponse, RegisterDaemonTaskDefinitionRequest,
    RegisterDaemonTaskDefinitionResponse, error,
};
use longshore_model::records::{FamilyRecord, TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_model::{daemon, tags};
use longshore_wire::RequestContext;

use super::find;
use crate::changes::Change;
use crate::engine::Engine;
use crate::service::scope_of;

/// Most revisions of a family, deleted ones included: as of task definitions.
const MAX_REVISIONS: u32 = 1_000_000;

/// Registers the next revision of a family. A revision number is never given twice.
///
/// # Errors
/// `ClientException` for a definition out of its rules, `InvalidParameterException` for tags out of
/// theirs, `LimitExceededException` when the family has all revisions it may have.
pub async fn register(
    engine: &Engine,
    context: &RequestContext,
    mut input: RegisterDaemonTaskDefinitionRequest,
) -> Result<RegisterDaemonTaskDefinitionResponse, ServiceError> {
    let tags = tags::on_creation(input.tags.take().as_deref())?;
    let (definition, part) = daemon::validate(input)?;
    let family = definition.family.clone().unwrap_or_default();
    let scope = scope_of(context);
    let registered_at = engine.seams().clock.now();
    let registered_by = context.principal.arn();
    engine
        .write(|state, changes| {
            let known = state.scope(&scope).daemon_families.get(&family);
            let last = known.map_or(0, |family| family.record.last_revision);
            if last >= MAX_REVISIONS {
                return Err(error::limit_exceeded_exception(format!(
                    "The family {family} has had {MAX_REVISIONS} revisions, which is the most it can have. Use another family."
                )));
            }
            let revision = last + 1;
            let counter = FamilyRecord { family: family.clone(), last_revision: revision };
            changes.push(Change::PutDaemonFamily(scope.clone(), Arc::new(counter)));
            let arn = daemon::task_definition_arn(&scope, &family, revision);
            let record = TaskDefinitionRecord {
                family,
                revision,
                status: TaskDefinitionStatus::Active,
                definition,
                registered_at,
                registered_by,
                deregistered_at: None,
                delete_requested_at: None,
                daemon: Some(part),
                tags,
            };
            changes.push(Change::PutDaemonTaskDefinition(scope.clone(), Arc::new(record)));
            Ok(RegisterDaemonTaskDefinitionResponse { daemon_task_definition_arn: Some(arn) })
        })
        .await
}

/// Describes a revision of any status; of a family the newest ACTIVE one.
///
/// # Errors
/// `ClientException` when there is none.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeDaemonTaskDefinitionRequest,
) -> Result<DescribeDaemonTaskDefinitionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.daemon_task_definition.unwrap_or_default();
    let found = engine.read(|state| find(state.scope(&scope), &scope, &named).cloned()).await?;
    Ok(DescribeDaemonTaskDefinitionResponse { daemon_task_definition: Some(daemon::view(&scope, &found)) })
}
