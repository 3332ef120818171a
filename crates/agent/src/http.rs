//! The agent's way to a control plane: signed HTTP calls and WebSockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::plane::{
    AgentCredentials, Attribute, CallError, CallResult, ConnectError, Connection, ContainerStateChange, ControlPlane,
    Endpoints, Incoming, InstanceRegistration, Joined, LogEvent, LogStreamName, NetworkBinding, Outgoing,
    RegisteredInstance, Resource, TaskStateChange,
};
use longshore_api::{ServiceModel, Shape, ecs, logs, longshore};
use longshore_client::{Client, ClientError, Credentials, Options, Received, RotatingCredentials, WebSocket};
use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_protocol::tcs::SignedFrame;
use longshore_seams::{BoxFuture, Seams};
use std::sync::{PoisonError, RwLock};
use tokio::sync::mpsc;

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that may wait on a connection, each way.
const QUEUE: usize = 64;
/// Name under which agents sign.
const SERVICE: &str = "ecs";

/// A control plane behind a URL.
#[derive(Debug)]
pub struct HttpControlPlane {
    client: Client,
    region: RwLock<String>,
    credentials: Arc<RotatingCredentials>,
    seams: Seams,
}

impl HttpControlPlane {
    /// The control plane at `url`; `region` is signed for until the agent knows better.
    ///
    /// # Errors
    /// A URL that is none, a certificate authority that can't be read.
    pub fn new(url: &str, region: &str, ca_file: Option<PathBuf>, seams: &Seams) -> Result<Self, ClientError> {
        let mut options = Options::new(url, region);
        options.ca_file = ca_file;
        options.timeout = TIMEOUT;
        options.user_agent = concat!("Amazon ECS Agent - longshore v", env!("CARGO_PKG_VERSION")).to_owned();
        let credentials = Arc::new(RotatingCredentials::default());
        let client = Client::new(options, credentials.clone(), seams.clone())?;
        Ok(Self { client, region: RwLock::new(region.to_owned()), credentials, seams: seams.clone() })
    }

    fn client(&self, region: Option<&str>) -> Client {
        match region {
            Some(region) => self.client.in_region(region),
            None => self.client.in_region(self.region.read().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    async fn call<I: Shape, O: Shape>(
        &self,
        region: Option<&str>,
        model: &ServiceModel,
        operation: &'static str,
        input: &I,
    ) -> CallResult<O> {
        self.client(region).call(model, operation, input).await.map_err(|error| call_error(operation, error))
    }

    async fn connect(
        &self,
        endpoint: &str,
        query: Vec<(String, String)>,
        signed_frames: bool,
    ) -> Result<Connection, ConnectError> {
        let url = format!("{}/ws", endpoint.trim_end_matches('/'));
        let client = self.client(None);
        let socket = client.connect_websocket(&url, &query, SERVICE).await.map_err(|error| match error {
            ClientError::Handshake { status, body, .. } => ConnectError::Refused { status, body },
            other => ConnectError::Unreachable(other.to_string()),
        })?;
        let signer = signed_frames.then_some(Signer { client, url, query });
        Ok(pump(socket, signer, &self.seams))
    }
}

fn call_error(operation: &'static str, error: ClientError) -> CallError {
    let transient = error.is_transient();
    match error {
        ClientError::Service { code, message, .. } if transient => CallError::Busy { operation, code, message },
        ClientError::Service { code, message, .. } => CallError::Refused { operation, code, message },
        other => CallError::Unreachable { operation, message: other.to_string() },
    }
}

/// An existing resource is as good as a new one.
fn existing_is_fine(result: CallResult<()>) -> CallResult<()> {
    match result {
        Err(error) if error.code() == "ResourceAlreadyExistsException" => Ok(()),
        other => other,
    }
}

struct Signer {
    client: Client,
    url: String,
    query: Vec<(String, String)>,
}

impl Signer {
    fn frame(&self, json: String) -> Result<String, ClientError> {
        let headers = self.client.sign_frame(&self.url, &self.query, json.as_bytes(), SERVICE)?;
        Ok(SignedFrame { headers, json }.to_text())
    }
}

/// Carries messages between a socket and the agent until either side ends it.
fn pump(socket: WebSocket, signer: Option<Signer>, seams: &Seams) -> Connection {
    let (outgoing, mut to_send) = mpsc::channel(QUEUE);
    let (received, incoming) = mpsc::channel(QUEUE);
    let (mut sender, mut receiver) = socket.split();
    let writer = async move {
        while let Some(message) = to_send.recv().await {
            let sent = match message {
                Outgoing::Text(json) => match signer.as_ref().map_or(Ok(json.clone()), |signer| signer.frame(json)) {
                    Ok(text) => sender.text(text).await,
                    Err(error) => Err(error),
                },
                Outgoing::Close(code, reason) => {
                    // The peer may be gone already; the connection ends either way.
                    let _ = sender.close(code, &reason).await;
                    return;
                }
            };
            if let Err(error) = sent {
                return tracing::debug!(%error, "cannot send on a connection");
            }
        }
    };
    let reader = async move {
        loop {
            let message = match receiver.next().await {
                Ok(Received::Text(text)) => Incoming::Text(text),
                Ok(Received::Closed { code, reason }) => Incoming::Closed(code, reason),
                Err(error) => Incoming::Closed(1006, error.to_string()),
            };
            let last = matches!(message, Incoming::Closed(..));
            if received.send(message).await.is_err() || last {
                return;
            }
        }
    };
    seams.spawner.spawn(
        "agent connection",
        Box::pin(async move {
            // A dropped sender cuts the connection; a connection that ends lets the writer go.
            tokio::select! {
                () = writer => {}
                () = reader => {}
            }
        }),
    );
    Connection { outgoing, incoming }
}

fn owned(pairs: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn agent_credentials(given: Option<longshore::AgentCredentials>) -> AgentCredentials {
    let given = given.unwrap_or_default();
    AgentCredentials {
        access_key_id: given.access_key_id.unwrap_or_default(),
        secret_access_key: given.secret_access_key.unwrap_or_default(),
        session_token: given.session_token,
        expiration: given.expiration,
    }
}

fn resource(resource: Resource) -> ecs::Resource {
    match resource {
        Resource::Integer(name, value) => ecs::Resource {
            name: Some(name.to_owned()),
            r#type: Some("INTEGER".to_owned()),
            integer_value: Some(value),
            ..Default::default()
        },
        Resource::StringSet(name, values) => ecs::Resource {
            name: Some(name.to_owned()),
            r#type: Some("STRINGSET".to_owned()),
            string_set_value: Some(values),
            ..Default::default()
        },
    }
}

fn network_binding(binding: NetworkBinding) -> ecs::NetworkBinding {
    ecs::NetworkBinding {
        bind_ip: Some(binding.bind_ip),
        container_port: Some(binding.container_port.into()),
        host_port: Some(binding.host_port.into()),
        protocol: Some(ecs::TransportProtocol::from(binding.protocol.as_str())),
        ..Default::default()
    }
}

/// The report as the API takes it.
#[must_use]
pub fn state_change(change: TaskStateChange) -> ecs::SubmitTaskStateChangeRequest {
    let container = |container: ContainerStateChange| ecs::ContainerStateChange {
        container_name: Some(container.container_name),
        status: Some(container.status.as_str().to_owned()),
        runtime_id: container.runtime_id,
        exit_code: container.exit_code,
        image_digest: container.image_digest,
        reason: container.reason,
        network_bindings: Some(container.network_bindings.into_iter().map(network_binding).collect()),
    };
    ecs::SubmitTaskStateChangeRequest {
        cluster: Some(change.cluster),
        task: Some(change.task),
        status: Some(change.status.as_str().to_owned()),
        reason: Some(change.reason),
        containers: Some(change.containers.into_iter().map(container).collect()),
        pull_started_at: change.pull_started_at,
        pull_stopped_at: change.pull_stopped_at,
        execution_stopped_at: change.execution_stopped_at,
        ..Default::default()
    }
}

/// The registration as the API takes it.
#[must_use]
pub fn registration_request(registration: InstanceRegistration) -> ecs::RegisterContainerInstanceRequest {
    let attribute = |attribute: Attribute| ecs::Attribute {
        name: Some(attribute.name),
        value: attribute.value,
        ..Default::default()
    };
    let tag = |(key, value)| ecs::Tag { key: Some(key), value: Some(value) };
    ecs::RegisterContainerInstanceRequest {
        cluster: Some(registration.cluster),
        container_instance_arn: registration.container_instance_arn,
        attributes: Some(registration.attributes.into_iter().map(attribute).collect()),
        total_resources: Some(registration.total_resources.into_iter().map(resource).collect()),
        tags: Some(registration.tags.into_iter().map(tag).collect()),
        version_info: Some(ecs::VersionInfo {
            agent_version: Some(registration.agent_version),
            agent_hash: Some(registration.agent_hash),
            docker_version: Some(registration.docker_version),
        }),
        ..Default::default()
    }
}

/// What the API answers to a registration.
#[must_use]
pub fn registered_instance(answer: ecs::RegisterContainerInstanceResponse) -> RegisteredInstance {
    let instance = answer.container_instance.unwrap_or_default();
    let attribute =
        |attribute: ecs::Attribute| Attribute { name: attribute.name.unwrap_or_default(), value: attribute.value };
    RegisteredInstance {
        container_instance_arn: instance.container_instance_arn.unwrap_or_default(),
        attributes: instance.attributes.unwrap_or_default().into_iter().map(attribute).collect(),
    }
}

impl ControlPlane for HttpControlPlane {
    fn use_credentials(&self, credentials: &AgentCredentials, region: &str) {
        self.credentials.set(Credentials {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.clone(),
            session_token: credentials.session_token.clone(),
        });
        region.clone_into(&mut self.region.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn join_agent<'a>(&'a self, token: &'a str) -> BoxFuture<'a, CallResult<Joined>> {
        Box::pin(async move {
            let request = longshore::JoinAgentRequest { token: Some(token.to_owned()) };
            let answer: longshore::JoinAgentResponse =
                self.call(None, &longshore::MODEL, "JoinAgent", &request).await?;
            Ok(Joined {
                credentials: agent_credentials(answer.credentials),
                cluster: answer.cluster.unwrap_or_default(),
                region: answer.region.unwrap_or_default(),
            })
        })
    }

    fn rotate_agent_credentials(&self) -> BoxFuture<'_, CallResult<AgentCredentials>> {
        Box::pin(async move {
            let request = longshore::RotateAgentCredentialsRequest::default();
            let answer: longshore::RotateAgentCredentialsResponse =
                self.call(None, &longshore::MODEL, "RotateAgentCredentials", &request).await?;
            Ok(agent_credentials(answer.credentials))
        })
    }

    fn create_cluster<'a>(&'a self, name: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let request = ecs::CreateClusterRequest { cluster_name: Some(name.to_owned()), ..Default::default() };
            let _: ecs::CreateClusterResponse = self.call(None, &ecs::MODEL, "CreateCluster", &request).await?;
            Ok(())
        })
    }

    fn register_container_instance(
        &self,
        registration: InstanceRegistration,
    ) -> BoxFuture<'_, CallResult<RegisteredInstance>> {
        Box::pin(async move {
            let request = registration_request(registration);
            let answer: ecs::RegisterContainerInstanceResponse =
                self.call(None, &ecs::MODEL, "RegisterContainerInstance", &request).await?;
            Ok(registered_instance(answer))
        })
    }

    fn discover_poll_endpoint<'a>(
        &'a self,
        cluster: &'a str,
        container_instance_arn: &'a str,
    ) -> BoxFuture<'a, CallResult<Endpoints>> {
        Box::pin(async move {
            let request = ecs::DiscoverPollEndpointRequest {
                cluster: Some(cluster.to_owned()),
                container_instance: Some(container_instance_arn.to_owned()),
            };
            let answer: ecs::DiscoverPollEndpointResponse =
                self.call(None, &ecs::MODEL, "DiscoverPollEndpoint", &request).await?;
            Ok(Endpoints {
                endpoint: answer.endpoint.unwrap_or_default(),
                telemetry_endpoint: answer.telemetry_endpoint.unwrap_or_default(),
            })
        })
    }

    fn submit_task_state_change(&self, change: TaskStateChange) -> BoxFuture<'_, CallResult<()>> {
        Box::pin(async move {
            let request = state_change(change);
            let _: ecs::SubmitTaskStateChangeResponse =
                self.call(None, &ecs::MODEL, "SubmitTaskStateChange", &request).await?;
            Ok(())
        })
    }

    fn create_log_group<'a>(&'a self, region: Option<&'a str>, group: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let request = logs::CreateLogGroupRequest { log_group_name: Some(group.to_owned()), ..Default::default() };
            existing_is_fine(self.call_without_answer(region, "CreateLogGroup", &request).await)
        })
    }

    fn create_log_stream<'a>(&'a self, name: &'a LogStreamName) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let request = logs::CreateLogStreamRequest {
                log_group_name: Some(name.group.clone()),
                log_stream_name: Some(name.stream.clone()),
            };
            existing_is_fine(self.call_without_answer(name.region.as_deref(), "CreateLogStream", &request).await)
        })
    }

    fn put_log_events<'a>(&'a self, name: &'a LogStreamName, events: Vec<LogEvent>) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let event = |event: LogEvent| logs::InputLogEvent {
                timestamp: Some(event.timestamp.as_millis()),
                message: Some(event.message),
            };
            let request = logs::PutLogEventsRequest {
                log_group_name: Some(name.group.clone()),
                log_stream_name: Some(name.stream.clone()),
                log_events: Some(events.into_iter().map(event).collect()),
                ..Default::default()
            };
            let _: logs::PutLogEventsResponse =
                self.call(name.region.as_deref(), &logs::MODEL, "PutLogEvents", &request).await?;
            Ok(())
        })
    }

    fn connect_acs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a AcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(self.connect(endpoint, owned(query.pairs()), false))
    }

    fn connect_tcs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a TcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(self.connect(endpoint, owned(query.pairs()), true))
    }
}

impl HttpControlPlane {
    async fn call_without_answer<I: Shape>(
        &self,
        region: Option<&str>,
        operation: &'static str,
        input: &I,
    ) -> CallResult<()> {
        let input = longshore_api::to_value(input);
        let called = self.client(region).call_value(&logs::MODEL, operation, &input).await;
        called.map(|_| ()).map_err(|error| call_error(operation, error))
    }
}
