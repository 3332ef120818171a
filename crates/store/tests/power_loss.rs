//! Power loss: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_seams::{Random, Seams, SeededRandom};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::fault::{FaultDisk, FaultFile};
use longshore_store::{Compare, Op, Range, Revision, Store, StoreError, Txn, TxnOutcome};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

const NEVER: Duration = Duration::from_secs(3_600);

/// Small, so that commits, checkpoints, compaction and page reuse happen often.
fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        cache_bytes: 1 << 20,
        log_revisions: 20,
        batch_transactions: 16,
        batch_bytes: 64 << 10,
        checkpoint_bytes: 32 << 10,
        checkpoint_idle: NEVER,
        ..EmbeddedOptions::default()
    }
}

/// A checkpoint after every commit during which none is made already.
fn eager() -> EmbeddedOptions {
    EmbeddedOptions { checkpoint_bytes: 1, ..options() }
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
    // Every other machine also makes checkpoints whenever nothing is submitted for a moment.
    let checkpoint_idle = if seed.is_multiple_of(2) { NEVER } else { Duration::ZERO };
    let options = || EmbeddedOptions { checkpoint_idle, ..options() };
    // A file gets its name when it is whole, so its making need not survive.
    let mut disk = FaultDisk::default();
    disk.open(options(), &seams).unwrap().close().await.unwrap();
    // Transactions that are known to have happened, in order.
    let mut history: Vec<Txn> = Vec::new();
    let mut state = Content::new();
    for cycle in 0..cycles {
        disk.lose_power_after(random.below(200));
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
        // Recovery is interrupted, too.
        while random.below(2) == 0 {
            disk.lose_power_after(random.below(60));
            let recovered = disk.open(options(), &seams);
            disk = disk.lose_power(random.next_u64());
            drop(recovered);
        }
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
    disk.fail_syncs_after(FaultFile::Log, 0);
    let (second, third) = (write(2), write(3));
    assert!(matches!(second.await, Err(StoreError::Failed { .. })));
    assert!(matches!(third.await, Err(StoreError::Failed { .. })));
    assert!(matches!(write(4).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.get(&[1]).await, Err(StoreError::Failed { .. })));
    assert!(matches!(watch.next().await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.check_room(), Err(StoreError::Failed { .. })));
    assert_eq!(store.revision(), 1);
}

#[tokio::test]
async fn one_commit_takes_everything_that_waits() {
    let disk = FaultDisk::default();
    let store = disk.open(EmbeddedOptions { batch_transactions: 1_024, ..options() }, &Seams::system()).unwrap();
    disk.hold_syncs(FaultFile::Log);
    let answers: Vec<_> = (0..1_000).map(|n| store.submit(put(n, b""))).collect();
    disk.release_syncs(FaultFile::Log);
    for answer in answers {
        answer.await.unwrap();
    }
    let statistics = store.statistics();
    assert_eq!(statistics.transactions, 1_000);
    assert!(statistics.commits <= 2, "{statistics:?}");
}

#[tokio::test]
async fn a_commit_costs_one_sync() {
    let disk = FaultDisk::default();
    let store = disk.open(EmbeddedOptions { checkpoint_bytes: 1 << 20, ..options() }, &Seams::system()).unwrap();
    let before = disk.syncs();
    for n in 0..20 {
        store.submit(put(n, b"value")).await.unwrap();
    }
    assert_eq!(disk.syncs() - before, 20);
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

fn key(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn put(n: u64, value: &[u8]) -> Txn {
    Txn { compares: vec![], ops: vec![Op::Put(key(n), value.to_vec())] }
}

async fn fill(store: &Embedded, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        assert_eq!(store.submit(put(n, &[7; 3_000])).await.unwrap(), TxnOutcome::Committed(n));
    }
}

/// The store holds exactly what `fill` has written up to `last`.
async fn check_filled(store: &Embedded, last: u64) {
    assert_eq!(store.revision(), last);
    let keys: Vec<_> = content(store).await.into_keys().collect();
    assert_eq!(keys, (1..=last).map(key).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_only_the_log_holds_is_replayed() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(EmbeddedOptions { checkpoint_bytes: 1 << 20, ..options() }, &seams).unwrap();
    fill(&store, 1..=10).await;
    assert_eq!(store.statistics().checkpoints, 0);
    let store = disk.lose_power(1).open(options(), &seams).unwrap();
    check_filled(&store, 10).await;
    let mut watch = store.watch(vec![], 4).await.unwrap();
    assert_eq!(watch.next().await.unwrap().ops, put(4, &[7; 3_000]).ops);
}

#[tokio::test]
async fn frames_of_an_earlier_round_of_the_log_are_not_replayed() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(options(), &seams).unwrap();
    let mut last = 0;
    for _ in 0..7 {
        fill(&store, last + 1..=last + 11).await;
        last += 11;
        check_filled(&disk.copy().open(options(), &seams).unwrap(), last).await;
    }
    assert!(store.statistics().checkpoints >= 4, "{:?}", store.statistics());
}

#[tokio::test]
async fn a_torn_last_frame_is_left_out_and_a_whole_one_may_stand() {
    let seams = Seams::system();
    let mut seen = [0, 0];
    for seed in 0..40 {
        let disk = FaultDisk::default();
        let store = disk.open(options(), &seams).unwrap();
        fill(&store, 1..=3).await;
        disk.fail_syncs_after(FaultFile::Log, 0);
        assert!(matches!(store.submit(put(4, &[7; 3_000])).await, Err(StoreError::Failed { .. })));
        let disk = disk.lose_power(seed);
        let store = disk.open(options(), &seams).unwrap();
        let last = store.revision();
        assert!(last == 3 || last == 4, "revision {last}");
        check_filled(&store, last).await;
        seen[usize::try_from(last).unwrap() - 3] += 1;
        fill(&store, last + 1..=last + 3).await;
        let store = disk.lose_power(seed).open(options(), &seams).unwrap();
        check_filled(&store, last + 3).await;
    }
    assert!(seen.iter().all(|count| *count > 0), "torn {}, whole {}", seen[0], seen[1]);
}

#[tokio::test]
async fn a_clean_close_leaves_nothing_to_replay() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(options(), &seams).unwrap();
    fill(&store, 1..=5).await;
    store.close().await.unwrap();
    disk.remove(FaultFile::Log);
    check_filled(&disk.open(options(), &seams).unwrap(), 5).await;
}

#[tokio::test]
async fn a_quiet_moment_brings_the_database_up_to_date() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let idle = EmbeddedOptions { checkpoint_idle: Duration::from_millis(1), ..options() };
    let store = disk.open(idle, &seams).unwrap();
    fill(&store, 1..=1).await;
    while store.statistics().checkpoints == 0 {
        tokio::task::yield_now().await;
    }
    disk.fail_syncs_after(FaultFile::Database, 0);
    let store = disk.lose_power(0).open(options(), &seams).unwrap();
    check_filled(&store, 1).await;
}

#[tokio::test]
async fn a_lost_log_is_told_and_not_passed_over() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(options(), &seams).unwrap();
    fill(&store, 1..=3).await;
    let disk = disk.lose_power(0);
    disk.remove(FaultFile::Log);
    let refused = disk.open(options(), &seams).unwrap_err().to_string();
    assert!(refused.contains(".wal") && refused.contains("missing"), "{refused}");
}

#[tokio::test]
async fn commits_go_on_during_a_checkpoint_and_readers_see_them() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(eager(), &seams).unwrap();
    disk.hold_syncs(FaultFile::Database);
    fill(&store, 1..=30).await;
    assert_eq!(store.statistics().checkpoints, 0);
    let wanted = key(30);
    let release = async { disk.release_syncs(FaultFile::Database) };
    let (read, ()) = futures_util::future::join(store.get(&wanted), release).await;
    assert_eq!(read.unwrap().unwrap().mod_revision, 30);
    check_filled(&store, 30).await;
}

#[tokio::test]
async fn compares_see_what_the_database_does_not_show_yet() {
    let (disk, seams) = (FaultDisk::default(), Seams::system());
    let store = disk.open(eager(), &seams).unwrap();
    let write = |compares: Vec<Compare>, ops: Vec<Op>| store.submit(Txn { compares, ops });
    let put = |name: &str| Op::Put(name.into(), vec![]);
    let modified = |name: &str, revision| Compare::ModRevision(name.into(), revision);
    let created = |name: &str, revision| Compare::CreateRevision(name.into(), revision);
    assert_eq!(write(vec![], vec![put("old")]).await.unwrap(), TxnOutcome::Committed(1));
    assert_eq!(write(vec![], vec![put("gone")]).await.unwrap(), TxnOutcome::Committed(2));
    store.get(b"old").await.unwrap();
    disk.hold_syncs(FaultFile::Database);
    let first = write(vec![], vec![put("old"), put("new"), Op::Delete("gone".into())]);
    assert_eq!(first.await.unwrap(), TxnOutcome::Committed(3));
    for (compares, outcome) in [
        (vec![modified("old", 3), created("old", 1)], TxnOutcome::Committed(4)),
        (vec![modified("new", 3), created("new", 3)], TxnOutcome::Committed(5)),
        (vec![modified("gone", 0), created("gone", 0)], TxnOutcome::Committed(6)),
        (vec![modified("old", 1)], TxnOutcome::Conflict),
        (vec![created("old", 3)], TxnOutcome::Conflict),
        (vec![modified("new", 0)], TxnOutcome::Conflict),
        (vec![created("gone", 2)], TxnOutcome::Conflict),
    ] {
        assert_eq!(write(compares.clone(), vec![put("other")]).await.unwrap(), outcome, "{compares:?}");
    }
    assert_eq!(write(vec![], vec![put("gone")]).await.unwrap(), TxnOutcome::Committed(7));
    let again = write(vec![created("gone", 7), modified("gone", 7)], vec![put("gone")]);
    assert_eq!(again.await.unwrap(), TxnOutcome::Committed(8));
    disk.release_syncs(FaultFile::Database);
    let gone = store.get(b"gone").await.unwrap().unwrap();
    assert_eq!((gone.create_revision, gone.mod_revision), (7, 8));
    let old = store.get(b"old").await.unwrap().unwrap();
    assert_eq!((old.create_revision, old.mod_revision), (1, 3));
}

/// Everything up to `acknowledged` is there, and what was refused then may be.
async fn check_nothing_lost(store: &Embedded, acknowledged: u64) {
    let last = store.revision();
    assert!(last == acknowledged || last == acknowledged + 1, "{last} after {acknowledged} was acknowledged");
    check_filled(store, last).await;
}

/// Submits until the store fails; the last revision that it acknowledged.
async fn fill_until_it_fails(store: &Embedded) -> u64 {
    for n in 1..10_000 {
        match store.submit(put(n, &[7; 3_000])).await {
            Ok(outcome) => assert_eq!(outcome, TxnOutcome::Committed(n)),
            Err(error) => {
                assert!(matches!(error, StoreError::Failed { .. }), "{error}");
                assert!(matches!(store.submit(put(n, b"")).await, Err(StoreError::Failed { .. })));
                assert!(matches!(store.get(&key(1)).await, Err(StoreError::Failed { .. })));
                return n - 1;
            }
        }
    }
    panic!("the store goes on without its disk");
}

#[tokio::test]
async fn a_full_disk_fails_the_store_and_loses_nothing_acknowledged() {
    let seams = Seams::system();
    for file in [FaultFile::Log, FaultFile::Database] {
        for seed in 0..8 {
            let disk = FaultDisk::default();
            let store = disk.open(options(), &seams).unwrap();
            disk.fill_up(file);
            let last = fill_until_it_fails(&store).await;
            check_nothing_lost(&disk.lose_power(seed).open(options(), &seams).unwrap(), last).await;
        }
    }
}

#[tokio::test]
async fn a_failed_checkpoint_fails_the_store_and_loses_nothing_acknowledged() {
    let seams = Seams::system();
    for seed in 0..8 {
        let disk = FaultDisk::default();
        let store = disk.open(options(), &seams).unwrap();
        disk.fail_syncs_after(FaultFile::Database, seed);
        let last = fill_until_it_fails(&store).await;
        drop(store);
        check_nothing_lost(&disk.lose_power(seed).open(options(), &seams).unwrap(), last).await;
    }
}
