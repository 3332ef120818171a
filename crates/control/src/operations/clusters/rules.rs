//! What a cluster's members may be.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CapacityProviderStrategyItem, ClusterConfiguration, ClusterSetting, ClusterSettingName, ExecuteCommandLogging,
    error,
};
use longshore_model::names;
use longshore_model::records::ClusterRecord;

/// Capacity providers that every account has without making them (guide chapter 3).
const OFFERED_PROVIDERS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];
/// Most providers of a strategy.
const MAX_STRATEGY: usize = 20;
/// Values of `containerInsights`.
const INSIGHTS: [&str; 3] = ["enabled", "disabled", "enhanced"];

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// A new cluster's name.
pub(super) fn name(name: &str) -> Result<(), ServiceError> {
    if name.is_empty() {
        return Err(invalid("Cluster name can not be blank."));
    }
    if !names::is_name(name) {
        return Err(invalid(format!("Cluster name must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}")));
    }
    Ok(())
}

pub(super) fn settings(settings: &[ClusterSetting]) -> Result<(), ServiceError> {
    for setting in settings {
        if setting.name != Some(ClusterSettingName::ContainerInsights) {
            let name = setting.name.as_ref().map_or("null", |name| name.as_str());
            return Err(invalid(format!(
                "Invalid cluster setting name '{name}'. The only setting is containerInsights."
            )));
        }
        let value = setting.value.as_deref().unwrap_or("null");
        if !INSIGHTS.contains(&value) {
            return Err(invalid(format!(
                "Invalid value '{value}' of the cluster setting containerInsights. Valid values are {}.",
                INSIGHTS.join(", ")
            )));
        }
    }
    Ok(())
}

/// Settings with their defaults, as descriptions show them.
pub(super) fn effective_settings(record: &ClusterRecord) -> Vec<ClusterSetting> {
    let name = Some(ClusterSettingName::ContainerInsights);
    let given = record.settings.iter().rfind(|setting| setting.name == name);
    let value = given.and_then(|setting| setting.value.clone()).unwrap_or_else(|| "disabled".to_owned());
    vec![ClusterSetting { name, value: Some(value) }]
}

/// `OVERRIDE` and a log configuration come together (API reference, `ExecuteCommandConfiguration`).
pub(super) fn configuration(configuration: &ClusterConfiguration) -> Result<(), ServiceError> {
    let Some(execute) = &configuration.execute_command_configuration else { return Ok(()) };
    let overrides = execute.logging == Some(ExecuteCommandLogging::Override);
    match (overrides, execute.log_configuration.is_some()) {
        (true, false) => {
            Err(invalid("The executeCommandConfiguration has logging OVERRIDE: it needs a logConfiguration."))
        }
        (false, true) => {
            Err(invalid("The executeCommandConfiguration has a logConfiguration: logging must be OVERRIDE."))
        }
        _ => Ok(()),
    }
}

pub(super) fn capacity_providers(providers: &[String]) -> Result<(), ServiceError> {
    for (at, provider) in providers.iter().enumerate() {
        if !OFFERED_PROVIDERS.contains(&provider.as_str()) {
            return Err(invalid(format!(
                "The specified capacity provider '{provider}' was not found. Specify a valid name or ARN and try again."
            )));
        }
        if providers[..at].contains(provider) {
            return Err(invalid(format!("The capacity provider '{provider}' is given more than once.")));
        }
    }
    Ok(())
}

/// The strategy with the defaults that answers show: weight 0, base 0.
pub(super) fn strategy(
    given: Vec<CapacityProviderStrategyItem>,
    providers: &[String],
) -> Result<Vec<CapacityProviderStrategyItem>, ServiceError> {
    if given.len() > MAX_STRATEGY {
        return Err(invalid(format!(
            "A capacity provider strategy can have at most {MAX_STRATEGY} items; this one has {}.",
            given.len()
        )));
    }
    if given.iter().filter(|item| item.base.unwrap_or(0) > 0).count() > 1 {
        return Err(invalid("Only one capacity provider in a capacity provider strategy can have a base defined."));
    }
    let mut strategy: Vec<CapacityProviderStrategyItem> = Vec::new();
    for item in given {
        let provider = item.capacity_provider.as_deref().unwrap_or("null");
        if !providers.iter().any(|associated| associated == provider) {
            return Err(invalid(format!(
                "The capacity provider '{provider}' of the default strategy is not associated with the cluster."
            )));
        }
        if strategy.iter().any(|earlier| earlier.capacity_provider == item.capacity_provider) {
            return Err(invalid(format!("The capacity provider '{provider}' is in the strategy more than once.")));
        }
        strategy.push(CapacityProviderStrategyItem {
            weight: Some(item.weight.unwrap_or(0)),
            base: Some(item.base.unwrap_or(0)),
            capacity_provider: item.capacity_provider,
        });
    }
    Ok(strategy)
}
