//! The thread that brings the database up to date with the log.
//!
//! Frames are applied without waiting for the disk; a checkpoint makes all that is applied durable,
//! and so frees the half of the log that held it. Meanwhile the writer goes on in the other half.

use std::sync::PoisonError;

use longshore_seams::Clock;
use redb::{Database, Durability};

use super::backlog::Work;
use super::tables::{self, Header, Tables};
use super::wal::Frame;
use super::{EmbeddedOptions, Shared};
use crate::{StoreError, change};

/// The applier thread.
pub(super) fn run(shared: &Shared, mut header: Header, clock: &dyn Clock) {
    let _guard = shared.fail_on_panic("its applier panicked");
    loop {
        let done = match shared.backlog.next(shared.options.batch_bytes) {
            Work::End => return,
            Work::Close(done) => {
                let _ = done.send(close(shared, header));
                return;
            }
            Work::Apply(frames) => with_database(shared, |database| {
                apply(database, &mut header, &shared.options, &frames, Durability::None)?;
                shared.backlog.applied(&frames, header.revision);
                Ok(())
            }),
            Work::Checkpoint => {
                let started = clock.monotonic();
                with_database(shared, |database| tables::save(database, &header)).map(|()| {
                    shared.queue.checkpointed(clock.monotonic().saturating_sub(started));
                    shared.backlog.checkpointed();
                })
            }
        };
        if let Err(error) = done {
            return shared.fail(&error);
        }
    }
}

fn with_database(shared: &Shared, work: impl FnOnce(&Database) -> Result<(), redb::Error>) -> Result<(), StoreError> {
    let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
    match database.as_ref() {
        Some(database) => work(database).map_err(|error| shared.failed(error)),
        // The writer has failed the store.
        None => Err(shared.queue.ended().unwrap_or(StoreError::Closed)),
    }
}

/// Leaves a database that needs no log.
fn close(shared: &Shared, header: Header) -> Result<(), StoreError> {
    shared.hub.end(&StoreError::Closed);
    // Waits for the readers that are under way; later ones find nothing.
    let database = shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
    let Some(database) = database else { return Ok(()) };
    tables::save(&database, &Header { wal: 0, ..header }).map_err(|error| shared.failed(error))?;
    database.close().map_err(|error| shared.failed(error))
}

/// Applies frames of the log, the first of which follows the header's revision, in one transaction.
pub(super) fn apply(
    database: &Database,
    header: &mut Header,
    options: &EmbeddedOptions,
    frames: &[Frame],
    durability: Durability,
) -> Result<(), redb::Error> {
    let mut next = *header;
    let transaction = tables::begin(database, durability)?;
    let mut rows = Tables::of(&transaction)?;
    for (revision, row) in frames.iter().flat_map(Frame::rows).filter(|(revision, _)| *revision > header.revision) {
        for write in change::writes(row) {
            let damaged = || redb::Error::Corrupted(format!("the logged change of revision {revision} is damaged"));
            change::write(&mut rows, write.ok_or_else(damaged)?, revision)?;
        }
        rows.append(revision, row)?;
        next.revision = revision;
        next.log_bytes += row.len() as u64;
    }
    compact(&mut rows, &mut next, options)?;
    rows.write_header(&next)?;
    drop(rows);
    transaction.commit()?;
    *header = next;
    Ok(())
}

/// Cuts the change log to its bounds.
fn compact(rows: &mut Tables<'_>, header: &mut Header, options: &EmbeddedOptions) -> Result<(), redb::Error> {
    while header.revision + 1 - header.oldest > options.log_revisions || header.log_bytes > options.log_bytes {
        let Some((revision, bytes)) = rows.drop_oldest()? else { break };
        header.oldest = revision + 1;
        header.log_bytes = header.log_bytes.saturating_sub(bytes);
    }
    Ok(())
}
