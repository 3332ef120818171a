use serde_json::{Value, json};

use crate::operations::testing::World;

async fn failures(world: &World, input: Value) -> Vec<String> {
    let answer = world.ok("RunTask", input).await;
    let failures = answer["failures"].as_array().unwrap();
    failures.iter().map(|failure| failure["reason"].as_str().unwrap().to_owned()).collect()
}

// spec: 14-059, 03-075
#[tokio::test]
async fn run_task_answers_a_pending_task_on_an_instance() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(2048, 2048, &[]).await;
    let definition = world.family("web", 10, 20, json!({})).await;
    let task = world.run("web").await;
    assert_eq!(task["containerInstanceArn"], instance);
    assert_eq!(task["taskDefinitionArn"], definition);
    assert_eq!(task["clusterArn"], world.arn("cluster/default"));
    assert!(task["taskArn"].as_str().unwrap().starts_with(&world.arn("task/default/")));
    for (member, value) in [
        ("lastStatus", json!("PENDING")),
        ("desiredStatus", json!("RUNNING")),
        ("cpu", json!("10")),
        ("memory", json!("20")),
        ("group", json!("family:web")),
        ("launchType", json!("EC2")),
        ("version", json!(1)),
        ("connectivity", json!("CONNECTED")),
        ("availabilityZone", json!("eu-west-1a")),
        ("healthStatus", json!("UNKNOWN")),
        ("attachments", json!([])),
        ("tags", json!([])),
        ("overrides", json!({"containerOverrides": [{"name": "main"}], "inferenceAcceleratorOverrides": []})),
    ] {
        assert_eq!(task[member], value, "{member}");
    }
    let container = &task["containers"][0];
    assert_eq!((&container["name"], &container["lastStatus"]), (&json!("main"), &json!("PENDING")));
    assert_eq!(container["networkBindings"], json!([]));
    assert_eq!(world.task(&task["taskArn"]).await["createdAt"], task["createdAt"]);
}

// spec: 14-001, 24-060, 10-071
#[tokio::test]
async fn an_instance_is_never_over_committed() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 300, 100, json!({})).await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "web", "count": 5})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(answer["failures"], json!([{"arn": instance, "reason": "RESOURCE:CPU"}]));
    let described = world.described(&instance).await;
    assert_eq!(described["remainingResources"][0]["integerValue"], 100);
    assert_eq!(described["registeredResources"][0]["integerValue"], 1000);
    assert_eq!((&described["pendingTasksCount"], &described["runningTasksCount"]), (&json!(3), &json!(0)));
}

// spec: 10-069, 05-039, 05-040, 24-062, 24-064, 24-060
#[tokio::test]
async fn failures_name_what_an_instance_lacks() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("big", 10, 8192, json!({})).await;
    assert_eq!(failures(&world, json!({"taskDefinition": "big"})).await, ["RESOURCE:MEMORY"]);
    world.family("ssh", 10, 10, json!({"portMappings": [{"containerPort": 22, "hostPort": 22}]})).await;
    assert_eq!(failures(&world, json!({"taskDefinition": "ssh"})).await, ["RESOURCE:PORTS"]);
    let fluent = json!({"logConfiguration": {"logDriver": "fluentd"}});
    world.family("fluent", 10, 10, fluent).await;
    assert_eq!(failures(&world, json!({"taskDefinition": "fluent"})).await, ["ATTRIBUTE"]);
    world.connect(&instance, false).await;
    world.family("small", 10, 10, json!({})).await;
    assert_eq!(failures(&world, json!({"taskDefinition": "small"})).await, ["AGENT"]);
}

// spec: 05-040
#[tokio::test]
async fn a_host_port_is_free_again_when_its_task_has_stopped() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 10, 10, json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]})).await;
    let task = world.run("web").await;
    let ports = |described: &Value| described["remainingResources"][2]["stringSetValue"].as_array().unwrap().len();
    assert_eq!(ports(&world.described(&instance).await), 6);
    assert_eq!(failures(&world, json!({"taskDefinition": "web"})).await, ["RESOURCE:PORTS"]);
    world.report(&task["taskArn"], "STOPPED", Some(0)).await;
    assert_eq!(ports(&world.described(&instance).await), 5);
    world.run("web").await;
}

#[tokio::test]
async fn books_and_tasks_survive_a_restart() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 300, 100, json!({})).await;
    let task = world.run("web").await;
    let world = world.restarted().await;
    let described = world.described(&instance).await;
    assert_eq!(described["remainingResources"][0]["integerValue"], 700);
    assert_eq!(described["agentConnected"], json!(false));
    let mut expected = task.clone();
    expected["connectivity"] = json!("DISCONNECTED");
    assert_eq!(world.task(&task["taskArn"]).await, expected);
}

// spec: 22-009
#[tokio::test]
async fn one_call_runs_one_to_ten_tasks() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "web", "count": 10})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 10);
    for count in [0, 11, -1] {
        let (code, _) = world.refused("RunTask", json!({"taskDefinition": "web", "count": count})).await;
        assert_eq!(code, "InvalidParameterException", "{count}");
    }
}

// spec: 04-001, 08-063, 14-007
#[tokio::test]
async fn the_task_definition_is_the_newest_active_one_or_the_one_named() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let none = world.refused("RunTask", json!({"taskDefinition": "web"})).await;
    assert_eq!(none, ("ClientException", "TaskDefinition not found.".to_owned()));
    for _ in 0..3 {
        world.family("web", 1, 4, json!({})).await;
    }
    world.ok("DeregisterTaskDefinition", json!({"taskDefinition": "web:3"})).await;
    assert_eq!(world.run("web").await["taskDefinitionArn"], world.arn("task-definition/web:2"));
    assert_eq!(world.run("web:1").await["taskDefinitionArn"], world.arn("task-definition/web:1"));
    let inactive = world.refused("RunTask", json!({"taskDefinition": "web:3"})).await;
    assert_eq!(inactive, ("ClientException", "TaskDefinition is inactive".to_owned()));
}

#[tokio::test]
async fn a_cluster_that_is_missing_or_empty_is_said() {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({})).await;
    let missing = world.refused("RunTask", json!({"taskDefinition": "web", "cluster": "other"})).await;
    assert_eq!(missing, ("ClusterNotFoundException", "Cluster not found.".to_owned()));
    let empty = world.refused("RunTask", json!({"taskDefinition": "web"})).await;
    assert_eq!(empty, ("InvalidParameterException", "No Container Instances were found in your cluster.".to_owned()));
}

#[tokio::test]
async fn the_same_client_token_runs_the_same_tasks_once() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let request = json!({"taskDefinition": "web", "count": 2, "clientToken": "once"});
    let first = world.ok("RunTask", request.clone()).await;
    assert_eq!(world.ok("RunTask", request).await["tasks"], first["tasks"]);
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"].as_array().unwrap().len(), 2);
    let other = world.refused("RunTask", json!({"taskDefinition": "web", "count": 3, "clientToken": "once"})).await;
    assert_eq!(other.0, "ConflictException");
}

#[tokio::test]
async fn a_token_that_was_used_in_another_cluster_is_told_with_the_tasks_there() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.ok("RunTask", json!({"taskDefinition": "web", "clientToken": "once"})).await["tasks"][0].clone();
    let again = json!({"taskDefinition": "web", "clientToken": "once", "cluster": "other"});
    let conflict = world.call("RunTask", again).await.unwrap_err();
    let made = longshore_api::Value::String(task["taskArn"].as_str().unwrap().to_owned());
    assert_eq!(conflict.details, [("resourceIds", longshore_api::Value::List(vec![made]))]);
}

#[tokio::test]
async fn tasks_of_a_service_in_another_place_are_not_listed_in_silence() {
    let world = World::with_default_cluster().await;
    let list = |service: String| world.refused("ListTasks", json!({"serviceName": service}));
    let (code, message) = list(world.arn("service/other/web")).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Invalid identifier: Identifier is for cluster other. Your cluster is default");
    let (code, _) = list(world.arn("service/default/web").replace("123456789012", "999999999999")).await;
    assert_eq!(code, "InvalidParameterException");
    let (code, _) = list(world.arn("service/default/web")).await;
    assert_eq!(code, "ServiceNotFoundException");
}

// spec: 14-020, 14-021, 14-022
#[tokio::test]
async fn tags_come_from_the_request_the_definition_and_the_system() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let tags = json!([{"key": "k", "value": "a"}, {"key": "own", "value": "1"}]);
    world.ok("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [main], "tags": tags})).await;
    let run = json!({
        "taskDefinition": "web", "tags": [{"key": "k", "value": "b"}],
        "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true,
    });
    let task = world.ok("RunTask", run).await["tasks"][0].clone();
    let expected = json!([
        {"key": "k", "value": "b"}, {"key": "own", "value": "1"}, {"key": "aws:ecs:clusterName", "value": "default"},
    ]);
    assert_eq!(task["tags"], expected);
    assert_eq!(world.run("web").await["tags"], json!([]), "nothing is passed on unasked");
    let (code, _) = world.refused("RunTask", json!({"taskDefinition": "web", "propagateTags": "SERVICE"})).await;
    assert_eq!(code, "InvalidParameterException");
    let without = world.ok("DescribeTasks", json!({"tasks": [task["taskArn"]]})).await;
    assert_eq!(without["tasks"][0]["tags"], json!([]));
}

// spec: 14-061
#[tokio::test]
async fn a_group_has_up_to_255_characters_and_is_not_a_service_s() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.ok("RunTask", json!({"taskDefinition": "web", "group": "g".repeat(255)})).await;
    for group in ["g".repeat(256), "service:web".to_owned()] {
        let (code, _) = world.refused("RunTask", json!({"taskDefinition": "web", "group": group})).await;
        assert_eq!(code, "InvalidParameterException");
    }
}

#[tokio::test]
async fn overrides_must_name_containers_of_the_definition() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let overriding = |name: &str| {
        let changes = json!({"name": name, "command": ["true"], "memory": 100});
        json!({"taskDefinition": "web", "overrides": {"containerOverrides": [changes]}})
    };
    let (_, message) = world.refused("RunTask", overriding("other")).await;
    assert_eq!(message, "Override for container named other is not a container in the TaskDefinition.");
    let task = world.ok("RunTask", overriding("main")).await["tasks"][0].clone();
    assert_eq!(task["overrides"]["containerOverrides"][0]["command"], json!(["true"]));
    assert_eq!((&task["memory"], &task["containers"][0]["memory"]), (&json!("100"), &json!("100")));
}

#[tokio::test]
async fn an_override_makes_nothing_that_a_definition_could_not_have() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let run = |overrides: Value| json!({"taskDefinition": "web", "overrides": overrides});
    let of = |member: &str, value: Value| json!({"containerOverrides": [{"name": "main", member: value}]});
    let container = |member: &str, value: i64| of(member, json!(value));
    for (overrides, wrong) in [
        (container("cpu", -5000), "'cpu'"),
        (container("memory", 3), "'memory'"),
        (container("memoryReservation", -1), "'memoryReservation'"),
        (json!({"cpu": "-5"}), "'cpu'"),
        (json!({"cpu": "0"}), "'cpu'"),
        (json!({"memory": "-7"}), "'memory'"),
        (json!({"ephemeralStorage": {"sizeInGiB": 201}}), "'sizeInGiB'"),
        (json!({"taskRoleArn": "arn:aws:iam::123456789012:user/me"}), "Role is not valid"),
        (of("resourceRequirements", json!([{"type": "GPU", "value": "-3"}])), "'-3' is no number of GPUs"),
        (of("environment", json!([{"value": "x"}])), "a variable has no name"),
        (of("environmentFiles", json!([{"type": "s3", "value": "here"}])), "'environmentFiles'"),
    ] {
        let (code, message) = world.refused("RunTask", run(overrides)).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(wrong), "{message}");
    }
    assert_eq!(world.described(&instance).await["remainingResources"][0]["integerValue"], 1000);
    world.ok("RunTask", run(container("cpu", 0))).await;
}

// spec: 14-041, 14-042, 15-042, 15-041
#[tokio::test]
async fn constraints_of_call_and_definition_bind() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[("stack", "prod")]).await;
    let dev = world.instance(1000, 1000, &[("stack", "dev")]).await;
    world.family("web", 1, 4, json!({})).await;
    let distinct = json!({"taskDefinition": "web", "count": 3, "placementConstraints": [{"type": "distinctInstance"}]});
    let answer = world.ok("RunTask", distinct).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 2);
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let constraints = json!([{"type": "memberOf", "expression": "attribute:stack == dev"}]);
    let bound = json!({"family": "bound", "containerDefinitions": [main], "placementConstraints": constraints});
    world.ok("RegisterTaskDefinition", bound).await;
    for _ in 0..5 {
        assert_eq!(world.run("bound").await["containerInstanceArn"], dev);
    }
    let impossible = json!([{"type": "memberOf", "expression": "attribute:stack == test"}]);
    let none = failures(&world, json!({"taskDefinition": "bound", "placementConstraints": impossible})).await;
    assert_eq!(none, ["MemberOf placement constraint unsatisfied."; 2]);
    let many = |count: usize| vec![json!({"type": "memberOf", "expression": "attribute:stack == dev"}); count];
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let six = json!({"family": "six", "containerDefinitions": [main], "placementConstraints": many(6)});
    world.ok("RegisterTaskDefinition", six).await;
    let run = |count: usize| json!({"taskDefinition": "six", "placementConstraints": many(count)});
    assert_eq!(world.refused("RunTask", run(5)).await.0, "InvalidParameterException");
    assert_eq!(world.ok("RunTask", run(4)).await["failures"], json!([]));
    for bad in
        [json!({"type": "distinctInstance", "expression": "x"}), json!({"type": "memberOf", "expression": "x =="})]
    {
        let (code, _) = world.refused("RunTask", json!({"taskDefinition": "web", "placementConstraints": [bad]})).await;
        assert_eq!(code, "InvalidParameterException");
    }
}

// spec: 14-026, 05-014, 06-041, 12-048
#[tokio::test]
async fn what_cannot_run_here_is_refused_precisely() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let fargate = json!({"taskDefinition": "web", "launchType": "FARGATE"});
    let (code, message) = world.refused("RunTask", fargate).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("FARGATE"), "{message}");
    let placed = json!({"taskDefinition": "web", "launchType": "FARGATE", "placementStrategy": [{"type": "random"}]});
    assert_eq!(world.refused("RunTask", placed).await.0, "InvalidParameterException");
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let awsvpc = json!({"family": "vpc", "networkMode": "awsvpc", "containerDefinitions": [main]});
    world.ok("RegisterTaskDefinition", awsvpc).await;
    let (_, message) = world.refused("RunTask", json!({"taskDefinition": "vpc"})).await;
    assert_eq!(message, "Network Configuration must be provided when networkMode 'awsvpc' is specified.");
    let network = |public: &str| {
        let vpc = json!({"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": public});
        json!({"taskDefinition": "vpc", "networkConfiguration": {"awsvpcConfiguration": vpc}})
    };
    assert_eq!(world.refused("RunTask", network("ENABLED")).await.0, "InvalidParameterException");
    assert_eq!(failures(&world, network("DISABLED")).await, ["ATTRIBUTE"]);
}

// spec: 14-005, 22-010, 24-065, 24-066
#[tokio::test]
async fn start_task_runs_exactly_where_it_is_told() {
    let world = World::with_default_cluster().await;
    let instances = [world.instance(1000, 1000, &[]).await, world.instance(1000, 1000, &[]).await];
    world.family("web", 600, 4, json!({})).await;
    let gone = world.instance(1000, 1000, &[]).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": gone})).await;
    let unknown = world.arn("container-instance/default/00000000000000000000000000000000");
    let named = json!([instances[1], instances[1], gone, unknown]);
    let answer = world.ok("StartTask", json!({"taskDefinition": "web", "containerInstances": named})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(answer["tasks"][0]["containerInstanceArn"], instances[1]);
    let expected = json!([
        {"arn": instances[1], "reason": "RESOURCE:CPU"}, {"arn": gone, "reason": "INACTIVE"},
        {"arn": unknown, "reason": "MISSING"},
    ]);
    assert_eq!(answer["failures"], expected);
    let many: Vec<&str> = vec!["00000000000000000000000000000000"; 11];
    let (code, _) = world.refused("StartTask", json!({"taskDefinition": "web", "containerInstances": many})).await;
    assert_eq!(code, "InvalidParameterException");
}

// spec: 14-006
#[tokio::test]
async fn start_task_refuses_a_definition_for_fargate_only() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox"});
    let fargate = json!({
        "family": "f", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [main],
    });
    world.ok("RegisterTaskDefinition", fargate).await;
    let start = json!({"taskDefinition": "f", "containerInstances": [instance]});
    assert_eq!(world.refused("StartTask", start).await.0, "InvalidParameterException");
}

// spec: 03-080
#[tokio::test]
async fn stop_task_wants_it_stopped_and_keeps_the_reason() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    let id = task.as_str().unwrap().rsplit('/').next().unwrap();
    let answer = world.ok("StopTask", json!({"task": id, "reason": "enough"})).await;
    assert_eq!(answer["task"]["desiredStatus"], "STOPPED");
    world.report(&task, "STOPPED", Some(137)).await;
    let stopped = world.task(&task).await;
    assert_eq!((&stopped["lastStatus"], &stopped["stopCode"]), (&json!("STOPPED"), &json!("UserInitiated")));
    assert_eq!((&stopped["stoppedReason"], &stopped["containers"][0]["exitCode"]), (&json!("enough"), &json!(137)));
    assert!(stopped["stoppedAt"].is_number() && stopped["stoppingAt"].is_number() && stopped["startedAt"].is_number());
    let missing = world.refused("StopTask", json!({"task": "00000000000000000000000000000000"})).await;
    assert_eq!(missing, ("InvalidParameterException", "The referenced task was not found.".to_owned()));
}

// spec: 14-113, 24-006, 05-064
#[tokio::test]
async fn a_batch_task_ends_by_itself() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("job", 1, 4, json!({})).await;
    let task = world.run("job").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    assert_eq!(world.task(&task).await["lastStatus"], "RUNNING");
    world.report(&task, "STOPPED", Some(0)).await;
    let stopped = world.task(&task).await;
    assert_eq!((&stopped["lastStatus"], &stopped["desiredStatus"]), (&json!("STOPPED"), &json!("STOPPED")));
    assert_eq!(stopped["stoppedReason"], "Essential container in task exited");
    assert_eq!(stopped["stopCode"], "EssentialContainerExited");
    assert_eq!(stopped["containers"][0]["exitCode"], 0);
    assert_eq!(stopped["version"], 3);
}

// spec: 24-059
#[tokio::test]
async fn tasks_that_are_not_there_are_failures() {
    let world = World::with_default_cluster().await;
    let id = "00000000000000000000000000000000";
    let answer = world.ok("DescribeTasks", json!({"tasks": [id]})).await;
    let expected = json!([{"arn": world.arn(&format!("task/default/{id}")), "reason": "MISSING"}]);
    assert_eq!(answer, json!({"tasks": [], "failures": expected}));
    for (named, message) in [
        ("nonsense".to_owned(), "taskId length should be one of [32,36]".to_owned()),
        (
            world.arn(&format!("task/other/{id}")),
            "Invalid identifier: Identifier is for cluster other. Your cluster is default".to_owned(),
        ),
    ] {
        let refused = world.refused("DescribeTasks", json!({"tasks": [id, named]})).await;
        assert_eq!(refused, ("InvalidParameterException", message));
    }
    let (_, message) = world.refused("DescribeTasks", json!({"tasks": vec![id; 101]})).await;
    assert_eq!(message, "taskIds can have at most 100 items.");
    let (_, message) = world.refused("DescribeTasks", json!({"tasks": []})).await;
    assert_eq!(message, "Tasks cannot be empty.");
}

async fn listed(world: &World, input: Value) -> Vec<Value> {
    world.ok("ListTasks", input).await["taskArns"].as_array().unwrap().clone()
}

// spec: 14-023, 24-001, 10-077, 03-080
#[tokio::test]
async fn tasks_are_listed_by_every_filter() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    let other = world.instance(1000, 1000, &[]).await;
    for family in ["web", "db"] {
        world.family(family, 1, 4, json!({})).await;
    }
    let start = |family: &str, on: &Value, by: &str| json!({"taskDefinition": family, "containerInstances": [on], "startedBy": by});
    let web = world.ok("StartTask", start("web", &instance, "me")).await["tasks"][0]["taskArn"].clone();
    let db = world.ok("StartTask", start("db", &other, "me")).await["tasks"][0]["taskArn"].clone();
    assert_eq!(listed(&world, json!({"family": "web"})).await, std::slice::from_ref(&web));
    assert_eq!(listed(&world, json!({"containerInstance": other})).await, std::slice::from_ref(&db));
    assert_eq!(listed(&world, json!({"startedBy": "me"})).await.len(), 2);
    assert_eq!(listed(&world, json!({"startedBy": "nobody"})).await.len(), 0);
    assert_eq!(listed(&world, json!({"startedBy": "me", "desiredStatus": "RUNNING"})).await.len(), 2);
    assert_eq!(listed(&world, json!({"launchType": "EC2"})).await.len(), 2);
    assert_eq!(listed(&world, json!({"launchType": "FARGATE"})).await.len(), 0);
    assert_eq!(listed(&world, json!({"family": "none"})).await.len(), 0);
    world.report(&web, "STOPPED", Some(1)).await;
    assert_eq!(listed(&world, json!({})).await, std::slice::from_ref(&db));
    assert_eq!(listed(&world, json!({"desiredStatus": "STOPPED"})).await, [web]);
    assert_eq!(listed(&world, json!({"desiredStatus": "PENDING"})).await.len(), 0);
    let (code, _) = world.refused("ListTasks", json!({"serviceName": "none"})).await;
    assert_eq!(code, "ServiceNotFoundException");
}

#[tokio::test]
async fn a_task_that_is_stopped_loses_its_tags() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let run = json!({"taskDefinition": "web", "tags": [{"key": "a", "value": "b"}]});
    let task = world.ok("RunTask", run).await["tasks"][0]["taskArn"].clone();
    let tags = async || world.ok("ListTagsForResource", json!({"resourceArn": task})).await["tags"].clone();
    assert_eq!(tags().await, json!([{"key": "a", "value": "b"}]));
    assert_eq!(world.ok("StopTask", json!({"task": task})).await["task"]["tags"], json!([]));
    assert_eq!(tags().await, json!([]));
}

#[tokio::test]
async fn what_started_tasks_is_the_only_filter_of_a_list() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    for (member, other) in [
        ("family", json!("web")),
        ("containerInstance", instance),
        ("serviceName", json!("web")),
        ("daemonName", json!("agent")),
        ("launchType", json!("EC2")),
    ] {
        let refused = world.refused("ListTasks", json!({"startedBy": "me", member: other})).await;
        let expected = ("InvalidParameterException", "cannot specify startedBy with other arguments".to_owned());
        assert_eq!(refused, expected, "{member}");
        world.ok("ListTasks", json!({"startedBy": "me", member: null})).await;
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.ok("RunTask", json!({"taskDefinition": "web", "count": 5})).await;
    let all = listed(&world, json!({})).await;
    let first = world.ok("ListTasks", json!({"maxResults": 3})).await;
    let rest = world.ok("ListTasks", json!({"maxResults": 3, "nextToken": first["nextToken"]})).await;
    assert!(rest.get("nextToken").is_none());
    let joined: Vec<Value> =
        [&first, &rest].iter().flat_map(|page| page["taskArns"].as_array().unwrap().clone()).collect();
    assert_eq!(joined, all);
}

// spec: 05-034
#[tokio::test]
async fn published_ports_show_once_the_task_runs() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({"portMappings": [{"containerPort": 80}]})).await;
    let task = world.run("web").await["taskArn"].clone();
    let binding = json!({"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"});
    let main = json!({"containerName": "main", "status": "RUNNING", "networkBindings": [binding]});
    let input = json!({"task": task, "status": "RUNNING", "containers": [main]});
    world.ok("SubmitTaskStateChange", input).await;
    assert_eq!(world.task(&task).await["containers"][0]["networkBindings"], json!([binding]));
}

#[tokio::test]
async fn reports_of_what_is_not_known_are_acknowledged() {
    let world = World::with_default_cluster().await;
    let task = world.arn("task/default/00000000000000000000000000000000");
    world.ok("SubmitTaskStateChange", json!({"task": task, "status": "STOPPED"})).await;
    world.ok("SubmitTaskStateChange", json!({"cluster": "gone", "task": task, "status": "STOPPED"})).await;
    world.ok("SubmitAttachmentStateChanges", json!({"attachments": []})).await;
    let (code, _) = world.refused("SubmitTaskStateChange", json!({"task": task, "status": "SLEEPING"})).await;
    assert_eq!(code, "InvalidParameterException");
}

#[tokio::test]
async fn one_container_can_be_reported_alone() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    let input = json!({"task": task, "containerName": "main", "status": "RUNNING", "runtimeId": "abc"});
    world.ok("SubmitContainerStateChange", input).await;
    let described = world.task(&task).await;
    assert_eq!(described["containers"][0]["runtimeId"], "abc");
    assert_eq!(described["lastStatus"], "PENDING");
}

// spec: 14-001
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_do_not_over_commit() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(1000, 1000, &[]).await;
    world.family("web", 100, 10, json!({})).await;
    let calls = (0..50).map(|_| world.ok("RunTask", json!({"taskDefinition": "web"})));
    let answers = futures_util::future::join_all(calls).await;
    let placed: usize = answers.iter().map(|answer| answer["tasks"].as_array().unwrap().len()).sum();
    let refused: usize = answers.iter().map(|answer| answer["failures"].as_array().unwrap().len()).sum();
    assert_eq!((placed, refused), (10, 40));
    assert_eq!(world.described(&instance).await["remainingResources"][0]["integerValue"], 0);
}
