//! Reading and following events.

use std::collections::BTreeSet;

use longshore_seams::Timestamp;
use longshore_store::segments::{Order, Position, SegmentLog, Selection};
use tokio::sync::watch;

use crate::event::{Batch, EventId, StoredEvent};
use crate::merge::{Direction, Merge};
use crate::pattern::Pattern;
use crate::records::Scope;
use crate::store::{Group, LogError, LogStore, locked};

/// Which of a group's streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streams {
    /// All of them.
    All,
    /// These, which must exist.
    Named(Vec<String>),
    /// Those whose names begin with this.
    Prefix(String),
}

/// What is read.
#[derive(Clone, Debug)]
pub struct ReadQuery {
    /// From which streams.
    pub streams: Streams,
    /// Events of this time or later.
    pub from: Option<Timestamp>,
    /// Events before this time.
    pub to: Option<Timestamp>,
    /// In which direction.
    pub direction: Direction,
    /// Only events beyond this one, in the direction of reading.
    pub beyond: Option<EventId>,
    /// Only events that match.
    pub pattern: Option<Pattern>,
    /// Most events.
    pub limit: usize,
    /// Most bytes of messages, each event counted with 26 more (one event is always read).
    pub bytes: usize,
    /// Bytes of batches looked at, matching or not, after which the page ends.
    pub scan_bytes: u64,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPage {
    /// The events, in the direction of reading.
    pub events: Vec<StoredEvent>,
    /// Beyond which event to go on; `None` when everything was looked at.
    pub next: Option<EventId>,
}

impl LogStore {
    /// A page of events, by time.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::StreamNotFound`].
    pub async fn read(&self, scope: &Scope, group: &str, query: ReadQuery) -> Result<ReadPage, LogError> {
        let group = self.group(scope, group)?;
        let (log, selection, gone) = self.selected(&group, &query).await?;
        self.blocking(move || {
            let mut merge = Merge::new(&log, selection, query.direction, gone);
            let mut page = ReadPage { events: Vec::new(), next: None };
            let (mut bytes, mut last) = (0, None);
            while let Some(event) = merge.next()? {
                let beyond = query.beyond.is_none_or(|beyond| match query.direction {
                    Direction::Forward => event.id > beyond,
                    Direction::Backward => event.id < beyond,
                });
                if !beyond {
                    continue;
                }
                if merge.bytes_read() > query.scan_bytes && last.is_some() {
                    page.next = last;
                    break;
                }
                if query.pattern.as_ref().is_none_or(|pattern| pattern.matches(&event.event.message)) {
                    let size = event.event.message.len() + crate::put::EVENT_OVERHEAD_BYTES;
                    let full =
                        page.events.len() >= query.limit || (!page.events.is_empty() && bytes + size > query.bytes);
                    if full {
                        page.next = last;
                        break;
                    }
                    bytes += size;
                    last = Some(event.id);
                    page.events.push(event);
                } else {
                    last = Some(event.id);
                }
            }
            Ok(page)
        })
        .await?
    }

    /// The files to read, what in them, and which streams are deleted.
    async fn selected(
        &self,
        group: &Group,
        query: &ReadQuery,
    ) -> Result<(SegmentLog, Selection, BTreeSet<u64>), LogError> {
        let files = self.files(group).await?;
        let keys = match &query.streams {
            Streams::All => None,
            Streams::Named(names) => Some(self.stream_ids(group, names).await?),
            Streams::Prefix(prefix) => Some(self.stream_ids_below(group, prefix).await?),
        };
        // Whole segments go when all in them is too old: until then what is too old is left out.
        let oldest = group.retention(&self.inner.options).map(|age| self.inner.seams.clock.now().minus(age));
        let mut selection = Selection { keys, from: query.from.max(oldest), to: query.to };
        match (query.beyond, query.direction) {
            (Some(beyond), Direction::Forward) => selection.from = selection.from.max(Some(beyond.timestamp())),
            (Some(beyond), Direction::Backward) => {
                let end = Timestamp::from_millis(beyond.timestamp().as_millis().saturating_add(1));
                selection.to = Some(selection.to.map_or(end, |to| to.min(end)));
            }
            (None, _) => {}
        }
        let gone = locked(&files.gone).keys().copied().collect();
        Ok((files.log.clone(), selection, gone))
    }

    /// Events of the streams as they arrive from now on.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::StreamNotFound`].
    pub async fn follow(&self, scope: &Scope, group: &str, streams: Streams) -> Result<Follow, LogError> {
        let group = self.group(scope, group)?;
        let files = self.files(&group).await?;
        let keys = match &streams {
            Streams::All => None,
            Streams::Named(names) => Some(self.stream_ids(&group, names).await?),
            Streams::Prefix(prefix) => Some(self.stream_ids_below(&group, prefix).await?),
        };
        let appended = files.log.appended();
        // Every record that comes lies at or after the end of what is durable now.
        let after = files.log.segments().last().map(|newest| Position {
            segment: newest.segment,
            offset: u32::try_from(newest.bytes.saturating_sub(1)).unwrap_or(u32::MAX),
        });
        Ok(Follow { log: files.log.clone(), selection: Selection { keys, ..Selection::default() }, after, appended })
    }
}

/// Events as they arrive. Falls behind without bound: what it has not read yet stays in the files.
#[derive(Debug)]
pub struct Follow {
    log: SegmentLog,
    selection: Selection,
    after: Option<Position>,
    appended: watch::Receiver<u64>,
}

impl Follow {
    /// The next events, in order of arrival; `None` when the group was deleted or the store closed.
    ///
    /// # Errors
    /// [`LogError::Files`].
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, LogError> {
        loop {
            self.appended.mark_unchanged();
            let page = self.log.page(self.selection.clone(), Order::Forward, self.after, 100).await?;
            let Some((last, _)) = page.last() else {
                if self.log.is_closed() || self.appended.changed().await.is_err() {
                    return Ok(None);
                }
                continue;
            };
            self.after = Some(*last);
            let mut events = Vec::new();
            for (position, record) in page {
                let Some(batch) = Batch::decode(&record.payload) else { continue };
                events.extend((0..).zip(batch.events).map(|(index, event)| StoredEvent {
                    id: EventId::new(event.timestamp, position, index),
                    stream: batch.stream.clone(),
                    ingested: batch.ingested,
                    event,
                }));
            }
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }
}
