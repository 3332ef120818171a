//! The connection on which work comes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use longshore_protocol::acs::{
    AckRequest, FromAgent, FromServer, HeartbeatAckRequest, IamRoleCredentialsAckRequest, IamRoleCredentialsMessage,
    NackRequest, PayloadMessage, PayloadTask, ROLE_TASK_APPLICATION, ROLE_TASK_EXECUTION, RoleCredentials,
    TaskIdentifier, TaskManifestMessage, TaskStopVerificationAck, TaskStopVerificationMessage, UPDATES_DISABLED,
    UpdateMessage,
};
use longshore_protocol::query::AcsQuery;
use longshore_seams::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Ended, EndpointCache, Reconnects, jittered, silence};
use crate::backoff::Backoff;
use crate::context::Context;
use crate::engine::EngineMessage;
use crate::plane::{Connection, Incoming, Outgoing};

/// Connections are ended by the agent after so long …
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// … and up to so much more.
const LIFETIME_JITTER: Duration = Duration::from_secs(5 * 60);

/// Keeps the connection, for ever.
pub(crate) struct AcsSession {
    context: Arc<Context>,
    engine: mpsc::Sender<EngineMessage>,
    endpoints: Arc<EndpointCache>,
    instance: String,
    docker_version: String,
    shutdown: watch::Receiver<bool>,
    /// No connection has succeeded yet: the server should send credentials.
    send_credentials: bool,
    /// Highest number of a payload or manifest.
    highest: i64,
    /// Message id of the latest manifest, until its verification was answered.
    manifest: Option<String>,
}

type Answers = FuturesUnordered<BoxFuture<'static, Option<FromAgent>>>;

impl AcsSession {
    pub fn new(
        context: Arc<Context>,
        engine: mpsc::Sender<EngineMessage>,
        endpoints: Arc<EndpointCache>,
        instance: String,
        docker_version: String,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let highest = context.journal.sequence();
        Self {
            context,
            engine,
            endpoints,
            instance,
            docker_version,
            shutdown,
            send_credentials: true,
            highest,
            manifest: None,
        }
    }

    pub async fn run(mut self) {
        let seams = self.context.seams.clone();
        let mut reconnects = Reconnects::new(Backoff::acs());
        while !*self.shutdown.borrow() {
            let began = seams.clock.monotonic();
            let ended = self.connect().await;
            let lasted = seams.clock.monotonic().saturating_sub(began);
            if ended == Ended::Inactive {
                tracing::error!(
                    instance = %self.instance,
                    "the container instance is deregistered; restart the agent to register anew"
                );
            }
            let Some(wait) = reconnects.wait(ended, lasted, &*seams.random) else { return };
            tokio::select! {
                biased;
                () = seams.clock.sleep(wait) => {}
                _ = self.shutdown.changed() => {}
            }
        }
    }

    async fn connect(&mut self) -> Ended {
        let endpoints = match self.endpoints.get(&self.context, &self.instance).await {
            Ok(endpoints) => endpoints,
            Err(error) => {
                tracing::warn!(%error, "no endpoint yet");
                return Ended::BackOff;
            }
        };
        let query = AcsQuery {
            agent_hash: self.context.config.hash.clone(),
            agent_version: self.context.config.version.clone(),
            cluster: self.context.cluster.clone(),
            container_instance_arn: self.instance.clone(),
            docker_version: self.docker_version.clone(),
            protocol_version: 2,
            send_credentials: self.send_credentials,
        };
        match self.context.plane.connect_acs(&endpoints.endpoint, &query).await {
            Ok(connection) => {
                tracing::info!(endpoint = %endpoints.endpoint, "connected to the control plane");
                self.send_credentials = false;
                self.context.back.notify_waiters();
                self.context.reporter.retry_now();
                self.talk(connection).await
            }
            Err(error) => {
                tracing::warn!(endpoint = %endpoints.endpoint, %error, "not connected to the control plane");
                self.endpoints.failed();
                Ended::of_refusal(&error)
            }
        }
    }

    async fn talk(&mut self, mut connection: Connection) -> Ended {
        let seams = self.context.seams.clone();
        let mut answers = Answers::new();
        let mut quiet = seams.clock.sleep(silence(&*seams.random));
        let mut expired = seams.clock.sleep(jittered(&*seams.random, LIFETIME, LIFETIME_JITTER));
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                biased;
                _ = shutdown.changed() => {
                    close(&connection, "the agent ends").await;
                    return Ended::Shutdown;
                }
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    let sent = match answer {
                        Some(answer) => connection.outgoing.send(Outgoing::Text(answer.to_json())).await.is_ok(),
                        None => true,
                    };
                    if !sent {
                        return Ended::Reconnect;
                    }
                }
                incoming = connection.incoming.recv() => match incoming {
                    Some(Incoming::Text(text)) => match FromServer::parse(&text) {
                        Ok(message) => {
                            quiet = seams.clock.sleep(silence(&*seams.random));
                            self.hear(message, &mut answers).await;
                        }
                        Err(error) => tracing::warn!(%error, "frame dropped"),
                    },
                    Some(Incoming::Closed(code, reason)) => {
                        tracing::info!(code, reason, "the control plane closed the connection");
                        return Ended::of_close(code, &reason);
                    }
                    None => return Ended::Reconnect,
                },
                () = &mut quiet => {
                    tracing::warn!("the control plane is silent; the connection is dropped");
                    return Ended::BackOff;
                }
                () = &mut expired => {
                    close(&connection, longshore_protocol::CONNECTION_EXPIRED).await;
                    return Ended::Reconnect;
                }
            }
        }
    }

    async fn hear(&mut self, message: FromServer, answers: &mut Answers) {
        match message {
            FromServer::Heartbeat(heartbeat) => {
                answer(answers, FromAgent::HeartbeatAck(HeartbeatAckRequest { message_id: heartbeat.message_id }));
                self.context.check.request();
            }
            FromServer::Payload(payload) => self.payload(payload, answers).await,
            FromServer::IamRoleCredentials(message) => self.credentials(message, answers),
            FromServer::TaskManifest(manifest) => self.manifest(manifest, answers),
            FromServer::TaskStopVerificationAck(verdict) => self.verdict(verdict).await,
            FromServer::AttachTaskNetworkInterfaces(message) | FromServer::AttachInstanceNetworkInterfaces(message) => {
                // Taken and never reported attached: no such interface will appear on this host.
                if !message.message_id.is_empty() {
                    ack(answers, message.cluster_arn, message.container_instance_arn, message.message_id);
                }
            }
            FromServer::ConfirmAttachment(message) => {
                if !message.message_id.is_empty() && message.attachment.is_some() {
                    ack(answers, message.cluster_arn, message.container_instance_arn, message.message_id);
                }
            }
            FromServer::StageUpdate(message) | FromServer::PerformUpdate(message) => refuse_update(message, answers),
            other => tracing::warn!(kind = other.kind(), "message without effect"),
        }
    }

    async fn payload(&mut self, payload: PayloadMessage, answers: &mut Answers) {
        if payload.message_id.is_empty() || payload.cluster_arn.is_empty() || payload.container_instance_arn.is_empty()
        {
            tracing::error!(message_id = %payload.message_id, "payload without a required field dropped");
            return;
        }
        self.highest = self.highest.max(payload.seq_num.unwrap_or(-1));
        for task in &payload.tasks {
            let PayloadTask::Task(task) = task else { continue };
            for credentials in [&task.role_credentials, &task.execution_role_credentials].into_iter().flatten() {
                self.keep(&task.arn, credentials, &payload.message_id, answers);
            }
        }
        let (reply, outcome) = oneshot::channel();
        if self.engine.send(EngineMessage::Payload(payload.tasks, reply)).await.is_err() {
            return;
        }
        let ack = AckRequest {
            cluster: payload.cluster_arn,
            container_instance: payload.container_instance_arn,
            message_id: payload.message_id,
        };
        answers.push(Box::pin(async move {
            let taken = outcome.await.is_ok_and(|outcome| !outcome.unreadable);
            taken.then_some(FromAgent::Ack(ack))
        }));
    }

    fn credentials(&self, message: IamRoleCredentialsMessage, answers: &mut Answers) {
        let known = self.context.registry.task(&message.task_arn).is_some();
        let role = message.role_type == ROLE_TASK_APPLICATION || message.role_type == ROLE_TASK_EXECUTION;
        match &message.role_credentials {
            Some(credentials) if known && role && !message.message_id.is_empty() => {
                self.keep(&message.task_arn, credentials, &message.message_id, answers);
            }
            _ => tracing::warn!(task = %message.task_arn, role = %message.role_type, "credentials dropped"),
        }
    }

    fn keep(&self, task: &str, credentials: &RoleCredentials, message_id: &str, answers: &mut Answers) {
        self.context.credentials.put(task, credentials.clone());
        let ack = IamRoleCredentialsAckRequest {
            credentials_id: credentials.credentials_id.clone(),
            expiration: credentials.expiration.clone(),
            message_id: message_id.to_owned(),
        };
        answer(answers, FromAgent::IamRoleCredentialsAck(ack));
    }

    fn manifest(&mut self, manifest: TaskManifestMessage, answers: &mut Answers) {
        let Some(number) = manifest.timeline.filter(|number| *number > self.highest) else {
            tracing::info!(timeline = manifest.timeline, highest = self.highest, "stale manifest dropped");
            return;
        };
        self.highest = number;
        self.context.journal.save_sequence(number);
        self.manifest = Some(manifest.message_id.clone());
        let wanted = |arn: &str| {
            let mut tasks = manifest.tasks.iter();
            tasks.any(|task| task.task_arn == arn && task.desired_status == "RUNNING")
        };
        let tasks = self.context.registry.tasks();
        let candidates: Vec<TaskIdentifier> = tasks
            .iter()
            .filter(|task| task.desired_running && !wanted(&task.arn))
            .map(|task| TaskIdentifier {
                desired_status: "STOPPED".to_owned(),
                task_arn: task.arn.clone(),
                task_cluster_arn: task.cluster_arn.clone(),
            })
            .collect();
        let message_id = manifest.message_id.clone();
        ack(answers, manifest.cluster_arn, manifest.container_instance_arn, manifest.message_id);
        if !candidates.is_empty() {
            let verification = TaskStopVerificationMessage { message_id, stop_candidates: candidates };
            answer(answers, FromAgent::TaskStopVerification(verification));
        }
    }

    /// The verdict on stop candidates counts once, and only for the latest manifest.
    async fn verdict(&mut self, verdict: TaskStopVerificationAck) {
        if self.manifest.as_ref() != Some(&verdict.message_id) {
            tracing::warn!(message_id = %verdict.message_id, "stop verification for another manifest dropped");
            return;
        }
        self.manifest = None;
        let arns = verdict.stop_tasks.into_iter().map(|task| task.task_arn).collect();
        // The engine is gone only when the agent ends.
        let _ = self.engine.send(EngineMessage::Stop(arns)).await;
    }
}

fn answer(answers: &mut Answers, message: FromAgent) {
    answers.push(Box::pin(std::future::ready(Some(message))));
}

fn ack(answers: &mut Answers, cluster: String, container_instance: String, message_id: String) {
    answer(answers, FromAgent::Ack(AckRequest { cluster, container_instance, message_id }));
}

fn refuse_update(message: UpdateMessage, answers: &mut Answers) {
    let nack = NackRequest {
        cluster: message.cluster_arn,
        container_instance: message.container_instance_arn,
        message_id: message.message_id,
        reason: UPDATES_DISABLED.to_owned(),
    };
    answer(answers, FromAgent::Nack(nack));
}

async fn close(connection: &Connection, reason: &str) {
    // The connection is gone already: just as well.
    let _ = connection.outgoing.send(Outgoing::Close(1000, reason.to_owned())).await;
}
