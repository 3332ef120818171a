//! What RunTask and DescribeTasks answer, member by member.

use serde_json::{Value, json};

use crate::operations::testing::World;

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox", "cpu": 10, "memory": 20});
    let side = json!({"name": "side", "image": "busybox", "memoryReservation": 8, "essential": false});
    let definition = json!({"family": "web", "containerDefinitions": [main, side]});
    world.ok("RegisterTaskDefinition", definition).await;
    world
}

// spec: 23-020
#[tokio::test]
async fn a_new_task_lists_its_containers_and_their_overrides() {
    let world = world().await;
    let changes = json!({"name": "side", "command": ["date"]});
    let run = json!({"taskDefinition": "web", "overrides": {"containerOverrides": [changes]}});
    let answer = world.ok("RunTask", run).await;
    assert_eq!(answer["failures"], json!([]));
    let task = &answer["tasks"][0];
    assert_eq!((&task["lastStatus"], &task["desiredStatus"]), (&json!("PENDING"), &json!("RUNNING")));
    assert_eq!(task["overrides"]["containerOverrides"], json!([{"name": "main"}, changes]));
    for (at, name) in ["main", "side"].into_iter().enumerate() {
        let container = &task["containers"][at];
        assert_eq!((&container["name"], &container["lastStatus"]), (&json!(name), &json!("PENDING")));
        assert_eq!(container["taskArn"], task["taskArn"]);
        for list in ["networkBindings", "networkInterfaces"] {
            assert_eq!(container[list], json!([]), "{list}");
        }
    }
    assert_eq!((&task["containers"][0]["cpu"], &task["containers"][0]["memory"]), (&json!("10"), &json!("20")));
    assert_eq!(task["containers"][1]["memoryReservation"], "8");
}

// spec: 23-021
#[tokio::test]
async fn a_running_task_is_described_with_its_containers() {
    let world = world().await;
    let task = world.run("web").await["taskArn"].clone();
    let container = |name: &str| json!({"containerName": name, "status": "RUNNING", "runtimeId": name});
    let report = json!({
        "cluster": "default", "task": task, "status": "RUNNING", "containers": [container("main"), container("side")],
    });
    world.ok("SubmitTaskStateChange", report).await;
    let answer = world.ok("DescribeTasks", json!({"tasks": [task]})).await;
    assert_eq!(answer["failures"], json!([]));
    let task = &answer["tasks"][0];
    assert_eq!(task["lastStatus"], "RUNNING");
    assert!(task["startedAt"].is_number() && task["createdAt"].is_number());
    for (at, name) in ["main", "side"].into_iter().enumerate() {
        let container = &task["containers"][at];
        assert_eq!((&container["lastStatus"], &container["runtimeId"]), (&json!("RUNNING"), &json!(name)));
        assert_eq!(container["networkBindings"], json!([]));
    }
    for never in ["stoppedAt", "stopCode", "stoppedReason", "stoppingAt", "capacityProviderName", "startedBy"] {
        assert_eq!(task.get(never), None, "{never}");
    }
}

#[tokio::test]
async fn a_task_has_the_architecture_of_its_machine() {
    let world = world().await;
    let task = world.run("web").await;
    let attributes = json!([{"name": "ecs.cpu-architecture", "value": "x86_64"}]);
    assert_eq!(task["attributes"], attributes);
    let world = world.restarted().await;
    assert_eq!(world.task(&task["taskArn"]).await["attributes"], attributes);
    assert_eq!(task.get("ephemeralStorage"), None);
    assert_eq!(task.get("fargateEphemeralStorage"), None);
}

#[tokio::test]
async fn the_agent_of_execute_command_is_told_of_where_it_was_asked_for() {
    let world = world().await;
    assert_eq!(world.run("web").await["containers"][0].get("managedAgents"), None);
    let run = json!({"taskDefinition": "web", "enableExecuteCommand": true});
    let task = world.ok("RunTask", run).await["tasks"][0].clone();
    for container in task["containers"].as_array().unwrap() {
        let agents = json!([{"name": "ExecuteCommandAgent", "lastStatus": "PENDING"}]);
        assert_eq!(container["managedAgents"], agents);
    }
    world.report(&task["taskArn"], "RUNNING", None).await;
    let agent = &world.task(&task["taskArn"]).await["containers"][0]["managedAgents"][0];
    assert_eq!(agent["lastStatus"], "STOPPED");
    assert!(agent["reason"].as_str().unwrap().contains("can't open sessions"), "{agent}");
}

// spec: 14-008
#[tokio::test]
async fn run_task_takes_cluster_count_group_and_launch_type() {
    let world = world().await;
    let input = json!({
        "cluster": "default", "taskDefinition": "web", "count": 3, "group": "g", "launchType": "EC2", "startedBy": "me",
    });
    let answer = world.ok("RunTask", input).await;
    let tasks = answer["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 3);
    for task in tasks {
        assert_eq!((&task["group"], &task["launchType"]), (&json!("g"), &json!("EC2")));
        assert_eq!((&task["startedBy"], &task["clusterArn"]), (&json!("me"), &json!(world.arn("cluster/default"))));
    }
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let elsewhere = json!({"cluster": "other", "taskDefinition": "web", "launchType": "EC2"});
    assert_eq!(world.refused("RunTask", elsewhere).await.1, "No Container Instances were found in your cluster.");
    let platform = json!({"taskDefinition": "web", "launchType": "EC2", "platformVersion": "LATEST"});
    let (code, message) = world.refused("RunTask", platform).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "The platform version must be null when specifying an EC2 launch type.");
}

#[tokio::test]
async fn marks_have_limits() {
    let world = world().await;
    let run = |member: &str, length: usize| {
        let mut input = json!({"taskDefinition": "web"});
        input[member] = json!("x".repeat(length));
        input
    };
    for (member, most) in [("startedBy", 128), ("group", 255), ("clientToken", 64), ("referenceId", 1024)] {
        world.ok("RunTask", run(member, most)).await;
        let (code, message) = world.refused("RunTask", run(member, most + 1)).await;
        assert_eq!(code, "InvalidParameterException", "{message}");
    }
}

#[tokio::test]
async fn a_page_of_tasks_has_one_to_a_hundred() {
    let world = world().await;
    for size in [0, 101, -1] {
        let refused = world.refused("ListTasks", json!({"maxResults": size})).await;
        assert_eq!(refused.0, "InvalidParameterException", "{size}");
    }
    assert_eq!(world.ok("ListTasks", json!({"maxResults": 100})).await, json!({"taskArns": Value::Array(Vec::new())}));
}
