//! What clients see beyond the limits, and at shutdown.

mod house;

use std::io::Write as _;
use std::time::Duration;

use house::{Answer, House, ecs_call, post};
use longshore_api::ecs;
use longshore_client::ClientError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEGABYTE: usize = 1024 * 1024;

async fn lists_clusters(house: &House) -> bool {
    house.send(ecs_call("ListClusters", "{}"), |_| {}).await.status == 200
}

async fn metrics(house: &House) -> String {
    house.send(house::request("GET", "/metrics", None, &[], ""), |_| {}).await.body
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: &[u8]) -> house::Unsent {
    let target = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.CreateCluster");
    post("ecs", &[("content-type", "application/x-amz-json-1.1"), target, ("content-encoding", "gzip")], gzip(body))
}

#[tokio::test]
async fn a_body_of_20_mb_is_refused_with_an_answer_not_a_reset() {
    let house = House::open().await;
    let input = ecs::CreateClusterRequest { cluster_name: Some("x".repeat(20 * MEGABYTE)), ..Default::default() };
    let error =
        house.client().call::<_, ecs::CreateClusterResponse>(&ecs::MODEL, "CreateCluster", &input).await.unwrap_err();
    let ClientError::Service { code, status, message, .. } = error else { panic!("{error}") };
    assert_eq!((code.as_str(), status), ("RequestEntityTooLargeException", 413));
    assert!(message.contains("10485760"), "{message}");
    assert!(lists_clusters(&house).await);
}

#[tokio::test]
async fn a_chunked_body_is_limited_too() {
    let house = House::with(|config| config.limits.body_bytes = 1000, Vec::new()).await;
    // The signature cannot be right, but the size is told first.
    let mut request = ecs_call("CreateCluster", "{}");
    request.parts.headers.insert("transfer-encoding", "chunked".parse().unwrap());
    let (parts, _) = signed_parts(&house, request);
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let text = format!("{parts}\r\n{chunk}{chunk}{chunk}0\r\n\r\n");
    let answer = Answer::parse(&house.raw(text.as_bytes()).await);
    assert_eq!((answer.status, answer.error().as_str()), (413, "RequestEntityTooLargeException"));
}

/// Head of a signed request, without the empty line.
fn signed_parts(house: &House, request: house::Unsent) -> (String, Vec<u8>) {
    let mut parts = request.parts;
    parts.uri = house.url().parse().unwrap();
    let payload = longshore_sigv4::Payload::Bytes(&request.body);
    longshore_sigv4::sign(&mut parts, payload, &house::root(), "r", "ecs", house.seams.clock.now()).unwrap();
    let mut head = "POST / HTTP/1.1\r\nconnection: close\r\n".to_owned();
    for (name, value) in &parts.headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    (head, request.body)
}

#[tokio::test]
async fn a_client_that_asks_before_sending_is_told_at_once() {
    let house = House::open().await;
    let (head, _) = signed_parts(&house, ecs_call("CreateCluster", "{}"));
    let text = format!("{head}expect: 100-continue\r\ncontent-length: 20000000\r\n\r\n");
    let answer = Answer::parse(&house.raw(text.as_bytes()).await);
    assert_eq!((answer.status, answer.error().as_str()), (413, "RequestEntityTooLargeException"));
}

#[tokio::test]
async fn a_client_that_asks_before_sending_is_told_to_go_on() {
    let house = House::open().await;
    let (head, body) = signed_parts(&house, ecs_call("ListClusters", "{}"));
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(format!("{head}expect: 100-continue\r\ncontent-length: 2\r\n\r\n").as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(Answer::parse(&rest).status, 200);
}

#[tokio::test]
async fn a_refused_signature_is_answered_though_the_body_is_large() {
    let house = House::open().await;
    let mut request = ecs_call("CreateCluster", "");
    request.body = vec![b'x'; 5 * MEGABYTE];
    request.service = None;
    let answer = house.send(request, |_| {}).await;
    assert_eq!(answer.error(), "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn gzip_bodies_are_inflated_after_their_signature_is_verified() {
    let house = House::open().await;
    let answer = house.send(gzipped(br#"{"clusterName":"squeezed"}"#), |_| {}).await;
    assert!(answer.status == 200 && answer.body.contains("squeezed"), "{answer:?}");
    let mut request = gzipped(b"");
    request.body = b"no gzip".to_vec();
    assert_eq!(house.send(request, |_| {}).await.error(), "SerializationException");
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let house = House::open().await;
    let request = gzipped(&vec![b' '; 12 * MEGABYTE]);
    assert!(request.body.len() < MEGABYTE);
    let answer = house.send(request, |_| {}).await;
    assert_eq!((answer.status, answer.error().as_str()), (413, "RequestEntityTooLargeException"));
}

#[tokio::test]
async fn what_is_no_http_ends_its_own_connection_only() {
    let house = House::open().await;
    let requests: [&[u8]; 7] = [
        b"\r\n\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nho st: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ];
    for bytes in requests {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(lists_clusters(&house).await);
}

#[tokio::test]
async fn too_many_headers_and_too_large_ones_are_refused() {
    let house = House::open().await;
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    assert_eq!(Answer::parse(&house.raw(large.as_bytes()).await).status, 431);
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    assert_eq!(Answer::parse(&house.raw(many.as_bytes()).await).status, 431);
    assert!(lists_clusters(&house).await);
}

#[tokio::test]
async fn a_client_that_drips_its_headers_is_cut() {
    let house = House::with(|config| config.limits.header_timeout = Duration::from_millis(100), Vec::new()).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let mut buffer = [0; 1];
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    // Ends only because the server closes: the idle time is two minutes.
    assert!(matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)));
    assert!(lists_clusters(&house).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_kept() {
    let house = House::with(|config| config.limits.idle_timeout = Duration::from_secs(1), Vec::new()).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let count = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..count]).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let house = House::with(|config| config.limits.body_timeout = Duration::from_millis(100), Vec::new()).await;
    let (head, _) = signed_parts(&house, ecs_call("CreateCluster", "{}"));
    let answer = Answer::parse(&house.raw(format!("{head}content-length: 50\r\n\r\n{{").as_bytes()).await);
    assert_eq!((answer.status, answer.error().as_str()), (408, "RequestTimeoutException"));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_to_come_back() {
    let house = House::with(|config| config.limits.connections = 2, Vec::new()).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        open.push(stream);
    }
    let mut refused = TcpStream::connect(house.address).await.unwrap();
    let mut text = String::new();
    refused.read_to_string(&mut text).await.unwrap();
    let answer = Answer::parse(&text);
    assert_eq!((answer.status, answer.json()["__type"].as_str()), (503, Some("ServiceUnavailableException")));
    drop(open);
    while !lists_clusters(&house).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_are_throttled() {
    let house = House::with(|config| config.limits.requests = 1, Vec::new()).await;
    let body = r#"{"services":["s"]}"#;
    let waiting = house.send(ecs_call("DescribeServices", body), |_| {});
    let throttled = async {
        house.seen.begun.notified().await;
        let answer = house.send(ecs_call("ListClusters", "{}"), |_| {}).await;
        house.seen.release.notify_one();
        answer
    };
    let (waited, throttled) = tokio::join!(waiting, throttled);
    assert_eq!((throttled.status, throttled.error().as_str()), (400, "ThrottlingException"));
    assert_eq!(waited.status, 200);
}

#[tokio::test]
async fn a_throttled_call_is_tried_again_when_asked() {
    let house = House::with(|config| config.limits.requests = 1, Vec::new()).await;
    let retry =
        longshore_client::Retry { attempts: 1000, first: Duration::from_millis(1), longest: Duration::from_millis(5) };
    let options = longshore_client::Options { retry, ..longshore_client::Options::new(house.url(), "r") };
    let keys = std::sync::Arc::new(house::root());
    let client = longshore_client::Client::new(options, keys, house.seams.clone()).unwrap();
    let waiting = house.send(ecs_call("DescribeServices", r#"{"services":["s"]}"#), |_| {});
    let input = ecs::ListClustersRequest::default();
    let retried = async {
        house.seen.begun.notified().await;
        let call = client.call::<_, ecs::ListClustersResponse>(&ecs::MODEL, "ListClusters", &input);
        let release = async {
            // Only once the call has been refused may the other one end.
            while !metrics(&house).await.contains("code=\"ThrottlingException\"") {}
            house.seen.release.notify_one();
        };
        tokio::join!(call, release).0
    };
    let (_, retried) = tokio::join!(waiting, retried);
    assert!(retried.is_ok(), "{retried:?}");
}

#[tokio::test]
async fn requests_under_way_end_before_the_server_does() {
    let mut house = House::open().await;
    let idle = TcpStream::connect(house.address).await.unwrap();
    let (seen, begun) = (house.seen.clone(), house.seen.begun.clone());
    let (parts, body) = signed_parts(&house, ecs_call("DescribeServices", r#"{"services":["s"]}"#));
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("{parts}content-length: {}\r\n\r\n{}", body.len(), String::from_utf8(body).unwrap());
    stream.write_all(request.as_bytes()).await.unwrap();
    begun.notified().await;
    let ended = house.shut_down();
    seen.release.notify_one();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(Answer::parse(&text).status, 200);
    ended.await.unwrap();
    assert!(TcpStream::connect(house.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_at_the_deadline() {
    let mut house = House::with(|config| config.limits.drain_timeout = Duration::from_millis(50), Vec::new()).await;
    let (head, body) = signed_parts(&house, ecs_call("DescribeServices", r#"{"services":["s"]}"#));
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("{head}content-length: {}\r\n\r\n{}", body.len(), String::from_utf8(body).unwrap());
    stream.write_all(request.as_bytes()).await.unwrap();
    house.seen.begun.notified().await;
    house.shut_down().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}
