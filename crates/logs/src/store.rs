//! The log store: which groups there are, their files, and their upkeep.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_seams::{Seams, Timestamp};
use longshore_store::segments::{Retention, SegmentError, SegmentLog, SegmentOptions, off_the_workers};
use longshore_store::{Entry, Op, Range, Revision, Store, StoreError, Txn, TxnOutcome};

use crate::records::{self, GoneRecord, GroupRecord, Scope};
use crate::streams::StreamCache;

/// Bounds of a [`LogStore`].
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Age at which events go where a group has no `retentionInDays`; `None` keeps them while there is room.
    pub default_retention: Option<Duration>,
    /// Bytes of all groups' files together, above which the oldest segments go.
    pub bytes: u64,
    /// How the files are cut.
    pub segments: SegmentOptions,
    /// Time between two passes of upkeep.
    pub upkeep_period: Duration,
    /// Most groups in one account and region.
    pub groups: usize,
    /// Streams whose place and activity are held in memory.
    pub cached_streams: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            default_retention: Some(Duration::from_secs(30 * 24 * 3600)),
            bytes: 4 << 30,
            segments: SegmentOptions::default(),
            upkeep_period: Duration::from_secs(60),
            groups: 10_000,
            cached_streams: 4_096,
        }
    }
}

/// Why the log store could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// No such group.
    #[error("The specified log group does not exist.")]
    GroupNotFound {
        /// Its name.
        group: String,
    },
    /// No such stream.
    #[error("The specified log stream does not exist.")]
    StreamNotFound {
        /// Its name.
        stream: String,
    },
    /// A group of that name exists.
    #[error("The specified log group already exists")]
    GroupExists {
        /// Its name.
        group: String,
    },
    /// A stream of that name exists.
    #[error("The specified log stream already exists")]
    StreamExists {
        /// Its name.
        stream: String,
    },
    /// As many groups as there may be.
    #[error("Resource limit exceeded: this account has {limit} log groups in this region, the most there may be.")]
    TooManyGroups {
        /// Most groups.
        limit: usize,
    },
    /// More tags on a group than there may be.
    #[error("A log group may have at most {limit} tags.")]
    TooManyTags {
        /// Most tags.
        limit: usize,
    },
    /// The request breaks a rule of the service.
    #[error("{0}")]
    Invalid(String),
    /// A record can't be read.
    #[error("the record {key} can't be read: {reason}")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
    /// Groups and streams can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Events can't be read or written.
    #[error(transparent)]
    Files(#[from] SegmentError),
}

/// Log groups, their streams and their events. Clones are handles to the same store.
#[derive(Clone, Debug)]
pub struct LogStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    directory: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) seams: Seams,
    pub(crate) groups: Mutex<BTreeMap<Scope, BTreeMap<String, Arc<Group>>>>,
    /// Held while a group is made, changed or deleted.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) streams: Mutex<StreamCache>,
}

/// A log group at work.
#[derive(Debug)]
pub(crate) struct Group {
    /// Revision that created its record: tells it from a later group of the same name.
    pub(crate) incarnation: Revision,
    pub(crate) record: Mutex<GroupRecord>,
    /// Opened when first needed.
    files: tokio::sync::OnceCell<GroupFiles>,
}

/// A group's files.
#[derive(Debug)]
pub(crate) struct GroupFiles {
    pub(crate) log: SegmentLog,
    /// Deleted streams whose batches may still be in the files, and the newest segment at the time.
    pub(crate) gone: Mutex<BTreeMap<u64, u64>>,
}

impl Group {
    pub(crate) fn new(incarnation: Revision, record: GroupRecord) -> Self {
        Self { incarnation, record: Mutex::new(record), files: tokio::sync::OnceCell::new() }
    }

    pub(crate) fn id(&self) -> String {
        locked(&self.record).id.clone()
    }

    /// Age at which its events go.
    pub(crate) fn retention(&self, options: &LogOptions) -> Option<Duration> {
        let days = locked(&self.record).retention_in_days;
        days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)).or(options.default_retention)
    }
}

pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves its data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStore {
    /// Opens the log store: groups from `store`, their files below `directory`. Starts its upkeep.
    ///
    /// # Errors
    /// When the groups can't be read.
    pub async fn open(
        directory: &Path,
        store: Arc<dyn Store>,
        options: LogOptions,
        seams: &Seams,
    ) -> Result<Self, LogError> {
        let mut groups: BTreeMap<Scope, BTreeMap<String, Arc<Group>>> = BTreeMap::new();
        for entry in read_all(&*store, &records::groups_prefix()).await? {
            let Some((scope, name)) = records::parse_group_key(&entry.key) else { continue };
            let record = records::decode(&entry.key, &entry.value)?;
            groups.entry(scope).or_default().insert(name, Arc::new(Group::new(entry.create_revision, record)));
        }
        let inner = Inner {
            directory: directory.to_owned(),
            options,
            store,
            seams: seams.clone(),
            groups: Mutex::new(groups),
            changing: tokio::sync::Mutex::new(()),
            streams: Mutex::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.start_upkeep();
        Ok(store)
    }

    /// Writes what is queued and brings the streams' records up to date.
    ///
    /// # Errors
    /// The first failure; the rest is closed all the same.
    pub async fn close(&self) -> Result<(), LogError> {
        let mut result = self.write_activities().await;
        for group in self.all_groups() {
            if let Some(files) = group.files.get() {
                let closed = files.log.close().await.map_err(LogError::from);
                result = result.and(closed);
            }
        }
        result
    }

    /// One pass of upkeep: expired segments go, then the oldest ones while there are too many bytes;
    /// streams' records are brought up to date; deleted groups are cleaned up.
    ///
    /// # Errors
    /// The first failure ends the pass; the next one begins anew.
    pub async fn upkeep(&self) -> Result<(), LogError> {
        self.write_activities().await?;
        self.empty_trash().await?;
        for group in self.all_groups() {
            let files = self.files(&group).await?;
            let retention = Retention { age: group.retention(&self.inner.options), bytes: u64::MAX };
            files.log.expire(retention).await?;
            self.forget_gone(&group, files).await?;
        }
        self.keep_within_bytes().await
    }

    fn start_upkeep(&self) {
        let (inner, seams) = (Arc::downgrade(&self.inner), self.inner.seams.clone());
        let period = self.inner.options.upkeep_period;
        let work = async move {
            loop {
                seams.clock.sleep(period).await;
                // Ends with the last handle.
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = (Self { inner }).upkeep().await {
                    tracing::warn!(%error, "upkeep of the log store failed; it is tried again");
                }
            }
        };
        self.inner.seams.spawner.spawn("log store upkeep", Box::pin(work));
    }

    async fn keep_within_bytes(&self) -> Result<(), LogError> {
        loop {
            let (mut bytes, mut oldest) = (0, None::<(Timestamp, SegmentLog)>);
            for group in self.all_groups() {
                let Some(files) = group.files.get() else { continue };
                let segments = files.log.segments();
                bytes += segments.iter().map(|segment| segment.bytes).sum::<u64>();
                // The newest one is being written.
                if let [first, _, ..] = segments.as_slice()
                    && oldest.as_ref().is_none_or(|(last, _)| first.last < *last)
                {
                    oldest = Some((first.last, files.log.clone()));
                }
            }
            match oldest {
                Some((_, log)) if bytes > self.inner.options.bytes => log.drop_oldest().await?,
                _ => return Ok(()),
            }
        }
    }

    pub(crate) fn all_groups(&self) -> Vec<Arc<Group>> {
        locked(&self.inner.groups).values().flat_map(|groups| groups.values().cloned()).collect()
    }

    pub(crate) fn group(&self, scope: &Scope, name: &str) -> Result<Arc<Group>, LogError> {
        let groups = locked(&self.inner.groups);
        let found = groups.get(scope).and_then(|groups| groups.get(name)).cloned();
        found.ok_or_else(|| LogError::GroupNotFound { group: name.to_owned() })
    }

    /// The group's files, opened if need be.
    pub(crate) async fn files<'a>(&self, group: &'a Group) -> Result<&'a GroupFiles, LogError> {
        group
            .files
            .get_or_try_init(|| async {
                let id = group.id();
                let mut gone = BTreeMap::new();
                for entry in read_all(&*self.inner.store, &records::gone_prefix(&id)).await? {
                    let record: GoneRecord = records::decode(&entry.key, &entry.value)?;
                    if let Ok(stream) = u64::from_str_radix(records::last_part(&entry.key), 16) {
                        gone.insert(stream, record.last_segment);
                    }
                }
                let (directory, seams) = (self.directory_of(&id), self.inner.seams.clone());
                // Age is looked after by the upkeep, which knows the group's present retention.
                let retention = Retention { age: None, bytes: self.inner.options.bytes };
                let options = SegmentOptions { retention, ..self.inner.options.segments };
                let log = self.blocking(move || SegmentLog::open(&directory, options, &seams)).await??;
                Ok(GroupFiles { log, gone: Mutex::new(gone) })
            })
            .await
    }

    pub(crate) fn directory_of(&self, group: &str) -> PathBuf {
        self.inner.directory.join(group)
    }

    /// Runs what may wait for the disk.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SegmentError> {
        let path = || self.inner.directory.display().to_string();
        let disk = self.inner.seams.disk.clone();
        off_the_workers(&*disk, work).await.map_err(|reason| SegmentError::Failed { path: path(), reason })
    }

    /// Drops the memory of deleted streams whose batches are all gone.
    async fn forget_gone(&self, group: &Group, files: &GroupFiles) -> Result<(), LogError> {
        let oldest = files.log.segments().first().map_or(u64::MAX, |segment| segment.segment);
        let forgotten: Vec<u64> = {
            let gone = locked(&files.gone);
            gone.iter().filter(|(_, last_segment)| **last_segment < oldest).map(|(stream, _)| *stream).collect()
        };
        let id = group.id();
        self.write(forgotten.iter().map(|stream| Op::Delete(records::gone_key(&id, *stream))).collect()).await?;
        let mut gone = locked(&files.gone);
        gone.retain(|stream, _| !forgotten.contains(stream));
        Ok(())
    }

    /// Cleans up after deleted groups: records of their streams, files, and then the mark.
    pub(crate) async fn empty_trash(&self) -> Result<(), LogError> {
        for entry in read_all(&*self.inner.store, &records::trash_prefix()).await? {
            let id = records::last_part(&entry.key).to_owned();
            for prefix in [records::streams_prefix(&id), records::gone_prefix(&id)] {
                let keys = read_all(&*self.inner.store, &prefix).await?;
                self.write(keys.into_iter().map(|entry| Op::Delete(entry.key)).collect()).await?;
            }
            let (directory, disk) = (self.directory_of(&id), self.inner.seams.disk.clone());
            let removed = self
                .blocking(move || {
                    for name in disk.list(&directory)? {
                        disk.remove(&directory.join(name))?;
                    }
                    disk.remove_dir(&directory)
                })
                .await?;
            if let Err(error) = removed {
                tracing::warn!(group = id, %error, "a deleted log group's files are still there; they are tried again");
                continue;
            }
            self.write(vec![Op::Delete(entry.key)]).await?;
        }
        Ok(())
    }

    /// Commits one transaction; `None` when a compare did not hold.
    pub(crate) async fn commit(&self, txn: Txn) -> Result<Option<Revision>, LogError> {
        Ok(match self.inner.store.submit(txn).await? {
            TxnOutcome::Committed(revision) => Some(revision),
            TxnOutcome::Conflict => None,
        })
    }

    /// Commits any number of independent operations, in as many transactions as it takes.
    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<(), LogError> {
        for chunk in ops.chunks(longshore_store::MAX_TXN_OPERATIONS) {
            self.commit(Txn { compares: vec![], ops: chunk.to_vec() }).await?;
        }
        Ok(())
    }
}

/// Everything below `prefix`.
pub(crate) async fn read_all(store: &dyn Store, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let mut range = Range::prefix(prefix);
    let mut entries = Vec::new();
    loop {
        let page = store.range(range.clone()).await?;
        entries.extend(page.entries);
        match entries.last() {
            Some(last) if page.more => range = range.after(&last.key),
            _ => return Ok(entries),
        }
    }
}
