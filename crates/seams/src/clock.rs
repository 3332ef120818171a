//! Time.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{BoxFuture, Timestamp};

/// Wall-clock time, monotonic time and waiting.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time. May jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary fixed point. Never goes back.
    fn monotonic(&self) -> Duration;

    /// Resolves after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock; waits on tokio's timer.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told to. For tests of code that reads time.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    started: i64,
    moved: Mutex<Vec<(i64, tokio::sync::oneshot::Sender<()>)>>,
}

impl ManualClock {
    /// A clock standing at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millis()), started: now.as_millis(), moved: Mutex::new(Vec::new()) }
    }

    /// Moves the clock on and wakes every sleeper that is due.
    pub fn advance(&self, by: Duration) {
        let step = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let now = self.millis.fetch_add(step, Ordering::SeqCst).saturating_add(step);
        let mut sleepers = self.moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (due, waiting) = std::mem::take(&mut *sleepers).into_iter().partition(|(at, _)| *at <= now);
        *sleepers = waiting;
        drop(sleepers);
        let due: Vec<(i64, tokio::sync::oneshot::Sender<()>)> = due;
        for (_, wake) in due {
            // A sleeper that was dropped no longer cares.
            let _ = wake.send(());
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        let elapsed = self.millis.load(Ordering::SeqCst).saturating_sub(self.started);
        Duration::from_millis(u64::try_from(elapsed).unwrap_or(0))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let mut sleepers = self.moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let until = self.now().plus(duration).as_millis();
        if until <= self.millis.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(()));
        }
        sleepers.push((until, wake));
        Box::pin(async move {
            // A dropped clock never wakes anybody: treat it as the end of time.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
