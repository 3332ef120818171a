//! When a health check is due and what its results mean: Docker's rules, without clock or processes.

use std::time::Duration;

use crate::HealthCheck;
use crate::oci::record::HealthStatus;

/// Docker's defaults for what is left at zero.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// The health of one container. Times are monotonic.
#[derive(Debug)]
pub(super) struct Monitor {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    starts_until: Duration,
    status: HealthStatus,
    failures: u32,
    /// When the next check is due; absent while one runs.
    due: Option<Duration>,
}

impl Monitor {
    /// For a container started at `now`; none when it has no check.
    pub(super) fn new(check: &HealthCheck, now: Duration) -> Option<Self> {
        let command = match check.test.split_first() {
            Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
            Some((kind, [line])) if kind == "CMD-SHELL" => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
            }
            _ => return None,
        };
        let or = |duration: Duration, default: Duration| if duration.is_zero() { default } else { duration };
        let interval = or(check.interval, INTERVAL);
        Some(Self {
            command,
            interval,
            timeout: or(check.timeout, TIMEOUT),
            retries: if check.retries == 0 { RETRIES } else { check.retries },
            starts_until: now + check.start_period,
            status: HealthStatus::Starting,
            failures: 0,
            due: Some(now + interval),
        })
    }

    pub(super) fn command(&self) -> &[String] {
        &self.command
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When the next check is due; none while one runs.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// A check has begun.
    pub(super) fn begun(&mut self) {
        self.due = None;
    }

    /// A check has ended; answers the health when it has changed.
    pub(super) fn ended(&mut self, passed: bool, now: Duration) -> Option<HealthStatus> {
        self.due = Some(now + self.interval);
        let before = self.status;
        if passed {
            self.failures = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || now >= self.starts_until {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        (self.status != before).then_some(self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn monitor(start_period: u64) -> Monitor {
        let check = HealthCheck {
            test: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
            interval: seconds(5),
            timeout: seconds(2),
            retries: 2,
            start_period: seconds(start_period),
        };
        Monitor::new(&check, seconds(100)).unwrap()
    }

    #[test]
    fn the_first_check_is_due_after_an_interval_and_the_next_after_its_end() {
        let mut monitor = monitor(0);
        assert_eq!(monitor.due(), Some(seconds(105)));
        monitor.begun();
        assert_eq!(monitor.due(), None);
        monitor.ended(true, seconds(107));
        assert_eq!(monitor.due(), Some(seconds(112)));
    }

    #[test]
    fn only_failures_in_a_row_make_unhealthy() {
        let mut monitor = monitor(0);
        assert_eq!(monitor.ended(true, seconds(105)), Some(HealthStatus::Healthy));
        assert_eq!(monitor.ended(false, seconds(110)), None);
        assert_eq!(monitor.ended(true, seconds(115)), None);
        assert_eq!(monitor.ended(false, seconds(120)), None);
        assert_eq!(monitor.ended(false, seconds(125)), Some(HealthStatus::Unhealthy));
        assert_eq!(monitor.ended(true, seconds(130)), Some(HealthStatus::Healthy));
    }

    // spec: 05-056
    #[test]
    fn failures_in_the_start_period_do_not_count_until_a_check_has_passed() {
        let mut starting = monitor(60);
        for time in [105, 110, 115, 155] {
            assert_eq!(starting.ended(false, seconds(time)), None);
        }
        assert_eq!(starting.ended(false, seconds(160)), None);
        assert_eq!(starting.ended(false, seconds(165)), Some(HealthStatus::Unhealthy));
        let mut passed = monitor(60);
        passed.ended(true, seconds(105));
        passed.ended(false, seconds(110));
        assert_eq!(passed.ended(false, seconds(115)), Some(HealthStatus::Unhealthy));
    }

    #[test]
    fn a_check_of_none_is_no_check() {
        let check = HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() };
        assert!(Monitor::new(&check, seconds(0)).is_none());
    }
}
