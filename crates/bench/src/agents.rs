//! Simulated agents: thousands of container instances in one process, which run no container.
//!
//! Each speaks the agent protocol as an agent does, with keys of its own: JoinAgent, RegisterContainerInstance,
//! DiscoverPollEndpoint, a WebSocket to ACS, SubmitTaskStateChange. A task is RUNNING as soon as a payload brings it,
//! and STOPPED as soon as one says so. Telemetry is off.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use longshore_api::{ecs, longshore};
use longshore_client::{Client, ClientError, Credentials, Options, Received, WebSocketSender};
use longshore_protocol::acs::{AckRequest, FromAgent, FromServer, HeartbeatAckRequest, PayloadTask};
use longshore_protocol::query::AcsQuery;
use longshore_protocol::task::Task;
use longshore_runtime::RuntimeInfo;
use longshore_seams::Seams;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::api::REGION;
use crate::process::{KEY, SECRET};

/// Calls of all agents at a time: as many as the client keeps connections.
const CALLS: usize = 32;
/// Agents that join at a time.
const JOINING: usize = 32;
/// Before a call that was throttled is made again.
const AGAIN: Duration = Duration::from_millis(50);
/// Zones that the instances are in, in turn.
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
/// Docker API versions of the machines.
const DOCKER_API_VERSIONS: [&str; 9] = ["1.17", "1.18", "1.19", "1.20", "1.21", "1.24", "1.25", "1.29", "1.44"];

/// What the agents do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many there are.
    pub agents: usize,
    /// Tasks are taken and never reported: they stay PENDING.
    pub hold: bool,
}

/// The agents' process. Dropping it ends it.
#[derive(Debug)]
pub struct Fleet {
    child: Child,
    /// The process ends when it is closed.
    _stdin: ChildStdin,
}

impl Fleet {
    /// Starts a process of agents for the server at `endpoint`; answers when all are connected.
    ///
    /// # Errors
    /// An agent could not join.
    pub fn start(load: Load, endpoint: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--agents", &load.agents.to_string(), "--join", endpoint]);
        if load.hold {
            command.arg("--hold");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("the agents' process has no input")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the agents' process has no output")?).read_line(&mut line)?;
        let fleet = Self { child, _stdin: stdin };
        if line.is_empty() { Err("the agents did not connect".into()) } else { Ok(fleet) }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether all agents are still at work.
    ///
    /// # Errors
    /// The process has ended: an agent failed.
    pub fn check(&mut self) -> Result {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the agents' process ended with {status}").into()),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agents' process: says `connected` on its output, and ends with its input.
///
/// # Errors
/// An agent can't join, or a call of it is refused.
pub async fn run(load: Load, endpoint: &str, seams: &Seams) -> Result {
    let root = Credentials { access_key_id: KEY.to_owned(), secret_access_key: SECRET.to_owned(), session_token: None };
    let client = Client::new(Options::new(endpoint, REGION), Arc::new(root), seams.clone())?;
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut agents = JoinSet::new();
    let mut joining = futures_util::stream::iter(0..load.agents)
        .map(|number| Agent::join(&client, calls.clone(), number, load.hold, seams))
        .buffer_unordered(JOINING);
    while let Some(joined) = joining.next().await {
        let (agent, connection) = joined?;
        agents.spawn(agent.serve(connection));
    }
    drop(joining);
    println!("connected");
    std::io::stdout().flush()?;
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        _ = input => Ok(()),
        Some(ended) = agents.join_next() => ended?,
    }
}

/// One of them.
struct Agent {
    client: Client,
    calls: Arc<Semaphore>,
    instance: String,
    hold: bool,
    seams: Seams,
}

type Connection = (WebSocketSender, longshore_client::WebSocketReceiver);

impl Agent {
    async fn join(
        root: &Client,
        calls: Arc<Semaphore>,
        number: usize,
        hold: bool,
        seams: &Seams,
    ) -> Result<(Self, Connection)> {
        let token: longshore::CreateJoinTokenResponse =
            root.call(&longshore::MODEL, "CreateJoinToken", &longshore::CreateJoinTokenRequest::default()).await?;
        let request = longshore::JoinAgentRequest { token: token.token };
        let joined: longshore::JoinAgentResponse = root.call(&longshore::MODEL, "JoinAgent", &request).await?;
        let keys = joined.credentials.unwrap_or_default();
        let client = root.with_credentials(Arc::new(Credentials {
            access_key_id: keys.access_key_id.unwrap_or_default(),
            secret_access_key: keys.secret_access_key.unwrap_or_default(),
            session_token: keys.session_token,
        }));
        let registered: ecs::RegisterContainerInstanceResponse =
            client.call(&ecs::MODEL, "RegisterContainerInstance", &registration(number)).await?;
        let instance = registered.container_instance.and_then(|it| it.container_instance_arn).unwrap_or_default();
        let request = ecs::DiscoverPollEndpointRequest {
            container_instance: Some(instance.clone()),
            ..ecs::DiscoverPollEndpointRequest::default()
        };
        let found: ecs::DiscoverPollEndpointResponse =
            client.call(&ecs::MODEL, "DiscoverPollEndpoint", &request).await?;
        let query = AcsQuery {
            agent_version: "1.0.0".to_owned(),
            cluster: "default".to_owned(),
            container_instance_arn: instance.clone(),
            protocol_version: 2,
            ..AcsQuery::default()
        };
        let query: Vec<(String, String)> =
            query.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let url = format!("{}/ws", found.endpoint.unwrap_or_default().trim_end_matches('/'));
        let socket = client.connect_websocket(&url, &query, "ecs").await?;
        Ok((Self { client, calls, instance, hold, seams: seams.clone() }, socket.split()))
    }

    async fn serve(self, (mut sender, mut receiver): Connection) -> Result {
        let mut reports = FuturesUnordered::new();
        loop {
            let text = tokio::select! {
                biased;
                Some(reported) = reports.next(), if !reports.is_empty() => {
                    reported?;
                    continue;
                }
                received = receiver.next() => match received? {
                    Received::Text(text) => text,
                    Received::Closed { code, reason } => {
                        return Err(format!("the connection of {} was closed: {code} {reason}", self.instance).into());
                    }
                },
            };
            match FromServer::parse(&text)? {
                FromServer::Heartbeat(beat) => {
                    let ack = HeartbeatAckRequest { message_id: beat.message_id };
                    sender.text(FromAgent::HeartbeatAck(ack).to_json()).await?;
                }
                FromServer::TaskManifest(manifest) => self.acknowledge(&mut sender, manifest.message_id).await?,
                FromServer::Payload(payload) => {
                    self.acknowledge(&mut sender, payload.message_id).await?;
                    for task in payload.tasks {
                        match task {
                            PayloadTask::Task(task) if !self.hold => reports.push(self.report(*task)),
                            PayloadTask::Task(_) => {}
                            PayloadTask::Unreadable { error, .. } => return Err(error.into()),
                        }
                    }
                }
                _ => {}
            }
        }
    }

    async fn acknowledge(&self, sender: &mut WebSocketSender, message_id: String) -> Result {
        let ack = AckRequest { cluster: "default".to_owned(), container_instance: self.instance.clone(), message_id };
        Ok(sender.text(FromAgent::Ack(ack).to_json()).await?)
    }

    /// Reports that a task is what it is to be, until the report is taken.
    async fn report(&self, task: Task) -> Result {
        let now = self.seams.clock.now();
        let stopped = task.desired_status == "STOPPED";
        let container = |container: longshore_protocol::task::Container| ecs::ContainerStateChange {
            container_name: Some(container.name),
            runtime_id: Some(self.seams.random.uuid()),
            exit_code: stopped.then_some(0),
            status: Some(task.desired_status.clone()),
            ..ecs::ContainerStateChange::default()
        };
        let report = ecs::SubmitTaskStateChangeRequest {
            cluster: Some("default".to_owned()),
            task: Some(task.arn),
            containers: Some(task.containers.into_iter().map(container).collect()),
            pull_started_at: Some(now),
            pull_stopped_at: Some(now),
            execution_stopped_at: stopped.then_some(now),
            status: Some(task.desired_status),
            ..ecs::SubmitTaskStateChangeRequest::default()
        };
        loop {
            let sent: std::result::Result<ecs::SubmitTaskStateChangeResponse, ClientError> = {
                let _place = self.calls.acquire().await;
                self.client.call(&ecs::MODEL, "SubmitTaskStateChange", &report).await
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() => self.seams.clock.sleep(AGAIN).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn registration(number: usize) -> ecs::RegisterContainerInstanceRequest {
    let attribute = |name: &str, value: Option<&str>| ecs::Attribute {
        name: Some(name.to_owned()),
        value: value.map(str::to_owned),
        ..ecs::Attribute::default()
    };
    let runtime = RuntimeInfo {
        name: "docker",
        version: String::new(),
        docker_api_versions: DOCKER_API_VERSIONS.map(str::to_owned).into(),
        log_drivers: Vec::new(),
    };
    let mut attributes: Vec<ecs::Attribute> =
        longshore_agent::capabilities(&runtime).iter().map(|name| attribute(name, None)).collect();
    attributes.push(attribute("ecs.os-type", Some("linux")));
    attributes.push(attribute("ecs.os-family", Some("LINUX")));
    attributes.push(attribute("ecs.cpu-architecture", Some("x86_64")));
    attributes.push(attribute("ecs.availability-zone", Some(ZONES[number % ZONES.len()])));
    let amount = |name: &str, amount| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(amount),
        ..ecs::Resource::default()
    };
    let ports = |name: &str, ports: &[&str]| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(ports.iter().map(|port| (*port).to_owned()).collect()),
        ..ecs::Resource::default()
    };
    ecs::RegisterContainerInstanceRequest {
        attributes: Some(attributes),
        total_resources: Some(vec![
            amount("CPU", 96 * 1024),
            amount("MEMORY", 384 * 1024),
            ports("PORTS", &["22", "2375", "2376", "51678", "51679"]),
            ports("PORTS_UDP", &[]),
        ]),
        version_info: Some(ecs::VersionInfo { agent_version: Some("1.0.0".to_owned()), ..ecs::VersionInfo::default() }),
        ..ecs::RegisterContainerInstanceRequest::default()
    }
}
