//! The listener and its connections.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use longshore_seams::Seams;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::connection::{Activity, Watched};
use crate::door::{Door, Peer};
use crate::metrics::Counted;
use crate::{Config, Metrics, Rooms, StartError, tls};

/// Connections that the kernel keeps until we accept them.
const BACKLOG: u32 = 1024;

/// How long an overdue connection may take to close in good order before it is cut.
const LINGER: Duration = Duration::from_millis(200);

/// The front door's listener.
pub struct Server {
    door: Arc<Door>,
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds the listener: from now on clients can connect, though nobody answers before [`Self::run`].
    ///
    /// # Errors
    /// A configuration that would serve plain HTTP to other machines, a certificate that cannot be
    /// used, an address that cannot be had.
    pub fn bind(config: Config, rooms: Rooms, seams: Seams, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        config.check()?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let listen = config.listen;
        let bind = || {
            let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(listen)?;
            let listener = socket.listen(BACKLOG)?;
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        };
        let (listener, local_addr) = bind().map_err(|source| StartError::Listen { listen, source })?;
        Ok(Self { door: Arc::new(Door::new(config, rooms, seams, metrics)), listener, local_addr, tls })
    }

    /// The address it listens on, with the port that was taken when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until `shutdown` resolves, then lets requests under way end (at most
    /// [`crate::Limits::drain_timeout`]). WebSockets are cut at once: their clients reconnect.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { door, listener, tls, .. } = self;
        let limits = door.config.limits.clone();
        let places = Arc::new(Semaphore::new(limits.connections));
        let (close, closing) = watch::channel(false);
        let (cut, cutting) = watch::channel(false);
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that has gone already: neither ends the server.
                    tracing::warn!(%error, "cannot accept a connection");
                    door.seams.clock.sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                door.metrics.refused_connections.inc();
                refuse(stream, tls.is_some(), limits.connections);
                continue;
            };
            let connection = Connection { door: door.clone(), closing: closing.clone(), place, address };
            let mut cutting = cutting.clone();
            let tls = tls.clone();
            let serve = async move {
                tokio::select! {
                    () = connection.serve(stream, tls) => {}
                    () = raised(&mut cutting) => {}
                }
            };
            door.seams.spawner.spawn("connection", Box::pin(serve));
        }
        drop(listener);
        close.send_replace(true);
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        tokio::select! {
            _ = places.acquire_many(all) => {}
            () = door.seams.clock.sleep(limits.drain_timeout) => {
                tracing::warn!("requests still under way after {:?} are cut", limits.drain_timeout);
                cut.send_replace(true);
                let _ = places.acquire_many(all).await;
            }
        }
    }
}

/// Resolves when the flag is up, or nobody is left to raise it.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    // A sender that is gone has gone with the server.
    let _ = flag.wait_for(|raised| *raised).await;
}

/// Tells a client beyond the limit so, as far as that can be done without waiting.
fn refuse(stream: TcpStream, is_tls: bool, limit: usize) {
    tracing::warn!(limit, "connection refused: too many are open");
    if is_tls {
        return;
    }
    let body = format!(
        r#"{{"__type":"ServiceUnavailableException","message":"{limit} connections are open, the most that are accepted. Try again in a moment."}}"#
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/x-amz-json-1.1\r\nx-amzn-errortype: \
         ServiceUnavailableException\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if let Ok(mut stream) = stream.into_std() {
        // An empty send buffer takes it at once; a client that has gone does not matter.
        let _ = stream.write_all(answer.as_bytes());
    }
}

struct Connection {
    door: Arc<Door>,
    closing: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
    address: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        let Some(acceptor) = tls else { return self.serve_http(stream, "http").await };
        let timeout = self.door.seams.clock.sleep(self.door.config.limits.header_timeout);
        tokio::select! {
            accepted = acceptor.accept(stream) => match accepted {
                Ok(stream) => self.serve_http(stream, "https").await,
                Err(error) => tracing::debug!(%error, peer = %self.address, "TLS handshake failed"),
            },
            () = timeout => tracing::debug!(peer = %self.address, "TLS handshake took too long"),
        }
    }

    async fn serve_http<S>(self, stream: S, scheme: &'static str)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { door, mut closing, place, address } = self;
        let limits = door.config.limits.clone();
        let clock = door.seams.clock.clone();
        let peer = Arc::new(Peer {
            ip: address.ip().to_canonical(),
            scheme,
            closing: closing.clone(),
            _place: place,
            _counted: Counted::new(&door.metrics.connections),
        });
        let activity = Activity::new(clock.clone());
        let service = {
            let activity = activity.clone();
            service_fn(move |request| {
                let (door, peer, busy) = (door.clone(), peer.clone(), activity.busy());
                async move {
                    let answer = door.handle(request, &peer).await;
                    drop(busy);
                    Ok::<_, Infallible>(answer)
                }
            })
        };
        let connection = http1::Builder::new()
            .max_headers(limits.header_count)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.saturating_mul(2).max(128 * 1024))
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(Watched::new(stream, activity.clone())), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = activity.overdue(&limits) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = clock.sleep(LINGER) => Ok(()),
                }
            }
            () = raised(&mut closing) => {
                // An idle connection ends here and now; one with a request under way after its answer.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = activity.overdue(&limits) => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, peer = %address, "connection ended early");
        }
    }
}
