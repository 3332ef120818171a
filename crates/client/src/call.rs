//! Calls: JSON 1.1, signed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use longshore_api::{ServiceModel, Shape, Value, from_json, to_json};
use longshore_seams::Seams;
use longshore_sigv4::{Payload, sign};

use crate::transport::{self, Connector, Pool, with_causes};
use crate::{ClientError, CredentialsProvider};

/// Longest answer that is read.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http(s)://HOST[:PORT]`.
    pub endpoint: String,
    /// Region to sign for.
    pub region: String,
    /// Certificate authorities (PEM) to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether and how transient failures are tried again.
    pub retry: Retry,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Options {
    /// Endpoint and region; 60 seconds, no retries, the machine's certificate authorities.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            region: region.into(),
            ca_file: None,
            timeout: Duration::from_secs(60),
            retry: Retry::never(),
            user_agent: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// When to try again after throttling, a server's fault or a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; 1 tries once.
    pub attempts: u32,
    /// Wait before the second attempt; each further wait is twice as long, all shortened at random by up to a half.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Retry {
    /// One attempt.
    #[must_use]
    pub const fn never() -> Self {
        Self { attempts: 1, first: Duration::ZERO, longest: Duration::ZERO }
    }

    /// Three attempts within about half a second: for commands.
    #[must_use]
    pub const fn standard() -> Self {
        Self { attempts: 3, first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }

    fn wait(&self, attempt: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let bounded = doubled.min(self.longest);
        let half = bounded / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % (spread + 1))
    }
}

/// A client of one endpoint. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) options: Arc<Options>,
    pub(crate) credentials: Arc<dyn CredentialsProvider>,
    pub(crate) seams: Seams,
    pub(crate) connector: Connector,
    pool: Pool,
    uri: Uri,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; connects at the first call.
    ///
    /// # Errors
    /// An endpoint that is no URL, certificate authorities that cannot be read.
    pub fn new(options: Options, credentials: Arc<dyn CredentialsProvider>, seams: Seams) -> Result<Self, ClientError> {
        let invalid = || ClientError::Endpoint { url: options.endpoint.clone() };
        let base: Uri = options.endpoint.parse().map_err(|_| invalid())?;
        let is_https = match base.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid()),
        };
        if base.host().is_none_or(str::is_empty) || !matches!(base.path(), "" | "/") {
            return Err(invalid());
        }
        let connector = transport::connector(&options.endpoint, is_https, options.ca_file.as_deref(), &seams)?;
        let pool = transport::pool(connector.clone(), &seams);
        Ok(Self { options: Arc::new(options), credentials, seams, connector, pool, uri: base })
    }

    /// The same client with its calls signed for `region`.
    #[must_use]
    pub fn in_region(&self, region: impl Into<String>) -> Self {
        let options = Options { region: region.into(), ..(*self.options).clone() };
        Self { options: Arc::new(options), ..self.clone() }
    }

    /// The same client, over the same connections, signing with `credentials`.
    #[must_use]
    pub fn with_credentials(&self, credentials: Arc<dyn CredentialsProvider>) -> Self {
        Self { credentials, ..self.clone() }
    }

    /// The region that calls are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.options.region
    }

    /// The endpoint as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.options.endpoint
    }

    /// Calls `operation` of the service that `model` describes.
    ///
    /// # Errors
    /// The service's own error with code and message; or why there is no answer, and what to do.
    pub async fn call<I: Shape, O: Shape>(
        &self,
        model: &ServiceModel,
        operation: &str,
        input: &I,
    ) -> Result<O, ClientError> {
        let answer = self.send(model, operation, to_json(input).into()).await?;
        from_json(&answer).map_err(|error| self.misunderstood(operation, error.to_string()))
    }

    /// The same with plain values.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_value(&self, model: &ServiceModel, operation: &str, input: &Value) -> Result<Value, ClientError> {
        let body = serde_json::to_vec(input).map_err(|error| self.misunderstood(operation, error.to_string()))?;
        let answer = self.send(model, operation, body.into()).await?;
        Value::from_json(&answer).map_err(|error| self.misunderstood(operation, error.to_string()))
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn send(&self, model: &ServiceModel, operation: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let retry = self.options.retry;
        let mut attempt = 1;
        loop {
            match self.attempt(model, operation, body.clone()).await {
                Err(error) if error.is_transient() && attempt < retry.attempts => {
                    tracing::debug!(operation, attempt, %error, "trying again");
                    self.seams.clock.sleep(retry.wait(attempt, self.seams.random.next_u64())).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, model: &ServiceModel, operation: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let request = self.request(model, operation, body)?;
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|error| ClientError::Connect {
                endpoint: self.options.endpoint.clone(),
                reason: with_causes(&error),
            })?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await.map_err(|error| ClientError::Broken {
                endpoint: self.options.endpoint.clone(),
                reason: error.to_string(),
            })?;
            Ok::<_, ClientError>((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::select! {
            biased;
            exchanged = exchange => exchanged?,
            () = self.seams.clock.sleep(self.options.timeout) => {
                return Err(ClientError::Timeout {
                    endpoint: self.options.endpoint.clone(),
                    operation: operation.to_owned(),
                    seconds: self.options.timeout.as_secs(),
                });
            }
        };
        if parts.status.is_success() { Ok(body) } else { Err(self.refused(operation, &parts, &body)) }
    }

    fn request(&self, model: &ServiceModel, operation: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
        let target = format!("{}.{operation}", model.target_prefix.unwrap_or_default());
        let content_type = format!("application/x-amz-json-{}", model.json_version);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, &self.options.user_agent)
            .header("x-amz-target", target)
            .body(Full::new(body.clone()))
            .map_err(|error| self.misunderstood(operation, error.to_string()))?;
        let (mut parts, full) = request.into_parts();
        if !model.operation(operation).is_some_and(|operation| operation.unsigned) {
            let credentials = self.credentials.credentials();
            let credentials =
                credentials.ok_or_else(|| ClientError::NoCredentials { operation: operation.to_owned() })?;
            let now = self.seams.clock.now();
            let region = &self.options.region;
            sign(&mut parts, Payload::Bytes(&body), &credentials, region, model.signing_name, now)?;
        }
        Ok(Request::from_parts(parts, full))
    }

    fn refused(&self, operation: &str, parts: &http::response::Parts, body: &[u8]) -> ClientError {
        let header = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let document = Value::from_json(body).unwrap_or_default();
        let member = |name| document.get(name).and_then(Value::as_str);
        let code = member("__type").or_else(|| header("x-amzn-errortype"));
        let Some(code) = code else {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            return self.misunderstood(operation, format!("status {} with the body '{text}'", parts.status));
        };
        // Services may put a namespace before the name, and a URL after it.
        let code = code.rsplit('#').next().unwrap_or(code).split(':').next().unwrap_or(code);
        ClientError::Service {
            operation: operation.to_owned(),
            code: code.to_owned(),
            message: member("message").or_else(|| member("Message")).unwrap_or_default().to_owned(),
            status: parts.status.as_u16(),
            request_id: header("x-amzn-requestid").unwrap_or_default().to_owned(),
        }
    }

    fn misunderstood(&self, operation: &str, reason: String) -> ClientError {
        ClientError::Protocol { endpoint: self.options.endpoint.clone(), operation: operation.to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_their_upper_half() {
        let retry = Retry { attempts: 9, first: Duration::from_millis(100), longest: Duration::from_millis(300) };
        assert_eq!(retry.wait(1, 0), Duration::from_millis(50));
        assert_eq!(retry.wait(2, 0), Duration::from_millis(100));
        assert_eq!(retry.wait(3, 0), Duration::from_millis(150));
        assert_eq!(retry.wait(40, 0), Duration::from_millis(150));
        assert!((0..1000).all(|random| retry.wait(1, random * 99_991) <= Duration::from_millis(100)));
    }
}
