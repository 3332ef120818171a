//! Killed agents, lost records, exits while nobody looked.

use std::time::Duration;

use longshore_runtime::sim::Program;

use super::*;

const RUNNING: ReportedStatus = ReportedStatus::Running;
const STOPPED: ReportedStatus = ReportedStatus::Stopped;

async fn running(forget: bool) -> (World, Task) {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::obeys());
    world.sim.add_image("side", Program::obeys());
    let task = task("a", vec![container("web"), after(sidecar("side"), "web", "START")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    if forget {
        world.kill_and_forget().await
    } else {
        world.kill().await
    }
    (world, task)
}

// spec: 11-015
#[tokio::test]
async fn a_killed_agent_takes_its_containers_over_and_restarts_none() {
    for forget in [false, true] {
        let (mut world, task) = running(forget).await;
        let calls = world.sim.calls();
        world.start().await;
        world.pass(30).await;
        assert_eq!(world.sim.calls(), calls);
        let view = world.registry.task(&task.arn).unwrap();
        assert!(view.containers.iter().all(|container| container.running));
        world.stop(&task).await;
        world.reported(&task, STOPPED).await;
        assert_eq!(world.sim.calls()[calls.len()..], ["stop side", "stop web"]);
    }
}

#[tokio::test]
async fn what_was_taken_is_not_reported_again() {
    let (mut world, task) = running(false).await;
    let before = world.history(&task);
    world.start().await;
    world.pass(30).await;
    assert_eq!(world.history(&task), before);
}

// spec: 10-010
#[tokio::test]
async fn the_instance_comes_back_under_its_own_arn() {
    let (mut world, _) = running(false).await;
    world.start().await;
    let registrations = world.plane.registrations();
    assert_eq!(registrations[0].container_instance_arn, None);
    assert_eq!(registrations[1].container_instance_arn.as_deref(), Some(crate::testing::INSTANCE));
}

#[tokio::test]
async fn an_exit_while_the_agent_was_away_is_reported_with_its_code() {
    for forget in [false, true] {
        let (mut world, task) = running(forget).await;
        world.sim.exit(&world.container(&task, "web").id, 9);
        world.pass(10).await;
        world.start().await;
        let report = world.reported(&task, STOPPED).await;
        let codes: Vec<_> = world.plane.reports().iter().flat_map(|report| report.containers.clone()).collect();
        let web = codes.iter().rev().find(|news| news.container_name == "web").unwrap();
        assert_eq!((web.status, web.exit_code), (STOPPED, Some(9)));
        assert!(report.execution_stopped_at.is_some());
    }
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_makes_every_container_once() {
    for millis in (0..1000).step_by(50) {
        let mut world = World::connected().await;
        for name in ["one", "two"] {
            let takes = Duration::from_millis(150);
            world.sim.add_image(name, Program { create_takes: takes, start_takes: takes, ..Program::obeys() });
        }
        let task = task("a", vec![container("one"), after(container("two"), "one", "START")]);
        world.send(vec![task.clone()]).await;
        world.seamed.pass(Duration::from_millis(millis)).await;
        world.kill().await;
        world.seamed.pass(Duration::from_millis(200)).await;
        world.start().await;
        world.reported(&task, RUNNING).await;
        assert_eq!(world.sim.containers().len(), 2, "killed after {millis} ms");
        let starts = world.sim.calls().iter().filter(|call| call.starts_with("start")).count();
        assert_eq!(starts, 2, "killed after {millis} ms: {:?}", world.sim.calls());
    }
}

#[tokio::test]
async fn a_stop_that_was_taken_is_carried_out_by_the_next_agent() {
    let mut world = World::connected().await;
    world.sim.add_image("slow", Program { on_stop: Some((Duration::from_secs(20), 0)), ..Program::default() });
    let task = task("a", vec![container("slow")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.stop(&task).await;
    world.pass(1).await;
    world.kill().await;
    world.start().await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
}

#[tokio::test]
async fn a_task_that_was_acknowledged_before_its_first_container_is_not_lost_with_the_power() {
    let mut world = World::connected().await;
    world.sim.add_remote_image("far", Program::obeys(), longshore_runtime::sim::Registry::Has(Duration::from_secs(60)));
    let task = task("a", vec![container("far")]);
    let message_id = world.send(vec![task.clone()]).await;
    let acked = |heard: &FromAgent| matches!(heard, FromAgent::Ack(ack) if ack.message_id == message_id);
    assert!(world.heard().iter().any(acked));
    let disk = world.seamed.disk.crash();
    world.kill().await;
    world.seamed = Seamed::with(world.clock.clone(), disk, 9);
    world.start().await;
    world.reported(&task, RUNNING).await;
}

#[tokio::test]
async fn a_report_that_was_not_taken_is_sent_by_the_next_agent() {
    let mut world = World::connected().await;
    world.sim.add_image("once", Program::exits(Duration::from_secs(1), 4));
    let task = task("a", vec![container("once")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.plane.set_down(true);
    world.pass(5).await;
    world.kill().await;
    world.plane.set_down(false);
    world.start().await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.containers[0].exit_code, Some(4));
}

#[tokio::test]
async fn the_cache_may_be_deleted() {
    let (mut world, task) = running(false).await;
    for path in world.seamed.seams.disk.list(std::path::Path::new("/d/agent")).unwrap() {
        world.seamed.seams.disk.remove(&std::path::Path::new("/d/agent").join(path)).unwrap();
    }
    let calls = world.sim.calls();
    world.start().await;
    world.pass(5).await;
    assert_eq!(world.sim.calls(), calls);
    assert!(world.registry.task(&task.arn).is_some());
    assert_eq!(world.plane.registrations()[1].container_instance_arn.as_deref(), Some(crate::testing::INSTANCE));
}
