//! What a cluster's members may be.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ClusterConfiguration, ClusterServiceConnectDefaultsRequest, ClusterSetting, ClusterSettingName,
    ExecuteCommandLogging, error,
};
use longshore_model::records::ClusterRecord;
use longshore_model::service::connect;
use longshore_model::{Scope, names};

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

/// The namespace of services that name none; the empty one is none.
pub(super) fn namespace(
    scope: &Scope,
    given: Option<&ClusterServiceConnectDefaultsRequest>,
) -> Result<(), ServiceError> {
    match given.and_then(|defaults| defaults.namespace.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) => connect::check_namespace(scope, name),
        None => Ok(()),
    }
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

/// The settings of a new cluster whose maker chose `insights` for its clusters.
pub(super) fn account_default(insights: Option<&str>) -> Vec<ClusterSetting> {
    let chosen = insights.filter(|value| *value != "disabled");
    let setting = |value: &str| ClusterSetting {
        name: Some(ClusterSettingName::ContainerInsights),
        value: Some(value.to_owned()),
    };
    chosen.map(setting).into_iter().collect()
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
