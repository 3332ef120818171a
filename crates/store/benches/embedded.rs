//! The embedded store under its targets: group commit, opening, loading at start.
//!
//! `cargo bench -p longshore-store` with `LONGSHORE_BENCH_ENTRIES` entries (default 100,000).

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use longshore_seams::Seams;
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::{MAX_TXN_OPERATIONS, Op, Range, Store, Txn};

const VALUE_BYTES: usize = 700;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let entries = std::env::var("LONGSHORE_BENCH_ENTRIES").ok().and_then(|entries| entries.parse().ok());
    runtime.block_on(run(entries.unwrap_or(100_000)));
}

async fn run(entries: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let seams = Seams::system();
    let timed = |what: &str, started: Duration| {
        let took = seams.clock.monotonic().saturating_sub(started);
        println!("{what}: {:.1} ms", took.as_secs_f64() * 1e3);
        took
    };

    let store = open(&path, &seams);
    let started = seams.clock.monotonic();
    fill(&store, entries).await;
    timed(&format!("write {entries} entries, {MAX_TXN_OPERATIONS} a transaction"), started);

    let started = seams.clock.monotonic();
    let count = 20_000;
    let answers: Vec<_> = (0..count).map(|number| store.submit(put(number))).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    let took = timed(&format!("{count} transactions of one put, queued at once"), started);
    println!(
        "  {:.0}/s in {} commits",
        f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64(),
        store.statistics().commits
    );

    for submitters in [1, 16, 256] {
        latencies(&store, &seams, submitters).await;
    }

    let started = seams.clock.monotonic();
    store.close().await.unwrap();
    timed("close", started);

    let started = seams.clock.monotonic();
    let store = open(&path, &seams);
    timed("open", started);

    let started = seams.clock.monotonic();
    let mut range = Range::prefix(b"");
    let (mut seen, mut bytes) = (0, 0);
    loop {
        let page = store.range(range.clone()).await.unwrap();
        seen += page.entries.len();
        bytes += page.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum::<usize>();
        let Some(last) = page.entries.last().filter(|_| page.more) else { break };
        range = range.after(&last.key);
    }
    timed(&format!("read all {seen} entries, {} MiB", bytes >> 20), started);
    println!("file: {} MiB", path.metadata().unwrap().len() >> 20);
}

/// Submitters that wait for their transaction before they submit the next, for some seconds.
async fn latencies(store: &Embedded, seams: &Seams, submitters: usize) {
    const RUN: Duration = Duration::from_secs(5);
    let began = seams.clock.monotonic();
    let submitter = || async {
        let mut took = Vec::new();
        loop {
            let started = seams.clock.monotonic();
            if started.saturating_sub(began) > RUN {
                return took;
            }
            store.submit(put(seams.random.next_u64())).await.unwrap();
            took.push(seams.clock.monotonic().saturating_sub(started));
        }
    };
    let mut took = join_all((0..submitters).map(|_| submitter())).await.concat();
    took.sort();
    let percentile = |of: usize| took[(took.len() * of / 1_000).min(took.len() - 1)].as_secs_f64() * 1e3;
    let rate = took.len() as u64 / RUN.as_secs();
    let (median, high, higher, highest) = (percentile(500), percentile(990), percentile(999), percentile(1_000));
    println!(
        "{submitters} submitters: {rate}/s, p50 {median:.2}, p99 {high:.2}, p99.9 {higher:.2}, longest {highest:.2} ms"
    );
}

fn open(path: &Path, seams: &Seams) -> Embedded {
    Embedded::open(path, EmbeddedOptions::default(), seams).unwrap()
}

fn op(number: u64) -> Op {
    Op::Put(format!("123456789012/us-east-1/task/{number:032x}").into_bytes(), vec![b'x'; VALUE_BYTES])
}

fn put(number: u64) -> Txn {
    Txn { compares: vec![], ops: vec![op(number)] }
}

async fn fill(store: &Embedded, entries: u64) {
    let step = MAX_TXN_OPERATIONS as u64;
    let mut waiting = Vec::new();
    for start in (0..entries).step_by(MAX_TXN_OPERATIONS) {
        let ops = (start..entries.min(start + step)).map(op).collect();
        waiting.push(store.submit(Txn { compares: vec![], ops }));
        if waiting.len() >= 50 {
            for answer in waiting.drain(..) {
                answer.await.unwrap();
            }
        }
    }
    for answer in waiting {
        answer.await.unwrap();
    }
}
