//! CreateCapacityProvider, UpdateCapacityProvider, DeleteCapacityProvider and DescribeCapacityProviders.

mod strategy;
#[cfg(test)]
mod tests;

pub(crate) use strategy::{check_associable, check_removable, strategy};

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CapacityProviderField, CapacityProviderStatus, CapacityProviderUpdateStatus, CreateCapacityProviderRequest,
    CreateCapacityProviderResponse, DeleteCapacityProviderRequest, DeleteCapacityProviderResponse,
    DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse, Failure, UpdateCapacityProviderRequest,
    UpdateCapacityProviderResponse, error,
};
use longshore_model::capacity_provider::{self, BUILT_IN, CapacityProviderRecord};
use longshore_model::records::ClusterStatus;
use longshore_model::{Scope, tags};
use longshore_wire::RequestContext;

use crate::changes::Change;
use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Most capacity providers in one page, and in one call.
const MOST: usize = 10;
/// Most named in one call.
const MOST_NAMED: usize = 100;
/// Most capacity providers of an account in a region.
const MAX_PROVIDERS: usize = 500;

fn managed_instances() -> ServiceError {
    error::unsupported_feature_exception(
        "Capacity providers with managed instances are not supported: give an autoScalingGroupProvider.",
    )
}

fn cluster_given() -> ServiceError {
    error::invalid_parameter_exception(
        "A cluster can be given for a capacity provider with managed instances only; others are associated by PutClusterCapacityProviders.",
    )
}

fn no_such_provider() -> ServiceError {
    error::invalid_parameter_exception(
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again.",
    )
}

/// Makes a capacity provider over an Auto Scaling group.
///
/// # Errors
/// `ClientException` for a name or group that can't be used or is in use, `InvalidParameterException` for members
/// out of their rules, `LimitExceededException`, `UnsupportedFeatureException` for managed instances.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateCapacityProviderRequest,
) -> Result<CreateCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let name = input.name.unwrap_or_default();
    capacity_provider::check_name(&name)?;
    let group = match (input.auto_scaling_group_provider, input.managed_instances_provider) {
        (Some(_), Some(_)) => {
            let message = "Both autoScalingGroupProvider and managedInstancesProvider were given: give one of them.";
            return Err(error::invalid_parameter_exception(message));
        }
        (None, Some(_)) => return Err(managed_instances()),
        (None, None) => {
            let message = "The capacity provider needs an autoScalingGroupProvider.";
            return Err(error::invalid_parameter_exception(message));
        }
        (Some(_), None) if input.cluster.is_some() => return Err(cluster_given()),
        (Some(group), None) => capacity_provider::group(&scope, group)?,
    };
    let record = Arc::new(CapacityProviderRecord {
        name,
        status: CapacityProviderStatus::Active,
        update_status: None,
        group,
        created_at: engine.seams().clock.now(),
        tags: tags::on_creation(input.tags.as_deref())?,
    });
    engine
        .write(|state, changes| {
            check_new(state.scope(&scope), &record)?;
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(())
        })
        .await?;
    Ok(CreateCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

fn check_new(state: &ScopeState, wanted: &CapacityProviderRecord) -> Result<(), ServiceError> {
    let active: Vec<_> = state.capacity_providers.values().filter(|known| known.is_active()).collect();
    if active.iter().any(|known| known.name == wanted.name) {
        return Err(error::client_exception(
            "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider.",
        ));
    }
    let group = wanted.group_name();
    if let Some(user) = active.iter().find(|known| known.group_name() == group) {
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

/// The ACTIVE provider that a request names.
fn find<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: &str,
) -> Result<&'a Arc<CapacityProviderRecord>, ServiceError> {
    let name = capacity_provider::name_of(scope, named).ok_or_else(no_such_provider)?;
    if BUILT_IN.contains(&name) {
        let message = format!("The capacity provider {name} belongs to every account: it can't be changed or deleted.");
        return Err(error::invalid_parameter_exception(message));
    }
    state.capacity_providers.get(name).filter(|known| known.is_active()).ok_or_else(no_such_provider)
}

/// Changes a capacity provider; what is not given stays.
///
/// # Errors
/// `InvalidParameterException` when there is none or members are out of their rules, `ClientException`,
/// `UnsupportedFeatureException` for managed instances.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateCapacityProviderRequest,
) -> Result<UpdateCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.name.unwrap_or_default();
    if input.managed_instances_provider.is_some() {
        return Err(managed_instances());
    }
    if input.cluster.is_some() {
        return Err(cluster_given());
    }
    let group = input.auto_scaling_group_provider.unwrap_or_default();
    let record = engine
        .write(|state, changes| {
            let known = find(state.scope(&scope), &scope, &named)?;
            let record = Arc::new(CapacityProviderRecord {
                group: capacity_provider::update(&known.group, group)?,
                update_status: Some(CapacityProviderUpdateStatus::UpdateComplete),
                ..CapacityProviderRecord::clone(known)
            });
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(record)
        })
        .await?;
    Ok(UpdateCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

/// Makes a capacity provider INACTIVE; its name and its group are free again.
///
/// # Errors
/// `InvalidParameterException` when there is none, `ClientException` while a cluster has it.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteCapacityProviderRequest,
) -> Result<DeleteCapacityProviderResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.capacity_provider.unwrap_or_default();
    if input.cluster.is_some() {
        return Err(cluster_given());
    }
    let record = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let known = find(state, &scope, &named)?;
            let mut clusters = state.clusters_by_name().map(|(_, cluster)| &cluster.record);
            let user = clusters.find(|cluster| {
                cluster.status == ClusterStatus::Active && cluster.capacity_providers.contains(&known.name)
            });
            if let Some(user) = user {
                return Err(error::client_exception(format!(
                    "The capacity provider cannot be deleted because it is associated with cluster: {}. Remove the capacity provider from the cluster and try again.",
                    user.name
                )));
            }
            let record = Arc::new(CapacityProviderRecord {
                status: CapacityProviderStatus::Inactive,
                update_status: Some(CapacityProviderUpdateStatus::DeleteComplete),
                ..CapacityProviderRecord::clone(known)
            });
            changes.push(Change::PutCapacityProvider(scope.clone(), record.clone()));
            Ok(record)
        })
        .await?;
    Ok(DeleteCapacityProviderResponse { capacity_provider: Some(record.view(&scope, true)) })
}

/// Describes the named providers, or page by page all that can be used, the built-in ones included.
///
/// # Errors
/// `InvalidParameterException` for too many names, a page size out of range or a foreign token.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeCapacityProvidersRequest,
) -> Result<DescribeCapacityProvidersResponse, ServiceError> {
    let scope = scope_of(context);
    if input.cluster.is_some() {
        return Err(cluster_given());
    }
    let with_tags = input.include.iter().flatten().any(|field| *field == CapacityProviderField::Tags);
    let list = "DescribeCapacityProviders";
    let page = PageRequest::parse(list, input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    let named = input.capacity_providers.unwrap_or_default();
    if named.len() > MOST_NAMED {
        let message = format!("{} capacity providers were named: at most {MOST_NAMED} can be.", named.len());
        return Err(error::invalid_parameter_exception(message));
    }
    let answer = engine.read(|state| {
        let state = state.scope(&scope);
        if named.is_empty() {
            let (providers, next_token) = page.take(usable(state, &scope, with_tags, page.after.as_deref()));
            return (providers, Vec::new(), next_token);
        }
        let (mut providers, mut failures) = (Vec::new(), Vec::new());
        for named in &named {
            let name = capacity_provider::name_of(&scope, named);
            let built_in = BUILT_IN.into_iter().find(|built_in| name == Some(built_in));
            let known = name.and_then(|name| state.capacity_providers.get(name));
            match (built_in, known) {
                (Some(name), _) => providers.push(capacity_provider::built_in(&scope, name)),
                (None, Some(known)) => providers.push(known.view(&scope, with_tags)),
                (None, None) => {
                    let arn = name.map_or_else(|| named.clone(), |name| capacity_provider::arn(&scope, name));
                    failures.push(Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None });
                }
            }
        }
        (providers, failures, None)
    });
    let (providers, failures, next_token) = answer.await;
    Ok(DescribeCapacityProvidersResponse { capacity_providers: Some(providers), failures: Some(failures), next_token })
}

/// Everything that can be used, by name, after `after`.
fn usable(
    state: &ScopeState,
    scope: &Scope,
    with_tags: bool,
    after: Option<&str>,
) -> impl Iterator<Item = (String, longshore_api::ecs::CapacityProvider)> {
    let built_in = BUILT_IN.into_iter().map(|name| (name.to_owned(), capacity_provider::built_in(scope, name)));
    let made = state.capacity_providers.values().filter(|known| known.is_active());
    let mut all: Vec<_> =
        made.map(|known| (known.name.clone(), known.view(scope, with_tags))).chain(built_in).collect();
    all.retain(|(name, _)| after.is_none_or(|after| name.as_str() > after));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.into_iter()
}
