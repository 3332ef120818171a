//! How the front door is set up.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate and key, for HTTPS.
    pub tls: Option<Tls>,
    /// `http(s)://host[:port]` by which clients reach us; else scheme and `Host` of each request.
    pub advertise_url: Option<String>,
    /// Allows plain HTTP on an address that other machines reach.
    pub insecure_http: bool,
    /// Region of requests that need no signature, which alone name none.
    pub region: String,
    /// The limits.
    pub limits: Limits,
}

impl Config {
    /// Plain HTTP on `listen` with the default limits.
    #[must_use]
    pub fn new(listen: SocketAddr, region: impl Into<String>) -> Self {
        Self {
            listen,
            tls: None,
            advertise_url: None,
            insecure_http: false,
            region: region.into(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.tls.is_none() && !self.insecure_http && !self.listen.ip().is_loopback() {
            return Err(StartError::Insecure { listen: self.listen });
        }
        match &self.advertise_url {
            Some(url) if !is_base_url(url) => Err(StartError::AdvertiseUrl { url: url.clone() }),
            _ => Ok(()),
        }
    }
}

fn is_base_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && matches!(uri.path(), "" | "/") && uri.query().is_none()
    })
}

/// PEM files of the server's certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Limits of the front door. Each comes with what a client sees beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body, also after decompression: 413 `RequestEntityTooLargeException`.
    pub body_bytes: usize,
    /// Bytes of a request's line and headers: 431.
    pub header_bytes: usize,
    /// Headers of a request: 431.
    pub header_count: usize,
    /// Time for a request's line and headers, and for a TLS handshake, from their first byte: the connection is closed.
    pub header_timeout: Duration,
    /// Time for a request's body: 408 `RequestTimeoutException`.
    pub body_timeout: Duration,
    /// Time between two requests of a connection: the connection is closed.
    pub idle_timeout: Duration,
    /// Connections open at a time, WebSockets among them: 503 `ServiceUnavailableException`.
    pub connections: usize,
    /// Requests under way at a time: `ThrottlingException`.
    pub requests: usize,
    /// Time for requests under way at shutdown: they are cut.
    pub drain_timeout: Duration,
    /// Derived signing keys kept; beyond it they are derived anew.
    pub signing_keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 * 1024 * 1024,
            header_bytes: 64 * 1024,
            header_count: 100,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            // 5,000 container instances, each with three, and callers.
            connections: 20_000,
            requests: 1024,
            drain_timeout: Duration::from_secs(10),
            signing_keys: 16_384,
        }
    }
}

/// Why the front door does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain HTTP where others could listen in.
    #[error(
        "refusing to serve plain HTTP on {listen}, which other machines can reach: give --tls-cert and --tls-key, listen \
         on 127.0.0.1, or pass --insecure-http when the network is trusted"
    )]
    Insecure {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}: {source}{}", if source.kind() == io::ErrorKind::AddrInUse { " (another program listens there; choose another address with --listen)" } else { "" })]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not a base URL.
    #[error("--advertise-url '{url}' is no base URL: give http://HOST[:PORT] or https://HOST[:PORT] without a path")]
    AdvertiseUrl {
        /// What was given.
        url: String,
    },
}
