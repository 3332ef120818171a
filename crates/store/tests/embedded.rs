//! What is particular to the embedded back end's file.

use std::os::unix::fs::PermissionsExt;

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
async fn only_the_owner_can_read_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
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
    assert!(store.has_room());
    store.submit(put(b"after", vec![])).await.unwrap();
}
