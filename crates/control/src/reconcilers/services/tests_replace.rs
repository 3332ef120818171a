use std::sync::Arc;
use std::time::Duration;

use longshore_api::ecs::HealthStatus;
use serde_json::{Value, json};

use super::tests::{agents_act, create, reconcile, says, service, tasks, update, world};
use crate::changes::Change;
use crate::operations::testing::World;

/// A service of two tasks with a container health check, all of them healthy.
async fn checked(instances: usize, cpu: i64, configuration: Value) -> World {
    let (world, _) = world(instances).await;
    let check = json!({"healthCheck": {"command": ["CMD", "true"]}});
    world.family("checked", cpu, 64, check).await;
    let own = json!({
        "taskDefinition": "checked",
        "deploymentConfiguration": configuration,
        "availabilityZoneRebalancing": "DISABLED",
    });
    create(&world, own).await;
    reconcile(&world).await;
    agents_act(&world).await;
    for task in tasks(&world).await {
        say_health(&world, &task, HealthStatus::Healthy).await;
    }
    reconcile(&world).await;
    assert_eq!(service(&world).await["deployments"][0]["rolloutState"], "COMPLETED");
    world
}

async fn say_health(world: &World, task: &Value, health: HealthStatus) {
    let id = id(task);
    let record = world.engine().peek(|state| {
        let cluster = state.scope(&world.scope()).active_cluster("default").unwrap();
        cluster.tasks.values().find(|it| it.id.to_string() == id).cloned().unwrap()
    });
    let news = [("main".to_owned(), health)].into();
    let told = Arc::new(longshore_model::task::health(&record, &news).unwrap());
    world.change(|changes| changes.push(Change::PutTask(world.scope(), told))).await;
}

fn id(task: &Value) -> String {
    task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn of_revision(tasks: &[Value], revision: u32) -> usize {
    let suffix = format!("web:{revision}");
    tasks.iter().filter(|it| it["taskDefinitionArn"].as_str().unwrap().ends_with(&suffix)).count()
}

#[tokio::test]
async fn a_task_that_fails_its_checks_stays_until_the_one_in_its_place_is_healthy() {
    let world = checked(2, 100, json!({})).await;
    let before = tasks(&world).await;
    say_health(&world, &before[0], HealthStatus::Unhealthy).await;
    reconcile(&world).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!(now.len(), 3, "the one in its place is started first");
    let text = format!("(service web) (task {}) failed container health checks.", id(&before[0]));
    let events = service(&world).await["events"].clone();
    assert_eq!(events.as_array().unwrap().iter().filter(|it| it["message"] == text).count(), 1, "{events}");
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(world.task(&before[0]["taskArn"]).await["desiredStatus"], "RUNNING");
    let new = now.iter().find(|it| before.iter().all(|old| old["taskArn"] != it["taskArn"])).unwrap();
    say_health(&world, new, HealthStatus::Healthy).await;
    reconcile(&world).await;
    let stopped = world.task(&before[0]["taskArn"]).await;
    assert_eq!(stopped["stoppedReason"], "Task failed container health checks");
    assert_eq!((tasks(&world).await.len(), &stopped["desiredStatus"]), (2, &json!("STOPPED")));
}

#[tokio::test]
async fn a_task_that_becomes_healthy_again_is_not_replaced() {
    let world = checked(2, 100, json!({})).await;
    let before = tasks(&world).await;
    say_health(&world, &before[0], HealthStatus::Unhealthy).await;
    reconcile(&world).await;
    agents_act(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
    say_health(&world, &before[0], HealthStatus::Healthy).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!(now.len(), 2, "there is one too many");
    reconcile(&world).await;
    assert_eq!(tasks(&world).await, now);
}

#[tokio::test]
async fn tasks_that_fail_their_checks_go_one_by_one_when_the_cap_leaves_no_room_for_others() {
    let world = checked(2, 100, json!({"minimumHealthyPercent": 0, "maximumPercent": 100})).await;
    for task in tasks(&world).await {
        say_health(&world, &task, HealthStatus::Unhealthy).await;
    }
    reconcile(&world).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 1, "the first goes, the second stays");
    agents_act(&world).await;
    reconcile(&world).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2, "one is started in its place");
}

#[tokio::test]
async fn a_task_that_fails_its_checks_goes_first_when_there_is_no_room_beside_it() {
    let world = checked(1, 400, json!({})).await;
    let bad = tasks(&world).await[0].clone();
    say_health(&world, &bad, HealthStatus::Unhealthy).await;
    reconcile(&world).await;
    reconcile(&world).await;
    assert_eq!(world.task(&bad["taskArn"]).await["desiredStatus"], "STOPPED");
    assert_eq!(tasks(&world).await.len(), 1);
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
}

/// A service of two settled tasks, whose next revision is being deployed: two of its tasks are PENDING.
async fn deploying(configuration: Value) -> World {
    let (world, _) = world(2).await;
    create(&world, json!({"deploymentConfiguration": configuration})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    world.clock.advance(Duration::from_secs(41));
    world.family("web", 50, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    world
}

#[tokio::test]
async fn a_task_that_ends_while_the_next_revision_does_not_work_yet_is_replaced_by_its_own_revision() {
    let world = deploying(json!({})).await;
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2)), (2, 2));
    for task in now.iter().filter(|it| it["lastStatus"] == "RUNNING") {
        world.report(&task["taskArn"], "STOPPED", Some(1)).await;
    }
    reconcile(&world).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2)), (2, 2), "never more than the cap");
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    for _ in 0..3 {
        reconcile(&world).await;
        agents_act(&world).await;
    }
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2)), (0, 2));
    let done = service(&world).await;
    assert_eq!(
        (done["deployments"].as_array().unwrap().len(), &done["deployments"][0]["rolloutState"]),
        (1, &json!("COMPLETED"))
    );
}

#[tokio::test]
async fn the_next_revision_gets_a_place_though_tasks_of_the_old_one_keep_ending() {
    let world = deploying(json!({"minimumHealthyPercent": 100, "maximumPercent": 100})).await;
    assert_eq!(of_revision(&tasks(&world).await, 2), 0, "nothing may be started or stopped");
    let ends = tasks(&world).await[0]["taskArn"].clone();
    world.report(&ends, "STOPPED", Some(1)).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2)), (1, 1));
}

#[tokio::test]
async fn a_failed_deployment_does_not_keep_the_tasks_before_it_from_being_replaced() {
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    let world = deploying(breaker).await;
    for _ in 0..3 {
        for task in tasks(&world).await.iter().filter(|it| it["lastStatus"] == "PENDING") {
            world.report(&task["taskArn"], "STOPPED", Some(1)).await;
        }
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
    }
    assert_eq!(service(&world).await["deployments"][0]["rolloutState"], "FAILED");
    for task in tasks(&world).await {
        world.report(&task["taskArn"], "STOPPED", Some(1)).await;
    }
    reconcile(&world).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2)), (2, 0));
}

#[tokio::test]
async fn what_a_deployment_started_makes_way_at_once_for_the_one_that_overtakes_it() {
    let world = deploying(json!({})).await;
    agents_act(&world).await;
    world.family("web", 60, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let now = tasks(&world).await;
    assert_eq!((of_revision(&now, 1), of_revision(&now, 2), of_revision(&now, 3)), (2, 0, 2));
}

// spec: 17-059
#[tokio::test]
async fn starts_that_fail_beside_a_task_that_runs_all_the_time_are_throttled() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    world.report(&tasks(&world).await[0]["taskArn"], "RUNNING", None).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        for task in tasks(&world).await.iter().filter(|it| it["lastStatus"] != "RUNNING") {
            world.report(&task["taskArn"], "STOPPED", None).await;
        }
        reconcile(&world).await;
    }
    assert_eq!(tasks(&world).await.len(), 1, "the next start has to wait");
    assert!(says(&service(&world).await, "(service web) is unable to consistently start tasks successfully."));
}

#[tokio::test]
async fn the_circuit_breaker_counts_on_beside_a_task_that_was_healthy_before() {
    let (world, _) = world(2).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    create(&world, json!({"deploymentConfiguration": breaker})).await;
    reconcile(&world).await;
    world.report(&tasks(&world).await[0]["taskArn"], "RUNNING", None).await;
    for _ in 0..3 {
        reconcile(&world).await;
        world.clock.advance(Duration::from_secs(1));
        for task in tasks(&world).await.iter().filter(|it| it["lastStatus"] != "RUNNING") {
            world.report(&task["taskArn"], "STOPPED", None).await;
        }
    }
    reconcile(&world).await;
    assert_eq!(service(&world).await["deployments"][0]["rolloutState"], "FAILED");
}

#[tokio::test]
async fn a_deployment_that_waits_for_protected_tasks_says_so() {
    let world = deploying(json!({})).await;
    let old: Vec<Value> = tasks(&world).await.into_iter().filter(|it| it["lastStatus"] == "RUNNING").collect();
    let arns: Vec<&Value> = old.iter().map(|it| &it["taskArn"]).collect();
    let protect = json!({"cluster": "default", "tasks": arns, "protectionEnabled": true, "expiresInMinutes": 10});
    world.ok("UpdateTaskProtection", protect).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 4);
    assert!(says(
        &service(&world).await,
        "Reason: The number of protected tasks are more than the desired count of tasks."
    ));
}
