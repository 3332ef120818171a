//! The queue of submitted transactions, and the thread that decides them and writes the log.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use longshore_seams::Clock;
use tokio::sync::oneshot;

use super::wal::{Frame, Wal};
use super::{Shared, Statistics};
use crate::change;
use crate::{Change, Revision, StoreError, Txn, TxnOutcome, locked};

pub(super) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

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
        if let Some(error) = self.refusal(&state) {
            return Err(error);
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

    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        self.refusal(&locked(&self.state)).map_or(Ok(()), Err)
    }

    /// Why nothing is taken now.
    fn refusal(&self, state: &State) -> Option<StoreError> {
        let overloaded = StoreError::Overloaded { queued: state.bytes, limit: self.limit };
        state.ended.clone().or_else(|| (state.bytes >= self.limit).then_some(overloaded))
    }

    pub(super) fn ended(&self) -> Option<StoreError> {
        locked(&self.state).ended.clone()
    }

    pub(super) fn statistics(&self) -> Statistics {
        let state = locked(&self.state);
        Statistics { queued_bytes: state.bytes, ..state.statistics }
    }

    /// Waits for requests and takes up to one commit's worth of them; none of them when `idle` has
    /// passed before the first came; `None` when the store has failed.
    fn take(&self, transactions: usize, bytes: usize, idle: Option<Duration>) -> Option<Vec<Request>> {
        let none = |state: &mut State| state.requests.is_empty() && state.ended.is_none();
        let state = locked(&self.state);
        let mut state = match idle {
            None => self.arrived.wait_while(state, none).unwrap_or_else(PoisonError::into_inner),
            Some(idle) => self.arrived.wait_timeout_while(state, idle, none).unwrap_or_else(PoisonError::into_inner).0,
        };
        if state.requests.is_empty() && state.ended.is_some() {
            return None;
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
        Some(batch)
    }

    /// Counts a checkpoint.
    pub(super) fn checkpointed(&self, took: Duration) {
        let mut state = locked(&self.state);
        state.statistics.checkpoints += 1;
        state.statistics.checkpoint_time += took;
    }

    /// Fails what is queued and everything that comes.
    pub(super) fn fail(&self, error: &StoreError) {
        let mut state = locked(&self.state);
        state.ended = Some(error.clone());
        state.bytes = 0;
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        self.arrived.notify_all();
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

/// The writer thread. `revision` is the last one in the database and the log.
pub(super) fn run(shared: &Shared, mut wal: Wal, mut revision: Revision, clock: &dyn Clock) {
    let _guard = shared.fail_on_panic("its writer panicked");
    let options = shared.options;
    loop {
        // With something in the log, a quiet moment is used to bring the database up to date.
        let idle = (wal.used() > 0).then_some(options.checkpoint_idle);
        let batch = shared.queue.take(options.batch_transactions, options.batch_bytes, idle);
        let Some(mut batch) = batch else { return };
        if batch.is_empty() {
            turn(shared, &mut wal);
            continue;
        }
        let started = clock.monotonic();
        let committed = match commit(shared, &mut wal, revision, &mut batch) {
            Ok(committed) => committed,
            Err(error) => {
                // First the store, so that whoever hears of the failure finds it failed.
                shared.fail(&error);
                batch.into_iter().for_each(|request| request.refuse(&error));
                return;
            }
        };
        let Committed { frame, outcomes, changes } = committed;
        if !frame.is_empty() {
            let mut state = locked(&shared.queue.state);
            state.statistics.commits += 1;
            state.statistics.transactions += frame.last - revision;
            state.statistics.commit_time += clock.monotonic().saturating_sub(started);
            drop(state);
            revision = frame.last;
            // Before it is handed over: the database never shows what is not announced.
            shared.hub.publish(revision, &changes);
        }
        let closing = answer(batch, outcomes);
        // After the answers: whoever waits for one has to wait for nothing else.
        if !frame.is_empty() {
            shared.backlog.apply(frame);
        }
        if let Some(done) = closing {
            return shared.backlog.close(done);
        }
        if wal.used() >= options.checkpoint_bytes {
            turn(shared, &mut wal);
        }
    }
}

/// Answers what is durable now; who asked for the end, which comes last, is still to be answered.
fn answer(batch: Vec<Request>, outcomes: Vec<TxnOutcome>) -> Option<Done<()>> {
    let mut outcomes = outcomes.into_iter();
    for request in batch {
        // Whoever dropped the future does not want to know.
        match request {
            Request::Txn { done, .. } => {
                let outcome = outcomes.next().expect("every transaction of the batch has an outcome");
                let _ = done.send(Ok(outcome));
            }
            Request::Barrier { done } => {
                let _ = done.send(Ok(()));
            }
            Request::Close { done } => return Some(done),
        }
    }
    None
}

/// Lets the applier make durable what is in the log, and goes on in the other half meanwhile;
/// `false` while that half is still waiting for the same.
fn turn(shared: &Shared, wal: &mut Wal) -> bool {
    let started = shared.backlog.start_checkpoint();
    if started {
        wal.turn();
    }
    started
}

/// What a batch came to.
struct Committed {
    frame: Frame,
    /// One for each transaction, in order.
    outcomes: Vec<TxnOutcome>,
    changes: Vec<Change>,
}

/// Decides the batch's transactions, takes their operations, and makes them durable with one sync.
fn commit(
    shared: &Shared,
    wal: &mut Wal,
    mut revision: Revision,
    batch: &mut [Request],
) -> Result<Committed, StoreError> {
    let (mut frame, mut outcomes, mut changes) = (Frame::after(revision), Vec::with_capacity(batch.len()), Vec::new());
    for request in batch {
        let Request::Txn { txn, .. } = request else { continue };
        let holds = change::hold(&txn.compares, |key| {
            shared.backlog.find(key, || shared.look_now(|snapshot| snapshot.find(key)))
        })?;
        if holds && !txn.ops.is_empty() {
            let ops = std::mem::take(&mut txn.ops);
            revision += 1;
            shared.backlog.expect(&ops, revision);
            frame.push(&ops);
            changes.push(Change { revision, ops });
        }
        outcomes.push(if holds { TxnOutcome::Committed(revision) } else { TxnOutcome::Conflict });
    }
    if !frame.is_empty() {
        frame.seal(wal.id());
        while !wal.fits(&frame) && !turn(shared, wal) {
            shared.backlog.wait_checkpoint()?;
        }
        wal.append(&frame).map_err(|error| shared.failed(error))?;
    }
    shared.backlog.check()?;
    Ok(Committed { frame, outcomes, changes })
}
