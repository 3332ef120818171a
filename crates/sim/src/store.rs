//! The server's store: commits take time, and a crash takes back what was not durable.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_seams::{BoxFuture, Random};
use longshore_store::memory::Memory;
use longshore_store::{Entry, Page, Range, Revision, Store, StoreError, Txn, TxnOutcome, Watch};
use tokio::sync::{Notify, oneshot};

use crate::executor::{Executor, Process, between, locked};

/// A group commit takes about as long as an fdatasync.
const COMMIT: (Duration, Duration) = (Duration::from_micros(300), Duration::from_millis(12));

type Answer = oneshot::Sender<Result<TxnOutcome, StoreError>>;

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<(Txn, Answer)>>,
    wake: Notify,
    full: AtomicBool,
}

/// The store of one life of the server process.
#[derive(Clone, Debug)]
pub(crate) struct SimStore {
    durable: Arc<Memory>,
    queue: Arc<Queue>,
}

impl SimStore {
    /// Over what is durable, with its writer in `process`.
    pub fn open(durable: Arc<Memory>, executor: &Executor, process: Process, random: Arc<dyn Random>) -> Self {
        let store = Self { durable, queue: Arc::default() };
        let (writer, time) = (store.clone(), executor.clone());
        executor.spawn(process, "store writer", Box::pin(async move { writer.write(&time, &*random).await }));
        store
    }

    /// Makes commits fail.
    pub fn set_full(&self, full: bool) {
        self.queue.full.store(full, Ordering::Relaxed);
    }

    /// After the process was killed: of the transactions under way the first few may have got to the disk all the same.
    pub fn crash(&self, random: &dyn Random) -> Memory {
        let mut waiting = locked(&self.queue.waiting);
        let reached = random.below(waiting.len() as u64 + 1);
        for _ in 0..reached {
            let Some((txn, _)) = waiting.pop_front() else { break };
            // The memory store commits inside the call.
            drop(self.durable.submit(txn));
        }
        waiting.clear();
        self.durable.reopen()
    }

    async fn write(&self, executor: &Executor, random: &dyn Random) {
        loop {
            while locked(&self.queue.waiting).is_empty() {
                self.queue.wake.notified().await;
            }
            executor.sleep(between(random, COMMIT.0, COMMIT.1)).await;
            if self.queue.full.load(Ordering::Relaxed) {
                let (path, reason) = ("store".to_owned(), "no space left on device".to_owned());
                let failed = StoreError::Failed { path, reason };
                for (_, answer) in locked(&self.queue.waiting).drain(..) {
                    let _ = answer.send(Err(failed.clone()));
                }
                return;
            }
            let group: Vec<(Txn, Answer)> = locked(&self.queue.waiting).drain(..).collect();
            for (txn, answer) in group {
                // Whoever waited may have gone away; the transaction stands.
                let _ = answer.send(self.durable.submit(txn).await);
            }
        }
    }
}

impl Store for SimStore {
    fn submit(&self, txn: Txn) -> BoxFuture<'static, Result<TxnOutcome, StoreError>> {
        let (answer, answered) = oneshot::channel();
        locked(&self.queue.waiting).push_back((txn, answer));
        self.queue.wake.notify_one();
        Box::pin(async move { answered.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn barrier(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let empty = self.submit(Txn { compares: Vec::new(), ops: Vec::new() });
        Box::pin(async move { empty.await.map(|_| ()) })
    }

    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        self.durable.get(key)
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.durable.range(range)
    }

    fn watch(&self, prefix: Vec<u8>, from: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.durable.watch(prefix, from)
    }

    fn revision(&self) -> Revision {
        self.durable.revision()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.durable.close()
    }
}
