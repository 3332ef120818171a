use serde_json::{Value, json};

use super::{and_container, base, refusal, refuses_task, register, registered, with, with_container};
use crate::task_definition::{Limits, validate_and_normalise};

// spec: 04-008, 05-001, 08-010
#[test]
fn families_have_names() {
    refuses_task(
        &base(),
        &[
            (json!({"family": null}), "Family should not be null or blank."),
            (json!({"family": " "}), "Family should not be null or blank."),
            (json!({"family": "a.b"}), "Family contains invalid characters."),
            (json!({"family": "x".repeat(256)}), "at most 255"),
        ],
    );
    registered(&with(base(), json!({"family": "x".repeat(255)})));
}

// spec: 01-002, 04-002, 22-013
#[test]
fn there_are_one_to_ten_containers() {
    refuses_task(
        &base(),
        &[
            (json!({"containerDefinitions": null}), "Container list cannot be empty."),
            (json!({"containerDefinitions": []}), "Container list cannot be empty."),
        ],
    );
    let many = |count: usize| {
        (1..count).fold(base(), |document, number| and_container(document, json!({"name": format!("c{number}")})))
    };
    registered(&many(10));
    assert_eq!(refusal(&many(11)), "Too many containers.");
}

// spec: 05-067
#[test]
fn one_container_is_essential() {
    let refused = refusal(&with_container(base(), json!({"essential": false})));
    assert!(refused.contains("must be essential"));
    registered(&and_container(with_container(base(), json!({"essential": false})), json!({"name": "main"})));
}

#[test]
fn the_document_has_at_most_64_kib() {
    let variable = |bytes: usize| json!({"environment": [{"name": "V", "value": "x".repeat(bytes)}]});
    registered(&with_container(base(), variable(65_000)));
    let refused = refusal(&with_container(base(), variable(66_000)));
    assert!(refused.starts_with("Actual length: '66") && refused.ends_with("'. Max allowed length is '65536' bytes."));
}

// spec: 24-068
#[test]
fn roles_are_names_or_arns() {
    for role in ["ECS-task-full-access", "arn:aws:iam::123456789012:role/r"] {
        let answer = registered(&with(base(), json!({"taskRoleArn": role, "executionRoleArn": role})));
        assert_eq!((&answer["taskRoleArn"], &answer["executionRoleArn"]), (&json!(role), &json!(role)));
    }
    refuses_task(
        &base(),
        &[
            (json!({"taskRoleArn": "arn:aws:iam::1:role/r"}), "Role is not valid"),
            (json!({"executionRoleArn": "a b"}), "Role is not valid"),
        ],
    );
}

// spec: 05-153, 05-161
#[test]
fn task_sizes_are_answered_as_whole_numbers() {
    let sized = |cpu: &str, memory: &str| registered(&with(base(), json!({"cpu": cpu, "memory": memory})));
    for (cpu, memory, units, mib) in
        [("1 vCPU", "1GB", "1024", "1024"), (".5 vcpu", "0.5 GB", "512", "512"), ("0128", "129", "128", "129")]
    {
        let answer = sized(cpu, memory);
        assert_eq!((&answer["cpu"], &answer["memory"]), (&json!(units), &json!(mib)));
    }
}

// spec: 24-028, 24-030
#[test]
fn impossible_task_sizes_are_refused() {
    let text = |member: &str| {
        format!(
            "Invalid '{member}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
        )
    };
    for cpu in ["0", "127", "196609", "-1", "many", "", "0.1 vCPU"] {
        assert_eq!(refusal(&with(base(), json!({"cpu": cpu}))), text("cpu"), "{cpu}");
    }
    for memory in ["0", "-1", "much", "", "1 MB"] {
        assert_eq!(refusal(&with(base(), json!({"memory": memory}))), text("memory"), "{memory}");
    }
    for cpu in ["128", "10240", "196608"] {
        registered(&with(base(), json!({"cpu": cpu})));
    }
}

// spec: 05-024, 05-058
#[test]
fn containers_fit_in_the_task() {
    let pair = |first: Value, mut second: Value, task: Value| {
        second["name"] = json!("other");
        with(and_container(with_container(base(), first), second), task)
    };
    let hard = |memory: i32| json!({"memory": memory});
    let soft = |memory: i32| json!({"memory": null, "memoryReservation": memory});
    let task = json!({"memory": "512"});
    registered(&pair(hard(256), hard(256), task.clone()));
    assert_eq!(
        refusal(&pair(hard(300), hard(300), task.clone())),
        "The sum of all container 'memory' values cannot be greater than the value of the task 'memory'."
    );
    registered(&pair(soft(256), soft(256), task.clone()));
    assert_eq!(
        refusal(&pair(soft(300), soft(300), task.clone())),
        "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'."
    );
    assert_eq!(
        refusal(&pair(hard(513), hard(64), task)),
        "The 'memory' setting for container 'app' is greater than for the task."
    );
    let cpu = |units: i32| json!({"cpu": units});
    registered(&pair(cpu(128), cpu(128), json!({"cpu": "256"})));
    assert_eq!(
        refusal(&pair(cpu(128), cpu(129), json!({"cpu": "256"}))),
        "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."
    );
}

// spec: 05-150
#[test]
fn placement_constraints_are_member_of() {
    let constraint = json!({"type": "memberOf", "expression": "attribute:ecs.os-type == linux"});
    registered(&with(base(), json!({"placementConstraints": [constraint]})));
    refuses_task(
        &base(),
        &[
            (json!({"placementConstraints": [{"expression": "a"}]}), "must be memberOf"),
            (json!({"placementConstraints": [{"type": "distinctInstance"}]}), "must be memberOf"),
            (json!({"placementConstraints": [{"type": "memberOf", "expression": " "}]}), "must not be blank"),
            (json!({"placementConstraints": vec![constraint; 11]}), "at most 10 placement constraints"),
        ],
    );
}

#[test]
fn ephemeral_storage_has_bounds() {
    let storage = |gib: i32| json!({"ephemeralStorage": {"sizeInGiB": gib}});
    refuses_task(&base(), &[(storage(20), "between 21 and 200"), (storage(201), "between 21 and 200")]);
    registered(&with(base(), storage(21)));
}

// spec: 05-016
#[test]
fn windows_tasks_leave_the_network_mode_out() {
    let windows = with(base(), json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2019_CORE"}}));
    registered(&windows);
    registered(&with(windows.clone(), json!({"networkMode": "awsvpc"})));
    refuses_task(&windows, &[(json!({"networkMode": "bridge"}), "must leave networkMode out")]);
    let refused = refusal(&with_container(windows, json!({"privileged": true})));
    assert!(refused.contains("Windows containers do not support it"));
}

#[test]
fn limits_are_the_callers() {
    let request = longshore_api::from_json(base().to_string().as_bytes()).unwrap();
    let limits = Limits { containers: 0, ..Limits::default() };
    assert_eq!(validate_and_normalise(request, &limits).unwrap_err().message, "Too many containers.");
    assert!(register(&base()).is_ok());
}
