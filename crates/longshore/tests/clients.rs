//! boto3's own waiters and paginators, and our own command line.

mod support;

use serde_json::{Value, json};
use support::{IMAGE, Longshore, http_get, wait_for, without_repeats};

#[test]
fn boto3_waits_and_pages_with_its_own_waiters_and_paginators() {
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    let printed = longshore.python("waiters_and_paginators.py", &[IMAGE]);
    assert!(printed.ends_with("all well\n"), "{printed}");
}

// spec: 01-007
#[test]
fn boto3_raises_the_exceptions_of_the_model() {
    let longshore = Longshore::server();
    let printed = longshore.python("errors.py", &[]);
    assert!(printed.ends_with("all raised\n"), "{printed}");
}

#[test]
fn the_command_line_runs_shows_reads_and_stops() {
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    let data_dir = longshore.data_dir();
    let images =
        longshore.longshore_ok(&["image", "list", "--data-dir", data_dir.to_str().unwrap(), "--runtime", "oci"]);
    assert!(images.contains("busybox:test"), "{images}");

    let ran = longshore.longshore_ok(&[
        "--output",
        "json",
        "run",
        IMAGE,
        "--name",
        "cli",
        "-p",
        "8080",
        "-e",
        "WHO=me",
        "--",
        "sh",
        "-c",
        "echo one; echo two >/index.html; httpd -p 8080 -h /; trap 'exit 0' TERM; while :; do sleep 0.1; done",
    ]);
    let ran: Value = serde_json::from_str(&ran).unwrap();
    let id = ran["tasks"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ran["tasks"][0]["lastStatus"], "RUNNING");
    let host_port = ran["tasks"][0]["ports"].as_str().unwrap().split("->").next().unwrap().to_owned();
    let body = wait_for("the port to answer", || http_get(&format!("http://127.0.0.1:{host_port}/")));
    assert_eq!(body, "two\n");

    let shown = longshore.longshore_ok(&["ps"]);
    assert!(shown.contains(&id) && shown.contains("cli:1") && shown.contains("RUNNING"), "{shown}");
    let read =
        wait_for("the output", || Some(longshore.longshore_ok(&["logs", "cli"])).filter(|text| text.contains("one")));
    assert_eq!(without_repeats(read.lines()), ["one"]);
    let stopped = longshore.longshore_ok(&["--output", "json", "stop", &id[..12], "--reason", "enough"]);
    let stopped: Value = serde_json::from_str(&stopped).unwrap();
    assert_eq!(stopped["tasks"][0]["lastStatus"], "STOPPED");
    assert_eq!(stopped["tasks"][0]["stoppedReason"], "enough");
    assert_eq!(stopped["tasks"][0]["exitCodes"], json!([0]));
    let none = longshore.longshore(&["logs", "no-such-task"]);
    assert_eq!(none.status.code(), Some(3));
    let failed = longshore.longshore(&["run", "localhost:1/nothing:1"]);
    assert_eq!(failed.status.code(), Some(6), "{}", String::from_utf8_lossy(&failed.stderr));
}

#[test]
fn following_logs_ends_with_the_task() {
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.register("counts", "for n in 1 2 3; do echo line $n; sleep 0.3; done", json!({}));
    let task = longshore.run("counts");
    let shown = longshore.longshore_ok(&["logs", "--follow", &task]);
    assert_eq!(without_repeats(shown.lines()), ["line 1", "line 2", "line 3"]);
}

#[test]
fn the_demo_image_runs_without_anything_from_outside() {
    let longshore = Longshore::up("oci");
    longshore.wait_instance();
    let data_dir = longshore.data_dir();
    longshore.longshore_ok(&[
        "image",
        "import",
        "--demo",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--runtime",
        "oci",
    ]);
    let ran = longshore.longshore_ok(&["--output", "json", "run", "longshore/demo:latest", "-p", "8080"]);
    let ran: Value = serde_json::from_str(&ran).unwrap();
    let port = ran["tasks"][0]["ports"].as_str().unwrap().split("->").next().unwrap().to_owned();
    let body = wait_for("the demo to answer", || http_get(&format!("http://127.0.0.1:{port}/")));
    assert!(body.starts_with("Hello from Longshore."), "{body}");
}
