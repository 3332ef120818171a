//! What is particular to the embedded back end's file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use longshore_seams::Seams;
use longshore_store::embedded::{Embedded, EmbeddedOptions, FORMAT};
use longshore_store::{Op, Store, StoreError, Txn, TxnOutcome};

fn put(key: &[u8], value: Vec<u8>) -> Txn {
    Txn { compares: vec![], ops: vec![Op::Put(key.to_vec(), value)] }
}

#[tokio::test]
async fn a_reopened_store_has_its_content_and_goes_on_counting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let open = || Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    let store = open();
    store.submit(put(b"a", b"1".to_vec())).await.unwrap();
    store.close().await.unwrap();
    let store = open();
    assert_eq!(store.revision(), 1);
    assert_eq!(store.get(b"a").await.unwrap().unwrap().value, b"1");
    assert_eq!(store.submit(put(b"b", vec![])).await.unwrap(), TxnOutcome::Committed(2));
    drop(store);
    let mut watch = open().watch(vec![], 1).await.unwrap();
    assert!(matches!(watch.next().await, Err(StoreError::Closed)));
    assert_eq!(open().revision(), 2);
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    for path in [&path, &path.with_extension("wal")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    let refused = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap_err();
    assert!(refused.to_string().contains("another process has it open"), "{refused}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap().close().await.unwrap();
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("format", u64::from(FORMAT) + 1).unwrap();
        transaction.commit().unwrap();
    }
    let refused = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerFormat { found, known: FORMAT, .. } if found == FORMAT + 1),
        "{refused}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    let refused = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap_err();
    assert!(matches!(refused, StoreError::Failed { .. }), "{refused}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let options = EmbeddedOptions { queue_bytes: 1 << 20, ..EmbeddedOptions::default() };
    let store = Embedded::open(&path, options, &Seams::system()).unwrap();
    let answers: Vec<_> = (0..200_u8).map(|n| store.submit(put(&[n], vec![0; 200_000]))).collect();
    let mut refused = 0;
    for answer in answers {
        match answer.await {
            Err(StoreError::Overloaded { limit, .. }) => {
                assert_eq!(limit, 1 << 20);
                refused += 1;
            }
            other => assert!(matches!(other, Ok(TxnOutcome::Committed(_)))),
        }
    }
    assert!(refused > 0);
    assert!(store.check_room().is_ok());
    store.submit(put(b"after", vec![])).await.unwrap();
}

/// Copies the database, or its log, of a store that is open.
fn copy(from: &Path, to: &Path, extension: &str) {
    std::fs::copy(from.with_extension(extension), to.with_extension(extension)).unwrap();
}

#[tokio::test]
async fn a_copy_needs_both_files() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("store.redb"), directory.path().join("copy.redb"));
    let options = EmbeddedOptions { checkpoint_idle: Duration::from_secs(3_600), ..EmbeddedOptions::default() };
    let store = Embedded::open(&path, options, &Seams::system()).unwrap();
    store.submit(put(b"a", b"1".to_vec())).await.unwrap();
    copy(&path, &other, "redb");
    let refused = Embedded::open(&other, options, &Seams::system()).unwrap_err();
    assert!(refused.to_string().contains("its write-ahead log"), "{refused}");
    assert!(!other.with_extension("wal").exists());
    copy(&path, &other, "wal");
    let copied = Embedded::open(&other, options, &Seams::system()).unwrap();
    assert_eq!(copied.get(b"a").await.unwrap().unwrap().value, b"1");
}

#[tokio::test]
async fn a_log_that_does_not_continue_the_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("store.redb"), directory.path().join("copy.redb"));
    let options = EmbeddedOptions { batch_bytes: 1 << 10, checkpoint_bytes: 1 << 10, ..EmbeddedOptions::default() };
    let store = Embedded::open(&path, options, &Seams::system()).unwrap();
    copy(&path, &other, "redb");
    while store.statistics().checkpoints < 4 {
        store.submit(put(b"a", vec![0; 2_000])).await.unwrap();
    }
    copy(&path, &other, "wal");
    let refused = Embedded::open(&other, options, &Seams::system()).unwrap_err();
    assert!(refused.to_string().contains("lacks revision 1"), "{refused}");
}

#[tokio::test]
async fn a_log_left_behind_by_another_store_is_not_taken_for_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let open = || Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    let store = open();
    store.submit(put(b"a", vec![])).await.unwrap();
    store.submit(put(b"b", vec![])).await.unwrap();
    store.close().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let store = open();
    store.submit(put(b"c", vec![])).await.unwrap();
    let other = directory.path().join("copy.redb");
    copy(&path, &other, "redb");
    copy(&path, &other, "wal");
    let copied = Embedded::open(&other, EmbeddedOptions::default(), &Seams::system()).unwrap();
    assert_eq!((copied.revision(), copied.get(b"b").await.unwrap()), (1, None));
}

#[tokio::test]
async fn a_log_of_another_size_is_replayed_and_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("store.redb"), directory.path().join("copy.redb"));
    let store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    store.submit(put(b"a", vec![])).await.unwrap();
    copy(&path, &other, "redb");
    copy(&path, &other, "wal");
    let smaller = EmbeddedOptions { checkpoint_bytes: 1 << 20, ..EmbeddedOptions::default() };
    let copied = Embedded::open(&other, smaller, &Seams::system()).unwrap();
    assert_eq!(copied.revision(), 1);
    let bytes = |path: &Path| path.with_extension("wal").metadata().unwrap().len();
    assert_eq!(bytes(&path) - bytes(&other), 2 * (9 << 20));
}
