//! What has been: stopped tasks, delivered events, audit records. In segments, not in the store.

use std::path::Path;
use std::time::Duration;

use longshore_seams::{BoxFuture, Seams};
use longshore_store::segments::{Record, Retention, SegmentError, SegmentLog, SegmentOptions};
use longshore_wire::{AuditRecord, AuditSink};

/// Age at which history goes.
pub const RETENTION_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes of each kind of history.
pub const RETENTION_BYTES: u64 = 1 << 30;
/// How long an audit record may be in the system's memory only: it outlives a crash of the server, not one of the
/// machine. A sync of its own for each mutating call would hold up the commits of all others.
const AUDIT_SYNC: Duration = Duration::from_secs(1);

/// The history of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    audit: SegmentLog,
    stopped_tasks: SegmentLog,
    events: SegmentLog,
    seams: Seams,
}

impl History {
    /// Opens the history below `directory`.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(directory: &Path, seams: &Seams) -> Result<Self, SegmentError> {
        let retention = Retention { age: Some(RETENTION_AGE), bytes: RETENTION_BYTES };
        let options = SegmentOptions { retention, ..SegmentOptions::default() };
        let open = |name: &str| SegmentLog::open(&directory.join(name), options, seams);
        let audit = SegmentOptions { sync_after: Some(AUDIT_SYNC), ..options };
        Ok(Self {
            audit: SegmentLog::open(&directory.join("audit"), audit, seams)?,
            stopped_tasks: open("stopped-tasks")?,
            events: open("events")?,
            seams: seams.clone(),
        })
    }

    /// Tasks that left the store.
    #[must_use]
    pub fn stopped_tasks(&self) -> &SegmentLog {
        &self.stopped_tasks
    }

    /// Events that were delivered.
    #[must_use]
    pub fn events(&self) -> &SegmentLog {
        &self.events
    }

    /// Where audit records go.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit { log: self.audit.clone(), seams: self.seams.clone() }
    }

    /// Writes what is queued.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let closing = [self.audit.close(), self.stopped_tasks.close(), self.events.close()];
        Box::pin(async move {
            for closed in closing {
                if let Err(error) = closed.await {
                    tracing::error!(%error, "history could not be closed cleanly");
                }
            }
        })
    }
}

/// The audit log: one JSON document a mutating call.
#[derive(Clone, Debug)]
pub struct Audit {
    log: SegmentLog,
    seams: Seams,
}

impl AuditSink for Audit {
    fn record(&self, record: AuditRecord) {
        let payload = match serde_json::to_vec(&record) {
            Ok(payload) => payload,
            Err(error) => {
                return tracing::error!(%error, request_id = record.request_id, "an audit record can't be written");
            }
        };
        let written = self.log.append(Record { key: 0, first: record.at, last: record.at, payload });
        let request_id = record.request_id;
        // The call does not wait for its record; one that can't be kept is at least said.
        let watch = Box::pin(async move {
            if let Err(error) = written.await {
                tracing::error!(%error, request_id, "an audit record was lost");
            }
        });
        self.seams.spawner.spawn("audit", watch);
    }
}
