//! Request bodies, bounded in bytes and time.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use longshore_api::ServiceError;
use longshore_seams::Clock;

use crate::Limits;

/// How much of a refused body is read and thrown away, as a multiple of the limit, so that a client
/// still sending it sees the answer rather than a reset.
const DISCARDED: u64 = 16;

/// Reads a whole body.
///
/// A body beyond the limit is read on and thrown away (up to [`DISCARDED`] times the limit) before
/// the error is returned: many clients look for an answer only once they have sent everything.
pub(crate) async fn read(
    body: Incoming,
    headers: &HeaderMap,
    limits: &Limits,
    clock: &dyn Clock,
) -> Result<Bytes, ServiceError> {
    let declared = body.size_hint().exact();
    if declared == Some(0) {
        return Ok(Bytes::new());
    }
    if declared.is_some_and(|bytes| bytes > limits.body_bytes as u64) {
        if !expects_continue(headers) {
            discard(body, limits, clock).await;
        }
        return Err(too_large(limits.body_bytes));
    }
    let reading = collect(body, limits.body_bytes);
    within(clock, limits.body_timeout, reading).await.unwrap_or_else(|| {
        Err(ServiceError::client(
            "RequestTimeoutException",
            format!("The request's body did not arrive within {} seconds.", limits.body_timeout.as_secs_f64()),
        )
        .with_status(408))
    })
}

/// Reads a body that nobody wants, so that the client gets to see the answer.
pub(crate) async fn discard(mut body: Incoming, limits: &Limits, clock: &dyn Clock) {
    let most = (limits.body_bytes as u64).saturating_mul(DISCARDED);
    let reading = async {
        let mut read = 0_u64;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > most {
                break;
            }
        }
    };
    within(clock, limits.body_timeout, reading).await;
}

/// Whether the client waits for us to ask for the body: then it need not be read to be refused.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, ServiceError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ServiceError::client("IncompleteBody", format!("The request's body cannot be read: {error}."))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        size = size.saturating_add(data.len());
        if size > limit {
            (first, rest) = (Bytes::new(), BytesMut::new());
            if size as u64 > (limit as u64).saturating_mul(DISCARDED) {
                break;
            }
        } else if first.is_empty() {
            // Most bodies come in one piece: no copy then.
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    if size > limit {
        return Err(too_large(limit));
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

async fn within<T>(clock: &dyn Clock, time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(time) => None,
    }
}

fn too_large(limit: usize) -> ServiceError {
    ServiceError::client(
        "RequestEntityTooLargeException",
        format!("The request's body is larger than {limit} bytes, the most that is accepted."),
    )
    .with_status(413)
}

/// Undoes the body's `Content-Encoding`; the result is bounded like the body itself.
pub(crate) fn decode(body: Bytes, headers: &HeaderMap, limit: usize) -> Result<Bytes, ServiceError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?")).trim();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case("gzip") {
        return Err(ServiceError::client(
            "UnsupportedMediaTypeException",
            format!("Content-Encoding '{encoding}' is not supported: send gzip, or leave the body as it is."),
        )
        .with_status(415));
    }
    let mut inflated = Vec::new();
    MultiGzDecoder::new(body.as_ref()).take(limit as u64 + 1).read_to_end(&mut inflated).map_err(|error| {
        ServiceError::client("SerializationException", format!("The request's body is no gzip stream: {error}."))
    })?;
    if inflated.len() > limit {
        return Err(too_large(limit));
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn encoded(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, http::HeaderValue::from_static(encoding))])
    }

    #[test]
    fn gzip_is_inflated() {
        assert_eq!(decode(gzip(b"{}"), &encoded("gzip"), 10).unwrap(), "{}");
        assert_eq!(decode("{}".into(), &HeaderMap::new(), 10).unwrap(), "{}");
    }

    #[test]
    fn a_gzip_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 1_000_000]);
        assert!(bomb.len() < 10_000);
        assert_eq!(decode(bomb, &encoded("gzip"), 10_000).unwrap_err().status, 413);
    }

    #[test]
    fn a_body_may_be_as_large_as_the_limit() {
        assert_eq!(decode(gzip(&[7; 100]), &encoded("gzip"), 100).unwrap().len(), 100);
        assert_eq!(decode(gzip(&[7; 101]), &encoded("gzip"), 100).unwrap_err().status, 413);
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        assert_eq!(decode("no".into(), &encoded("gzip"), 10).unwrap_err().code, "SerializationException");
        assert_eq!(decode("no".into(), &encoded("br"), 10).unwrap_err().status, 415);
    }
}
