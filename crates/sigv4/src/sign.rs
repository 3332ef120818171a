//! Signing: what our own clients put on their requests.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use longshore_seams::Timestamp;

use crate::canonical::{self, hex, sha256_hex};
use crate::keys::signing_key;
use crate::{ALGORITHM, Scope, UNSIGNED_PAYLOAD, amz_date};

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key's public id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token that goes with a temporary key.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What is known of the body when signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The whole body as it goes over the wire; empty for a WebSocket handshake.
    Bytes(&'a [u8]),
    /// The body is not covered by the signature.
    Unsigned,
}

/// A request that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Neither a `Host` header nor a host in the URI.
    #[error("the request to '{0}' names no host: give an absolute URI or a Host header")]
    NoHost(String),
    /// A credential that no header or URI can carry.
    #[error("the {0} has characters that a request cannot carry: check it for line breaks and spaces")]
    Unprintable(&'static str),
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Signs `request` in its headers for `service` in `region`, as of `now`.
///
/// Adds `Host` (from the URI, when it is not there), `X-Amz-Date`, `X-Amz-Security-Token` for
/// temporary keys, `X-Amz-Content-Sha256` where it is needed, and `Authorization`. Signed are the
/// host, the content's type and encoding and every `x-amz-` header.
///
/// # Errors
/// A request without a host, or credentials that cannot stand in a header.
pub fn sign(
    request: &mut Parts,
    payload: Payload<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), SigningError> {
    ensure_host(request)?;
    let date = amz_date(now);
    request.headers.insert(AMZ_DATE, header_value(&date, "date")?);
    if let Some(token) = &credentials.session_token {
        request.headers.insert(AMZ_SECURITY_TOKEN, header_value(token, "session token")?);
    }
    let hash = match payload {
        Payload::Bytes(bytes) => sha256_hex(bytes),
        Payload::Unsigned => UNSIGNED_PAYLOAD.to_owned(),
    };
    if payload == Payload::Unsigned || service == "s3" {
        request.headers.insert(AMZ_CONTENT_SHA256, header_value(&hash, "payload hash")?);
    }
    let signed_headers = signed_headers(&request.headers);
    let scope = Scope { date: date[..8].to_owned(), region: region.to_owned(), service: service.to_owned() };
    let signature = signature(request, &signed_headers, &hash, &date, &scope, credentials);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={signature}",
        credentials.access_key_id
    );
    request.headers.insert(header::AUTHORIZATION, header_value(&authorization, "access key id or region")?);
    Ok(())
}

/// Signs `request` in its query string, good for `expires` (cut to whole seconds) from `now` on.
///
/// Only `host` is signed of the headers. The payload is taken as empty, for S3 as unsigned.
///
/// # Errors
/// A request without a host, or credentials that cannot stand in a URI.
pub fn presign(
    request: &mut Parts,
    expires: Duration,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), SigningError> {
    ensure_host(request)?;
    let date = amz_date(now);
    let scope = Scope { date: date[..8].to_owned(), region: region.to_owned(), service: service.to_owned() };
    let credential = format!("{}/{scope}", credentials.access_key_id);
    let expires = expires.as_secs().to_string();
    let mut added = vec![
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &date),
        ("X-Amz-Expires", &expires),
        ("X-Amz-SignedHeaders", "host"),
    ];
    if let Some(token) = &credentials.session_token {
        added.push(("X-Amz-Security-Token", token));
    }
    for (name, value) in added {
        add_query(request, name, value)?;
    }
    let hash = if service == "s3" { UNSIGNED_PAYLOAD.to_owned() } else { sha256_hex(b"") };
    let signature = signature(request, "host", &hash, &date, &scope, credentials);
    add_query(request, "X-Amz-Signature", &signature)
}

fn signature(
    request: &Parts,
    signed_headers: &str,
    payload: &str,
    date: &str,
    scope: &Scope,
    credentials: &Credentials,
) -> String {
    let parts = canonical::Parts {
        method: request.method.as_str(),
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        headers: &request.headers,
        signed_headers,
        payload,
    };
    let string_to_sign = parts.string_to_sign(date, &scope.to_string(), &scope.service);
    hex(hmac::sign(&signing_key(&credentials.secret_access_key, scope), string_to_sign.as_bytes()).as_ref())
}

fn signed_headers(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| matches!(*name, "host" | "content-type" | "content-encoding") || name.starts_with("x-amz-"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(";")
}

fn header_value(text: &str, what: &'static str) -> Result<HeaderValue, SigningError> {
    HeaderValue::from_str(text).map_err(|_| SigningError::Unprintable(what))
}

fn ensure_host(request: &mut Parts) -> Result<(), SigningError> {
    if request.headers.contains_key(header::HOST) {
        return Ok(());
    }
    let authority = request.uri.authority().ok_or_else(|| SigningError::NoHost(request.uri.to_string()))?;
    let default_port = match request.uri.scheme_str() {
        Some("https" | "wss") => 443,
        _ => 80,
    };
    let host = match authority.port_u16() {
        Some(port) if port != default_port => format!("{}:{port}", authority.host()),
        _ => authority.host().to_owned(),
    };
    request.headers.insert(header::HOST, header_value(&host, "host")?);
    Ok(())
}

fn add_query(request: &mut Parts, name: &'static str, value: &str) -> Result<(), SigningError> {
    let unprintable = SigningError::Unprintable("access key or session token");
    let separator = match request.uri.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    let old = request.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let new = format!("{old}{separator}{name}={}", canonical::encode(value.as_bytes()));
    let mut parts = std::mem::take(&mut request.uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(new).map_err(|_| unprintable.clone())?);
    request.uri = Uri::from_parts(parts).map_err(|_| unprintable)?;
    Ok(())
}
