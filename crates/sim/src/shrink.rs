//! Makes a failing story shorter, as long as it breaks the same rule.

use crate::story::{Step, Story};
use crate::world::{Outcome, play};

/// Most plays that a story is worth.
const PLAYS: usize = 400;

/// The rule that a world without machines breaks, too.
const STUCK: &str = "does-not-converge";

/// The shortest story found that breaks the same rule as `story`, and how it goes.
#[must_use]
pub fn shrink(story: &Story, outcome: Outcome) -> (Story, Outcome) {
    let Some(rule) = outcome.violation.as_ref().map(|violation| violation.rule) else {
        return (story.clone(), outcome);
    };
    let (mut best, mut went) = (story.clone(), outcome);
    let mut plays = 0;
    // Halves first, then quarters, down to single steps; single steps until none can go.
    let mut size = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.steps.len() && plays < PLAYS {
            let mut less = best.clone();
            let end = (at + size).min(less.steps.len());
            let mut number = 0..;
            less.steps.retain(|(_, step)| {
                let inside = number.next().is_some_and(|number| (at..end).contains(&number));
                // Without machines and images nothing could ever become as it should: another story altogether.
                !inside || (rule == STUCK && matches!(step, Step::Machine { .. } | Step::Image { .. }))
            });
            if less.steps.len() == best.steps.len() {
                at += size;
                continue;
            }
            plays += 1;
            let outcome = play(&less);
            if outcome.violation.as_ref().is_some_and(|violation| violation.rule == rule) {
                (best, went) = (less, outcome);
                shorter = true;
            } else {
                at += size;
            }
        }
        if plays >= PLAYS || (size == 1 && !shorter) {
            return (best, went);
        }
        size = size.div_ceil(2).max(1);
    }
}
