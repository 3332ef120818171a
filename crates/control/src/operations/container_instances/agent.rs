//! UpdateContainerAgent.

use longshore_api::{ServiceError, ecs};
use longshore_wire::RequestContext;

use super::{check_speaks_for, registered_instance};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Refuses to update an agent from here: agents are updated with the package that brought them, as
/// those of external instances are on AWS.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `AccessDeniedException`; `MissingVersionException` for an
/// agent that told no version; `NoUpdateAvailableException` for any other.
pub async fn update_container_agent(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::UpdateContainerAgentRequest,
) -> Result<ecs::UpdateContainerAgentResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.container_instance.unwrap_or_default();
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let instance = registered_instance(cluster, &scope, &named)?;
            check_speaks_for(context, &instance.record)?;
            let arn = scope.container_instance_arn(&cluster.record.name, instance.record.id);
            let version = instance.record.version_info.as_ref().and_then(|info| info.agent_version.as_deref());
            Err(match version.filter(|version| !version.is_empty()) {
                None => ecs::error::missing_version_exception(format!(
                    "The agent of {arn} has told no version: wait until it has connected."
                )),
                Some(version) => ecs::error::no_update_available_exception(format!(
                    "There is no update available for the container agent of {arn}, which has version {version}: update it on its machine."
                )),
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::operations::testing::World;
    use crate::operations::testing_instances::registration;

    // spec: 31-032, 11-020
    #[tokio::test]
    async fn agents_are_not_updated_from_here() {
        let world = World::with_default_cluster().await;
        let unknown = world.registered(1024, 1024, &[]).await;
        let code = async |instance: &serde_json::Value| {
            world.refused("UpdateContainerAgent", json!({"containerInstance": instance})).await.0
        };
        assert_eq!(code(&unknown).await, "MissingVersionException");
        let mut input = registration(1024, 1024, &[]);
        input["versionInfo"] = json!({"agentVersion": "1.100.0"});
        let known =
            world.ok("RegisterContainerInstance", input).await["containerInstance"]["containerInstanceArn"].clone();
        assert_eq!(code(&known).await, "NoUpdateAvailableException");
        assert_eq!(code(&json!("0".repeat(32))).await, "InvalidParameterException");
    }
}
