//! Waiting longer after each failure.

use std::time::Duration;

use longshore_seams::Random;

/// `first × factorⁿ` up to `most`, each wait ±20 %.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first_ms: f64,
    factor: f64,
    most_ms: f64,
    next_ms: f64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, factor: f64, most: Duration) -> Self {
        let first_ms = first.as_secs_f64() * 1000.0;
        Self { first_ms, factor, most_ms: most.as_secs_f64() * 1000.0, next_ms: first_ms }
    }

    /// ACS: 0.25 s × 1.5ⁿ up to 2 min.
    pub(crate) fn acs() -> Self {
        Self::new(Duration::from_millis(250), 1.5, Duration::from_secs(120))
    }

    /// TCS: 1 s × 2ⁿ up to 1 min.
    pub(crate) fn tcs() -> Self {
        Self::new(Duration::from_secs(1), 2.0, Duration::from_secs(60))
    }

    pub(crate) fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }

    pub(crate) fn next(&mut self, random: &dyn Random) -> Duration {
        let wait = self.next_ms;
        self.next_ms = (wait * self.factor).min(self.most_ms);
        let jitter = f64::from(u32::try_from(random.below(4001)).unwrap_or(0)) / 10_000.0;
        Duration::from_secs_f64(wait * (0.8 + jitter) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::SeededRandom;

    #[test]
    fn waits_grow_to_the_most_and_start_anew_after_a_reset() {
        let random = SeededRandom::new(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(5));
        let waits: Vec<f64> = (0..6).map(|_| backoff.next(&random).as_secs_f64()).collect();
        for (wait, expected) in waits.iter().zip([1.0, 2.0, 4.0, 5.0, 5.0, 5.0]) {
            assert!((wait / expected - 1.0).abs() <= 0.2001, "{wait} for {expected}");
        }
        backoff.reset();
        assert!(backoff.next(&random) <= Duration::from_millis(1200));
    }
}
