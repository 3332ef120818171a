//! What is said on a shim's socket: JSON, one message a line.
//!
//! The shim speaks first ([`Hello`]). A client sends [`Request`]s with ids of its choice and gets one [`Answer`]
//! each, in any order; between them come [`Notice`]s of what happens. A message with another major version is
//! refused; unknown members are ignored, so minor additions need no new version.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::record::{ExitRecord, HealthStatus};
use crate::PortBinding;

/// Major version of the protocol.
pub(crate) const VERSION: u32 = 1;

/// Longest line, bytes.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// First line from the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) pid: u32,
    pub(crate) task: String,
}

/// A line from a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) version: u32,
    pub(crate) id: u64,
    pub(crate) call: Call,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// Is there anybody?
    Ping,
    /// Ids of the containers that run.
    List,
    /// Keeps host ports from other processes until the container is deleted or has ended.
    Reserve { container: String, ports: Vec<PortBinding> },
    /// Makes and starts a container from its record.
    Start { container: String, network: Option<StartNetwork> },
    /// Signals a container's first process.
    Kill { container: String, signal: i32 },
    /// Runs a command in a container and answers when it has ended or `timeout_ms` are over.
    Exec { container: String, command: Vec<String>, timeout_ms: u64 },
    /// Kills a container and forgets it. Answers when it is gone.
    Delete { container: String },
}

/// The network a container is started in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StartNetwork {
    /// Path of its namespace.
    pub(crate) path: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    /// As published, for its record.
    pub(crate) ports: Vec<PortBinding>,
}

/// A line from the shim after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Answer(Answer),
    Notice(Notice),
}

/// Answer to the request `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) result: Result<Reply, Refusal>,
}

/// A call's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    Containers(Vec<String>),
    /// Exit code, and the end of what it wrote.
    Executed {
        exit_code: i32,
        output: String,
    },
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) message: String,
}

/// Kinds of [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefusalKind {
    /// The message cannot be understood, or is of another version.
    BadRequest,
    /// The shim has no such container.
    NoSuchContainer,
    /// A host port is taken; the message is `<port>/<protocol>`.
    PortInUse,
    /// The container cannot be started.
    Start,
    /// Anything else.
    Failed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) container: String,
    pub(crate) kind: NoticeKind,
}

/// Kinds of [`Notice`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoticeKind {
    Started,
    Exited(ExitRecord),
    Health(HealthStatus),
}

/// Writes `message` as a line.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages hold nothing that JSON cannot");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_unknown_members_is_understood() {
        let line = r#"{"version":1,"id":7,"call":{"kill":{"container":"a","signal":15,"later":true}},"more":1}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(request.call, Call::Kill { container: "a".to_owned(), signal: 15 });
    }

    #[test]
    fn a_message_is_one_line() {
        let output = "a\nb".to_owned();
        let answer = Answer { id: 1, result: Ok(Reply::Executed { exit_code: 0, output }) };
        let line = encode(&Line::Answer(answer.clone()));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<Line>(&line).unwrap(), Line::Answer(answer));
    }
}
