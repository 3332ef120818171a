//! The segment log: durability, torn ends, rotation, retention, reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_seams::{
    Disk, ManualClock, MemoryDisk, Random, Seams, SeededRandom, SystemRandom, Timestamp, TokioSpawner,
};
use longshore_store::segments::{
    Order, Position, Record, Retention, SegmentError, SegmentLog, SegmentOptions, Selection,
};

const DIRECTORY: &str = "/history";

struct World {
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    options: SegmentOptions,
}

impl World {
    fn new() -> Self {
        let options = SegmentOptions { segment_bytes: 400, segment_records: 100, ..SegmentOptions::default() };
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
        Self { disk: MemoryDisk::default(), clock, options }
    }

    fn open(&self) -> SegmentLog {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<SegmentLog, SegmentError> {
        let seams = Seams {
            clock: self.clock.clone(),
            random: Arc::new(SystemRandom),
            spawner: Arc::new(TokioSpawner),
            disk: Arc::new(self.disk.clone()),
        };
        SegmentLog::open(Path::new(DIRECTORY), self.options, &seams)
    }

    /// The same world after power was lost.
    fn crashed(self) -> Self {
        Self { disk: self.disk.crash(), ..self }
    }

    fn newest_file(&self) -> PathBuf {
        Path::new(DIRECTORY).join(self.disk.list(Path::new(DIRECTORY)).unwrap().pop().unwrap())
    }
}

fn record(key: u64, secs: i64, payload: &[u8]) -> Record {
    let at = Timestamp::from_secs(secs);
    Record { key, first: at, last: at, payload: payload.to_vec() }
}

fn numbered(number: i64) -> Record {
    record(number.unsigned_abs() % 3, number, format!("record {number}").as_bytes())
}

async fn append_numbered(log: &SegmentLog, count: i64) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..count {
        positions.push(log.append(numbered(number)).await.unwrap());
    }
    positions
}

async fn read(log: &SegmentLog, selection: Selection, order: Order) -> Vec<i64> {
    let (mut seconds, mut after) = (Vec::new(), None);
    loop {
        let page = log.page(selection.clone(), order, after, 7).await.unwrap();
        let Some((position, _)) = page.last() else { return seconds };
        after = Some(*position);
        for (_, record) in page {
            assert_eq!(record, numbered(record.first.as_secs()));
            seconds.push(record.first.as_secs());
        }
    }
}

async fn read_all(log: &SegmentLog) -> Vec<i64> {
    read(log, Selection::default(), Order::Forward).await
}

#[tokio::test]
async fn records_are_read_in_order_of_appending_forwards_and_backwards() {
    let world = World::new();
    let log = world.open();
    let positions = append_numbered(&log, 50).await;
    assert!(positions.is_sorted());
    assert!(log.segments().len() > 3);
    assert_eq!(read_all(&log).await, (0..50).collect::<Vec<_>>());
    let backward = read(&log, Selection::default(), Order::Backward).await;
    assert_eq!(backward, (0..50).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_selection_by_key_and_time_holds_just_those() {
    let world = World::new();
    let log = world.open();
    append_numbered(&log, 50).await;
    let selection =
        Selection { keys: Some([1].into()), from: Some(Timestamp::from_secs(10)), to: Some(Timestamp::from_secs(20)) };
    assert_eq!(read(&log, selection.clone(), Order::Forward).await, [10, 13, 16, 19]);
    assert_eq!(read(&world.open(), selection, Order::Backward).await, [19, 16, 13, 10]);
}

#[tokio::test]
async fn an_acknowledged_record_survives_power_loss() {
    let world = World::new();
    append_numbered(&world.open(), 50).await;
    let world = world.crashed();
    let log = world.open();
    assert_eq!(read_all(&log).await, (0..50).collect::<Vec<_>>());
    log.append(numbered(50)).await.unwrap();
    assert_eq!(read_all(&world.crashed().open()).await, (0..51).collect::<Vec<_>>());
}

/// What is left of the log after power was lost now.
async fn left(world: &World) -> Vec<i64> {
    let copy = World { disk: world.disk.crash(), clock: world.clock.clone(), options: world.options };
    read_all(&copy.open()).await
}

#[tokio::test]
async fn a_log_that_syncs_later_acknowledges_first_and_is_durable_after_a_while() {
    let mut world = World::new();
    world.options.sync_after = Some(Duration::from_secs(1));
    let log = world.open();
    append_numbered(&log, 3).await;
    assert_eq!(read_all(&log).await, [0, 1, 2]);
    assert_eq!(left(&world).await, []);
    while left(&world).await != [0, 1, 2] {
        world.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    log.append(numbered(3)).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(left(&world).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_written_over() {
    let random = SeededRandom::new(1);
    for _ in 0..200 {
        let world = World::new();
        append_numbered(&world.open(), 5).await;
        let mut file = world.disk.open(&world.newest_file()).unwrap();
        let whole = file.len().unwrap();
        // Any part of a record, any garbage after it.
        let mut torn = vec![0; usize::try_from(random.below(80)).unwrap()];
        random.fill(&mut torn);
        if random.below(2) == 0 {
            let mut first = vec![0; usize::try_from(random.below(40)).unwrap()];
            file.read_at(16, &mut first).unwrap();
            torn.splice(0..0, first);
        }
        file.append(&torn).unwrap();
        file.sync().unwrap();
        let log = world.open();
        assert_eq!(file.len().unwrap(), whole);
        log.append(numbered(5)).await.unwrap();
        assert_eq!(read_all(&world.open()).await, (0..6).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_interrupted_sealing_is_finished() {
    let world = World::new();
    append_numbered(&world.open(), 50).await;
    let names = world.disk.list(Path::new(DIRECTORY)).unwrap();
    let mut first = world.disk.open(&Path::new(DIRECTORY).join(&names[0])).unwrap();
    let sealed = first.len().unwrap();
    first.truncate(sealed - 5).unwrap();
    let log = world.open();
    assert_eq!(read_all(&log).await, (0..50).collect::<Vec<_>>());
    assert_eq!(first.len().unwrap(), sealed);
}

#[tokio::test]
async fn a_segment_without_a_whole_header_is_nothing() {
    let world = World::new();
    append_numbered(&world.open(), 3).await;
    let unfinished = Path::new(DIRECTORY).join("9999999999999999.seg");
    world.disk.open(&unfinished).unwrap().append(b"LSH").unwrap();
    assert_eq!(read_all(&world.open()).await, [0, 1, 2]);
    assert_eq!(world.disk.read(&unfinished).unwrap(), None);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let world = World::new();
    append_numbered(&world.open(), 1).await;
    let path = world.newest_file();
    let mut bytes = world.disk.read(&path).unwrap().unwrap();
    bytes[6] = 9;
    world.disk.write_atomically(&path, &bytes).unwrap();
    assert!(matches!(world.try_open(), Err(SegmentError::NewerFormat { found: 9, known: 1, .. })));
}

#[tokio::test]
async fn damage_in_a_sealed_segment_costs_its_record_only() {
    let world = World::new();
    let log = world.open();
    let positions = append_numbered(&log, 50).await;
    let names = world.disk.list(Path::new(DIRECTORY)).unwrap();
    let path = Path::new(DIRECTORY).join(&names[0]);
    let mut bytes = world.disk.read(&path).unwrap().unwrap();
    bytes[usize::try_from(positions[2].offset).unwrap() + 20] ^= 1;
    world.disk.write_atomically(&path, &bytes).unwrap();
    let expected: Vec<_> = (0..50).filter(|number| *number != 2).collect();
    assert_eq!(read_all(&world.open()).await, expected);
}

#[tokio::test]
async fn a_segment_is_ended_by_age() {
    let world = World::new();
    let log = world.open();
    append_numbered(&log, 2).await;
    assert_eq!(log.segments().len(), 1);
    world.clock.advance(world.options.segment_age);
    log.append(numbered(2)).await.unwrap();
    assert_eq!(log.segments().len(), 2);
}

#[tokio::test]
async fn segments_are_deleted_once_all_in_them_is_too_old() {
    let world = World::new();
    let log = world.open();
    append_numbered(&log, 50).await;
    let now = 1_000_000;
    let retention = Retention { age: Some(Duration::from_secs(now - 25)), bytes: u64::MAX };
    log.expire(retention).await.unwrap();
    let left = read_all(&log).await;
    assert!(left[0] > 0 && left[0] <= 25, "{left:?}");
    assert_eq!(left, (left[0]..50).collect::<Vec<_>>());
    world.clock.advance(Duration::from_secs(100));
    log.expire(retention).await.unwrap();
    assert!(log.segments().is_empty());
    assert!(world.disk.list(Path::new(DIRECTORY)).unwrap().is_empty());
    log.append(numbered(7)).await.unwrap();
    assert_eq!(read_all(&log).await, [7]);
}

#[tokio::test]
async fn the_oldest_segments_go_when_the_log_is_too_large() {
    let mut world = World::new();
    world.options.retention = Retention { age: None, bytes: 3_000 };
    let log = world.open();
    append_numbered(&log, 200).await;
    assert!(log.bytes() <= 3_000 + 2 * 800, "{} bytes", log.bytes());
    let left = read_all(&log).await;
    assert_eq!(left, (left[0]..200).collect::<Vec<_>>());
    let before = log.segments().len();
    log.drop_oldest().await.unwrap();
    assert_eq!(log.segments().len(), before - 1);
}

#[tokio::test]
async fn appends_that_wait_are_synced_together_and_in_order() {
    let mut world = World::new();
    world.options.segment_bytes = 1 << 20;
    let log = world.open();
    let mut appended = log.appended();
    let waiting: Vec<_> = (0..50).map(|number| log.append(numbered(number))).collect();
    let mut positions = Vec::new();
    for append in waiting {
        positions.push(append.await.unwrap());
    }
    assert!(positions.is_sorted());
    appended.changed().await.unwrap();
    assert_eq!(*appended.borrow(), 50);
}

#[tokio::test]
async fn too_large_a_record_is_refused() {
    let mut world = World::new();
    world.options.record_bytes = 100;
    let log = world.open();
    let refused = log.append(record(0, 1, &[0; 101])).await;
    assert!(matches!(refused, Err(SegmentError::TooLarge { bytes: 101, limit: 100 })));
    log.append(record(0, 1, &[0; 100])).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let mut world = World::new();
    world.options.queue_bytes = 1_000;
    let log = world.open();
    let waiting: Vec<_> = (0..20).map(|number| log.append(record(0, number, &[0; 100]))).collect();
    let mut refused = 0;
    for append in waiting {
        match append.await {
            Ok(_) => {}
            Err(SegmentError::Overloaded { limit: 1_000, .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    log.append(record(0, 1, b"later")).await.unwrap();
}

#[tokio::test]
async fn a_closed_log_takes_nothing_but_can_be_read() {
    let world = World::new();
    let log = world.open();
    let queued = log.append(numbered(0));
    log.close().await.unwrap();
    queued.await.unwrap();
    assert!(matches!(log.append(numbered(1)).await, Err(SegmentError::Closed { .. })));
    log.close().await.unwrap();
    assert_eq!(read_all(&log).await, [0]);
}

#[tokio::test]
async fn it_works_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention { age: None, bytes: u64::MAX };
    let options = SegmentOptions { segment_bytes: 2_000, retention, ..SegmentOptions::default() };
    let seams = Seams::system();
    let log = SegmentLog::open(directory.path(), options, &seams).unwrap();
    append_numbered(&log, 100).await;
    log.close().await.unwrap();
    let log = SegmentLog::open(directory.path(), options, &seams).unwrap();
    assert_eq!(read_all(&log).await, (0..100).collect::<Vec<_>>());
}
