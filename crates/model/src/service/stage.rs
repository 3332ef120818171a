//! Blue/green, canary and linear: the stages of a service deployment that keeps the tasks before
//! running until the new ones have proven themselves.

use std::time::Duration;

use longshore_api::ecs::{
    DeploymentLifecycleHookStage as HookStage, DeploymentStrategy, ServiceDeploymentLifecycleStage as ShownStage,
};
use longshore_seams::{Random, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HookRecord, ServiceDeploymentRecord};

/// Most lifecycle hooks that a service deployment remembers; the oldest go first.
const MAX_HOOKS: usize = 64;

/// A stage, in ECS's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// Revisions besides the one that worked last go; only when there are some.
    ReconcileService,
    /// The target has no tasks yet.
    PreScaleUp,
    /// The target gets its tasks.
    ScaleUp,
    /// They all run.
    PostScaleUp,
    /// Test traffic goes to the target.
    TestTrafficShift,
    /// It has gone there.
    PostTestTrafficShift,
    /// Before each step of production traffic.
    PreProductionTrafficShift,
    /// A step of production traffic goes to the target.
    ProductionTrafficShift,
    /// All has gone there.
    PostProductionTrafficShift,
    /// Both revisions run on, for the case that something shows.
    BakeTime,
    /// The sources lose their tasks.
    CleanUp,
}

impl Stage {
    /// As DescribeServiceDeployments shows it.
    #[must_use]
    pub fn shown(self) -> ShownStage {
        match self {
            Self::ReconcileService => ShownStage::ReconcileService,
            Self::PreScaleUp => ShownStage::PreScaleUp,
            Self::ScaleUp => ShownStage::ScaleUp,
            Self::PostScaleUp => ShownStage::PostScaleUp,
            Self::TestTrafficShift => ShownStage::TestTrafficShift,
            Self::PostTestTrafficShift => ShownStage::PostTestTrafficShift,
            // It has no name of its own there.
            Self::PreProductionTrafficShift | Self::ProductionTrafficShift => ShownStage::ProductionTrafficShift,
            Self::PostProductionTrafficShift => ShownStage::PostProductionTrafficShift,
            Self::BakeTime => ShownStage::BakeTime,
            Self::CleanUp => ShownStage::CleanUp,
        }
    }

    /// As a lifecycle hook names it, where there can be one.
    fn hook(self) -> Option<HookStage> {
        Some(match self {
            Self::ReconcileService => HookStage::ReconcileService,
            Self::PreScaleUp => HookStage::PreScaleUp,
            Self::PostScaleUp => HookStage::PostScaleUp,
            Self::TestTrafficShift => HookStage::TestTrafficShift,
            Self::PostTestTrafficShift => HookStage::PostTestTrafficShift,
            Self::PreProductionTrafficShift => HookStage::PreProductionTrafficShift,
            Self::ProductionTrafficShift => HookStage::ProductionTrafficShift,
            Self::PostProductionTrafficShift => HookStage::PostProductionTrafficShift,
            Self::ScaleUp | Self::BakeTime | Self::CleanUp => return None,
        })
    }

    /// What a lifecycle hook there is told that the stage is called.
    #[must_use]
    pub fn hook_name(self) -> Option<&'static str> {
        Some(match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::ScaleUp | Self::BakeTime | Self::CleanUp => return None,
        })
    }
}

/// How far a service deployment is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Percent of the production traffic that goes to the target.
    pub weight: f64,
    /// Percent of the test traffic that goes to the target.
    pub test_weight: f64,
    /// Hooks of this stage and the ones before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRecord>,
}

/// What a stage is told of the service's tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The target has all the tasks that are wanted, healthy.
    pub target_ready: bool,
    /// No source but the one that worked last has tasks.
    pub reconciled: bool,
    /// No source has tasks.
    pub sources_gone: bool,
}

/// What became of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Advance {
    /// It goes on, at least until then.
    Wait(Option<Timestamp>),
    /// The next one has begun.
    Moved,
    /// It was the last one.
    Done,
    /// The service has to go back, for this reason.
    Back(String),
}

fn minutes(given: Option<i32>, default: i32) -> Duration {
    Duration::from_secs(u64::try_from(given.unwrap_or(default)).unwrap_or(0) * 60)
}

impl ServiceDeploymentRecord {
    /// Whether it keeps the tasks before running until the new ones have proven themselves.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.configuration.strategy.as_ref().is_some_and(|it| *it != DeploymentStrategy::Rolling)
    }

    /// How long both revisions run on after the shift; for a rolling update, how long it is watched.
    #[must_use]
    pub fn bake_time(&self) -> Duration {
        minutes(self.configuration.bake_time_in_minutes, 0)
    }

    /// Enters a stage, with its hooks.
    pub fn enter(&mut self, stage: Stage, now: Timestamp, random: &dyn Random) {
        let before = self.progress.take();
        let mut progress =
            before.unwrap_or(Progress { stage, since: now, weight: 0.0, test_weight: 0.0, hooks: Vec::new() });
        (progress.stage, progress.since) = (stage, now);
        match stage {
            Stage::TestTrafficShift => progress.test_weight = 100.0,
            Stage::ProductionTrafficShift => progress.weight = self.next_weight(progress.weight),
            _ => {}
        }
        self.progress = Some(progress);
        self.reach(stage, now, random);
        self.updated_at = now;
    }

    /// Reaches the hooks of a stage.
    pub(super) fn reach(&mut self, stage: Stage, now: Timestamp, random: &dyn Random) {
        let (Some(progress), Some(name)) = (&mut self.progress, stage.hook()) else { return };
        let hooks = self.configuration.lifecycle_hooks.iter().flatten();
        let here = hooks.filter(|hook| hook.lifecycle_stages.iter().flatten().any(|at| *at == name));
        progress.hooks.extend(here.map(|hook| HookRecord::reached(hook, stage, now, random)));
        let over = progress.hooks.len().saturating_sub(MAX_HOOKS);
        progress.hooks.drain(..over);
    }

    /// Where production traffic goes next, in percent for the target.
    fn next_weight(&self, weight: f64) -> f64 {
        match &self.configuration.strategy {
            Some(DeploymentStrategy::Canary) if weight == 0.0 => {
                self.configuration.canary_configuration.as_ref().and_then(|it| it.canary_percent).unwrap_or(5.0)
            }
            Some(DeploymentStrategy::Linear) => {
                let step = self.configuration.linear_configuration.as_ref().and_then(|it| it.step_percent);
                // Tenths of a percent have no exact binary form.
                (((weight + step.unwrap_or(10.0)) * 10.0).round() / 10.0).min(100.0)
            }
            _ => 100.0,
        }
    }

    /// How long a step of production traffic is watched before the next one.
    fn step_time(&self) -> Duration {
        match &self.configuration.strategy {
            Some(DeploymentStrategy::Canary) => {
                let given = self.configuration.canary_configuration.as_ref();
                minutes(given.and_then(|it| it.canary_bake_time_in_minutes), 10)
            }
            _ => {
                let given = self.configuration.linear_configuration.as_ref();
                minutes(given.and_then(|it| it.step_bake_time_in_minutes), 6)
            }
        }
    }

    /// Goes on to the next stage if this one is over.
    pub fn advance(&mut self, facts: Facts, now: Timestamp, random: &dyn Random) -> Advance {
        if let Some(held) = self.held(now) {
            return held;
        }
        let Some(progress) = self.progress.as_ref() else {
            let first = if self.sources.len() > 1 { Stage::ReconcileService } else { Stage::PreScaleUp };
            self.enter(first, now, random);
            return Advance::Moved;
        };
        let (whole, until) = (progress.weight >= 100.0, |time| Some(progress.since.plus(time)));
        let (wait, next) = match progress.stage {
            Stage::ReconcileService if !facts.reconciled => return Advance::Wait(None),
            Stage::ScaleUp if !facts.target_ready => return Advance::Wait(None),
            Stage::CleanUp if !facts.sources_gone => return Advance::Wait(None),
            Stage::CleanUp => return Advance::Done,
            Stage::ReconcileService => (None, Stage::PreScaleUp),
            Stage::PreScaleUp => (None, Stage::ScaleUp),
            Stage::ScaleUp => (None, Stage::PostScaleUp),
            Stage::PostScaleUp => (None, Stage::TestTrafficShift),
            Stage::TestTrafficShift => (None, Stage::PostTestTrafficShift),
            Stage::PostTestTrafficShift => (None, Stage::PreProductionTrafficShift),
            Stage::PreProductionTrafficShift => (None, Stage::ProductionTrafficShift),
            Stage::ProductionTrafficShift if whole => (None, Stage::PostProductionTrafficShift),
            Stage::ProductionTrafficShift => (until(self.step_time()), Stage::PreProductionTrafficShift),
            Stage::PostProductionTrafficShift => (None, Stage::BakeTime),
            Stage::BakeTime => (until(self.bake_time()), Stage::CleanUp),
        };
        if let Some(until) = wait.filter(|until| *until > now) {
            return Advance::Wait(Some(until));
        }
        self.enter(next, now, random);
        Advance::Moved
    }
}

#[cfg(test)]
pub(super) mod tests {
    use longshore_seams::SeededRandom;

    use super::*;
    use crate::Id;

    pub(crate) const READY: Facts = Facts { target_ready: true, reconciled: true, sources_gone: true };

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    pub(crate) fn deployment(configuration: serde_json::Value) -> ServiceDeploymentRecord {
        let cluster = Id::random(&SeededRandom::new(1));
        serde_json::from_value(serde_json::json!({
            "cluster": cluster, "service": "web", "id": "d", "status": "IN_PROGRESS", "configuration": configuration,
            "target": {"number": "1", "requested": 1, "running": 0, "pending": 0},
            "created_at": at(0), "updated_at": at(0),
        }))
        .unwrap()
    }

    /// Plays a service deployment whose tasks are always ready: seconds, stage and weight of each move.
    fn play(mut deployment: ServiceDeploymentRecord) -> Vec<(i64, Stage, f64)> {
        let (random, mut now, mut seen) = (SeededRandom::new(2), at(0), Vec::new());
        for _ in 0..200 {
            match deployment.advance(READY, now, &random) {
                Advance::Moved => {
                    let progress = deployment.progress.as_ref().unwrap();
                    seen.push(((now.as_millis() - at(0).as_millis()) / 1000, progress.stage, progress.weight));
                }
                Advance::Wait(Some(until)) => now = until,
                Advance::Done => return seen,
                other => panic!("{other:?}"),
            }
        }
        panic!("it does not end: {seen:?}");
    }

    fn shifts(configuration: serde_json::Value) -> Vec<(i64, f64)> {
        let seen = play(deployment(configuration));
        seen.iter().filter(|it| it.1 == Stage::ProductionTrafficShift).map(|it| (it.0, it.2)).collect()
    }

    #[test]
    fn blue_green_goes_through_every_stage_and_bakes() {
        let seen = play(deployment(serde_json::json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 2})));
        let stages: Vec<Stage> = seen.iter().map(|it| it.1).collect();
        assert!(stages.is_sorted() && stages.len() == 10, "{stages:?}");
        assert_eq!(
            (stages[0], seen[8], seen[9]),
            (Stage::PreScaleUp, (0, Stage::BakeTime, 100.0), (120, Stage::CleanUp, 100.0))
        );
    }

    #[test]
    fn canary_shifts_in_two_steps() {
        let own = serde_json::json!({"canaryPercent": 12.5, "canaryBakeTimeInMinutes": 3});
        assert_eq!(
            shifts(serde_json::json!({"strategy": "CANARY", "canaryConfiguration": own})),
            [(0, 12.5), (180, 100.0)]
        );
        assert_eq!(shifts(serde_json::json!({"strategy": "CANARY"})), [(0, 5.0), (600, 100.0)]);
    }

    #[test]
    fn linear_shifts_in_equal_steps() {
        let own = serde_json::json!({"stepPercent": 33.3, "stepBakeTimeInMinutes": 1});
        let expected = [(0, 33.3), (60, 66.6), (120, 99.9), (180, 100.0)];
        assert_eq!(shifts(serde_json::json!({"strategy": "LINEAR", "linearConfiguration": own})), expected);
        assert_eq!(shifts(serde_json::json!({"strategy": "LINEAR"})).len(), 10);
    }

    #[test]
    fn stages_wait_for_the_tasks() {
        let mut deployment = deployment(serde_json::json!({"strategy": "BLUE_GREEN"}));
        let random = SeededRandom::new(3);
        let mut none = Facts::default();
        while deployment.advance(none, at(0), &random) == Advance::Moved {}
        assert_eq!(deployment.progress.as_ref().unwrap().stage, Stage::ScaleUp);
        none.target_ready = true;
        while deployment.advance(none, at(0), &random) == Advance::Moved {}
        assert_eq!(deployment.progress.as_ref().unwrap().stage, Stage::CleanUp);
    }
}
