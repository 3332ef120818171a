//! A simulated world for tests: clock, disk and spawner that can be stopped, and a control plane that
//! records what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_protocol::acs;
use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_seams::{
    BoxFuture, Disk, ManualClock, MemoryDisk, Seams, SeededRandom, Spawner, Timestamp, TokioSpawner,
};
use tokio::sync::{mpsc, watch};

use crate::plane::{
    AgentCredentials, CallError, CallResult, ConnectError, Connection, ControlPlane, Endpoints, Incoming,
    InstanceRegistration, Joined, LogEvent, LogStreamName, Outgoing, RegisteredInstance, TaskStateChange,
};

pub(crate) const INSTANCE: &str = "arn:aws:ecs:us-east-1:000000000000:container-instance/demo/c652c4edfcb94472";

/// The end that never comes.
pub(crate) fn running() -> watch::Receiver<bool> {
    let (ends, shutdown) = watch::channel(false);
    std::mem::forget(ends);
    shutdown
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spawns work that can be killed all at once, as kill -9 would.
#[derive(Debug, Default)]
pub(crate) struct KillableSpawner {
    work: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl KillableSpawner {
    pub fn kill(&self) {
        locked(&self.work).drain(..).for_each(|work| work.abort());
    }
}

impl Spawner for KillableSpawner {
    #[expect(clippy::disallowed_methods, reason = "this is a seam")]
    fn spawn(&self, _name: &'static str, work: BoxFuture<'static, ()>) {
        let mut running = locked(&self.work);
        running.retain(|work| !work.is_finished());
        running.push(tokio::spawn(work).abort_handle());
    }
}

/// Seams under a test's control.
pub(crate) struct Seamed {
    pub seams: Seams,
    pub clock: Arc<ManualClock>,
    pub disk: MemoryDisk,
    pub spawner: Arc<KillableSpawner>,
}

impl Seamed {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_795_311_935)));
        Self::with(clock, MemoryDisk::default(), 1)
    }

    pub fn with(clock: Arc<ManualClock>, disk: MemoryDisk, seed: u64) -> Self {
        let spawner = Arc::new(KillableSpawner::default());
        let seams = Seams {
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(seed)),
            spawner: spawner.clone(),
            disk: Arc::new(disk.clone()),
        };
        Self { seams, clock, disk, spawner }
    }

    /// Seams over what the disk holds after power was lost now.
    pub fn after_power_loss(&self) -> Seams {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.crash());
        Seams { disk, ..self.seams.clone() }
    }

    /// Lets everything happen that needs no time.
    pub async fn settle(&self) {
        for _ in 0..150 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass until `condition` holds.
    pub async fn run_until(&self, mut condition: impl FnMut() -> bool) {
        for round in 0..2_400 {
            self.settle().await;
            if condition() {
                return;
            }
            // Fine steps first: most conditions hold soon.
            self.clock.advance(Duration::from_millis(if round < 400 { 50 } else { 500 }));
        }
        panic!("the condition did not come to hold within 1000 s");
    }

    /// Lets so much time pass.
    pub async fn pass(&self, time: Duration) {
        let mut left = time;
        self.settle().await;
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(if time.as_secs() > 300 { 2000 } else { 500 }));
            self.clock.advance(step);
            left -= step;
            self.settle().await;
        }
    }
}

/// The simulator's own spawner: containers go on when the agent is killed.
pub(crate) fn outside() -> Arc<dyn Spawner> {
    Arc::new(TokioSpawner)
}

#[derive(Debug, Default)]
struct Recorded {
    down: bool,
    failures: VecDeque<CallError>,
    logs_down: bool,
    reports: Vec<TaskStateChange>,
    registrations: Vec<InstanceRegistration>,
    registration_failures: VecDeque<CallError>,
    clusters: Vec<String>,
    groups: Vec<String>,
    streams: BTreeMap<LogStreamName, Vec<LogEvent>>,
    acs: VecDeque<Peer>,
    acs_queries: Vec<AcsQuery>,
    acs_refusals: VecDeque<ConnectError>,
    tcs: VecDeque<Peer>,
    keys: Vec<AgentCredentials>,
    joins: u32,
    key_life: Option<Duration>,
}

/// The control plane's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub to_agent: mpsc::Sender<Incoming>,
    pub from_agent: mpsc::Receiver<Outgoing>,
}

impl Peer {
    pub async fn say(&self, message: &acs::FromServer) {
        self.to_agent.send(Incoming::Text(message.to_json())).await.unwrap();
    }

    /// Everything that has come so far.
    pub fn heard(&mut self) -> Vec<acs::FromAgent> {
        std::iter::from_fn(|| self.from_agent.try_recv().ok())
            .filter_map(|outgoing| match outgoing {
                Outgoing::Text(text) => Some(acs::FromAgent::parse(&text).unwrap()),
                Outgoing::Close(..) => None,
            })
            .collect()
    }

    pub fn texts(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.from_agent.try_recv().ok())
            .filter_map(|outgoing| match outgoing {
                Outgoing::Text(text) => Some(text),
                Outgoing::Close(..) => None,
            })
            .collect()
    }
}

/// A control plane that records what it is told.
#[derive(Debug)]
pub(crate) struct SimPlane {
    recorded: Mutex<Recorded>,
    clock: Option<Arc<ManualClock>>,
}

impl SimPlane {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { recorded: Mutex::default(), clock: None })
    }

    pub fn with_clock(clock: Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self { recorded: Mutex::default(), clock: Some(clock) })
    }

    pub fn set_down(&self, down: bool) {
        let mut recorded = locked(&self.recorded);
        recorded.down = down;
        if down {
            recorded.acs.clear();
            recorded.tcs.clear();
        }
    }

    pub fn set_logs_down(&self, down: bool) {
        locked(&self.recorded).logs_down = down;
    }

    pub fn fail_calls(&self, count: usize, code: &str) {
        let error = CallError::Busy { operation: "Call", code: code.into(), message: "later".into() };
        locked(&self.recorded).failures.extend(std::iter::repeat_n(error, count));
    }

    pub fn refuse_calls(&self, count: usize, code: &str) {
        locked(&self.recorded).failures.extend(std::iter::repeat_n(refused(code, "no"), count));
    }

    pub fn refuse_registration(&self, code: &str, message: &str) {
        locked(&self.recorded).registration_failures.push_back(refused(code, message));
    }

    pub fn refuse_acs(&self, body: &str) {
        locked(&self.recorded).acs_refusals.push_back(ConnectError::Refused { status: 400, body: body.into() });
    }

    pub fn let_keys_live(&self, life: Duration) {
        locked(&self.recorded).key_life = Some(life);
    }

    pub fn reports(&self) -> Vec<TaskStateChange> {
        locked(&self.recorded).reports.clone()
    }

    pub fn registrations(&self) -> Vec<InstanceRegistration> {
        locked(&self.recorded).registrations.clone()
    }

    pub fn clusters(&self) -> Vec<String> {
        locked(&self.recorded).clusters.clone()
    }

    pub fn add_group(&self, group: &str) {
        locked(&self.recorded).groups.push(group.into());
    }

    pub fn keys(&self) -> Vec<AgentCredentials> {
        locked(&self.recorded).keys.clone()
    }

    pub fn acs_queries(&self) -> Vec<AcsQuery> {
        locked(&self.recorded).acs_queries.clone()
    }

    /// Lines of a stream, in the order taken.
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let recorded = locked(&self.recorded);
        let found = recorded.streams.iter().filter(|(name, _)| name.stream == stream);
        found.flat_map(|(_, events)| events).map(|event| event.message.clone()).collect()
    }

    /// The next connection that the agent has opened and not dropped.
    pub fn accept_acs(&self) -> Option<Peer> {
        let mut recorded = locked(&self.recorded);
        recorded.acs.retain(|peer| !peer.to_agent.is_closed());
        recorded.acs.pop_front()
    }

    pub fn accept_tcs(&self) -> Option<Peer> {
        locked(&self.recorded).tcs.pop_front()
    }

    fn up(&self) -> CallResult<MutexGuard<'_, Recorded>> {
        let mut recorded = locked(&self.recorded);
        if recorded.down {
            return Err(CallError::Unreachable { operation: "Call", message: "down".into() });
        }
        match recorded.failures.pop_front() {
            Some(error) => Err(error),
            None => Ok(recorded),
        }
    }

    fn new_keys(recorded: &mut Recorded, clock: Option<&Arc<ManualClock>>) -> AgentCredentials {
        recorded.joins += 1;
        let end = recorded.key_life.zip(clock).map(|(life, clock)| longshore_seams::Clock::now(&**clock).plus(life));
        AgentCredentials {
            access_key_id: format!("AKIA{}", recorded.joins),
            secret_access_key: "secret".into(),
            session_token: None,
            expiration: end,
        }
    }
}

fn refused(code: &str, message: &str) -> CallError {
    CallError::Refused { operation: "Call", code: code.into(), message: message.into() }
}

fn connection() -> (Connection, Peer) {
    let (outgoing, from_agent) = mpsc::channel(256);
    let (to_agent, incoming) = mpsc::channel(256);
    (Connection { outgoing, incoming }, Peer { to_agent, from_agent })
}

impl ControlPlane for SimPlane {
    fn use_credentials(&self, credentials: &AgentCredentials, _region: &str) {
        locked(&self.recorded).keys.push(credentials.clone());
    }

    fn join_agent<'a>(&'a self, token: &'a str) -> BoxFuture<'a, CallResult<Joined>> {
        Box::pin(async move {
            let mut recorded = self.up()?;
            if token != "good" {
                return Err(refused("ClientException", "The token is not valid."));
            }
            let credentials = Self::new_keys(&mut recorded, self.clock.as_ref());
            Ok(Joined { credentials, cluster: "demo".into(), region: "us-east-1".into() })
        })
    }

    fn rotate_agent_credentials(&self) -> BoxFuture<'_, CallResult<AgentCredentials>> {
        Box::pin(async { Ok(Self::new_keys(&mut *self.up()?, self.clock.as_ref())) })
    }

    fn create_cluster<'a>(&'a self, name: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            self.up()?.clusters.push(name.into());
            Ok(())
        })
    }

    fn register_container_instance(
        &self,
        registration: InstanceRegistration,
    ) -> BoxFuture<'_, CallResult<RegisteredInstance>> {
        Box::pin(async move {
            let mut recorded = self.up()?;
            recorded.registrations.push(registration.clone());
            if let Some(error) = recorded.registration_failures.pop_front() {
                return Err(error);
            }
            let arn = registration.container_instance_arn.unwrap_or_else(|| INSTANCE.to_owned());
            Ok(RegisteredInstance { container_instance_arn: arn, attributes: registration.attributes })
        })
    }

    fn discover_poll_endpoint<'a>(&'a self, _cluster: &'a str, _arn: &'a str) -> BoxFuture<'a, CallResult<Endpoints>> {
        Box::pin(async {
            drop(self.up()?);
            Ok(Endpoints { endpoint: "http://h/acs".into(), telemetry_endpoint: "http://h/tcs".into() })
        })
    }

    fn submit_task_state_change(&self, change: TaskStateChange) -> BoxFuture<'_, CallResult<()>> {
        Box::pin(async move {
            self.up()?.reports.push(change);
            Ok(())
        })
    }

    fn create_log_group<'a>(&'a self, _region: Option<&'a str>, group: &'a str) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            self.up()?.groups.push(group.into());
            Ok(())
        })
    }

    fn create_log_stream<'a>(&'a self, name: &'a LogStreamName) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let mut recorded = self.up()?;
            if !recorded.groups.contains(&name.group) {
                return Err(refused("ResourceNotFoundException", "The specified log group does not exist."));
            }
            recorded.streams.entry(name.clone()).or_default();
            Ok(())
        })
    }

    fn put_log_events<'a>(&'a self, name: &'a LogStreamName, events: Vec<LogEvent>) -> BoxFuture<'a, CallResult<()>> {
        Box::pin(async move {
            let mut recorded = self.up()?;
            if recorded.logs_down {
                return Err(CallError::Unreachable { operation: "PutLogEvents", message: "down".into() });
            }
            match recorded.streams.get_mut(name) {
                Some(stream) => stream.extend(events),
                None => return Err(refused("ResourceNotFoundException", "The specified log stream does not exist.")),
            }
            Ok(())
        })
    }

    fn connect_acs<'a>(
        &'a self,
        _endpoint: &'a str,
        query: &'a AcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let mut recorded = locked(&self.recorded);
            recorded.acs_queries.push(query.clone());
            if recorded.down {
                return Err(ConnectError::Unreachable("down".into()));
            }
            if let Some(refusal) = recorded.acs_refusals.pop_front() {
                return Err(refusal);
            }
            let (connection, peer) = connection();
            recorded.acs.push_back(peer);
            Ok(connection)
        })
    }

    fn connect_tcs<'a>(
        &'a self,
        _endpoint: &'a str,
        _query: &'a TcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let mut recorded = locked(&self.recorded);
            if recorded.down {
                return Err(ConnectError::Unreachable("down".into()));
            }
            let (connection, peer) = connection();
            recorded.tcs.push_back(peer);
            Ok(connection)
        })
    }
}
