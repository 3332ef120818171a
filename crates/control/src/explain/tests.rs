use longshore_api::longshore as api;
use serde_json::{Value as Json, json};

use super::{explain, plan_run_task};
use crate::operations::testing::World;

impl World {
    pub(crate) async fn plan(&self, input: Json) -> api::PlanRunTaskResponse {
        let input = api::PlanRunTaskRequest { run_task: Some(input.to_string()) };
        plan_run_task(self.engine(), &self.context, &input).await.unwrap()
    }

    pub(crate) async fn explained(&self, resource: &Json) -> api::ExplainResponse {
        let resource = Some(resource.as_str().unwrap().to_owned());
        explain(self.engine(), &self.context, &api::ExplainRequest { cluster: None, resource }).await.unwrap()
    }
}

/// Reason and detail of the first refusal of the only instance.
fn first(plan: &api::PlanRunTaskResponse) -> (String, String) {
    let reasons = plan.refusals.as_ref().unwrap()[0].reasons.as_ref().unwrap();
    (reasons[0].reason.clone().unwrap(), reasons[0].detail.clone().unwrap())
}

#[tokio::test]
async fn a_plan_says_where_tasks_would_go_and_runs_none() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 300, 100, json!({})).await;
    let plan = world.plan(json!({"taskDefinition": "web", "count": 5})).await;
    assert_eq!(plan.summary.as_deref(), Some("3 of 5 tasks would be placed."));
    assert_eq!(plan.unplaced, Some(2));
    let placements = plan.placements.as_ref().unwrap();
    assert!(placements.iter().all(|it| it.container_instance_arn.as_deref() == instance.as_str()));
    // The refusal is what is left after the three.
    let (reason, detail) = first(&plan);
    assert_eq!(reason, "RESOURCE:CPU");
    assert_eq!(detail, "It has 100 CPU units left, the task needs 300: 200 too few.");
    assert!(plan.smallest_change.unwrap().starts_with("Ask for 200 CPU units less"));
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"], json!([]));
}

// spec: 24-060, 24-062, 24-064
#[tokio::test]
async fn every_refusal_of_an_instance_is_explained_with_the_reason_of_run_task() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("big", 10, 8192, json!({})).await;
    world.family("ssh", 10, 10, json!({"portMappings": [{"containerPort": 22, "hostPort": 22}]})).await;
    world.family("fluent", 10, 10, json!({"logConfiguration": {"logDriver": "fluentd"}})).await;
    world.family("small", 10, 10, json!({})).await;
    let prod = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    for (input, detail) in [
        (json!({"taskDefinition": "big"}), "It has 1000 MiB of memory left, the task needs 8192: 7192 too few."),
        (json!({"taskDefinition": "ssh"}), "Its host ports 22/tcp are taken."),
        (
            json!({"taskDefinition": "fluent"}),
            "It lacks the attribute com.amazonaws.ecs.capability.logging-driver.fluentd.",
        ),
        (
            json!({"taskDefinition": "small", "placementConstraints": prod}),
            "The expression 'attribute:stack == prod' does not select it.",
        ),
    ] {
        let real = world.ok("RunTask", input.clone()).await["failures"][0]["reason"].clone();
        let plan = world.plan(input).await;
        assert_eq!(first(&plan), (real.as_str().unwrap().to_owned(), detail.to_owned()));
        assert!(plan.smallest_change.is_some());
    }
    world.connect(&instance, false).await;
    let plan = world.plan(json!({"taskDefinition": "small"})).await;
    assert_eq!(first(&plan), ("AGENT".to_owned(), "Its agent is not connected.".to_owned()));
}

#[tokio::test]
async fn an_empty_cluster_and_missing_fargate_capacity_say_what_to_do() {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({})).await;
    let plan = world.plan(json!({"taskDefinition": "web"})).await;
    assert!(plan.smallest_change.unwrap().starts_with("Register a container instance in the cluster default"));
    let main = json!({"name": "main", "image": "busybox"});
    let definition = json!({
        "family": "far", "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"],
    });
    world.ok("RegisterTaskDefinition", definition).await;
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let input = json!({"taskDefinition": "far", "launchType": "FARGATE", "networkConfiguration": network});
    let plan = world.plan(input.clone()).await;
    assert!(plan.smallest_change.unwrap().starts_with("Lend a machine to Fargate"));
    world.instance(128, 4096, &[("ecs.longshore.fargate", "only")]).await;
    let plan = world.plan(input).await;
    assert_eq!(first(&plan).0, "RESOURCE:CPU");
    assert_eq!(plan.refusals.unwrap()[0].container_instance_arn, None);
}

#[tokio::test]
async fn what_run_task_refuses_the_plan_refuses_too() {
    let world = World::with_default_cluster().await;
    let refused = |text: &str| {
        let input = api::PlanRunTaskRequest { run_task: Some(text.to_owned()) };
        let world = &world;
        async move { plan_run_task(world.engine(), &world.context, &input).await.unwrap_err() }
    };
    assert_eq!(refused(r#"{"taskDefinition": "nothing"}"#).await.message, "TaskDefinition not found.");
    assert_eq!(refused("{").await.code, "InvalidParameterException");
    assert_eq!(refused(r#"{"count": "x"}"#).await.code, "InvalidParameterException");
}

#[tokio::test]
async fn a_stopped_and_a_waiting_task_are_explained() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.connect(&instance, false).await;
    let waiting = world.explained(&task).await;
    assert!(waiting.summary.unwrap().contains("whose agent is not connected"));
    assert!(waiting.smallest_change.unwrap().starts_with("Start the agent"));
    world.report(&task, "RUNNING", None).await;
    world.report(&task, "STOPPED", Some(7)).await;
    let stopped = world.explained(&task).await;
    let expected =
        "The task has stopped: Essential container in task exited. Container main ended by itself with exit code 7";
    assert_eq!(stopped.summary.as_deref(), Some(expected));
    assert!(stopped.details.unwrap().contains(&"Container main is STOPPED, exit code 7".to_owned()));
}

// spec: 24-060
#[tokio::test]
async fn a_service_that_cannot_place_its_tasks_is_explained() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("big", 10, 1500, json!({})).await;
    let input = json!({"serviceName": "s", "taskDefinition": "big", "desiredCount": 2});
    world.ok("CreateService", input).await;
    let explained = world.explained(&json!("s")).await;
    let summary = explained.summary.unwrap();
    assert!(summary.contains("has insufficient memory available"), "{summary}");
    let reasons = explained.refusals.unwrap()[0].reasons.clone().unwrap();
    assert_eq!((reasons[0].needed, reasons[0].available), (Some(1500), Some(1000)));
    assert!(explained.smallest_change.unwrap().starts_with("Ask for 500 MiB of memory less"));
    let unknown = api::ExplainRequest { cluster: None, resource: Some("nobody".to_owned()) };
    let refused = explain(world.engine(), &world.context, &unknown).await.unwrap_err();
    assert_eq!(refused.code, "ResourceNotFoundException");
}
