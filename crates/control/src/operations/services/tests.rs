use serde_json::{Value, json};

use crate::operations::testing::World;

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    world
}

async fn create(world: &World, own: Value) -> Value {
    world.ok("CreateService", request(own)).await["service"].clone()
}

fn request(own: Value) -> Value {
    let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

async fn described(world: &World) -> Value {
    let input = json!({"services": ["web"], "include": ["TAGS"]});
    world.ok("DescribeServices", input).await["services"][0].clone()
}

async fn refused(world: &World, own: Value) -> String {
    let (code, message) = world.refused("CreateService", request(own)).await;
    assert_eq!(code, "InvalidParameterException", "{message}");
    message
}

// spec: 15-040, 15-029
#[tokio::test]
async fn a_new_service_has_ecs_s_defaults_and_survives_a_restart() {
    let world = world().await;
    let made = create(&world, json!({})).await;
    assert_eq!(made["serviceArn"], world.arn("service/default/web"));
    assert_eq!((&made["status"], &made["desiredCount"]), (&json!("ACTIVE"), &json!(2)));
    assert_eq!((&made["launchType"], &made["schedulingStrategy"]), (&json!("EC2"), &json!("REPLICA")));
    assert_eq!(made["deploymentController"]["type"], "ECS");
    let configuration = &made["deploymentConfiguration"];
    assert_eq!((&configuration["maximumPercent"], &configuration["minimumHealthyPercent"]), (&json!(200), &json!(100)));
    let deployment = &made["deployments"][0];
    assert_eq!((&deployment["status"], &deployment["rolloutState"]), (&json!("PRIMARY"), &json!("IN_PROGRESS")));
    assert_eq!(deployment["taskDefinition"], world.arn("task-definition/web:1"));
    let before = described(&world).await;
    let world = world.restarted().await;
    assert_eq!(described(&world).await, before);
}

// spec: 15-024, 15-027
#[tokio::test]
async fn a_service_names_its_definition_and_its_cluster_in_every_form() {
    let world = world().await;
    world.family("web", 20, 20, json!({"portMappings": [{"containerPort": 80}]})).await;
    let of = |revision: u32| world.arn(&format!("task-definition/web:{revision}"));
    for (number, (named, revision)) in
        [("web".to_owned(), 2), ("web:1".to_owned(), 1), (of(1), 1)].into_iter().enumerate()
    {
        let made = create(&world, json!({"serviceName": format!("s{number}"), "taskDefinition": named})).await;
        assert_eq!(made["taskDefinition"], of(revision), "{named}");
    }
    refused(&world, json!({"taskDefinition": null})).await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    for (name, cluster) in [("a", "other".to_owned()), ("b", world.arn("cluster/other"))] {
        let made = create(&world, json!({"serviceName": name, "cluster": cluster})).await;
        assert_eq!(made["clusterArn"], world.arn("cluster/other"));
    }
}

// spec: 15-005, 15-006
#[tokio::test]
async fn a_daemon_may_not_exceed_one_task_an_instance() {
    let world = world().await;
    let own = json!({"maximumPercent": 200});
    let daemon = json!({"schedulingStrategy": "DAEMON", "desiredCount": null, "deploymentConfiguration": own});
    let message = refused(&world, daemon).await;
    assert!(message.contains("does not support values above 100 for maximumPercent"), "{message}");
    let made = create(&world, json!({"schedulingStrategy": "DAEMON", "desiredCount": null})).await;
    let configuration = &made["deploymentConfiguration"];
    assert_eq!((&configuration["maximumPercent"], &configuration["minimumHealthyPercent"]), (&json!(100), &json!(0)));
}

#[tokio::test]
async fn a_daemon_has_no_desired_count_that_could_be_asked_for() {
    let world = world().await;
    let none = "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again";
    let made =
        json!({"serviceName": "web", "taskDefinition": "web", "schedulingStrategy": "DAEMON", "desiredCount": 0});
    assert_eq!(world.refused("CreateService", made).await, ("InvalidParameterException", none.to_owned()));
    create(&world, json!({"schedulingStrategy": "DAEMON", "desiredCount": null})).await;
    let update = json!({"service": "web", "desiredCount": 2});
    assert_eq!(world.refused("UpdateService", update).await, ("InvalidParameterException", none.to_owned()));
}

#[tokio::test]
async fn a_service_without_load_balancers_can_have_a_health_check_grace_period() {
    let world = world().await;
    assert_eq!(create(&world, json!({"healthCheckGracePeriodSeconds": 5})).await["healthCheckGracePeriodSeconds"], 5);
    world.ok("UpdateService", json!({"service": "web", "healthCheckGracePeriodSeconds": 7})).await;
    assert_eq!(described(&world).await["healthCheckGracePeriodSeconds"], 7);
}

// spec: 15-007, 15-008, 15-028, 15-030, 15-047, 15-051, 15-052, 15-056, 15-057, 15-058, 15-018
#[tokio::test]
async fn combinations_that_ecs_refuses_are_refused() {
    let world = world().await;
    let group = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let classic = json!({"loadBalancerName": "lb", "containerName": "main", "containerPort": 80});
    let both =
        json!({"targetGroupArn": "arn:g", "loadBalancerName": "lb", "containerName": "main", "containerPort": 80});
    let other_port = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 81});
    let other_name = json!({"targetGroupArn": "arn:g", "containerName": "side", "containerPort": 80});
    for own in [
        json!({"serviceName": "a.b"}),
        json!({"serviceName": "x".repeat(256)}),
        json!({"desiredCount": null}),
        json!({"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}),
        json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
        json!({"healthCheckGracePeriodSeconds": -1}),
        json!({"loadBalancers": vec![group; 6]}),
        json!({"loadBalancers": [both]}),
        json!({"loadBalancers": [other_port]}),
        json!({"loadBalancers": [other_name]}),
        json!({"role": "ecsServiceRole"}),
    ] {
        refused(&world, own).await;
    }
    for (own, why) in [
        (json!({"launchType": "FARGATE"}), "The DAEMON scheduling strategy is not supported with the FARGATE"),
        (
            json!({"deploymentController": {"type": "CODE_DEPLOY"}}),
            "The DAEMON scheduling strategy is not supported with the CODE_DEPLOY",
        ),
        (
            json!({"deploymentController": {"type": "EXTERNAL"}}),
            "The DAEMON scheduling strategy is not supported with the EXTERNAL",
        ),
        (json!({"loadBalancers": [classic]}), "does not support Classic Load Balancers"),
    ] {
        let mut daemon = json!({"schedulingStrategy": "DAEMON", "desiredCount": null});
        daemon.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let message = refused(&world, daemon).await;
        assert!(message.contains(why), "{message}");
    }
}

// spec: 15-028
#[tokio::test]
async fn a_services_name_is_unique_in_its_cluster() {
    let world = world().await;
    let longest = "x".repeat(255);
    create(&world, json!({"serviceName": longest})).await;
    let twice = refused(&world, json!({"serviceName": longest, "desiredCount": 1})).await;
    assert_eq!(twice, "Creation of service was not idempotent.");
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    create(&world, json!({"serviceName": longest, "cluster": "other"})).await;
    world.refused("CreateService", json!({"taskDefinition": "web", "desiredCount": 1})).await;
}

// spec: 15-041, 15-042
#[tokio::test]
async fn placement_is_checked_when_the_service_is_made() {
    let world = world().await;
    let strategy = json!({"type": "spread", "field": "instanceId"});
    refused(&world, json!({"placementStrategy": vec![strategy.clone(); 6]})).await;
    refused(&world, json!({"placementStrategy": [{"type": "binpack", "field": "disk"}]})).await;
    refused(&world, json!({"placementConstraints": [{"type": "distinctInstance", "expression": "x"}]})).await;
    refused(&world, json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a =="}]})).await;
    refused(&world, json!({"placementConstraints": vec![json!({"type": "distinctInstance"}); 11]})).await;
    create(&world, json!({"placementStrategy": vec![strategy; 5]})).await;
}

// spec: 15-029, 15-031, 15-040
#[tokio::test]
async fn enumerations_are_checked_and_percentages_are_echoed() {
    let world = world().await;
    refused(&world, json!({"schedulingStrategy": "RANDOM"})).await;
    refused(&world, json!({"launchType": "VM"})).await;
    refused(&world, json!({"propagateTags": "ALL"})).await;
    refused(&world, json!({"availabilityZoneRebalancing": "MAYBE"})).await;
    refused(&world, json!({"deploymentController": {"type": "SOMEBODY"}})).await;
    refused(&world, json!({"deploymentController": {}})).await;
    let percents = json!({"maximumPercent": 175, "minimumHealthyPercent": 25});
    create(&world, json!({"deploymentConfiguration": percents})).await;
    let shown = described(&world).await["deploymentConfiguration"].clone();
    assert_eq!((&shown["maximumPercent"], &shown["minimumHealthyPercent"]), (&json!(175), &json!(25)));
}

// spec: 03-034, 15-090
#[tokio::test]
async fn a_service_moves_from_a_launch_type_to_capacity_providers_only_with_a_new_deployment() {
    let world = world().await;
    let provider = json!({
        "name": "own",
        "autoScalingGroupProvider": {"autoScalingGroupArn": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:00000000-0000-4000-8000-000000000000:autoScalingGroupName/own"},
    });
    world.ok("CreateCapacityProvider", provider).await;
    let associate = json!({"cluster": "default", "capacityProviders": ["own"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", associate).await;
    create(&world, json!({"launchType": "EC2"})).await;
    let strategy = json!([{"capacityProvider": "own", "weight": 1}]);
    let input = json!({"service": "web", "capacityProviderStrategy": strategy});
    assert_eq!(world.refused("UpdateService", input.clone()).await.0, "InvalidParameterException");
    let mut forced = input;
    forced["forceNewDeployment"] = json!(true);
    let moved = world.ok("UpdateService", forced).await["service"].clone();
    assert_eq!((&moved["launchType"], moved["deployments"].as_array().unwrap().len()), (&Value::Null, 2));
    // The same strategy again is no change; another one is.
    let again = |weight: i32| json!({"service": "web", "capacityProviderStrategy": [{"capacityProvider": "own", "weight": weight}]});
    world.ok("UpdateService", again(1)).await;
    assert_eq!(world.refused("UpdateService", again(2)).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn a_name_is_taken_unless_the_same_token_comes_again() {
    let world = world().await;
    let first = create(&world, json!({"clientToken": "one"})).await;
    assert_eq!(create(&world, json!({"clientToken": "one"})).await["createdAt"], first["createdAt"]);
    assert_eq!(refused(&world, json!({"clientToken": "two"})).await, "Creation of service was not idempotent.");
    assert_eq!(refused(&world, json!({})).await, "Creation of service was not idempotent.");
}

// spec: 15-089
#[tokio::test]
async fn a_new_definition_begins_a_deployment_and_a_new_count_does_not() {
    let world = world().await;
    let first = create(&world, json!({})).await["deployments"][0]["id"].clone();
    let scaled = world.ok("UpdateService", json!({"service": "web", "desiredCount": 5})).await["service"].clone();
    assert_eq!((&scaled["deployments"][0]["id"], &scaled["deployments"][0]["desiredCount"]), (&first, &json!(5)));
    world.family("web", 2, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    let update = json!({"service": "web", "taskDefinition": "web"});
    let moved = world.ok("UpdateService", update).await["service"].clone();
    assert_eq!(
        (&moved["deployments"][0]["status"], &moved["deployments"][1]["status"]),
        (&json!("PRIMARY"), &json!("ACTIVE"))
    );
    assert_eq!(moved["deployments"][1]["id"], first);
    assert_eq!(moved["taskDefinition"], world.arn("task-definition/web:2"));
    let forced = world.ok("UpdateService", json!({"service": "web", "forceNewDeployment": true})).await;
    assert_eq!(forced["service"]["deployments"].as_array().unwrap().len(), 3);
    let own = json!({"maximumPercent": 150, "minimumHealthyPercent": 50});
    let update = json!({"service": "web", "deploymentConfiguration": own, "healthCheckGracePeriodSeconds": 9});
    let changed = world.ok("UpdateService", update).await["service"].clone();
    let percents = &changed["deploymentConfiguration"];
    assert_eq!((&percents["maximumPercent"], &percents["minimumHealthyPercent"]), (&json!(150), &json!(50)));
    assert_eq!(changed["healthCheckGracePeriodSeconds"], 9);
    assert_eq!(changed["deployments"].as_array().unwrap().len(), 3, "these begin no deployment");
}

// spec: 15-089
#[tokio::test]
async fn an_update_of_one_setting_is_shown() {
    let world = World::with_fargate().await;
    let network = |subnet: &str| {
        let own = json!({"subnets": [subnet], "securityGroups": [], "assignPublicIp": "DISABLED"});
        json!({ "awsvpcConfiguration": own })
    };
    let strategy = |provider: &str| json!([{"capacityProvider": provider, "weight": 1, "base": 0}]);
    create(
        &world,
        json!({"capacityProviderStrategy": strategy("FARGATE"), "networkConfiguration": network("subnet-1")}),
    )
    .await;
    world.fargate_family("web", "512", "1024").await;
    let arn = world.arn("task-definition/web:2");
    for (member, value) in [
        ("taskDefinition", json!(arn)),
        ("platformVersion", json!("1.4.0")),
        ("desiredCount", json!(3)),
        ("networkConfiguration", network("subnet-2")),
        ("healthCheckGracePeriodSeconds", json!(9)),
        ("capacityProviderStrategy", strategy("FARGATE_SPOT")),
    ] {
        let before = described(&world).await;
        assert_ne!(before[member], value, "{member}");
        let forced = member == "capacityProviderStrategy";
        world.ok("UpdateService", json!({"service": "web", member: value, "forceNewDeployment": forced})).await;
        assert_eq!(described(&world).await[member], value, "{member}");
    }
    let percents = json!({"maximumPercent": 150, "minimumHealthyPercent": 50});
    world.ok("UpdateService", json!({"service": "web", "deploymentConfiguration": percents})).await;
    let shown = described(&world).await["deploymentConfiguration"].clone();
    assert_eq!((&shown["maximumPercent"], &shown["minimumHealthyPercent"]), (&json!(150), &json!(50)));
}

// spec: 23-017, 15-016
#[tokio::test]
async fn a_service_that_wants_tasks_is_deleted_only_by_force() {
    let world = world().await;
    create(&world, json!({})).await;
    let (code, _) = world.refused("DeleteService", json!({"service": "web"})).await;
    assert_eq!(code, "InvalidParameterException");
    let deleted = world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    assert_eq!((&deleted["service"]["status"], &deleted["service"]["desiredCount"]), (&json!("DRAINING"), &json!(0)));
    assert_eq!(world.ok("ListServices", json!({})).await["serviceArns"], json!([]));
    assert_eq!(world.refused("UpdateService", json!({"service": "web"})).await.0, "ServiceNotActiveException");
    assert_eq!(refused(&world, json!({})).await, "Unable to Start a service that is still Draining.");
    assert_eq!(world.refused("DeleteService", json!({"service": "none"})).await.0, "ServiceNotFoundException");
}

#[tokio::test]
async fn services_are_listed_by_filter_and_in_pages() {
    let world = world().await;
    for number in 0..12 {
        let strategy = if number == 0 { "DAEMON" } else { "REPLICA" };
        let desired = (number > 0).then_some(1);
        let own =
            json!({"serviceName": format!("s{number:02}"), "schedulingStrategy": strategy, "desiredCount": desired});
        create(&world, own).await;
    }
    let first = world.ok("ListServices", json!({})).await;
    assert_eq!(first["serviceArns"].as_array().unwrap().len(), 10);
    let rest = world.ok("ListServices", json!({"nextToken": first["nextToken"]})).await;
    assert_eq!(rest["serviceArns"].as_array().unwrap().len(), 2);
    let daemons = world.ok("ListServices", json!({"schedulingStrategy": "DAEMON"})).await;
    assert_eq!(daemons["serviceArns"], json!([world.arn("service/default/s00")]));
    assert_eq!(world.ok("ListServices", json!({"launchType": "FARGATE"})).await["serviceArns"], json!([]));
}

// spec: 24-058, 31-051
#[tokio::test]
async fn unknown_services_are_failures() {
    let world = world().await;
    let answer = world.ok("DescribeServices", json!({"services": ["none"]})).await;
    assert_eq!(answer["services"], json!([]));
    let failure = json!({"arn": world.arn("service/none"), "reason": "MISSING"});
    assert_eq!(answer["failures"], json!([failure]));
    let arn = world.arn("service/default/none");
    let answer = world.ok("DescribeServices", json!({"services": [arn]})).await;
    assert_eq!(answer["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
    let (_, message) = world.refused("DescribeServices", json!({"services": vec!["s"; 11]})).await;
    assert_eq!(message, "service names can have at most 10 items.");
    let elsewhere = world.arn("service/other/none");
    let (_, message) = world.refused("DescribeServices", json!({"services": [elsewhere]})).await;
    assert_eq!(message, "Invalid identifier: Identifier is for cluster other. Your cluster is default");
}

// spec: 16-042, 26-024
#[tokio::test]
async fn an_external_service_needs_a_name_only() {
    let world = world().await;
    let made =
        world.ok("CreateService", json!({"serviceName": "ext", "deploymentController": {"type": "EXTERNAL"}})).await;
    assert_eq!((&made["service"]["deployments"], &made["service"]["taskSets"]), (&json!([]), &json!([])));
    let external = |own: Value| {
        let mut input = json!({"serviceName": "all", "deploymentController": {"type": "EXTERNAL"}});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        input
    };
    for own in [
        json!({"taskDefinition": "web"}),
        json!({"launchType": "EC2"}),
        json!({"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}),
        json!({"platformVersion": "LATEST"}),
        json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
        json!({"loadBalancers": [{"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80}]}),
        json!({"serviceRegistries": [{"registryArn": "arn:r"}]}),
        json!({"schedulingStrategy": "DAEMON"}),
    ] {
        assert_eq!(world.refused("CreateService", external(own)).await.0, "InvalidParameterException");
    }
    let optional = json!({
        "cluster": "default", "desiredCount": 2, "schedulingStrategy": "REPLICA", "enableECSManagedTags": true,
        "tags": [{"key": "a", "value": "1"}], "propagateTags": "TASK_DEFINITION", "healthCheckGracePeriodSeconds": 5,
        "placementConstraints": [{"type": "distinctInstance"}],
        "placementStrategy": [{"type": "spread", "field": "instanceId"}],
        "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
    });
    let made = world.ok("CreateService", external(optional.clone())).await["service"].clone();
    for member in [
        "desiredCount",
        "schedulingStrategy",
        "enableECSManagedTags",
        "tags",
        "propagateTags",
        "healthCheckGracePeriodSeconds",
        "placementConstraints",
        "placementStrategy",
    ] {
        assert_eq!(made[member], optional[member], "{member}");
    }
}

// spec: 15-044
#[tokio::test]
async fn tags_of_a_service_are_set_when_it_is_made_and_later() {
    let world = world().await;
    let arn = create(&world, json!({"tags": [{"key": "a", "value": "1"}]})).await["serviceArn"].clone();
    world.ok("TagResource", json!({"resourceArn": arn, "tags": [{"key": "b", "value": "2"}]})).await;
    assert_eq!(described(&world).await["tags"], json!([{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]));
    let many: Vec<Value> = (0..51).map(|n| json!({"key": format!("k{n}"), "value": ""})).collect();
    refused(&world, json!({"serviceName": "many", "tags": many})).await;
}

#[tokio::test]
async fn a_capacity_provider_strategy_is_answered_with_its_defaults() {
    let world = world().await;
    let providers =
        json!({"cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", providers).await;
    let fargate = json!({
        "family": "fargate", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "main", "image": "i"}],
    });
    world.ok("RegisterTaskDefinition", fargate).await;
    let made = create(
        &world,
        json!({
            "taskDefinition": "fargate", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}],
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        }),
    )
    .await;
    let whole = json!([{"capacityProvider": "FARGATE", "weight": 0, "base": 0}]);
    assert_eq!(made["capacityProviderStrategy"], whole);
    assert_eq!(made["deployments"][0]["capacityProviderStrategy"], whole);
}

#[tokio::test]
async fn an_external_service_is_deleted_when_no_task_set_wants_tasks() {
    let world = world().await;
    let external = json!({"serviceName": "web", "deploymentController": {"type": "EXTERNAL"}, "desiredCount": 2});
    world.ok("CreateService", external.clone()).await;
    let scale = json!({"value": 50, "unit": "PERCENT"});
    let set = json!({"cluster": "default", "service": "web", "taskDefinition": "web", "scale": scale});
    let set = world.ok("CreateTaskSet", set).await["taskSet"]["id"].clone();
    let delete = json!({"service": "web"});
    let (code, message) = world.refused("DeleteService", delete.clone()).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "The service cannot be stopped while deployments are active.");
    let none = json!({"value": 0, "unit": "PERCENT"});
    world.ok("UpdateTaskSet", json!({"cluster": "default", "service": "web", "taskSet": set, "scale": none})).await;
    assert_eq!(world.ok("DeleteService", delete).await["service"]["status"], "DRAINING");
}

#[tokio::test]
async fn an_empty_role_or_platform_version_is_none() {
    let world = world().await;
    let service = create(&world, json!({"role": "", "platformVersion": ""})).await;
    assert_eq!((&service["roleArn"], &service["platformVersion"]), (&Value::Null, &Value::Null));
    let changed = world.ok("UpdateService", json!({"service": "web", "platformVersion": ""})).await;
    assert_eq!(changed["service"]["platformVersion"], Value::Null);
}
