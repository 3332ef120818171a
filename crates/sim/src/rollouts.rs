//! What must hold while services are deployed stage by stage, and of services with task sets.

use longshore_api::ecs::{DeploymentLifecycleHookStatus as HookStatus, DeploymentStrategy};
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{ServiceDeploymentRecord, ServiceRecord, ServiceStatus, Stage, TaskSetStatus};

use crate::checks::{Model, Promises};
use crate::functions::Functions;

/// Whether the service is deployed by blue/green, canary or linear deployments.
pub(crate) fn is_staged(service: &ServiceRecord) -> bool {
    let configuration = service.settings.deployment_configuration.as_ref();
    let strategy = configuration.and_then(|it| it.strategy.as_ref());
    strategy.is_some_and(|it| *it != DeploymentStrategy::Rolling)
}

/// Whether the task is of the deployment that was completed last, while another one goes on.
pub(crate) fn is_blue(service: &ServiceRecord, task: &TaskRecord) -> bool {
    let blue = service.last_completed.as_ref().map(|it| it.id.as_str());
    service.deployments.len() > 1 && blue.is_some() && task.started_by.as_deref() == blue
}

/// The call that was acknowledged and of which nothing is left.
pub(crate) fn broken_promise(model: &Model, promises: &Promises) -> Option<String> {
    let hooks = || model.deployments.values().filter_map(|it| it.progress.as_ref()).flat_map(|it| &it.hooks);
    let waits = |id: &&String| hooks().any(|hook| hook.id == **id && hook.status == HookStatus::AwaitingAction);
    let hook = promises.hooks.iter().find(waits).map(|id| format!("ContinueServiceDeployment of {id}"));
    let goes_on = |id: &&String| model.deployments.get(*id).is_some_and(|it| it.is_ongoing() && !it.goes_back());
    let rollback = promises.rolled_back.iter().find(goes_on).map(|id| format!("StopServiceDeployment of {id}"));
    let set = |service: &String, id: &String| {
        let service = model.services.get(service).filter(|it| it.status == ServiceStatus::Active)?;
        Some(service.task_set(id).map(|set| set.status))
    };
    let lost = promises.task_sets.iter().find(|(service, id)| set(service, id) == Some(None));
    let lost = lost.map(|(service, id)| format!("CreateTaskSet of {id} in {service}"));
    let live = |status| matches!(status, Some(Some(TaskSetStatus::Active | TaskSetStatus::Primary)));
    let stays = promises.retired.iter().find(|(service, id)| live(set(service, id)));
    let stays = stays.map(|(service, id)| format!("DeleteTaskSet of {id} in {service}"));
    hook.or(rollback).or(lost).or(stays)
}

/// What is wrong with how a service deployment went on.
pub(crate) fn wrong_move(old: &ServiceDeploymentRecord, new: &ServiceDeploymentRecord) -> Option<String> {
    let (service, id) = (&new.service, &new.id);
    if !old.is_ongoing() && new.status != old.status {
        let (from, to) = (old.status.as_str(), new.status.as_str());
        return Some(format!("deployment {id} of {service} was {from} and is {to}"));
    }
    let (before, now) = (old.progress.as_ref()?, new.progress.as_ref()?);
    if new.goes_back() || new.rollback.is_some() || !new.is_ongoing() {
        return None;
    }
    let shifts = [Stage::PreProductionTrafficShift, Stage::ProductionTrafficShift];
    let steps_back = now.stage < before.stage && !(shifts.contains(&now.stage) && shifts.contains(&before.stage));
    if steps_back || now.weight < before.weight {
        let (from, to) = ((before.stage, before.weight), (now.stage, now.weight));
        return Some(format!("deployment {id} of {service} went from {from:?} to {to:?}"));
    }
    let held = before.hooks.iter().filter(|hook| hook.is_open()).find(|hook| {
        let known = now.hooks.iter().find(|it| it.id == hook.id);
        now.stage != before.stage && known.is_some_and(|it| it.is_open())
    });
    held.map(|hook| format!("deployment {id} of {service} went on to {:?} past hook {}", now.stage, hook.id))
}

/// A hook that ended as its function never said.
pub(crate) fn made_up(functions: &Functions, new: &ServiceDeploymentRecord) -> Option<String> {
    let hooks = new.progress.iter().flat_map(|progress| &progress.hooks);
    let wrong = hooks.filter(|hook| hook.function.is_some()).find(|hook| {
        let said = functions.said(&hook.id);
        match hook.status {
            HookStatus::Succeeded => said != Some("SUCCEEDED"),
            // What it says during a rollback, or after it was too far away, may come too late.
            HookStatus::Failed => {
                said != Some("FAILED") && !functions.were_away() && new.rollback.is_none() && new.is_ongoing()
            }
            _ => false,
        }
    });
    wrong.map(|hook| {
        let (id, status, said) = (&hook.id, hook.status.as_str(), functions.said(&hook.id));
        format!("hook {id} of {}'s deployment {} is {status}, its function has said {said:?}", new.service, new.id)
    })
}

/// What is wrong with the number of a service's tasks. `has_started` answers whether a deployment or task set got new
/// ones, `blue_stopped` whether a task was stopped that was well
/// and of the deployment that was completed last.
pub(crate) fn wrong_counts(
    model: &Model,
    service: &ServiceRecord,
    tasks: &[&TaskRecord],
    has_started: impl Fn(&str) -> bool,
    blue_stopped: impl Fn() -> bool,
) -> Option<(&'static str, String)> {
    let name = &service.name;
    // Each deployment and task set is kept within the service's bounds by itself.
    let configuration = service.settings.deployment_configuration.as_ref();
    let most = configuration.and_then(|it| it.maximum_percent).map_or(200, i64::from);
    for source in service.sources().filter(|source| has_started(&source.id)) {
        let mine = |task: &&&TaskRecord| {
            task.last_status <= TaskStatus::Running && task.started_by.as_deref() == Some(&source.id)
        };
        let (there, cap) = (tasks.iter().filter(mine).count(), i64::from(source.desired_count) * most / 100);
        if i64::try_from(there).unwrap_or(i64::MAX) > cap {
            let what = format!("{} of {name}: {there} tasks, at most {cap}", source.id);
            return Some(("above-maximum", what));
        }
    }
    let deployment = model.deployments.get(service.service_deployment.as_ref()?)?;
    let stage = deployment.progress.as_ref().map(|progress| progress.stage);
    let proves = deployment.is_ongoing() && !deployment.goes_back() && stage.is_none_or(|it| it < Stage::CleanUp);
    if proves && service.status == ServiceStatus::Active && blue_stopped() {
        let stays = |task: &&&TaskRecord| {
            task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running
        };
        let blue = tasks.iter().filter(stays).filter(|task| is_blue(service, task)).count();
        if i64::try_from(blue).unwrap_or(i64::MAX) < i64::from(service.desired_count) {
            let what = format!("service {name}: {blue} tasks stay while others are tried");
            return Some(("below-minimum", what));
        }
    }
    None
}

/// Whether every task set has what it wants; or what is missing.
pub(crate) fn task_sets_are_settled(model: &Model, service: &ServiceRecord) -> Result<(), String> {
    let name = &service.name;
    let group = service.group();
    let mine = || model.tasks.values().filter(|task| task.group == group && task.last_status != TaskStatus::Stopped);
    for set in &service.task_sets {
        let id = &set.deployment.id;
        if set.status == TaskSetStatus::Draining {
            return Err(format!("task set {id} of {name} is still draining"));
        }
        let there = mine().filter(|task| task.started_by.as_deref() == Some(id)).count();
        if i64::try_from(there).unwrap_or(i64::MAX) != i64::from(set.deployment.desired_count) {
            return Err(format!("task set {id} of {name} has {there} tasks of {}", set.deployment.desired_count));
        }
    }
    let known = |task: &TaskRecord| task.started_by.as_deref().is_some_and(|id| service.task_set(id).is_some());
    match mine().find(|task| !known(task)) {
        Some(task) => Err(format!("task {} of service {name} belongs to no task set", task.id)),
        None => Ok(()),
    }
}
