//! A store in memory: the same semantics, nothing on disk, no thread. For tests and simulation.

use std::collections::BTreeMap;
use std::future::ready;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use longshore_seams::BoxFuture;

use crate::change::{self, Rows};
use crate::watch::{Hub, Log};
use crate::{
    Change, Entry, MAX_PAGE, MAX_PAGE_BYTES, Page, Range, Revision, Store, StoreError, Txn, TxnOutcome, Watch,
    WatchLimits, locked,
};

/// Bounds of a [`Memory`] store.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Most revisions in the change log.
    pub log_revisions: usize,
    /// Bounds of a watcher's queue.
    pub watch: WatchLimits,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { log_revisions: 10_000, watch: WatchLimits::default() }
    }
}

/// The in-memory back end. A transaction is applied, and counts as durable, inside `submit`.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: MemoryOptions,
    content: Mutex<Content>,
    hub: Hub,
}

#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Row>,
    log: BTreeMap<Revision, Change>,
    revision: Revision,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Row {
    created: Revision,
    modified: Revision,
    value: Vec<u8>,
}

impl Rows for BTreeMap<Vec<u8>, Row> {
    type Error = std::convert::Infallible;

    fn find(&self, key: &[u8]) -> Result<Option<(Revision, Revision)>, Self::Error> {
        Ok(self.get(key).map(|row| (row.created, row.modified)))
    }

    fn put(&mut self, key: &[u8], created: Revision, modified: Revision, value: &[u8]) -> Result<(), Self::Error> {
        self.insert(key.to_vec(), Row { created, modified, value: value.to_vec() });
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Self::Error> {
        self.remove(key);
        Ok(())
    }
}

impl Content {
    /// The oldest revision that can be watched.
    fn oldest(&self) -> Revision {
        self.log.first_key_value().map_or(self.revision + 1, |(revision, _)| *revision)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        Self::with(Content::default(), options)
    }

    /// Another store with the same content: what a restarted process finds.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut content = locked(&self.shared.content).clone();
        content.closed = false;
        Self::with(content, self.shared.options)
    }

    fn with(content: Content, options: MemoryOptions) -> Self {
        let hub = Hub::new(options.watch, content.revision);
        Self { shared: Arc::new(Shared { options, content: Mutex::new(content), hub }) }
    }
}

impl Shared {
    fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.checked_size()?;
        let mut content = locked(&self.content);
        let content = &mut *content;
        if content.closed {
            return Err(StoreError::Closed);
        }
        let revision = content.revision + u64::from(!txn.ops.is_empty());
        let Ok(applied) = change::apply(&mut content.rows, &txn, revision);
        if !applied {
            return Ok(TxnOutcome::Conflict);
        }
        if revision > content.revision {
            content.revision = revision;
            let change = Change { revision, ops: txn.ops };
            // While the content is locked, so that watchers see commits in order.
            self.hub.publish(revision, std::slice::from_ref(&change));
            content.log.insert(revision, change);
            while content.log.len() > self.options.log_revisions {
                content.log.pop_first();
            }
        }
        Ok(TxnOutcome::Committed(revision))
    }

    fn page(&self, range: &Range) -> Result<Page, StoreError> {
        let content = locked(&self.content);
        if content.closed {
            return Err(StoreError::Closed);
        }
        let mut page = Page { entries: Vec::new(), more: false, revision: content.revision };
        if !range.end.is_empty() && range.end <= range.start {
            return Ok(page);
        }
        let end = if range.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(range.end.as_slice()) };
        let mut bytes = 0;
        for (key, row) in content.rows.range::<[u8], _>((Bound::Included(range.start.as_slice()), end)) {
            if page.entries.len() >= range.limit.min(MAX_PAGE) || bytes > MAX_PAGE_BYTES {
                page.more = true;
                break;
            }
            bytes += key.len() + row.value.len();
            page.entries.push(entry(key, row));
        }
        Ok(page)
    }
}

fn entry(key: &[u8], row: &Row) -> Entry {
    Entry { key: key.to_vec(), value: row.value.clone(), create_revision: row.created, mod_revision: row.modified }
}

impl Log for Shared {
    fn read(
        self: Arc<Self>,
        from: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<(Vec<Change>, Revision), StoreError>> {
        let content = locked(&self.content);
        let oldest = content.oldest();
        Box::pin(ready(if from < oldest {
            Err(StoreError::Compacted { oldest })
        } else {
            Ok((content.log.range(from..=to).map(|(_, change)| change.clone()).collect(), to + 1))
        }))
    }
}

impl Store for Memory {
    fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>> {
        Box::pin(ready(self.shared.commit(txn)))
    }

    fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let closed = locked(&self.shared.content).closed;
        Box::pin(ready(if closed { Err(StoreError::Closed) } else { Ok(()) }))
    }

    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let content = locked(&self.shared.content);
        let found = content.rows.get(key).map(|row| entry(key, row));
        Box::pin(ready(if content.closed { Err(StoreError::Closed) } else { Ok(found) }))
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(ready(self.shared.page(&range)))
    }

    fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        let content = locked(&self.shared.content);
        let oldest = content.oldest();
        Box::pin(ready(if content.closed {
            Err(StoreError::Closed)
        } else if from.max(1) < oldest {
            Err(StoreError::Compacted { oldest })
        } else {
            self.shared.hub.watch(self.shared.clone(), prefix, from)
        }))
    }

    fn revision(&self) -> Revision {
        self.shared.hub.revision()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        locked(&self.shared.content).closed = true;
        self.shared.hub.end(&StoreError::Closed);
        Box::pin(ready(Ok(())))
    }
}
