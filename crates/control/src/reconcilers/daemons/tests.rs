use std::time::Duration;

use serde_json::{Value, json};

use super::{DaemonScheduler, DaemonSchedulerLimits};
use crate::operations::daemons::tests::{create, definition, deployments, describe, update, world as empty_world};
use crate::operations::testing::World;
use crate::reconcilers::run_once;

const OF_GROUP: &[(&str, &str)] = &[("ecs.longshore.capacity-provider", "group")];

/// A world with so many connected instances of the capacity provider `group`.
async fn world(instances: usize) -> (World, Vec<Value>) {
    let world = empty_world().await;
    let mut arns = Vec::new();
    for _ in 0..instances {
        arns.push(world.instance(1000, 1000, OF_GROUP).await);
    }
    (world, arns)
}

async fn reconcile(world: &World) {
    let scheduler = DaemonScheduler::new(world.engine().clone(), DaemonSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
}

/// The tasks that are to run, or those that are to stop.
async fn tasks(world: &World, desired: &str) -> Vec<Value> {
    let input = json!({"daemonName": "agent", "desiredStatus": desired});
    let mut tasks = Vec::new();
    for arn in world.ok("ListTasks", input).await["taskArns"].as_array().unwrap() {
        tasks.push(world.task(arn).await);
    }
    tasks
}

async fn running(world: &World) -> Vec<Value> {
    tasks(world, "RUNNING").await
}

/// Every task that is to stop has stopped, and every one that is not RUNNING yet becomes so.
async fn agents_act(world: &World) {
    for task in tasks(world, "STOPPED").await {
        if task["lastStatus"] != "STOPPED" {
            world.report(&task["taskArn"], "STOPPED", Some(0)).await;
        }
    }
    for task in running(world).await {
        if task["lastStatus"] != "RUNNING" {
            world.report(&task["taskArn"], "RUNNING", None).await;
        }
    }
}

/// Until nothing changes any more; answers how many tasks ran after each round.
async fn settle(world: &World) -> Vec<usize> {
    let mut counts = Vec::new();
    for _ in 0..20 {
        reconcile(world).await;
        let runs = running(world).await.iter().filter(|task| task["lastStatus"] == "RUNNING").count();
        counts.push(runs);
        agents_act(world).await;
    }
    reconcile(world).await;
    counts
}

/// Every task that is not RUNNING yet fails.
async fn tasks_fail(world: &World) {
    for task in running(world).await {
        if task["lastStatus"] == "PENDING" {
            world.report(&task["taskArn"], "STOPPED", None).await;
        }
    }
}

fn definition_of(task: &Value) -> &str {
    task["taskDefinitionArn"].as_str().unwrap().rsplit_once('/').unwrap().1
}

#[tokio::test]
async fn every_instance_of_the_capacity_providers_gets_one_task() {
    let (world, instances) = world(3).await;
    world.instance(1000, 1000, &[]).await;
    world.instance(1000, 1000, &[("ecs.longshore.capacity-provider", "other")]).await;
    let own = json!({"tags": [{"key": "a", "value": "b"}], "propagateTags": "DAEMON", "enableECSManagedTags": true});
    create(&world, own).await;
    reconcile(&world).await;
    let started = running(&world).await;
    let mut hosts: Vec<Value> = started.iter().map(|task| task["containerInstanceArn"].clone()).collect();
    hosts.sort_by_key(Value::to_string);
    let mut expected = instances.clone();
    expected.sort_by_key(Value::to_string);
    assert_eq!(hosts, expected);
    let task = &started[0];
    assert_eq!(task["taskDefinitionArn"], world.arn("daemon-task-definition/agent:1"));
    assert_eq!((&task["group"], &task["capacityProviderName"]), (&json!("daemon:agent"), &json!("group")));
    let tags = json!([
        {"key": "a", "value": "b"},
        {"key": "aws:ecs:clusterName", "value": "default"},
        {"key": "aws:ecs:daemonName", "value": "agent"},
    ]);
    assert_eq!(task["tags"], tags);
    assert_eq!(deployments(&world).await[0]["status"], "IN_PROGRESS");
    settle(&world).await;
    let current = describe(&world).await["currentRevisions"].clone();
    assert_eq!((&current[0]["totalRunningCount"], &current[0]["totalWithoutDaemonCount"]), (&json!(3), &json!(0)));
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["status"], "SUCCESSFUL");
    assert_eq!(deployment["targetDaemonRevision"]["totalRunningInstanceCount"], 3);
    assert_eq!(deployment["circuitBreaker"]["status"], "MONITORING_COMPLETE");
}

#[tokio::test]
async fn a_new_instance_gets_a_task_and_a_stopped_task_is_replaced() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    settle(&world).await;
    world.instance(1000, 1000, OF_GROUP).await;
    reconcile(&world).await;
    assert_eq!(running(&world).await.len(), 2);
    agents_act(&world).await;
    let stopped = running(&world).await[0].clone();
    world.report(&stopped["taskArn"], "STOPPED", Some(1)).await;
    reconcile(&world).await;
    let now = running(&world).await;
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|task| task["taskArn"] != stopped["taskArn"]));
    assert_eq!(deployments(&world).await[0]["status"], "SUCCESSFUL");
}

#[tokio::test]
async fn a_daemon_leaves_a_draining_instance_after_everything_else() {
    let (world, instances) = world(1).await;
    world.family("web", 10, 64, json!({})).await;
    create(&world, json!({})).await;
    settle(&world).await;
    let web = world.run("web").await;
    let drain = json!({"containerInstances": instances, "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    reconcile(&world).await;
    assert_eq!(running(&world).await.len(), 1);
    world.report(&web["taskArn"], "STOPPED", Some(0)).await;
    reconcile(&world).await;
    assert_eq!(running(&world).await, [] as [Value; 0]);
    agents_act(&world).await;
    reconcile(&world).await;
    let active = json!({"containerInstances": instances, "status": "ACTIVE"});
    world.ok("UpdateContainerInstancesState", active).await;
    reconcile(&world).await;
    assert_eq!(running(&world).await.len(), 1);
}

#[tokio::test]
async fn a_deployment_drains_no_more_instances_at_a_time_than_it_may() {
    let (world, _) = world(4).await;
    create(&world, json!({})).await;
    settle(&world).await;
    definition(&world).await;
    update(&world, json!({"deploymentConfiguration": {"drainPercent": 50.0}})).await;
    let counts = settle(&world).await;
    assert_eq!(counts.iter().min(), Some(&2), "{counts:?}");
    assert!(running(&world).await.iter().all(|task| definition_of(task) == "agent:2"));
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["status"], "SUCCESSFUL");
    assert_eq!(deployment["sourceDaemonRevisions"][0]["totalRunningInstanceCount"], 0);
    assert_eq!(describe(&world).await["currentRevisions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_share_one_instance_at_a_time_is_drained() {
    let (world, _) = world(3).await;
    create(&world, json!({"deploymentConfiguration": {"drainPercent": 0.0}})).await;
    settle(&world).await;
    definition(&world).await;
    update(&world, json!({})).await;
    let counts = settle(&world).await;
    assert_eq!(counts.iter().min(), Some(&2), "{counts:?}");
    assert_eq!(deployments(&world).await[0]["status"], "SUCCESSFUL");
}

#[tokio::test]
async fn an_update_that_changes_no_task_replaces_none() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    settle(&world).await;
    let before = running(&world).await;
    update(&world, json!({"deploymentConfiguration": {"drainPercent": 100.0}})).await;
    settle(&world).await;
    assert_eq!(running(&world).await, before);
    assert_eq!(deployments(&world).await[0]["status"], "SUCCESSFUL");
}

#[tokio::test]
async fn a_deployment_bakes_before_it_counts_as_successful() {
    let (world, _) = world(1).await;
    create(&world, json!({"deploymentConfiguration": {"bakeTimeInMinutes": 5}})).await;
    settle(&world).await;
    assert_eq!(deployments(&world).await[0]["status"], "IN_PROGRESS");
    world.clock.advance(Duration::from_secs(299));
    reconcile(&world).await;
    assert_eq!(deployments(&world).await[0]["status"], "IN_PROGRESS");
    world.clock.advance(Duration::from_secs(1));
    reconcile(&world).await;
    assert_eq!(deployments(&world).await[0]["status"], "SUCCESSFUL");
}

/// Lets tasks fail until nobody starts any more.
async fn fail_until_given_up(world: &World) {
    for _ in 0..10 {
        reconcile(world).await;
        tasks_fail(world).await;
        world.clock.advance(Duration::from_secs(900));
    }
}

#[tokio::test]
async fn a_failing_deployment_rolls_back_to_the_last_that_succeeded() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    settle(&world).await;
    let good = deployments(&world).await[0]["targetDaemonRevision"]["arn"].clone();
    definition(&world).await;
    update(&world, json!({"deploymentConfiguration": {"drainPercent": 50.0}})).await;
    for _ in 0..10 {
        reconcile(&world).await;
        for task in tasks(&world, "STOPPED").await {
            if task["lastStatus"] != "STOPPED" {
                world.report(&task["taskArn"], "STOPPED", Some(0)).await;
            }
        }
        for task in running(&world).await {
            if task["lastStatus"] == "PENDING" && definition_of(&task) == "agent:2" {
                world.report(&task["taskArn"], "STOPPED", None).await;
            }
        }
        world.clock.advance(Duration::from_secs(60));
    }
    settle(&world).await;
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL");
    assert_eq!(deployment["rollback"]["rollbackTargetDaemonRevisionArn"], good);
    assert_eq!(deployment["circuitBreaker"]["status"], "TRIGGERED");
    let now = running(&world).await;
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|task| definition_of(task) == "agent:1"));
}

#[tokio::test]
async fn a_task_that_never_runs_is_throttled_beside_those_that_run_all_the_time() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    settle(&world).await;
    world.instance(1000, 1000, OF_GROUP).await;
    for _ in 0..3 {
        reconcile(&world).await;
        assert_eq!(running(&world).await.len(), 3);
        world.clock.advance(Duration::from_secs(1));
        tasks_fail(&world).await;
    }
    reconcile(&world).await;
    assert_eq!(running(&world).await.len(), 2, "the next start has to wait");
    world.clock.advance(Duration::from_secs(16));
    reconcile(&world).await;
    assert_eq!(running(&world).await.len(), 3);
}

#[tokio::test]
async fn a_first_deployment_that_keeps_failing_is_stopped() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    fail_until_given_up(&world).await;
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["status"], "STOPPED");
    assert!(deployment["statusReason"].as_str().unwrap().contains("no earlier revision"));
    assert_eq!(deployment["circuitBreaker"], json!({"failureCount": 3, "status": "TRIGGERED", "threshold": 3}));
    assert_eq!(running(&world).await, [] as [Value; 0]);
    update(&world, json!({})).await;
    settle(&world).await;
    assert_eq!(deployments(&world).await[0]["status"], "SUCCESSFUL");
}

#[tokio::test]
async fn a_deployment_says_why_it_does_not_go_on() {
    let (world, _) = world(0).await;
    world.instance(5, 1000, OF_GROUP).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["status"], "IN_PROGRESS");
    assert!(deployment["statusReason"].as_str().unwrap().contains("insufficient CPU"), "{deployment}");
    assert_eq!(deployment["targetDaemonRevision"]["totalWithoutDaemonInstanceCount"], 1);
}

#[tokio::test]
async fn a_deleted_daemon_is_gone_after_its_tasks() {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    settle(&world).await;
    let arn = json!({"daemonArn": world.arn("daemon/default/agent")});
    world.ok("DeleteDaemon", arn.clone()).await;
    reconcile(&world).await;
    assert_eq!(running(&world).await, [] as [Value; 0]);
    assert_eq!(describe(&world).await["status"], "DELETE_IN_PROGRESS");
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(world.refused("DescribeDaemon", arn).await.0, "DaemonNotFoundException");
    create(&world, json!({})).await;
}

#[tokio::test]
async fn tasks_on_a_provider_that_an_update_leaves_out_are_stopped() {
    let (world, _) = world(1).await;
    let both =
        json!({"cluster": "default", "capacityProviders": ["group", "other"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", both).await;
    world.instance(1000, 1000, &[("ecs.longshore.capacity-provider", "other")]).await;
    create(&world, json!({"capacityProviderArns": ["group", "other"]})).await;
    settle(&world).await;
    assert_eq!(running(&world).await.len(), 2);
    update(&world, json!({"capacityProviderArns": ["other"]})).await;
    settle(&world).await;
    let left = running(&world).await;
    assert_eq!((left.len(), &left[0]["capacityProviderName"]), (1, &json!("other")));
}

#[tokio::test]
async fn a_group_of_the_same_name_is_no_daemon_s() {
    let (world, _) = world(1).await;
    world.family("web", 10, 64, json!({})).await;
    world.ok("RunTask", json!({"taskDefinition": "web", "group": "daemon:agent"})).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let own = running(&world).await;
    assert_eq!((own.len(), definition_of(&own[0])), (1, "agent:1"));
}
