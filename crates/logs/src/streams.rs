//! Log streams.
//!
//! Their records are in the store; those in use are cached. Times of a stream's events change with
//! every put and are derived data: they are written to the records only now and then, and after a
//! crash are made good from the index of the group's newest segment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longshore_store::segments::Selection;
use longshore_store::{Compare, Entry, Op, Range, Revision, Txn};

use crate::records::{self, Activity, GoneRecord, Scope, StreamRecord};
use crate::store::{Group, GroupFiles, LogError, LogStore, locked, read_all};

/// A stream as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// Its record, with what is known of its events now.
    pub record: StreamRecord,
}

/// Which streams are listed, and in which order.
#[derive(Clone, Debug, Default)]
pub struct StreamQuery {
    /// Only names that begin with this.
    pub prefix: String,
    /// By time of the latest event rather than by name.
    pub by_last_event: bool,
    /// The other way round.
    pub descending: bool,
    /// Where the previous page ended.
    pub after: Option<StreamCursor>,
    /// Most streams wanted.
    pub limit: usize,
}

/// Where a page of streams ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamCursor {
    /// Milliseconds of the latest event when ordered by it; else 0.
    pub last_event: i64,
    /// Name.
    pub name: String,
}

/// Streams in use, by group id and name.
#[derive(Debug, Default)]
pub(crate) struct StreamCache {
    streams: BTreeMap<(String, String), Arc<CachedStream>>,
    uses: AtomicU64,
}

/// A stream in use.
#[derive(Debug)]
pub(crate) struct CachedStream {
    pub(crate) id: u64,
    key: Vec<u8>,
    created: Revision,
    record: Mutex<StreamRecord>,
    /// The record in the store is behind.
    dirty: AtomicBool,
    last_use: AtomicU64,
}

impl CachedStream {
    pub(crate) fn note(&self, activity: Activity) {
        let mut record = locked(&self.record);
        record.activity = Some(activity.merged(record.activity));
        self.dirty.store(true, Ordering::Release);
    }
}

impl StreamCache {
    fn get(&self, group: &str, name: &str) -> Option<Arc<CachedStream>> {
        let stream = self.streams.get(&(group.to_owned(), name.to_owned()))?;
        stream.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(stream.clone())
    }

    pub(crate) fn forget_group(&mut self, group: &str) {
        self.streams.retain(|(other, _), _| other != group);
    }

    /// Drops the clean streams that were used longest ago.
    fn shrink(&mut self, limit: usize) {
        if self.streams.len() <= limit {
            return;
        }
        let mut uses: Vec<u64> = self.streams.values().map(|stream| stream.last_use.load(Ordering::Relaxed)).collect();
        uses.sort_unstable();
        let oldest_kept = uses[uses.len() - (limit / 2).clamp(1, uses.len())];
        self.streams.retain(|_, stream| {
            stream.dirty.load(Ordering::Acquire)
                || Arc::strong_count(stream) > 1
                || stream.last_use.load(Ordering::Relaxed) >= oldest_kept
        });
    }
}

impl LogStore {
    /// Makes a stream.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::StreamExists`].
    pub async fn create_stream(&self, scope: &Scope, group: &str, name: &str) -> Result<(), LogError> {
        let found = self.group(scope, group)?;
        let record = StreamRecord::new(self.inner.seams.random.next_u64(), self.inner.seams.clock.now());
        let key = records::stream_key(&found.id(), name);
        let compares = vec![
            Compare::ModRevision(key.clone(), 0),
            Compare::CreateRevision(records::group_key(scope, group), found.incarnation),
        ];
        let created = self.commit(Txn { compares, ops: vec![Op::Put(key, records::encode(&record))] }).await?;
        if created.is_some() {
            return Ok(());
        }
        // Which of the two compares was it?
        self.group(scope, group)?;
        Err(LogError::StreamExists { stream: name.to_owned() })
    }

    /// Deletes a stream. Its events can't be read any more; their space comes free with their segments.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::StreamNotFound`].
    pub async fn delete_stream(&self, scope: &Scope, group: &str, name: &str) -> Result<(), LogError> {
        let group = self.group(scope, group)?;
        let files = self.files(&group).await?;
        let stream = self.stream(&group, files, name).await?;
        let id = group.id();
        // One more than there is now: a put that is under way may begin the next segment.
        let last_segment = files.log.segments().last().map_or(0, |segment| segment.segment + 1);
        let ops = vec![
            Op::Delete(stream.key.clone()),
            Op::Put(records::gone_key(&id, stream.id), records::encode(&GoneRecord::new(last_segment))),
        ];
        let compares = vec![Compare::CreateRevision(stream.key.clone(), stream.created)];
        locked(&self.inner.streams).streams.remove(&(id, name.to_owned()));
        if self.commit(Txn { compares, ops }).await?.is_none() {
            return Err(LogError::StreamNotFound { stream: name.to_owned() });
        }
        locked(&files.gone).insert(stream.id, last_segment);
        Ok(())
    }

    /// A page of a group's streams, and where the next one begins.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`].
    pub async fn streams(
        &self,
        scope: &Scope,
        group: &str,
        query: &StreamQuery,
    ) -> Result<(Vec<StreamSummary>, Option<StreamCursor>), LogError> {
        let group = self.group(scope, group)?;
        let id = group.id();
        let recent = self.recent_activity(self.files(&group).await?).await?;
        let prefix = records::streams_prefix(&id);
        let mut range = Range::prefix(&records::stream_key(&id, &query.prefix));
        // By name, one page of the store is one page here; else all must be seen to be sorted.
        let in_order = !query.by_last_event && !query.descending;
        if let Some(after) = query.after.as_ref().filter(|_| in_order) {
            range = range.after(&records::stream_key(&id, &after.name));
        }
        if in_order {
            range.limit = query.limit + 1;
        }
        let mut best: BTreeMap<StreamCursor, StreamSummary> = BTreeMap::new();
        loop {
            let page = self.inner.store.range(range.clone()).await?;
            let last = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                let summary = self.summary(&id, &prefix, &entry, &recent)?;
                let last_event = summary.record.activity.map_or(0, |activity| activity.last_event.as_millis());
                let last_event = if query.by_last_event { last_event } else { 0 };
                let cursor = StreamCursor { last_event, name: summary.name.clone() };
                let follows = |after: &StreamCursor| if query.descending { cursor < *after } else { cursor > *after };
                if query.after.as_ref().is_none_or(follows) {
                    best.insert(cursor, summary);
                    if best.len() > query.limit + 1 {
                        if query.descending {
                            best.pop_first()
                        } else {
                            best.pop_last()
                        };
                    }
                }
            }
            match last {
                Some(last) if page.more && !(in_order && best.len() > query.limit) => range = range.after(&last),
                _ => break,
            }
        }
        let mut sorted: Vec<_> = best.into_iter().collect();
        if query.descending {
            sorted.reverse();
        }
        let more = sorted.len() > query.limit;
        sorted.truncate(query.limit);
        let cursor = sorted.last().filter(|_| more).map(|(cursor, _)| cursor.clone());
        Ok((sorted.into_iter().map(|(_, summary)| summary).collect(), cursor))
    }

    fn summary(
        &self,
        group: &str,
        prefix: &[u8],
        entry: &Entry,
        recent: &BTreeMap<u64, Activity>,
    ) -> Result<StreamSummary, LogError> {
        let name = String::from_utf8_lossy(entry.key.get(prefix.len()..).unwrap_or_default()).into_owned();
        let mut record: StreamRecord = records::decode(&entry.key, &entry.value)?;
        let cached = locked(&self.inner.streams).streams.get(&(group.to_owned(), name.clone())).cloned();
        let cached = cached.filter(|cached| cached.id == record.id);
        for known in [cached.and_then(|cached| locked(&cached.record).activity), recent.get(&record.id).copied()] {
            record.activity = known.map(|known| known.merged(record.activity)).or(record.activity);
        }
        Ok(StreamSummary { name, record })
    }

    /// Times of events in the newest segment, by stream: what a crash kept from the records.
    async fn recent_activity(&self, files: &GroupFiles) -> Result<BTreeMap<u64, Activity>, LogError> {
        let Some(newest) = files.log.segments().pop() else { return Ok(BTreeMap::new()) };
        let log = files.log.clone();
        let references = self
            .blocking(move || match log.open_segment(newest.segment)? {
                Some(mut segment) => segment.references(&Selection::default()),
                None => Ok(Vec::new()),
            })
            .await??;
        let mut recent = BTreeMap::new();
        for reference in references {
            let activity =
                Activity { first_event: reference.first, last_event: reference.last, last_ingestion: reference.last };
            recent
                .entry(reference.key)
                .and_modify(|known: &mut Activity| *known = known.merged(Some(activity)))
                .or_insert(activity);
        }
        Ok(recent)
    }

    /// A stream in use.
    pub(crate) async fn stream(
        &self,
        group: &Group,
        files: &GroupFiles,
        name: &str,
    ) -> Result<Arc<CachedStream>, LogError> {
        let id = group.id();
        if let Some(stream) = locked(&self.inner.streams).get(&id, name) {
            return Ok(stream);
        }
        let key = records::stream_key(&id, name);
        let not_found = || LogError::StreamNotFound { stream: name.to_owned() };
        let entry = self.inner.store.get(&key).await?.ok_or_else(not_found)?;
        let mut record: StreamRecord = records::decode(&entry.key, &entry.value)?;
        if let Some(recent) = self.recent_activity(files).await?.remove(&record.id) {
            record.activity = Some(recent.merged(record.activity));
        }
        let stream = CachedStream {
            id: record.id,
            key,
            created: entry.create_revision,
            record: Mutex::new(record),
            dirty: AtomicBool::new(false),
            last_use: AtomicU64::new(0),
        };
        let limit = self.inner.options.cached_streams;
        let (stream, full) = {
            let mut cache = locked(&self.inner.streams);
            // Somebody may have been faster.
            cache.streams.entry((id.clone(), name.to_owned())).or_insert(Arc::new(stream));
            let stream = cache.get(&id, name).ok_or_else(not_found)?;
            cache.shrink(limit);
            (stream, cache.streams.len() > limit)
        };
        if full {
            self.write_activities().await?;
            locked(&self.inner.streams).shrink(limit);
        }
        Ok(stream)
    }

    /// Ids of the named streams.
    ///
    /// # Errors
    /// [`LogError::StreamNotFound`] for the first one that is not there.
    pub(crate) async fn stream_ids(&self, group: &Group, names: &[String]) -> Result<BTreeSet<u64>, LogError> {
        let files = self.files(group).await?;
        let mut ids = BTreeSet::new();
        for name in names {
            ids.insert(self.stream(group, files, name).await?.id);
        }
        Ok(ids)
    }

    /// Ids of the streams whose names begin with `prefix`.
    pub(crate) async fn stream_ids_below(&self, group: &Group, prefix: &str) -> Result<BTreeSet<u64>, LogError> {
        let mut ids = BTreeSet::new();
        for entry in read_all(&*self.inner.store, &records::stream_key(&group.id(), prefix)).await? {
            ids.insert(records::decode::<StreamRecord>(&entry.key, &entry.value)?.id);
        }
        Ok(ids)
    }

    /// Brings the records of streams up to date that were written to.
    pub(crate) async fn write_activities(&self) -> Result<(), LogError> {
        let dirty: Vec<Arc<CachedStream>> = {
            let cache = locked(&self.inner.streams);
            cache.streams.values().filter(|stream| stream.dirty.swap(false, Ordering::AcqRel)).cloned().collect()
        };
        let txn = |streams: &[Arc<CachedStream>]| Txn {
            // A stream that was deleted meanwhile must not come back.
            compares: streams.iter().map(|it| Compare::CreateRevision(it.key.clone(), it.created)).collect(),
            ops: streams.iter().map(|it| Op::Put(it.key.clone(), records::encode(&*locked(&it.record)))).collect(),
        };
        for chunk in dirty.chunks(longshore_store::MAX_TXN_OPERATIONS / 2) {
            if self.commit(txn(chunk)).await?.is_none() {
                for stream in chunk {
                    self.commit(txn(std::slice::from_ref(stream))).await?;
                }
            }
        }
        Ok(())
    }
}
