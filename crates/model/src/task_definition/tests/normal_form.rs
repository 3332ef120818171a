use serde_json::{Value, json};

use super::{base, fargate, registered, with, with_container};

// spec: 03-073, 05-066, 23-012
#[test]
fn what_was_left_out_is_filled_in_as_ecs_answers_it() {
    let document = with(base(), json!({"requiresCompatibilities": ["EC2"]}));
    assert_eq!(
        registered(&document),
        json!({
            "family": "web",
            "containerDefinitions": [{
                "name": "app", "image": "busybox", "cpu": 0, "memory": 128, "essential": true, "portMappings": [],
                "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
            }],
            "volumes": [], "placementConstraints": [], "requiresAttributes": [],
            "compatibilities": ["EC2"], "requiresCompatibilities": ["EC2"],
        })
    );
}

#[test]
fn what_was_given_comes_back() {
    let container = json!({
        "cpu": 10, "essential": true, "command": ["sleep", "360"], "entryPoint": ["sh"], "workingDirectory": "/w",
        "dockerLabels": {"a": "b"}, "interactive": true, "pseudoTerminal": true, "readonlyRootFilesystem": true,
        "startTimeout": 60, "stopTimeout": 30, "user": "1000",
    });
    let document = with_container(
        with(base(), json!({"executionRoleArn": "execution", "pidMode": "task", "ipcMode": "none"})),
        container.clone(),
    );
    let answer = registered(&document);
    for (member, value) in container.as_object().unwrap() {
        assert_eq!(&answer["containerDefinitions"][0][member], value, "{member}");
    }
    assert_eq!((&answer["pidMode"], &answer["ipcMode"]), (&json!("task"), &json!("none")));
}

fn attributes(document: &Value) -> Vec<String> {
    let answer = registered(document);
    let attributes = answer["requiresAttributes"].as_array().unwrap().iter();
    attributes
        .map(|attribute| {
            attribute["name"]
                .as_str()
                .unwrap()
                .replace("com.amazonaws.ecs.capability.", "docker:")
                .replace("ecs.capability.", "")
        })
        .collect()
}

#[test]
fn members_require_attributes_of_the_container_instance() {
    let role = with(base(), json!({"executionRoleArn": "execution"}));
    for (document, expected) in [
        (base(), vec![]),
        (with(base(), json!({"taskRoleArn": "r"})), vec!["docker:task-iam-role"]),
        (with(base(), json!({"taskRoleArn": "r", "networkMode": "host"})), vec!["docker:task-iam-role-network-host"]),
        (fargate(), vec!["docker:docker-remote-api.1.18", "task-eni"]),
        (with_container(base(), json!({"memoryReservation": 64})), vec!["docker:docker-remote-api.1.21"]),
        (with_container(base(), json!({"privileged": true})), vec!["docker:privileged-container"]),
        (with_container(base(), json!({"readonlyRootFilesystem": true})), vec!["docker:docker-remote-api.1.17"]),
        (with_container(base(), json!({"dockerLabels": {"a": "b"}})), vec!["docker:docker-remote-api.1.18"]),
        (
            with_container(base(), json!({"healthCheck": {"command": ["CMD", "true"]}})),
            vec!["docker:docker-remote-api.1.24", "container-health-check"],
        ),
        (
            with_container(base(), json!({"healthCheck": {"command": ["CMD", "true"], "startPeriod": 5}})),
            vec!["docker:docker-remote-api.1.29", "container-health-check"],
        ),
        (
            with_container(
                role.clone(),
                json!({
                    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1",
                    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-region": "r", "awslogs-group": "g"}},
                }),
            ),
            vec![
                "docker:docker-remote-api.1.19",
                "docker:ecr-auth",
                "docker:logging-driver.awslogs",
                "execution-role-awslogs",
                "execution-role-ecr-pull",
            ],
        ),
        (
            with_container(
                role,
                json!({"secrets": [
                    {"name": "A", "valueFrom": "/a"},
                    {"name": "B", "valueFrom": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:b"},
                ]}),
            ),
            vec!["secrets.asm.environment-variables", "secrets.ssm.environment-variables"],
        ),
        (
            with(base(), json!({"volumes": [{"name": "v", "dockerVolumeConfiguration": {"driver": "rexray"}}]})),
            vec!["docker:docker-remote-api.1.25", "docker-plugin.rexray"],
        ),
        (
            with(base(), json!({"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]})),
            vec!["docker:docker-remote-api.1.25", "efs", "efsAuth"],
        ),
        (
            with_container(base(), json!({"linuxParameters": {"initProcessEnabled": true}})),
            vec!["docker:docker-remote-api.1.25"],
        ),
        (with(base(), json!({"cpu": "10241"})), vec!["increased-task-cpu-limit"]),
        (with(base(), json!({"pidMode": "task"})), vec!["pid-ipc-namespace-sharing"]),
    ] {
        assert_eq!(attributes(&document), expected, "{document}");
    }
}
