//! The whole agent on a simulated runtime, clock, disk and control plane.

mod adoption;
mod lifecycle;
mod logging;
mod protocol;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore_protocol::acs::{FromAgent, FromServer, PayloadMessage, PayloadTask};
use longshore_protocol::docker::{Config, DockerConfig, Healthcheck, HostConfig};
use longshore_protocol::task::{Container, Dependency, Task};
use longshore_runtime::sim::SimRuntime;
use longshore_seams::{ManualClock, MemoryDisk};
use tokio::sync::watch;

use crate::config::{AgentConfig, CredentialSource};
use crate::plane::{AgentCredentials, ReportedStatus, TaskStateChange};
use crate::testing::{Peer, Seamed, SimPlane, outside};
use crate::{Agent, AgentError, Registry};

pub(crate) const CLUSTER: &str = "arn:aws:ecs:us-east-1:000000000000:cluster/demo";

/// One host with an agent that may come and go.
pub(crate) struct World {
    pub seamed: Seamed,
    pub clock: Arc<ManualClock>,
    pub sim: SimRuntime,
    pub plane: Arc<SimPlane>,
    pub config: AgentConfig,
    /// Containers can ask for keys.
    pub task_roles: bool,
    pub acs: Option<Peer>,
    pub registry: Arc<Registry>,
    pub result: Arc<std::sync::Mutex<Option<Result<(), AgentError>>>>,
    shutdown: watch::Sender<bool>,
    seed: u64,
    messages: u64,
}

impl World {
    /// A host with its agent not started yet.
    pub fn new() -> Self {
        let seamed = Seamed::new();
        let clock = seamed.clock.clone();
        let sim = SimRuntime::new(clock.clone(), outside());
        let mut config = AgentConfig::new(PathBuf::from("/d"), 2, 4096);
        config.cluster = Some("demo".into());
        config.credentials = CredentialSource::Given(AgentCredentials {
            access_key_id: "AKIA".into(),
            secret_access_key: "s".into(),
            session_token: None,
            expiration: None,
        });
        Self {
            plane: SimPlane::with_clock(clock.clone()),
            seamed,
            clock,
            sim,
            config,
            task_roles: false,
            acs: None,
            registry: Arc::default(),
            result: Arc::default(),
            shutdown: watch::channel(false).0,
            seed: 1,
            messages: 0,
        }
    }

    /// A host with its agent connected.
    pub async fn connected() -> Self {
        let mut world = Self::new();
        world.start().await;
        world
    }

    /// Starts the agent and waits for its connection.
    pub async fn start(&mut self) {
        self.launch();
        self.accept().await;
    }

    /// Starts the agent.
    pub fn launch(&mut self) {
        let (shutdown, ends) = watch::channel(false);
        self.shutdown = shutdown;
        let mut agent =
            Agent::new(self.config.clone(), Arc::new(self.sim.clone()), self.plane.clone(), self.seamed.seams.clone());
        if self.task_roles {
            agent = agent.with_credential_listener(Box::pin(tokio::net::TcpListener::bind("127.0.0.1:0")));
        }
        self.registry = agent.registry();
        self.result = Arc::default();
        let result = self.result.clone();
        let run = async move {
            let ended = agent.run(ends).await;
            *result.lock().unwrap() = Some(ended);
        };
        self.seamed.seams.spawner.spawn("agent", Box::pin(run));
    }

    /// Waits for the agent's next connection.
    pub async fn accept(&mut self) {
        let plane = self.plane.clone();
        let mut peer = None;
        self.seamed
            .run_until(|| {
                peer = plane.accept_acs();
                peer.is_some()
            })
            .await;
        self.acs = peer;
    }

    /// Kills the agent as kill -9 would; the disk keeps what was written, the runtime goes on.
    pub async fn kill(&mut self) {
        self.seamed.spawner.kill();
        self.seamed.settle().await;
        self.seed += 1;
        self.seamed = Seamed::with(self.clock.clone(), self.seamed.disk.clone(), self.seed);
        self.acs = None;
        while self.plane.accept_acs().is_some() {}
        while self.plane.accept_tcs().is_some() {}
    }

    /// Kills the agent and loses everything it has written.
    pub async fn kill_and_forget(&mut self) {
        self.kill().await;
        self.seamed = Seamed::with(self.clock.clone(), MemoryDisk::default(), self.seed);
    }

    pub fn end(&self) {
        self.shutdown.send_replace(true);
    }

    /// Sends tasks in one payload.
    pub async fn send(&mut self, tasks: Vec<Task>) -> String {
        self.messages += 1;
        let message_id = format!("m{}", self.messages);
        let payload = PayloadMessage {
            message_id: message_id.clone(),
            cluster_arn: CLUSTER.into(),
            container_instance_arn: crate::testing::INSTANCE.into(),
            seq_num: Some(i64::try_from(self.messages).unwrap()),
            generated_at: None,
            timeline: None,
            tasks: tasks.into_iter().map(PayloadTask::from).collect(),
        };
        self.say(&FromServer::Payload(payload)).await;
        message_id
    }

    pub async fn say(&mut self, message: &FromServer) {
        self.acs.as_ref().expect("the agent is connected").say(message).await;
        self.seamed.settle().await;
    }

    pub fn heard(&mut self) -> Vec<FromAgent> {
        self.acs.as_mut().expect("the agent is connected").heard()
    }

    pub async fn stop(&mut self, task: &Task) {
        self.send(vec![Task { desired_status: "STOPPED".into(), ..task.clone() }]).await;
    }

    /// Waits for a task's report of a status, and answers it.
    pub async fn reported(&self, task: &Task, status: ReportedStatus) -> TaskStateChange {
        let found = |plane: &SimPlane| {
            plane.reports().into_iter().find(|report| report.task == task.arn && report.status == status)
        };
        self.seamed.run_until(|| found(&self.plane).is_some()).await;
        found(&self.plane).unwrap()
    }

    /// (task status, container, container status, exit code) of everything reported of a task, in order.
    pub fn history(&self, task: &Task) -> Vec<String> {
        let reports = self.plane.reports().into_iter().filter(|report| report.task == task.arn);
        reports
            .map(|report| {
                let containers = report.containers.iter().map(|container| {
                    let code = container.exit_code.map_or(String::new(), |code| format!("={code}"));
                    format!(" {}:{}{code}", container.container_name, container.status.as_str())
                });
                format!("{}{}", report.status.as_str(), containers.collect::<String>())
            })
            .collect()
    }

    /// The id of the container of a task.
    pub fn container(&self, task: &Task, name: &str) -> longshore_runtime::ContainerState {
        let mut states = self.sim.containers().into_iter().filter(|state| {
            state.labels.get(crate::labels::TASK_ARN) == Some(&task.arn)
                && state.labels.get(crate::labels::CONTAINER_NAME).map(String::as_str) == Some(name)
        });
        let found = states.next().expect("the container exists");
        assert!(states.next().is_none(), "the container exists once");
        found
    }

    pub async fn pass(&self, secs: u64) {
        self.seamed.pass(Duration::from_secs(secs)).await;
    }
}

pub(crate) fn task(id: &str, containers: Vec<Container>) -> Task {
    Task {
        arn: format!("arn:aws:ecs:us-east-1:000000000000:task/demo/{id}"),
        task_cluster_arn: CLUSTER.into(),
        family: "f".into(),
        version: "1".into(),
        desired_status: "RUNNING".into(),
        containers,
        ..Task::default()
    }
}

/// An essential container; the image carries its name.
pub(crate) fn container(name: &str) -> Container {
    Container { name: name.into(), image: name.into(), essential: true, ..Container::default() }
}

pub(crate) fn sidecar(name: &str) -> Container {
    Container { essential: false, ..container(name) }
}

pub(crate) fn after(container: Container, name: &str, condition: &str) -> Container {
    let depends_on = vec![Dependency { container_name: name.into(), condition: condition.into() }];
    Container { depends_on, ..container }
}

pub(crate) fn checked(container: Container) -> Container {
    let check = Healthcheck { test: vec!["CMD".into(), "true".into()], ..Healthcheck::default() };
    let config = Config { healthcheck: Some(check), ..Config::default() };
    Container {
        health_check_type: "docker".into(),
        docker_config: Some(DockerConfig::new(&config, &HostConfig::default(), None)),
        ..container
    }
}
