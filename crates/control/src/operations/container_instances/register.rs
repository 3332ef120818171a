//! RegisterContainerInstance: a new instance, or one that comes back.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::arn::InCluster;
use longshore_model::container_instance::attributes::{self, is_built_in};
use longshore_model::container_instance::interfaces::{TRUNK, takes_trunk};
use longshore_model::container_instance::{books, registered};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, GrantRecord};
use longshore_model::{Id, Scope, tags};
use longshore_seams::Timestamp;
use longshore_wire::{Principal, RequestContext};

use super::{Include, check_speaks_for, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::account_settings::{check_taggable, effective_for, wants_short_arns};
use crate::operations::{plainly_not_found, resolve_cluster};
use crate::service::scope_of;
use crate::state::{ClusterState, State};

/// Attributes whose value says what kind of machine it is: they may not change.
const KIND_ATTRIBUTES: [&str; 2] = ["ecs.os-type", "ecs.cpu-architecture"];

/// How instance types begin that are made up from what the machine has.
const OWN_TYPE: &str = "longshore.";

/// Attribute of agents that run outside EC2.
const EXTERNAL: &str = "ecs.capability.external";

/// What an EC2 instance identity document tells.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IdentityDocument {
    instance_id: Option<String>,
    instance_type: Option<String>,
    image_id: Option<String>,
    availability_zone: Option<String>,
}

/// Registers a container instance, or updates the one that comes back under its ARN. One that was
/// forgotten is made anew under the ARN it names: its agent could not go on otherwise.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ClientException`, `AccessDeniedException`.
pub async fn register_container_instance(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::RegisterContainerInstanceRequest,
) -> Result<ecs::RegisterContainerInstanceResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    let random = &*engine.seams().random;
    let tags = tags::on_creation(input.tags.as_deref())?;
    check_resources(input.total_resources.as_deref().unwrap_or_default())?;
    let (cluster, id) = engine
        .write(|state, changes| -> Result<_, ServiceError> {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref());
            let cluster = cluster.map_err(plainly_not_found)?;
            let grant = grant(context, state, cluster)?;
            let named = named_instance(&input, &scope, cluster, grant)?;
            let caller = context.principal.arn();
            let short = wants_short_arns(state.scope(&scope), &scope, &caller, "containerInstanceLongArnFormat");
            let fresh = || if short { Id::random_short(random) } else { Id::random(random) };
            let id = named.unwrap_or_else(fresh);
            let record = match cluster.instances.get(&id) {
                Some(instance) => {
                    check_speaks_for(context, &instance.record)?;
                    come_back(&instance.record, &input, &scope)?
                }
                None => {
                    let added = [("add tags to the container instance", !tags.is_empty())];
                    check_taggable(id.is_short_format(), &added)?;
                    engine.quotas().check_container_instances(cluster.registered_instances())?;
                    let mut record = first_time(id, cluster.record.id, &input, &scope, now);
                    record.grant = grant.map(|grant| grant.id.clone());
                    record.tags.clone_from(&tags);
                    if effective_for(state.scope(&scope), context, "awsvpcTrunking") == Some("enabled") {
                        add_trunk(&mut record);
                    }
                    record
                }
            };
            if let Some(grant) = grant.filter(|grant| grant.container_instance != Some(id)) {
                let bound = GrantRecord { container_instance: Some(id), ..grant.clone() };
                changes.push(Change::PutGrant(Arc::new(bound)));
            }
            if cluster.instances.get(&id).is_none_or(|instance| *instance.record != record) {
                changes.push(Change::PutContainerInstance(scope.clone(), Arc::new(record)));
            }
            Ok((cluster.record.id, id))
        })
        .await?;
    let include = Include { tags: true, health: false };
    let view = engine.peek(|state| {
        let cluster = state.scope(&scope).clusters.get(&cluster)?;
        Some(view(&scope, cluster, cluster.instances.get(&id)?, include))
    });
    Ok(ecs::RegisterContainerInstanceResponse { container_instance: view })
}

/// The grant of an agent's key, which holds for one cluster only; none for a root key.
fn grant<'a>(
    context: &RequestContext,
    state: &'a State,
    cluster: &ClusterState,
) -> Result<Option<&'a GrantRecord>, ServiceError> {
    let Principal::ContainerInstance { grant, .. } = &context.principal else { return Ok(None) };
    let known = state.grants.get(grant).filter(|grant| grant.cluster == cluster.record.name);
    match known {
        Some(grant) => Ok(Some(grant)),
        None => Err(ecs::error::access_denied_exception(format!(
            "User: {} did not join the cluster {}: use a join token of that cluster.",
            context.principal.arn(),
            cluster.record.name
        ))),
    }
}

/// The instance that comes back: the one its ARN names, or the one that its grant is bound to, so
/// that an agent which lost its state keeps its identity.
fn named_instance(
    input: &ecs::RegisterContainerInstanceRequest,
    scope: &Scope,
    cluster: &ClusterState,
    grant: Option<&GrantRecord>,
) -> Result<Option<Id>, ServiceError> {
    let bound = grant.and_then(|grant| grant.container_instance);
    let Some(arn) = input.container_instance_arn.as_deref().filter(|arn| !arn.is_empty()) else {
        // One that was deregistered stays so; its agent, told to forget it, begins anew.
        let gone = |id: &Id| {
            let known = cluster.instances.get(id);
            known.is_some_and(|instance| instance.record.status == ContainerInstanceStatus::Inactive)
        };
        return Ok(bound.filter(|id| !gone(id)));
    };
    let id = match scope.in_cluster("container-instance", arn) {
        InCluster::Bare(id) => id.parse::<Id>().ok(),
        InCluster::Qualified(of, id) if of == cluster.record.name => id.parse::<Id>().ok(),
        InCluster::Qualified(of, _) => {
            return Err(ecs::error::client_exception(format!(
                "The container instance {arn} is registered in cluster {of}: it cannot move to {}. Remove the agent's saved state to register it anew.",
                cluster.record.name
            )));
        }
        InCluster::Foreign => None,
    };
    let id = id.ok_or_else(|| {
        let message = format!("Invalid identifier: {arn} is not a container instance of this account and region.");
        ecs::error::invalid_parameter_exception(message)
    })?;
    if bound.is_some_and(|bound| bound != id) {
        let message = format!("These credentials speak only for their own container instance, not for {arn}.");
        return Err(ecs::error::access_denied_exception(message));
    }
    Ok(Some(id))
}

fn first_time(
    id: Id,
    cluster: Id,
    input: &ecs::RegisterContainerInstanceRequest,
    scope: &Scope,
    now: Timestamp,
) -> ContainerInstanceRecord {
    let document = identity_document(input);
    let mut kept = Vec::new();
    for attribute in input.attributes.iter().flatten() {
        let built_in = is_built_in(attribute.name.as_deref().unwrap_or(""));
        // The agent compares the answer with what it sent, and says which one was not accepted.
        if built_in || attributes::check_custom(attribute).is_ok() {
            attributes::put(&mut kept, attribute);
        }
    }
    let resources = resources(input);
    let external = kept.iter().any(|attribute| attribute.name.as_deref() == Some(EXTERNAL));
    add_built_in(&mut kept, &document, &resources, scope);
    let made_up = format!("{}-{}", if external { "mi" } else { "i" }, &id.to_string()[..17]);
    ContainerInstanceRecord {
        id,
        cluster,
        status: ContainerInstanceStatus::Active,
        status_reason: None,
        version: 1,
        registered_at: now,
        deregistered_at: None,
        grant: None,
        ec2_instance_id: Some(document.instance_id.unwrap_or(made_up)),
        version_info: input.version_info.clone(),
        attributes: kept,
        registered_resources: resources,
        last_sequence: 0,
        tags: longshore_model::records::Tags::new(),
    }
}

/// Gives a new instance a trunk network interface, if machines of its type can have one.
fn add_trunk(record: &mut ContainerInstanceRecord) {
    if takes_trunk(&record.attributes) {
        let value = Some(format!("eni-{}", &record.id.to_string()[..17]));
        attributes::put(
            &mut record.attributes,
            &ecs::Attribute { name: Some(TRUNK.to_owned()), value, ..ecs::Attribute::default() },
        );
    }
}

/// The record of an instance that registers again: its built-in attributes and resources are the
/// new ones, its custom attributes and tags stay.
fn come_back(
    known: &ContainerInstanceRecord,
    input: &ecs::RegisterContainerInstanceRequest,
    scope: &Scope,
) -> Result<ContainerInstanceRecord, ServiceError> {
    if known.status == ContainerInstanceStatus::Inactive {
        return Err(ecs::error::client_exception(format!(
            "The container instance {} was deregistered: remove the agent's saved state to register it anew.",
            known.id
        )));
    }
    let given = input.attributes.as_deref().unwrap_or_default();
    let changed = KIND_ATTRIBUTES.iter().any(|name| {
        let (old, new) = (attributes::value(&known.attributes, name), attributes::value(given, name));
        matches!((old, new), (Some(old), Some(new)) if old != new)
    });
    // A type of our own making follows the machine; one that its document tells does not change.
    let told = identity_document(input).instance_type;
    let retyped = told.is_some_and(|told| {
        attributes::value(&known.attributes, "ecs.instance-type")
            .is_some_and(|old| !old.starts_with(OWN_TYPE) && old != told)
    });
    if changed || retyped {
        return Err(ecs::error::client_exception("Container instance type changes are not supported."));
    }
    let custom = |attribute: &&ecs::Attribute| !is_built_in(attribute.name.as_deref().unwrap_or(""));
    // A trunk stays with the instance that was launched with it.
    let stays = |attribute: &&ecs::Attribute| custom(attribute) || attribute.name.as_deref() == Some(TRUNK);
    let mut kept: Vec<ecs::Attribute> = Vec::new();
    for attribute in given.iter().filter(|attribute| !custom(attribute)) {
        attributes::put(&mut kept, attribute);
    }
    for attribute in known.attributes.iter().filter(stays) {
        attributes::put(&mut kept, attribute);
    }
    let resources = resources(input);
    add_built_in(&mut kept, &identity_document(input), &resources, scope);
    let mut record = ContainerInstanceRecord {
        attributes: kept,
        registered_resources: resources,
        version_info: input.version_info.clone().or_else(|| known.version_info.clone()),
        ..known.clone()
    };
    if record != *known {
        record.version += 1;
    }
    Ok(record)
}

fn identity_document(input: &ecs::RegisterContainerInstanceRequest) -> IdentityDocument {
    let text = input.instance_identity_document.as_deref().unwrap_or("");
    // Anything unreadable tells nothing: the signature is not what we go by.
    serde_json::from_str(text).unwrap_or_default()
}

/// No machine has less than nothing.
fn check_resources(total: &[ecs::Resource]) -> Result<(), ServiceError> {
    let negative = |resource: &&ecs::Resource| {
        resource.integer_value.is_some_and(|value| value < 0)
            || resource.long_value.is_some_and(|value| value < 0)
            || resource.double_value.is_some_and(|value| value < 0.0)
    };
    match total.iter().find(negative) {
        Some(resource) => Err(ecs::error::invalid_parameter_exception(format!(
            "The resource {} of the container instance is less than 0.",
            resource.name.as_deref().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn resources(input: &ecs::RegisterContainerInstanceRequest) -> Vec<ecs::Resource> {
    registered(
        input.total_resources.as_deref().unwrap_or_default(),
        input.platform_devices.as_deref().unwrap_or_default(),
    )
}

/// The attributes that every instance has (guide chapter 14): from the identity document, else
/// made up from what the machine is.
fn add_built_in(
    attributes: &mut Vec<ecs::Attribute>,
    document: &IdentityDocument,
    resources: &[ecs::Resource],
    scope: &Scope,
) {
    let books = books(resources);
    let known = |name: &str| attributes::value(attributes, name).unwrap_or("").to_owned();
    let machine = format!("{}/{}", known("ecs.os-type"), known("ecs.cpu-architecture"));
    let zone = document.availability_zone.clone().unwrap_or_else(|| format!("{}a", scope.region));
    let kind = document.instance_type.clone().unwrap_or_else(|| {
        let (cores, gib) = ((books.cpu + 1023) / 1024, (books.memory + 1023) / 1024);
        format!("{OWN_TYPE}{cores}x{gib}gib")
    });
    let image = document.image_id.clone().unwrap_or_else(|| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, machine.as_bytes());
        let hex: String = digest.as_ref().iter().take(9).map(|byte| format!("{byte:02x}")).collect();
        format!("ami-{}", &hex[..17])
    });
    for (name, value) in [("ecs.availability-zone", zone), ("ecs.instance-type", kind), ("ecs.ami-id", image)] {
        if attributes::value(attributes, name).is_none() {
            let made = ecs::Attribute { name: Some(name.to_owned()), value: Some(value), ..ecs::Attribute::default() };
            attributes::put(attributes, &made);
        }
    }
}
