//! What is durable in the log and not yet in the database: work for the applier, and the revisions
//! of the keys that it will change.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::wal::Frame;
use super::writer::Done;
use crate::change::{self, Write};
use crate::{Op, Revision, StoreError, locked};

/// Between the writer, which fills it, the applier, which empties it, and readers, who wait for it.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Last revision in the database.
    applied: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    keys: BTreeMap<Vec<u8>, Pending>,
    /// A half of the log waits for the database to hold it durably.
    checkpointing: bool,
    /// Set once the store has failed.
    failed: Option<StoreError>,
}

/// One thing for the applier, in the order of the log.
#[derive(Debug)]
enum Job {
    Apply(Frame),
    Checkpoint,
    Close(Done<()>),
}

/// What the applier does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Apply these in one transaction.
    Apply(Vec<Frame>),
    /// Make durable what is applied.
    Checkpoint,
    /// The same, and close the files.
    Close(Done<()>),
    /// Nothing: the store has failed.
    End,
}

/// What has become of a key in transactions that are not in the database yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The transaction that wrote it last.
    revision: Revision,
    state: KeyState,
}

#[derive(Clone, Copy, Debug)]
enum KeyState {
    Absent,
    /// Put since it was absent for certain.
    Created(Revision),
    /// Put: created then, unless the database has it.
    CreatedUnlessThere(Revision),
}

impl Backlog {
    pub(super) fn new(applied: Revision) -> Self {
        Self { applied: AtomicU64::new(applied), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Notes the writes of a transaction that was decided.
    pub(super) fn expect(&self, ops: &[Op], revision: Revision) {
        let mut state = locked(&self.state);
        for op in ops {
            let before = state.keys.get(op.key()).map(|pending| pending.state);
            let after = match (op, before) {
                (Op::Delete(_), _) => KeyState::Absent,
                (Op::Put(..), None) => KeyState::CreatedUnlessThere(revision),
                (Op::Put(..), Some(KeyState::Absent)) => KeyState::Created(revision),
                (Op::Put(..), Some(before)) => before,
            };
            state.keys.insert(op.key().to_vec(), Pending { revision, state: after });
        }
    }

    /// A key's revisions of creation and last write; `database` is asked when it has to say.
    pub(super) fn find<E>(
        &self,
        key: &[u8],
        database: impl FnOnce() -> Result<Option<(Revision, Revision)>, E>,
    ) -> Result<Option<(Revision, Revision)>, E> {
        // The guard is gone before the database is asked: what leaves the backlog meanwhile is there.
        let pending = locked(&self.state).keys.get(key).copied();
        let Some(Pending { revision, state }) = pending else { return database() };
        Ok(match state {
            KeyState::Absent => None,
            KeyState::Created(created) => Some((created, revision)),
            KeyState::CreatedUnlessThere(created) => {
                Some((database()?.map_or(created, |(created, _)| created), revision))
            }
        })
    }

    /// Hands over a frame that is in the log.
    pub(super) fn apply(&self, frame: Frame) {
        self.push(Job::Apply(frame));
    }

    /// Hands over the end.
    pub(super) fn close(&self, done: Done<()>) {
        self.push(Job::Close(done));
    }

    fn push(&self, job: Job) {
        let mut state = locked(&self.state);
        match (&state.failed, job) {
            (Some(error), Job::Close(done)) => drop(done.send(Err(error.clone()))),
            (Some(_), _) => {}
            (None, job) => state.jobs.push_back(job),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Asks for a checkpoint of what was handed over, unless one is still under way.
    pub(super) fn start_checkpoint(&self) -> bool {
        let mut state = locked(&self.state);
        if state.checkpointing {
            return false;
        }
        state.checkpointing = true;
        state.jobs.push_back(Job::Checkpoint);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Waits for the checkpoint that is under way.
    pub(super) fn wait_checkpoint(&self) -> Result<(), StoreError> {
        self.wait(locked(&self.state), |state| !state.checkpointing)
    }

    /// The checkpoint has been made.
    pub(super) fn checkpointed(&self) {
        locked(&self.state).checkpointing = false;
        self.changed.notify_all();
    }

    /// Waits for work and takes it: frames up to about `bytes`, when they come next.
    pub(super) fn next(&self, bytes: usize) -> Work {
        let mut state = locked(&self.state);
        loop {
            if state.failed.is_some() {
                return Work::End;
            }
            match state.jobs.pop_front() {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Job::Checkpoint) => return Work::Checkpoint,
                Some(Job::Close(done)) => return Work::Close(done),
                Some(Job::Apply(frame)) => {
                    let mut taken = frame.bytes();
                    let mut frames = vec![frame];
                    while taken < bytes && matches!(state.jobs.front(), Some(Job::Apply(_))) {
                        let Some(Job::Apply(frame)) = state.jobs.pop_front() else { break };
                        taken += frame.bytes();
                        frames.push(frame);
                    }
                    return Work::Apply(frames);
                }
            }
        }
    }

    /// The database shows `frames`, the last of which ends at `revision`.
    pub(super) fn applied(&self, frames: &[Frame], revision: Revision) {
        let mut state = locked(&self.state);
        let rows = frames.iter().flat_map(Frame::rows);
        for key in rows.flat_map(|(_, row)| change::writes(row)).flatten().map(Write::key) {
            if state.keys.get(key).is_some_and(|pending| pending.revision <= revision) {
                state.keys.remove(key);
            }
        }
        self.applied.store(revision, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the database shows `revision`.
    pub(super) fn wait_applied(&self, revision: Revision) -> Result<(), StoreError> {
        let there = || self.applied.load(Ordering::Acquire) >= revision;
        if there() { Ok(()) } else { self.wait(locked(&self.state), |_| there()) }
    }

    fn wait(&self, state: MutexGuard<'_, State>, done: impl Fn(&State) -> bool) -> Result<(), StoreError> {
        let waits = |state: &mut State| state.failed.is_none() && !done(state);
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Why nothing may be acknowledged any more, if so.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        locked(&self.state).failed.clone().map_or(Ok(()), Err)
    }

    /// Ends the work and all waiting. The log keeps what was not applied.
    pub(super) fn fail(&self, error: &StoreError) {
        let mut state = locked(&self.state);
        state.failed.get_or_insert_with(|| error.clone());
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.changed.notify_all();
        for job in jobs {
            if let Job::Close(done) = job {
                let _ = done.send(Err(error.clone()));
            }
        }
    }
}
