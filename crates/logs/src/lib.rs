//! The log store: container output, durable and searchable, and the CloudWatch Logs operations on it.
//!
//! Groups and streams are records in the desired-state store ([`records`]); events are in
//! time-segmented files, one directory a group, all its streams together: an index per segment
//! leads to one stream's batches, so that thousands of streams cost no file handles and reading
//! one does not read the others. A put is acknowledged when it is durable.
//!
//! Invariants: knows nothing of tasks or clusters; accounts and regions never meet.

mod event;
mod groups;
mod merge;
pub mod pattern;
mod put;
mod read;
pub mod records;
mod service;
mod store;
mod streams;

pub use event::{Event, EventId, StoredEvent};
pub use merge::Direction;
pub use put::{
    EVENT_OVERHEAD_BYTES, MAX_FUTURE, MAX_PAST, MAX_PUT_BYTES, MAX_PUT_EVENTS, MAX_PUT_SPAN, PutOutcome, Rejected,
};
pub use read::{Follow, ReadPage, ReadQuery, Streams};
pub use records::Scope;
pub use service::LogsService;
pub use store::{LogError, LogOptions, LogStore};
pub use streams::{StreamCursor, StreamQuery, StreamSummary};
