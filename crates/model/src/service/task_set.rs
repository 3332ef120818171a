//! Task sets: the tasks of a service whose deployments somebody else decides about (guide chapter 16).

use longshore_api::{ServiceError, ecs};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::DeploymentRecord;
use crate::records::Tags;

/// Most task sets of a service.
pub const MAX_TASK_SETS: usize = 10;

/// A task set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSetRecord {
    /// Its id, what its tasks are made of, and how many are wanted.
    pub deployment: DeploymentRecord,
    /// PRIMARY, ACTIVE or DRAINING.
    pub status: TaskSetStatus,
    /// How many percent of the service's desired count it runs.
    pub scale: f64,
    /// What another system calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Load balancers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<ecs::LoadBalancer>,
    /// Service registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_registries: Vec<ecs::ServiceRegistry>,
    /// Whether it has the tasks that it wants, all well.
    pub stability: ecs::StabilityStatus,
    /// Since when.
    pub stability_at: Timestamp,
    /// Client token of the call that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Where a task set is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskSetStatus {
    /// Serves production traffic; the service shows its settings.
    Primary,
    /// Does not.
    Active,
    /// Deleted; its tasks are being stopped.
    Draining,
}

impl TaskSetStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY",
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
        }
    }
}

impl TaskSetRecord {
    /// Computes how many tasks it wants of a service that wants `desired`; when that changes, it is to become stable anew.
    pub fn rescale(&mut self, desired: i32, now: Timestamp) {
        let draining = self.status == TaskSetStatus::Draining;
        let wanted = if draining { 0 } else { computed_desired_count(desired, self.scale) };
        if self.deployment.desired_count != wanted {
            (self.deployment.desired_count, self.deployment.updated_at) = (wanted, now);
            self.set_stability(false, now);
        }
    }

    /// Notes whether it is stable.
    pub fn set_stability(&mut self, stable: bool, now: Timestamp) {
        let status = if stable { ecs::StabilityStatus::SteadyState } else { ecs::StabilityStatus::Stabilizing };
        if self.stability != status {
            (self.stability, self.stability_at) = (status, now);
        }
    }
}

/// `percent` of `desired`, rounded up.
#[must_use]
pub fn computed_desired_count(desired: i32, percent: f64) -> i32 {
    // Percentages such as 7.1 have no exact binary form: what is off by less than this is meant to be whole.
    const SLACK: f64 = 1e-9;
    let count = (f64::from(desired) * percent / 100.0 - SLACK).ceil().clamp(0.0, f64::from(i32::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of an i32")]
    let count = count as i32;
    count
}

/// The percentage that a request's scale means; 0 when it has none.
///
/// # Errors
/// `InvalidParameterException` for another unit, or a value out of range.
pub fn check_scale(scale: Option<&ecs::Scale>) -> Result<f64, ServiceError> {
    let Some(scale) = scale else { return Ok(0.0) };
    if let Some(other) = scale.unit.as_ref().filter(|unit| **unit != ecs::ScaleUnit::Percent) {
        let message = format!("The scale unit '{}' is not valid: use PERCENT.", other.as_str());
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let value = scale.value.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        let message = format!("The scale value is {value}; it must be between 0 and 100.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: 16-044
    #[test]
    fn a_share_of_the_desired_count_rounds_up() {
        for (desired, percent, expected) in
            [(3, 50.0, 2), (6, 20.0, 2), (100, 7.0, 7), (10, 0.0, 0), (10, 0.1, 1), (0, 100.0, 0), (7, 100.0, 7)]
        {
            assert_eq!(computed_desired_count(desired, percent), expected, "{percent} % of {desired}");
        }
    }

    // spec: 16-044
    #[test]
    fn a_scale_lies_between_0_and_100_percent() {
        let scale = |value: f64| ecs::Scale { value: Some(value), unit: None };
        assert_eq!(check_scale(Some(&scale(12.5))), Ok(12.5));
        assert_eq!(check_scale(None), Ok(0.0));
        for value in [-0.1, 100.1, 101.0, f64::NAN] {
            assert!(check_scale(Some(&scale(value))).is_err(), "{value}");
        }
    }
}
