//! kill -9 under load: a child process (this test binary, executed again) writes and reports what
//! was acknowledged; the parent kills it at a random point and looks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use futures_util::future::join_all;
use longshore_seams::{Random, Seams, SystemRandom};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::{Compare, Op, Range, Revision, Store, StoreError, Txn, TxnOutcome};

const FILE: &str = "LONGSHORE_CRASH_FILE";
const SUBMITTERS: usize = 6;
/// Newest records of each submitter that are kept.
const KEPT: u64 = 20;

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        log_revisions: 200,
        // Small: checkpoints, turns of the log and idle moments happen within a child's life.
        batch_bytes: 64 << 10,
        checkpoint_bytes: 64 << 10,
        checkpoint_idle: Duration::from_millis(1),
        ..EmbeddedOptions::default()
    }
}

fn record(submitter: usize, number: u64) -> Vec<u8> {
    format!("record/{submitter}/{number:012}").into_bytes()
}

fn counter(side: &str, submitter: usize) -> Vec<u8> {
    format!("{side}/{submitter}").into_bytes()
}

async fn count(store: &Embedded, side: &str, submitter: usize) -> (u64, Revision) {
    let entry = store.get(&counter(side, submitter)).await.unwrap();
    entry.map_or((0, 0), |entry| (String::from_utf8(entry.value).unwrap().parse().unwrap(), entry.mod_revision))
}

/// Counts up for ever: both counters and a record in one transaction, guarded by the last one.
async fn submit_for_ever(store: &Embedded, submitter: usize) {
    let (mut number, mut guard) = count(store, "left", submitter).await;
    loop {
        number += 1;
        let value = number.to_string().into_bytes();
        let txn = Txn {
            compares: vec![Compare::ModRevision(counter("left", submitter), guard)],
            ops: vec![
                Op::Put(counter("left", submitter), value.clone()),
                Op::Put(record(submitter, number), vec![b'x'; 700]),
                Op::Delete(record(submitter, number.saturating_sub(KEPT))),
                Op::Put(counter("right", submitter), value),
            ],
        };
        match store.submit(txn).await.unwrap() {
            TxnOutcome::Committed(revision) => guard = revision,
            TxnOutcome::Conflict => panic!("submitter {submitter} alone writes its counters"),
        }
        // Past the test harness's capture, straight into the pipe.
        let acknowledged = format!("ack {submitter} {number} {guard}\n");
        std::io::stdout().write_all(acknowledged.as_bytes()).unwrap();
    }
}

#[tokio::test]
#[ignore = "the child process of the crash test"]
async fn child() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Embedded::open(Path::new(&file), options(), &Seams::system()).unwrap();
    join_all((0..SUBMITTERS).map(|submitter| submit_for_ever(&store, submitter))).await;
}

/// Runs the child until `acknowledgements` were read, and a little longer, then kills it.
fn run_and_kill(file: &Path, acknowledgements: u64, longer: Duration) -> Vec<(usize, u64, Revision)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|length| length > 0) {
            if let Some(rest) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('\n')) {
                let mut numbers = rest.split(' ').map(|number| number.parse::<u64>().unwrap());
                let mut next = || numbers.next().unwrap();
                send.send((usize::try_from(next()).unwrap(), next(), next())).unwrap();
            }
            line.clear();
        }
    });
    let mut read = Vec::new();
    for _ in 0..acknowledgements {
        read.push(lines.recv().expect("the child writes until it is killed"));
    }
    let (_never, wait) = mpsc::channel::<()>();
    assert_eq!(wait.recv_timeout(longer), Err(RecvTimeoutError::Timeout));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    read.extend(lines.iter());
    read
}

async fn check(store: &Embedded, acknowledged: &BTreeMap<usize, u64>, revision: Revision) {
    assert!(store.revision() >= revision, "revision {} after {revision} was acknowledged", store.revision());
    for submitter in 0..SUBMITTERS {
        let (left, _) = count(store, "left", submitter).await;
        let (right, _) = count(store, "right", submitter).await;
        assert_eq!(left, right, "a transaction of submitter {submitter} is there by half");
        let last = acknowledged.get(&submitter).copied().unwrap_or(0);
        assert!(left >= last, "submitter {submitter}: {last} was acknowledged, {left} is there");
        let records = store.range(Range::prefix(format!("record/{submitter}/").as_bytes())).await.unwrap();
        let found: Vec<_> = records.entries.into_iter().map(|entry| entry.key).collect();
        let expected: Vec<_> = (left.saturating_sub(KEPT) + 1..=left).map(|number| record(submitter, number)).collect();
        assert_eq!(found, expected);
    }
    let from = match store.watch(vec![], 1).await {
        Err(StoreError::Compacted { oldest }) => oldest,
        other => other.map(|_| 1).unwrap(),
    };
    let mut watch = store.watch(vec![], from).await.unwrap();
    for revision in from..=store.revision() {
        assert_eq!(watch.next().await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn kill_9_at_any_point_loses_nothing_acknowledged() {
    let cycles = std::env::var("LONGSHORE_CRASH_CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(200);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let mut acknowledged = BTreeMap::new();
    let mut revision = 0;
    let mut total = 0;
    for _ in 0..cycles {
        let longer = Duration::from_micros(SystemRandom.below(4_000));
        for (submitter, number, at) in run_and_kill(&file, SystemRandom.below(30), longer) {
            acknowledged.insert(submitter, number);
            revision = revision.max(at);
            total += 1;
        }
        if file.exists() {
            let store = Embedded::open(&file, options(), &Seams::system()).unwrap();
            check(&store, &acknowledged, revision).await;
        }
    }
    assert!(total > cycles, "only {total} acknowledged transactions in {cycles} cycles: nothing was proven");
}
