use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ServiceScheduler, ServiceSchedulerLimits};
use crate::operations::tasks::stop_every_task;
use crate::operations::testing::World;
use crate::reconcilers::{Reconcilers, run_once};

pub(super) async fn world(instances: usize) -> (World, Vec<Value>) {
    let world = World::with_default_cluster().await;
    world.family("web", 100, 64, json!({})).await;
    let mut arns = Vec::new();
    for number in 0..instances {
        let zone = if number % 2 == 0 { "a" } else { "b" };
        arns.push(world.instance(1000, 1000, &[("ecs.availability-zone", zone)]).await);
    }
    (world, arns)
}

pub(super) async fn create(world: &World, own: Value) -> Value {
    let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("CreateService", input).await["service"].clone()
}

pub(super) async fn update(world: &World, own: Value) {
    let mut input = json!({"service": "web"});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("UpdateService", input).await;
}

/// One look at every service, for which a task works as soon as it runs.
pub(super) async fn reconcile(world: &World) {
    let limits = ServiceSchedulerLimits { prove: Duration::ZERO, ..ServiceSchedulerLimits::default() };
    let scheduler = ServiceScheduler::new(world.engine().clone(), limits);
    run_once(&scheduler).await.unwrap();
}

pub(super) async fn service(world: &World) -> Value {
    world.ok("DescribeServices", json!({"services": ["web"]})).await["services"][0].clone()
}

/// The tasks that are to run.
pub(super) async fn tasks(world: &World) -> Vec<Value> {
    let arns = world.ok("ListTasks", json!({"serviceName": "web"})).await["taskArns"].clone();
    let mut tasks = Vec::new();
    for arn in arns.as_array().unwrap() {
        tasks.push(world.task(arn).await);
    }
    tasks
}

/// Every task that is not RUNNING yet becomes so, and every one that is to stop has stopped.
pub(super) async fn agents_act(world: &World) {
    for task in tasks(world).await {
        if task["lastStatus"] != "RUNNING" {
            world.report(&task["taskArn"], "RUNNING", None).await;
        }
    }
    let input = json!({"serviceName": "web", "desiredStatus": "STOPPED"});
    for arn in world.ok("ListTasks", input).await["taskArns"].as_array().unwrap() {
        if world.task(arn).await["lastStatus"] != "STOPPED" {
            world.report(arn, "STOPPED", Some(0)).await;
        }
    }
}

pub(super) fn says(service: &Value, message: &str) -> bool {
    let events = service["events"].as_array().unwrap();
    events.iter().any(|event| event["message"].as_str().unwrap().contains(message))
}

// spec: 15-001, 23-016, 24-015, 14-060
#[tokio::test]
async fn a_service_starts_its_tasks_and_becomes_steady() {
    let (world, _) = world(2).await;
    let made = create(&world, json!({})).await;
    reconcile(&world).await;
    let started = tasks(&world).await;
    assert_eq!(started.len(), 2);
    assert_eq!(started[0]["group"], "service:web");
    assert_eq!(started[0]["startedBy"], made["deployments"][0]["id"]);
    assert!(says(&service(&world).await, "(service web) has started 2 tasks: (task "));
    assert!(!says(&service(&world).await, "steady"));
    agents_act(&world).await;
    reconcile(&world).await;
    let steady = service(&world).await;
    assert_eq!((&steady["runningCount"], &steady["pendingCount"]), (&json!(2), &json!(0)));
    assert_eq!(steady["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(steady["events"][0]["message"], "(service web) has reached a steady state.");
    reconcile(&world).await;
    assert_eq!(service(&world).await, steady);
}

#[tokio::test]
async fn tasks_with_all_the_tags_and_containers_that_there_may_be_start_and_stop() {
    let (world, _) = world(0).await;
    world.instance(100_000, 100_000, &[]).await;
    let container = |at: usize| json!({"name": format!("{at:0>255}"), "image": "i".repeat(200), "memory": 4});
    let containers: Vec<Value> = (0..10).map(container).collect();
    world.ok("RegisterTaskDefinition", json!({"family": "large", "containerDefinitions": containers})).await;
    let tag = |at: usize| json!({"key": format!("{at:0>128}"), "value": "v".repeat(256)});
    let tags: Vec<Value> = (0..50).map(tag).collect();
    create(&world, json!({"taskDefinition": "large", "desiredCount": 100, "propagateTags": "SERVICE", "tags": tags}))
        .await;
    reconcile(&world).await;
    assert_eq!(service(&world).await["pendingCount"], 100);
    update(&world, json!({"desiredCount": 0})).await;
    reconcile(&world).await;
    let left = world.ok("ListTasks", json!({"serviceName": "web"})).await["taskArns"].clone();
    assert_eq!(left, json!([]));
}

// spec: 01-023, 15-001, 15-009
#[tokio::test]
async fn a_task_that_ends_is_replaced() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let ended = tasks(&world).await[0]["taskArn"].clone();
    world.report(&ended, "STOPPED", Some(1)).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|task| task["taskArn"] != ended));
}

// spec: 15-011, 15-014
#[tokio::test]
async fn tasks_are_spread_over_zones_and_leave_them_even() {
    let (world, instances) = world(3).await;
    create(&world, json!({"desiredCount": 6})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let started = tasks(&world).await;
    let on = |at: usize| started.iter().filter(|task| task["containerInstanceArn"] == instances[at]).count();
    assert_eq!((on(0).abs_diff(on(2)), on(1)), (1, 3), "the emptiest instance of zone a is next");
    let zones = |tasks: Vec<Value>| {
        let count = |zone: &str| tasks.iter().filter(|task| task["availabilityZone"] == zone).count();
        (count("a"), count("b"))
    };
    assert_eq!(zones(tasks(&world).await), (3, 3));
    update(&world, json!({"desiredCount": 4})).await;
    reconcile(&world).await;
    assert_eq!(zones(tasks(&world).await), (2, 2));
}

#[tokio::test]
async fn scaling_in_says_who_wanted_it() {
    let (world, _) = world(1).await;
    let made = create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let before = tasks(&world).await;
    update(&world, json!({"desiredCount": 0})).await;
    reconcile(&world).await;
    let stopped = world.task(&before[0]["taskArn"]).await;
    assert_eq!(stopped["stopCode"], "ServiceSchedulerInitiated");
    let id = made["deployments"][0]["id"].as_str().unwrap();
    assert_eq!(stopped["stoppedReason"], format!("Scaling activity initiated by (deployment {id})"));
    assert!(says(&service(&world).await, "(service web) has stopped 2 running tasks: (task "));
}

// spec: 15-032, 15-033, 15-036, 16-001
#[tokio::test]
async fn a_rolling_update_keeps_its_bounds_and_waits_for_health() {
    let (world, _) = world(2).await;
    create(&world, json!({"desiredCount": 4, "deploymentConfiguration": {"maximumPercent": 150}})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    world.clock.advance(Duration::from_secs(41));
    world.family("web", 50, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 6);
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(39));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 6);
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(41));
        reconcile(&world).await;
        let healthy = tasks(&world).await.iter().filter(|task| task["lastStatus"] == "RUNNING").count();
        assert!(healthy >= 4, "{healthy}");
        agents_act(&world).await;
        reconcile(&world).await;
    }
    let done = service(&world).await;
    assert_eq!((done["deployments"].as_array().unwrap().len(), &done["runningCount"]), (1, &json!(4)));
    let revision = world.arn("task-definition/web:2");
    assert!(tasks(&world).await.iter().all(|task| task["taskDefinitionArn"] == revision));
}

// spec: 24-016
#[tokio::test]
async fn a_task_that_fits_nowhere_is_said_once_and_placed_when_there_is_room() {
    let (world, _) = world(0).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    world.clock.advance(Duration::from_secs(30));
    reconcile(&world).await;
    let waiting = service(&world).await;
    assert_eq!(waiting["events"].as_array().unwrap().len(), 1);
    let text = "was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster.";
    assert!(says(&waiting, text), "{waiting}");
    let small = world.instance(50, 1000, &[]).await;
    reconcile(&world).await;
    let id = small.as_str().unwrap().rsplit('/').next().unwrap();
    let closest = format!("The closest matching (container-instance {id}) has insufficient CPU units available.");
    assert!(says(&service(&world).await, &closest));
    world.instance(1000, 1000, &[]).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 1);
}

// spec: 15-002, 15-004, 26-030
#[tokio::test]
async fn a_daemon_has_one_task_on_each_active_instance() {
    let (world, instances) = world(2).await;
    create(&world, json!({"schedulingStrategy": "DAEMON", "desiredCount": null})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
    assert_eq!(service(&world).await["desiredCount"], 2);
    agents_act(&world).await;
    world.instance(1000, 1000, &[]).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
    let drain = json!({"containerInstances": [instances[0]], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    reconcile(&world).await;
    let left = tasks(&world).await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|task| task["containerInstanceArn"] != instances[0]));
}

// spec: 15-003
#[tokio::test]
async fn a_daemon_leaves_an_instance_that_its_constraint_no_longer_selects() {
    let (world, instances) = world(1).await;
    let attribute = |value: &str| json!({"attributes": [{"name": "stack", "value": value, "targetId": instances[0]}]});
    world.ok("PutAttributes", attribute("prod")).await;
    let only = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    create(&world, json!({"schedulingStrategy": "DAEMON", "desiredCount": null, "placementConstraints": only})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 1);
    world.ok("PutAttributes", attribute("dev")).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
}

// spec: 15-035, 10-012
#[tokio::test]
async fn tasks_leave_a_draining_instance_without_going_below_the_floor() {
    let (world, instances) = world(2).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    let drain = json!({"containerInstances": [instances[0]], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    let left = tasks(&world).await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|task| task["containerInstanceArn"] == instances[1]));
}

// spec: 15-016
#[tokio::test]
async fn a_deleted_service_drains_and_is_still_described_when_inactive() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    reconcile(&world).await;
    assert_eq!(service(&world).await["status"], "DRAINING");
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(service(&world).await["status"], "INACTIVE");
    create(&world, json!({})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
}

// spec: 17-059, 17-060, 17-062, 24-027
#[tokio::test]
async fn tasks_that_never_run_are_started_less_and_less_often() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
        let task = tasks(&world).await[0]["taskArn"].clone();
        world.report(&task, "STOPPED", None).await;
    }
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    let impaired = service(&world).await;
    assert!(says(&impaired, "(service web) is unable to consistently start tasks successfully."));
    assert_eq!(impaired["deployments"][0]["failedTasks"], 3);
    world.clock.advance(Duration::from_secs(16));
    reconcile(&world).await;
    let task = tasks(&world).await[0]["taskArn"].clone();
    world.report(&task, "STOPPED", None).await;
    world.clock.advance(Duration::from_secs(16));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    world.family("web", 50, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 1);
}

// spec: 15-045, 15-046
#[tokio::test]
async fn tags_of_the_service_go_to_its_tasks_when_it_says_so() {
    let (world, _) = world(1).await;
    let tags = json!([{"key": "team", "value": "a"}]);
    create(&world, json!({"tags": tags, "propagateTags": "SERVICE", "enableECSManagedTags": true})).await;
    reconcile(&world).await;
    let expected = json!([
        {"key": "team", "value": "a"},
        {"key": "aws:ecs:clusterName", "value": "default"},
        {"key": "aws:ecs:serviceName", "value": "web"},
    ]);
    assert_eq!(tasks(&world).await[0]["tags"], expected);
}

#[tokio::test]
async fn a_restarted_control_plane_goes_on_where_it_was() {
    let (world, instances) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let before = tasks(&world).await;
    let world = world.restarted().await;
    world.connect(&instances[0], true).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await, before);
}

#[tokio::test]
async fn an_unhealthy_task_is_replaced() {
    let (world, _) = world(1).await;
    world.family("web", 1, 4, json!({"healthCheck": {"command": ["CMD", "true"]}})).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let task = tasks(&world).await[0]["taskArn"].clone();
    let record = world.engine().peek(|state| {
        let cluster = state.scope(&world.scope()).active_cluster("default").unwrap();
        cluster.tasks.values().next().unwrap().clone()
    });
    let news = [("main".to_owned(), longshore_api::ecs::HealthStatus::Unhealthy)].into();
    let sick = Arc::new(longshore_model::task::health(&record, &news).unwrap());
    let change = crate::changes::Change::PutTask(world.scope(), sick);
    world.change(|changes| changes.push(change)).await;
    reconcile(&world).await;
    assert_eq!(world.task(&task).await["stoppedReason"], "Task failed container health checks");
    assert_eq!(tasks(&world).await.len(), 1);
}

#[tokio::test]
async fn a_circuit_breaker_goes_back_to_the_deployment_that_worked() {
    let (world, _) = world(1).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let good = create(&world, json!({"deploymentConfiguration": breaker})).await["deployments"][0]["id"].clone();
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let before = tasks(&world).await;
    world.family("web", 50, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
        for task in tasks(&world).await.iter().filter(|task| task["lastStatus"] == "PENDING") {
            world.report(&task["taskArn"], "STOPPED", None).await;
        }
    }
    reconcile(&world).await;
    let back = service(&world).await;
    assert_eq!((&back["deployments"][0]["id"], back["deployments"].as_array().unwrap().len()), (&good, 1));
    assert_eq!(back["deployments"][0]["rolloutState"], "COMPLETED");
    assert!(says(&back, "deployment failed: tasks failed to start."));
    assert_eq!(tasks(&world).await, before);
}

#[tokio::test]
async fn a_commit_wakes_the_loop() {
    let (world, _) = world(1).await;
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    let reconcilers = Reconcilers::new(world.engine().seams().clone());
    world.engine().observe(Arc::new(scheduler.waker(reconcilers.clone())));
    reconcilers.start(Arc::new(scheduler));
    create(&world, json!({})).await;
    let started = async {
        while world.engine().peek(|state| {
            let cluster = state.scope(&world.scope()).active_cluster("default");
            cluster.is_some_and(|cluster| cluster.index.wanted.len() < 2)
        }) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), started).await.unwrap();
}

#[tokio::test]
async fn services_rest_while_everything_is_stopped_and_go_on_at_the_next_start() {
    let (world, instances) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    world.connect(&instances[0], false).await;
    stop_every_task(world.engine(), "down").await.unwrap();
    world.connect(&instances[0], true).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    let world = world.restarted().await;
    world.connect(&instances[0], true).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
}

#[tokio::test]
async fn a_protected_task_outlives_a_scale_in_until_its_protection_ends() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let kept = tasks(&world).await[0]["taskArn"].clone();
    let protect = json!({"cluster": "default", "tasks": [kept], "protectionEnabled": true, "expiresInMinutes": 5});
    world.ok("UpdateTaskProtection", protect).await;
    update(&world, json!({"desiredCount": 0})).await;
    reconcile(&world).await;
    let left = tasks(&world).await;
    assert_eq!((left.len(), &left[0]["taskArn"]), (1, &kept));
    world.clock.advance(Duration::from_secs(301));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
}

// spec: 08-062, 08-063
#[tokio::test]
async fn a_service_goes_on_with_a_revision_that_was_deregistered() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let arn = world.arn("task-definition/web:1");
    world.ok("DeregisterTaskDefinition", json!({"taskDefinition": arn})).await;
    update(&world, json!({"desiredCount": 2})).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|task| task["taskDefinitionArn"] == arn));
    let again = json!({"service": "web", "taskDefinition": arn});
    assert_eq!(world.refused("UpdateService", again).await.1, "TaskDefinition is inactive");
    let new = json!({"serviceName": "new", "taskDefinition": arn, "desiredCount": 1});
    assert_eq!(world.refused("CreateService", new).await.1, "TaskDefinition is inactive");
}

// spec: 14-117
#[tokio::test]
async fn a_forced_deployment_replaces_every_task() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    let arns = |tasks: Vec<Value>| tasks.iter().map(|task| task["taskArn"].to_string()).collect::<Vec<_>>();
    let before = arns(tasks(&world).await);
    update(&world, json!({"forceNewDeployment": true})).await;
    assert_eq!(service(&world).await["deployments"].as_array().unwrap().len(), 2);
    for _ in 0..4 {
        reconcile(&world).await;
        agents_act(&world).await;
        world.clock.advance(Duration::from_secs(60));
    }
    reconcile(&world).await;
    let after = arns(tasks(&world).await);
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|arn| !before.contains(arn)), "{before:?} {after:?}");
    assert_eq!(service(&world).await["deployments"].as_array().unwrap().len(), 1);
}

// spec: 14-032, 14-043
#[tokio::test]
async fn new_tasks_follow_the_placement_that_an_update_sets() {
    let (world, instances) = world(3).await;
    create(&world, json!({"desiredCount": 1, "placementStrategy": [{"type": "binpack", "field": "memory"}]})).await;
    reconcile(&world).await;
    let first = tasks(&world).await[0]["containerInstanceArn"].clone();
    update(&world, json!({"desiredCount": 3})).await;
    reconcile(&world).await;
    assert!(tasks(&world).await.iter().all(|task| task["containerInstanceArn"] == first));
    let only = instances.iter().find(|arn| **arn != first).unwrap();
    let attribute = json!({"name": "chosen", "value": "yes", "targetType": "container-instance", "targetId": only});
    world.ok("PutAttributes", json!({"attributes": [attribute]})).await;
    let constraint = json!([{"type": "memberOf", "expression": "attribute:chosen == yes"}]);
    update(&world, json!({"desiredCount": 4, "placementConstraints": constraint})).await;
    reconcile(&world).await;
    let there = tasks(&world).await.iter().filter(|task| task["containerInstanceArn"] == *only).count();
    assert_eq!(there, 1);
}

#[tokio::test]
async fn a_deleted_service_stays_described_with_its_definition_and_is_not_found_again() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let gone = service(&world).await;
    assert_eq!((&gone["status"], &gone["deployments"]), (&json!("INACTIVE"), &json!([])));
    assert_eq!(gone["taskDefinition"], world.arn("task-definition/web:1"));
    let again = world.refused("DeleteService", json!({"service": "web"})).await;
    assert_eq!(again, ("ServiceNotFoundException", "Service not found.".to_owned()));
    let scaled = world.refused("UpdateService", json!({"service": "web", "desiredCount": 1})).await;
    assert_eq!(scaled, ("ServiceNotActiveException", "Service was not ACTIVE.".to_owned()));
    create(&world, json!({"desiredCount": 0})).await;
}
