//! Upgrades to WebSockets: the handshake. What is said over the socket is the room's business.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use longshore_api::ServiceError;
use longshore_sigv4::VerifyError;

use crate::Upgrade;
use crate::answer::{Answer, with_type};
use crate::door::{Arrival, Door, Peer};
use crate::metrics::Counted;
use crate::server::raised;

/// RFC 6455, section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const PROTOCOL_VERSION: HeaderValue = HeaderValue::from_static("13");

/// Verifies a handshake, asks the room, and hands the socket over once the answer is out.
pub(crate) async fn open(
    door: &Arc<Door>,
    upgrade: Arc<dyn Upgrade>,
    mut request: Request<Incoming>,
    peer: &Arc<Peer>,
    arrival: &Arrival,
) -> Answer {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let caller = match door.verify_bodiless(&parts, arrival.at) {
        Ok(caller) => caller,
        Err(error) => return refused(&arrival.request_id, &refusal(&error)),
    };
    let accept = match accept_key(&parts.method, &parts.headers) {
        Ok(accept) => accept,
        Err(error) => return refused(&arrival.request_id, &error),
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query: Vec<(String, String)> = form_urlencoded::parse(query).into_owned().collect();
    let context = door.context(caller, &parts, peer, arrival);
    if let Err(error) = upgrade.accept(&context, &query) {
        return refused(&arrival.request_id, &error);
    }

    let (peer, metrics) = (peer.clone(), door.metrics.clone());
    let mut closing = peer.closing.clone();
    let serve = async move {
        let _counted = Counted::new(&metrics.websockets);
        let socket = match upgraded.await {
            Ok(socket) => TokioIo::new(socket),
            Err(error) => {
                tracing::debug!(%error, "the client left during the handshake");
                return;
            }
        };
        tokio::select! {
            () = upgrade.serve(context, query, socket) => {}
            () = raised(&mut closing) => {}
        }
        // The connection's place is free again only now.
        drop(peer);
    };
    door.seams.spawner.spawn("websocket", Box::pin(tracing::Instrument::instrument(serve, tracing::Span::current())));

    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Ok(request_id) = HeaderValue::from_str(&arrival.request_id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), request_id);
    }
    answer
}

fn refusal(error: &VerifyError) -> ServiceError {
    ServiceError::client(error.code(), error.to_string())
}

/// The answer to the client's key.
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, ServiceError> {
    let has = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let version = headers.get(header::SEC_WEBSOCKET_VERSION) == Some(&PROTOCOL_VERSION);
    let upgrades = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    let (Some(key), true, true, true) = (key, version, upgrades, *method == Method::GET) else {
        return Err(ServiceError::client(
            "BadRequestException",
            "This path speaks WebSocket, version 13, only: send a GET with Connection: Upgrade, Upgrade: websocket, \
             Sec-WebSocket-Key and Sec-WebSocket-Version: 13.",
        ));
    };
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(ACCEPT_GUID);
    HeaderValue::from_str(&STANDARD.encode(hash.finish()))
        .map_err(|_| ServiceError::server("ServerException", "the accept key is no header value"))
}

/// A refused handshake, in the form that agents read: `{"<Code>": "<message>"}`.
fn refused(request_id: &str, error: &ServiceError) -> Answer {
    let body = serde_json::json!({ error.code: error.message }).to_string();
    tracing::info!(code = error.code, message = error.message, "handshake refused");
    with_type(StatusCode::BAD_REQUEST, request_id, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_key_of_rfc_6455() {
        let headers = HeaderMap::from_iter([
            (header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("WebSocket")),
            (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")),
        ]);
        assert_eq!(accept_key(&Method::GET, &headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(accept_key(&Method::POST, &headers).is_err());
        assert!(accept_key(&Method::GET, &HeaderMap::new()).is_err());
    }
}
