//! The embedded back end: one redb file, one writer thread, group commit.
//!
//! Everything that waits when a commit ends becomes the next commit: one `fdatasync` for all of it,
//! each transaction with its own revision, in submit order. Readers see the last commit and never
//! wait for the writer. After any I/O error nothing is acknowledged any more, and every call fails.
//!
//! The writer is a thread of its own rather than a task: it blocks in `fdatasync` most of the time.

mod tables;
mod writer;

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_seams::{BoxFuture, Seams};
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use crate::watch::{Hub, Log};
use crate::{Change, Entry, Page, Range, Revision, Store, StoreError, Txn, TxnOutcome, Watch, WatchLimits, locked};
use writer::{Request, WriterQueue};

/// Newest format of the file that this version knows. Every older one is readable.
pub const FORMAT: u32 = 1;

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
            watch: WatchLimits::default(),
        }
    }
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits to disk.
    pub commits: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Time spent committing, all commits together.
    pub commit_time: Duration,
    /// Bytes waiting for the writer now.
    pub queued_bytes: usize,
}

/// The embedded back end. Dropping it commits what is queued, like [`Store::close`].
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer thread, readers and watchers share.
#[derive(Debug)]
struct Shared {
    path: String,
    options: EmbeddedOptions,
    queue: WriterQueue,
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
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(self.queue.ended().unwrap_or(StoreError::Closed));
        };
        tables::Snapshot::of(database).and_then(|snapshot| read(&snapshot)).map_err(|error| self.failed(error))
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
    /// Opens the store at `path`, making it (mode 0600) when it is not there.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] for a file of a newer version; [`StoreError::Failed`] when the
    /// file is in use by another process, damaged, or can't be read.
    pub fn open(path: &Path, options: EmbeddedOptions, seams: &Seams) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let exists = path.try_exists().map_err(|error| failed(&name, error))?;
        if !exists {
            create(path, &name, options)?;
        }
        Self::open_on(file(path).map_err(|error| failed(&name, error))?, name, options, seams)
    }

    /// Opens the store that `backend` holds, making it when the backend is empty.
    pub(crate) fn open_on(
        backend: impl StorageBackend,
        path: String,
        options: EmbeddedOptions,
        seams: &Seams,
    ) -> Result<Self, StoreError> {
        let database = open_database(backend, &path, options)?;
        let header = tables::header(&database).map_err(|error| failed(&path, error))?;
        let header = match header {
            None => tables::initialize(&database).map_err(|error| failed(&path, error))?,
            Some(header) if header.format > FORMAT => {
                return Err(StoreError::NewerFormat { path, found: header.format, known: FORMAT });
            }
            Some(header) => header,
        };
        let shared = Arc::new(Shared {
            path,
            options,
            queue: WriterQueue::new(options.queue_bytes),
            database: RwLock::new(Some(database)),
            hub: Hub::new(options.watch, header.revision),
        });
        let thread = {
            let (writer, clock) = (shared.clone(), seams.clock.clone());
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer::run(&writer, header, &*clock))
                .map_err(|error| shared.failed(error))?
        };
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Counters for metrics.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.queue.statistics()
    }
}

fn open_database(backend: impl StorageBackend, path: &str, options: EmbeddedOptions) -> Result<Database, StoreError> {
    Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            failed(path, "another process has it open; stop that one, or choose another data directory")
        }
        error => failed(path, error),
    })
}

fn file(path: &Path) -> Result<FileBackend, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(FileBackend::new(file)?)
}

/// Makes a new file whole before it gets its name: a crash in between leaves no half-made store.
fn create(path: &Path, name: &str, options: EmbeddedOptions) -> Result<(), StoreError> {
    let mut unfinished: PathBuf = path.to_owned();
    unfinished.as_mut_os_string().push(".new");
    let io = |error: std::io::Error| failed(name, error);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let backend = file(&unfinished).map_err(|error| failed(name, error))?;
    let database = open_database(backend, name, options)?;
    tables::initialize(&database).map_err(|error| failed(name, error))?;
    database.close().map_err(|error| failed(name, error))?;
    std::fs::rename(&unfinished, path).map_err(io)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.push_close();
        if let Some(writer) = locked(&self.writer).take() {
            // A panic of the writer has failed the store already.
            let _ = writer.join();
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

    fn has_room(&self) -> bool {
        self.shared.queue.has_room()
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
                // The writer answers after the files are closed.
                Some(closed) => closed.await.unwrap_or_else(|_| Err(self.shared.failed("its writer ended"))),
                None => Ok(()),
            }
        })
    }
}
