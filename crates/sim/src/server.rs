//! The server: the real control plane, on what is durable.

use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore_control::accounts::Accounts;
use longshore_control::admin::{AdminService, ServerInfo};
use longshore_control::engine::{CommitObserver, Engine};
use longshore_control::history::History;
use longshore_control::keyring::Keyring;
use longshore_control::service::EcsService;
use longshore_seams::{BoxFuture, Random, Seams, SeededRandom};
use longshore_store::memory::{Memory, MemoryOptions};
use tokio::sync::{mpsc, oneshot};

use crate::disk::SimDisk;
use crate::executor::{Executor, Process, ProcessSpawner, SimClock, locked};
use crate::network::REGION;
use crate::speaker::Speaker;
use crate::store::SimStore;

/// The server through all its lives. Clones share it.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    executor: Executor,
    pub clock: Arc<SimClock>,
    random: Arc<SeededRandom>,
    speaker: Speaker,
    state: Mutex<State>,
}

/// What the server answers with, once it has loaded.
#[derive(Clone)]
pub(crate) struct Open {
    /// The ECS API, and the loops.
    pub ecs: EcsService,
    /// Longshore's own API.
    pub admin: Arc<AdminService>,
}

impl Open {
    fn new(engine: Engine, history: History, speaker: Speaker, seams: &Seams) -> Self {
        let events = history.events().clone();
        let ecs =
            EcsService::open_with(engine, history, Arc::new(speaker.clone()), Arc::new(speaker.functions().clone()));
        let info = ServerInfo {
            version: String::new(),
            data_directory_id: String::new(),
            region: REGION.to_owned(),
            started_at: seams.clock.now(),
        };
        let accounts = Accounts::new(ecs.engine.clone(), Arc::new(Keyring::generate(&*seams.random)));
        // Nobody asks it to shut down.
        let (shutdown, _) = mpsc::channel(1);
        let engine = ecs.engine.clone();
        let admin = AdminService { engine, accounts, info, reconcilers: ecs.reconcilers(), events, shutdown };
        Self { ecs, admin: Arc::new(admin) }
    }
}

struct State {
    durable: Arc<Memory>,
    disk: SimDisk,
    full: bool,
    /// The latest life, from when it was started until it is killed.
    life: Option<Life>,
    /// The control plane, once it has loaded.
    open: Option<Open>,
    failed: bool,
}

struct Life {
    process: Process,
    store: SimStore,
}

impl Server {
    pub fn new(executor: Executor, speaker: Speaker, seed: u64) -> Self {
        let state = State {
            durable: Arc::new(Memory::new(MemoryOptions::default())),
            disk: SimDisk::default(),
            full: false,
            life: None,
            open: None,
            failed: false,
        };
        Self(Arc::new(Inner {
            clock: Arc::new(SimClock::new(executor.clone())),
            random: Arc::new(SeededRandom::new(seed ^ 0x7365_7276)),
            executor,
            speaker,
            state: Mutex::new(state),
        }))
    }

    pub fn clock(&self) -> &SimClock {
        &self.0.clock
    }

    /// Starts it, if it does not run. `opened` gets the control plane when it has loaded.
    pub fn start(&self, opened: impl FnOnce(&EcsService) -> Arc<dyn CommitObserver> + Send + 'static) {
        let mut state = locked(&self.0.state);
        if state.life.is_some() {
            return;
        }
        let process = self.0.executor.process();
        let random: Arc<dyn Random> = self.0.random.clone();
        let store = SimStore::open(state.durable.clone(), &self.0.executor, process, random.clone());
        store.set_full(state.full);
        state.life = Some(Life { process, store: store.clone() });
        state.failed = false;
        let seams = Seams {
            clock: self.0.clock.clone(),
            random,
            spawner: Arc::new(ProcessSpawner { executor: self.0.executor.clone(), process }),
            disk: Arc::new(state.disk.clone()),
        };
        drop(state);
        let server = self.clone();
        let open = async move {
            let fatal = server.clone();
            let on_fatal = Arc::new(move |_: &_| locked(&fatal.0.state).failed = true);
            let engine = match Engine::open(Arc::new(store), seams.clone(), on_fatal).await {
                Ok(engine) => engine,
                Err(_) => return locked(&server.0.state).failed = true,
            };
            let Ok(history) = History::open(Path::new("/server/history"), &seams) else {
                return locked(&server.0.state).failed = true;
            };
            let open = Open::new(engine, history, server.0.speaker.clone(), &seams);
            open.ecs.engine.observe(opened(&open.ecs));
            locked(&server.0.state).open = Some(open);
        };
        self.0.executor.spawn(process, "server", Box::pin(open));
    }

    /// Whether it has ended by itself since it was started: the store failed.
    pub fn has_failed(&self) -> bool {
        locked(&self.0.state).failed
    }

    /// Ends it as kill -9 does; answers whether it ran.
    pub fn kill(&self) -> bool {
        let (life, open) = {
            let mut state = locked(&self.0.state);
            (state.life.take(), state.open.take())
        };
        let Some(life) = life else { return false };
        self.0.executor.kill(life.process);
        drop(open);
        let durable = Arc::new(life.store.crash(&*self.0.random));
        let mut state = locked(&self.0.state);
        state.durable = durable;
        state.failed = false;
        true
    }

    /// Makes commits fail, or work again.
    pub fn set_full(&self, full: bool) {
        let mut state = locked(&self.0.state);
        state.full = full;
        state.disk.set_full(full);
        if let Some(life) = &state.life {
            life.store.set_full(full);
        }
    }

    /// The control plane, while it is up.
    pub fn open(&self) -> Option<Open> {
        let state = locked(&self.0.state);
        state.open.clone().filter(|_| !state.failed)
    }

    /// Does `work` in the server's process; `None` when nobody listens. The answer never comes when it is killed.
    pub fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(Open) -> BoxFuture<'static, T>,
    ) -> Option<oneshot::Receiver<T>> {
        let open = self.open()?;
        let process = locked(&self.0.state).life.as_ref()?.process;
        let (answer, answered) = oneshot::channel();
        let work = work(open);
        self.0.executor.spawn(
            process,
            "server",
            Box::pin(async move {
                // The caller may have given up.
                let _ = answer.send(work.await);
            }),
        );
        Some(answered)
    }
}
