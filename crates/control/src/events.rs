//! What happens is written down in the transaction of its cause, in the order of commits.
//!
//! One transaction makes at most one outbox record, with all its events. The loop
//! [`EventDelivery`](crate::reconcilers::EventDelivery) moves delivered ones to history. The forms are those of the
//! guide's chapter on monitoring, "Amazon ECS Events".

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_api::ecs::{self, DeploymentRolloutState, ServiceEvent};
use longshore_api::{iso8601, iso8601_millis, to_event_json, to_json_list};
use longshore_model::container_instance::{Books, books, remaining};
use longshore_model::records::{
    ContainerInstanceRecord, ContainerInstanceStatus, Detail, OutboxEvent, OutboxRecord, TaskRecord, TaskStatus,
};
use longshore_model::service::{DeploymentRecord, ServiceDeploymentRecord, ServiceRecord};
use longshore_model::{Id, Scope};
use longshore_seams::{Random, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::changes::{Change, Changes};
use crate::operations::tasks::task_detail;
use crate::state::{InstanceState, State, is_lent, version_of};

const TASK: &str = "ECS Task State Change";
const CONTAINER_INSTANCE: &str = "ECS Container Instance State Change";
const SERVICE: &str = "ECS Service Action";
const DEPLOYMENT: &str = "ECS Deployment State Change";
const HOOK: &str = "ECS Hook State Change";
/// What events are about, as their `detail-type` says it.
pub const DETAIL_TYPES: [&str; 5] = [TASK, CONTAINER_INSTANCE, SERVICE, DEPLOYMENT, HOOK];

/// Adds to `changes` the record of what they will do to `state`; nothing when nobody is told of anything.
pub(crate) fn record(state: &State, changes: &mut Changes, now: Timestamp, random: &dyn Random) {
    let mut teller = Teller { state, changes: &changes.list, now, random, events: Vec::new() };
    let mut instances: BTreeMap<InstanceKey, Touched> = BTreeMap::new();
    for change in &changes.list {
        match change {
            Change::PutTask(scope, task) => teller.task(scope, task, &mut instances),
            Change::PutService(scope, service) => teller.service(scope, service),
            Change::PutServiceDeployment(scope, deployment) => teller.hooks(scope, deployment),
            Change::PutContainerInstance(scope, record) => {
                let old = state.scope(scope).clusters.get(&record.cluster);
                let old = old.and_then(|cluster| cluster.instances.get(&record.id));
                if old.is_none_or(|old| old.record.version != record.version) {
                    touch(&mut instances, scope, record.cluster, record.id).record = Some(record.clone());
                }
            }
            Change::AgentConnected(scope, cluster, id, connected) => {
                let known = teller.instance(scope, *cluster, *id);
                // The end of an instance says that its agent is gone; the connection itself ends a little later.
                let stands = |known: &&InstanceState| known.record.status != ContainerInstanceStatus::Inactive;
                if known.filter(stands).is_some_and(|known| known.agent_connected() != *connected) {
                    touch(&mut instances, scope, *cluster, *id).connected = Some(*connected);
                }
            }
            _ => {}
        }
    }
    let mut changed = Vec::new();
    for ((scope, cluster, id), touched) in instances {
        if teller.container_instance(&scope, cluster, id, &touched) {
            changed.push(Change::ContainerInstanceChanged(scope, cluster, id));
        }
    }
    let events = teller.events;
    changes.list.extend(changed);
    if !events.is_empty() {
        changes.push(Change::PutEvent(Arc::new(OutboxRecord { sequence: state.last_event + 1, at: now, events })));
    }
}

type InstanceKey = (Scope, Id, Id);

/// What a transaction does to a container instance.
#[derive(Default)]
struct Touched {
    record: Option<Arc<ContainerInstanceRecord>>,
    connected: Option<bool>,
    /// Tasks that take of it, as they were before, and as they become.
    tasks: Vec<(Option<Arc<TaskRecord>>, Arc<TaskRecord>)>,
}

fn touch<'a>(instances: &'a mut BTreeMap<InstanceKey, Touched>, scope: &Scope, cluster: Id, id: Id) -> &'a mut Touched {
    instances.entry((scope.clone(), cluster, id)).or_default()
}

fn takes(task: &TaskRecord) -> bool {
    task.last_status != TaskStatus::Stopped
}

struct Teller<'a> {
    state: &'a State,
    changes: &'a [Change],
    now: Timestamp,
    random: &'a dyn Random,
    events: Vec<OutboxEvent>,
}

impl<'a> Teller<'a> {
    fn tell(&mut self, scope: &Scope, detail_type: &str, resource: String, detail: Detail) {
        self.events.push(OutboxEvent {
            id: self.random.uuid(),
            scope: scope.clone(),
            detail_type: detail_type.to_owned(),
            resources: vec![resource],
            detail,
        });
    }

    fn instance(&self, scope: &Scope, cluster: Id, id: Id) -> Option<&'a InstanceState> {
        self.state.scope(scope).clusters.get(&cluster)?.instances.get(&id)
    }

    /// The name of a cluster, also of one that the same transaction makes.
    fn cluster_name(&self, scope: &Scope, cluster: Id) -> Option<&'a str> {
        let known = self.state.scope(scope).clusters.get(&cluster).map(|cluster| cluster.record.name.as_str());
        known.or_else(|| {
            self.changes.iter().find_map(|change| match change {
                Change::PutCluster(_, record) if record.id == cluster => Some(record.name.as_str()),
                _ => None,
            })
        })
    }

    fn task(&mut self, scope: &Scope, task: &Arc<TaskRecord>, instances: &mut BTreeMap<InstanceKey, Touched>) {
        let records = self.state.scope(scope);
        let old = records.clusters.get(&task.cluster).and_then(|cluster| cluster.tasks.get(&task.id));
        if old.is_some_and(|old| old.version == task.version) {
            return;
        }
        if let Some(id) = task.container_instance
            && !is_lent(task)
            // While it waited for capacity, it took nothing of any.
            && let old = old.filter(|old| old.container_instance == Some(id))
            && old.is_some_and(|old| takes(old)) != takes(task)
        {
            touch(instances, scope, task.cluster, id).tasks.push((old.cloned(), task.clone()));
        }
        let Some(name) = self.cluster_name(scope, task.cluster) else { return };
        let mut detail = task_detail(scope, name, task, records.agent_connected(task));
        detail.tags = None;
        // Answers say ElasticNetworkInterface, events eni.
        let interface = task.interface.as_ref().map(|it| it.attachment.as_str());
        let is_interface = |it: &&mut ecs::Attachment| it.id.as_deref() == interface;
        for attachment in detail.attachments.iter_mut().flatten().filter(is_interface) {
            attachment.r#type = Some("eni".to_owned());
        }
        let detail = Detail::new(to_event_json(&detail)).with(&[("updatedAt", quoted(iso8601_millis(self.now)))]);
        self.tell(scope, TASK, scope.task_arn(name, task.id), detail);
    }

    /// Answers whether there was something to tell.
    fn container_instance(&mut self, scope: &Scope, cluster: Id, id: Id, touched: &Touched) -> bool {
        let known = self.instance(scope, cluster, id);
        // A machine that is lent to Fargate only is nobody's container instance.
        let Some(record) = touched.record.as_ref().or_else(|| known.map(|known| &known.record)) else { return false };
        let Some(name) = self.cluster_name(scope, cluster).filter(|_| !known.is_some_and(InstanceState::is_hidden))
        else {
            return false;
        };
        let anew = touched.record.as_ref().map(|record| books(&record.registered_resources));
        let Some(registered) = anew.as_ref().or_else(|| known.map(InstanceState::registered)) else { return false };
        let mut left: Books = known.map_or_else(|| registered.clone(), |known| known.node().remaining.clone());
        for (old, new) in &touched.tasks {
            let gpus: Vec<String> = new.containers.iter().flat_map(|container| container.gpu_ids.clone()).collect();
            match old {
                Some(old) if takes(old) => left.give_back(&new.reservation, &gpus, registered),
                _ => left.take_with(&new.reservation, &gpus),
            }
        }
        let connected = touched.connected.unwrap_or_else(|| known.is_some_and(InstanceState::agent_connected))
            && record.status != ContainerInstanceStatus::Inactive;
        let changes = known.map_or(0, InstanceState::changes) + 1;
        // What is long and seldom changes is added when the event is delivered: see `complete`.
        let detail = ecs::ContainerInstance {
            agent_connected: Some(connected),
            container_instance_arn: Some(scope.container_instance_arn(name, id)),
            ec2_instance_id: record.ec2_instance_id.clone(),
            remaining_resources: Some(remaining(&record.registered_resources, &left)),
            status: Some(record.status.as_str().to_owned()),
            version: Some(version_of(record, changes)),
            ..ecs::ContainerInstance::default()
        };
        let detail = Detail::new(to_event_json(&detail))
            .with(&[("clusterArn", quoted(scope.cluster_arn(name))), ("updatedAt", quoted(iso8601_millis(self.now)))]);
        self.tell(scope, CONTAINER_INSTANCE, scope.container_instance_arn(name, id), detail);
        true
    }

    /// Tells of the lifecycle hooks of a service deployment whose status has changed.
    fn hooks(&mut self, scope: &Scope, deployment: &ServiceDeploymentRecord) {
        let Some(progress) = deployment.progress.as_ref().filter(|progress| !progress.hooks.is_empty()) else { return };
        let Some(name) = self.cluster_name(scope, deployment.cluster) else { return };
        let history = self.state.scope(scope).clusters.get(&deployment.cluster);
        let history = history.and_then(|cluster| cluster.service_history.get(&deployment.service));
        let old =
            history.and_then(|history| history.deployments.get(&deployment.id)).and_then(|it| it.progress.as_ref());
        let arn = scope.service_deployment_arn(name, &deployment.service, &deployment.id);
        for hook in &progress.hooks {
            let before = old.and_then(|old| old.hooks.iter().find(|it| it.id == hook.id));
            if before.is_some_and(|before| before.status == hook.status) {
                continue;
            }
            let bad = [ecs::DeploymentLifecycleHookStatus::Failed, ecs::DeploymentLifecycleHookStatus::TimedOut];
            let mut detail = json!({
                "eventType": if bad.contains(&hook.status) { "ERROR" } else { "INFO" },
                "eventName": format!("HOOK_{}", hook.status.as_str()),
                "hookId": hook.id,
                "hookType": if hook.function.is_some() { "AWS_LAMBDA" } else { "PAUSE" },
                "expiresAt": iso8601(hook.expires_at),
                "clusterArn": scope.cluster_arn(name),
                "serviceArn": scope.service_arn(name, &deployment.service),
                "serviceDeploymentArn": arn,
                "updatedAt": iso8601_millis(self.now),
            });
            if let Some(stage) = hook.stage_name() {
                detail["lifecycleStage"] = json!(stage);
            }
            self.tell(scope, HOOK, arn.clone(), detail_of(&detail));
        }
    }

    fn service(&mut self, scope: &Scope, service: &ServiceRecord) {
        let records = self.state.scope(scope);
        let old = records.clusters.get(&service.cluster).and_then(|cluster| cluster.services.get(&service.name));
        let Some(name) = self.cluster_name(scope, service.cluster) else { return };
        let arn = scope.service_arn(name, &service.name);
        for deployment in service.deployments.iter().rev() {
            let before = old.and_then(|old| old.deployments.iter().find(|it| it.id == deployment.id));
            if before.is_none_or(|before| before.rollout_state != deployment.rollout_state) {
                self.tell(scope, DEPLOYMENT, arn.clone(), detail_of(&deployment_detail(deployment)));
            }
        }
        if let Some(old) = old {
            for resource in rescaled(old, service) {
                let detail = json!({
                    "eventType": "INFO",
                    "eventName": "SERVICE_DESIRED_COUNT_UPDATED",
                    "clusterArn": scope.cluster_arn(name),
                    "createdAt": iso8601_millis(self.now),
                });
                let resource = resource.map_or_else(|| arn.clone(), |id| scope.task_set_arn(name, &service.name, id));
                self.tell(scope, SERVICE, resource, detail_of(&detail));
            }
        }
        let last = old.and_then(|old| old.events.first()).map(|event| &event.id);
        let news: Vec<&ServiceEvent> = service.events.iter().take_while(|event| Some(&event.id) != last).collect();
        for event in news.into_iter().rev() {
            let Some(action) = event.message.as_deref().and_then(action_of) else { continue };
            let mut detail = json!({
                "eventType": action.kind,
                "eventName": action.name,
                "clusterArn": scope.cluster_arn(name),
                "createdAt": iso8601_millis(event.created_at.unwrap_or(self.now)),
            });
            let strategy = service.deployments.first().and_then(|it| it.settings.capacity_provider_strategy.as_ref());
            let providers = strategy.into_iter().flatten().filter_map(|it| it.capacity_provider.as_deref());
            let providers: Vec<String> =
                providers.map(|it| scope.ecs_arn(format_args!("capacity-provider/{it}"))).collect();
            if let Some(reason) = action.reason {
                detail["reason"] = json!(reason);
                if !providers.is_empty() {
                    detail["capacityProviderArns"] = json!(providers);
                }
            }
            self.tell(scope, SERVICE, arn.clone(), detail_of(&detail));
            if action.name == "SERVICE_STEADY_STATE" && !providers.is_empty() {
                let detail = json!({
                    "eventType": "INFO",
                    "eventName": "CAPACITY_PROVIDER_STEADY_STATE",
                    "clusterArn": scope.cluster_arn(name),
                    "capacityProviderArns": providers,
                    "createdAt": iso8601_millis(self.now),
                });
                self.tell(scope, SERVICE, arn.clone(), detail_of(&detail));
            }
        }
    }
}

/// Whose desired count the service scheduler has computed anew: the service's own (`None`), or a task set's.
fn rescaled<'a>(old: &ServiceRecord, service: &'a ServiceRecord) -> Vec<Option<&'a str>> {
    let own = service.is_daemon() && old.desired_count != service.desired_count;
    let sets = service.task_sets.iter().filter(|set| {
        let set = &set.deployment;
        let before = old.task_sets.iter().find(|before| before.deployment.id == set.id);
        before.is_some_and(|before| before.deployment.desired_count != set.desired_count)
    });
    own.then_some(None).into_iter().chain(sets.map(|set| Some(set.deployment.id.as_str()))).collect()
}

fn deployment_detail(deployment: &DeploymentRecord) -> Value {
    let (kind, name) = match deployment.rollout_state {
        DeploymentRolloutState::Completed => ("INFO", "SERVICE_DEPLOYMENT_COMPLETED"),
        DeploymentRolloutState::Failed => ("ERROR", "SERVICE_DEPLOYMENT_FAILED"),
        _ => ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS"),
    };
    json!({
        "eventType": kind,
        "eventName": name,
        "deploymentId": deployment.id,
        "updatedAt": iso8601_millis(deployment.updated_at),
        "reason": deployment.rollout_reason,
    })
}

/// A service event as an action that rules can name.
struct Action<'a> {
    kind: &'static str,
    name: &'static str,
    reason: Option<&'a str>,
}

fn action_of(message: &str) -> Option<Action<'_>> {
    let action = |kind, name| Some(Action { kind, name, reason: None });
    if message.contains("has reached a steady state") {
        let task_set = message.contains(", taskSet ");
        return action("INFO", if task_set { "TASKSET_STEADY_STATE" } else { "SERVICE_STEADY_STATE" });
    }
    if message.contains("is unable to consistently start tasks") {
        return action("WARN", "SERVICE_TASK_START_IMPAIRED");
    }
    if message.contains("operations are being throttled") {
        return action("ERROR", "ECS_OPERATION_THROTTLED");
    }
    if message.contains("no longer meet the placement constraints") {
        return action("ERROR", "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED");
    }
    if !message.contains("was unable to place a task") {
        return None;
    }
    let placement =
        |reason| Some(Action { kind: "ERROR", name: "SERVICE_TASK_PLACEMENT_FAILURE", reason: Some(reason) });
    // The words are those that the service scheduler says.
    const REASONS: [(&str, &str); 7] = [
        ("insufficient CPU", "RESOURCE:CPU"),
        ("insufficient memory", "RESOURCE:MEMORY"),
        ("already using a port", "RESOURCE:PORTS"),
        ("missing an attribute", "ATTRIBUTE"),
        ("Capacity is unavailable", "RESOURCE:FARGATE"),
        ("No Container Instances were found", "No Container Instances were found in your cluster."),
        ("no container instance met all of its requirements", "RESOURCE"),
    ];
    match REASONS.iter().find(|(words, _)| message.contains(words)) {
        Some((_, reason)) => placement(reason),
        None => Some(Action {
            kind: "ERROR",
            name: "SERVICE_TASK_CONFIGURATION_FAILURE",
            reason: message.split_once("Reason: ").map(|(_, reason)| reason),
        }),
    }
}

/// Adds to the events of container instances what is long and seldom changes: attributes, what was registered, and
/// versions, as they are now.
pub(crate) fn complete(state: &State, record: &OutboxRecord) -> OutboxRecord {
    let mut record = record.clone();
    for event in record.events.iter_mut().filter(|event| event.detail_type == CONTAINER_INSTANCE) {
        let named = event.resources.first().and_then(|arn| arn.rsplit('/').next()).and_then(|id| id.parse::<Id>().ok());
        let found = named.and_then(|id| {
            let mut clusters = state.scope(&event.scope).clusters.values();
            clusters.find_map(|cluster| cluster.instances.get(&id))
        });
        let Some(instance) = found else { continue };
        let versions = instance.record.version_info.clone().unwrap_or_default();
        event.detail = event.detail.with(&[
            ("attributes", to_json_list(&instance.record.attributes)),
            ("registeredResources", to_json_list(&instance.record.registered_resources)),
            ("versionInfo", to_event_json(&versions)),
        ]);
    }
    record
}

/// An event as an event bus carries it: a JSON object.
///
/// # Panics
/// Never: all its members can be written.
#[must_use]
pub fn envelope(at: Timestamp, event: &OutboxEvent) -> String {
    #[derive(Serialize)]
    struct Envelope<'a> {
        version: &'a str,
        id: &'a str,
        #[serde(rename = "detail-type")]
        detail_type: &'a str,
        source: &'a str,
        account: &'a str,
        time: String,
        region: &'a str,
        resources: &'a [String],
        detail: &'a Detail,
    }
    let envelope = Envelope {
        version: "0",
        id: &event.id,
        detail_type: &event.detail_type,
        source: "aws.ecs",
        account: &event.scope.account,
        time: iso8601(Timestamp::from_secs(at.as_secs())),
        region: &event.scope.region,
        resources: &event.resources,
        detail: &event.detail,
    };
    serde_json::to_string(&envelope).expect("text has no failing serializer")
}

/// Text as JSON.
fn quoted(text: String) -> String {
    Value::String(text).to_string()
}

fn detail_of(detail: &Value) -> Detail {
    Detail::new(detail.to_string())
}

#[cfg(test)]
#[path = "events_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "service_action_tests.rs"]
mod service_action_tests;
