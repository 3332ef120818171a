//! Agents on their own: joining with a token, kill -9 of either side, several Longshores on one host.

mod support;

use std::fs;
use std::process::Command;

use serde_json::json;
use support::agent::Agent;
use support::{BIN, Longshore, http_get, wait_for};

#[test]
fn an_agent_joins_with_a_one_time_token_and_survives_either_sides_death() {
    support::require_root();
    let mut server = Longshore::server();
    let mut agent = Agent::join(&server);
    agent.import_busybox();
    server.wait_instance();
    server.register(
        "remote",
        "echo up >/www; httpd -p 8080 -h /; trap 'exit 4' TERM; while :; do sleep 0.1; done",
        json!({"portMappings": [{"containerPort": 8080}]}),
    );
    let task = server.run("remote");
    let running = server.wait_task(&task, "RUNNING");
    let port = running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap();
    let answers = || http_get(&format!("http://127.0.0.1:{port}/www"));
    wait_for("the port to answer", answers);

    agent.kill();
    wait_for("the lost connection to be seen", || {
        let instance = server.ecs(&["list-container-instances"])["containerInstanceArns"][0].as_str()?.to_owned();
        let described = server.ecs(&["describe-container-instances", "--container-instances", &instance]);
        (described["containerInstances"][0]["agentConnected"] == false).then_some(())
    });
    assert!(answers().is_some());
    agent.spawn(&[]);
    server.wait_instance();
    assert_eq!(server.task(&task)["containers"][0]["runtimeId"], running["containers"][0]["runtimeId"]);

    server.kill();
    assert!(answers().is_some());
    server.spawn();
    server.wait_instance();
    assert_eq!(server.task(&task)["lastStatus"], "RUNNING");

    server.kill();
    agent.kill();
    fs::remove_dir_all(agent.data_dir().join("agent")).unwrap();
    server.spawn();
    let endpoint = server.endpoint.clone();
    agent.spawn(&["--join", &endpoint]);
    server.wait_instance();
    assert_eq!(server.ecs(&["list-container-instances"])["containerInstanceArns"].as_array().unwrap().len(), 1);
    assert_eq!(server.ecs(&["list-tasks"])["taskArns"], json!([task]));
    assert!(answers().is_some());
    server.ecs(&["stop-task", "--task", &task]);
    assert_eq!(server.wait_task(&task, "STOPPED")["containers"][0]["exitCode"], 4);
}

// spec: 10-006, 10-029, 22-024, 23-018, 23-019
#[test]
fn a_container_instance_shows_its_machine_its_capabilities_and_its_tags() {
    support::require_root();
    let server = Longshore::server();
    let tags = r#"{"environment": "Outpost", "team": "web"}"#;
    let _agent = Agent::join_with(&server, &["--tags", tags, "--attribute", "ecs.instance-type=m5.large"]);
    let arn = server.ecs(&["list-container-instances"])["containerInstanceArns"][0].as_str().unwrap().to_owned();
    let listed = server.ecs(&["list-tags-for-resource", "--resource-arn", &arn]);
    let expected = json!([{"key": "environment", "value": "Outpost"}, {"key": "team", "value": "web"}]);
    assert_eq!(listed["tags"], expected);
    let instance = server.ecs(&["describe-container-instances", "--container-instances", &arn]);
    let instance = &instance["containerInstances"][0];
    let cores = std::thread::available_parallelism().unwrap().get();
    for member in ["registeredResources", "remainingResources"] {
        let resources = instance[member].as_array().unwrap();
        let named = |name: &str| resources.iter().find(|it| it["name"] == name).unwrap().clone();
        let cpu = json!({
            "name": "CPU", "type": "INTEGER", "integerValue": cores * 1024, "longValue": 0, "doubleValue": 0.0,
        });
        assert_eq!(named("CPU"), cpu, "{member}");
        assert!(named("MEMORY")["integerValue"].as_i64().unwrap() > 64);
        assert_eq!(named("PORTS")["stringSetValue"], json!(["22", "2375", "2376", "51678", "51679"]));
        assert_eq!(
            (&named("PORTS_UDP")["type"], &named("PORTS_UDP")["stringSetValue"]),
            (&json!("STRINGSET"), &json!([]))
        );
    }
    let attributes = instance["attributes"].as_array().unwrap();
    for name in [
        "com.amazonaws.ecs.capability.privileged-container",
        "com.amazonaws.ecs.capability.docker-remote-api.1.17",
        "com.amazonaws.ecs.capability.logging-driver.json-file",
        "ecs.instance-type",
    ] {
        assert!(attributes.iter().any(|it| it["name"] == name), "{name} in {attributes:?}");
    }
    let versions = &instance["versionInfo"];
    assert!(["agentVersion", "agentHash", "dockerVersion"].iter().all(|it| versions[it].is_string()), "{versions}");
}

#[test]
fn a_token_is_good_for_one_agent() {
    support::require_root();
    let server = Longshore::server();
    let made = server.longshore_ok(&["--output", "json", "token", "create"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let token = made["token"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut first = Agent::new();
    first.spawn(&["--join", &server.endpoint, "--token", token]);
    let second = Command::new(BIN)
        .args(["agent", "--runtime", "oci", "--join", &server.endpoint, "--token", token, "--data-dir"])
        .arg(dir.path().join("data"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("token"), "{second:?}");
}

#[test]
fn two_data_directories_run_side_by_side_and_clean_up_only_after_themselves() {
    let one = Longshore::up("oci");
    let other = Longshore::up("oci");
    let mut answers = Vec::new();
    for longshore in [&one, &other] {
        longshore.import_busybox();
        longshore.wait_instance();
        longshore.register(
            "side",
            "echo up >/www; httpd -p 8080 -h /; sleep 3600",
            json!({"portMappings": [{"containerPort": 8080}]}),
        );
        let task = longshore.run("side");
        let running = longshore.wait_task(&task, "RUNNING");
        answers.push((running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap(), task));
    }
    let get = |port: u64| http_get(&format!("http://127.0.0.1:{port}/www"));
    for (port, _) in &answers {
        wait_for("both to answer", || get(*port));
    }
    drop(one);
    assert!(get(answers[0].0).is_none(), "what the first one started is gone");
    assert!(get(answers[1].0).is_some(), "what the second one started is not");
    assert_eq!(other.task(&answers[1].1)["lastStatus"], "RUNNING");
}

#[test]
fn down_stops_the_tasks_and_term_leaves_them() {
    let mut longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.register(
        "stays",
        "echo up >/www; httpd -p 8080 -h /; trap 'exit 0' TERM; while :; do sleep 0.1; done",
        json!({"portMappings": [{"containerPort": 8080}]}),
    );
    let task = longshore.run("stays");
    let running = longshore.wait_task(&task, "RUNNING");
    let port = running["containers"][0]["networkBindings"][0]["hostPort"].as_u64().unwrap();
    let get = || http_get(&format!("http://127.0.0.1:{port}/www"));
    wait_for("the port to answer", get);
    assert!(longshore.terminate().success());
    assert!(get().is_some());
    longshore.spawn();
    longshore.wait_instance();
    longshore.down();
    assert!(get().is_none());
    longshore.spawn();
    let stopped = longshore.task(&task);
    assert_eq!(
        (&stopped["lastStatus"], &stopped["stoppedReason"]),
        (&json!("STOPPED"), &json!("Stopped by 'longshore down'"))
    );
}

// spec: 03-075, 03-076
#[test]
fn tasks_of_a_scaled_capacity_provider_wait_until_an_agent_joins_for_it() {
    support::require_root();
    let mut server = Longshore::server();
    let group = json!({"autoScalingGroupArn": "burst", "managedScaling": {"status": "ENABLED"}}).to_string();
    let create = ["create-capacity-provider", "--name", "burst", "--auto-scaling-group-provider", &group];
    server.ecs(&create);
    let put = ["put-cluster-capacity-providers", "--cluster", "default", "--capacity-providers", "burst"];
    let strategy = ["--default-capacity-provider-strategy", "capacityProvider=burst,weight=1"];
    server.ecs(&[&put[..], &strategy[..]].concat());
    server.register("wait", "trap 'exit 0' TERM; while :; do sleep 0.1; done", json!({}));
    let run = server.ecs(&["run-task", "--task-definition", "wait", "--count", "2"]);
    assert_eq!(run["failures"], json!([]), "{run}");
    let tasks: Vec<String> =
        run["tasks"].as_array().unwrap().iter().map(|task| task["taskArn"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tasks.len(), 2);
    for task in run["tasks"].as_array().unwrap() {
        assert_eq!((&task["lastStatus"], &task["capacityProviderName"]), (&json!("PROVISIONING"), &json!("burst")));
        assert!(task.get("containerInstanceArn").is_none(), "{task}");
    }
    let id = tasks[0].rsplit('/').next().unwrap();
    let table = server.longshore_ok(&["ps"]);
    assert!(table.contains(id) && table.contains("waiting for capacity of the capacity provider burst"), "{table}");
    let why = server.longshore_ok(&["explain", &tasks[0]]);
    assert!(why.contains("waiting for capacity of the capacity provider burst"), "{why}");
    assert!(why.contains("longshore agent --capacity-provider burst"), "{why}");

    server.kill();
    server.spawn();
    // An agent that did not join for the provider is of no use to them.
    let _other = Agent::join(&server);
    assert_eq!(server.task(&tasks[1])["lastStatus"], "PROVISIONING");
    let made = server.longshore_ok(&["--output", "json", "token", "create"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let mut agent = Agent::new();
    // They are placed at once: the image has to be there.
    agent.import_busybox();
    let token = made["token"].as_str().unwrap();
    agent.spawn(&["--join", &server.endpoint, "--token", token, "--capacity-provider", "burst"]);
    for task in &tasks {
        let running = server.wait_task(task, "RUNNING");
        assert!(running["containerInstanceArn"].is_string(), "{running}");
        server.ecs(&["stop-task", "--task", task]);
        server.wait_task(task, "STOPPED");
    }
}
