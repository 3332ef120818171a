//! The embedded back end: a redb file behind a write-ahead log, group commit.
//!
//! Everything that waits when a commit ends becomes the next commit: one frame of the log and one
//! `fdatasync` for all of it, each transaction with its own revision, in submit order. Compares are
//! decided before, so that the log holds only what happened. A second thread applies what is in the
//! log to the database, and from time to time makes the database durable, which empties the log:
//! commits don't wait for either. Readers wait until the database shows the last commit, and for
//! nothing else. After any I/O error nothing is acknowledged any more, and every call fails.
//!
//! Writer and applier are threads of their own rather than tasks: they block in `fdatasync` most of
//! the time.

mod applier;
mod backlog;
mod files;
mod tables;
mod wal;
mod writer;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_seams::{BoxFuture, Seams};
use redb::{Database, StorageBackend};

use crate::watch::{Hub, Log};
use crate::{Change, Entry, Page, Range, Revision, Store, StoreError, Txn, TxnOutcome, Watch, WatchLimits, locked};
use backlog::Backlog;
use files::LogFile;
use writer::{Request, WriterQueue};

/// Newest format of the files that this version knows. Every older one is readable.
///
/// 2 has the write-ahead log.
pub const FORMAT: u32 = 2;

/// Bounds of an [`Embedded`] store.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedOptions {
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
    /// Most revisions in the change log; older ones can no longer be watched.
    pub log_revisions: u64,
    /// Most bytes in the change log.
    pub log_bytes: u64,
    /// Bytes queued for the writer from which on `submit` refuses.
    pub queue_bytes: usize,
    /// Most transactions in one commit.
    pub batch_transactions: usize,
    /// Bytes after which a commit takes no further transaction.
    pub batch_bytes: usize,
    /// Bytes of write-ahead log after which the database is brought up to date. The log's file has
    /// room for twice this and two commits.
    pub checkpoint_bytes: u64,
    /// How long nothing must have been submitted until the database is brought up to date.
    pub checkpoint_idle: Duration,
    /// Bounds of a watcher's queue.
    pub watch: WatchLimits,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            log_revisions: 10_000,
            log_bytes: 32 << 20,
            queue_bytes: 64 << 20,
            batch_transactions: 1_024,
            batch_bytes: 4 << 20,
            // With its share of the largest commit, half of a file of 32 MiB.
            checkpoint_bytes: 10 << 20,
            checkpoint_idle: Duration::from_secs(1),
            watch: WatchLimits::default(),
        }
    }
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits to the log.
    pub commits: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Time spent committing, all commits together.
    pub commit_time: Duration,
    /// Times that the database was made durable, so that the log could begin anew.
    pub checkpoints: u64,
    /// Time spent on them, while commits went on.
    pub checkpoint_time: Duration,
    /// Bytes waiting for the writer now.
    pub queued_bytes: usize,
}

/// The embedded back end. Dropping it commits what is queued, like [`Store::close`].
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the writer, the applier, readers and watchers share.
#[derive(Debug)]
struct Shared {
    path: String,
    options: EmbeddedOptions,
    queue: WriterQueue,
    backlog: Backlog,
    /// Taken away when the store is closed or has failed.
    database: RwLock<Option<Database>>,
    hub: Hub,
}

impl Shared {
    fn failed(&self, reason: impl ToString) -> StoreError {
        failed(&self.path, reason)
    }

    /// Runs `read` on the last committed state.
    fn look<T>(&self, read: impl FnOnce(&tables::Snapshot) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.backlog.wait_applied(self.hub.revision())?;
        self.look_now(read)
    }

    /// Runs `read` on what is applied.
    fn look_now<T>(&self, read: impl FnOnce(&tables::Snapshot) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        // Whoever was told of the failure finds no call that works, also before the files are given up.
        if let Some(failed @ StoreError::Failed { .. }) = self.queue.ended() {
            return Err(failed);
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(self.queue.ended().unwrap_or(StoreError::Closed));
        };
        tables::Snapshot::of(database).and_then(|snapshot| read(&snapshot)).map_err(|error| self.failed(error))
    }

    /// Ends the store: nothing is taken, nothing is delivered, the files are given up.
    fn fail(&self, error: &StoreError) {
        tracing::error!(%error, "nothing more will be acknowledged");
        self.queue.fail(error);
        self.hub.end(error);
        self.backlog.fail(error);
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Fails the store when the thread that keeps the guard panics, so that nobody waits for ever.
    fn fail_on_panic(&self, reason: &'static str) -> impl Drop + '_ {
        FailOnPanic { shared: self, reason }
    }
}

struct FailOnPanic<'a> {
    shared: &'a Shared,
    reason: &'static str,
}

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(&self.shared.failed(self.reason));
        }
    }
}

fn failed(path: &str, reason: impl ToString) -> StoreError {
    StoreError::Failed { path: path.to_owned(), reason: reason.to_string() }
}

/// Runs `read` where it may wait for the disk: off the async workers when there are any.
async fn off_the_workers<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed)),
        Err(_) => read(),
    }
}

impl Embedded {
    /// Opens the store at `path`, making it (mode 0600) when it is not there. Its write-ahead log
    /// has the same name with the extension `wal`.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] for a file of a newer version; [`StoreError::Failed`] when the
    /// files are in use by another process, damaged, not of the same store, or can't be read.
    pub fn open(path: &Path, options: EmbeddedOptions, seams: &Seams) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let exists = path.try_exists().map_err(|error| failed(&name, error))?;
        if !exists {
            files::create(path, &name, options)?;
        }
        files::read_ahead(path, seams);
        let database = files::file(path).map_err(|error| failed(&name, error))?;
        let log = path.with_extension("wal");
        Self::open_on(database, &|found| files::log_file(&log, found), name, options, seams)
    }

    /// Opens the store that `backend` and `log` hold, making it when the backend is empty.
    pub(crate) fn open_on(
        backend: impl StorageBackend,
        log: &dyn Fn(LogFile) -> io::Result<Option<Box<dyn StorageBackend>>>,
        path: String,
        options: EmbeddedOptions,
        seams: &Seams,
    ) -> Result<Self, StoreError> {
        let database = files::open_database(backend, &path, options)?;
        let header = tables::header(&database).map_err(|error| failed(&path, error))?;
        let header = match header {
            None => tables::initialize(&database).map_err(|error| failed(&path, error))?,
            Some(header) if header.format > FORMAT => {
                return Err(StoreError::NewerFormat { path, found: header.format, known: FORMAT });
            }
            Some(header) => header,
        };
        let (header, wal) = files::recover(&database, header, log, &path, &options, seams)?;
        let shared = Arc::new(Shared {
            path,
            options,
            queue: WriterQueue::new(options.queue_bytes),
            backlog: Backlog::new(header.revision),
            database: RwLock::new(Some(database)),
            hub: Hub::new(options.watch, header.revision),
        });
        let opened = Self { shared: shared.clone(), threads: Mutex::default() };
        opened.start("store-applier", {
            let (shared, clock) = (shared.clone(), seams.clock.clone());
            move || applier::run(&shared, header, &*clock)
        })?;
        opened.start("store-writer", {
            let clock = seams.clock.clone();
            move || writer::run(&shared, wal, header.revision, &*clock)
        })?;
        Ok(opened)
    }

    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            let error = self.shared.failed(error);
            self.shared.fail(&error);
            error
        })?;
        locked(&self.threads).push(thread);
        Ok(())
    }

    /// Counters for metrics.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.queue.statistics()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.push_close();
        for thread in locked(&self.threads).drain(..) {
            // A panic of a thread has failed the store already.
            let _ = thread.join();
        }
    }
}

impl Log for Shared {
    fn read(
        self: Arc<Self>,
        from: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<(Vec<Change>, Revision), StoreError>> {
        Box::pin(off_the_workers(move || {
            let page = self.look(|snapshot| snapshot.changes(from, to))?;
            if from < page.oldest {
                return Err(StoreError::Compacted { oldest: page.oldest });
            }
            let mut changes = Vec::with_capacity(page.rows.len());
            for (revision, row) in page.rows {
                let ops = crate::change::decode(&row)
                    .ok_or_else(|| self.failed(format_args!("the change of revision {revision} is damaged")))?;
                changes.push(Change { revision, ops });
            }
            let next = changes.last().map_or(to, |change| change.revision) + 1;
            Ok((changes, next))
        }))
    }
}

impl Store for Embedded {
    fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>> {
        let answer = txn
            .checked_size()
            .and_then(|bytes| self.shared.queue.push(bytes, |done| Request::Txn { txn, bytes, done }));
        let shared = self.shared.clone();
        Box::pin(async move { answer?.await.unwrap_or_else(|_| Err(shared.failed("its writer ended"))) })
    }

    fn check_room(&self) -> Result<(), StoreError> {
        self.shared.queue.check_room()
    }

    fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let answer = self.shared.queue.push(0, |done| Request::Barrier { done });
        let shared = self.shared.clone();
        Box::pin(async move { answer?.await.unwrap_or_else(|_| Err(shared.failed("its writer ended"))) })
    }

    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let (shared, key) = (self.shared.clone(), key.to_vec());
        Box::pin(off_the_workers(move || shared.look(|snapshot| snapshot.entry(&key))))
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>> {
        let shared = self.shared.clone();
        Box::pin(off_the_workers(move || shared.look(|snapshot| snapshot.page(&range))))
    }

    fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let watch = shared.hub.watch(shared.clone(), prefix, from)?;
            // After the watcher is registered: what is compacted from now on it learns on reading.
            let checked = shared.clone();
            let oldest = off_the_workers(move || checked.look(tables::Snapshot::oldest)).await?;
            if from.max(1) < oldest { Err(StoreError::Compacted { oldest }) } else { Ok(watch) }
        })
    }

    fn revision(&self) -> Revision {
        self.shared.hub.revision()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let closed = self.shared.queue.push_close();
        Box::pin(async move {
            match closed {
                // Answered after the files are closed.
                Some(closed) => closed.await.unwrap_or_else(|_| Err(self.shared.failed("its writer ended"))),
                None => Ok(()),
            }
        })
    }
}
