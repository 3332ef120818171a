//! The engine: takes payloads in, owns the books and the list of tasks, routes the runtime's events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use longshore_protocol::acs::PayloadTask;
use longshore_protocol::task::Task;
use longshore_runtime::{ContainerEvent, ContainerEventKind, ContainerState};
use tokio::sync::{mpsc, oneshot};

use crate::books::{Books, Needs};
use crate::context::Context;
use crate::labels;
use crate::plane::{ContainerStateChange, ReportedStatus, TaskStateChange};
use crate::task::actor::{self, Actor, TaskMessage};
use crate::task::machine::Machine;
use crate::task::record::TaskRecord;
use crate::task::spec;

/// Messages that may wait for the engine.
const INBOX: usize = 1024;
/// Tasks that have ended and are cleaned up, remembered so that a replayed payload does not start them again.
const REMEMBERED: usize = 4096;

/// What the engine is told.
#[derive(Debug)]
pub(crate) enum EngineMessage {
    /// Tasks from the control plane.
    Payload(Vec<PayloadTask>, oneshot::Sender<PayloadOutcome>),
    /// Tasks that are to end.
    Stop(Vec<String>),
    /// A container was made for a task: (container id, task ARN).
    ContainerKnown(String, String),
    /// A task has ended.
    TaskStopped(String),
    /// A task is cleaned up.
    TaskGone(String),
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PayloadOutcome {
    /// A task could not be read: the payload is not to be acknowledged.
    pub unreadable: bool,
}

struct Known {
    tell: mpsc::Sender<TaskMessage>,
    stopped: bool,
}

pub(crate) struct Engine {
    context: Arc<Context>,
    me: mpsc::Sender<EngineMessage>,
    inbox: mpsc::Receiver<EngineMessage>,
    tasks: BTreeMap<String, Known>,
    containers: BTreeMap<String, String>,
    books: Books,
    /// ARNs of stopped tasks, oldest first.
    stopped: VecDeque<String>,
    /// ARNs of tasks that are cleaned up, oldest first.
    gone: VecDeque<String>,
}

impl Engine {
    /// An engine, and where to write to it.
    pub fn new(context: Arc<Context>, cpu: i64, memory: i64) -> (Self, mpsc::Sender<EngineMessage>) {
        let (me, inbox) = mpsc::channel(INBOX);
        let engine = Self {
            context,
            me: me.clone(),
            inbox,
            tasks: BTreeMap::new(),
            containers: BTreeMap::new(),
            books: Books::new(cpu, memory),
            stopped: VecDeque::new(),
            gone: VecDeque::new(),
        };
        (engine, me)
    }

    /// Takes over what runs, then does what it is told, for ever. Resolves `ready` in between.
    pub async fn run(mut self, ready: oneshot::Sender<()>) {
        // Listening before looking: what happens in between is seen twice rather than not at all.
        let mut events = self.context.runtime.events();
        self.adopt().await;
        // Nobody waits any more: the agent is ending.
        let _ = ready.send(());
        let context = self.context.clone();
        loop {
            tokio::select! {
                biased;
                () = context.ended() => return,
                message = self.inbox.recv() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                event = events.next() => match event {
                    Some(event) => self.route(event).await,
                    None => {
                        tracing::error!("the runtime's events ended; listening anew");
                        events = self.context.runtime.events();
                        self.context.seams.clock.sleep(std::time::Duration::from_secs(1)).await;
                    }
                },
            }
        }
    }

    /// Rebuilds tasks from their records and their containers' labels.
    async fn adopt(&mut self) {
        let found = self.list().await;
        let records = self.context.journal.load_tasks().unwrap_or_else(|error| {
            tracing::error!(%error, "task records can not be listed; the containers' labels tell");
            Vec::new()
        });
        let mut records: BTreeMap<String, TaskRecord> =
            records.into_iter().map(|record| (record.task.arn.clone(), record)).collect();
        let mut containers: BTreeMap<String, Vec<ContainerState>> = BTreeMap::new();
        for state in found {
            let Some(arn) = state.labels.get(labels::TASK_ARN).cloned() else { continue };
            if !records.contains_key(&arn)
                && let Some(task) = labels::task_of(&state.labels)
            {
                let record = TaskRecord::of(&task);
                drop(self.context.journal.save_task(task.id(), &record));
                records.insert(arn.clone(), record);
            }
            containers.entry(arn).or_default().push(state);
        }
        for (arn, record) in records {
            self.adopt_task(record, containers.remove(&arn).unwrap_or_default());
        }
        for (arn, states) in containers {
            let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            tracing::error!(task = %arn, ?names, "containers of a task that nothing is known of are left alone");
        }
        self.admit();
    }

    fn adopt_task(&mut self, record: TaskRecord, states: Vec<ContainerState>) {
        let now = self.context.seams.clock.now();
        let task = record.task;
        let arn = task.arn.clone();
        let began = !states.is_empty();
        let state = self.context.journal.load_state(task.id());
        let mut machine = Machine::restore(task, &self.context.cluster, actor::defaults(&self.context), &state);
        for state in states {
            let name = state.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default();
            match machine.index(&name) {
                Some(index) => {
                    self.containers.insert(state.id.clone(), arn.clone());
                    machine.adopt(index, state, now);
                }
                None => tracing::error!(task = %arn, container = %name, "not a container of its task; left alone"),
            }
        }
        machine.adopted(now);
        tracing::info!(task = %arn, status = machine.status().as_str(), "task taken over");
        let stopped = machine.is_stopped();
        let needs = Needs::of(&machine.task);
        let admitted = began || stopped;
        let tell = Actor::spawn(self.context.clone(), self.me.clone(), machine, admitted);
        self.tasks.insert(arn.clone(), Known { tell: tell.clone(), stopped: false });
        if stopped {
            return;
        }
        if began {
            self.books.take(&arn, needs);
        } else if let Err(reason) = self.books.ask(&arn, needs, now) {
            self.tell(&arn, TaskMessage::Refuse(reason));
        }
    }

    async fn list(&self) -> Vec<ContainerState> {
        let seams = &self.context.seams;
        let mut backoff = crate::backoff::Backoff::acs();
        loop {
            match self.context.runtime.list(&BTreeMap::new()).await {
                Ok(found) => return found,
                Err(error) => tracing::error!(%error, "the runtime does not tell what runs; asking again"),
            }
            seams.clock.sleep(backoff.next(&*seams.random)).await;
        }
    }

    fn hear(&mut self, message: EngineMessage) {
        match message {
            EngineMessage::Payload(tasks, reply) => self.payload(tasks, reply),
            EngineMessage::Stop(arns) => {
                for arn in arns {
                    self.tell(&arn, TaskMessage::Stop);
                }
            }
            EngineMessage::ContainerKnown(id, arn) => {
                self.containers.insert(id, arn);
            }
            EngineMessage::TaskStopped(arn) => {
                self.books.free(&arn);
                if let Some(known) = self.tasks.get_mut(&arn) {
                    known.stopped = true;
                    self.stopped.push_back(arn);
                }
                while self.stopped.len() > self.context.config.kept_tasks {
                    let oldest = self.stopped.pop_front().expect("longer than its bound");
                    self.tell(&oldest, TaskMessage::Forget);
                }
                self.admit();
            }
            EngineMessage::TaskGone(arn) => {
                self.tasks.remove(&arn);
                self.context.credentials.remove(&arn);
                self.containers.retain(|_, owner| *owner != arn);
                self.stopped.retain(|known| *known != arn);
                self.gone.push_back(arn);
                if self.gone.len() > REMEMBERED {
                    self.gone.pop_front();
                }
            }
        }
    }

    async fn route(&mut self, event: ContainerEvent) {
        if event.kind == ContainerEventKind::Resync {
            for arn in self.tasks.keys().cloned().collect::<Vec<_>>() {
                self.tell(&arn, TaskMessage::Resync);
            }
            return;
        }
        // A container that was just made may still have its name on the way here.
        while let Ok(message) = self.inbox.try_recv() {
            self.hear(message);
        }
        match self.containers.get(&event.id).cloned() {
            Some(arn) => self.tell(&arn, TaskMessage::Runtime(event.id, event.kind)),
            None => tracing::trace!(container = %event.id, kind = ?event.kind, "event of a container not ours"),
        }
    }

    /// Writes to a task without waiting: a task whose inbox is full gets it later, in a task of its own.
    fn tell(&self, arn: &str, message: TaskMessage) {
        let Some(known) = self.tasks.get(arn) else { return };
        if let Err(mpsc::error::TrySendError::Full(message)) = known.tell.try_send(message) {
            let tell = known.tell.clone();
            let told = async move {
                // The task is gone: nobody needs to know.
                let _ = tell.send(message).await;
            };
            self.context.seams.spawner.spawn("task message", Box::pin(told));
        }
    }

    /// Stops come first, wherever they stand: what they free may be what a start wants.
    fn payload(&mut self, tasks: Vec<PayloadTask>, reply: oneshot::Sender<PayloadOutcome>) {
        let mut outcome = PayloadOutcome::default();
        let mut stored = Vec::new();
        let is_stop = |task: &PayloadTask| matches!(task, PayloadTask::Task(task) if matches!(task.desired_status.as_str(), "STOPPED" | "NONE"));
        let (stops, starts): (Vec<_>, Vec<_>) = tasks.into_iter().partition(is_stop);
        for task in stops.into_iter().chain(starts) {
            let task = match task {
                PayloadTask::Task(task) => task,
                PayloadTask::Unreadable { arn, error } => {
                    self.refuse(&arn, &error);
                    outcome.unreadable = true;
                    continue;
                }
            };
            let stop = matches!(task.desired_status.as_str(), "STOPPED" | "NONE");
            match (self.tasks.contains_key(&task.arn), stop) {
                (true, true) => self.tell(&task.arn, TaskMessage::Stop),
                (true, false) => {}
                (false, true) => self.report_unknown(&task),
                (false, false) if self.gone.contains(&task.arn) => self.report_unknown(&task),
                (false, false) => {
                    if let Err(error) = spec::check_task(&task) {
                        self.refuse(&task.arn, &error);
                        outcome.unreadable = true;
                    } else if !task.containers.is_empty() {
                        stored.push(self.begin(*task));
                    }
                }
            }
        }
        self.admit();
        let acknowledge = async move {
            for stored in stored {
                // The journal is gone only when the agent ends.
                let _ = stored.await;
            }
            // The connection it came on is gone: it will be sent again.
            let _ = reply.send(outcome);
        };
        self.context.seams.spawner.spawn("payload", Box::pin(acknowledge));
    }

    /// Takes a new task; resolves what it answers once the task is stored.
    fn begin(&mut self, task: Task) -> oneshot::Receiver<()> {
        let now = self.context.seams.clock.now();
        let (arn, needs) = (task.arn.clone(), Needs::of(&task));
        let machine = Machine::new(task, &self.context.cluster, actor::defaults(&self.context));
        let stored = self.context.journal.save_task(machine.task.id(), &TaskRecord::of(&machine.task));
        let tell = Actor::spawn(self.context.clone(), self.me.clone(), machine, false);
        self.tasks.insert(arn.clone(), Known { tell, stopped: false });
        if let Err(reason) = self.books.ask(&arn, needs, now) {
            self.tell(&arn, TaskMessage::Refuse(reason));
        }
        stored
    }

    fn admit(&mut self) {
        let now = self.context.seams.clock.now();
        for arn in self.books.admit(now) {
            self.tell(&arn, TaskMessage::Begin);
        }
    }

    fn refuse(&self, arn: &str, error: &str) {
        tracing::error!(task = arn, error, "task refused");
        if arn.is_empty() {
            return;
        }
        let reason = format!("UnrecogniedTaskError: Error loading task - {error}");
        let change = TaskStateChange {
            cluster: self.context.cluster.clone(),
            task: arn.to_owned(),
            status: ReportedStatus::Stopped,
            reason: reason.chars().take(1024).collect(),
            ..TaskStateChange::default()
        };
        self.context.reporter.submit(change, None);
    }

    /// A task that is not here has stopped, whatever else is known of it.
    fn report_unknown(&self, task: &Task) {
        let containers = task.containers.iter().map(|container| ContainerStateChange {
            container_name: container.name.clone(),
            status: ReportedStatus::Stopped,
            ..ContainerStateChange::default()
        });
        let change = TaskStateChange {
            cluster: self.context.cluster.clone(),
            task: task.arn.clone(),
            status: ReportedStatus::Stopped,
            execution_stopped_at: Some(self.context.seams.clock.now()),
            containers: containers.collect(),
            ..TaskStateChange::default()
        };
        self.context.reporter.submit(change, None);
    }
}
