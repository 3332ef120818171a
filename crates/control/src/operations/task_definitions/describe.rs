//! DescribeTaskDefinition.

use longshore_api::ServiceError;
use longshore_api::ecs::{DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse, TaskDefinitionField, error};
use longshore_model::tags;
use longshore_wire::RequestContext;

use super::{Reference, view};
use crate::engine::Engine;
use crate::service::scope_of;

/// Describes a revision of any status; of a family the newest ACTIVE one.
///
/// # Errors
/// `ClientException` when there is none.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeTaskDefinitionRequest,
) -> Result<DescribeTaskDefinitionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.task_definition.unwrap_or_default();
    let reference = Reference::parse(&scope, &named)?;
    let found = engine
        .read(|state| reference.and_then(|reference| reference.find(state.scope(&scope)).cloned()))
        .await
        .ok_or_else(|| error::client_exception("Unable to describe task definition."))?;
    let with_tags = input.include.iter().flatten().any(|field| *field == TaskDefinitionField::Tags);
    Ok(DescribeTaskDefinitionResponse {
        task_definition: Some(view(&scope, &found)),
        tags: with_tags.then(|| tags::to_list(&found.tags)),
    })
}
