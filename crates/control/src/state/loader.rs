//! How a state is built from what a store holds.
//!
//! Nearly everything in a large store is tasks. They are gathered, and put into the maps of their cluster together and in
//! their order: one by one, a million of them would spend most of a start looking for their places.

use longshore_model::records::TaskStatus;
use longshore_model::{Id, Scope};

use super::State;
use super::task_index::Gathered;
use crate::changes::Change;

/// A state in the making. Changes come in the order of their keys.
#[derive(Debug)]
pub(crate) struct Loader {
    state: State,
    /// What refers to something else waits for it: revisions come before the counters of their families.
    late: Vec<Change>,
    tasks: Vec<(Scope, Id, Gathered)>,
}

impl Loader {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        Self { state: State { loading: true, ..State::default() }, late: Vec::new(), tasks: Vec::new() }
    }

    /// Adds a record.
    pub(crate) fn put(&mut self, change: Change) {
        match change {
            Change::PutTask(scope, task) => {
                // All that a task refers to comes before it.
                self.late.drain(..).for_each(|change| self.state.apply(&change));
                let records = self.state.scope_mut(&scope);
                records.add_to_host(&task);
                if task.last_status != TaskStatus::Stopped
                    && let Some(family) = records.family_of(&task)
                {
                    family.task_began(task.revision);
                }
                match self.tasks.last_mut() {
                    Some((of, cluster, tasks)) if *cluster == task.cluster && *of == scope => tasks.add(task),
                    _ => {
                        let mut tasks = Gathered::default();
                        let cluster = task.cluster;
                        tasks.add(task);
                        self.tasks.push((scope, cluster, tasks));
                    }
                }
            }
            Change::PutTaskDefinition(..)
            | Change::PutDaemonTaskDefinition(..)
            | Change::PutDaemon(..)
            | Change::PutService(..) => self.late.push(change),
            change => self.state.apply(&change),
        }
    }

    /// The state, once everything was added.
    pub(crate) fn finish(self) -> State {
        let Self { mut state, late, tasks } = self;
        late.iter().for_each(|change| state.apply(change));
        for (scope, cluster, tasks) in tasks {
            let cluster = state.cluster_mut(&scope, cluster);
            (cluster.tasks, cluster.index) = tasks.finish();
        }
        state.loading = false;
        for cluster in state.scopes.values_mut().flat_map(|scope| scope.clusters.values_mut()) {
            let instances: Vec<Id> = cluster.instances.keys().copied().collect();
            instances.into_iter().for_each(|id| cluster.arrange(id));
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::operations::testing::World;

    #[tokio::test]
    async fn a_loaded_state_is_the_one_that_was_left() {
        let world = World::with_default_cluster().await;
        for family in ["a", "b"] {
            world.family(family, 10, 10, json!({})).await;
        }
        let mut machines = Vec::new();
        for _ in 0..2 {
            machines.push(world.registered(2_000, 2_000, &[]).await);
            world.connect(&machines[machines.len() - 1], true).await;
        }
        let mut tasks = Vec::new();
        for at in 0..9 {
            tasks.push(world.run(if at % 3 == 0 { "a" } else { "b" }).await["taskArn"].clone());
        }
        world.ok("CreateService", json!({"serviceName": "web", "taskDefinition": "a", "desiredCount": 1})).await;
        world.report(&tasks[0], "RUNNING", None).await;
        world.report(&tasks[1], "STOPPED", Some(1)).await;
        world.ok("StopTask", json!({"task": tasks[2]})).await;
        for machine in &machines {
            // A connection is nothing that lasts.
            world.connect(machine, false).await;
        }
        let again = world.crashed().await;
        let seen = |world: &World| {
            world.engine().peek(|state| {
                let records = state.scope(&world.scope());
                let cluster = records.active_cluster("default").unwrap();
                let instances: Vec<_> =
                    cluster.instances.values().map(|it| (it.node(), &it.tasks, it.task_counts())).collect();
                let families: Vec<_> = records.families.values().map(|family| &family.tasks).collect();
                format!("{:?} {:?} {instances:?} {families:?}", cluster.tasks, cluster.index)
            })
        };
        assert_eq!(seen(&again), seen(&world));
    }
}
