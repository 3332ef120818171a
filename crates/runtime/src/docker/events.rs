//! Docker's events as ours, over broken connections.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use longshore_seams::{Clock, Timestamp};

use super::ROOT_LABEL;
use crate::{ContainerEvent, ContainerEventKind, Health};

const LEAST_BACKOFF: Duration = Duration::from_millis(100);
const MOST_BACKOFF: Duration = Duration::from_secs(5);

struct Events {
    docker: Docker,
    clock: Arc<dyn Clock>,
    root_id: String,
    source: Option<BoxStream<'static, Result<EventMessage, bollard::errors::Error>>>,
    backoff: Duration,
    started: bool,
}

/// Events of the containers of `root_id` from now on. Never ends.
pub(super) fn events(docker: Docker, clock: Arc<dyn Clock>, root_id: String) -> BoxStream<'static, ContainerEvent> {
    let events = Events { docker, clock, root_id, source: None, backoff: LEAST_BACKOFF, started: false };
    stream::unfold(events, |mut events| async move { Some((events.next().await, events)) }).boxed()
}

impl Events {
    async fn next(&mut self) -> ContainerEvent {
        loop {
            let Some(source) = &mut self.source else {
                if std::mem::replace(&mut self.started, true) {
                    self.reconnect().await;
                }
                // Docker keeps recent events: whatever happens between this moment and the request
                // reaching it comes with the answer.
                self.source = Some(open(&self.docker, &self.root_id, self.clock.now()));
                return ContainerEvent { id: String::new(), kind: ContainerEventKind::Resync };
            };
            match source.next().await {
                Some(Ok(message)) => {
                    self.backoff = LEAST_BACKOFF;
                    if let Some(event) = container_event(message) {
                        return event;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "lost Docker's events, reconnecting");
                    self.source = None;
                }
                None => self.source = None,
            }
        }
    }

    async fn reconnect(&mut self) {
        loop {
            self.clock.sleep(self.backoff).await;
            self.backoff = (self.backoff * 2).min(MOST_BACKOFF);
            if self.docker.ping().await.is_ok() {
                return;
            }
        }
    }
}

fn open(
    docker: &Docker,
    root_id: &str,
    since: Timestamp,
) -> BoxStream<'static, Result<EventMessage, bollard::errors::Error>> {
    let filters = [
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{ROOT_LABEL}={root_id}")]),
        ("event".to_owned(), ["start", "die", "health_status"].map(str::to_owned).to_vec()),
    ];
    let since = format!("{}.{:03}", since.as_secs(), since.as_millis().rem_euclid(1000));
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters.into()).build();
    docker.events(Some(options)).boxed()
}

fn container_event(message: EventMessage) -> Option<ContainerEvent> {
    let action = message.action?;
    let kind = match action.split_once(':').map(|(name, result)| (name, result.trim())) {
        None if action == "start" => ContainerEventKind::Started,
        None if action == "die" => ContainerEventKind::Exited,
        Some(("health_status", "healthy")) => ContainerEventKind::Health(Health::Healthy),
        Some(("health_status", "unhealthy")) => ContainerEventKind::Health(Health::Unhealthy),
        _ => return None,
    };
    Some(ContainerEvent { id: message.actor?.id?, kind })
}
