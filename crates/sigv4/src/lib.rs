//! AWS Signature Version 4: signing requests and verifying signed ones.
//!
//! Header signatures (also of WebSocket handshakes, which are signed like any `GET`) and presigned
//! query strings. The algorithm is the one AWS documents for all its services; where S3 differs
//! (path encoded once, payload hash taken from the request) the scope's service name decides.
//!
//! Invariant: pure. No I/O, no clock: the time comes in as an argument. Secrets never reach an
//! error or a `Debug` output.

mod canonical;
mod date;
mod error;
mod keys;
mod sign;
mod verify;

pub use date::{amz_date, parse_amz_date};
pub use error::VerifyError;
pub use keys::{KeyCache, Scope};
pub use sign::{Credentials, Payload, SigningError, presign, sign};
pub use verify::{Authorization, Known, MAX_PRESIGNED, MAX_SKEW, Request};

/// The one signing algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The literal that stands for the payload's hash when the signer left the payload out.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
