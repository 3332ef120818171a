//! Events as they are told.

use std::time::Duration;

use serde_json::{Value, json};

use super::{complete, envelope};
use crate::operations::testing::World;
use crate::operations::testing_instances::registration;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

pub(crate) async fn told(world: &World) -> Vec<Value> {
    world.engine().peek(|state| {
        let records = state.outbox.values().map(|record| complete(state, record));
        let told =
            records.flat_map(|record| record.events.iter().map(|it| envelope(record.at, it)).collect::<Vec<_>>());
        told.map(|event| serde_json::from_str(&event).unwrap()).collect()
    })
}

pub(crate) fn of_type<'a>(events: &'a [Value], detail_type: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["detail-type"] == detail_type).collect()
}

pub(super) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or("");
    text.len() == 24 && text.ends_with('Z') && &text[10..11] == "T" && &text[19..20] == "."
}

const ENVELOPE: [&str; 9] =
    ["account", "detail", "detail-type", "id", "region", "resources", "source", "time", "version"];
const CONTAINER_INSTANCE: &str = "ECS Container Instance State Change";
const TASK: &str = "ECS Task State Change";

// spec: 19-039, 19-053, 19-055, 19-060, 19-063
#[tokio::test]
async fn every_change_of_a_task_is_told_with_times_as_text() {
    let world = World::with_default_cluster().await;
    world.instance(4000, 4000, &[]).await;
    world.family("web", 64, 32, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    world.ok("StopTask", json!({"task": task})).await;
    world.report(&task, "STOPPED", Some(0)).await;
    let events = told(&world).await;
    let of_task = of_type(&events, TASK);
    let seen: Vec<_> = of_task.iter().map(|it| (&it["detail"]["lastStatus"], &it["detail"]["desiredStatus"])).collect();
    let (running, stopped, pending) = (json!("RUNNING"), json!("STOPPED"), json!("PENDING"));
    let expected = [(&pending, &running), (&running, &running), (&running, &stopped), (&stopped, &stopped)];
    assert_eq!(seen, expected);
    for event in &of_task {
        assert_eq!(keys(event), ENVELOPE);
        assert_eq!((&event["version"], &event["source"]), (&json!("0"), &json!("aws.ecs")));
        assert_eq!(event["resources"], json!([task]));
        assert!(["createdAt", "updatedAt"].iter().all(|name| is_time(&event["detail"][*name])), "{event}");
        assert_eq!(event["detail"]["overrides"]["containerOverrides"], json!([{"name": "main"}]));
    }
    let last = &of_task[3]["detail"];
    assert!(["startedAt", "stoppedAt", "stoppingAt"].iter().all(|name| is_time(&last[*name])), "{last}");
    assert_eq!(last["containers"][0]["exitCode"], 0);
}

// spec: 19-058
#[tokio::test]
async fn a_change_of_one_container_alone_is_told() {
    let world = World::with_default_cluster().await;
    world.instance(4000, 4000, &[]).await;
    let container =
        |name: &str, essential: bool| json!({"name": name, "image": "busybox", "memory": 10, "essential": essential});
    let both = json!([container("main", true), container("side", false)]);
    world.ok("RegisterTaskDefinition", json!({"family": "two", "containerDefinitions": both})).await;
    let task = world.run("two").await["taskArn"].clone();
    let runs = |name: &str| json!({"containerName": name, "status": "RUNNING", "runtimeId": name});
    let running = json!({"task": task, "status": "RUNNING", "reason": "", "containers": [runs("main"), runs("side")]});
    world.ok("SubmitTaskStateChange", running).await;
    let before = of_type(&told(&world).await, TASK).len();
    let ended = json!({"task": task, "containerName": "side", "status": "STOPPED", "exitCode": 0, "runtimeId": "side"});
    world.ok("SubmitContainerStateChange", ended).await;
    let events = told(&world).await;
    let new = of_type(&events, TASK).split_off(before);
    assert_eq!(new.len(), 1);
    let detail = &new[0]["detail"];
    let status = |name: &str| {
        let containers = detail["containers"].as_array().unwrap();
        containers.iter().find(|it| it["name"] == name).unwrap()["lastStatus"].clone()
    };
    assert_eq!(
        (&detail["lastStatus"], status("main"), status("side")),
        (&json!("RUNNING"), json!("RUNNING"), json!("STOPPED"))
    );
}

// spec: 19-040
#[tokio::test]
async fn versions_count_up_and_are_those_of_describe() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(4000, 4000, &[]).await;
    world.family("web", 64, 32, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    world.report(&task, "STOPPED", Some(0)).await;
    let events = told(&world).await;
    for (detail_type, described) in
        [(TASK, world.task(&task).await), (CONTAINER_INSTANCE, world.described(&instance).await)]
    {
        let versions: Vec<i64> =
            of_type(&events, detail_type).iter().map(|it| it["detail"]["version"].as_i64().unwrap()).collect();
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{detail_type}: {versions:?}");
        assert_eq!(versions.last().copied(), described["version"].as_i64(), "{detail_type}");
    }
}

// spec: 19-038, 19-041, 19-043, 19-046, 19-047, 19-049, 19-050, 19-051
#[tokio::test]
async fn a_container_instance_tells_of_its_resources_and_its_connection() {
    let world = World::with_default_cluster().await;
    let mut first = registration(4000, 4000, &[]);
    first["versionInfo"] =
        json!({"agentVersion": "1.98.0", "agentHash": "abcdef12", "dockerVersion": "DockerVersion: 29.0.0"});
    let made = world.ok("RegisterContainerInstance", first).await;
    let instance = made["containerInstance"]["containerInstanceArn"].clone();
    world.connect(&instance, true).await;
    world.family("web", 64, 32, json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    world.report(&task, "STOPPED", Some(0)).await;
    world.connect(&instance, false).await;
    let events = told(&world).await;
    let of_instance = of_type(&events, CONTAINER_INSTANCE);
    let left = |event: &Value, name: &str| {
        let resources = event["detail"]["remainingResources"].as_array().unwrap().clone();
        resources.into_iter().find(|it| it["name"] == name).unwrap()
    };
    let cpu: Vec<i64> = of_instance.iter().map(|it| left(it, "CPU")["integerValue"].as_i64().unwrap()).collect();
    assert_eq!(cpu, [4000, 4000, 3936, 4000, 4000]);
    let connected: Vec<&Value> = of_instance.iter().map(|it| &it["detail"]["agentConnected"]).collect();
    assert_eq!(connected, [&json!(false), &json!(true), &json!(true), &json!(true), &json!(false)]);
    assert!(left(of_instance[2], "PORTS")["stringSetValue"].as_array().unwrap().contains(&json!("8080")));
    assert_eq!(keys(of_instance[2]), ENVELOPE);
    assert!(of_instance.iter().all(|event| {
        event["source"] == "aws.ecs" && event["version"] == "0" && event["resources"] == json!([instance])
    }));
    let mut versions = keys(&of_instance[2]["detail"]["versionInfo"]);
    versions.sort_unstable();
    assert_eq!(versions, ["agentHash", "agentVersion", "dockerVersion"]);
    assert_eq!(of_instance[2]["detail"]["status"], "ACTIVE");
    let registered = of_instance[2]["detail"]["registeredResources"].as_array().unwrap();
    let mut kinds: Vec<_> =
        registered.iter().map(|it| (it["name"].as_str().unwrap(), it["type"].as_str().unwrap())).collect();
    kinds.sort_unstable();
    let expected = [("CPU", "INTEGER"), ("MEMORY", "INTEGER"), ("PORTS", "STRINGSET"), ("PORTS_UDP", "STRINGSET")];
    assert_eq!(kinds, expected);
    let reserved = registered.iter().find(|it| it["name"] == "PORTS").unwrap()["stringSetValue"].as_array().unwrap();
    assert!(["22", "2375", "2376", "51678"].iter().all(|port| reserved.contains(&json!(port))), "{reserved:?}");
    let mut detail = keys(&of_instance[2]["detail"]);
    detail.sort_unstable();
    let expected = [
        "agentConnected",
        "attributes",
        "clusterArn",
        "containerInstanceArn",
        "ec2InstanceId",
        "registeredResources",
        "remainingResources",
        "status",
        "updatedAt",
        "version",
        "versionInfo",
    ];
    assert_eq!(detail, expected);
    assert!(is_time(&of_instance[2]["detail"]["updatedAt"]));
    let attributes = of_instance[0]["detail"]["attributes"].as_array().unwrap();
    assert!(attributes.contains(&json!({"name": "ecs.os-type", "value": "linux"})));
}

// spec: 19-044, 19-056, 19-038
#[tokio::test]
async fn a_deregistration_tells_of_the_instance_and_of_its_tasks() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(4000, 4000, &[]).await;
    world.family("web", 64, 32, json!({})).await;
    world.run("web").await;
    let request = json!({"containerInstance": instance, "force": true});
    world.ok("DeregisterContainerInstance", request).await;
    let events = told(&world).await;
    let last = of_type(&events, CONTAINER_INSTANCE).last().copied().unwrap().clone();
    assert_eq!((&last["detail"]["status"], &last["detail"]["agentConnected"]), (&json!("INACTIVE"), &json!(false)));
    assert_eq!(of_type(&events, TASK).last().unwrap()["detail"]["lastStatus"], "STOPPED");
}

// spec: 19-064, 19-065, 19-074, 19-076
#[tokio::test]
async fn a_service_tells_what_hinders_it_and_when_it_is_steady() {
    let world = World::with_default_cluster().await;
    world.family("web", 64, 32, json!({})).await;
    let made = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
    let service = world.ok("CreateService", made).await["service"]["serviceArn"].clone();
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
    world.instance(4000, 4000, &[]).await;
    world.clock.advance(Duration::from_secs(11));
    run_once(&scheduler).await.unwrap();
    let task = world.ok("ListTasks", json!({})).await["taskArns"][0].clone();
    world.report(&task, "RUNNING", None).await;
    world.clock.advance(Duration::from_secs(60));
    run_once(&scheduler).await.unwrap();
    let events = told(&world).await;
    let actions = of_type(&events, "ECS Service Action");
    let names: Vec<&Value> = actions.iter().map(|event| &event["detail"]["eventName"]).collect();
    assert_eq!(names, [&json!("SERVICE_TASK_PLACEMENT_FAILURE"), &json!("SERVICE_STEADY_STATE")]);
    let failure = &actions[0]["detail"];
    assert_eq!(keys(failure), ["clusterArn", "createdAt", "eventName", "eventType", "reason"]);
    assert_eq!(failure["reason"], "No Container Instances were found in your cluster.");
    let steady = &actions[1]["detail"];
    assert_eq!(keys(steady), ["clusterArn", "createdAt", "eventName", "eventType"]);
    assert_eq!((&failure["eventType"], &steady["eventType"]), (&json!("ERROR"), &json!("INFO")));
    assert!(is_time(&steady["createdAt"]));
    let rollout = of_type(&events, "ECS Deployment State Change");
    let names: Vec<&Value> = rollout.iter().map(|event| &event["detail"]["eventName"]).collect();
    assert_eq!(names, [&json!("SERVICE_DEPLOYMENT_IN_PROGRESS"), &json!("SERVICE_DEPLOYMENT_COMPLETED")]);
    let about = |event: &&&Value| event["resources"] == json!([service]) && event["source"] == "aws.ecs";
    assert!(actions.iter().chain(&rollout).all(|event| about(&event)));
}

// spec: 19-048
#[tokio::test]
async fn an_upgraded_agent_tells_of_its_version() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(4000, 4000, &[]).await;
    let mut again = registration(4000, 4000, &[]);
    again["containerInstanceArn"] = instance.clone();
    again["versionInfo"] =
        json!({"agentVersion": "1.99.0", "agentHash": "abcdef12", "dockerVersion": "DockerVersion: 29.0.0"});
    let before = of_type(&told(&world).await, CONTAINER_INSTANCE).len();
    world.ok("RegisterContainerInstance", again).await;
    let events = told(&world).await;
    let of_instance = of_type(&events, CONTAINER_INSTANCE);
    assert!(of_instance.len() > before);
    let last = &of_instance.last().unwrap()["detail"];
    assert_eq!(last["containerInstanceArn"], instance);
    assert_eq!(last["versionInfo"]["agentVersion"], "1.99.0");
}

#[tokio::test]
async fn a_machine_that_was_stopped_tells_of_itself_and_of_each_task_that_it_lost() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(4000, 4000, &[]).await;
    world.family("web", 64, 32, json!({})).await;
    let tasks = [world.run("web").await["taskArn"].clone(), world.run("web").await["taskArn"].clone()];
    for task in &tasks {
        world.report(task, "RUNNING", None).await;
    }
    world.connect(&instance, false).await;
    let before = told(&world).await.len();
    world.connect(&instance, true).await;
    for task in &tasks {
        world.report(task, "STOPPED", None).await;
    }
    let events = told(&world).await.split_off(before);
    let stopped: Vec<&Value> = of_type(&events, TASK).iter().map(|it| &it["resources"][0]).collect();
    assert_eq!(stopped, [&tasks[0], &tasks[1]]);
    assert!(of_type(&events, TASK).iter().all(|it| it["detail"]["lastStatus"] == "STOPPED"));
    let of_instance = of_type(&events, CONTAINER_INSTANCE);
    assert_eq!(of_instance.last().unwrap()["detail"]["remainingResources"][0]["integerValue"], 4000);
}

// spec: 19-061, 19-062, 19-063
#[tokio::test]
async fn the_event_of_an_awsvpc_task_has_its_network_interface_and_its_containers() {
    let world = World::with_fargate().await;
    world.lender(2048, 4096).await;
    let task = world.run_on_fargate(json!({})).await["tasks"][0]["taskArn"].clone();
    let id = "ad64cbc71c7fb31c55507ec24c9f77947132b03d48d9961115cf24f3b7307e1e";
    let digest = "sha256:74b2c688c700ec95a93e478cdb959737c148df3fbf5ea706abe0318726e885e6";
    let main = json!({"containerName": "main", "status": "RUNNING", "runtimeId": id, "imageDigest": digest, "networkBindings": [{"bindIP": "10.1.2.3"}]});
    let at = 1_700_000_000;
    let input = json!({"task": task, "status": "RUNNING", "reason": "", "containers": [main], "pullStartedAt": at, "pullStoppedAt": at});
    world.ok("SubmitTaskStateChange", input).await;
    let events = told(&world).await;
    let detail = &of_type(&events, TASK).last().unwrap()["detail"];
    for member in [
        "attachments",
        "availabilityZone",
        "clusterArn",
        "connectivity",
        "connectivityAt",
        "containers",
        "cpu",
        "createdAt",
        "desiredStatus",
        "group",
        "lastStatus",
        "launchType",
        "memory",
        "overrides",
        "platformVersion",
        "pullStartedAt",
        "pullStoppedAt",
        "startedAt",
        "taskArn",
        "taskDefinitionArn",
        "updatedAt",
        "version",
    ] {
        assert!(!detail[member].is_null(), "{member}: {detail}");
    }
    assert_eq!((&detail["cpu"], &detail["memory"]), (&json!("256"), &json!("512")));
    let described = world.task(&task).await;
    for member in ["connectivityAt", "createdAt", "pullStartedAt", "pullStoppedAt", "startedAt"] {
        assert!(is_time(&detail[member]) && described[member].is_number(), "{member}: {detail}");
    }
    let attachment = &detail["attachments"][0];
    assert_eq!((&attachment["type"], &attachment["status"]), (&json!("eni"), &json!("ATTACHED")));
    let details = attachment["details"].as_array().unwrap();
    let names: Vec<&str> = details.iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in ["subnetId", "networkInterfaceId", "macAddress", "privateIPv4Address"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let container = &detail["containers"][0];
    assert_eq!((&container["runtimeId"], &container["imageDigest"]), (&json!(id), &json!(digest)));
    assert_eq!(container["taskArn"], task);
    assert_eq!((&container["name"], &container["image"]), (&json!("main"), &json!("busybox")));
    assert_eq!((&container["lastStatus"], &container["cpu"]), (&json!("RUNNING"), &json!("0")));
    assert!(container["containerArn"].as_str().unwrap().contains(":container/"));
    let interface = json!([{"attachmentId": attachment["id"], "privateIpv4Address": "10.1.2.3"}]);
    assert_eq!(container["networkInterfaces"], interface);
}
