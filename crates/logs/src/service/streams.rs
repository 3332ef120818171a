//! Operations on log streams.

use longshore_api::ServiceError;
use longshore_api::logs::{self, OrderBy, error};

use super::{named_group, page_size, token};
use crate::{LogStore, Scope, StreamQuery};

/// Streams in a page when the caller names no number.
const DEFAULT_PAGE: usize = 50;

pub(super) async fn describe(
    store: &LogStore,
    scope: &Scope,
    input: logs::DescribeLogStreamsRequest,
) -> Result<logs::DescribeLogStreamsResponse, ServiceError> {
    let group = named_group(scope, input.log_group_name, input.log_group_identifier)?;
    let by_last_event = input.order_by == Some(OrderBy::LastEventTime);
    if by_last_event && input.log_stream_name_prefix.is_some() {
        return Err(error::invalid_parameter_exception("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let descending = input.descending == Some(true);
    let order = format!("{}{}", if by_last_event { "time" } else { "name" }, if descending { "-" } else { "" });
    let query = StreamQuery {
        prefix: input.log_stream_name_prefix.unwrap_or_default(),
        by_last_event,
        descending,
        after: input.next_token.map(|token| token::parse_stream(&order, &token)).transpose()?,
        limit: page_size(input.limit, DEFAULT_PAGE),
    };
    let (streams, next) = store.streams(scope, &group, &query).await?;
    let arn = scope.group_arn(&group);
    let described = streams.into_iter().map(|stream| {
        let activity = stream.record.activity;
        logs::LogStream {
            arn: Some(format!("{arn}:log-stream:{}", stream.name)),
            log_stream_name: Some(stream.name),
            creation_time: Some(stream.record.created_at.as_millis()),
            first_event_timestamp: activity.map(|activity| activity.first_event.as_millis()),
            last_event_timestamp: activity.map(|activity| activity.last_event.as_millis()),
            last_ingestion_time: activity.map(|activity| activity.last_ingestion.as_millis()),
            // The service reports 0 for streams since 2019; what is stored is told of the group.
            stored_bytes: Some(0),
            ..logs::LogStream::default()
        }
    });
    Ok(logs::DescribeLogStreamsResponse {
        log_streams: Some(described.collect()),
        next_token: next.map(|cursor| token::stream(&order, &cursor)),
    })
}
