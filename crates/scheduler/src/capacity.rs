//! Capacity provider strategies: which provider gets each task (guide chapter 3).

/// What one capacity provider of a strategy is to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Tasks that it gets before any weight counts.
    pub base: usize,
    /// Its part of the tasks beyond the base, relative to the others'.
    pub weight: usize,
}

/// The provider, by its place in `shares`, of each of `count` further tasks, in order; `existing`
/// are the tasks that each has already. Fewer than `count` when no provider has a weight.
///
/// The base is filled first. Then each task goes to the provider that is furthest behind its
/// weight; the first in the list when several are.
#[must_use]
pub fn split(shares: &[Share], existing: &[usize], count: usize) -> Vec<usize> {
    let mut held: Vec<usize> = (0..shares.len()).map(|at| existing.get(at).copied().unwrap_or(0)).collect();
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..count {
        let below_base = (0..shares.len()).find(|at| held[*at] < shares[*at].base);
        let Some(at) = below_base.or_else(|| furthest_behind(shares, &held)) else { break };
        held[at] += 1;
        chosen.push(at);
    }
    chosen
}

fn furthest_behind(shares: &[Share], held: &[usize]) -> Option<usize> {
    let beyond = |at: usize| (held[at].saturating_sub(shares[at].base) + 1) as u128;
    let weighted = (0..shares.len()).filter(|at| shares[*at].weight > 0);
    // Compares (beyond + 1) / weight without dividing; `min_by` keeps the first of equals.
    weighted.min_by(|one, other| {
        (beyond(*one) * shares[*other].weight as u128).cmp(&(beyond(*other) * shares[*one].weight as u128))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(given: &[(usize, usize)]) -> Vec<Share> {
        given.iter().map(|(base, weight)| Share { base: *base, weight: *weight }).collect()
    }

    fn counts(given: &[(usize, usize)], existing: &[usize], count: usize) -> Vec<usize> {
        let chosen = split(&shares(given), existing, count);
        (0..given.len()).map(|at| chosen.iter().filter(|other| **other == at).count()).collect()
    }

    // spec: 03-031, 15-022, 03-074
    #[test]
    fn weights_are_relative_shares() {
        assert_eq!(counts(&[(0, 1), (0, 1)], &[], 10), [5, 5]);
        assert_eq!(counts(&[(0, 1), (0, 1)], &[], 5), [3, 2]);
        assert_eq!(counts(&[(0, 1), (0, 4)], &[], 10), [2, 8]);
    }

    // spec: 03-029, 15-023
    #[test]
    fn the_base_is_filled_before_weights_count() {
        assert_eq!(split(&shares(&[(0, 1), (2, 1)]), &[], 6), [1, 1, 0, 1, 0, 1]);
        assert_eq!(counts(&[(3, 0), (0, 1)], &[], 5), [3, 2]);
        assert_eq!(counts(&[(3, 0), (0, 1)], &[3, 0], 2), [0, 2]);
    }

    #[test]
    fn tasks_that_are_there_already_count() {
        assert_eq!(counts(&[(0, 1), (0, 1)], &[4, 0], 4), [0, 4]);
    }

    #[test]
    fn without_a_weight_nothing_goes_beyond_the_base() {
        assert_eq!(split(&shares(&[(1, 0), (0, 0)]), &[], 5), [0]);
        assert_eq!(split(&[], &[], 5), [] as [usize; 0]);
    }

    proptest! {
        #[test]
        fn no_provider_is_ever_a_whole_task_ahead_of_its_share(
            weights in proptest::collection::vec(0usize..10, 1..5),
            count in 0usize..60,
        ) {
            let total: usize = weights.iter().sum();
            prop_assume!(total > 0);
            let given: Vec<(usize, usize)> = weights.iter().map(|weight| (0, *weight)).collect();
            let got = counts(&given, &[], count);
            prop_assert_eq!(got.iter().sum::<usize>(), count);
            for (got, weight) in got.iter().zip(&weights) {
                // Within its share, rounded up by at most what the others round down.
                prop_assert!(got * total < count * weight + total * weights.len());
            }
        }
    }
}
