//! CreateCapacityProvider, UpdateCapacityProvider, DeleteCapacityProvider and DescribeCapacityProviders.

mod describe;
#[cfg(test)]
mod managed_tests;
mod strategy;
#[cfg(test)]
mod tests;

pub use describe::describe;
pub(crate) use strategy::{check_associable, check_removable, launch_type_of, strategy};

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CapacityProviderStatus, CapacityProviderUpdateStatus, CreateCapacityProviderRequest,
    CreateCapacityProviderResponse, DeleteCapacityProviderRequest, DeleteCapacityProviderResponse,
    UpdateCapacityProviderRequest, UpdateCapacityProviderResponse, error,
};
use longshore_model::capacity_provider::{self, BUILT_IN, CapacityProviderRecord, ManagedInstances, Source};
use longshore_model::records::{ClusterRecord, ClusterStatus};
use longshore_model::{Scope, tags};
use longshore_wire::RequestContext;

use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Most capacity providers of an account in a region.
const MAX_PROVIDERS: usize = 500;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

fn cluster_given() -> ServiceError {
    invalid(
        "A cluster can be given for a capacity provider with managed instances only; others are associated by PutClusterCapacityProviders.",
    )
}

fn no_such_provider() -> ServiceError {
    error::invalid_parameter_exception(
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again.",
    )
}

/// Makes a capacity provider over an Auto Scaling group, or with managed instances: that one belongs to the cluster
/// that is given, which has it from then on.
///
/// # Errors
/// `ClientException` for a name or group that can't be used or is in use, `InvalidParameterException` for members
/// out of their rules, `ClusterNotFoundException`, `LimitExceededException`.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateCapacityProviderRequest,
) -> Result<CreateCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let name = input.name.unwrap_or_default();
    capacity_provider::check_name(&name)?;
    let cluster = input.cluster.as_deref().filter(|cluster| !cluster.is_empty());
    let source = match (input.auto_scaling_group_provider, input.managed_instances_provider) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "Both autoScalingGroupProvider and managedInstancesProvider were given: give one of them.",
            ));
        }
        (None, None) => {
            return Err(invalid(
                "The capacity provider needs an autoScalingGroupProvider or a managedInstancesProvider.",
            ));
        }
        (Some(_), None) if cluster.is_some() => return Err(cluster_given()),
        (Some(group), None) => Source::Group(capacity_provider::group(&scope, group)?),
        (None, Some(_)) if cluster.is_none() => {
            return Err(invalid(
                "A capacity provider with managed instances belongs to a cluster: give the cluster's name.",
            ));
        }
        (None, Some(given)) => Source::ManagedInstances(Box::new(ManagedInstances {
            cluster: String::new(),
            provider: capacity_provider::managed_instances(&scope, given)?,
        })),
    };
    let mut record = CapacityProviderRecord {
        name,
        status: CapacityProviderStatus::Active,
        update_status: None,
        source,
        created_at: engine.seams().clock.now(),
        deleted_at: None,
        tags: tags::on_creation(input.tags.as_deref())?,
    };
    let record = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            if let Source::ManagedInstances(managed) = &mut record.source {
                let cluster = resolve_cluster(state, &scope, cluster)?;
                managed.cluster.clone_from(&cluster.record.name);
                record.update_status = Some(CapacityProviderUpdateStatus::CreateComplete);
                check_new(state, &record)?;
                let mut providers = cluster.record.capacity_providers.clone();
                providers.push(record.name.clone());
                strategy::check_room(&providers)?;
                put_providers(&scope, cluster, providers, changes);
            } else {
                check_new(state, &record)?;
            }
            let record = Arc::new(record);
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(record)
        })
        .await?;
    Ok(CreateCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

/// Gives a cluster its managed instances, or takes them from it and from its default strategy.
fn put_providers(scope: &Scope, cluster: &ClusterState, capacity_providers: Vec<String>, changes: &mut Changes) {
    let known = ClusterRecord::clone(&cluster.record);
    let mut default_strategy = known.default_strategy.clone();
    default_strategy
        .retain(|item| item.capacity_provider.as_ref().is_some_and(|name| capacity_providers.contains(name)));
    let record = ClusterRecord { capacity_providers, default_strategy, ..known };
    changes.push(Change::PutCluster(scope.clone(), Arc::new(record)));
}

fn check_new(state: &ScopeState, wanted: &CapacityProviderRecord) -> Result<(), ServiceError> {
    let active: Vec<_> = state.capacity_providers.values().filter(|known| known.is_active()).collect();
    if active.iter().any(|known| known.name == wanted.name) {
        return Err(error::client_exception(
            "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider.",
        ));
    }
    let group = wanted.group_name();
    if let Some(user) = active.iter().find(|known| group.is_some() && known.group_name() == group) {
        return Err(error::client_exception(format!(
            "The specified Auto Scaling group ARN is already being used by the capacity provider {}. Specify a unique Auto Scaling group ARN and try again.",
            user.name
        )));
    }
    if active.len() >= MAX_PROVIDERS {
        return Err(error::limit_exceeded_exception(format!(
            "The account has {MAX_PROVIDERS} capacity providers in this region, which is the most it can have. Delete some first."
        )));
    }
    Ok(())
}

/// The ACTIVE provider that a request names, if need be with the cluster to which it belongs.
fn find<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: &str,
    cluster: Option<&str>,
) -> Result<&'a Arc<CapacityProviderRecord>, ServiceError> {
    let name = capacity_provider::name_of(scope, named).ok_or_else(no_such_provider)?;
    if BUILT_IN.contains(&name) {
        return Err(invalid(format!(
            "The capacity provider {name} belongs to every account: it can't be changed or deleted."
        )));
    }
    let known = state.capacity_providers.get(name).filter(|known| known.is_active()).ok_or_else(no_such_provider)?;
    let Some(given) = cluster.filter(|cluster| !cluster.is_empty()) else { return Ok(known) };
    let own = known.cluster().ok_or_else(cluster_given)?;
    if resolve_cluster(state, scope, Some(given))?.record.name == own {
        return Ok(known);
    }
    Err(invalid(format!("The capacity provider {name} does not belong to the cluster {given}, but to {own}.")))
}

/// Changes a capacity provider; what is not given stays.
///
/// # Errors
/// `InvalidParameterException` when there is none or members are out of their rules, `ClientException`,
/// `ClusterNotFoundException`.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateCapacityProviderRequest,
) -> Result<UpdateCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.name.unwrap_or_default();
    let (group, managed) = (input.auto_scaling_group_provider, input.managed_instances_provider);
    let record = engine
        .write(|state, changes| {
            let known = find(state.scope(&scope), &scope, &named, input.cluster.as_deref())?;
            let source = match (&known.source, group, managed) {
                (Source::Group(known), group, None) => {
                    Source::Group(capacity_provider::update(known, group.unwrap_or_default())?)
                }
                (Source::ManagedInstances(known), None, Some(changes)) => {
                    let provider = capacity_provider::update_managed_instances(&scope, &known.provider, changes)?;
                    Source::ManagedInstances(Box::new(ManagedInstances { provider, ..ManagedInstances::clone(known) }))
                }
                (Source::Group(_), _, Some(_)) => return Err(other_kind(&known.name, "an Auto Scaling group")),
                (Source::ManagedInstances(_), ..) => return Err(other_kind(&known.name, "managed instances")),
            };
            let record = Arc::new(CapacityProviderRecord {
                source,
                update_status: Some(CapacityProviderUpdateStatus::UpdateComplete),
                ..CapacityProviderRecord::clone(known)
            });
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(record)
        })
        .await?;
    Ok(UpdateCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

fn other_kind(name: &str, kind: &str) -> ServiceError {
    invalid(format!("The capacity provider {name} is one with {kind}, and stays so: give changes of these only."))
}

/// Makes a capacity provider INACTIVE; its name and its group are free again. One with managed instances leaves its
/// cluster.
///
/// # Errors
/// `InvalidParameterException` when there is none, `ClientException` while a cluster has it, or for managed instances
/// while something in their cluster uses them, `ClusterNotFoundException`.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteCapacityProviderRequest,
) -> Result<DeleteCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    let named = input.capacity_provider.unwrap_or_default();
    let record = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let known = find(state, &scope, &named, input.cluster.as_deref())?;
            match known.cluster() {
                Some(cluster) => leave_cluster(state, &scope, known, cluster, changes)?,
                None => check_not_associated(state, &known.name)?,
            }
            let record = Arc::new(CapacityProviderRecord {
                status: CapacityProviderStatus::Inactive,
                update_status: Some(CapacityProviderUpdateStatus::DeleteComplete),
                deleted_at: Some(now),
                ..CapacityProviderRecord::clone(known)
            });
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(record)
        })
        .await?;
    Ok(DeleteCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

fn check_not_associated(state: &ScopeState, name: &String) -> Result<(), ServiceError> {
    let mut clusters = state.clusters_by_name().map(|(_, cluster)| &cluster.record);
    let user =
        clusters.find(|cluster| cluster.status == ClusterStatus::Active && cluster.capacity_providers.contains(name));
    match user {
        Some(user) => Err(error::client_exception(format!(
            "The capacity provider cannot be deleted because it is associated with cluster: {}. Remove the capacity provider from the cluster and try again.",
            user.name
        ))),
        None => Ok(()),
    }
}

/// Takes managed instances out of their cluster, which nothing else can do.
fn leave_cluster(
    state: &ScopeState,
    scope: &Scope,
    provider: &CapacityProviderRecord,
    cluster: &str,
    changes: &mut Changes,
) -> Result<(), ServiceError> {
    let Some(cluster) = state.active_cluster(cluster) else { return Ok(()) };
    let mut left = cluster.record.capacity_providers.clone();
    left.retain(|name| *name != provider.name);
    // PutClusterCapacityProviders has an error of its own for this, which this call has not.
    check_removable(cluster, scope, &left).map_err(|refused| error::client_exception(refused.message))?;
    put_providers(scope, cluster, left, changes);
    Ok(())
}
