//! The agent communication service: work down, acknowledgements up.

use crate::JsonText;
use crate::task::{ElasticNetworkInterface, Task, TaskAttachment};

message_set! {
    /// What a control plane says to an agent.
    pub enum FromServer {
        /// Keeps the connection alive; answered with a [`HeartbeatAckRequest`].
        Heartbeat(HeartbeatMessage) = "HeartbeatMessage",
        /// Tasks to start and to stop; answered with an [`AckRequest`].
        Payload(PayloadMessage) = "PayloadMessage",
        /// New keys for a task's role; answered with an [`IamRoleCredentialsAckRequest`].
        IamRoleCredentials(IamRoleCredentialsMessage) = "IAMRoleCredentialsMessage",
        /// Every task that should be on the instance; answered with an [`AckRequest`].
        TaskManifest(TaskManifestMessage) = "TaskManifestMessage",
        /// Which of the stop candidates are to stop.
        TaskStopVerificationAck(TaskStopVerificationAck) = "TaskStopVerificationAck",
        /// Announces a task's network interface.
        AttachTaskNetworkInterfaces(AttachNetworkInterfacesMessage) = "AttachTaskNetworkInterfacesMessage",
        /// Announces a network interface of the instance.
        AttachInstanceNetworkInterfaces(AttachNetworkInterfacesMessage) = "AttachInstanceNetworkInterfacesMessage",
        /// Announces another attachment.
        ConfirmAttachment(ConfirmAttachmentMessage) = "ConfirmAttachmentMessage",
        /// Asks to fetch a new agent.
        StageUpdate(UpdateMessage) = "StageUpdateMessage",
        /// Asks to become it.
        PerformUpdate(UpdateMessage) = "PerformUpdateMessage",
        /// Known, without effect as a frame.
        Close(NoticeMessage) = "CloseMessage",
        /// Known, without effect as a frame.
        Error(NoticeMessage) = "ErrorMessage",
        /// Known, without effect as a frame.
        ServerException(NoticeMessage) = "ServerException",
        /// Known, without effect as a frame.
        BadRequestException(NoticeMessage) = "BadRequestException",
        /// Known, without effect as a frame.
        InvalidClusterException(NoticeMessage) = "InvalidClusterException",
        /// Known, without effect as a frame.
        InvalidInstanceException(NoticeMessage) = "InvalidInstanceException",
        /// Known, without effect as a frame.
        AccessDeniedException(NoticeMessage) = "AccessDeniedException",
        /// Known, without effect as a frame.
        InactiveInstanceException(NoticeMessage) = "InactiveInstanceException",
    }
}

message_set! {
    /// What an agent says to a control plane.
    pub enum FromAgent {
        /// A message was taken.
        Ack(AckRequest) = "AckRequest",
        /// A message was refused.
        Nack(NackRequest) = "NackRequest",
        /// A heartbeat was heard.
        HeartbeatAck(HeartbeatAckRequest) = "HeartbeatAckRequest",
        /// Keys were taken.
        IamRoleCredentialsAck(IamRoleCredentialsAckRequest) = "IAMRoleCredentialsAckRequest",
        /// Tasks that run here and that a manifest does not name.
        TaskStopVerification(TaskStopVerificationMessage) = "TaskStopVerificationMessage",
    }
}

wire_struct! {
    /// Keeps the connection alive.
    #[derive(Debug, PartialEq)]
    pub struct HeartbeatMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// Always true.
        "healthy" healthy: Option<bool>,
    }
}

wire_struct! {
    /// A heartbeat was heard.
    #[derive(Debug, PartialEq)]
    pub struct HeartbeatAckRequest {
        /// That of the heartbeat.
        "messageId" message_id: String,
    }
}

wire_struct! {
    /// A message was taken.
    #[derive(Debug, PartialEq)]
    pub struct AckRequest {
        /// `clusterArn` of the message.
        "cluster" cluster: String,
        /// `containerInstanceArn` of the message.
        "containerInstance" container_instance: String,
        /// `messageId` of the message.
        "messageId" message_id: String,
    }
}

wire_struct! {
    /// A message was refused.
    #[derive(Debug, PartialEq)]
    pub struct NackRequest {
        /// `clusterArn` of the message.
        "cluster" cluster: String,
        /// `containerInstanceArn` of the message.
        "containerInstance" container_instance: String,
        /// `messageId` of the message.
        "messageId" message_id: String,
        /// Why.
        "reason" reason: String,
    }
}

wire_struct! {
    /// Tasks to start and to stop. Required: `messageId`, `clusterArn`, `containerInstanceArn`.
    #[derive(Debug, PartialEq)]
    pub struct PayloadMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the cluster.
        "clusterArn" cluster_arn: String,
        /// ARN of the container instance.
        "containerInstanceArn" container_instance_arn: String,
        /// From the instance's rising counter.
        "seqNum" seq_num: Option<i64>,
        /// When it was made, milliseconds since the epoch.
        "generatedAt" generated_at: Option<i64>,
        /// From the same counter; not read by agents.
        "timeline" timeline: Option<i64>,
        /// The tasks.
        "tasks" [always] tasks: Vec<PayloadTask>,
    }
}

/// A task in a payload, or what is left of one that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub enum PayloadTask {
    /// A readable one.
    Task(Box<Task>),
    /// One with a member of a wrong type: reported STOPPED, and its payload never acknowledged.
    Unreadable {
        /// Its ARN; empty when even that can't be read.
        arn: String,
        /// Why.
        error: String,
    },
}

impl From<Task> for PayloadTask {
    fn from(task: Task) -> Self {
        Self::Task(Box::new(task))
    }
}

impl serde::Serialize for PayloadTask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Task(task) => task.serialize(serializer),
            Self::Unreadable { arn, .. } => Task { arn: arn.clone(), ..Task::default() }.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for PayloadTask {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<Task>(raw.get()) {
            Ok(task) => Self::Task(Box::new(task)),
            Err(error) => Self::Unreadable { arn: arn_of(raw.get()), error: error.to_string() },
        })
    }
}

fn arn_of(task: &str) -> String {
    let members = serde_json::from_str::<std::collections::BTreeMap<String, serde_json::Value>>(task);
    let members = members.unwrap_or_default();
    let arn = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("arn"));
    arn.and_then(|(_, arn)| arn.as_str()).unwrap_or_default().to_owned()
}

wire_struct! {
    /// Temporary keys of a role. Never logged.
    #[derive(PartialEq)]
    pub struct RoleCredentials {
        /// The unguessable key under which containers ask for them; a refresh uses the same.
        "credentialsId" credentials_id: String,
        /// ARN of the role.
        "roleArn" role_arn: String,
        /// Access key.
        "accessKeyId" access_key_id: String,
        /// Secret key.
        "secretAccessKey" secret_access_key: String,
        /// Session token.
        "sessionToken" session_token: String,
        /// When they end, ISO 8601.
        "expiration" expiration: String,
        /// Scope, when there is one.
        "credentialScope" credential_scope: String,
    }
}

impl std::fmt::Debug for RoleCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleCredentials")
            .field("role_arn", &self.role_arn)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// `roleType` of the credentials that a task's containers get.
pub const ROLE_TASK_APPLICATION: &str = "TaskApplication";
/// `roleType` of the credentials that the agent uses for a task.
pub const ROLE_TASK_EXECUTION: &str = "TaskExecution";

wire_struct! {
    /// New keys for a task's role. Required: `messageId`, `taskArn`, `roleType`, `roleCredentials`.
    #[derive(Debug, PartialEq)]
    pub struct IamRoleCredentialsMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the task.
        "taskArn" task_arn: String,
        /// ARN of its cluster.
        "taskClusterArn" task_cluster_arn: String,
        /// [`ROLE_TASK_APPLICATION`] or [`ROLE_TASK_EXECUTION`].
        "roleType" role_type: String,
        /// The keys.
        "roleCredentials" role_credentials: Option<RoleCredentials>,
    }
}

wire_struct! {
    /// Keys were taken.
    #[derive(Debug, PartialEq)]
    pub struct IamRoleCredentialsAckRequest {
        /// `credentialsId` of the keys.
        "credentialsId" credentials_id: String,
        /// When they end.
        "expiration" expiration: String,
        /// That of the message.
        "messageId" message_id: String,
    }
}

wire_struct! {
    /// A task, by name, with what should become of it.
    #[derive(Debug, PartialEq, Eq)]
    pub struct TaskIdentifier {
        /// `RUNNING` or `STOPPED`.
        "desiredStatus" desired_status: String,
        /// ARN of the task.
        "taskArn" task_arn: String,
        /// ARN of its cluster.
        "taskClusterArn" task_cluster_arn: String,
    }
}

wire_struct! {
    /// Every task that should be on the instance. Required: `timeline`.
    #[derive(Debug, PartialEq)]
    pub struct TaskManifestMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the cluster.
        "clusterArn" cluster_arn: String,
        /// ARN of the container instance.
        "containerInstanceArn" container_instance_arn: String,
        /// When it was made, milliseconds since the epoch.
        "generatedAt" generated_at: Option<i64>,
        /// From the instance's rising counter, taken with the list; a number not above the highest heard is dropped.
        "timeline" timeline: Option<i64>,
        /// The tasks.
        "tasks" [always] tasks: Vec<TaskIdentifier>,
    }
}

wire_struct! {
    /// Tasks that run on the instance and that the manifest does not want running.
    #[derive(Debug, PartialEq)]
    pub struct TaskStopVerificationMessage {
        /// That of the manifest.
        "messageId" message_id: String,
        /// The tasks, with `desiredStatus` STOPPED.
        "stopCandidates" [always] stop_candidates: Vec<TaskIdentifier>,
    }
}

wire_struct! {
    /// Which stop candidates are to stop. Required: `messageId`.
    #[derive(Debug, PartialEq)]
    pub struct TaskStopVerificationAck {
        /// That of the latest manifest.
        "messageId" message_id: String,
        /// When it was made, milliseconds since the epoch.
        "generatedAt" generated_at: Option<i64>,
        /// The tasks.
        "stopTasks" [always] stop_tasks: Vec<TaskIdentifier>,
    }
}

wire_struct! {
    /// Announces network interfaces, of a task or of the instance.
    /// Required: `messageId`, `clusterArn`, `containerInstanceArn`, `waitTimeoutMs`, `elasticNetworkInterfaces`.
    #[derive(Debug, PartialEq)]
    pub struct AttachNetworkInterfacesMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the cluster.
        "clusterArn" cluster_arn: String,
        /// ARN of the container instance.
        "containerInstanceArn" container_instance_arn: String,
        /// ARN of the task; absent for one of the instance.
        "taskArn" task_arn: String,
        /// ARN of its cluster.
        "taskClusterArn" task_cluster_arn: String,
        /// When it was made, milliseconds since the epoch.
        "generatedAt" generated_at: Option<i64>,
        /// How long to wait for the interface, milliseconds.
        "waitTimeoutMs" wait_timeout_ms: Option<i64>,
        /// The interfaces.
        "elasticNetworkInterfaces" elastic_network_interfaces: Vec<ElasticNetworkInterface>,
    }
}

wire_struct! {
    /// Announces an attachment. Required: `messageId`, `clusterArn`, `containerInstanceArn`, `attachment`.
    #[derive(Debug, PartialEq)]
    pub struct ConfirmAttachmentMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the cluster.
        "clusterArn" cluster_arn: String,
        /// ARN of the container instance.
        "containerInstanceArn" container_instance_arn: String,
        /// ARN of the task.
        "taskArn" task_arn: String,
        /// ARN of its cluster.
        "taskClusterArn" task_cluster_arn: String,
        /// When it was made, milliseconds since the epoch.
        "generatedAt" generated_at: Option<i64>,
        /// How long to wait for the device, milliseconds; 300000 when absent.
        "waitTimeoutMs" wait_timeout_ms: Option<i64>,
        /// The attachment.
        "attachment" attachment: Option<TaskAttachment>,
    }
}

wire_struct! {
    /// Where a new agent is.
    #[derive(Debug, PartialEq)]
    pub struct UpdateInfo {
        /// URL.
        "location" location: String,
        /// SHA-256 of what is there, hexadecimal.
        "signature" signature: String,
    }
}

wire_struct! {
    /// Asks to fetch, or to become, a new agent. Required: `messageId`.
    #[derive(Debug, PartialEq)]
    pub struct UpdateMessage {
        /// Identifies the message.
        "messageId" message_id: String,
        /// ARN of the cluster.
        "clusterArn" cluster_arn: String,
        /// ARN of the container instance.
        "containerInstanceArn" container_instance_arn: String,
        /// The new agent.
        "updateInfo" update_info: Option<UpdateInfo>,
    }
}

/// Reason of the [`NackRequest`] that answers an [`UpdateMessage`] while updates are off.
pub const UPDATES_DISABLED: &str = "Updates are disabled";

wire_struct! {
    /// A notice or an error; its words are for the log.
    #[derive(Debug, PartialEq)]
    pub struct NoticeMessage {
        /// What it says.
        "message" message: JsonText,
        /// Identifies it, when given.
        "messageId" message_id: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_written_with_exact_names() {
        let ack = FromAgent::Ack(AckRequest {
            cluster: "arn:aws:ecs:us-east-1:000000000000:cluster/demo".into(),
            container_instance: "arn:aws:ecs:us-east-1:000000000000:container-instance/demo/c6".into(),
            message_id: "e6a6ad7e".into(),
        });
        assert_eq!(
            ack.to_json(),
            concat!(
                r#"{"type":"AckRequest","message":{"cluster":"arn:aws:ecs:us-east-1:000000000000:cluster/demo","#,
                r#""containerInstance":"arn:aws:ecs:us-east-1:000000000000:container-instance/demo/c6","messageId":"e6a6ad7e"}}"#
            )
        );
        assert_eq!(FromAgent::parse(&ack.to_json()).unwrap(), ack);
    }

    #[test]
    fn the_transcripts_messages_are_read() {
        let heartbeat = r#"{"type": "HeartbeatMessage", "message": {"messageId": "0fc3e43e", "healthy": true}}"#;
        let FromServer::Heartbeat(read) = FromServer::parse(heartbeat).unwrap() else { panic!("{heartbeat}") };
        assert_eq!((read.message_id.as_str(), read.healthy), ("0fc3e43e", Some(true)));

        let manifest = r#"{"type": "TaskManifestMessage", "message": {"clusterArn": "c", "containerInstanceArn": "i",
            "generatedAt": 1795312707784, "messageId": "man3", "timeline": 101, "tasks": []}}"#;
        let FromServer::TaskManifest(read) = FromServer::parse(manifest).unwrap() else { panic!("{manifest}") };
        assert_eq!((read.timeline, read.tasks.len(), read.generated_at), (Some(101), 0, Some(1_795_312_707_784)));

        let nack = r#"{"type": "NackRequest", "message": {"cluster": "c", "containerInstance": "i",
            "messageId": "stage-1", "reason": "Updates are disabled"}}"#;
        let FromAgent::Nack(read) = FromAgent::parse(nack).unwrap() else { panic!("{nack}") };
        assert_eq!(read.reason, UPDATES_DISABLED);

        let verification = r#"{"type": "TaskStopVerificationMessage", "message": {"messageId": "man3", "stopCandidates":
            [{"desiredStatus": "STOPPED", "taskArn": "t", "taskClusterArn": "c"}]}}"#;
        let FromAgent::TaskStopVerification(read) = FromAgent::parse(verification).unwrap() else { panic!() };
        assert_eq!(read.stop_candidates[0].task_arn, "t");
    }

    #[test]
    fn an_unknown_type_is_kept_as_other() {
        let frame = r#"{"type":"NewThing","message":{"a":1}}"#;
        let read = FromServer::parse(frame).unwrap();
        assert_eq!(read, FromServer::Other { kind: "NewThing".into(), message: r#"{"a":1}"#.into() });
        assert_eq!(read.to_json(), frame);
    }

    #[test]
    fn member_names_match_without_regard_to_case() {
        let frame = r#"{"Type":"PayloadMessage","MESSAGE":{"messageid":"m","SeqNum":3,"tasks":[{"ARN":"t","CONTAINERS":[{"Name":"a"}]}]}}"#;
        let FromServer::Payload(read) = FromServer::parse(frame).unwrap() else { panic!("{frame}") };
        assert_eq!((read.message_id.as_str(), read.seq_num), ("m", Some(3)));
        let PayloadTask::Task(task) = &read.tasks[0] else { panic!("{read:?}") };
        assert_eq!((task.arn.as_str(), task.containers[0].name.as_str()), ("t", "a"));
    }

    #[test]
    fn one_unreadable_task_leaves_the_others() {
        let frame = r#"{"type":"PayloadMessage","message":{"messageId":"m","tasks":[{"arn":"bad","containers":7},{"arn":"good"}]}}"#;
        let FromServer::Payload(read) = FromServer::parse(frame).unwrap() else { panic!("{frame}") };
        assert!(matches!(&read.tasks[0], PayloadTask::Unreadable { arn, .. } if arn == "bad"));
        assert!(matches!(&read.tasks[1], PayloadTask::Task(task) if task.arn == "good"));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for frame in ["", "[]", "nonsense", r#"{"type":7}"#, r#"{"type":"HeartbeatMessage","message":{"messageId":7}}"#]
        {
            assert!(FromServer::parse(frame).is_err(), "{frame}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let credentials = RoleCredentials { secret_access_key: "hush".into(), ..RoleCredentials::default() };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
