//! Power loss: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeMap;

use longshore_seams::{Random, Seams, SeededRandom};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::fault::FaultDisk;
use longshore_store::{Compare, Op, Range, Revision, Store, StoreError, Txn, TxnOutcome};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Small, so that commits, compaction and page reuse happen often.
fn options() -> EmbeddedOptions {
    EmbeddedOptions { cache_bytes: 1 << 20, log_revisions: 20, batch_transactions: 16, ..EmbeddedOptions::default() }
}

fn random_txn(random: &SeededRandom) -> Txn {
    let ops = (0..=random.below(4))
        .map(|_| {
            let key = format!("key/{:02}", random.below(40)).into_bytes();
            let size = if random.below(8) == 0 { random.below(9_000) } else { random.below(200) };
            let value = vec![b'a' + u8::try_from(random.below(26)).unwrap(); usize::try_from(size).unwrap()];
            if random.below(5) == 0 { Op::Delete(key) } else { Op::Put(key, value) }
        })
        .collect();
    Txn { compares: vec![], ops }
}

fn apply(content: &mut Content, txn: &Txn) {
    for op in &txn.ops {
        match op {
            Op::Put(key, value) => content.insert(key.clone(), value.clone()),
            Op::Delete(key) => content.remove(key),
        };
    }
}

async fn content(store: &Embedded) -> Content {
    let page = store.range(Range::prefix(b"")).await.unwrap();
    page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// Every revision of the change log, oldest first, ends at the store's revision.
async fn check_change_log(store: &Embedded, history: &[Txn]) {
    let oldest = match store.watch(vec![], 1).await {
        Err(StoreError::Compacted { oldest }) => oldest,
        Err(error) => panic!("{error}"),
        Ok(_) => 1,
    };
    assert!(store.revision() + 1 - oldest <= 20);
    let mut watch = store.watch(vec![], oldest).await.unwrap();
    for revision in oldest..=store.revision() {
        let change = watch.next().await.unwrap();
        assert_eq!(change.revision, revision);
        assert_eq!(change.ops, history[usize::try_from(revision).unwrap() - 1].ops);
    }
}

/// One machine that loses power again and again, at a random point of its writing.
async fn power_cycles(seed: u64, cycles: u64) {
    let random = SeededRandom::new(seed);
    let seams = Seams::system();
    // A file gets its name when it is whole, so its making need not survive.
    let mut disk = FaultDisk::default();
    disk.open(options(), &seams).unwrap().close().await.unwrap();
    // Transactions that are known to have happened, in order.
    let mut history: Vec<Txn> = Vec::new();
    let mut state = Content::new();
    for cycle in 0..cycles {
        disk.lose_power_after(random.below(120));
        let opened = disk.open(options(), &seams);
        let mut submitted = Vec::new();
        let mut acknowledged: Revision = history.len() as Revision;
        if let Ok(store) = &opened {
            // Far more than the power lasts: a store that never writes must not keep the test for ever.
            'power: for _ in 0..1_000 {
                let mut answers = Vec::new();
                for _ in 0..=random.below(10) {
                    let txn = random_txn(&random);
                    answers.push(store.submit(txn.clone()));
                    submitted.push(txn);
                }
                for answer in answers {
                    match answer.await {
                        Ok(TxnOutcome::Committed(revision)) => acknowledged = revision,
                        Ok(TxnOutcome::Conflict) => panic!("nothing to conflict with"),
                        Err(_) => break 'power,
                    }
                }
            }
        }
        disk = disk.lose_power(random.next_u64());
        drop(opened);
        let store = disk.open(options(), &seams).unwrap();
        let revision = store.revision();
        assert!(revision >= acknowledged, "seed {seed} cycle {cycle}: {revision} < {acknowledged}");
        let survived = usize::try_from(revision).unwrap() - history.len();
        for txn in submitted.drain(..survived) {
            apply(&mut state, &txn);
            history.push(txn);
        }
        assert!(content(&store).await == state, "seed {seed} cycle {cycle}: content of revision {revision}");
        check_change_log(&store, &history).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn power_loss_at_any_point_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    let seeds = std::env::var("LONGSHORE_POWER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        power_cycles(seed, 10).await;
    }
}

#[tokio::test]
async fn a_failed_sync_fails_the_commit_and_everything_after() {
    let disk = FaultDisk::default();
    let seams = Seams::system();
    let store = disk.open(options(), &seams).unwrap();
    let write = |n: u8| store.submit(Txn { compares: vec![], ops: vec![Op::Put(vec![n], vec![])] });
    assert_eq!(write(1).await.unwrap(), TxnOutcome::Committed(1));
    let mut watch = store.watch(vec![], 2).await.unwrap();
    disk.fail_syncs_after(0);
    let (second, third) = (write(2), write(3));
    assert!(matches!(second.await, Err(StoreError::Failed { .. })));
    assert!(matches!(third.await, Err(StoreError::Failed { .. })));
    assert!(matches!(write(4).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.get(&[1]).await, Err(StoreError::Failed { .. })));
    assert!(matches!(watch.next().await, Err(StoreError::Failed { .. })));
    assert!(!store.has_room());
    assert_eq!(store.revision(), 1);
}

#[tokio::test]
async fn one_commit_takes_everything_that_waits() {
    let disk = FaultDisk::default();
    let store = disk.open(EmbeddedOptions::default(), &Seams::system()).unwrap();
    let before = disk.syncs();
    let txn = |n: u64| Txn { compares: vec![], ops: vec![Op::Put(n.to_be_bytes().to_vec(), vec![])] };
    let answers: Vec<_> = (0..1_000).map(|n| store.submit(txn(n))).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    let statistics = store.statistics();
    assert_eq!(statistics.transactions, 1_000);
    assert!(statistics.commits < 200, "{statistics:?}");
    assert!(disk.syncs() - before <= statistics.commits * 3, "{} syncs", disk.syncs() - before);
}

#[tokio::test]
async fn conflicts_cost_no_commit() {
    let disk = FaultDisk::default();
    let store = disk.open(options(), &Seams::system()).unwrap();
    let before = disk.syncs();
    let txn = Txn { compares: vec![Compare::ModRevision(b"a".to_vec(), 1)], ops: vec![Op::Delete(b"a".to_vec())] };
    assert_eq!(store.submit(txn).await.unwrap(), TxnOutcome::Conflict);
    store.barrier().await.unwrap();
    assert_eq!(disk.syncs(), before);
}
