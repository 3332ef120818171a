//! Launch types and capacity providers side by side in one cluster.

use serde_json::{Value, json};

use crate::operations::testing::World;

const EVERYTHING: &str = "ecs.longshore.fargate";

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}})
}

fn on_fargate() -> Value {
    json!({"taskDefinition": "serverless", "launchType": "FARGATE", "networkConfiguration": network()})
}

/// A cluster, a definition for EC2 (`web`) and one for Fargate (`serverless`).
async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({})).await;
    let definition = json!({
        "family": "serverless", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [{"name": "main", "image": "busybox"}],
    });
    world.ok("RegisterTaskDefinition", definition).await;
    world
}

async fn put_providers(world: &World, providers: Value) {
    let input = json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
}

// spec: 03-009, 06-001
#[tokio::test]
async fn one_cluster_runs_tasks_of_both_launch_types() {
    let world = world().await;
    let (code, message) = world.refused("RunTask", json!({"taskDefinition": "web", "launchType": "EC2"})).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "No Container Instances were found in your cluster.");
    world.instance(4096, 4096, &[(EVERYTHING, "only")]).await;
    world.instance(1000, 1000, &[]).await;
    let own = world.run("web").await;
    let serverless = world.ok("RunTask", on_fargate()).await["tasks"][0].clone();
    assert_eq!((&own["launchType"], &serverless["launchType"]), (&json!("EC2"), &json!("FARGATE")));
    for (launch_type, task) in [("EC2", &own), ("FARGATE", &serverless)] {
        let listed = world.ok("ListTasks", json!({"launchType": launch_type})).await;
        assert_eq!(listed["taskArns"], json!([task["taskArn"]]), "{launch_type}");
    }
}

// spec: 03-096
#[tokio::test]
async fn a_strategy_names_only_associated_providers() {
    let world = world().await;
    world.instance(4096, 4096, &[(EVERYTHING, "only")]).await;
    put_providers(&world, json!(["FARGATE"])).await;
    let run = |provider: &str| {
        let mut input = on_fargate();
        input.as_object_mut().unwrap().remove("launchType");
        input["capacityProviderStrategy"] = json!([{"capacityProvider": provider, "weight": 1}]);
        input
    };
    assert_eq!(world.refused("RunTask", run("FARGATE_SPOT")).await.0, "InvalidParameterException");
    assert_eq!(world.refused("RunTask", run("nothing")).await.0, "InvalidParameterException");
    let task = world.ok("RunTask", run("FARGATE")).await["tasks"][0].clone();
    assert_eq!(task["capacityProviderName"], "FARGATE");
}

#[tokio::test]
async fn a_strategy_has_up_to_twenty_providers() {
    let world = world().await;
    let strategy: Vec<Value> =
        (0..21).map(|number| json!({"capacityProvider": format!("p{number}"), "weight": 1})).collect();
    let run = json!({"taskDefinition": "web", "capacityProviderStrategy": strategy});
    let (code, message) = world.refused("RunTask", run).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("at most 20"), "{message}");
}

#[tokio::test]
async fn a_new_capacity_provider_is_answered_active_and_whole() {
    let world = World::new().await;
    let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g";
    let input = json!({"name": "mine", "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
    let made = world.ok("CreateCapacityProvider", input).await["capacityProvider"].clone();
    assert_eq!(made["capacityProviderArn"], world.arn("capacity-provider/mine"));
    assert_eq!((&made["name"], &made["status"], &made["tags"]), (&json!("mine"), &json!("ACTIVE"), &json!([])));
    assert_eq!(made["autoScalingGroupProvider"]["autoScalingGroupArn"], group);
}
