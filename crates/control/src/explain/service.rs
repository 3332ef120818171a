//! Why a service is as it is.

use longshore_api::ecs::{self, DeploymentRolloutState};
use longshore_api::longshore as api;
use longshore_model::Scope;
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{DeploymentRecord, HookRecord, ServiceRecord, ServiceStatus};
use longshore_seams::Timestamp;

use super::task::{self, Verdict};
use super::{Why, why};
use crate::operations::tasks::capacity::{Means, Placed, Unplaced, candidates, place_tasks};
use crate::reconcilers::services::launch::{launch, unplaced};
use crate::reconcilers::services::may_host;
use crate::state::{ClusterState, ScopeState};

/// Most service events that an explanation repeats.
const MAX_EVENTS: usize = 5;
/// How long ago a task may have ended by itself to be held against its service, seconds.
const LATELY: u64 = 300;

const SERVICE_CONNECT: &str = "Service Connect is recorded only: no proxy runs beside the tasks, so no client reaches them by the names of clientAliases or discoveryName.";
const VPC_LATTICE: &str = "VPC Lattice is recorded only: no task is registered with a target group.";
const GATEWAY_CONNECTORS: &str =
    "Gateway connectors are recorded only: no load balancer stands behind a gateway, so no route leads to the tasks.";
const VOLUMES: &str = "The volume that is configured at launch is a directory of each task's own on its container instance: its size, type and encryption are not enforced, and it goes with the task.";

/// A service with what surrounds it.
pub(super) struct Subject<'a> {
    pub scope: &'a Scope,
    pub records: &'a ScopeState,
    pub cluster: &'a ClusterState,
    pub service: &'a ServiceRecord,
    pub now: Timestamp,
    pub means: Means<'a>,
}

/// Tasks of one source, counted.
struct Counted<'a> {
    running: usize,
    /// Not RUNNING yet, the oldest first.
    pending: Vec<&'a TaskRecord>,
    /// The one that ended last by itself.
    ended: Option<&'a TaskRecord>,
    /// One that runs and fails its checks.
    sick: Option<&'a TaskRecord>,
}

impl<'a> Subject<'a> {
    /// Explains the service.
    pub(super) fn explain(&self) -> api::ExplainResponse {
        let mut answer = api::ExplainResponse {
            arn: Some(self.scope.service_arn(&self.cluster.record.name, &self.service.name)),
            status: Some(self.service.status.as_str().to_owned()),
            refusals: Some(Vec::new()),
            ..api::ExplainResponse::default()
        };
        if self.service.status != ServiceStatus::Active {
            answer.summary = Some(format!("The service is {}: it starts no tasks.", self.service.status.as_str()));
            return answer;
        }
        let Some(source) = self.service.sources().next() else {
            answer.summary = Some("The service has no task set: it runs nothing until one is made.".to_owned());
            answer.smallest_change = Some("Make a task set with CreateTaskSet.".to_owned());
            return answer;
        };
        let counted = self.count(source);
        let desired = usize::try_from(source.desired_count).unwrap_or(0);
        let mut details = vec![format!(
            "Deployment {} is {}: {} of {desired} tasks run, {} are pending, {} have failed.",
            source.id,
            source.rollout_state.as_str(),
            counted.running,
            counted.pending.len(),
            source.failed_tasks
        )];
        if let Some(until) = source.retry_at.filter(|until| *until > self.now) {
            details.push(format!("After failed starts no task is started for {} s.", until.since(self.now).as_secs()));
        }
        details.extend(self.not_carried().map(str::to_owned));
        let (why, (summary, change)) = self.verdict(source, &counted, desired);
        answer.refusals = Some(why.refusals);
        answer.summary = Some(summary);
        answer.smallest_change = change;
        let events = self.service.events.iter().take(MAX_EVENTS);
        details.extend(events.filter_map(|event| event.message.clone()));
        answer.details = Some(details);
        answer
    }

    /// What the service has on record that no part of this control plane acts on.
    fn not_carried(&self) -> impl Iterator<Item = &'static str> {
        let beside = &self.service.revision_settings;
        let all = [
            (beside.service_connect.is_some(), SERVICE_CONNECT),
            (!beside.vpc_lattice.is_empty(), VPC_LATTICE),
            (!beside.gateway_connectors.is_empty(), GATEWAY_CONNECTORS),
            (!beside.volumes.is_empty(), VOLUMES),
        ];
        all.into_iter().filter_map(|(given, text)| given.then_some(text))
    }

    fn count(&self, source: &DeploymentRecord) -> Counted<'a> {
        let ids = self.cluster.index.started_by.get(&source.id).into_iter().flatten();
        let mut counted = Counted { running: 0, pending: Vec::new(), ended: None, sick: None };
        for task in ids.filter_map(|id| self.cluster.tasks.get(id)) {
            match task.last_status {
                TaskStatus::Stopped => {
                    let own =
                        !matches!(
                            task.stop_code,
                            Some(ecs::TaskStopCode::UserInitiated | ecs::TaskStopCode::ServiceSchedulerInitiated)
                        ) || task.stopped_reason.as_deref().is_some_and(|reason| reason.starts_with("Task failed"));
                    let later = counted.ended.is_none_or(|known| known.times.stopped < task.times.stopped);
                    if own && later {
                        counted.ended = Some(task);
                    }
                }
                _ if task.desired_status == DesiredStatus::Stopped => {}
                TaskStatus::Running => {
                    counted.running += 1;
                    let sick = task.health == Some(ecs::HealthStatus::Unhealthy);
                    counted.sick = counted.sick.or(sick.then_some(task));
                }
                _ => counted.pending.push(task),
            }
        }
        counted.pending.sort_unstable_by_key(|task| (task.created_at, task.id));
        counted
    }

    /// The one thing to know, with what container instances say.
    fn verdict(&self, source: &DeploymentRecord, counted: &Counted<'a>, desired: usize) -> (Why, Verdict) {
        if source.rollout_state == DeploymentRolloutState::Failed {
            return (Why::default(), self.failed(source, counted));
        }
        if let Some(until) = source.retry_at.filter(|until| *until > self.now) {
            return (Why::default(), self.throttled(source, counted, until));
        }
        if let Some(deadlock) = self.deadlocked(source, desired).or_else(|| protected(source)) {
            return (Why::default(), deadlock);
        }
        let missing = desired.saturating_sub(counted.running + counted.pending.len());
        let (why, room) = self.room(source, missing);
        if let Some(refused) = room {
            return (why, refused);
        }
        let lately = |task: &&TaskRecord| task.times.stopped.is_some_and(|at| self.now.since(at).as_secs() <= LATELY);
        if let Some(ended) = counted.ended.filter(lately) {
            let (cause, change) = task::verdict(self.records, ended, self.now);
            let text = format!("The service replaces tasks that end by themselves. The last was {}: {cause}", ended.id);
            return (why, (text, change));
        }
        if missing > 0 {
            return (why, (format!("The service wants {missing} more tasks; there is room for the next one."), None));
        }
        if let Some(oldest) = counted.pending.first() {
            let (cause, change) = task::verdict(self.records, oldest, self.now);
            let text =
                format!("{} of the service's tasks do not run yet. Task {}: {cause}", counted.pending.len(), oldest.id);
            return (why, (text, change));
        }
        if let Some(sick) = counted.sick {
            let (cause, change) = task::verdict(self.records, sick, self.now);
            let text = format!("The service replaces tasks that fail their checks. Task {}: {cause}", sick.id);
            return (why, (text, change));
        }
        (why, self.on_the_way().unwrap_or_else(|| ("The service has all the tasks that it wants.".to_owned(), None)))
    }

    fn failed(&self, source: &DeploymentRecord, counted: &Counted<'_>) -> Verdict {
        let text = format!("The service's deployment {} has failed: {}", source.id, source.rollout_reason);
        let change = "Update the service with a task definition that works.".to_owned();
        match counted.ended {
            Some(ended) => {
                let (cause, remedy) = task::verdict(self.records, ended, self.now);
                (format!("{text} Task {}: {cause}", ended.id), remedy.or(Some(change)))
            }
            None => (text, Some(change)),
        }
    }

    fn throttled(&self, source: &DeploymentRecord, counted: &Counted<'_>, until: Timestamp) -> Verdict {
        let text = format!(
            "The service is unable to consistently start tasks successfully: {} starts in a row have failed, the next one comes in {} s.",
            source.failures_in_a_row,
            until.since(self.now).as_secs()
        );
        match counted.ended {
            Some(ended) => {
                let (cause, remedy) = task::verdict(self.records, ended, self.now);
                (format!("{text} Task {}: {cause}", ended.id), remedy)
            }
            None => (text, None),
        }
    }

    /// What the rolling update's bounds forbid for good.
    fn deadlocked(&self, source: &DeploymentRecord, desired: usize) -> Option<Verdict> {
        let (_, said) = source.refused.as_ref().filter(|(_, said)| said.contains("deployment configuration"))?;
        Some((format!("The service {said}"), Some(way_out(desired))))
    }

    /// What keeps missing tasks from being placed.
    fn room(&self, source: &DeploymentRecord, missing: usize) -> (Why, Option<Verdict>) {
        let (records, cluster) = (self.records, self.cluster);
        let daemon = self.service.is_daemon();
        if missing == 0 && !daemon {
            return (Why::default(), None);
        }
        let (launch, request, capacity) = match launch(self.scope, records, cluster, self.service, source) {
            Ok(found) => found,
            Err(reason) => return (Why::default(), Some((format!("The service {reason}"), None))),
        };
        let placed = if daemon {
            let mine = |task: &TaskRecord| task.started_by.as_deref() == Some(&source.id);
            let bare = candidates(cluster, None).into_iter().filter(|instance| {
                let mut tasks = instance.tasks.iter().filter_map(|id| cluster.tasks.get(id));
                may_host(instance, &request) && !tasks.any(|task| mine(task) && task.last_status < TaskStatus::Stopped)
            });
            let refused = bare.map(|it| (it, longshore_scheduler::refusals(it.node(), &request)));
            let refused: Vec<_> = refused.filter(|(_, refusals)| !refusals.is_empty()).collect();
            let unplaced = if refused.is_empty() { Vec::new() } else { vec![Unplaced::Instances(refused)] };
            Placed { spots: Vec::new(), unplaced }
        } else {
            place_tasks(records, cluster, &launch, &request, &capacity.order(|_| 0, 1), self.means)
        };
        let mut why = why(self.scope, cluster, &launch, &request, &placed);
        let verdict = placed
            .unplaced
            .first()
            .map(|refused| (format!("The service {}", unplaced(refused)), why.smallest_change.take()));
        (why, verdict)
    }

    /// What a deployment that has its tasks still waits for.
    fn on_the_way(&self) -> Option<Verdict> {
        let deployment = self.cluster.service_deployment(self.service).filter(|it| it.is_ongoing())?;
        if let Some(progress) = &deployment.progress {
            let hook = progress.hooks.iter().find(|hook| hook.is_open());
            let stage = progress.stage.shown();
            return Some(match hook {
                Some(HookRecord { function: Some(function), expires_at, .. }) => (
                    format!(
                        "The service's deployment waits at the stage {} for the Lambda function {}{}, for {} s more at the most.",
                        stage.as_str(),
                        function.arn,
                        if function.unreachable_since.is_some() { ", which cannot be reached" } else { "" },
                        expires_at.since(self.now).as_secs()
                    ),
                    None,
                ),
                Some(hook) => (
                    format!(
                        "The service's deployment waits at the stage {} for somebody to continue it.",
                        stage.as_str()
                    ),
                    Some(format!("Continue it with ContinueServiceDeployment and the hook id {}.", hook.id)),
                ),
                None => (format!("The service's deployment is at the stage {}.", stage.as_str()), None),
            });
        }
        let old: usize = self.service.sources().skip(1).map(|source| self.count(source).running).sum();
        (old > 0).then(|| {
            let text = format!(
                "The service's deployment goes on: {old} old tasks run until the new ones count as healthy, and stop as minimumHealthyPercent allows."
            );
            (text, None)
        })
    }
}

/// Tasks that may not be stopped yet.
fn protected(source: &DeploymentRecord) -> Option<Verdict> {
    let (_, said) = source.refused.as_ref().filter(|(_, said)| said.contains("protected tasks"))?;
    let remedy = "Take the protection back with UpdateTaskProtection, or wait until it expires.".to_owned();
    Some((format!("The service {said}"), Some(remedy)))
}

/// The percentages with which a rolling update of so many tasks gets off the ground.
pub(super) fn way_out(desired: usize) -> String {
    let desired = desired.max(1);
    let most = (100 * (desired + 1)).div_ceil(desired);
    let least = 100 * (desired - 1) / desired;
    let less = if least == 0 { "" } else { " or less" };
    format!(
        "Set maximumPercent to {most} or more, so that a task can be started first, or minimumHealthyPercent to {least}{less}, so that one can be stopped first."
    )
}
