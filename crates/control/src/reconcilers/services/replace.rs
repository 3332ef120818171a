//! Tasks that take the place of others: of those that fail their checks, and of those that a service
//! still needs while a deployment has not come far enough to do without them.

use longshore_api::ecs::{DeploymentControllerType, DeploymentRolloutState};
use longshore_model::records::TaskStatus;
use longshore_model::service::Bounds;
use longshore_seams::Timestamp;

use super::work::{Live, Work};

/// Tasks of the deployment that was completed last which ended though they were needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restorable {
    /// Which of the service's sources it is.
    pub of: usize,
    /// How many tasks it lacks.
    pub missing: usize,
}

impl Work<'_> {
    /// Whether a task that fails its checks stays until the one that takes its place is healthy. During a
    /// deployment others are there already, and its failures are to be seen soon; a daemon has no second place.
    pub(super) fn starts_first(&self) -> bool {
        let primary = self.record.deployments.first();
        self.record.controller() == DeploymentControllerType::Ecs
            && !self.record.is_daemon()
            && primary.is_some_and(|it| it.rollout_state == DeploymentRolloutState::Completed)
    }

    /// Stops tasks that fail their checks: as many as have a healthy successor, or one at a time when no successor
    /// can be started beside them.
    pub(super) fn release_ailing(&mut self, at: usize, desired: usize, to_start: usize) {
        let ailing = self.which(|it| it.of == at && it.ails.is_some());
        if ailing.is_empty() {
            return;
        }
        let good = self.which(|it| it.is_new(at)).len();
        let healthy = self.which(|it| it.is_new(at) && it.healthy).len();
        let mut count = (ailing.len() + healthy).saturating_sub(desired);
        let on_its_way = good > healthy
            || self.changed.iter().any(|task| task.last_status < TaskStatus::Running)
            || self.live.iter().any(|it| it.of == at && it.there && !it.wanted);
        let refused = self.source(at).is_some_and(|it| it.refused.is_some());
        if count == 0 && good < desired && !on_its_way && (to_start == 0 || refused) {
            count = 1;
        }
        for at in ailing.into_iter().take(count) {
            let Some(cause) = self.live[at].ails.clone() else { continue };
            if !self.stop_one(at, &cause) {
                return;
            }
        }
    }

    /// Says something of the service, unless it has been said since.
    pub(super) fn say_since(&mut self, since: Option<Timestamp>, message: &str) {
        let whole = format!("(service {}) {message}", self.record.name);
        let said = self.record.events.iter().take_while(|it| it.created_at >= since);
        if !said.into_iter().any(|it| it.message.as_ref() == Some(&whole)) {
            self.say(message);
        }
    }

    /// What the deployment that was completed last lacks, while one goes on that cannot stand in for it yet, or has
    /// failed.
    pub(super) fn restorable(&self) -> Option<Restorable> {
        let good = self.record.last_completed.as_ref()?;
        let of = self.record.deployments.iter().skip(1).position(|it| it.id == good.id)? + 1;
        if self.record.is_daemon() || self.is_staged() {
            return None;
        }
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let own = usize::try_from(self.record.deployments[of].desired_count).unwrap_or(0).min(desired);
        let count = |accepts: &dyn Fn(&Live<'_>) -> bool| self.which(accepts).len();
        let (mine, old) = (count(&|it| it.of == of), count(&|it| it.of != 0));
        let healthy = count(&|it| it.is_new(0) && it.healthy);
        let needed = if self.has_failed(0) {
            desired.saturating_sub(old + healthy)
        } else {
            let floor = Bounds::of(desired, self.record.settings.deployment_configuration.as_ref()).floor;
            floor.saturating_sub(old + healthy)
        };
        let missing = own.saturating_sub(mine).min(needed);
        (missing > 0).then_some(Restorable { of, missing })
    }

    /// Whether an old task was started while the deployment goes on, because it was needed.
    pub(super) fn is_restored(&self, it: &Live<'_>) -> bool {
        let begun = self.record.deployments.first().map(|it| it.created_at);
        let good = self.record.last_completed.as_ref().map(|it| it.id.as_str());
        good.is_some() && it.task.started_by.as_deref() == good && Some(it.task.created_at) >= begun
    }

    /// Starts what is lacking of the deployment that was completed last, as the cap allows. The new deployment
    /// keeps room for a task, else it could never replace what keeps ending. Answers whether it started any.
    pub(super) fn restore(&mut self) -> bool {
        let Some(Restorable { of, missing }) = self.restorable() else { return false };
        self.count_failures(of);
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let cap = Bounds::of(desired, self.record.settings.deployment_configuration.as_ref()).cap;
        let total = self.live.iter().filter(|it| it.there).count();
        let begins = !self.has_failed(0) && self.which(|it| it.is_new(0)).is_empty();
        let room = cap.saturating_sub(total + usize::from(begins));
        let before = self.changed.len();
        if missing.min(room) > 0 {
            self.start(of, missing.min(room));
        }
        self.changed.len() > before
    }
}
