//! History: append-only files, cut by time and size, deleted whole.
//!
//! A [`SegmentLog`] is one directory of segments. Records carry a key and the time span they are
//! about, so that "this key's records between two times" reads an index and not the files. What
//! waits while the disk syncs is written and synced together (group commit); an append is
//! acknowledged when it is durable, unless [`SegmentOptions::sync_after`] says otherwise. A torn end
//! is cut off at the next open. After an I/O error nothing is acknowledged any more.
//!
//! No file stays open between writes, and only the newest segment's index is in memory: thousands
//! of logs may exist side by side.

mod files;
mod format;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_seams::{BoxFuture, Disk, Seams, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::locked;
use files::Files;
pub use files::OpenSegment;

/// Bounds of a [`SegmentLog`].
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// Bytes after which a segment is sealed and the next one begun.
    pub segment_bytes: u64,
    /// Records after which a segment is sealed.
    pub segment_records: usize,
    /// Age at which a segment is sealed, at the next append.
    pub segment_age: Duration,
    /// Most bytes in one record's payload.
    pub record_bytes: usize,
    /// Bytes waiting to be written from which on appends are refused.
    pub queue_bytes: usize,
    /// `None`: appends are durable when they are acknowledged. Else they are acknowledged once the system has them,
    /// which outlives this process, and are durable this much later: for records that must not make the disk
    /// sync as often as they come.
    pub sync_after: Option<Duration>,
    /// What is kept.
    pub retention: Retention,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            segment_records: 8_192,
            segment_age: Duration::from_secs(24 * 3600),
            record_bytes: 2 << 20,
            queue_bytes: 16 << 20,
            sync_after: None,
            retention: Retention::default(),
        }
    }
}

/// What is kept. Whole segments go, oldest first, once all their records are too old or the log is
/// too large; the segment being written is never deleted for its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age, by a record's last time, at which it may go; `None` keeps records of any age.
    pub age: Option<Duration>,
    /// Bytes of all segments together.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(30 * 24 * 3600)), bytes: 1 << 30 }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// By what it is looked up (a stream, a hash of a cluster); 0 when that does not matter.
    pub key: u64,
    /// Earliest time it is about.
    pub first: Timestamp,
    /// Latest time it is about; decides when it is too old.
    pub last: Timestamp,
    /// Its content, opaque here.
    pub payload: Vec<u8>,
}

/// Where a record lies. Ascends with every append; stays valid until the segment is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in it.
    pub offset: u32,
}

/// A record's index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// [`Record::key`].
    pub key: u64,
    /// [`Record::first`].
    pub first: Timestamp,
    /// [`Record::last`].
    pub last: Timestamp,
    /// Where it lies.
    pub position: Position,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these keys; all when `None`.
    pub keys: Option<BTreeSet<u64>>,
    /// Only records that reach to this time or later.
    pub from: Option<Timestamp>,
    /// Only records that begin before this time.
    pub to: Option<Timestamp>,
}

impl Selection {
    /// Whether a record or segment of these times may be wanted.
    fn overlaps(&self, first: Timestamp, last: Timestamp) -> bool {
        self.from.is_none_or(|from| last >= from) && self.to.is_none_or(|to| first < to)
    }

    fn matches(&self, reference: &Reference) -> bool {
        self.overlaps(reference.first, reference.last)
            && self.keys.as_ref().is_none_or(|keys| keys.contains(&reference.key))
    }
}

/// In which order of appending records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest append first.
    Forward,
    /// Newest append first.
    Backward,
}

/// A segment, as far as the directory tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number; later segments have higher ones.
    pub segment: u64,
    /// Earliest time in it.
    pub first: Timestamp,
    /// Latest time in it.
    pub last: Timestamp,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why the log could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SegmentError {
    /// The record is too large.
    #[error("a record may have at most {limit} bytes; this one has {bytes}")]
    TooLarge {
        /// Bytes in it.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// More waits to be written than may wait; the record was not taken.
    #[error("{path} has {queued} bytes waiting to be written (limit {limit}): the disk does not keep up; retry later")]
    Overloaded {
        /// The log's directory.
        path: String,
        /// Bytes waiting.
        queued: usize,
        /// Most bytes that may wait.
        limit: usize,
    },
    /// The directory was written by a newer version.
    #[error("{path} was written by a newer Longshore (format {found}, this one knows up to {known}): use that version")]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u16,
        /// Our newest format.
        known: u16,
    },
    /// Part of a file can't be read; the rest of the log can.
    #[error("{path} is damaged at byte {offset}: what follows in it can't be read")]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
    },
    /// The disk failed. After a failed write nothing more is acknowledged.
    #[error("{path} failed: {reason}")]
    Failed {
        /// File or directory.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The log was closed.
    #[error("the log {path} is closed")]
    Closed {
        /// The log's directory.
        path: String,
    },
}

fn failed(path: &Path, reason: impl ToString) -> SegmentError {
    SegmentError::Failed { path: path.display().to_string(), reason: reason.to_string() }
}

/// A time-segmented append-only log in one directory. Clones are handles to the same log.
#[derive(Clone, Debug)]
pub struct SegmentLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Files,
    seams: Seams,
    queue: Mutex<Queue>,
    /// Counts durable appends; followers wait on it.
    appended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A task is writing; it takes what comes.
    writing: bool,
    /// A task waits to ask for [`Job::Sync`].
    sync_is_due: bool,
    ended: Option<SegmentError>,
}

type Done<T> = oneshot::Sender<Result<T, SegmentError>>;

/// One thing asked of the writing task.
#[derive(Debug)]
enum Job {
    Append { record: Record, done: Done<Position> },
    Expire { retention: Retention, done: Done<()> },
    DropOldest { done: Done<()> },
    Sync { done: Done<()> },
    Close { done: Done<()> },
}

/// Kept for each queued record beside its payload.
const RECORD_BYTES: usize = 128;

/// Bytes after which one write takes no further record.
const WRITE_BYTES: usize = 4 << 20;

impl SegmentLog {
    /// Opens the log in `directory`, which is made when it is not there. Cuts off a torn end.
    ///
    /// Reads one segment at most, and the ends of the others; may wait for the disk.
    ///
    /// # Errors
    /// [`SegmentError::NewerFormat`], [`SegmentError::Failed`].
    pub fn open(directory: &Path, options: SegmentOptions, seams: &Seams) -> Result<Self, SegmentError> {
        let files = Files::open(directory, options, seams)?;
        let inner = Inner { files, seams: seams.clone(), queue: Mutex::default(), appended: watch::Sender::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Queues `record` before it returns, in call order; the future resolves when it is durable
    /// (or written, with [`SegmentOptions::sync_after`]).
    ///
    /// Dropping the future does not take the record back. Never blocks.
    pub fn append(&self, record: Record) -> BoxFuture<'static, Result<Position, SegmentError>> {
        let limit = self.inner.files.options.record_bytes;
        let bytes = record.payload.len();
        if bytes > limit {
            return Box::pin(std::future::ready(Err(SegmentError::TooLarge { bytes, limit })));
        }
        self.ask(bytes + RECORD_BYTES, |done| Job::Append { record, done })
    }

    /// Deletes what `retention` no longer keeps. Also happens whenever a segment is begun.
    pub fn expire(&self, retention: Retention) -> BoxFuture<'static, Result<(), SegmentError>> {
        self.ask(0, |done| Job::Expire { retention, done })
    }

    /// Deletes the oldest segment that is not being written, if there is one.
    pub fn drop_oldest(&self) -> BoxFuture<'static, Result<(), SegmentError>> {
        self.ask(0, |done| Job::DropOldest { done })
    }

    /// Writes what is queued. Later appends fail with [`SegmentError::Closed`]; reading goes on.
    pub fn close(&self) -> BoxFuture<'static, Result<(), SegmentError>> {
        if locked(&self.inner.queue).ended.is_some() {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.ask(0, |done| Job::Close { done })
    }

    /// Changes whenever appends became durable: wait on it, then read on.
    #[must_use]
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.inner.appended.subscribe()
    }

    /// Whether appends are refused for good: it was closed, or has failed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        locked(&self.inner.queue).ended.is_some()
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentSummary> {
        self.inner.files.summaries()
    }

    /// Bytes of all segments together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// Opens a segment for reading what is durable in it; `None` when it has been deleted. Reading
    /// an opened segment goes on after its deletion. May wait for the disk.
    ///
    /// # Errors
    /// [`SegmentError::Failed`].
    pub fn open_segment(&self, segment: u64) -> Result<Option<OpenSegment>, SegmentError> {
        self.inner.files.open_segment(segment)
    }

    /// Up to `limit` selected records in order of appending, and where to go on: pass the last
    /// record's position as `after`. Damaged records are left out, with a warning in the log.
    ///
    /// A page also ends early after 4 MiB of payload, with at least one record.
    pub fn page(
        &self,
        selection: Selection,
        order: Order,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Position, Record)>, SegmentError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let reader = inner.clone();
            let read = move || reader.files.page(&selection, order, after, limit);
            let page = off_the_workers(&*inner.seams.disk, read).await;
            page.unwrap_or_else(|reason| Err(failed(&inner.files.directory, reason)))
        })
    }

    /// Queues a job and sees to it that somebody does it.
    fn ask<T: Send + 'static>(
        &self,
        bytes: usize,
        job: impl FnOnce(Done<T>) -> Job,
    ) -> BoxFuture<'static, Result<T, SegmentError>> {
        self.inner.clone().ask(bytes, job)
    }
}

impl Inner {
    /// Queues a job and sees to it that somebody does it.
    fn ask<T: Send + 'static>(
        self: Arc<Self>,
        bytes: usize,
        job: impl FnOnce(Done<T>) -> Job,
    ) -> BoxFuture<'static, Result<T, SegmentError>> {
        let queued = self.push(bytes, job);
        if matches!(queued, Ok((_, true))) {
            let writer = self.clone();
            self.seams.spawner.spawn("segment writer", Box::pin(async move { writer.write().await }));
        }
        Box::pin(async move {
            let (answer, _) = queued?;
            answer.await.unwrap_or_else(|_| Err(failed(&self.files.directory, "the write was abandoned")))
        })
    }

    /// Has what was appended made durable after a while, once for all appends until then.
    fn sync_later(self: &Arc<Self>) {
        let Some(after) = self.files.options.sync_after else { return };
        if std::mem::replace(&mut locked(&self.queue).sync_is_due, true) {
            return;
        }
        let inner = self.clone();
        let sync = Box::pin(async move {
            inner.seams.clock.sleep(after).await;
            locked(&inner.queue).sync_is_due = false;
            // A failure ends the log, and the writing task says so; closing it has synced.
            let _ = inner.ask(0, |done| Job::Sync { done }).await;
        });
        self.seams.spawner.spawn("segment sync", sync);
    }

    /// Queues a job; also whether the caller must start the writing task.
    fn push<T>(
        &self,
        bytes: usize,
        job: impl FnOnce(Done<T>) -> Job,
    ) -> Result<(oneshot::Receiver<Result<T, SegmentError>>, bool), SegmentError> {
        let mut queue = locked(&self.queue);
        if let Some(error) = &queue.ended {
            return Err(error.clone());
        }
        let limit = self.files.options.queue_bytes;
        if bytes > 0 && queue.bytes >= limit {
            let path = self.files.directory.display().to_string();
            return Err(SegmentError::Overloaded { path, queued: queue.bytes, limit });
        }
        let (done, answer) = oneshot::channel();
        let job = job(done);
        if matches!(job, Job::Close { .. }) {
            queue.ended = Some(SegmentError::Closed { path: self.files.directory.display().to_string() });
        }
        queue.jobs.push_back(job);
        queue.bytes += bytes;
        Ok((answer, !std::mem::replace(&mut queue.writing, true)))
    }

    /// The writing task: lives as long as there is something to write.
    async fn write(self: Arc<Self>) {
        while let Some(jobs) = self.take() {
            let inner = self.clone();
            let done = off_the_workers(&*self.seams.disk, move || inner.perform(jobs)).await;
            if let Err(reason) = done.unwrap_or_else(|reason| Err(failed(&self.files.directory, reason))) {
                tracing::error!(error = %reason, "nothing more will be acknowledged");
                let mut queue = locked(&self.queue);
                queue.ended = Some(reason.clone());
                queue.bytes = 0;
                let jobs = std::mem::take(&mut queue.jobs);
                drop(queue);
                jobs.into_iter().for_each(|job| job.refuse(&reason));
                return;
            }
        }
    }

    /// One write's worth of jobs; `None`, and the task ends, when there is nothing to do.
    fn take(&self) -> Option<Vec<Job>> {
        let mut queue = locked(&self.queue);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while bytes < WRITE_BYTES {
            let Some(job) = queue.jobs.pop_front() else { break };
            if let Job::Append { record, .. } = &job {
                bytes += record.payload.len() + RECORD_BYTES;
            }
            jobs.push(job);
        }
        queue.bytes = queue.bytes.saturating_sub(bytes);
        if jobs.is_empty() {
            queue.writing = false;
            return None;
        }
        Some(jobs)
    }

    /// Does the jobs, in order; appends that follow one another are made durable together.
    fn perform(self: &Arc<Self>, jobs: Vec<Job>) -> Result<(), SegmentError> {
        let mut jobs = VecDeque::from(jobs);
        while let Some(job) = jobs.pop_front() {
            let result = match job {
                Job::Append { record, done } => {
                    let mut records = vec![record];
                    let mut waiting = vec![done];
                    while matches!(jobs.front(), Some(Job::Append { .. })) {
                        if let Some(Job::Append { record, done }) = jobs.pop_front() {
                            records.push(record);
                            waiting.push(done);
                        }
                    }
                    self.sync_later();
                    self.append_all(&records, waiting)
                }
                Job::Sync { done } => answer(done, self.files.sync()),
                Job::Expire { retention, done } => answer(done, self.files.expire(retention)),
                Job::DropOldest { done } => answer(done, self.files.drop_oldest()),
                Job::Close { done } => {
                    // Followers look up and find it closed.
                    self.appended.send_modify(|_| {});
                    answer(done, self.files.sync())
                }
            };
            if let Err(error) = result {
                jobs.into_iter().for_each(|job| job.refuse(&error));
                return Err(error);
            }
        }
        Ok(())
    }

    fn append_all(&self, records: &[Record], waiting: Vec<Done<Position>>) -> Result<(), SegmentError> {
        let result = self.files.append(records);
        if result.is_ok() {
            self.appended.send_modify(|count| *count += records.len() as u64);
        }
        for (index, done) in waiting.into_iter().enumerate() {
            let _ = done.send(result.as_ref().map(|positions| positions[index]).map_err(Clone::clone));
        }
        result.map(drop)
    }
}

impl Job {
    fn refuse(self, error: &SegmentError) {
        match self {
            Self::Append { done, .. } => drop(done.send(Err(error.clone()))),
            Self::Expire { done, .. } | Self::DropOldest { done } | Self::Sync { done } | Self::Close { done } => {
                drop(done.send(Err(error.clone())));
            }
        }
    }
}

fn answer(done: Done<()>, result: Result<(), SegmentError>) -> Result<(), SegmentError> {
    let _ = done.send(result.clone());
    result
}

/// Runs `work` where it may wait for the disk; in place on a disk that never waits, so that a
/// simulation stays deterministic.
///
/// # Errors
/// When the work panicked.
pub async fn off_the_workers<T: Send + 'static>(
    disk: &dyn Disk,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if disk.waits() => runtime.spawn_blocking(work).await.map_err(|error| error.to_string()),
        _ => Ok(work()),
    }
}

fn segment_path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:016}.seg"))
}
