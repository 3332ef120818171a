//! Keys of a task's role, as a container asks for them.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{IMAGE, Longshore, http_get, wait_for};

const ROLE: &str = "arn:aws:iam::123456789012:role/team/app";
/// Asks for the keys again and again and shows the latest answer; another file shows what an unknown id gets.
const SCRIPT: &str = "mkdir /www; httpd -p 8080 -h /www; trap 'exit 0' TERM; \
    U=http://169.254.170.2; while :; do \
    wget -q -O /new $U$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI && mv /new /www/keys || rm -f /www/keys; \
    printf \"GET /v2/credentials/other HTTP/1.0\\r\\n\\r\\n\" | nc 169.254.170.2 80 >/www/unknown; \
    sleep 0.3; done";

fn register(longshore: &Longshore, family: &str, mode: &str, more: &[&str]) {
    let mapping = if mode == "bridge" { json!([{"containerPort": 8080}]) } else { json!([]) };
    let containers = json!([{"name": "main", "image": IMAGE, "memory": 64, "command": ["sh", "-c", SCRIPT], "portMappings": mapping}]);
    let containers = containers.to_string();
    let mut arguments = vec!["register-task-definition", "--family", family, "--network-mode", mode];
    arguments.extend(["--task-role-arn", ROLE, "--container-definitions", &containers]);
    arguments.extend(more);
    longshore.ecs(&arguments);
}

fn keys_at(url: &str) -> Value {
    wait_for("the container to get its keys", || {
        let document: Value = serde_json::from_str(&http_get(&format!("{url}/keys"))?).ok()?;
        document["AccessKeyId"].is_string().then_some(document)
    })
}

/// Runs the aws CLI with a container's keys.
fn aws_as(longshore: &Longshore, keys: &Value, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new("aws");
    longshore.client_env(&mut command).args(arguments).args(["--output", "json"]);
    for (name, member) in [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "Token"),
    ] {
        command.env(name, keys[member].as_str().unwrap());
    }
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn is_the_role(longshore: &Longshore, keys: &Value, role: &str, name: &str, task: &str) {
    let id = task.rsplit('/').next().unwrap();
    assert_eq!(keys["RoleArn"], role);
    let members: Vec<&String> = keys.as_object().unwrap().keys().collect();
    assert_eq!(members, ["AccessKeyId", "Expiration", "RoleArn", "SecretAccessKey", "Token"]);
    let who = aws_as(longshore, keys, &["sts", "get-caller-identity"]).unwrap();
    let account = who["Account"].as_str().unwrap();
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{id}");
    assert_eq!(who["Arn"], arn);
    let user = who["UserId"].as_str().unwrap();
    assert!(user.starts_with("AROA") && user.ends_with(&format!(":{id}")), "{user}");
    let denied = aws_as(longshore, keys, &["ecs", "list-clusters"]).unwrap_err();
    let expected = format!(
        "AccessDeniedException) when calling the ListClusters operation: User: {arn} is not authorized to perform: ecs:ListClusters"
    );
    assert!(denied.contains(&expected), "{denied}");
}

// spec: 05-003, 14-013, 20-081, 20-082
#[test]
fn containers_get_the_keys_of_their_tasks_role_also_after_kill_9_until_the_task_has_stopped() {
    support::require_root();
    let mut longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    register(&longshore, "role", "bridge", &[]);
    let task = longshore.run("role");
    let running = longshore.wait_task(&task, "RUNNING");
    let port = running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let keys = keys_at(&url);
    is_the_role(&longshore, &keys, ROLE, "app", &task);
    let unknown =
        wait_for("the answer to an unknown id", || http_get(&format!("{url}/unknown")).filter(|it| it.contains('}')));
    assert!(unknown.starts_with("HTTP/1.1 400 ") && unknown.contains("InvalidIdInRequest"), "{unknown}");

    let other = "arn:aws:iam::123456789012:role/other";
    let overrides = json!({"taskRoleArn": other}).to_string();
    let run = longshore.ecs(&["run-task", "--task-definition", "role", "--overrides", &overrides]);
    let second = run["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned();
    let running = longshore.wait_task(&second, "RUNNING");
    let port = running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap();
    is_the_role(&longshore, &keys_at(&format!("http://127.0.0.1:{port}")), other, "other", &second);

    // `up` is control plane and agent in one: both die, and the agent's cache is lost.
    longshore.kill();
    wait_for("the keys to go", || http_get(&format!("{url}/keys")).is_none_or(|it| !it.contains("ASIA")).then_some(()));
    std::fs::remove_dir_all(longshore.data_dir().join("agent")).unwrap();
    longshore.spawn();
    longshore.wait_instance();
    let again = keys_at(&url);
    assert_ne!(again["AccessKeyId"], keys["AccessKeyId"]);
    is_the_role(&longshore, &again, ROLE, "app", &task);
    is_the_role(&longshore, &keys, ROLE, "app", &task);
    let mut tampered = again.clone();
    tampered["Token"] = json!(format!("A{}", again["Token"].as_str().unwrap()));
    let refused = aws_as(&longshore, &tampered, &["sts", "get-caller-identity"]).unwrap_err();
    assert!(refused.contains("InvalidClientTokenId") || refused.contains("UnrecognizedClient"), "{refused}");

    longshore.ecs(&["stop-task", "--task", &task]);
    longshore.wait_task(&task, "STOPPED");
    let ended = aws_as(&longshore, &again, &["sts", "get-caller-identity"]).unwrap_err();
    assert!(ended.contains("ExpiredToken"), "{ended}");
}

#[test]
fn a_fargate_task_gets_the_keys_of_its_role() {
    support::require_root();
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    let fargate = ["--requires-compatibilities", "FARGATE", "--cpu", "256", "--memory", "512"];
    register(&longshore, "far", "awsvpc", &fargate);
    let run = longshore.ecs(&[
        "run-task",
        "--launch-type",
        "FARGATE",
        "--task-definition",
        "far",
        "--network-configuration",
        "awsvpcConfiguration={subnets=[subnet-1]}",
    ]);
    let task = run["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned();
    let running = longshore.wait_task(&task, "RUNNING");
    let interface = &running["containers"][0]["networkInterfaces"][0]["privateIpv4Address"];
    let keys = keys_at(&format!("http://{}:8080", interface.as_str().unwrap()));
    is_the_role(&longshore, &keys, ROLE, "app", &task);
}

#[test]
fn keys_come_also_when_another_data_directory_publishes_port_80() {
    support::require_root();
    let (one, two) = (Longshore::up("oci"), Longshore::up("oci"));
    two.import_busybox();
    two.wait_instance();
    two.register("web", "httpd -f -p 80 -h /", json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]}));
    let web = two.run("web");
    two.wait_task(&web, "RUNNING");
    one.import_busybox();
    one.wait_instance();
    register(&one, "role", "bridge", &[]);
    let task = one.run("role");
    let running = one.wait_task(&task, "RUNNING");
    let port = running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap();
    is_the_role(&one, &keys_at(&format!("http://127.0.0.1:{port}")), ROLE, "app", &task);
}
