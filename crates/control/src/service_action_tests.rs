//! Service actions, and what services do to the events of tasks and container instances.

use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{keys, of_type, told};
use crate::operations::tasks::capacity_tests::network;
use crate::operations::testing::World;
use crate::quotas::Quotas;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

const ACTION: &str = "ECS Service Action";
const UPDATED: &str = "SERVICE_DESIRED_COUNT_UPDATED";
const VIOLATED: &str = "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED";

async fn reconcile(world: &World) {
    run_once(&ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default())).await.unwrap();
}

async fn tasks(world: &World) -> Vec<Value> {
    world.ok("ListTasks", json!({"serviceName": "web"})).await["taskArns"].as_array().unwrap().clone()
}

/// The service actions called `name`.
async fn actions(world: &World, name: &str) -> Vec<Value> {
    let told = told(world).await;
    of_type(&told, ACTION).into_iter().filter(|event| event["detail"]["eventName"] == name).cloned().collect()
}

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 10, 16, json!({})).await;
    world
}

// spec: 19-042, 19-054
#[tokio::test]
async fn what_the_service_scheduler_starts_and_stops_is_told_of_tasks_and_instances() {
    let world = world().await;
    world.instance(1000, 1000, &[]).await;
    world.ok("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    let before = told(&world).await.len();
    reconcile(&world).await;
    let task = tasks(&world).await[0].clone();
    world.report(&task, "RUNNING", None).await;
    world.ok("UpdateService", json!({"service": "web", "desiredCount": 0})).await;
    reconcile(&world).await;
    world.report(&task, "STOPPED", Some(0)).await;
    let events = told(&world).await.split_off(before);
    let cpu_left = |event: &&Value| event["detail"]["remainingResources"][0]["integerValue"].clone();
    let of_instance = of_type(&events, "ECS Container Instance State Change");
    assert_eq!(of_instance.iter().map(cpu_left).collect::<Vec<_>>(), [json!(990), json!(1000)]);
    let wanted = |event: &&Value| event["detail"]["desiredStatus"].clone();
    let of_task = of_type(&events, "ECS Task State Change");
    assert!(of_task.iter().all(|event| event["resources"] == json!([task])));
    assert_eq!(of_task.iter().map(wanted).collect::<Vec<_>>(), ["RUNNING", "RUNNING", "STOPPED", "STOPPED"]);
}

// spec: 19-067, 03-095, 19-076
#[tokio::test]
async fn a_steady_service_of_capacity_providers_names_them() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let made = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "capacityProviderStrategy": strategy, "networkConfiguration": network()});
    world.ok("CreateService", made).await;
    reconcile(&world).await;
    world.report(&tasks(&world).await[0], "RUNNING", None).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    let steady = actions(&world, "CAPACITY_PROVIDER_STEADY_STATE").await;
    assert_eq!(steady.len(), 1);
    let detail = &steady[0]["detail"];
    assert_eq!(keys(detail), ["capacityProviderArns", "clusterArn", "createdAt", "eventName", "eventType"]);
    assert_eq!(detail["capacityProviderArns"], json!([world.arn("capacity-provider/FARGATE_SPOT")]));
    assert_eq!(detail["eventType"], "INFO");
}

// spec: 19-066
#[tokio::test]
async fn a_task_set_tells_that_it_is_steady() {
    let world = world().await;
    world.instance(1000, 1000, &[]).await;
    let controller = json!({"type": "EXTERNAL"});
    world
        .ok("CreateService", json!({"serviceName": "web", "deploymentController": controller, "desiredCount": 1}))
        .await;
    let set = json!({"cluster": "default", "service": "web", "taskDefinition": "web", "scale": {"value": 100.0, "unit": "PERCENT"}});
    world.ok("CreateTaskSet", set).await;
    reconcile(&world).await;
    assert_eq!(actions(&world, "TASKSET_STEADY_STATE").await.len(), 0);
    world.report(&tasks(&world).await[0], "RUNNING", None).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    let steady = actions(&world, "TASKSET_STEADY_STATE").await;
    assert_eq!(steady.iter().map(|event| &event["detail"]["eventType"]).collect::<Vec<_>>(), ["INFO"]);
}

// spec: 19-068
#[tokio::test]
async fn a_desired_count_that_is_computed_is_told_and_one_that_a_user_gives_is_not() {
    let world = world().await;
    world.instance(1000, 1000, &[]).await;
    let controller = json!({"type": "EXTERNAL"});
    world
        .ok("CreateService", json!({"serviceName": "web", "deploymentController": controller, "desiredCount": 2}))
        .await;
    let of = json!({"cluster": "default", "service": "web"});
    let mut set = of.clone();
    set["taskDefinition"] = json!("web");
    set["scale"] = json!({"value": 100.0, "unit": "PERCENT"});
    let set = world.ok("CreateTaskSet", set).await["taskSet"].clone();
    reconcile(&world).await;
    assert_eq!(actions(&world, UPDATED).await, Vec::<Value>::new());
    let mut scaled = of;
    scaled["taskSet"] = set["id"].clone();
    scaled["scale"] = json!({"value": 50.0, "unit": "PERCENT"});
    world.ok("UpdateTaskSet", scaled).await;
    reconcile(&world).await;
    let updated = actions(&world, UPDATED).await;
    assert_eq!(
        updated.iter().map(|event| event["resources"][0].clone()).collect::<Vec<_>>(),
        [set["taskSetArn"].clone()]
    );
    assert_eq!(keys(&updated[0]["detail"]), ["clusterArn", "createdAt", "eventName", "eventType"]);

    world.ok("CreateService", json!({"serviceName": "plain", "taskDefinition": "web", "desiredCount": 1})).await;
    reconcile(&world).await;
    world.ok("UpdateService", json!({"service": "plain", "desiredCount": 3})).await;
    reconcile(&world).await;
    assert_eq!(actions(&world, UPDATED).await.len(), 1);
    let daemon = json!({"serviceName": "daemon", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
    world.ok("CreateService", daemon).await;
    reconcile(&world).await;
    assert_eq!(actions(&world, UPDATED).await[1]["resources"], json!([world.arn("service/default/daemon")]));
}

// spec: 19-069, 26-014
#[tokio::test]
async fn a_service_whose_tasks_never_run_tells_that_it_is_impaired() {
    let world = world().await;
    world.instance(1000, 1000, &[]).await;
    world.ok("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
        world.report(&tasks(&world).await[0], "STOPPED", None).await;
    }
    assert_eq!(actions(&world, "SERVICE_TASK_START_IMPAIRED").await.len(), 0);
    reconcile(&world).await;
    let impaired = actions(&world, "SERVICE_TASK_START_IMPAIRED").await;
    assert_eq!(impaired.iter().map(|event| &event["detail"]["eventType"]).collect::<Vec<_>>(), ["WARN"]);
    assert_eq!(impaired[0]["resources"], json!([world.arn("service/default/web")]));
    assert_eq!(keys(&impaired[0]["detail"]), ["clusterArn", "createdAt", "eventName", "eventType"]);
}

// spec: 19-071
#[tokio::test]
async fn a_daemon_tells_of_a_task_that_no_longer_meets_its_constraint() {
    let world = world().await;
    let instances = [world.instance(1000, 1000, &[]).await, world.instance(1000, 1000, &[]).await];
    let attribute = |instance: &Value, value: &str| json!({"attributes": [{"name": "stack", "value": value, "targetId": instance}]});
    for instance in &instances {
        world.ok("PutAttributes", attribute(instance, "prod")).await;
    }
    let only = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    let daemon = json!({"serviceName": "web", "taskDefinition": "web", "schedulingStrategy": "DAEMON", "placementConstraints": only});
    world.ok("CreateService", daemon).await;
    reconcile(&world).await;
    let drain = json!({"containerInstances": [instances[1]], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    reconcile(&world).await;
    assert_eq!(actions(&world, VIOLATED).await.len(), 0, "a task that a draining instance loses meets its constraint");
    world.ok("PutAttributes", attribute(&instances[0], "dev")).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    let violated = actions(&world, VIOLATED).await;
    assert_eq!(violated.iter().map(|event| &event["detail"]["eventType"]).collect::<Vec<_>>(), ["ERROR"]);
}

// spec: 19-075
#[tokio::test]
async fn a_task_that_can_t_be_tagged_is_a_failure_of_configuration_with_its_cause() {
    let world = world().await;
    world.instance(1000, 1000, &[]).await;
    let tags = json!([{"key": "team", "value": "a"}]);
    let made = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "propagateTags": "SERVICE", "tags": tags});
    world.ok("CreateService", made).await;
    world.ok("PutAccountSetting", json!({"name": "taskLongArnFormat", "value": "disabled"})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    let failed = actions(&world, "SERVICE_TASK_CONFIGURATION_FAILURE").await;
    assert_eq!(failed.iter().map(|event| &event["detail"]["eventType"]).collect::<Vec<_>>(), ["ERROR"]);
    assert_eq!(
        failed[0]["detail"]["reason"],
        "The new ARN and resource ID format must be enabled to add tags to the task. Opt in to the new format and try again."
    );
}

// spec: 19-072
#[tokio::test]
async fn a_service_that_starts_more_tasks_than_its_quota_tells_that_it_is_throttled() {
    let world = world().await.with_quotas(Quotas::with(["service-task-launches-per-minute=2"]).unwrap());
    world.instance(1000, 1000, &[]).await;
    world.ok("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 3})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
    let throttled = actions(&world, "ECS_OPERATION_THROTTLED").await;
    assert_eq!(throttled.iter().map(|event| &event["detail"]["eventType"]).collect::<Vec<_>>(), ["ERROR"]);
    world.clock.advance(Duration::from_secs(59));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
    world.clock.advance(Duration::from_secs(1));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
    assert_eq!(actions(&world, "ECS_OPERATION_THROTTLED").await.len(), 1);
}
