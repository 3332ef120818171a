//! Events as they are told.

use std::time::Duration;

use serde_json::{Value, json};

use super::{complete, envelope};
use crate::operations::testing::World;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

async fn told(world: &World) -> Vec<Value> {
    world.engine().peek(|state| {
        let records = state.outbox.values().map(|record| complete(state, record));
        records.flat_map(|record| record.events.iter().map(|it| envelope(record.at, it)).collect::<Vec<_>>()).collect()
    })
}

fn of_type<'a>(events: &'a [Value], detail_type: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["detail-type"] == detail_type).collect()
}

fn keys(value: &Value) -> Vec<&str> {
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

// spec: 19-039, 19-053, 19-055, 19-058, 19-060, 19-063
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
    let instance = world.registered(4000, 4000, &[]).await;
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

// spec: 19-044, 19-056
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
    assert_eq!(last["detail"]["status"], "INACTIVE");
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
    assert!(actions.iter().chain(&rollout).all(|event| event["resources"] == json!([service])));
}
