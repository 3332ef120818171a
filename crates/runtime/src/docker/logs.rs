//! Captured output: follows a container to its end, over broken connections.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use longshore_seams::Clock;

use super::error::{container_error, is_missing};
use super::lines::{Assembler, Position, Record, Skip, records};
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
    session: Option<Session>,
    assembler: Assembler,
    /// A record that came after much newer ones: see [`Follow::is_repetition`].
    doubted: Option<Record>,
    ready: VecDeque<LogLine>,
    attempts: u32,
    ended: bool,
}

/// One reading of the retained log from its start, and of what follows.
struct Session {
    output: Output,
    skip: Skip,
    /// The last record that came, new or known.
    last: Option<Record>,
    /// Whether [`Follow::doubted`] was among the known records.
    doubted_is_known: bool,
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

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
        session: None,
        assembler: Assembler::at(Position::of(from)),
        doubted: None,
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
            let mut session = self.session.take().unwrap_or_else(|| Session {
                output: open(&self.docker, &self.id, "all"),
                skip: Skip::to(self.assembler.delivered(), self.clock.now()),
                last: None,
                doubted_is_known: false,
            });
            match session.output.next().await {
                Some(Ok(output)) => {
                    if self.take(&mut session, output) {
                        self.session = Some(session);
                    } else {
                        self.open_again(Duration::ZERO).await;
                    }
                }
                outcome => {
                    if let Err(error) = self.broken_off(session.last, outcome.and_then(Result::err)).await {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Takes what came; false when the log has to be opened again.
    fn take(&mut self, session: &mut Session, output: LogOutput) -> bool {
        for record in records(output) {
            if session.skip.is_known(&record) {
                session.doubted_is_known |= self.doubted.as_ref() == Some(&record);
            } else {
                if self.is_repetition(session, &record) {
                    self.doubted = Some(record);
                    return false;
                }
                self.attempts = 0;
                self.assembler.push(&record, &mut self.ready);
            }
            session.last = Some(record);
        }
        true
    }

    /// Docker 20.10 sometimes reads a file again when it begins a new one meanwhile. A record that
    /// steps back in time is therefore looked for in the log as it is read anew: when it is not
    /// among what was read before, the clock was set back, and the record is new.
    fn is_repetition(&self, session: &Session, record: &Record) -> bool {
        let steps_back = session.last.as_ref().is_some_and(|last| record.steps_back_from(last));
        let is_new = self.doubted.as_ref() == Some(record) && !session.doubted_is_known;
        steps_back && !is_new && self.attempts < MOST_ATTEMPTS
    }

    /// After the connection ended: either all is read, or it will be opened again.
    async fn broken_off(&mut self, last: Option<Record>, error: Option<bollard::errors::Error>) -> RuntimeResult<()> {
        let status = match self.docker.inspect_container(&self.id, None).await {
            Ok(inspected) => Ok(container_state(inspected).status),
            Err(missing) if is_missing(&missing) => {
                self.end();
                return Ok(());
            }
            Err(other) => Err(other),
        };
        let given_up = self.attempts >= MOST_ATTEMPTS;
        let mut backoff = LEAST_BACKOFF.saturating_mul(1 << self.attempts.min(16)).min(MOST_BACKOFF);
        match status {
            Ok(ContainerStatus::Exited) if given_up || self.is_complete(last).await => {
                self.end();
                return Ok(());
            }
            // Docker ends the log of a container that has yet to be started: look again.
            Ok(ContainerStatus::Created) => self.attempts = 0,
            Ok(_) if given_up => return Err(self.gave_up(error)),
            Err(unreachable) if given_up => return Err(self.gave_up(error.or(Some(unreachable)))),
            // The first time, what comes meanwhile could push out of the ring what has not been read.
            Ok(_) if self.attempts == 0 => backoff = Duration::ZERO,
            Ok(_) | Err(_) => {}
        }
        self.open_again(backoff).await;
        Ok(())
    }

    async fn open_again(&mut self, backoff: Duration) {
        // What there was of an unfinished line will be read again.
        self.assembler = Assembler::at(self.assembler.delivered());
        self.attempts += 1;
        self.clock.sleep(backoff).await;
    }

    /// Whether the last record of an ended container has come. Docker 20.10 may end the log early
    /// when it begins a new file meanwhile.
    async fn is_complete(&mut self, read: Option<Record>) -> bool {
        let mut end = open(&self.docker, &self.id, "1");
        let mut last = None;
        while let Some(output) = end.next().await {
            let Ok(output) = output else { return false };
            last = records(output).pop().or(last);
        }
        last.is_none() || last == read
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

/// The last `tail` records (or `all`) and what follows.
fn open(docker: &Docker, id: &str, tail: &str) -> Output {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).timestamps(true).tail(tail);
    Box::pin(docker.logs(id, Some(options.build())))
}
