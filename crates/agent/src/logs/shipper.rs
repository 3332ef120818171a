//! One container's output on its way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use longshore_runtime::{LogCursor, LogLine, RuntimeError, RuntimeResult};

use super::LogDestination;
use super::multiline::Assembled;
use crate::backoff::Backoff;
use crate::context::Context;
use crate::plane::{CallError, LogEvent, LogStreamName};

/// Most events of one call.
const LARGEST_BATCH: usize = 10_000;
/// Most bytes of one call. The service takes 1 MiB; less keeps an agent with many noisy tasks small.
const BATCH_BYTES: usize = 256 << 10;
/// What the service counts for an event beyond its message.
const EVENT_OVERHEAD: usize = 26;
/// A batch waits so long for more lines when nothing was sent lately, …
const FIRST_LINGER: Duration = Duration::from_millis(50);
/// … and so long when lines keep coming.
const BUSY_LINGER: Duration = Duration::from_millis(500);
/// An event that waits for further lines is complete after such a silence.
const QUIET: Duration = Duration::from_secs(1);
/// Tries for what the service refuses, once the container has ended.
const LAST_TRIES: u32 = 10;

/// Whether a log stream could be made before its container starts.
pub(crate) type Prepared = Result<(), String>;

/// Ships one container's output.
#[derive(Debug)]
pub(crate) struct Shipper {
    context: Arc<Context>,
    container_id: String,
    destination: LogDestination,
    name: LogStreamName,
}

/// What a round of reading brought.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<LogEvent>,
    bytes: usize,
    after: Option<LogCursor>,
    over: bool,
}

impl Shipper {
    pub fn new(context: Arc<Context>, container_id: &str, destination: LogDestination) -> Self {
        let name = destination.name(container_id);
        Self { context, container_id: container_id.to_owned(), destination, name }
    }

    /// Makes the stream before the container starts, for a destination that was asked for by name.
    ///
    /// # Errors
    /// The service's words, when it refuses. Without an answer the container starts and the output waits.
    pub async fn prepare(context: &Context, destination: &LogDestination, container_id: &str) -> Prepared {
        match ensure(context, destination, &destination.name(container_id)).await {
            Err(CallError::Refused { code, message, .. }) if code == "ResourceNotFoundException" => Err(format!(
                "failed to create Cloudwatch log stream: {code}: {message} (log group {})",
                destination.group
            )),
            Err(error) => {
                tracing::warn!(group = %destination.group, %error, "log stream not made yet");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ships until the container has ended and all is taken, or it is gone.
    pub async fn ship(self) {
        let seams = &self.context.seams;
        let mut failures = Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(10));
        loop {
            let from = self.context.journal.cursor(&self.container_id);
            match self.context.runtime.logs(&self.container_id, from).await {
                Ok(lines) => match self.follow(lines).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(container = %self.container_id, %error, "reading output failed"),
                },
                Err(RuntimeError::NoSuchContainer(_)) => return,
                Err(error) => tracing::warn!(container = %self.container_id, %error, "output can not be read"),
            }
            seams.clock.sleep(failures.next(&*seams.random)).await;
        }
    }

    async fn follow(&self, mut lines: BoxStream<'static, RuntimeResult<LogLine>>) -> RuntimeResult<()> {
        let mut assembler = self.destination.assembler();
        let mut last_sent: Option<Duration> = None;
        let mut overflow: Vec<Assembled> = Vec::new();
        loop {
            let now = self.context.seams.clock.monotonic();
            let busy = last_sent.is_some_and(|sent| now.saturating_sub(sent) < 2 * BUSY_LINGER);
            let linger = if busy { BUSY_LINGER } else { FIRST_LINGER };
            let batch = self.collect(&mut lines, &mut assembler, &mut overflow, linger).await?;
            let (after, over) = (batch.after, batch.over);
            if !batch.events.is_empty() {
                self.put(batch.events, over).await;
                last_sent = Some(self.context.seams.clock.monotonic());
            }
            if let Some(after) = after {
                self.context.journal.save_cursor(&self.container_id, after);
            }
            if over {
                return Ok(());
            }
        }
    }

    /// Reads until the batch is full, has waited long enough, or the output is over.
    async fn collect(
        &self,
        lines: &mut BoxStream<'static, RuntimeResult<LogLine>>,
        assembler: &mut super::Assembler,
        overflow: &mut Vec<Assembled>,
        linger: Duration,
    ) -> RuntimeResult<Batch> {
        let clock = &self.context.seams.clock;
        let mut batch = Batch::default();
        let mut ready = std::mem::take(overflow);
        let mut lingered = None;
        loop {
            let mut taken = ready.drain(..);
            while batch.has_room() {
                let Some(assembled) = taken.next() else { break };
                batch.push(assembled);
            }
            overflow.extend(taken);
            if !overflow.is_empty() || !batch.has_room() {
                return Ok(batch);
            }
            if !batch.events.is_empty() && lingered.is_none() {
                lingered = Some(clock.sleep(linger));
            }
            let quiet = assembler.is_waiting().then(|| clock.sleep(QUIET));
            tokio::select! {
                biased;
                line = lines.next() => match line {
                    Some(line) => assembler.push(&line?, &mut ready),
                    None => {
                        assembler.flush(&mut ready);
                        ready.drain(..).for_each(|assembled| batch.push(assembled));
                        batch.over = true;
                        return Ok(batch);
                    }
                },
                () = optional(lingered.as_mut()) => return Ok(batch),
                () = async { if let Some(quiet) = quiet { quiet.await } else { std::future::pending().await } } => {
                    assembler.flush(&mut ready);
                }
            }
        }
    }

    /// Sends until taken; what never will be is dropped with a warning.
    async fn put(&self, mut events: Vec<LogEvent>, over: bool) {
        events.sort_by_key(|event| event.timestamp);
        let seams = &self.context.seams;
        let mut backoff = Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(10));
        let mut refused = 0;
        loop {
            let error = match self.context.plane.put_log_events(&self.name, events.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if error.code() == "ResourceNotFoundException" {
                match ensure(&self.context, &self.destination, &self.name).await {
                    Ok(()) if refused == 0 => {
                        refused += 1;
                        continue;
                    }
                    Ok(()) => {}
                    Err(error) => tracing::warn!(group = %self.name.group, %error, "log stream can not be made"),
                }
            }
            if error.is_refused() {
                refused += 1;
            }
            if error.code() == "InvalidParameterException" || (over && refused >= LAST_TRIES) {
                tracing::error!(
                    group = %self.name.group, stream = %self.name.stream, %error, events = events.len(), "output dropped"
                );
                return;
            }
            let wait = backoff.next(&*seams.random);
            tracing::debug!(group = %self.name.group, stream = %self.name.stream, %error, ?wait, "output will be sent again");
            tokio::select! {
                biased;
                () = seams.clock.sleep(wait) => {}
                () = self.context.back.notified() => {}
            }
        }
    }
}

impl Batch {
    fn has_room(&self) -> bool {
        self.events.len() < LARGEST_BATCH && self.bytes < BATCH_BYTES
    }

    fn push(&mut self, assembled: Assembled) {
        self.after = assembled.after.or(self.after);
        if !assembled.event.message.is_empty() {
            self.bytes += assembled.event.message.len() + EVENT_OVERHEAD;
            self.events.push(assembled.event);
        }
    }
}

async fn optional(sleep: Option<&mut longshore_seams::BoxFuture<'static, ()>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

async fn ensure(context: &Context, destination: &LogDestination, name: &LogStreamName) -> Result<(), CallError> {
    let first = context.plane.create_log_stream(name).await;
    let missing = first.as_ref().is_err_and(|error| error.code() == "ResourceNotFoundException");
    if !missing || !destination.create_group {
        return first;
    }
    context.plane.create_log_group(name.region.as_deref(), &name.group).await?;
    context.plane.create_log_stream(name).await
}
