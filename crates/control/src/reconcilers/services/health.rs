//! Which tasks are healthy (guide chapter 15), and what becomes of those that are not.

use std::time::Duration;

use longshore_api::ecs::{HealthStatus, LoadBalancer};
use longshore_model::records::{TaskRecord, TaskStatus};
use longshore_model::task::{StopCause, is_checked};
use longshore_seams::Timestamp;

use super::signals::TargetHealth;
use super::work::Work;

/// How well a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// It runs, and every check that it has says that it is well.
    pub fit: bool,
    /// It is fit, and has run for a moment when nothing checks it: it did not end as soon as it began.
    pub proven: bool,
    /// It counts as healthy: fit, and settled when nothing checks it.
    pub healthy: bool,
    /// When it will be proven, or healthy, if nothing happens.
    pub settles: Option<Timestamp>,
}

impl Work<'_> {
    pub(super) fn health(&self, of: usize, task: &TaskRecord) -> Health {
        if task.last_status != TaskStatus::Running {
            return Health::default();
        }
        let checked = is_checked(task);
        let targets = self.targets(of, task);
        let well = targets.iter().all(|(_, health)| *health == TargetHealth::Healthy);
        if !well || (checked && task.health != Some(HealthStatus::Healthy)) {
            return Health::default();
        }
        let vouched = checked || !targets.is_empty();
        let started = task.times.started.unwrap_or(task.created_at);
        let after = |time| Some(started.plus(time)).filter(|at| !vouched && *at > self.now);
        let (proves, settles) = (after(self.limits.prove), after(self.limits.settle));
        Health { fit: true, proven: proves.is_none(), healthy: settles.is_none(), settles: proves.or(settles) }
    }

    /// What the load balancers of a task say of it.
    fn targets(&self, of: usize, task: &TaskRecord) -> Vec<(&LoadBalancer, TargetHealth)> {
        let set = of.checked_sub(self.record.deployments.len()).and_then(|at| self.record.task_sets.get(at));
        let own = self.record.settings.load_balancers.as_deref().unwrap_or_default();
        let balancers = set.map_or(own, |set| &set.load_balancers);
        let asked = |it| self.signals.target_health(self.scope, it, task).map(|health| (it, health));
        balancers.iter().filter_map(asked).collect()
    }

    /// Stops tasks that fail their checks; others take their place. Where those can come first, it only marks them.
    pub(super) fn replace_unhealthy(&mut self) {
        let bad: Vec<(usize, Ailment)> = (0..self.live.len()).filter_map(|at| Some((at, self.ailment(at)?))).collect();
        let starts_first = self.starts_first();
        for (at, ailment) in bad {
            let (of, counts) = (self.live[at].of, self.live[at].is_new(0));
            if starts_first && counts {
                self.say_since(self.live[at].task.times.started, &ailment.message);
                self.live[at].ails = Some(ailment.cause);
                continue;
            }
            if !self.stop_one(at, &ailment.cause) {
                return;
            }
            if counts {
                self.count_unhealthy();
            }
            self.say_of(of, &ailment.message);
        }
    }

    /// What is wrong with a task, once its grace period is over.
    fn ailment(&self, at: usize) -> Option<Ailment> {
        let live = &self.live[at];
        let grace = self.record.settings.health_check_grace_period_seconds.unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let begun = live.task.times.started.unwrap_or(self.now).plus(grace) <= self.now;
        if !live.wanted || live.task.last_status != TaskStatus::Running || !begun {
            return None;
        }
        if live.task.health == Some(HealthStatus::Unhealthy) {
            let message = format!("(task {}) failed container health checks.", live.task.id);
            return Some(Ailment { cause: StopCause::unhealthy(), message });
        }
        let targets = self.targets(live.of, live.task);
        targets.into_iter().find_map(|(balancer, health)| match health {
            TargetHealth::Unhealthy(reason) => Some(Ailment::of_target(live.task, balancer, &reason)),
            TargetHealth::Initial | TargetHealth::Healthy => None,
        })
    }
}

/// Why a task is replaced.
struct Ailment {
    cause: StopCause,
    /// In the words of a service event.
    message: String,
}

impl Ailment {
    fn of_target(task: &TaskRecord, balancer: &LoadBalancer, reason: &str) -> Self {
        let (what, place) = match (&balancer.target_group_arn, &balancer.load_balancer_name) {
            (Some(group), _) => {
                let port = host_port(task, balancer).or(balancer.container_port).unwrap_or(0);
                (format!("(port {port})"), format!("(target-group {group})"))
            }
            (None, name) => {
                let instance = task.container_instance.map(|id| id.to_string()).unwrap_or_default();
                (format!("(instance {instance})"), format!("(elb {})", name.as_deref().unwrap_or("")))
            }
        };
        let message = format!("{what} is unhealthy in {place} due to (reason {reason}).");
        Self { cause: StopCause::unhealthy_target(&place), message }
    }
}

/// The host port to which the balanced container port is published.
fn host_port(task: &TaskRecord, balancer: &LoadBalancer) -> Option<i32> {
    let container = task.containers.iter().find(|it| Some(&it.name) == balancer.container_name.as_ref())?;
    let binding = container.network_bindings.iter().find(|it| it.container_port == balancer.container_port)?;
    binding.host_port
}
