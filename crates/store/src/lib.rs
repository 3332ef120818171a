//! Desired state, durable: a transactional, revisioned key-value store.
//!
//! The model is etcd's: one global revision, compare-and-set transactions, ranges at a revision,
//! watches that replay from a revision or say [`StoreError::Compacted`]. Back ends: [`embedded`]
//! (redb, group commit), [`memory`]; one conformance suite ([`conformance`]) runs against all.
//!
//! Invariants: knows keys and bytes only; an acknowledged transaction is durable; transactions are
//! applied in the order in which [`Store::submit`] was called.

use std::fmt::Debug;

use longshore_seams::BoxFuture;

/// The number of a committed transaction; grows by one with each. 0 is the empty store.
pub type Revision = u64;

/// Most operations (compares, puts and deletes together) in one transaction.
pub const MAX_TXN_OPERATIONS: usize = 100;
/// Most bytes of keys and values in one transaction.
pub const MAX_TXN_BYTES: usize = 1 << 20;
/// Most entries in one page of a range.
pub const MAX_PAGE: usize = 5_000;

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

/// A transaction: when all compares hold, all operations happen, at one revision; else none.
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
    /// Applied and durable, at this revision.
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
    /// Dropping the future does not take the transaction back.
    fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>>;

    /// Resolves once everything submitted before this call is durable.
    fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// The entry at `key`, of the last durable state.
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>>;

    /// A page of `range`, of the last durable state.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Changes below `prefix` from revision `from` (inclusive) on.
    fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>>;

    /// The last durable revision.
    fn revision(&self) -> Revision;

    /// Commits what is queued and closes the files cleanly. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
