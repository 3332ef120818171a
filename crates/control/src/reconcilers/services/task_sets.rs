//! Services whose deployments somebody else decides about: each task set keeps its own tasks.

use longshore_model::records::TaskStatus;
use longshore_model::service::TaskSetStatus;

use super::work::Work;

impl Work<'_> {
    pub(super) fn task_sets(&mut self) {
        self.record.rescale(self.now);
        self.replace_unhealthy();
        for at in 0..self.record.task_sets.len() {
            self.count_failures(at);
            self.keep(at, true);
        }
        self.note_stability();
        // A deleted one is gone with the last of its tasks.
        let live = &self.live;
        let mut at = 0..;
        self.record.task_sets.retain(|set| {
            let at = at.next();
            set.status != TaskSetStatus::Draining || live.iter().any(|it| Some(it.of) == at)
        });
    }

    /// Whether each task set has exactly the tasks that it wants, all well and where they may stay.
    fn note_stability(&mut self) {
        for at in 0..self.record.task_sets.len() {
            let mine = || self.live.iter().filter(|it| it.of == at && it.there);
            let wanted = usize::try_from(self.record.task_sets[at].deployment.desired_count).unwrap_or(0);
            let well = mine().filter(|it| it.wanted && it.is_new(at) && it.fit).count();
            let started = self.changed.iter().any(|task| task.last_status < TaskStatus::Running);
            let stable = well == wanted && mine().count() == wanted && !started;
            let before = self.record.task_sets[at].stability.clone();
            self.record.task_sets[at].set_stability(stable, self.now);
            let live = self.record.task_sets[at].status != TaskSetStatus::Draining;
            if stable && live && self.record.task_sets[at].stability != before {
                self.say_of(at, "has reached a steady state.");
            }
        }
    }
}
