//! Tasks that wait for capacity: what they may be, who comes first, and when nothing excuses their waiting.

use longshore_model::Id;
use longshore_model::capacity_provider::CAPACITY_PROVIDER;
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, TaskRecord, TaskStatus};

use crate::checks::Model;

/// What is wrong with a task that has just changed: waiting where it must not, or placed where or when it must not be.
pub(crate) fn wrong_state(model: &Model, old: Option<&TaskRecord>, new: &TaskRecord) -> Option<(&'static str, String)> {
    let id = new.id;
    if new.last_status == TaskStatus::Stopped {
        let waits = new.waiting.is_some();
        return waits.then(|| ("stopped-and-waiting", format!("task {id} has stopped and waits for capacity")));
    }
    if new.waiting.is_some() == new.container_instance.is_some() {
        return Some(("task-nowhere", format!("task {id} of {} either has a place or waits for one", new.group)));
    }
    if new.waiting.is_some() {
        let provisioning = new.last_status == TaskStatus::Provisioning && new.capacity_provider.is_some();
        let left = old.is_some_and(|old| old.container_instance.is_some());
        return (!provisioning || left).then(|| ("task-went-back", format!("task {id} waits, and must not any more")));
    }
    let turn = old?.waiting.as_ref()?.turn;
    let instance = model.instances.get(&new.container_instance?)?;
    if provider_of(instance) != new.capacity_provider.as_deref() {
        return Some(("wrong-provider", format!("task {id} is on container instance {}", instance.id)));
    }
    // What asks for the same is placed in the order of acceptance.
    let passed = model.tasks.values().find(|other| {
        let like = (&other.family, other.revision, &other.capacity_provider, &other.overrides)
            == (&new.family, new.revision, &new.capacity_provider, &new.overrides);
        like && other.waiting.as_ref().is_some_and(|waiting| waiting.turn < turn)
    });
    passed.map(|other| ("passed-in-the-queue", format!("task {id} was placed before task {}", other.id)))
}

/// A container instance that has room for a waiting task.
pub(crate) fn could_be_placed(model: &Model, task: &TaskRecord) -> Option<Id> {
    let fits = |instance: &&ContainerInstanceRecord| {
        instance.status == ContainerInstanceStatus::Active
            && provider_of(instance) == task.capacity_provider.as_deref()
            && has_room(model, instance, task)
    };
    model.instances.values().map(|instance| &**instance).find(fits).map(|instance| instance.id)
}

fn has_room(model: &Model, instance: &ContainerInstanceRecord, task: &TaskRecord) -> bool {
    let total = |name: &str| {
        let found = instance.registered_resources.iter().find(|it| it.name.as_deref() == Some(name));
        i64::from(found.and_then(|it| it.integer_value).unwrap_or(0))
    };
    let there = || {
        let tasks = model.tasks.values().filter(|it| it.container_instance == Some(instance.id));
        tasks.filter(|it| it.last_status != TaskStatus::Stopped).map(|it| &it.reservation)
    };
    let wanted = &task.reservation;
    let taken = |port: &u16| there().any(|it| it.tcp_ports.contains(port));
    there().map(|it| it.cpu).sum::<i64>() + wanted.cpu <= total("CPU")
        && there().map(|it| it.memory_mib).sum::<i64>() + wanted.memory_mib <= total("MEMORY")
        && !wanted.tcp_ports.iter().any(taken)
}

fn provider_of(instance: &ContainerInstanceRecord) -> Option<&str> {
    let own = instance.attributes.iter().find(|it| it.name.as_deref() == Some(CAPACITY_PROVIDER))?;
    own.value.as_deref()
}
