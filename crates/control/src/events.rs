//! What happens is written down in the transaction of its cause, in the order of commits.
//!
//! One transaction makes at most one outbox record, with all its events. The loop
//! [`EventDelivery`](crate::reconcilers::EventDelivery) moves delivered ones to history.

use longshore_api::to_json;
use longshore_model::records::{OutboxEvent, OutboxRecord, TaskRecord};
use longshore_model::{Id, Scope};
use longshore_seams::{Random, Timestamp};

use crate::changes::Change;
use crate::operations::tasks::task_detail;
use crate::state::State;

/// The record of what `changes` will do to `state`; none when nothing happens that anybody is told of.
pub(crate) fn record(state: &State, changes: &[Change], now: Timestamp, random: &dyn Random) -> Option<OutboxRecord> {
    let events: Vec<OutboxEvent> = changes.iter().filter_map(|change| event(state, changes, change, random)).collect();
    (!events.is_empty()).then(|| OutboxRecord { sequence: state.last_event + 1, at: now, events })
}

fn event(state: &State, changes: &[Change], change: &Change, random: &dyn Random) -> Option<OutboxEvent> {
    let Change::PutTask(scope, task) = change else { return None };
    let records = state.scope(scope);
    let cluster = records.clusters.get(&task.cluster);
    let same = |old: &TaskRecord| (old.last_status, old.desired_status) == (task.last_status, task.desired_status);
    if cluster.and_then(|cluster| cluster.tasks.get(&task.id)).is_some_and(|old| same(old)) {
        return None;
    }
    let name = cluster.map(|cluster| cluster.record.name.as_str()).or_else(|| name_in(changes, task.cluster))?;
    let detail = to_json(&task_detail(scope, name, task, records.agent_connected(task)));
    Some(OutboxEvent {
        id: random.uuid(),
        scope: scope.clone(),
        detail_type: "ECS Task State Change".to_owned(),
        resources: vec![Scope::task_arn(scope, name, task.id)],
        detail: serde_json::from_slice(&detail).unwrap_or_default(),
    })
}

/// The name of a cluster that the same transaction makes.
fn name_in(changes: &[Change], cluster: Id) -> Option<&str> {
    changes.iter().find_map(|change| match change {
        Change::PutCluster(_, record) if record.id == cluster => Some(record.name.as_str()),
        _ => None,
    })
}
