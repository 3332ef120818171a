//! The network between machines: calls that get lost, repeated, late; connections that break, or fall silent.
//!
//! What TCP promises is kept: a connection's messages arrive in order or not at all. Calls are connections of
//! their own, so they overtake one another.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use longshore_agent::ControlPlane;
use longshore_agent::http::{registered_instance, registration_request, state_change};
use longshore_agent::plane::{
    AgentCredentials, CallError, CallResult, ConnectError, Connection, Endpoints, Incoming, InstanceRegistration,
    Joined, LogEvent, LogStreamName, Outgoing, RegisteredInstance, TaskStateChange,
};
use longshore_api::{JsonWriter, ServiceError, Shape, Value, ecs, from_value, longshore, to_value};
use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_protocol::tcs::SignedFrame;
use longshore_seams::{BoxFuture, Clock, Random, SeededRandom};
use longshore_wire::{Principal, RequestContext, Service};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::executor::{Executor, Process, between, locked};
use crate::server::{Open, Server};

/// Account of everything in a world.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Region of everything in a world.
pub(crate) const REGION: &str = "eu-west-1";

/// How long a caller waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest way between two machines.
const WAY: Duration = Duration::from_micros(100);
/// Messages that may wait on a connection, each way.
const QUEUE: usize = 64;
/// Close code of a connection that ended without a close frame.
const CUT: u16 = 1006;

/// How well the network works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Calls of a thousand whose request or answer is lost, half and half.
    pub loss_per_mille: u64,
    /// Calls of a thousand that arrive twice.
    pub twice_per_mille: u64,
    /// The longest way between two machines.
    pub delay: Duration,
}

impl Weather {
    /// Nothing goes wrong.
    pub const FINE: Self = Self { loss_per_mille: 0, twice_per_mille: 0, delay: Duration::from_millis(1) };
}

#[derive(Debug)]
struct Link {
    /// Nothing gets through, and nobody is told.
    silent: watch::Sender<bool>,
    /// Changes when all connections break.
    breaks: watch::Sender<u64>,
}

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    executor: Executor,
    process: Process,
    server: Server,
    random: SeededRandom,
    weather: Mutex<Weather>,
    links: Mutex<BTreeMap<String, Link>>,
}

/// A call whose answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

impl Network {
    pub fn new(executor: Executor, server: Server, seed: u64) -> Self {
        Self(Arc::new(Inner {
            process: executor.process(),
            executor,
            server,
            random: SeededRandom::new(seed ^ 0x6e65_7477),
            weather: Mutex::new(Weather::FINE),
            links: Mutex::default(),
        }))
    }

    pub fn set_weather(&self, weather: Weather) {
        *locked(&self.0.weather) = weather;
    }

    fn with_link<T>(&self, machine: &str, look: impl FnOnce(&Link) -> T) -> T {
        let mut links = locked(&self.0.links);
        let link = links
            .entry(machine.to_owned())
            .or_insert_with(|| Link { silent: watch::channel(false).0, breaks: watch::channel(0).0 });
        look(link)
    }

    /// Lets nothing through to or from `machine`, or everything again.
    pub fn set_silent(&self, machine: &str, silent: bool) {
        self.with_link(machine, |link| link.silent.send_replace(silent));
    }

    /// Breaks all connections of `machine`.
    pub fn break_connections(&self, machine: &str) {
        self.with_link(machine, |link| link.breaks.send_modify(|count| *count += 1));
    }

    fn is_silent(&self, machine: &str) -> bool {
        self.with_link(machine, |link| *link.silent.borrow())
    }

    fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.0.random.below(1000) < per_mille
    }

    fn way(&self) -> BoxFuture<'static, ()> {
        let delay = locked(&self.0.weather).delay;
        self.0.executor.sleep(between(&self.0.random, WAY, delay.max(WAY + Duration::from_micros(1))))
    }

    /// Calls an operation from `machine`.
    pub async fn call(
        &self,
        machine: &str,
        principal: &Principal,
        operation: &'static str,
        input: Value,
    ) -> Result<Result<Value, ServiceError>, NoAnswer> {
        let began = self.0.executor.now();
        let weather = *locked(&self.0.weather);
        let lost = self.chance(weather.loss_per_mille);
        let request_lost = lost && self.chance(500);
        self.way().await;
        if self.is_silent(machine) || request_lost {
            return Err(self.time_out(began).await);
        }
        let context = self.context(principal);
        let perform = |input: Value| {
            let context = context.clone();
            self.0.server.ask(move |open| Box::pin(async move { perform(&open, &context, operation, &input).await }))
        };
        if self.chance(weather.twice_per_mille) {
            drop(perform(input.clone()));
        }
        // Nobody listens: the machine says so at once.
        let Some(answered) = perform(input) else { return Err(NoAnswer) };
        let answer = answered.await.map_err(|_| NoAnswer);
        self.way().await;
        if self.is_silent(machine) || lost {
            return Err(self.time_out(began).await);
        }
        answer
    }

    async fn time_out(&self, began: Duration) -> NoAnswer {
        self.0.executor.sleep((began + TIMEOUT).saturating_sub(self.0.executor.now())).await;
        NoAnswer
    }

    fn context(&self, principal: &Principal) -> RequestContext {
        RequestContext {
            request_id: self.0.random.uuid(),
            principal: principal.clone(),
            access_key_id: "AKIASIMULATED".to_owned(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            source_ip: Ipv4Addr::LOCALHOST.into(),
            user_agent: String::new(),
            base_url: "http://server:4747".to_owned(),
            received_at: self.0.server.clock().now(),
        }
    }

    /// Opens a connection from `machine`, served by what `serve` makes of the server's end.
    async fn connect(
        &self,
        machine: &str,
        frames: fn(String) -> String,
        serve: impl FnOnce(Open, DuplexStream) -> BoxFuture<'static, Result<(), ServiceError>>,
    ) -> Result<Connection, ConnectError> {
        self.way().await;
        let unreachable = |why: &str| ConnectError::Unreachable(why.to_owned());
        if self.is_silent(machine) {
            self.0.executor.sleep(TIMEOUT).await;
            return Err(unreachable("no answer"));
        }
        let (here, there) = tokio::io::duplex(1 << 20);
        let served = self.0.server.ask(move |open| serve(open, there));
        let Some(mut served) = served else { return Err(unreachable("connection refused")) };
        self.way().await;
        if let Ok(Err(error)) = served.try_recv() {
            return Err(ConnectError::Refused { status: 400, body: error.to_string() });
        }
        let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (received, incoming) = mpsc::channel(QUEUE);
        let (silent, breaks) = self.with_link(machine, |link| (link.silent.subscribe(), link.breaks.subscribe()));
        let pump = Pump { network: self.clone(), silent, frames };
        self.0.executor.spawn(self.0.process, "connection", Box::pin(pump.run(socket, to_send, received, breaks)));
        Ok(Connection { outgoing, incoming })
    }
}

/// Carries the messages of one connection.
struct Pump {
    network: Network,
    silent: watch::Receiver<bool>,
    frames: fn(String) -> String,
}

impl Pump {
    async fn run(
        self,
        socket: WebSocketStream<DuplexStream>,
        mut to_send: mpsc::Receiver<Outgoing>,
        received: mpsc::Sender<Incoming>,
        mut breaks: watch::Receiver<u64>,
    ) {
        let (mut sink, mut stream) = socket.split();
        let heard = async {
            // A connection of which nothing gets through looks alive from both ends.
            let mut silent = self.silent.clone();
            let _ = silent.wait_for(|silent| !*silent).await;
        };
        let send = async {
            while let Some(message) = to_send.recv().await {
                self.network.way().await;
                if *self.silent.borrow() {
                    // What was sent into the silence is repeated by TCP, or the connection is given up.
                    heard.await;
                    return;
                }
                let sent = match message {
                    Outgoing::Text(text) => sink.send(Message::text((self.frames)(text))).await,
                    Outgoing::Close(..) => {
                        let _ = sink.close().await;
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
            self.clone_of_silence().await;
        };
        let receive = async {
            loop {
                let message = match stream.next().await {
                    Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
                    Some(Ok(Message::Close(frame))) => {
                        let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.as_str().to_owned()));
                        let (code, reason) = frame.unwrap_or((CUT, String::new()));
                        Incoming::Closed(code, reason)
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => Incoming::Closed(CUT, error.to_string()),
                    None => Incoming::Closed(CUT, "the connection was cut".to_owned()),
                };
                self.network.way().await;
                if *self.silent.borrow() {
                    self.clone_of_silence().await;
                    return;
                }
                let last = matches!(message, Incoming::Closed(..));
                if received.send(message).await.is_err() || last {
                    return;
                }
            }
        };
        let broken = async {
            let _ = breaks.changed().await;
        };
        tokio::select! {
            biased;
            () = broken => {}
            () = send => {}
            () = receive => {}
        }
    }

    async fn clone_of_silence(&self) {
        let mut silent = self.silent.clone();
        let _ = silent.wait_for(|silent| !*silent).await;
    }
}

async fn perform(
    open: &Open,
    context: &RequestContext,
    operation: &'static str,
    input: &Value,
) -> Result<Value, ServiceError> {
    let output = match (ecs::MODEL.operation(operation), longshore::MODEL.operation(operation)) {
        (Some(operation), _) => Service::call(&open.ecs, context, operation, input).await?,
        (None, Some(operation)) => Service::call(&*open.admin, context, operation, input).await?,
        (None, None) => return Err(ServiceError::client("UnknownOperationException", operation)),
    };
    let mut writer = JsonWriter::new();
    output.write(&mut writer);
    Value::from_json(&writer.into_bytes()).map_err(|error| ServiceError::server("Unreadable", error.to_string()))
}

/// An agent's network.
#[derive(Clone)]
pub(crate) struct AgentNetwork {
    pub network: Network,
    pub machine: String,
    pub principal: Principal,
}

impl std::fmt::Debug for AgentNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentNetwork").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl AgentNetwork {
    async fn call<O: Shape>(&self, operation: &'static str, input: &(impl Shape + Sync)) -> CallResult<O> {
        match self.network.call(&self.machine, &self.principal, operation, to_value(input)).await {
            Ok(Ok(answer)) => {
                from_value(&answer).map_err(|error| CallError::Unreachable { operation, message: error.to_string() })
            }
            Ok(Err(error)) => {
                let (code, message) = (error.code.to_owned(), error.message);
                match error.status {
                    500.. => Err(CallError::Busy { operation, code, message }),
                    _ => Err(CallError::Refused { operation, code, message }),
                }
            }
            Err(NoAnswer) => Err(CallError::Unreachable { operation, message: "no answer".to_owned() }),
        }
    }

    fn context(&self) -> RequestContext {
        self.network.context(&self.principal)
    }
}

fn plain(text: String) -> String {
    text
}

fn signed(json: String) -> String {
    SignedFrame { headers: Vec::new(), json }.to_text()
}

fn no_logs<T>(operation: &'static str) -> CallResult<T> {
    let (code, message) = ("UnknownOperationException".to_owned(), "there is no log service in this world".to_owned());
    Err(CallError::Refused { operation, code, message })
}

impl ControlPlane for AgentNetwork {
    fn use_credentials(&self, _credentials: &AgentCredentials, _region: &str) {}

    fn join_agent<'a>(&'a self, _token: &'a str) -> BoxFuture<'a, CallResult<Joined>> {
        Box::pin(async { no_logs("JoinAgent") })
    }

    fn rotate_agent_credentials(&self) -> BoxFuture<'_, CallResult<AgentCredentials>> {
        Box::pin(async { no_logs("RotateAgentCredentials") })
    }

    fn create_cluster<'a>(&'a self, name: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let request = ecs::CreateClusterRequest { cluster_name: Some(name.to_owned()), ..Default::default() };
            self.call::<ecs::CreateClusterResponse>("CreateCluster", &request).await.map(|_| ())
        })
    }

    fn register_container_instance(
        &self,
        registration: InstanceRegistration,
    ) -> BoxFuture<'_, CallResult<RegisteredInstance>> {
        Box::pin(async move {
            let request = registration_request(registration);
            self.call("RegisterContainerInstance", &request).await.map(registered_instance)
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
            let answer: ecs::DiscoverPollEndpointResponse = self.call("DiscoverPollEndpoint", &request).await?;
            Ok(Endpoints {
                endpoint: answer.endpoint.unwrap_or_default(),
                telemetry_endpoint: answer.telemetry_endpoint.unwrap_or_default(),
            })
        })
    }

    fn submit_task_state_change(&self, change: TaskStateChange) -> BoxFuture<'_, CallResult<()>> {
        Box::pin(async move {
            let request = state_change(change);
            self.call::<ecs::SubmitTaskStateChangeResponse>("SubmitTaskStateChange", &request).await.map(|_| ())
        })
    }

    fn create_log_group<'a>(&'a self, _region: Option<&'a str>, _group: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async { no_logs("CreateLogGroup") })
    }

    fn create_log_stream<'a>(&'a self, _name: &'a LogStreamName) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async { no_logs("CreateLogStream") })
    }

    fn put_log_events<'a>(&'a self, _name: &'a LogStreamName, _events: Vec<LogEvent>) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async { no_logs("PutLogEvents") })
    }

    fn connect_acs<'a>(
        &'a self,
        _endpoint: &'a str,
        query: &'a AcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        let (context, query) = (self.context(), query.clone());
        Box::pin(self.network.connect(&self.machine, plain, move |open, socket| {
            Box::pin(async move { open.ecs.gateway.serve_acs(&context, &query, socket).await })
        }))
    }

    fn connect_tcs<'a>(
        &'a self,
        _endpoint: &'a str,
        query: &'a TcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        let (context, query) = (self.context(), query.clone());
        Box::pin(self.network.connect(&self.machine, signed, move |open, socket| {
            Box::pin(async move { open.ecs.gateway.serve_tcs(&context, &query, socket).await })
        }))
    }
}
