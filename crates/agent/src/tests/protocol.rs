//! What the agent says and hears on its connections.

use std::time::Duration;

use longshore_protocol::acs::{
    HeartbeatMessage, IamRoleCredentialsMessage, ROLE_TASK_APPLICATION, RoleCredentials, TaskIdentifier,
    TaskManifestMessage, TaskStopVerificationAck, UpdateMessage,
};
use longshore_protocol::tcs;
use longshore_runtime::Health;
use longshore_runtime::sim::Program;

use super::*;
use crate::plane::{Incoming, Outgoing};

const RUNNING: ReportedStatus = ReportedStatus::Running;
const STOPPED: ReportedStatus = ReportedStatus::Stopped;

fn acked(heard: &[FromAgent], message_id: &str) -> bool {
    heard.iter().any(|heard| matches!(heard, FromAgent::Ack(ack) if ack.message_id == message_id))
}

async fn one_task() -> (World, Task) {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::obeys());
    let task = task("a", vec![container("web")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.heard();
    (world, task)
}

#[tokio::test]
async fn heartbeats_are_answered() {
    let mut world = World::connected().await;
    world.say(&FromServer::Heartbeat(HeartbeatMessage { message_id: "h".into(), healthy: Some(true) })).await;
    assert!(matches!(&world.heard()[..], [FromAgent::HeartbeatAck(ack)] if ack.message_id == "h"));
}

#[tokio::test]
async fn a_payload_is_acknowledged_with_its_own_words() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::obeys());
    let message_id = world.send(vec![task("a", vec![container("web")])]).await;
    let heard = world.heard();
    let [FromAgent::Ack(ack)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((ack.cluster.as_str(), ack.container_instance.as_str()), (CLUSTER, crate::testing::INSTANCE));
    assert_eq!(ack.message_id, message_id);
}

#[tokio::test]
async fn a_repeated_payload_is_acknowledged_and_does_nothing() {
    let (mut world, task) = one_task().await;
    let message_id = world.send(vec![task.clone()]).await;
    assert!(acked(&world.heard(), &message_id));
    world.pass(5).await;
    assert_eq!(world.sim.calls(), ["create web", "start web"]);
    assert_eq!(world.history(&task).len(), 1);
}

#[tokio::test]
async fn stopped_wins_over_running_in_any_order() {
    let (mut world, task) = one_task().await;
    world.stop(&task).await;
    world.send(vec![task.clone()]).await;
    world.reported(&task, STOPPED).await;
    world.send(vec![task.clone()]).await;
    world.pass(5).await;
    assert_eq!(world.sim.calls(), ["create web", "start web", "stop web"]);
}

#[tokio::test]
async fn stopping_an_unknown_task_is_acknowledged_and_reported_stopped_without_exit_codes() {
    let mut world = World::connected().await;
    let task = task("a", vec![container("web")]);
    let message_id = world.send(vec![Task { desired_status: "STOPPED".into(), ..task.clone() }]).await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!((report.containers[0].exit_code, report.containers[0].runtime_id.as_deref()), (None, None));
    assert!(acked(&world.heard(), &message_id));
}

#[tokio::test]
async fn an_unreadable_task_is_reported_stopped_and_its_payload_not_acknowledged() {
    let mut world = World::connected().await;
    world.sim.add_image("web", Program::obeys());
    let good = task("good", vec![container("web")]);
    let bad = Task {
        containers: vec![Container {
            overrides: Some(longshore_protocol::JsonText(r#"{"cpu":1}"#.into())),
            ..container("web")
        }],
        ..task("bad", Vec::new())
    };
    let message_id = world.send(vec![bad.clone(), good.clone()]).await;
    let report = world.reported(&bad, STOPPED).await;
    assert!(report.reason.starts_with("UnrecogniedTaskError: Error loading task - "), "{}", report.reason);
    world.reported(&good, RUNNING).await;
    assert!(!acked(&world.heard(), &message_id));
}

#[tokio::test]
async fn a_payload_without_a_required_field_is_dropped() {
    let mut world = World::connected().await;
    let tasks = vec![PayloadTask::from(task("a", vec![container("web")]))];
    world.say(&FromServer::Payload(PayloadMessage { message_id: "m".into(), tasks, ..Default::default() })).await;
    assert!(world.heard().is_empty());
    assert!(world.plane.reports().is_empty());
}

#[tokio::test]
async fn numbers_neither_drop_nor_reorder_payloads_but_old_manifests_are_dropped() {
    let (mut world, task) = one_task().await;
    let manifest = |timeline: i64, tasks: Vec<TaskIdentifier>| {
        FromServer::TaskManifest(TaskManifestMessage {
            message_id: format!("man{timeline}"),
            cluster_arn: CLUSTER.into(),
            container_instance_arn: crate::testing::INSTANCE.into(),
            timeline: Some(timeline),
            tasks,
            ..Default::default()
        })
    };
    world.say(&manifest(1, Vec::new())).await;
    assert!(world.heard().is_empty(), "1 is not above the payload's 1");
    world.say(&manifest(100, Vec::new())).await;
    let heard = world.heard();
    assert!(acked(&heard, "man100"));
    let candidates = heard.iter().find_map(|heard| match heard {
        FromAgent::TaskStopVerification(message) => Some(message.stop_candidates.clone()),
        _ => None,
    });
    assert_eq!(candidates.unwrap()[0].task_arn, task.arn);
    // Named by the next manifest: no candidate.
    let named = TaskIdentifier {
        desired_status: "RUNNING".into(),
        task_arn: task.arn.clone(),
        task_cluster_arn: CLUSTER.into(),
    };
    world.say(&manifest(101, vec![named])).await;
    assert_eq!(world.heard().len(), 1);
    // A lower payload number is taken all the same.
    let other = super::task("b", vec![container("web")]);
    world.send(vec![other.clone()]).await;
    world.reported(&other, RUNNING).await;
    world.kill().await;
    world.start().await;
    world.say(&manifest(101, Vec::new())).await;
    assert!(world.heard().is_empty(), "the highest number is remembered");
}

#[tokio::test]
async fn a_stop_verification_counts_once_and_for_the_latest_manifest_only() {
    let (mut world, task) = one_task().await;
    let stop = TaskIdentifier { desired_status: "STOPPED".into(), task_arn: task.arn.clone(), ..Default::default() };
    let verdict = |message_id: &str| {
        FromServer::TaskStopVerificationAck(TaskStopVerificationAck {
            message_id: message_id.into(),
            generated_at: None,
            stop_tasks: vec![stop.clone()],
        })
    };
    let manifest = TaskManifestMessage { message_id: "man".into(), timeline: Some(9), ..Default::default() };
    world.say(&FromServer::TaskManifest(manifest)).await;
    world.say(&verdict("another")).await;
    world.pass(2).await;
    assert_eq!(world.sim.calls().len(), 2);
    world.say(&verdict("man")).await;
    world.reported(&task, STOPPED).await;
}

#[tokio::test]
async fn credentials_are_acknowledged_for_known_tasks_only() {
    let (mut world, task) = one_task().await;
    let message = |arn: &str, role: &str| {
        FromServer::IamRoleCredentials(IamRoleCredentialsMessage {
            message_id: "c".into(),
            task_arn: arn.into(),
            role_type: role.into(),
            role_credentials: Some(RoleCredentials {
                credentials_id: "cid".into(),
                expiration: "2030-01-01T00:00:00Z".into(),
                ..RoleCredentials::default()
            }),
            ..Default::default()
        })
    };
    world.say(&message("arn:unknown", ROLE_TASK_APPLICATION)).await;
    world.say(&message(&task.arn, "Other")).await;
    assert!(world.heard().is_empty());
    world.say(&message(&task.arn, ROLE_TASK_APPLICATION)).await;
    let heard = world.heard();
    let [FromAgent::IamRoleCredentialsAck(ack)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((ack.credentials_id.as_str(), ack.expiration.as_str()), ("cid", "2030-01-01T00:00:00Z"));
}

#[tokio::test]
async fn every_container_of_a_task_with_a_role_is_told_where_its_keys_are_also_by_the_next_agent() {
    for forget in [false, true] {
        let mut world = World::new();
        world.task_roles = true;
        world.start().await;
        let registered = world.plane.registrations().remove(0).attributes;
        let offered = |name: &str| registered.iter().any(|attribute| attribute.name == name);
        assert!(offered("com.amazonaws.ecs.capability.task-iam-role"));
        assert!(!offered("com.amazonaws.ecs.capability.task-iam-role-network-host"));
        let health = vec![(Duration::from_secs(60), Health::Healthy)];
        world.sim.add_image("web", Program { health, ..Program::obeys() });
        world.sim.add_image("side", Program::obeys());
        world.sim.add_image("late", Program::obeys());
        let late = after(container("late"), "web", "HEALTHY");
        let keys = RoleCredentials {
            credentials_id: "cid".into(),
            secret_access_key: "hush".into(),
            ..RoleCredentials::default()
        };
        let task =
            Task { role_credentials: Some(keys), ..task("a", vec![checked(container("web")), sidecar("side"), late]) };
        let message_id = world.send(vec![task.clone()]).await;
        let heard = world.heard();
        let acked = heard.iter().any(|message| {
            matches!(message, FromAgent::IamRoleCredentialsAck(ack)
                if ack.message_id == message_id && ack.credentials_id == "cid")
        });
        assert!(acked, "{heard:?}");
        let uri = |world: &World, name: &str| {
            let spec = world.sim.spec_of(&world.container(&task, name).id).unwrap();
            assert!(!format!("{spec:?}").contains("hush"));
            spec.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").cloned()
        };
        for name in ["web", "side"] {
            assert_eq!(uri(&world, name).as_deref(), Some("/v2/credentials/cid"), "{name}");
        }
        if forget {
            world.kill_and_forget().await;
        } else {
            world.kill().await;
        }
        world.start().await;
        world.reported(&task, RUNNING).await;
        assert_eq!(uri(&world, "late").as_deref(), Some("/v2/credentials/cid"), "{forget}");
    }
}

#[tokio::test]
async fn updates_are_refused() {
    let mut world = World::connected().await;
    world.say(&FromServer::StageUpdate(UpdateMessage { message_id: "s".into(), ..Default::default() })).await;
    assert!(matches!(&world.heard()[..], [FromAgent::Nack(nack)] if nack.reason == "Updates are disabled"));
}

#[tokio::test]
async fn the_first_connection_asks_for_credentials_and_later_ones_do_not() {
    let mut world = World::connected().await;
    world.acs = None;
    world.accept().await;
    let asked: Vec<bool> = world.plane.acs_queries().iter().map(|query| query.send_credentials).collect();
    assert_eq!(asked, [true, false]);
}

#[tokio::test]
async fn a_valid_close_is_followed_by_a_connection_at_once_and_another_after_a_while() {
    for (code, at_once) in [(1000, true), (1006, true), (1011, true), (1003, false)] {
        let mut world = World::connected().await;
        let peer = world.acs.take().unwrap();
        peer.to_agent.send(Incoming::Closed(code, "bye".into())).await.unwrap();
        world.seamed.settle().await;
        assert_eq!(world.plane.accept_acs().is_some(), at_once, "{code}");
        if !at_once {
            world.accept().await;
        }
    }
}

// spec: 10-079, 10-082
#[tokio::test]
async fn an_inactive_instance_waits_an_hour_and_its_containers_go_on() {
    let (mut world, _) = one_task().await;
    let peer = world.acs.take().unwrap();
    peer.to_agent.send(Incoming::Closed(1003, "InactiveInstanceException: gone".into())).await.unwrap();
    world.pass(3000).await;
    assert!(world.plane.accept_acs().is_none());
    assert_eq!(world.sim.calls(), ["create web", "start web"]);
    world.accept().await;
}

#[tokio::test]
async fn a_refused_handshake_with_the_exception_waits_as_well() {
    let mut world = World::new();
    world.plane.refuse_acs(r#"{"InactiveInstanceException": "gone"}"#);
    world.launch();
    world.pass(3000).await;
    assert_eq!(world.plane.acs_queries().len(), 1);
}

#[tokio::test]
async fn silence_drops_the_connection_and_heartbeats_keep_it() {
    let mut world = World::connected().await;
    for _ in 0..10 {
        world.pass(50).await;
        world.say(&FromServer::Heartbeat(HeartbeatMessage::default())).await;
    }
    assert!(world.plane.accept_acs().is_none());
    world.pass(59).await;
    assert!(world.plane.accept_acs().is_none());
    world.pass(62).await;
    assert!(world.plane.accept_acs().is_some());
}

#[tokio::test]
async fn a_connection_is_ended_after_half_an_hour() {
    let mut world = World::connected().await;
    for _ in 0..43 {
        world.pass(50).await;
        let peer = world.acs.as_mut().unwrap();
        let beat = FromServer::Heartbeat(HeartbeatMessage::default()).to_json();
        if peer.to_agent.send(Incoming::Text(beat)).await.is_err() {
            break;
        }
    }
    let closes: Vec<Outgoing> = std::iter::from_fn(|| world.acs.as_mut().unwrap().from_agent.try_recv().ok()).collect();
    let expired = Outgoing::Close(1000, "ConnectionExpired: Reconnect to continue".into());
    assert!(closes.contains(&expired));
    assert!(world.plane.accept_acs().is_some());
}

// spec: 22-022
#[tokio::test]
async fn work_goes_on_and_is_reported_after_the_control_plane_was_away() {
    let mut world = World::connected().await;
    world.sim.add_image("once", Program::exits(Duration::from_secs(100), 5));
    let task = task("a", vec![container("once")]);
    world.send(vec![task.clone()]).await;
    world.reported(&task, RUNNING).await;
    world.plane.set_down(true);
    world.acs = None;
    world.pass(600).await;
    world.plane.set_down(false);
    world.accept().await;
    let report = world.reported(&task, STOPPED).await;
    assert_eq!(report.containers[0].exit_code, Some(5));
    assert_eq!(world.history(&task), ["RUNNING once:RUNNING", "STOPPED once:STOPPED=5"]);
}

// spec: 12-004
#[tokio::test]
async fn an_unnamed_cluster_is_made_when_it_is_missing() {
    let mut world = World::new();
    world.config.cluster = None;
    world.plane.refuse_registration("ClientException", "Cluster not found.");
    world.start().await;
    assert_eq!(world.plane.clusters(), ["default"]);
    assert_eq!(world.plane.registrations().len(), 2);
}

// spec: 12-005
#[tokio::test]
async fn a_named_cluster_that_is_missing_ends_the_agent() {
    let mut world = World::new();
    world.plane.refuse_registration("ClientException", "Cluster not found.");
    world.launch();
    world.seamed.run_until(|| world.result.lock().unwrap().is_some()).await;
    let result = world.result.lock().unwrap().take().unwrap().unwrap_err();
    assert!(matches!(&result, AgentError::Registration { cluster, .. } if cluster == "demo"));
    assert_eq!(result.exit_status(), 5);
}

#[tokio::test]
async fn an_instance_that_was_forgotten_registers_anew() {
    let (mut world, _) = one_task().await;
    world.kill().await;
    world.plane.refuse_registration("ClientException", "The container instance is INACTIVE.");
    world.start().await;
    assert_eq!(world.plane.registrations().last().unwrap().container_instance_arn, None);
}

// spec: 10-007
#[tokio::test]
async fn an_instance_does_not_move_to_another_cluster() {
    let (mut world, _) = one_task().await;
    world.kill().await;
    world.config.cluster = Some("other".into());
    world.launch();
    world.seamed.run_until(|| world.result.lock().unwrap().is_some()).await;
    let result = world.result.lock().unwrap().take().unwrap();
    assert!(matches!(result, Err(AgentError::ClusterChanged { .. })));
}

#[tokio::test]
async fn a_token_becomes_keys_that_are_kept_and_rotated_before_they_end() {
    let mut world = World::new();
    world.config.cluster = None;
    world.config.credentials = CredentialSource::JoinToken("good".into());
    world.plane.let_keys_live(Duration::from_secs(3600));
    world.start().await;
    assert_eq!(world.plane.registrations()[0].cluster, "demo");
    assert_eq!(world.plane.keys().last().unwrap().access_key_id, "AKIA1");
    world.pass(2300).await;
    assert_eq!(world.plane.keys().len(), 1);
    world.pass(200).await;
    assert_eq!(world.plane.keys().last().unwrap().access_key_id, "AKIA2");
    world.kill().await;
    world.config.credentials = CredentialSource::Saved;
    world.start().await;
    assert_eq!(world.plane.keys().last().unwrap().access_key_id, "AKIA2");
}

#[tokio::test]
async fn a_bad_token_and_no_credentials_end_the_agent() {
    for source in [CredentialSource::JoinToken("bad".into()), CredentialSource::Saved] {
        let mut world = World::new();
        world.config.credentials = source;
        world.launch();
        world.seamed.run_until(|| world.result.lock().unwrap().is_some()).await;
        assert!(world.result.lock().unwrap().as_ref().unwrap().is_err());
    }
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_closes_its_connections_and_leaves_tasks_running() {
    let (mut world, task) = one_task().await;
    world.end();
    world.seamed.run_until(|| world.result.lock().unwrap().is_some()).await;
    assert!(world.result.lock().unwrap().as_ref().unwrap().is_ok());
    let peer = world.acs.as_mut().unwrap();
    assert!(matches!(peer.from_agent.try_recv(), Ok(Outgoing::Close(1000, _))));
    assert_eq!(world.container(&task, "web").exit_code, None);
    assert_eq!(world.sim.calls(), ["create web", "start web"]);
}

#[tokio::test]
async fn telemetry_begins_at_once_and_carries_metrics_every_20_s() {
    let (world, task) = one_task().await;
    let mut peer = world.plane.accept_tcs().unwrap();
    let parse = |text: String| tcs::FromAgent::parse(&text).unwrap();
    let first: Vec<tcs::FromAgent> = peer.texts().into_iter().map(parse).collect();
    assert!(
        matches!(&first[0], tcs::FromAgent::PublishMetrics(metrics) if metrics.metadata.as_ref().unwrap().idle == Some(true))
    );
    world.pass(41).await;
    let later: Vec<tcs::FromAgent> = peer.texts().into_iter().map(parse).collect();
    let metrics: Vec<_> = later
        .iter()
        .filter_map(|message| match message {
            tcs::FromAgent::PublishMetrics(metrics) => metrics.task_metrics.first(),
            _ => None,
        })
        .collect();
    assert_eq!(metrics.len(), 2);
    assert_eq!(metrics[1].task_arn, task.arn);
    let cpu = metrics[1].container_metrics[0].cpu_stats_set.clone().unwrap();
    // Half a core of two.
    assert!((cpu.max - 25.0).abs() < 0.5, "{cpu:?}");
    assert_eq!(metrics[1].container_metrics[0].memory_stats_set.as_ref().unwrap().max, 16.0);
    assert!(later.iter().any(
        |message| matches!(message, tcs::FromAgent::PublishInstanceStatus(status) if status.statuses[0].status == "OK")
    ));
}

// spec: 05-045
#[tokio::test]
async fn health_is_reported_at_once_when_it_changes_and_only_with_a_health_check_of_the_task_definition() {
    let mut world = World::connected().await;
    let health = vec![(Duration::from_millis(2500), Health::Healthy)];
    world.sim.add_image("web", Program { health, ..Program::obeys() });
    let with = task("with", vec![checked(container("web"))]);
    let without = task("without", vec![container("web")]);
    world.send(vec![with.clone(), without]).await;
    world.reported(&with, RUNNING).await;
    world.pass(1).await;
    let mut peer = world.plane.accept_tcs().unwrap();
    peer.texts();
    world.pass(2).await;
    let reports: Vec<_> = peer
        .texts()
        .into_iter()
        .filter_map(|text| match tcs::FromAgent::parse(&text).unwrap() {
            tcs::FromAgent::PublishHealth(health) => Some(health.tasks),
            _ => None,
        })
        .collect();
    let tasks = reports.last().expect("a report between the ticks");
    assert_eq!(tasks.len(), 1);
    assert_eq!(
        (tasks[0].task_arn.as_str(), tasks[0].containers[0].health_status.as_str()),
        (with.arn.as_str(), "HEALTHY")
    );
}

#[tokio::test]
async fn silent_telemetry_is_closed_and_opened_again_at_once() {
    let world = World::connected().await;
    let mut peer = world.plane.accept_tcs().unwrap();
    world.pass(121).await;
    let closes =
        std::iter::from_fn(|| peer.from_agent.try_recv().ok()).filter(|out| matches!(out, Outgoing::Close(1000, _)));
    assert_eq!(closes.count(), 1);
    assert!(world.plane.accept_tcs().is_some());
}
