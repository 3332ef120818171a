//! What CreateDaemon and UpdateDaemon accept, and how much of a deployment happens at once.

use std::time::Duration;

use longshore_api::ServiceError;
use longshore_api::ecs::{DaemonDeploymentConfiguration, DeploymentCircuitBreaker, error};

use crate::names;
use crate::records::TaskDefinitionRecord;

/// Share of the instances that a deployment takes at a time, when it does not say.
const DRAIN_PERCENT: f64 = 25.0;
/// The longest bake time: a day.
const MAX_BAKE_MINUTES: i32 = 1440;
/// Most alarms of a deployment.
const MAX_ALARMS: usize = 10;

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// A new daemon's name.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_name(name: &str) -> Result<(), ServiceError> {
    if names::is_name(name) {
        return Ok(());
    }
    refused(format!(
        "Daemon name '{name}' is not valid: use 1 to {} letters, digits, hyphens and underscores.",
        names::MAX_NAME
    ))
}

/// The deployment configuration with defaults: 25 % of the instances at a time, no bake time.
///
/// # Errors
/// `InvalidParameterException` for a bake time or alarms out of their bounds.
pub fn configuration(
    given: Option<DaemonDeploymentConfiguration>,
) -> Result<DaemonDeploymentConfiguration, ServiceError> {
    let mut configuration = given.unwrap_or_default();
    configuration.drain_percent.get_or_insert(DRAIN_PERCENT);
    let minutes = *configuration.bake_time_in_minutes.get_or_insert(0);
    if !(0..=MAX_BAKE_MINUTES).contains(&minutes) {
        return refused(format!("bakeTimeInMinutes is {minutes}; it must be between 0 and {MAX_BAKE_MINUTES}."));
    }
    if let Some(alarms) = &mut configuration.alarms {
        let names = alarms.alarm_names.get_or_insert_default().len();
        let enabled = *alarms.enable.get_or_insert(false);
        if names > MAX_ALARMS {
            return refused(format!("alarms can have at most {MAX_ALARMS} alarmNames; {names} were given."));
        }
        if enabled && names == 0 {
            return refused("alarms are enabled, but no alarmNames were given: name at least one.");
        }
    }
    Ok(configuration)
}

/// Refuses a definition whose tasks could not have all that it says.
///
/// # Errors
/// `UnsupportedFeatureException`.
pub fn check_runnable(definition: &TaskDefinitionRecord) -> Result<(), ServiceError> {
    let volumes = definition.daemon.as_ref().map(|part| &part.log_driver_volumes);
    match volumes.and_then(|volumes| volumes.keys().next()) {
        Some(name) => Err(error::unsupported_feature_exception(format!(
            "Volume '{name}' of the daemon task definition {}:{} has a logDriverVolumeConfiguration, which is not supported: use a host volume.",
            definition.family, definition.revision
        ))),
        None => Ok(()),
    }
}

/// How many of `instances` may be without the daemon at a time while it is replaced: at least one.
#[must_use]
pub fn at_once(instances: usize, configuration: &DaemonDeploymentConfiguration) -> usize {
    let percent = configuration.drain_percent.unwrap_or(DRAIN_PERCENT).clamp(0.0, 100.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number of instances"
    )]
    let share = (instances as f64 * percent / 100.0) as usize;
    share.max(1)
}

/// How long every instance must have had the new task until the deployment counts as done.
#[must_use]
pub fn bake_time(configuration: &DaemonDeploymentConfiguration) -> Duration {
    let minutes = configuration.bake_time_in_minutes.unwrap_or(0);
    Duration::from_secs(u64::try_from(minutes).unwrap_or(0) * 60)
}

/// Failed tasks at which a deployment is given up: as of a service that wants so many tasks.
#[must_use]
pub fn failure_threshold(instances: usize) -> i32 {
    let wanted = i32::try_from(instances).unwrap_or(i32::MAX);
    crate::service::failure_threshold(wanted, &DeploymentCircuitBreaker::default())
}

#[cfg(test)]
mod tests {
    use longshore_api::ecs::DaemonAlarmConfiguration;

    use super::*;

    fn drained(instances: usize, percent: f64) -> usize {
        let configuration =
            DaemonDeploymentConfiguration { drain_percent: Some(percent), ..DaemonDeploymentConfiguration::default() };
        at_once(instances, &configuration)
    }

    #[test]
    fn a_deployment_takes_its_share_of_the_instances_but_never_none() {
        assert_eq!([drained(10, 25.0), drained(10, 0.0), drained(3, 50.0), drained(10, 100.0)], [2, 1, 1, 10]);
        assert_eq!(at_once(8, &DaemonDeploymentConfiguration::default()), 2);
    }

    #[test]
    fn bake_time_and_alarms_have_bounds() {
        let bake = |minutes| DaemonDeploymentConfiguration {
            bake_time_in_minutes: Some(minutes),
            ..DaemonDeploymentConfiguration::default()
        };
        assert!(configuration(Some(bake(1440))).is_ok());
        for minutes in [-1, 1441] {
            assert_eq!(configuration(Some(bake(minutes))).unwrap_err().code, "InvalidParameterException");
        }
        let alarms = |count: usize| DaemonDeploymentConfiguration {
            alarms: Some(DaemonAlarmConfiguration {
                alarm_names: Some(vec!["a".to_owned(); count]),
                enable: Some(true),
            }),
            ..DaemonDeploymentConfiguration::default()
        };
        assert!(configuration(Some(alarms(1))).is_ok());
        assert!(configuration(Some(alarms(0))).is_err() && configuration(Some(alarms(11))).is_err());
    }
}
