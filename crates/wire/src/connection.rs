//! One connection's watch: how long it may be idle, and how long a request's headers may take.
//!
//! hyper has one timer for both; ours are apart, so that a client may keep a connection for minutes
//! and yet not drip headers for minutes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use longshore_seams::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Limits;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(crate) struct Activity {
    clock: Arc<dyn Clock>,
    phase: AtomicU8,
    since_ms: AtomicU64,
}

impl Activity {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let activity = Self { clock, phase: AtomicU8::new(IDLE), since_ms: AtomicU64::new(0) };
        activity.enter(IDLE);
        Arc::new(activity)
    }

    fn enter(&self, phase: u8) {
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(now, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Release);
    }

    /// A request is under way for as long as the answer lives.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.enter(BUSY);
        Busy(self.clone())
    }

    /// Resolves when the connection has been idle, or reading one request's headers, for too long.
    pub(crate) async fn overdue(&self, limits: &Limits) {
        loop {
            let phase = self.phase.load(Ordering::Acquire);
            let limit = if phase == HEAD { limits.header_timeout } else { limits.idle_timeout };
            let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
            let spent = self.clock.monotonic().saturating_sub(since);
            if phase != BUSY && spent >= limit {
                return;
            }
            // An idle connection may begin to read headers at any time, so look at the shorter period.
            let look = limit.saturating_sub(spent).min(limits.header_timeout).max(Duration::from_millis(1));
            self.clock.sleep(look).await;
        }
    }
}

/// Ends a connection's busy phase when dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

/// A stream that notes when a request begins to come in.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = bytes.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, bytes);
        if bytes.filled().len() > before && self.activity.phase.load(Ordering::Relaxed) == IDLE {
            self.activity.enter(HEAD);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
