//! How a deployment goes: its beginning, its failures and the way back, its end.

use longshore_api::ecs::{DeploymentRolloutState, ServiceDeploymentStatus, ServiceRevisionCleanup};
use longshore_model::Id;
use longshore_model::records::TaskStatus;
use longshore_model::service::{DeploymentRecord, ServiceDeploymentRecord, Stage, failure_threshold, throttle};
use longshore_model::task;
use longshore_seams::Timestamp;

use super::work::{Live, Work};
use crate::operations::services::freeze_counts;
use crate::reconcilers::NO_ENDPOINT;

impl Work<'_> {
    /// Moves the service deployment into the state that was asked for. Answers whether the PRIMARY
    /// deployment is another.
    pub(super) fn begin(&mut self) -> bool {
        let now = self.now;
        let Some(deployment) = &mut self.deployment else { return false };
        match deployment.status {
            ServiceDeploymentStatus::Pending => {
                deployment.become_status(ServiceDeploymentStatus::InProgress, None, now);
                self.warn_of_functions();
                false
            }
            ServiceDeploymentStatus::StopRequested => {
                self.fail_primary("ECS deployment stopped by user.");
                self.end(ServiceDeploymentStatus::Stopped, "Service deployment stopped by user.");
                false
            }
            ServiceDeploymentStatus::RollbackRequested => {
                self.fail_primary("ECS deployment rolled back by user.");
                self.go_back("ECS deployment rollback requested by user")
            }
            _ => false,
        }
    }

    /// Says at once that functions will be missed: their stage may be a long way off.
    fn warn_of_functions(&mut self) {
        let hooks = self.deployment.iter().flat_map(|it| it.configuration.lifecycle_hooks.iter().flatten());
        let function = hooks.filter_map(|hook| hook.hook_target_arn.clone()).next();
        if let Some(function) = function.filter(|_| !self.has_functions) {
            self.say(&format!("has a lifecycle hook that cannot invoke {function}: {NO_ENDPOINT}."));
        }
    }

    /// Ends the service deployment.
    fn end(&mut self, status: ServiceDeploymentStatus, reason: &str) {
        let Some(deployment) = &mut self.deployment else { return };
        deployment.become_status(status, Some(reason.to_owned()), self.now);
        freeze_counts(self.cluster, &self.record, deployment);
    }

    /// The PRIMARY deployment starts no more tasks.
    pub(super) fn fail_primary(&mut self, reason: &str) {
        let now = self.now;
        let Some(primary) = self.record.deployments.first_mut() else { return };
        primary.rollout_state = DeploymentRolloutState::Failed;
        primary.rollout_reason = reason.to_owned();
        primary.updated_at = now;
    }

    /// Counts a source's tasks that ended since the last look: those that never ran throttle, those that ended by
    /// themselves as soon as they ran count against a deployment that goes on (guide chapter 17: they don't throttle).
    pub(super) fn count_failures(&mut self, of: usize) {
        let (resets, settle) = (self.resets_on_healthy_task(), self.limits.settle);
        let proven = self.live.iter().filter(|it| it.is_new(of) && it.proven).count();
        let Some(primary) = self.record.source_mut(of) else { return };
        let mine = self.ended.iter().filter(|(by, _)| *by == of);
        let mut ended: Vec<(Timestamp, Id, bool, bool)> = mine
            .filter_map(|(_, task)| {
                let key = (task.times.stopped?, task.id);
                (primary.counted.is_none_or(|counted| key > counted))
                    .then(|| (key.0, key.1, task::has_failed(task), task::has_crashed(task, settle)))
            })
            .collect();
        ended.sort_unstable();
        let before = throttle(primary.failures_in_a_row);
        let goes_on = primary.rollout_state == DeploymentRolloutState::InProgress;
        for (at, id, failed, crashed) in ended {
            primary.counted = Some((at, id));
            if failed || (crashed && goes_on) {
                primary.fail_one(proven);
            }
            primary.failures_in_a_row = if failed { primary.failures_in_a_row + 1 } else { 0 };
            primary.retry_at = throttle(primary.failures_in_a_row).map(|wait| at.plus(wait));
        }
        // What has run all the time says nothing about whether tasks start.
        let counted = primary.counted.map(|(at, _)| at);
        let begun = |it: &Live<'_>| it.is_new(of) && it.task.times.started.is_some_and(|at| Some(at) >= counted);
        let runs = self.live.iter().any(|it| begun(it) && it.task.last_status == TaskStatus::Running);
        if runs && primary.failures_in_a_row > 0 {
            (primary.failures_in_a_row, primary.retry_at) = (0, None);
        }
        if resets {
            primary.note_healthy(proven);
        }
        let impaired = before.is_none() && throttle(primary.failures_in_a_row).is_some();
        self.note_failures();
        if impaired {
            self.say_of(of, "is unable to consistently start tasks successfully.");
        }
    }

    fn resets_on_healthy_task(&self) -> bool {
        let configuration = self.record.settings.deployment_configuration.as_ref();
        let breaker = configuration.and_then(|it| it.deployment_circuit_breaker.as_ref());
        breaker.and_then(|it| it.reset_on_healthy_task).unwrap_or(true)
    }

    /// Counts a task of the PRIMARY deployment that is stopped because it is not healthy.
    pub(super) fn count_unhealthy(&mut self) {
        let proven = self.live.iter().filter(|it| it.is_new(0) && it.proven).count();
        let Some(primary) = self.record.deployments.first_mut() else { return };
        if primary.rollout_state == DeploymentRolloutState::InProgress {
            primary.fail_one(proven);
            self.note_failures();
        }
    }

    fn note_failures(&mut self) {
        let failures = self.record.deployments.first().map_or(0, |primary| primary.failed_tasks);
        // What goes back keeps the count that made it go back.
        let of = |it: &ServiceDeploymentRecord| if it.goes_back() { failures.max(it.failures) } else { failures };
        if let Some(deployment) = self.deployment.as_mut().filter(|it| it.failures != of(it)) {
            deployment.failures = of(deployment);
            deployment.updated_at = self.now;
        }
    }

    /// Fails a deployment whose tasks keep failing, if the service has a circuit breaker, and goes
    /// back to the last one that was completed. Answers whether the PRIMARY deployment is another.
    pub(super) fn break_circuit(&mut self) -> bool {
        let configuration = self.record.settings.deployment_configuration.as_ref();
        let Some(breaker) = configuration.and_then(|it| it.deployment_circuit_breaker.clone()) else { return false };
        let Some(primary) = self.record.deployments.first() else { return false };
        let fails = breaker.enable == Some(true)
            && primary.rollout_state == DeploymentRolloutState::InProgress
            && primary.failed_tasks >= failure_threshold(self.record.desired_count, &breaker);
        if !fails {
            return false;
        }
        let id = primary.id.clone();
        self.fail_primary("ECS deployment circuit breaker: tasks failed to start.");
        self.say(&format!("(deployment {id}) deployment failed: tasks failed to start."));
        let goes_back = self.deployment.as_ref().is_some_and(|it| it.goes_back());
        if let Some(deployment) = &mut self.deployment {
            deployment.broken = true;
        }
        if goes_back {
            self.end(
                ServiceDeploymentStatus::RollbackFailed,
                "Rollback failed: ECS deployment circuit breaker: tasks failed to start.",
            );
            false
        } else if breaker.rollback == Some(true) {
            self.go_back("ECS deployment circuit breaker")
        } else {
            self.end(ServiceDeploymentStatus::Stopped, "ECS deployment circuit breaker: tasks failed to start.");
            false
        }
    }

    /// Fails a deployment when one of its alarms goes off, and goes back if it is to. Answers whether
    /// the PRIMARY deployment is another.
    pub(super) fn obey_alarms(&mut self) -> bool {
        let Some(deployment) = self.deployment.as_mut().filter(|it| !it.goes_back()) else { return false };
        let Some(alarms) = deployment.configuration.alarms.clone().filter(|it| it.enable == Some(true)) else {
            return false;
        };
        let names = alarms.alarm_names.unwrap_or_default();
        let triggered = self.signals.in_alarm(self.scope, &names);
        if triggered.is_empty() {
            return false;
        }
        let reason = format!("ECS deployment failed: alarm detected: {}", triggered.join(", "));
        deployment.alarms = triggered;
        self.fail_primary(&format!("{reason}."));
        let id = self.record.deployments.first().map(|it| it.id.clone()).unwrap_or_default();
        self.say(&format!("(deployment {id}) deployment failed: alarm detected."));
        if alarms.rollback == Some(true) {
            return self.go_back(&reason);
        }
        self.end(ServiceDeploymentStatus::Stopped, &format!("{reason}."));
        false
    }

    /// Goes back to the last deployment that was completed. Answers whether there is one: if not, the
    /// service stays as it is.
    pub(super) fn go_back(&mut self, cause: &str) -> bool {
        let failed = self.record.deployments.first().map(|it| it.id.clone());
        let good = self.record.last_completed.as_deref().filter(|good| failed.as_ref() != Some(&good.id)).cloned();
        let Some(good) = good else {
            let reason = format!("{cause}: no earlier deployment has completed, so there is none to roll back to.");
            self.end(ServiceDeploymentStatus::RollbackFailed, &reason);
            return false;
        };
        if let Some(deployment) = &mut self.deployment {
            deployment.roll_back(
                good.number(),
                format!("{cause}: rolling back to deploymentId {}.", good.id),
                self.now,
                self.random,
            );
        }
        self.roll_back(good, cause);
        true
    }

    fn roll_back(&mut self, good: DeploymentRecord, cause: &str) {
        let desired = self.record.desired_count;
        let history = self.cluster.service_history.get(&self.record.name);
        if let Some(revision) = history.and_then(|history| history.revisions.get(good.number())) {
            revision.restore(&mut self.record);
        }
        let deployments = &mut self.record.deployments;
        // Its tasks may run still: then nothing has to be started.
        let mut back = match deployments.iter().position(|it| it.id == good.id) {
            Some(at) => deployments.remove(at),
            None => good,
        };
        back.rollout_state = DeploymentRolloutState::InProgress;
        back.rollout_reason = format!("{cause}: rolling back to deploymentId {}.", back.id);
        (back.desired_count, back.updated_at) = (desired, self.now);
        back.forget_failures();
        (back.failures_in_a_row, back.retry_at) = (0, None);
        let message = format!("rolling back to (deployment {}).", back.id);
        deployments.insert(0, back);
        self.say(&message);
    }

    /// Deployments of the past go when none of their tasks runs any more.
    pub(super) fn retire(&mut self) {
        if self.is_staged() {
            return;
        }
        let restored = self.restorable().map(|it| self.record.deployments[it.of].id.clone());
        let live = &self.live;
        let mut first = true;
        self.record.deployments.retain(|deployment| {
            std::mem::take(&mut first)
                || restored.as_ref() == Some(&deployment.id)
                || live.iter().any(|it| it.task.started_by.as_deref() == Some(&deployment.id) && it.there)
        });
        let (now, desired) = (self.now, self.record.desired_count);
        for (at, deployment) in self.record.deployments.iter_mut().enumerate() {
            let mine = |it: &&Live<'_>| it.wanted && it.task.started_by.as_deref() == Some(&deployment.id);
            let old = i32::try_from(live.iter().filter(mine).count()).unwrap_or(i32::MAX);
            let kept = restored.as_ref() == Some(&deployment.id);
            let wanted = match at {
                0 => desired,
                _ if kept => old.max(deployment.desired_count),
                _ => old,
            };
            if deployment.desired_count != wanted {
                (deployment.desired_count, deployment.updated_at) = (wanted, now);
            }
        }
    }

    /// Says that the service is steady, or notes that it is not.
    pub(super) fn settle(&mut self) {
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let running = self.live.iter().filter(|it| it.wanted && it.is_new(0) && it.proven).count();
        let others = self.live.iter().filter(|it| it.there).count() - running;
        let steady = self.record.deployments.len() == 1 && running == desired && others == 0 && self.changed.is_empty();
        let succeeds = steady || self.succeeds_early(running);
        if succeeds && !self.is_staged() && self.is_in_progress() {
            if let Some(until) = self.bakes().or_else(|| self.tells_functions()) {
                return self.look_again_at(until);
            }
            self.complete();
        }
        if !steady {
            self.record.steady_at = None;
            return;
        }
        let (now, again) = (self.now, self.limits.steady_again);
        if self.record.steady_at.is_none_or(|said| said.plus(again) <= now) {
            self.record.steady_at = Some(now);
            self.say("has reached a steady state.");
        }
    }

    fn is_in_progress(&self) -> bool {
        let primary = self.record.deployments.first();
        primary.is_some_and(|it| it.rollout_state == DeploymentRolloutState::InProgress)
    }

    /// Whether so many tasks of a rolling update are enough, by its early success criteria.
    fn succeeds_early(&self, running: usize) -> bool {
        let configuration = self.deployment.as_ref().filter(|it| !it.goes_back()).map(|it| &it.configuration);
        let criteria = configuration.and_then(|it| it.early_success_criteria.as_ref());
        let Some(criteria) = criteria.filter(|it| it.enable == Some(true)) else { return false };
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let percent = usize::try_from(criteria.healthy_percent.unwrap_or(100)).unwrap_or(100);
        let deferred = criteria.source_service_revision_cleanup == Some(ServiceRevisionCleanup::Deferred);
        let old = self.live.iter().any(|it| it.of != 0 && it.there);
        running >= desired.saturating_mul(percent).div_ceil(100) && (deferred || !old)
    }

    /// Until when a rolling update that has its tasks is still watched; none when that is over.
    fn bakes(&mut self) -> Option<Timestamp> {
        let (now, random) = (self.now, self.random);
        let deployment = self.deployment.as_mut().filter(|it| !it.goes_back() && !it.bake_time().is_zero())?;
        if deployment.progress.is_none() {
            deployment.enter(Stage::BakeTime, now, random);
        }
        let until = deployment.progress.as_ref()?.since.plus(deployment.bake_time());
        Some(until).filter(|until| *until > now)
    }

    /// Until when functions are waited for that were told of a rollback; none when there are none left.
    fn tells_functions(&mut self) -> Option<Timestamp> {
        let now = self.now;
        self.deployment.as_mut().filter(|it| it.goes_back())?.rollback_held(now)
    }

    /// The PRIMARY deployment has done what it was made for.
    pub(super) fn complete(&mut self) {
        let Some(primary) = self.record.deployments.first_mut() else { return };
        primary.rollout_state = DeploymentRolloutState::Completed;
        primary.rollout_reason = format!("ECS deployment {} completed.", primary.id);
        primary.updated_at = self.now;
        self.record.last_completed = Some(Box::new(primary.clone()));
        let message = format!("(deployment {}) deployment completed.", primary.id);
        self.say(&message);
        match self.deployment.as_ref().map(|it| it.goes_back()) {
            Some(true) => self.end(ServiceDeploymentStatus::RollbackSuccessful, "Service deployment rolled back."),
            Some(false) => self.end(ServiceDeploymentStatus::Successful, "Service deployment completed successfully."),
            None => {}
        }
    }
}
