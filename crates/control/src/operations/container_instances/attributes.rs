//! PutAttributes, DeleteAttributes, ListAttributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::container_instance::attributes::{self, MAX_CUSTOM_ATTRIBUTES, is_built_in};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus};
use longshore_model::{Id, Scope};
use longshore_wire::RequestContext;

use super::find_instance;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::identifiers::given;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState};

/// Most attributes in one call.
const MAX_CHANGED: usize = 10;

/// Sets custom attributes; existing names get the new value.
///
/// # Errors
/// `ClusterNotFoundException`, `TargetNotFoundException`, `AttributeLimitExceededException`,
/// `InvalidParameterException`.
pub async fn put_attributes(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::PutAttributesRequest,
) -> Result<ecs::PutAttributesResponse, ServiceError> {
    let given = input.attributes.unwrap_or_default();
    for attribute in &given {
        attributes::check_custom(attribute)?;
    }
    let put = |record: &mut ContainerInstanceRecord, attribute: &ecs::Attribute| {
        attributes::put(&mut record.attributes, attribute);
        let name = |known: &&ecs::Attribute| !is_built_in(known.name.as_deref().unwrap_or(""));
        let custom = record.attributes.iter().filter(name).count();
        if custom > MAX_CUSTOM_ATTRIBUTES {
            return Err(ecs::error::attribute_limit_exceeded_exception(format!(
                "The container instance would have {custom} custom attributes; at most {MAX_CUSTOM_ATTRIBUTES} are allowed. Delete some first."
            )));
        }
        Ok(())
    };
    let attributes = change(engine, context, input.cluster.as_deref(), &given, put).await?;
    Ok(ecs::PutAttributesResponse { attributes: Some(attributes) })
}

/// Removes custom attributes; one that is not there is no error.
///
/// # Errors
/// `ClusterNotFoundException`, `TargetNotFoundException`, `InvalidParameterException`.
pub async fn delete_attributes(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::DeleteAttributesRequest,
) -> Result<ecs::DeleteAttributesResponse, ServiceError> {
    let given = input.attributes.unwrap_or_default();
    for attribute in &given {
        attributes::check_custom(attribute)?;
    }
    let delete = |record: &mut ContainerInstanceRecord, attribute: &ecs::Attribute| {
        let meant = |known: &ecs::Attribute| {
            known.name == attribute.name && (attribute.value.is_none() || known.value == attribute.value)
        };
        record.attributes.retain(|known| !meant(known));
        Ok(())
    };
    let attributes = change(engine, context, input.cluster.as_deref(), &given, delete).await?;
    Ok(ecs::DeleteAttributesResponse { attributes: Some(attributes) })
}

/// Changes the target of each attribute, all or none; answers the attributes with their targets' ARNs.
async fn change(
    engine: &Engine,
    context: &RequestContext,
    cluster: Option<&str>,
    given: &[ecs::Attribute],
    change: impl Fn(&mut ContainerInstanceRecord, &ecs::Attribute) -> Result<(), ServiceError>,
) -> Result<Vec<ecs::Attribute>, ServiceError> {
    let scope = scope_of(context);
    if given.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Attributes cannot be empty."));
    }
    if given.len() > MAX_CHANGED {
        let message = format!("attributes can have at most {MAX_CHANGED} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, cluster)?;
            let mut records: BTreeMap<Id, ContainerInstanceRecord> = BTreeMap::new();
            let mut answer = Vec::new();
            for attribute in given {
                let instance = target(cluster, &scope, attribute)?;
                let record = records.entry(instance.record.id).or_insert_with(|| (*instance.record).clone());
                change(record, attribute)?;
                answer.push(with_target(&scope, cluster, record.id, attribute));
            }
            for (id, mut record) in records {
                if cluster.instances.get(&id).is_some_and(|instance| record != *instance.record) {
                    record.version += 1;
                    changes.push(Change::PutContainerInstance(scope.clone(), Arc::new(record)));
                }
            }
            Ok(answer)
        })
        .await
}

fn target<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    attribute: &ecs::Attribute,
) -> Result<&'a InstanceState, ServiceError> {
    let name = attribute.name.as_deref().unwrap_or("");
    let Some(named) = attribute.target_id.as_deref().filter(|target| !target.is_empty()) else {
        let message = format!("The attribute '{name}' needs a targetId: the id or ARN of a container instance.");
        return Err(ecs::error::invalid_parameter_exception(message));
    };
    if attribute.target_type.is_none() && !named.starts_with("arn:") {
        let message = format!(
            "The attribute '{name}' needs a targetType, because its targetId {named} is no full ARN: give container-instance."
        );
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let instance = find_instance(cluster, scope, named)?;
    instance.filter(|instance| instance.record.status != ContainerInstanceStatus::Inactive).ok_or_else(|| {
        ecs::error::target_not_found_exception(format!("The target {named} of the attribute '{name}' was not found."))
    })
}

fn with_target(scope: &Scope, cluster: &ClusterState, id: Id, attribute: &ecs::Attribute) -> ecs::Attribute {
    ecs::Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        target_type: Some(ecs::TargetType::ContainerInstance),
        target_id: Some(scope.container_instance_arn(&cluster.record.name, id)),
    }
}

/// Lists attributes of all registered container instances, by name and value when these are given.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn list_attributes(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::ListAttributesRequest,
) -> Result<ecs::ListAttributesResponse, ServiceError> {
    let scope = scope_of(context);
    let page =
        PageRequest::parse("ListAttributes", input.max_results.map(i64::from), input.next_token.as_deref(), 100)?;
    let (name, value) = (given(input.attribute_name), given(input.attribute_value));
    if value.is_some() && name.is_none() {
        let message = "attributeValue needs attributeName: name the attribute that is to have the value.";
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            // A key is the instance's id and the attribute's name; pages begin inside an instance.
            let first = page.after.as_deref().and_then(|after| after.split_once('/')?.0.parse::<Id>().ok());
            let start = first.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
            let registered = cluster
                .instances
                .range((start, std::ops::Bound::Unbounded))
                .filter(|(_, instance)| instance.record.status != ContainerInstanceStatus::Inactive)
                .filter(|(_, instance)| !instance.is_hidden());
            let matching = registered.flat_map(|(id, instance)| {
                let mut named: Vec<(String, ecs::Attribute)> = instance
                    .record
                    .attributes
                    .iter()
                    .filter(|it| name.is_none() || it.name == name)
                    .filter(|it| value.is_none() || it.value == value)
                    .map(|it| {
                        (format!("{id}/{}", it.name.as_deref().unwrap_or("")), with_target(&scope, cluster, *id, it))
                    })
                    .collect();
                named.sort_by(|(left, _), (right, _)| left.cmp(right));
                named
            });
            let rest = matching.filter(|(key, _)| page.after.as_ref().is_none_or(|after| key > after));
            let (attributes, next_token) = page.take(rest);
            Ok(ecs::ListAttributesResponse { attributes: Some(attributes), next_token })
        })
        .await
}
