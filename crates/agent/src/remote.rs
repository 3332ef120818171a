//! The real [`ControlPlane`]: signed calls and WebSockets to an endpoint.

use std::sync::{Arc, PoisonError, RwLock};

use longshore_api::{ServiceModel, Shape, ecs, logs, longshore};
use longshore_client::{Client, ClientError, Credentials, Options, Received, RotatingCredentials, WebSocket};
use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_protocol::tcs::SignedFrame;
use longshore_seams::{BoxFuture, Seams};
use tokio::sync::mpsc;

use crate::plane::{
    AgentCredentials, Attribute, CallError, CallResult, ConnectError, Connection, ContainerStateChange, ControlPlane,
    Endpoints, Incoming, InstanceRegistration, Joined, LogEvent, LogStreamName, Outgoing, RegisteredInstance, Resource,
    TaskStateChange,
};

/// Messages that may wait on a connection, each way.
const QUEUE: usize = 64;
/// Close code of a connection that was cut.
const CUT: u16 = 1006;
/// Service name that connections are signed for.
const SERVICE: &str = "ecs";

/// The control plane behind an endpoint.
#[derive(Debug)]
pub struct RemoteControlPlane {
    client: RwLock<Client>,
    credentials: Arc<RotatingCredentials>,
    seams: Seams,
}

impl RemoteControlPlane {
    /// The control plane at `options.endpoint`; it has no credentials before [`ControlPlane::use_credentials`].
    ///
    /// # Errors
    /// An endpoint that is no URL, certificate authorities that cannot be read.
    pub fn new(options: Options, seams: Seams) -> Result<Self, ClientError> {
        let credentials = Arc::new(RotatingCredentials::default());
        let client = RwLock::new(Client::new(options, credentials.clone(), seams.clone())?);
        Ok(Self { client, credentials, seams })
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call<I: Shape, O: Shape>(&self, model: &ServiceModel, operation: &'static str, input: I) -> CallResult<O> {
        self.client().call(model, operation, &input).await.map_err(|error| call_error(operation, &error))
    }

    /// The client for a log service that may be in another region.
    fn logs(&self, region: Option<&str>) -> Client {
        let client = self.client();
        match region {
            Some(region) if region != client.region() => client.in_region(region),
            _ => client,
        }
    }

    async fn connect(
        &self,
        endpoint: &str,
        query: Vec<(&'static str, String)>,
        signed_frames: bool,
    ) -> Result<Connection, ConnectError> {
        let url = format!("{}/ws", endpoint.trim_end_matches('/'));
        let query: Vec<(String, String)> = query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let client = self.client();
        let socket = client.connect_websocket(&url, &query, SERVICE).await.map_err(connect_error)?;
        let signer = signed_frames.then(|| FrameSigner { client, url, query });
        Ok(self.pump(socket, signer))
    }

    /// Moves messages between the socket and the connection's queues, until either end is gone.
    fn pump(&self, socket: WebSocket, signer: Option<FrameSigner>) -> Connection {
        let (mut sender, mut receiver) = socket.split();
        let (outgoing, mut to_send) = mpsc::channel(QUEUE);
        let (received, incoming) = mpsc::channel(QUEUE);
        // Held by the sending half: a connection that is dropped ends the receiving half as well, and so is cut.
        let (alive, mut dropped) = mpsc::channel::<()>(1);
        let send = async move {
            let _alive = alive;
            while let Some(message) = to_send.recv().await {
                let result = match message {
                    Outgoing::Text(text) => {
                        match signer.as_ref().map_or(Ok(text.clone()), |signer| signer.frame(&text)) {
                            Ok(text) => sender.text(text).await,
                            Err(error) => Err(error),
                        }
                    }
                    Outgoing::Close(code, reason) => {
                        let closed = sender.close(code, &reason).await;
                        if let Err(error) = closed {
                            tracing::debug!(%error, "close frame not sent");
                        }
                        return;
                    }
                };
                if let Err(error) = result {
                    tracing::debug!(%error, "message not sent");
                    return;
                }
            }
        };
        let receive = async move {
            loop {
                let next = tokio::select! {
                    next = receiver.next() => next,
                    _ = dropped.recv() => return,
                };
                let (message, over) = match next {
                    Ok(Received::Text(text)) => (Incoming::Text(text), false),
                    Ok(Received::Closed { code, reason }) => (Incoming::Closed(code, reason), true),
                    Err(error) => (Incoming::Closed(CUT, error.to_string()), true),
                };
                if received.send(message).await.is_err() || over {
                    return;
                }
            }
        };
        self.seams.spawner.spawn("websocket sender", Box::pin(send));
        self.seams.spawner.spawn("websocket receiver", Box::pin(receive));
        Connection { outgoing, incoming }
    }
}

struct FrameSigner {
    client: Client,
    url: String,
    query: Vec<(String, String)>,
}

impl FrameSigner {
    fn frame(&self, json: &str) -> Result<String, ClientError> {
        let headers = self.client.sign_frame(&self.url, &self.query, json.as_bytes(), SERVICE)?;
        Ok(SignedFrame { headers, json: json.to_owned() }.to_text())
    }
}

fn call_error(operation: &'static str, error: &ClientError) -> CallError {
    match error {
        ClientError::Service { code, message, .. } if error.is_transient() => {
            CallError::Busy { operation, code: code.clone(), message: message.clone() }
        }
        ClientError::Service { code, message, .. } => {
            CallError::Refused { operation, code: code.clone(), message: message.clone() }
        }
        error => CallError::Unreachable { operation, message: error.to_string() },
    }
}

fn connect_error(error: ClientError) -> ConnectError {
    match error {
        ClientError::Handshake { status, body, .. } => ConnectError::Refused { status, body },
        error => ConnectError::Unreachable(error.to_string()),
    }
}

fn misunderstood(operation: &'static str, missing: &str) -> CallError {
    CallError::Unreachable { operation, message: format!("the answer has no {missing}") }
}

fn keys(operation: &'static str, credentials: Option<longshore::AgentCredentials>) -> CallResult<AgentCredentials> {
    let credentials = credentials.ok_or_else(|| misunderstood(operation, "credentials"))?;
    Ok(AgentCredentials {
        access_key_id: credentials.access_key_id.ok_or_else(|| misunderstood(operation, "accessKeyId"))?,
        secret_access_key: credentials.secret_access_key.ok_or_else(|| misunderstood(operation, "secretAccessKey"))?,
        session_token: credentials.session_token,
        expiration: credentials.expiration,
    })
}

fn registration(registration: InstanceRegistration) -> ecs::RegisterContainerInstanceRequest {
    let attribute = |attribute: Attribute| ecs::Attribute {
        name: Some(attribute.name),
        value: attribute.value,
        ..ecs::Attribute::default()
    };
    let resource = |resource: Resource| match resource {
        Resource::Integer(name, value) => ecs::Resource {
            name: Some(name.to_owned()),
            r#type: Some("INTEGER".to_owned()),
            integer_value: Some(value),
            ..ecs::Resource::default()
        },
        Resource::StringSet(name, values) => ecs::Resource {
            name: Some(name.to_owned()),
            r#type: Some("STRINGSET".to_owned()),
            string_set_value: Some(values),
            ..ecs::Resource::default()
        },
    };
    let tags: Vec<ecs::Tag> =
        registration.tags.into_iter().map(|(key, value)| ecs::Tag { key: Some(key), value: Some(value) }).collect();
    ecs::RegisterContainerInstanceRequest {
        cluster: Some(registration.cluster),
        container_instance_arn: registration.container_instance_arn,
        attributes: Some(registration.attributes.into_iter().map(attribute).collect()),
        total_resources: Some(registration.total_resources.into_iter().map(resource).collect()),
        tags: (!tags.is_empty()).then_some(tags),
        version_info: Some(ecs::VersionInfo {
            agent_version: Some(registration.agent_version),
            agent_hash: Some(registration.agent_hash),
            docker_version: Some(format!("DockerVersion: {}", registration.docker_version)),
        }),
        ..ecs::RegisterContainerInstanceRequest::default()
    }
}

fn container_change(change: ContainerStateChange) -> ecs::ContainerStateChange {
    let bindings = change.network_bindings.into_iter().map(|binding| ecs::NetworkBinding {
        bind_ip: Some(binding.bind_ip),
        container_port: Some(binding.container_port.into()),
        host_port: Some(binding.host_port.into()),
        protocol: Some(ecs::TransportProtocol::from(binding.protocol.as_str())),
        ..ecs::NetworkBinding::default()
    });
    let bindings: Vec<_> = bindings.collect();
    ecs::ContainerStateChange {
        container_name: Some(change.container_name),
        image_digest: change.image_digest,
        runtime_id: change.runtime_id,
        exit_code: change.exit_code,
        network_bindings: (!bindings.is_empty()).then_some(bindings),
        reason: change.reason,
        status: Some(change.status.as_str().to_owned()),
    }
}

fn task_change(change: TaskStateChange) -> ecs::SubmitTaskStateChangeRequest {
    let containers: Vec<_> = change.containers.into_iter().map(container_change).collect();
    ecs::SubmitTaskStateChangeRequest {
        cluster: Some(change.cluster),
        task: Some(change.task),
        status: Some(change.status.as_str().to_owned()),
        reason: Some(change.reason),
        containers: (!containers.is_empty()).then_some(containers),
        pull_started_at: change.pull_started_at,
        pull_stopped_at: change.pull_stopped_at,
        execution_stopped_at: change.execution_stopped_at,
        ..ecs::SubmitTaskStateChangeRequest::default()
    }
}

/// An existing one is as good as a new one.
fn made(result: CallResult<()>) -> CallResult<()> {
    match result {
        Err(error) if error.code() == "ResourceAlreadyExistsException" => Ok(()),
        result => result,
    }
}

impl ControlPlane for RemoteControlPlane {
    fn use_credentials(&self, credentials: &AgentCredentials, region: &str) {
        self.credentials.set(Credentials {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.clone(),
            session_token: credentials.session_token.clone(),
        });
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if !region.is_empty() && client.region() != region {
            *client = client.in_region(region);
        }
    }

    fn join_agent<'a>(&'a self, token: &'a str) -> BoxFuture<'a, CallResult<Joined>> {
        Box::pin(async move {
            const OPERATION: &str = "JoinAgent";
            let input = longshore::JoinAgentRequest { token: Some(token.to_owned()) };
            let answer: longshore::JoinAgentResponse = self.call(&longshore::MODEL, OPERATION, input).await?;
            Ok(Joined {
                credentials: keys(OPERATION, answer.credentials)?,
                cluster: answer.cluster.ok_or_else(|| misunderstood(OPERATION, "cluster"))?,
                region: answer.region.ok_or_else(|| misunderstood(OPERATION, "region"))?,
            })
        })
    }

    fn rotate_agent_credentials(&self) -> BoxFuture<'_, CallResult<AgentCredentials>> {
        Box::pin(async {
            const OPERATION: &str = "RotateAgentCredentials";
            let input = longshore::RotateAgentCredentialsRequest::default();
            let answer: longshore::RotateAgentCredentialsResponse =
                self.call(&longshore::MODEL, OPERATION, input).await?;
            keys(OPERATION, answer.credentials)
        })
    }

    fn create_cluster<'a>(&'a self, name: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let input = ecs::CreateClusterRequest { cluster_name: Some(name.to_owned()), ..Default::default() };
            let _: ecs::CreateClusterResponse = self.call(&ecs::MODEL, "CreateCluster", input).await?;
            Ok(())
        })
    }

    fn register_container_instance(
        &self,
        input: InstanceRegistration,
    ) -> BoxFuture<'_, CallResult<RegisteredInstance>> {
        Box::pin(async move {
            const OPERATION: &str = "RegisterContainerInstance";
            let answer: ecs::RegisterContainerInstanceResponse =
                self.call(&ecs::MODEL, OPERATION, registration(input)).await?;
            let instance = answer.container_instance.ok_or_else(|| misunderstood(OPERATION, "containerInstance"))?;
            let attributes = instance.attributes.unwrap_or_default().into_iter();
            Ok(RegisteredInstance {
                container_instance_arn: instance
                    .container_instance_arn
                    .ok_or_else(|| misunderstood(OPERATION, "containerInstanceArn"))?,
                attributes: attributes
                    .map(|attribute| Attribute { name: attribute.name.unwrap_or_default(), value: attribute.value })
                    .collect(),
            })
        })
    }

    fn discover_poll_endpoint<'a>(
        &'a self,
        cluster: &'a str,
        container_instance_arn: &'a str,
    ) -> BoxFuture<'a, CallResult<Endpoints>> {
        Box::pin(async move {
            let input = ecs::DiscoverPollEndpointRequest {
                cluster: Some(cluster.to_owned()),
                container_instance: Some(container_instance_arn.to_owned()),
            };
            let answer: ecs::DiscoverPollEndpointResponse =
                self.call(&ecs::MODEL, "DiscoverPollEndpoint", input).await?;
            Ok(Endpoints {
                endpoint: answer.endpoint.unwrap_or_default(),
                telemetry_endpoint: answer.telemetry_endpoint.unwrap_or_default(),
            })
        })
    }

    fn submit_task_state_change(&self, change: TaskStateChange) -> BoxFuture<'_, CallResult<()>> {
        Box::pin(async move {
            let _: ecs::SubmitTaskStateChangeResponse =
                self.call(&ecs::MODEL, "SubmitTaskStateChange", task_change(change)).await?;
            Ok(())
        })
    }

    fn create_log_group<'a>(&'a self, region: Option<&'a str>, group: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            const OPERATION: &str = "CreateLogGroup";
            let input = logs::CreateLogGroupRequest { log_group_name: Some(group.to_owned()), ..Default::default() };
            let answer: Result<longshore_api::Value, _> =
                self.logs(region).call_value(&logs::MODEL, OPERATION, &longshore_api::to_value(&input)).await;
            made(answer.map(drop).map_err(|error| call_error(OPERATION, &error)))
        })
    }

    fn create_log_stream<'a>(&'a self, name: &'a LogStreamName) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            const OPERATION: &str = "CreateLogStream";
            let input = logs::CreateLogStreamRequest {
                log_group_name: Some(name.group.clone()),
                log_stream_name: Some(name.stream.clone()),
            };
            let client = self.logs(name.region.as_deref());
            let answer = client.call_value(&logs::MODEL, OPERATION, &longshore_api::to_value(&input)).await;
            made(answer.map(drop).map_err(|error| call_error(OPERATION, &error)))
        })
    }

    fn put_log_events<'a>(&'a self, name: &'a LogStreamName, events: Vec<LogEvent>) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            const OPERATION: &str = "PutLogEvents";
            let event = |event: LogEvent| logs::InputLogEvent {
                timestamp: Some(event.timestamp.as_millis()),
                message: Some(event.message),
            };
            let input = logs::PutLogEventsRequest {
                log_group_name: Some(name.group.clone()),
                log_stream_name: Some(name.stream.clone()),
                log_events: Some(events.into_iter().map(event).collect()),
                ..Default::default()
            };
            let answer: Result<logs::PutLogEventsResponse, _> =
                self.logs(name.region.as_deref()).call(&logs::MODEL, OPERATION, &input).await;
            let answer = answer.map_err(|error| call_error(OPERATION, &error))?;
            if let Some(rejected) = answer.rejected_log_events_info {
                tracing::warn!(group = %name.group, stream = %name.stream, ?rejected, "output rejected for its age");
            }
            Ok(())
        })
    }

    fn connect_acs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a AcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(self.connect(endpoint, query.pairs(), false))
    }

    fn connect_tcs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a TcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(self.connect(endpoint, query.pairs(), true))
    }
}
