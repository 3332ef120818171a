//! The queue of submitted transactions, and the thread that commits it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use longshore_seams::Clock;
use tokio::sync::oneshot;

use super::tables::{self, Header, Tables};
use super::{Shared, Statistics};
use crate::change;
use crate::{Change, StoreError, Txn, TxnOutcome, locked};

type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// One thing asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Txn { txn: Txn, bytes: usize, done: Done<TxnOutcome> },
    Barrier { done: Done<()> },
    Close { done: Done<()> },
}

/// The queue in front of the writer.
#[derive(Debug)]
pub(super) struct WriterQueue {
    limit: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    /// Set once nothing more is taken: closed, or failed.
    ended: Option<StoreError>,
    statistics: Statistics,
}

/// Kept for each queued request beside its keys and values, so that empty ones are bounded too.
const REQUEST_BYTES: usize = 128;

impl WriterQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), arrived: Condvar::new() }
    }

    /// Queues a request, or says why not.
    pub(super) fn push<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(Done<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let mut state = locked(&self.state);
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.bytes >= self.limit {
            return Err(StoreError::Overloaded { queued: state.bytes, limit: self.limit });
        }
        let (done, answer) = oneshot::channel();
        state.requests.push_back(request(done));
        state.bytes += bytes + REQUEST_BYTES;
        drop(state);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Queues the end; `None` when it has come already.
    pub(super) fn push_close(&self) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let mut state = locked(&self.state);
        if state.ended.is_some() {
            return None;
        }
        state.ended = Some(StoreError::Closed);
        let (done, answer) = oneshot::channel();
        state.requests.push_back(Request::Close { done });
        drop(state);
        self.arrived.notify_one();
        Some(answer)
    }

    pub(super) fn has_room(&self) -> bool {
        let state = locked(&self.state);
        state.ended.is_none() && state.bytes < self.limit
    }

    pub(super) fn ended(&self) -> Option<StoreError> {
        locked(&self.state).ended.clone()
    }

    pub(super) fn statistics(&self) -> Statistics {
        let state = locked(&self.state);
        Statistics { queued_bytes: state.bytes, ..state.statistics }
    }

    /// Waits for requests and takes up to one commit's worth of them.
    fn take(&self, transactions: usize, bytes: usize) -> Vec<Request> {
        let mut state = locked(&self.state);
        while state.requests.is_empty() {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Vec::new();
        let mut taken = 0;
        while batch.len() < transactions && taken < bytes {
            let Some(request) = state.requests.pop_front() else { break };
            let closes = matches!(request, Request::Close { .. });
            if let Request::Txn { bytes, .. } = &request {
                taken += bytes;
            }
            if !closes {
                state.bytes = state.bytes.saturating_sub(request.bytes());
            }
            batch.push(request);
            if closes {
                break;
            }
        }
        batch
    }

    /// Fails what is queued and everything that comes.
    fn fail(&self, error: &StoreError) {
        let mut state = locked(&self.state);
        state.ended = Some(error.clone());
        state.bytes = 0;
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        requests.into_iter().for_each(|request| request.refuse(error));
    }
}

impl Request {
    fn bytes(&self) -> usize {
        REQUEST_BYTES + if let Self::Txn { bytes, .. } = self { *bytes } else { 0 }
    }

    fn refuse(self, error: &StoreError) {
        // Whoever dropped the future does not want to know.
        match self {
            Self::Txn { done, .. } => drop(done.send(Err(error.clone()))),
            Self::Barrier { done } | Self::Close { done } => drop(done.send(Err(error.clone()))),
        }
    }
}

/// Fails the store when the writer panics, so that nobody waits for ever.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            stop(self.0, &self.0.failed("its writer panicked"));
        }
    }
}

/// Ends the store: nothing is taken, nothing is delivered, the file is given up.
fn stop(shared: &Shared, error: &StoreError) {
    shared.queue.fail(error);
    shared.hub.end(error);
    drop(shared.database.write().unwrap_or_else(PoisonError::into_inner).take());
}

/// The writer thread.
pub(super) fn run(shared: &Shared, mut header: Header, clock: &dyn Clock) {
    let _guard = FailOnPanic(shared);
    loop {
        let batch = shared.queue.take(shared.options.batch_transactions, shared.options.batch_bytes);
        let started = clock.monotonic();
        let committed = match commit(shared, header, &batch) {
            Ok(committed) => committed,
            Err(error) => {
                let error = shared.failed(error);
                tracing::error!(%error, "nothing more will be acknowledged");
                // First the store, so that whoever hears of the failure finds it failed.
                stop(shared, &error);
                batch.into_iter().for_each(|request| request.refuse(&error));
                return;
            }
        };
        if committed.header.revision > header.revision {
            let mut state = locked(&shared.queue.state);
            state.statistics.commits += 1;
            state.statistics.transactions += committed.header.revision - header.revision;
            state.statistics.commit_time += clock.monotonic().saturating_sub(started);
            drop(state);
            header = committed.header;
            shared.hub.publish(header.revision, &committed.changes);
        }
        let mut outcomes = committed.outcomes.into_iter();
        for request in batch {
            match request {
                Request::Txn { done, .. } => {
                    let outcome = outcomes.next().expect("every transaction of the batch has an outcome");
                    let _ = done.send(Ok(outcome));
                }
                Request::Barrier { done } => {
                    let _ = done.send(Ok(()));
                }
                Request::Close { done } => {
                    let _ = done.send(close(shared));
                    return;
                }
            }
        }
    }
}

fn close(shared: &Shared) -> Result<(), StoreError> {
    shared.hub.end(&StoreError::Closed);
    // Waits for the readers that are under way; later ones find nothing.
    let database = shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
    database.map_or(Ok(()), |database| database.close().map_err(|error| shared.failed(error)))
}

/// What a batch came to.
struct Committed {
    header: Header,
    /// One for each transaction, in order.
    outcomes: Vec<TxnOutcome>,
    changes: Vec<Change>,
}

/// Applies the batch's transactions and makes them durable, all in one commit.
fn commit(shared: &Shared, mut header: Header, batch: &[Request]) -> Result<Committed, redb::Error> {
    let mut committed = Committed { header, outcomes: Vec::with_capacity(batch.len()), changes: Vec::new() };
    let mut txns =
        batch.iter().filter_map(|request| if let Request::Txn { txn, .. } = request { Some(txn) } else { None });
    let Some(first) = txns.next() else { return Ok(committed) };
    let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
    let database = database.as_ref().expect("the database is taken away by this thread only, when it ends");
    let transaction = tables::begin(database)?;
    let mut rows = Tables::of(&transaction)?;
    for txn in std::iter::once(first).chain(txns) {
        let revision = header.revision + u64::from(!txn.ops.is_empty());
        let applied = change::apply(&mut rows, txn, revision)?;
        committed.outcomes.push(if applied { TxnOutcome::Committed(revision) } else { TxnOutcome::Conflict });
        if applied && revision > header.revision {
            let row = change::encode(&txn.ops);
            rows.append(revision, &row)?;
            header.revision = revision;
            header.log_bytes += row.len() as u64;
            committed.changes.push(Change { revision, ops: txn.ops.clone() });
        }
    }
    if committed.changes.is_empty() {
        drop(rows);
        transaction.abort()?;
        return Ok(committed);
    }
    compact(&mut rows, &mut header, shared)?;
    rows.write_header(&header)?;
    drop(rows);
    transaction.commit()?;
    committed.header = header;
    Ok(committed)
}

/// Cuts the change log to its bounds.
fn compact(rows: &mut Tables<'_>, header: &mut Header, shared: &Shared) -> Result<(), redb::Error> {
    while header.revision + 1 - header.oldest > shared.options.log_revisions
        || header.log_bytes > shared.options.log_bytes
    {
        let Some((revision, bytes)) = rows.drop_oldest()? else { break };
        header.oldest = revision + 1;
        header.log_bytes = header.log_bytes.saturating_sub(bytes);
    }
    Ok(())
}
