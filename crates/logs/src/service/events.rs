//! Operations on events.

use longshore_api::ServiceError;
use longshore_api::logs::{self, error};
use longshore_seams::Timestamp;

use super::{named_group, page_size, required, token};
use crate::pattern::Pattern;
use crate::{Direction, Event, EventId, LogStore, MAX_PUT_BYTES, ReadQuery, Scope, Streams};

/// Most events in a page.
const MAX_EVENTS: usize = 10_000;
/// Bytes of batches that one FilterLogEvents call looks at.
const FILTER_SCAN_BYTES: u64 = 32 << 20;

pub(super) async fn put(
    store: &LogStore,
    scope: &Scope,
    input: logs::PutLogEventsRequest,
) -> Result<logs::PutLogEventsResponse, ServiceError> {
    let group = required(input.log_group_name, "logGroupName")?;
    let stream = required(input.log_stream_name, "logStreamName")?;
    let mut events = Vec::new();
    for event in required(input.log_events, "logEvents")? {
        let timestamp = Timestamp::from_millis(required(event.timestamp, "timestamp")?);
        events.push(Event { timestamp, message: required(event.message, "message")? });
    }
    let outcome = store.put(scope, &group, &stream, &events).await?;
    let index = |index: Option<usize>| index.and_then(|index| i32::try_from(index).ok());
    let rejected = outcome.rejected;
    let info = logs::RejectedLogEventsInfo {
        too_new_log_event_start_index: index(rejected.too_new_start),
        too_old_log_event_end_index: index(rejected.too_old_end),
        expired_log_event_end_index: index(rejected.expired_end),
    };
    Ok(logs::PutLogEventsResponse {
        // Old clients want one; it is never checked.
        next_sequence_token: Some(outcome.last.unwrap_or(EventId::FIRST).to_string()),
        rejected_log_events_info: (info != logs::RejectedLogEventsInfo::default()).then_some(info),
        rejected_entity_info: None,
    })
}

pub(super) async fn get(
    store: &LogStore,
    scope: &Scope,
    input: logs::GetLogEventsRequest,
) -> Result<logs::GetLogEventsResponse, ServiceError> {
    let group = named_group(scope, input.log_group_name, input.log_group_identifier)?;
    let stream = required(input.log_stream_name, "logStreamName")?;
    let (from, to) = (input.start_time.map(Timestamp::from_millis), input.end_time.map(Timestamp::from_millis));
    let given = input.next_token.as_deref().map(token::parse_event).transpose()?;
    let direction = match (given, input.start_from_head) {
        (Some((direction, _)), _) => direction,
        (None, Some(true)) => Direction::Forward,
        (None, _) => Direction::Backward,
    };
    let query = ReadQuery {
        streams: Streams::Named(vec![stream]),
        from,
        to,
        direction,
        beyond: given.map(|(_, id)| id),
        pattern: None,
        limit: page_size(input.limit, MAX_EVENTS),
        bytes: MAX_PUT_BYTES,
        scan_bytes: u64::MAX,
    };
    let mut events = store.read(scope, &group, query).await?.events;
    if direction == Direction::Backward {
        events.reverse();
    }
    let (first, last) = match (events.first(), events.last(), given) {
        (Some(first), Some(last), _) => (first.id, last.id),
        // At either end: the token that led here stays, and the other one leads back over what
        // the caller saw last.
        (_, _, Some((Direction::Forward, id))) => (id.next(), id),
        (_, _, Some((Direction::Backward, id))) => (id, id.previous()),
        // Nothing there yet: whatever comes lies beyond the start.
        (_, _, None) => {
            let start = EventId::at(from.unwrap_or_default());
            (start, start)
        }
    };
    let events = events.into_iter().map(|stored| logs::OutputLogEvent {
        timestamp: Some(stored.event.timestamp.as_millis()),
        message: Some(stored.event.message),
        ingestion_time: Some(stored.ingested.as_millis()),
    });
    Ok(logs::GetLogEventsResponse {
        events: Some(events.collect()),
        next_forward_token: Some(token::event(Direction::Forward, last)),
        next_backward_token: Some(token::event(Direction::Backward, first)),
    })
}

pub(super) async fn filter(
    store: &LogStore,
    scope: &Scope,
    input: logs::FilterLogEventsRequest,
) -> Result<logs::FilterLogEventsResponse, ServiceError> {
    let group = named_group(scope, input.log_group_name, input.log_group_identifier)?;
    let streams = match (input.log_stream_names, input.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(error::invalid_parameter_exception(
                "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.",
            ));
        }
        (Some(names), None) => Streams::Named(names),
        (None, Some(prefix)) => Streams::Prefix(prefix),
        (None, None) => Streams::All,
    };
    let (from, to) = (input.start_time.map(Timestamp::from_millis), input.end_time.map(Timestamp::from_millis));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(error::invalid_parameter_exception(format!(
            "startTime {} is after endTime {}.",
            from.as_millis(),
            to.as_millis()
        )));
    }
    let pattern = input.filter_pattern.filter(|pattern| !pattern.trim().is_empty());
    let pattern = pattern.map(|pattern| Pattern::parse(&pattern)).transpose();
    let pattern = pattern.map_err(|wrong| error::invalid_parameter_exception(wrong.to_string()))?;
    let direction = if input.start_from_head == Some(false) { Direction::Backward } else { Direction::Forward };
    let beyond = input.next_token.as_deref().map(token::parse_event).transpose()?;
    if beyond.is_some_and(|(of, _)| of != direction) {
        return Err(token::invalid());
    }
    let query = ReadQuery {
        streams,
        from,
        // Unlike GetLogEvents, this operation counts the end in.
        to: to.map(|to| Timestamp::from_millis(to.as_millis().saturating_add(1))),
        direction,
        beyond: beyond.map(|(_, id)| id),
        pattern,
        limit: page_size(input.limit, MAX_EVENTS),
        bytes: MAX_PUT_BYTES,
        scan_bytes: FILTER_SCAN_BYTES,
    };
    let page = store.read(scope, &group, query).await?;
    let events = page.events.into_iter().map(|stored| logs::FilteredLogEvent {
        log_stream_name: Some(stored.stream),
        timestamp: Some(stored.event.timestamp.as_millis()),
        message: Some(stored.event.message),
        ingestion_time: Some(stored.ingested.as_millis()),
        event_id: Some(stored.id.to_string()),
    });
    Ok(logs::FilterLogEventsResponse {
        events: Some(events.collect()),
        // Always empty since 2020.
        searched_log_streams: Some(Vec::new()),
        next_token: page.next.map(|id| token::event(direction, id)),
    })
}
