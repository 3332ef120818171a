//! Interruptions of Fargate tasks, and the platform versions that they and others depend on.

use std::time::Duration;

use longshore_api::longshore::{FargateInterruption, InterruptFargateTasksRequest};
use longshore_seams::Timestamp;
use serde_json::{Value, json};

use super::capacity_tests::network;
use super::interrupt_fargate_tasks;
use crate::events::tests::told;
use crate::operations::testing::{World, detail};
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, TaskDeadlines, TaskDeadlinesLimits, run_once};

type Request = InterruptFargateTasksRequest;

fn reclaim() -> Request {
    Request { interruption: Some(FargateInterruption::SpotInterruption), ..Request::default() }
}

fn recycle() -> Request {
    Request { interruption: Some(FargateInterruption::TaskRecycling), ..Request::default() }
}

fn retire(at: Option<Timestamp>) -> Request {
    Request { interruption: Some(FargateInterruption::TaskRetirement), at, ..Request::default() }
}

fn named(task: &Value) -> Option<Vec<String>> {
    Some(vec![task.as_str().unwrap().to_owned()])
}

impl World {
    async fn interrupt(&self, request: Request) -> Vec<Value> {
        let answer = interrupt_fargate_tasks(self.engine(), &self.scope(), &request).await.unwrap();
        answer.task_arns.unwrap().into_iter().map(Value::String).collect()
    }

    async fn not_interrupted(&self, request: Request) -> (&'static str, String) {
        let refused = interrupt_fargate_tasks(self.engine(), &self.scope(), &request).await.unwrap_err();
        (refused.code, refused.message)
    }

    /// A running task of `web` on this capacity provider.
    async fn running_on(&self, provider: &str) -> Value {
        let strategy = json!([{"capacityProvider": provider, "weight": 1}]);
        let input =
            json!({"taskDefinition": "web", "capacityProviderStrategy": strategy, "networkConfiguration": network()});
        let task = self.ok("RunTask", input).await["tasks"][0]["taskArn"].clone();
        self.report(&task, "RUNNING", None).await;
        self.clock.advance(Duration::from_secs(1));
        task
    }

    /// A service of one task on Fargate, which runs; answers the task.
    async fn fargate_service(&self, own: Value) -> Value {
        let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "networkConfiguration": network()});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        self.ok("CreateService", input).await;
        self.schedule_services().await;
        let task = self.of_service().await[0].clone();
        self.report(&task, "RUNNING", None).await;
        task
    }

    /// Registers a task definition for Fargate whose container has these members of its own.
    async fn register_on_fargate(&self, family: &str, own: Value) {
        let mut main = json!({"name": "main", "image": "example.com/app:1"});
        main.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let definition = json!({
            "family": family, "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        });
        self.ok("RegisterTaskDefinition", definition).await;
    }

    async fn schedule_services(&self) {
        run_once(&ServiceScheduler::new(self.engine().clone(), ServiceSchedulerLimits::default())).await.unwrap();
    }

    async fn of_service(&self) -> Vec<Value> {
        self.ok("ListTasks", json!({"serviceName": "web"})).await["taskArns"].as_array().unwrap().clone()
    }

    async fn meet_deadlines(&self) {
        let gateway = self.service.gateway.clone();
        run_once(&TaskDeadlines::new(self.engine().clone(), gateway, TaskDeadlinesLimits::default())).await.unwrap();
    }
}

async fn fargate() -> World {
    let world = World::with_fargate().await;
    world.lender(8192, 16384).await;
    world
}

const MAINTENANCE: &str = "ECS is performing maintenance on the underlying infrastructure hosting the task.";

// spec: 03-085, 03-086, 19-059
#[tokio::test]
async fn a_spot_interruption_is_told_while_the_task_still_runs() {
    let world = fargate().await;
    let task = world.running_on("FARGATE_SPOT").await;
    assert_eq!(world.interrupt(reclaim()).await, std::slice::from_ref(&task));
    let events = world.engine().peek(|state| {
        let records = state.outbox.values();
        records.flat_map(|record| record.events.clone()).collect::<Vec<_>>()
    });
    let last = events.last().unwrap();
    assert_eq!(
        (last.detail_type.as_str(), &last.resources[0]),
        ("ECS Task State Change", &task.as_str().unwrap().to_owned())
    );
    for seen in [detail(last), world.task(&task).await] {
        assert_eq!((&seen["desiredStatus"], &seen["lastStatus"]), (&json!("STOPPED"), &json!("RUNNING")));
        assert_eq!(seen["stoppedReason"], "Your Spot Task was interrupted.");
        assert_eq!(seen["stopCode"], "TerminationNotice");
    }
    world.report(&task, "STOPPED", Some(143)).await;
    let stopped = world.task(&task).await;
    assert_eq!((&stopped["lastStatus"], &stopped["stopCode"]), (&json!("STOPPED"), &json!("TerminationNotice")));
    assert_eq!(stopped["stoppedReason"], "Your Spot Task was interrupted.");
}

#[tokio::test]
async fn only_so_many_spot_tasks_are_interrupted_the_oldest_first() {
    let world = fargate().await;
    let on_demand = world.running_on("FARGATE").await;
    let spot = [world.running_on("FARGATE_SPOT").await, world.running_on("FARGATE_SPOT").await];
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let elsewhere = Request { cluster: Some("other".to_owned()), ..reclaim() };
    assert_eq!(world.interrupt(elsewhere).await, Vec::<Value>::new());
    assert_eq!(world.interrupt(Request { count: Some(1), ..reclaim() }).await, [spot[0].clone()]);
    assert_eq!(world.interrupt(reclaim()).await, [spot[1].clone()]);
    assert_eq!(world.interrupt(reclaim()).await, Vec::<Value>::new());
    assert_eq!(world.task(&on_demand).await["desiredStatus"], "RUNNING");
}

#[tokio::test]
async fn a_named_task_that_an_interruption_can_t_concern_is_refused_with_the_reason() {
    let world = fargate().await;
    let on_demand = world.running_on("FARGATE").await;
    let named_task = Request { tasks: named(&on_demand), ..reclaim() };
    let (code, message) = world.not_interrupted(named_task.clone()).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("was not placed by the capacity provider FARGATE_SPOT"), "{message}");
    let both = Request { count: Some(1), ..named_task };
    assert_eq!(world.not_interrupted(both).await.0, "InvalidParameterException");
    let at = Request { at: Some(Timestamp::from_secs(1_800_000_000)), ..reclaim() };
    assert!(world.not_interrupted(at).await.1.contains("TASK_RETIREMENT"));
    let unknown = json!("00000000000000000000000000000001");
    let nobody = Request { tasks: named(&unknown), ..reclaim() };
    assert_eq!(world.not_interrupted(nobody).await.0, "ResourceNotFoundException");
    let nowhere = Request { cluster: Some("nowhere".to_owned()), ..reclaim() };
    assert_eq!(world.not_interrupted(nowhere).await.0, "ResourceNotFoundException");
}

// spec: 03-088
#[tokio::test]
async fn a_service_replaces_an_interrupted_task_on_fargate_spot_as_soon_as_there_is_room() {
    let world = World::with_fargate().await;
    world.lender(256, 512).await;
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let task = world.fargate_service(json!({"capacityProviderStrategy": strategy})).await;
    world.interrupt(reclaim()).await;
    world.schedule_services().await;
    assert_eq!(world.of_service().await, Vec::<Value>::new(), "there is no room beside the task that stops");
    world.report(&task, "STOPPED", Some(143)).await;
    world.clock.advance(Duration::from_secs(60));
    world.schedule_services().await;
    let replaced = world.of_service().await;
    assert_eq!(replaced.len(), 1);
    assert_eq!(world.task(&replaced[0]).await["capacityProviderName"], "FARGATE_SPOT");
}

// spec: 02-045, 14-116
#[tokio::test]
async fn a_retired_task_is_stopped_on_its_date_and_replaced_when_a_service_wants_it() {
    let world = World::with_fargate().await;
    let lender = world.lender(8192, 16384).await;
    let alone = world.running_on("FARGATE").await;
    let served = world.fargate_service(json!({"launchType": "FARGATE"})).await;
    let at = world.engine().seams().clock.now().plus(Duration::from_secs(3600));
    assert_eq!(world.interrupt(retire(Some(at))).await, [alone.clone(), served.clone()]);
    let world = world.restarted().await;
    world.connect(&lender, true).await;
    world.meet_deadlines().await;
    assert_eq!(world.task(&alone).await["desiredStatus"], "RUNNING");
    world.clock.advance(Duration::from_secs(3601));
    world.meet_deadlines().await;
    for task in [&alone, &served] {
        assert_eq!(world.task(task).await["stoppedReason"], MAINTENANCE);
        let events = told(&world).await;
        let last = events.iter().rfind(|event| event["resources"] == json!([task])).unwrap();
        let detail = &last["detail"];
        assert_eq!((&detail["desiredStatus"], &detail["stoppedReason"]), (&json!("STOPPED"), &json!(MAINTENANCE)));
        world.report(task, "STOPPED", Some(143)).await;
    }
    world.schedule_services().await;
    let running = world.ok("ListTasks", json!({})).await["taskArns"].as_array().unwrap().clone();
    assert_eq!(running, world.of_service().await);
    assert_eq!(running.len(), 1);
    assert_ne!(running[0], served);
}

#[tokio::test]
async fn a_retirement_without_a_date_is_at_once_and_a_new_date_replaces_the_old() {
    let world = fargate().await;
    let task = world.running_on("FARGATE").await;
    let now = world.engine().seams().clock.now();
    world.interrupt(retire(Some(now.plus(Duration::from_secs(10))))).await;
    world.interrupt(retire(Some(now.plus(Duration::from_secs(1000))))).await;
    world.clock.advance(Duration::from_secs(11));
    world.meet_deadlines().await;
    assert_eq!(world.task(&task).await["desiredStatus"], "RUNNING");
    world.interrupt(retire(None)).await;
    assert_eq!(world.task(&task).await["desiredStatus"], "STOPPED");
}

// spec: 02-058, 14-119, 30-020
#[tokio::test]
async fn recycling_concerns_tasks_of_services_only_and_the_service_keeps_its_count() {
    let world = fargate().await;
    let alone = world.running_on("FARGATE").await;
    let served = world.fargate_service(json!({"launchType": "FARGATE", "platformVersion": "1.3.0"})).await;
    assert_eq!(world.interrupt(recycle()).await, std::slice::from_ref(&served));
    world.schedule_services().await;
    let replaced = world.of_service().await;
    assert_eq!(replaced.len(), 1);
    assert_ne!(replaced[0], served);
    assert_eq!(world.task(&served).await["stoppedReason"], MAINTENANCE);
    assert_eq!(world.task(&alone).await["desiredStatus"], "RUNNING");
    let refused = world.not_interrupted(Request { tasks: named(&alone), ..recycle() }).await;
    assert!(refused.1.contains("is of no service"), "{}", refused.1);
}

// spec: 02-049
#[tokio::test]
async fn china_has_no_platform_versions_before_1_3_0() {
    for region in ["cn-north-1", "cn-northwest-1"] {
        let world = World::new().await.in_region(region);
        world.ok("CreateCluster", json!({})).await;
        world.fargate_family("web", "256", "512").await;
        world.lender(2048, 4096).await;
        assert_eq!(world.refused_on_fargate(json!({"platformVersion": "1.2.0"})).await.0, "PlatformUnknownException");
        for (given, shown) in [("1.3.0", "1.3.0"), ("1.4.0", "1.4.0"), ("LATEST", "1.4.0")] {
            let task = world.run_on_fargate(json!({"platformVersion": given})).await["tasks"][0].clone();
            assert_eq!(task["platformVersion"], shown, "{region}");
        }
    }
}

// spec: 03-084
#[tokio::test]
async fn fargate_spot_needs_platform_version_1_3_0() {
    let world = fargate().await;
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let run = |version: &str| json!({"taskDefinition": "web", "capacityProviderStrategy": strategy, "networkConfiguration": network(), "platformVersion": version});
    assert_eq!(world.refused("RunTask", run("1.2.0")).await.0, "PlatformUnknownException");
    let task = world.ok("RunTask", run("1.3.0")).await["tasks"][0].clone();
    assert_eq!((&task["platformVersion"], &task["capacityProviderName"]), (&json!("1.3.0"), &json!("FARGATE_SPOT")));
}

// spec: 02-057
#[tokio::test]
async fn what_came_with_1_3_0_and_1_2_0_runs_on_no_older_version() {
    let world = fargate().await;
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf";
    for (family, version, own) in [
        ("secrets", "1.2.0", json!({"secrets": [{"name": "S", "valueFrom": secret}]})),
        ("timeouts", "1.2.0", json!({"startTimeout": 10, "stopTimeout": 10})),
        ("splunk", "1.2.0", json!({"logConfiguration": {"logDriver": "splunk"}})),
        (
            "options",
            "1.2.0",
            json!({"logConfiguration": {"logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": secret}]}}),
        ),
        ("private", "1.1.0", json!({"repositoryCredentials": {"credentialsParameter": secret}})),
    ] {
        world.register_on_fargate(family, own).await;
        let on = |version: &str| json!({"taskDefinition": family, "platformVersion": version});
        assert_eq!(world.refused_on_fargate(on(version)).await.0, "PlatformUnknownException", "{family}");
        let task = world.run_on_fargate(on("1.3.0")).await;
        assert_eq!(task["tasks"][0]["platformVersion"], "1.3.0", "{family}: {task}");
    }
}

// spec: 02-016, 08-023
#[tokio::test]
async fn what_came_with_1_4_0_does_not_run_on_1_3_0() {
    let world = fargate().await;
    let part = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf:key::";
    for (family, own, member) in [
        ("ptrace", json!({"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}}}), "capabilities"),
        ("part", json!({"secrets": [{"name": "S", "valueFrom": part}]}), "JSON key or version of a secret"),
    ] {
        world.register_on_fargate(family, own).await;
        let (code, message) =
            world.refused_on_fargate(json!({"taskDefinition": family, "platformVersion": "1.3.0"})).await;
        assert_eq!(code, "PlatformTaskDefinitionIncompatibilityException");
        assert!(message.contains(member), "{message}");
        let task = world.run_on_fargate(json!({"taskDefinition": family, "platformVersion": "1.4.0"})).await;
        assert_eq!(task["tasks"][0]["platformVersion"], "1.4.0", "{task}");
    }
    let mut forbidden = json!({
        "family": "admin", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [{"name": "main", "image": "a", "linuxParameters": {"capabilities": {"add": ["NET_ADMIN"]}}}],
    });
    assert_eq!(world.refused("RegisterTaskDefinition", forbidden.clone()).await.0, "ClientException");
    forbidden["containerDefinitions"][0]["linuxParameters"]["capabilities"] = json!({"drop": ["NET_RAW"]});
    world.ok("RegisterTaskDefinition", forbidden).await;
}

// spec: 30-002, 30-003
#[tokio::test]
async fn a_service_keeps_its_platform_version_until_a_deployment_changes_it() {
    let world = fargate().await;
    world.fargate_service(json!({"launchType": "FARGATE", "platformVersion": "1.3.0"})).await;
    world.ok("UpdateService", json!({"service": "web", "desiredCount": 2})).await;
    world.schedule_services().await;
    let versions = async |world: &World| {
        let mut versions = Vec::new();
        for task in world.of_service().await {
            versions.push(world.task(&task).await["platformVersion"].clone());
        }
        versions
    };
    assert_eq!(versions(&world).await, ["1.3.0", "1.3.0"]);
    let updated = world.ok("UpdateService", json!({"service": "web", "platformVersion": "1.4.0"})).await;
    let deployments = updated["service"]["deployments"].as_array().unwrap();
    let seen: Vec<_> = deployments.iter().map(|it| (&it["status"], &it["platformVersion"])).collect();
    assert_eq!(seen, [(&json!("PRIMARY"), &json!("1.4.0")), (&json!("ACTIVE"), &json!("1.3.0"))]);
    world.schedule_services().await;
    assert!(versions(&world).await.contains(&json!("1.4.0")));
}

// spec: 02-003
#[tokio::test]
async fn every_region_of_fargate_is_served_with_its_own_arns_and_state() {
    let mut world = World::new().await;
    for region in [
        "us-east-2",
        "us-east-1",
        "us-west-1",
        "us-west-2",
        "af-south-1",
        "ap-east-1",
        "ap-south-1",
        "ap-northeast-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-northeast-1",
        "ca-central-1",
        "cn-north-1",
        "cn-northwest-1",
        "eu-central-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-north-1",
        "sa-east-1",
        "me-south-1",
        "us-gov-east-1",
        "us-gov-west-1",
    ] {
        world = world.in_region(region);
        assert_eq!(world.ok("ListClusters", json!({})).await["clusterArns"], json!([]), "{region}");
        let partition = match region {
            "cn-north-1" | "cn-northwest-1" => "aws-cn",
            "us-gov-east-1" | "us-gov-west-1" => "aws-us-gov",
            _ => "aws",
        };
        let made = world.ok("CreateCluster", json!({})).await;
        let arn = format!("arn:{partition}:ecs:{region}:123456789012:cluster/default");
        assert_eq!(made["cluster"]["clusterArn"], arn);
        world.fargate_family("web", "256", "512").await;
        world.lender(256, 512).await;
        let task = world.run_on_fargate(json!({})).await["tasks"][0].clone();
        assert_eq!(task["launchType"], "FARGATE", "{region}: {task}");
    }
}

#[tokio::test]
async fn a_request_with_the_same_client_token_takes_no_further_tasks() {
    let world = fargate().await;
    let tasks = [world.running_on("FARGATE_SPOT").await, world.running_on("FARGATE_SPOT").await];
    let once = |token: &str, count| Request { client_token: Some(token.to_owned()), count: Some(count), ..reclaim() };
    assert_eq!(world.interrupt(once("a", 1)).await, tasks[..1]);
    assert_eq!(world.interrupt(once("a", 1)).await, tasks[..1]);
    assert_eq!(world.task(&tasks[1]).await["desiredStatus"], "RUNNING");
    let (code, message) = world.not_interrupted(once("a", 2)).await;
    assert!(code == "ConflictException" && message.contains("InterruptFargateTasks"), "{code}: {message}");
    assert_eq!(world.interrupt(once("b", 2)).await, tasks[1..]);
    // There was nothing left to take: later tasks are none of this request's.
    assert_eq!(world.interrupt(once("c", 1)).await, [] as [Value; 0]);
    world.running_on("FARGATE_SPOT").await;
    assert_eq!(world.interrupt(once("c", 1)).await, [] as [Value; 0]);
    assert_eq!(world.not_interrupted(once("not valid", 1)).await.0, "InvalidParameterException");
}
