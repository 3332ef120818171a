//! A machine: a container runtime that outlives its agent, and the real agent.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_agent::plane::AgentCredentials;
use longshore_agent::{Agent, AgentConfig, CredentialSource};
use longshore_model::capacity_provider::CAPACITY_PROVIDER;
use longshore_model::fargate::LENDING;
use longshore_runtime::sim::{Program as RuntimeProgram, Registry, SimRuntime};
use longshore_runtime::{ContainerState, ContainerStatus};
use longshore_seams::{Disk, Seams, SeededRandom};
use longshore_wire::Principal;

use crate::disk::SimDisk;
use crate::executor::{Executor, Process, ProcessSpawner, SimClock, locked};
use crate::network::{ACCOUNT, AgentNetwork, Network, REGION};
use crate::story::{Program, Step};

const DATA_DIR: &str = "/longshore";
/// The capacity provider with managed scaling.
pub(crate) const SCALED: &str = "scaled";

/// The machine.
pub(crate) struct Machine {
    pub name: String,
    pub cores: u32,
    pub memory: u64,
    /// It is lent to Fargate only.
    pub fargate: bool,
    /// It joins for the capacity provider with managed scaling.
    pub scaled: bool,
    /// Its Availability Zone.
    pub zone: String,
    pub runtime: SimRuntime,
    pub clock: Arc<SimClock>,
    pub disk: SimDisk,
    /// So many reasons hold why nothing gets through.
    pub silences: u32,
    /// It has power.
    pub powered: bool,
    executor: Executor,
    host: Process,
    random: Arc<SeededRandom>,
    agent: Option<Process>,
}

/// Where agents that ended by themselves are noted: machine and words.
pub(crate) type Ended = Arc<Mutex<Vec<(String, String)>>>;

/// The grant of a machine's agent.
pub(crate) fn grant_of(machine: &str) -> String {
    format!("grant-{machine}")
}

impl Machine {
    pub fn new(name: &str, cores: u32, memory: u64, fargate: bool, executor: &Executor, seed: u64) -> Self {
        let clock = Arc::new(SimClock::new(executor.clone()));
        let host = executor.process();
        let spawner = Arc::new(ProcessSpawner { executor: executor.clone(), process: host });
        Self {
            name: name.to_owned(),
            cores,
            memory,
            fargate,
            scaled: false,
            zone: String::new(),
            runtime: SimRuntime::new(clock.clone(), spawner),
            clock,
            disk: SimDisk::default(),
            silences: 0,
            powered: true,
            executor: executor.clone(),
            host,
            random: Arc::new(SeededRandom::new(seed)),
            agent: None,
        }
    }

    /// Teaches the machine's runtime an image.
    pub fn add_image(&self, image: &Step) {
        let Step::Image { name, program, pull, fails } = image else { return };
        let program = match program {
            Program::Runs => {
                RuntimeProgram { on_stop: Some((Duration::from_millis(300), 0)), ..RuntimeProgram::obeys() }
            }
            Program::Exits { code, after } => RuntimeProgram::exits(*after, *code),
            Program::IgnoresStops => RuntimeProgram::default(),
        };
        let program = RuntimeProgram {
            create_takes: Duration::from_millis(40),
            start_takes: Duration::from_millis(60),
            ..program
        };
        match pull {
            None => self.runtime.add_image(name, program),
            Some(_) if *fails > 0 => {
                let words = format!("{name}: the registry does not answer");
                self.runtime.add_remote_image(name, program, Registry::Fails(*fails, words));
            }
            Some(takes) => self.runtime.add_remote_image(name, program, Registry::Has(*takes)),
        }
    }

    /// Starts the agent, if it does not run and could.
    pub fn start_agent(&mut self, network: &Network, ended: &Ended) {
        if self.agent.is_some() || !self.powered {
            return;
        }
        let process = self.executor.process();
        self.agent = Some(process);
        let seams = Seams {
            clock: self.clock.clone(),
            random: self.random.clone(),
            spawner: Arc::new(ProcessSpawner { executor: self.executor.clone(), process }),
            disk: Arc::new(self.disk.clone()),
        };
        let credentials = AgentCredentials {
            access_key_id: "AKIASIMULATED".to_owned(),
            secret_access_key: String::new(),
            session_token: None,
            expiration: None,
        };
        let mut config = AgentConfig::new(PathBuf::from(DATA_DIR), self.cores, self.memory);
        config.credentials = CredentialSource::Given(credentials);
        config.region = Some(REGION.to_owned());
        config.availability_zone = Some(self.zone.clone());
        if self.fargate {
            config.attributes.insert(LENDING.to_owned(), "only".to_owned());
        }
        if self.scaled {
            config.attributes.insert(CAPACITY_PROVIDER.to_owned(), SCALED.to_owned());
        }
        let grant = grant_of(&self.name);
        let principal = Principal::ContainerInstance { account: ACCOUNT.to_owned(), region: REGION.to_owned(), grant };
        let plane = AgentNetwork { network: network.clone(), machine: self.name.clone(), principal };
        let agent = Agent::new(config, Arc::new(self.runtime.clone()), Arc::new(plane), seams);
        let (name, ended) = (self.name.clone(), ended.clone());
        let run = async move {
            // Nobody asks it to end: it is killed.
            let (_running, shutdown) = tokio::sync::watch::channel(false);
            let words = match agent.run(shutdown).await {
                Ok(()) => "it ended".to_owned(),
                Err(error) => error.to_string(),
            };
            locked(&ended).push((name, words));
        };
        self.executor.spawn(process, "agent", Box::pin(run));
    }

    /// Ends the agent as kill -9 does; answers whether it ran.
    pub fn kill_agent(&mut self) -> bool {
        let Some(process) = self.agent.take() else { return false };
        self.executor.kill(process);
        true
    }

    pub fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// Deletes what an agent may lose at any time.
    pub fn lose_cache(&self) {
        let cache = Path::new(DATA_DIR).join("agent");
        for name in self.disk.list(&cache).unwrap_or_default() {
            // A disk in memory removes whatever is there.
            let _ = self.disk.remove(&cache.join(name));
        }
    }

    /// Takes the power away.
    pub fn lose_power(&mut self) {
        self.powered = false;
        self.kill_agent();
        self.executor.kill(self.host);
        self.runtime.lose_power();
        self.disk.lose_power();
    }

    /// The containers that run.
    pub fn running(&self) -> Vec<ContainerState> {
        let mut containers = self.runtime.containers();
        containers.retain(|container| container.status == ContainerStatus::Running);
        containers
    }
}

/// The task that a container belongs to: the end of its ARN.
pub(crate) fn task_of(container: &ContainerState) -> String {
    let arn = container.labels.get("com.amazonaws.ecs.task-arn").map_or("", String::as_str);
    arn.rsplit('/').next().unwrap_or("").to_owned()
}
