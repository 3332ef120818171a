//! How much one step may change: a transaction has its limits.

use longshore_model::records::TaskRecord;
use longshore_store::{MAX_TXN_BYTES, MAX_TXN_OPERATIONS};

/// Operations that are left for what is written besides tasks: the record of the loop's own thing, its deployment, the
/// events of the transaction.
const OTHER_OPERATIONS: usize = 10;
/// The same in bytes.
const OTHER_BYTES: usize = MAX_TXN_BYTES / 4;
/// Bytes of a task without containers and tags, and of the events that tell of it and of its container instance.
const TASK: usize = 3_000;
/// Bytes of a container with the shortest names, in a task and in its event.
const CONTAINER: usize = 1_000;
/// Bytes of a published port, in both.
const BINDING: usize = 180;

/// What is left for the tasks of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    tasks: usize,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { tasks: MAX_TXN_OPERATIONS - OTHER_OPERATIONS, bytes: MAX_TXN_BYTES - OTHER_BYTES }
    }
}

impl Room {
    /// How many tasks it has room for, if they are small.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// Makes use of it for a task that is made or changed; answers whether there was room. There always is for one.
    pub(super) fn take(&mut self, task: &TaskRecord) -> bool {
        let bytes = size(task);
        let first = self.tasks == Self::default().tasks;
        if self.tasks == 0 || (bytes > self.bytes && !first) {
            self.tasks = 0;
            return false;
        }
        self.tasks -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// About as many bytes as a change of the task takes.
fn size(task: &TaskRecord) -> usize {
    let tags: usize = task.tags.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    let containers = task.containers.iter().map(|it| {
        let texts = [Some(&it.name), Some(&it.image), it.image_digest.as_ref(), it.reason.as_ref()];
        let texts: usize = texts.into_iter().flatten().chain(&it.gpu_ids).map(String::len).sum();
        CONTAINER + 2 * texts + BINDING * it.network_bindings.len()
    });
    TASK + tags + containers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use longshore_model::records::{Tags, TaskStatus};

    use super::*;
    use crate::operations::testing::World;

    #[tokio::test]
    async fn small_tasks_are_limited_by_their_number_and_large_ones_by_their_size() {
        let world = World::with_default_cluster().await;
        let small = world.put_task("default", "web", 1, TaskStatus::Running).await;
        let taken = |task: &TaskRecord| {
            let mut room = Room::default();
            (0..1_000).filter(|_| room.take(task)).count()
        };
        assert_eq!(taken(&small), MAX_TXN_OPERATIONS - OTHER_OPERATIONS);
        let tags: Tags = (0..50).map(|at| (format!("{at:0>128}"), "v".repeat(256))).collect();
        let tagged = TaskRecord { tags, ..small.clone() };
        assert_eq!(taken(&tagged), (MAX_TXN_BYTES - OTHER_BYTES) / size(&tagged));
        let huge = TaskRecord { tags: Tags::from([(String::new(), "v".repeat(MAX_TXN_BYTES))]), ..small };
        assert_eq!(taken(&huge), 1);
    }
}
