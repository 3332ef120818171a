//! Events through `longshore events`, and Spot capacity that is taken back by `longshore fargate reclaim`.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{BIN, IMAGE, Longshore, lines, require_root, wait_for};

/// `longshore events --follow`, ended on drop.
struct Following(Child);

impl Following {
    fn start(longshore: &Longshore, arguments: &[&str]) -> Self {
        let mut command = Command::new(BIN);
        command.args(["--output", "json", "events", "--follow"]).args(arguments).stdout(Stdio::piped());
        Self(longshore.client_env(&mut command).spawn().unwrap())
    }

    fn events(&mut self) -> impl Iterator<Item = Value> {
        lines(self.0.stdout.take().unwrap()).map(|line| serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listed(longshore: &Longshore, arguments: &[&str]) -> Vec<Value> {
    let text = longshore.longshore_ok(&[&["--output", "json", "events"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// spec: 19-036
#[test]
fn events_are_followed_live_and_listed_afterwards() {
    require_root();
    let mut longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.register("ends", "exit 3", json!({}));
    let mut following = Following::start(&longshore, &["--cluster", "default", "--type", "task"]);
    let task = longshore.run("ends");
    let mut seen = Vec::new();
    for event in following.events() {
        assert_eq!(event["detail-type"], "ECS Task State Change");
        if event["resources"] == json!([task]) {
            seen.push(event);
        }
        if seen.last().is_some_and(|event| event["detail"]["lastStatus"] == "STOPPED") {
            break;
        }
    }
    assert_eq!(seen[0]["detail"]["lastStatus"], "PENDING");
    assert_eq!(seen.last().unwrap()["detail"]["containers"][0]["exitCode"], 3);
    let versions: Vec<i64> = seen.iter().map(|event| event["detail"]["version"].as_i64().unwrap()).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    drop(following);

    longshore.ecs(&["create-service", "--service-name", "none", "--task-definition", "ends", "--desired-count", "0"]);
    for (kind, detail_type) in [
        ("task", "ECS Task State Change"),
        ("container-instance", "ECS Container Instance State Change"),
        ("service", "ECS Service Action"),
        ("deployment", "ECS Deployment State Change"),
    ] {
        let events = wait_for(detail_type, || {
            let events = listed(&longshore, &["--type", kind]);
            (!events.is_empty()).then_some(events)
        });
        assert!(events.iter().all(|event| event["detail-type"] == detail_type), "{kind}");
    }
    // They outlive the process; other regions have none of them.
    let all = listed(&longshore, &[]);
    longshore.kill();
    longshore.spawn();
    let again = listed(&longshore, &["--since", "1h"]);
    assert_eq!(again[..all.len()], all[..]);
    assert_eq!(listed(&longshore, &["--region", "eu-west-3"]), Vec::<Value>::new());
    let table = longshore.longshore_ok(&["events", "--type", "task"]);
    let id = task.rsplit('/').next().unwrap();
    assert!(table.contains(&format!("task/default/{id} STOPPED Essential container in task exited")), "{table}");
}

fn register(longshore: &Longshore, family: &str, containers: &Value) {
    let containers = containers.to_string();
    let network = ["--requires-compatibilities", "FARGATE", "--network-mode", "awsvpc", "--cpu", "256"];
    let definition = ["register-task-definition", "--family", family, "--container-definitions", &containers];
    longshore.ecs(&[&definition[..], &network, &["--memory", "512"]].concat());
}

fn run_on(longshore: &Longshore, provider: &str, family: &str) -> String {
    let strategy = format!("capacityProvider={provider},weight=1");
    let run = longshore.ecs(&[
        "run-task",
        "--task-definition",
        family,
        "--capacity-provider-strategy",
        &strategy,
        "--network-configuration",
        "awsvpcConfiguration={subnets=[subnet-1]}",
    ]);
    assert_eq!(run["failures"], json!([]), "{run}");
    run["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

fn with_fargate() -> Longshore {
    require_root();
    let longshore = Longshore::up("oci");
    longshore.import_busybox();
    longshore.wait_instance();
    longshore.ecs(&[
        "put-cluster-capacity-providers",
        "--cluster",
        "default",
        "--capacity-providers",
        "FARGATE",
        "FARGATE_SPOT",
        "--default-capacity-provider-strategy",
    ]);
    longshore
}

// spec: 02-044, 03-087, 03-089
#[test]
fn reclaimed_spot_capacity_gives_notice_sigterm_and_the_stop_timeout() {
    let longshore = with_fargate();
    let container = |name: &str, script: &str, timeout: i32| {
        let command = ["sh", "-c", script];
        json!({"name": name, "image": IMAGE, "command": command, "stopTimeout": timeout})
    };
    let clean = container("clean", "trap 'echo told to go; exit 9' TERM; echo up; while :; do sleep 0.1; done", 60);
    let deaf = container("deaf", "trap '' TERM; echo up; while :; do sleep 0.1; done", 2);
    register(&longshore, "spot", &json!([clean, deaf]));
    let spot = run_on(&longshore, "FARGATE_SPOT", "spot");
    let on_demand = run_on(&longshore, "FARGATE", "spot");
    for task in [&spot, &on_demand] {
        longshore.wait_task(task, "RUNNING");
    }
    let output = || longshore.longshore_ok(&["logs", &spot]);
    wait_for("both containers to be up", || (output().matches("up").count() == 2).then_some(()));
    let reclaimed = longshore.longshore_ok(&["--output", "json", "fargate", "reclaim", "--count", "2"]);
    assert_eq!(serde_json::from_str::<Value>(&reclaimed).unwrap(), json!({"taskArns": [spot]}));
    let stopped = longshore.wait_task(&spot, "STOPPED");
    assert_eq!(stopped["stopCode"], "TerminationNotice");
    assert_eq!(stopped["stoppedReason"], "Your Spot Task was interrupted.");
    let exit = |name: &str| {
        let containers = stopped["containers"].as_array().unwrap();
        containers.iter().find(|container| container["name"] == name).unwrap()["exitCode"].clone()
    };
    assert_eq!((exit("clean"), exit("deaf")), (json!(9), json!(137)));
    let (notice, end) = (stopped["stoppingAt"].as_f64().unwrap(), stopped["stoppedAt"].as_f64().unwrap());
    assert!((2.0..120.0).contains(&(end - notice)), "{stopped}");
    wait_for("what the container said at its end", || output().contains("told to go").then_some(()));
    let warned = wait_for("the warning", || {
        let events = listed(&longshore, &["--type", "task"]);
        events
            .into_iter()
            .find(|event| event["resources"] == json!([spot]) && event["detail"]["desiredStatus"] == "STOPPED")
    });
    assert_eq!(warned["detail"]["lastStatus"], "RUNNING");
    assert_eq!(warned["detail"]["stopCode"], "TerminationNotice");
    assert_eq!(longshore.task(&on_demand)["lastStatus"], "RUNNING");
}

/// A process of this host whose command line contains `marker`.
fn process(marker: &str) -> u32 {
    wait_for(marker, || {
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            line.contains(marker).then_some(pid)
        })
    })
}

/// The nearest control group around a process that limits `controller`, and its limit.
fn limit(groups: &str, controller: &str) -> (PathBuf, String) {
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?.to_owned(), fields.next()?.trim_start_matches('/').to_owned());
        controllers.split(',').any(|it| it == controller).then(|| (Path::new("/sys/fs/cgroup").join(controller), path))
    };
    let unified = || {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        (PathBuf::from("/sys/fs/cgroup"), path.to_owned())
    };
    let (root, path) = groups.lines().find_map(of).unwrap_or_else(unified);
    let files = match controller {
        "cpu" => ["cpu.max", "cpu.cfs_quota_us"],
        _ => ["memory.max", "memory.limit_in_bytes"],
    };
    // Version 1 writes "none" as -1, or as more than there can be.
    let limits = |text: &str| !text.starts_with("max") && !text.starts_with('-') && text.len() < 16;
    let found = Path::new(&path).ancestors().find_map(|group| {
        let read = |file: &&str| std::fs::read_to_string(root.join(group).join(file)).ok();
        let text = files.iter().find_map(read)?.trim().to_owned();
        limits(&text).then(|| (group.to_owned(), text))
    });
    found.unwrap_or_else(|| panic!("{controller} is not limited: {groups}"))
}

// spec: 01-004, 02-002
#[test]
fn fargate_tasks_share_neither_namespaces_nor_limits_nor_addresses() {
    let longshore = with_fargate();
    let mut seen = Vec::new();
    for name in ["fargate-isolation-one", "fargate-isolation-two"] {
        let script = format!(": {name}; trap 'exit 0' TERM; while :; do sleep 0.1; done");
        register(&longshore, name, &json!([{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}]));
        let task = run_on(&longshore, "FARGATE", name);
        let task = longshore.wait_task(&task, "RUNNING");
        let pid = process(name);
        let namespace = |kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let namespaces = ["net", "pid", "ipc", "mnt", "uts"].map(namespace);
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let limits = [limit(&groups, "cpu"), limit(&groups, "memory")];
        let amounts = [limits[0].1.as_str(), limits[1].1.as_str()];
        assert!(["25000 100000", "25000"].contains(&amounts[0]) && amounts[1] == "536870912", "{limits:?}");
        let address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].clone();
        assert!(address.is_string(), "{task}");
        seen.push((namespaces, limits, address));
    }
    let (one, two) = (&seen[0], &seen[1]);
    assert!(one.0.iter().zip(&two.0).all(|(one, two)| one != two), "{seen:?}");
    assert!(one.1.iter().zip(&two.1).all(|(one, two)| one != two), "{seen:?}");
    assert_ne!(one.2, two.2);
}
