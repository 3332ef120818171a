//! Tasks of launch type FARGATE on the machine that `up` lends: a network of their own, no container instance to see.

mod support;

use serde_json::{Value, json};
use support::{IMAGE, Longshore, http_get, wait_for};

fn detail(task: &Value, name: &str) -> Option<String> {
    let details = task["attachments"][0]["details"].as_array()?;
    let detail = details.iter().find(|detail| detail["name"] == name)?;
    Some(detail["value"].as_str()?.to_owned())
}

// spec: 02-001
#[test]
fn a_fargate_task_runs_in_a_cluster_without_instances_and_answers_on_its_own_address() {
    support::require_root();
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.ecs(&["create-cluster", "--cluster-name", "other"]);
    let container = |name: &str, script: &str| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]});
    let containers = json!([
        container("web", "echo up >/www; httpd -p 8080 -h /; trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        // It reaches the other container on localhost: they share a network.
        container(
            "side",
            "until wget -q -O /got http://127.0.0.1:8080/www; do sleep 0.1; done; trap 'exit 0' TERM; while :; do sleep 0.1; done"
        ),
    ]);
    longshore.ecs(&[
        "register-task-definition",
        "--family",
        "far",
        "--requires-compatibilities",
        "FARGATE",
        "--network-mode",
        "awsvpc",
        "--cpu",
        "256",
        "--memory",
        "512",
        "--container-definitions",
        &containers.to_string(),
    ]);
    let run = longshore.ecs(&[
        "run-task",
        "--cluster",
        "other",
        "--launch-type",
        "FARGATE",
        "--task-definition",
        "far",
        "--network-configuration",
        "awsvpcConfiguration={subnets=[subnet-1]}",
    ]);
    assert_eq!(run["failures"], json!([]), "{run}");
    let arn = run["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    let task = wait_for(&format!("the task to run\n{}", longshore.log()), || {
        let task = longshore.ecs(&["describe-tasks", "--cluster", "other", "--tasks", &arn])["tasks"][0].clone();
        (task["lastStatus"] == "RUNNING").then_some(task)
    });
    assert_eq!((&task["launchType"], &task["containerInstanceArn"]), (&json!("FARGATE"), &Value::Null));
    assert_eq!(task["attachments"][0]["status"], "ATTACHED");
    let address = detail(&task, "privateIPv4Address").unwrap();
    wait_for("the task to answer on its address", || http_get(&format!("http://{address}:8080/www")));
    let interfaces = task["containers"].as_array().unwrap().iter().map(|it| &it["networkInterfaces"][0]);
    assert!(interfaces.into_iter().all(|it| it["privateIpv4Address"] == json!(address)), "{task}");
    let listed = longshore.ecs(&["list-container-instances", "--cluster", "other"]);
    assert_eq!(listed["containerInstanceArns"], json!([]));
    longshore.ecs(&["stop-task", "--cluster", "other", "--task", &arn]);
    wait_for("the task to stop", || {
        let task = longshore.ecs(&["describe-tasks", "--cluster", "other", "--tasks", &arn])["tasks"][0].clone();
        (task["lastStatus"] == "STOPPED" && task["attachments"][0]["status"] == "DELETED").then_some(())
    });
}
