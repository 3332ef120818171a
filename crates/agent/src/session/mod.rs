//! The agent's two connections.

mod acs;
mod stats;
mod tcs;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longshore_protocol::{INACTIVE_INSTANCE, SILENCE, SILENCE_JITTER};
use longshore_seams::{Random, Timestamp};

pub(crate) use acs::AcsSession;
pub(crate) use stats::Sampler;
pub(crate) use tcs::TcsSession;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::plane::{CallResult, ConnectError, Endpoints};

/// How long an answer to `DiscoverPollEndpoint` is good.
const ENDPOINTS_KEPT: Duration = Duration::from_secs(12 * 3600);
/// Failed connections after which it is asked again all the same.
const FAILURES_KEPT: u32 = 3;
/// A connection that has lasted so long resets the back-off.
const SETTLED: Duration = Duration::from_secs(60);
/// A connection that ends sooner hardly was one …
const SHORT: Duration = Duration::from_secs(1);
/// … and after so many in a row even those that may be opened again at once wait.
const MOST_SHORT: u32 = 3;
/// How long an agent waits after it was told that its instance is gone.
const INACTIVE_WAIT: Duration = Duration::from_secs(3600);

/// The answer to `DiscoverPollEndpoint`, shared by both connections.
#[derive(Debug, Default)]
pub(crate) struct EndpointCache {
    known: Mutex<Option<(Endpoints, Timestamp)>>,
    failures: std::sync::atomic::AtomicU32,
}

impl EndpointCache {
    pub async fn get(&self, context: &Context, instance: &str) -> CallResult<Endpoints> {
        let now = context.seams.clock.now();
        let failures = self.failures.load(std::sync::atomic::Ordering::Relaxed);
        let cached = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((endpoints, at)) = &cached
            && now.since(*at) < ENDPOINTS_KEPT
            && failures < FAILURES_KEPT
        {
            return Ok(endpoints.clone());
        }
        match (context.plane.discover_poll_endpoint(&context.cluster, instance).await, cached) {
            (Ok(endpoints), _) if !endpoints.endpoint.is_empty() => {
                self.failures.store(0, std::sync::atomic::Ordering::Relaxed);
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((endpoints.clone(), now));
                Ok(endpoints)
            }
            // An old answer is better than none.
            (_, Some((endpoints, _))) => Ok(endpoints),
            (Ok(endpoints), None) => Ok(endpoints),
            (Err(error), None) => Err(error),
        }
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// How a connection ended, and so when the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// At once.
    Reconnect,
    /// After the next back-off.
    BackOff,
    /// After an hour: the instance is gone.
    Inactive,
    /// Never: the agent ends.
    Shutdown,
}

impl Ended {
    fn of_close(code: u16, reason: &str) -> Self {
        if longshore_protocol::reconnects_at_once(code) {
            Self::Reconnect
        } else if reason.contains(INACTIVE_INSTANCE) {
            Self::Inactive
        } else {
            Self::BackOff
        }
    }

    fn of_refusal(error: &ConnectError) -> Self {
        match error {
            ConnectError::Refused { body, .. } if body.contains(INACTIVE_INSTANCE) => Self::Inactive,
            ConnectError::Refused { .. } | ConnectError::Unreachable(_) => Self::BackOff,
        }
    }
}

/// When to connect again.
#[derive(Debug)]
pub(crate) struct Reconnects {
    backoff: Backoff,
    /// Connections in a row that ended as soon as they had begun.
    short: u32,
}

impl Reconnects {
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, short: 0 }
    }

    /// How long to wait after a connection that lasted so long; never, when the agent ends.
    pub fn wait(&mut self, ended: Ended, lasted: Duration, random: &dyn Random) -> Option<Duration> {
        if lasted >= SETTLED {
            self.backoff.reset();
        }
        self.short = if lasted < SHORT { self.short + 1 } else { 0 };
        match ended {
            Ended::Shutdown => None,
            Ended::Inactive => Some(INACTIVE_WAIT),
            Ended::Reconnect if self.short <= MOST_SHORT => {
                self.backoff.reset();
                Some(Duration::ZERO)
            }
            Ended::Reconnect | Ended::BackOff => Some(self.backoff.next(random)),
        }
    }
}

/// A time in `[least, least + most more)`.
fn jittered(random: &dyn Random, least: Duration, more: Duration) -> Duration {
    least + Duration::from_millis(random.below(u64::try_from(more.as_millis()).unwrap_or(0)))
}

fn silence(random: &dyn Random) -> Duration {
    jittered(random, SILENCE, SILENCE_JITTER)
}

/// Seconds with a fraction to the millisecond, as times are written in messages.
fn seconds(at: Timestamp) -> f64 {
    // Exact: milliseconds of our age fit a double's 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let millis = at.as_millis() as f64;
    millis / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::SeededRandom;

    #[test]
    fn a_server_that_closes_every_connection_at_once_is_not_called_without_pause() {
        let random = SeededRandom::new(1);
        let mut reconnects = Reconnects::new(Backoff::acs());
        let waits: Vec<bool> =
            (0..6).map(|_| reconnects.wait(Ended::Reconnect, Duration::ZERO, &random).unwrap().is_zero()).collect();
        assert_eq!(waits, [true, true, true, false, false, false]);
        assert!(reconnects.wait(Ended::Reconnect, Duration::from_secs(5), &random).unwrap().is_zero());
    }
}
