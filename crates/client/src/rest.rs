//! A call that is none of JSON 1.1: a body posted to a path, as the Lambda API has it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use longshore_sigv4::{Payload, sign};

use crate::transport::with_causes;
use crate::{Client, ClientError};

/// Longest answer that is read: a function returns at most 6 MB.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Posts JSON to `path`, signed for `service` in `region` if the client has keys.
    ///
    /// # Errors
    /// Why there is no answer, and what to do. Any status is an answer.
    pub async fn post(&self, path: &str, service: &str, region: &str, body: Vec<u8>) -> Result<Answer, ClientError> {
        let endpoint = self.options.endpoint.trim_end_matches('/');
        let operation = || path.to_owned();
        let url = format!("{endpoint}{path}");
        let uri: Uri = url.parse().map_err(|_| ClientError::Endpoint { url: url.clone() })?;
        let body = Bytes::from(body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, &self.options.user_agent)
            .body(Full::new(body.clone()));
        let request = request.map_err(|error| ClientError::Protocol {
            endpoint: self.options.endpoint.clone(),
            operation: operation(),
            reason: error.to_string(),
        })?;
        let (mut parts, full) = request.into_parts();
        if let Some(credentials) = self.credentials.credentials() {
            sign(&mut parts, Payload::Bytes(&body), &credentials, region, service, self.seams.clock.now())?;
        }
        let exchange = async {
            let answer = self.pool().request(Request::from_parts(parts, full)).await;
            let answer = answer.map_err(|error| ClientError::Connect {
                endpoint: self.options.endpoint.clone(),
                reason: with_causes(&error),
            })?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await.map_err(|error| ClientError::Broken {
                endpoint: self.options.endpoint.clone(),
                reason: error.to_string(),
            })?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::select! {
            biased;
            answer = exchange => answer,
            () = self.seams.clock.sleep(self.options.timeout) => Err(ClientError::Timeout {
                endpoint: self.options.endpoint.clone(),
                operation: operation(),
                seconds: self.options.timeout.as_secs(),
            }),
        }
    }
}
