//! The actor that owns a task: messages in, the machine decides, runtime calls out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join, join3};
use futures_util::stream::FuturesUnordered;
use longshore_protocol::task::Task;
use longshore_runtime::{
    ContainerEventKind, ContainerState, ContainerStatus, ImageInfo, MountSource, NetworkMode, RuntimeError,
    RuntimeResult,
};
use longshore_seams::BoxFuture;
use tokio::sync::mpsc;

use super::machine::{Action, CreateError, Defaults, Event, Known, Machine, StartError};
use super::spec::{self, Settings};
use crate::backoff::Backoff;
use crate::config::PullBehavior;
use crate::context::Context;
use crate::endpoint::{RELATIVE_URI, relative_uri};
use crate::engine::EngineMessage;
use crate::journal::Journal;
use crate::logs::{Prepared, Shipper};
use crate::plane::{ReportedStatus, TaskStateChange};
use crate::view::{ContainerView, TaskView};

/// A runtime that does not answer a create or start for so long has failed it.
const CALL_TIMEOUT: Duration = Duration::from_secs(240);
/// Tries of a create or start while the runtime is away.
const CALL_TRIES: u32 = 4;
/// Messages that may wait for one task.
pub(crate) const INBOX: usize = 64;

/// What a task is told.
#[derive(Debug)]
pub(crate) enum TaskMessage {
    /// The host has room for it.
    Begin,
    /// It is to end.
    Stop,
    /// It can never begin: the reason.
    Refuse(String),
    /// Something happened to the container with this id.
    Runtime(String, ContainerEventKind),
    /// Events may have been missed.
    Resync,
    /// A report was taken.
    Accepted(Box<TaskStateChange>),
    /// All output of the container at this place is shipped.
    Shipped(usize),
    /// Clean up as soon as everything is reported and shipped.
    Forget,
}

/// A container's output: not read yet, being shipped, or wholly shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shipping {
    #[default]
    NotYet,
    Going,
    Done,
}

enum Done {
    Event(Event),
    /// A container was made (or not), and its log stream with it.
    Created(usize, Result<(String, Option<ImageInfo>), CreateError>, Prepared),
}

pub(crate) struct Actor {
    context: Arc<Context>,
    engine: mpsc::Sender<EngineMessage>,
    machine: Machine,
    inbox: mpsc::Receiver<TaskMessage>,
    me: mpsc::Sender<TaskMessage>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    settings: Vec<Option<Settings>>,
    prepared: BTreeMap<usize, String>,
    shipping: Vec<Shipping>,
    /// It may begin.
    admitted: bool,
    /// The engine was told that it has ended.
    told_stopped: bool,
    forget: bool,
    /// The last state given to the journal, to write only what changed.
    recorded: Vec<u8>,
}

/// The waiting times of tasks on this agent.
pub(crate) fn defaults(context: &Context) -> Defaults {
    Defaults {
        start_timeout: context.config.start_timeout,
        stop_timeout: context.config.stop_timeout,
        pull_first: context.config.pull_behavior != PullBehavior::PreferCached,
        fall_back: context.config.pull_behavior == PullBehavior::Default,
    }
}

impl Actor {
    /// Starts the actor of a task; answers where to write to it.
    pub fn spawn(
        context: Arc<Context>,
        engine: mpsc::Sender<EngineMessage>,
        machine: Machine,
        admitted: bool,
    ) -> mpsc::Sender<TaskMessage> {
        let (me, inbox) = mpsc::channel(INBOX);
        let count = machine.units.len();
        let spawner = context.seams.spawner.clone();
        let actor = Self {
            context,
            engine,
            machine,
            inbox,
            me: me.clone(),
            work: FuturesUnordered::new(),
            settings: vec![None; count],
            prepared: BTreeMap::new(),
            shipping: vec![Shipping::NotYet; count],
            admitted,
            told_stopped: false,
            forget: false,
            recorded: Vec::new(),
        };
        spawner.spawn("task", Box::pin(actor.run()));
        me
    }

    async fn run(mut self) {
        let context = self.context.clone();
        loop {
            self.step().await;
            if self.may_be_cleaned() {
                self.clean_up().await;
                return;
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                () = context.ended() => return,
                message = self.inbox.recv() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => self.take(done),
                () = wake => {}
            }
        }
    }

    /// Plans, does, reports, records, shows.
    async fn step(&mut self) {
        let now = self.context.seams.clock.now();
        if self.admitted || self.machine.stopping {
            for action in self.machine.plan(now) {
                self.begin(action);
            }
        }
        for report in self.machine.take_reports() {
            self.context.reporter.submit(report, Some(self.me.clone()));
        }
        self.ship();
        self.record();
        let view = self.view();
        self.context.registry.put(view);
        if self.machine.is_stopped() && !self.told_stopped {
            self.told_stopped = true;
            let stopped = EngineMessage::TaskStopped(self.machine.task.arn.clone());
            // The engine is gone only when the agent ends.
            let _ = self.engine.send(stopped).await;
        }
    }

    fn hear(&mut self, message: TaskMessage) {
        let now = self.context.seams.clock.now();
        match message {
            TaskMessage::Begin => self.admitted = true,
            TaskMessage::Stop => self.machine.stop(now),
            TaskMessage::Refuse(reason) => self.machine.refuse(&reason, now),
            TaskMessage::Runtime(id, ContainerEventKind::Health(health)) => {
                if let Some(index) = self.by_id(&id)
                    && self.machine.units[index].known == Known::Running
                {
                    self.machine.units[index].health = Some((health, now));
                }
            }
            TaskMessage::Runtime(id, ContainerEventKind::Exited) => {
                if let Some(index) = self.by_id(&id) {
                    self.begin(Action::Inspect(index));
                }
            }
            TaskMessage::Runtime(..) => {}
            TaskMessage::Resync => {
                for index in 0..self.machine.units.len() {
                    let known = self.machine.units[index].known;
                    if known == Known::Running || known == Known::Created {
                        self.begin(Action::Inspect(index));
                    }
                }
            }
            TaskMessage::Accepted(change) => self.machine.accept(&change),
            TaskMessage::Shipped(index) => {
                self.shipping[index] = Shipping::Done;
                // Its output has ended, so it has too, or runs anew: a look tells which.
                if self.machine.units[index].known != Known::Stopped {
                    self.begin(Action::Inspect(index));
                }
            }
            TaskMessage::Forget => self.forget = true,
        }
    }

    fn take(&mut self, done: Done) {
        let now = self.context.seams.clock.now();
        match done {
            Done::Event(event) => {
                let runs = match &event {
                    Event::Started(index, Ok(_)) => Some(*index),
                    Event::Observed(index, Ok(state)) if state.status == ContainerStatus::Running => Some(*index),
                    _ => None,
                };
                if let Some(index) = runs.filter(|index| self.shipping[*index] == Shipping::Done) {
                    self.shipping[index] = Shipping::NotYet;
                }
                self.machine.apply(event, now);
            }
            Done::Created(index, result, prepared) => {
                if let Ok((id, _)) = &result {
                    self.tell_id(id.clone());
                }
                if let Err(words) = prepared {
                    self.prepared.insert(index, words);
                }
                self.machine.apply(Event::Created(index, result), now);
                self.report_host_ports(index);
            }
        }
    }

    /// The engine routes the runtime's events by id; those before this message concern nobody, as the
    /// container has not been started.
    fn tell_id(&mut self, id: String) {
        let known = EngineMessage::ContainerKnown(id, self.machine.task.arn.clone());
        if let Err(mpsc::error::TrySendError::Full(known)) = self.engine.try_send(known) {
            let engine = self.engine.clone();
            let told = async move {
                // The engine is gone only when the agent ends.
                let _ = engine.send(known).await;
            };
            self.context.seams.spawner.spawn("container id", Box::pin(told));
        }
    }

    /// Host mode publishes nothing, so the runtime has no bindings to tell: the container's own ports are it.
    fn report_host_ports(&mut self, index: usize) {
        if let Some(settings) = &self.settings[index]
            && !settings.host_ports.is_empty()
        {
            self.machine.units[index].host_ports.clone_from(&settings.host_ports);
        }
    }

    fn by_id(&self, id: &str) -> Option<usize> {
        self.machine.units.iter().position(|unit| unit.runtime_id.as_deref() == Some(id))
    }

    fn begin(&mut self, action: Action) {
        let context = self.context.clone();
        let work: BoxFuture<'static, Done> = match action {
            Action::Pull(index) => {
                let image = self.machine.task.containers[index].image.clone();
                Box::pin(async move { Done::Event(Event::Pulled(index, pull(&context, &image).await)) })
            }
            Action::Create(index) => self.create(index),
            Action::Start(index) => match (self.prepared.remove(&index), self.id_of(index)) {
                (Some(words), _) => {
                    Box::pin(async move { Done::Event(Event::Started(index, Err(StartError::Logs(words)))) })
                }
                (None, id) => Box::pin(async move {
                    let result = started(&context, &id).await.map_err(StartError::Runtime);
                    Done::Event(Event::Started(index, result))
                }),
            },
            Action::Stop(index, timeout) => {
                let id = self.id_of(index);
                Box::pin(async move { Done::Event(Event::Stopped(index, stopped(&context, &id, timeout).await)) })
            }
            Action::Inspect(index) => {
                let id = self.id_of(index);
                Box::pin(async move { Done::Event(Event::Observed(index, observed(&context, &id).await)) })
            }
        };
        self.work.push(work);
    }

    fn id_of(&self, index: usize) -> String {
        self.machine.units[index].runtime_id.clone().unwrap_or_default()
    }

    fn create(&mut self, index: usize) -> BoxFuture<'static, Done> {
        let task = &self.machine.task;
        let settings = match spec::settings(task, index, &self.context.cluster) {
            Ok(settings) => settings,
            Err(reason) => {
                return Box::pin(async move { Done::Created(index, Err(CreateError::Settings(reason)), Ok(())) });
            }
        };
        let mut spec = settings.spec.clone();
        if let Some(keys) = task.role_credentials.as_ref().filter(|_| self.context.task_roles) {
            spec.environment.insert(RELATIVE_URI.to_owned(), relative_uri(&keys.credentials_id));
        }
        let id = |name: &String| self.machine.index(name).map(|index| self.id_of(index));
        spec.links = settings.links.iter().filter_map(|(name, alias)| Some((id(name)?, alias.clone()))).collect();
        spec.volumes_from =
            settings.volumes_from.iter().filter_map(|(name, read_only)| Some((id(name)?, *read_only))).collect();
        if let Some(owner) = self.machine.joined_network(index) {
            // Names and name servers are the network's, too.
            spec.network = NetworkMode::Container(self.id_of(owner));
            spec.hostname = None;
            (spec.dns, spec.dns_search, spec.extra_hosts) = (Vec::new(), Vec::new(), Vec::new());
        }
        let mounts_volume = spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Volume(_)));
        let volumes = if mounts_volume { volumes(task) } else { Vec::new() };
        let ask_image = self.machine.units[index].image_digest.is_none();
        let logs = settings.logs.clone().filter(|logs| logs.required);
        self.settings[index] = Some(settings);
        let context = self.context.clone();
        Box::pin(async move {
            for volume in &volumes {
                if let Err(error) = context.runtime.create_volume(volume).await {
                    return Done::Created(index, Err(CreateError::Volume(error)), Ok(()));
                }
            }
            let made = created(&context, &spec);
            let image = async {
                let image = if ask_image { context.runtime.image(&spec.image).await.ok().flatten() } else { None };
                image.filter(|image| image.digest.is_some())
            };
            let (made, image, prepared) = match &logs {
                Some(logs) if logs.stream.is_some() => join3(made, image, Shipper::prepare(&context, logs, "")).await,
                Some(logs) => {
                    let (made, image) = join(made, image).await;
                    let prepared = match &made {
                        Ok(id) => Shipper::prepare(&context, logs, id).await,
                        Err(_) => Ok(()),
                    };
                    (made, image, prepared)
                }
                None => {
                    let (made, image) = join(made, image).await;
                    (made, image, Ok(()))
                }
            };
            Done::Created(index, made.map(|id| (id, image)).map_err(CreateError::Runtime), prepared)
        })
    }

    /// Starts shipping the output of containers that have one.
    fn ship(&mut self) {
        for index in 0..self.shipping.len() {
            let unit = &self.machine.units[index];
            if self.shipping[index] != Shipping::NotYet || !unit.ever_ran {
                continue;
            }
            let (Some(id), Some(logs)) = (unit.runtime_id.clone(), self.destination(index)) else {
                self.shipping[index] = Shipping::Done;
                continue;
            };
            self.shipping[index] = Shipping::Going;
            let (shipper, me) = (Shipper::new(self.context.clone(), &id, logs), self.me.clone());
            let context = self.context.clone();
            let ship = async move {
                tokio::select! {
                    biased;
                    () = shipper.ship() => {}
                    () = context.ended() => return,
                }
                // The task is gone: nobody needs to know.
                let _ = me.send(TaskMessage::Shipped(index)).await;
            };
            self.context.seams.spawner.spawn("log shipper", Box::pin(ship));
        }
    }

    fn destination(&mut self, index: usize) -> Option<crate::logs::LogDestination> {
        if self.settings[index].is_none() {
            self.settings[index] = spec::settings(&self.machine.task, index, &self.context.cluster).ok();
        }
        self.settings[index].as_ref()?.logs.clone()
    }

    fn record(&mut self) {
        let bytes = Journal::encode(&self.machine.record());
        if bytes != self.recorded {
            self.context.journal.save_state(self.machine.task.id(), bytes.clone());
            self.recorded = bytes;
        }
    }

    fn view(&self) -> TaskView {
        let task = &self.machine.task;
        let containers = task.containers.iter().zip(&self.machine.units).enumerate();
        TaskView {
            arn: task.arn.clone(),
            cluster_arn: task.task_cluster_arn.clone(),
            family: task.family.clone(),
            version: task.version.clone(),
            desired_running: !self.machine.stopping,
            known: self.machine.status(),
            containers: containers
                .map(|(index, (container, unit))| ContainerView {
                    name: container.name.clone(),
                    runtime_id: unit.runtime_id.clone(),
                    running: unit.known == Known::Running,
                    health_check: container.health_check_type == "docker"
                        || self.settings[index].as_ref().is_some_and(|settings| settings.spec.health_check.is_some()),
                    health: unit.health,
                    restart_count: unit.restart_count,
                    own_network: self.settings[index].as_ref().is_none_or(|settings| {
                        matches!(settings.spec.network, NetworkMode::Bridge | NetworkMode::Container(_))
                    }),
                })
                .collect(),
        }
    }

    fn may_be_cleaned(&self) -> bool {
        let settled = self.machine.is_stopped()
            && self.work.is_empty()
            && self.machine.accepted == ReportedStatus::Stopped
            && !self.shipping.contains(&Shipping::Going);
        let due = self
            .machine
            .stopped_at
            .is_none_or(|stopped| stopped.plus(self.context.config.cleanup_wait) <= self.context.seams.clock.now());
        settled && (due || self.forget)
    }

    fn wake(&self) -> BoxFuture<'static, ()> {
        let clean = self.machine.stopped_at.map(|stopped| stopped.plus(self.context.config.cleanup_wait));
        let now = self.context.seams.clock.now();
        // What is overdue waits for a message, not for time.
        let next = [self.machine.wake_at, clean].into_iter().flatten().filter(|at| *at > now).min();
        match next {
            Some(at) => self.context.seams.clock.sleep(at.since(now)),
            None => Box::pin(std::future::pending()),
        }
    }

    /// Removes what the task has left behind.
    async fn clean_up(&mut self) {
        let seams = self.context.seams.clone();
        let mut backoff = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(300));
        for index in 0..self.machine.units.len() {
            let Some(id) = self.machine.units[index].runtime_id.clone() else { continue };
            while let Err(error) = self.context.runtime.remove(&id).await {
                tracing::warn!(task = %self.machine.task.arn, container = %id, %error, "container not removed yet");
                seams.clock.sleep(backoff.next(&*seams.random)).await;
            }
            self.context.journal.remove_cursor(&id);
        }
        for volume in spec::task_volumes(&self.machine.task) {
            if let Err(error) = self.context.runtime.remove_volume(&volume.name).await {
                tracing::warn!(task = %self.machine.task.arn, volume = %volume.name, %error, "volume not removed");
            }
        }
        self.context.journal.remove_task(self.machine.task.id());
        self.context.registry.remove(&self.machine.task.arn);
        // The engine is gone only when the agent ends.
        let _ = self.engine.send(EngineMessage::TaskGone(self.machine.task.arn.clone())).await;
    }
}

fn volumes(task: &Task) -> Vec<longshore_runtime::VolumeSpec> {
    spec::task_volumes(task).into_iter().chain(spec::shared_volumes(task)).collect()
}

async fn pull(context: &Context, image: &str) -> RuntimeResult<ImageInfo> {
    let mut backoff = Backoff::new(Duration::from_millis(500), 2.0, Duration::from_secs(10));
    let mut tries = 0;
    loop {
        let progress = |progress: longshore_runtime::PullProgress| {
            tracing::trace!(image, layer = %progress.layer, action = %progress.action, done = progress.done_bytes);
        };
        tries += 1;
        match context.runtime.pull(image, None, &progress).await {
            Ok(info) => return Ok(info),
            // What the runtime can't do at all does not get better.
            Err(error @ RuntimeError::Unsupported { .. }) => return Err(error),
            Err(error) if tries >= context.config.pull_attempts => return Err(error),
            Err(error) => tracing::warn!(image, %error, tries, "pull will be tried again"),
        }
        context.seams.clock.sleep(backoff.next(&*context.seams.random)).await;
    }
}

/// Calls the runtime, again while it is away, for a bounded number of times and time.
async fn patient<'a, T>(
    context: &'a Context,
    what: &str,
    call: impl Fn() -> BoxFuture<'a, RuntimeResult<T>> + Send,
) -> RuntimeResult<T> {
    let mut backoff = Backoff::new(Duration::from_millis(250), 2.0, Duration::from_secs(5));
    let mut tries = 0;
    loop {
        tries += 1;
        let result = tokio::select! {
            biased;
            result = call() => result,
            () = context.seams.clock.sleep(CALL_TIMEOUT) => Err(RuntimeError::Unavailable(format!(
                "DockerTimeoutError: could not {what}: no answer within {} s", CALL_TIMEOUT.as_secs()
            ))),
        };
        match result {
            Err(RuntimeError::Unavailable(_)) if tries < CALL_TRIES => {
                context.seams.clock.sleep(backoff.next(&*context.seams.random)).await;
            }
            result => return result,
        }
    }
}

async fn created(context: &Context, spec: &longshore_runtime::ContainerSpec) -> RuntimeResult<String> {
    patient(context, "create the container", || context.runtime.create(spec)).await
}

async fn started(context: &Context, id: &str) -> RuntimeResult<ContainerState> {
    patient(context, "start the container", || context.runtime.start(id)).await
}

/// Looks, for as long as it takes: nobody tells again that a container has ended.
async fn observed(context: &Context, id: &str) -> RuntimeResult<ContainerState> {
    let mut backoff = Backoff::new(Duration::from_millis(250), 2.0, Duration::from_secs(30));
    loop {
        match context.runtime.inspect(id).await {
            Err(error @ RuntimeError::Unavailable(_)) => {
                tracing::warn!(container = id, %error, "the container will be looked at again");
                context.seams.clock.sleep(backoff.next(&*context.seams.random)).await;
            }
            result => return result,
        }
    }
}

/// Stops, for as long as it takes: a container that should not run is never given up.
async fn stopped(context: &Context, id: &str, timeout: Duration) -> RuntimeResult<ContainerState> {
    let mut backoff = Backoff::new(Duration::from_millis(250), 2.0, Duration::from_secs(30));
    loop {
        match context.runtime.stop(id, timeout).await {
            Err(error) if !matches!(error, RuntimeError::NoSuchContainer(_)) => {
                tracing::warn!(container = id, %error, "stop will be tried again");
                context.seams.clock.sleep(backoff.next(&*context.seams.random)).await;
            }
            result => return result,
        }
    }
}
