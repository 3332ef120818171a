//! ListEvents: the events that were delivered, read from history.

use longshore_api::longshore as api;
use longshore_api::{ServiceError, longshore};
use longshore_model::arn::Arn;
use longshore_model::records::{OutboxEvent, OutboxRecord};
use longshore_model::{Scope, names};
use longshore_store::segments::{Order, Position, SegmentLog, Selection};
use serde::Deserialize;

use crate::events::{DETAIL_TYPES, envelope};
use crate::pagination::PageRequest;

/// Most events of one answer.
const PAGE: usize = 100;
/// Records that are read from history at once.
const READ_AT_ONCE: usize = 200;
/// Records that one call looks at, whatever passes the filters: a rare event is found in several calls.
const LOOKED_AT: usize = 2_000;

/// The events of `scope` that pass the filters, each as an event bus carries it, the oldest first. The `followToken`
/// goes on where the answer ends, also when nothing has happened since; the `nextToken` is there while there is more.
///
/// # Errors
/// `InvalidParameterException`; `ServerException` when the history can't be read.
pub async fn list_events(
    history: &SegmentLog,
    scope: &Scope,
    input: &api::ListEventsRequest,
) -> Result<api::ListEventsResponse, ServiceError> {
    let (max_results, token) = (input.max_results.map(i64::from), input.next_token.as_deref());
    let page = PageRequest::parse("ListEvents", max_results, token, PAGE)?;
    let filter = Filter::read(scope, input)?;
    let mut place = match &page.after {
        None => Place::default(),
        Some(text) => Place::parse(text).ok_or_else(|| invalid("nextToken is none that ListEvents has given."))?,
    };
    let selection = Selection { from: input.since, ..Selection::default() };
    let mut events = Vec::new();
    let mut looked_at = 0;
    let more = 'looking: loop {
        let read = history.page(selection.clone(), Order::Forward, place.after, READ_AT_ONCE).await;
        let read = read.map_err(|error| ServiceError::server("ServerException", error.to_string()))?;
        if read.is_empty() {
            break false;
        }
        looked_at += read.len();
        for (position, record) in read {
            match serde_json::from_slice::<OutboxRecord>(&record.payload) {
                Ok(record) => {
                    for (at, event) in record.events.iter().enumerate().skip(place.given) {
                        if !filter.accepts(event) {
                            continue;
                        }
                        if events.len() == page.limit {
                            place.given = at;
                            break 'looking true;
                        }
                        events.push(envelope(record.at, event));
                    }
                }
                Err(error) => tracing::warn!(%error, "a record of the history of events can't be read"),
            }
            place = Place { after: Some(position), given: 0 };
        }
        if looked_at >= LOOKED_AT {
            break true;
        }
    };
    let follow_token = page.token(&place.text());
    let next_token = more.then(|| follow_token.clone());
    Ok(api::ListEventsResponse { events: Some(events), next_token, follow_token: Some(follow_token) })
}

fn invalid(message: impl Into<String>) -> ServiceError {
    longshore::error::invalid_parameter_exception(message)
}

/// How far the events were given: all of the records up to one, and some of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    after: Option<Position>,
    given: usize,
}

impl Place {
    /// `SEGMENT:OFFSET:GIVEN`, or `GIVEN` alone before the end of the first record.
    fn text(self) -> String {
        match self.after {
            None => self.given.to_string(),
            Some(at) => format!("{}:{}:{}", at.segment, at.offset, self.given),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(2, ':');
        let given = parts.next()?.parse().ok()?;
        let after = match parts.next() {
            None => None,
            Some(at) => {
                let (segment, offset) = at.split_once(':')?;
                Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
            }
        };
        Some(Self { after, given })
    }
}

/// Which events are wanted.
struct Filter<'a> {
    scope: &'a Scope,
    cluster: Option<&'a str>,
    detail_types: &'a [String],
}

impl<'a> Filter<'a> {
    fn read(scope: &'a Scope, input: &'a api::ListEventsRequest) -> Result<Self, ServiceError> {
        let named = input.cluster.as_deref().filter(|name| !name.is_empty());
        // A cluster that is gone has a history, too: it need not exist.
        let read = |named: &'a str| {
            let name = scope.cluster_name(named).filter(|name| names::is_name(name));
            name.ok_or_else(|| invalid(format!("cluster is {named}, which is no cluster of this account and region.")))
        };
        let cluster = named.map(read).transpose()?;
        let detail_types = input.detail_types.as_deref().unwrap_or_default();
        if let Some(unknown) = detail_types.iter().find(|wanted| !DETAIL_TYPES.contains(&wanted.as_str())) {
            return Err(invalid(format!(
                "detailTypes holds '{unknown}', of which there are no events: use {}.",
                DETAIL_TYPES.join(", ")
            )));
        }
        Ok(Self { scope, cluster, detail_types })
    }

    fn accepts(&self, event: &OutboxEvent) -> bool {
        event.scope == *self.scope
            && (self.detail_types.is_empty() || self.detail_types.contains(&event.detail_type))
            && self.cluster.is_none_or(|cluster| self.is_of(event, cluster))
    }

    fn is_of(&self, event: &OutboxEvent, cluster: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            cluster_arn: Option<String>,
        }
        let named = serde_json::from_str::<Named>(event.detail.text()).ok().and_then(|detail| detail.cluster_arn);
        match named {
            Some(arn) => self.scope.cluster_name(&arn) == Some(cluster),
            // Events of deployments name their service only: …:service/CLUSTER/NAME.
            None => event
                .resources
                .iter()
                .any(|arn| Arn::parse(arn).is_some_and(|arn| arn.resource.split('/').nth(1) == Some(cluster))),
        }
    }
}

#[cfg(test)]
#[path = "event_log_tests.rs"]
mod tests;
