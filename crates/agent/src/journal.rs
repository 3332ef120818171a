//! What is remembered in the runtime root: a record a task, a cursor a container's log, the highest
//! manifest number.
//!
//! Writes are queued, the last one for a name wins, and one worker writes them off the async threads.
//! Only what is acknowledged to the control plane is synced; the rest is for a killed agent, not for
//! lost power, after which the containers' labels tell.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_runtime::LogCursor;
use longshore_seams::Seams;
use tokio::sync::oneshot;

use crate::task::record::{TaskRecord, TaskState};

const TASK: &str = ".json";
const STATE: &str = ".state";

#[derive(Debug)]
enum Write {
    Replace { bytes: Vec<u8>, synced: Vec<oneshot::Sender<()>> },
    Remove,
}

#[derive(Debug, Default)]
struct Queue {
    pending: BTreeMap<PathBuf, Write>,
    working: bool,
    idle: Vec<oneshot::Sender<()>>,
}

/// The runtime root's `agent/` directory. Clones share one queue.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    root: PathBuf,
    seams: Seams,
    queue: Arc<Mutex<Queue>>,
}

impl Journal {
    /// Opens, and if need be makes, `<data dir>/runtime/agent`.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn open(data_dir: &Path, seams: &Seams) -> io::Result<Self> {
        let root = data_dir.join("runtime").join("agent");
        let journal = Self { root, seams: seams.clone(), queue: Arc::default() };
        for directory in [journal.tasks(), journal.cursors()] {
            seams.disk.create_dir_all(&directory)?;
        }
        Ok(journal)
    }

    /// All task records that can be read. One that cannot is reported and left alone.
    ///
    /// # Errors
    /// Whatever the file system answers to listing.
    pub fn load_tasks(&self) -> io::Result<Vec<TaskRecord>> {
        let mut records = Vec::new();
        for name in self.seams.disk.list(&self.tasks())? {
            let path = self.tasks().join(&name);
            if !name.ends_with(TASK) {
                continue;
            }
            let bytes = self.seams.disk.read(&path)?.unwrap_or_default();
            match serde_json::from_slice::<TaskRecord>(&bytes) {
                Ok(record) if record.format <= TaskRecord::FORMAT => records.push(record),
                Ok(record) => {
                    tracing::warn!(path = %path.display(), format = record.format, "task record of a newer agent skipped");
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "unreadable task record skipped"),
            }
        }
        Ok(records)
    }

    /// How far a task had come; the beginning when that is not known.
    pub fn load_state(&self, id: &str) -> TaskState {
        let path = self.task_path(id, STATE);
        let bytes = self.seams.disk.read(&path).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// A state as it is written.
    pub fn encode(state: &TaskState) -> Vec<u8> {
        serde_json::to_vec(state).expect("states have string keys and finite numbers")
    }

    /// Writes how far a task has come, soon.
    pub fn save_state(&self, id: &str, encoded: Vec<u8>) {
        self.replace(self.task_path(id, STATE), encoded, None);
    }

    /// Writes a task; resolves once it is on stable storage (or could not be put there, which is logged).
    pub fn save_task(&self, id: &str, record: &TaskRecord) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let bytes = serde_json::to_vec(record).expect("records have string keys and finite numbers");
        self.replace(self.task_path(id, TASK), bytes, Some(done));
        wait
    }

    /// Forgets a task.
    pub fn remove_task(&self, id: &str) {
        self.enqueue(self.task_path(id, TASK), Write::Remove);
        self.enqueue(self.task_path(id, STATE), Write::Remove);
    }

    /// How far a container's log was shipped.
    pub fn cursor(&self, container_id: &str) -> LogCursor {
        let pending = match self.queue().pending.get(&self.cursor_path(container_id)) {
            Some(Write::Replace { bytes, .. }) => Some(bytes.clone()),
            _ => None,
        };
        let bytes = pending.or_else(|| self.seams.disk.read(&self.cursor_path(container_id)).ok().flatten());
        let number = bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok());
        LogCursor(number.unwrap_or(0))
    }

    /// Remembers how far a container's log was shipped.
    pub fn save_cursor(&self, container_id: &str, cursor: LogCursor) {
        self.replace(self.cursor_path(container_id), cursor.0.to_string().into_bytes(), None);
    }

    /// Forgets a container's log.
    pub fn remove_cursor(&self, container_id: &str) {
        self.enqueue(self.cursor_path(container_id), Write::Remove);
    }

    /// Highest manifest number heard; −1 at first.
    pub fn sequence(&self) -> i64 {
        let bytes = self.seams.disk.read(&self.root.join("sequence")).ok().flatten();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok()).unwrap_or(-1)
    }

    /// Remembers the highest manifest number.
    pub fn save_sequence(&self, sequence: i64) {
        self.replace(self.root.join("sequence"), sequence.to_string().into_bytes(), None);
    }

    /// Resolves when nothing waits to be written.
    pub async fn flushed(&self) {
        let wait = {
            let mut queue = self.queue();
            if !queue.working {
                return;
            }
            let (done, wait) = oneshot::channel();
            queue.idle.push(done);
            wait
        };
        // The worker is gone only when the process is.
        let _ = wait.await;
    }

    fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    fn cursors(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn task_path(&self, id: &str, suffix: &str) -> PathBuf {
        self.tasks().join(format!("{}{suffix}", file_name(id)))
    }

    fn cursor_path(&self, container_id: &str) -> PathBuf {
        self.cursors().join(file_name(container_id))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, path: PathBuf, bytes: Vec<u8>, done: Option<oneshot::Sender<()>>) {
        self.enqueue(path, Write::Replace { bytes, synced: done.into_iter().collect() });
    }

    fn enqueue(&self, path: PathBuf, write: Write) {
        let mut queue = self.queue();
        let earlier = queue.pending.insert(path.clone(), write);
        // Whoever waited for the earlier content waits for this one, which has it or more.
        if let (Some(Write::Replace { synced: waiting, .. }), Some(Write::Replace { synced, .. })) =
            (earlier, queue.pending.get_mut(&path))
        {
            synced.extend(waiting);
        }
        if !queue.working {
            queue.working = true;
            drop(queue);
            let journal = self.clone();
            self.seams.spawner.spawn_blocking("agent journal", Box::new(move || journal.work()));
        }
    }

    fn work(&self) {
        loop {
            let batch = {
                let mut queue = self.queue();
                if queue.pending.is_empty() {
                    queue.working = false;
                    for idle in queue.idle.drain(..) {
                        // Nobody waits any more: fine.
                        let _ = idle.send(());
                    }
                    return;
                }
                std::mem::take(&mut queue.pending)
            };
            let mut waiting = Vec::new();
            for (path, write) in batch {
                let result = match write {
                    Write::Remove => self.seams.disk.remove(&path),
                    Write::Replace { bytes, synced } => {
                        let result = self.write(&path, &bytes, !synced.is_empty());
                        waiting.extend(synced);
                        result
                    }
                };
                if let Err(error) = result {
                    tracing::error!(path = %path.display(), %error, "the agent's record could not be written");
                }
            }
            if !waiting.is_empty()
                && let Err(error) = self.seams.disk.sync_dir(&self.tasks())
            {
                tracing::error!(%error, "the agent's records could not be synced");
            }
            for done in waiting {
                // Nobody waits any more: fine.
                let _ = done.send(());
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".new");
        let new = path.with_file_name(name);
        self.seams.disk.remove(&new)?;
        let mut file = match self.seams.disk.open(&new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The directory was deleted under us.
                self.seams.disk.create_dir_all(path.parent().unwrap_or(&self.root))?;
                self.seams.disk.open(&new)?
            }
            other => other?,
        };
        file.append(bytes)?;
        if sync {
            file.sync()?;
        }
        self.seams.disk.rename(&new, path)
    }
}

/// Ids are hexadecimal; anything else must not leave the directory.
fn file_name(id: &str) -> String {
    id.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use longshore_protocol::task::Task;

    #[tokio::test]
    async fn a_task_survives_power_loss_and_its_state_a_killed_agent() {
        let world = testing::Seamed::new();
        let journal = Journal::open(Path::new("/d"), &world.seams).unwrap();
        let task = Task { arn: "arn/a".to_owned(), ..Task::default() };
        journal.save_task("a", &TaskRecord::of(&task)).await.unwrap();
        journal.save_state("a", Journal::encode(&TaskState { stopping: true, ..TaskState::default() }));
        journal.flushed().await;
        assert!(journal.load_state("a").stopping);
        let after = Journal::open(Path::new("/d"), &world.after_power_loss()).unwrap();
        assert_eq!(after.load_tasks().unwrap()[0].task, task);
        assert!(!after.load_state("a").stopping);
    }

    #[tokio::test]
    async fn cursors_and_the_sequence_are_remembered() {
        let world = testing::Seamed::new();
        let journal = Journal::open(Path::new("/d"), &world.seams).unwrap();
        assert_eq!((journal.cursor("c"), journal.sequence()), (LogCursor(0), -1));
        journal.save_cursor("c", LogCursor(7));
        journal.save_sequence(101);
        assert_eq!((journal.cursor("c"), journal.sequence()), (LogCursor(7), 101));
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert_eq!(file_name("../../etc/passwd"), "etcpasswd");
    }
}
