//! Statistics of repeated measurements.

use std::time::Duration;

/// Repeated measurements of one thing, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    millis: Vec<f64>,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.millis.push(sample.as_secs_f64() * 1e3);
    }

    /// All samples of `parts`.
    #[must_use]
    pub fn joined(parts: &[&Self]) -> Self {
        Self { millis: parts.iter().flat_map(|part| part.millis.iter().copied()).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.millis.len()
    }

    /// The smallest sample that at least `share` (0 to 1) of all samples do not exceed; NaN without samples.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among some ten thousand samples"
    )]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.millis.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        let mut all = Self::default();
        samples.into_iter().for_each(|sample| all.push(sample));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Samples = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| samples.quantile(share)), [1.0, 50.0, 99.0, 100.0]);
        assert!(Samples::default().median().is_nan());
    }
}
