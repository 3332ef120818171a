//! How everything should be once nothing goes wrong any more, and what a story expects of its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_api::ecs::{DeploymentControllerType, DeploymentRolloutState};
use longshore_model::fargate::LENDING;
use longshore_model::records::{
    ContainerInstanceRecord, ContainerInstanceStatus, DesiredStatus, TaskRecord, TaskStatus,
};
use longshore_model::service::{ServiceRecord, ServiceStatus};

use crate::checks::Model;
use crate::machine::{Machine, grant_of, task_of};
use crate::rollouts;
use crate::story::Expectation;
use crate::waiting;

pub(crate) fn task_is_settled(model: &Model, task: &TaskRecord) -> Result<(), String> {
    if task.waiting.is_some() {
        return match waiting::could_be_placed(model, task) {
            Some(instance) => Err(format!("task {} waits, though container instance {instance} has room", task.id)),
            None => Ok(()),
        };
    }
    match (task.desired_status, task.last_status) {
        (DesiredStatus::Running, TaskStatus::Running) | (DesiredStatus::Stopped, TaskStatus::Stopped) => Ok(()),
        (wanted, is) => {
            Err(format!("task {} of {} is {}, {} is wanted", task.id, task.group, is.as_str(), wanted.as_str()))
        }
    }
}

pub(crate) fn service_is_settled(model: &Model, service: &ServiceRecord) -> Result<(), String> {
    let name = &service.name;
    let group = service.group();
    let mine = || model.tasks.values().filter(|task| task.group == group && task.last_status != TaskStatus::Stopped);
    match service.status {
        ServiceStatus::Draining => return Err(format!("service {name} is still draining")),
        ServiceStatus::Inactive => {
            return match mine().next() {
                Some(task) => Err(format!("task {} of the deleted service {name} is left", task.id)),
                None => Ok(()),
            };
        }
        ServiceStatus::Active => {}
    }
    if service.controller() == DeploymentControllerType::External {
        return rollouts::task_sets_are_settled(model, service);
    }
    let Some(primary) = service.deployments.first() else { return Err(format!("service {name} has no deployment")) };
    // One that failed and had nowhere to go back to leaves the tasks before it as they are.
    if primary.rollout_state == DeploymentRolloutState::Failed {
        return Ok(());
    }
    if service.deployments.len() > 1 {
        return Err(format!("service {name} has {} deployments", service.deployments.len()));
    }
    if primary.rollout_state != DeploymentRolloutState::Completed {
        return Err(format!("the deployment of service {name} is {}", primary.rollout_state.as_str()));
    }
    if mine().any(|task| task.started_by.as_deref() != Some(&primary.id)) {
        return Err(format!("service {name} has tasks of an older deployment"));
    }
    let active = |task: &TaskRecord| {
        let instance = task.container_instance.and_then(|id| model.instances.get(&id));
        instance.is_some_and(|instance| instance.status == ContainerInstanceStatus::Active)
    };
    let wanted = if service.is_daemon() {
        // What is lent to Fargate is nobody's container instance.
        let lent = |it: &ContainerInstanceRecord| it.attributes.iter().any(|it| it.name.as_deref() == Some(LENDING));
        model.instances.values().filter(|it| it.status == ContainerInstanceStatus::Active && !lent(it)).count()
    } else {
        usize::try_from(service.desired_count).unwrap_or(0)
    };
    if service.rebalancing {
        return Err(format!("tasks of service {name} are moving to another Availability Zone"));
    }
    let (has, well_placed) = (mine().count(), mine().filter(|task| active(task)).count());
    if has != wanted || well_placed != wanted {
        return Err(format!(
            "service {name} has {has} tasks, {well_placed} of them where they may be; {wanted} are wanted"
        ));
    }
    Ok(())
}

pub(crate) fn machine_runs_what_it_should(model: &Model, machine: &Machine) -> Result<(), String> {
    let grant = grant_of(&machine.name);
    let mine: Vec<_> = model.instances.values().filter(|it| it.grant.as_deref() == Some(&grant)).collect();
    if mine.len() != 1 {
        return Err(format!("{} is {} container instances", machine.name, mine.len()));
    }
    let wanted: BTreeSet<String> = model
        .tasks
        .values()
        .filter(|task| task.container_instance == Some(mine[0].id) && task.last_status == TaskStatus::Running)
        .map(|task| task.id.to_string())
        .collect();
    let runs: BTreeSet<String> = machine.running().iter().map(task_of).collect();
    if let Some(id) = wanted.difference(&runs).next() {
        return Err(format!("task {id} should run on {} and does not", machine.name));
    }
    if let Some(id) = runs.difference(&wanted).next() {
        return Err(format!("containers of task {id} are left on {}", machine.name));
    }
    Ok(())
}

/// Whether a standalone task that counts as RUNNING has no container any more: it ended by itself, for nobody starts it again.
pub(crate) fn a_standalone_task_ended(model: &Model, machine: &Machine) -> bool {
    let grant = grant_of(&machine.name);
    let runs: BTreeSet<String> = machine.running().iter().map(task_of).collect();
    model.tasks.values().any(|task| {
        let instance = task.container_instance.and_then(|id| model.instances.get(&id));
        instance.is_some_and(|it| it.grant.as_deref() == Some(&grant))
            && task.group.starts_with("family:")
            && task.last_status == TaskStatus::Running
            && !runs.contains(&task.id.to_string())
    })
}

pub(crate) fn meets(model: &Model, expectation: &Expectation) -> Result<(), String> {
    match expectation {
        Expectation::Runs { service, count, definition } => {
            let group = format!("service:{service}");
            let running: Vec<String> = model
                .tasks
                .values()
                .filter(|task| task.group == group && task.last_status == TaskStatus::Running)
                .map(|task| format!("{}:{}", task.family, task.revision))
                .collect();
            let met = running.len() == *count && running.iter().all(|it| it == definition);
            if met { Ok(()) } else { Err(format!("{running:?} run")) }
        }
        Expectation::Ran { count, family } => {
            let group = format!("family:{family}");
            let ran = |task: &&Arc<TaskRecord>| task.group == group && task.times.started.is_some();
            let ran = model.tasks.values().filter(ran).count();
            if ran == *count { Ok(()) } else { Err(format!("there are {ran}")) }
        }
        Expectation::Made { count, family } => {
            let group = format!("family:{family}");
            let made = model.tasks.values().filter(|task| task.group == group).count();
            if made == *count { Ok(()) } else { Err(format!("there are {made}")) }
        }
        Expectation::Deployments { service, statuses } => {
            let mut mine: Vec<_> = model.deployments.values().filter(|it| it.service == *service).collect();
            mine.sort_by_key(|it| it.created_at);
            let ends: Vec<&str> = mine.iter().map(|it| it.status.as_str()).collect();
            if ends == *statuses { Ok(()) } else { Err(format!("they are {ends:?}")) }
        }
        Expectation::Says { service, words } => {
            let service = model.services.get(service).ok_or("there is no such service")?;
            let mut said = service.events.iter().filter_map(|event| event.message.as_deref());
            if said.any(|message| message.contains(words.as_str())) { Ok(()) } else { Err("it does not".to_owned()) }
        }
    }
}
