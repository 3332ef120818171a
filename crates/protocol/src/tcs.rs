//! The telemetry service: metrics, health and instance status up, acknowledgements down.

use crate::{FrameError, JsonText};

message_set! {
    /// What an agent says to a control plane.
    pub enum FromAgent {
        /// What the tasks use.
        PublishMetrics(PublishMetricsRequest) = "PublishMetricsRequest",
        /// Health of the containers with a health check.
        PublishHealth(PublishHealthRequest) = "PublishHealthRequest",
        /// State of the instance.
        PublishInstanceStatus(PublishInstanceStatusRequest) = "PublishInstanceStatusRequest",
    }
}

message_set! {
    /// What a control plane says to an agent. Only the first four keep the connection alive.
    pub enum FromServer {
        /// Metrics were taken.
        AckPublishMetric(AckPublish) = "AckPublishMetric",
        /// Health was taken.
        AckPublishHealth(AckPublish) = "AckPublishHealth",
        /// Instance status was taken.
        AckPublishInstanceStatus(AckPublish) = "AckPublishInstanceStatus",
        /// Keeps the connection alive.
        Heartbeat(HeartbeatMessage) = "HeartbeatMessage",
        /// Known, without effect.
        StopTelemetrySession(AckPublish) = "StopTelemetrySessionMessage",
        /// Known, without effect.
        ServerException(AckPublish) = "ServerException",
        /// Known, without effect.
        BadRequestException(AckPublish) = "BadRequestException",
        /// Known, without effect.
        ResourceValidationException(AckPublish) = "ResourceValidationException",
        /// Known, without effect.
        InvalidParameterException(AckPublish) = "InvalidParameterException",
    }
}

/// A telemetry frame: the header lines of its signature, an empty line, the JSON.
///
/// ```
/// use longshore_protocol::tcs::SignedFrame;
/// let frame = SignedFrame { headers: vec![("Host".into(), "h:1".into())], json: r#"{"type":"T"}"#.into() };
/// assert_eq!(frame.to_text(), "Host: h:1\r\n\r\n{\"type\":\"T\"}");
/// assert_eq!(SignedFrame::parse(&frame.to_text()).unwrap(), frame);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedFrame {
    /// Headers in the order sent: `Authorization`, `Host`, `X-Amz-Date`, perhaps `X-Amz-Security-Token`.
    pub headers: Vec<(String, String)>,
    /// The message; it is the body that was signed.
    pub json: String,
}

impl SignedFrame {
    /// The frame's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.json.len() + 512);
        for (name, value) in &self.headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&self.json);
        text
    }

    /// Reads a frame's text.
    ///
    /// # Errors
    /// [`FrameError::NoHeaderEnd`] and [`FrameError::HeaderLine`].
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let (head, json) = match text.strip_prefix("\r\n") {
            Some(json) => ("", json),
            None => text.split_once("\r\n\r\n").ok_or(FrameError::NoHeaderEnd)?,
        };
        let headers = head
            .split("\r\n")
            .filter(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err(FrameError::HeaderLine(line.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { headers, json: json.to_owned() })
    }

    /// A header's value, by name without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

wire_struct! {
    /// Something was taken.
    #[derive(Debug, PartialEq)]
    pub struct AckPublish {
        /// `ok`, or words for the log.
        "message" message: JsonText,
    }
}

wire_struct! {
    /// Keeps the connection alive.
    #[derive(Debug, PartialEq)]
    pub struct HeartbeatMessage {
        /// Always true.
        "healthy" healthy: Option<bool>,
    }
}

wire_struct! {
    /// Who sends metrics.
    #[derive(Debug, PartialEq, Eq)]
    pub struct MetricsMetadata {
        /// Cluster, as the agent was configured.
        "cluster" cluster: String,
        /// ARN of the container instance.
        "containerInstance" container_instance: String,
        /// True on the last part of a round.
        "fin" fin: Option<bool>,
        /// True when no task runs.
        "idle" idle: Option<bool>,
        /// The same in all parts of a round.
        "messageId" message_id: String,
    }
}

wire_struct! {
    /// What the tasks use; at most ten tasks a message.
    #[derive(Debug, PartialEq)]
    pub struct PublishMetricsRequest {
        /// Who sends it.
        "metadata" metadata: Option<MetricsMetadata>,
        /// The tasks.
        "taskMetrics" task_metrics: Vec<TaskMetric>,
        /// When, seconds since the epoch.
        "timestamp" timestamp: Option<f64>,
    }
}

wire_struct! {
    /// What a task uses.
    #[derive(Debug, PartialEq)]
    pub struct TaskMetric {
        /// ARN of the task.
        "taskArn" task_arn: String,
        /// Task definition family.
        "taskDefinitionFamily" task_definition_family: String,
        /// Task definition revision.
        "taskDefinitionVersion" task_definition_version: String,
        /// Its containers.
        "containerMetrics" container_metrics: Vec<ContainerMetric>,
    }
}

wire_struct! {
    /// What a container uses.
    #[derive(Debug, PartialEq)]
    pub struct ContainerMetric {
        /// Name of the container.
        "containerName" container_name: String,
        /// Percent of the whole host.
        "cpuStatsSet" cpu_stats_set: Option<StatsSet>,
        /// MiB.
        "memoryStatsSet" memory_stats_set: Option<StatsSet>,
        /// Network; absent in host and none mode.
        "networkStatsSet" network_stats_set: Option<NetworkStatsSet>,
        /// Block devices.
        "storageStatsSet" storage_stats_set: Option<StorageStatsSet>,
        /// Restarts in place.
        "restartStatsSet" restart_stats_set: Option<RestartStatsSet>,
    }
}

wire_struct! {
    /// Samples of one value since the last round.
    #[derive(Debug, PartialEq)]
    pub struct StatsSet {
        /// Least.
        "min" [always] min: f64,
        /// Greatest.
        "max" [always] max: f64,
        /// Sum.
        "sum" [always] sum: f64,
        /// How many.
        "sampleCount" [always] sample_count: i64,
    }
}

wire_struct! {
    /// Samples of one counter's growth since the last round, in 63 bits.
    #[derive(Debug, PartialEq, Eq)]
    pub struct CounterStatsSet {
        /// Least.
        "min" [always] min: i64,
        /// Greatest.
        "max" [always] max: i64,
        /// Sum.
        "sum" [always] sum: i64,
        /// How many.
        "sampleCount" [always] sample_count: i64,
        /// What the least goes beyond 63 bits.
        "overflowMin" [always] overflow_min: i64,
        /// What the greatest goes beyond 63 bits.
        "overflowMax" [always] overflow_max: i64,
        /// What the sum goes beyond 63 bits.
        "overflowSum" [always] overflow_sum: i64,
    }
}

wire_struct! {
    /// What went over a container's network.
    #[derive(Debug, PartialEq)]
    pub struct NetworkStatsSet {
        /// Bytes received.
        "rxBytes" rx_bytes: Option<CounterStatsSet>,
        /// Packets dropped in receiving.
        "rxDropped" rx_dropped: Option<CounterStatsSet>,
        /// Errors in receiving.
        "rxErrors" rx_errors: Option<CounterStatsSet>,
        /// Packets received.
        "rxPackets" rx_packets: Option<CounterStatsSet>,
        /// Bytes sent.
        "txBytes" tx_bytes: Option<CounterStatsSet>,
        /// Packets dropped in sending.
        "txDropped" tx_dropped: Option<CounterStatsSet>,
        /// Errors in sending.
        "txErrors" tx_errors: Option<CounterStatsSet>,
        /// Packets sent.
        "txPackets" tx_packets: Option<CounterStatsSet>,
        /// Bytes received a second.
        "rxBytesPerSecond" rx_bytes_per_second: Option<StatsSet>,
        /// Bytes sent a second.
        "txBytesPerSecond" tx_bytes_per_second: Option<StatsSet>,
    }
}

wire_struct! {
    /// What went to and from block devices.
    #[derive(Debug, PartialEq, Eq)]
    pub struct StorageStatsSet {
        /// Bytes read.
        "readSizeBytes" read_size_bytes: Option<CounterStatsSet>,
        /// Bytes written.
        "writeSizeBytes" write_size_bytes: Option<CounterStatsSet>,
    }
}

wire_struct! {
    /// Restarts in place.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RestartStatsSet {
        /// How many since the task started.
        "restartCount" [always] restart_count: i64,
    }
}

wire_struct! {
    /// Who sends health.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HealthMetadata {
        /// Cluster, as the agent was configured.
        "cluster" cluster: String,
        /// ARN of the container instance.
        "containerInstance" container_instance: String,
        /// True on the last part of a round.
        "fin" fin: Option<bool>,
        /// The same in all parts of a round.
        "messageId" message_id: String,
    }
}

wire_struct! {
    /// Health of containers with a health check; at most ten tasks a message.
    #[derive(Debug, PartialEq)]
    pub struct PublishHealthRequest {
        /// Who sends it.
        "metadata" metadata: Option<HealthMetadata>,
        /// The tasks.
        "tasks" [always] tasks: Vec<TaskHealth>,
        /// When, seconds since the epoch.
        "timestamp" timestamp: Option<f64>,
    }
}

wire_struct! {
    /// Health of a task's containers.
    #[derive(Debug, PartialEq)]
    pub struct TaskHealth {
        /// ARN of the task.
        "taskArn" task_arn: String,
        /// Task definition family.
        "taskDefinitionFamily" task_definition_family: String,
        /// Task definition revision.
        "taskDefinitionVersion" task_definition_version: String,
        /// Its containers with a health check.
        "containers" [always] containers: Vec<ContainerHealth>,
    }
}

wire_struct! {
    /// Health of a container.
    #[derive(Debug, PartialEq)]
    pub struct ContainerHealth {
        /// Its name.
        "containerName" container_name: String,
        /// `HEALTHY`, `UNHEALTHY` or `UNKNOWN`.
        "healthStatus" health_status: String,
        /// Since when, seconds since the epoch.
        "statusSince" status_since: Option<f64>,
    }
}

wire_struct! {
    /// Who sends instance status.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InstanceStatusMetadata {
        /// Cluster, as the agent was configured.
        "cluster" cluster: String,
        /// ARN of the container instance.
        "containerInstance" container_instance: String,
        /// Identifies the request.
        "requestId" request_id: String,
    }
}

wire_struct! {
    /// State of the instance.
    #[derive(Debug, PartialEq)]
    pub struct PublishInstanceStatusRequest {
        /// Who sends it.
        "metadata" metadata: Option<InstanceStatusMetadata>,
        /// What was checked.
        "statuses" [always] statuses: Vec<InstanceStatus>,
        /// When, seconds since the epoch.
        "timestamp" timestamp: Option<f64>,
    }
}

wire_struct! {
    /// One thing that was checked.
    #[derive(Debug, PartialEq)]
    pub struct InstanceStatus {
        /// `ContainerRuntime`.
        "type" kind: String,
        /// `OK`, `IMPAIRED`, `INSUFFICIENT_DATA` or `INITIALIZING`.
        "status" status: String,
        /// When it was checked, seconds since the epoch.
        "lastUpdated" last_updated: Option<f64>,
        /// When it changed, seconds since the epoch.
        "lastStatusChange" last_status_change: Option<f64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcripts_frame_is_read() {
        let text = concat!(
            "Authorization: AWS4-HMAC-SHA256 Credential=A/20261122/us-east-1/ecs/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\n",
            "Host: 127.0.0.1:18080\r\nX-Amz-Date: 20261122T014535Z\r\n\r\n",
            r#"{"type": "PublishMetricsRequest", "message": {"metadata": {"cluster": "demo", "containerInstance": "arn:i", "fin": true, "idle": true, "#,
            r#""messageId": "858885ae"}, "timestamp": 1795311935.662}}"#
        );
        let frame = SignedFrame::parse(text).unwrap();
        assert_eq!(frame.header("host"), Some("127.0.0.1:18080"));
        let FromAgent::PublishMetrics(metrics) = FromAgent::parse(&frame.json).unwrap() else { panic!("{text}") };
        assert_eq!(metrics.timestamp, Some(1_795_311_935.662));
        assert_eq!(metrics.metadata.unwrap().idle, Some(true));
    }

    #[test]
    fn a_frame_without_header_end_is_refused() {
        assert!(matches!(SignedFrame::parse("{}"), Err(FrameError::NoHeaderEnd)));
        assert!(matches!(SignedFrame::parse("nonsense\r\n\r\n{}"), Err(FrameError::HeaderLine(_))));
        assert!(SignedFrame::parse("\r\n{}").unwrap().headers.is_empty());
    }

    #[test]
    fn acknowledgements_are_written_bare() {
        let ack = FromServer::AckPublishMetric(AckPublish { message: JsonText("ok".into()) });
        assert_eq!(ack.to_json(), r#"{"type":"AckPublishMetric","message":{"message":"ok"}}"#);
    }

    #[test]
    fn health_and_instance_status_are_read() {
        let health = r#"{"type": "PublishHealthRequest", "message": {"metadata": {"cluster": "demo", "containerInstance": "i", "fin": true, "messageId": "m"},
            "tasks": [{"taskArn": "t", "taskDefinitionFamily": "probe", "taskDefinitionVersion": "1",
            "containers": [{"containerName": "main", "healthStatus": "HEALTHY", "statusSince": 1795313065.151}]}], "timestamp": 1795313083.441}}"#;
        let FromAgent::PublishHealth(read) = FromAgent::parse(health).unwrap() else { panic!("{health}") };
        assert_eq!(read.tasks[0].containers[0].health_status, "HEALTHY");
        let status = r#"{"type": "PublishInstanceStatusRequest", "message": {"metadata": {"cluster": "demo", "containerInstance": "i", "requestId": "r"},
            "statuses": [{"type": "ContainerRuntime", "status": "OK", "lastUpdated": 1.5, "lastStatusChange": 1.25}], "timestamp": 2.0}}"#;
        let FromAgent::PublishInstanceStatus(read) = FromAgent::parse(status).unwrap() else { panic!("{status}") };
        assert_eq!((read.statuses[0].kind.as_str(), read.statuses[0].status.as_str()), ("ContainerRuntime", "OK"));
    }
}
