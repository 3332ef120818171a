//! Putting events.

use std::time::Duration;

use futures_util::future::try_join_all;
use longshore_seams::Timestamp;
use longshore_store::segments::{Position, Record, SegmentError};

use crate::event::{Batch, Event, EventId};
use crate::records::{Activity, Scope};
use crate::store::{LogError, LogStore};

/// Most events in one put.
pub const MAX_PUT_EVENTS: usize = 10_000;
/// Most bytes in one put, each event counted with [`EVENT_OVERHEAD_BYTES`] more.
pub const MAX_PUT_BYTES: usize = 1_048_576;
/// What each event counts beside its text.
pub const EVENT_OVERHEAD_BYTES: usize = 26;
/// Longest time between the first and the last event of a put.
pub const MAX_PUT_SPAN: Duration = Duration::from_secs(24 * 3600);
/// Events further in the future are rejected.
pub const MAX_FUTURE: Duration = Duration::from_secs(2 * 3600);
/// Events further in the past are rejected.
pub const MAX_PAST: Duration = Duration::from_secs(14 * 24 * 3600);

/// Bytes of events in one record of the files: what reading holds of a stream at a time.
const RECORD_BYTES: usize = 64 << 10;

/// What became of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// The last event that was stored; none when all were rejected.
    pub last: Option<EventId>,
    /// What was not stored.
    pub rejected: Rejected,
}

/// Events that were not stored, as positions in the put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Events before this one are older than 14 days.
    pub too_old_end: Option<usize>,
    /// Events before this one are older than the group's retention.
    pub expired_end: Option<usize>,
    /// This event and those after it are more than 2 hours in the future.
    pub too_new_start: Option<usize>,
}

/// Checks a put against the service's limits and finds what is accepted. Pure.
fn accepted(
    events: &[Event],
    now: Timestamp,
    retention: Option<Duration>,
) -> Result<(std::ops::Range<usize>, Rejected), LogError> {
    let invalid = |message: String| Err(LogError::Invalid(message));
    if events.is_empty() || events.len() > MAX_PUT_EVENTS {
        return invalid(format!("A put has 1 to {MAX_PUT_EVENTS} log events; this one has {}.", events.len()));
    }
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD_BYTES).sum();
    if bytes > MAX_PUT_BYTES {
        return invalid(format!("Upload too large: {bytes} bytes exceeds limit of {MAX_PUT_BYTES}"));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return invalid("Log events in a single PutLogEvents request must be in chronological order.".to_owned());
    }
    let (first, last) = (events[0].timestamp, events[events.len() - 1].timestamp);
    if last.since(first) > MAX_PUT_SPAN {
        return invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.".to_owned(),
        );
    }
    let before = |limit: Timestamp| events.partition_point(|event| event.timestamp < limit);
    let too_old = before(now.minus(MAX_PAST));
    let expired = retention.map_or(0, |retention| before(now.minus(retention)));
    let too_new = events.partition_point(|event| event.timestamp <= now.plus(MAX_FUTURE));
    let rejected = Rejected {
        too_old_end: Some(too_old).filter(|end| *end > 0),
        expired_end: Some(expired).filter(|end| *end > too_old),
        too_new_start: Some(too_new).filter(|start| *start < events.len()),
    };
    let start = too_old.max(expired);
    Ok((start..too_new.max(start), rejected))
}

impl LogStore {
    /// Stores events of one stream, sorted by time; answers when they are durable.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::StreamNotFound`]; [`LogError::Invalid`] for a put
    /// over a limit, of which nothing is stored; [`LogError::Files`], after which some of it may be.
    pub async fn put(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        events: &[Event],
    ) -> Result<PutOutcome, LogError> {
        let name = group;
        let group = self.group(scope, name)?;
        let files = self.files(&group).await?;
        let found = self.stream(&group, files, stream).await?;
        let now = self.inner.seams.clock.now();
        let (range, rejected) = accepted(events, now, group.retention(&self.inner.options))?;
        let events = &events[range];
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(PutOutcome { last: None, rejected });
        };
        let mut appends = Vec::new();
        let mut rest = events;
        let mut last_index = 0;
        while let (Some(first), chunk) = (rest.first(), chunk(rest)) {
            let last = chunk.last().unwrap_or(first);
            let record = Record {
                key: found.id,
                first: first.timestamp,
                last: last.timestamp,
                payload: Batch::encode(stream, now, chunk),
            };
            appends.push(files.log.append(record));
            last_index = chunk.len() - 1;
            rest = &rest[chunk.len()..];
        }
        let positions: Vec<Position> = match try_join_all(appends).await {
            Err(SegmentError::Closed { .. }) if self.group(scope, name).is_err() => {
                return Err(LogError::GroupNotFound { group: name.to_owned() });
            }
            other => other?,
        };
        let activity = Activity { first_event: first.timestamp, last_event: last.timestamp, last_ingestion: now };
        found.note(activity);
        let index = u32::try_from(last_index).unwrap_or(u32::MAX);
        let last = positions.last().map(|position| EventId::new(last.timestamp, *position, index));
        Ok(PutOutcome { last, rejected })
    }
}

/// The first events, as many as one record takes (one at least).
fn chunk(events: &[Event]) -> &[Event] {
    let mut bytes = 0;
    let end = events.iter().position(|event| {
        bytes += event.message.len() + EVENT_OVERHEAD_BYTES;
        bytes > RECORD_BYTES
    });
    &events[..end.unwrap_or(events.len()).max(1).min(events.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100 * 24 * 3600);

    fn hours(hours: i64) -> Event {
        Event { timestamp: Timestamp::from_secs(NOW.as_secs() + hours * 3600), message: "x".to_owned() }
    }

    fn refused(events: &[Event]) -> String {
        accepted(events, NOW, None).expect_err("over a limit").to_string()
    }

    #[test]
    fn a_put_within_the_limits_is_accepted_whole() {
        let events = [hours(-2), hours(-1), hours(-1), hours(0)];
        assert_eq!(accepted(&events, NOW, None).unwrap(), (0..4, Rejected::default()));
    }

    #[test]
    fn events_too_old_are_rejected_from_the_front() {
        let events = [hours(-14 * 24 - 2), hours(-14 * 24 - 1), hours(-14 * 24), hours(-14 * 24 + 1)];
        let rejected = Rejected { too_old_end: Some(2), ..Rejected::default() };
        assert_eq!(accepted(&events, NOW, None).unwrap(), (2..4, rejected));
    }

    #[test]
    fn events_beyond_the_retention_are_rejected_from_the_front() {
        let events = [hours(-25), hours(-24), hours(-23)];
        let rejected = Rejected { expired_end: Some(1), ..Rejected::default() };
        assert_eq!(accepted(&events, NOW, Some(MAX_PUT_SPAN)).unwrap(), (1..3, rejected));
    }

    #[test]
    fn events_too_new_are_rejected_from_the_back() {
        let events = [hours(1), hours(2), hours(3), hours(4)];
        let rejected = Rejected { too_new_start: Some(2), ..Rejected::default() };
        assert_eq!(accepted(&events, NOW, None).unwrap(), (0..2, rejected));
    }

    #[test]
    fn a_put_out_of_order_is_refused() {
        assert!(refused(&[hours(1), hours(0)]).contains("chronological order"));
    }

    #[test]
    fn a_put_over_more_than_24_hours_is_refused() {
        accepted(&[hours(-24), hours(0)], NOW, None).unwrap();
        assert!(refused(&[hours(-25), hours(0)]).contains("24 hours"));
    }

    #[test]
    fn a_put_over_the_bytes_is_refused() {
        let of = |length: usize| Event { timestamp: NOW, message: "x".repeat(length) };
        accepted(&[of(MAX_PUT_BYTES - EVENT_OVERHEAD_BYTES)], NOW, None).unwrap();
        let message = refused(&[of(MAX_PUT_BYTES - EVENT_OVERHEAD_BYTES + 1)]);
        assert_eq!(message, "Upload too large: 1048577 bytes exceeds limit of 1048576");
    }

    #[test]
    fn a_large_put_is_cut_into_records() {
        let events = vec![Event { timestamp: NOW, message: "x".repeat(10_000) }; 20];
        let first = chunk(&events);
        assert_eq!(first.len(), 6);
        let one = [Event { timestamp: NOW, message: "x".repeat(RECORD_BYTES * 2) }];
        assert_eq!(chunk(&one).len(), 1);
    }
}
