//! The connection on which telemetry goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_protocol::query::TcsQuery;
use longshore_protocol::tcs::{
    ContainerHealth, ContainerMetric, FromAgent, FromServer, HealthMetadata, InstanceStatus, InstanceStatusMetadata,
    MetricsMetadata, PublishHealthRequest, PublishInstanceStatusRequest, PublishMetricsRequest, RestartStatsSet,
    TaskHealth, TaskMetric,
};
use longshore_protocol::{TELEMETRY_INTERVAL, TELEMETRY_TASKS};
use longshore_runtime::Health;
use tokio::sync::watch;

use super::{Ended, EndpointCache, Reconnects, Sampler, seconds, silence};
use crate::backoff::Backoff;
use crate::context::Context;
use crate::plane::{Connection, Incoming, Outgoing};
use crate::view::TaskView;

/// Keeps the connection, for ever.
pub(crate) struct TcsSession {
    context: Arc<Context>,
    endpoints: Arc<EndpointCache>,
    sampler: Arc<Sampler>,
    instance: String,
    docker_version: String,
    shutdown: watch::Receiver<bool>,
}

impl TcsSession {
    pub fn new(
        context: Arc<Context>,
        endpoints: Arc<EndpointCache>,
        sampler: Arc<Sampler>,
        instance: String,
        docker_version: String,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self { context, endpoints, sampler, instance, docker_version, shutdown }
    }

    pub async fn run(mut self) {
        let seams = self.context.seams.clone();
        let mut reconnects = Reconnects::new(Backoff::tcs());
        while !*self.shutdown.borrow() {
            let began = seams.clock.monotonic();
            let ended = self.connect().await;
            let lasted = seams.clock.monotonic().saturating_sub(began);
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
            Ok(endpoints) if !endpoints.telemetry_endpoint.is_empty() => endpoints,
            Ok(_) => return Ended::BackOff,
            Err(error) => {
                tracing::debug!(%error, "no telemetry endpoint yet");
                return Ended::BackOff;
            }
        };
        let query = TcsQuery {
            agent_hash: self.context.config.hash.clone(),
            agent_version: self.context.config.version.clone(),
            cluster: self.context.cluster.clone(),
            container_instance: self.instance.clone(),
            docker_version: self.docker_version.clone(),
        };
        match self.context.plane.connect_tcs(&endpoints.telemetry_endpoint, &query).await {
            Ok(connection) => self.talk(connection).await,
            Err(error) => {
                tracing::debug!(endpoint = %endpoints.telemetry_endpoint, %error, "telemetry is not connected");
                self.endpoints.failed();
                Ended::of_refusal(&error)
            }
        }
    }

    async fn talk(&mut self, mut connection: Connection) -> Ended {
        let seams = self.context.seams.clone();
        let mut messages = self.metrics();
        messages.extend(self.health());
        let mut quiet = seams.clock.sleep(silence(&*seams.random));
        let mut tick = seams.clock.sleep(TELEMETRY_INTERVAL);
        loop {
            for message in messages.drain(..) {
                if connection.outgoing.send(Outgoing::Text(message.to_json())).await.is_err() {
                    return Ended::Reconnect;
                }
            }
            tokio::select! {
                biased;
                _ = self.shutdown.changed() => {
                    close(&connection, "the agent ends").await;
                    return Ended::Shutdown;
                }
                incoming = connection.incoming.recv() => match incoming {
                    Some(Incoming::Text(text)) => if keeps_alive(&text) {
                        quiet = seams.clock.sleep(silence(&*seams.random));
                    },
                    Some(Incoming::Closed(code, reason)) => return Ended::of_close(code, &reason),
                    None => return Ended::Reconnect,
                },
                () = self.context.registry.health_changed() => messages.extend(self.health()),
                () = &mut tick => {
                    tick = seams.clock.sleep(TELEMETRY_INTERVAL);
                    messages.extend(self.metrics());
                    messages.extend(self.health());
                    messages.extend(self.instance_status());
                }
                () = &mut quiet => {
                    close(&connection, "silence").await;
                    return Ended::Reconnect;
                }
            }
        }
    }

    fn metrics(&self) -> Vec<FromAgent> {
        let mut samples = self.sampler.take();
        let tasks: Vec<TaskMetric> = self
            .context
            .registry
            .tasks()
            .iter()
            .filter(|task| task.containers.iter().any(|container| container.running))
            .map(|task| self.task_metric(task, &mut samples))
            .collect();
        let message_id = self.context.seams.random.uuid();
        let message = |tasks: &[TaskMetric], fin: bool| {
            FromAgent::PublishMetrics(PublishMetricsRequest {
                metadata: Some(MetricsMetadata {
                    cluster: self.context.cluster.clone(),
                    container_instance: self.instance.clone(),
                    fin: Some(fin),
                    idle: Some(tasks.is_empty()),
                    message_id: message_id.clone(),
                }),
                task_metrics: tasks.to_vec(),
                timestamp: Some(seconds(self.context.seams.clock.now())),
            })
        };
        if tasks.is_empty() {
            return vec![message(&[], true)];
        }
        let parts = tasks.len().div_ceil(TELEMETRY_TASKS);
        let parts = tasks.chunks(TELEMETRY_TASKS).enumerate().map(|(part, tasks)| message(tasks, part + 1 == parts));
        parts.collect()
    }

    fn task_metric(&self, task: &TaskView, samples: &mut BTreeMap<String, ContainerMetric>) -> TaskMetric {
        let containers = task.containers.iter().filter(|container| container.running);
        TaskMetric {
            task_arn: task.arn.clone(),
            task_definition_family: task.family.clone(),
            task_definition_version: task.version.clone(),
            container_metrics: containers
                .filter_map(|container| {
                    let mut metric = samples.remove(container.runtime_id.as_ref()?)?;
                    metric.container_name.clone_from(&container.name);
                    if container.restart_count > 0 {
                        let restart_count = i64::from(container.restart_count);
                        metric.restart_stats_set = Some(RestartStatsSet { restart_count });
                    }
                    if !container.own_network {
                        metric.network_stats_set = None;
                    }
                    Some(metric)
                })
                .collect(),
        }
    }

    fn health(&self) -> Vec<FromAgent> {
        let tasks: Vec<TaskHealth> =
            self.context.registry.tasks().iter().filter_map(|task| task_health(task)).collect();
        let message_id = self.context.seams.random.uuid();
        let parts = tasks.len().div_ceil(TELEMETRY_TASKS);
        let parts = tasks.chunks(TELEMETRY_TASKS).enumerate().map(|(part, tasks)| {
            FromAgent::PublishHealth(PublishHealthRequest {
                metadata: Some(HealthMetadata {
                    cluster: self.context.cluster.clone(),
                    container_instance: self.instance.clone(),
                    fin: Some(part + 1 == parts),
                    message_id: message_id.clone(),
                }),
                tasks: tasks.to_vec(),
                timestamp: Some(seconds(self.context.seams.clock.now())),
            })
        });
        parts.collect()
    }

    fn instance_status(&self) -> Option<FromAgent> {
        let check = self.context.check.take()?;
        Some(FromAgent::PublishInstanceStatus(PublishInstanceStatusRequest {
            metadata: Some(InstanceStatusMetadata {
                cluster: self.context.cluster.clone(),
                container_instance: self.instance.clone(),
                request_id: self.context.seams.random.uuid(),
            }),
            statuses: vec![InstanceStatus {
                kind: "ContainerRuntime".to_owned(),
                status: if check.healthy { "OK" } else { "IMPAIRED" }.to_owned(),
                last_updated: Some(seconds(check.at)),
                last_status_change: Some(seconds(check.since)),
            }],
            timestamp: Some(seconds(self.context.seams.clock.now())),
        }))
    }
}

fn task_health(task: &TaskView) -> Option<TaskHealth> {
    let checked = task.containers.iter().filter(|container| container.health_check && container.running);
    let containers: Vec<ContainerHealth> = checked
        .map(|container| ContainerHealth {
            container_name: container.name.clone(),
            health_status: match container.health {
                Some((Health::Healthy, _)) => "HEALTHY",
                Some((Health::Unhealthy, _)) => "UNHEALTHY",
                Some((Health::Starting, _)) | None => "UNKNOWN",
            }
            .to_owned(),
            status_since: container.health.map(|(_, since)| seconds(since)),
        })
        .collect();
    (!containers.is_empty()).then(|| TaskHealth {
        task_arn: task.arn.clone(),
        task_definition_family: task.family.clone(),
        task_definition_version: task.version.clone(),
        containers,
    })
}

/// Only acknowledgements and heartbeats keep the connection.
fn keeps_alive(text: &str) -> bool {
    match FromServer::parse(text) {
        Ok(
            FromServer::AckPublishMetric(_)
            | FromServer::AckPublishHealth(_)
            | FromServer::AckPublishInstanceStatus(_)
            | FromServer::Heartbeat(_),
        ) => true,
        Ok(other) => {
            tracing::warn!(kind = other.kind(), "telemetry message without effect");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "telemetry frame dropped");
            false
        }
    }
}

async fn close(connection: &Connection, reason: &str) {
    // The connection is gone already: just as well.
    let _ = connection.outgoing.send(Outgoing::Close(1000, reason.to_owned())).await;
}
