//! Launch types, capacity provider strategies and Fargate.

use serde_json::{Value, json};

use crate::operations::testing::World;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

pub(crate) fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}})
}

fn strategy(items: &[(&str, i32, i32)]) -> Value {
    items.iter().map(|(name, weight, base)| json!({"capacityProvider": name, "weight": weight, "base": base})).collect()
}

impl World {
    /// A cluster with Fargate's capacity providers and a definition for them, `web`.
    pub(crate) async fn with_fargate() -> Self {
        let world = Self::with_default_cluster().await;
        let input = json!({"cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": []});
        world.ok("PutClusterCapacityProviders", input).await;
        world.fargate_family("web", "256", "512").await;
        world
    }

    pub(crate) async fn fargate_family(&self, family: &str, cpu: &str, memory: &str) {
        let main = json!({"name": "main", "image": "busybox"});
        let input = json!({
            "family": family, "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": cpu, "memory": memory,
            "requiresCompatibilities": ["FARGATE"],
        });
        self.ok("RegisterTaskDefinition", input).await;
    }

    /// A machine that is lent to Fargate and hidden; answers the ARN that its agent got.
    pub(crate) async fn lender(&self, cpu: i64, memory: i64) -> Value {
        self.instance(cpu, memory, &[("ecs.longshore.fargate", "only")]).await
    }

    pub(crate) async fn run_on_fargate(&self, more: Value) -> Value {
        let mut input = json!({"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": network()});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ok("RunTask", input).await
    }

    pub(crate) async fn refused_on_fargate(&self, more: Value) -> (&'static str, String) {
        let mut input = json!({"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": network()});
        let input_members = input.as_object_mut().unwrap();
        input_members.extend(more.as_object().unwrap().clone());
        input_members.retain(|_, value| !value.is_null());
        self.refused("RunTask", input).await
    }
}

fn providers(answer: &Value) -> Vec<&str> {
    let tasks = answer["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["capacityProviderName"].as_str().unwrap_or("none")).collect()
}

// spec: 02-001, 03-026, 14-008
#[tokio::test]
async fn a_fargate_task_runs_on_a_lent_machine_that_nobody_sees() {
    let world = World::with_fargate().await;
    let lender = world.lender(2048, 4096).await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let answer = world.run_on_fargate(json!({"cluster": "other"})).await;
    assert_eq!(answer["failures"], json!([]));
    let task = &answer["tasks"][0];
    for (member, value) in [
        ("containerInstanceArn", Value::Null),
        ("launchType", json!("FARGATE")),
        ("platformVersion", json!("1.4.0")),
        ("platformFamily", json!("Linux")),
        ("capacityProviderName", Value::Null),
        ("cpu", json!("256")),
        ("memory", json!("512")),
        ("ephemeralStorage", json!({"sizeInGiB": 20})),
        ("fargateEphemeralStorage", json!({"sizeInGiB": 20})),
        ("lastStatus", json!("PROVISIONING")),
        ("connectivity", json!("CONNECTED")),
        ("availabilityZone", json!("eu-west-1a")),
    ] {
        assert_eq!(task[member], value, "{member}");
    }
    for cluster in ["default", "other"] {
        let listed = world.ok("ListContainerInstances", json!({"cluster": cluster})).await;
        assert_eq!(listed["containerInstanceArns"], json!([]), "{cluster}");
    }
    let counted = world.ok("DescribeClusters", json!({"clusters": ["default"]})).await;
    assert_eq!(counted["clusters"][0]["registeredContainerInstancesCount"], 0);
    let described = world.ok("DescribeContainerInstances", json!({"containerInstances": [lender]})).await;
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    assert_eq!(world.ok("ListAttributes", json!({"targetType": "container-instance"})).await["attributes"], json!([]));
}

// spec: 14-105, 06-036, 02-022
#[tokio::test]
async fn the_network_interface_of_a_task_is_an_attachment() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    let task = world.run_on_fargate(json!({})).await["tasks"][0].clone();
    assert_eq!(task["lastStatus"], "PROVISIONING");
    let attachment = &task["attachments"][0];
    assert_eq!((&attachment["type"], &attachment["status"]), (&json!("ElasticNetworkInterface"), &json!("PRECREATED")));
    assert_eq!(attachment["details"], json!([{"name": "subnetId", "value": "subnet-1"}]));
    let bindings = json!([{"bindIP": "10.1.2.3"}]);
    let main = json!({"containerName": "main", "status": "RUNNING", "runtimeId": "r", "networkBindings": bindings});
    let input = json!({"task": task["taskArn"], "status": "RUNNING", "reason": "", "containers": [main]});
    world.ok("SubmitTaskStateChange", input).await;
    let task = world.task(&task["taskArn"]).await;
    let attachment = &task["attachments"][0];
    assert_eq!((&task["lastStatus"], &attachment["status"]), (&json!("RUNNING"), &json!("ATTACHED")));
    let detail = |name: &str| {
        let details = attachment["details"].as_array().unwrap();
        details.iter().find(|detail| detail["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(detail("privateIPv4Address"), "10.1.2.3");
    assert_eq!(detail("privateDnsName"), "ip-10-1-2-3.eu-west-1.compute.internal");
    assert!(detail("networkInterfaceId").starts_with("eni-") && detail("macAddress").len() == 17);
    let container = &task["containers"][0];
    assert_eq!(container["networkInterfaces"][0]["privateIpv4Address"], "10.1.2.3");
    assert_eq!(container["networkInterfaces"][0]["attachmentId"], attachment["id"]);
    assert_eq!(container["networkBindings"], json!([]));
    let other = world.run_on_fargate(json!({})).await["tasks"][0].clone();
    assert_ne!(other["attachments"][0]["id"], attachment["id"]);
    world.report(&task["taskArn"], "STOPPED", Some(0)).await;
    assert_eq!(world.task(&task["taskArn"]).await["attachments"][0]["status"], "DELETED");
}

#[tokio::test]
async fn a_machine_may_be_lent_and_a_container_instance_at_once() {
    let world = World::with_fargate().await;
    let instance = world.instance(1024, 4096, &[("ecs.longshore.fargate", "also")]).await;
    world.run_on_fargate(json!({"count": 2})).await;
    let described = world.described(&instance).await;
    // Both take of the same machine, but only its own tasks are the instance's.
    assert_eq!(described["remainingResources"][0]["integerValue"], 512);
    assert_eq!(described["pendingTasksCount"], 0);
    let own = world.ok("ListTasks", json!({"containerInstance": instance})).await;
    assert_eq!(own["taskArns"], json!([]));
    world.family("small", 256, 64, json!({})).await;
    assert_eq!(world.run("small").await["containerInstanceArn"], instance);
    let world = world.restarted().await;
    assert_eq!(world.described(&instance).await["remainingResources"][0]["integerValue"], 256);
}

#[tokio::test]
async fn without_room_on_lent_machines_capacity_is_unavailable() {
    let world = World::with_fargate().await;
    let unavailable = json!([{"reason": "Capacity is unavailable at this time. Please try again later or in a different availability zone"}]);
    assert_eq!(world.run_on_fargate(json!({})).await["failures"], unavailable);
    // A container instance that is not lent takes nothing.
    world.instance(4096, 8192, &[]).await;
    assert_eq!(world.run_on_fargate(json!({})).await["failures"], unavailable);
    world.lender(512, 8192).await;
    let answer = world.run_on_fargate(json!({"count": 3})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(answer["failures"], unavailable);
}

// spec: 02-023, 02-022
#[tokio::test]
async fn fargate_needs_awsvpc_and_a_network_configuration() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    let invalid = |message: &str| ("InvalidParameterException", message.to_owned());
    let none = world.refused_on_fargate(json!({"networkConfiguration": null})).await;
    assert_eq!(none, invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."));
    let service = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 1, "launchType": "FARGATE"});
    assert_eq!(world.refused("CreateService", service).await, none);
    let empty = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}});
    assert_eq!(world.refused_on_fargate(empty).await, invalid("subnets can not be empty."));
    let odd = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["here"]}}});
    let (_, message) = world.refused_on_fargate(odd).await;
    assert!(message.contains("InvalidSubnetID.NotFound"), "{message}");
    world.family("bridged", 10, 10, json!({})).await;
    let bridged = world.refused_on_fargate(json!({"taskDefinition": "bridged"})).await;
    assert_eq!(bridged, invalid("Task definition does not support launch_type FARGATE."));
}

// spec: 14-026, 15-041
#[tokio::test]
async fn fargate_takes_no_placement_constraints_or_strategies() {
    let world = World::with_fargate().await;
    for (member, value, message) in [
        ("placementConstraints", json!([{"type": "distinctInstance"}]), "Placement constraints are not supported"),
        ("placementStrategy", json!([{"type": "random"}]), "Placement strategies are not supported"),
    ] {
        let (code, said) = world.refused_on_fargate(json!({member: value})).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(said.starts_with(message), "{said}");
    }
}

// spec: 31-005
#[tokio::test]
async fn the_runtime_platform_of_a_definition_chooses_its_machines() {
    let world = World::with_fargate().await;
    let arm = |family: &str, own: Value| {
        let mut input = json!({
            "family": family, "containerDefinitions": [{"name": "main", "image": "busybox", "memory": 10}],
            "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        });
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        input
    };
    world.ok("RegisterTaskDefinition", arm("arm", json!({}))).await;
    world.instance(2048, 4096, &[]).await;
    let refused = world.ok("RunTask", json!({"taskDefinition": "arm"})).await;
    assert_eq!(refused["failures"][0]["reason"], "ATTRIBUTE");
    let vpc = json!({"networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"]});
    world.ok("RegisterTaskDefinition", arm("arm-vpc", vpc)).await;
    world.lender(2048, 4096).await;
    let answer = world.run_on_fargate(json!({"taskDefinition": "arm-vpc"})).await;
    assert_eq!(answer["tasks"], json!([]));
    assert_eq!(world.run_on_fargate(json!({})).await["failures"], json!([]));
}

// spec: 02-047, 15-025
#[tokio::test]
async fn platform_versions_are_fargates_only() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    world.instance(2048, 4096, &[]).await;
    let task = world.run_on_fargate(json!({"platformVersion": "1.3.0"})).await["tasks"][0].clone();
    assert_eq!(task["platformVersion"], "1.3.0");
    let unknown = world.refused_on_fargate(json!({"platformVersion": "7"})).await;
    assert_eq!(unknown, ("PlatformUnknownException", "The specified platform does not exist.".to_owned()));
    world.family("plain", 10, 10, json!({})).await;
    let on_ec2 = world.refused("RunTask", json!({"taskDefinition": "plain", "platformVersion": "LATEST"})).await;
    assert_eq!(on_ec2.1, "The platform version must be null when specifying an EC2 launch type.");
}

#[tokio::test]
async fn overrides_must_leave_a_size_that_fargate_has() {
    let world = World::with_fargate().await;
    let (code, message) = world.refused_on_fargate(json!({"overrides": {"cpu": "300"}})).await;
    assert_eq!(code, "ClientException");
    assert!(message.starts_with("No Fargate configuration exists for given values"), "{message}");
}

// spec: 03-095, 03-091
#[tokio::test]
async fn a_strategy_splits_tasks_over_fargate_and_fargate_spot() {
    let world = World::with_fargate().await;
    world.lender(4096, 8192).await;
    let run = |items: Value, count: i32| json!({"taskDefinition": "web", "capacityProviderStrategy": items, "networkConfiguration": network(), "count": count});
    let even = world.ok("RunTask", run(strategy(&[("FARGATE", 1, 0), ("FARGATE_SPOT", 1, 0)]), 4)).await;
    assert_eq!(providers(&even), ["FARGATE", "FARGATE_SPOT", "FARGATE", "FARGATE_SPOT"]);
    assert_eq!(even["tasks"][1]["launchType"], "FARGATE");
    let based = world.ok("RunTask", run(strategy(&[("FARGATE", 0, 2), ("FARGATE_SPOT", 1, 0)]), 3)).await;
    assert_eq!(providers(&based), ["FARGATE", "FARGATE", "FARGATE_SPOT"]);
}

// spec: 03-025, 03-032, 03-095
#[tokio::test]
async fn the_clusters_default_strategy_is_used_when_a_call_says_nothing() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    let default = strategy(&[("FARGATE_SPOT", 1, 0)]);
    let input = json!({"cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": default});
    world.ok("PutClusterCapacityProviders", input).await;
    let run = json!({"taskDefinition": "web", "networkConfiguration": network()});
    assert_eq!(providers(&world.ok("RunTask", run.clone()).await), ["FARGATE_SPOT"]);
    let mut given = run.clone();
    given["launchType"] = json!("FARGATE");
    assert_eq!(providers(&world.ok("RunTask", given).await), ["none"]);
    let mut given = run;
    given["capacityProviderStrategy"] = strategy(&[("FARGATE", 1, 0)]);
    assert_eq!(providers(&world.ok("RunTask", given).await), ["FARGATE"]);
}

// spec: 03-010, 03-030, 15-019
#[tokio::test]
async fn a_strategy_out_of_its_rules_is_refused() {
    let world = World::with_fargate().await;
    let group = json!({"autoScalingGroupArn": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/g"});
    world.ok("CreateCapacityProvider", json!({"name": "mine", "autoScalingGroupProvider": group})).await;
    for (items, contains) in [
        (strategy(&[("nobody", 1, 0)]), "'nobody' was not found"),
        (strategy(&[("mine", 1, 0)]), "not associated with the cluster"),
        (strategy(&[("FARGATE", 1, 1), ("FARGATE_SPOT", 1, 1)]), "Only one capacity provider"),
        (strategy(&[("FARGATE", 0, 0), ("FARGATE_SPOT", 0, 0)]), "weight greater than 0"),
    ] {
        let mut input =
            json!({"taskDefinition": "web", "capacityProviderStrategy": items, "networkConfiguration": network()});
        let (code, message) = world.refused("RunTask", input.clone()).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(contains), "{message}");
        input["serviceName"] = json!("s");
        input["desiredCount"] = json!(1);
        let (code, message) = world.refused("CreateService", input).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(contains), "CreateService: {message}");
    }
    let both = json!({"capacityProviderStrategy": strategy(&[("FARGATE", 1, 0)])});
    let (_, message) = world.refused_on_fargate(both).await;
    assert_eq!(
        message,
        "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
    );
    let input =
        json!({"cluster": "default", "capacityProviders": ["FARGATE", "mine"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    let mixed = strategy(&[("FARGATE", 1, 0), ("mine", 1, 0)]);
    let input = json!({"taskDefinition": "web", "capacityProviderStrategy": mixed, "networkConfiguration": network()});
    assert!(world.refused("RunTask", input).await.1.contains("cannot contain a mix of capacity providers"));
}

// spec: 03-042, 03-074
#[tokio::test]
async fn instances_of_a_capacity_provider_take_its_tasks() {
    let world = World::with_default_cluster().await;
    for name in ["one", "two"] {
        let arn = format!(
            "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/{name}"
        );
        let input = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": arn}});
        world.ok("CreateCapacityProvider", input).await;
    }
    let input = json!({"cluster": "default", "capacityProviders": ["one", "two"], "defaultCapacityProviderStrategy": strategy(&[("one", 1, 0), ("two", 1, 0)])});
    world.ok("PutClusterCapacityProviders", input).await;
    world.family("plain", 10, 10, json!({})).await;
    let unlinked = world.instance(2048, 2048, &[]).await;
    assert_eq!(world.described(&unlinked).await.get("capacityProviderName"), None);
    let none = world.refused("RunTask", json!({"taskDefinition": "plain"})).await;
    assert_eq!(none.1, "No Container Instances were found in your capacity provider.");
    let one = world.instance(2048, 2048, &[("ecs.longshore.capacity-provider", "one")]).await;
    let two = world.instance(2048, 2048, &[("ecs.longshore.capacity-provider", "two")]).await;
    assert_eq!(world.described(&one).await["capacityProviderName"], "one");
    let answer = world.ok("RunTask", json!({"taskDefinition": "plain", "count": 5})).await;
    let on = |instance: &Value, provider: &str| {
        let of = |task: &&Value| task["containerInstanceArn"] == *instance && task["capacityProviderName"] == provider;
        answer["tasks"].as_array().unwrap().iter().filter(of).count()
    };
    assert_eq!((on(&one, "one"), on(&two, "two")), (3, 2));
    assert_eq!(
        (&answer["tasks"][0]["launchType"], &answer["tasks"][0]["group"]),
        (&json!("EC2"), &json!("family:plain"))
    );
}

// spec: 14-027
#[tokio::test]
async fn fargate_tasks_spread_over_the_zones_of_their_subnets() {
    let world = World::with_fargate().await;
    world.lender(4096, 8192).await;
    let subnets: Vec<String> =
        longshore_model::vpc::default_subnets(&world.scope()).into_iter().map(|subnet| subnet.id).collect();
    let network = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": subnets}}});
    world.run_on_fargate(network.clone()).await;
    let mut more = network;
    more["count"] = json!(5);
    let mut zones: Vec<String> = Vec::new();
    for task in world.run_on_fargate(more).await["tasks"].as_array().unwrap() {
        zones.push(task["availabilityZone"].as_str().unwrap().to_owned());
    }
    zones.sort();
    assert_eq!(zones, ["eu-west-1a", "eu-west-1b", "eu-west-1b", "eu-west-1c", "eu-west-1c"]);
}

// spec: 24-063
#[tokio::test]
async fn an_instance_in_another_zone_than_the_subnets_is_refused() {
    let world = World::with_default_cluster().await;
    let instance =
        world.instance(2048, 2048, &[("ecs.capability.task-eni", ""), ("ecs.availability-zone", "eu-west-1a")]).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let input = json!({"family": "vpc", "containerDefinitions": [main], "networkMode": "awsvpc"});
    world.ok("RegisterTaskDefinition", input).await;
    let own = longshore_model::vpc::default_subnets(&world.scope());
    let run = |subnet: &str| json!({"taskDefinition": "vpc", "networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}});
    let elsewhere = world.ok("RunTask", run(&own[1].id)).await;
    assert_eq!(elsewhere["failures"][0]["reason"], "LOCATION");
    let here = world.ok("RunTask", run(&own[0].id)).await;
    assert_eq!(here["tasks"][0]["containerInstanceArn"], instance);
    assert_eq!(here["tasks"][0]["attachments"][0]["details"][0]["value"], json!(own[0].id));
}

// spec: 14-006
#[tokio::test]
async fn start_task_takes_no_definition_of_fargate() {
    let world = World::with_fargate().await;
    let instance = world.instance(2048, 2048, &[]).await;
    let input = json!({"taskDefinition": "web", "containerInstances": [instance], "networkConfiguration": network()});
    let refused = world.refused("StartTask", input).await;
    assert_eq!(refused, ("InvalidParameterException", "Task definition does not support launch_type EC2.".to_owned()));
}

// spec: 23-014, 02-047
#[tokio::test]
async fn a_service_on_fargate_shows_its_platform() {
    let world = World::with_fargate().await;
    let input = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 1, "launchType": "FARGATE", "networkConfiguration": network()});
    let service = world.ok("CreateService", input).await["service"].clone();
    for (shown, version) in [(&service, "LATEST"), (&service["deployments"][0], "1.4.0")] {
        assert_eq!((&shown["platformVersion"], &shown["platformFamily"]), (&json!(version), &json!("Linux")));
        assert_eq!(shown["launchType"], "FARGATE");
    }
    let percents = &service["deploymentConfiguration"];
    assert_eq!((&percents["maximumPercent"], &percents["minimumHealthyPercent"]), (&json!(200), &json!(100)));
    let shown = &service["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!((&shown["assignPublicIp"], &service["events"]), (&json!("DISABLED"), &json!([])));
    let role = "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
    assert_eq!(service["roleArn"], role);
    let deployments = service["deployments"].as_array().unwrap();
    let digits = deployments[0]["id"].as_str().unwrap().strip_prefix("ecs-svc/").unwrap();
    assert!(deployments.len() == 1 && digits.len() == 19 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let input = json!({"serviceName": "t", "taskDefinition": "web", "desiredCount": 1, "capacityProviderStrategy": strategy(&[("FARGATE_SPOT", 1, 0)]), "networkConfiguration": network()});
    let service = world.ok("CreateService", input).await["service"].clone();
    assert_eq!((&service["launchType"], &service["platformVersion"]), (&Value::Null, &json!("LATEST")));
    let input = json!({"service": "t", "platformVersion": "5.0"});
    assert_eq!(world.refused("UpdateService", input).await.0, "PlatformUnknownException");
}

// spec: 02-050, 02-051, 02-047, 15-025
#[tokio::test]
async fn a_new_platform_version_comes_with_a_deployment_and_stays_when_the_service_grows() {
    let world = World::with_fargate().await;
    let input = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 1, "launchType": "FARGATE", "platformVersion": "1.3.0", "networkConfiguration": network()});
    world.ok("CreateService", input).await;
    world.lender(4096, 8192).await;
    let world = &world;
    let versions = |update: Value| async move {
        if !update.is_null() {
            world.ok("UpdateService", update).await;
        }
        let limits = ServiceSchedulerLimits::default();
        run_once(&ServiceScheduler::new(world.engine().clone(), limits)).await.unwrap();
        let arns = world.ok("ListTasks", json!({"serviceName": "s"})).await["taskArns"].clone();
        let mut versions = Vec::new();
        for arn in arns.as_array().unwrap() {
            versions.push(world.task(arn).await["platformVersion"].clone());
        }
        versions.sort_unstable_by_key(ToString::to_string);
        versions
    };
    assert_eq!(versions(Value::Null).await, ["1.3.0"]);
    assert_eq!(versions(json!({"service": "s", "desiredCount": 2})).await, ["1.3.0", "1.3.0"]);
    let update = json!({"service": "s", "platformVersion": "1.4.0", "forceNewDeployment": true});
    assert_eq!(versions(update).await.last().unwrap(), "1.4.0");
}
