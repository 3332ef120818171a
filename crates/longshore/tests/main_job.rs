//! The main job with the plain aws CLI, on each runtime: run a container, reach it, read it, stop it.

mod support;

use serde_json::json;
use support::{Longshore, http_get, wait_for, without_repeats};

/// A web server that answers with a greeting and ends with 7 when it is asked to stop.
const WEB: &str = "mkdir /www; echo \"hello from $WHO\" >/www/index.html; httpd -p 8080 -h /www; echo serving; \
                   trap 'echo asked to stop; exit 7' TERM; while :; do sleep 0.1; done";

fn main_job(runtime: &'static str) {
    let longshore = Longshore::up(runtime);
    longshore.import_busybox();
    let created = longshore.ecs(&["create-cluster", "--cluster-name", "demo"]);
    assert_eq!(created["cluster"]["status"], "ACTIVE");
    longshore.wait_instance();

    let more = json!({
        "environment": [{"name": "WHO", "value": "longshore"}],
        "portMappings": [{"containerPort": 8080}],
    });
    let definition = longshore.register("web", WEB, more);
    assert!(definition.ends_with(":task-definition/web:1"), "{definition}");
    let task = longshore.run("web");
    let running = longshore.wait_task(&task, "RUNNING");
    assert_eq!(running["desiredStatus"], "RUNNING");
    assert_eq!(running["launchType"], "EC2");
    assert_eq!(running["group"], "family:web");
    assert!(running["startedAt"].is_number() && running["createdAt"].is_number());
    let container = &running["containers"][0];
    assert_eq!(container["lastStatus"], "RUNNING");
    let binding = &container["networkBindings"][0];
    assert_eq!((&binding["containerPort"], &binding["protocol"]), (&json!(8080), &json!("tcp")));
    let port = binding["hostPort"].as_u64().unwrap();
    assert!((32768..=60999).contains(&port), "{port}");

    let body = wait_for("the port to answer", || http_get(&format!("http://127.0.0.1:{port}/")));
    assert_eq!(body, "hello from longshore\n");

    let id = task.rsplit('/').next().unwrap();
    let stream = format!("web/main/{id}");
    let read = || {
        let events = [
            "logs",
            "get-log-events",
            "--log-group-name",
            "/longshore/default",
            "--log-stream-name",
            &stream,
            "--start-from-head",
        ];
        let events = longshore.try_aws(&events).ok()?;
        let messages = events["events"].as_array()?.iter().map(|event| event["message"].clone());
        Some(messages.collect::<Vec<_>>())
    };
    wait_for("the first line in the logs", || read().filter(|lines| lines.contains(&json!("serving"))));

    let stopping = longshore.ecs(&["stop-task", "--task", &task, "--reason", "the test is over"]);
    assert_eq!(stopping["task"]["desiredStatus"], "STOPPED");
    let stopped = longshore.wait_task(&task, "STOPPED");
    assert_eq!(stopped["stoppedReason"], "the test is over");
    assert_eq!(stopped["stopCode"], "UserInitiated");
    assert_eq!(stopped["containers"][0]["exitCode"], 7);
    for time in ["stoppingAt", "stoppedAt", "executionStoppedAt"] {
        assert!(stopped[time].is_number(), "{time}: {stopped}");
    }
    let lines =
        wait_for("the last line in the logs", || read().filter(|lines| lines.contains(&json!("asked to stop"))));
    assert_eq!(without_repeats(lines), [json!("serving"), json!("asked to stop")]);
    let groups = longshore.aws(&["logs", "describe-log-groups"]);
    assert_eq!(groups["logGroups"][0]["logGroupName"], "/longshore/default");
    let streams = longshore.aws(&["logs", "describe-log-streams", "--log-group-name", "/longshore/default"]);
    assert_eq!(streams["logStreams"][0]["logStreamName"], stream);
    let filtered = longshore.aws(&[
        "logs",
        "filter-log-events",
        "--log-group-name",
        "/longshore/default",
        "--filter-pattern",
        "asked",
    ]);
    assert_eq!(filtered["events"][0]["message"], "asked to stop");
    let filtered = without_repeats(filtered["events"].as_array().unwrap().iter().map(|event| &event["message"]));
    assert_eq!(filtered.len(), 1);
    assert!(http_get(&format!("http://127.0.0.1:{port}/")).is_none(), "the port still answers");
}

// spec: 03-002, 08-041
#[test]
fn the_main_job_runs_on_the_embedded_runtime() {
    main_job("oci");
}

#[test]
fn the_main_job_runs_on_docker() {
    main_job("docker");
}

fn how_tasks_end(runtime: &'static str) {
    let longshore = Longshore::up(runtime);
    longshore.import_busybox();
    longshore.wait_instance();

    longshore.register("ends", "exit 3", json!({}));
    let stopped = longshore.wait_task(&longshore.run("ends"), "STOPPED");
    assert_eq!(stopped["stopCode"], "EssentialContainerExited");
    assert_eq!(stopped["stoppedReason"], "Essential container in task exited");
    assert_eq!(stopped["containers"][0]["exitCode"], 3);
    assert!(stopped["startedAt"].is_number());

    longshore.register("cannot-start", "", json!({"command": ["/no/such/program"]}));
    let stopped = longshore.wait_task(&longshore.run("cannot-start"), "STOPPED");
    assert_eq!(stopped["stopCode"], "TaskFailedToStart");
    let reason = stopped["containers"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("CannotStartContainerError:"), "{stopped}");
    assert!(stopped["startedAt"].is_null(), "{stopped}");

    longshore.register("no-image", "", json!({"image": "localhost:1/no/such/image:1"}));
    let stopped = longshore.wait_task(&longshore.run("no-image"), "STOPPED");
    assert_eq!(stopped["stopCode"], "TaskFailedToStart");
    let reason = stopped["containers"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("CannotPullContainerError: "), "{stopped}");

    longshore.register("obeys-nothing", "trap '' TERM; while :; do sleep 0.1; done", json!({"stopTimeout": 2}));
    let task = longshore.run("obeys-nothing");
    longshore.wait_task(&task, "RUNNING");
    longshore.ecs(&["stop-task", "--task", &task]);
    let stopped = longshore.wait_task(&task, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 137);
    assert_eq!(stopped["stoppedReason"], "Task stopped by user");

    longshore.register("eats-memory", "head -c 200m /dev/zero | tail", json!({"memory": 16}));
    let stopped = longshore.wait_task(&longshore.run("eats-memory"), "STOPPED");
    let container = &stopped["containers"][0];
    assert_eq!(container["exitCode"], 137, "{stopped}");
    assert!(container["reason"].as_str().unwrap_or_default().starts_with("OutOfMemoryError"), "{stopped}");
}

// spec: 24-054, 17-063
#[test]
fn a_tasks_end_is_told_with_its_reason_on_the_embedded_runtime() {
    how_tasks_end("oci");
}

#[test]
fn a_tasks_end_is_told_with_its_reason_on_docker() {
    how_tasks_end("docker");
}
