//! How state is read and changed: memory runs ahead of the commit, answers don't.
//!
//! A write runs under the lock: it looks at the state and collects [`Changes`]; they are applied
//! to memory and queued at the store in the same order; the lock is released; the answer waits
//! until the store says that they are durable. A read waits for what it has seen. So no client
//! ever sees what a crash could take back, and a failed commit ends the process.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use longshore_model::Scope;
use longshore_model::record::decode;
use longshore_seams::{BoxFuture, Seams};
use longshore_store::{MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Op, Page, Range, Store, StoreError, Txn, TxnOutcome};
use tokio::sync::{mpsc, oneshot, watch};

use crate::changes::{Change, Changes};
use crate::events;
use crate::keys::{self, Kind};
use crate::launch_rate::LaunchRate;
use crate::quotas::Quotas;
use crate::state::{Loader, State};

/// Sees every committed transaction, in commit order, after it is durable.
pub trait CommitObserver: Send + Sync {
    /// Must not block; wakes whoever acts on the changes.
    fn committed(&self, changes: &[Change]);
}

/// What happens when the store can no longer be written: by default the process ends.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// The state could not be loaded, or not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored record can't be read.
    #[error("{key}: {source}")]
    Record {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: longshore_model::record::RecordError,
    },
    /// A key that no version of ours wrote.
    #[error("the store holds a key that this version does not know: {0}")]
    Key(String),
}

struct Pending {
    sequence: u64,
    durable: BoxFuture<'static, Result<TxnOutcome, StoreError>>,
    changes: Vec<Change>,
    done: oneshot::Sender<()>,
}

struct Guarded {
    state: State,
    /// Transactions queued so far.
    submitted: u64,
}

/// The working set and its store. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    quotas: Quotas,
    launch_rate: Arc<LaunchRate>,
}

struct Inner {
    guarded: RwLock<Guarded>,
    store: Arc<dyn Store>,
    pending: mpsc::UnboundedSender<Pending>,
    durable: watch::Receiver<u64>,
    observers: RwLock<Vec<Arc<dyn CommitObserver>>>,
    seams: Seams,
}

impl Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

fn read_guard<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_guard<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Loads everything that is in `store`.
    ///
    /// # Errors
    /// The store can't be read, or holds what this version can't read.
    pub async fn open(store: Arc<dyn Store>, seams: Seams, on_fatal: OnFatal) -> Result<Self, EngineError> {
        let state = load(store.clone(), &seams).await?;
        let (pending, queue) = mpsc::unbounded_channel();
        let (durable_sender, durable) = watch::channel(0);
        let inner = Arc::new(Inner {
            guarded: RwLock::new(Guarded { state, submitted: 0 }),
            store,
            pending,
            durable,
            observers: RwLock::new(Vec::new()),
            seams: seams.clone(),
        });
        let weak = Arc::downgrade(&inner);
        seams.spawner.spawn("commit", Box::pin(commit_loop(weak, queue, durable_sender, on_fatal)));
        Ok(Self { inner, quotas: Quotas::default(), launch_rate: Arc::default() })
    }

    /// The same engine, with other quotas for what is made through it.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// How much of everything there may be.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// How fast tasks on Fargate were started.
    pub(crate) fn launch_rate(&self) -> &LaunchRate {
        &self.launch_rate
    }

    /// The seams that this control plane runs on.
    #[must_use]
    pub fn seams(&self) -> &Seams {
        &self.inner.seams
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Adds an observer of all later commits.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        write_guard(&self.inner.observers).push(observer);
    }

    /// Looks at the state without waiting for durability: for internal decisions that no client sees.
    pub fn peek<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&read_guard(&self.inner.guarded).state)
    }

    /// Looks at the state; resolves once everything that was seen is durable.
    pub async fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let (seen, submitted) = {
            let guarded = read_guard(&self.inner.guarded);
            (look(&guarded.state), guarded.submitted)
        };
        self.wait_durable(submitted).await;
        seen
    }

    async fn wait_durable(&self, sequence: u64) {
        let mut durable = self.inner.durable.clone();
        if durable.wait_for(|done| *done >= sequence).await.is_err() {
            // The commit loop is gone: the process is ending and no answer may leave it.
            std::future::pending::<()>().await;
        }
    }

    /// Decides and changes, atomically; resolves once the changes are durable.
    ///
    /// `decide` sees the state as it is before its changes. It must not push more changes than a
    /// transaction may hold ([`MAX_TXN_OPERATIONS`], [`MAX_TXN_BYTES`]): larger work is a sequence
    /// of transactions. When the returned future is dropped the changes happen all the same.
    ///
    /// # Errors
    /// What `decide` answers, or [`WriteRefused`]; nothing is changed then.
    pub async fn write<T, E: From<WriteRefused>>(
        &self,
        decide: impl FnOnce(&State, &mut Changes) -> Result<T, E>,
    ) -> Result<T, E> {
        let (answer, done, submitted) = {
            let mut guarded = write_guard(&self.inner.guarded);
            let mut changes = Changes::default();
            let answer = decide(&guarded.state, &mut changes)?;
            let seams = &self.inner.seams;
            events::record(&guarded.state, &mut changes, seams.clock.now(), &*seams.random);
            let ops: Vec<Op> = changes.list.iter().filter_map(Change::op).collect();
            check_size(&ops)?;
            if !ops.is_empty() {
                self.check_room()?;
            }
            for change in &changes.list {
                guarded.state.apply(change);
            }
            let done = (!changes.list.is_empty()).then(|| self.queue(&mut guarded, ops, changes.list));
            (answer, done, guarded.submitted)
        };
        match done {
            Some(done) => {
                if done.await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            // Nothing was changed, but what `decide` saw may still be on its way to the disk.
            None => self.wait_durable(submitted).await,
        }
        Ok(answer)
    }

    /// Asked before memory changes: an overload refuses the call and takes nothing back.
    fn check_room(&self) -> Result<(), WriteRefused> {
        match self.inner.store.check_room() {
            Err(error @ StoreError::Overloaded { .. }) => Err(WriteRefused::Overloaded(error)),
            // Any other failure is the commit loop's to hear, with the transaction.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn queue(&self, guarded: &mut Guarded, ops: Vec<Op>, changes: Vec<Change>) -> oneshot::Receiver<()> {
        guarded.submitted += 1;
        let durable: BoxFuture<'static, _> = if ops.is_empty() {
            Box::pin(std::future::ready(Ok(TxnOutcome::Committed(0))))
        } else {
            self.inner.store.submit(Txn { compares: Vec::new(), ops })
        };
        let (done, waiting) = oneshot::channel();
        // A closed channel means that the process is ending: the caller then waits for ever.
        let _ = self.inner.pending.send(Pending { sequence: guarded.submitted, durable, changes, done });
        waiting
    }
}

/// A decision was not carried out; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteRefused {
    /// It made more changes than a transaction may hold: a fault of ours, never of a client.
    #[error("a transaction of {operations} operations and {bytes} bytes is too large")]
    TooManyChanges {
        /// Operations in it.
        operations: usize,
        /// Bytes of their keys and values.
        bytes: usize,
    },
    /// The disk does not keep up: the same call may succeed a little later.
    #[error(transparent)]
    Overloaded(StoreError),
}

impl From<WriteRefused> for longshore_api::ServiceError {
    fn from(error: WriteRefused) -> Self {
        Self::server("ServerException", error.to_string())
    }
}

fn check_size(ops: &[Op]) -> Result<(), WriteRefused> {
    let size = |op: &Op| match op {
        Op::Put(key, value) => key.len() + value.len(),
        Op::Delete(key) => key.len(),
    };
    let bytes = ops.iter().map(size).sum();
    if ops.len() > MAX_TXN_OPERATIONS || bytes > MAX_TXN_BYTES {
        return Err(WriteRefused::TooManyChanges { operations: ops.len(), bytes });
    }
    Ok(())
}

/// Waits for each transaction in order, tells the observers, then the caller.
async fn commit_loop(
    inner: std::sync::Weak<Inner>,
    mut queue: mpsc::UnboundedReceiver<Pending>,
    durable: watch::Sender<u64>,
    on_fatal: OnFatal,
) {
    let mut batch = VecDeque::new();
    while let Some(first) = queue.recv().await {
        batch.push_back(first);
        while let Ok(next) = queue.try_recv() {
            batch.push_back(next);
        }
        while let Some(pending) = batch.pop_front() {
            match pending.durable.await {
                Ok(TxnOutcome::Committed(_)) => {}
                Ok(TxnOutcome::Conflict) => {
                    let reason = "a transaction without compares was refused".to_owned();
                    return on_fatal(&StoreError::Failed { path: String::new(), reason });
                }
                Err(error) => return on_fatal(&error),
            }
            durable.send_replace(pending.sequence);
            let Some(inner) = inner.upgrade() else { return };
            let observers = read_guard(&inner.observers).clone();
            for observer in &observers {
                observer.committed(&pending.changes);
            }
            // The caller may have gone away; the change stands.
            let _ = pending.done.send(());
        }
    }
}

/// Entries read and decoded at a time when the state is loaded.
const LOAD_PAGE: usize = 1_000;
/// So many times its stored size a record takes when it is decoded, about.
const DECODED_SIZE: usize = 2;
/// Bytes beyond which a page's records are left to grow the heap by themselves.
const DECODED_AT_MOST: usize = 16 << 20;
/// Pages that are read or decoded while earlier ones go into the state.
const PAGES_AHEAD: usize = 4;

type Decoded = oneshot::Receiver<Result<Vec<Change>, EngineError>>;

/// Reads everything, a page after the other, and has each decoded while the next one is read: decoding is most of the
/// work of a start. The pages come in the order of their keys.
async fn read_ahead(store: Arc<dyn Store>, seams: Seams, pages: mpsc::Sender<Result<Decoded, EngineError>>) {
    let mut next = Some(Range { start: Vec::new(), end: Vec::new(), limit: LOAD_PAGE });
    while let Some(range) = next {
        let decoded = match store.range(range.clone()).await {
            Ok(page) => {
                next = page.entries.last().filter(|_| page.more).map(|last| range.after(&last.key));
                Ok(decode_elsewhere(page, &seams))
            }
            Err(error) => {
                next = None;
                Err(EngineError::Store(error))
            }
        };
        // Nobody waits any more when an earlier page was damaged.
        if pages.send(decoded).await.is_err() {
            return;
        }
    }
}

async fn load(store: Arc<dyn Store>, seams: &Seams) -> Result<State, EngineError> {
    let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
    seams.spawner.spawn("load", Box::pin(read_ahead(store, seams.clone(), sender)));
    let mut loader = Loader::new();
    while let Some(decoded) = pages.recv().await {
        let changes = decoded?.await.unwrap_or(Err(EngineError::Store(StoreError::Closed)))?;
        changes.into_iter().for_each(|change| loader.put(change));
    }
    Ok(loader.finish())
}

/// Has the allocator grow this thread's heap once for records of so many stored bytes. glibc's grows it by 4 KiB at a
/// time otherwise, each time with a system call that holds up all other threads, and a million records take gigabytes.
/// What is freed here stays the heap's, and costs no memory until it is written to.
fn make_room(stored: usize) {
    // An allocation as large as this is mapped; freeing it raises the size from which on they are, and the one up to
    // which a heap keeps what is free at its end.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(DECODED_AT_MOST)));
    let decoded = stored.saturating_mul(DECODED_SIZE).min(DECODED_AT_MOST / 2);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(decoded)));
}

fn decode_elsewhere(page: Page, seams: &Seams) -> Decoded {
    let (done, decoded) = oneshot::channel();
    let decode = move || {
        make_room(page.entries.iter().map(|entry| entry.value.len()).sum());
        let changes = page.entries.iter().filter_map(|entry| load_change(&entry.key, &entry.value).transpose());
        let _ = done.send(changes.collect());
    };
    seams.spawner.spawn_blocking("decode", Box::new(decode));
    decoded
}

fn load_change(key: &[u8], value: &[u8]) -> Result<Option<Change>, EngineError> {
    let text = || String::from_utf8_lossy(key).into_owned();
    let (scope, kind) = keys::parse(key).ok_or_else(|| EngineError::Key(text()))?;
    let scope = scope.unwrap_or_else(|| Scope::new("", ""));
    let change = match kind {
        Kind::Cluster => decode(value).map(|record| Change::PutCluster(scope, Arc::new(record))),
        Kind::Family => decode(value).map(|record| Change::PutFamily(scope, Arc::new(record))),
        Kind::TaskDefinition => decode(value).map(|record| Change::PutTaskDefinition(scope, Arc::new(record))),
        Kind::DaemonFamily => decode(value).map(|record| Change::PutDaemonFamily(scope, Arc::new(record))),
        Kind::DaemonTaskDefinition => {
            decode(value).map(|record| Change::PutDaemonTaskDefinition(scope, Arc::new(record)))
        }
        Kind::Gateway => decode(value).map(|record| Change::PutGateway(scope, Arc::new(record))),
        Kind::GatewayAssociation => decode(value).map(|record| Change::PutGatewayAssociation(scope, Arc::new(record))),
        Kind::Daemon => decode(value).map(|record| Change::PutDaemon(scope, Arc::new(record))),
        Kind::ContainerInstance => decode(value).map(|record| Change::PutContainerInstance(scope, Arc::new(record))),
        Kind::Task => decode(value).map(|record| Change::PutTask(scope, Arc::new(record))),
        Kind::Service => decode(value).map(|record| Change::PutService(scope, Arc::new(record))),
        Kind::ServiceDeployment => decode(value).map(|record| Change::PutServiceDeployment(scope, Arc::new(record))),
        Kind::ServiceRevision => decode(value).map(|record| Change::PutServiceRevision(scope, Arc::new(record))),
        Kind::Idempotency => decode(value).map(|record| Change::PutIdempotency(scope, Arc::new(record))),
        Kind::AccountSetting => decode(value).map(|record| Change::PutAccountSetting(scope, Arc::new(record))),
        Kind::CapacityProvider => decode(value).map(|record| Change::PutCapacityProvider(scope, Arc::new(record))),
        Kind::Account => decode(value).map(|record| Change::PutAccount(Arc::new(record))),
        Kind::AccessKey => decode(value).map(|record| Change::PutAccessKey(Arc::new(record))),
        Kind::Grant => decode(value).map(|record| Change::PutGrant(Arc::new(record))),
        Kind::JoinToken => decode(value).map(|record| Change::PutJoinToken(Arc::new(record))),
        Kind::Outbox => decode(value).map(|record| Change::PutEvent(Arc::new(record))),
        Kind::Foreign => return Ok(None),
    };
    change.map(Some).map_err(|source| EngineError::Record { key: text(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use longshore_store::memory::Memory;
    use longshore_store::{Entry, Revision, Watch};

    use super::*;
    use crate::bootstrap::default_cluster;

    /// A store whose disk may fall behind; whatever is submitted then is refused.
    #[derive(Debug, Default)]
    struct Crowded {
        memory: Memory,
        crowded: AtomicBool,
    }

    impl Store for Crowded {
        fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>> {
            match self.check_room() {
                Ok(()) => self.memory.submit(txn),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        }

        fn check_room(&self) -> Result<(), StoreError> {
            let crowded = self.crowded.load(Ordering::Relaxed);
            if crowded { Err(StoreError::Overloaded { queued: 2, limit: 1 }) } else { Ok(()) }
        }

        fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>> {
            self.memory.barrier()
        }

        fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
            self.memory.get(key)
        }

        fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>> {
            self.memory.range(range)
        }

        fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
            self.memory.watch(prefix, from)
        }

        fn revision(&self) -> Revision {
            self.memory.revision()
        }

        fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
            self.memory.close()
        }
    }

    #[tokio::test]
    async fn an_overloaded_store_refuses_the_call_and_the_next_one_may_succeed() {
        let store = Arc::new(Crowded::default());
        let on_fatal: OnFatal = Arc::new(|error| panic!("{error}"));
        let engine = Engine::open(store.clone(), Seams::system(), on_fatal).await.unwrap();
        let scope = Scope::new("123456789012", "eu-west-1");
        store.crowded.store(true, Ordering::Relaxed);
        let refused = default_cluster(&engine, &scope).await.unwrap_err();
        assert!(refused.to_string().contains("retry later"), "{refused}");
        assert!(engine.peek(|state| state.scope(&scope).active_cluster("default").is_none()));
        store.crowded.store(false, Ordering::Relaxed);
        default_cluster(&engine, &scope).await.unwrap();
        assert!(engine.peek(|state| state.scope(&scope).active_cluster("default").is_some()));
        assert_eq!(store.revision(), 1);
    }
}
