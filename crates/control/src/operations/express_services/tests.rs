use serde_json::{Value, json};

use crate::operations::testing::World;

const EXECUTION: &str = "arn:aws:iam::123456789012:role/execution";
const INFRASTRUCTURE: &str = "arn:aws:iam::123456789012:role/infrastructure";

/// What CreateExpressGatewayService is called with, and `own` besides or instead.
fn input(own: Value) -> Value {
    let mut input = json!({
        "serviceName": "web",
        "infrastructureRoleArn": INFRASTRUCTURE,
        "executionRoleArn": EXECUTION,
        "primaryContainer": {"image": "busybox"},
    });
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

async fn create(world: &World, own: Value) -> Value {
    world.ok("CreateExpressGatewayService", input(own)).await["service"].clone()
}

async fn update(world: &World, own: Value) -> Value {
    let mut input = json!({"serviceArn": world.arn("service/default/web")});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("UpdateExpressGatewayService", input).await["service"].clone()
}

async fn describe(world: &World) -> Value {
    let input = json!({"serviceArn": world.arn("service/default/web"), "include": ["TAGS"]});
    world.ok("DescribeExpressGatewayService", input).await["service"].clone()
}

async fn service(world: &World) -> Value {
    world.ok("DescribeServices", json!({"services": ["web"]})).await["services"][0].clone()
}

#[tokio::test]
async fn an_express_service_is_a_service_with_a_task_definition() {
    let world = World::with_default_cluster().await;
    let made =
        create(&world, json!({"tags": [{"key": "a", "value": "b"}], "scalingTarget": {"minTaskCount": 2}})).await;
    assert_eq!((&made["serviceArn"], &made["cluster"]), (&json!(world.arn("service/default/web")), &json!("default")));
    assert_eq!(made["status"]["statusCode"], "ACTIVE");
    assert!(made["status"]["statusReason"].as_str().unwrap().contains("load balancer"));
    assert_eq!(made["tags"], json!([{"key": "a", "value": "b"}]));
    let configuration = &made["activeConfigurations"][0];
    assert_eq!((&configuration["cpu"], &configuration["memory"]), (&json!("256"), &json!("512")));
    assert_eq!(configuration["healthCheckPath"], "/ping");
    assert_eq!(configuration["ingressPaths"][0]["accessType"], "PUBLIC");
    let scaling = json!({"minTaskCount": 2, "maxTaskCount": 20, "autoScalingMetric": "AVERAGE_CPU", "autoScalingTargetValue": 60});
    assert_eq!(configuration["scalingTarget"], scaling);
    let real = service(&world).await;
    assert_eq!((&real["launchType"], &real["desiredCount"]), (&json!("FARGATE"), &json!(2)));
    assert_eq!(real["resourceManagementType"], "ECS");
    assert_eq!(real["taskDefinition"], world.arn("task-definition/default-web:1"));
    assert_eq!(configuration["taskDefinitionArn"], real["taskDefinition"]);
    assert_eq!(configuration["serviceRevisionArn"], real["currentServiceRevisions"][0]["arn"]);
    assert_eq!(made["currentDeployment"], real["currentServiceDeployment"]);
    let answer = world.ok("DescribeTaskDefinition", json!({"taskDefinition": "default-web"})).await;
    let container = &answer["taskDefinition"]["containerDefinitions"][0];
    assert_eq!((&container["name"], &container["portMappings"][0]["containerPort"]), (&json!("Main"), &json!(80)));
    assert_eq!(container["logConfiguration"]["options"]["awslogs-group"], "/aws/ecs/default/web");
    let listed = world.ok("ListServices", json!({"resourceManagementType": "ECS"})).await;
    assert_eq!(listed["serviceArns"], json!([made["serviceArn"]]));
    let customers = world.ok("ListServices", json!({"resourceManagementType": "CUSTOMER"})).await;
    assert_eq!(customers["serviceArns"], json!([]));
    let world = world.restarted().await;
    assert_eq!(describe(&world).await, made);
}

#[tokio::test]
async fn a_service_without_a_name_gets_one() {
    let world = World::with_default_cluster().await;
    let made = create(&world, json!({"serviceName": null})).await;
    assert!(made["serviceName"].as_str().unwrap().starts_with("express-"));
}

/// Registers a task definition of the user's own whose container is called `container` and has `ports`.
async fn register_own(world: &World, family: &str, container: &str, ports: Value) {
    let container = json!({"name": container, "image": "busybox", "portMappings": ports});
    let definition = json!({"family": family, "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
        "cpu": "256", "memory": "512", "containerDefinitions": [container]});
    world.ok("RegisterTaskDefinition", definition).await;
}

#[tokio::test]
async fn a_task_definition_of_ones_own_needs_the_container_main_with_one_named_tcp_port() {
    let world = World::with_default_cluster().await;
    let port = |own: Value| {
        let mut port = json!({"containerPort": 80, "name": "http"});
        port.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        port
    };
    for (family, container, ports) in [
        ("other", "main", json!([port(json!({}))])),
        ("unnamed", "Main", json!([{"containerPort": 80}])),
        ("none", "Main", json!([])),
        ("udp", "Main", json!([port(json!({"protocol": "udp"}))])),
        ("two", "Main", json!([port(json!({})), port(json!({"containerPort": 81, "name": "other"}))])),
    ] {
        register_own(&world, family, container, ports).await;
        let own = json!({"taskDefinitionArn": family, "primaryContainer": null, "executionRoleArn": null});
        let refused = world.refused("CreateExpressGatewayService", input(own)).await;
        assert_eq!(refused.0, "InvalidParameterException", "{family}: {}", refused.1);
    }
    create(&world, json!({})).await;
    let update = json!({"serviceArn": world.arn("service/default/web"), "taskDefinitionArn": "unnamed"});
    assert_eq!(world.refused("UpdateExpressGatewayService", update).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn a_task_definition_that_is_named_is_used() {
    let world = World::with_default_cluster().await;
    register_own(&world, "own", "Main", json!([{"containerPort": 80, "name": "http"}])).await;
    let own = json!({"taskDefinitionArn": "own", "primaryContainer": null, "executionRoleArn": null});
    let made = create(&world, own).await;
    assert_eq!(made["activeConfigurations"][0]["taskDefinitionArn"], world.arn("task-definition/own:1"));
    assert_eq!(service(&world).await["taskDefinition"], world.arn("task-definition/own:1"));
}

#[tokio::test]
async fn an_express_service_out_of_its_rules_is_refused_and_leaves_nothing() {
    let world = World::with_default_cluster().await;
    let (invalid, client) = ("InvalidParameterException", "ClientException");
    for (own, code) in [
        (json!({"infrastructureRoleArn": "role"}), invalid),
        (json!({"serviceName": "a b"}), invalid),
        (json!({"cluster": "no"}), "ClusterNotFoundException"),
        (json!({"primaryContainer": null}), invalid),
        (json!({"executionRoleArn": null}), invalid),
        (json!({"taskDefinitionArn": "web"}), invalid),
        (json!({"taskDefinitionArn": "no", "primaryContainer": null, "executionRoleArn": null}), client),
        (json!({"primaryContainer": {"image": "busybox", "containerPort": 0}}), invalid),
        (json!({"primaryContainer": {"image": ""}}), client),
        (json!({"scalingTarget": {"minTaskCount": 3, "maxTaskCount": 2}}), invalid),
        (json!({"cpu": "256", "memory": "300"}), client),
        (json!({"healthCheckPath": "ping"}), invalid),
    ] {
        assert_eq!(world.refused("CreateExpressGatewayService", input(own.clone())).await.0, code, "{own}");
    }
    assert_eq!(world.ok("ListServices", json!({})).await["serviceArns"], json!([]));
    assert_eq!(world.ok("ListTaskDefinitions", json!({})).await["taskDefinitionArns"], json!([]));
    create(&world, json!({})).await;
    assert_eq!(world.refused("CreateExpressGatewayService", input(json!({}))).await.0, invalid);
    assert_eq!(world.ok("ListTaskDefinitions", json!({})).await["taskDefinitionArns"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_update_of_the_container_begins_a_deployment() {
    let world = World::with_default_cluster().await;
    create(&world, json!({"memory": "1024"})).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let updated = update(&world, json!({"primaryContainer": {"image": "busybox:2"}})).await;
    let target = &updated["targetConfiguration"];
    assert_eq!(target["taskDefinitionArn"], world.arn("task-definition/default-web:2"));
    assert_eq!((&target["primaryContainer"]["image"], &target["memory"]), (&json!("busybox:2"), &json!("1024")));
    assert_eq!(updated["updatedAt"], 1_700_000_001);
    let both = describe(&world).await["activeConfigurations"].clone();
    let images: Vec<&Value> = both.as_array().unwrap().iter().map(|it| &it["primaryContainer"]["image"]).collect();
    assert_eq!(images, ["busybox:2", "busybox"]);
}

#[tokio::test]
async fn an_update_of_the_scaling_target_alone_begins_none() {
    let world = World::with_default_cluster().await;
    create(&world, json!({})).await;
    let before = service(&world).await;
    update(&world, json!({"scalingTarget": {"minTaskCount": 4}})).await;
    let after = service(&world).await;
    assert_eq!((&after["desiredCount"], &after["taskDefinition"]), (&json!(4), &before["taskDefinition"]));
    assert_eq!(after["deployments"].as_array().unwrap().len(), 1);
    let configurations = describe(&world).await["activeConfigurations"].clone();
    assert_eq!(configurations[0]["scalingTarget"]["minTaskCount"], 4);
}

#[tokio::test]
async fn a_deleted_express_service_drains() {
    let world = World::with_default_cluster().await;
    create(&world, json!({})).await;
    let named = json!({"serviceArn": world.arn("service/default/web")});
    let deleted = world.ok("DeleteExpressGatewayService", named.clone()).await;
    assert_eq!(deleted["service"]["status"]["statusCode"], "DRAINING");
    assert_eq!(service(&world).await["status"], "DRAINING");
    for operation in ["DeleteExpressGatewayService", "UpdateExpressGatewayService"] {
        assert_eq!(world.refused(operation, named.clone()).await.0, "ServiceNotActiveException", "{operation}");
    }
}

#[tokio::test]
async fn only_express_services_are_described_as_such() {
    let world = World::with_default_cluster().await;
    world.family("plain", 10, 64, json!({})).await;
    world.ok("CreateService", json!({"serviceName": "plain", "taskDefinition": "plain", "desiredCount": 0})).await;
    let arn = |resource: &str| world.arn(resource);
    for (named, described, changed) in [
        (arn("service/default/plain"), "ResourceNotFoundException", "ServiceNotFoundException"),
        (arn("service/default/no"), "ResourceNotFoundException", "ServiceNotFoundException"),
        (arn("service/no/web"), "ClusterNotFoundException", "ClusterNotFoundException"),
        (arn("cluster/default"), "InvalidParameterException", "InvalidParameterException"),
        ("web".to_owned(), "InvalidParameterException", "InvalidParameterException"),
    ] {
        let input = json!({"serviceArn": named});
        assert_eq!(world.refused("DescribeExpressGatewayService", input.clone()).await.0, described, "{named}");
        for operation in ["DeleteExpressGatewayService", "UpdateExpressGatewayService"] {
            assert_eq!(world.refused(operation, input.clone()).await.0, changed, "{operation} {named}");
        }
    }
}
