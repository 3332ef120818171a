//! Gateway connectors and finer metrics: what a service may ask for, and where it is shown.

use serde_json::{Value, json};

use crate::operations::testing::World;

const REFUSED: &str = "InvalidParameterException";

/// A world with the family `web` of network mode awsvpc, whose port is named `http`.
async fn world() -> World {
    let world = World::with_default_cluster().await;
    let main = json!({
        "name": "main", "image": "busybox", "memory": 4, "portMappings": [{"name": "http", "containerPort": 80}],
    });
    for (family, mode) in [("web", "awsvpc"), ("bridge", "bridge")] {
        let input = json!({"family": family, "networkMode": mode, "containerDefinitions": [main]});
        world.ok("RegisterTaskDefinition", input).await;
    }
    world
}

async fn associate(world: &World, gateway: &str, scheme: &str) {
    let input = json!({
        "name": gateway, "infrastructureRoleArn": "arn:aws:iam::123456789012:role/infrastructure",
        "configuration": {"hostSharedAlb": {"scheme": scheme}},
    });
    world.ok("CreateGateway", input).await;
    world.ok("AssociateGatewayWithCluster", json!({"gateway": gateway, "cluster": "default"})).await;
}

fn request(connector: Value) -> Value {
    json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 0, "gatewayConnectors": [connector],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    })
}

async fn refused(world: &World, connector: Value) -> String {
    let (code, message) = world.refused("CreateService", request(connector.clone())).await;
    assert_eq!(code, REFUSED, "{connector}: {message}");
    message
}

async fn revision(world: &World, service: &Value) -> Value {
    let revisions = json!({"serviceRevisionArns": [service["currentServiceRevisions"][0]["arn"]]});
    world.ok("DescribeServiceRevisions", revisions).await["serviceRevisions"][0].clone()
}

#[tokio::test]
async fn a_service_revision_shows_its_gateway_connector() {
    let world = world().await;
    associate(&world, "edge", "internet-facing").await;
    let given = json!({
        "portName": "http", "filters": {"accessTypes": ["PUBLIC"]},
        "healthCheck": {
            "healthCheckProtocol": "HTTP", "healthCheckPath": "/health", "healthCheckPort": 80,
            "healthCheckTimeoutSeconds": 5, "healthCheckIntervalSeconds": 30, "healthyThresholdCount": 3,
            "unhealthyThresholdCount": 2, "matcher": {"httpCode": "200"},
        },
        "deregistrationDelay": {"timeoutSeconds": 60},
    });
    let made = world.ok("CreateService", request(given.clone())).await["service"].clone();
    assert_eq!(revision(&world, &made).await["gatewayConnectors"], json!([given]));
    let details = world.explained(&json!("web")).await.details.unwrap();
    assert!(details.iter().any(|it| it.starts_with("Gateway connectors are recorded only")), "{details:?}");
    let none = json!({"service": "web", "gatewayConnectors": []});
    let after = world.ok("UpdateService", none).await["service"].clone();
    assert_ne!(after["deployments"][0]["id"], made["deployments"][0]["id"]);
    assert_eq!(revision(&world, &after).await.get("gatewayConnectors"), None);
}

#[tokio::test]
async fn a_connector_needs_a_gateway_of_the_cluster_that_it_takes() {
    let world = world().await;
    let any = json!({"portName": "http"});
    let private = json!({"portName": "http", "filters": {"accessTypes": ["PRIVATE"]}});
    let message = refused(&world, any.clone()).await;
    assert!(message.contains("associate one with AssociateGatewayWithCluster"), "{message}");
    associate(&world, "edge", "internet-facing").await;
    let message = refused(&world, private.clone()).await;
    assert!(message.contains("no PRIVATE gateway"), "{message}");
    associate(&world, "inner", "internal").await;
    world.ok("CreateService", request(private.clone())).await;
    let left = json!({"gateway": "inner", "cluster": "default"});
    world.ok("DisassociateGatewayFromCluster", left).await;
    // What the service has stays, but is not taken again.
    world.ok("UpdateService", json!({"service": "web", "desiredCount": 0, "forceNewDeployment": true})).await;
    let again = json!({"service": "web", "gatewayConnectors": [private]});
    assert_eq!(world.refused("UpdateService", again).await.0, REFUSED);
    world.ok("UpdateService", json!({"service": "web", "gatewayConnectors": [any]})).await;
}

#[tokio::test]
async fn a_connector_out_of_its_rules_is_refused() {
    let world = world().await;
    associate(&world, "edge", "internet-facing").await;
    let check = |own: Value| json!({"portName": "http", "healthCheck": own});
    for (given, why) in [
        (json!({"portName": "nobody"}), "portName 'nobody'"),
        (json!({"portName": "http", "filters": {"accessTypes": ["PUBLIC", "PUBLIC"]}}), "given twice"),
        (check(json!({"healthCheckPort": 0})), "healthCheckPort is 0"),
        (check(json!({"healthCheckPath": "health"})), "healthCheckPath 'health'"),
        (check(json!({"healthyThresholdCount": 11})), "healthyThresholdCount is 11"),
        (
            check(json!({"healthCheckTimeoutSeconds": 30, "healthCheckIntervalSeconds": 30})),
            "must be less than healthCheckIntervalSeconds",
        ),
    ] {
        let message = refused(&world, given.clone()).await;
        assert!(message.contains(why), "{given}: {message}");
    }
    let mut bridge = request(json!({"portName": "http"}));
    bridge["taskDefinition"] = json!("bridge");
    bridge.as_object_mut().unwrap().remove("networkConfiguration");
    let (_, message) = world.refused("CreateService", bridge).await;
    assert!(message.contains("network mode awsvpc"), "{message}");
}

#[tokio::test]
async fn a_service_revision_shows_the_metrics_of_a_finer_resolution() {
    let world = world().await;
    let monitoring = json!({"metricConfigurations": [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]});
    let input = json!({"serviceName": "b", "taskDefinition": "bridge", "desiredCount": 0, "monitoring": monitoring});
    let made = world.ok("CreateService", input).await["service"].clone();
    assert_eq!(revision(&world, &made).await["monitoring"], monitoring);
    for (names, seconds) in [(json!(["CPUUtilization"]), 30), (json!(["MemoryUtilization", "Other"]), 60)] {
        let monitoring = json!({"metricConfigurations": [{"metricNames": names, "resolutionSeconds": seconds}]});
        let update = json!({"service": "b", "monitoring": monitoring});
        assert_eq!(world.refused("UpdateService", update).await.0, "InvalidParameterException", "{names} {seconds}");
    }
}
