//! Reading events by time: a lazy merge over the batches of a log.
//!
//! Batches overlap in time (streams write side by side, and late events may come days after), yet
//! events must come out sorted. So a batch is opened when the merge has come to its first event,
//! and a segment's index when the merge has come to its first batch. Memory holds what overlaps
//! the present point, not what was asked for. May wait for the disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use longshore_seams::Timestamp;
use longshore_store::segments::{OpenSegment, Position, SegmentError, SegmentLog, Selection};

use crate::event::{Batch, EventId, StoredEvent};

/// Most segment files that one reading keeps open.
const MAX_OPEN_FILES: usize = 16;

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the earliest event on.
    Forward,
    /// From the latest event back.
    Backward,
}

/// Place in the direction of reading: the smallest is next.
type Rank = (i128, u64, u32, u32);

impl Direction {
    fn rank(self, time: Timestamp, position: Position, index: u32) -> Rank {
        let time = i128::from(time.as_millis());
        match self {
            Self::Forward => (time, position.segment, position.offset, index),
            Self::Backward => (-time, !position.segment, !position.offset, !index),
        }
    }

    /// The end at which a span of time is met first.
    fn near(self, first: Timestamp, last: Timestamp) -> Timestamp {
        match self {
            Self::Forward => first,
            Self::Backward => last,
        }
    }
}

/// An iterator over the selected events, in time order.
#[derive(Debug)]
pub(crate) struct Merge {
    log: SegmentLog,
    selection: Selection,
    direction: Direction,
    /// Streams that were deleted: their batches are skipped.
    deleted: BTreeSet<u64>,
    /// Segments not yet looked into.
    segments: BinaryHeap<Reverse<(Rank, u64)>>,
    /// Batches not yet opened.
    batches: BinaryHeap<Reverse<(Rank, Position)>>,
    /// Next event of every open batch.
    events: BinaryHeap<Reverse<(Rank, Position)>>,
    open: BTreeMap<Position, OpenBatch>,
    files: BTreeMap<u64, OpenSegment>,
    /// Bytes of batches read so far.
    bytes_read: u64,
}

#[derive(Debug)]
struct OpenBatch {
    batch: Batch,
    /// Indices of the events still to come, next one last.
    left: Vec<u32>,
}

impl Merge {
    pub(crate) fn new(log: &SegmentLog, selection: Selection, direction: Direction, deleted: BTreeSet<u64>) -> Self {
        let segments = log
            .segments()
            .into_iter()
            .filter(|segment| selection.from.is_none_or(|from| segment.last >= from))
            .filter(|segment| selection.to.is_none_or(|to| segment.first < to))
            .map(|segment| {
                let position = Position { segment: segment.segment, offset: 0 };
                Reverse((direction.rank(direction.near(segment.first, segment.last), position, 0), segment.segment))
            })
            .collect();
        Self {
            log: log.clone(),
            selection,
            direction,
            deleted,
            segments,
            batches: BinaryHeap::new(),
            events: BinaryHeap::new(),
            open: BTreeMap::new(),
            files: BTreeMap::new(),
            bytes_read: 0,
        }
    }

    /// Bytes of batches read so far, to bound the work of one call.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next event in the direction of reading.
    pub(crate) fn next(&mut self) -> Result<Option<StoredEvent>, SegmentError> {
        loop {
            let event = self.events.peek().map(|Reverse((rank, _))| rank.0);
            let batch = self.batches.peek().map(|Reverse((rank, _))| rank.0);
            let segment = self.segments.peek().map(|Reverse((rank, _))| rank.0);
            let reached =
                |other: Option<i128>| other.is_none_or(|other| segment.is_some_and(|segment| segment <= other));
            if segment.is_some() && reached(batch) && reached(event) {
                self.open_segment()?;
            } else if let Some(batch) = batch
                && event.is_none_or(|event| batch <= event)
            {
                self.open_batch()?;
            } else {
                return Ok(self.pop());
            }
        }
    }

    fn open_segment(&mut self) -> Result<(), SegmentError> {
        let Some(Reverse((_, number))) = self.segments.pop() else { return Ok(()) };
        let Some(mut segment) = self.log.open_segment(number)? else { return Ok(()) };
        for reference in readable(segment.references(&self.selection))?.unwrap_or_default() {
            if !self.deleted.contains(&reference.key) {
                let near = self.direction.near(reference.first, reference.last);
                self.batches.push(Reverse((self.direction.rank(near, reference.position, 0), reference.position)));
            }
        }
        self.keep_open(number, segment);
        Ok(())
    }

    /// Keeps a file open for the batches to come; closes the one read longest ago when there are many.
    fn keep_open(&mut self, number: u64, segment: OpenSegment) {
        if self.files.len() >= MAX_OPEN_FILES
            && let Some(farthest) = match self.direction {
                Direction::Forward => self.files.first_key_value().map(|(number, _)| *number),
                Direction::Backward => self.files.last_key_value().map(|(number, _)| *number),
            }
        {
            self.files.remove(&farthest);
        }
        self.files.insert(number, segment);
    }

    fn open_batch(&mut self) -> Result<(), SegmentError> {
        let Some(Reverse((_, position))) = self.batches.pop() else { return Ok(()) };
        if !self.files.contains_key(&position.segment) {
            // `None`: deleted since its index was read, and its events with it.
            let Some(segment) = self.log.open_segment(position.segment)? else { return Ok(()) };
            self.keep_open(position.segment, segment);
        }
        let Some(file) = self.files.get_mut(&position.segment) else { return Ok(()) };
        let Some(record) = readable(file.read(position))? else { return Ok(()) };
        self.bytes_read += record.payload.len() as u64;
        let Some(batch) = Batch::decode(&record.payload) else {
            tracing::warn!(segment = position.segment, offset = position.offset, "left out: not a batch of log events");
            return Ok(());
        };
        let wanted = |timestamp: Timestamp| {
            self.selection.from.is_none_or(|from| timestamp >= from)
                && self.selection.to.is_none_or(|to| timestamp < to)
        };
        let mut left: Vec<u32> =
            (0..).zip(&batch.events).filter(|(_, event)| wanted(event.timestamp)).map(|(index, _)| index).collect();
        if self.direction == Direction::Forward {
            left.reverse();
        }
        self.open.insert(position, OpenBatch { batch, left });
        self.push_next(position);
        Ok(())
    }

    /// Announces the next event of an open batch; closes the batch when there is none.
    fn push_next(&mut self, position: Position) {
        let next = self.open.get(&position).and_then(|open| {
            let index = *open.left.last()?;
            let event = open.batch.events.get(usize::try_from(index).ok()?)?;
            Some(self.direction.rank(event.timestamp, position, index))
        });
        match next {
            Some(rank) => self.events.push(Reverse((rank, position))),
            None => drop(self.open.remove(&position)),
        }
    }

    fn pop(&mut self) -> Option<StoredEvent> {
        let Reverse((_, position)) = self.events.pop()?;
        let open = self.open.get_mut(&position)?;
        let index = open.left.pop()?;
        let event = open.batch.events.get(usize::try_from(index).ok()?)?.clone();
        let stored = StoredEvent {
            id: EventId::new(event.timestamp, position, index),
            stream: open.batch.stream.clone(),
            ingested: open.batch.ingested,
            event,
        };
        self.push_next(position);
        Some(stored)
    }
}

/// Turns damage into nothing and a warning: the rest of the log stays readable.
fn readable<T>(result: Result<T, SegmentError>) -> Result<Option<T>, SegmentError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ SegmentError::Damaged { .. }) => {
            tracing::warn!(%error, "left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
