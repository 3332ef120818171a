//! Files of earlier versions stay readable. `LONGSHORE_WRITE_FIXTURES=1` writes the present format's.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use longshore_seams::{Seams, Timestamp};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::segments::{Order, Record, Retention, SegmentLog, SegmentOptions, Selection};
use longshore_store::{Op, Range, Store, Txn};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

fn writing() -> bool {
    std::env::var_os("LONGSHORE_WRITE_FIXTURES").is_some()
}

fn txn(ops: Vec<Op>) -> Txn {
    Txn { compares: vec![], ops }
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.into(), value.into())
}

fn pack(from: &Path, fixture: &Path) {
    let mut packed = GzEncoder::new(File::create(fixture).unwrap(), Compression::best());
    io::copy(&mut File::open(from).unwrap(), &mut packed).unwrap();
    packed.finish().unwrap();
}

fn unpack(fixture: &Path, to: &Path) {
    let mut packed = GzDecoder::new(File::open(fixture).unwrap());
    io::copy(&mut packed, &mut File::create(to).unwrap()).unwrap();
}

/// Two transactions, and what they left.
async fn write(store: &Embedded) {
    store.submit(txn(vec![put("a", "1"), put("b", "2")])).await.unwrap();
    store.submit(txn(vec![put("a", "3"), Op::Delete("b".into())])).await.unwrap();
}

async fn check(store: &Embedded) {
    let page = store.range(Range::prefix(b"")).await.unwrap();
    assert_eq!(page.revision, 2);
    let [entry] = page.entries.as_slice() else { panic!("{page:?}") };
    assert_eq!((entry.key.as_slice(), entry.value.as_slice()), (&b"a"[..], &b"3"[..]));
    assert_eq!((entry.create_revision, entry.mod_revision), (1, 2));
    let mut watch = store.watch(vec![], 1).await.unwrap();
    assert_eq!(watch.next().await.unwrap().ops, [put("a", "1"), put("b", "2")]);
    assert_eq!(watch.next().await.unwrap().ops, [put("a", "3"), Op::Delete("b".into())]);
    store.submit(txn(vec![put("c", "4")])).await.unwrap();
    assert_eq!(store.revision(), 3);
}

/// It had no write-ahead log.
#[tokio::test]
async fn a_store_of_format_1() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    unpack(&fixture("store-1.redb.gz"), &path);
    check(&Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap()).await;
}

/// Both files as a crash leaves them: the transactions are in the log only.
#[tokio::test]
async fn a_store_of_format_2() {
    let (database, log) = (fixture("store-2.redb.gz"), fixture("store-2.wal.gz"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let options = EmbeddedOptions {
        batch_bytes: 1 << 10,
        checkpoint_bytes: 64 << 10,
        checkpoint_idle: Duration::from_secs(3_600),
        ..EmbeddedOptions::default()
    };
    if writing() {
        let path = directory.path().join("written.redb");
        let store = Embedded::open(&path, options, &Seams::system()).unwrap();
        write(&store).await;
        pack(&path, &database);
        pack(&path.with_extension("wal"), &log);
    }
    unpack(&database, &path);
    unpack(&log, &path.with_extension("wal"));
    check(&Embedded::open(&path, options, &Seams::system()).unwrap()).await;
}

fn record(number: i64) -> Record {
    let at = Timestamp::from_secs(number);
    Record { key: number.unsigned_abs() % 2, first: at, last: at, payload: format!("record {number}").into_bytes() }
}

#[tokio::test]
async fn segments_of_format_1() {
    let fixture = fixture("segments-1");
    let retention = Retention { age: None, bytes: u64::MAX };
    let options = SegmentOptions { segment_records: 3, retention, ..SegmentOptions::default() };
    let seams = Seams::system();
    if writing() {
        let log = SegmentLog::open(&fixture, options, &seams).unwrap();
        for number in 0..8 {
            log.append(record(number)).await.unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&fixture).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let log = SegmentLog::open(directory.path(), options, &seams).unwrap();
    assert_eq!(log.segments().len(), 3);
    log.append(record(8)).await.unwrap();
    let all = log.page(Selection::default(), Order::Forward, None, 100).await.unwrap();
    let records: Vec<_> = all.into_iter().map(|(_, record)| record).collect();
    assert_eq!(records, (0..9).map(record).collect::<Vec<_>>());
    let odd = Selection { keys: Some([1].into()), ..Selection::default() };
    assert_eq!(log.page(odd, Order::Backward, None, 100).await.unwrap().len(), 4);
}
