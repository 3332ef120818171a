//! Delivery of committed changes: bounded live queues, and replay from a back end's change log.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use longshore_seams::BoxFuture;
use tokio::sync::Notify;

use crate::{Change, Revision, StoreError, Watch, locked};

/// How far a watcher may fall behind.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// Most changes in one watcher's queue.
    pub changes: usize,
    /// Most bytes of keys and values in one watcher's queue (one change is always taken).
    pub bytes: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self { changes: 4_096, bytes: 16 << 20 }
    }
}

/// All watchers of a store, and the last durable revision.
#[derive(Debug)]
pub(crate) struct Hub {
    limits: WatchLimits,
    revision: AtomicU64,
    feeds: Mutex<Feeds>,
}

#[derive(Debug, Default)]
struct Feeds {
    open: Vec<Weak<Feed>>,
    ended: Option<StoreError>,
}

/// One watcher's live queue.
#[derive(Debug)]
struct Feed {
    prefix: Vec<u8>,
    from: Revision,
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Change>,
    bytes: usize,
    ended: Option<StoreError>,
}

impl Hub {
    pub(crate) fn new(limits: WatchLimits, revision: Revision) -> Self {
        Self { limits, revision: AtomicU64::new(revision), feeds: Mutex::default() }
    }

    /// The last published revision.
    pub(crate) fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Makes `changes`, all durable, visible: first the revision, then every watcher.
    pub(crate) fn publish(&self, revision: Revision, changes: &[Change]) {
        let mut feeds = locked(&self.feeds);
        self.revision.store(revision, Ordering::Release);
        feeds.open.retain(|feed| feed.upgrade().is_some_and(|feed| feed.push(changes, self.limits)));
    }

    /// Ends every watcher, once it has read what is queued.
    pub(crate) fn end(&self, error: &StoreError) {
        let mut feeds = locked(&self.feeds);
        feeds.ended.get_or_insert_with(|| error.clone());
        for feed in feeds.open.drain(..) {
            if let Some(feed) = feed.upgrade() {
                locked(&feed.queue).ended.get_or_insert_with(|| error.clone());
                feed.wake.notify_one();
            }
        }
    }

    /// A watcher of what `log` holds from `from` on, and then of what is published.
    pub(crate) fn watch(
        &self,
        log: Arc<dyn Log>,
        prefix: Vec<u8>,
        from: Revision,
    ) -> Result<Box<dyn Watch>, StoreError> {
        let mut feeds = locked(&self.feeds);
        if let Some(error) = &feeds.ended {
            return Err(error.clone());
        }
        // Under the lock of `publish`: what is up to `replay_to` is in the log, the rest goes live.
        let replay_to = self.revision();
        let from = from.max(1);
        let feed =
            Arc::new(Feed { prefix, from: from.max(replay_to + 1), queue: Mutex::default(), wake: Notify::new() });
        feeds.open.push(Arc::downgrade(&feed));
        Ok(Box::new(Watcher { log, feed, replay_next: from, replay_to, replayed: VecDeque::new() }))
    }
}

impl Feed {
    /// Queues what concerns it; `false` once it takes no more.
    fn push(&self, changes: &[Change], limits: WatchLimits) -> bool {
        let mut queue = locked(&self.queue);
        for change in changes.iter().filter(|change| change.revision >= self.from) {
            let Some(change) = change.below(&self.prefix) else { continue };
            let bytes = change.bytes();
            let full = queue.changes.len() >= limits.changes
                || (!queue.changes.is_empty() && queue.bytes + bytes > limits.bytes);
            if full {
                queue.changes.clear();
                queue.bytes = 0;
                queue.ended = Some(StoreError::Lagged);
                break;
            }
            queue.bytes += bytes;
            queue.changes.push_back(change);
        }
        self.wake.notify_one();
        queue.ended.is_none()
    }
}

/// A back end's change log.
pub(crate) trait Log: Send + Sync + Debug {
    /// A bounded number of changes from `from` to `to` (both inclusive), and the revision after the
    /// last one looked at.
    fn read(
        self: Arc<Self>,
        from: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<(Vec<Change>, Revision), StoreError>>;
}

#[derive(Debug)]
struct Watcher {
    log: Arc<dyn Log>,
    feed: Arc<Feed>,
    /// Next revision to replay; past `replay_to` when the live queue has taken over.
    replay_next: Revision,
    replay_to: Revision,
    replayed: VecDeque<Change>,
}

impl Watch for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Result<Change, StoreError>> {
        Box::pin(async move {
            loop {
                if let Some(change) = self.replayed.pop_front() {
                    return Ok(change);
                }
                if self.replay_next > self.replay_to {
                    break;
                }
                let (changes, next) = self.log.clone().read(self.replay_next, self.replay_to).await?;
                self.replay_next = next;
                self.replayed.extend(changes.iter().filter_map(|change| change.below(&self.feed.prefix)));
            }
            loop {
                {
                    let mut queue = locked(&self.feed.queue);
                    if let Some(change) = queue.changes.pop_front() {
                        queue.bytes -= change.bytes();
                        return Ok(change);
                    }
                    if let Some(error) = &queue.ended {
                        return Err(error.clone());
                    }
                }
                self.feed.wake.notified().await;
            }
        })
    }
}
