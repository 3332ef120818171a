//! The tags of a new task.

use longshore_api::ecs::{PropagateTags, Tag, error};
use longshore_api::{ServiceError, ecs};
use longshore_model::records::{Tags, TaskDefinitionRecord};
use longshore_model::tags;

/// The tag with which ECS marks what belongs to a cluster.
const MANAGED_CLUSTER_TAG: &str = "aws:ecs:clusterName";

/// The request's tags, over those propagated from the task definition, with the managed ones.
///
/// # Errors
/// `InvalidParameterException` for bad tags, or for propagation from a service, which such a task has not.
pub(super) fn task_tags(
    given: Option<&[Tag]>,
    propagate: Option<&PropagateTags>,
    managed: bool,
    definition: &TaskDefinitionRecord,
    cluster: &str,
) -> Result<Tags, ServiceError> {
    let own = tags::on_creation(given)?;
    let mut all = match propagate {
        Some(PropagateTags::TaskDefinition) => definition.tags.clone(),
        Some(PropagateTags::Service) => {
            return Err(error::invalid_parameter_exception(
                "Tags cannot be propagated from SERVICE to a task that no service starts: use TASK_DEFINITION or NONE.",
            ));
        }
        None | Some(ecs::PropagateTags::None | _) => Tags::new(),
    };
    all.extend(own);
    if all.len() > tags::MAX_TAGS {
        let message = format!("The task would have {} tags; at most {} are allowed.", all.len(), tags::MAX_TAGS);
        return Err(error::invalid_parameter_exception(message));
    }
    if managed {
        all.insert(MANAGED_CLUSTER_TAG.to_owned(), cluster.to_owned());
    }
    Ok(all)
}
