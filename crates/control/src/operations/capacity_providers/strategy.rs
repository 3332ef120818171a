//! Which capacity providers a cluster may have, and what its default strategy may say.

use longshore_api::ServiceError;
use longshore_api::ecs::{CapacityProviderStrategyItem, LaunchType, error};
use longshore_model::Scope;
use longshore_model::capacity_provider::{self, BUILT_IN};
use longshore_model::records::TaskStatus;
use longshore_model::service::ServiceStatus;

use crate::state::{ClusterState, ScopeState};

/// Most providers of a cluster, and most items of a strategy.
const MAX_PROVIDERS: usize = 20;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// The launch type that tasks on the provider `name` show; none when it is not known.
pub(crate) fn launch_type_of(state: &ScopeState, name: &str) -> Option<LaunchType> {
    if BUILT_IN.contains(&name) {
        return Some(LaunchType::Fargate);
    }
    state.capacity_providers.get(name).map(|known| known.launch_type())
}

/// The names of the providers that the cluster called `cluster` is to have, in the request's order. Managed instances
/// that belong to it stay, named or not.
///
/// # Errors
/// `InvalidParameterException` for one that can't be used or is given twice, managed instances of another cluster, and
/// for too many.
pub(crate) fn check_associable(
    state: &ScopeState,
    scope: &Scope,
    cluster: &str,
    given: &[String],
) -> Result<Vec<String>, ServiceError> {
    if given.len() > MAX_PROVIDERS {
        let message =
            format!("A cluster can have at most {MAX_PROVIDERS} capacity providers; {} were given.", given.len());
        return Err(invalid(message));
    }
    let mut names: Vec<String> = Vec::new();
    for named in given {
        let usable = |name: &&str| {
            BUILT_IN.contains(name) || state.capacity_providers.get(*name).is_some_and(|known| known.is_active())
        };
        let name = capacity_provider::name_of(scope, named).filter(usable).ok_or_else(|| {
            invalid(format!(
                "The specified capacity provider '{named}' was not found. Specify a valid name or ARN and try again."
            ))
        })?;
        if names.iter().any(|known| known == name) {
            return Err(invalid(format!("The capacity provider '{name}' is given more than once.")));
        }
        if let Some(own) = state.capacity_providers.get(name).and_then(|known| known.cluster())
            && own != cluster
        {
            return Err(invalid(format!(
                "Cannot associate Managed Instances capacity provider to clusters using this API. '{name}' belongs to the cluster {own}, with which it was created."
            )));
        }
        names.push(name.to_owned());
    }
    let own = state.capacity_providers.values().filter(|it| it.is_active() && it.cluster() == Some(cluster));
    for provider in own {
        if !names.contains(&provider.name) {
            names.push(provider.name.clone());
        }
    }
    check_room(&names)?;
    Ok(names)
}

/// Whether a cluster can have all of `names`.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_room(names: &[String]) -> Result<(), ServiceError> {
    if names.len() <= MAX_PROVIDERS {
        return Ok(());
    }
    Err(invalid(format!(
        "A cluster can have at most {MAX_PROVIDERS} capacity providers; it would have {}.",
        names.len()
    )))
}

fn not_associated(state: &ScopeState, name: &str) -> ServiceError {
    let known = BUILT_IN.contains(&name) || state.capacity_providers.get(name).is_some_and(|known| known.is_active());
    if !known {
        return invalid(format!(
            "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
        ));
    }
    invalid(format!(
        "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again. It is: {name}."
    ))
}

/// The strategy with the defaults that answers show: weight 0, base 0.
///
/// # Errors
/// `InvalidParameterException` for providers that the cluster has not, that are given twice or are of
/// two kinds, for more than one base, and for too many items.
pub(crate) fn strategy(
    state: &ScopeState,
    scope: &Scope,
    given: Vec<CapacityProviderStrategyItem>,
    associated: &[String],
) -> Result<Vec<CapacityProviderStrategyItem>, ServiceError> {
    if given.len() > MAX_PROVIDERS {
        return Err(invalid(format!(
            "A capacity provider strategy can have at most {MAX_PROVIDERS} items; this one has {}.",
            given.len()
        )));
    }
    if given.iter().filter(|item| item.base.unwrap_or(0) > 0).count() > 1 {
        return Err(invalid("Only one capacity provider in a capacity provider strategy can have a base defined."));
    }
    let mut strategy: Vec<CapacityProviderStrategyItem> = Vec::new();
    for item in given {
        let named = item.capacity_provider.as_deref().unwrap_or_default();
        let name = capacity_provider::name_of(scope, named).unwrap_or(named);
        if !associated.iter().any(|associated| associated == name) {
            return Err(not_associated(state, name));
        }
        if strategy.iter().any(|earlier| earlier.capacity_provider.as_deref() == Some(name)) {
            return Err(invalid(format!("The capacity provider '{name}' is in the strategy more than once.")));
        }
        strategy.push(CapacityProviderStrategyItem {
            weight: Some(item.weight.unwrap_or(0)),
            base: Some(item.base.unwrap_or(0)),
            capacity_provider: Some(name.to_owned()),
        });
    }
    check_one_kind(state, &strategy)?;
    Ok(strategy)
}

/// The guide knew two kinds; ECS has managed instances too, and a strategy still takes one kind.
fn check_one_kind(state: &ScopeState, strategy: &[CapacityProviderStrategyItem]) -> Result<(), ServiceError> {
    let name = |item: &CapacityProviderStrategyItem| launch_type_of(state, item.capacity_provider.as_deref()?);
    let kinds: Vec<LaunchType> = strategy.iter().filter_map(name).collect();
    if kinds.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(invalid(if kinds.contains(&LaunchType::ManagedInstances) {
        "A capacity provider strategy cannot contain a mix of Managed Instances capacity providers and others. Specify one or the other and try again."
    } else {
        "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers. Specify one or the other and try again."
    }))
}

/// Whether `cluster` may go on with only the providers `left`.
///
/// # Errors
/// `ResourceInUseException` when a service or a task uses another one.
pub(crate) fn check_removable(cluster: &ClusterState, scope: &Scope, left: &[String]) -> Result<(), ServiceError> {
    let is_removed = |name: &str| {
        !left.iter().any(|left| left == name) && cluster.record.capacity_providers.iter().any(|it| it == name)
    };
    let in_use = |name: &str, user: String| {
        Err(error::resource_in_use_exception(format!(
            "The specified capacity provider is in use and cannot be removed: {name} is used by {user}."
        )))
    };
    for service in cluster.services.values().filter(|service| service.status != ServiceStatus::Inactive) {
        let strategy = service.settings.capacity_provider_strategy.iter().flatten();
        for name in strategy.filter_map(|item| item.capacity_provider.as_deref()) {
            let name = capacity_provider::name_of(scope, name).unwrap_or(name);
            if is_removed(name) {
                return in_use(name, service.arn(scope, &cluster.record.name));
            }
        }
    }
    for daemon in cluster.daemons.values() {
        let wanted = daemon.current().map(|it| &it.target().capacity_providers);
        if let Some(name) = wanted.into_iter().flatten().find(|name| is_removed(name)) {
            return in_use(name, daemon.arn(scope, &cluster.record.name));
        }
    }
    for task in cluster.tasks.values().filter(|task| task.last_status != TaskStatus::Stopped) {
        if let Some(name) = task.capacity_provider.as_deref().filter(|name| is_removed(name)) {
            return in_use(name, scope.task_arn(&cluster.record.name, task.id));
        }
    }
    Ok(())
}
