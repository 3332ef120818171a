//! RegisterTaskDefinition.

use std::sync::Arc;

use longshore_api::ecs::{RegisterTaskDefinitionRequest, RegisterTaskDefinitionResponse, error};
use longshore_api::{Path, ServiceError, Shape, Value};
use longshore_model::records::{FamilyRecord, TaskDefinitionRecord, TaskDefinitionStatus};
use longshore_model::tags;
use longshore_model::task_definition::{Limits, validate_and_normalise};
use longshore_wire::RequestContext;

use super::view;
use crate::changes::Change;
use crate::engine::Engine;
use crate::service::scope_of;

/// Most revisions of a family, deleted ones included (guide chapter 22).
pub(super) const MAX_REVISIONS: u32 = 1_000_000;

/// Checks the constraints that the API model declares on a definition. ECS refuses them as it refuses
/// everything else that is wrong with a definition, and not as other operations do.
///
/// # Errors
/// `ClientException` that lists what is wrong. Tags, and members of a wrong type, are left to
/// whoever reads the input.
pub fn check_constraints(input: &Value) -> Result<(), ServiceError> {
    let Ok(request) = longshore_api::from_value::<RegisterTaskDefinitionRequest>(input) else { return Ok(()) };
    let mut violations = Vec::new();
    request.validate(&mut Path::default(), &mut violations);
    violations.retain(|violation| !violation.path.starts_with("tags"));
    if violations.is_empty() {
        return Ok(());
    }
    Err(error::client_exception(longshore_api::summary(&violations)))
}

/// Registers the next revision of a family. A revision number is never given twice.
///
/// # Errors
/// `ClientException` for a definition out of its rules, `InvalidParameterException` for tags out of
/// theirs, `LimitExceededException` when the family has all revisions it may have.
pub async fn register(
    engine: &Engine,
    context: &RequestContext,
    mut input: RegisterTaskDefinitionRequest,
) -> Result<RegisterTaskDefinitionResponse, ServiceError> {
    let tags = tags::on_creation(input.tags.take().as_deref())?;
    let definition = validate_and_normalise(input, &Limits::default())?;
    let family = definition.family.clone().unwrap_or_default();
    let scope = scope_of(context);
    let registered_at = engine.seams().clock.now();
    let registered_by = context.principal.arn();
    engine
        .write(|state, changes| {
            let last = state.scope(&scope).families.get(&family).map_or(0, |family| family.record.last_revision);
            if last >= MAX_REVISIONS {
                return Err(error::limit_exceeded_exception(format!(
                    "The family {family} has had {MAX_REVISIONS} revisions, which is the most it can have. Use another family."
                )));
            }
            let revision = last + 1;
            let counter = FamilyRecord { family: family.clone(), last_revision: revision };
            changes.push(Change::PutFamily(scope.clone(), Arc::new(counter)));
            let record = Arc::new(TaskDefinitionRecord {
                family,
                revision,
                status: TaskDefinitionStatus::Active,
                definition,
                registered_at,
                registered_by,
                deregistered_at: None,
                delete_requested_at: None,
                daemon: None,
                tags,
            });
            changes.push(Change::PutTaskDefinition(scope.clone(), record.clone()));
            Ok(RegisterTaskDefinitionResponse {
                task_definition: Some(view(&scope, &record)),
                tags: Some(tags::to_list(&record.tags)).filter(|tags| !tags.is_empty()),
            })
        })
        .await
}
