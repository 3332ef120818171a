//! Parameters of services: accepted whole, changed later, and refused when they cannot be.

use serde_json::{Value, json};

use crate::operations::testing::World;

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    world
}

fn request(own: Value) -> Value {
    let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 0});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

async fn updated(world: &World, own: Value) -> Value {
    let mut input = json!({"service": "web"});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let answered = world.ok("UpdateService", input).await["service"].clone();
    let described = world.ok("DescribeServices", json!({"services": ["web"], "include": ["TAGS"]})).await;
    assert_eq!(described["services"][0], answered);
    answered
}

// spec: 15-064
#[tokio::test]
async fn a_service_with_everything_is_accepted_and_answered() {
    let world = world().await;
    let balancer = json!({
        "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef",
        "containerName": "main", "containerPort": 80,
    });
    let registry = json!({
        "registryArn": "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-1", "containerName": "main",
        "containerPort": 80,
    });
    let given = json!({
        "loadBalancers": [balancer], "serviceRegistries": [registry], "desiredCount": 2, "launchType": "EC2",
        "role": "ecsServiceRole",
        "deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50},
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}],
        "placementStrategy": [{"type": "spread", "field": "attribute:ecs.availability-zone"}],
        "healthCheckGracePeriodSeconds": 30, "schedulingStrategy": "REPLICA", "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": true, "propagateTags": "SERVICE",
        "tags": [{"key": "team", "value": "web"}],
    });
    let mut input = request(given.clone());
    input["cluster"] = json!("default");
    input["clientToken"] = json!("x".repeat(32));
    let made = world.ok("CreateService", input).await["service"].clone();
    for (name, value) in given.as_object().unwrap() {
        match name.as_str() {
            "role" => assert_eq!(made["roleArn"], *value),
            "deploymentConfiguration" => {
                for (name, value) in value.as_object().unwrap() {
                    assert_eq!(made["deploymentConfiguration"][name], *value, "{name}");
                }
            }
            _ => assert_eq!(made[name], *value, "{name}"),
        }
    }
}

// spec: 15-064
#[tokio::test]
async fn a_service_on_capacity_providers_with_a_network_is_accepted_and_answered() {
    let world = world().await;
    let providers =
        json!({"cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", providers).await;
    world.fargate_family("fargate", "256", "512").await;
    let network = json!({"awsvpcConfiguration": {
        "subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED",
    }});
    let strategy = json!([{"capacityProvider": "FARGATE", "weight": 2, "base": 1}]);
    let given = json!({
        "taskDefinition": "fargate", "capacityProviderStrategy": strategy, "platformVersion": "1.4.0",
        "networkConfiguration": network,
    });
    let made = world.ok("CreateService", request(given)).await["service"].clone();
    assert_eq!((&made["capacityProviderStrategy"], &made["platformVersion"]), (&strategy, &json!("1.4.0")));
    assert_eq!((&made["networkConfiguration"], made.get("launchType")), (&network, None));
}

#[tokio::test]
async fn a_token_makes_one_service_and_has_up_to_36_characters() {
    let world = world().await;
    let token = |length: usize| request(json!({"clientToken": "x".repeat(length)}));
    assert_eq!(world.refused("CreateService", token(37)).await.0, "InvalidParameterException");
    let first = world.ok("CreateService", token(36)).await;
    assert_eq!(world.ok("CreateService", token(36)).await, first);
    // Tokens tell upper from lower case.
    let other = request(json!({"clientToken": "X".repeat(36)}));
    assert_eq!(world.refused("CreateService", other).await.0, "InvalidParameterException");
    assert_eq!(world.ok("ListServices", json!({})).await["serviceArns"].as_array().unwrap().len(), 1);
}

// spec: 14-032, 14-043
#[tokio::test]
async fn placement_of_a_service_can_be_changed() {
    let world = world().await;
    world.ok("CreateService", request(json!({}))).await;
    let strategy = json!([{"type": "binpack", "field": "memory"}]);
    let constraints = json!([{"type": "distinctInstance"}]);
    let changed = updated(&world, json!({"placementStrategy": strategy, "placementConstraints": constraints})).await;
    assert_eq!((&changed["placementStrategy"], &changed["placementConstraints"]), (&strategy, &constraints));
    let cleared = updated(&world, json!({"placementConstraints": []})).await;
    assert_eq!((&cleared["placementStrategy"], &cleared["placementConstraints"]), (&strategy, &json!([])));
    let hosts = updated(&world, json!({"placementStrategy": [{"type": "spread", "field": "host"}]})).await;
    assert_eq!(hosts["placementStrategy"], json!([{"type": "spread", "field": "instanceId"}]));
    let wrong = json!({"service": "web", "placementStrategy": [{"type": "binpack", "field": "disk"}]});
    assert_eq!(world.refused("UpdateService", wrong).await.0, "InvalidParameterException");
}

// spec: 14-118
#[tokio::test]
async fn a_listed_arn_names_the_service() {
    let world = world().await;
    world.ok("CreateService", request(json!({}))).await;
    let listed = world.ok("ListServices", json!({})).await["serviceArns"][0].clone();
    assert_eq!(listed, world.arn("service/default/web"));
    for named in [listed, json!(world.arn("service/web")), json!("web")] {
        let answer = world.ok("UpdateService", json!({"service": named, "desiredCount": 0})).await;
        assert_eq!(answer["service"]["serviceName"], "web");
    }
    let elsewhere = json!({"service": world.arn("service/other/web")});
    let (code, message) = world.refused("UpdateService", elsewhere).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Invalid identifier: Identifier is for cluster other. Your cluster is default");
}

// spec: 24-039
#[tokio::test]
async fn a_balanced_container_and_its_port_must_stay() {
    let world = world().await;
    let balancer = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    world.ok("CreateService", request(json!({"loadBalancers": [balancer]}))).await;
    world.family("web", 1, 4, json!({"portMappings": [{"containerPort": 81}]})).await;
    let (code, message) = world.refused("UpdateService", json!({"service": "web", "taskDefinition": "web"})).await;
    let expected = "Unable to update the service web: Load balancer container name or port changed in task definition.";
    assert_eq!((code, message.as_str()), ("InvalidParameterException", expected));
    world.family("web", 2, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    updated(&world, json!({"taskDefinition": "web"})).await;
}

#[tokio::test]
async fn a_deployment_configuration_is_answered_whole() {
    let world = world().await;
    let made = world.ok("CreateService", request(json!({}))).await["service"].clone();
    let expected = json!({
        "deploymentCircuitBreaker": {"enable": false, "rollback": false}, "maximumPercent": 200,
        "minimumHealthyPercent": 100, "strategy": "ROLLING", "bakeTimeInMinutes": 0,
    });
    assert_eq!(made["deploymentConfiguration"], expected);
    for (member, value) in [
        ("loadBalancers", json!([])),
        ("serviceRegistries", json!([])),
        ("placementConstraints", json!([])),
        ("placementStrategy", json!([])),
        ("events", json!([])),
        ("enableECSManagedTags", json!(false)),
        ("enableExecuteCommand", json!(false)),
        ("propagateTags", json!("NONE")),
        ("createdBy", json!("arn:aws:iam::123456789012:root")),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
}

// spec: 03-037, 16-022
#[tokio::test]
async fn a_blue_green_service_has_no_capacity_providers() {
    let world = world().await;
    let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g";
    let provider = json!({"name": "mine", "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
    world.ok("CreateCapacityProvider", provider).await;
    let providers = json!({"cluster": "default", "capacityProviders": ["mine"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", providers).await;
    let balancer = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let mut blue_green = request(json!({"deploymentController": {"type": "CODE_DEPLOY"}, "loadBalancers": [balancer]}));
    blue_green["capacityProviderStrategy"] = json!([{"capacityProvider": "mine", "weight": 1}]);
    let (code, message) = world.refused("CreateService", blue_green.clone()).await;
    let expected = "The CODE_DEPLOY deployment controller does not support capacity provider strategies.";
    assert_eq!((code, message.as_str()), ("InvalidParameterException", expected));
    blue_green.as_object_mut().unwrap().remove("capacityProviderStrategy");
    world.ok("CreateService", blue_green).await;
}

// spec: 04-004
#[tokio::test]
async fn services_of_several_families_are_scaled_apart() {
    let world = world().await;
    for name in ["front", "back", "batch"] {
        world.family(name, 1, 4, json!({})).await;
        let input = json!({"serviceName": name, "taskDefinition": name, "desiredCount": 1});
        world.ok("CreateService", input).await;
    }
    world.ok("UpdateService", json!({"service": "back", "desiredCount": 5})).await;
    let services = world.ok("DescribeServices", json!({"services": ["front", "back", "batch"]})).await;
    let counts = [0, 1, 2].map(|at| services["services"][at]["desiredCount"].clone());
    assert_eq!(counts, [1, 5, 1]);
}

#[tokio::test]
async fn a_balanced_service_has_a_grace_period_of_0_and_another_has_none() {
    let world = world().await;
    let plain = json!({"serviceName": "plain", "taskDefinition": "web", "desiredCount": 0});
    let made = world.ok("CreateService", plain.clone()).await["service"].clone();
    assert_eq!(made.get("healthCheckGracePeriodSeconds"), None);
    let group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef";
    let mut balanced = plain;
    balanced["serviceName"] = json!("balanced");
    balanced["loadBalancers"] = json!([{"targetGroupArn": group, "containerName": "main", "containerPort": 80}]);
    let made = world.ok("CreateService", balanced).await["service"].clone();
    assert_eq!(made["healthCheckGracePeriodSeconds"], 0);
    // What is shown is not what was given: without load balancers there is no period again.
    let none = json!({"service": "balanced", "loadBalancers": []});
    let updated = world.ok("UpdateService", none).await["service"].clone();
    assert_eq!(updated.get("healthCheckGracePeriodSeconds"), None);
}

#[tokio::test]
async fn namespaces_are_those_that_clusters_have() {
    let world = world().await;
    let named = json!({"namespace": "internal"});
    assert_eq!(world.refused("ListServicesByNamespace", named.clone()).await.0, "NamespaceNotFoundException");
    let namespace = json!({"clusterName": "c", "serviceConnectDefaults": {"namespace": "internal"}});
    world.ok("CreateCluster", namespace).await;
    assert_eq!(world.ok("ListServicesByNamespace", named).await, json!({"serviceArns": []}));
}
