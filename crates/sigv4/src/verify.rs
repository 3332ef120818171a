//! Verifying: what the front door does with every request.

use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderMap, header};
use longshore_seams::Timestamp;
use subtle::ConstantTimeEq;

use crate::canonical::{self, hex, sha256_hex};
use crate::date::parse_http_date;
use crate::keys::signing_key;
use crate::{ALGORITHM, KeyCache, Scope, UNSIGNED_PAYLOAD, VerifyError, amz_date, parse_amz_date};

/// How far a request's date may be from ours, either way.
pub const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// How long a presigned request may be good for.
pub const MAX_PRESIGNED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest name of a region.
const MAX_REGION: usize = 64;

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A request as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path as in the request line, still encoded.
    pub path: &'a str,
    /// The query string as in the request line, without `?`; empty when there is none.
    pub query: &'a str,
    /// All headers, `Host` among them.
    pub headers: &'a HeaderMap,
}

/// What is on record about an access key.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The secret.
    pub secret: &'a str,
    /// The session token of a temporary key.
    pub session_token: Option<&'a str>,
    /// When a temporary key ends.
    pub expires_at: Option<Timestamp>,
}

/// The signature that a request carries, read but not yet verified.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Whose key it claims to be.
    pub access_key_id: String,
    /// What it claims to be signed for.
    pub scope: Scope,
    /// `KEY/DATE/REGION/SERVICE/aws4_request` as sent.
    credential: String,
    signed_headers: String,
    signature: String,
    /// `YYYYMMDDTHHMMSSZ`.
    date: String,
    signed_at: Timestamp,
    session_token: Option<String>,
    /// How long a presigned request is good for; absent when the signature is in the headers.
    presigned_for: Option<Duration>,
}

impl Authorization {
    /// The session token that was sent along, not checked yet.
    #[must_use]
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// Reads the signature from the `Authorization` header, else from the query string.
    ///
    /// # Errors
    /// [`VerifyError::Missing`] when there is none, [`VerifyError::Incomplete`] when it cannot be
    /// read, [`VerifyError::Invalid`] when its scope contradicts itself.
    pub fn read(request: &Request<'_>) -> Result<Self, VerifyError> {
        if let Some(value) = request.headers.get(header::AUTHORIZATION) {
            let text = value.to_str().map_err(|_| incomplete("Authorization header has characters outside ASCII"))?;
            return Self::from_header(text, request.headers);
        }
        if request.query.contains("X-Amz-") {
            return Self::from_query(request.query);
        }
        Err(VerifyError::Missing)
    }

    fn from_header(text: &str, headers: &HeaderMap) -> Result<Self, VerifyError> {
        let (algorithm, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{}'", shortened(algorithm))));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let date = headers.get("x-amz-date").or_else(|| headers.get(header::DATE));
        let (Some(credential), Some(signed_headers), Some(signature), Some(date)) =
            (credential, signed_headers, signature, date)
        else {
            let absent = [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)];
            let mut message = String::new();
            for (name, _) in absent.iter().filter(|(_, value)| value.is_none()) {
                message.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
            if date.is_none() {
                message
                    .push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
            }
            return Err(incomplete(message.trim_end()));
        };
        let date = date.to_str().unwrap_or_default();
        let session_token = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        let read = Self::assemble(credential, signed_headers, signature, date, session_token.map(str::to_owned), None)?;
        // A target outside the signature could be exchanged on the way, and the call with it.
        if headers.contains_key("x-amz-target") && !read.signs("x-amz-target") {
            return Err(VerifyError::Invalid(
                "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ));
        }
        Ok(read)
    }

    fn from_query(query: &str) -> Result<Self, VerifyError> {
        let pairs: Vec<(Vec<u8>, Vec<u8>)> = canonical::query_pairs(query).collect();
        let find = |wanted: &str| {
            let value = pairs.iter().find(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| value.clone());
            value.and_then(|value| String::from_utf8(value).ok())
        };
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                incomplete(format!(
                    "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
                ))
            })
        };
        if find("X-Amz-Credential").is_none() && find("X-Amz-Signature").is_none() {
            return Err(VerifyError::Missing);
        }
        let algorithm = need("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{}'", shortened(&algorithm))));
        }
        let expires = match find("X-Amz-Expires") {
            None => MAX_SKEW,
            Some(text) => {
                let seconds = text.parse().ok().map(Duration::from_secs);
                seconds.filter(|expires| *expires <= MAX_PRESIGNED).ok_or_else(|| {
                    incomplete(format!(
                        "X-Amz-Expires must be a number of seconds not above {}, got '{}'",
                        MAX_PRESIGNED.as_secs(),
                        shortened(&text)
                    ))
                })?
            }
        };
        let [credential, signed_headers, signature, date] =
            [need("X-Amz-Credential")?, need("X-Amz-SignedHeaders")?, need("X-Amz-Signature")?, need("X-Amz-Date")?];
        Self::assemble(&credential, &signed_headers, &signature, &date, find("X-Amz-Security-Token"), Some(expires))
    }

    fn assemble(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        date: &str,
        session_token: Option<String>,
        presigned_for: Option<Duration>,
    ) -> Result<Self, VerifyError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, day, region, service, terminator] = parts[..] else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                shortened(credential)
            )));
        };
        let signed_at = parse_amz_date(date).or_else(|| parse_http_date(date)).ok_or_else(|| {
            incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                shortened(date)
            ))
        })?;
        let date = amz_date(signed_at);
        if terminator != "aws4_request" {
            return Err(VerifyError::Invalid(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'. ",
                shortened(terminator)
            )));
        }
        if day != &date[..8] {
            return Err(VerifyError::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', \
                 from '{date}'.",
                shortened(day),
                &date[..8]
            )));
        }
        if service.is_empty() || access_key_id.is_empty() {
            return Err(incomplete(format!("Credential has an empty element: '{}'", shortened(credential))));
        }
        // The region becomes a part of keys and ARNs.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if region.is_empty() || region.len() > MAX_REGION || !region.bytes().all(is_name) {
            return Err(VerifyError::Invalid(format!(
                "Credential should be scoped to a valid region, not '{}'. ",
                shortened(region)
            )));
        }
        let read = Self {
            access_key_id: access_key_id.to_owned(),
            scope: Scope { date: day.to_owned(), region: region.to_owned(), service: service.to_owned() },
            credential: credential.to_owned(),
            signed_headers: signed_headers.to_owned(),
            signature: signature.to_owned(),
            date,
            signed_at,
            session_token,
            presigned_for,
        };
        if !read.signs("host") {
            return Err(VerifyError::Invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ));
        }
        Ok(read)
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.split(';').any(|name| name == header)
    }

    /// Everything that can be checked before the body is there: date, key, session token.
    ///
    /// # Errors
    /// A date too far off, an unknown or ended key, a session token that is not the key's.
    pub fn check(&self, known: Option<&Known<'_>>, now: Timestamp) -> Result<(), VerifyError> {
        self.check_date(now)?;
        let known = known.ok_or(VerifyError::UnknownKey)?;
        let tokens_match = match (known.session_token, &self.session_token) {
            (None, None) => true,
            (Some(known), Some(sent)) => bool::from(known.as_bytes().ct_eq(sent.as_bytes())),
            _ => false,
        };
        if !tokens_match {
            return Err(VerifyError::UnknownKey);
        }
        match known.expires_at {
            Some(end) if end <= now => Err(VerifyError::ExpiredKey),
            _ => Ok(()),
        }
    }

    fn check_date(&self, now: Timestamp) -> Result<(), VerifyError> {
        let (earliest, latest) = (now.minus(MAX_SKEW), now.plus(MAX_SKEW));
        if self.signed_at > latest {
            return Err(VerifyError::Invalid(format!(
                "Signature not yet current: {} is still later than {} ({} + 5 min.)",
                self.date,
                amz_date(latest),
                amz_date(now)
            )));
        }
        match self.presigned_for {
            Some(expires) if self.signed_at.plus(expires) < now => Err(VerifyError::Expired(format!(
                "Request has expired. It was signed at {} for {} seconds; it is now {}.",
                self.date,
                expires.as_secs(),
                amz_date(now)
            ))),
            None if self.signed_at < earliest => Err(VerifyError::Invalid(format!(
                "Signature expired: {} is now earlier than {} ({} - 5 min.)",
                self.date,
                amz_date(earliest),
                amz_date(now)
            ))),
            _ => Ok(()),
        }
    }

    /// Compares the signature with the one that `secret` yields for `request` with `body` (as sent,
    /// before any decoding). Call after [`Self::check`].
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] when they differ, or the body is not the one that was signed.
    pub fn verify(
        &self,
        request: &Request<'_>,
        body: &[u8],
        secret: &str,
        cache: &KeyCache,
    ) -> Result<(), VerifyError> {
        let payload = self.payload(request, body)?;
        let parts = canonical::Parts {
            method: request.method,
            path: request.path,
            query: request.query,
            headers: request.headers,
            signed_headers: &self.signed_headers,
            payload: &payload,
        };
        let scope = &self.credential[self.access_key_id.len() + 1..];
        let string_to_sign = parts.string_to_sign(&self.date, scope, &self.scope.service);
        let cached = cache.get(&self.credential, secret);
        let is_new = cached.is_none();
        let key = cached.unwrap_or_else(|| signing_key(secret, &self.scope));
        let expected = hex(hmac::sign(&key, string_to_sign.as_bytes()).as_ref());
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(VerifyError::mismatch());
        }
        if is_new {
            cache.put(&self.credential, secret, key);
        }
        Ok(())
    }

    fn payload(&self, request: &Request<'_>, body: &[u8]) -> Result<String, VerifyError> {
        let declared = request.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
        let actual = || if body.is_empty() { EMPTY_SHA256.to_owned() } else { sha256_hex(body) };
        match declared {
            Some(UNSIGNED_PAYLOAD) => Ok(UNSIGNED_PAYLOAD.to_owned()),
            Some(literal) if literal.starts_with("STREAMING-") => Err(VerifyError::Invalid(format!(
                "x-amz-content-sha256 '{}' is not supported by service '{}': send the payload's SHA-256 or {UNSIGNED_PAYLOAD}",
                shortened(literal),
                self.scope.service
            ))),
            Some(declared) => {
                let actual = actual();
                if declared.eq_ignore_ascii_case(&actual) {
                    return Ok(declared.to_owned());
                }
                Err(VerifyError::Invalid(format!(
                    "The provided 'x-amz-content-sha256' header does not match what was computed: '{actual}'"
                )))
            }
            None if self.presigned_for.is_some() && self.scope.service == "s3" => Ok(UNSIGNED_PAYLOAD.to_owned()),
            None => Ok(actual()),
        }
    }
}

fn incomplete(message: impl Into<String>) -> VerifyError {
    VerifyError::Incomplete(message.into())
}

/// What a client sent, cut so that a message stays readable.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
