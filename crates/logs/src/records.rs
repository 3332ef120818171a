//! What the desired-state store holds of log groups and streams, and under which keys.
//!
//! | key | value |
//! |---|---|
//! | `logs/group/ACCOUNT/REGION/NAME` | [`GroupRecord`] |
//! | `logs/stream/GROUP/NAME` | [`StreamRecord`] |
//! | `logs/gone/GROUP/STREAM` | a deleted stream whose events are still in the files |
//! | `logs/trash/GROUP` | nothing: a deleted group that is being cleaned up |
//!
//! GROUP and STREAM are ids, as names are used again after a deletion.

use std::collections::BTreeMap;

use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::LogError;

/// Below this prefix lie all keys of this crate.
pub const PREFIX: &str = "logs/";

/// Newest format of the records. Every older one is readable.
const FORMAT: u32 = 1;

/// Whose logs: accounts and regions are fully separate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Twelve digits.
    pub account: String,
    /// Any region name.
    pub region: String,
}

impl Scope {
    /// ARN of a log group, without the `:*` of some operations.
    #[must_use]
    pub fn group_arn(&self, name: &str) -> String {
        format!("arn:aws:logs:{}:{}:log-group:{name}", self.region, self.account)
    }
}

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// Format of the record.
    pub format: u32,
    /// 32 hexadecimal digits; names its directory.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Days after which events go; the store's default when absent.
    pub retention_in_days: Option<u32>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A log stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    /// Format of the record.
    pub format: u32,
    /// Key of its batches in the group's files.
    pub id: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// What is known of its events; brought up to date now and then, see `streams`.
    pub activity: Option<Activity>,
}

/// Times of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Earliest event.
    pub first_event: Timestamp,
    /// Latest event.
    pub last_event: Timestamp,
    /// When the latest put happened.
    pub last_ingestion: Timestamp,
}

impl Activity {
    pub(crate) fn merged(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            first_event: self.first_event.min(other.first_event),
            last_event: self.last_event.max(other.last_event),
            last_ingestion: self.last_ingestion.max(other.last_ingestion),
        })
    }
}

/// A deleted stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoneRecord {
    pub(crate) format: u32,
    /// Newest segment at the deletion: once that is gone, so are the stream's events.
    pub(crate) last_segment: u64,
}

impl GroupRecord {
    pub(crate) fn new(id: String, created_at: Timestamp, tags: BTreeMap<String, String>) -> Self {
        Self { format: FORMAT, id, created_at, retention_in_days: None, tags }
    }
}

impl StreamRecord {
    pub(crate) fn new(id: u64, created_at: Timestamp) -> Self {
        Self { format: FORMAT, id, created_at, activity: None }
    }
}

impl GoneRecord {
    pub(crate) fn new(last_segment: u64) -> Self {
        Self { format: FORMAT, last_segment }
    }
}

pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data with string keys")
}

/// Reads a record, which must not be of a newer format.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(key: &[u8], value: &[u8]) -> Result<T, LogError> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let damaged = |reason: String| LogError::Damaged { key: String::from_utf8_lossy(key).into_owned(), reason };
    let Versioned { format } = serde_json::from_slice(value).map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        return Err(damaged(format!("written by a newer Longshore (format {format}); use that version")));
    }
    serde_json::from_slice(value).map_err(|error| damaged(error.to_string()))
}

pub(crate) fn groups_prefix() -> Vec<u8> {
    format!("{PREFIX}group/").into_bytes()
}

pub(crate) fn group_key(scope: &Scope, name: &str) -> Vec<u8> {
    format!("{PREFIX}group/{}/{}/{name}", scope.account, scope.region).into_bytes()
}

/// Scope and name of a group's key.
pub(crate) fn parse_group_key(key: &[u8]) -> Option<(Scope, String)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.strip_prefix("group/")?.splitn(3, '/');
    let scope = Scope { account: parts.next()?.to_owned(), region: parts.next()?.to_owned() };
    Some((scope, parts.next()?.to_owned()))
}

pub(crate) fn streams_prefix(group: &str) -> Vec<u8> {
    format!("{PREFIX}stream/{group}/").into_bytes()
}

pub(crate) fn stream_key(group: &str, name: &str) -> Vec<u8> {
    format!("{PREFIX}stream/{group}/{name}").into_bytes()
}

pub(crate) fn gone_prefix(group: &str) -> Vec<u8> {
    format!("{PREFIX}gone/{group}/").into_bytes()
}

pub(crate) fn gone_key(group: &str, stream: u64) -> Vec<u8> {
    format!("{PREFIX}gone/{group}/{stream:016x}").into_bytes()
}

pub(crate) fn trash_prefix() -> Vec<u8> {
    format!("{PREFIX}trash/").into_bytes()
}

pub(crate) fn trash_key(group: &str) -> Vec<u8> {
    format!("{PREFIX}trash/{group}").into_bytes()
}

/// What follows the last `/` of a key.
pub(crate) fn last_part(key: &[u8]) -> &str {
    std::str::from_utf8(key).ok().and_then(|key| key.rsplit('/').next()).unwrap_or_default()
}
