//! Files of earlier versions stay readable. `LONGSHORE_WRITE_FIXTURES=1` writes the present format's.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use longshore_seams::{Seams, Timestamp};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::segments::{Order, Record, Retention, SegmentLog, SegmentOptions, Selection};
use longshore_store::{Op, Range, Store, Txn};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
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

#[tokio::test]
async fn a_store_of_format_1() {
    let fixture = fixture("store-1.redb.gz");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    if writing() {
        let store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
        store.submit(txn(vec![put("a", "1"), put("b", "2")])).await.unwrap();
        store.submit(txn(vec![put("a", "3"), Op::Delete("b".into())])).await.unwrap();
        store.close().await.unwrap();
        let mut packed = GzEncoder::new(File::create(&fixture).unwrap(), Compression::best());
        io::copy(&mut File::open(&path).unwrap(), &mut packed).unwrap();
        packed.finish().unwrap();
    }
    let mut packed = GzDecoder::new(File::open(fixture).unwrap());
    io::copy(&mut packed, &mut File::create(&path).unwrap()).unwrap();
    let store = Embedded::open(&path, EmbeddedOptions::default(), &Seams::system()).unwrap();
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
