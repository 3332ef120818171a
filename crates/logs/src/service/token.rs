//! Paging tokens.

use longshore_api::ServiceError;
use longshore_api::logs::error;

use crate::{Direction, EventId, StreamCursor};

pub(super) fn invalid() -> ServiceError {
    error::invalid_parameter_exception("The specified nextToken is invalid.")
}

/// Token of GetLogEvents: `f/ID/s` reads on from the event, `b/ID/s` back from it.
pub(super) fn event(direction: Direction, id: EventId) -> String {
    let letter = if direction == Direction::Forward { 'f' } else { 'b' };
    format!("{letter}/{id}/s")
}

pub(super) fn parse_event(token: &str) -> Result<(Direction, EventId), ServiceError> {
    let (letter, rest) = token.split_once('/').ok_or_else(invalid)?;
    let direction = match letter {
        "f" => Direction::Forward,
        "b" => Direction::Backward,
        _ => return Err(invalid()),
    };
    let id = rest.strip_suffix("/s").and_then(EventId::parse).ok_or_else(invalid)?;
    Ok((direction, id))
}

/// Token of DescribeLogGroups: the name of the last group.
pub(super) fn group(name: &str) -> String {
    format!("group@{name}")
}

pub(super) fn parse_group(token: &str) -> Result<&str, ServiceError> {
    token.strip_prefix("group@").ok_or_else(invalid)
}

/// Token of DescribeLogStreams. It belongs to one order, which it names.
pub(super) fn stream(order: &str, cursor: &StreamCursor) -> String {
    format!("{order}@{}@{}", cursor.last_event, cursor.name)
}

pub(super) fn parse_stream(order: &str, token: &str) -> Result<StreamCursor, ServiceError> {
    let mut parts = token.splitn(3, '@');
    let parsed = (|| {
        let same_order = parts.next()? == order;
        let last_event = parts.next()?.parse().ok()?;
        same_order.then_some(StreamCursor { last_event, name: parts.next()?.to_owned() })
    })();
    parsed.ok_or_else(invalid)
}
