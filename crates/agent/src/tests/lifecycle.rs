//! What becomes of containers.

use std::time::Duration;

use longshore_protocol::task::{PortMapping, RestartPolicy};
use longshore_runtime::Health;
use longshore_runtime::sim::{Program, Registry};

use super::*;

const RUNNING: ReportedStatus = ReportedStatus::Running;
const STOPPED: ReportedStatus = ReportedStatus::Stopped;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

// spec: 01-005
#[tokio::test]
async fn a_task_runs_and_is_stopped_when_told() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program { on_stop: Some((Duration::ZERO, 7)), ..Program::default() });
    let web = Container {
        port_mappings: vec![PortMapping { container_port: 8080, protocol: "tcp".into(), ..PortMapping::default() }],
        ..container("web")
    };
    let task = task("a", vec![web]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, RUNNING).await;
    assert_eq!((report.cluster.as_str(), report.reason.as_str()), ("demo", ""));
    // An image that is here counts as pulled, too.
    assert!(report.pull_started_at.is_some() && report.pull_started_at <= report.pull_stopped_at);
    let news = &report.containers[0];
    assert_eq!(news.runtime_id.as_deref(), Some(world.container(&task, "web").id.as_str()));
    let binding = &news.network_bindings[0];
    assert_eq!((binding.container_port, binding.host_port, binding.bind_ip.as_str()), (8080, 32768, "0.0.0.0"));
    world.stop(&task).await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.containers[0].exit_code, Some(7));
    assert!(report.execution_stopped_at.is_some());
    assert_eq!(world.history(&task), ["RUNNING web:RUNNING", "STOPPED web:STOPPED=7"]);
    assert_eq!(world.sim.calls(), ["create web", "start web", "stop web"]);
}

#[tokio::test]
async fn a_container_that_ends_at_once_is_reported_running_first() {
    let mut world = World::connected().await;
    world.sim.add_image("once", Program::exits(Duration::ZERO, 3));
    let task = task("a", vec![container("once")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, STOPPED).await;
    assert_eq!(world.history(&task), ["RUNNING once:RUNNING", "STOPPED once:STOPPED=3"]);
}

// spec: 05-064
#[tokio::test]
async fn an_essential_containers_end_brings_down_the_others() {
    let mut world = World::connected().await;
    world.sim.add_image("main", Program::exits(secs(5), 1));
    world.sim.add_image("side", Program::obeys());
    let task = task("a", vec![container("main"), sidecar("side")]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.reason, "");
    assert_eq!(world.container(&task, "side").exit_code, Some(0));
}

// spec: 05-065
#[tokio::test]
async fn another_containers_end_leaves_the_task_running_and_is_reported_at_once() {
    let mut world = World::connected().await;
    world.sim.add_image("main", Program::obeys());
    world.sim.add_image("side", Program::exits(secs(5), 1));
    let task = task("a", vec![container("main"), sidecar("side")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.pass(6).await;
    assert_eq!(world.history(&task).last().unwrap(), "RUNNING side:STOPPED=1");
    assert!(world.container(&task, "main").exit_code.is_none());
}

#[tokio::test]
async fn without_an_essential_container_the_task_ends_when_all_have() {
    let mut world = World::connected().await;
    world.sim.add_image("a", Program::exits(secs(2), 0));
    world.sim.add_image("b", Program::exits(secs(4), 0));
    let task = task("t", vec![sidecar("a"), sidecar("b")]);
    world.send(vec![task.clone()]).await;
    world.pass(3).await;
    assert_eq!(world.plane.reports().last().unwrap().status, RUNNING);
    world.pass(2).await;
    assert_eq!(world.plane.reports().last().unwrap().status, STOPPED);
}

// spec: 05-123, 05-124, 26-025
#[tokio::test]
async fn a_container_that_ignores_the_stop_signal_is_killed_after_its_stop_timeout_or_30_s() {
    for (stop_timeout, after) in [(Some(7), 7), (None, 30)] {
        let mut world = World::connected().await;
        world.sim.add_image("deaf", Program::default());
        let task = task("a", vec![Container { stop_timeout, ..container("deaf") }]);
        world.send(vec![task.clone()]).await;
        world.reported(&task, RUNNING).await;
        world.stop(&task).await;
        world.pass(after - 1).await;
        assert_eq!(world.plane.reports().last().unwrap().status, RUNNING);
        world.pass(2).await;
        let report = world.reported(&task, STOPPED).await;
        assert_eq!(report.containers[0].exit_code, Some(137));
    }
}

// spec: 05-115, 05-117, 26-025
#[tokio::test]
async fn start_follows_dependencies_and_stop_goes_the_other_way() {
    let mut world = World::connected().await;
    for name in ["app", "db", "log"] {
        world.sim.add_image(name, Program { on_stop: Some((secs(1), 0)), ..Program::default() });
    }
    let app = after(container("app"), "db", "START");
    let db = after(container("db"), "log", "START");
    let task = task("a", vec![app, db, container("log")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.stop(&task).await;
    world.reported(&task, STOPPED).await;
    let expected = [
        "create log",
        "start log",
        "create db",
        "start db",
        "create app",
        "start app",
        "stop app",
        "stop db",
        "stop log",
    ];
    assert_eq!(world.sim.calls(), expected);
}

// spec: 05-118
#[tokio::test]
async fn complete_waits_for_any_exit_code() {
    let mut world = World::connected().await;
    world.sim.add_image("init", Program::exits(secs(3), 3));
    world.sim.add_image("app", Program::obeys());
    let task = task("a", vec![after(container("app"), "init", "COMPLETE"), sidecar("init")]);
    world.send(vec![task.clone()]).await;
    world.pass(2).await;
    assert_eq!(world.sim.calls(), ["create init", "start init"]);
    world.reported(&task, RUNNING).await;
    assert_eq!(world.sim.calls().last().unwrap(), "start app");
}

// spec: 05-119
#[tokio::test]
async fn success_that_does_not_come_stops_the_task() {
    let mut world = World::connected().await;
    world.sim.add_image("init", Program::exits(secs(1), 1));
    world.sim.add_image("app", Program::obeys());
    let task = task("a", vec![after(container("app"), "init", "SUCCESS"), sidecar("init")]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, STOPPED).await;
    let app = report.containers.iter().find(|news| news.container_name == "app").unwrap();
    assert!(app.reason.as_ref().unwrap().starts_with("TaskDependencyError: "), "{app:?}");
    assert!(!world.sim.calls().contains(&"create app".to_owned()));
    assert!(world.plane.reports().iter().all(|report| report.status != RUNNING));
}

// spec: 05-120
#[tokio::test]
async fn healthy_waits_for_the_check_and_only_at_the_start() {
    let mut world = World::connected().await;
    let health = vec![(secs(4), Health::Healthy), (secs(10), Health::Unhealthy)];
    world.sim.add_image("db", Program { health, ..Program::obeys() });
    world.sim.add_image("app", Program::obeys());
    let task = task("a", vec![after(container("app"), "db", "HEALTHY"), checked(container("db"))]);
    world.send(vec![task.clone()]).await;
    world.pass(3).await;
    assert_eq!(world.sim.calls(), ["create db", "start db"]);
    world.reported(&task, RUNNING).await;
    world.pass(10).await;
    assert_eq!(world.plane.reports().last().unwrap().status, RUNNING);
}

// spec: 05-121, 05-122, 26-025
#[tokio::test]
async fn a_dependency_that_takes_longer_than_its_start_timeout_stops_the_task() {
    for (start_timeout, after_secs) in [(Some(5), 5), (None, 180)] {
        let mut world = World::connected().await;
        world.sim.add_image("db", Program::obeys());
        world.sim.add_image("app", Program::obeys());
        let db = Container { start_timeout, ..checked(container("db")) };
        let task = task("a", vec![after(container("app"), "db", "HEALTHY"), db]);
        world.send(vec![task.clone()]).await;
        world.pass(after_secs - 1).await;
        assert!(world.plane.reports().iter().all(|report| report.status != STOPPED));
        world.pass(2).await;
        world.reported(&task, STOPPED).await;
        assert!(!world.sim.calls().contains(&"create app".to_owned()));
    }
}

#[tokio::test]
async fn a_cycle_of_dependencies_stops_the_task_with_the_reason() {
    let mut world = World::connected().await;
    let task = task("a", vec![after(container("x"), "y", "START"), after(container("y"), "x", "START")]);
    let message_id = world.send(vec![task.clone()]).await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.reason, format!("Task dependencies cannot be resolved, taskArn: {}", task.arn));
    let acked = |heard: &FromAgent| matches!(heard, FromAgent::Ack(ack) if ack.message_id == message_id);
    assert!(world.heard().iter().any(acked));
}

#[tokio::test]
async fn links_and_volumes_from_other_containers_name_them_by_id() {
    let mut world = World::connected().await;
    world.sim.add_image("db", Program::obeys());
    world.sim.add_image("app", Program::obeys());
    let from = longshore_protocol::task::VolumeFrom { source_container: "db".into(), read_only: true };
    let app = Container { links: vec!["db:store".into()], volumes_from: vec![from], ..container("app") };
    let task = task("a", vec![app, container("db")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    let db = world.container(&task, "db").id;
    let spec = world.sim.spec_of(&world.container(&task, "app").id).unwrap();
    assert_eq!(spec.links, [(db.clone(), "store".to_owned())]);
    assert_eq!(spec.volumes_from, [(db, true)]);
}

#[tokio::test]
async fn a_container_that_cannot_be_made_or_started_says_why() {
    let mut world = World::connected().await;
    world.sim.add_image("unmade", Program { create_error: Some("no".into()), ..Program::default() });
    world.sim.add_image("unstarted", Program { start_error: Some("not found".into()), ..Program::default() });
    for (name, reason) in
        [("unmade", "CannotCreateContainerError: no"), ("unstarted", "CannotStartContainerError: not found")]
    {
        let task = task(name, vec![container(name)]);
        world.send(vec![task.clone()]).await;
        let report = world.reported(&task, STOPPED).await;
        assert_eq!((report.containers[0].reason.as_deref(), report.containers[0].exit_code), (Some(reason), None));
        assert_eq!(report.reason, "");
    }
}

#[tokio::test]
async fn a_container_killed_for_memory_says_so() {
    let mut world = World::connected().await;
    world.sim.add_image("hog", Program { out_of_memory: true, ..Program::exits(secs(1), 137) });
    let task = task("a", vec![container("hog")]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, STOPPED).await;
    let reason = report.containers[0].reason.as_deref();
    assert_eq!(reason, Some("OutOfMemoryError: Container killed due to memory usage"));
    assert_eq!(report.containers[0].exit_code, Some(137));
}

#[tokio::test]
async fn a_missing_image_is_pulled_and_the_times_and_digest_are_reported() {
    let mut world = World::connected().await;
    world.sim.add_remote_image("far", Program::obeys(), Registry::Has(secs(2)));
    let task = task("a", vec![container("far")]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, RUNNING).await;
    assert_eq!(report.containers[0].image_digest.as_deref(), Some("sha256:digest-of-far"));
    let (from, to) = (report.pull_started_at.unwrap(), report.pull_stopped_at.unwrap());
    assert!(to.since(from) >= secs(2));
}

// spec: 12-043, 22-023
#[tokio::test]
async fn a_present_image_is_not_pulled() {
    let mut world = World::connected().await;
    world.sim.add_image("near", Program::obeys());
    let task = task("a", vec![container("near")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    assert_eq!(world.sim.calls(), ["create near", "start near"]);
}

#[tokio::test]
async fn a_pull_is_tried_a_bounded_number_of_times() {
    let mut world = World::connected().await;
    world.sim.add_remote_image("flaky", Program::obeys(), Registry::Fails(2, "timeout".into()));
    world.sim.add_remote_image("gone", Program::obeys(), Registry::Fails(100, "denied".into()));
    let (flaky, gone) = (task("a", vec![container("flaky")]), task("b", vec![container("gone")]));
    world.send(vec![flaky.clone(), gone.clone()]).await;
    world.reported(&flaky, RUNNING).await;
    let report = world.reported(&gone, STOPPED).await;
    assert_eq!(report.containers[0].reason.as_deref(), Some("CannotPullContainerError: denied"));
    assert_eq!(world.sim.calls().iter().filter(|call| *call == "pull gone").count(), 4);
}

// spec: 12-041, 12-040
#[tokio::test]
async fn pull_behaviors_differ_in_what_a_failed_pull_means() {
    use crate::PullBehavior;
    for (behavior, status) in [(PullBehavior::Default, RUNNING), (PullBehavior::Always, STOPPED)] {
        let mut world = World::new();
        world.config.pull_behavior = behavior;
        world.start().await;
        world.sim.add_image("i", Program::obeys());
        let task = task("a", vec![container("i")]);
        world.send(vec![task.clone()]).await;
        let report = world.reported(&task, status).await;
        assert!(report.containers[0].reason.as_ref().unwrap().starts_with("CannotPull"), "{report:?}");
    }
}

#[tokio::test]
async fn a_task_stopped_while_its_image_is_pulled_ends_at_once() {
    let mut world = World::connected().await;
    world.sim.add_remote_image("far", Program::obeys(), Registry::Has(secs(600)));
    let task = task("a", vec![container("far")]);
    world.send(vec![task.clone()]).await;
    world.pass(1).await;
    world.stop(&task).await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!((report.containers[0].exit_code, report.containers[0].runtime_id.as_deref()), (None, None));
    world.pass(700).await;
    assert_eq!(world.sim.calls(), ["pull far"]);
}

#[tokio::test]
async fn a_restart_policy_restarts_in_place_without_a_report() {
    let mut world = World::connected().await;
    world.sim.add_image("worker", Program::exits(secs(70), 1));
    let policy = RestartPolicy { enabled: true, restart_attempt_period: Some(60), ..RestartPolicy::default() };
    let task = task("a", vec![Container { restart_policy: Some(policy), ..container("worker") }]);
    world.send(vec![task.clone()]).await;
    world.pass(200).await;
    assert_eq!(world.history(&task), ["RUNNING worker:RUNNING"]);
    assert_eq!(world.sim.calls(), ["create worker", "start worker", "start worker", "start worker"]);
    assert_eq!(world.registry.task(&task.arn).unwrap().containers[0].restart_count, 2);
    world.acs = None;
    world.accept().await;
    world.stop(&task).await;
    world.reported(&task, STOPPED).await;
}

#[tokio::test]
async fn a_restart_policy_leaves_short_runs_and_ignored_exit_codes_alone() {
    let short = RestartPolicy { enabled: true, restart_attempt_period: Some(60), ..RestartPolicy::default() };
    let ignored = RestartPolicy { enabled: true, ignored_exit_codes: vec![3], restart_attempt_period: Some(1) };
    for policy in [short, ignored] {
        let mut world = World::connected().await;
        world.sim.add_image("worker", Program::exits(secs(30), 3));
        let task = task("a", vec![Container { restart_policy: Some(policy), ..container("worker") }]);
        world.send(vec![task.clone()]).await;
        world.reported(&task, STOPPED).await;
        assert_eq!(world.sim.calls(), ["create worker", "start worker"]);
    }
}

#[tokio::test]
async fn a_stop_and_a_start_that_takes_its_port_travel_together() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program { on_stop: Some((secs(2), 0)), ..Program::default() });
    let mapping = PortMapping { container_port: 80, host_port: 8080, ..PortMapping::default() };
    let web = Container { port_mappings: vec![mapping], ..container("web") };
    let (old, new) = (task("old", vec![web.clone()]), task("new", vec![web]));
    world.send(vec![old.clone()]).await;
    world.reported(&old, RUNNING).await;
    world.send(vec![new.clone(), Task { desired_status: "STOPPED".into(), ..old.clone() }]).await;
    let report = world.reported(&new, RUNNING).await;
    assert_eq!(report.containers[0].network_bindings[0].host_port, 8080);
}

#[tokio::test]
async fn a_task_larger_than_the_host_ends_with_the_numbers() {
    let mut world = World::connected().await;
    let task = Task { cpu: Some(64.0), ..task("a", vec![container("x")]) };
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, STOPPED).await;
    assert!(report.reason.contains("65536 CPU units"), "{}", report.reason);
}

#[tokio::test]
async fn a_stopped_task_is_cleaned_up_after_the_wait() {
    let mut world = World::new();
    world.config.cleanup_wait = secs(60);
    world.start().await;
    world.sim.add_image("once", Program::exits(secs(1), 0));
    let task = task("a", vec![container("once")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, STOPPED).await;
    world.pass(55).await;
    assert_eq!(world.sim.containers().len(), 1);
    world.pass(10).await;
    assert_eq!(world.sim.containers().len(), 0);
    // A replay does not start it again.
    world.send(vec![task.clone()]).await;
    world.pass(2).await;
    assert_eq!(world.sim.containers().len(), 0);
}

#[tokio::test]
async fn a_runtime_that_is_away_for_a_moment_fails_no_task() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::obeys());
    let task = task("a", vec![container("web")]);
    world.sim.set_down(true);
    world.send(vec![task.clone()]).await;
    world.pass(1).await;
    world.sim.set_down(false);
    world.reported(&task, RUNNING).await;
    world.sim.set_down(true);
    world.stop(&task).await;
    world.pass(60).await;
    world.sim.set_down(false);
    world.reported(&task, STOPPED).await;
}

#[tokio::test]
async fn an_exit_while_the_runtime_is_away_is_seen_when_it_is_back() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::exits(secs(5), 4));
    let task = task("a", vec![container("web")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.sim.set_down(true);
    world.pass(20).await;
    world.sim.set_down(false);
    world.reported(&task, STOPPED).await;
    assert_eq!(world.history(&task), ["RUNNING web:RUNNING", "STOPPED web:STOPPED=4"]);
}
