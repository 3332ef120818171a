//! Rules of the guide's chapters on tasks and placement, seen through the calls that start tasks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::operations::testing::{World, detail};
use crate::operations::testing_instances::id_of;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, TaskDeadlines, TaskDeadlinesLimits, run_once};

const ZONE: &str = "ecs.availability-zone";

fn awsvpc() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}})
}

async fn awsvpc_family(world: &World) {
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let input = json!({"family": "vpc", "containerDefinitions": [main], "networkMode": "awsvpc"});
    world.ok("RegisterTaskDefinition", input).await;
}

/// The states of a task that events told of, in order, each once.
fn told(world: &World, task: &Value) -> Vec<(String, String)> {
    let mut seen: Vec<(String, String)> = Vec::new();
    world.engine().peek(|state| {
        for event in state.outbox.values().flat_map(|record| &record.events) {
            if event.resources.first().map(String::as_str) != task.as_str() {
                continue;
            }
            let status = detail(event)["lastStatus"].as_str().unwrap_or("").to_owned();
            let interface = detail(event)["attachments"][0]["status"].as_str().unwrap_or("").to_owned();
            seen.push((status, interface));
        }
    });
    seen.dedup();
    seen
}

// spec: 14-003, 14-059
#[tokio::test]
async fn services_run_task_and_start_task_start_tasks_that_say_by_whom() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 10, 10, json!({})).await;
    let run = world.run("web").await;
    assert_eq!((&run["group"], run.get("startedBy")), (&json!("family:web"), None));
    let input = json!({"taskDefinition": "web", "containerInstances": [instance], "startedBy": "me"});
    let started = world.ok("StartTask", input).await["tasks"][0].clone();
    assert_eq!((&started["group"], &started["startedBy"]), (&json!("family:web"), &json!("me")));
    let input = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 1});
    let made = world.ok("CreateService", input).await["service"].clone();
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
    let listed = world.ok("ListTasks", json!({"serviceName": "s"})).await["taskArns"].clone();
    let kept = world.task(&listed[0]).await;
    assert_eq!((&kept["group"], &kept["startedBy"]), (&json!("service:s"), &made["deployments"][0]["id"]));
}

// spec: 04-003
#[tokio::test]
async fn all_containers_of_a_task_go_to_one_instance() {
    let world = World::with_default_cluster().await;
    world.instance(100, 100, &[]).await;
    world.instance(100, 100, &[]).await;
    let container = |name: &str, cpu: i32| json!({"name": name, "image": "busybox", "cpu": cpu, "memory": 10});
    for (family, cpu) in [("fits", 50), ("splits", 60)] {
        let containers = [container("main", cpu), container("side", cpu)];
        world.ok("RegisterTaskDefinition", json!({"family": family, "containerDefinitions": containers})).await;
    }
    // Each of the two would have room on an instance of its own.
    let refused = world.ok("RunTask", json!({"taskDefinition": "splits"})).await;
    assert_eq!((&refused["tasks"], refused["failures"].as_array().unwrap().len()), (&json!([]), 2));
    let task = world.run("fits").await;
    assert_eq!(task["containers"].as_array().unwrap().len(), 2);
    let home = world.described(&task["containerInstanceArn"]).await;
    assert_eq!((&home["pendingTasksCount"], &home["remainingResources"][0]["integerValue"]), (&json!(1), &json!(0)));
}

// spec: 04-019, 05-149, 05-151
#[tokio::test]
async fn constraints_of_a_definition_choose_the_instance_and_fargate_has_none() {
    let world = World::with_default_cluster().await;
    let there = world.instance(1000, 1000, &[(ZONE, "zone-b")]).await;
    for _ in 0..3 {
        world.instance(1000, 1000, &[(ZONE, "zone-a")]).await;
    }
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let define = |family: &str, expression: &str| {
        let only = json!([{"type": "memberOf", "expression": expression}]);
        json!({"family": family, "containerDefinitions": [main], "placementConstraints": only})
    };
    world.ok("RegisterTaskDefinition", define("zoned", "attribute:ecs.availability-zone == zone-b")).await;
    for _ in 0..5 {
        assert_eq!(world.run("zoned").await["containerInstanceArn"], there);
    }
    world.ok("RegisterTaskDefinition", define("nowhere", "attribute:x == y")).await;
    let failures = world.ok("RunTask", json!({"taskDefinition": "nowhere"})).await["failures"].clone();
    assert_eq!(failures.as_array().unwrap().len(), 4);
    assert_eq!(failures[0]["reason"], "MemberOf placement constraint unsatisfied.");
    let mut fargate = define("far", "attribute:x == y");
    for (member, value) in [("networkMode", "awsvpc"), ("cpu", "256"), ("memory", "512")] {
        fargate[member] = json!(value);
    }
    fargate["requiresCompatibilities"] = json!(["FARGATE"]);
    assert_eq!(world.refused("RegisterTaskDefinition", fargate.clone()).await.0, "ClientException");
    fargate.as_object_mut().unwrap().remove("placementConstraints");
    world.ok("RegisterTaskDefinition", fargate).await;
    world.instance(4096, 4096, &[("ecs.longshore.fargate", "only")]).await;
    let subnets: Vec<String> =
        longshore_model::vpc::default_subnets(&world.scope()).into_iter().take(2).map(|subnet| subnet.id).collect();
    let network = json!({"awsvpcConfiguration": {"subnets": subnets}});
    let input = json!({"taskDefinition": "far", "launchType": "FARGATE", "networkConfiguration": network, "count": 2});
    let tasks = world.ok("RunTask", input).await["tasks"].clone();
    assert_ne!(tasks[0]["availabilityZone"], tasks[1]["availabilityZone"]);
}

// spec: 14-035, 14-032
#[tokio::test]
async fn random_placement_takes_any_instance_that_has_room() {
    let world = World::with_default_cluster().await;
    for _ in 0..3 {
        world.instance(1000, 1000, &[]).await;
    }
    let full = world.instance(5, 1000, &[]).await;
    world.family("web", 10, 10, json!({})).await;
    let mut homes = BTreeSet::new();
    for _ in 0..3 {
        let input = json!({"taskDefinition": "web", "count": 10, "placementStrategy": [{"type": "random"}]});
        for task in world.ok("RunTask", input).await["tasks"].as_array().unwrap() {
            homes.insert(task["containerInstanceArn"].to_string());
        }
    }
    assert!(homes.len() == 3 && !homes.contains(&full.to_string()), "{homes:?}");
}

// spec: 14-106
#[tokio::test]
async fn a_task_is_pending_while_its_agent_pulls_and_creates() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 10, 10, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    for status in ["MANIFEST_PULLED", "PULLED", "CREATED"] {
        let main = json!({"containerName": "main", "status": status, "runtimeId": "r"});
        let input =
            json!({"task": task, "status": status, "reason": "", "containers": [main], "pullStartedAt": 1_700_000_000});
        world.ok("SubmitTaskStateChange", input).await;
        let now = world.task(&task).await;
        assert_eq!((&now["lastStatus"], now.get("startedAt")), (&json!("PENDING"), None), "{status}");
    }
    world.report(&task, "RUNNING", None).await;
    assert_eq!(world.task(&task).await["lastStatus"], "RUNNING");
}

// spec: 14-111, 06-045
#[tokio::test]
async fn an_awsvpc_task_is_deprovisioned_before_it_is_stopped() {
    let world = World::with_default_cluster().await;
    awsvpc_family(&world).await;
    world.instance(1000, 1000, &[]).await;
    let run = json!({"taskDefinition": "vpc", "networkConfiguration": awsvpc()});
    assert_eq!(world.ok("RunTask", run.clone()).await["failures"][0]["reason"], "ATTRIBUTE");
    let instance = world.instance(1000, 1000, &[("ecs.capability.task-eni", "")]).await;
    let task = world.ok("RunTask", run).await;
    let task = task["tasks"][0]["taskArn"].clone();
    world.report(&task, "PENDING", None).await;
    let bindings = json!([{"bindIP": "10.1.2.3"}]);
    let main = json!({"containerName": "main", "status": "RUNNING", "runtimeId": "r", "networkBindings": bindings});
    world
        .ok("SubmitTaskStateChange", json!({"task": task, "status": "RUNNING", "reason": "", "containers": [main]}))
        .await;
    world.report(&task, "STOPPED", Some(0)).await;
    let text = |status: &str, interface: &str| (status.to_owned(), interface.to_owned());
    let expected = [
        text("PROVISIONING", "PRECREATED"),
        text("PENDING", "PRECREATED"),
        text("RUNNING", "ATTACHED"),
        text("DEPROVISIONING", "DETACHING"),
        text("STOPPED", "DELETED"),
    ];
    assert_eq!(told(&world, &task), expected);
    let stopped = world.task(&task).await;
    assert_eq!((&stopped["lastStatus"], &stopped["stopCode"]), (&json!("STOPPED"), &json!("EssentialContainerExited")));
    assert_eq!(world.described(&instance).await["remainingResources"][1]["integerValue"], 1000);
}

// spec: 06-044
#[tokio::test]
async fn a_task_whose_network_interface_is_never_attached_is_given_up() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[("ecs.capability.task-eni", "")]).await;
    awsvpc_family(&world).await;
    let task = world.ok("RunTask", json!({"taskDefinition": "vpc", "networkConfiguration": awsvpc()})).await;
    let task = task["tasks"][0]["taskArn"].clone();
    let limits = TaskDeadlinesLimits::default();
    let deadlines = TaskDeadlines::new(world.engine().clone(), world.service.gateway.clone(), limits);
    world.clock.advance(limits.provisioning);
    run_once(&deadlines).await.unwrap();
    assert_eq!(world.task(&task).await["desiredStatus"], "RUNNING");
    world.clock.advance(Duration::from_secs(1));
    run_once(&deadlines).await.unwrap();
    assert_eq!(world.task(&task).await["desiredStatus"], "STOPPED");
    world.report(&task, "STOPPED", None).await;
    let stopped = world.task(&task).await;
    assert_eq!(stopped["stoppedReason"], "Timeout waiting for network interface provisioning to complete.");
    assert_eq!(stopped["stopCode"], "TaskFailedToStart");
    let states: Vec<String> = told(&world, &task).into_iter().map(|(status, _)| status).collect();
    assert_eq!(states, ["PROVISIONING", "DEPROVISIONING", "STOPPED"]);
}

// spec: 22-019
#[tokio::test]
async fn one_call_runs_ten_short_jobs_side_by_side() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("job", 10, 10, json!({})).await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "job", "count": 10})).await;
    let tasks = answer["tasks"].as_array().unwrap();
    let ids: BTreeSet<_> = tasks.iter().map(|task| id_of(&task["taskArn"])).collect();
    assert_eq!((ids.len(), &answer["failures"]), (10, &json!([])));
    for task in tasks {
        world.report(&task["taskArn"], "RUNNING", None).await;
        world.report(&task["taskArn"], "STOPPED", Some(0)).await;
        let done = world.task(&task["taskArn"]).await;
        assert_eq!((&done["lastStatus"], &done["containers"][0]["exitCode"]), (&json!("STOPPED"), &json!(0)));
    }
}

// spec: 03-028
#[tokio::test]
async fn a_strategy_of_one_provider_needs_neither_weight_nor_base() {
    let world = World::with_default_cluster().await;
    let group = json!({"autoScalingGroupArn": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/g"});
    world.ok("CreateCapacityProvider", json!({"name": "mine", "autoScalingGroupProvider": group})).await;
    let input = json!({"cluster": "default", "capacityProviders": ["mine"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    world.instance(1000, 1000, &[("ecs.longshore.capacity-provider", "mine")]).await;
    world.family("web", 10, 10, json!({})).await;
    let run = |items: Value| json!({"taskDefinition": "web", "capacityProviderStrategy": items});
    let task = world.ok("RunTask", run(json!([{"capacityProvider": "mine"}]))).await["tasks"][0].clone();
    assert_eq!(task["capacityProviderName"], "mine");
    let zero = world.ok("RunTask", run(json!([{"capacityProvider": "mine", "weight": 0, "base": 0}]))).await;
    assert_eq!(zero["tasks"].as_array().unwrap().len(), 1);
}

// spec: 31-012
#[tokio::test]
async fn zones_of_any_name_are_placed_by() {
    let world = World::with_default_cluster().await;
    let local = world.instance(1000, 1000, &[(ZONE, "us-west-2-lax-1a")]).await;
    let wave = world.instance(1000, 1000, &[(ZONE, "us-east-1-wl1-bos-wlz-1")]).await;
    world.family("web", 10, 10, json!({})).await;
    for (zone, instance) in [("us-west-2-lax-1a", local), ("us-east-1-wl1-bos-wlz-1", wave)] {
        let only = json!([{"type": "memberOf", "expression": format!("attribute:{ZONE} == {zone}")}]);
        let answer = world.ok("RunTask", json!({"taskDefinition": "web", "placementConstraints": only})).await;
        let task = &answer["tasks"][0];
        assert_eq!((&task["containerInstanceArn"], &task["availabilityZone"]), (&instance, &json!(zone)));
    }
}

// spec: 23-018, 05-059
#[tokio::test]
async fn an_instance_shows_its_resources_with_every_kind_of_value() {
    let world = World::with_default_cluster().await;
    let arn = world.instance(2048, 3955, &[]).await;
    world.family("web", 100, 200, json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]})).await;
    world.run("web").await;
    let described = world.described(&arn).await;
    let resource = |list: &str, name: &str| {
        let found = described[list].as_array().unwrap().iter().find(|resource| resource["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name} in {described}"))
    };
    for (list, cpu, memory) in [("registeredResources", 2048, 3955), ("remainingResources", 1948, 3755)] {
        for (name, amount) in [("CPU", cpu), ("MEMORY", memory)] {
            let found = resource(list, name);
            assert_eq!((&found["type"], &found["integerValue"]), (&json!("INTEGER"), &json!(amount)), "{list}");
            assert_eq!((&found["longValue"], found["doubleValue"].as_f64()), (&json!(0), Some(0.0)));
        }
    }
    let ports = resource("registeredResources", "PORTS");
    assert_eq!(ports["stringSetValue"], json!(["22", "2375", "2376", "51678", "51679"]));
    let taken = resource("remainingResources", "PORTS")["stringSetValue"].clone();
    assert!(ports["type"] == "STRINGSET" && taken.as_array().unwrap().contains(&json!("80")), "{taken}");
    assert_eq!(resource("registeredResources", "PORTS_UDP")["stringSetValue"], json!([]));
}

// spec: 30-026
#[tokio::test]
async fn fargate_spot_runs_on_platform_version_1_3_0_and_later() {
    let world = World::with_default_cluster().await;
    let input =
        json!({"cluster": "default", "capacityProviders": ["FARGATE_SPOT"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    world.instance(4096, 4096, &[("ecs.longshore.fargate", "only")]).await;
    let input = json!({
        "family": "far", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [{"name": "main", "image": "busybox"}],
    });
    world.ok("RegisterTaskDefinition", input).await;
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let run = |version: &str| json!({"taskDefinition": "far", "capacityProviderStrategy": spot, "networkConfiguration": awsvpc(), "platformVersion": version});
    for version in ["1.3.0", "1.4.0"] {
        let task = world.ok("RunTask", run(version)).await["tasks"][0].clone();
        assert_eq!(
            (&task["capacityProviderName"], &task["platformVersion"]),
            (&json!("FARGATE_SPOT"), &json!(version))
        );
    }
    assert_eq!(world.refused("RunTask", run("1.2.0")).await.0, "PlatformUnknownException");
}
