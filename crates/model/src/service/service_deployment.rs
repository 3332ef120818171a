//! Service deployments: the way of a service from its revisions to another one.

use longshore_api::ecs::{self, ServiceDeploymentStatus as Status};
use longshore_seams::{Random, Timestamp};
use serde::{Deserialize, Serialize};

use super::{DeploymentRecord, Progress, ServiceRecord, Stage};
use crate::Id;
use crate::record::Record;

/// Characters of the id of a service deployment.
const ID_LENGTH: usize = 21;
/// What it consists of.
const ID_ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// A service deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDeploymentRecord {
    /// The cluster's incarnation.
    pub cluster: Id,
    /// The service's name.
    pub service: String,
    /// The last part of its ARN.
    pub id: String,
    /// Where it is.
    pub status: Status,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// The revisions that had tasks when it was made, from new to old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<RevisionCounts>,
    /// The revision that it puts in place.
    pub target: RevisionCounts,
    /// How it goes about it.
    pub configuration: ecs::DeploymentConfiguration,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, one way or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When it was stopped, by somebody or because it failed without a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// The way back, once it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackRecord>,
    /// Failed tasks, as the circuit breaker counts them.
    #[serde(default)]
    pub failures: i32,
    /// Failed tasks at which the circuit breaker acts; none when the service has no circuit breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<i32>,
    /// Whether the circuit breaker has acted.
    #[serde(default)]
    pub broken: bool,
    /// Alarms that went off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// How far it is; none before its first stage, and in a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl Record for ServiceDeploymentRecord {
    const KIND: &'static str = "service deployment";
    const FORMAT: u8 = 1;
}

/// Tasks of a service revision: while the service deployment goes on its service's own counts are
/// newer than these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RevisionCounts {
    /// The revision.
    pub number: String,
    /// Tasks that were wanted.
    pub requested: i32,
    /// Tasks that were RUNNING.
    pub running: i32,
    /// Tasks on their way there.
    pub pending: i32,
}

/// The way back to a revision that worked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub started_at: Timestamp,
    /// The revision.
    pub number: String,
}

impl ServiceDeploymentRecord {
    /// The service deployment that has just begun with the PRIMARY deployment of `service`.
    #[must_use]
    pub fn begin(service: &ServiceRecord, primary: &DeploymentRecord, random: &dyn Random) -> Self {
        let counts = |deployment: &DeploymentRecord| RevisionCounts {
            number: deployment.number().to_owned(),
            requested: deployment.desired_count,
            ..RevisionCounts::default()
        };
        let configuration = service.settings.deployment_configuration.clone().unwrap_or_default();
        let breaker = configuration.deployment_circuit_breaker.as_ref();
        Self {
            cluster: service.cluster,
            service: service.name.clone(),
            id: new_id(random),
            status: Status::Pending,
            status_reason: None,
            sources: service.deployments.iter().filter(|it| it.id != primary.id).map(counts).collect(),
            target: counts(primary),
            threshold: breaker
                .filter(|breaker| breaker.enable == Some(true))
                .map(|breaker| failure_threshold(service.desired_count, breaker)),
            configuration,
            created_at: primary.created_at,
            updated_at: primary.created_at,
            started_at: None,
            finished_at: None,
            stopped_at: None,
            rollback: None,
            failures: 0,
            broken: false,
            alarms: Vec::new(),
            progress: None,
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_ongoing(&self) -> bool {
        use Status::{InProgress, Pending, RollbackInProgress, RollbackRequested, StopRequested};
        matches!(self.status, Pending | InProgress | StopRequested | RollbackRequested | RollbackInProgress)
    }

    /// Whether it goes back, or is about to.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        matches!(self.status, Status::RollbackRequested | Status::RollbackInProgress)
    }

    /// Moves it on.
    pub fn become_status(&mut self, status: Status, reason: Option<String>, now: Timestamp) {
        if status == Status::InProgress {
            self.started_at.get_or_insert(now);
        }
        self.status = status;
        self.status_reason = reason.or_else(|| self.status_reason.take());
        self.updated_at = now;
        if !self.is_ongoing() {
            self.finished_at = Some(now);
            self.forget_functions("the service deployment has ended");
        }
        if self.status == Status::Stopped {
            self.stopped_at = Some(now);
        }
    }

    /// Takes the way back to the revision `number`.
    pub fn roll_back(&mut self, number: &str, reason: String, now: Timestamp, random: &dyn Random) {
        self.rollback = Some(RollbackRecord { reason: reason.clone(), started_at: now, number: number.to_owned() });
        self.started_at.get_or_insert(now);
        self.forget_functions("the service deployment rolls back");
        if let Some(progress) = &mut self.progress {
            (progress.stage, progress.since) = (Stage::CleanUp, now);
            let shifted = [
                (Stage::ProductionTrafficShift, std::mem::take(&mut progress.weight)),
                (Stage::TestTrafficShift, std::mem::take(&mut progress.test_weight)),
            ];
            for (stage, _) in shifted.into_iter().filter(|(_, weight)| *weight > 0.0) {
                self.reach(stage, now, random);
            }
        }
        self.become_status(Status::RollbackInProgress, Some(reason), now);
    }

    /// The number of the revision that the service is to have in the end.
    #[must_use]
    pub fn goal(&self) -> &str {
        self.rollback.as_ref().map_or(&self.target.number, |rollback| &rollback.number)
    }

    /// What its circuit breaker is doing.
    #[must_use]
    pub fn circuit_breaker(&self) -> ecs::ServiceDeploymentCircuitBreaker {
        let monitors = self.monitors(self.threshold.is_some(), self.broken);
        ecs::ServiceDeploymentCircuitBreaker {
            status: Some(monitors),
            failure_count: Some(self.failures),
            threshold: Some(self.threshold.unwrap_or(0)),
        }
    }

    /// What its alarms are doing; none when it has none.
    #[must_use]
    pub fn alarms(&self) -> Option<ecs::ServiceDeploymentAlarms> {
        let given = self.configuration.alarms.as_ref()?;
        Some(ecs::ServiceDeploymentAlarms {
            status: Some(self.monitors(given.enable == Some(true), !self.alarms.is_empty())),
            alarm_names: Some(given.alarm_names.clone().unwrap_or_default()),
            triggered_alarm_names: Some(self.alarms.clone()),
        })
    }

    fn monitors(&self, enabled: bool, triggered: bool) -> ecs::ServiceDeploymentRollbackMonitorsStatus {
        use ecs::ServiceDeploymentRollbackMonitorsStatus::{Disabled, Monitoring, MonitoringComplete, Triggered};
        match (enabled, triggered) {
            (false, _) => Disabled,
            (_, true) => Triggered,
            _ if self.is_ongoing() && !self.goes_back() => Monitoring,
            _ => MonitoringComplete,
        }
    }
}

fn new_id(random: &dyn Random) -> String {
    url_safe::<ID_LENGTH>(random)
}

/// Random letters, digits, hyphens and underscores.
pub(super) fn url_safe<const LENGTH: usize>(random: &dyn Random) -> String {
    let mut bytes = [0; LENGTH];
    random.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ID_ALPHABET[usize::from(byte & 63)])).collect()
}

/// Failed tasks at which a circuit breaker acts: by default half of the wanted ones, at least 3 and at most 200.
#[must_use]
pub fn failure_threshold(desired: i32, breaker: &ecs::DeploymentCircuitBreaker) -> i32 {
    use ecs::ThresholdType::{BoundedPercent, Count};
    let given = breaker.threshold_configuration.as_ref();
    let kind = given.and_then(|it| it.r#type.clone()).unwrap_or(BoundedPercent);
    let value = i64::from(given.and_then(|it| it.value).unwrap_or(50));
    let share = (i64::from(desired) * value + 99).div_euclid(100);
    let threshold = match kind {
        Count => value,
        BoundedPercent => share.clamp(3, 200),
        _ => share.max(1),
    };
    i32::try_from(threshold).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use longshore_seams::SeededRandom;

    use super::*;

    fn threshold(desired: i32, kind: Option<(&str, i32)>) -> i32 {
        let configuration =
            kind.map(|(kind, value)| ecs::ThresholdConfiguration { r#type: Some(kind.into()), value: Some(value) });
        let breaker = ecs::DeploymentCircuitBreaker {
            threshold_configuration: configuration,
            ..ecs::DeploymentCircuitBreaker::default()
        };
        failure_threshold(desired, &breaker)
    }

    #[test]
    fn a_circuit_breaker_acts_at_half_of_the_desired_count_within_bounds() {
        let found: Vec<i32> = [0, 1, 6, 7, 25, 400, 1000].map(|desired| threshold(desired, None)).to_vec();
        assert_eq!(found, [3, 3, 3, 4, 13, 200, 200]);
        assert_eq!(threshold(100, Some(("COUNT", 7))), 7);
        assert_eq!(threshold(10, Some(("BOUNDED_PERCENT", 80))), 8);
        assert_eq!(threshold(1000, Some(("UNBOUNDED_PERCENT", 30))), 300);
        assert_eq!(threshold(2, Some(("UNBOUNDED_PERCENT", 50))), 1);
    }

    #[test]
    fn an_id_has_21_letters_digits_hyphens_and_underscores() {
        let id = new_id(&SeededRandom::new(4));
        assert_eq!(id.len(), ID_LENGTH);
        assert!(crate::names::has_name_characters(&id), "{id}");
    }
}
