//! What must hold of what load balancers and alarms have to say about services.

use std::time::Duration;

use longshore_api::ecs::{ServiceDeploymentStatus as Status, TaskStopCode};
use longshore_model::Id;
use longshore_model::capacity_provider::FARGATE_SPOT;
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{ServiceDeploymentRecord, ServiceRecord, ServiceStatus};

use crate::checks::Model;
use crate::speaker::Speaker;

/// How long a transaction may be on its way to the disk.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Until an alarm must have been heard: the service scheduler looks at everything three times meanwhile.
const HEARD: Duration = Duration::from_secs(30);
/// How the reason of a task begins that failed the health checks of its load balancer.
const FAILED: &str = "Task failed ELB health checks";

pub(crate) fn is_balanced(service: &ServiceRecord) -> bool {
    service.settings.load_balancers.as_ref().is_some_and(|balancers| !balancers.is_empty())
}

/// The alarms that a service deployment obeys: its own, or none; and whether it goes back then.
fn obeys(deployment: &ServiceDeploymentRecord) -> (&[String], bool) {
    let alarms = deployment.configuration.alarms.as_ref().filter(|alarms| alarms.enable == Some(true));
    let names = alarms.and_then(|alarms| alarms.alarm_names.as_deref()).unwrap_or_default();
    (names, alarms.is_some_and(|alarms| alarms.rollback == Some(true)))
}

/// What is wrong with how a service deployment took its alarms.
pub(crate) fn wrong_outcome(
    speaker: &Speaker,
    old: &ServiceDeploymentRecord,
    new: &ServiceDeploymentRecord,
    now: Duration,
) -> Option<(&'static str, String)> {
    let (service, id) = (&new.service, &new.id);
    if let Some(alarm) = new.alarms.iter().find(|alarm| !speaker.has_gone_off(alarm)) {
        return Some(("alarm-made-up", format!("deployment {id} of {service} heard {alarm}, which never went off")));
    }
    let (names, rolls_back) = obeys(new);
    if !new.alarms.is_empty() {
        let back = new.goes_back() || new.status == Status::RollbackFailed || new.status == Status::RollbackSuccessful;
        // Another deployment, or the end of the service, may come in the middle of a rollback.
        let overtaken = old.goes_back() && new.status == Status::Stopped;
        let obeyed = if rolls_back { back || overtaken } else { new.status == Status::Stopped };
        let status = new.status.as_str();
        return (!obeyed).then(|| ("alarm-without-effect", format!("deployment {id} of {service} is {status}")));
    }
    let succeeds = old.is_ongoing() && new.status == Status::Successful;
    let rings = |alarm: &&String| speaker.in_alarm_since(alarm).is_some_and(|since| since + ON_ITS_WAY <= now);
    let alarm = names.iter().find(rings).filter(|_| succeeds)?;
    Some(("succeeded-in-alarm", format!("deployment {id} of {service} succeeded while {alarm} was in ALARM")))
}

/// A service deployment that goes on though its alarm went off long ago. `up_since` is when the server came up.
pub(crate) fn unheard_alarm(model: &Model, speaker: &Speaker, up_since: Duration, now: Duration) -> Option<String> {
    let active = model.services.values().filter(|service| service.status == ServiceStatus::Active);
    let ongoing = active.filter_map(|service| model.deployments.get(service.service_deployment.as_ref()?));
    ongoing.filter(|it| it.is_ongoing() && !it.goes_back()).find_map(|it| {
        let since = obeys(it).0.iter().find_map(|alarm| speaker.in_alarm_since(alarm))?;
        let seen = model.seen_since.get(&it.id).copied().unwrap_or(now);
        let unheard = since.max(seen).max(up_since) + HEARD < now;
        unheard.then(|| format!("deployment {} of {} goes on, in ALARM since {since:?}", it.id, it.service))
    })
}

/// What is wrong with how a task was replaced: one whose load balancer finds it well, or too early to tell. Without `now`
/// the server's times say nothing.
pub(crate) fn wrong_replacement(
    model: &Model,
    speaker: &Speaker,
    old: &TaskRecord,
    new: &TaskRecord,
    now: Option<Duration>,
) -> Option<(&'static str, String)> {
    let told = old.desired_status == DesiredStatus::Running && new.desired_status == DesiredStatus::Stopped;
    let spot = new.capacity_provider.as_deref() == Some(FARGATE_SPOT);
    if told && new.stop_code == Some(TaskStopCode::TerminationNotice) && !spot {
        return Some(("reclaimed-wrongly", format!("task {} of {} is not on FARGATE_SPOT", new.id, new.group)));
    }
    if !told || !new.stopped_reason.as_deref().is_some_and(|reason| reason.starts_with(FAILED)) {
        return None;
    }
    if !speaker.is_sick(new.id) {
        return Some(("replaced-though-well", format!("task {} of {}", new.id, new.group)));
    }
    let service = model.services.get(new.group.strip_prefix("service:")?)?;
    let grace = service.settings.health_check_grace_period_seconds.unwrap_or(0);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    // The report that it runs was on its way to the disk for a moment, too.
    let ran = now?.saturating_sub(*model.runs_since.get(&new.id)?) + ON_ITS_WAY;
    (ran < grace).then(|| ("replaced-in-grace", format!("task {} of {} after {ran:?}", new.id, new.group)))
}

/// A task that runs on though its load balancer finds it unhealthy.
pub(crate) fn kept_sick(model: &Model, speaker: &Speaker) -> Option<Id> {
    let runs = |task: &&std::sync::Arc<TaskRecord>| {
        task.desired_status == DesiredStatus::Running && task.last_status == TaskStatus::Running
    };
    model.tasks.values().filter(runs).map(|task| task.id).find(|id| speaker.is_sick(*id))
}
