//! Rolling update arithmetic (guide chapter 15) and the throttle (chapter 17).

use std::time::Duration;

use longshore_api::ecs;

/// How many tasks a deployment may have and must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most tasks that are PENDING or RUNNING, of all deployments.
    pub cap: usize,
    /// Fewest tasks that are RUNNING and healthy.
    pub floor: usize,
}

impl Bounds {
    /// The bounds of `desired` tasks: the cap rounds down, the floor up.
    #[must_use]
    pub fn of(desired: usize, configuration: Option<&ecs::DeploymentConfiguration>) -> Self {
        let percent = |given: Option<i32>, default: usize| given.map_or(default, |it| usize::try_from(it).unwrap_or(0));
        let most = percent(configuration.and_then(|it| it.maximum_percent), 200);
        let least = percent(configuration.and_then(|it| it.minimum_healthy_percent), 100);
        Self { cap: desired.saturating_mul(most) / 100, floor: desired.saturating_mul(least).div_ceil(100) }
    }
}

/// The tasks of a service, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// PENDING or RUNNING, wanted or on their way out.
    pub total: usize,
    /// Wanted, of the PRIMARY deployment and where they may stay.
    pub new: usize,
    /// Wanted, of an older deployment or on a DRAINING container instance, not healthy nor about to be.
    pub old_unhealthy: usize,
    /// Wanted, of an older deployment or on a DRAINING container instance, RUNNING and healthy.
    pub old_healthy: usize,
    /// Wanted, of the PRIMARY deployment, RUNNING and healthy.
    pub new_healthy: usize,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// New tasks to start.
    pub start: usize,
    /// New tasks to stop: there are more than wanted.
    pub stop_new: usize,
    /// Old tasks to stop that are not healthy.
    pub stop_old_unhealthy: usize,
    /// Old tasks to stop that are healthy.
    pub stop_old_healthy: usize,
    /// Tasks have to be replaced, but the bounds allow neither a start nor a stop, now or ever.
    pub deadlock: bool,
}

/// The next step towards `desired` new tasks and no old ones.
#[must_use]
pub fn step(desired: usize, bounds: Bounds, counts: Counts) -> Step {
    let old = counts.old_healthy + counts.old_unhealthy;
    let missing = desired.saturating_sub(counts.new);
    let start = missing.min(bounds.cap.saturating_sub(counts.total));
    let healthy = counts.new_healthy + counts.old_healthy;
    let stop_old_healthy = counts.old_healthy.min(healthy.saturating_sub(bounds.floor));
    let deadlock = missing > 0 && old > 0 && start == 0 && stop_old_healthy == 0 && counts.old_unhealthy == 0 && {
        // Everything that runs is healthy and nothing is on its way: waiting changes nothing.
        counts.total == old + counts.new && counts.new == counts.new_healthy
    };
    Step {
        start,
        stop_new: counts.new.saturating_sub(desired),
        stop_old_unhealthy: counts.old_unhealthy,
        stop_old_healthy,
        deadlock,
    }
}

/// Failed starts in a row that are not yet held against a service.
const FREE_FAILURES: u32 = 3;
/// The longest time between two starts.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long to wait after so many failed starts in a row; grows up to 15 minutes.
#[must_use]
pub fn throttle(failures_in_a_row: u32) -> Option<Duration> {
    let over = failures_in_a_row.checked_sub(FREE_FAILURES)?;
    let seconds = 15u64.checked_shl(over.min(16)).unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(desired: usize, least: i32, most: i32) -> Bounds {
        let configuration = ecs::DeploymentConfiguration {
            maximum_percent: Some(most),
            minimum_healthy_percent: Some(least),
            ..ecs::DeploymentConfiguration::default()
        };
        Bounds::of(desired, Some(&configuration))
    }

    // spec: 15-032, 15-033
    #[test]
    fn the_cap_rounds_down_and_the_floor_up() {
        assert_eq!(bounds(3, 50, 150), Bounds { cap: 4, floor: 2 });
        assert_eq!(bounds(4, 100, 200), Bounds { cap: 8, floor: 4 });
        assert_eq!(bounds(10, 95, 105), Bounds { cap: 10, floor: 10 });
        assert_eq!(Bounds::of(4, None), Bounds { cap: 8, floor: 4 });
    }

    /// Plays a rollout in which every start is healthy at once; answers the most and fewest tasks.
    fn rollout(desired: usize, bounds: Bounds) -> Option<(usize, usize)> {
        let (mut old, mut new) = (desired, 0);
        let (mut most, mut fewest) = (desired, desired);
        for _ in 0..100 {
            let counts = Counts { total: old + new, new, old_unhealthy: 0, old_healthy: old, new_healthy: new };
            let next = step(desired, bounds, counts);
            if next.deadlock {
                return None;
            }
            if next == Step::default() {
                assert_eq!((old, new), (0, desired));
                return Some((most, fewest));
            }
            // Starts are only PENDING when the stops of the same step happen.
            fewest = fewest.min(old + new - next.stop_old_healthy);
            most = most.max(old + new + next.start);
            new = new + next.start - next.stop_new;
            old -= next.stop_old_healthy;
        }
        panic!("{desired} tasks in {bounds:?} do not settle");
    }

    // spec: 15-032, 15-033
    #[test]
    fn no_rollout_leaves_its_bounds() {
        for desired in 1..12 {
            for least in (0..=100).step_by(10) {
                for most in (100..=200).step_by(10) {
                    let bounds = bounds(desired, least, most);
                    match rollout(desired, bounds) {
                        Some((high, low)) => assert!(high <= bounds.cap.max(desired) && low >= bounds.floor),
                        None => assert!(bounds.cap == desired && bounds.floor == desired, "{desired} {bounds:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_that_allow_neither_a_start_nor_a_stop_are_a_deadlock() {
        for (desired, least, most) in [(1, 50, 100), (4, 100, 100), (10, 95, 105)] {
            assert_eq!(rollout(desired, bounds(desired, least, most)), None);
        }
        assert_eq!(rollout(1, bounds(1, 0, 100)), Some((1, 0)));
    }

    #[test]
    fn a_service_that_is_too_large_stops_tasks_and_one_at_its_size_does_nothing() {
        let counts = Counts { total: 4, new: 4, new_healthy: 4, ..Counts::default() };
        assert_eq!(step(1, bounds(1, 100, 200), counts), Step { stop_new: 3, ..Step::default() });
        assert_eq!(step(4, bounds(4, 100, 200), counts), Step::default());
    }

    // spec: 17-059
    #[test]
    fn the_throttle_grows_to_fifteen_minutes() {
        assert_eq!(throttle(2), None);
        let waits: Vec<_> = (3..12).filter_map(throttle).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits.last(), Some(&LONGEST));
        assert_eq!(throttle(u32::MAX), Some(LONGEST));
    }
}
