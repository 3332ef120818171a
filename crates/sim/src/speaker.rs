//! What load balancers and alarms say of services. It is none of the server's doing: a server that comes back hears the
//! same as before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_api::ecs::LoadBalancer;
use longshore_control::reconcilers::{ServiceSignals, TargetHealth};
use longshore_model::records::TaskRecord;
use longshore_model::{Id, Scope};
use longshore_seams::SeededRandom;

use crate::executor::{Executor, between, locked};
use crate::functions::Functions;

/// From when a load balancer first hears of a target until it sends traffic there.
const DECIDES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// The speaker. Clones share what is so.
#[derive(Clone, Debug)]
pub(crate) struct Speaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    executor: Executor,
    random: SeededRandom,
    functions: Functions,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// By name.
    alarms: BTreeMap<String, Alarm>,
    targets: BTreeMap<Id, Target>,
}

#[derive(Debug, Default)]
struct Alarm {
    /// So many reasons hold why it is in the state ALARM.
    reasons: u32,
    /// When it came into that state last.
    since: Duration,
}

#[derive(Debug)]
struct Target {
    /// When its load balancer finds it well.
    well_at: Duration,
    sick: bool,
}

impl Speaker {
    pub fn new(executor: Executor, seed: u64) -> Self {
        let (random, functions) = (SeededRandom::new(seed ^ 0x7369_676e), Functions::new(executor.clone(), seed));
        Self(Arc::new(Inner { executor, random, functions, said: Mutex::default() }))
    }

    /// The functions of lifecycle hooks, which have a say, too.
    pub fn functions(&self) -> &Functions {
        &self.0.functions
    }

    /// The alarm goes off.
    pub fn go_off(&self, alarm: &str) {
        let now = self.0.executor.now();
        let mut said = locked(&self.0.said);
        let alarm = said.alarms.entry(alarm.to_owned()).or_default();
        if alarm.reasons == 0 {
            alarm.since = now;
        }
        alarm.reasons += 1;
    }

    /// One of the reasons why it went off is gone.
    pub fn calm_down(&self, alarm: &str) {
        if let Some(alarm) = locked(&self.0.said).alarms.get_mut(alarm) {
            alarm.reasons = alarm.reasons.saturating_sub(1);
        }
    }

    /// Since when the alarm is in the state ALARM; none when it is not.
    pub fn in_alarm_since(&self, alarm: &str) -> Option<Duration> {
        locked(&self.0.said).alarms.get(alarm).filter(|alarm| alarm.reasons > 0).map(|alarm| alarm.since)
    }

    /// Whether the alarm has ever gone off.
    pub fn has_gone_off(&self, alarm: &str) -> bool {
        locked(&self.0.said).alarms.contains_key(alarm)
    }

    /// From now on this target fails its health checks. Answers whether a load balancer knows it.
    pub fn sicken(&self, task: Id) -> bool {
        let mut said = locked(&self.0.said);
        let target = said.targets.get_mut(&task);
        target.map(|target| target.sick = true).is_some()
    }

    /// Whether a load balancer has decided about the task, one way or the other.
    pub fn has_decided(&self, task: Id) -> bool {
        let now = self.0.executor.now();
        locked(&self.0.said).targets.get(&task).is_some_and(|target| target.sick || target.well_at <= now)
    }

    /// Whether the task fails the health checks of its load balancer.
    pub fn is_sick(&self, task: Id) -> bool {
        locked(&self.0.said).targets.get(&task).is_some_and(|target| target.sick)
    }
}

impl ServiceSignals for Speaker {
    fn target_health(&self, _: &Scope, _: &LoadBalancer, task: &TaskRecord) -> Option<TargetHealth> {
        let now = self.0.executor.now();
        let mut said = locked(&self.0.said);
        let target = said
            .targets
            .entry(task.id)
            .or_insert_with(|| Target { well_at: now + between(&self.0.random, DECIDES.0, DECIDES.1), sick: false });
        Some(match target {
            Target { sick: true, .. } => TargetHealth::Unhealthy("Health checks failed".to_owned()),
            Target { well_at, .. } if *well_at > now => TargetHealth::Initial,
            _ => TargetHealth::Healthy,
        })
    }

    fn in_alarm(&self, _: &Scope, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| self.in_alarm_since(name).is_some()).cloned().collect()
    }
}
