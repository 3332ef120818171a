//! An ACS connection: from the handshake until either side goes away.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use longshore_api::{ServiceError, ecs};
use longshore_model::records::{
    ContainerInstanceRecord, Delivery, DesiredStatus, TaskDefinitionRecord, TaskRecord, TaskStatus,
};
use longshore_model::{Id, task};
use longshore_protocol::acs::{
    AckRequest, FromAgent, FromServer, HeartbeatMessage, IamRoleCredentialsMessage, PayloadMessage,
    ROLE_TASK_APPLICATION, TaskIdentifier, TaskManifestMessage, TaskStopVerificationAck, TaskStopVerificationMessage,
};
use longshore_protocol::query::AcsQuery;
use longshore_protocol::task::Task;
use longshore_protocol::{CLOSE_INACTIVE_INSTANCE, HEARTBEAT_INTERVAL, INACTIVE_INSTANCE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::Inner;
use super::address::Address;
use super::payload;
use super::registry::{End, Mail, Mailbox};
use super::roles::Roles;
use crate::changes::Change;
use crate::state::{ClusterState, InstanceState, ScopeState, State};

/// Acknowledgements and stop candidates are small.
const MAX_MESSAGE: usize = 1 << 20;
/// Each connection has a buffer of this size to read into: there are thousands of them, and agents say little.
pub(super) const READ_BUFFER: usize = 4096;
/// Most tasks of one payload.
const PAYLOAD_TASKS: usize = 20;
/// So many numbers are set aside in the record at once: a payload costs no write of its own, and
/// what a crash leaves unused is skipped.
const SEQUENCE_BLOCK: i64 = 1_000;
/// Network mode of tasks with an interface of their own.
const AWSVPC: &str = "awsvpc";
/// Most acknowledged stops of one transaction.
const ACKNOWLEDGED_AT_ONCE: usize = 90;

/// The connection has ended, for this reason.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the agent closed the connection")]
    Closed,
    #[error("the agent acknowledges no heartbeats")]
    Silent,
    #[error("the agent takes no messages")]
    Stuck,
    #[error("it was replaced by a newer connection")]
    Replaced,
    #[error("the container instance was deregistered")]
    Deregistered,
    #[error("the container instance is gone")]
    Gone,
    #[error(transparent)]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error(transparent)]
    State(#[from] ServiceError),
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(inner: &Arc<Inner>, address: Address, query: &AcsQuery, socket: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).read_buffer_size(READ_BUFFER);
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let mailbox = inner.registry.connect(address.instance);
    let arn = address.instance_arn();
    tracing::info!(instance = arn, agent = query.agent_version, "agent connected");
    let mut session = Session {
        inner,
        address: &address,
        socket,
        protocol_version: query.protocol_version,
        told: BTreeMap::new(),
        in_flight: BTreeMap::new(),
        manifest: None,
        roles: Roles::default(),
        next_number: 0,
        numbers_end: 0,
    };
    let Err(ended) = session.run(query, &mailbox).await;
    let close = match ended {
        Ended::Deregistered | Ended::Gone => {
            let reason = format!("{INACTIVE_INSTANCE}: the container instance was deregistered");
            Some((CloseCode::from(CLOSE_INACTIVE_INSTANCE), reason))
        }
        Ended::Replaced => Some((CloseCode::Policy, "the container instance connected anew".to_owned())),
        Ended::Closed | Ended::Silent | Ended::Stuck | Ended::Socket(_) | Ended::State(_) => None,
    };
    if let Some((code, reason)) = close {
        session.close(code, reason).await;
    }
    tracing::info!(instance = arn, reason = %ended, "agent disconnected");
    disconnect(inner, &address, &mailbox).await;
}

/// `agentConnected` becomes false, unless the instance has connected anew.
async fn disconnect(inner: &Inner, address: &Address, mailbox: &Arc<Mailbox>) {
    let written: Result<(), ServiceError> = inner
        .engine
        .write(|state, changes| {
            if inner.registry.is_current(address.instance, mailbox) && address.look_up(state).is_some() {
                changes.push(connected(address, false));
            }
            Ok(())
        })
        .await;
    if let Err(error) = written {
        tracing::warn!(%error, "a lost connection was not noted");
    }
    inner.registry.disconnect(address.instance, mailbox);
}

fn connected(address: &Address, stands: bool) -> Change {
    Change::AgentConnected(address.scope.clone(), address.cluster, address.instance, stands)
}

struct Session<'a, S> {
    inner: &'a Arc<Inner>,
    address: &'a Address,
    socket: WebSocketStream<S>,
    protocol_version: u32,
    /// What this connection has told the agent of each task.
    told: BTreeMap<Id, Delivery>,
    /// Payloads not acknowledged yet: the tasks whose acknowledgement shows.
    in_flight: BTreeMap<String, Vec<(Id, Delivery)>>,
    /// Message id of the latest manifest.
    manifest: Option<String>,
    roles: Roles,
    next_number: i64,
    numbers_end: i64,
}

/// A task to tell, with what its payload is made of.
struct Work {
    /// Name of its cluster.
    cluster: String,
    cluster_id: Id,
    task: Arc<TaskRecord>,
    definition: Option<Arc<TaskDefinitionRecord>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    async fn run(&mut self, query: &AcsQuery, mailbox: &Mailbox) -> Result<std::convert::Infallible, Ended> {
        let tasks = self.connect(query).await?;
        self.send_manifest(&tasks).await?;
        let ids: Vec<Id> = tasks.iter().map(|(_, task)| task.id).collect();
        self.tell(ids.iter().map(|id| (*id, true)).collect()).await?;
        let needed = self.roles.resume(self.inner, ids.into_iter(), query.send_credentials);
        self.send_credentials(needed).await?;
        let clock = self.inner.engine.seams().clock.clone();
        let mut beat = clock.sleep(HEARTBEAT_INTERVAL);
        let mut unanswered = false;
        loop {
            tokio::select! {
                biased;
                frame = self.socket.next() => {
                    match frame {
                        Some(Ok(Message::Text(text))) => {
                            // Whatever an agent says shows that it is there.
                            unanswered = false;
                            self.take(text.as_str()).await?;
                        }
                        Some(Ok(Message::Close(_))) | None => return Err(Ended::Closed),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error.into()),
                    }
                }
                Mail { tasks, end } = mailbox.next() => {
                    match end {
                        Some(End::Replaced) => return Err(Ended::Replaced),
                        Some(End::Deregistered) => return Err(Ended::Deregistered),
                        None => self.tell(tasks).await?,
                    }
                }
                () = &mut beat => {
                    if unanswered && self.protocol_version >= 2 {
                        return Err(Ended::Silent);
                    }
                    let message_id = self.inner.engine.seams().random.uuid();
                    self.send(&FromServer::Heartbeat(HeartbeatMessage { message_id, healthy: Some(true) })).await?;
                    unanswered = true;
                    let due = self.roles.due(clock.now());
                    self.send_credentials(due).await?;
                    beat = clock.sleep(HEARTBEAT_INTERVAL);
                }
            }
        }
    }

    /// Marks the instance connected, notes the agent's versions, and sets numbers aside. Answers
    /// the tasks that are to be on the instance, or to leave it.
    async fn connect(&mut self, query: &AcsQuery) -> Result<Vec<Named>, Ended> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let versions = ecs::VersionInfo {
            agent_version: given(&query.agent_version),
            agent_hash: given(&query.agent_hash),
            docker_version: given(&query.docker_version).map(|version| format!("DockerVersion: {version}")),
        };
        let address = self.address;
        let (tasks, first) = self
            .inner
            .engine
            .write(|state, changes| {
                let (cluster, instance) = address.look_up(state).ok_or_else(gone)?;
                let mut record = (*instance.record).clone();
                if record.version_info.as_ref() != Some(&versions) {
                    record.version_info = Some(versions);
                    record.version += 1;
                }
                let first = record.last_sequence + 1;
                record.last_sequence += SEQUENCE_BLOCK;
                changes.push(Change::PutContainerInstance(address.scope.clone(), Arc::new(record)));
                changes.push(connected(address, true));
                Ok::<_, ServiceError>((live_tasks(state.scope(&address.scope), cluster, instance), first))
            })
            .await?;
        self.next_number = first;
        self.numbers_end = first + SEQUENCE_BLOCK;
        Ok(tasks)
    }

    /// The next number of the instance's counter, durable before it is used.
    async fn number(&mut self) -> Result<i64, Ended> {
        if self.next_number == self.numbers_end {
            let address = self.address;
            let first = self
                .inner
                .engine
                .write(|state, changes| {
                    let (_, instance) = address.look_up(state).ok_or_else(gone)?;
                    let first = instance.record.last_sequence + 1;
                    let last_sequence = instance.record.last_sequence + SEQUENCE_BLOCK;
                    let record = ContainerInstanceRecord { last_sequence, ..(*instance.record).clone() };
                    changes.push(Change::PutContainerInstance(address.scope.clone(), Arc::new(record)));
                    Ok::<_, ServiceError>(first)
                })
                .await?;
            self.next_number = first;
            self.numbers_end = first + SEQUENCE_BLOCK;
        }
        self.next_number += 1;
        Ok(self.next_number - 1)
    }

    fn generated_at(&self) -> Option<i64> {
        Some(self.inner.engine.seams().clock.now().as_millis())
    }

    async fn send(&mut self, message: &FromServer) -> Result<(), Ended> {
        let clock = self.inner.engine.seams().clock.clone();
        tokio::select! {
            biased;
            sent = self.socket.send(Message::text(message.to_json())) => Ok(sent?),
            () = clock.sleep(HEARTBEAT_INTERVAL) => Err(Ended::Stuck),
        }
    }

    async fn close(&mut self, code: CloseCode, reason: String) {
        let clock = self.inner.engine.seams().clock.clone();
        let frame = CloseFrame { code, reason: reason.into() };
        tokio::select! {
            biased;
            // Whether it arrives or not, the connection ends.
            _ = self.socket.close(Some(frame)) => {}
            () = clock.sleep(HEARTBEAT_INTERVAL) => {}
        }
    }

    /// Tells the agent every task that it may keep.
    async fn send_manifest(&mut self, tasks: &[Named]) -> Result<(), Ended> {
        let message_id = self.inner.engine.seams().random.uuid();
        let timeline = self.number().await?;
        let scope = &self.address.scope;
        let identifiers = tasks.iter().map(|(cluster, task)| TaskIdentifier {
            desired_status: task.desired_status.as_str().to_owned(),
            task_arn: scope.task_arn(cluster, task.id),
            task_cluster_arn: scope.cluster_arn(cluster),
        });
        let manifest = TaskManifestMessage {
            message_id: message_id.clone(),
            cluster_arn: self.address.cluster_arn(),
            container_instance_arn: self.address.instance_arn(),
            generated_at: self.generated_at(),
            timeline: Some(timeline),
            tasks: identifiers.collect(),
        };
        self.manifest = Some(message_id);
        self.send(&FromServer::TaskManifest(manifest)).await
    }

    /// Looks at tasks that changed and tells the agent what it has not been told of them.
    async fn tell(&mut self, tasks: BTreeMap<Id, bool>) -> Result<(), Ended> {
        let address = self.address;
        let looked = self.inner.engine.read(|state| look_at(state, address, tasks.keys().copied())).await;
        let (instance, found) = looked.ok_or(Ended::Gone)?;
        let mut stops = Vec::new();
        let mut starts = Vec::new();
        for (id, again) in tasks {
            let Some(work) = found.get(&id) else {
                self.told.remove(&id);
                continue;
            };
            let told = if again { Delivery::None } else { self.told.get(&id).copied().unwrap_or_default() };
            match work.task.desired_status {
                DesiredStatus::Stopped if told < Delivery::Stop => stops.push(work),
                // The agent has one that runs, or it is lost: it is not started again.
                DesiredStatus::Running if told == Delivery::None && work.task.last_status < TaskStatus::Running => {
                    starts.push(work);
                }
                _ => {}
            }
        }
        let mut messages: Vec<(Id, Delivery, Task)> = Vec::new();
        for work in stops {
            messages.push((work.task.id, Delivery::Stop, payload::stop(&address.scope, &work.cluster, &work.task)));
        }
        for Work { cluster, cluster_id, task, definition } in starts {
            let Some(definition) = definition else {
                tracing::error!(task = %task.id, family = task.family, "the task definition of a task is gone");
                continue;
            };
            let mut message = payload::start(&address.scope, cluster, task, definition, &instance);
            message.role_credentials = self.roles.issue(self.inner, address, *cluster_id, task, definition);
            messages.push((task.id, Delivery::Start, message));
        }
        while !messages.is_empty() {
            let rest = messages.split_off(messages.len().min(PAYLOAD_TASKS));
            self.send_payload(std::mem::replace(&mut messages, rest)).await?;
        }
        Ok(())
    }

    /// Sends new keys to those of `tasks` that have a role.
    async fn send_credentials(&mut self, tasks: Vec<Id>) -> Result<(), Ended> {
        if tasks.is_empty() {
            return Ok(());
        }
        let address = self.address;
        let looked = self.inner.engine.read(|state| look_at(state, address, tasks.into_iter())).await;
        let (_, found) = looked.ok_or(Ended::Gone)?;
        for (id, work) in found {
            let Some(definition) = &work.definition else { continue };
            let keys = self.roles.issue(self.inner, address, work.cluster_id, &work.task, definition);
            let Some(keys) = keys else { continue };
            let message = IamRoleCredentialsMessage {
                message_id: self.inner.engine.seams().random.uuid(),
                task_arn: address.scope.task_arn(&work.cluster, id),
                task_cluster_arn: address.scope.cluster_arn(&work.cluster),
                role_type: ROLE_TASK_APPLICATION.to_owned(),
                role_credentials: Some(keys),
            };
            self.send(&FromServer::IamRoleCredentials(message)).await?;
        }
        Ok(())
    }

    async fn send_payload(&mut self, messages: Vec<(Id, Delivery, Task)>) -> Result<(), Ended> {
        let message_id = self.inner.engine.seams().random.uuid();
        let number = self.number().await?;
        let mut shown = Vec::new();
        let mut tasks = Vec::new();
        for (id, delivery, task) in messages {
            self.told.insert(id, delivery);
            if delivery == Delivery::Stop || task.network_mode == AWSVPC {
                shown.push((id, delivery));
            }
            tasks.push(task.into());
        }
        if !shown.is_empty() {
            self.in_flight.insert(message_id.clone(), shown);
        }
        let payload = PayloadMessage {
            message_id,
            cluster_arn: self.address.cluster_arn(),
            container_instance_arn: self.address.instance_arn(),
            seq_num: Some(number),
            generated_at: self.generated_at(),
            timeline: Some(number),
            tasks,
        };
        self.send(&FromServer::Payload(payload)).await
    }

    async fn take(&mut self, text: &str) -> Result<(), Ended> {
        match FromAgent::parse(text) {
            Ok(FromAgent::Ack(ack)) => self.take_ack(&ack).await?,
            Ok(FromAgent::TaskStopVerification(asked)) => self.verify(asked).await?,
            Ok(FromAgent::Nack(nack)) => tracing::warn!(reason = nack.reason, "an agent refused a message"),
            Ok(FromAgent::IamRoleCredentialsAck(ack)) => self.roles.acknowledged(self.inner, &ack),
            Ok(FromAgent::HeartbeatAck(_)) => {}
            Ok(FromAgent::Other { kind, .. }) => tracing::debug!(kind, "a message of an unknown type was dropped"),
            Err(error) => tracing::debug!(%error, "a frame was dropped"),
        }
        Ok(())
    }

    /// A stop that was acknowledged shows: the task is STOPPING. A start shows when the task has a
    /// network interface of its own, which is being attached from then on. Other starts need no note:
    /// what is still pending is told again on the next connection anyway.
    async fn take_ack(&mut self, ack: &AckRequest) -> Result<(), Ended> {
        let Some(taken) = self.in_flight.remove(&ack.message_id) else { return Ok(()) };
        let address = self.address;
        for taken in taken.chunks(ACKNOWLEDGED_AT_ONCE) {
            self.inner
                .engine
                .write(|state, changes| {
                    let known = taken.iter().filter_map(|(id, how)| Some((address.task_here(state, *id)?.1, *how)));
                    for changed in known.filter_map(|(task, how)| task::delivered(task, how)) {
                        changes.push(Change::PutTask(address.scope.clone(), Arc::new(changed)));
                    }
                    Ok::<_, ServiceError>(())
                })
                .await?;
        }
        Ok(())
    }

    /// Confirms those stop candidates that are really not to run here, by what is wanted now: a
    /// task that was placed after the manifest was made stays.
    async fn verify(&mut self, asked: TaskStopVerificationMessage) -> Result<(), Ended> {
        if self.manifest.as_ref() != Some(&asked.message_id) {
            return Ok(());
        }
        let address = self.address;
        let stop_tasks: Vec<TaskIdentifier> = self
            .inner
            .engine
            .read(|state| {
                let wanted = |candidate: &TaskIdentifier| {
                    let known = address.task(state, &candidate.task_arn);
                    known.is_some_and(|task| task.desired_status == DesiredStatus::Running)
                };
                asked.stop_candidates.into_iter().filter(|candidate| !wanted(candidate)).collect()
            })
            .await;
        // A manifest's answer is used once.
        self.manifest = None;
        if stop_tasks.is_empty() {
            return Ok(());
        }
        let generated_at = self.generated_at();
        let ack = TaskStopVerificationAck { message_id: asked.message_id, generated_at, stop_tasks };
        self.send(&FromServer::TaskStopVerificationAck(ack)).await
    }
}

fn gone() -> ServiceError {
    ServiceError::client(INACTIVE_INSTANCE, "The container instance is gone.")
}

/// A task and the name of its cluster.
type Named = (String, Arc<TaskRecord>);

/// The tasks of an instance that have not stopped.
fn live_tasks(records: &ScopeState, cluster: &ClusterState, instance: &InstanceState) -> Vec<Named> {
    let live = records.tasks_on(cluster, instance).filter(|(_, task)| task.last_status != TaskStatus::Stopped);
    live.map(|(of, task)| (of.record.name.clone(), task.clone())).collect()
}

type Looked = (Arc<ContainerInstanceRecord>, BTreeMap<Id, Work>);

/// Those of `tasks` that are on the instance and have not stopped.
fn look_at(state: &State, address: &Address, tasks: impl Iterator<Item = Id>) -> Option<Looked> {
    let (_, instance) = address.look_up(state)?;
    let records = state.scope(&address.scope);
    let mut found = BTreeMap::new();
    for id in tasks {
        let Some((cluster, task)) = address.task_here(state, id) else { continue };
        if task.last_status == TaskStatus::Stopped {
            continue;
        }
        let (definition, cluster_id) = (records.definition_of(task).cloned(), cluster.record.id);
        let cluster = cluster.record.name.clone();
        found.insert(id, Work { cluster, cluster_id, task: task.clone(), definition });
    }
    Some((instance.record.clone(), found))
}
