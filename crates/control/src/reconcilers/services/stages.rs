//! Blue/green, canary and linear deployments: both revisions run until the new one has proven itself.

use longshore_model::service::{Advance, Facts, Stage};

use super::work::Work;

impl Work<'_> {
    /// Whether the service deployment that goes on has stages.
    pub(super) fn is_staged(&self) -> bool {
        self.deployment.as_ref().is_some_and(|it| it.is_staged() && it.is_ongoing() && !it.goes_back())
    }

    /// Keeps the tasks that the stage wants, and goes on to the next one when it is over.
    pub(super) fn stage(&mut self) {
        let stage = self.deployment.as_ref().and_then(|it| it.progress.as_ref()).map(|it| it.stage);
        let blue = self.blue();
        let wanted = |at: usize| match stage {
            None => at != 0,
            Some(stage) if at == 0 => stage >= Stage::ScaleUp,
            Some(stage) if Some(at) == blue => stage < Stage::CleanUp,
            Some(_) => false,
        };
        let (now, desired) = (self.now, self.record.desired_count);
        for at in 0..self.record.deployments.len() {
            let deployment = &mut self.record.deployments[at];
            let count = if wanted(at) { desired } else { 0 };
            if deployment.desired_count != count {
                (deployment.desired_count, deployment.updated_at) = (count, now);
            }
            if at > 0 {
                self.count_failures(at);
            }
            self.keep(at, true);
        }
        self.advance(blue);
    }

    /// The source that serves: the one that was completed last, or the newest.
    fn blue(&self) -> Option<usize> {
        let good = self.record.last_completed.as_ref().map(|it| &it.id);
        let sources = || self.record.deployments.iter().enumerate().skip(1);
        let known = sources().find(|(_, it)| Some(&it.id) == good);
        known.or_else(|| sources().next()).map(|(at, _)| at)
    }

    fn advance(&mut self, blue: Option<usize>) {
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let ready = self.live.iter().filter(|it| it.wanted && it.is_new(0) && it.healthy).count();
        let runs = |of: &dyn Fn(usize) -> bool| self.live.iter().any(|it| of(it.of) && it.there);
        let facts = Facts {
            target_ready: ready >= desired,
            reconciled: !runs(&|of| of != 0 && Some(of) != blue),
            sources_gone: !runs(&|of| of != 0),
        };
        let (now, random) = (self.now, self.random);
        let Some(deployment) = &mut self.deployment else { return };
        match deployment.advance(facts, now, random) {
            Advance::Moved | Advance::Wait(None) => {}
            Advance::Wait(Some(until)) => self.look_again_at(until),
            Advance::Done => self.complete(),
            Advance::Back(reason) => {
                let id = self.record.deployments.first().map(|it| it.id.clone()).unwrap_or_default();
                self.fail_primary(&format!("ECS deployment failed: {reason}"));
                self.say(&format!("(deployment {id}) deployment failed: {reason}"));
                self.go_back(reason.trim_end_matches('.'));
            }
        }
    }
}
