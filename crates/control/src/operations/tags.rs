//! TagResource, UntagResource and ListTagsForResource.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest, TagResourceResponse,
    UntagResourceRequest, UntagResourceResponse, error,
};
use longshore_model::capacity_provider::CapacityProviderRecord;
use longshore_model::daemon::DaemonRecord;
use longshore_model::gateway::GatewayRecord;
use longshore_model::records::{
    ClusterRecord, ClusterStatus, ContainerInstanceRecord, Tags, TaskDefinitionRecord, TaskRecord,
};
use longshore_model::service::{ServiceRecord, ServiceStatus};
use longshore_model::{Arn, Id, Scope, tags};
use longshore_wire::RequestContext;

use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::cluster_not_found;
use crate::operations::daemon_task_definitions;
use crate::operations::task_definitions::Reference;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Adds tags to a resource; a key that it has gets the new value.
///
/// # Errors
/// `ClusterNotFoundException` or `ResourceNotFoundException` when there is no such resource,
/// `InvalidParameterException` for an ARN of something else or tags out of their rules,
/// `LimitExceededException` for more than 50.
pub async fn tag(
    engine: &Engine,
    context: &RequestContext,
    input: TagResourceRequest,
) -> Result<TagResourceResponse, ServiceError> {
    let added = input.tags.unwrap_or_default();
    change(engine, context, input.resource_arn, |existing| tags::merge(existing, &added)).await?;
    Ok(TagResourceResponse {})
}

/// Removes tags from a resource; keys that it has not are no error.
///
/// # Errors
/// As [`tag`].
pub async fn untag(
    engine: &Engine,
    context: &RequestContext,
    input: UntagResourceRequest,
) -> Result<UntagResourceResponse, ServiceError> {
    let keys = input.tag_keys.unwrap_or_default();
    change(engine, context, input.resource_arn, |existing| tags::without(existing, &keys)).await?;
    Ok(UntagResourceResponse {})
}

/// Lists a resource's tags, in the order in which they were given.
///
/// # Errors
/// `ClusterNotFoundException`, or `InvalidParameterException` when there is no such resource.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.resource_arn.unwrap_or_default();
    let name = Name::parse(&scope, &arn)?;
    let listed = engine
        .read(|state| {
            // The model has no ResourceNotFoundException here.
            let missing = || error::invalid_parameter_exception(not_found(&arn));
            Ok::<_, ServiceError>(tags::to_list(name.find(state.scope(&scope), missing)?.tags()))
        })
        .await?;
    Ok(ListTagsForResourceResponse { tags: Some(listed) })
}

async fn change(
    engine: &Engine,
    context: &RequestContext,
    arn: Option<String>,
    new_tags: impl FnOnce(&Tags) -> Result<Tags, ServiceError>,
) -> Result<(), ServiceError> {
    let scope = scope_of(context);
    let arn = arn.unwrap_or_default();
    let name = Name::parse(&scope, &arn)?;
    engine
        .write(|state, changes| {
            let missing = || error::resource_not_found_exception(not_found(&arn));
            let resource = name.find(state.scope(&scope), missing)?;
            let tags = new_tags(resource.tags())?;
            if tags != *resource.tags() {
                changes.push(resource.tagged(scope.clone(), tags));
            }
            Ok(())
        })
        .await
}

fn not_found(arn: &str) -> String {
    format!("The specified resource was not found: {arn}")
}

/// A resource that can be tagged, as its ARN names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name<'a> {
    Cluster(&'a str),
    TaskDefinition(Reference<'a>),
    /// Cluster and id.
    ContainerInstance(&'a str, &'a str),
    /// Cluster and id.
    Task(&'a str, &'a str),
    CapacityProvider(&'a str),
    /// Cluster and name.
    Service(&'a str, &'a str),
    /// Cluster, service and id.
    TaskSet(&'a str, &'a str, &'a str),
    /// Cluster and name.
    Daemon(&'a str, &'a str),
    /// Family and revision.
    DaemonTaskDefinition(&'a str, u32),
    Gateway(&'a str),
}

impl<'a> Name<'a> {
    fn parse(scope: &Scope, text: &'a str) -> Result<Self, ServiceError> {
        let invalid = || {
            error::invalid_parameter_exception(format!(
                "Invalid identifier: {text} is no ARN of a cluster, capacity provider, gateway, service, task set, daemon, task definition, daemon task definition, container instance or task of this account and region."
            ))
        };
        let arn = Arn::parse(text).filter(|arn| arn.is_ecs_in(scope)).ok_or_else(invalid)?;
        let (kind, rest) = arn.resource.split_once('/').ok_or_else(invalid)?;
        match kind {
            "cluster" => Ok(Self::Cluster(rest)),
            "capacity-provider" => Ok(Self::CapacityProvider(rest)),
            "gateway" => Ok(Self::Gateway(rest)),
            "task-definition" => match Reference::parse(scope, text)? {
                Some(reference) if reference.revision.is_some() => Ok(Self::TaskDefinition(reference)),
                _ => Err(invalid()),
            },
            "daemon-task-definition" => match daemon_task_definitions::parse(scope, text) {
                Ok((family, Some(revision))) => Ok(Self::DaemonTaskDefinition(family, revision)),
                _ => Err(invalid()),
            },
            "task-set" => {
                let (cluster, service, id) = scope.in_service("task-set", text).ok_or_else(invalid)?;
                Ok(Self::TaskSet(cluster, service, id))
            }
            "container-instance" | "task" | "service" | "daemon" => {
                let Some((cluster, id)) = rest.split_once('/') else {
                    return Err(error::invalid_parameter_exception(
                        "Long arn format must be used for tagging operations",
                    ));
                };
                Ok(match kind {
                    "task" => Self::Task(cluster, id),
                    "service" => Self::Service(cluster, id),
                    "daemon" => Self::Daemon(cluster, id),
                    _ => Self::ContainerInstance(cluster, id),
                })
            }
            _ => Err(invalid()),
        }
    }

    fn find<'s>(
        &self,
        state: &'s ScopeState,
        missing: impl Fn() -> ServiceError,
    ) -> Result<Resource<'s>, ServiceError> {
        match self {
            Self::Cluster(name) => Ok(Resource::Cluster(&usable_cluster(state, name)?.record)),
            Self::TaskDefinition(reference) => reference.find(state).map(Resource::TaskDefinition).ok_or_else(missing),
            Self::ContainerInstance(cluster, id) => {
                let id = long(id, "container instance")?;
                let instance = id.and_then(|id| state.cluster_named(cluster)?.instances.get(&id));
                instance.map(|instance| Resource::ContainerInstance(&instance.record)).ok_or_else(missing)
            }
            Self::Task(cluster, id) => {
                let id = long(id, "task")?;
                let task = id.and_then(|id| state.cluster_named(cluster)?.tasks.get(&id));
                task.map(Resource::Task).ok_or_else(missing)
            }
            Self::CapacityProvider(name) => {
                let known = state.capacity_providers.get(*name).filter(|known| known.is_active());
                known.map(Resource::CapacityProvider).ok_or_else(missing)
            }
            Self::Service(cluster, name) => {
                let service = state.cluster_named(cluster).and_then(|cluster| cluster.services.get(*name));
                let service = service.ok_or_else(missing)?;
                match service.status {
                    _ if service.short_arn => Err(short("service")),
                    ServiceStatus::Inactive => Err(error::invalid_parameter_exception(
                        "The specified service is inactive. Specify an active service and try again.",
                    )),
                    ServiceStatus::Active | ServiceStatus::Draining => Ok(Resource::Service(service)),
                }
            }
            Self::TaskSet(cluster, name, id) => {
                let service = state.cluster_named(cluster).and_then(|cluster| cluster.services.get(*name));
                let at = |service: &ServiceRecord| service.task_sets.iter().position(|set| set.deployment.id == *id);
                let found = service.and_then(|service| Some((service, at(service)?)));
                found.map(|(service, at)| Resource::TaskSet(service, at)).ok_or_else(missing)
            }
            Self::Gateway(name) => {
                let known = state.gateways.get(*name).filter(|known| known.is_usable());
                known.map(Resource::Gateway).ok_or_else(missing)
            }
            Self::Daemon(cluster, name) => {
                let daemon = state.cluster_named(cluster).and_then(|cluster| cluster.daemons.get(*name));
                daemon.map(Resource::Daemon).ok_or_else(missing)
            }
            Self::DaemonTaskDefinition(family, revision) => {
                let family = state.daemon_families.get(*family);
                let found = family.and_then(|family| family.revisions.get(revision));
                found.map(Resource::DaemonTaskDefinition).ok_or_else(missing)
            }
        }
    }
}

/// The id in a long ARN of a `kind`; `None` for what is no id.
fn long(id: &str, kind: &str) -> Result<Option<Id>, ServiceError> {
    let id: Option<Id> = id.parse().ok();
    if id.is_some_and(Id::is_short_format) { Err(short(kind)) } else { Ok(id) }
}

fn short(kind: &str) -> ServiceError {
    error::invalid_parameter_exception(format!(
        "The specified {kind} does not have the longArn format. Only {kind}s created after opting in will have the new format."
    ))
}

fn usable_cluster<'a>(state: &'a ScopeState, name: &str) -> Result<&'a ClusterState, ServiceError> {
    let cluster = state.cluster_named(name).ok_or_else(cluster_not_found)?;
    if cluster.record.status == ClusterStatus::Active {
        return Ok(cluster);
    }
    Err(error::invalid_parameter_exception(
        "The specified cluster is inactive. Specify an active cluster and try again.",
    ))
}

/// The record that carries the tags.
enum Resource<'a> {
    Cluster(&'a Arc<ClusterRecord>),
    TaskDefinition(&'a Arc<TaskDefinitionRecord>),
    ContainerInstance(&'a Arc<ContainerInstanceRecord>),
    Task(&'a Arc<TaskRecord>),
    CapacityProvider(&'a Arc<CapacityProviderRecord>),
    Service(&'a Arc<ServiceRecord>),
    /// Of this service, at this place.
    TaskSet(&'a Arc<ServiceRecord>, usize),
    Daemon(&'a Arc<DaemonRecord>),
    DaemonTaskDefinition(&'a Arc<TaskDefinitionRecord>),
    Gateway(&'a Arc<GatewayRecord>),
}

impl Resource<'_> {
    fn tags(&self) -> &Tags {
        match self {
            Self::Cluster(record) => &record.tags,
            Self::TaskDefinition(record) => &record.tags,
            Self::ContainerInstance(record) => &record.tags,
            Self::Task(record) => &record.tags,
            Self::CapacityProvider(record) => &record.tags,
            Self::Service(record) => &record.tags,
            Self::TaskSet(record, at) => &record.task_sets[*at].tags,
            Self::Daemon(record) => &record.tags,
            Self::DaemonTaskDefinition(record) => &record.tags,
            Self::Gateway(record) => &record.tags,
        }
    }

    /// The change that gives the resource `tags`.
    fn tagged(&self, scope: Scope, tags: Tags) -> Change {
        match self {
            Self::Cluster(record) => {
                Change::PutCluster(scope, Arc::new(ClusterRecord { tags, ..ClusterRecord::clone(record) }))
            }
            Self::TaskDefinition(record) => {
                let record = TaskDefinitionRecord { tags, ..TaskDefinitionRecord::clone(record) };
                Change::PutTaskDefinition(scope, Arc::new(record))
            }
            Self::ContainerInstance(record) => {
                let record = ContainerInstanceRecord { tags, ..ContainerInstanceRecord::clone(record) };
                Change::PutContainerInstance(scope, Arc::new(record))
            }
            Self::CapacityProvider(record) => {
                let record = CapacityProviderRecord { tags, ..CapacityProviderRecord::clone(record) };
                Change::PutCapacityProvider(scope, Arc::new(record))
            }
            Self::Service(record) => {
                Change::PutService(scope, Arc::new(ServiceRecord { tags, ..ServiceRecord::clone(record) }))
            }
            Self::Gateway(record) => {
                Change::PutGateway(scope, Arc::new(GatewayRecord { tags, ..GatewayRecord::clone(record) }))
            }
            Self::TaskSet(record, at) => {
                let mut record = ServiceRecord::clone(record);
                record.task_sets[*at].tags = tags;
                Change::PutService(scope, Arc::new(record))
            }
            Self::Daemon(record) => {
                Change::PutDaemon(scope, Arc::new(DaemonRecord { tags, ..DaemonRecord::clone(record) }))
            }
            Self::DaemonTaskDefinition(record) => {
                let record = TaskDefinitionRecord { tags, ..TaskDefinitionRecord::clone(record) };
                Change::PutDaemonTaskDefinition(scope, Arc::new(record))
            }
            Self::Task(record) => Change::PutTask(scope, Arc::new(TaskRecord { tags, ..TaskRecord::clone(record) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::records::{ContainerInstanceStatus, TaskStatus};
    use serde_json::{Value, json};

    use crate::operations::testing::World;

    async fn world() -> (World, Vec<String>) {
        let world = World::new().await;
        world.ok("CreateCluster", json!({"clusterName": "web"})).await;
        let definition = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "b", "memory": 4}]});
        world.ok("RegisterTaskDefinition", definition).await;
        let instance = world.put_instance("web", ContainerInstanceStatus::Active).await.id;
        let task = world.put_task("web", "f", 1, TaskStatus::Running).await.id;
        let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g";
        let provider = json!({"name": "p", "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
        world.ok("CreateCapacityProvider", provider).await;
        let agent = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "b", "memory": 4}]});
        world.ok("RegisterDaemonTaskDefinition", agent).await;
        let providers = json!({"cluster": "web", "capacityProviders": ["p"], "defaultCapacityProviderStrategy": []});
        world.ok("PutClusterCapacityProviders", providers).await;
        let daemon = json!({"daemonName": "d", "clusterArn": "web", "daemonTaskDefinitionArn": "f", "capacityProviderArns": ["p"]});
        world.ok("CreateDaemon", daemon).await;
        let role = "arn:aws:iam::123456789012:role/r";
        let gateway = json!({"name": "g", "infrastructureRoleArn": role, "configuration": {"hostSharedAlb": {}}});
        world.ok("CreateGateway", gateway).await;
        let resources = [
            "gateway/g".to_owned(),
            "cluster/web".to_owned(),
            "capacity-provider/p".to_owned(),
            "task-definition/f:1".to_owned(),
            "daemon-task-definition/f:1".to_owned(),
            "daemon/web/d".to_owned(),
            format!("container-instance/web/{instance}"),
            format!("task/web/{task}"),
        ];
        let arns = resources.iter().map(|resource| world.arn(resource)).collect();
        (world, arns)
    }

    async fn listed(world: &World, arn: &str) -> Value {
        world.ok("ListTagsForResource", json!({"resourceArn": arn})).await["tags"].clone()
    }

    // spec: 18-003, 18-005, 18-021, 18-001
    #[tokio::test]
    async fn resources_of_each_kind_are_tagged_listed_and_untagged() {
        let (world, arns) = world().await;
        for arn in &arns {
            let tag = |key: &str, value: &str| json!({"key": key, "value": value});
            assert_eq!(listed(&world, arn).await, json!([]));
            let tags = json!([tag("b", "1"), tag("a", "")]);
            assert_eq!(world.ok("TagResource", json!({"resourceArn": arn, "tags": tags})).await, json!({}));
            world.ok("TagResource", json!({"resourceArn": arn, "tags": [tag("b", "2")]})).await;
            assert_eq!(listed(&world, arn).await, json!([tag("b", "2"), tag("a", "")]), "{arn}");
            world.ok("UntagResource", json!({"resourceArn": arn, "tagKeys": ["a", "never"]})).await;
            assert_eq!(listed(&world, arn).await, json!([tag("b", "2")]), "{arn}");
        }
        let world = world.restarted().await;
        for arn in &arns {
            assert_eq!(listed(&world, arn).await, json!([{"key": "b", "value": "2"}]), "{arn}");
        }
    }

    // spec: 22-016, 18-012, 18-013
    #[tokio::test]
    async fn limits_hold_over_all_calls() {
        let (world, arns) = world().await;
        let tags = |prefix: &str, count: usize| -> Vec<Value> {
            (0..count).map(|number| json!({"key": format!("{prefix}{number}"), "value": ""})).collect()
        };
        let call = |tags: Vec<Value>| json!({"resourceArn": arns[0], "tags": tags});
        assert_eq!(world.refused("TagResource", call(tags("a", 51))).await.0, "InvalidParameterException");
        // Characters count, not bytes.
        let longest = json!({"key": "ä".repeat(128), "value": "ä".repeat(256)});
        world.ok("TagResource", call(vec![longest])).await;
        world.ok("TagResource", call(tags("a", 49))).await;
        assert_eq!(world.refused("TagResource", call(tags("b", 1))).await.0, "LimitExceededException");
        for (key, value) in
            [("k".repeat(129), String::new()), ("k".to_owned(), "v".repeat(257)), ("k!".to_owned(), String::new())]
        {
            let refused = world.refused("TagResource", call(vec![json!({"key": key, "value": value})])).await;
            assert_eq!(refused.0, "InvalidParameterException");
        }
    }

    // spec: 18-008
    #[tokio::test]
    async fn nothing_is_made_when_its_tags_are_refused() {
        let (world, _) = world().await;
        let tags = json!([{"key": "aws:x", "value": ""}]);
        assert_eq!(
            world.refused("CreateCluster", json!({"clusterName": "new", "tags": tags})).await.0,
            "InvalidParameterException"
        );
        let answer = world.ok("DescribeClusters", json!({"clusters": ["new"]})).await;
        assert_eq!(answer["failures"][0]["reason"], "MISSING");
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_tagged() {
        let (world, _) = world().await;
        let refused = async |resource: String| {
            let arn = world.arn(&resource);
            world.refused("TagResource", json!({"resourceArn": arn, "tags": [{"key": "a"}]})).await
        };
        let id = "0".repeat(32);
        assert_eq!(
            refused("cluster/no".to_owned()).await,
            ("ClusterNotFoundException", "Cluster not found.".to_owned())
        );
        for missing in [
            "task-definition/f:9".to_owned(),
            format!("task/web/{id}"),
            format!("container-instance/web/{id}"),
            "task/web/x".to_owned(),
            "service/web/s".to_owned(),
            "capacity-provider/no".to_owned(),
            "gateway/no".to_owned(),
            "daemon/web/no".to_owned(),
            "daemon-task-definition/f:9".to_owned(),
        ] {
            assert_eq!(refused(missing.clone()).await.0, "ResourceNotFoundException", "{missing}");
        }
        for other in ["task-definition/f", "nothing"] {
            assert_eq!(refused(other.to_owned()).await.0, "InvalidParameterException", "{other}");
        }
        let elsewhere = world.arn("cluster/web").replace("arn:aws:", "arn:aws-cn:");
        let call = json!({"resourceArn": elsewhere, "tags": [{"key": "a"}]});
        assert_eq!(world.refused("TagResource", call).await.0, "InvalidParameterException");
        let listed = json!({"resourceArn": world.arn(&format!("task/web/{id}"))});
        assert_eq!(world.refused("ListTagsForResource", listed).await.0, "InvalidParameterException");
    }

    // spec: 09-002
    #[tokio::test]
    async fn tagging_needs_the_long_arn() {
        let (world, _) = world().await;
        let arn = world.arn(&format!("task/{}", "0".repeat(32)));
        let (code, message) = world.refused("TagResource", json!({"resourceArn": arn, "tags": [{"key": "a"}]})).await;
        assert_eq!(
            (code, message.as_str()),
            ("InvalidParameterException", "Long arn format must be used for tagging operations")
        );
    }

    #[tokio::test]
    async fn an_inactive_cluster_is_not_tagged() {
        let (world, _) = world().await;
        world.ok("CreateCluster", json!({"clusterName": "gone"})).await;
        world.ok("DeleteCluster", json!({"cluster": "gone"})).await;
        let call = json!({"resourceArn": world.arn("cluster/gone"), "tags": [{"key": "a"}]});
        let (_, message) = world.refused("TagResource", call).await;
        assert_eq!(message, "The specified cluster is inactive. Specify an active cluster and try again.");
    }
}
