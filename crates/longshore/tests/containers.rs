//! What a container definition says reaches the container: sizes, order, entry point and command.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{IMAGE, Longshore};

fn up(runtime: &'static str) -> Longshore {
    let longshore = Longshore::up(runtime);
    longshore.import_busybox();
    longshore.wait_instance();
    longshore
}

fn register(longshore: &Longshore, family: &str, containers: &Value, more: &[&str]) {
    let containers = containers.to_string();
    let arguments = ["register-task-definition", "--family", family, "--container-definitions", &containers];
    longshore.ecs(&[&arguments, more].concat());
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

// spec: 05-018, 05-030, 07-041
#[test]
fn docker_has_one_container_for_each_definition_with_its_memory() {
    let longshore = up("docker");
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let containers = json!([
        {"name": "burst", "image": IMAGE, "memory": 300, "memoryReservation": 128, "command": ["sh", "-c", script]},
        {"name": "router", "image": IMAGE, "memoryReservation": 50, "command": ["sh", "-c", script]},
    ]);
    register(&longshore, "sizes", &containers, &[]);
    let task = longshore.run("sizes");
    let running = longshore.wait_task(&task, "RUNNING");
    let of_task = format!("label=com.amazonaws.ecs.task-arn={task}");
    assert_eq!(docker(&["ps", "--quiet", "--filter", &of_task]).lines().count(), 2);
    for (at, memory) in [(0, [314_572_800, 134_217_728]), (1, [0, 52_428_800])] {
        let id = running["containers"][at]["runtimeId"].as_str().unwrap();
        let inspected: Value = serde_json::from_str(&docker(&["inspect", id])).unwrap();
        let host = &inspected[0]["HostConfig"];
        assert_eq!([&host["Memory"], &host["MemoryReservation"]], memory);
    }
}

// spec: 22-028
#[test]
fn a_container_waits_until_the_one_that_it_depends_on_is_healthy() {
    let longshore = up("oci");
    let containers = json!([
        {
            "name": "envoy", "image": IMAGE, "memory": 32, "essential": true,
            "command": ["sh", "-c", "sleep 1; touch /shared/ready; while :; do sleep 0.1; done"],
            "healthCheck": {"command": ["CMD-SHELL", "test -e /shared/ready"], "interval": 5, "timeout": 2, "retries": 3},
            "mountPoints": [{"sourceVolume": "shared", "containerPath": "/shared"}],
        },
        {
            "name": "app", "image": IMAGE, "memory": 32, "essential": true,
            "command": ["sh", "-c", "test -e /shared/ready && exit 4; exit 9"],
            "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}],
            "mountPoints": [{"sourceVolume": "shared", "containerPath": "/shared"}],
        },
    ]);
    register(&longshore, "mesh", &containers, &["--volumes", r#"[{"name": "shared"}]"#]);
    let stopped = longshore.wait_task(&longshore.run("mesh"), "STOPPED");
    let app = stopped["containers"].as_array().unwrap().iter().find(|container| container["name"] == "app").unwrap();
    assert_eq!(app["exitCode"], 4, "{stopped}");
}

#[test]
fn each_task_has_a_volume_of_its_own_that_is_configured_at_launch() {
    for runtime in ["docker", "oci"] {
        let longshore = up(runtime);
        let mounted = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
        let containers = json!([
            {
                "name": "writer", "image": IMAGE, "memory": 32, "essential": false, "mountPoints": mounted,
                "command": ["sh", "-c", "test -e /data/mine && exit 9; touch /data/mine"],
            },
            {
                "name": "reader", "image": IMAGE, "memory": 32, "mountPoints": mounted,
                "command": ["sh", "-c", "test -e /data/mine && exit 4; exit 9"],
                "dependsOn": [{"containerName": "writer", "condition": "SUCCESS"}],
            },
        ]);
        let volumes = r#"[{"name": "data", "configuredAtLaunch": true}]"#;
        register(&longshore, "data", &containers, &["--volumes", volumes]);
        let ebs = json!({"roleArn": "arn:aws:iam::000000000000:role/infrastructure", "sizeInGiB": 1});
        let given = json!([{"name": "data", "managedEBSVolume": ebs}]).to_string();
        for _ in 0..2 {
            let answer = longshore.ecs(&["run-task", "--task-definition", "data", "--volume-configurations", &given]);
            let stopped = longshore.wait_task(answer["tasks"][0]["taskArn"].as_str().unwrap(), "STOPPED");
            let ended = stopped["containers"].as_array().unwrap();
            let code = |name: &str| ended.iter().find(|it| it["name"] == name).map(|it| it["exitCode"].clone());
            assert_eq!((code("writer"), code("reader")), (Some(json!(0)), Some(json!(4))), "{runtime}: {stopped}");
            let attachment = &stopped["attachments"][0];
            assert_eq!(
                (&attachment["type"], &attachment["status"]),
                (&json!("AmazonElasticBlockStorage"), &json!("DELETED"))
            );
        }
    }
}

// spec: 08-058, 14-017
#[test]
fn entry_point_and_command_make_the_process() {
    let longshore = up("oci");
    let ping = json!([{
        "name": "main", "image": IMAGE, "cpu": 16, "memory": 32, "entryPoint": ["ping"],
        "command": ["-c", "4", "127.0.0.1"], "readonlyRootFilesystem": true,
    }]);
    register(&longshore, "ping", &ping, &[]);
    let stopped = longshore.wait_task(&longshore.run("ping"), "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 0, "{stopped}");
    assert_eq!(stopped["stopCode"], "EssentialContainerExited");

    let shell =
        json!([{"name": "main", "image": IMAGE, "memory": 32, "entryPoint": ["sh", "-c"], "command": ["exit 1"]}]);
    register(&longshore, "shell", &shell, &[]);
    let overrides =
        json!({"containerOverrides": [{"name": "main", "command": ["for n in 1 2 3; do :; done; exit $((n + 4))"]}]});
    let answer = longshore.ecs(&["run-task", "--task-definition", "shell", "--overrides", &overrides.to_string()]);
    let stopped = longshore.wait_task(answer["tasks"][0]["taskArn"].as_str().unwrap(), "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 7, "{stopped}");
}
