//! Service Connect: what a service may ask for, and where it is shown.

use serde_json::{Value, json};

use crate::operations::testing::World;

const REFUSED: &str = "InvalidParameterException";

/// A world in which the containers of `web` have the ports `http` and `plain`.
async fn world() -> World {
    let world = World::with_default_cluster().await;
    let ports = json!([
        {"name": "http", "containerPort": 80, "appProtocol": "http"}, {"name": "plain", "containerPort": 81},
    ]);
    world.family("web", 1, 4, json!({"portMappings": ports})).await;
    world
}

/// An enabled configuration with these services, in the namespace `internal`.
fn connect(services: Value) -> Value {
    json!({"enabled": true, "namespace": "internal", "services": services})
}

fn request(name: &str, connect: Value) -> Value {
    json!({"serviceName": name, "taskDefinition": "web", "desiredCount": 0, "serviceConnectConfiguration": connect})
}

async fn create(world: &World, name: &str, connect: Value) -> Value {
    world.ok("CreateService", request(name, connect)).await["service"].clone()
}

async fn update(world: &World, own: Value) -> Value {
    let mut input = json!({"service": "web"});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("UpdateService", input).await["service"].clone()
}

async fn refused(world: &World, connect: Value) -> String {
    let (code, message) = world.refused("CreateService", request("web", connect.clone())).await;
    assert_eq!(code, REFUSED, "{connect}: {message}");
    message
}

async fn listed(world: &World, namespace: &str) -> Value {
    world.ok("ListServicesByNamespace", json!({"namespace": namespace})).await["serviceArns"].clone()
}

#[tokio::test]
async fn a_deployment_and_its_revision_show_service_connect_with_its_cloud_map_services() {
    let world = world().await;
    let given = json!({
        "enabled": true, "namespace": "internal",
        "services": [
            {
                "portName": "http", "discoveryName": "web-http",
                "clientAliases": [{"port": 8080, "dnsName": "web.local"}], "ingressPortOverride": 15000,
                "timeout": {"idleTimeoutSeconds": 60, "perRequestTimeoutSeconds": 5},
                "tls": {
                    "issuerCertificateAuthority": {
                        "awsPcaAuthorityArn": "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/a",
                    },
                    "kmsKey": "arn:aws:kms:eu-west-1:123456789012:key/k",
                    "roleArn": "arn:aws:iam::123456789012:role/tls",
                },
            },
            {"portName": "plain", "clientAliases": [{"port": 81}]},
        ],
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r"}},
        "accessLogConfiguration": {"format": "JSON", "includeQueryParameters": "ENABLED"},
    });
    let made = create(&world, "web", given.clone()).await;
    let deployment = &made["deployments"][0];
    assert_eq!(deployment["serviceConnectConfiguration"], given);
    let resources = deployment["serviceConnectResources"].as_array().unwrap().clone();
    let names: Vec<_> = resources.iter().map(|it| it["discoveryName"].clone()).collect();
    assert_eq!(names, ["web-http", "plain"]);
    let arn = resources[0]["discoveryArn"].as_str().unwrap();
    let id = arn.strip_prefix("arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-").unwrap();
    assert_eq!(id.len(), 16);
    assert_ne!(resources[0]["discoveryArn"], resources[1]["discoveryArn"]);
    assert_eq!(made.get("serviceConnectConfiguration"), None);
    let revision = made["currentServiceRevisions"][0]["arn"].clone();
    let revisions = json!({"serviceRevisionArns": [revision]});
    let revision = world.ok("DescribeServiceRevisions", revisions).await["serviceRevisions"][0].clone();
    assert_eq!(revision["serviceConnectConfiguration"], given);
    let world = world.restarted().await;
    let described = world.ok("DescribeServices", json!({"services": ["web"]})).await["services"][0].clone();
    assert_eq!(described["deployments"][0]["serviceConnectResources"], json!(resources));
}

#[tokio::test]
async fn the_namespace_is_the_service_s_own_or_the_cluster_s_default() {
    let world = world().await;
    let client = json!({"enabled": true});
    let message = refused(&world, client.clone()).await;
    assert!(message.starts_with("Service Connect needs a namespace"), "{message}");
    world.ok("UpdateCluster", json!({"cluster": "default", "serviceConnectDefaults": {"namespace": "usual"}})).await;
    let made = create(&world, "web", client).await;
    let shown = json!({"enabled": true, "namespace": "usual"});
    assert_eq!(made["deployments"][0]["serviceConnectConfiguration"], shown);
    // The default is that of the time at which the service asks.
    world.ok("UpdateCluster", json!({"cluster": "default", "serviceConnectDefaults": {"namespace": "other"}})).await;
    let again = update(&world, json!({"forceNewDeployment": true})).await;
    assert_eq!(again["deployments"][0]["serviceConnectConfiguration"], shown);
    let arn = "arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-0123456789abcdef";
    let named = create(&world, "named", json!({"enabled": true, "namespace": arn})).await;
    assert_eq!(named["deployments"][0]["serviceConnectConfiguration"]["namespace"], arn);
    for namespace in ["a b", "a/b", &arn.replace("eu-west-1", "eu-west-2"), &arn.replace("servicediscovery", "sns")] {
        let (code, _) =
            world.refused("CreateService", request("x", json!({"enabled": true, "namespace": namespace}))).await;
        assert_eq!(code, REFUSED, "{namespace}");
        let default = json!({"cluster": "default", "serviceConnectDefaults": {"namespace": namespace}});
        assert_eq!(world.refused("UpdateCluster", default).await.0, REFUSED, "{namespace}");
        let default = json!({"clusterName": "c", "serviceConnectDefaults": {"namespace": namespace}});
        assert_eq!(world.refused("CreateCluster", default).await.0, REFUSED, "{namespace}");
    }
}

#[tokio::test]
async fn a_change_of_service_connect_begins_a_deployment_and_disabling_it_removes_it() {
    let world = world().await;
    let one = connect(json!([{"portName": "http", "clientAliases": [{"port": 80}]}]));
    let first = create(&world, "web", one.clone()).await["deployments"][0].clone();
    let same = update(&world, json!({"serviceConnectConfiguration": one})).await["deployments"][0].clone();
    assert_eq!(same["id"], first["id"]);
    let two = connect(json!([{"portName": "http", "clientAliases": [{"port": 8080}]}]));
    let second = update(&world, json!({"serviceConnectConfiguration": two})).await["deployments"][0].clone();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["serviceConnectConfiguration"], two);
    // The endpoint is the same, so its Cloud Map service is.
    assert_eq!(second["serviceConnectResources"], first["serviceConnectResources"]);
    let scaled = update(&world, json!({"desiredCount": 1})).await["deployments"][0].clone();
    assert_eq!((&scaled["id"], &scaled["serviceConnectConfiguration"]), (&second["id"], &two));
    let off =
        update(&world, json!({"serviceConnectConfiguration": {"enabled": false}})).await["deployments"][0].clone();
    assert_ne!(off["id"], second["id"]);
    assert_eq!((off.get("serviceConnectConfiguration"), off.get("serviceConnectResources")), (None, None));
}

#[tokio::test]
async fn services_are_listed_by_the_namespace_that_they_use() {
    let world = world().await;
    let (code, _) = world.refused("ListServicesByNamespace", json!({"namespace": "internal"})).await;
    assert_eq!(code, "NamespaceNotFoundException");
    create(&world, "web", connect(json!([]))).await;
    world.ok("CreateCluster", json!({"clusterName": "c"})).await;
    let mut elsewhere = request("far", connect(json!([])));
    elsewhere["cluster"] = json!("c");
    world.ok("CreateService", elsewhere).await;
    create(&world, "apart", json!({"enabled": true, "namespace": "another"})).await;
    let mine = [world.arn("service/c/far"), world.arn("service/default/web")];
    assert_eq!(listed(&world, "internal").await, json!(mine));
    let first = world.ok("ListServicesByNamespace", json!({"namespace": "internal", "maxResults": 1})).await;
    assert_eq!(first["serviceArns"], json!([mine[0]]));
    let next = json!({"namespace": "internal", "maxResults": 1, "nextToken": first["nextToken"]});
    let second = world.ok("ListServicesByNamespace", next).await;
    assert_eq!((&second["serviceArns"], second.get("nextToken")), (&json!([mine[1]]), None));
    world.ok("DeleteService", json!({"service": "web"})).await;
    assert_eq!(listed(&world, "internal").await, json!([mine[0]]));
}

#[tokio::test]
async fn endpoints_of_a_namespace_are_told_apart_by_their_names() {
    let world = world().await;
    let named = |name: &str, alias: Value| {
        connect(json!([{"portName": "http", "discoveryName": name, "clientAliases": [alias]}]))
    };
    create(&world, "web", named("front", json!({"port": 80, "dnsName": "front"}))).await;
    for (taken, why) in [
        (named("front", json!({"port": 81})), "The discoveryName 'front' is used by the service web"),
        (named("back", json!({"port": 80, "dnsName": "front"})), "The clientAlias 'front' with the port 80"),
    ] {
        let (code, message) = world.refused("CreateService", request("other", taken)).await;
        assert_eq!(code, REFUSED);
        assert!(message.starts_with(why), "{message}");
    }
    create(&world, "other", named("back", json!({"port": 81, "dnsName": "front"}))).await;
    let mut far = named("front", json!({"port": 80, "dnsName": "front"}));
    far["namespace"] = json!("another");
    create(&world, "far", far).await;
}

#[tokio::test]
async fn endpoints_out_of_their_rules_are_refused() {
    let world = world().await;
    let one = |own: Value| {
        let mut service = json!({"portName": "http"});
        service.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        connect(json!([service]))
    };
    let tls = |authority: &str| json!({"tls": {"issuerCertificateAuthority": {"awsPcaAuthorityArn": authority}}});
    let long = "n".repeat(65);
    for (given, why) in [
        (one(json!({"portName": "nobody"})), "portName 'nobody'"),
        (one(json!({"portName": ""})), "needs a portName"),
        (one(json!({"discoveryName": "Web"})), "discoveryName 'Web'"),
        (one(json!({"discoveryName": "-web"})), "discoveryName '-web'"),
        (one(json!({"discoveryName": long})), "discoveryName 'nnn"),
        (one(json!({"clientAliases": [{"port": 1}, {"port": 2}]})), "has 2 clientAliases; it can have 1"),
        (one(json!({"clientAliases": [{"port": 0}]})), "needs a port between 1 and 65535"),
        (one(json!({"clientAliases": [{"port": 80, "dnsName": "A.b"}]})), "dnsName 'A.b'"),
        (one(json!({"ingressPortOverride": 0})), "ingressPortOverride"),
        (one(json!({"portName": "plain", "timeout": {"perRequestTimeoutSeconds": 5}})), "perRequestTimeoutSeconds"),
        (one(tls("arn:aws:acm:eu-west-1:123456789012:certificate/c")), "awsPcaAuthorityArn"),
        (one(json!({"tls": {"issuerCertificateAuthority": {}}})), "awsPcaAuthorityArn"),
        (
            connect(json!([{"portName": "http"}, {"portName": "plain", "discoveryName": "http"}])),
            "The discoveryName 'http' is used by two",
        ),
        (
            connect(json!([
                {"portName": "http", "ingressPortOverride": 9000}, {"portName": "plain", "ingressPortOverride": 9000},
            ])),
            "The ingressPortOverride 9000 is used by two",
        ),
        (
            connect(json!([
                {"portName": "http", "clientAliases": [{"port": 80, "dnsName": "web"}]},
                {"portName": "plain", "clientAliases": [{"port": 80, "dnsName": "web"}]},
            ])),
            "The clientAlias 'web' with the port 80 is used by two",
        ),
        (
            json!({"enabled": true, "namespace": "internal", "accessLogConfiguration": {"format": "TEXT"}}),
            "needs a logConfiguration",
        ),
        (json!({"enabled": true, "namespace": "internal", "containerConfigurations": [{}]}), "exactly one member"),
        (
            json!({"enabled": true, "namespace": "internal",
                "containerConfigurations": [{"logLevel": "debug"}, {"logLevel": "info"}]}),
            "set logLevel more than once",
        ),
    ] {
        let message = refused(&world, given.clone()).await;
        assert!(message.contains(why), "{given}: {message}");
    }
    create(&world, "web", one(json!({"timeout": {"perRequestTimeoutSeconds": 5}}))).await;
}

#[tokio::test]
async fn the_ports_of_service_connect_must_stay_in_the_task_definition() {
    let world = world().await;
    create(&world, "web", connect(json!([{"portName": "http"}]))).await;
    world.family("web", 1, 4, json!({"portMappings": [{"name": "renamed", "containerPort": 80}]})).await;
    let (code, message) = world.refused("UpdateService", json!({"service": "web", "taskDefinition": "web"})).await;
    assert_eq!(code, REFUSED);
    assert!(message.contains("portName 'http'"), "{message}");
    let moved = json!({
        "taskDefinition": "web", "serviceConnectConfiguration": connect(json!([{"portName": "renamed"}])),
    });
    let after = update(&world, moved).await;
    assert_eq!(after["deployments"][0]["serviceConnectResources"][0]["discoveryName"], "renamed");
}

#[tokio::test]
async fn service_connect_needs_a_network_and_a_controller_that_know_it() {
    let world = world().await;
    let main = json!({
        "name": "main", "image": "busybox", "memory": 4, "portMappings": [{"name": "http", "containerPort": 80}],
    });
    for mode in ["host", "awsvpc"] {
        let input = json!({"family": mode, "networkMode": mode, "containerDefinitions": [main]});
        world.ok("RegisterTaskDefinition", input).await;
    }
    let mut host = request("web", connect(json!([{"portName": "http"}])));
    host["taskDefinition"] = json!("host");
    let (code, message) = world.refused("CreateService", host).await;
    assert_eq!(code, REFUSED);
    assert!(message.contains("network mode 'host'"), "{message}");
    let mut awsvpc = request("web", connect(json!([{"portName": "http"}])));
    awsvpc["taskDefinition"] = json!("awsvpc");
    awsvpc["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    world.ok("CreateService", awsvpc).await;

    let logged = json!({"enabled": true, "namespace": "internal", "logConfiguration": {"logDriver": "syslog"}});
    let mut fargate = request("far", logged);
    fargate["launchType"] = json!("FARGATE");
    fargate["taskDefinition"] = json!("awsvpc");
    fargate["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let (code, message) = world.refused("CreateService", fargate).await;
    assert_eq!(code, REFUSED);
    assert!(message.contains("log driver syslog"), "{message}");

    let balancer = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let mut blue_green = request("blue", json!({"enabled": true, "namespace": "internal"}));
    blue_green["deploymentController"] = json!({"type": "CODE_DEPLOY"});
    blue_green["loadBalancers"] = json!([balancer]);
    let (code, message) = world.refused("CreateService", blue_green).await;
    assert_eq!((code, message.contains("CODE_DEPLOY deployment controller")), (REFUSED, true), "{message}");
    let mut external = request("own", json!({"enabled": true, "namespace": "internal"}));
    external["deploymentController"] = json!({"type": "EXTERNAL"});
    external.as_object_mut().unwrap().remove("taskDefinition");
    let (code, message) = world.refused("CreateService", external.clone()).await;
    assert_eq!((code, message.contains("EXTERNAL deployment controller")), (REFUSED, true), "{message}");
    external.as_object_mut().unwrap().remove("serviceConnectConfiguration");
    world.ok("CreateService", external).await;
    let later = json!({"service": "own", "serviceConnectConfiguration": {"enabled": true, "namespace": "internal"}});
    assert_eq!(world.refused("UpdateService", later).await.0, REFUSED);
}

#[tokio::test]
async fn an_explanation_says_what_is_recorded_only() {
    let world = world().await;
    create(&world, "web", connect(json!([{"portName": "http"}]))).await;
    let details = world.explained(&json!("web")).await.details.unwrap();
    assert!(details.iter().any(|it| it.starts_with("Service Connect is recorded only")), "{details:?}");
    update(&world, json!({"serviceConnectConfiguration": {"enabled": false}})).await;
    let details = world.explained(&json!("web")).await.details.unwrap();
    assert!(!details.iter().any(|it| it.contains("recorded only")), "{details:?}");
}
