//! Desired state, durable: a transactional, revisioned key-value store; and history, in
//! time-segmented files.
//!
//! The model is etcd's: one global revision, compare-and-set transactions, ranges at a revision,
//! watches that replay from a revision or say [`StoreError::Compacted`]. Back ends: [`embedded`]
//! (redb behind a write-ahead log, group commit), [`memory`]; one conformance suite (`conformance`, feature `testing`) runs
//! against all. What only grows (stopped tasks, audit, events) belongs into [`segments`].
//!
//! Invariants: knows keys and bytes only; an acknowledged transaction is durable; transactions are
//! applied in the order in which [`Store::submit`] was called.

mod change;
#[cfg(feature = "testing")]
pub mod conformance;
mod crc;
pub mod embedded;
#[cfg(feature = "testing")]
pub mod fault;
pub mod memory;
pub mod segments;
mod watch;

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_seams::BoxFuture;

pub use watch::WatchLimits;

/// The number of a committed transaction; grows by one with each. 0 is the empty store.
pub type Revision = u64;

/// Most operations (compares, puts and deletes together) in one transaction.
pub const MAX_TXN_OPERATIONS: usize = 100;
/// Most bytes of keys and values in one transaction.
pub const MAX_TXN_BYTES: usize = 1 << 20;
/// Most entries in one page of a range.
pub const MAX_PAGE: usize = 5_000;
/// Bytes of keys and values after which a page of a range ends early (it holds at least one entry).
pub const MAX_PAGE_BYTES: usize = 16 << 20;

/// A stored value with its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value, opaque to the store.
    pub value: Vec<u8>,
    /// Revision that created the key (anew, after a delete).
    pub create_revision: Revision,
    /// Revision that last wrote the key.
    pub mod_revision: Revision,
}

/// A condition on one key, checked atomically with the transaction's writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's last write has exactly this revision; 0 means that the key is absent.
    ModRevision(Vec<u8>, Revision),
    /// The key's creation has exactly this revision; 0 means that the key is absent. For fencing.
    CreateRevision(Vec<u8>, Revision),
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key; removing an absent one is no error.
    Delete(Vec<u8>),
}

/// A transaction: when all compares hold, all operations happen, in order, at one revision; else none.
///
/// Operations on the same key follow one another: the last one stands. A transaction without
/// operations writes nothing and takes no revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Conditions.
    pub compares: Vec<Compare>,
    /// Writes.
    pub ops: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Applied and durable, at this revision (the latest one, when it had no operations).
    Committed(Revision),
    /// A compare did not hold; nothing was written.
    Conflict,
}

/// Part of the key space, `start` inclusive, `end` exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key.
    pub start: Vec<u8>,
    /// Key after the last; empty means no upper bound.
    pub end: Vec<u8>,
    /// Most entries wanted; capped at [`MAX_PAGE`].
    pub limit: usize,
}

/// Entries of a range, by ascending key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether the range holds more after the last entry.
    pub more: bool,
    /// The revision at which the page was read.
    pub revision: Revision,
}

/// One committed transaction as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its revision.
    pub revision: Revision,
    /// Its writes below the watched prefix, in order.
    pub ops: Vec<Op>,
}

/// A stream of changes, oldest first, without gaps.
pub trait Watch: Send + Debug {
    /// The next committed change.
    ///
    /// Fails with [`StoreError::Lagged`] when the watcher fell more than the queue's bound behind:
    /// read the range anew and watch from its revision.
    fn next(&mut self) -> BoxFuture<'_, Result<Change, StoreError>>;
}

/// Why the store could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The transaction is over [`MAX_TXN_OPERATIONS`] or [`MAX_TXN_BYTES`].
    #[error(
        "a transaction may have at most 100 operations and 1 MiB; this one has {operations} operations and {bytes} bytes"
    )]
    TooLarge {
        /// Operations in it.
        operations: usize,
        /// Bytes in it.
        bytes: usize,
    },
    /// The asked revision is no longer kept.
    #[error("changes before revision {oldest} are no longer kept: read the range and watch from its revision")]
    Compacted {
        /// The oldest revision that can be watched.
        oldest: Revision,
    },
    /// The watcher was too slow.
    #[error("the watcher fell too far behind: read the range and watch from its revision")]
    Lagged,
    /// The directory was written by a newer version.
    #[error("{path} was written by a newer Longshore (format {found}, this one knows up to {known}): use that version")]
    NewerFormat {
        /// The store's file.
        path: String,
        /// Its format.
        found: u32,
        /// Our newest format.
        known: u32,
    },
    /// More is queued than the queue may hold; the transaction was not taken.
    #[error("the store has {queued} bytes queued (limit {limit}): the disk does not keep up; retry later")]
    Overloaded {
        /// Bytes queued.
        queued: usize,
        /// The queue's bound.
        limit: usize,
    },
    /// The disk failed, or the file is damaged. Nothing more can be acknowledged.
    #[error("the store at {path} failed: {reason}")]
    Failed {
        /// The store's file.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A back end.
pub trait Store: Send + Sync + Debug {
    /// Queues `txn` before it returns, in call order; the future resolves when it is durable.
    ///
    /// Dropping the future does not take the transaction back. Never blocks: whoever awaits the
    /// future before submitting more is slowed to the disk's pace; a queue that is over its bound
    /// refuses with [`StoreError::Overloaded`], which [`Store::check_room`] tells beforehand.
    fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>>;

    /// Whether a transaction of any size would be taken now. Ask before changing memory that runs
    /// ahead of the commit, so that an overload refuses the call and not half of it.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when one would have to be submitted later; otherwise why none
    /// will be taken any more.
    fn check_room(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Resolves once everything submitted before this call is durable.
    fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// The entry at `key`, of the last durable state.
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>>;

    /// A page of `range`, of the last durable state.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Changes below `prefix` from revision `from` (inclusive) on; 0 is the oldest of all.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when `from` is older than the change log reaches.
    fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>>;

    /// The last durable revision.
    fn revision(&self) -> Revision;

    /// Commits what is queued and closes the files cleanly. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl Txn {
    /// Operations and bytes, as the limits count them.
    fn size(&self) -> (usize, usize) {
        let compares = self.compares.iter().map(|compare| match compare {
            Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) => key.len(),
        });
        let ops = self.ops.iter().map(Op::bytes);
        (self.compares.len() + self.ops.len(), compares.sum::<usize>() + ops.sum::<usize>())
    }

    /// Its bytes, when it is within the limits that every back end obeys.
    fn checked_size(&self) -> Result<usize, StoreError> {
        let (operations, bytes) = self.size();
        if operations > MAX_TXN_OPERATIONS || bytes > MAX_TXN_BYTES {
            return Err(StoreError::TooLarge { operations, bytes });
        }
        Ok(bytes)
    }
}

impl Op {
    /// The key it writes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) => key.len(),
        }
    }
}

impl Range {
    /// Everything below `prefix`, in pages of [`MAX_PAGE`].
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        Self { start: prefix.to_vec(), end, limit: MAX_PAGE }
    }

    /// The range that follows a page whose last key was `last`.
    #[must_use]
    pub fn after(&self, last: &[u8]) -> Self {
        let mut start = last.to_vec();
        start.push(0);
        Self { start, end: self.end.clone(), limit: self.limit }
    }
}

/// A lock whose holder panicked is taken as it is: every critical section here leaves its data whole.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
