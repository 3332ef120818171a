//! kill -9 of anything at any moment: nothing acknowledged is lost, no container is doubled, restarted or orphaned.

mod support;

use serde_json::{Value, json};
use std::fs;
use support::{Longshore, http_get, wait_for, without_repeats};

/// Says at its start who it is, then waits; a restart would say so a second time.
const SCRIPT: &str =
    "cat /proc/sys/kernel/random/uuid >/www; httpd -p 8080 -h / ; trap 'exit 5' TERM; while :; do sleep 0.1; done";

struct Running {
    task: String,
    port: u64,
    uuid: String,
    runtime_id: Value,
}

fn start(longshore: &Longshore) -> Running {
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.register("survivor", SCRIPT, json!({"portMappings": [{"containerPort": 8080}]}));
    let task = longshore.run("survivor");
    let running = longshore.wait_task(&task, "RUNNING");
    let container = &running["containers"][0];
    let port = container["networkBindings"][0]["hostPort"].as_u64().unwrap();
    let uuid = wait_for("the port to answer", || http_get(&format!("http://127.0.0.1:{port}/www")));
    Running { task, port, uuid, runtime_id: container["runtimeId"].clone() }
}

fn still_the_same(longshore: &Longshore, running: &Running) {
    let uuid = wait_for("the port to answer", || http_get(&format!("http://127.0.0.1:{}/www", running.port)));
    assert_eq!(uuid, running.uuid, "the container was restarted");
    longshore.wait_instance();
    let task = longshore.task(&running.task);
    assert_eq!(task["lastStatus"], "RUNNING", "{task}");
    assert_eq!(task["containers"][0]["runtimeId"], running.runtime_id);
    let listed = longshore.ecs(&["list-tasks"]);
    assert_eq!(listed["taskArns"], json!([running.task]), "nothing else runs");
    let instances = longshore.ecs(&["list-container-instances"]);
    assert_eq!(instances["containerInstanceArns"].as_array().unwrap().len(), 1, "the instance is the same one");
}

fn survives_kill(runtime: &'static str) {
    let mut longshore = Longshore::up(runtime);
    let running = start(&longshore);

    longshore.kill();
    let alone = http_get(&format!("http://127.0.0.1:{}/www", running.port));
    assert_eq!(alone.as_deref(), Some(running.uuid.as_str()), "the port answers while nothing of ours runs");
    longshore.spawn();
    still_the_same(&longshore, &running);

    longshore.kill();
    fs::remove_dir_all(longshore.data_dir().join("agent")).unwrap();
    longshore.spawn();
    still_the_same(&longshore, &running);

    assert!(longshore.terminate().success());
    longshore.spawn();
    still_the_same(&longshore, &running);

    longshore.ecs(&["stop-task", "--task", &running.task]);
    let stopped = longshore.wait_task(&running.task, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 5);
}

#[test]
fn tasks_outlive_kill_9_and_a_lost_cache_on_the_embedded_runtime() {
    survives_kill("oci");
}

#[test]
fn tasks_outlive_kill_9_and_a_lost_cache_on_docker() {
    survives_kill("docker");
}

fn exits_while_away(runtime: &'static str) {
    let mut longshore = Longshore::up(runtime);
    longshore.import_busybox();
    longshore.wait_instance();
    let flag = longshore.home().join("flag");
    fs::create_dir(&flag).unwrap();
    let script = "until [ -e /flag/go ]; do sleep 0.05; done; echo last words; exit 9";
    let containers = json!([{
        "name": "main", "image": support::IMAGE, "memory": 64, "command": ["sh", "-c", script],
        "mountPoints": [{"sourceVolume": "flag", "containerPath": "/flag"}],
    }]);
    let volumes = json!([{"name": "flag", "host": {"sourcePath": flag}}]);
    longshore.ecs(&[
        "register-task-definition",
        "--family",
        "leaves",
        "--container-definitions",
        &containers.to_string(),
        "--volumes",
        &volumes.to_string(),
    ]);
    let task = longshore.run("leaves");
    let running = longshore.wait_task(&task, "RUNNING");
    longshore.kill();
    fs::write(flag.join("go"), "").unwrap();
    let pid_gone = || !processes_with("until [ -e /flag/go ]");
    wait_for("the container to end", || pid_gone().then_some(()));
    longshore.spawn();
    let stopped = longshore.wait_task(&task, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 9, "{stopped}");
    assert_eq!(stopped["stopCode"], "EssentialContainerExited");
    assert_eq!(stopped["containers"][0]["runtimeId"], running["containers"][0]["runtimeId"]);
    let told = |kind: &str| {
        let text = longshore.longshore_ok(&["--output", "json", "events", "--type", kind]);
        text.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap())
    };
    let of_task = wait_for("the event of the task", || {
        told("task").filter(|event| event["resources"] == json!([task]) && event["detail"]["lastStatus"] == "STOPPED")
    });
    assert_eq!(of_task["detail"]["containers"][0]["exitCode"], 9);
    wait_for("the event of the instance that has its resources back", || {
        told("container-instance").filter(|event| {
            let detail = &event["detail"];
            detail["agentConnected"] == true && detail["remainingResources"] == detail["registeredResources"]
        })
    });
    let id = task.rsplit('/').next().unwrap();
    let shown = wait_for("the last words", || {
        let shown = longshore.longshore_ok(&["logs", id]);
        shown.contains("last words").then_some(shown)
    });
    assert_eq!(without_repeats(shown.lines()), ["last words"]);
}

fn processes_with(text: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .any(|line| line.starts_with("sh -c") && line.contains(text))
}

// spec: 19-045, 19-057
#[test]
fn an_exit_while_everything_is_down_is_told_afterwards_on_the_embedded_runtime() {
    exits_while_away("oci");
}

// spec: 19-045, 19-057
#[test]
fn an_exit_while_everything_is_down_is_told_afterwards_on_docker() {
    exits_while_away("docker");
}
