//! The seams through which Longshore touches the world: time, randomness, task spawning and disk.
//!
//! Everything that is not deterministic enters the program here, so that the simulator can drive
//! the real control plane and the real agent from one seed. `clippy.toml` forbids the ordinary
//! ways around (`SystemTime::now`, `tokio::spawn`, …) everywhere else.
//!
//! Invariant: this crate depends on nothing of ours.

mod clock;
mod disk;
mod random;
mod spawn;
mod timestamp;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, MemoryDisk, SystemDisk};
pub use random::{Random, SeededRandom, SystemRandom};
pub use spawn::{Spawner, TokioSpawner};
pub use timestamp::Timestamp;

/// A future that owns what it needs and may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The seams of one process, handed to every room at construction.
#[derive(Clone, Debug)]
pub struct Seams {
    /// Wall and monotonic time, and waiting.
    pub clock: Arc<dyn Clock>,
    /// Identifiers, jitter, tie-breaking.
    pub random: Arc<dyn Random>,
    /// Background work.
    pub spawner: Arc<dyn Spawner>,
    /// Files.
    pub disk: Arc<dyn Disk>,
}

impl Seams {
    /// The real world: system clock, kernel randomness, the current tokio runtime, the file system.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            spawner: Arc::new(TokioSpawner),
            disk: Arc::new(SystemDisk),
        }
    }
}
