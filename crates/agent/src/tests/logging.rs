//! Containers' output on its way to the log service.

use std::time::Duration;

use longshore_protocol::docker::LogConfig;
use longshore_runtime::sim::Program;

use super::*;

fn awslogs(container: Container, options: &[(&str, &str)]) -> Container {
    let config = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let log_config = Some(LogConfig { kind: "awslogs".into(), config });
    let host_config = HostConfig { log_config, ..HostConfig::default() };
    Container { docker_config: Some(DockerConfig::new(&Config::default(), &host_config, None)), ..container }
}

fn says(lines: &[&str]) -> Program {
    Program { output: lines.iter().map(|line| (*line).to_owned()).collect(), ..Program::obeys() }
}

// spec: 07-001, 07-013
#[tokio::test]
async fn awslogs_output_reaches_its_stream() {
    let mut world = World::connected().await;
    world.plane.add_group("g");
    world.sim.add_image("web", says(&["hello", "world"]));
    let options = [("awslogs-group", "g"), ("awslogs-region", "us-east-1"), ("awslogs-stream-prefix", "p")];
    let task = task("a", vec![awslogs(container("web"), &options)]);
    world.send(vec![task.clone()]).await;
    world.seamed.pass(Duration::from_millis(200)).await;
    assert_eq!(world.plane.lines("p/web/a"), ["hello", "world"]);
}

// spec: 07-009
#[tokio::test]
async fn a_group_is_made_when_the_task_asks_for_it() {
    let mut world = World::connected().await;
    world.sim.add_image("web", says(&["hello"]));
    let options = [("awslogs-group", "g"), ("awslogs-stream-prefix", "p"), ("awslogs-create-group", "true")];
    let task = task("a", vec![awslogs(container("web"), &options)]);
    world.send(vec![task]).await;
    world.seamed.run_until(|| world.plane.lines("p/web/a") == ["hello"]).await;
}

// spec: 07-006
#[tokio::test]
async fn a_missing_group_keeps_the_container_from_starting() {
    let mut world = World::connected().await;
    world.sim.add_image("web", says(&["hello"]));
    let task =
        task("a", vec![awslogs(container("web"), &[("awslogs-group", "nowhere"), ("awslogs-stream-prefix", "p")])]);
    world.send(vec![task.clone()]).await;
    let report = world.reported(&task, ReportedStatus::Stopped).await;
    let reason = report.containers[0].reason.clone().unwrap();
    assert!(reason.starts_with("CannotStartContainerError: ") && reason.contains("nowhere"), "{reason}");
    assert!(!world.sim.calls().contains(&"start web".to_owned()));
}

#[tokio::test]
async fn output_without_log_configuration_is_shipped_as_well() {
    let mut world = World::connected().await;
    world.sim.add_image("web", says(&["hello"]));
    let task = task("a", vec![container("web")]);
    world.send(vec![task]).await;
    world.seamed.run_until(|| world.plane.lines("f/web/a") == ["hello"]).await;
}

#[tokio::test]
async fn output_written_while_the_control_plane_is_away_comes_later_and_once() {
    let mut world = World::connected().await;
    world.sim.add_image("web", says(&["before"]));
    let task = task("a", vec![container("web")]);
    world.send(vec![task.clone()]).await;
    world.seamed.run_until(|| world.plane.lines("f/web/a") == ["before"]).await;
    world.plane.set_down(true);
    let id = world.container(&task, "web").id;
    for number in 0..20 {
        world.sim.write_line(&id, &format!("line {number}"));
        world.pass(1).await;
    }
    world.plane.set_down(false);
    let expected = || std::iter::once("before".to_owned()).chain((0..20).map(|number| format!("line {number}")));
    world.seamed.run_until(|| world.plane.lines("f/web/a").len() == 21).await;
    assert_eq!(world.plane.lines("f/web/a"), expected().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_killed_agent_goes_on_where_it_had_come_to() {
    let mut world = World::connected().await;
    world.sim.add_image("web", says(&["one"]));
    let task = task("a", vec![container("web")]);
    world.send(vec![task.clone()]).await;
    world.seamed.run_until(|| world.plane.lines("f/web/a") == ["one"]).await;
    world.pass(1).await;
    world.kill().await;
    world.sim.write_line(&world.container(&task, "web").id, "two");
    world.start().await;
    world.seamed.run_until(|| world.plane.lines("f/web/a").len() == 2).await;
    world.pass(5).await;
    assert_eq!(world.plane.lines("f/web/a"), ["one", "two"]);
}

#[tokio::test]
async fn a_container_is_kept_until_its_output_is_shipped() {
    let mut world = World::new();
    world.config.cleanup_wait = Duration::from_secs(1);
    world.start().await;
    world.sim.add_image("once", Program { output: vec!["last words".into()], ..Program::exits(Duration::ZERO, 0) });
    let task = task("a", vec![container("once")]);
    world.plane.set_logs_down(true);
    world.send(vec![task.clone()]).await;
    world.reported(&task, ReportedStatus::Stopped).await;
    world.pass(30).await;
    assert_eq!(world.sim.containers().len(), 1);
    world.plane.set_logs_down(false);
    world.seamed.run_until(|| world.sim.containers().is_empty()).await;
    assert_eq!(world.plane.lines("f/once/a"), ["last words"]);
}
