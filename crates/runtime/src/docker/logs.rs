//! Captured output: follows a container to its end, over broken connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use longshore_seams::Clock;

use super::error::{container_error, is_missing};
use super::lines::{Assembler, Position, Skip, records};
use super::state::container_state;
use crate::{ContainerStatus, LogCursor, LogLine, RuntimeError, RuntimeResult};

/// Wait before the first reconnection; doubled each time up to [`MOST_BACKOFF`].
const LEAST_BACKOFF: Duration = Duration::from_millis(100);
const MOST_BACKOFF: Duration = Duration::from_secs(5);
/// Reconnections in a row without a record before the stream ends with an error.
const MOST_ATTEMPTS: u32 = 12;

struct Follow {
    docker: Docker,
    clock: Arc<dyn Clock>,
    id: String,
    source: Option<(BoxStream<'static, Result<LogOutput, bollard::errors::Error>>, Skip)>,
    assembler: Assembler,
    ready: VecDeque<LogLine>,
    attempts: u32,
    ended: bool,
}

/// Output of the container `id` after `from`, until it has ended and all is read.
pub(super) fn follow(
    docker: Docker,
    clock: Arc<dyn Clock>,
    id: String,
    from: LogCursor,
) -> BoxStream<'static, RuntimeResult<LogLine>> {
    let follow = Follow {
        docker,
        clock,
        id,
        source: None,
        assembler: Assembler::at(Position::of(from)),
        ready: VecDeque::new(),
        attempts: 0,
        ended: false,
    };
    stream::unfold(follow, |mut follow| async move { follow.next().await.map(|line| (line, follow)) }).boxed()
}

impl Follow {
    async fn next(&mut self) -> Option<RuntimeResult<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            let (source, skip) = match &mut self.source {
                Some(source) => source,
                None => {
                    let source = open(&self.docker, &self.id);
                    let skip = Skip::to(self.assembler.delivered(), self.clock.now());
                    self.source.insert((source, skip))
                }
            };
            match source.next().await {
                Some(Ok(output)) => {
                    self.attempts = 0;
                    for record in records(output) {
                        if !skip.is_known(&record) {
                            self.assembler.push(&record, &mut self.ready);
                        }
                    }
                }
                outcome => {
                    self.source = None;
                    if let Err(error) = self.broken_off(outcome.and_then(Result::err)).await {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// After the connection ended: either all is read, or it will be opened again.
    async fn broken_off(&mut self, error: Option<bollard::errors::Error>) -> RuntimeResult<()> {
        let clean = error.is_none();
        let state = match self.docker.inspect_container(&self.id, None).await {
            Ok(inspected) => Ok(container_state(inspected)),
            Err(missing) if is_missing(&missing) => {
                self.end();
                return Ok(());
            }
            Err(other) => Err(other),
        };
        match state {
            Ok(state) if state.status == ContainerStatus::Exited && clean => {
                self.end();
                return Ok(());
            }
            // Docker ends the log of a container that has yet to be started: look again.
            Ok(state) if state.status == ContainerStatus::Created => self.attempts = 0,
            Ok(_) | Err(_) if self.attempts < MOST_ATTEMPTS => {}
            Ok(_) => return Err(self.gave_up(error)),
            Err(unreachable) => return Err(self.gave_up(error.or(Some(unreachable)))),
        }
        // What there was of an unfinished line will be read again.
        self.assembler = Assembler::at(self.assembler.delivered());
        let backoff = LEAST_BACKOFF.saturating_mul(1 << self.attempts.min(16)).min(MOST_BACKOFF);
        self.attempts += 1;
        self.clock.sleep(backoff).await;
        Ok(())
    }

    fn end(&mut self) {
        self.assembler.finish(&mut self.ready);
        self.ended = true;
    }

    fn gave_up(&self, error: Option<bollard::errors::Error>) -> RuntimeError {
        match error {
            Some(error) => container_error(&self.id, error),
            None => RuntimeError::Unavailable(format!("Docker keeps ending the log of running container {}", self.id)),
        }
    }
}

fn open(docker: &Docker, id: &str) -> BoxStream<'static, Result<LogOutput, bollard::errors::Error>> {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).timestamps(true).build();
    docker.logs(id, Some(options)).boxed()
}
