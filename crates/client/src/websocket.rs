//! WebSockets with a signed handshake, as agents open them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use longshore_sigv4::{Payload, sign};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tower_service::Service;

use crate::transport::with_causes;
use crate::{Client, ClientError};

type Stream = WebSocketStream<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>;

/// Longest message that is read, in bytes.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// What is read at once, in bytes; a longer message takes several reads.
const READ_BUFFER: usize = 8 * 1024;

/// Longest part of a refusal's body that is kept, in characters.
const REFUSAL_LIMIT: usize = 1024;

/// RFC 3986's unreserved characters stay.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// The peer closed the connection; nothing follows. Code 1005 when it gave none.
    Closed {
        /// Close code.
        code: u16,
        /// Its words.
        reason: String,
    },
}

/// An open connection. Dropping both of its halves cuts it.
pub struct WebSocket {
    url: String,
    stream: Stream,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").field("url", &self.url).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// The two directions, to be used from different tasks.
    #[must_use]
    pub fn split(self) -> (WebSocketSender, WebSocketReceiver) {
        let (sink, stream) = self.stream.split();
        (WebSocketSender { url: self.url.clone(), sink }, WebSocketReceiver { url: self.url, stream })
    }
}

/// The way out.
pub struct WebSocketSender {
    url: String,
    sink: SplitSink<Stream, Message>,
}

impl WebSocketSender {
    /// Sends one text message.
    ///
    /// # Errors
    /// A connection that is closed or broken.
    pub async fn text(&mut self, text: String) -> Result<(), ClientError> {
        self.sink.send(Message::text(text)).await.map_err(|error| broken(&self.url, &error))
    }

    /// Sends a close frame; nothing can be sent after it.
    ///
    /// # Errors
    /// A connection that is closed or broken.
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<(), ClientError> {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.sink.send(Message::Close(Some(frame))).await.map_err(|error| broken(&self.url, &error))
    }
}

/// The way in.
pub struct WebSocketReceiver {
    url: String,
    stream: SplitStream<Stream>,
}

impl WebSocketReceiver {
    /// The next message. Pings are answered in here, binary messages are dropped; after
    /// [`Received::Closed`] or an error the connection is of no more use.
    ///
    /// # Errors
    /// A connection that broke, or a peer that breaks the protocol.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Received::Text(text.to_string())),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return Ok(Received::Closed { code, reason });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(&self.url, &error)),
                None => return Err(broken(&self.url, &Error::ConnectionClosed)),
            }
        }
    }
}

fn broken(url: &str, error: &Error) -> ClientError {
    ClientError::Broken { endpoint: url.to_owned(), reason: with_causes(error) }
}

impl Client {
    /// Opens a WebSocket at `url` (`http(s)` or `ws(s)`, with its path), its handshake signed for
    /// `service`. `query` comes decoded.
    ///
    /// # Errors
    /// Nobody there, no keys, or a refusal ([`ClientError::Handshake`] with the body).
    pub async fn connect_websocket(
        &self,
        url: &str,
        query: &[(String, String)],
        service: &str,
    ) -> Result<WebSocket, ClientError> {
        let (tcp_uri, ws_uri) = websocket_uris(url, query)?;
        let mut request = Request::builder().uri(ws_uri).body(()).map_err(|_| invalid(url))?;
        *request.headers_mut() = self.sign_websocket(&tcp_uri, b"", service)?;
        let mut nonce = [0; 16];
        self.seams.random.fill(&mut nonce);
        let key = HeaderValue::from_str(&STANDARD.encode(nonce)).map_err(|_| invalid(url))?;
        request.headers_mut().extend([
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (header::SEC_WEBSOCKET_KEY, key),
        ]);
        if let Ok(user_agent) = HeaderValue::from_str(&self.options.user_agent) {
            request.headers_mut().insert(header::USER_AGENT, user_agent);
        }
        let handshake = async {
            let unreachable = |reason: String| ClientError::Connect { endpoint: url.to_owned(), reason };
            let stream = self.connector.clone().call(tcp_uri).await;
            let stream = stream.map_err(|error| unreachable(with_causes(&*error)))?;
            let config = WebSocketConfig::default()
                .max_message_size(Some(MESSAGE_LIMIT))
                .max_frame_size(Some(MESSAGE_LIMIT))
                .read_buffer_size(READ_BUFFER);
            tokio_tungstenite::client_async_with_config(request, TokioIo::new(stream), Some(config)).await.map_err(
                |error| match error {
                    Error::Http(answer) => {
                        let body = answer.body().as_deref().unwrap_or_default();
                        ClientError::Handshake {
                            endpoint: url.to_owned(),
                            status: answer.status().as_u16(),
                            body: String::from_utf8_lossy(body).chars().take(REFUSAL_LIMIT).collect(),
                        }
                    }
                    other => unreachable(with_causes(&other)),
                },
            )
        };
        let (stream, _) = tokio::select! {
            biased;
            opened = handshake => opened?,
            () = self.seams.clock.sleep(self.options.timeout) => {
                return Err(ClientError::Timeout {
                    endpoint: url.to_owned(),
                    operation: "the WebSocket handshake".to_owned(),
                    seconds: self.options.timeout.as_secs(),
                });
            }
        };
        Ok(WebSocket { url: url.to_owned(), stream })
    }

    /// The header lines (`Host`, `X-Amz-Date`, `X-Amz-Security-Token`, `Authorization`) that sign a
    /// telemetry frame with `body` for the socket at `url`.
    ///
    /// # Errors
    /// A URL that is none, or no keys.
    pub fn sign_frame(
        &self,
        url: &str,
        query: &[(String, String)],
        body: &[u8],
        service: &str,
    ) -> Result<Vec<(String, String)>, ClientError> {
        let (uri, _) = websocket_uris(url, query)?;
        let headers = self.sign_websocket(&uri, body, service)?;
        let lines = headers.iter().map(|(name, value)| {
            let name = match name.as_str() {
                "host" => "Host",
                "authorization" => "Authorization",
                "x-amz-date" => "X-Amz-Date",
                "x-amz-security-token" => "X-Amz-Security-Token",
                other => other,
            };
            (name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(lines.collect())
    }

    fn sign_websocket(&self, uri: &Uri, body: &[u8], service: &str) -> Result<HeaderMap, ClientError> {
        let credentials = self.credentials.credentials();
        let credentials = credentials
            .ok_or_else(|| ClientError::NoCredentials { operation: "the WebSocket handshake".to_owned() })?;
        let request = Request::get(uri.clone()).body(()).map_err(|_| invalid(&uri.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        let now = self.seams.clock.now();
        sign(&mut parts, Payload::Bytes(body), &credentials, &self.options.region, service, now)?;
        Ok(parts.headers)
    }
}

fn invalid(url: &str) -> ClientError {
    ClientError::Endpoint { url: url.to_owned() }
}

/// The same URL for the connector (`http`) and for the handshake (`ws`), which insist on their schemes.
fn websocket_uris(url: &str, query: &[(String, String)]) -> Result<(Uri, Uri), ClientError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(url))?;
    let (http, ws) = match scheme {
        "http" | "ws" => ("http", "ws"),
        "https" | "wss" => ("https", "wss"),
        _ => return Err(invalid(url)),
    };
    let mut rest = rest.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        rest.push(if at == 0 { '?' } else { '&' });
        rest.push_str(&encoded(name));
        rest.push('=');
        rest.push_str(&encoded(value));
    }
    let parse = |scheme: &str| format!("{scheme}://{rest}").parse().map_err(|_| invalid(url));
    Ok((parse(http)?, parse(ws)?))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}
