//! Where containers ask for the keys of their task's role.
//!
//! One address, one kind of request, a few hundred bytes each way: this speaks just enough HTTP/1.1 for it, and closes
//! after each answer. Who may connect is the listener's business; who knows a credentials id gets its keys.

use std::sync::Arc;
use std::time::Duration;

use longshore_seams::Seams;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::context::{Context, CredentialStore};

/// Variable that tells a container where its keys are.
pub(crate) const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const V2: &str = "/v2/credentials/";
const V1: &str = "/v1/credentials?id=";
/// Longest head of a request.
const MAX_HEAD: usize = 8 << 10;
/// Most requests at once; further ones are closed.
const MAX_REQUESTS: usize = 64;
/// A request takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an accept that failed, e.g. for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The path of a task's keys.
pub(crate) fn relative_uri(credentials_id: &str) -> String {
    format!("{V2}{credentials_id}")
}

/// Serves until the agent ends.
pub(crate) async fn serve(listener: TcpListener, context: Arc<Context>) {
    let room = Arc::new(Semaphore::new(MAX_REQUESTS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.ended() => return,
            accepted = listener.accept() => accepted,
        };
        match (accepted, room.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                let (known, seams) = (context.credentials.clone(), context.seams.clone());
                let work = async move {
                    answer_within(stream, &known, &seams).await;
                    drop(permit);
                };
                context.seams.spawner.spawn("credentials", Box::pin(work));
            }
            (Ok(_), Err(_)) => tracing::warn!(most = MAX_REQUESTS, "too many requests for credentials at once"),
            (Err(error), _) => {
                tracing::warn!(%error, "a request for credentials was not accepted");
                context.seams.clock.sleep(PAUSE).await;
            }
        }
    }
}

async fn answer_within(stream: impl AsyncRead + AsyncWrite + Unpin, known: &CredentialStore, seams: &Seams) {
    tokio::select! {
        biased;
        answered = answer(stream, known) => {
            if let Err(error) = answered {
                tracing::debug!(%error, "a request for credentials was not answered");
            }
        }
        () = seams.clock.sleep(PATIENCE) => {}
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, known: &CredentialStore) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let (status, body) = respond(std::str::from_utf8(line).unwrap_or_default(), known);
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// Status and body for a request line.
fn respond(line: &str, known: &CredentialStore) -> (&'static str, String) {
    let refused = |status, code: &str, message: &str| {
        let number: u16 = str::get(status, ..3).and_then(|digits| digits.parse().ok()).unwrap_or(400);
        (status, json!({"code": code, "message": message, "HTTPErrorCode": number}).to_string())
    };
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = [(V2, 2), (V1, 1)].into_iter().find_map(|(begin, version)| Some((path.strip_prefix(begin)?, version)));
    match (method, asked) {
        ("GET", Some((id, version))) => match known.get(id) {
            Some(keys) => {
                let document = json!({
                    "RoleArn": keys.role_arn,
                    "AccessKeyId": keys.access_key_id,
                    "SecretAccessKey": keys.secret_access_key,
                    "Token": keys.session_token,
                    "Expiration": keys.expiration,
                });
                ("200 OK", document.to_string())
            }
            None => {
                let message = format!("CredentialsV{version}Request: Credentials not found");
                refused("400 Bad Request", "InvalidIdInRequest", &message)
            }
        },
        ("GET", None) => refused("404 Not Found", "NotFound", "There is nothing here but /v2/credentials/ID"),
        _ => refused("405 Method Not Allowed", "MethodNotAllowed", "Only GET is answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_protocol::acs::RoleCredentials;

    fn store() -> CredentialStore {
        let known = CredentialStore::default();
        let keys = RoleCredentials {
            credentials_id: "cid".into(),
            role_arn: "arn:aws:iam::123456789012:role/app".into(),
            access_key_id: "ASIA".into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: "2030-01-01T00:00:00Z".into(),
            ..RoleCredentials::default()
        };
        known.put("arn:t", keys);
        known
    }

    async fn get(known: &CredentialStore, request: &str) -> String {
        let (mut here, there) = tokio::io::duplex(1 << 16);
        here.write_all(request.as_bytes()).await.unwrap();
        answer(there, known).await.unwrap();
        let mut response = String::new();
        here.read_to_string(&mut response).await.unwrap();
        response
    }

    // spec: 20-083
    #[tokio::test]
    async fn the_document_has_the_keys_and_a_new_set_replaces_the_old_one() {
        let known = store();
        let response = get(&known, "GET /v2/credentials/cid HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n").await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let document: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = json!({
            "RoleArn": "arn:aws:iam::123456789012:role/app", "AccessKeyId": "ASIA", "SecretAccessKey": "secret",
            "Token": "token", "Expiration": "2030-01-01T00:00:00Z",
        });
        assert_eq!(document, expected);
        let newer = RoleCredentials { session_token: "newer".into(), ..known.get("cid").unwrap() };
        known.put("arn:t", newer);
        assert!(get(&known, "GET /v1/credentials?id=cid HTTP/1.0\r\n\r\n").await.contains("newer"));
        known.remove("arn:t");
        assert!(get(&known, "GET /v2/credentials/cid HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    }

    #[tokio::test]
    async fn an_unknown_id_and_other_requests_are_refused_in_the_agents_words() {
        let known = store();
        let unknown = get(&known, "GET /v2/credentials/other HTTP/1.1\r\n\r\n").await;
        let body: serde_json::Value = serde_json::from_str(unknown.split_once("\r\n\r\n").unwrap().1).unwrap();
        let expected = json!({
            "code": "InvalidIdInRequest", "message": "CredentialsV2Request: Credentials not found", "HTTPErrorCode": 400,
        });
        assert_eq!(body, expected);
        assert!(get(&known, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(get(&known, "PUT /v2/credentials/cid HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * MAX_HEAD));
        assert_eq!(get(&known, &endless).await, "");
    }
}
