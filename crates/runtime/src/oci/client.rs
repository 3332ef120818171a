//! The runtime's end of a shim's socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_seams::{Clock, Seams};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::layout::Layout;
use super::protocol::{Answer, Call, Hello, Line, Notice, Refusal, RefusalKind, Reply, Request, VERSION, encode};
use super::shim::ShimArguments;

/// How long a shim may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long a shim may take to answer, besides what it was asked to wait for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

type Waiting = oneshot::Sender<Result<Reply, Refusal>>;

/// A connection to a shim. When it ends, all calls under way fail with [`Gone`].
#[derive(Debug)]
pub(crate) struct ShimClient {
    task: String,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    next: AtomicU64,
    gone: AtomicBool,
    clock: Arc<dyn Clock>,
}

/// What a connection tells of.
#[derive(Debug)]
pub(crate) enum ShimEvent {
    Notice(Notice),
    /// The connection has ended: the shim has, too.
    Gone,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    Refused(Refusal),
    /// The shim has ended.
    Gone,
}

/// Gets what a connection tells.
pub(crate) type Listener = Box<dyn Fn(ShimEvent) + Send + Sync>;

impl ShimClient {
    /// Connects to the shim of `task`, when there is one.
    pub(crate) async fn connect(
        layout: &Layout,
        task: &str,
        seams: &Seams,
        listener: Listener,
    ) -> io::Result<Option<Arc<Self>>> {
        // By way of the directory's descriptor, because a socket's path must be short.
        let directory = File::open(layout.shims())?;
        let path = format!("{}/{task}.sock", super::short_path(&directory));
        match UnixStream::connect(path).await {
            Ok(stream) => match Self::begin(stream, task, seams, listener).await {
                Err(error) if is_end(&error) => Ok(None),
                other => other.map(Some),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a shim.
    pub(crate) async fn spawn(
        layout: &Layout,
        arguments: &ShimArguments,
        seams: &Seams,
        listener: Listener,
    ) -> io::Result<Arc<Self>> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let errors = layout.shims().join(format!("{}.err", arguments.task));
        let errors = File::options().create(true).append(true).open(errors)?;
        let mut child = tokio::process::Command::new(&arguments.exe)
            .args(arguments.to_arguments())
            .env_clear()
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(errors))
            .process_group(0)
            .spawn()?;
        // It ends at once, leaving the shim to init.
        let reap = async move {
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "could not reap the starter of a shim");
            }
        };
        seams.spawner.spawn("shim starter", Box::pin(reap));
        Self::begin(UnixStream::from_std(ours)?, &arguments.task, seams, listener).await
    }

    async fn begin(stream: UnixStream, task: &str, seams: &Seams, listener: Listener) -> io::Result<Arc<Self>> {
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        let read = tokio::select! {
            read = reader.read_line(&mut line) => read?,
            () = seams.clock.sleep(HELLO_PATIENCE) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("the shim of task {task} does not answer")));
            }
        };
        if read == 0 {
            let message = format!("the shim of task {task} ended as it started: see its .err file");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let hello: Hello = serde_json::from_str(&line)?;
        if hello.version != VERSION {
            let message = format!(
                "the shim of task {task} speaks version {} of its protocol, this program {VERSION}: stop the task with \
                 the program that started it",
                hello.version
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let client = Arc::new(Self {
            task: task.to_owned(),
            writer: tokio::sync::Mutex::new(writer),
            waiting: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(1),
            gone: AtomicBool::new(false),
            clock: Arc::clone(&seams.clock),
        });
        seams.spawner.spawn("shim", Box::pin(Arc::clone(&client).listen(reader, listener)));
        Ok(client)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    async fn listen(self: Arc<Self>, mut reader: BufReader<OwnedReadHalf>, listener: Listener) {
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Answer(Answer { id, result })) => {
                    if let Some(waiting) = self.locked().remove(&id) {
                        // Whoever asked may have given up.
                        let _ = waiting.send(result);
                    }
                }
                Ok(Line::Notice(notice)) => listener(ShimEvent::Notice(notice)),
                Err(error) => {
                    tracing::warn!(task = self.task, %error, "a shim said something that is not understood");
                }
            }
        }
        self.gone.store(true, Ordering::Release);
        // Dropping the senders fails the calls.
        drop(std::mem::take(&mut *self.locked()));
        listener(ShimEvent::Gone);
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = match &call {
            Call::Exec { timeout_ms, .. } => Duration::from_millis(*timeout_ms),
            _ => Duration::ZERO,
        };
        let (send, answer) = oneshot::channel();
        self.locked().insert(id, send);
        if self.is_gone() {
            self.locked().remove(&id);
            return Err(CallError::Gone);
        }
        let line = encode(&Request { version: VERSION, id, call });
        if self.writer.lock().await.write_all(&line).await.is_err() {
            self.locked().remove(&id);
            return Err(CallError::Gone);
        }
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(refusal)) => Err(CallError::Refused(refusal)),
                Err(_) => Err(CallError::Gone),
            },
            () = self.clock.sleep(asked.saturating_add(ANSWER_PATIENCE)) => {
                self.locked().remove(&id);
                let message = format!("the shim of task {} did not answer within {ANSWER_PATIENCE:?}", self.task);
                Err(CallError::Refused(Refusal { kind: RefusalKind::Failed, message }))
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection broke because the other end is ending.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl CallError {
    /// What to tell the user.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Refused(refusal) => refusal.message,
            Self::Gone => "the task's shim was killed".to_owned(),
        }
    }

    pub(crate) fn is(&self, kind: RefusalKind) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.kind == kind)
    }
}
