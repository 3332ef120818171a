//! Events leave the outbox for the history, in their order.

use std::time::Duration;

use longshore_api::ServiceError;
use longshore_seams::BoxFuture;
use longshore_store::segments::{Record, SegmentLog};

use super::{Reconciler, Round};
use crate::changes::Change;
use crate::engine::Engine;
use crate::events::complete;

/// Most outbox records of one transaction.
const MOVED_AT_ONCE: usize = 90;

/// The loop.
#[derive(Debug)]
pub struct EventDelivery {
    engine: Engine,
    history: SegmentLog,
}

impl EventDelivery {
    /// The loop that moves events to `history`.
    #[must_use]
    pub fn new(engine: Engine, history: SegmentLog) -> Self {
        Self { engine, history }
    }
}

impl Reconciler for EventDelivery {
    fn name(&self) -> &'static str {
        "event-delivery"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let first = |state: &crate::state::State| -> Vec<_> {
                state.outbox.values().take(MOVED_AT_ONCE).map(|record| complete(state, record)).collect()
            };
            let batch = self.engine.read(first).await;
            if batch.is_empty() {
                return Ok(Round::Done);
            }
            // Kept before it is deleted: a crash in between delivers an event twice, never not at all.
            let mut writes = Vec::with_capacity(batch.len());
            for record in &batch {
                let payload = serde_json::to_vec(record).map_err(|error| error.to_string())?;
                writes.push(self.history.append(Record { key: 0, first: record.at, last: record.at, payload }));
            }
            for write in writes {
                write.await.map_err(|error| error.to_string())?;
            }
            let deleted: Result<(), ServiceError> = self
                .engine
                .write(|_, changes| {
                    batch.iter().for_each(|record| changes.push(Change::DeleteEvent(record.sequence)));
                    Ok(())
                })
                .await;
            deleted.map_err(|error| error.to_string())?;
            Ok(if batch.len() == MOVED_AT_ONCE { Round::More } else { Round::Done })
        })
    }
}
