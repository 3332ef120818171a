//! The gateway with an agent that is played by the test, over a socket in memory.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use longshore_protocol::acs::{
    AckRequest, FromAgent, FromServer, HeartbeatAckRequest, HeartbeatMessage, PayloadMessage, PayloadTask,
    TaskIdentifier, TaskManifestMessage, TaskStopVerificationMessage,
};
use longshore_protocol::query::AcsQuery;
use longshore_protocol::tcs::SignedFrame;
use longshore_protocol::{HEARTBEAT_INTERVAL, task::Task};
use longshore_wire::Upgrade;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::address::Address;
use super::{AcsPath, acs, tcs};
use crate::operations::testing::World;
use crate::operations::testing_instances::id_of;
use crate::reconcilers::{TaskDeadlines, TaskDeadlinesLimits, run_once};

const PATIENCE: Duration = Duration::from_secs(10);

#[path = "tests_roles.rs"]
mod roles;

struct Agent {
    socket: WebSocketStream<DuplexStream>,
}

fn query(instance: &Value) -> AcsQuery {
    AcsQuery {
        agent_hash: "a8b3e7d3".to_owned(),
        agent_version: "1.105.1".to_owned(),
        cluster: "default".to_owned(),
        container_instance_arn: instance.as_str().unwrap().to_owned(),
        docker_version: "20.10.24".to_owned(),
        protocol_version: 2,
        send_credentials: true,
    }
}

fn address(world: &World, instance: &Value) -> Address {
    Address::resolve(world.engine(), &world.context, instance.as_str().unwrap(), "default").unwrap()
}

impl Agent {
    /// Connects to ACS as the agent of `instance`.
    async fn connect(world: &World, instance: &Value) -> Self {
        Self::connect_with(world, instance, query(instance)).await
    }

    async fn connect_with(world: &World, instance: &Value, query: AcsQuery) -> Self {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (inner, address) = (world.service.gateway.inner.clone(), address(world, instance));
        let serve = async move { acs::serve(&inner, address, &query, there).await };
        world.engine().seams().spawner.spawn("acs", Box::pin(serve));
        Self { socket: WebSocketStream::from_raw_socket(here, Role::Client, None).await }
    }

    async fn telemetry(world: &World, instance: &Value) -> Self {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (inner, address) = (world.service.gateway.inner.clone(), address(world, instance));
        let serve = async move { tcs::serve(&inner, address, there).await };
        world.engine().seams().spawner.spawn("tcs", Box::pin(serve));
        Self { socket: WebSocketStream::from_raw_socket(here, Role::Client, None).await }
    }

    /// The next frame; `None` when the connection has ended without a close frame.
    async fn frame(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the gateway says something");
        next.and_then(Result::ok)
    }

    async fn hear(&mut self) -> FromServer {
        match self.frame().await {
            Some(Message::Text(text)) => FromServer::parse(text.as_str()).unwrap(),
            other => panic!("expected a message, found {other:?}"),
        }
    }

    async fn manifest(&mut self) -> TaskManifestMessage {
        match self.hear().await {
            FromServer::TaskManifest(manifest) => manifest,
            other => panic!("expected a manifest, found {other:?}"),
        }
    }

    async fn payload(&mut self) -> PayloadMessage {
        match self.hear().await {
            FromServer::Payload(payload) => payload,
            other => panic!("expected a payload, found {other:?}"),
        }
    }

    async fn say(&mut self, message: FromAgent) {
        self.socket.send(Message::text(message.to_json())).await.unwrap();
    }

    async fn acknowledge(&mut self, message_id: &str) {
        let ack = AckRequest { message_id: message_id.to_owned(), ..AckRequest::default() };
        self.say(FromAgent::Ack(ack)).await;
    }

    /// How the connection was closed.
    async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.frame().await {
                Some(Message::Close(frame)) => return frame,
                Some(_) => {}
                None => return None,
            }
        }
    }
}

fn tasks(payload: &PayloadMessage) -> Vec<Task> {
    let readable = payload.tasks.iter().map(|task| match task {
        PayloadTask::Task(task) => (**task).clone(),
        PayloadTask::Unreadable { error, .. } => panic!("{error}"),
    });
    readable.collect()
}

/// Waits until `holds` does.
async fn until(world: &World, holds: impl AsyncFn(&World) -> bool) {
    let wait = async {
        while !holds(world).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it becomes true");
}

async fn connected_is(world: &World, instance: &Value, expected: bool) {
    until(world, async |world| world.described(instance).await["agentConnected"] == json!(expected)).await;
}

async fn world_with_instance() -> (World, Value) {
    let world = World::with_default_cluster().await;
    let instance = world.registered(4000, 4000, &[]).await;
    (world, instance)
}

// spec: 10-008, 11-018
#[tokio::test]
async fn a_connection_marks_the_instance_connected_with_its_versions() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let described = world.described(&instance).await;
    assert_eq!(described["agentConnected"], json!(true));
    let versions =
        json!({"agentVersion": "1.105.1", "agentHash": "a8b3e7d3", "dockerVersion": "DockerVersion: 20.10.24"});
    assert_eq!(described["versionInfo"], versions);
    drop(agent);
    connected_is(&world, &instance, false).await;
}

#[tokio::test]
async fn a_task_is_told_at_once_and_told_once() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    world.family("web", 64, 32, json!({"command": ["sleep", "1"], "environment": [{"name": "A", "value": "b"}]})).await;
    let task = world.run("web").await;
    let payload = agent.payload().await;
    assert_eq!(payload.container_instance_arn, instance.as_str().unwrap());
    assert_eq!(payload.cluster_arn, world.arn("cluster/default"));
    let told = tasks(&payload);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].arn, task["taskArn"].as_str().unwrap());
    assert_eq!((told[0].desired_status.as_str(), told[0].version.as_str()), ("RUNNING", "1"));
    let main = &told[0].containers[0];
    assert!(main.essential);
    assert_eq!((main.cpu, main.memory), (Some(64), Some(32)));
    assert_eq!(main.environment["A"], "b");
    assert_eq!(main.docker_config.as_ref().unwrap().host_config().unwrap().network_mode, "bridge");
    assert_eq!(main.docker_config.as_ref().unwrap().version.as_deref(), Some("1.25"));
    agent.acknowledge(&payload.message_id).await;
    world.report(&task["taskArn"], "RUNNING", None).await;
    let second = world.run("web").await;
    assert_eq!(tasks(&agent.payload().await)[0].arn, second["taskArn"].as_str().unwrap());
}

// spec: 14-016, 14-018
#[tokio::test]
async fn overrides_are_merged_before_a_task_is_told() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let environment = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    world.family("web", 64, 32, json!({"environment": environment})).await;
    let changes = json!({
        "name": "main", "command": ["/bin/sh", "-c", "echo hi"], "environment": [{"name": "B", "value": "3"}],
        "memory": 99, "cpu": 7,
    });
    let run = json!({"taskDefinition": "web", "overrides": {"containerOverrides": [changes], "cpu": "512"}});
    world.ok("RunTask", run).await;
    let told = tasks(&agent.payload().await).remove(0);
    let main = &told.containers[0];
    assert_eq!(main.command.as_ref().unwrap(), &["/bin/sh", "-c", "echo hi"]);
    assert_eq!((main.cpu, main.memory, told.cpu), (Some(7), Some(99), Some(0.5)));
    assert_eq!((main.environment["A"].as_str(), main.environment["B"].as_str()), ("1", "3"));
    assert_eq!(main.overrides.as_ref().unwrap().0, "{}");
}

// spec: 14-110
#[tokio::test]
async fn a_stop_is_told_and_shows_once_it_is_acknowledged() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    world.family("web", 64, 32, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    agent.payload().await;
    world.report(&task, "RUNNING", None).await;
    world.ok("StopTask", json!({"task": task})).await;
    let payload = agent.payload().await;
    let told = tasks(&payload).remove(0);
    assert_eq!((told.desired_status.as_str(), told.containers.len()), ("STOPPED", 0));
    assert_eq!(world.task(&task).await["lastStatus"], "RUNNING");
    agent.acknowledge(&payload.message_id).await;
    until(&world, async |world| world.task(&task).await["lastStatus"] == "STOPPING").await;
    world.report(&task, "STOPPED", Some(137)).await;
    assert_eq!(world.task(&task).await["lastStatus"], "STOPPED");
}

#[tokio::test]
async fn a_new_connection_is_told_again_what_has_not_begun_and_what_has_not_ended() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    let first = agent.manifest().await;
    world.family("web", 64, 32, json!({})).await;
    let mut arns = Vec::new();
    for _ in 0..3 {
        arns.push(world.run("web").await["taskArn"].clone());
        let payload = agent.payload().await;
        agent.acknowledge(&payload.message_id).await;
    }
    // One runs, one is to stop, one is still pending.
    world.report(&arns[0], "RUNNING", None).await;
    world.report(&arns[1], "RUNNING", None).await;
    world.ok("StopTask", json!({"task": arns[1]})).await;
    let last = agent.payload().await;
    drop(agent);
    let mut agent = Agent::connect(&world, &instance).await;
    let manifest = agent.manifest().await;
    assert!(manifest.timeline > last.seq_num && last.seq_num > first.timeline, "numbers only rise");
    let listed: Vec<(&str, &str)> =
        manifest.tasks.iter().map(|task| (task.task_arn.as_str(), task.desired_status.as_str())).collect();
    for (arn, status) in arns.iter().zip(["RUNNING", "STOPPED", "RUNNING"]) {
        assert!(listed.contains(&(arn.as_str().unwrap(), status)), "{listed:?}");
    }
    let told = tasks(&agent.payload().await);
    let told: Vec<(&str, &str)> = told.iter().map(|task| (task.arn.as_str(), task.desired_status.as_str())).collect();
    assert_eq!(told, [(arns[1].as_str().unwrap(), "STOPPED"), (arns[2].as_str().unwrap(), "RUNNING")]);
}

#[tokio::test]
async fn a_stop_that_is_not_confirmed_is_told_again() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    world.family("web", 64, 32, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    agent.payload().await;
    world.ok("StopTask", json!({"task": task})).await;
    let payload = agent.payload().await;
    agent.acknowledge(&payload.message_id).await;
    let limits = TaskDeadlinesLimits::default();
    let deadlines = TaskDeadlines::new(world.engine().clone(), world.service.gateway.clone(), limits);
    world.clock.advance(limits.stopping + Duration::from_secs(1));
    run_once(&deadlines).await.unwrap();
    let again = loop {
        match agent.hear().await {
            FromServer::Payload(payload) => break tasks(&payload).remove(0),
            FromServer::Heartbeat(_) => {}
            other => panic!("expected a payload, found {other:?}"),
        }
    };
    assert_eq!((again.arn.as_str(), again.desired_status.as_str()), (task.as_str().unwrap(), "STOPPED"));
}

#[tokio::test]
async fn numbers_rise_across_a_restart_of_the_control_plane() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    let before = agent.manifest().await.timeline;
    let world = world.restarted().await;
    let mut agent = Agent::connect(&world, &instance).await;
    assert!(agent.manifest().await.timeline > before);
}

#[tokio::test]
async fn the_second_connection_of_an_instance_replaces_the_first() {
    let (world, instance) = world_with_instance().await;
    let mut first = Agent::connect(&world, &instance).await;
    first.manifest().await;
    let mut second = Agent::connect(&world, &instance).await;
    second.manifest().await;
    assert!(first.closed().await.is_some());
    world.family("web", 64, 32, json!({})).await;
    world.run("web").await;
    second.payload().await;
    assert_eq!(world.described(&instance).await["agentConnected"], json!(true));
}

#[tokio::test]
async fn only_what_is_really_not_to_run_is_confirmed_to_stop() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    let manifest = agent.manifest().await;
    world.family("web", 64, 32, json!({})).await;
    // Placed after the manifest was made: the agent does not find it there.
    let placed = world.run("web").await["taskArn"].as_str().unwrap().to_owned();
    agent.payload().await;
    let forgotten = world.arn("task/default/0123456789abcdef0123456789abcdef");
    let candidate = |arn: &str| TaskIdentifier { task_arn: arn.to_owned(), ..TaskIdentifier::default() };
    let stop_candidates = vec![candidate(&placed), candidate(&forgotten)];
    let ask = TaskStopVerificationMessage { message_id: manifest.message_id.clone(), stop_candidates };
    agent.say(FromAgent::TaskStopVerification(ask)).await;
    match agent.hear().await {
        FromServer::TaskStopVerificationAck(ack) => {
            assert_eq!(ack.message_id, manifest.message_id);
            let confirmed: Vec<&str> = ack.stop_tasks.iter().map(|task| task.task_arn.as_str()).collect();
            assert_eq!(confirmed, [forgotten.as_str()]);
        }
        other => panic!("expected a verification, found {other:?}"),
    }
}

#[tokio::test]
async fn heartbeats_come_and_an_agent_that_does_not_answer_is_disconnected() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let beat = async |agent: &mut Agent| {
        tokio::task::yield_now().await;
        world.clock.advance(HEARTBEAT_INTERVAL);
        match agent.hear().await {
            FromServer::Heartbeat(beat) => beat.message_id,
            other => panic!("expected a heartbeat, found {other:?}"),
        }
    };
    for _ in 0..2 {
        let message_id = beat(&mut agent).await;
        agent.say(FromAgent::HeartbeatAck(HeartbeatAckRequest { message_id })).await;
        // The answer is heard before the clock goes on.
        world.family("web", 64, 32, json!({})).await;
        world.run("web").await;
        agent.payload().await;
    }
    beat(&mut agent).await;
    tokio::task::yield_now().await;
    world.clock.advance(HEARTBEAT_INTERVAL);
    agent.closed().await;
    connected_is(&world, &instance, false).await;
}

// spec: 10-013
#[tokio::test]
async fn deregistration_closes_the_connection_and_refuses_the_next() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": instance})).await;
    let close = agent.closed().await.expect("a close frame");
    assert_eq!(u16::from(close.code), 1003);
    assert!(close.reason.as_str().contains("InactiveInstanceException"));
    let pairs = [("containerInstanceArn".to_owned(), instance.as_str().unwrap().to_owned())];
    let path = AcsPath(world.service.gateway.clone());
    let refused = path.accept(&world.context, &pairs).unwrap_err();
    assert_eq!((refused.code, refused.status), ("InactiveInstanceException", 400));
    let unknown = [("containerInstanceArn".to_owned(), world.arn("container-instance/default/x"))];
    assert_eq!(path.accept(&world.context, &unknown).unwrap_err().code, "InvalidInstanceException");
}

#[tokio::test]
async fn many_tasks_travel_in_payloads_of_twenty() {
    let (world, instance) = world_with_instance().await;
    world.connect(&instance, true).await;
    world.family("web", 1, 4, json!({})).await;
    for _ in 0..5 {
        world.ok("RunTask", json!({"taskDefinition": "web", "count": 10})).await;
    }
    let mut agent = Agent::connect(&world, &instance).await;
    assert_eq!(agent.manifest().await.tasks.len(), 50);
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(agent.payload().await.tasks.len());
    }
    assert_eq!(counts, [20, 20, 10]);
}

#[tokio::test]
async fn frames_that_can_not_be_read_are_dropped() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    for text in ["", "{", r#"{"type": "Nonsense", "message": {}}"#, r#"{"type": "AckRequest", "message": 7}"#] {
        agent.socket.send(Message::text(text)).await.unwrap();
    }
    world.family("web", 64, 32, json!({})).await;
    world.run("web").await;
    agent.payload().await;
}

fn signed(kind: &str, message: &Value) -> Message {
    let headers = vec![("Host".to_owned(), "h".to_owned())];
    let json = json!({"type": kind, "message": message}).to_string();
    Message::text(SignedFrame { headers, json }.to_text())
}

async fn acknowledged(agent: &mut Agent) -> String {
    match agent.frame().await {
        Some(Message::Text(text)) => {
            serde_json::from_str::<Value>(text.as_str()).unwrap()["type"].as_str().unwrap().to_owned()
        }
        other => panic!("expected an acknowledgement, found {other:?}"),
    }
}

// spec: 05-046, 05-047
#[tokio::test]
async fn health_comes_by_telemetry() {
    let (world, instance) = world_with_instance().await;
    world.connect(&instance, true).await;
    world.family("web", 64, 32, json!({"healthCheck": {"command": ["CMD-SHELL", "true"]}})).await;
    let task = world.run("web").await["taskArn"].clone();
    assert_eq!(world.task(&task).await["containers"][0]["healthStatus"], "UNKNOWN");
    let mut agent = Agent::telemetry(&world, &instance).await;
    for status in ["HEALTHY", "UNHEALTHY"] {
        let container = json!({"containerName": "main", "healthStatus": status, "statusSince": 1_700_000_000.5});
        let health = json!({"tasks": [{"taskArn": task, "containers": [container]}]});
        agent.socket.send(signed("PublishHealthRequest", &health)).await.unwrap();
        assert_eq!(acknowledged(&mut agent).await, "AckPublishHealth");
        let described = world.task(&task).await;
        assert_eq!(
            (&described["healthStatus"], &described["containers"][0]["healthStatus"]),
            (&json!(status), &json!(status))
        );
    }
}

#[tokio::test]
async fn metrics_are_kept_as_long_as_their_task_runs() {
    let (world, instance) = world_with_instance().await;
    world.connect(&instance, true).await;
    world.family("web", 64, 32, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    let mut agent = Agent::telemetry(&world, &instance).await;
    let unknown = world.arn("task/default/0123456789abcdef0123456789abcdef");
    let metrics = json!({"taskMetrics": [{"taskArn": task}, {"taskArn": unknown}]});
    agent.socket.send(signed("PublishMetricsRequest", &metrics)).await.unwrap();
    assert_eq!(acknowledged(&mut agent).await, "AckPublishMetric");
    let gateway = &world.service.gateway;
    assert!(gateway.metrics(id_of(&task)).is_some());
    assert!(gateway.metrics(id_of(&json!(unknown))).is_none());
    world.report(&task, "STOPPED", Some(0)).await;
    assert!(gateway.metrics(id_of(&task)).is_none());
}

#[tokio::test]
async fn the_state_of_the_container_runtime_shows_on_the_instance() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::telemetry(&world, &instance).await;
    let check = json!({"type": "ContainerRuntime", "status": "IMPAIRED", "lastUpdated": 1_700_000_000.25});
    agent.socket.send(signed("PublishInstanceStatusRequest", &json!({"statuses": [check]}))).await.unwrap();
    assert_eq!(acknowledged(&mut agent).await, "AckPublishInstanceStatus");
    let health = world.described(&instance).await["healthStatus"].clone();
    let details = json!([{"type": "CONTAINER_RUNTIME", "status": "IMPAIRED", "lastUpdated": 1_700_000_000.25}]);
    assert_eq!(health, json!({"overallStatus": "IMPAIRED", "details": details}));
}

#[tokio::test]
async fn telemetry_connections_are_kept_alive() {
    let (world, instance) = world_with_instance().await;
    let mut agent = Agent::telemetry(&world, &instance).await;
    tokio::task::yield_now().await;
    world.clock.advance(HEARTBEAT_INTERVAL);
    assert_eq!(acknowledged(&mut agent).await, "HeartbeatMessage");
}
