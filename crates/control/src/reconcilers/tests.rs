use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus};
use longshore_seams::{MemoryDisk, Seams};
use longshore_store::segments::{Order, Selection};
use serde_json::{Value, json};

use super::archiver::StoppedTask;
use super::*;
use crate::changes::Change;
use crate::history::History;
use crate::operations::testing::{World, detail};
use crate::operations::testing_instances::id_of;
use longshore_model::records::{OutboxEvent, OutboxRecord};

const HOUR: Duration = Duration::from_secs(3600);

fn history(world: &World) -> History {
    let seams = Seams { disk: Arc::new(MemoryDisk::default()), ..world.engine().seams().clone() };
    History::open(Path::new("/history"), &seams).unwrap()
}

async fn world_with_task() -> (World, Value) {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    (world, task)
}

async fn archived(history: &History) -> Vec<StoppedTask> {
    let page = history.stopped_tasks().page(Selection::default(), Order::Forward, None, 100).await.unwrap();
    page.iter().map(|(_, record)| serde_json::from_slice(&record.payload).unwrap()).collect()
}

// spec: 24-001
#[tokio::test]
async fn stopped_tasks_go_to_history_after_an_hour() {
    let (world, task) = world_with_task().await;
    world.report(&task, "STOPPED", Some(0)).await;
    let history = history(&world);
    let archiver = Archiver::new(world.engine().clone(), history.stopped_tasks().clone(), ArchiverLimits::default());
    world.clock.advance(HOUR);
    run_once(&archiver).await.unwrap();
    assert_eq!(world.task(&task).await["lastStatus"], "STOPPED");
    world.clock.advance(Duration::from_secs(1));
    run_once(&archiver).await.unwrap();
    let answer = world.ok("DescribeTasks", json!({"tasks": [task]})).await;
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    let kept = archived(&history).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].task.containers[0].exit_code, Some(0));
}

#[tokio::test]
async fn a_deleted_cluster_is_forgotten_an_hour_after_everything_in_it() {
    let (world, task) = world_with_task().await;
    world.report(&task, "STOPPED", Some(0)).await;
    let instances = world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"].clone();
    world.ok("DeregisterContainerInstance", json!({"containerInstance": instances[0]})).await;
    let address = (world.scope(), world.cluster_id("default"), id_of(&instances[0]));
    world.ok("DeleteCluster", json!({"cluster": "default"})).await;
    let status = async || {
        let answer = world.ok("DescribeClusters", json!({})).await;
        if answer["failures"] == json!([]) {
            answer["clusters"][0]["status"].clone()
        } else {
            answer["failures"][0]["reason"].clone()
        }
    };
    let expiry = ClusterExpiry(world.engine().clone());
    run_once(&expiry).await.unwrap();
    assert_eq!(status().await, "INACTIVE");
    world.clock.advance(HOUR + Duration::from_secs(1));
    run_once(&expiry).await.unwrap();
    assert_eq!(status().await, "INACTIVE", "its task and its instance are still there");
    let history = history(&world);
    let limits = ArchiverLimits::default();
    run_once(&Archiver::new(world.engine().clone(), history.stopped_tasks().clone(), limits)).await.unwrap();
    run_once(&ContainerInstanceExpiry(world.engine().clone())).await.unwrap();
    run_once(&expiry).await.unwrap();
    assert_eq!(status().await, "MISSING");
    // An agent that is late is told nothing and breaks nothing.
    world.change(|changes| changes.push(Change::AgentConnected(address.0, address.1, address.2, false))).await;
    world.ok("CreateCluster", json!({})).await;
    assert_eq!(status().await, "ACTIVE");
    world.restarted().await.ok("DescribeClusters", json!({})).await;
}

#[tokio::test]
async fn a_new_cluster_keeps_its_name_when_its_predecessor_is_forgotten() {
    let world = World::with_default_cluster().await;
    world.ok("DeleteCluster", json!({"cluster": "default"})).await;
    world.clock.advance(HOUR + Duration::from_secs(1));
    world.ok("CreateCluster", json!({})).await;
    run_once(&ClusterExpiry(world.engine().clone())).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(world.ok("DescribeClusters", json!({})).await["clusters"][0]["status"], "ACTIVE");
    assert_eq!(world.engine().peek(|state| state.scope(&world.scope()).clusters.len()), 1);
}

#[tokio::test]
async fn what_happens_to_a_task_is_told_in_order_and_delivered_to_history() {
    let (world, task) = world_with_task().await;
    world.report(&task, "RUNNING", None).await;
    world.report(&task, "STOPPED", Some(3)).await;
    let world = world.restarted().await;
    let waiting = world.engine().peek(|state| state.outbox.keys().copied().collect::<Vec<_>>());
    assert!(waiting.len() >= 3 && waiting.is_sorted(), "events survive a restart: {waiting:?}");
    let history = history(&world);
    run_once(&EventDelivery::new(world.engine().clone(), history.events().clone())).await.unwrap();
    assert!(world.engine().peek(|state| state.outbox.is_empty()));
    let page = history.events().page(Selection::default(), Order::Forward, None, 100).await.unwrap();
    let records: Vec<OutboxRecord> =
        page.iter().map(|(_, record)| serde_json::from_slice(&record.payload).unwrap()).collect();
    let events = records.iter().flat_map(|record| &record.events);
    let events: Vec<&OutboxEvent> = events.filter(|event| event.detail_type == "ECS Task State Change").collect();
    let told: Vec<_> = events.iter().map(|event| detail(event)["lastStatus"].clone()).collect();
    assert_eq!(told, ["PENDING", "RUNNING", "STOPPED"]);
    assert!(events.iter().all(|event| event.resources == [task.as_str().unwrap()]));
    assert_eq!(detail(events[2])["containers"][0]["exitCode"], 3);
}

async fn delivered(history: &History) -> Vec<OutboxEvent> {
    let page = history.events().page(Selection::default(), Order::Forward, None, 100).await.unwrap();
    let records = page.iter().map(|(_, record)| serde_json::from_slice::<OutboxRecord>(&record.payload).unwrap());
    records.flat_map(|record| record.events).collect()
}

// spec: 19-035
#[tokio::test]
async fn an_event_is_delivered_again_after_a_failure_and_is_known_by_its_version() {
    let (world, task) = world_with_task().await;
    world.report(&task, "RUNNING", None).await;
    let broken = history(&world);
    broken.close().await;
    assert!(run_once(&EventDelivery::new(world.engine().clone(), broken.events().clone())).await.is_err());
    let kept = history(&world);
    let deliver = async |world: &World| {
        run_once(&EventDelivery::new(world.engine().clone(), kept.events().clone())).await.unwrap();
    };
    let before_the_crash = world.crashed().await;
    deliver(&world).await;
    let once = delivered(&kept).await;
    assert!(once.iter().any(|event| detail(event)["lastStatus"] == "RUNNING"));
    deliver(&before_the_crash).await;
    let twice = delivered(&kept).await.split_off(once.len());
    let version = |event: &OutboxEvent| (event.id.clone(), detail(event)["version"].clone());
    assert_eq!(twice.iter().map(version).collect::<Vec<_>>(), once.iter().map(version).collect::<Vec<_>>());
}

#[tokio::test]
async fn too_many_stopped_tasks_go_to_history_oldest_first() {
    let (world, first) = world_with_task().await;
    world.report(&first, "STOPPED", Some(0)).await;
    world.clock.advance(Duration::from_secs(1));
    let second = world.run("web").await["taskArn"].clone();
    world.report(&second, "STOPPED", Some(0)).await;
    let history = history(&world);
    let limits = ArchiverLimits { count: 1, ..ArchiverLimits::default() };
    run_once(&Archiver::new(world.engine().clone(), history.stopped_tasks().clone(), limits)).await.unwrap();
    let answer = world.ok("DescribeTasks", json!({"tasks": [first, second]})).await;
    assert_eq!((answer["tasks"][0]["taskArn"].clone(), answer["failures"][0]["arn"].clone()), (second, first));
}

#[tokio::test]
async fn a_task_that_stays_pending_for_too_long_is_stopped() {
    let (world, task) = world_with_task().await;
    let limits = TaskDeadlinesLimits::default();
    let deadlines = TaskDeadlines::new(world.engine().clone(), world.service.gateway.clone(), limits);
    world.clock.advance(limits.pending);
    run_once(&deadlines).await.unwrap();
    assert_eq!(world.task(&task).await["desiredStatus"], "RUNNING");
    world.clock.advance(Duration::from_secs(1));
    run_once(&deadlines).await.unwrap();
    let stopped = world.task(&task).await;
    assert_eq!((&stopped["desiredStatus"], &stopped["stopCode"]), (&json!("STOPPED"), &json!("TaskFailedToStart")));
    assert_eq!(stopped["stoppedReason"], "Task did not reach RUNNING within 10800 seconds");
}

#[tokio::test]
async fn tasks_left_on_a_deregistered_instance_are_given_up() {
    let (world, task) = world_with_task().await;
    // As a crash in the middle of a deregistration leaves it.
    let instance = id_of(&world.task(&task).await["containerInstanceArn"]);
    let cluster = world.cluster_id("default");
    let known = world
        .engine()
        .peek(|state| (*state.scope(&world.scope()).clusters[&cluster].instances[&instance].record).clone());
    let inactive = ContainerInstanceRecord { status: ContainerInstanceStatus::Inactive, ..known };
    world.change(|changes| changes.push(Change::PutContainerInstance(world.scope(), Arc::new(inactive)))).await;
    let limits = TaskDeadlinesLimits::default();
    run_once(&TaskDeadlines::new(world.engine().clone(), world.service.gateway.clone(), limits)).await.unwrap();
    assert_eq!(world.task(&task).await["lastStatus"], "STOPPED");
}

#[tokio::test]
async fn client_tokens_are_forgotten_after_a_day() {
    let (world, _) = world_with_task().await;
    let request = json!({"taskDefinition": "web", "clientToken": "once"});
    let first = world.ok("RunTask", request.clone()).await["tasks"][0]["taskArn"].clone();
    let expiry = ClientTokenExpiry(world.engine().clone());
    world.clock.advance(24 * HOUR - Duration::from_secs(1));
    run_once(&expiry).await.unwrap();
    assert_eq!(world.ok("RunTask", request.clone()).await["tasks"][0]["taskArn"], first);
    world.clock.advance(Duration::from_secs(1));
    run_once(&expiry).await.unwrap();
    assert!(world.engine().peek(|state| state.scope(&world.scope()).idempotency.is_empty()));
    assert_ne!(world.ok("RunTask", request).await["tasks"][0]["taskArn"], first);
}

// spec: 10-014
#[tokio::test]
async fn a_deregistered_instance_can_be_described_for_an_hour() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": instance})).await;
    let expiry = ContainerInstanceExpiry(world.engine().clone());
    world.clock.advance(HOUR);
    run_once(&expiry).await.unwrap();
    assert_eq!(world.described(&instance).await["status"], "INACTIVE");
    world.clock.advance(Duration::from_secs(1));
    run_once(&expiry).await.unwrap();
    let answer = world.ok("DescribeContainerInstances", json!({"containerInstances": [instance]})).await;
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
}

struct Failing;

impl Reconciler for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> longshore_seams::BoxFuture<'_, Result<Round, String>> {
        Box::pin(std::future::ready(Err("no luck".to_owned())))
    }
}

#[tokio::test]
async fn every_loop_says_how_it_is_doing() {
    let world = World::new().await;
    let reconcilers = Reconcilers::new(world.engine().seams().clone());
    reconcilers.start(Arc::new(Failing));
    reconcilers.start(Arc::new(ClientTokenExpiry(world.engine().clone())));
    let done = |status: &api::Reconciler| status.run_count == Some(1);
    while !reconcilers.reconcilers().iter().all(done) {
        tokio::task::yield_now().await;
    }
    let statuses = reconcilers.reconcilers();
    let names: Vec<Option<&str>> = statuses.iter().map(|status| status.name.as_deref()).collect();
    assert_eq!(names, [Some("client-token-expiry"), Some("failing")]);
    assert_eq!(statuses[0].last_result, Some(api::ReconcilerResult::Succeeded));
    assert_eq!(
        statuses[0].next_run_at,
        Some(longshore_seams::Clock::now(&*world.clock).plus(Duration::from_secs(300)))
    );
    assert_eq!(statuses[1].last_result, Some(api::ReconcilerResult::Failed));
    assert_eq!(statuses[1].last_reason.as_deref(), Some("no luck"));
    assert_eq!(statuses[1].failure_count, Some(1));
    reconcilers.wake("failing");
    while reconcilers.reconcilers()[1].run_count != Some(2) {
        tokio::task::yield_now().await;
    }
}
