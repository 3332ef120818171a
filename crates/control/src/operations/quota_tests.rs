//! Quotas, lowered so that a test reaches them, and the fixed limits of single calls.

use serde_json::{Value, json};

use super::testing::World;
use super::testing_instances::registration;
use crate::quotas::Quotas;

async fn world(quotas: &[&str]) -> World {
    World::with_default_cluster().await.with_quotas(Quotas::with(quotas.iter().copied()).unwrap())
}

fn service(name: &str, desired: i64) -> Value {
    json!({"serviceName": name, "taskDefinition": "web", "desiredCount": desired})
}

// spec: 22-001, 26-003
#[tokio::test]
async fn clusters_of_an_account_and_region_have_a_quota() {
    assert_eq!(Quotas::default().clusters_per_account, 10_000);
    let world = world(&["clusters-per-account=2"]).await;
    world.ok("CreateCluster", json!({"clusterName": "second"})).await;
    world.ok("CreateCluster", json!({"clusterName": "second"})).await;
    let (code, message) = world.refused("CreateCluster", json!({"clusterName": "third"})).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("the quota clusters-per-account is 2"), "{message}");
    world.ok("DeleteCluster", json!({"cluster": "second"})).await;
    world.ok("CreateCluster", json!({"clusterName": "third"})).await;
    let world = world.in_region("us-east-1");
    world.ok("CreateCluster", json!({"clusterName": "third"})).await;
}

// spec: 22-002
#[tokio::test]
async fn container_instances_of_a_cluster_have_a_quota() {
    let world = world(&["container-instances-per-cluster=1"]).await;
    let first = world.registered(100, 100, &[]).await;
    let (code, message) = world.refused("RegisterContainerInstance", registration(100, 100, &[])).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("container-instances-per-cluster is 1"), "{message}");
    let mut again = registration(100, 100, &[]);
    again["containerInstanceArn"] = first.clone();
    world.ok("RegisterContainerInstance", again).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": first})).await;
    world.registered(100, 100, &[]).await;
}

// spec: 22-003
#[tokio::test]
async fn services_of_a_cluster_have_a_quota() {
    let world = world(&["services-per-cluster=1"]).await;
    world.family("web", 1, 4, json!({})).await;
    world.ok("CreateService", service("first", 0)).await;
    let (code, message) = world.refused("CreateService", service("second", 0)).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("services-per-cluster is 1"), "{message}");
}

// spec: 22-004
#[tokio::test]
async fn the_desired_count_of_a_service_has_a_quota() {
    let world = world(&["tasks-per-service=1000"]).await;
    world.family("web", 1, 4, json!({})).await;
    let (code, message) = world.refused("CreateService", service("web", 1001)).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("tasks-per-service is 1000"), "{message}");
    world.ok("CreateService", service("web", 1000)).await;
    let more = json!({"service": "web", "desiredCount": 1001});
    assert_eq!(world.refused("UpdateService", more).await.0, "InvalidParameterException");
}

// spec: 06-043, 15-048, 15-049, 22-014, 22-015
#[tokio::test]
async fn a_network_configuration_has_up_to_16_subnets_and_5_security_groups() {
    let world = world(&[]).await;
    world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 4});
    let definition = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [main]});
    world.ok("RegisterTaskDefinition", definition).await;
    let named =
        |what: &str, count: usize| (0..count).map(|number| json!(format!("{what}-{number}"))).collect::<Vec<_>>();
    let network = |subnets: usize, groups: usize| json!({"awsvpcConfiguration": {"subnets": named("subnet", subnets), "securityGroups": named("sg", groups)}});
    for (subnets, groups) in [(17, 1), (1, 6), (0, 1)] {
        let network = network(subnets, groups);
        let run = json!({"taskDefinition": "web", "networkConfiguration": network});
        assert_eq!(world.refused("RunTask", run).await.0, "InvalidParameterException", "{subnets} {groups}");
        let mut service = service("web", 0);
        service["networkConfiguration"] = network;
        assert_eq!(world.refused("CreateService", service).await.0, "InvalidParameterException", "{subnets} {groups}");
    }
    let mut service = service("web", 0);
    service["networkConfiguration"] = network(16, 5);
    world.ok("CreateService", service).await;
}

// spec: 22-008
#[tokio::test]
async fn a_service_has_one_classic_load_balancer() {
    let world = world(&[]).await;
    world.family("web", 1, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    let classic = |name: &str| json!({"loadBalancerName": name, "containerName": "main", "containerPort": 80});
    let mut service = service("web", 0);
    service["loadBalancers"] = json!([classic("a"), classic("b")]);
    assert_eq!(world.refused("CreateService", service).await.0, "InvalidParameterException");
}

// spec: 22-012
#[tokio::test]
async fn a_task_definition_has_up_to_64_kib() {
    let world = world(&[]).await;
    let of = |bytes: usize| {
        let variable = json!({"name": "V", "value": "x".repeat(bytes)});
        json!({"family": "web", "containerDefinitions": [
            {"name": "main", "image": "busybox", "memory": 4, "environment": [variable]},
        ]})
    };
    world.ok("RegisterTaskDefinition", of(60 * 1024)).await;
    assert_eq!(world.refused("RegisterTaskDefinition", of(65 * 1024)).await.0, "ClientException");
}
