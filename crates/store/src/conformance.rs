//! What every back end must do, as tests. [`conformance_tests!`](crate::conformance_tests) makes one
//! `#[tokio::test]` of each; a panic is a failed test.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use crate::{
    Change, Compare, Entry, MAX_PAGE, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Op, Range, Revision, Store, StoreError, Txn,
    TxnOutcome, Watch, WatchLimits,
};

/// A store under test.
#[derive(Debug)]
pub struct Subject {
    /// The store, empty, with a change log of [`LOG_REVISIONS`] and [`WATCH_LIMITS`].
    pub store: Arc<dyn Store>,
    /// What must live as long as the store, e.g. its directory.
    pub keep: Box<dyn KeepAlive>,
}

/// Anything that is only held.
pub trait KeepAlive: Any + Debug + Send + Sync {}
impl<T: Any + Debug + Send + Sync> KeepAlive for T {}

/// Revisions that a store under test keeps in its change log.
pub const LOG_REVISIONS: usize = 50;
/// Watch bounds of a store under test.
pub const WATCH_LIMITS: WatchLimits = WatchLimits { changes: 8, bytes: 1 << 20 };

/// Defines one test for each behaviour; `$open` is a `fn() -> Subject`.
#[macro_export]
macro_rules! conformance_tests {
    ($open:path) => {
        $crate::conformance_tests!($open:
            a_new_store_is_empty
            a_put_can_be_read_back
            each_transaction_takes_the_next_revision
            create_revision_survives_overwriting_and_not_deletion
            a_mod_revision_compare_guards_a_write
            a_create_revision_compare_fences_an_incarnation
            a_failed_compare_writes_nothing
            compares_see_earlier_transactions_of_the_same_commit
            the_last_operation_on_a_key_stands
            a_transaction_without_operations_takes_no_revision
            transactions_apply_in_submit_order
            a_dropped_future_does_not_take_the_transaction_back
            concurrent_submitters_lose_no_increment
            a_barrier_waits_for_everything_before_it
            a_range_is_sorted_and_half_open
            a_prefix_range_holds_the_prefix_only
            pages_cover_a_range_exactly_once
            a_page_is_never_larger_than_the_limit
            a_watch_replays_from_a_revision
            a_watch_goes_from_replay_to_live_without_gap
            a_watch_sees_its_prefix_only
            a_watch_from_the_future_waits_for_it
            a_watch_of_compacted_revisions_is_refused
            a_slow_watcher_is_told_that_it_lags
            too_many_operations_are_refused
            too_many_bytes_are_refused
            after_close_everything_is_refused
            close_commits_what_is_queued
            close_ends_watchers
        );
    };
    ($open:path: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let subject = $open();
                $crate::conformance::$behaviour(&*subject.store).await;
            }
        )*
    };
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.into(), value.into())
}

fn write(key: &str, value: &str) -> Txn {
    Txn { compares: vec![], ops: vec![put(key, value)] }
}

async fn commit(store: &dyn Store, txn: Txn) -> Revision {
    match store.submit(txn).await.expect("the store works") {
        TxnOutcome::Committed(revision) => revision,
        TxnOutcome::Conflict => panic!("the transaction conflicts"),
    }
}

async fn entry(store: &dyn Store, key: &str) -> Option<Entry> {
    store.get(key.as_bytes()).await.expect("the store works")
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    entry(store, key).await.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

async fn keys(store: &dyn Store, range: Range) -> Vec<String> {
    let page = store.range(range).await.expect("the store works");
    page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect()
}

async fn watch(store: &dyn Store, prefix: &str, from: Revision) -> Box<dyn Watch> {
    store.watch(prefix.into(), from).await.expect("the revision is kept")
}

async fn next(watch: &mut Box<dyn Watch>) -> Change {
    watch.next().await.expect("the watch goes on")
}

/// See its name, as with every function here.
pub async fn a_new_store_is_empty(store: &dyn Store) {
    assert_eq!(store.revision(), 0);
    assert_eq!(entry(store, "a").await, None);
    let page = store.range(Range::prefix(b"")).await.expect("the store works");
    assert!(page.entries.is_empty() && !page.more && page.revision == 0);
}

#[expect(missing_docs, reason = "the name of each says what it checks")]
mod behaviours {
    use super::*;

    pub async fn a_put_can_be_read_back(store: &dyn Store) {
        let revision = commit(store, write("a", "1")).await;
        let found = entry(store, "a").await.expect("it was written");
        assert_eq!(
            found,
            Entry { key: b"a".into(), value: b"1".into(), create_revision: revision, mod_revision: revision }
        );
    }

    pub async fn each_transaction_takes_the_next_revision(store: &dyn Store) {
        for expected in 1..=5 {
            assert_eq!(commit(store, write("a", "x")).await, expected);
            assert_eq!(store.revision(), expected);
        }
    }

    pub async fn create_revision_survives_overwriting_and_not_deletion(store: &dyn Store) {
        let created = commit(store, write("a", "1")).await;
        let modified = commit(store, write("a", "2")).await;
        let found = entry(store, "a").await.expect("it is there");
        assert_eq!((found.create_revision, found.mod_revision), (created, modified));
        commit(store, Txn { compares: vec![], ops: vec![Op::Delete(b"a".into())] }).await;
        assert_eq!(entry(store, "a").await, None);
        let again = commit(store, write("a", "3")).await;
        let found = entry(store, "a").await.expect("it is there");
        assert_eq!((found.create_revision, found.mod_revision), (again, again));
    }

    pub async fn a_mod_revision_compare_guards_a_write(store: &dyn Store) {
        let guarded = |expected, to: &str| Txn {
            compares: vec![Compare::ModRevision(b"a".into(), expected)],
            ops: vec![put("a", to)],
        };
        let first = commit(store, guarded(0, "1")).await;
        assert_eq!(store.submit(guarded(0, "2")).await.expect("the store works"), TxnOutcome::Conflict);
        let second = commit(store, guarded(first, "3")).await;
        assert_eq!(store.submit(guarded(first, "4")).await.expect("the store works"), TxnOutcome::Conflict);
        commit(store, guarded(second, "5")).await;
        assert_eq!(value(store, "a").await.as_deref(), Some("5"));
    }

    pub async fn a_create_revision_compare_fences_an_incarnation(store: &dyn Store) {
        let fenced = |created| Txn {
            compares: vec![Compare::CreateRevision(b"lease".into(), created)],
            ops: vec![put("data", "x")],
        };
        let lease = commit(store, write("lease", "me")).await;
        commit(store, write("lease", "me, renewed")).await;
        commit(store, fenced(lease)).await;
        let anew = Txn { compares: vec![], ops: vec![Op::Delete(b"lease".into()), put("lease", "you")] };
        let taken = commit(store, anew).await;
        assert_eq!(store.submit(fenced(lease)).await.expect("the store works"), TxnOutcome::Conflict);
        commit(store, fenced(taken)).await;
    }

    pub async fn a_failed_compare_writes_nothing(store: &dyn Store) {
        let txn = Txn {
            compares: vec![Compare::ModRevision(b"a".into(), 0), Compare::ModRevision(b"b".into(), 7)],
            ops: vec![put("a", "1"), put("c", "1")],
        };
        assert_eq!(store.submit(txn).await.expect("the store works"), TxnOutcome::Conflict);
        assert!(keys(store, Range::prefix(b"")).await.is_empty());
        assert_eq!(store.revision(), 0);
    }

    pub async fn compares_see_earlier_transactions_of_the_same_commit(store: &dyn Store) {
        let claim =
            |who: &str| Txn { compares: vec![Compare::ModRevision(b"name".into(), 0)], ops: vec![put("name", who)] };
        let (first, second) = (store.submit(claim("first")), store.submit(claim("second")));
        assert!(matches!(first.await, Ok(TxnOutcome::Committed(_))));
        assert!(matches!(second.await, Ok(TxnOutcome::Conflict)));
        assert_eq!(value(store, "name").await.as_deref(), Some("first"));
    }

    pub async fn the_last_operation_on_a_key_stands(store: &dyn Store) {
        let ops = vec![put("a", "1"), Op::Delete(b"a".into()), put("b", "1"), put("b", "2"), Op::Delete(b"c".into())];
        commit(store, Txn { compares: vec![], ops }).await;
        assert_eq!(keys(store, Range::prefix(b"")).await, ["b"]);
        assert_eq!(value(store, "b").await.as_deref(), Some("2"));
    }

    pub async fn a_transaction_without_operations_takes_no_revision(store: &dyn Store) {
        let revision = commit(store, write("a", "1")).await;
        assert_eq!(commit(store, Txn::default()).await, revision);
        let wrong = Txn { compares: vec![Compare::ModRevision(b"a".into(), 0)], ops: vec![] };
        assert_eq!(store.submit(wrong).await.expect("the store works"), TxnOutcome::Conflict);
        assert_eq!(store.revision(), revision);
    }

    pub async fn transactions_apply_in_submit_order(store: &dyn Store) {
        let futures: Vec<_> = (0..200).map(|n| store.submit(write("a", &n.to_string()))).collect();
        let mut last = 0;
        for future in futures {
            let TxnOutcome::Committed(revision) = future.await.expect("the store works") else {
                panic!("nothing to conflict with")
            };
            assert_eq!(revision, last + 1);
            last = revision;
        }
        assert_eq!(value(store, "a").await.as_deref(), Some("199"));
    }

    pub async fn a_dropped_future_does_not_take_the_transaction_back(store: &dyn Store) {
        drop(store.submit(write("a", "1")));
        store.barrier().await.expect("the store works");
        assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    }

    pub async fn concurrent_submitters_lose_no_increment(store: &dyn Store) {
        let increment = || async {
            for _ in 0..25 {
                loop {
                    let found = entry(store, "n").await;
                    let (count, revision) = found.map_or((0, 0), |found| {
                        let text = String::from_utf8(found.value).expect("digits");
                        (text.parse::<u64>().expect("digits"), found.mod_revision)
                    });
                    let txn = Txn {
                        compares: vec![Compare::ModRevision(b"n".into(), revision)],
                        ops: vec![put("n", &(count + 1).to_string())],
                    };
                    if store.submit(txn).await.expect("the store works") != TxnOutcome::Conflict {
                        break;
                    }
                }
            }
        };
        tokio::join!(increment(), increment(), increment(), increment());
        assert_eq!(value(store, "n").await.as_deref(), Some("100"));
    }

    pub async fn a_barrier_waits_for_everything_before_it(store: &dyn Store) {
        let txns: Vec<_> = (0..20).map(|n| store.submit(write(&format!("k{n}"), "x"))).collect();
        store.barrier().await.expect("the store works");
        assert_eq!(store.revision(), 20);
        drop(txns);
    }

    pub async fn a_range_is_sorted_and_half_open(store: &dyn Store) {
        for key in ["c", "a", "d", "b"] {
            commit(store, write(key, "x")).await;
        }
        let range = |start: &str, end: &str| Range { start: start.into(), end: end.into(), limit: 10 };
        assert_eq!(keys(store, range("a", "c")).await, ["a", "b"]);
        assert_eq!(keys(store, range("b", "")).await, ["b", "c", "d"]);
        assert_eq!(keys(store, range("", "")).await, ["a", "b", "c", "d"]);
        assert!(keys(store, range("c", "a")).await.is_empty());
    }

    pub async fn a_prefix_range_holds_the_prefix_only(store: &dyn Store) {
        let ops = [&b"a"[..], b"p", b"p/1", b"p\xff", b"p\xff\xff", b"q", b"\xff\xff"];
        let ops = ops.iter().map(|key| Op::Put(key.to_vec(), vec![])).collect();
        commit(store, Txn { compares: vec![], ops }).await;
        let found = |prefix: &'static [u8]| async move {
            store.range(Range::prefix(prefix)).await.expect("the store works").entries.len()
        };
        assert_eq!(found(b"p").await, 4);
        assert_eq!(found(b"p\xff").await, 2);
        assert_eq!(found(b"\xff").await, 1);
        assert_eq!(found(b"").await, 7);
    }

    pub async fn pages_cover_a_range_exactly_once(store: &dyn Store) {
        for n in 0..25 {
            commit(store, write(&format!("k{n:02}"), "x")).await;
        }
        let mut range = Range { start: b"k".into(), end: b"l".into(), limit: 10 };
        let mut seen = Vec::new();
        loop {
            let page = store.range(range.clone()).await.expect("the store works");
            seen.extend(page.entries.iter().map(|entry| entry.key.clone()));
            let Some(last) = page.entries.last().filter(|_| page.more) else { break };
            range = range.after(&last.key);
        }
        let expected: Vec<_> = (0..25).map(|n| format!("k{n:02}").into_bytes()).collect();
        assert_eq!(seen, expected);
    }

    pub async fn a_page_is_never_larger_than_the_limit(store: &dyn Store) {
        for n in 0..=MAX_PAGE / 100 {
            let ops = (0..100).map(|m| put(&format!("{n:03}/{m:02}"), "")).collect();
            commit(store, Txn { compares: vec![], ops }).await;
        }
        let all = Range { start: vec![], end: vec![], limit: usize::MAX };
        let page = store.range(all).await.expect("the store works");
        assert!(page.more);
        assert_eq!(page.entries.len(), MAX_PAGE);
        assert_eq!(page.revision, store.revision());
    }

    pub async fn a_watch_replays_from_a_revision(store: &dyn Store) {
        for n in 1..=5 {
            commit(store, write("a", &n.to_string())).await;
        }
        let mut watch = watch(store, "", 3).await;
        for n in 3..=5 {
            let expected = Change { revision: n, ops: vec![put("a", &n.to_string())] };
            assert_eq!(next(&mut watch).await, expected);
        }
    }

    pub async fn a_watch_goes_from_replay_to_live_without_gap(store: &dyn Store) {
        let write_all = async {
            for n in 1..=40_u64 {
                commit(store, write("a", &n.to_string())).await;
                // The reader keeps up with the small queue of the store under test.
                tokio::task::yield_now().await;
            }
        };
        let read_all = async {
            let mut from = 0;
            let mut changes = watch(store, "", 0).await;
            while from < 40 {
                match changes.next().await {
                    Ok(change) => {
                        assert_eq!(change.revision, from + 1);
                        from = change.revision;
                    }
                    Err(StoreError::Lagged) => changes = watch(store, "", from + 1).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::join!(write_all, read_all);
    }

    pub async fn a_watch_sees_its_prefix_only(store: &dyn Store) {
        let both =
            |n: &str| Txn { compares: vec![], ops: vec![put("p/a", n), put("q/a", n), Op::Delete(b"p/b".into())] };
        commit(store, both("1")).await;
        commit(store, write("q/b", "2")).await;
        let mut watch = watch(store, "p/", 1).await;
        commit(store, write("q/b", "3")).await;
        commit(store, both("4")).await;
        for (revision, n) in [(1, "1"), (4, "4")] {
            let ops = vec![put("p/a", n), Op::Delete(b"p/b".into())];
            assert_eq!(next(&mut watch).await, Change { revision, ops });
        }
    }

    pub async fn a_watch_from_the_future_waits_for_it(store: &dyn Store) {
        let mut watch = watch(store, "", 3).await;
        for _ in 0..3 {
            commit(store, write("a", "x")).await;
        }
        assert_eq!(next(&mut watch).await.revision, 3);
    }

    pub async fn a_watch_of_compacted_revisions_is_refused(store: &dyn Store) {
        let total = LOG_REVISIONS as u64 + 10;
        for _ in 0..total {
            commit(store, write("a", "x")).await;
        }
        let refused = store.watch(vec![], 1).await.expect_err("it is compacted");
        let StoreError::Compacted { oldest } = refused else { panic!("{refused}") };
        assert_eq!(oldest, total - LOG_REVISIONS as u64 + 1);
        let mut watch = watch(store, "", oldest).await;
        assert_eq!(next(&mut watch).await.revision, oldest);
    }

    pub async fn a_slow_watcher_is_told_that_it_lags(store: &dyn Store) {
        let mut slow = watch(store, "", 1).await;
        let mut other = watch(store, "other/", 1).await;
        for _ in 0..=WATCH_LIMITS.changes {
            commit(store, write("a", "x")).await;
        }
        assert!(matches!(slow.next().await, Err(StoreError::Lagged)));
        assert!(matches!(slow.next().await, Err(StoreError::Lagged)));
        let revision = commit(store, write("other/a", "x")).await;
        assert_eq!(next(&mut other).await.revision, revision);
    }

    pub async fn too_many_operations_are_refused(store: &dyn Store) {
        let txn = |puts: usize| Txn {
            compares: vec![Compare::ModRevision(b"z".into(), 0)],
            ops: (0..puts).map(|n| put(&n.to_string(), "")).collect(),
        };
        let refused = store.submit(txn(MAX_TXN_OPERATIONS)).await.expect_err("it is too large");
        assert!(matches!(refused, StoreError::TooLarge { operations: 101, .. }), "{refused}");
        commit(store, txn(MAX_TXN_OPERATIONS - 1)).await;
    }

    pub async fn too_many_bytes_are_refused(store: &dyn Store) {
        let txn = |bytes: usize| Txn { compares: vec![], ops: vec![Op::Put(b"a".into(), vec![0; bytes])] };
        let refused = store.submit(txn(MAX_TXN_BYTES)).await.expect_err("it is too large");
        assert!(matches!(refused, StoreError::TooLarge { bytes, .. } if bytes == MAX_TXN_BYTES + 1), "{refused}");
        commit(store, txn(MAX_TXN_BYTES - 1)).await;
        assert_eq!(store.revision(), 1);
    }

    pub async fn after_close_everything_is_refused(store: &dyn Store) {
        commit(store, write("a", "1")).await;
        store.close().await.expect("it closes");
        assert!(matches!(store.submit(write("a", "2")).await, Err(StoreError::Closed)));
        assert!(matches!(store.barrier().await, Err(StoreError::Closed)));
        assert!(matches!(store.get(b"a").await, Err(StoreError::Closed)));
        assert!(matches!(store.range(Range::prefix(b"")).await, Err(StoreError::Closed)));
        assert!(matches!(store.watch(vec![], 1).await, Err(StoreError::Closed)));
        store.close().await.expect("closing twice is no error");
    }

    pub async fn close_commits_what_is_queued(store: &dyn Store) {
        let txns: Vec<_> = (0..50).map(|n| store.submit(write(&n.to_string(), "x"))).collect();
        store.close().await.expect("it closes");
        for (txn, expected) in txns.into_iter().zip(1..) {
            assert_eq!(txn.await.expect("it was queued before the close"), TxnOutcome::Committed(expected));
        }
    }

    pub async fn close_ends_watchers(store: &dyn Store) {
        let mut watch = watch(store, "", 1).await;
        let (ended, closed) = tokio::join!(watch.next(), store.close());
        closed.expect("it closes");
        assert!(matches!(ended, Err(StoreError::Closed)));
    }
}
pub use behaviours::*;
