//! A TCS connection: telemetry is taken, acknowledged, and kept as far as it says something now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use longshore_api::ServiceError;
use longshore_api::ecs::{HealthStatus, InstanceHealthCheckResult, InstanceHealthCheckState, InstanceHealthCheckType};
use longshore_model::Id;
use longshore_model::records::TaskStatus;
use longshore_model::task;
use longshore_protocol::tcs::{
    AckPublish, FromAgent, FromServer, HeartbeatMessage, PublishHealthRequest, PublishInstanceStatusRequest,
    PublishMetricsRequest, SignedFrame, TaskHealth,
};
use longshore_protocol::{HEARTBEAT_INTERVAL, JsonText};
use longshore_seams::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::address::Address;
use super::{Inner, locked};
use crate::changes::Change;

/// Agents split their rounds at 1 MiB.
const MAX_MESSAGE: usize = 4 << 20;
/// An agent that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(300);
/// Most tasks of one health message that are looked at.
const MAX_TASKS: usize = 90;

/// Serves a connection until it ends.
pub(super) async fn serve<S>(inner: &Arc<Inner>, address: Address, socket: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).read_buffer_size(super::acs::READ_BUFFER);
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let clock = inner.engine.seams().clock.clone();
    let mut beat = clock.sleep(HEARTBEAT_INTERVAL);
    let mut heard = clock.monotonic();
    loop {
        let answer = tokio::select! {
            biased;
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    heard = clock.monotonic();
                    take(inner, &address, text.as_str()).await
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => None,
            },
            () = &mut beat => {
                if clock.monotonic().saturating_sub(heard) > SILENCE {
                    return;
                }
                beat = clock.sleep(HEARTBEAT_INTERVAL);
                Some(FromServer::Heartbeat(HeartbeatMessage { healthy: Some(true) }))
            }
        };
        let Some(answer) = answer else { continue };
        let sent = tokio::select! {
            biased;
            sent = socket.send(Message::text(answer.to_json())) => sent.is_ok(),
            () = clock.sleep(HEARTBEAT_INTERVAL) => false,
        };
        if !sent {
            return;
        }
    }
}

/// Takes a frame; answers its acknowledgement, or nothing when it can't be read.
async fn take(inner: &Arc<Inner>, address: &Address, text: &str) -> Option<FromServer> {
    let frame = SignedFrame::parse(text);
    let message = frame.and_then(|frame| FromAgent::parse(&frame.json));
    let ack = || AckPublish { message: JsonText("ok".to_owned()) };
    match message {
        Ok(FromAgent::PublishMetrics(metrics)) => {
            take_metrics(inner, address, metrics);
            Some(FromServer::AckPublishMetric(ack()))
        }
        Ok(FromAgent::PublishHealth(health)) => {
            if let Err(error) = take_health(inner, address, &health).await {
                tracing::warn!(%error, "health of tasks was not taken");
                return None;
            }
            Some(FromServer::AckPublishHealth(ack()))
        }
        Ok(FromAgent::PublishInstanceStatus(status)) => {
            take_checks(inner, address, &status).await;
            Some(FromServer::AckPublishInstanceStatus(ack()))
        }
        Ok(FromAgent::Other { kind, .. }) => {
            tracing::debug!(kind, "telemetry of an unknown type was dropped");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "a telemetry frame was dropped");
            None
        }
    }
}

/// The last values of each task of this instance.
fn take_metrics(inner: &Inner, address: &Address, metrics: PublishMetricsRequest) {
    let live: Vec<(Id, _)> = inner.engine.peek(|state| {
        let known = metrics.task_metrics.into_iter().filter_map(|metric| {
            let task = address.task(state, &metric.task_arn)?;
            (task.last_status != TaskStatus::Stopped).then_some((task.id, metric))
        });
        known.collect()
    });
    locked(&inner.metrics).extend(live);
}

async fn take_health(inner: &Inner, address: &Address, health: &PublishHealthRequest) -> Result<(), ServiceError> {
    let by_container = |task: &TaskHealth| -> BTreeMap<String, HealthStatus> {
        let containers = task.containers.iter();
        containers.map(|it| (it.container_name.clone(), HealthStatus::from(it.health_status.as_str()))).collect()
    };
    inner
        .engine
        .write(|state, changes| {
            for reported in health.tasks.iter().take(MAX_TASKS) {
                let Some(known) = address.task(state, &reported.task_arn) else { continue };
                if let Some(changed) = task::health(known, &by_container(reported)) {
                    changes.push(Change::PutTask(address.scope.clone(), Arc::new(changed)));
                }
            }
            Ok(())
        })
        .await
}

async fn take_checks(inner: &Inner, address: &Address, status: &PublishInstanceStatusRequest) {
    let time = |seconds: Option<f64>| {
        let millis = seconds.filter(|seconds| seconds.is_finite()).map(|seconds| seconds * 1000.0)?;
        #[expect(clippy::cast_possible_truncation, reason = "casts saturate, and the value is only shown")]
        let millis = millis as i64;
        Some(Timestamp::from_millis(millis))
    };
    let checks = status.statuses.iter().take(MAX_TASKS).map(|check| InstanceHealthCheckResult {
        r#type: Some(match check.kind.as_str() {
            "ContainerRuntime" => InstanceHealthCheckType::ContainerRuntime,
            other => InstanceHealthCheckType::from(other),
        }),
        status: Some(InstanceHealthCheckState::from(check.status.as_str())),
        last_updated: time(check.last_updated),
        last_status_change: time(check.last_status_change),
        ..InstanceHealthCheckResult::default()
    });
    let checks = Arc::new(checks.collect());
    let change = Change::AgentChecks(address.scope.clone(), address.cluster, address.instance, checks);
    let written: Result<(), ServiceError> = inner
        .engine
        .write(|_, changes| {
            changes.push(change);
            Ok(())
        })
        .await;
    if let Err(error) = written {
        tracing::warn!(%error, "the state of an instance's checks was not taken");
    }
}
