//! WebSocket upgrades: verified handshakes, refusals, frames both ways.

mod house;

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use house::{ACCOUNT, Answer, House, KEY, SECRET, TEMPORARY_KEY, TOKEN, request, root};
use longshore_api::ServiceError;
use longshore_client::{ClientError, Credentials, Received};
use longshore_seams::BoxFuture;
use longshore_wire::{RequestContext, Upgrade};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// What was asked in a handshake.
type Asked = (RequestContext, Vec<(String, String)>);

/// Says every message again; closes on `bye`.
#[derive(Default)]
struct Echo {
    asked: Mutex<Vec<Asked>>,
}

impl Upgrade for Echo {
    fn path(&self) -> &'static str {
        "/acs/ws"
    }

    fn accept(&self, context: &RequestContext, query: &[(String, String)]) -> Result<(), ServiceError> {
        self.asked.lock().unwrap().push((context.clone(), query.to_vec()));
        if query.iter().any(|(name, _)| name == "gone") {
            return Err(ServiceError::client("InactiveInstanceException", "the instance is gone"));
        }
        Ok(())
    }

    fn serve(
        &self,
        _: RequestContext,
        _: Vec<(String, String)>,
        socket: hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message == Message::text("bye") {
                    let frame = CloseFrame { code: 1003.into(), reason: "so long".into() };
                    let _ = socket.close(Some(frame)).await;
                } else if message.is_text() {
                    socket.send(message).await.unwrap();
                }
            }
        })
    }
}

async fn open() -> (House, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    (House::with(|_| {}, vec![echo.clone()]).await, echo)
}

fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn text_goes_both_ways_until_one_side_closes() {
    let (house, _) = open().await;
    let url = format!("{}/acs/ws", house.url());
    let socket = house.client().connect_websocket(&url, &[], "ecs").await.unwrap();
    let (mut sender, mut receiver) = socket.split();
    let long = "é".repeat(100_000);
    for text in ["hello", &long] {
        sender.text(text.to_owned()).await.unwrap();
        assert_eq!(receiver.next().await.unwrap(), Received::Text(text.to_owned()));
    }
    sender.text("bye".into()).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Received::Closed { code: 1003, reason: "so long".into() });
}

#[tokio::test]
async fn the_room_learns_who_connects_and_what_for() {
    let (house, echo) = open().await;
    let keys = Credentials {
        access_key_id: TEMPORARY_KEY.into(),
        secret_access_key: SECRET.into(),
        session_token: Some(TOKEN.into()),
    };
    let asked = query(&[("dockerVersion", "DockerVersion: 20.10.24+dfsg1"), ("seqNum", "1")]);
    let client = house.client_with(&keys).in_region("mars-north-1");
    client.connect_websocket(&format!("{}/acs/ws", house.url()), &asked, "ecs").await.unwrap();
    let (context, heard) = echo.asked.lock().unwrap()[0].clone();
    assert_eq!(heard, asked);
    assert_eq!((context.account.as_str(), context.region.as_str()), (ACCOUNT, "mars-north-1"));
    assert_eq!(context.access_key_id, TEMPORARY_KEY);
}

/// The agent's client writes `+` for the space that it signs as `%20`, and signs only
/// `host;x-amz-date`.
#[tokio::test]
async fn a_handshake_as_the_agent_sends_it_is_verified() {
    let (house, echo) = open().await;
    let mut handshake = request(
        "GET",
        "/acs/ws?clusterArn=demo&dockerVersion=DockerVersion%3A%2020.10.24%2Bdfsg1",
        "ecs",
        &[("connection", "Upgrade"), ("upgrade", "websocket")],
        "",
    );
    handshake.parts.headers.insert("sec-websocket-version", "13".parse().unwrap());
    handshake.parts.headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    handshake.parts.uri = format!("{}{}", house.url(), handshake.parts.uri).parse().unwrap();
    let mut parts = handshake.parts;
    let payload = longshore_sigv4::Payload::Bytes(b"");
    longshore_sigv4::sign(&mut parts, payload, &root(), "r", "ecs", house.seams.clock.now()).unwrap();
    assert!(parts.headers["authorization"].to_str().unwrap().contains("SignedHeaders=host;x-amz-date,"));
    let path = parts.uri.path_and_query().unwrap().as_str().replace("%20", "+");
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    // A close frame, masked with zeros, ends the connection after the handshake.
    let mut bytes = format!("{text}\r\n").into_bytes();
    bytes.extend_from_slice(&[0x88, 0x80, 0, 0, 0, 0]);
    let answer = house.raw(&bytes).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert_eq!(echo.asked.lock().unwrap()[0].1[1].1, "DockerVersion: 20.10.24+dfsg1");
}

#[tokio::test]
async fn a_refused_handshake_has_the_exception_in_its_body() {
    let (house, _) = open().await;
    let url = format!("{}/acs/ws", house.url());
    let refused = house.client().connect_websocket(&url, &query(&[("gone", "1")]), "ecs").await.unwrap_err();
    let ClientError::Handshake { status, body, .. } = refused else { panic!("{refused}") };
    assert_eq!((status, body.as_str()), (400, r#"{"InactiveInstanceException":"the instance is gone"}"#));
}

#[tokio::test]
async fn an_unverified_handshake_is_refused_before_the_room_hears_of_it() {
    let (house, echo) = open().await;
    let url = format!("{}/acs/ws", house.url());
    let keys = Credentials { access_key_id: KEY.into(), secret_access_key: "wrong".into(), session_token: None };
    let refused = house.client_with(&keys).connect_websocket(&url, &[], "ecs").await.unwrap_err();
    assert!(refused.to_string().contains("InvalidSignatureException"), "{refused}");
    let unsigned = house.send(request("GET", "/acs/ws", None, &[], ""), |_| {}).await;
    assert_eq!(unsigned.status, 400);
    assert!(unsigned.body.contains("MissingAuthenticationTokenException"), "{unsigned:?}");
    assert!(echo.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_plain_request_to_a_websocket_path_is_told_what_it_lacks() {
    let (house, _) = open().await;
    let answer: Answer = house.send(request("GET", "/acs/ws", "ecs", &[], ""), |_| {}).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("Sec-WebSocket-Key"), "{answer:?}");
}

#[tokio::test]
async fn open_websockets_are_counted_and_cut_at_shutdown() {
    let (mut house, _) = open().await;
    let url = format!("{}/acs/ws", house.url());
    let socket = house.client().connect_websocket(&url, &[], "ecs").await.unwrap();
    let (mut sender, mut receiver) = socket.split();
    sender.text("here".into()).await.unwrap();
    receiver.next().await.unwrap();
    let metrics = house.send(request("GET", "/metrics", None, &[], ""), |_| {}).await.body;
    assert!(metrics.contains("longshore_http_websockets 1"), "{metrics}");
    house.shut_down().await.unwrap();
    assert!(matches!(receiver.next().await, Err(ClientError::Broken { .. }) | Ok(Received::Closed { .. })));
}

#[tokio::test]
async fn telemetry_frames_are_signed_like_a_get_of_the_socket_with_their_json_as_body() {
    let (house, _) = open().await;
    let url = format!("{}/tcs/ws", house.url());
    let json = br#"{"type":"PublishMetricsRequest"}"#;
    let lines = house.client().sign_frame(&url, &query(&[("cluster", "a b")]), json, "ecs").unwrap();
    let headers = lines.iter().map(|(name, value)| {
        (http::HeaderName::from_bytes(name.as_bytes()).unwrap(), http::HeaderValue::from_str(value).unwrap())
    });
    let headers = http::HeaderMap::from_iter(headers);
    let frame = longshore_sigv4::Request { method: "GET", path: "/tcs/ws", query: "cluster=a+b", headers: &headers };
    let authorization = longshore_sigv4::Authorization::read(&frame).unwrap();
    let cache = longshore_sigv4::KeyCache::new(1);
    assert_eq!(authorization.verify(&frame, json, SECRET, &cache), Ok(()));
    assert!(lines.iter().any(|(name, _)| name == "X-Amz-Date"), "{lines:?}");
}
