//! How fast RunTask may start tasks on Fargate (guide chapter 31): a bucket of tokens for On-Demand and one for Spot.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use longshore_api::ServiceError;
use longshore_model::Scope;
use longshore_seams::Timestamp;

use crate::quotas::FargateTasks;

/// A full bucket holds what comes into it in so many seconds.
const BURST_SECONDS: usize = 5;

/// The buckets of every account and region. In memory only: they are full after a start.
#[derive(Debug, Default)]
pub(crate) struct LaunchRate {
    buckets: Mutex<BTreeMap<Scope, [Bucket; 2]>>,
}

/// Thousandths of tokens, and when they were counted.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u64,
    at: Timestamp,
}

impl LaunchRate {
    /// Takes a token for each of `tasks`, or none when there are too few; `rate` tokens come in a second. A rate of 0
    /// is no limit.
    ///
    /// # Errors
    /// `ThrottlingException`.
    pub(crate) fn take(
        &self,
        scope: &Scope,
        tasks: &FargateTasks,
        rate: usize,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        if rate == 0 {
            return Ok(());
        }
        let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX).saturating_mul(1000);
        let most = whole(rate.saturating_mul(BURST_SECONDS));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = buckets.entry(scope.clone()).or_insert([Bucket { tokens: most, at: now }; 2]);
        for bucket in pair.iter_mut() {
            let millis = u64::try_from(now.since(bucket.at).as_millis()).unwrap_or(u64::MAX);
            let came = millis.saturating_mul(u64::try_from(rate).unwrap_or(u64::MAX));
            *bucket = Bucket { tokens: bucket.tokens.saturating_add(came).min(most), at: now };
        }
        let wanted = [whole(tasks.on_demand), whole(tasks.spot)];
        if pair.iter().zip(wanted).any(|(bucket, wanted)| bucket.tokens < wanted) {
            return Err(ServiceError::client(
                "ThrottlingException",
                format!("Rate exceeded: the quota fargate-launches-per-second is {rate}. Try again in a moment."),
            ));
        }
        for (bucket, wanted) in pair.iter_mut().zip(wanted) {
            bucket.tokens -= wanted;
        }
        Ok(())
    }
}
