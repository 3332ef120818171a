//! Background work.

use std::fmt::Debug;

use crate::BoxFuture;

/// Runs futures in the background.
pub trait Spawner: Send + Sync + Debug {
    /// Starts `work`; `name` says in logs and metrics what it is.
    fn spawn(&self, name: &'static str, work: BoxFuture<'static, ()>);

    /// Does `work`, which may wait for the disk, without holding up async work. A simulation does it here and now.
    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) {
        tracing::trace!(name, "done in place");
        work();
    }
}

/// Spawns on the current tokio runtime.
#[derive(Clone, Copy, Debug)]
pub struct TokioSpawner;

impl Spawner for TokioSpawner {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn spawn(&self, name: &'static str, work: BoxFuture<'static, ()>) {
        tracing::trace!(name, "spawned");
        tokio::spawn(work);
    }

    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) {
        tracing::trace!(name, "spawned");
        tokio::task::spawn_blocking(work);
    }
}
