//! Each case of the guide's chapter 24 is brought about for real, and must be explained by its true cause.

use std::time::Duration;

use longshore_api::longshore as api;
use longshore_model::records::Delivery;
use longshore_model::task;
use serde_json::{Value as Json, json};

use crate::changes::Change;
use crate::operations::testing::World;
use crate::operations::testing_instances::id_of;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, TaskDeadlines, TaskDeadlinesLimits, run_once};

impl World {
    async fn schedule(&self) {
        let scheduler = ServiceScheduler::new(self.engine().clone(), ServiceSchedulerLimits::default());
        run_once(&scheduler).await.unwrap();
    }

    async fn service_of(&self, own: Json) {
        let mut input = json!({"serviceName": "s", "taskDefinition": "web", "desiredCount": 1});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        self.ok("CreateService", input).await;
        self.schedule().await;
    }

    async fn service_tasks(&self) -> Vec<Json> {
        let arns = self.ok("ListTasks", json!({"serviceName": "s"})).await["taskArns"].clone();
        arns.as_array().unwrap().clone()
    }

    /// The agent says that a task ended, with its container `main`.
    async fn ends(&self, task: &Json, exit_code: Option<i64>, reason: &str) {
        let main = json!({"containerName": "main", "status": "STOPPED", "reason": reason, "exitCode": exit_code, "runtimeId": "r"});
        let said = if exit_code.is_some() { "" } else { reason };
        let input = json!({"task": task, "status": "STOPPED", "reason": said, "containers": [main]});
        self.ok("SubmitTaskStateChange", input).await;
    }

    async fn agent_takes(&self, task: &Json) {
        let id = id_of(task);
        let record = self
            .engine()
            .peek(|state| state.scope(&self.scope()).active_cluster("default").unwrap().tasks[&id].clone());
        let taken = task::delivered(&record, Delivery::Start).unwrap();
        self.change(|changes| changes.push(Change::PutTask(self.scope(), std::sync::Arc::new(taken)))).await;
    }
}

fn contains(explained: &api::ExplainResponse, cause: &str, help: &str) {
    let summary = explained.summary.as_deref().unwrap();
    assert!(summary.contains(cause), "'{cause}' is not in '{summary}'");
    let change = explained.smallest_change.as_deref().unwrap_or("");
    assert!(change.contains(help), "'{help}' is not in '{change}' ({summary})");
}

/// What agents say of tasks that do not start, and what helps.
const STARTS: [(&str, &str); 14] = [
    ("CannotPullContainerError: Error: image tutum/bogus:latest not found", "Correct the image name 'busybox'"),
    ("CannotPullContainerError: API error (404): repository r/busybox not found", "Correct the image name"),
    ("CannotPullContainerError: pull access denied for busybox", "repositoryCredentials"),
    (
        "CannotPullContainerError: Get https://r/v2/: net/http: request canceled while waiting for connection",
        "a way to the registry",
    ),
    ("CannotPullContainerError: context canceled", "a way to the registry"),
    ("CannotPullContainerError: write /tmp/GetImageBlob1: no space left on device", "Free disk space"),
    ("CannotPullContainerError: toomanyrequests: Too Many Requests.", "Wait until the registry's limit is over"),
    ("CannotPullContainerError: no matching manifest for linux/arm64", "for the container instance's platform"),
    ("CannotCreateContainerError: API error (500): devmapper: Thin Pool has 4 free data blocks", "Free disk space"),
    ("CannotCreateContainerError: secrets are not provided on this container instance", "Take the secrets out"),
    ("CannotStartContainerError: exec format error", "for the container instance's platform"),
    ("CannotStartContainerError: exec: \"nope\": executable file not found in $PATH", "Correct entryPoint and command"),
    ("CannotStartContainerError: port 80/tcp is already in use on this host", "another host port"),
    ("ResourceInitializationError: unable to pull secrets or registry auth", "secrets, registry credentials, roles"),
];

#[tokio::test]
async fn a_task_that_never_ran_is_explained_by_what_its_agent_said() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    for (reason, help) in STARTS {
        let task = world.run("web").await["taskArn"].clone();
        world.ends(&task, None, reason).await;
        contains(&world.explained(&task).await, reason, help);
    }
}

#[tokio::test]
async fn a_service_whose_tasks_never_run_is_explained_by_the_last_of_them() {
    for (reason, help) in STARTS {
        let world = World::with_default_cluster().await;
        world.instance(1000, 1000, &[]).await;
        world.family("web", 1, 4, json!({})).await;
        world.service_of(json!({})).await;
        for round in 0..3 {
            let task = world.service_tasks().await[0].clone();
            world.clock.advance(Duration::from_secs(1));
            world.ends(&task, None, reason).await;
            if round == 0 {
                contains(&world.explained(&json!("s")).await, reason, help);
            }
            world.schedule().await;
        }
        let throttled = world.explained(&json!("s")).await;
        contains(&throttled, "unable to consistently start tasks successfully: 3 starts in a row have failed", help);
        contains(&throttled, reason, help);
    }
}

#[tokio::test]
async fn a_task_that_ran_is_explained_by_how_it_ended() {
    for (code, reason, cause, help) in [
        (Some(1), "", "Container main ended by itself with exit code 1", "longshore logs"),
        (Some(0), "", "Container main ended by itself with exit code 0", "a program that does not end"),
        (Some(127), "", "its shell found no such program", "Correct entryPoint and command"),
        (Some(137), "", "was killed by SIGKILL (exit code 137)", "stopTimeout"),
        (Some(137), "OutOfMemoryError: Container killed due to memory usage", "OutOfMemoryError", "more memory"),
    ] {
        let world = World::with_default_cluster().await;
        world.instance(1000, 1000, &[]).await;
        world.family("web", 1, 4, json!({})).await;
        world.service_of(json!({})).await;
        for _ in 0..4 {
            let task = world.service_tasks().await[0].clone();
            world.report(&task, "RUNNING", None).await;
            world.ends(&task, code, reason).await;
            contains(&world.explained(&task).await, cause, help);
            contains(&world.explained(&task).await, "Essential container in task exited", help);
            world.schedule().await;
        }
        contains(&world.explained(&json!("s")).await, "The service replaces tasks that end by themselves.", help);
        contains(&world.explained(&json!("s")).await, cause, help);
    }
}

#[tokio::test]
async fn a_stop_that_somebody_wanted_is_explained_by_who_wanted_it() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let stopped = world.run("web").await["taskArn"].clone();
    world.ok("StopTask", json!({"task": stopped, "reason": "enough"})).await;
    contains(&world.explained(&stopped).await, "The task is to stop", "");
    world.ends(&stopped, Some(137), "").await;
    contains(&world.explained(&stopped).await, "The task has stopped: enough", "");
    world.service_of(json!({})).await;
    let scaled = world.service_tasks().await[0].clone();
    world.ok("UpdateService", json!({"service": "s", "desiredCount": 0})).await;
    world.schedule().await;
    world.ends(&scaled, Some(143), "").await;
    contains(&world.explained(&scaled).await, "Scaling activity initiated by (deployment ecs-svc/", "");
    let forced = world.run("web").await["taskArn"].clone();
    world.ok("DeregisterContainerInstance", json!({"containerInstance": instance, "force": true})).await;
    contains(&world.explained(&forced).await, "Container instance deregistration forced by user.", "");
}

/// A service that is refused by the only container instance there is.
async fn refused(instance: (i64, i64, &[(&str, &str)]), container: Json, own: Json) -> (World, api::ExplainResponse) {
    let world = World::with_default_cluster().await;
    world.instance(instance.0, instance.1, instance.2).await;
    world.family("web", 100, 100, container).await;
    world.service_of(own).await;
    let explained = world.explained(&json!("s")).await;
    let described = world.ok("DescribeServices", json!({"services": ["s"]})).await["services"][0].clone();
    let event = described["events"][0]["message"].as_str().unwrap().trim_start_matches("(service s) ").to_owned();
    assert!(explained.summary.as_deref().unwrap().contains(&event), "{explained:?} is not '{event}'");
    (world, explained)
}

// spec: 24-060, 24-061, 24-062, 24-064
#[tokio::test]
async fn a_service_without_a_place_is_explained_by_what_every_instance_lacks() {
    let plenty: (i64, i64, &[(&str, &str)]) = (1000, 1000, &[]);
    let gpu = json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]});
    let only = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    let cases = [
        (
            (50, 1000, plenty.2),
            json!({}),
            json!({}),
            "insufficient CPU units",
            "50 CPU units left",
            "Ask for 50 CPU units less",
        ),
        ((1000, 50, plenty.2), json!({}), json!({}), "insufficient memory", "50 MiB of memory left", "Ask for 50 MiB"),
        (
            plenty,
            json!({"portMappings": [{"containerPort": 22, "hostPort": 22}]}),
            json!({}),
            "is already using a port",
            "22/tcp are taken",
            "use other host ports than 22/tcp",
        ),
        (plenty, gpu, json!({}), "RESOURCE:GPU", "0 GPUs left", "Ask for 1 GPUs less"),
        (
            plenty,
            json!({"logConfiguration": {"logDriver": "fluentd"}}),
            json!({}),
            "missing an attribute",
            "logging-driver.fluentd",
            "logging-driver.fluentd",
        ),
        (
            plenty,
            json!({}),
            json!({"placementConstraints": only}),
            "MemberOf placement constraint unsatisfied",
            "attribute:stack == prod",
            "attribute:stack == prod",
        ),
    ];
    for (instance, container, own, event, detail, help) in cases {
        let (_, explained) = refused(instance, container, own).await;
        contains(&explained, event, "");
        let reasons = explained.refusals.as_ref().unwrap()[0].reasons.clone().unwrap();
        assert!(
            reasons.iter().any(|it| it.detail.as_ref().unwrap().contains(detail)),
            "'{detail}' is not in {reasons:?}"
        );
        let change = explained.smallest_change.unwrap().to_lowercase();
        assert!(change.contains(&help.to_lowercase()), "'{help}' is not in '{change}'");
    }
}

// spec: 24-016, 24-017, 24-025
#[tokio::test]
async fn a_service_without_instances_or_agents_is_explained_so() {
    let world = World::with_default_cluster().await;
    world.family("web", 100, 100, json!({})).await;
    world.service_of(json!({})).await;
    contains(
        &world.explained(&json!("s")).await,
        "No Container Instances were found in your cluster",
        "Register a container instance in the cluster default",
    );
    let instance = world.instance(1000, 1000, &[]).await;
    world.connect(&instance, false).await;
    world.schedule().await;
    contains(&world.explained(&json!("s")).await, "encountered error \"AGENT\"", "tart the agent of");
    let drain = json!({"containerInstances": [instance], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    contains(&world.explained(&json!("s")).await, "No Container Instances were found", "set one of its own to ACTIVE");
}

#[tokio::test]
async fn distinct_instances_that_ran_out_are_explained() {
    let own = json!({"desiredCount": 2, "placementConstraints": [{"type": "distinctInstance"}]});
    let (_, explained) = refused((1000, 1000, &[]), json!({}), own).await;
    contains(&explained, "DistinctInstance placement constraint unsatisfied", "");
}

#[tokio::test]
async fn a_task_for_another_processor_is_explained_by_the_platform() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let platform = json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"});
    let input = json!({"family": "web", "containerDefinitions": [main], "runtimePlatform": platform});
    world.ok("RegisterTaskDefinition", input).await;
    world.service_of(json!({})).await;
    let explained = world.explained(&json!("s")).await;
    contains(&explained, "is missing an attribute required by your task", "ecs.cpu-architecture");
    let reasons = explained.refusals.unwrap()[0].reasons.clone().unwrap();
    assert_eq!(reasons[0].detail.as_deref(), Some("Its attribute ecs.cpu-architecture is 'x86_64', not 'arm64'."));
    assert_eq!(world.ok("RunTask", json!({"taskDefinition": "web"})).await["failures"][0]["reason"], "ATTRIBUTE");
}

#[tokio::test]
async fn secrets_and_roles_that_an_instance_does_not_provide_are_explained() {
    let role = "arn:aws:iam::123456789012:role/r";
    let secret = json!([{"name": "A", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/a"}]);
    for (member, value, secrets, lacks) in [
        ("executionRoleArn", role, secret, "ecs.capability.secrets.ssm.environment-variables"),
        ("taskRoleArn", role, json!([]), "com.amazonaws.ecs.capability.task-iam-role"),
    ] {
        let world = World::with_default_cluster().await;
        world.instance(1000, 1000, &[]).await;
        let main = json!({"name": "main", "image": "busybox", "memory": 10, "secrets": secrets});
        let mut input = json!({"family": "web", "containerDefinitions": [main]});
        input[member] = json!(value);
        world.ok("RegisterTaskDefinition", input).await;
        world.service_of(json!({})).await;
        let explained = world.explained(&json!("s")).await;
        contains(&explained, "is missing an attribute required by your task", &format!("whose agent offers {lacks}"));
    }
}

#[tokio::test]
async fn a_task_that_stays_pending_is_explained_by_what_it_waits_for() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[("ecs.capability.container-ordering", "")]).await;
    let container = |name: &str| json!({"name": name, "image": format!("image-{name}"), "memory": 10});
    let mut web = container("web");
    web["dependsOn"] = json!([{"containerName": "db", "condition": "HEALTHY"}]);
    let mut db = container("db");
    db["healthCheck"] = json!({"command": ["CMD", "true"]});
    world.ok("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [web, db]})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.clock.advance(Duration::from_secs(9));
    contains(&world.explained(&task).await, "for 9 s the agent of container instance", "");
    world.agent_takes(&task).await;
    let pulling = json!({"task": task, "status": "", "reason": "", "containers": [], "pullStartedAt": 1_700_000_009});
    world.ok("SubmitTaskStateChange", pulling).await;
    world.clock.advance(Duration::from_secs(30));
    contains(&world.explained(&task).await, "for 30 s its agent has been pulling image-web, image-db", "");
    let running = json!({"containerName": "db", "status": "RUNNING", "runtimeId": "d"});
    let pulled =
        json!({"task": task, "status": "", "reason": "", "containers": [running], "pullStoppedAt": 1_700_000_020});
    world.ok("SubmitTaskStateChange", pulled).await;
    contains(&world.explained(&task).await, "container web waits for db to be HEALTHY, which is RUNNING, UNKNOWN", "");
    world.connect(&instance, false).await;
    contains(&world.explained(&task).await, "whose agent is not connected", "Start the agent of container instance");
    world.connect(&instance, true).await;
    let limits = TaskDeadlinesLimits::default();
    world.clock.advance(limits.pending);
    run_once(&TaskDeadlines::new(world.engine().clone(), world.service.gateway.clone(), limits)).await.unwrap();
    world.report(&task, "STOPPED", None).await;
    contains(&world.explained(&task).await, "Task did not reach RUNNING within 10800 seconds", "");
}

#[tokio::test]
async fn a_service_whose_tasks_wait_is_explained_by_the_oldest() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.service_of(json!({"desiredCount": 2})).await;
    contains(&world.explained(&json!("s")).await, "2 of the service's tasks do not run yet. Task ", "");
    contains(&world.explained(&json!("s")).await, "has not taken it over", "");
}

#[tokio::test]
async fn failed_health_checks_are_explained() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({"healthCheck": {"command": ["CMD", "true"]}})).await;
    world.service_of(json!({})).await;
    let task = world.service_tasks().await[0].clone();
    world.report(&task, "RUNNING", None).await;
    let record = world
        .engine()
        .peek(|state| state.scope(&world.scope()).active_cluster("default").unwrap().tasks[&id_of(&task)].clone());
    let news = [("main".to_owned(), longshore_api::ecs::HealthStatus::Unhealthy)].into();
    let sick = std::sync::Arc::new(task::health(&record, &news).unwrap());
    world.change(|changes| changes.push(Change::PutTask(world.scope(), sick))).await;
    contains(&world.explained(&task).await, "its container main fails its health check", "healthCheck command");
    world.schedule().await;
    world.ends(&task, Some(0), "").await;
    contains(&world.explained(&task).await, "Task failed container health checks", "startPeriod");
    contains(&world.explained(&json!("s")).await, "Task failed container health checks", "startPeriod");
}

#[tokio::test]
async fn a_deployment_that_waits_for_protected_tasks_is_explained() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.service_of(json!({"desiredCount": 1})).await;
    let old = world.service_tasks().await[0].clone();
    world.report(&old, "RUNNING", None).await;
    world.clock.advance(Duration::from_secs(41));
    world.schedule().await;
    let protect = json!({"cluster": "default", "tasks": [old], "protectionEnabled": true});
    world.ok("UpdateTaskProtection", protect).await;
    world.ok("UpdateService", json!({"service": "s", "forceNewDeployment": true})).await;
    world.schedule().await;
    for task in world.service_tasks().await {
        world.report(&task, "RUNNING", None).await;
    }
    world.clock.advance(Duration::from_secs(41));
    world.schedule().await;
    contains(&world.explained(&json!("s")).await, "protected tasks", "UpdateTaskProtection");
}

#[tokio::test]
async fn a_deployment_that_its_bounds_forbid_is_explained_with_those_that_would_do() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let bounds = json!({"minimumHealthyPercent": 100, "maximumPercent": 100});
    world.service_of(json!({"desiredCount": 4, "deploymentConfiguration": bounds})).await;
    for task in world.service_tasks().await {
        world.report(&task, "RUNNING", None).await;
    }
    world.clock.advance(Duration::from_secs(41));
    world.schedule().await;
    world.ok("UpdateService", json!({"service": "s", "forceNewDeployment": true})).await;
    world.schedule().await;
    let explained = world.explained(&json!("s")).await;
    contains(&explained, "because of the service deployment configuration", "Set maximumPercent to 125 or more");
    contains(&explained, "", "minimumHealthyPercent to 75 or less");
    let bounds = json!({"minimumHealthyPercent": 75, "maximumPercent": 100});
    world.ok("UpdateService", json!({"service": "s", "deploymentConfiguration": bounds})).await;
    world.schedule().await;
    assert_eq!(world.service_tasks().await.len(), 3, "what was advised works");
}

#[tokio::test]
async fn a_deployment_that_failed_for_good_is_explained_by_its_tasks() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    world.service_of(json!({"deploymentConfiguration": breaker})).await;
    for _ in 0..20 {
        for task in world.service_tasks().await {
            world.ends(&task, None, "CannotPullContainerError: Error: image busybox not found").await;
        }
        world.clock.advance(Duration::from_secs(1000));
        world.schedule().await;
    }
    let explained = world.explained(&json!("s")).await;
    contains(&explained, "has failed: ECS deployment circuit breaker", "Correct the image name 'busybox'");
}

#[tokio::test]
async fn a_deployment_that_waits_for_somebody_is_explained_by_its_stage() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.service_of(json!({})).await;
    let settle = async || {
        for task in world.service_tasks().await {
            world.report(&task, "RUNNING", None).await;
        }
        world.clock.advance(Duration::from_secs(41));
        world.schedule().await;
    };
    settle().await;
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]});
    let staged = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]});
    let input = json!({"service": "s", "forceNewDeployment": true, "deploymentConfiguration": staged});
    world.ok("UpdateService", input).await;
    world.schedule().await;
    settle().await;
    contains(&world.explained(&json!("s")).await, "waits at the stage POST_SCALE_UP", "ContinueServiceDeployment");
    let hook = json!({
        "hookTargetArn": "arn:aws:lambda:eu-west-1:123456789012:function:check",
        "roleArn": "arn:aws:iam::123456789012:role/hooks", "lifecycleStages": ["RECONCILE_SERVICE"],
    });
    let staged = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]});
    let input = json!({"service": "s", "forceNewDeployment": true, "deploymentConfiguration": staged});
    world.ok("UpdateService", input).await;
    world.schedule().await;
    settle().await;
    contains(
        &world.explained(&json!("s")).await,
        "at the stage RECONCILE_SERVICE for the Lambda function arn:aws:lambda:",
        "",
    );
}

#[tokio::test]
async fn a_service_without_a_task_set_and_one_that_has_everything_are_explained() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let input = json!({"serviceName": "ext", "deploymentController": {"type": "EXTERNAL"}});
    world.ok("CreateService", input).await;
    contains(&world.explained(&json!("ext")).await, "no task set", "CreateTaskSet");
    world.service_of(json!({})).await;
    world.report(&world.service_tasks().await[0], "RUNNING", None).await;
    world.schedule().await;
    contains(&world.explained(&json!("s")).await, "has all the tasks that it wants", "");
    world.ok("DeleteService", json!({"service": "s", "force": true})).await;
    contains(&world.explained(&json!("s")).await, "is DRAINING", "");
}

#[tokio::test]
async fn a_daemon_is_explained_by_the_instance_that_has_no_room() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let small = world.instance(1, 1000, &[]).await;
    world.family("web", 100, 4, json!({})).await;
    world.service_of(json!({"schedulingStrategy": "DAEMON", "desiredCount": null})).await;
    let explained = world.explained(&json!("s")).await;
    contains(&explained, "insufficient CPU units", "Ask for 99 CPU units less");
    assert_eq!(explained.refusals.unwrap()[0].container_instance_arn.as_deref(), small.as_str());
}
