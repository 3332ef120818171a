//! Dry runs of services: what they tell must be what then happens.

use std::time::Duration;

use longshore_api::longshore as api;
use serde_json::{Value as Json, json};

use super::{plan_create_service, plan_update_service};
use crate::operations::testing::World;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

impl World {
    async fn plan_create(&self, input: Json) -> api::PlanServiceResponse {
        let input = api::PlanCreateServiceRequest { create_service: Some(input.to_string()) };
        plan_create_service(self.engine(), &self.context, &input).await.unwrap()
    }

    async fn plan_update(&self, input: Json) -> api::PlanServiceResponse {
        let input = api::PlanUpdateServiceRequest { update_service: Some(input.to_string()) };
        plan_update_service(self.engine(), &self.context, &input).await.unwrap()
    }

    async fn play(&self) {
        let scheduler = ServiceScheduler::new(self.engine().clone(), ServiceSchedulerLimits::default());
        run_once(&scheduler).await.unwrap();
    }

    async fn all_tasks(&self, wanted: &str) -> Vec<Json> {
        let listed = self.ok("ListTasks", json!({"serviceName": "s", "desiredStatus": wanted})).await;
        listed["taskArns"].as_array().unwrap().clone()
    }

    async fn agents_do_as_told(&self) {
        for task in self.all_tasks("RUNNING").await {
            if self.task(&task).await["lastStatus"] != "RUNNING" {
                self.report(&task, "RUNNING", None).await;
            }
        }
        for task in self.all_tasks("STOPPED").await {
            if self.task(&task).await["lastStatus"] != "STOPPED" {
                self.report(&task, "STOPPED", Some(0)).await;
            }
        }
    }
}

fn service(own: Json) -> Json {
    let mut input = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 4});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

/// Tasks started and stopped, and new and old ones after it, of each step.
fn steps(plan: &api::PlanServiceResponse) -> Vec<(i64, i64, i64, i64)> {
    let steps = plan.steps.as_ref().unwrap().iter();
    steps.map(|it| (it.started.unwrap(), it.stopped.unwrap(), it.new_tasks.unwrap(), it.old_tasks.unwrap())).collect()
}

async fn world() -> World {
    let world = World::with_default_cluster().await;
    for zone in ["a", "b"] {
        world.instance(1000, 1000, &[("ecs.availability-zone", zone)]).await;
    }
    world.family("web", 100, 100, json!({})).await;
    world
}

/// The same with the service made and steady.
async fn steady(own: Json) -> World {
    let world = world().await;
    world.ok("CreateService", service(own)).await;
    world.play().await;
    world.agents_do_as_told().await;
    world.clock.advance(Duration::from_secs(41));
    world.play().await;
    world
}

#[tokio::test]
async fn a_machine_that_runs_fargate_tasks_of_another_cluster_is_planned_with() {
    let world = world().await;
    world.instance(1000, 1000, &[("ecs.longshore.fargate", "also")]).await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let subnets: Vec<String> =
        longshore_model::vpc::default_subnets(&world.scope()).into_iter().take(1).map(|subnet| subnet.id).collect();
    let main = json!({"name": "main", "image": "busybox"});
    let far = json!({"family": "far", "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": "256",
        "memory": "512", "requiresCompatibilities": ["FARGATE"]});
    world.ok("RegisterTaskDefinition", far).await;
    let input = json!({"cluster": "other", "taskDefinition": "far", "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": subnets}}});
    assert_eq!(world.ok("RunTask", input).await["failures"], json!([]));
    let plan = world.plan_create(service(json!({}))).await;
    assert_eq!(plan.converges, Some(true), "{plan:?}");
}

#[tokio::test]
async fn a_plan_of_a_service_says_where_its_tasks_would_go_and_makes_nothing() {
    let world = world().await;
    let plan = world.plan_create(service(json!({}))).await;
    assert_eq!((plan.converges, plan.cause.as_deref()), (Some(true), None));
    assert_eq!((plan.maximum_tasks, plan.minimum_healthy_tasks), (Some(8), Some(4)));
    assert_eq!(steps(&plan), [(4, 0, 4, 0)]);
    let placements = plan.steps.as_ref().unwrap()[0].placements.clone().unwrap();
    let in_zone = |zone: &str| placements.iter().filter(|it| it.availability_zone.as_deref() == Some(zone)).count();
    assert_eq!((in_zone("a"), in_zone("b")), (2, 2));
    assert!(plan.events.unwrap().iter().any(|event| event.contains("has reached a steady state")));
    assert_eq!(world.ok("ListServices", json!({})).await["serviceArns"], json!([]));
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"], json!([]));
}

// spec: 15-032, 15-033
#[tokio::test]
async fn a_plan_of_an_update_goes_step_by_step_within_its_bounds() {
    for (least, most, expected) in [
        (100, 200, vec![(4, 0, 4, 4), (0, 4, 4, 0)]),
        (50, 100, vec![(0, 2, 0, 2), (2, 0, 2, 2), (0, 2, 2, 0), (2, 0, 4, 0)]),
        (0, 100, vec![(0, 4, 0, 0), (4, 0, 4, 0)]),
    ] {
        let bounds = json!({"minimumHealthyPercent": least, "maximumPercent": most});
        let world = steady(json!({"deploymentConfiguration": bounds})).await;
        let before = world.ok("DescribeServices", json!({"services": ["s"]})).await;
        let plan = world.plan_update(json!({"service": "s", "forceNewDeployment": true})).await;
        assert_eq!((steps(&plan), plan.converges), (expected, Some(true)), "{least}/{most}: {plan:?}");
        assert_eq!(world.ok("DescribeServices", json!({"services": ["s"]})).await, before);
    }
}

#[tokio::test]
async fn what_a_plan_tells_is_what_then_happens() {
    let bounds = json!({"minimumHealthyPercent": 50, "maximumPercent": 150});
    let world = steady(json!({"deploymentConfiguration": bounds})).await;
    let update = json!({"service": "s", "forceNewDeployment": true});
    let plan = world.plan_update(update.clone()).await;
    world.ok("UpdateService", update).await;
    for (at, step) in plan.steps.as_ref().unwrap().iter().enumerate() {
        let (running, stopped) = (world.all_tasks("RUNNING").await.len(), world.all_tasks("STOPPED").await.len());
        for _ in 0..10 {
            world.play().await;
            let more = world.all_tasks("STOPPED").await.len() - stopped;
            if more > 0 || world.all_tasks("RUNNING").await.len() > running {
                break;
            }
            world.agents_do_as_told().await;
            world.clock.advance(Duration::from_secs(41));
        }
        let (now, ended) = (world.all_tasks("RUNNING").await.len(), world.all_tasks("STOPPED").await.len() - stopped);
        let count = |given: Option<i64>| usize::try_from(given.unwrap()).unwrap();
        assert_eq!((now + ended - running, ended), (count(step.started), count(step.stopped)), "step {at}");
        world.agents_do_as_told().await;
    }
    assert_eq!(world.all_tasks("RUNNING").await.len(), 4);
}

#[tokio::test]
async fn a_plan_that_its_bounds_forbid_says_which_would_do() {
    let bounds = json!({"minimumHealthyPercent": 100, "maximumPercent": 100});
    let world = steady(json!({"deploymentConfiguration": bounds})).await;
    let plan = world.plan_update(json!({"service": "s", "forceNewDeployment": true})).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(false), Vec::new()));
    assert!(plan.cause.unwrap().contains("because of the service deployment configuration"));
    assert!(plan.smallest_change.unwrap().contains("Set maximumPercent to 125 or more"));
}

#[tokio::test]
async fn a_plan_without_room_goes_as_far_as_it_can_and_says_what_is_lacking() {
    let world = world().await;
    world.family("big", 600, 100, json!({})).await;
    let plan = world.plan_create(service(json!({"taskDefinition": "big"}))).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(false), vec![(2, 0, 2, 0)]));
    assert!(plan.cause.unwrap().contains("has insufficient CPU units available"));
    assert_eq!(plan.refusals.unwrap().len(), 2);
    assert!(plan.smallest_change.unwrap().starts_with("Ask for 200 CPU units less"));
    let empty = World::with_default_cluster().await;
    empty.family("web", 100, 100, json!({})).await;
    let plan = empty.plan_create(service(json!({}))).await;
    assert!(plan.cause.unwrap().contains("No Container Instances were found in your cluster"));
}

#[tokio::test]
async fn a_plan_of_fixed_host_ports_that_are_all_taken_does_not_converge() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 100, 100, json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]})).await;
    world.ok("CreateService", service(json!({"desiredCount": 1}))).await;
    world.play().await;
    world.agents_do_as_told().await;
    world.clock.advance(Duration::from_secs(41));
    world.play().await;
    let plan = world.plan_update(json!({"service": "s", "forceNewDeployment": true})).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(false), Vec::new()));
    assert!(plan.cause.unwrap().contains("is already using a port required by your task"));
    let bounds = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    let update = json!({"service": "s", "forceNewDeployment": true, "deploymentConfiguration": bounds});
    let plan = world.plan_update(update).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(true), vec![(0, 1, 0, 0), (1, 0, 1, 0)]));
}

#[tokio::test]
async fn a_plan_on_instances_whose_agents_are_away_does_not_converge() {
    let world = steady(json!({})).await;
    for arn in world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"].as_array().unwrap() {
        world.connect(arn, false).await;
    }
    let plan = world.plan_update(json!({"service": "s", "desiredCount": 5})).await;
    assert_eq!(plan.converges, Some(false));
    assert!(plan.cause.unwrap().contains("encountered error \"AGENT\""));
}

#[tokio::test]
async fn a_plan_of_a_blue_green_deployment_waits_for_its_bake_time_and_for_users() {
    let world = steady(json!({})).await;
    let staged = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5});
    let update = |staged: &Json| json!({"service": "s", "forceNewDeployment": true, "deploymentConfiguration": staged});
    let plan = world.plan_update(update(&staged)).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(true), vec![(4, 0, 4, 4), (0, 4, 4, 0)]));
    assert!(plan.steps.unwrap()[1].seconds.unwrap() >= 300);
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]});
    let paused = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]});
    let plan = world.plan_update(update(&paused)).await;
    assert_eq!(plan.steps.unwrap()[0].started, Some(4));
    let function = json!({
        "hookTargetArn": "arn:aws:lambda:eu-west-1:123456789012:function:check",
        "roleArn": "arn:aws:iam::123456789012:role/hooks", "lifecycleStages": ["POST_SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT"],
    });
    let plan = world.plan_update(update(&json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [function]}))).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(true), vec![(4, 0, 4, 4), (0, 4, 4, 0)]));
}

#[tokio::test]
async fn daemons_and_task_sets_are_planned() {
    let world = world().await;
    let daemon = json!({"serviceName": "s", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
    let plan = world.plan_create(daemon).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(true), vec![(2, 0, 2, 0)]));
    assert_eq!((plan.maximum_tasks, plan.minimum_healthy_tasks), (Some(2), Some(0)));
    let external = json!({"serviceName": "ext", "desiredCount": 2, "deploymentController": {"type": "EXTERNAL"}});
    world.ok("CreateService", external).await;
    let scale = json!({"value": 100.0, "unit": "PERCENT"});
    let set = json!({"cluster": "default", "service": "ext", "taskDefinition": "web", "scale": scale});
    world.ok("CreateTaskSet", set).await;
    let plan = world.plan_update(json!({"service": "ext", "desiredCount": 3})).await;
    assert_eq!((plan.converges, steps(&plan)), (Some(true), vec![(3, 0, 3, 0)]));
}

#[tokio::test]
async fn what_the_real_call_refuses_the_plan_refuses_too() {
    let world = world().await;
    let refused = async |text: &str| {
        let input = api::PlanCreateServiceRequest { create_service: Some(text.to_owned()) };
        plan_create_service(world.engine(), &world.context, &input).await.unwrap_err()
    };
    assert_eq!(refused("{").await.code, "InvalidParameterException");
    assert_eq!(
        refused(r#"{"serviceName": "s", "taskDefinition": "no", "desiredCount": 1}"#).await.message,
        "TaskDefinition not found."
    );
    let input = api::PlanUpdateServiceRequest { update_service: Some(r#"{"service": "no"}"#.to_owned()) };
    let refused = plan_update_service(world.engine(), &world.context, &input).await.unwrap_err();
    assert_eq!(refused.code, "ServiceNotFoundException");
}
