//! Tasks that end as soon as they run.

use std::time::Duration;

use serde_json::json;

use super::tests::{create, says, service, tasks, update, world};
use super::{ServiceScheduler, ServiceSchedulerLimits};
use crate::operations::testing::World;
use crate::reconcilers::run_once;

async fn reconcile(world: &World) {
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
}

async fn run_all(world: &World) {
    for task in tasks(world).await.iter().filter(|task| task["lastStatus"] == "PENDING") {
        world.report(&task["taskArn"], "RUNNING", None).await;
    }
    reconcile(world).await;
}

/// The tasks that do not run yet run and end by themselves a second later, again and again.
async fn crash(world: &World, times: usize) {
    for _ in 0..times {
        let new = tasks(world).await.into_iter().filter(|task| task["lastStatus"] == "PENDING");
        let new: Vec<_> = new.map(|task| task["taskArn"].clone()).collect();
        run_all(world).await;
        world.clock.advance(Duration::from_secs(1));
        for task in &new {
            world.report(task, "STOPPED", Some(1)).await;
        }
        reconcile(world).await;
    }
}

#[tokio::test]
async fn a_deployment_is_completed_once_its_tasks_have_run_for_a_moment() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    run_all(&world).await;
    let running = service(&world).await;
    assert_eq!(
        (&running["runningCount"], &running["deployments"][0]["rolloutState"]),
        (&json!(2), &json!("IN_PROGRESS"))
    );
    assert!(!says(&running, "has reached a steady state."));
    world.clock.advance(Duration::from_secs(5));
    reconcile(&world).await;
    let steady = service(&world).await;
    assert_eq!(steady["deployments"][0]["rolloutState"], "COMPLETED");
    assert!(says(&steady, "has reached a steady state."));
}

#[tokio::test]
async fn tasks_that_end_as_soon_as_they_run_break_the_circuit() {
    let (world, _) = world(1).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    create(&world, json!({"desiredCount": 1, "deploymentConfiguration": breaker})).await;
    reconcile(&world).await;
    run_all(&world).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    let before = tasks(&world).await;
    world.family("web", 50, 64, json!({})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    crash(&world, 2).await;
    assert_eq!(service(&world).await["deployments"][0]["failedTasks"], 2);
    crash(&world, 1).await;
    reconcile(&world).await;
    let back = service(&world).await;
    assert!(says(&back, "deployment failed: tasks failed to start."), "{back}");
    assert_eq!(back["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(tasks(&world).await, before);
}

#[tokio::test]
async fn tasks_that_ran_are_no_reason_to_wait_and_say_nothing_of_a_completed_deployment() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    run_all(&world).await;
    world.clock.advance(Duration::from_secs(5));
    reconcile(&world).await;
    world.report(&tasks(&world).await[0]["taskArn"], "STOPPED", Some(1)).await;
    reconcile(&world).await;
    crash(&world, 4).await;
    let after = service(&world).await;
    assert_eq!((&after["deployments"][0]["failedTasks"], &after["pendingCount"]), (&json!(0), &json!(1)));
    assert!(!says(&after, "unable to consistently start tasks"));
}
