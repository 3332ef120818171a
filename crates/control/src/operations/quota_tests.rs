//! Quotas, lowered so that a test reaches them, and the fixed limits of single calls.

use serde_json::{Value, json};

use super::testing::World;
use super::testing_instances::registration;
use crate::quotas::Quotas;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

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
    assert_eq!(Quotas::default().container_instances_per_cluster, 5000);
    assert_eq!(Quotas::default().services_per_cluster, 5000);
    assert_eq!(Quotas::default().tasks_per_service, 5000);
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

#[tokio::test]
async fn services_of_a_cluster_have_a_quota() {
    let world = world(&["services-per-cluster=1"]).await;
    world.family("web", 1, 4, json!({})).await;
    world.ok("CreateService", service("first", 0)).await;
    let (code, message) = world.refused("CreateService", service("second", 0)).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("services-per-cluster is 1"), "{message}");
}

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

// spec: 06-043, 15-048, 22-014, 22-015
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

/// A cluster with Fargate's providers, a machine lent to it and a definition, `serverless`.
async fn fargate(quotas: &[&str]) -> World {
    let world = world(quotas).await;
    world.instance(8192, 16384, &[("ecs.longshore.fargate", "only")]).await;
    let providers = json!({"cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", providers).await;
    let definition = json!({
        "family": "serverless", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [{"name": "main", "image": "busybox"}],
    });
    world.ok("RegisterTaskDefinition", definition).await;
    world
}

fn on_fargate(public: &str, own: Value) -> Value {
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": public}});
    let mut input = json!({"taskDefinition": "serverless", "networkConfiguration": network});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

const TASKS: &str = "You've reached the limit on the number of tasks you can run concurrently";

// spec: 31-049
#[tokio::test]
async fn tasks_on_fargate_have_a_quota_in_every_cluster_and_service() {
    let world = fargate(&["fargate-tasks=2"]).await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let run = |count: i32| on_fargate("DISABLED", json!({"launchType": "FARGATE", "count": count}));
    let mut elsewhere = run(1);
    elsewhere["cluster"] = json!("other");
    world.ok("RunTask", elsewhere).await;
    let answer = world.ok("RunTask", run(2)).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(answer["failures"], json!([{"reason": TASKS}]));
    let service = on_fargate("DISABLED", json!({"launchType": "FARGATE", "serviceName": "web", "desiredCount": 1}));
    world.ok("CreateService", service).await;
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
    let shown = world.ok("DescribeServices", json!({"services": ["web"]})).await["services"][0].clone();
    let said = shown["events"][0]["message"].as_str().unwrap();
    assert!(said.contains(&format!("was unable to place a task. Reason: {TASKS}.")), "{said}");
    let task = &answer["tasks"][0]["taskArn"];
    world.report(task, "STOPPED", Some(0)).await;
    world.clock.advance(std::time::Duration::from_secs(3600));
    run_once(&scheduler).await.unwrap();
    let listed = world.ok("ListTasks", json!({"serviceName": "web"})).await;
    assert_eq!(listed["taskArns"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tasks_on_fargate_spot_have_a_quota_of_their_own() {
    let world = fargate(&["fargate-spot-tasks=1", "fargate-tasks=1"]).await;
    let run = |provider: &str| {
        on_fargate("DISABLED", json!({"capacityProviderStrategy": [{"capacityProvider": provider}], "count": 2}))
    };
    for provider in ["FARGATE_SPOT", "FARGATE"] {
        let answer = world.ok("RunTask", run(provider)).await;
        assert_eq!(answer["tasks"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!(answer["failures"], json!([{"reason": TASKS}]));
    }
    let world = world.restarted().await.with_quotas(Quotas::with(["fargate-spot-tasks=1"]).unwrap());
    assert_eq!(world.ok("RunTask", run("FARGATE_SPOT")).await["tasks"], json!([]));
}

#[tokio::test]
async fn public_addresses_of_fargate_tasks_have_a_quota() {
    let world = fargate(&["fargate-public-ips=1"]).await;
    let run = |public: &str| on_fargate(public, json!({"launchType": "FARGATE", "count": 2}));
    let answer = world.ok("RunTask", run("ENABLED")).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    let reason = "You've reached the limit on the number of public IP addresses that tasks can have";
    assert_eq!(answer["failures"], json!([{"reason": reason}]));
    assert_eq!(world.ok("RunTask", run("DISABLED")).await["failures"], json!([]));
}

// spec: 31-048
#[tokio::test]
async fn launches_on_fargate_are_throttled_when_it_is_asked_for() {
    let world = fargate(&["fargate-launches-per-second=2"]).await;
    let run = |provider: &str, count: i32| {
        on_fargate("DISABLED", json!({"capacityProviderStrategy": [{"capacityProvider": provider}], "count": count}))
    };
    world.ok("RunTask", run("FARGATE", 8)).await;
    let (code, message) = world.refused("RunTask", run("FARGATE", 3)).await;
    assert_eq!(code, "ThrottlingException");
    assert!(message.contains("fargate-launches-per-second is 2"), "{message}");
    world.ok("RunTask", run("FARGATE", 2)).await;
    // On-Demand and Spot have buckets of their own.
    world.ok("RunTask", run("FARGATE_SPOT", 10)).await;
    assert_eq!(world.refused("RunTask", run("FARGATE", 1)).await.0, "ThrottlingException");
    world.clock.advance(std::time::Duration::from_millis(500));
    world.ok("RunTask", run("FARGATE", 1)).await;
    world.refused("RunTask", run("FARGATE", 1)).await;
    world.clock.advance(std::time::Duration::from_secs(3600));
    world.ok("RunTask", run("FARGATE", 10)).await;
    world.refused("RunTask", run("FARGATE", 1)).await;
    // As ECS has it: twenty a second, a hundred at once.
    let world = fargate(&["fargate-launches-per-second=20"]).await;
    world.lender(256 * 200, 512 * 200).await;
    for _ in 0..10 {
        world.ok("RunTask", run("FARGATE", 10)).await;
    }
    assert_eq!(world.refused("RunTask", run("FARGATE", 1)).await.0, "ThrottlingException");
    // Nothing throttles where it is not asked for.
    let world = fargate(&[]).await;
    for _ in 0..3 {
        world.ok("RunTask", run("FARGATE", 10)).await;
    }
}
